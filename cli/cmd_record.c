// SPDX-License-Identifier: BSD-2-Clause
/* cmd_record.c - introspect record */
#include <inttypes.h>

#include "cli.h"
#include "render.h"

static const char usage[] =
	"usage: introspect record [OPTIONS] [--] COMMAND [ARG...]\n"
	"       introspect record [OPTIONS] -p PID\n"
	"       introspect record [OPTIONS] -a [[--] COMMAND [ARG...]]\n"
	"Records a command and its descendants, a running process with its threads and\n"
	"descendants, or the whole system, until it ends or Ctrl-C.\n\n"
	"  -p, --pid PID          a running process\n"
	"  -a, --all              the whole system\n"
	"  -d, --duration SECONDS end the recording after this time\n" CLI_RECORD_HELP;

static const struct option options[] = {
	CLI_RECORD_OPTIONS,
	{"all", no_argument, NULL, 'a'},
	{"duration", required_argument, NULL, 'd'},
	{"pid", required_argument, NULL, 'p'},
	{NULL, 0, NULL, 0},
};

struct record_command {
	struct cli_recording recording;
	bool all;
	uint64_t pid;
};

static int take_option(void *ctx, int option)
{
	struct record_command *command = ctx;

	switch (option) {
	case 'a':
		command->all = true;
		return CLI_OK;
	case 'd':
		if (cli_parse_seconds(optarg, &command->recording.options.duration_ns))
			return cli_usage_error(
				"record", "-d '%s' is not a number of seconds above 0", optarg);
		return CLI_OK;
	case 'p':
		if (cli_parse_number(optarg, 1, INT32_MAX, &command->pid))
			return cli_usage_error("record", "-p '%s' is not a process number", optarg);
		return CLI_OK;
	default:
		return cli_recording_option(&command->recording, "record", option);
	}
}

/* What is traced, of -p, -a and a command. */
static int choose(struct record_command *command, char **words)
{
	struct intro_session_options *session = &command->recording.options;

	if (command->pid && command->all)
		return cli_usage_error("record", "-p and -a exclude each other");
	if (command->pid && *words)
		return cli_usage_error("record", "-p and a command exclude each other");
	if (!command->pid && !command->all && !*words)
		return cli_usage_error("record", "nothing to trace: give a command, -p PID, or -a");
	session->argv = *words ? words : NULL;
	session->pid = (pid_t)command->pid;
	session->mode = command->all   ? INTRO_SESSION_ALL
			: command->pid ? INTRO_SESSION_PID
				       : INTRO_SESSION_COMMAND;
	return cli_recording_check(&command->recording, "record");
}

static const struct cli_syntax syntax = {
	.command = "record",
	.usage = usage,
	.letters = "+:ad:ho:p:",
	.options = options,
	.take = take_option,
};

/* CLI_OK; -1: --help was printed; or an exit status after one line. */
static int parse(struct record_command *command, int argc, char **argv)
{
	int status = cli_parse(&syntax, command, argc, argv);

	return status ? status : choose(command, argv + optind);
}

int cmd_record(int argc, char **argv)
{
	struct record_command command = {0};
	struct cli_recording *recording = &command.recording;
	struct render render = render_to(stderr);
	char subject[32] = "all";
	int status = parse(&command, argc, argv);

	if (status)
		return status < 0 ? CLI_OK : status;
	if (command.pid)
		snprintf(subject, sizeof(subject), "pid%" PRIu64, command.pid);
	status = cli_recording_open(recording,
				    recording->options.argv ? recording->options.argv[0] : subject);
	if (status)
		return status;
	status = cli_recording_run(recording);
	if (status == CLI_OK || status == CLI_DAMAGED) {
		render_recorded(&render, recording->output.path, &recording->stats);
		cli_output_close(&recording->output);
	}
	return cli_recording_status(recording, status);
}
