// SPDX-License-Identifier: BSD-2-Clause
/* render_report.c - a report as text: what was traced, a block a pool, slowest tasks, others. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "render.h"
#include "render_causes.h"

#define BAR_CELLS 24
/* Shown of many, unless all are wanted. */
#define POOLS_SHOWN 8
#define WORKERS_SHOWN 16
#define OTHERS_SHOWN 8
/* A difference between clocks that may be worth a line. */
#define CPU_APART_NS 1000000

static const char *const account_titles[INTRO_ACCOUNTS] = {
	[INTRO_QUEUED] = "queued",	 [INTRO_RUNNING] = "running",
	[INTRO_RUNNABLE] = "runnable",	 [INTRO_BLOCKED] = "blocked",
	[INTRO_UNMOUNTED] = "unmounted", [INTRO_DELIVERED] = "delivered",
	[INTRO_UNKNOWN] = "unknown",
};

/* --- what was traced ------------------------------------------------------------------------- */

static void print_damage(const struct render *render, const struct intro_report_trace *trace)
{
	const struct intro_trace_damage *damage = &trace->damage;
	const char *bad = render_colour(render, COLOUR_BAD);
	const char *none = render_colour(render, COLOUR_NONE);

	char text[400];

	if (trace->cut && *trace->cut) {
		text_escape(text, sizeof(text), trace->cut, strlen(trace->cut), render->utf8);
		text_fit(text, RENDER_COLUMNS - 13, render->utf8);
		fprintf(render->out, "%sCut short:%s %s.\n", bad, none, text);
	}
	if (damage->truncated)
		fprintf(render->out,
			"%sThe end of the trace is missing.%s What was open there is "
			"booked to unknown.\n",
			bad, none);
	if (damage->bad_chunks || damage->bad_bytes || damage->bad_records)
		fprintf(render->out,
			"%sParts of the file are damaged:%s %s chunks, %s bytes, %s records: "
			"their time is unknown.\n",
			bad, none, text_short(damage->bad_chunks).s,
			text_short(damage->bad_bytes).s, text_short(damage->bad_records).s);
	if (trace->totals.dropped_tasks)
		fprintf(render->out, "%sToo many tasks at once:%s %s left out.\n", bad, none,
			text_plural(trace->totals.dropped_tasks, "task").s);
}

/* How much of the first line's last part is said, for want of room. */
enum trust { TRUST_EXACT, TRUST_SHORT, TRUST_LEAST };

static void trust_line(const struct render *render, const struct intro_report_trace *trace,
		       enum trust trust, char *out, size_t size)
{
	struct text (*count)(uint64_t) = trust == TRUST_EXACT ? text_count : text_short;
	double tracer_ns = trace->tracer_cpu_s * 1e9;
	uint64_t whole = trace->duration_ns * (trace->cpus ? trace->cpus : 1);
	int used =
		snprintf(out, size, "%s events, %s%s lost%s", count(trace->events).s,
			 trace->lost ? render_colour(render, COLOUR_BAD) : "", count(trace->lost).s,
			 trace->lost ? render_colour(render, COLOUR_NONE) : "");

	if (trust != TRUST_LEAST && tracer_ns >= 0 && tracer_ns < 1e18 && trace->duration_ns)
		snprintf(out + used, size - (size_t)used, " %s tracer %s of the CPUs",
			 render_dot(render), text_percent((uint64_t)tracer_ns, whole).s);
}

void render_trace(const struct render *render, const struct intro_report_trace *trace)
{
	const char *dot = render_dot(render), *source = trace->source ? trace->source : "none";
	struct render plain = {.utf8 = render->utf8};
	bool fits;
	char text[400], trust[256], head[800];

	text_escape(text, sizeof(text), source, strlen(source), render->utf8);
	text_fit(text, 12, render->utf8);
	snprintf(head, sizeof(head), " %s %s %s %s CPU%s, %s node%s %s %s %s ", dot,
		 strcmp(source, "none") != 0 ? text : "no kernel records", dot,
		 text_short(trace->cpus).s, trace->cpus == 1 ? "" : "s", text_short(trace->nodes).s,
		 trace->nodes == 1 ? "" : "s", dot, text_ns(trace->duration_ns).s, dot);
	for (enum trust said = TRUST_EXACT; said <= TRUST_LEAST; said++) {
		trust_line(&plain, trace, said, trust, sizeof(trust));
		fits = strlen("introspect") + text_width(head, render->utf8) +
			       text_width(trust, render->utf8) <=
		       RENDER_COLUMNS;
		if (fits || said == TRUST_LEAST) {
			trust_line(render, trace, said, trust, sizeof(trust));
			break;
		}
	}
	fprintf(render->out, "%sintrospect%s%s%s\n", render_colour(render, COLOUR_BOLD),
		render_colour(render, COLOUR_NONE), head, trust);
	if (trace->command && *trace->command) {
		text_escape(text, sizeof(text), trace->command, strlen(trace->command),
			    render->utf8);
		text_fit(text, RENDER_COLUMNS - 8, render->utf8);
		fprintf(render->out, "traced: %s\n", text);
	}
	print_damage(render, trace);
}

