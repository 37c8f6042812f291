// SPDX-License-Identifier: BSD-2-Clause
/* cmd_numa.c - introspect numa */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli.h"
#include "render_numa.h"

static const char usage[] =
	"usage: introspect numa [OPTIONS] [FILE]\n"
	"       introspect numa [OPTIONS] -p PID\n"
	"Which node threads ran on, which node their memory came from, and how often either "
	"moved;\n"
	"the tasks that paid most for it. FILE defaults to the newest introspect-*.itr here. Of a\n"
	"running process: where its memory is, each mapping by node.\n\n"
	"  -p, --pid PID  a running process\n"
	"      --all      every pool, worker and mapping\n"
	"      --json     one JSON document, schema introspect.numa/1 or introspect.residency/1\n"
	"  -h, --help     this text\n";

enum { OPT_ALL = 256, OPT_JSON };

static const struct option options[] = {
	{"all", no_argument, NULL, OPT_ALL},
	{"help", no_argument, NULL, 'h'},
	{"json", no_argument, NULL, OPT_JSON},
	{"pid", required_argument, NULL, 'p'},
	{NULL, 0, NULL, 0},
};

#define MAPPINGS_SHOWN 20

struct numa_command {
	uint64_t pid;
	bool all, json;
};

static int take_option(void *ctx, int option)
{
	struct numa_command *command = ctx;

	switch (option) {
	case OPT_ALL:
		command->all = true;
		return CLI_OK;
	case OPT_JSON:
		command->json = true;
		return CLI_OK;
	default: /* -p */
		if (cli_parse_number(optarg, 1, INT32_MAX, &command->pid))
			return cli_usage_error("numa", "-p '%s' is not a process number", optarg);
		return CLI_OK;
	}
}

static const struct cli_syntax syntax = {
	.command = "numa",
	.usage = usage,
	.letters = ":hp:",
	.options = options,
	.take = take_option,
};

static int cannot_read(const struct numa_command *command, int error)
{
	switch (error) {
	case ENOENT:
	case ESRCH:
		cli_error("no process has the number %" PRIu64, command->pid);
		return CLI_FAILED;
	case EACCES:
	case EPERM:
		cli_error("process %" PRIu64 " is somebody else's: run with sudo", command->pid);
		return CLI_NOT_ALLOWED;
	case ENOSYS:
		cli_error("this kernel has no /proc/PID/numa_maps: it knows no nodes");
		return CLI_NOT_ALLOWED;
	}
	cli_error("/proc/%" PRIu64 "/numa_maps: %s", command->pid, strerror(error));
	return CLI_FAILED;
}

static int live(const struct numa_command *command, const struct render *render)
{
	struct intro_topology *topology = intro_topology_of_machine("/sys");
	struct intro_residency *residency;
	int status = CLI_OK;

	if (!topology) {
		cli_error("not enough memory");
		return CLI_FAILED;
	}
	residency = intro_residency_of((pid_t)command->pid, topology);
	if (!residency) {
		status = cannot_read(command, errno);
	} else {
		intro_residency_keep(residency, SIZE_MAX);
		if (command->json)
			status = render_json_residency(stdout, residency, topology) ? CLI_FAILED
										    : CLI_OK;
		else
			render_residency(render, residency, topology,
					 command->all ? SIZE_MAX : MAPPINGS_SHOWN);
	}
	intro_residency_free(residency);
	intro_topology_free(topology);
	return status;
}

static int of_trace(const struct numa_command *command, const struct render *render,
		    const char *path)
{
	struct intro_report_options load = {.size = sizeof(load), .slowest = INTRO_REPORT_NONE};
	struct intro_report *report;
	char used[4096];
	int status;

	report = cli_report_load(path, &load, used, sizeof(used), &status);
	if (!report)
		return status;
	if (!command->json) {
		render_numa(render, report, command->all);
	} else if (render_json_numa(stdout, report)) {
		cli_error("not enough memory");
		status = CLI_FAILED;
	}
	intro_report_free(report);
	return status;
}

int cmd_numa(int argc, char **argv)
{
	struct numa_command command = {0};
	struct render render = render_to(stdout);
	const char *path;
	int status = cli_parse(&syntax, &command, argc, argv);

	if (status || !cli_operand("numa", argc, argv, &path, &status))
		return status < 0 ? CLI_OK : status;
	if (command.pid && path)
		return cli_usage_error("numa", "-p and a trace exclude each other");
	return command.pid ? live(&command, &render) : of_trace(&command, &render, path);
}
