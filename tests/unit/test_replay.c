// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_replay.c - random traces: those of a toy machine, whose own account the ledgers must match
 * to the nanosecond, and wild ones, whose ledgers must still sum; the same twice; bounded memory.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden.h"
#include "ledger_check.h"
#include "sim.h"

struct tape {
	union golden_record *record;
	size_t n, room;
};

static void keep(void *ctx, const struct intro_rec *record)
{
	struct tape *tape = ctx;

	if (tape->n == tape->room) {
		tape->room = tape->room ? tape->room * 2 : 1024;
		tape->record = realloc(tape->record, tape->room * sizeof(*tape->record));
		assert_non_null(tape->record);
	}
	memset(&tape->record[tape->n], 0, sizeof(tape->record[0]));
	memcpy(&tape->record[tape->n++], record, (size_t)record->rows * INTRO_ROW_BYTES);
}

static struct intro_replay_totals play(const struct tape *tape,
				       const struct intro_replay_options *options,
				       const struct intro_replay_sink *sink)
{
	struct intro_replay *replay = intro_replay_new(options, sink);
	struct intro_replay_totals totals;

	assert_non_null(replay);
	for (size_t i = 0; i < tape->n; i++)
		assert_int_equal(intro_replay_push(replay, &tape->record[i].rec), 0);
	assert_int_equal(intro_replay_finish(replay, &totals), 0);
	intro_replay_free(replay);
	return totals;
}

/* --- the toy machine ---------------------------------------------------------------------------
 */

struct compare {
	const struct sim *sim;
	size_t tasks, threads;
	int64_t early; /* of all threads */
	bool exact;
	uint64_t known, unknown;
};

/* Without losses what is booked is what happened; with them never more than that. */
#define assert_booked(compare, booked, happened)                                                   \
	do {                                                                                       \
		if ((compare)->exact)                                                              \
			assert_int_equal(booked, happened);                                        \
		else                                                                               \
			assert_true((booked) <= (happened));                                       \
	} while (0)

static uint64_t sum(const uint64_t *values, size_t n)
{
	uint64_t total = 0;

	while (n--)
		total += values[n];
	return total;
}

static uint64_t held_by(const struct intro_ledger *ledger, enum intro_holder holder)
{
	uint64_t ns = 0;

	for (uint32_t i = 0; i < ledger->splits; i++)
		if (intro_cause_account((enum intro_cause)ledger->split[i].cause) ==
			    INTRO_RUNNABLE &&
		    ledger->split[i].holder == holder)
			ns += ledger->split[i].ns;
	return ns;
}

static void compare_task(void *ctx, const struct intro_task *task)
{
	struct compare *compare = ctx;
	const struct intro_ledger *ledger = &task->ledger;
	const struct sim_truth *truth = &compare->sim->truth[task->id];

	check_task(task);
	compare->tasks++;
	compare->unknown += ledger->account[INTRO_UNKNOWN];
	compare->known += intro_ledger_total(ledger) - ledger->account[INTRO_UNKNOWN];
	assert_int_equal(task->submit_ns, truth->submit);
	assert_int_equal(task->start_ns, truth->start);
	assert_int_equal(task->end_ns, truth->end);
	assert_int_equal(intro_ledger_cause(ledger, INTRO_QUEUED_BUSY), truth->queued[0]);
	assert_int_equal(intro_ledger_cause(ledger, INTRO_QUEUED_WAKEUP), truth->queued[1]);
	assert_booked(compare, ledger->account[INTRO_RUNNING], truth->running);
	assert_booked(compare, ledger->account[INTRO_BLOCKED], sum(truth->blocked, 4));
	assert_booked(compare, ledger->account[INTRO_RUNNABLE], sum(truth->runnable, 3));
	for (unsigned i = 0; i < 4; i++)
		assert_booked(compare, intro_ledger_cause(ledger, sim_blocked_cause(i)),
			      truth->blocked[i]);
	for (unsigned i = 0; i < 3; i++)
		assert_booked(compare, intro_ledger_cause(ledger, sim_runnable_cause(i)),
			      truth->runnable[i]);
	assert_booked(compare, held_by(ledger, INTRO_HELD_POOL), truth->held[1]);
	assert_int_equal(held_by(ledger, INTRO_HELD_OTHER), 0);
	if (!compare->exact)
		return;
	assert_int_equal(ledger->account[INTRO_UNKNOWN], 0);
	if (task->status == INTRO_TASK_FINISHED) {
		assert_int_equal(task->voluntary, truth->voluntary);
		assert_int_equal(task->involuntary, truth->involuntary);
		assert_int_equal(task->migrations, truth->migrations);
	}
	assert_true(task->early_ns == truth->early);
}

