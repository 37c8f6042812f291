/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_group.c - tasks that are waited for together.
 *
 * Tasks that were queued have futures of the group's, in a list, the oldest first; who runs one
 * more and finds it full takes those out of it that are over, so it is little larger than there
 * ever were tasks under way. This file is compiled with -fexceptions: a task that a wait runs may
 * end the thread, by which the wait is over, too.
 */
#include <introspect/task_group.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "executor_private.h"

#define LEAST_ROOM 64

struct slab {
	struct slab *next;
	struct intro_future futures[];
};

struct intro_task_group {
	struct intro_executor *executor;
	/* `room` of them, of which the first `n` were submitted, in this order */
	struct intro_future **futures;
	size_t room, n;
	struct slab *slabs;
	unsigned runs; /* calls of run, each in a task of the one before */
	bool waits;
	bool cancelled;		  /* some were */
	struct intro_error error; /* of one that failed; code 0: none */
};

/* It is over. */
static void collect(struct intro_task_group *group, struct intro_future *future)
{
	const struct future *f = intro__future(future);
	bool quick =
		!intro_marks_on() && intro__future_state(f) == INTRO_FUTURE_FINISHED && !f->failed;
	struct intro_error error;

	/* a task may say ECANCELED, too */
	if (quick || !intro_future_result(future, 0, NULL))
		;
	else if (intro_future_error(future, 0, &error))
		group->cancelled = true;
	else if (!group->error.code)
		group->error = error;
	intro_future_destroy(future);
}

/* All that are over: one that takes long keeps no other. */
static void collect_over(struct intro_task_group *group)
{
	size_t left = 0;

	for (size_t i = 0; i < group->n; i++) {
		struct intro_future *future = group->futures[i];

		if (intro_future_state(future) >= INTRO_FUTURE_CANCELLED_AND_NOTIFIED) {
			collect(group, future);
			continue;
		}
		group->futures[i] = group->futures[left];
		group->futures[left++] = future;
	}
	group->n = left;
}

/* Twice the room, or the first; if there is memory for it. */
static void grow(struct intro_task_group *group)
{
	size_t more = group->room ? group->room : LEAST_ROOM, room = group->room + more;
	struct intro_future **futures =
		reallocarray(group->futures, room, sizeof(struct intro_future *));
	struct slab *slab = aligned_alloc(_Alignof(struct slab),
					  sizeof(*slab) + more * sizeof(slab->futures[0]));

	if (futures)
		group->futures = futures;
	if (!futures || !slab) {
		free(slab);
		return;
	}
	for (size_t i = 0; i < more; i++)
		futures[group->room + i] = &slab->futures[i];
	slab->next = group->slabs;
	group->slabs = slab;
	group->room = room;
}

/* Seldom, as what is over is in another CPU's cache. 0 or -ENOMEM. */
static int make_room(struct intro_task_group *group)
{
	collect_over(group);
	if (group->n >= group->room / 4 * 3)
		grow(group);
	return group->n < group->room ? 0 : -ENOMEM;
}

struct intro_task_group *intro_task_group_new(struct intro_executor *executor)
{
	struct intro_task_group *group = calloc(1, sizeof(*group));

	if (group)
		group->executor = executor;
	return group;
}

struct submission {
	struct intro_task_group *group;
	struct intro_future *future;
};

/* It is refused, by a function of the program's that may have run others here meanwhile. */
static void take_out(const struct submission *of)
{
	struct intro_task_group *group = of->group;
	struct intro_future *last = group->futures[--group->n];

	for (size_t i = group->n; last != of->future; i--) {
		struct intro_future *before = group->futures[i - 1];

		group->futures[i - 1] = last;
		last = before;
	}
	group->futures[group->n] = of->future;
}

/* The thread ends: in the task, or in what was asked whether to refuse it. */
static void submit_unfinished(void *arg)
{
	const struct submission *of = arg;
	struct future *f = intro__future(of->future);
	uint32_t word = atomic_load_explicit(&f->word, memory_order_acquire);

	if ((word & FUTURE_STATE) <= INTRO_FUTURE_CANCELLED && !intro__future_is_held(f, word))
		take_out(of);
}

