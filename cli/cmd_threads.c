// SPDX-License-Identifier: BSD-2-Clause
/* cmd_threads.c - introspect threads */
#include "cli.h"
#include "render.h"

static const char usage[] =
	"usage: introspect threads [OPTIONS] [FILE]\n"
	"Every thread of a trace: time in each state, switches, migrations, how it ended.\n"
	"FILE defaults to the newest introspect-*.itr here.\n\n"
	"      --pool NAME  only workers of the pool of this name or number\n"
	"      --pid PID    only threads of this process\n"
	"      --all        also threads that were only seen beside the traced ones\n"
	"      --sort KEY   running, runnable, blocked, switches, migrations (largest first),\n"
	"                   tid, name (smallest first); default running\n"
	"  -n, --top N      only the first N\n"
	"      --tree       processes below their parents, threads below their processes\n"
	"      --json       one JSON object a line\n"
	"  -h, --help       this text\n";

enum { OPT_POOL = 256, OPT_PID, OPT_ALL, OPT_SORT, OPT_TREE, OPT_JSON };

static const struct option options[] = {
	{"all", no_argument, NULL, OPT_ALL},
	{"help", no_argument, NULL, 'h'},
	{"json", no_argument, NULL, OPT_JSON},
	{"pid", required_argument, NULL, OPT_PID},
	{"pool", required_argument, NULL, OPT_POOL},
	{"sort", required_argument, NULL, OPT_SORT},
	{"top", required_argument, NULL, 'n'},
	{"tree", no_argument, NULL, OPT_TREE},
	{NULL, 0, NULL, 0},
};

static int take_option(void *ctx, int option)
{
	struct render_threads_options *threads = ctx;
	uint64_t number;
	int order;

	switch (option) {
	case OPT_POOL:
		threads->pool = optarg;
		return CLI_OK;
	case OPT_ALL:
		threads->all = true;
		return CLI_OK;
	case OPT_TREE:
		threads->tree = true;
		return CLI_OK;
	case OPT_JSON:
		threads->json = true;
		return CLI_OK;
	case OPT_PID:
		if (cli_parse_number(optarg, 1, UINT32_MAX, &number))
			return cli_usage_error("threads", "--pid '%s' is not a process id", optarg);
		threads->pid = (uint32_t)number;
		return CLI_OK;
	case 'n':
		if (cli_parse_number(optarg, 1, 1000000000, &number))
			return cli_usage_error("threads", "--top '%s' is not a number above 0",
					       optarg);
		threads->top = number;
		return CLI_OK;
	default: /* OPT_SORT */
		order = cli_parse_choice(optarg, render_threads_orders);
		if (order < 0)
			return cli_usage_error("threads", "cannot sort by '%s'", optarg);
		threads->order = (enum render_threads_order)order;
		return CLI_OK;
	}
}

static const struct cli_syntax syntax = {
	.command = "threads",
	.usage = usage,
	.letters = ":hn:",
	.options = options,
	.take = take_option,
};

int cmd_threads(int argc, char **argv)
{
	struct render_threads_options threads = {0};
	struct intro_report_options load = {.size = sizeof(load), .slowest = 1};
	struct render render = render_to(stdout);
	struct intro_report *report;
	const char *path;
	char used[4096];
	int status = cli_parse(&syntax, &threads, argc, argv);

	if (status || !cli_operand("threads", argc, argv, &path, &status))
		return status < 0 ? CLI_OK : status;
	report = cli_report_load(path, &load, used, sizeof(used), &status);
	if (!report)
		return status;
	if (render_threads(&render, report, &threads)) {
		cli_error("not enough memory");
		status = CLI_FAILED;
	}
	intro_report_free(report);
	return status;
}