static void compare_thread(void *ctx, const struct intro_thread *thread)
{
	struct compare *compare = ctx;
	unsigned i = thread->tid - sim_tid(0);

	check_thread(thread);
	compare->threads++;
	compare->early += thread->early_ns;
	if (i >= SIM_WORKERS)
		return;
	for (int state = 0; state < INTRO_STATES; state++)
		if (state != INTRO_STATE_UNKNOWN)
			assert_booked(compare, thread->states_ns[state],
				      compare->sim->worker[i].states[state]);
	if (compare->exact)
		assert_true(thread->early_ns == compare->sim->worker[i].early);
}

/* With lost marks: where a task was is not always known, but what is booked happened to it. */
static void compare_marked_task(void *ctx, const struct intro_task *task)
{
	struct compare *compare = ctx;
	const uint64_t *account = task->ledger.account;
	const struct sim_truth *truth = &compare->sim->truth[task->id];

	check_task(task);
	compare->tasks++;
	compare->unknown += account[INTRO_UNKNOWN];
	compare->known += intro_ledger_total(&task->ledger) - account[INTRO_UNKNOWN];
	assert_true(account[INTRO_QUEUED] <= sum(truth->queued, 2));
	assert_true(account[INTRO_RUNNING] <= truth->running);
	assert_true(account[INTRO_BLOCKED] <= sum(truth->blocked, 4));
	assert_true(account[INTRO_RUNNABLE] <= sum(truth->runnable, 3));
	if (task->status == INTRO_TASK_FINISHED)
		assert_int_equal(task->done_ns, truth->end);
}

static void run_sim_marks(unsigned seed, bool losses)
{
	struct sim *sim = malloc(sizeof(*sim));
	struct tape tape = {0};
	struct compare compare = {.sim = sim};
	struct intro_replay_sink sink = {
		.ctx = &compare, .task = compare_marked_task, .thread = compare_thread};
	struct intro_replay_options options = {.size = sizeof(options)};
	struct intro_replay_totals totals;

	assert_non_null(sim);
	sim_run(sim,
		&(struct sim_options){
			.seed = seed, .steps = 3000, .losses = losses, .mark_losses = true},
		keep, &tape);
	options.begin_ns = sim->begin;
	options.end_ns = sim->end;
	totals = play(&tape, &options, &sink);
	assert_true(compare.early + totals.idle_early_ns == 0);
	assert_true(sim->lost_marks > 0);
	assert_true(compare.tasks > sim->tasks / 2);
	assert_true(compare.unknown > 0 && compare.known > compare.unknown / 20);
	free(tape.record);
	free(sim);
}

static void run_sim(unsigned seed, unsigned steps, bool losses)
{
	struct sim *sim = malloc(sizeof(*sim));
	struct tape tape = {0};
	struct compare compare = {.sim = sim, .exact = !losses};
	struct intro_replay_sink sink = {
		.ctx = &compare, .task = compare_task, .thread = compare_thread};
	struct intro_replay_options options = {.size = sizeof(options)};
	struct intro_replay_totals totals;

	assert_non_null(sim);
	sim_run(sim, &(struct sim_options){.seed = seed, .steps = steps, .losses = losses}, keep,
		&tape);
	options.begin_ns = sim->begin;
	options.end_ns = sim->end;
	totals = play(&tape, &options, &sink);
	assert_int_equal(compare.tasks, sim->tasks);
	assert_int_equal(compare.threads, SIM_WORKERS + 1);
	assert_int_equal(totals.strange, 0);
	assert_true(totals.idle_early_ns && compare.early + totals.idle_early_ns == 0);
	assert_int_equal(totals.lost, sim->lost);
	/* a test of losses in which all is unknown, or nothing, says nothing */
	if (losses)
		assert_true(compare.unknown > 0 && compare.known > compare.unknown / 20);
	free(tape.record);
	free(sim);
}

static void test_sim(void **state)
{
	for (unsigned seed = 0; seed < 60; seed++)
		run_sim(seed, 3000, false);
	run_sim(1000, 100000, false);
}

static void test_sim_losses(void **state)
{
	for (unsigned seed = 0; seed < 60; seed++)
		run_sim(seed, 3000, true);
}

static void test_sim_mark_losses(void **state)
{
	for (unsigned seed = 0; seed < 60; seed++)
		run_sim_marks(seed, seed % 2);
}

/* --- wild traces -------------------------------------------------------------------------------
 */

static uint64_t random_state;

static uint32_t chance(uint32_t n)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random_state >> 33) % n;
}

