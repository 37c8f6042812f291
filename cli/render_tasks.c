// SPDX-License-Identifier: BSD-2-Clause
/* render_tasks.c - a row a task: text, or a JSON object. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "render.h"
#include "render_causes.h"

static const struct table_column columns[] = {
	{.title = "ID", .right = true, .flex = 8},
	{.title = "POOL", .flex = 6},
	{.title = "NAME", .flex = 6, .optional = true},
	{.title = "STATUS"},
	{.title = "WALL", .right = true},
	{.title = "queued", .right = true},
	{.title = "runnable", .right = true},
	{.title = "running", .right = true},
	{.title = "blocked", .right = true},
	{.title = "deliver", .right = true, .drop = 1},
	{.title = "unknown", .right = true, .optional = true},
	{.title = "MOST", .flex = 12, .drop = 2},
	{.title = "WORKER", .right = true, .drop = 3},
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static const struct table_column line[] = {{.title = ""}};

struct table *render_tasks_new(bool json)
{
	return json ? table_new(line, 1) : table_new(columns, COLUMNS);
}

static int add_json(struct table *table, uint64_t key, const struct intro_task *task,
		    const char *pool_name)
{
	struct json_object *object = json_task(task, pool_name);
	const char *text =
		object ? json_object_to_json_string_ext(
				 object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
		       : NULL;
	int rc = text ? table_add(table, key, &text) : -ENOMEM;

	json_object_put(object);
	return rc;
}

/* The largest cause of the largest account; running has none. */
static void most_of(const struct intro_ledger *ledger, bool utf8, char *out, size_t size)
{
	enum intro_account largest = INTRO_RUNNING;
	struct cause_sum most;

	for (int i = 0; i < INTRO_ACCOUNTS; i++)
		if (ledger->account[i] > ledger->account[largest])
			largest = (enum intro_account)i;
	causes_most(ledger, largest, utf8, &most);
	snprintf(out, size, "%s", most.ns ? most.label : intro_account_text(largest));
}

static int add_text(struct table *table, uint64_t key, const struct intro_task *task,
		    const char *pool_name)
{
	const uint64_t *account = task->ledger.account;
	bool utf8 = text_utf8();
	char id[24], pool[160], name[160], most[CAUSE_BYTES], worker[16] = "-";

	snprintf(id, sizeof(id), "%" PRIu64, task->id);
	text_escape(pool, sizeof(pool), pool_name, strlen(pool_name), utf8);
	text_escape(name, sizeof(name), task->name, strlen(task->name), utf8);
	most_of(&task->ledger, utf8, most, sizeof(most));
	if (task->worker_tid)
		snprintf(worker, sizeof(worker), "%" PRIu32, task->worker_tid);
	return table_add(table, key,
			 (const char *const[COLUMNS]){
				 id, pool, name, intro_task_status_text(task->status),
				 text_ns(intro_ledger_total(&task->ledger)).s,
				 text_ns_or_dot(account[INTRO_QUEUED], utf8).s,
				 text_ns_or_dot(account[INTRO_RUNNABLE], utf8).s,
				 text_ns_or_dot(account[INTRO_RUNNING], utf8).s,
				 text_ns_or_dot(account[INTRO_BLOCKED], utf8).s,
				 text_ns_or_dot(account[INTRO_DELIVERED], utf8).s,
				 account[INTRO_UNKNOWN] ? text_ns(account[INTRO_UNKNOWN]).s : "",
				 most, worker});
}

int render_tasks_add(struct table *table, bool json, uint64_t key, const struct intro_task *task,
		     const char *pool_name)
{
	return json ? add_json(table, key, task, pool_name) : add_text(table, key, task, pool_name);
}

void render_tasks_print(struct table *table, bool json, const struct render *render)
{
	if (json)
		table_print_lines(table, render->out);
	else
		table_print(table, render, 0);
}
