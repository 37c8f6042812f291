// SPDX-License-Identifier: BSD-2-Clause
/* render_json.c - `introspect.report/1` and its objects. */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "render_numa.h"

/* The length of the UTF-8 character at s, 0 when there is none. RFC 3629. */
static size_t utf8_length(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

struct json_object *json_text(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t used = 0;
	char *clean;
	struct json_object *string;

	clean = malloc(3 * strlen(text) + 1);
	if (!clean)
		return NULL;
	while (*at) {
		size_t n = utf8_length(at);

		memcpy(clean + used, n ? (const char *)at : "\xef\xbf\xbd", n ? n : 3);
		used += n ? n : 3;
		at += n ? n : 1;
	}
	string = json_object_new_string_len(clean, (int)used);
	free(clean);
	return string;
}

static void add_u64(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_text(text));
}

/* The key of a cause: its text; of a system call without a class, that call's name. */
static const char *cause_key(const struct intro_split *split, char *buf, size_t size)
{
	if (split->cause == INTRO_BLOCKED_SYSCALL)
		return intro_cause_describe(split->cause, split->detail, buf, size);
	return intro_cause_text(split->cause);
}

/* {cause: ns} of one account. */
static struct json_object *causes(const struct intro_ledger *ledger, enum intro_account account)
{
	struct json_object *object = json_object_new_object();

	for (uint32_t i = 0; i < ledger->splits && i < INTRO_LEDGER_SPLITS; i++) {
		const struct intro_split *split = &ledger->split[i];
		struct json_object *old;
		char buf[96];
		const char *key;

		if (intro_cause_account(split->cause) != account)
			continue;
		key = cause_key(split, buf, sizeof(buf));
		if (json_object_object_get_ex(object, key, &old))
			json_object_set_uint64(old, json_object_get_uint64(old) + split->ns);
		else
			add_u64(object, key, split->ns);
	}
	return object;
}

static struct json_object *accounts(const struct intro_ledger *ledger)
{
	struct json_object *object = json_object_new_object();

	add_u64(object, "queued_ns", ledger->account[INTRO_QUEUED]);
	add_u64(object, "running_ns", ledger->account[INTRO_RUNNING]);
	add_u64(object, "runnable_ns", ledger->account[INTRO_RUNNABLE]);
	add_u64(object, "blocked_ns", ledger->account[INTRO_BLOCKED]);
	add_u64(object, "unmounted_ns", ledger->account[INTRO_UNMOUNTED]);
	add_u64(object, "delivered_ns", ledger->account[INTRO_DELIVERED]);
	add_u64(object, "unknown_ns", ledger->account[INTRO_UNKNOWN]);
	return object;
}

/* Every entry with what the sums by cause leave out: which lock, who held the CPU. */
static struct json_object *splits(const struct intro_ledger *ledger)
{
	static const char *const holders[] = {"none", "pool", "process", "other"};
	struct json_object *array = json_object_new_array();

	for (uint32_t i = 0; i < ledger->splits && i < INTRO_LEDGER_SPLITS; i++) {
		const struct intro_split *split = &ledger->split[i];
		struct json_object *object = json_object_new_object();
		char buf[96];

		add_text(object, "account", intro_account_text(intro_cause_account(split->cause)));
		add_text(object, "cause", intro_cause_text(split->cause));
		add_u64(object, "ns", split->ns);
		if (intro_cause_account(split->cause) == INTRO_BLOCKED && split->holder_name[0]) {
			char name[INTRO_COMM + 1] = {0};

			memcpy(name, split->holder_name, INTRO_COMM);
			add_text(object, "lock", name);
		} else if (split->detail && split->detail != INTRO_DETAIL_MANY) {
			add_u64(object, "detail", split->detail);
			add_text(object, "text",
				 intro_cause_describe(split->cause, split->detail, buf,
						      sizeof(buf)));
		}
		if (split->holder != INTRO_HELD_NONE && split->holder <= INTRO_HELD_OTHER) {
			char name[INTRO_COMM + 1] = {0};

			memcpy(name, split->holder_name, INTRO_COMM);
			add_text(object, "held_by", holders[split->holder]);
			add_u64(object, "holder_tid", split->holder_tid);
			add_text(object, "holder", name);
		}
		json_object_array_add(array, object);
	}
	return array;
}

static void add_ledger(struct json_object *object, const struct intro_ledger *ledger)
{
	json_object_object_add(object, "ledger", accounts(ledger));
	json_object_object_add(object, "blocked", causes(ledger, INTRO_BLOCKED));
	json_object_object_add(object, "queued", causes(ledger, INTRO_QUEUED));
	json_object_object_add(object, "runnable", causes(ledger, INTRO_RUNNABLE));
	json_object_object_add(object, "unmounted", causes(ledger, INTRO_UNMOUNTED));
	json_object_object_add(object, "delivered", causes(ledger, INTRO_DELIVERED));
	json_object_object_add(object, "unknown", causes(ledger, INTRO_UNKNOWN));
	json_object_object_add(object, "splits", splits(ledger));
}

