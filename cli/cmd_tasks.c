// SPDX-License-Identifier: BSD-2-Clause
/* cmd_tasks.c - introspect tasks */
#include <inttypes.h>
#include <string.h>

#include "cli.h"
#include "render.h"

static const char usage[] =
	"usage: introspect tasks [OPTIONS] [FILE]\n"
	"Every task of a trace with its ledger: where the time between submit and result went.\n"
	"FILE defaults to the newest introspect-*.itr here. In the order in which tasks ended,\n"
	"unless sorted.\n\n"
	"      --pool NAME      only tasks of the pool of this name or number\n"
	"      --name NAME      only tasks of this name\n"
	"      --status STATUS  only finished, failed, cancelled, lost, queued, running or\n"
	"                       unseen ones\n"
	"      --worker TID     only tasks that ran on this thread\n"
	"      --id ID          only this task\n"
	"      --sort KEY       wall, queued, running, runnable, blocked, delivered, unknown,\n"
	"                       switches, migrations (largest first); submit, id (smallest first)\n"
	"  -n, --top N          only the first N; largest wall time first unless --sort says\n"
	"      --json           one JSON object a line\n"
	"  -h, --help           this text\n";

enum { OPT_POOL = 256, OPT_NAME, OPT_STATUS, OPT_WORKER, OPT_ID, OPT_SORT, OPT_JSON };

static const struct option options[] = {
	{"help", no_argument, NULL, 'h'},
	{"id", required_argument, NULL, OPT_ID},
	{"json", no_argument, NULL, OPT_JSON},
	{"name", required_argument, NULL, OPT_NAME},
	{"pool", required_argument, NULL, OPT_POOL},
	{"sort", required_argument, NULL, OPT_SORT},
	{"status", required_argument, NULL, OPT_STATUS},
	{"top", required_argument, NULL, 'n'},
	{"worker", required_argument, NULL, OPT_WORKER},
	{NULL, 0, NULL, 0},
};

/* The accounts first, by their numbers. */
enum order {
	BY_SWITCHES = INTRO_ACCOUNTS,
	BY_MIGRATIONS,
	BY_WALL,
	BY_SUBMIT,
	BY_ID,
	UNSORTED,
};

static const char *const orders[] = {
	[INTRO_QUEUED] = "queued",
	[INTRO_RUNNING] = "running",
	[INTRO_RUNNABLE] = "runnable",
	[INTRO_BLOCKED] = "blocked",
	[INTRO_UNMOUNTED] = "unmounted",
	[INTRO_DELIVERED] = "delivered",
	[INTRO_UNKNOWN] = "unknown",
	[BY_SWITCHES] = "switches",
	[BY_MIGRATIONS] = "migrations",
	[BY_WALL] = "wall",
	[BY_SUBMIT] = "submit",
	[BY_ID] = "id",
	[UNSORTED] = NULL,
};

/* Rows laid out together when they are not sorted. */
#define BATCH 512

struct tasks_command {
	const char *pool, *name, *status, *order_text;
	uint64_t worker, id, top;
	bool want_id, json;
	enum order order;
	struct render render;
	struct table *table;
	int error;
};

static uint64_t key_of(const struct intro_task *task, enum order order)
{
	switch (order) {
	case BY_WALL:
		return intro_ledger_total(&task->ledger);
	case BY_SWITCHES:
		return (uint64_t)task->voluntary + task->involuntary;
	case BY_MIGRATIONS:
		return task->migrations;
	case BY_SUBMIT:
		return UINT64_MAX - task->submit_ns;
	case BY_ID:
		return UINT64_MAX - task->id;
	case UNSORTED:
		return 0;
	default:
		return task->ledger.account[order];
	}
}

static bool wanted(const struct tasks_command *command, const struct intro_task *task,
		   const char *pool_name)
{
	char number[16];

	snprintf(number, sizeof(number), "%" PRIu32, task->pool);
	if (command->pool && strcmp(command->pool, pool_name) != 0 &&
	    strcmp(command->pool, number) != 0)
		return false;
	if (command->name && strcmp(command->name, task->name) != 0)
		return false;
	if (command->status && strcmp(command->status, intro_task_status_text(task->status)) != 0)
		return false;
	if (command->worker && task->worker_tid != command->worker)
		return false;
	return !command->want_id || task->id == command->id;
}

