/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an executor counts and whom it turns away; one that has as many workers as it needs; one
 * whose callers do what is too much for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <introspect/task_group.h>

#include "workload.h"

/* Tasks that may wait in `rejected` and `group`, for each worker. */
#define BACKLOG_A_WORKER 2
/* A dynamic pool is looked after this often, tasks apart. */
#define TASKS_A_MAINTENANCE 4

struct sum {
	struct truth *truth; /* NULL: not wanted */
	uint64_t seed, steps, expect;
	struct intro_future future;
};

static int task_sum(struct intro_call *call)
{
	const struct sum *sum = call->arg;
	bool wrong;

	truth_begin(sum->truth, call);
	wrong = workload_spin(sum->seed, sum->steps) != sum->expect;
	truth_end(sum->truth);
	return wrong;
}

static void pause_ns(uint64_t ns)
{
	struct timespec time = {.tv_sec = (time_t)(ns / 1000000000),
				.tv_nsec = (long)(ns % 1000000000)};

	nanosleep(&time, NULL);
}

static struct sum *sums_new(struct workload_run *run)
{
	struct sum *sums = aligned_alloc(_Alignof(struct sum), run->tasks * sizeof(*sums));
	struct truth *truths = sums && run->truth ? truth_new(run->tasks) : NULL;

	if (sums && run->truth && !truths) {
		free(sums);
		return NULL;
	}
	for (uint32_t i = 0; sums && i < run->tasks; i++) {
		sums[i].truth = truths ? &truths[i] : NULL;
		sums[i].seed = workload_random(&run->seed);
		sums[i].steps =
			(uint64_t)((double)workload_around(&run->seed, run->length_ns) * run->rate);
		sums[i].expect = workload_spin_expect(sums[i].seed, sums[i].steps);
		intro_future_init(&sums[i].future);
	}
	return sums;
}

/* Writes their truth, frees them. NULL is fine. */
static void sums_free(struct workload_run *run, const char *pool, struct sum *sums)
{
	if (sums && sums[0].truth) {
		truth_write(run->truth, pool, sums[0].truth, run->tasks);
		truth_write_threads(run->truth, pool, sums[0].truth, run->tasks);
		truth_free(sums[0].truth, run->tasks);
	}
	free(sums);
}

/* Waits for all, and frees them so. How many failed. */
static uint32_t sums_end(struct workload_run *run, const char *pool, struct sum *sums)
{
	uint32_t failed = 0;

	for (uint32_t i = 0; i < run->tasks; i++) {
		if (intro_future_id(&sums[i].future))
			failed += intro_future_result(&sums[i].future, INTRO_FOREVER, NULL) != 0;
		else
			failed++;
		intro_future_destroy(&sums[i].future);
	}
	sums_free(run, pool, sums);
	return failed;
}

static int submit_until_taken(struct workload_run *run, struct intro_executor *pool,
			      struct sum *sum, uint32_t name)
{
	int err;

	for (;;) {
		truth_submit(sum->truth, "sum");
		err = intro_executor_submit_named(pool, &sum->future, name, task_sum, sum,
						  sizeof(*sum));
		if (err != -EBUSY)
			return err;
		pause_ns(run->length_ns);
	}
}

int workload_rejected_run(struct workload_run *run)
{
	struct intro_executor_options options = {
		.size = sizeof(options),
		.name = "bounded",
		.workers = run->workers,
		.check_and_reject = intro_reject_when_reached(BACKLOG_A_WORKER * run->workers),
		.timed = true};
	struct intro_executor_statistics stats = {.size = sizeof(stats)};
	struct intro_executor *pool = intro_thread_executor_new(&options);
	uint32_t name = intro_mark_name("sum"), failed;
	struct sum *sums = sums_new(run);
	int err = pool && sums ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < run->tasks; i++)
		err = submit_until_taken(run, pool, &sums[i], name);
	failed = sums ? sums_end(run, "bounded", sums) : 0;
	if (pool)
		intro_executor_statistics(pool, &stats);
	intro_executor_free(pool);
	if (err)
		return workload_fail("the bounded pool: %s", strerror(-err));
	if (failed || stats.executed != run->tasks || stats.submitted != run->tasks ||
	    stats.failures || stats.timed != run->tasks)
		return workload_fail("%u of %u tasks wrong, %llu counted", failed, run->tasks,
				     (unsigned long long)stats.executed);
	snprintf(run->note, sizeof(run->note),
		 "; %llu submits rejected, queued %.1f ms and run %.1f ms on average",
		 (unsigned long long)stats.rejected, stats.average_queued_ns / 1e6,
		 stats.average_run_ns / 1e6);
	return 0;
}

