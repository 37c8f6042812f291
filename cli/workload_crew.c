/* SPDX-License-Identifier: BSD-2-Clause */
/* A pool with its tasks, and the tasks that more than one workload has. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "workload.h"

/* Tasks in flight for each worker: one runs, and one is there when it ends. */
#define BACKLOG 2

static int crew_allocate(struct crew *crew, void *shared)
{
	size_t n = crew->tasks ? crew->tasks : 1;

	crew->jobs = calloc(n, sizeof(*crew->jobs));
	crew->futures = aligned_alloc(_Alignof(struct intro_future), n * sizeof(*crew->futures));
	if (!crew->jobs || !crew->futures)
		return -1;
	for (size_t i = 0; i < crew->tasks; i++)
		intro_future_init(&crew->futures[i]);
	if (crew->run->truth) {
		crew->truths = truth_new(crew->tasks);
		if (!crew->truths)
			return -1;
	}
	for (size_t i = 0; i < crew->tasks; i++) {
		crew->jobs[i] = (struct job){
			.truth = crew->truths ? &crew->truths[i] : NULL,
			.seed = workload_random(&crew->run->seed),
			.shared = shared,
			.bytes = crew->process,
		};
	}
	return 0;
}

/* The pool that tasks of this kind run on; lock: held by them, or NULL. */
static struct intro_executor *crew_executor(const struct crew *crew, unsigned workers,
					    struct intro_interpreter *lock)
{
	struct intro_executor_options options = {
		.size = sizeof(options),
		.name = crew->name,
		.workers = workers,
	};

	if (lock)
		return intro_interpreter_executor_new(lock, &options);
	return crew->process ? intro_process_executor_new(&options)
			     : intro_thread_executor_new(&options);
}

static struct crew *crew_make(struct workload_run *run, enum intro_pool_kind kind, const char *name,
			      unsigned workers, size_t tasks, void *shared,
			      struct intro_interpreter *lock)
{
	struct crew *crew = calloc(1, sizeof(*crew));

	if (!crew) {
		workload_fail("out of memory");
		return NULL;
	}
	*crew = (struct crew){.run = run,
			      .name = name,
			      .tasks = tasks,
			      .window = BACKLOG * workers,
			      .process = kind == INTRO_POOL_PROCESS};
	/* memory first: process workers inherit the truth's mapping */
	if (crew_allocate(crew, shared) == 0)
		crew->executor = crew_executor(crew, workers, lock);
	if (!crew->executor) {
		workload_fail("cannot make pool '%s' of %u workers and %zu tasks: %s", name,
			      workers, tasks, strerror(errno));
		crew_free(crew);
		return NULL;
	}
	return crew;
}

struct crew *crew_new(struct workload_run *run, enum intro_pool_kind kind, const char *name,
		      unsigned workers, size_t tasks, void *shared)
{
	return crew_make(run, kind, name, workers, tasks, shared, NULL);
}

struct crew *crew_new_locked(struct workload_run *run, struct intro_interpreter *lock,
			     const char *name, unsigned workers, size_t tasks, void *shared)
{
	return crew_make(run, INTRO_POOL_THREAD, name, workers, tasks, shared, lock);
}

struct job *crew_job(struct crew *crew)
{
	return &crew->jobs[crew->submitted];
}

struct job *crew_job_spin(struct crew *crew, uint64_t ns)
{
	struct job *job = crew_job(crew);

	job->steps = (uint64_t)((double)ns * crew->run->rate);
	job->expect = workload_spin_expect(job->seed, job->steps);
	return job;
}

/* The task that must have ended before the next is submitted; NULL: none. */
static struct intro_future *crew_gate(struct crew *crew)
{
	return crew->submitted < crew->window ? NULL
					      : &crew->futures[crew->submitted - crew->window];
}

bool crew_has_room(struct crew *crew)
{
	struct intro_future *gate = crew_gate(crew);

	return !gate || intro_future_done(gate);
}