static void on_task(void *ctx, const struct intro_task *task, const char *pool_name)
{
	struct tasks_command *command = ctx;
	size_t rows;

	if (command->error || !wanted(command, task, pool_name))
		return;
	command->error = render_tasks_add(command->table, command->json,
					  key_of(task, command->order), task, pool_name);
	rows = table_rows(command->table);
	if (command->order == UNSORTED) {
		if (command->json || rows >= BATCH)
			render_tasks_print(command->table, command->json, &command->render);
	} else if (command->top && rows >= 2 * command->top + BATCH) {
		/* Sorting only now and then keeps a long trace linear. */
		table_keep(command->table, command->top);
	}
}

static int parse_status(struct tasks_command *command, const char *text)
{
	for (int i = INTRO_TASK_FINISHED; i <= INTRO_TASK_UNSEEN; i++)
		if (!strcmp(text, intro_task_status_text((enum intro_task_status)i))) {
			command->status = text;
			return CLI_OK;
		}
	return cli_usage_error("tasks", "there is no status '%s'", text);
}

static int take_option(void *ctx, int option)
{
	struct tasks_command *command = ctx;
	int order;

	switch (option) {
	case OPT_POOL:
		command->pool = optarg;
		return CLI_OK;
	case OPT_NAME:
		command->name = optarg;
		return CLI_OK;
	case OPT_STATUS:
		return parse_status(command, optarg);
	case OPT_JSON:
		command->json = true;
		return CLI_OK;
	case OPT_WORKER:
		if (cli_parse_number(optarg, 1, UINT32_MAX, &command->worker))
			return cli_usage_error("tasks", "--worker '%s' is not a thread id", optarg);
		return CLI_OK;
	case OPT_ID:
		command->want_id = true;
		if (cli_parse_number(optarg, 0, UINT64_MAX, &command->id))
			return cli_usage_error("tasks", "--id '%s' is not a number", optarg);
		return CLI_OK;
	case 'n':
		if (cli_parse_number(optarg, 1, 1000000000, &command->top))
			return cli_usage_error("tasks", "--top '%s' is not a number above 0",
					       optarg);
		return CLI_OK;
	default: /* OPT_SORT */
		order = cli_parse_choice(optarg, orders);
		if (order < 0)
			return cli_usage_error("tasks", "cannot sort by '%s'", optarg);
		command->order = (enum order)order;
		return CLI_OK;
	}
}

static const struct cli_syntax syntax = {
	.command = "tasks",
	.usage = usage,
	.letters = ":hn:",
	.options = options,
	.take = take_option,
};

int cmd_tasks(int argc, char **argv)
{
	struct tasks_command command = {.order = UNSORTED, .render = render_to(stdout)};
	struct intro_report_options load = {
		.size = sizeof(load), .slowest = 1, .task = on_task, .ctx = &command};
	struct intro_report *report = NULL;
	const char *path;
	char used[4096];
	int status = cli_parse(&syntax, &command, argc, argv);

	if (status || !cli_operand("tasks", argc, argv, &path, &status))
		return status < 0 ? CLI_OK : status;
	if (command.top && command.order == UNSORTED)
		command.order = BY_WALL;
	command.table = render_tasks_new(command.json);
	if (command.table)
		report = cli_report_load(path, &load, used, sizeof(used), &status);
	if (report && !command.error) {
		if (command.order != UNSORTED)
			table_keep(command.table, command.top ? command.top : SIZE_MAX);
		render_tasks_print(command.table, command.json, &command.render);
	}
	if (!command.table || command.error) {
		cli_error("not enough memory: --top keeps fewer tasks");
		status = CLI_FAILED;
	}
	intro_report_free(report);
	table_free(command.table);
	return status;
}