static uint64_t workers_of(struct intro_executor *pool)
{
	struct intro_executor_statistics stats = {.size = sizeof(stats)};

	intro_executor_statistics(pool, &stats);
	return stats.workers;
}

/* One at a time, all at once, one at a time: the pool is small, then large, then small again. */
static int wave(struct workload_run *run, struct intro_executor *pool, struct sum *sums,
		uint64_t peak[3])
{
	uint32_t name = intro_mark_name("sum"), third = run->tasks / 3;
	int err = 0;

	for (uint32_t i = 0; !err && i < run->tasks; i++) {
		unsigned phase = i < third ? 0 : i < run->tasks - third ? 1 : 2;
		uint64_t workers;

		truth_submit(sums[i].truth, "sum");
		err = intro_executor_submit_named(pool, &sums[i].future, name, task_sum, &sums[i],
						  sizeof(sums[i]));
		if (!err && phase != 1)
			intro_future_result(&sums[i].future, INTRO_FOREVER, NULL);
		workers = workers_of(pool);
		peak[phase] = workers > peak[phase] ? workers : peak[phase];
		if (!err && phase != 1 && i % TASKS_A_MAINTENANCE == 0)
			err = intro_executor_maintain(pool);
	}
	return err;
}

int workload_dynamic_run(struct workload_run *run)
{
	struct intro_executor_options options = {.size = sizeof(options),
						 .name = "dynamic",
						 .workers = run->workers,
						 .min_workers = 1};
	struct intro_executor *pool = intro_dynamic_executor_new(&options);
	struct sum *sums = sums_new(run);
	uint64_t peak[3] = {0}, last;
	uint32_t failed;
	int err = pool && sums ? 0 : -ENOMEM;

	if (!err)
		err = wave(run, pool, sums, peak);
	failed = sums ? sums_end(run, "dynamic", sums) : 0;
	/* who just ended a task is not asleep yet, and only sleepers leave */
	do {
		if (!err)
			err = intro_executor_maintain(pool);
		last = pool ? workers_of(pool) : 0;
		pause_ns(WORKLOAD_MS);
	} while (!err && last > 1);
	intro_executor_free(pool);
	if (err)
		return workload_fail("the dynamic pool: %s", strerror(-err));
	if (failed || (run->tasks / 3 > run->workers && peak[1] != run->workers))
		return workload_fail("%u of %u tasks wrong, at most %llu of %u workers", failed,
				     run->tasks, (unsigned long long)peak[1], run->workers);
	snprintf(run->note, sizeof(run->note), "; workers: %llu, then %llu, then %llu",
		 (unsigned long long)peak[0], (unsigned long long)peak[1],
		 (unsigned long long)last);
	return 0;
}

/* All of them as one group; *took: ns. 0, or 1 after a line on stderr. */
static int run_group(struct workload_run *run, const char *name, unsigned caller_runs,
		     uint64_t *took)
{
	struct intro_executor_options options = {.size = sizeof(options),
						 .name = name,
						 .workers = run->workers,
						 .caller_runs = caller_runs};
	struct intro_executor *pool = intro_thread_executor_new(&options);
	struct intro_task_group *group = pool ? intro_task_group_new(pool) : NULL;
	struct sum *sums = sums_new(run);
	uint32_t mark = intro_mark_name("sum");
	uint64_t begin = workload_now();
	int err = group && sums ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < run->tasks; i++) {
		truth_submit(sums[i].truth, "sum");
		err = intro_task_group_run_named(group, mark, task_sum, &sums[i], sizeof(sums[i]));
	}
	if (!err)
		err = intro_task_group_wait(group, INTRO_FOREVER, NULL);
	*took = workload_now() - begin;
	intro_task_group_free(group);
	intro_executor_free(pool);
	sums_free(run, name, sums);
	return err ? workload_fail("the pool \"%s\": %s", name, strerror(-err)) : 0;
}

int workload_group_run(struct workload_run *run)
{
	uint64_t queued, shared;

	if (run_group(run, "queued", 0, &queued) ||
	    run_group(run, "callers", BACKLOG_A_WORKER * run->workers, &shared))
		return 1;
	snprintf(run->note, sizeof(run->note),
		 "; %.1f ms with all queued, %.1f ms with callers that run some",
		 (double)queued / 1e6, (double)shared / 1e6);
	return 0;
}
