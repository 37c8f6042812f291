// SPDX-License-Identifier: BSD-2-Clause
/* report.c - a trace, summed: pools, threads, the slowest tasks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "analyze/histogram.h"
#include "analyze/map.h"
#include "analyze/meta.h"
#include "analyze/numa.h"

#define DEFAULT_SLOWEST 10
#define DEFAULT_THREADS 65536
#define PROGRESS_RECORDS 65536

/* What a pool adds up to while the replay runs. */
struct sums {
	uint32_t id;
	char name[INTRO_DEF_BYTES + 8];
	struct intro_ledger ledger;
	uint64_t cpu_ns;
	struct intro__histogram wall;
	struct intro_placement *placement;
	bool listed; /* the replay told of it: it is in the report */
	struct intro_pool pool;
	TAILQ_ENTRY(sums) all;
};

struct build {
	struct intro_report *report;
	struct intro_report_options options;
	struct intro__map pools;
	TAILQ_HEAD(, sums) all;
	size_t pools_n, threads_room;
	struct intro_ledger others;
	bool others_worked;
	struct intro__numa numa;
	int error;
};

/* --- the replay's sink -------------------------------------------------------------------------
 */

static struct sums *sums_of(struct build *build, uint32_t id)
{
	struct sums *sums = intro__map_get(&build->pools, id);

	if (sums)
		return sums;
	sums = calloc(1, sizeof(*sums));
	if (sums)
		sums->placement = intro_placement_new(build->report->topology);
	if (!sums || !sums->placement || intro__map_set(&build->pools, id, sums)) {
		if (sums)
			free(sums->placement);
		free(sums);
		build->error = -ENOMEM;
		return NULL;
	}
	sums->id = id;
	TAILQ_INSERT_TAIL(&build->all, sums, all);
	return sums;
}

static uint64_t wall_of(const struct intro_report_task *entry)
{
	return entry->task.done_ns - entry->task.submit_ns;
}

/* Which of two is less slow; of equals the later, so that the first ones stay. */
static bool faster(const struct intro_report_task *a, const struct intro_report_task *b)
{
	if (wall_of(a) != wall_of(b))
		return wall_of(a) < wall_of(b);
	return a->task.done_ns != b->task.done_ns ? a->task.done_ns > b->task.done_ns
						  : a->task.id > b->task.id;
}

static void swap(struct intro_report_task *a, struct intro_report_task *b)
{
	struct intro_report_task t = *a;

	*a = *b;
	*b = t;
}

