/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads without a pool: sums of random integers, a daemon's heartbeat. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <introspect/threads.h>

#include "workload.h"

/* --- sums ------------------------------------------------------------------------------------ */

struct sum {
	struct truth *truth; /* NULL: not wanted */
	uint64_t seed, count, total;
	struct intro_thread_handle *thread;
};

static uint64_t sum_up(uint64_t seed, uint64_t count)
{
	uint64_t total = 0;

	for (uint64_t i = 0; i < count; i++)
		total += workload_random(&seed) % 100;
	return total;
}

static void *sum_thread(void *arg)
{
	struct sum *sum = arg;

	truth_begin_task(sum->truth, intro_thread_task(intro_thread_current()));
	sum->total = sum_up(sum->seed, sum->count);
	truth_end(sum->truth);
	return sum;
}

static int sum_task(struct intro_call *call)
{
	const struct job *job = job_of(call);

	truth_begin(job->truth, call);
	return job_return(call, sum_up(job->seed, job->steps));
}

/* Each sum on a thread of its own; 0, or 1 after a line on stderr. Sets *ns to the time it took. */
static int sum_in_threads(struct sum *sums, unsigned n, uint64_t *ns)
{
	struct intro_thread_options options = {.size = sizeof(options), .name = "sum"};
	uint64_t begin = workload_now();
	unsigned started = 0;
	int err = 0;

	for (; started < n && !err; started++) {
		sums[started].thread = intro_thread_new(sum_thread, &sums[started], &options);
		truth_submit(sums[started].truth, "sum");
		err = sums[started].thread ? intro_thread_start(sums[started].thread) : -errno;
	}
	for (unsigned i = 0; i < started; i++) {
		if (sums[i].thread)
			intro_thread_join(sums[i].thread, INTRO_FOREVER, NULL);
		intro_thread_free(sums[i].thread);
	}
	*ns = workload_now() - begin;
	return err ? workload_fail("sums: %s", strerror(-err)) : 0;
}

static int sum_in_processes(struct workload_run *run, const struct sum *sums, unsigned n,
			    uint64_t *ns)
{
	struct task_kind kind = task_kind(sum_task, "sum");
	uint64_t begin = workload_now();
	struct crew *crew = crew_new(run, INTRO_POOL_PROCESS, "processes", n, n, NULL);
	int status = 0;

	if (!crew)
		return 1;
	for (unsigned i = 0; i < n && !status; i++) {
		struct job *job = crew_job(crew);

		job->seed = sums[i].seed;
		job->steps = sums[i].count;
		job->expect = sums[i].total;
		status = crew_submit(crew, &kind);
	}
	status |= crew_wait(crew);
	crew_free(crew);
	*ns = workload_now() - begin;
	return status;
}

int workload_sums_run(struct workload_run *run)
{
	unsigned threads = run->workers;
	unsigned processes = run->tasks > threads ? run->tasks - threads : 1;
	unsigned n = threads > processes ? threads : processes;
	struct sum *sums = calloc(n, sizeof(*sums));
	uint64_t in_threads = 0, in_processes = 0, alone = workload_now();
	struct truth *truths = run->truth ? truth_new(threads) : NULL;
	int status;

	if (!sums || (run->truth && !truths)) {
		free(sums);
		truth_free(truths, threads);
		return workload_fail("out of memory");
	}
	run->tasks = threads + processes;
	for (unsigned i = 0; i < n; i++) {
		sums[i].truth = truths && i < threads ? &truths[i] : NULL;
		sums[i].seed = workload_random(&run->seed);
		/* an integer takes 2 to 3 ns */
		sums[i].count = run->length_ns / 2;
	}
	/* what the processes' sums must be, and how long one takes alone */
	for (unsigned i = 0; i < n; i++)
		sums[i].total = sum_up(sums[i].seed, sums[i].count);
	alone = (workload_now() - alone) / n;
	status = sum_in_processes(run, sums, processes, &in_processes);
	status |= sum_in_threads(sums, threads, &in_threads);
	for (unsigned i = 0; i < threads && !status; i++)
		if (sums[i].total != sum_up(sums[i].seed, sums[i].count))
			status = workload_fail("sums: a thread summed wrongly");
	snprintf(run->note, sizeof(run->note),
		 "; a sum alone %.1f ms, %u threads %.1f ms, %u processes %.1f ms",
		 (double)alone / 1e6, threads, (double)in_threads / 1e6, processes,
		 (double)in_processes / 1e6);
	if (truths)
		truth_write(run->truth, "threads", truths, threads);
	truth_free(truths, threads);
	free(sums);
	return status;
}

/* --- heartbeat ------------------------------------------------------------------------------- */

#define BEAT (10 * WORKLOAD_MS)

/* Not of the stack: the daemon beats until the process ends. */
static atomic_uint beats;

static void *beat(void *arg)
{
	struct timespec t = {.tv_nsec = BEAT};

	for (;;) {
		nanosleep(&t, NULL);
		atomic_fetch_add(&beats, 1);
	}
	return NULL;
}

struct foreground {
	struct workload_run *run;
	struct truth *truth; /* NULL: not wanted */
};

static void *work(void *arg)
{
	struct foreground *foreground = arg;
	struct workload_run *run = foreground->run;
	uint64_t x = run->seed, steps = (uint64_t)((double)run->length_ns * run->rate);
	bool right = true;

	truth_begin_task(foreground->truth, intro_thread_task(intro_thread_current()));
	for (uint32_t i = 0; i < run->tasks && right; i++, x++)
		right = workload_spin(x, steps) == workload_spin_expect(x, steps);
	truth_end(foreground->truth);
	return right ? foreground : NULL;
}

/* NULL after a line on stderr. */
static struct intro_thread_handle *start_thread(intro_thread_fn fn, void *arg, const char *name,
						bool daemon)
{
	struct intro_thread_options options = {.size = sizeof(options),
					       .name = name,
					       .daemon =
						       daemon ? INTRO_DAEMON_YES : INTRO_DAEMON_NO};
	struct intro_thread_handle *thread = intro_thread_new(fn, arg, &options);
	int err = thread ? intro_thread_start(thread) : -errno;

	if (!err)
		return thread;
	intro_thread_free(thread);
	workload_fail("heartbeat: %s", strerror(-err));
	return NULL;
}

int workload_heartbeat_run(struct workload_run *run)
{
	struct foreground foreground = {.run = run, .truth = run->truth ? truth_new(1) : NULL};
	struct intro_thread_handle *heart = start_thread(beat, NULL, "heartbeat", true), *worker;
	uint64_t begin = workload_now();
	void *result = NULL;

	if (!heart)
		return 1;
	truth_submit(foreground.truth, "foreground");
	worker = start_thread(work, &foreground, "foreground", false);
	if (worker)
		intro_thread_join(worker, INTRO_FOREVER, &result);
	snprintf(run->note, sizeof(run->note), "; the daemon beat %u times in %.0f ms, every %.0f",
		 atomic_load(&beats), (double)(workload_now() - begin) / 1e6, (double)BEAT / 1e6);
	intro_thread_free(worker);
	intro_thread_free(heart);
	if (foreground.truth)
		truth_write(run->truth, "threads", foreground.truth, 1);
	truth_free(foreground.truth, 1);
	if (!worker)
		return 1;
	return result ? 0 : workload_fail("heartbeat: a wrong result");
}