/* --- a pool ---------------------------------------------------------------------------------- */

/* A line that goes on behind the others, indented, when it would get too long. */
struct flow {
	FILE *out;
	size_t column;
	bool utf8;
};

static void flow(struct flow *flow, const char *text)
{
	size_t width = text_width(text, flow->utf8);

	if (flow->column + width > RENDER_COLUMNS) {
		fputs("\n      ", flow->out);
		flow->column = 6;
		text += strspn(text, " ");
	}
	fputs(text, flow->out);
	flow->column += width;
}

/* ", 3 failed": nothing for none. */
static void flow_some(struct flow *line, uint64_t n, const char *what)
{
	char text[128];

	snprintf(text, sizeof(text), ", %s %s", text_count(n).s, what);
	if (n)
		flow(line, text);
}

static void print_tasks_counted(const struct render *render, const struct intro_pool *pool,
				struct flow *line)
{
	char text[200];

	snprintf(text, sizeof(text), "   %s task%s: %s finished", text_count(pool->submitted).s,
		 pool->submitted == 1 ? "" : "s", text_count(pool->finished).s);
	flow(line, text);
	flow_some(line, pool->failed, "failed");
	flow_some(line, pool->cancelled, "cancelled");
	flow_some(line, pool->lost, "lost with their worker");
	flow_some(line, pool->open, "still open");
	flow_some(line, pool->rejected, "rejected");
}

static void print_pool_head(const struct render *render, const struct intro_report_pool *pool,
			    const struct intro_report_trace *trace)
{
	static const char *const units[][2] = {{"worker", "workers"},
					       {"thread", "threads"},
					       {"process", "processes"},
					       {"thread", "threads"}};
	const struct intro_pool *p = &pool->pool;
	uint64_t span = p->last_ns > p->first_ns ? p->last_ns - p->first_ns : 0;
	uint64_t ended = p->finished + p->failed;
	struct flow line = {.out = render->out, .utf8 = render->utf8};
	char name[200], text[256];

	text_escape(name, sizeof(name), p->name, strlen(p->name), render->utf8);
	text_fit(name, 24, render->utf8);
	fprintf(render->out, "\n%sPOOL %s%s", render_colour(render, COLOUR_BOLD), name,
		render_colour(render, COLOUR_NONE));
	line.column = 5 + text_width(name, render->utf8);
	snprintf(text, sizeof(text), "   %s %s", text_count(p->workers).s,
		 units[p->kind <= INTRO_POOL_OWN ? p->kind : 0][p->workers != 1]);
	flow(&line, text);
	print_tasks_counted(render, p, &line);
	if (ended && span) {
		snprintf(text, sizeof(text), "   %s/s", text_rate((double)ended * 1e9 / span).s);
		flow(&line, text);
		snprintf(text, sizeof(text), "   effective parallelism %s of %s",
			 text_rate(pool->parallelism).s, text_plural(trace->cpus, "CPU").s);
		flow(&line, text);
	}
	fprintf(render->out, "\n  wall time  p50 %s   p90 %s   p99 %s   max %s\n",
		text_ns(pool->wall.p50).s, text_ns(pool->wall.p90).s, text_ns(pool->wall.p99).s,
		text_ns(pool->wall.max).s);
}

static enum render_colour account_colour(enum intro_account account)
{
	switch (account) {
	case INTRO_RUNNING:
		return COLOUR_GOOD;
	case INTRO_BLOCKED:
	case INTRO_UNKNOWN:
		return COLOUR_BAD;
	default:
		return COLOUR_WARN;
	}
}

static void print_account(const struct render *render, const struct intro_ledger *ledger,
			  enum intro_account account, uint64_t whole)
{
	/* Before the causes: 2 + 10 + 1 + bar + 1 + percentage + 3 */
	const size_t before = 2 + 10 + 1 + BAR_CELLS + 1 + 7 + 3;
	/* A second line for an account that matters. */
	struct causes_room room = {RENDER_COLUMNS - before,
				   ledger->account[account] > whole / 20 ? 2 : 1};
	char bar[4 * BAR_CELLS + 1], causes[512], *line = causes;
	int pad;

