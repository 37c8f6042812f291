// SPDX-License-Identifier: BSD-2-Clause
/* cmd_run.c - introspect run: record a command, then report */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "render.h"

static const char usage[] =
	"usage: introspect run [OPTIONS] [--] COMMAND [ARG...]\n"
	"Traces COMMAND and its descendants and, when it has ended, reports where the time of\n"
	"its tasks went. Exits as COMMAND did. The trace is kept.\n\n"
	"      --report FILE      write the report there, instead of on stderr; -: on stdout\n"
	"      --json             the report as JSON, schema introspect.report/1\n" CLI_RECORD_HELP;

static const struct option options[] = {
	CLI_RECORD_OPTIONS,
	{"json", no_argument, NULL, CLI_OPT_JSON},
	{"report", required_argument, NULL, CLI_OPT_REPORT},
	{NULL, 0, NULL, 0},
};

struct run_command {
	struct cli_recording recording;
	const char *report_path; /* NULL: stderr; "-": stdout */
	struct cli_output report;
	bool json;
};

static int take_option(void *ctx, int option)
{
	struct run_command *command = ctx;

	switch (option) {
	case CLI_OPT_JSON:
		command->json = true;
		return CLI_OK;
	case CLI_OPT_REPORT:
		command->report_path = optarg;
		return CLI_OK;
	default:
		return cli_recording_option(&command->recording, "run", option);
	}
}

static const struct cli_syntax syntax = {
	.command = "run",
	.usage = usage,
	.letters = "+:ho:",
	.options = options,
	.take = take_option,
};

/* CLI_OK; -1: --help was printed; or an exit status after one line. */
static int parse(struct run_command *command, int argc, char **argv)
{
	struct intro_session_options *session = &command->recording.options;
	int status = cli_parse(&syntax, command, argc, argv);

	if (status)
		return status;
	if (optind >= argc)
		return cli_usage_error("run", "no command: introspect run -- COMMAND [ARG...]");
	session->mode = INTRO_SESSION_COMMAND;
	session->argv = argv + optind;
	return cli_recording_check(&command->recording, "run");
}

/* Both files before the command starts, or neither. */
static int open_files(struct run_command *command)
{
	struct cli_recording *recording = &command->recording;
	int status;

	command->report = (struct cli_output){.fd = -1, .dir_fd = -1};
	status = cli_recording_open(recording, recording->options.argv[0]);
	if (status || !command->report_path || !strcmp(command->report_path, "-"))
		return status;
	status = cli_output_create(&command->report, command->report_path, 0666);
	if (status)
		cli_output_remove(&recording->output);
	return status;
}

static FILE *report_stream(struct run_command *command)
{
	FILE *out = stderr;

	if (command->report.fd >= 0) {
		out = fdopen(command->report.fd, "w");
		command->report.fd = out ? -1 : command->report.fd;
	} else if (command->report_path) {
		out = stdout;
	}
	return out;
}

/* An exit status. */
static int write_report(struct run_command *command, FILE *out, const struct intro_report *report)
{
	struct render_report_options all = {0};
	struct render render = render_to(out);
	int error = 0;

	if (!command->json)
		render_report(&render, report, &all);
	else
		error = -render_json_report(out, report);
	if (!error && (fflush(out) || ferror(out)))
		error = errno;
	if (error)
		cli_error("cannot write the report: %s", strerror(error));
	return error ? CLI_FAILED : CLI_OK;
}

static int report(struct run_command *command)
{
	struct cli_recording *recording = &command->recording;
	struct render render = render_to(stderr);
	struct intro_report_options load = {.size = sizeof(load)};
	struct intro_report *loaded;
	char used[4096];
	int status, written;
	FILE *out;

	loaded = cli_report_load(recording->output.path, &load, used, sizeof(used), &status);
	if (!loaded)
		return status;
	out = report_stream(command);
	if (out) {
		written = write_report(command, out, loaded);
		status = written ? written : status;
	} else {
		cli_error("%s: %s", command->report.path, strerror(errno));
		status = CLI_FAILED;
	}
	if (out && out != stderr && out != stdout)
		fclose(out);
	render_saved(&render, recording->output.path,
		     out && out != stderr && out != stdout ? command->report.path : NULL);
	intro_report_free(loaded);
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct run_command command = {0};
	int status = parse(&command, argc, argv), reported;

	if (status)
		return status < 0 ? CLI_OK : status;
	status = open_files(&command);
	if (status)
		return status;
	status = cli_recording_run(&command.recording);
	if (status != CLI_OK && status != CLI_DAMAGED) {
		cli_output_remove(&command.report);
		return status;
	}
	reported = report(&command);
	cli_output_close(&command.recording.output);
	cli_output_close(&command.report);
	return cli_recording_status(&command.recording, status ? status : reported);
}
