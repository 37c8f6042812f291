// SPDX-License-Identifier: BSD-2-Clause
/* main.c - the table of subcommands. */
#include <fcntl.h>
#include <locale.h>
#include <string.h>
#include <unistd.h>

#include <introspect/spawn.h>

#include "cli.h"
#include "workload.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
};

static const struct command commands[] = {
	{"run", cmd_run, "trace a command and report where its tasks' time went"},
	{"record", cmd_record, "trace a command, a process or the whole system into a file"},
	{"report", cmd_report, "read a trace: pools, workers, slowest tasks"},
	{"tasks", cmd_tasks, "read a trace: every task with its ledger"},
	{"threads", cmd_threads, "read a trace: every thread with its states"},
	{"numa", cmd_numa, "read a trace, or a process: nodes, whose memory, moves"},
	{"workload", cmd_workload, "run a bundled program whose behaviour is known"},
	{"doctor", cmd_doctor, "say what this kernel and these privileges allow"},
	{NULL, NULL, NULL},
};

static const struct command *find(const char *name)
{
	for (size_t i = 0; commands[i].name; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void usage(FILE *out)
{
	fputs("usage: introspect COMMAND [OPTIONS] ...\n"
	      "Where did the time of each task of a pool of workers go?\n\n",
	      out);
	for (size_t i = 0; commands[i].name; i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].help);
	fputs("\nBegin with:  sudo introspect run -- COMMAND\n"
	      "More:        introspect help COMMAND, man introspect\n",
	      out);
}

static int help(int argc, char **argv)
{
	const struct command *command;
	char option[] = "--help";
	char *args[] = {argc > 1 ? argv[1] : NULL, option, NULL};

	if (argc < 2) {
		usage(stdout);
		return CLI_OK;
	}
	command = find(argv[1]);
	if (!command)
		return cli_usage_error(NULL, "there is no command '%s'", argv[1]);
	return command->run(2, args);
}

/* So that no file which is opened later takes the place of a closed standard stream. */
static bool standard_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return false;
	} while (fd <= STDERR_FILENO);
	close(fd);
	return true;
}

int main(int argc, char **argv)
{
	const struct command *command;

	if (!standard_streams() || workload_spawned_register())
		return CLI_FAILED;
	/* a worker of `workload spawned` goes no further */
	intro_process_main(argc, argv);
	/* Only the character set: numbers are printed and read the same everywhere. */
	setlocale(LC_CTYPE, "");
	if (argc < 2) {
		usage(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("introspect " INTROSPECT_VERSION);
		return cli_flush(CLI_OK);
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		usage(stdout);
		return cli_flush(CLI_OK);
	}
	if (!strcmp(argv[1], "help"))
		return cli_flush(help(argc - 1, argv + 1));
	command = find(argv[1]);
	if (!command)
		return cli_usage_error(NULL, "there is no %s '%s'",
				       argv[1][0] == '-' ? "option" : "command", argv[1]);
	return cli_flush(command->run(argc - 1, argv + 1));
}