static void sift_up(struct intro_report_task *heap, size_t i)
{
	for (; i && faster(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&heap[i], &heap[(i - 1) / 2]);
}

static void sift_down(struct intro_report_task *heap, size_t n)
{
	size_t i = 0;

	for (;;) {
		size_t least = i;

		for (size_t child = 2 * i + 1; child < n && child <= 2 * i + 2; child++)
			if (faster(&heap[child], &heap[least]))
				least = child;
		if (least == i)
			return;
		swap(&heap[i], &heap[least]);
		i = least;
	}
}

/* A heap with the least slow on top keeps the slowest. */
static void keep_slow(struct build *build, const struct intro_task *task)
{
	struct intro_report *report = build->report;
	struct intro_report_task entry;

	entry.task = *task;
	if (!build->options.slowest)
		return;
	if (report->slowest_n == build->options.slowest && faster(&entry, &report->slowest[0]))
		return;
	snprintf(entry.name, sizeof(entry.name), "%s", task->name);
	if (task->placement) {
		entry.task.placement = intro_placement_copy(task->placement);
		if (!entry.task.placement)
			build->error = -ENOMEM;
	}
	if (report->slowest_n < build->options.slowest) {
		report->slowest[report->slowest_n] = entry;
		sift_up(report->slowest, report->slowest_n++);
	} else {
		free((void *)report->slowest[0].task.placement);
		report->slowest[0] = entry;
		sift_down(report->slowest, report->slowest_n);
	}
}

static void on_task(void *ctx, const struct intro_task *task)
{
	struct build *build = ctx;
	struct sums *sums = sums_of(build, task->pool);

	if (!sums)
		return;
	intro_ledger_add(&sums->ledger, &task->ledger);
	sums->cpu_ns += intro_cpu_ns(task->ledger.account[INTRO_RUNNING], task->early_ns);
	if (task->placement)
		intro_placement_add(sums->placement, task->placement);
	if (intro__histogram_add(&sums->wall, task->done_ns - task->submit_ns))
		build->error = -ENOMEM;
	keep_slow(build, task);
	intro__numa_task(&build->numa, task, task->pool_name);
	if (build->options.task)
		build->options.task(build->options.ctx, task, task->pool_name);
}

static void fold(struct build *build, const struct intro_thread *thread)
{
	struct intro_thread *others = &build->report->others;

	build->report->others_n++;
	for (int i = 0; i < INTRO_STATES; i++) {
		others->states_ns[i] += thread->states_ns[i];
		others->idle_ns[i] += thread->idle_ns[i];
	}
	others->early_ns += thread->early_ns;
	others->voluntary += thread->voluntary;
	others->involuntary += thread->involuntary;
	others->migrations += thread->migrations;
	others->runs += thread->runs;
	others->wakeups += thread->wakeups;
	others->tasks += thread->tasks;
	if (thread->in_tasks) {
		intro_ledger_add(&build->others, thread->in_tasks);
		build->others_worked = true;
	}
}

static struct intro_thread *new_thread(struct build *build)
{
	struct intro_report *report = build->report;

	if (report->threads_n == build->threads_room) {
		size_t room = build->threads_room ? build->threads_room * 2 : 64;
		struct intro_thread *threads = realloc(report->threads, room * sizeof(*threads));

		if (!threads) {
			build->error = -ENOMEM;
			return NULL;
		}
		report->threads = threads;
		build->threads_room = room;
	}
	return &report->threads[report->threads_n];
}

static struct intro_ledger *copy_ledger(const struct intro_ledger *ledger)
{
	struct intro_ledger *copy = malloc(sizeof(*copy));

	if (copy)
		*copy = *ledger;
	return copy;
}

static void on_thread(void *ctx, const struct intro_thread *thread)
{
	struct build *build = ctx;
	struct intro_thread *copy;

	if (!thread->target)
		return;
	intro_placement_add(build->report->placement, thread->placement);
	intro__numa_thread(&build->numa, thread);
	if (build->report->threads_n >= build->options.max_threads) {
		fold(build, thread);
		return;
	}
	copy = new_thread(build);
	if (!copy)
		return;
	*copy = *thread;
	copy->in_tasks = thread->in_tasks ? copy_ledger(thread->in_tasks) : NULL;
	copy->placement = intro_placement_copy(thread->placement);
	if (!copy->placement || (thread->in_tasks && !copy->in_tasks))
		build->error = -ENOMEM;
	build->report->threads_n++;
}

static void on_pages(void *ctx, uint32_t on, uint32_t from, uint64_t pages)
{
	intro__numa_pages(&((struct build *)ctx)->numa, on, from, pages);
}

static void on_pool(void *ctx, const struct intro_pool *pool)
{
	struct build *build = ctx;
	struct sums *sums = sums_of(build, pool->id);

	if (!sums)
		return;
	sums->pool = *pool;
	snprintf(sums->name, sizeof(sums->name), "%s", pool->name);
	sums->listed = true;
	build->pools_n++;
}

/* --- afterwards --------------------------------------------------------------------------------
 */

static int compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int compare_pools(const void *a, const void *b)
{
	const struct intro_report_pool *x = a, *y = b;
	int order = compare_u64(y->wall.sum, x->wall.sum);

	return order ? order : compare_u64(x->pool.id, y->pool.id);
}

static void fill_pool(struct intro_report_pool *pool, struct sums *sums)
{
	uint64_t span = sums->pool.last_ns - sums->pool.first_ns;

	pool->pool = sums->pool;
	memcpy(pool->name, sums->name, sizeof(pool->name));
	pool->ledger = sums->ledger;
	pool->cpu_ns = sums->cpu_ns;
	pool->placement = sums->placement;
	sums->placement = NULL;
	intro__histogram_quantiles(&sums->wall, &pool->wall);
	if (sums->pool.last_ns > sums->pool.first_ns)
		pool->parallelism = (double)sums->ledger.account[INTRO_RUNNING] / (double)span;
}

static int list_pools(struct build *build)
{
	struct intro_report *report = build->report;
	struct sums *sums;

	report->pools = calloc(build->pools_n + 1, sizeof(*report->pools));
	if (!report->pools)
		return -ENOMEM;
	TAILQ_FOREACH(sums, &build->all, all)
		if (sums->listed)
			fill_pool(&report->pools[report->pools_n++], sums);
	qsort(report->pools, report->pools_n, sizeof(*report->pools), compare_pools);
	for (size_t i = 0; i < report->pools_n; i++)
		report->pools[i].pool.name = report->pools[i].name;
	return 0;
}

/* Workers by their pool's place in the report and by index, then the rest by time on a CPU. */
struct thread_rank {
	size_t pool; /* its place, or SIZE_MAX */
	size_t thread;
};

static int compare_threads(const void *a, const void *b, void *ctx)
{
	const struct thread_rank *x = a, *y = b;
	const struct intro_thread *threads = ctx;
	const struct intro_thread *s = &threads[x->thread], *t = &threads[y->thread];
	int order = compare_u64(x->pool, y->pool);

	if (!order && x->pool != SIZE_MAX)
		order = compare_u64(s->worker, t->worker);
	if (!order)
		order = compare_u64(t->states_ns[INTRO_STATE_RUNNING],
				    s->states_ns[INTRO_STATE_RUNNING]);
	if (!order)
		order = compare_u64(s->tid, t->tid);
	return order ? order : compare_u64(x->thread, y->thread);
}

static int sort_threads(struct intro_report *report, const struct intro__map *places)
{
	size_t n = report->threads_n;
	struct thread_rank *ranks = calloc(n + 1, sizeof(*ranks));
	struct intro_thread *sorted = calloc(n + 1, sizeof(*sorted));

	if (!ranks || !sorted) {
		free(ranks);
		free(sorted);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		const struct intro_report_pool *pool =
			intro__map_get(places, report->threads[i].pool);

		ranks[i].thread = i;
		ranks[i].pool = pool ? (size_t)(pool - report->pools) : SIZE_MAX;
	}
	qsort_r(ranks, n, sizeof(*ranks), compare_threads, report->threads);
	for (size_t i = 0; i < n; i++)
		sorted[i] = report->threads[ranks[i].thread];
	free(report->threads);
	free(ranks);
	report->threads = sorted;
	return 0;
}

static int list_workers(struct intro_report *report, const struct intro__map *places)
{
	for (size_t i = 0; i < report->pools_n; i++) {
		struct intro_report_pool *pool = &report->pools[i];

		pool->worker_tids = calloc(pool->pool.workers + 1, sizeof(uint32_t));
		if (!pool->worker_tids)
			return -ENOMEM;
		pool->pool.workers = 0;
	}
	for (size_t i = 0; i < report->threads_n; i++) {
		struct intro_report_pool *pool = intro__map_get(places, report->threads[i].pool);

		if (pool)
			pool->worker_tids[pool->pool.workers++] = report->threads[i].tid;
	}
	return 0;
}

static int compare_slowest(const void *a, const void *b)
{
	return faster(a, b) ? 1 : -1;
}

/* The replay lets go of a thread when it dies; from then to the end it is dead. */
static void add_dead(struct intro_report *report)
{
	for (size_t i = 0; i < report->threads_n; i++)
		if (!report->threads[i].alive)
			report->threads[i].states_ns[INTRO_STATE_DEAD] +=
				report->trace.totals.end_ns - report->threads[i].last_ns;
}

static int arrange(struct build *build)
{
	struct intro_report *report = build->report;
	struct intro__map places;
	int err = list_pools(build);

	if (err)
		return err;
	intro__map_init(&places);
	for (size_t i = 0; i < report->pools_n && !err; i++)
		err = intro__map_set(&places, report->pools[i].pool.id, &report->pools[i]);
	if (!err)
		err = sort_threads(report, &places);
	if (!err)
		err = list_workers(report, &places);
	intro__map_free(&places);
	add_dead(report);
	qsort(report->slowest, report->slowest_n, sizeof(*report->slowest), compare_slowest);
	for (size_t i = 0; i < report->slowest_n; i++) {
		report->slowest[i].task.name = report->slowest[i].name;
		report->slowest[i].task.pool_name = "";
		for (size_t k = 0; k < report->pools_n; k++)
			if (report->pools[k].pool.id == report->slowest[i].task.pool)
				report->slowest[i].task.pool_name = report->pools[k].name;
	}
	if (build->others_worked) {
		report->others.in_tasks = copy_ledger(&build->others);
		if (!report->others.in_tasks)
			return -ENOMEM;
	}
	return err;
}

/* --- running it --------------------------------------------------------------------------------
 */

static int push_all(struct build *build, struct intro_trace *trace, struct intro_replay *replay)
{
	struct intro_cursor *cursor = intro_cursor_new(trace);
	const struct intro_rec *record;
	uint64_t first, last, records, done = 0;
	int more;

	if (!cursor)
		return -errno;
	intro_trace_range(trace, &first, &last, &records);
	while ((more = intro_cursor_next(cursor, &record, NULL)) > 0) {
		int err = intro_replay_push(replay, record);

		if (!err)
			err = build->error;
		if (err) {
			intro_cursor_free(cursor);
			return err;
		}
		if (++done % PROGRESS_RECORDS == 0 && build->options.progress && records)
			build->options.progress(build->options.ctx,
						done < records ? (double)done / (double)records
							       : 1.0);
	}
	intro_cursor_free(cursor);
	return more;
}

static void take_meta(struct intro_report *report, struct intro__meta *meta)
{
	report->trace.source = meta->source;
	report->trace.kernel = meta->kernel;
	report->trace.command = meta->command;
	report->trace.cut = meta->cut;
	report->trace.cpus = meta->cpus;
	report->trace.nodes = meta->nodes;
	report->trace.tracer_cpu_s = meta->tracer_cpu_s;
}

static int begin_placement(struct build *build, const char *meta)
{
	struct intro_report *report = build->report;
	int err;

	report->topology = intro_topology_of_meta(meta);
	if (!report->topology)
		return -ENOMEM;
	report->placement = intro_placement_new(report->topology);
	if (!report->placement)
		return -ENOMEM;
	err = intro__numa_begin(&build->numa, report->topology, meta);
	report->numa = build->numa.numa;
	return err;
}

static int run(struct build *build, struct intro_trace *trace)
{
	struct intro_report *report = build->report;
	struct intro_replay_sink sink = {
		.ctx = build,
		.task = on_task,
		.thread = on_thread,
		.pool = on_pool,
		.pages = on_pages,
	};
	struct intro_replay_options options = {.size = sizeof(options)};
	struct intro_replay *replay;
	struct intro__meta meta;
	int err, numa;

	err = intro__meta_read(intro_trace_meta(trace), &meta);
	take_meta(report, &meta);
	if (err)
		return err;
	err = begin_placement(build, intro_trace_meta(trace));
	if (err)
		return err;
	options.topology = report->topology;
	options.begin_ns = meta.start_ns;
	options.end_ns = meta.end_ns;
	replay = intro_replay_new(&options, &sink);
	if (!replay)
		return -ENOMEM;
	err = push_all(build, trace, replay);
	if (!err)
		err = intro_replay_finish(replay, &report->trace.totals);
	intro_replay_free(replay);
	if (!err)
		err = build->error;
	numa = intro__numa_finish(&build->numa);
	if (!err)
		err = numa ? numa : arrange(build);
	report->trace.events = report->trace.totals.records;
	report->trace.lost = report->trace.totals.lost;
	/* the last gap of a ring has no record behind it to tell of it */
	if (meta.lost > report->trace.lost)
		report->trace.lost = meta.lost;
	report->trace.duration_ns = report->trace.totals.end_ns - report->trace.totals.begin_ns;
	intro_trace_damage(trace, &report->trace.damage);
	return err;
}

static void free_sums(struct build *build)
{
	struct sums *sums;

	while ((sums = TAILQ_FIRST(&build->all))) {
		TAILQ_REMOVE(&build->all, sums, all);
		intro__histogram_free(&sums->wall);
		free(sums->placement);
		free(sums);
	}
	intro__map_free(&build->pools);
}

struct intro_report *intro_report_new(struct intro_trace *trace,
				      const struct intro_report_options *options)
{
	struct build build = {.report = calloc(1, sizeof(*build.report))};
	int err = -ENOMEM;

	if (!build.report)
		return NULL;
	if (options)
		memcpy(&build.options, options,
		       options->size < sizeof(*options) ? options->size : sizeof(*options));
	if (!build.options.slowest)
		build.options.slowest = DEFAULT_SLOWEST;
	else if (build.options.slowest == INTRO_REPORT_NONE)
		build.options.slowest = 0;
	if (!build.options.max_threads)
		build.options.max_threads = DEFAULT_THREADS;
	intro__map_init(&build.pools);
	TAILQ_INIT(&build.all);
	build.report->slowest = calloc(build.options.slowest + 1, sizeof(*build.report->slowest));
	if (build.report->slowest)
		err = run(&build, trace);
	free_sums(&build);
	if (err) {
		intro_report_free(build.report);
		errno = -err;
		return NULL;
	}
	return build.report;
}

void intro_report_free(struct intro_report *report)
{
	if (!report)
		return;
	for (size_t i = 0; i < report->threads_n; i++) {
		free((void *)report->threads[i].in_tasks);
		free((void *)report->threads[i].placement);
	}
	for (size_t i = 0; report->pools && i < report->pools_n; i++) {
		free(report->pools[i].worker_tids);
		free(report->pools[i].placement);
	}
	for (size_t i = 0; report->slowest && i < report->slowest_n; i++)
		free((void *)report->slowest[i].task.placement);
	intro__numa_free(report->numa);
	intro_topology_free(report->topology);
	free(report->placement);
	free((void *)report->others.in_tasks);
	free(report->threads);
	free(report->pools);
	free(report->slowest);
	free(report->trace.source);
	free(report->trace.kernel);
	free(report->trace.command);
	free(report->trace.cut);
	free(report);
}
