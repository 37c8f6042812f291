/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Four ways for a pool to end with work under way: drained, its pending tasks cancelled,
 * terminated, broken by the death of a worker. What became of each task is counted; none is
 * forgotten.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/process_pool.h>

#include "workload.h"

struct tally {
	uint32_t finished, cancelled, failed;
};

/* Until all are done; how each one ended. */
static void count(struct intro_future *futures, uint32_t n, struct tally *tally)
{
	*tally = (struct tally){0};
	for (uint32_t i = 0; i < n; i++) {
		int err = intro_future_result(&futures[i], INTRO_FOREVER, NULL);

		if (!err)
			tally->finished++;
		else if (intro_future_cancelled(&futures[i]))
			tally->cancelled++;
		else
			tally->failed++;
	}
}

static int task_deadly(struct intro_call *call)
{
	truth_begin(job_of(call)->truth, call);
	raise(SIGKILL);
	return 0;
}

/* All at once, so that most are pending; of `deadly` one task kills its worker. */
static struct crew *crew_full(struct workload_run *run, enum intro_pool_kind kind, const char *name,
			      bool deadly)
{
	struct crew *crew = crew_new(run, kind, name, run->workers, run->tasks, NULL);
	const struct task_kind spin = task_kind(task_spin, "spin"),
			       dies = task_kind(task_deadly, "deadly");

	if (!crew)
		return NULL;
	crew->window = run->tasks;
	while (crew->submitted < crew->tasks) {
		bool dies_now = deadly && crew->submitted == run->tasks / 4;

		crew_job_spin(crew, run->length_ns);
		if (crew_submit(crew, dies_now ? &dies : &spin)) {
			crew_free(crew);
			return NULL;
		}
	}
	return crew;
}

static int end_crew(struct workload_run *run, enum intro_pool_kind kind, const char *name,
		    unsigned flags, struct tally *tally)
{
	struct crew *crew = crew_full(run, kind, name, kind == INTRO_POOL_PROCESS);

	if (!crew)
		return 1;
	/* two in flight for each worker, at most, have been ended by then */
	intro_future_result(&crew->futures[0], INTRO_FOREVER, NULL);
	intro_executor_shutdown(crew->executor, flags);
	count(crew->futures, run->tasks, tally);
	crew_free(crew);
	return 0;
}

static int item_spin(struct intro_call *call)
{
	const struct job *job = job_of(call);

	truth_begin(job->truth, call);
	return job_return(call, workload_spin(job->seed, job->steps));
}

static int submit_items(struct workload_run *run, struct intro_process_pool *pool,
			struct intro_future *futures, struct truth *truths)
{
	int err = 0;

	for (uint32_t i = 0; i < run->tasks && !err; i++) {
		struct job job = {.truth = truths ? &truths[i] : NULL,
				  .seed = i,
				  .steps = (uint64_t)((double)run->length_ns * run->rate),
				  .bytes = true};

		truth_submit(job.truth, NULL);
		err = intro_process_pool_apply_async(pool, &futures[i], item_spin, &job,
						     sizeof(job));
	}
	return err;
}

static int end_pool(struct workload_run *run, struct intro_future *futures, struct truth *truths,
		    struct tally *tally)
{
	struct intro_process_pool_options options = {
		.size = sizeof(options), .name = "terminated", .workers = run->workers};
	struct intro_process_pool *pool = intro_process_pool_new(&options);
	int err;

	if (!pool)
		return workload_fail("shutdown: %s", strerror(errno));
	err = submit_items(run, pool, futures, truths);
	if (!err) {
		intro_future_result(&futures[0], INTRO_FOREVER, NULL);
		intro_process_pool_terminate(pool);
		err = intro_process_pool_join(pool);
	}
	if (!err)
		count(futures, run->tasks, tally);
	intro_process_pool_free(pool);
	if (truths)
		truth_write(run->truth, "terminated", truths, run->tasks);
	return err ? workload_fail("shutdown: %s", strerror(-err)) : 0;
}

static int terminate(struct workload_run *run, struct tally *tally)
{
	struct intro_future *futures =
		aligned_alloc(_Alignof(struct intro_future), run->tasks * sizeof(*futures));
	struct truth *truths = run->truth ? truth_new(run->tasks) : NULL;
	int status;

	for (uint32_t i = 0; futures && i < run->tasks; i++)
		intro_future_init(&futures[i]);
	if (futures && (truths || !run->truth))
		status = end_pool(run, futures, truths, tally);
	else
		status = workload_fail("out of memory");
	for (uint32_t i = 0; futures && i < run->tasks; i++)
		intro_future_destroy(&futures[i]);
	truth_free(truths, run->tasks);
	free(futures);
	return status;
}

int workload_shutdown_run(struct workload_run *run)
{
	struct tally drained, cancelled, terminated, broken;
	int status;

	status = end_crew(run, INTRO_POOL_THREAD, "drained", INTRO_SHUTDOWN_WAIT, &drained);
	status = status ? status
			: end_crew(run, INTRO_POOL_THREAD, "cancelled",
				   INTRO_SHUTDOWN_WAIT | INTRO_SHUTDOWN_CANCEL_PENDING, &cancelled);
	status = status ? status : terminate(run, &terminated);
	status = status ? status
			: end_crew(run, INTRO_POOL_PROCESS, "broken", INTRO_SHUTDOWN_WAIT, &broken);
	if (status)
		return status;
	if (drained.finished != run->tasks)
		return workload_fail("shutdown: %u of %u were drained", drained.finished,
				     run->tasks);
	if (cancelled.failed || !cancelled.finished || !broken.failed)
		return workload_fail("shutdown: %u failed that were to be cancelled, %u broke",
				     cancelled.failed, broken.failed);
	snprintf(run->note, sizeof(run->note),
		 "; %u drained; %u finished, %u cancelled; %u finished, %u terminated; %u "
		 "finished, %u broken",
		 drained.finished, cancelled.finished, cancelled.cancelled, terminated.finished,
		 terminated.cancelled + terminated.failed, broken.finished, broken.failed);
	return 0;
}
