/* SPDX-License-Identifier: BSD-2-Clause */
/* Two pools of processes: copies of this one, and this program executed anew. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/spawn.h>

#include "workload.h"

struct spin {
	uint64_t seed, steps;
};

/* A spawned worker shares no memory with us: what it knows of a task comes with the result. */
struct answer {
	uint64_t value;
	struct truth truth;
};

static int answer_run(struct intro_call *call)
{
	const struct spin *spin = call->arg;
	struct answer answer = {0};

	truth_begin(&answer.truth, call);
	answer.value = workload_spin(spin->seed, spin->steps);
	truth_end(&answer.truth);
	return intro_call_return(call, &answer, sizeof(answer));
}

int workload_spawned_register(void)
{
	return intro_function_register("answer_run", answer_run);
}

struct spin_task {
	struct intro_future future;
	struct spin spin;
	struct truth truth;
};

static int take_answer(struct spin_task *task)
{
	struct intro_result result;
	struct answer answer;
	int err = intro_future_result(&task->future, INTRO_FOREVER, &result);

	if (err || result.size != sizeof(answer))
		return workload_fail("a task: %s", err ? strerror(-err) : "no result");
	memcpy(&answer, result.data, sizeof(answer));
	answer.truth.name = task->truth.name;
	answer.truth.submit_ns = task->truth.submit_ns;
	task->truth = answer.truth;
	if (answer.value != workload_spin_expect(task->spin.seed, task->spin.steps))
		return workload_fail("a task: wrong result");
	return 0;
}

static int submit_all(struct intro_executor *pool, struct spin_task *tasks, uint32_t n)
{
	uint32_t name = intro_mark_name("spin");
	int err = 0;

	for (uint32_t i = 0; !err && i < n; i++) {
		truth_submit(&tasks[i].truth, "spin");
		err = intro_executor_submit_named(pool, &tasks[i].future, name, answer_run,
						  &tasks[i].spin, sizeof(tasks[i].spin));
	}
	return err ? workload_fail("submit: %s", strerror(-err)) : 0;
}

/* The truths are with the tasks: they are written one by one. */
static void write_truths(struct workload_run *run, const char *pool, struct spin_task *tasks,
			 uint32_t n)
{
	struct truth *truths = run->truth ? truth_new(n) : NULL;

	if (!truths)
		return;
	for (uint32_t i = 0; i < n; i++)
		truths[i] = tasks[i].truth;
	truth_write(run->truth, pool, truths, n);
	truth_write_threads(run->truth, pool, truths, n);
	truth_free(truths, n);
}

/* *first: ns from the call that makes the pool to its first result. */
static int run_pool(struct workload_run *run, enum intro_start_method method, const char *name,
		    struct spin_task *tasks, uint32_t n, uint64_t *first)
{
	struct intro_executor_options options = {.size = sizeof(options),
						 .name = name,
						 .workers = run->workers,
						 .start_method = method};
	uint64_t begin = workload_now();
	struct intro_executor *pool = intro_process_executor_new(&options);
	int status;

	if (!pool)
		return workload_fail("cannot make a pool of %u processes: %s", run->workers,
				     strerror(errno));
	status = submit_all(pool, tasks, n);
	for (uint32_t i = 0; !status && i < n; i++) {
		status = take_answer(&tasks[i]);
		if (!i)
			*first = workload_now() - begin;
	}
	write_truths(run, name, tasks, n);
	intro_executor_free(pool);
	for (uint32_t i = 0; i < n; i++)
		intro_future_destroy(&tasks[i].future);
	return status;
}

int workload_spawned_run(struct workload_run *run)
{
	struct spin_task *tasks =
		aligned_alloc(_Alignof(struct spin_task), run->tasks * sizeof(*tasks));
	uint32_t half = (run->tasks + 1) / 2;
	uint64_t forked = 0, spawned = 0;
	int status;

	if (!tasks)
		return workload_fail("out of memory");
	memset(tasks, 0, run->tasks * sizeof(*tasks));
	for (uint32_t i = 0; i < run->tasks; i++) {
		intro_future_init(&tasks[i].future);
		tasks[i].spin.seed = workload_random(&run->seed);
		tasks[i].spin.steps =
			(uint64_t)((double)workload_around(&run->seed, run->length_ns) * run->rate);
	}
	status = run_pool(run, INTRO_START_FORK, "forked", tasks, half, &forked);
	if (!status)
		status = run_pool(run, INTRO_START_SPAWN, "spawned", tasks + half,
				  run->tasks - half, &spawned);
	snprintf(run->note, sizeof(run->note),
		 "; first results after %.1f ms of forked workers, %.1f ms of spawned ones",
		 (double)forked / 1e6, (double)spawned / 1e6);
	free(tasks);
	return status;
}