	text_bar(bar, sizeof(bar), ledger->account[account], whole, BAR_CELLS, render->utf8);
	pad = BAR_CELLS - (int)text_width(bar, render->utf8);
	causes_text(ledger, account, whole, room, render->utf8, causes, sizeof(causes));
	fprintf(render->out, "  %-10s %s%s%s%*s %7s", account_titles[account],
		render_colour(render, account_colour(account)), bar,
		render_colour(render, COLOUR_NONE), pad, "",
		text_percent(ledger->account[account], whole).s);
	for (const char *next; (next = strsep(&line, "\n")) && *next;)
		fprintf(render->out, "%s%*s%s", next == causes ? "" : "\n",
			next == causes ? 3 : (int)before, "", next);
	putc('\n', render->out);
}

static void print_ledger(const struct render *render, const struct intro_ledger *ledger)
{
	bool done[INTRO_ACCOUNTS] = {false};
	uint64_t whole = intro_ledger_total(ledger);

	if (!whole)
		return;
	for (int n = 0; n < INTRO_ACCOUNTS; n++) {
		int most = -1;

		for (int i = 0; i < INTRO_ACCOUNTS; i++)
			if (!done[i] && (most < 0 || ledger->account[i] > ledger->account[most]))
				most = i;
		done[most] = true;
		if (most == INTRO_UNMOUNTED && !ledger->account[most])
			continue;
		print_account(render, ledger, (enum intro_account)most, whole);
	}
}

/* Who compares with another tool shall not wonder; what is less than a column is worth is left out.
 */
static void print_cpu(const struct render *render, const struct intro_report_pool *pool)
{
	uint64_t running = pool->ledger.account[INTRO_RUNNING], cpu = pool->cpu_ns;
	uint64_t apart = cpu > running ? cpu - running : running - cpu;

	if (apart > running / 20 && apart > CPU_APART_NS)
		fprintf(render->out,
			"  CPU clocks (top, getrusage) say %s for the %s running: they begin at "
			"wake-ups.\n",
			text_ns(cpu).s, text_ns(running).s);
}

/* --- its workers ----------------------------------------------------------------------------- */

static const struct table_column worker_columns[] = {
	{.title = "WORKER", .flex = 8},
	{.title = "TID", .right = true},
	{.title = "BUSY", .right = true},
	{.title = "running", .right = true},
	{.title = "runnable", .right = true},
	{.title = "blocked", .right = true},
	{.title = "unknown", .right = true, .optional = true, .drop = 3},
	{.title = "idle", .right = true},
	{.title = "switches vol/inv", .right = true, .drop = 2},
	{.title = "migrations", .right = true, .drop = 1},
	{.title = "tasks", .right = true},
};

#define WORKER_COLUMNS (sizeof(worker_columns) / sizeof(worker_columns[0]))

static void worker_label(char *out, size_t size, const char *pool, uint32_t index, bool utf8)
{
	char name[160];

	text_escape(name, sizeof(name), pool, strlen(pool), utf8);
	text_fit(name, 20, utf8);
	snprintf(out, size, "%s/%" PRIu32, name, index);
}

static void add_worker(struct table *table, const struct intro_report_pool *pool,
		       const struct intro_thread *thread, bool utf8)
{
	static const struct intro_ledger none;
	const uint64_t *in = (thread->in_tasks ? thread->in_tasks : &none)->account;
	uint64_t unknown = in[INTRO_UNKNOWN] + thread->idle_ns[INTRO_STATE_UNKNOWN];
	uint64_t idle = 0, busy = in[INTRO_RUNNING] + in[INTRO_RUNNABLE] + in[INTRO_BLOCKED] +
				  in[INTRO_UNMOUNTED];
	uint64_t whole;
	bool shown;
	char label[192], tid[16], switches[176];

	for (int i = 0; i < INTRO_STATES; i++)
		if (i != INTRO_STATE_DEAD && i != INTRO_STATE_UNKNOWN)
			idle += thread->idle_ns[i];
	whole = busy + idle + unknown;
	/* The pool's ledger tells of less; a column is for what is worth one. */
	shown = unknown > whole / 200;
	worker_label(label, sizeof(label), pool->pool.name, thread->worker, utf8);
	snprintf(tid, sizeof(tid), "%" PRIu32, thread->tid);
	snprintf(switches, sizeof(switches), "%s / %s", text_short(thread->voluntary).s,
		 text_short(thread->involuntary).s);
	table_add(table, 0,
		  (const char *const[WORKER_COLUMNS]){
			  label, tid, text_percent(busy, whole).s,
			  text_percent(in[INTRO_RUNNING], whole).s,
			  text_percent(in[INTRO_RUNNABLE], whole).s,
			  text_percent(in[INTRO_BLOCKED], whole).s,
			  shown ? text_percent(unknown, whole).s : "", text_percent(idle, whole).s,
			  switches, text_short(thread->migrations).s, text_short(thread->tasks).s});
}

