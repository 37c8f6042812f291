/* SPDX-License-Identifier: BSD-2-Clause */
/* A periodic worker beside a stats printer: what must be on time, and who tells how it went. */
#include <errno.h>
#include <string.h>

#include <introspect/periodic.h>

#include "workload.h"

/* The printer comes once for so many runs of the work. */
#define RUNS_A_LINE 10
/* A run is due when the length of eight has passed. */
#define SPACING 8

struct beat {
	struct intro_periodic *worker;
	uint64_t seed, steps, expect;
	uint32_t left, wrong, lines;
	struct truth *truth; /* of the next run; NULL: not wanted */
};

static int task_beat(struct intro_call *call)
{
	struct beat *beat = (struct beat *)call->arg;

	truth_begin(beat->truth, call);
	beat->wrong += workload_spin(beat->seed, beat->steps) != beat->expect;
	truth_end(beat->truth);
	if (beat->truth)
		beat->truth++->name = "beat";
	return --beat->left ? 0 : INTRO_NEVER_AGAIN;
}

static int task_print(struct intro_call *call)
{
	struct beat *beat = (struct beat *)call->arg;
	struct intro_periodic_watch watch;

	if (intro_periodic_watch(beat->worker, 0, &watch))
		return 1;
	beat->lines++;
	printf("%llu runs, %llu overruns, %.1f ms of work, %.1f ms late\n",
	       (unsigned long long)watch.runs, (unsigned long long)watch.overruns,
	       (double)watch.elapsed_ns / 1e6, (double)watch.waited_ns / 1e6);
	return watch.never_again ? INTRO_NEVER_AGAIN : 0;
}

static int beat_run(struct beat *beat, uint64_t spacing)
{
	struct intro_periodic_task work = {.size = sizeof(work),
					   .name = "beat",
					   .fn = task_beat,
					   .arg = beat,
					   .spacing_ns = (int64_t)spacing,
					   .run_immediately = true};
	struct intro_periodic_task print = {.size = sizeof(print),
					    .name = "print",
					    .fn = task_print,
					    .arg = beat,
					    .spacing_ns = (int64_t)spacing * RUNS_A_LINE};
	int err;

	if ((err = intro_periodic_add(beat->worker, &work)) < 0 ||
	    (err = intro_periodic_add(beat->worker, &print)) < 0 ||
	    (err = intro_periodic_start(beat->worker, INTRO_PERIODIC_STOP_IF_EMPTY)) < 0)
		return err;
	return intro_periodic_wait(beat->worker, INTRO_FOREVER);
}

int workload_periodic_run(struct workload_run *run)
{
	struct intro_periodic_options options = {.size = sizeof(options), .name = "periodic"};
	struct beat beat = {.seed = workload_random(&run->seed), .left = run->tasks};
	struct intro_executor_options pool = {
		.size = sizeof(pool), .name = "periodic", .workers = run->workers};
	struct intro_periodic_watch watch = {0};
	struct truth *truths = run->truth ? truth_new(run->tasks) : NULL;
	int err;

	if (run->truth && !truths)
		return workload_fail("out of memory");
	beat.truth = truths;
	beat.steps = (uint64_t)((double)run->length_ns * run->rate);
	beat.expect = workload_spin_expect(beat.seed, beat.steps);
	options.executor = intro_thread_executor_new(&pool);
	beat.worker = options.executor ? intro_periodic_new(&options) : NULL;
	err = beat.worker ? beat_run(&beat, run->length_ns * SPACING) : -errno;
	if (beat.worker)
		intro_periodic_watch(beat.worker, 0, &watch);
	intro_periodic_free(beat.worker);
	if (truths)
		truth_write(run->truth, "periodic", truths, run->tasks);
	truth_free(truths, run->tasks);
	intro_executor_free(options.executor);
	if (err < 0)
		return workload_fail("the periodic worker: %s", strerror(-err));
	if (watch.runs != run->tasks || watch.failures || beat.wrong || !beat.lines)
		return workload_fail("%llu of %u runs, %u of them wrong, %u lines printed",
				     (unsigned long long)watch.runs, run->tasks, beat.wrong,
				     beat.lines);
	snprintf(run->note, sizeof(run->note), "; %llu overruns",
		 (unsigned long long)watch.overruns);
	return 0;
}