static int submit(struct intro_task_group *group, bool queues, uint32_t name, intro_task_fn fn,
		  const void *arg, size_t size)
{
	struct intro_executor *executor = group->executor;
	struct submission of = {.group = group};
	int err;

	if (group->n == group->room && (err = make_room(group)))
		return err;
	of.future = group->futures[group->n++];
	intro_future_init(of.future);
	pthread_cleanup_push(submit_unfinished, &of);
	if (queues)
		err = intro__executor_queue(executor, intro__future(of.future), name, fn, arg,
					    size);
	else
		err = intro_executor_submit_named(executor, of.future, name, fn, arg, size);
	pthread_cleanup_pop(0);
	if (err)
		take_out(&of);
	return err;
}

static void run_is_over(void *group)
{
	((struct intro_task_group *)group)->runs--;
}

int intro_task_group_run_named(struct intro_task_group *group, uint32_t name, intro_task_fn fn,
			       const void *arg, size_t size)
{
	struct intro_executor *executor = group->executor;
	enum run_now left = RUN_SUBMIT; /* for all else, and to be refused */
	int err = 0;

	if (group->waits)
		return -EBUSY;
	group->runs++;
	pthread_cleanup_push(run_is_over, group);
	if (executor->caller_runs && fn && !executor->reject.fn &&
	    !intro__executor_is_parents(executor))
		left = executor->ops->run_now(executor, fn, arg, size, &group->error);
	if (left != RUN_DONE)
		err = submit(group, left == RUN_QUEUE, name, fn, arg, size);
	pthread_cleanup_pop(1);
	return err;
}

int intro_task_group_run(struct intro_task_group *group, intro_task_fn fn, const void *arg,
			 size_t size)
{
	return intro_task_group_run_named(group, 0, fn, arg, size);
}

static void wait_is_over(void *group)
{
	((struct intro_task_group *)group)->waits = false;
}

/* 0, -ETIMEDOUT or -ENOMEM. */
static int wait(struct intro_task_group *group, int64_t timeout_ns)
{
	int n;

	if (!group->n)
		return 0;
	group->waits = true;
	pthread_cleanup_push(wait_is_over, group);
	n = intro_future_wait(group->futures, group->n, INTRO_ALL_COMPLETED, timeout_ns, NULL);
	pthread_cleanup_pop(1);
	if (n < 0)
		return n;
	collect_over(group);
	return 0;
}

/* What the next wait knows nothing of. */
static int take_outcome(struct intro_task_group *group, struct intro_error *error)
{
	int code = group->error.code;

	if (!code && group->cancelled)
		code = -ECANCELED;
	if (error && code)
		*error = group->error;
	if (error)
		error->code = code;
	if (error && code)
		intro__error_explain(error);
	group->error.code = 0;
	group->error.text[0] = 0;
	group->cancelled = false;
	return code > 0 ? -EREMOTEIO : code;
}

int intro_task_group_wait(struct intro_task_group *group, int64_t timeout_ns,
			  struct intro_error *error)
{
	int err;

	if (group->waits || group->runs)
		err = -EDEADLK;
	else if (intro__executor_is_parents(group->executor))
		err = -ESHUTDOWN;
	else
		err = wait(group, timeout_ns);

	if (!err)
		return take_outcome(group, error);
	if (error)
		error->code = 0;
	return err;
}

void intro_task_group_cancel(struct intro_task_group *group)
{
	/* the last first: workers begin the others meanwhile */
	for (size_t i = group->n; i--;)
		intro_future_cancel(group->futures[i]);
}

void intro_task_group_free(struct intro_task_group *group)
{
	struct slab *slab;

	if (!group)
		return;
	/* in a forked child nobody runs them any more */
	if (group->n && !intro__executor_is_parents(group->executor)) {
		intro_task_group_cancel(group);
		for (size_t i = 0; i < group->n; i++)
			intro_future_destroy(group->futures[i]);
	}
	while ((slab = group->slabs)) {
		group->slabs = slab->next;
		free(slab);
	}
	free(group->futures);
	free(group);
}