int crew_submit(struct crew *crew, const struct task_kind *kind)
{
	struct intro_future *gate = crew_gate(crew);
	size_t i = crew->submitted;
	struct job *job = &crew->jobs[i];
	struct intro_error error;
	int err;

	/* how it ended is looked at in crew_wait */
	if (gate)
		intro_future_error(gate, INTRO_FOREVER, &error);
	truth_submit(job->truth, kind->name);
	err = intro_executor_submit_named(crew->executor, &crew->futures[i], kind->mark, kind->fn,
					  job, sizeof(*job));
	if (err) {
		if (!intro_executor_broken(crew->executor, &error))
			error = (struct intro_error){0};
		crew->broken = true;
		return workload_fail("pool '%s' takes no task: %s", crew->name,
				     error.text[0] ? error.text : strerror(-err));
	}
	crew->submitted++;
	return 0;
}

static bool result_is(const struct crew *crew, const struct intro_result *result, uint64_t expect)
{
	uint64_t value;

	if (!crew->process)
		return (uint64_t)(uintptr_t)result->data == expect;
	if (result->size != sizeof(value))
		return false;
	memcpy(&value, result->data, sizeof(value));
	return value == expect;
}

int crew_wait(struct crew *crew)
{
	/* of a broken pool one line is enough */
	int status = crew->broken;

	for (size_t i = 0; i < crew->submitted; i++) {
		struct intro_result result;
		struct intro_error error;
		int err = intro_future_result(&crew->futures[i], INTRO_FOREVER, &result);

		if (status)
			continue;
		if (err == 0 && result_is(crew, &result, crew->jobs[i].expect))
			continue;
		if (err == 0) {
			status = workload_fail("pool '%s', task %zu: wrong result", crew->name, i);
			continue;
		}
		if (intro_future_error(&crew->futures[i], INTRO_FOREVER, &error))
			error = (struct intro_error){.text = "cancelled"};
		status = workload_fail("pool '%s', task %zu: %s", crew->name, i, error.text);
	}
	return status;
}

void crew_free(struct crew *crew)
{
	if (!crew)
		return;
	/* the workers still live, so the kernel still knows what they used */
	if (crew->truths && crew->executor) {
		truth_write(crew->run->truth, crew->name, crew->truths, crew->submitted);
		truth_write_threads(crew->run->truth, crew->name, crew->truths, crew->submitted);
	}
	intro_executor_free(crew->executor);
	for (size_t i = 0; crew->jobs && crew->futures && i < crew->tasks; i++)
		intro_future_destroy(&crew->futures[i]);
	truth_free(crew->truths, crew->tasks);
	free(crew->futures);
	free(crew->jobs);
	free(crew);
}

int job_return(struct intro_call *call, uint64_t value)
{
	const struct job *job = job_of(call);

	truth_end(job->truth);
	if (job->bytes)
		return intro_call_return(call, &value, sizeof(value));
	return intro_call_return(call, (void *)(uintptr_t)value, 0);
}

int task_spin(struct intro_call *call)
{
	const struct job *job = job_of(call);

	truth_begin(job->truth, call);
	return job_return(call, workload_spin(job->seed, job->steps));
}

void job_sleep(const struct job *job, uint64_t ns)
{
	struct timespec left = {.tv_sec = (time_t)(ns / 1000000000),
				.tv_nsec = (long)(ns % 1000000000)};
	uint64_t begin = job->truth ? workload_now() : 0;

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
	if (job->truth) {
		job->truth->slept_ns += workload_now() - begin;
		job->truth->sleep_asked_ns += ns;
	}
}

int task_sleep(struct intro_call *call)
{
	const struct job *job = job_of(call);

	truth_begin(job->truth, call);
	job_sleep(job, job->ns);
	return job_return(call, job->ns);
}

void job_lock(const struct job *job, pthread_mutex_t *mutex)
{
	uint64_t begin = job->truth ? workload_now() : 0;

	pthread_mutex_lock(mutex);
	if (job->truth)
		job->truth->lock_wait_ns += workload_now() - begin;
}
