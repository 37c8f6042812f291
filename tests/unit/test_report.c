// SPDX-License-Identifier: BSD-2-Clause
/* test_report.c - a trace file, summed: against the toy machine's own account, and at its limits.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <introspect/report.h>

#include "ledger_check.h"
#include "sim.h"
#include "trace_file.h"

static void append(void *ctx, const struct intro_rec *record)
{
	struct intro_trace_writer *writer = ctx;
	uint32_t stream = record->kind >= 64			? INTRO_STREAM_MARKS(record->tid)
			  : record->kind == INTRO_KIND_SNAPSHOT ? INTRO_STREAM_CONTROL
								: INTRO_STREAM_CPU(record->cpu);

	assert_int_equal(intro_trace_writer_append(writer, stream, record,
						   (size_t)record->rows * INTRO_ROW_BYTES),
			 0);
}

static void define_pool(struct intro_trace_writer *writer)
{
	struct intro_rec_def def = {
		.rec = {.ts = 1, .kind = INTRO_KIND_DEF, .rows = 2, .cpu = INTRO_CPU_NONE},
		.id = SIM_POOL,
		.def = INTRO_DEF_POOL,
		.pool_kind = INTRO_POOL_THREAD,
		.workers = SIM_WORKERS,
		.name = "toys"};

	assert_int_equal(intro_trace_writer_append(writer, INTRO_STREAM_CONTROL, &def, sizeof(def)),
			 0);
}

/* A trace file of the toy machine; meta is JSON with %lu for the begin and the end, or NULL. */
static struct intro_trace *make_trace(struct sim *sim, unsigned steps, const char *meta)
{
	int fd = memory_file(), copy = dup(fd);
	struct intro_trace_writer *writer = intro_trace_writer_new(fd, NULL);
	struct intro_trace *trace;
	struct bytes bytes;
	char json[1024];

	assert_non_null(writer);
	define_pool(writer);
	sim_run(sim, &(struct sim_options){.seed = 11, .steps = steps}, append, writer);
	if (meta) {
		snprintf(json, sizeof(json), meta, (unsigned long)sim->begin,
			 (unsigned long)sim->end);
		assert_int_equal(intro_trace_writer_meta(writer, json), 0);
	}
	assert_int_equal(intro_trace_writer_close(writer), 0);
	bytes = memory_file_bytes(copy);
	trace = open_bytes(bytes.data, bytes.size);
	assert_non_null(trace);
	close(copy);
	free(bytes.data);
	return trace;
}

static const char *const meta_text =
	"{\"source\":\"bpf\",\"kernel\":\"6.1\",\"cpus\":3,\"nodes\":1,"
	"\"command\":[\"./toys\",\"-x\",\"1\"],\"start_ns\":%lu,\"end_ns\":%lu,"
	"\"tracer\":{\"cpu_ns\":2500000000},\"lost\":{\"cpu\":[0,0,0],\"marks\":0}}";

struct seen_tasks {
	size_t n;
	uint64_t walls[SIM_TASKS];
	double last_progress;
};

static void on_task(void *ctx, const struct intro_task *task, const char *pool_name)
{
	struct seen_tasks *seen = ctx;

	check_task(task);
	assert_string_equal(pool_name, "toys");
	seen->walls[seen->n++] = task->done_ns - task->submit_ns;
}