static const uint8_t wild_kinds[] = {
#define WILD_KIND(NAME, value, rows, payload, text) value,
	INTRO_KINDS(WILD_KIND)
#undef WILD_KIND
};

/* Numbers from small sets, so that records meet; now and then anything at all. */
static void fill_wild(union golden_record *record, uint64_t *now)
{
	uint8_t *bytes = (uint8_t *)record;

	for (size_t i = 0; i < sizeof(*record); i++)
		bytes[i] = chance(6) ? 0 : (uint8_t)chance(256);
	*now += chance(100) ? chance(1000) : 0;
	record->rec.ts = chance(200) ? *now : *now - chance(5000) + chance(10000);
	record->rec.kind = wild_kinds[chance(sizeof(wild_kinds))];
	record->rec.rows = chance(100) ? 2 : (uint8_t)chance(256);
	record->rec.cpu = chance(50) ? (uint16_t)chance(3) : (uint16_t)chance(65536);
	record->rec.tid = chance(50) ? chance(6) : chance(UINT32_MAX);
	if (record->rec.kind >= 64) {
		record->rec.cpu = INTRO_CPU_NONE;
		record->mark.task = chance(50) ? chance(8) : chance(UINT32_MAX);
		record->mark.a = chance(10) ? chance(4) : chance(UINT32_MAX);
		record->mark.b = chance(10) ? chance(6) : chance(UINT32_MAX);
	} else if (record->rec.kind == INTRO_KIND_SWITCH) {
		record->sw.next_tid = chance(6);
	} else if (record->rec.kind == INTRO_KIND_LOST) {
		if (chance(2))
			record->rec.cpu = INTRO_CPU_NONE;
		record->lost.until_ts =
			chance(20) ? *now + chance(2000) : (uint64_t)chance(9) << 60;
		if (chance(10))
			record->rec.kind = INTRO_KIND_SWITCH;
	} else if (record->rec.kind <= INTRO_KIND_RENAME && record->rec.kind >= INTRO_KIND_TASK) {
		record->task.start_time = chance(3);
		record->task.other_tid = chance(6);
		record->task.flags = chance(8);
	}
}

struct wild {
	size_t tasks, threads;
	int64_t early; /* of all threads */
	FILE *out;     /* NULL: only check */
};

static void wild_task(void *ctx, const struct intro_task *task)
{
	struct wild *wild = ctx;
	char line[8 * GOLDEN_LINE];

	check_task(task);
	wild->tasks++;
	if (!wild->out)
		return;
	golden_render_task(task, line, sizeof(line));
	fprintf(wild->out, "%s\n", line);
}

static void wild_thread(void *ctx, const struct intro_thread *thread)
{
	struct wild *wild = ctx;
	char line[8 * GOLDEN_LINE];

	check_thread(thread);
	wild->threads++;
	wild->early += thread->early_ns;
	if (!wild->out)
		return;
	golden_render_thread(thread, line, sizeof(line));
	fprintf(wild->out, "%s\n", line);
}

static void wild_pool(void *ctx, const struct intro_pool *pool)
{
	struct wild *wild = ctx;
	char line[8 * GOLDEN_LINE];

	assert_int_equal(pool->submitted,
			 pool->finished + pool->failed + pool->cancelled + pool->lost + pool->open);
	if (!wild->out)
		return;
	golden_render_pool(pool, line, sizeof(line));
	fprintf(wild->out, "%s\n", line);
}

static void make_wild(struct tape *tape, unsigned seed, size_t n)
{
	uint64_t now = 1000000;

	random_state = seed;
	tape->record = calloc(n, sizeof(*tape->record));
	assert_non_null(tape->record);
	for (tape->n = 0; tape->n < n; tape->n++)
		fill_wild(&tape->record[tape->n], &now);
}

static void test_wild(void **state)
{
	for (unsigned seed = 0; seed < 40; seed++) {
		struct wild wild = {0};
		struct intro_replay_sink sink = {
			.ctx = &wild, .task = wild_task, .thread = wild_thread, .pool = wild_pool};
		struct intro_replay_options options = {
			.size = sizeof(options), .max_tasks = 50, .max_threads = 40};
		struct intro_replay_totals totals;
		struct tape tape;

		if (seed % 2)
			options.begin_ns = 1000000;
		if (seed % 4 == 1)
			options.end_ns = 1900000;
		make_wild(&tape, seed, 5000);
		totals = play(&tape, &options, &sink);
		assert_true(totals.strange > 0);
		assert_true(wild.early + totals.idle_early_ns == 0);
		assert_true(wild.tasks > 0 && wild.threads > 0);
		free(tape.record);
	}
}