static void print_workers(const struct render *render, const struct intro_report *report,
			  const struct intro_report_pool *pool, bool all)
{
	struct table *table = table_new(worker_columns, WORKER_COLUMNS);
	size_t left_out = 0;

	if (!table)
		return;
	for (size_t i = 0; i < report->threads_n; i++) {
		if (report->threads[i].pool != pool->pool.id)
			continue;
		if (all || table_rows(table) < WORKERS_SHOWN)
			add_worker(table, pool, &report->threads[i], render->utf8);
		else
			left_out++;
	}
	if (table_rows(table)) {
		putc('\n', render->out);
		table_print(table, render, 2);
	}
	if (left_out)
		fprintf(render->out, "  and %s: --all shows them\n",
			text_plural(left_out, "more worker").s);
	table_free(table);
}

static void print_pools(const struct render *render, const struct intro_report *report, bool all)
{
	size_t shown = all || report->pools_n <= POOLS_SHOWN ? report->pools_n : POOLS_SHOWN;

	for (size_t i = 0; i < shown; i++) {
		print_pool_head(render, &report->pools[i], &report->trace);
		print_ledger(render, &report->pools[i].ledger);
		print_cpu(render, &report->pools[i]);
		print_workers(render, report, &report->pools[i], all);
	}
	if (shown < report->pools_n)
		fprintf(render->out, "\nand %s with less time: --all shows them\n",
			text_plural(report->pools_n - shown, "more pool").s);
	if (!report->pools_n)
		fputs("\nNo tasks: no worker pool marked any. A program marks its tasks by using "
		      "the pools of\nlibintrospect-rt, or with <introspect/mark.h>.\n",
		      render->out);
}

/* --- slowest tasks --------------------------------------------------------------------------- */

static const struct table_column slowest_columns[] = {
	{.title = "ID", .right = true, .flex = 8},
	{.title = "NAME", .flex = 8, .optional = true},
	{.title = "WALL", .right = true},
	{.title = "queued", .right = true},
	{.title = "runnable", .right = true},
	{.title = "running", .right = true},
	{.title = "blocked (most)", .flex = 14},
	{.title = "delivered", .right = true, .optional = true, .drop = 1},
	{.title = "unknown", .right = true, .optional = true},
	{.title = "STATUS", .optional = true},
	{.title = "WORKER", .flex = 8},
};

#define SLOWEST_COLUMNS (sizeof(slowest_columns) / sizeof(slowest_columns[0]))

static void find_worker(const struct intro_report *report, uint32_t tid, bool utf8, char *out,
			size_t size)
{
	const struct intro_thread *thread = NULL;

	snprintf(out, size, "%s", "-");
	if (!tid)
		return;
	snprintf(out, size, "%" PRIu32, tid);
	for (size_t i = 0; i < report->threads_n && !thread; i++)
		if (report->threads[i].tid == tid && report->threads[i].pool)
			thread = &report->threads[i];
	for (size_t i = 0; thread && i < report->pools_n; i++)
		if (report->pools[i].pool.id == thread->pool)
			worker_label(out, size, report->pools[i].pool.name, thread->worker, utf8);
}

static void add_slow(struct table *table, const struct intro_report *report,
		     const struct intro_task *task, bool utf8)
{
	const uint64_t *account = task->ledger.account;
	uint64_t wall = intro_ledger_total(&task->ledger);
	struct cause_sum most;
	char id[24], name[160], worker[192], blocked[320];
	const char *status =
		task->status == INTRO_TASK_FINISHED ? "" : intro_task_status_text(task->status);

	snprintf(id, sizeof(id), "%" PRIu64, task->id);
	text_escape(name, sizeof(name), task->name, strlen(task->name), utf8);
	find_worker(report, task->worker_tid, utf8, worker, sizeof(worker));
	causes_most(&task->ledger, INTRO_BLOCKED, utf8, &most);
	snprintf(blocked, sizeof(blocked), "%s", text_ns_or_dot(account[INTRO_BLOCKED], utf8).s);
	if (most.ns)
		snprintf(blocked, sizeof(blocked), "%s (%s %s)", text_ns(account[INTRO_BLOCKED]).s,
			 most.label, text_ns(most.ns).s);
	table_add(table, 0,
		  (const char *const[SLOWEST_COLUMNS]){
			  id, name, text_ns(wall).s, text_ns_or_dot(account[INTRO_QUEUED], utf8).s,
			  text_ns_or_dot(account[INTRO_RUNNABLE], utf8).s,
			  text_ns_or_dot(account[INTRO_RUNNING], utf8).s, blocked,
			  /* seldom more than a moment; without a column for that */
			  account[INTRO_DELIVERED] > wall / 100
				  ? text_ns(account[INTRO_DELIVERED]).s
				  : "",
			  account[INTRO_UNKNOWN] ? text_ns(account[INTRO_UNKNOWN]).s : "", status,
			  worker});
}