struct json_object *json_task(const struct intro_task *task, const char *pool_name)
{
	struct json_object *object = json_object_new_object();

	add_u64(object, "id", task->id);
	add_text(object, "pool", pool_name);
	add_u64(object, "pool_id", task->pool);
	add_text(object, "name", task->name);
	add_u64(object, "worker_tid", task->worker_tid);
	add_text(object, "status", intro_task_status_text(task->status));
	add_u64(object, "submit_ns", task->submit_ns);
	add_u64(object, "take_ns", task->take_ns);
	add_u64(object, "start_ns", task->start_ns);
	add_u64(object, "end_ns", task->end_ns);
	add_u64(object, "result_ns", task->result_ns);
	add_u64(object, "done_ns", task->done_ns);
	add_u64(object, "wall_ns", intro_ledger_total(&task->ledger));
	add_ledger(object, &task->ledger);
	add_u64(object, "cpu_ns",
		intro_cpu_ns(task->ledger.account[INTRO_RUNNING], task->early_ns));
	add_u64(object, "switches", (uint64_t)task->voluntary + task->involuntary);
	add_u64(object, "voluntary", task->voluntary);
	add_u64(object, "involuntary", task->involuntary);
	add_u64(object, "migrations", task->migrations);
	if (task->placement)
		json_object_object_add(object, "numa", json_placement(task->placement));
	return object;
}

struct json_object *json_thread(const struct intro_thread *thread)
{
	static const char *const states[INTRO_STATES] = {
		[INTRO_STATE_NEW] = "new",	   [INTRO_STATE_RUNNABLE] = "runnable",
		[INTRO_STATE_RUNNING] = "running", [INTRO_STATE_BLOCKED] = "blocked",
		[INTRO_STATE_DEAD] = "dead",	   [INTRO_STATE_UNKNOWN] = "unknown",
	};
	struct json_object *object = json_object_new_object(), *part = json_object_new_object();
	char name[INTRO_COMM_BYTES + 1] = {0};

	memcpy(name, thread->name, INTRO_COMM_BYTES);
	add_u64(object, "tid", thread->tid);
	add_u64(object, "pid", thread->pid);
	add_u64(object, "ppid", thread->ppid);
	add_text(object, "name", name);
	for (int i = 0; i < INTRO_STATES; i++)
		add_u64(part, states[i], thread->states_ns[i]);
	json_object_object_add(object, "states_ns", part);
	add_u64(object, "cpu_ns",
		intro_cpu_ns(thread->states_ns[INTRO_STATE_RUNNING], thread->early_ns));
	part = json_object_new_object();
	add_u64(part, "voluntary", thread->voluntary);
	add_u64(part, "involuntary", thread->involuntary);
	json_object_object_add(object, "switches", part);
	add_u64(object, "migrations", thread->migrations);
	if (thread->placement)
		json_object_object_add(object, "numa", json_placement(thread->placement));
	add_u64(object, "runs", thread->runs);
	add_u64(object, "wakeups", thread->wakeups);
	add_u64(object, "first_ns", thread->first_ns);
	add_u64(object, "last_ns", thread->last_ns);
	add_u64(object, "start_time_ns", thread->start_time);
	json_object_object_add(object, "kernel", json_object_new_boolean(thread->kernel));
	json_object_object_add(object, "target", json_object_new_boolean(thread->target));
	json_object_object_add(object, "alive", json_object_new_boolean(thread->alive));
	if (!thread->alive)
		add_u64(object, "exit_code", thread->exit_code);
	if (thread->pool) {
		add_u64(object, "pool_id", thread->pool);
		add_u64(object, "worker", thread->worker);
		add_u64(object, "tasks", thread->tasks);
		if (thread->in_tasks)
			json_object_object_add(object, "in_tasks", accounts(thread->in_tasks));
	}
	return object;
}

static struct json_object *pool_object(const struct intro_report_pool *pool)
{
	static const char *const kinds[] = {"marked", "thread", "process", "own"};
	struct json_object *object = json_object_new_object(), *part = json_object_new_array();
	unsigned kind = pool->pool.kind;

	add_u64(object, "id", pool->pool.id);
	add_text(object, "name", pool->pool.name);
	add_text(object, "kind", kind <= INTRO_POOL_OWN ? kinds[kind] : "marked");
	for (uint32_t i = 0; pool->worker_tids && i < pool->pool.workers; i++)
		json_object_array_add(part, json_object_new_uint64(pool->worker_tids[i]));
	json_object_object_add(object, "workers", part);
	add_u64(object, "submitted", pool->pool.submitted);
	add_u64(object, "finished", pool->pool.finished);
	add_u64(object, "failed", pool->pool.failed);
	add_u64(object, "cancelled", pool->pool.cancelled);
	add_u64(object, "lost", pool->pool.lost);
	add_u64(object, "open", pool->pool.open);
	add_u64(object, "rejected", pool->pool.rejected);
	add_u64(object, "first_ns", pool->pool.first_ns);
	add_u64(object, "last_ns", pool->pool.last_ns);
	json_object_object_add(object, "parallelism", json_object_new_double(pool->parallelism));
	part = json_object_new_object();
	add_u64(part, "p50", pool->wall.p50);
	add_u64(part, "p90", pool->wall.p90);
	add_u64(part, "p99", pool->wall.p99);
	add_u64(part, "max", pool->wall.max);
	add_u64(part, "sum", pool->wall.sum);
	json_object_object_add(object, "wall_ns", part);
	add_ledger(object, &pool->ledger);
	add_u64(object, "cpu_ns", pool->cpu_ns);
	if (pool->placement)
		json_object_object_add(object, "numa", json_placement(pool->placement));
	return object;
}