/* Freed in the middle, nothing is told and nothing leaks (LeakSanitizer watches). */
static void test_unfinished(void **state)
{
	struct wild wild = {0};
	struct intro_replay_sink sink = {.ctx = &wild};
	struct intro_replay *replay = intro_replay_new(NULL, &sink);
	struct tape tape;

	make_wild(&tape, 99, 2000);
	for (size_t i = 0; i < tape.n; i++)
		assert_int_equal(intro_replay_push(replay, &tape.record[i].rec), 0);
	intro_replay_free(replay);
	intro_replay_free(NULL);
	free(tape.record);
}

static char *transcript(const struct tape *tape, size_t *size)
{
	struct wild wild = {0};
	struct intro_replay_sink sink = {
		.ctx = &wild, .task = wild_task, .thread = wild_thread, .pool = wild_pool};
	struct intro_replay_options options = {.size = sizeof(options)};
	char *text;

	wild.out = open_memstream(&text, size);
	assert_non_null(wild.out);
	play(tape, &options, &sink);
	fclose(wild.out);
	return text;
}

static void assert_same_twice(const struct tape *tape)
{
	size_t sizes[2];
	char *texts[2] = {transcript(tape, &sizes[0]), transcript(tape, &sizes[1])};

	assert_true(sizes[0] > 1000);
	assert_int_equal(sizes[0], sizes[1]);
	assert_memory_equal(texts[0], texts[1], sizes[0]);
	free(texts[0]);
	free(texts[1]);
}

static void test_deterministic(void **state)
{
	struct sim *sim = malloc(sizeof(*sim));
	struct tape tape = {0};

	make_wild(&tape, 7, 5000);
	assert_same_twice(&tape);
	free(tape.record);
	memset(&tape, 0, sizeof(tape));
	sim_run(sim, &(struct sim_options){.seed = 7, .steps = 3000, .losses = true}, keep, &tape);
	assert_same_twice(&tape);
	free(tape.record);
	free(sim);
}

/* --- memory ------------------------------------------------------------------------------------
 */

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void);
static size_t allocated(void)
{
	return __sanitizer_get_current_allocated_bytes();
}
#else
static size_t allocated(void)
{
	return mallinfo2().uordblks;
}
#endif

struct feed {
	struct intro_replay *replay;
	size_t peak, before;
};

static void feed(void *ctx, const struct intro_rec *record)
{
	struct feed *feed = ctx;
	size_t now;

	intro_replay_push(feed->replay, record);
	now = allocated() - feed->before;
	if (now > feed->peak)
		feed->peak = now;
}

static size_t peak_of(struct sim *sim, unsigned steps)
{
	struct feed fed = {.before = allocated()};

	fed.replay = intro_replay_new(NULL, NULL);
	sim_run(sim, &(struct sim_options){.seed = 3, .steps = steps}, feed, &fed);
	intro_replay_free(fed.replay);
	return fed.peak;
}

static void test_memory_length(void **state)
{
	struct sim *sim = malloc(sizeof(*sim));
	size_t short_peak = peak_of(sim, 6000), short_tasks = sim->tasks;
	size_t long_peak = peak_of(sim, 60000);

	/* ten times the tasks: the most that were alive at once differs a little */
	assert_true(sim->tasks > 8 * short_tasks);
	assert_true(long_peak < 2 * short_peak);
	free(sim);
}

/* A million fake tasks, threads and pools: dropped, counted, and small. */
static void test_memory_hostile(void **state)
{
	struct intro_replay_options options = {.size = sizeof(options)};
	size_t before = allocated();
	struct intro_replay *replay = intro_replay_new(&options, NULL);
	struct intro_replay_totals totals;

	for (uint32_t i = 1; i <= 1000000; i++) {
		struct intro_rec_mark mark = {.rec = {.ts = i,
						      .kind = INTRO_KIND_SUBMIT,
						      .rows = 1,
						      .cpu = INTRO_CPU_NONE,
						      .tid = i},
					      .task = i,
					      .a = i};

		assert_int_equal(intro_replay_push(replay, &mark.rec), 0);
	}
	assert_true(allocated() - before < 256u << 20);
	intro_replay_finish(replay, &totals);
	assert_int_equal(totals.dropped_tasks, 1000000 - 262144);
	intro_replay_free(replay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sim),
		cmocka_unit_test(test_sim_losses),
		cmocka_unit_test(test_sim_mark_losses),
		cmocka_unit_test(test_wild),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_deterministic),
		cmocka_unit_test(test_memory_length),
		cmocka_unit_test(test_memory_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