static void print_slowest(const struct render *render, const struct intro_report *report)
{
	struct table *table;

	if (!report->slowest_n)
		return;
	table = table_new(slowest_columns, SLOWEST_COLUMNS);
	if (!table)
		return;
	for (size_t i = 0; i < report->slowest_n; i++)
		add_slow(table, report, &report->slowest[i].task, render->utf8);
	fprintf(render->out, "\n%sSLOWEST TASKS%s\n", render_colour(render, COLOUR_BOLD),
		render_colour(render, COLOUR_NONE));
	table_print(table, render, 2);
	table_free(table);
}

/* --- other threads --------------------------------------------------------------------------- */

static const struct table_column other_columns[] = {
	{.title = "THREAD", .flex = 8},
	{.title = "TID", .right = true},
	{.title = "PID", .right = true},
	{.title = "running", .right = true},
	{.title = "runnable", .right = true},
	{.title = "blocked", .right = true},
	{.title = "unknown", .right = true, .optional = true},
	{.title = "switches vol/inv", .right = true, .drop = 1},
	{.title = "migrations", .right = true, .drop = 2},
};

#define OTHER_COLUMNS (sizeof(other_columns) / sizeof(other_columns[0]))

static void add_other(struct table *table, const struct intro_thread *thread, bool utf8)
{
	const uint64_t *ns = thread->states_ns;
	char name[80], tid[16], pid[16], switches[176];

	text_escape(name, sizeof(name), thread->name, INTRO_COMM_BYTES, utf8);
	snprintf(tid, sizeof(tid), "%" PRIu32, thread->tid);
	snprintf(pid, sizeof(pid), "%" PRIu32, thread->pid);
	snprintf(switches, sizeof(switches), "%s / %s", text_short(thread->voluntary).s,
		 text_short(thread->involuntary).s);
	table_add(table, ns[INTRO_STATE_RUNNING],
		  (const char *const[OTHER_COLUMNS]){
			  name, tid, pid, text_ns(ns[INTRO_STATE_RUNNING]).s,
			  text_ns(ns[INTRO_STATE_RUNNABLE] + ns[INTRO_STATE_NEW]).s,
			  text_ns(ns[INTRO_STATE_BLOCKED]).s,
			  ns[INTRO_STATE_UNKNOWN] ? text_ns(ns[INTRO_STATE_UNKNOWN]).s : "",
			  switches, text_short(thread->migrations).s});
}

static void print_others(const struct render *render, const struct intro_report *report,
			 size_t shown)
{
	struct table *table = table_new(other_columns, OTHER_COLUMNS);
	size_t n;

	if (!table)
		return;
	for (size_t i = 0; i < report->threads_n; i++) {
		const struct intro_thread *thread = &report->threads[i];

		/* pid 0: met on a CPU, and never introduced; not one of those that are traced */
		if (!thread->pool && thread->target && thread->pid &&
		    thread->states_ns[INTRO_STATE_RUNNING])
			add_other(table, thread, render->utf8);
	}
	n = table_rows(table);
	table_keep(table, shown);
	if (table_rows(table)) {
		fprintf(render->out, "\n%sOTHER BUSY THREADS%s\n",
			render_colour(render, COLOUR_BOLD), render_colour(render, COLOUR_NONE));
		table_print(table, render, 2);
	}
	if (n > shown)
		fprintf(render->out, "  and %s: `introspect threads` shows them\n",
			text_plural(n - shown, "more thread").s);
	table_free(table);
}

void render_report(const struct render *render, const struct intro_report *report,
		   const struct render_report_options *options)
{
	render_trace(render, &report->trace);
	print_pools(render, report, options->all);
	print_slowest(render, report);
	print_others(render, report, options->want_others ? options->others : OTHERS_SHOWN);
}
