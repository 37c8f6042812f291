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

/* CLI_OK; -1: --help was printed; or an exit status after one line. */
static int parse(struct report_command *command, int argc, char **argv)
{
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":hn:", options, NULL)) != -1) {
		switch (c) {
		case OPT_ALL:
			command->render.all = true;
			break;
		case OPT_JSON:
			command->json = true;
			break;
		case 'n':
			if (cli_parse_number(optarg, 0, 100000, &command->top))
				return cli_usage_error("report", "--top '%s' is not a number",
						       optarg);
			command->render.others = command->top;
			command->render.want_others = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return -1;
		default:
			return cli_option_error("report", c, argv);
		}
	}
	return CLI_OK;
}

int cmd_report(int argc, char **argv)
{
	struct report_command command = {.top = 10};
	struct intro_report_options load = {.size = sizeof(load)};
	struct render render = render_to(stdout);
	struct intro_report *report;
	const char *path;
	char used[4096];
	int status = parse(&command, argc, argv);

	if (status || !cli_operand("report", argc, argv, &path, &status))
		return status < 0 ? CLI_OK : status;
	load.slowest = command.top;
	report = cli_report_load(path, &load, used, sizeof(used), &status);
	if (!report)
		return status;
	if (!command.top)
		report->slowest_n = 0;
	if (!command.json) {
		render_report(&render, report, &command.render);
	} else if (render_json_report(stdout, report)) {
		cli_error("not enough memory");
		status = CLI_FAILED;
	}
	intro_report_free(report);
	return status;
}
