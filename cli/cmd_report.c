// SPDX-License-Identifier: BSD-2-Clause
/* cmd_report.c - introspect report */
#include <string.h>

#include "cli.h"
#include "render.h"

static const char usage[] =
	"usage: introspect report [OPTIONS] [FILE]\n"
	"Reads a trace: what the time of each pool's tasks went to, its workers, the slowest\n"
	"tasks, other busy threads. FILE defaults to the newest introspect-*.itr here.\n\n"
	"  -n, --top N      how many of the slowest tasks and other threads (default 10 and 8)\n"
	"      --all        every pool and every worker\n"
	"      --json       one JSON document, schema introspect.report/1\n"
	"  -h, --help       this text\n";

enum { OPT_ALL = 256, OPT_JSON };

static const struct option options[] = {
	{"all", no_argument, NULL, OPT_ALL},
	{"help", no_argument, NULL, 'h'},
	{"json", no_argument, NULL, OPT_JSON},
	{"top", required_argument, NULL, 'n'},
	{NULL, 0, NULL, 0},
};

struct report_command {
	bool json;
	uint64_t top;
	struct render_report_options render;
};

static int take_option(void *ctx, int option)
{
	struct report_command *command = ctx;

	switch (option) {
	case OPT_ALL:
		command->render.all = true;
		return CLI_OK;
	case OPT_JSON:
		command->json = true;
		return CLI_OK;
	default: /* -n */
		if (cli_parse_number(optarg, 0, 100000, &command->top))
			return cli_usage_error("report", "--top '%s' is not a number", optarg);
		command->render.others = command->top;
		command->render.want_others = true;
		return CLI_OK;
	}
}

static const struct cli_syntax syntax = {
	.command = "report",
	.usage = usage,
	.letters = ":hn:",
	.options = options,
	.take = take_option,
};

int cmd_report(int argc, char **argv)
{
	struct report_command command = {.top = 10};
	struct intro_report_options load = {.size = sizeof(load)};
	struct render render = render_to(stdout);
	struct intro_report *report;
	const char *path;
	char used[4096];
	int status = cli_parse(&syntax, &command, argc, argv);

	if (status || !cli_operand("report", argc, argv, &path, &status))
		return status < 0 ? CLI_OK : status;
	load.slowest = command.top ? command.top : INTRO_REPORT_NONE;
	report = cli_report_load(path, &load, used, sizeof(used), &status);
	if (!report)
		return status;
	if (!command.json) {
		render_report(&render, report, &command.render);
	} else if (render_json_report(stdout, report)) {
		cli_error("not enough memory");
		status = CLI_FAILED;
	}
	intro_report_free(report);
	return status;
}