static void on_progress(void *ctx, double done)
{
	struct seen_tasks *seen = ctx;

	assert_true(done >= seen->last_progress && done <= 1.0);
	seen->last_progress = done;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void assert_close(uint64_t got, uint64_t want)
{
	uint64_t off = got > want ? got - want : want - got;

	assert_true(off * 1000 <= want);
}

static void check_pool(const struct intro_report *report, const struct sim *sim,
		       struct seen_tasks *seen)
{
	const struct intro_report_pool *pool = &report->pools[0];
	uint64_t running = 0, charged = 0, sum = 0;

	assert_int_equal(report->pools_n, 1);
	assert_string_equal(pool->pool.name, "toys");
	assert_int_equal(pool->pool.kind, INTRO_POOL_THREAD);
	assert_int_equal(pool->pool.submitted, sim->tasks);
	assert_int_equal(pool->pool.finished, sim->ended);
	assert_int_equal(pool->pool.workers, SIM_WORKERS);
	for (uint32_t i = 0; i < SIM_WORKERS; i++)
		assert_int_equal(pool->worker_tids[i], sim_tid(i));
	for (size_t id = 1; id <= sim->tasks; id++) {
		running += sim->truth[id].running;
		charged += intro_cpu_ns(sim->truth[id].running, sim->truth[id].early);
	}
	for (size_t i = 0; i < seen->n; i++)
		sum += seen->walls[i];
	check_ledger(&pool->ledger);
	assert_int_equal(pool->ledger.account[INTRO_RUNNING], running);
	assert_int_equal(pool->cpu_ns, charged);
	assert_true(charged != running);
	assert_int_equal(intro_ledger_total(&pool->ledger), sum);
	assert_int_equal(pool->wall.sum, sum);
	qsort(seen->walls, seen->n, sizeof(seen->walls[0]), compare);
	assert_close(pool->wall.p50, seen->walls[(seen->n * 50 + 99) / 100 - 1]);
	assert_close(pool->wall.p99, seen->walls[(seen->n * 99 + 99) / 100 - 1]);
	assert_int_equal(pool->wall.max, seen->walls[seen->n - 1]);
	assert_true(pool->parallelism > 0.1 && pool->parallelism <= SIM_CPUS);
}

static void test_report(void **state)
{
	struct sim *sim = malloc(sizeof(*sim));
	struct seen_tasks *seen = calloc(1, sizeof(*seen));
	struct intro_trace *trace = make_trace(sim, 20000, meta_text);
	struct intro_report_options options = {.size = sizeof(options),
					       .slowest = 5,
					       .task = on_task,
					       .progress = on_progress,
					       .ctx = seen};
	struct intro_report *report = intro_report_new(trace, &options);

	assert_non_null(report);
	assert_string_equal(report->trace.source, "bpf");
	assert_string_equal(report->trace.kernel, "6.1");
	assert_string_equal(report->trace.command, "./toys -x 1");
	assert_int_equal(report->trace.cpus, 3);
	assert_int_equal(report->trace.nodes, 1);
	assert_true(report->trace.tracer_cpu_s == 2.5);
	assert_int_equal(report->trace.duration_ns, sim->end - sim->begin);
	assert_int_equal(report->trace.lost, 0);
	assert_false(report->trace.damage.truncated);
	assert_int_equal(seen->n, sim->tasks);
	check_pool(report, sim, seen);
	assert_int_equal(report->slowest_n, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(report->slowest[i].task.done_ns -
					 report->slowest[i].task.submit_ns,
				 seen->walls[seen->n - 1 - i]);
	assert_string_equal(report->slowest[0].task.pool_name, "toys");
	/* the workers by index, then the submitter */
	assert_int_equal(report->threads_n, SIM_WORKERS + 1);
	for (uint32_t i = 0; i < SIM_WORKERS; i++) {
		assert_int_equal(report->threads[i].tid, sim_tid(i));
		for (int s = 0; s < INTRO_STATES; s++)
			assert_int_equal(report->threads[i].states_ns[s], sim->worker[i].states[s]);
	}
	intro_report_free(report);
	intro_trace_free(trace);
	free(seen);
	free(sim);
}

/* Threads above the limit are summed into one. */
static void test_many_threads(void **state)
{
	struct sim *sim = malloc(sizeof(*sim));
	struct intro_trace *trace = make_trace(sim, 5000, meta_text);
	struct intro_report_options options = {.size = sizeof(options), .max_threads = 3};
	struct intro_report *report = intro_report_new(trace, &options);
	uint64_t ns = 0;

	assert_non_null(report);
	assert_int_equal(report->threads_n, 3);
	assert_int_equal(report->others_n, SIM_WORKERS + 1 - 3);
	for (int s = 0; s < INTRO_STATES; s++)
		ns += report->others.states_ns[s];
	assert_int_equal(ns, report->others_n * (sim->end - sim->begin));
	assert_non_null(report->others.in_tasks);
	check_ledger(report->others.in_tasks);
	intro_report_free(report);
	intro_trace_free(trace);
	free(sim);
}

/* A trace that says nothing of itself, one that says nonsense, and one that was cut short. */
static void test_meta(void **state)
{
	static const char *const metas[] = {
		NULL,
		"{\"source\":7,\"command\":{\"a\":1},\"cpus\":\"many\",\"start_ns\":-5,"
		"\"tracer\":[],\"lost\":3}",
		"{\"cut\":\"of a sudden\"}"};
	struct sim *sim = malloc(sizeof(*sim));

	for (size_t i = 0; i < 3; i++) {
		struct intro_trace *trace = make_trace(sim, 3000, metas[i]);
		struct intro_report *report = intro_report_new(trace, NULL);

		assert_non_null(report);
		assert_string_equal(report->trace.source, "");
		assert_string_equal(report->trace.command, "");
		assert_int_equal(report->trace.cpus, 0);
		assert_string_equal(report->trace.cut, i == 2 ? "of a sudden" : "");
		assert_true(report->trace.tracer_cpu_s < 0);
		assert_int_equal(report->pools[0].pool.submitted, sim->tasks);
		intro_report_free(report);
		intro_trace_free(trace);
	}
	free(sim);
	intro_report_free(NULL);
}

/* A last gap which no record behind it tells of is in META alone. */
static void test_lost(void **state)
{
	struct sim *sim = malloc(sizeof(*sim));
	struct intro_trace *trace =
		make_trace(sim, 3000, "{\"lost\":{\"cpu\":[3,0,4],\"marks\":5}}");
	struct intro_report *report = intro_report_new(trace, NULL);

	assert_non_null(report);
	assert_int_equal(report->trace.lost, 12);
	intro_report_free(report);
	intro_trace_free(trace);
	free(sim);
}

static void dying(struct intro_trace_writer *writer, uint64_t ts)
{
	struct intro_rec_task task = {
		.rec = {.ts = ts, .kind = INTRO_KIND_FORK, .rows = 2, .tid = 9},
		.tgid = 9,
		.start_time = ts,
		.flags = INTRO_TASK_TARGET};
	struct intro_rec_switch in = {.rec = {.ts = ts + 10, .kind = INTRO_KIND_SWITCH, .rows = 1},
				      .next_tid = 9,
				      .sysnr = INTRO_SYS_NONE};
	struct intro_rec_switch out = in;

	append(writer, &task.rec);
	append(writer, &in.rec);
	out.rec.ts += 20;
	out.rec.tid = 9;
	out.next_tid = 0;
	out.state = INTRO_OFF_DEAD;
	append(writer, &out.rec);
}

/* A thread that died is dead from then to the end; two of one tid are two. */
static void test_dead(void **state)
{
	int fd = memory_file(), copy = dup(fd);
	struct intro_trace_writer *writer = intro_trace_writer_new(fd, NULL);
	struct intro_report *report;
	struct intro_trace *trace;
	struct bytes bytes;

	dying(writer, 1000);
	dying(writer, 2000);
	intro_trace_writer_meta(writer, "{\"start_ns\":1000,\"end_ns\":3000}");
	assert_int_equal(intro_trace_writer_close(writer), 0);
	bytes = memory_file_bytes(copy);
	trace = open_bytes(bytes.data, bytes.size);
	report = intro_report_new(trace, NULL);
	assert_non_null(report);
	assert_int_equal(report->threads_n, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(report->threads[i].states_ns[INTRO_STATE_NEW], 10);
		assert_int_equal(report->threads[i].states_ns[INTRO_STATE_RUNNING], 20);
		assert_int_equal(report->threads[i].states_ns[INTRO_STATE_DEAD], i ? 970 : 1970);
	}
	intro_report_free(report);
	intro_trace_free(trace);
	close(copy);
	free(bytes.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report), cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_meta),   cmocka_unit_test(test_lost),
		cmocka_unit_test(test_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