static struct json_object *damage_object(const struct intro_trace_damage *damage)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "truncated", json_object_new_boolean(damage->truncated));
	add_u64(object, "bad_chunks", damage->bad_chunks);
	add_u64(object, "bad_bytes", damage->bad_bytes);
	add_u64(object, "bad_records", damage->bad_records);
	add_u64(object, "lost_from_ns", damage->lost_from_ns);
	add_u64(object, "lost_until_ns", damage->lost_until_ns);
	return object;
}

static struct json_object *trace_object(const struct intro_report_trace *trace)
{
	struct json_object *object = json_object_new_object();

	add_u64(object, "duration_ns", trace->duration_ns);
	add_u64(object, "events", trace->events);
	add_u64(object, "lost", trace->lost);
	add_text(object, "source", trace->source ? trace->source : "none");
	add_text(object, "kernel", trace->kernel ? trace->kernel : "");
	add_u64(object, "cpus", trace->cpus);
	add_u64(object, "nodes", trace->nodes);
	add_text(object, "command", trace->command ? trace->command : "");
	if (trace->cut && *trace->cut)
		add_text(object, "cut", trace->cut);
	if (trace->tracer_cpu_s >= 0)
		json_object_object_add(object, "tracer_cpu_s",
				       json_object_new_double(trace->tracer_cpu_s));
	add_u64(object, "begin_ns", trace->totals.begin_ns);
	add_u64(object, "end_ns", trace->totals.end_ns);
	add_u64(object, "strange", trace->totals.strange);
	add_u64(object, "dropped_tasks", trace->totals.dropped_tasks);
	json_object_object_add(object, "damage", damage_object(&trace->damage));
	return object;
}

struct json_object *json_report(const struct intro_report *report)
{
	struct json_object *object = json_object_new_object(), *part;

	if (!object)
		return NULL;
	add_text(object, "schema", "introspect.report/1");
	json_object_object_add(object, "trace", trace_object(&report->trace));
	part = json_object_new_array();
	for (size_t i = 0; i < report->pools_n; i++)
		json_object_array_add(part, pool_object(&report->pools[i]));
	json_object_object_add(object, "pools", part);
	part = json_object_new_array();
	for (size_t i = 0; i < report->threads_n; i++)
		json_object_array_add(part, json_thread(&report->threads[i]));
	json_object_object_add(object, "threads", part);
	add_u64(object, "threads_left_out", report->others_n);
	part = json_object_new_array();
	for (size_t i = 0; i < report->slowest_n; i++) {
		const struct intro_task *task = &report->slowest[i].task;
		const char *pool_name = "";

		for (size_t p = 0; p < report->pools_n; p++)
			if (report->pools[p].pool.id == task->pool)
				pool_name = report->pools[p].pool.name;
		json_object_array_add(part, json_task(task, pool_name));
	}
	json_object_object_add(object, "slowest", part);
	if (report->numa)
		json_object_object_add(object, "numa", json_numa(report));
	return object;
}

int json_print(FILE *out, struct json_object *object)
{
	const char *text =
		object ? json_object_to_json_string_ext(
				 object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						 JSON_C_TO_STRING_NOSLASHESCAPE)
		       : NULL;

	if (text)
		fprintf(out, "%s\n", text);
	json_object_put(object);
	return text ? 0 : -ENOMEM;
}

int render_json_report(FILE *out, const struct intro_report *report)
{
	return json_print(out, json_report(report));
}

int render_json_doctor(FILE *out, const struct intro_probe_row *rows, size_t n)
{
	static const char *const verdicts[] = {"ok", "degraded", "missing"};
	struct json_object *object = json_object_new_object(), *array = json_object_new_array();

	add_text(object, "schema", "introspect.doctor/1");
	for (size_t i = 0; i < n; i++) {
		struct json_object *row = json_object_new_object();
		unsigned verdict = rows[i].verdict;

		add_text(row, "feature", rows[i].feature);
		add_text(row, "verdict", verdicts[verdict <= 2 ? verdict : 2]);
		add_text(row, "finding", rows[i].finding);
		add_text(row, "remedy", rows[i].remedy);
		json_object_array_add(array, row);
	}
	json_object_object_add(object, "features", array);
	return json_print(out, object);
}
