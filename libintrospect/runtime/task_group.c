/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_group.c - tasks that are waited for together.
 *
 * Tasks that were queued have futures of the group's, in a ring, the oldest first; who runs one
 * more takes those out of it that are over, so the ring is as large as there ever were tasks under
 * way. This file is compiled with -fexceptions: a task that a wait runs may end the thread, by
 * which the wait is over, too.
 */
#include <introspect/task_group.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "executor_private.h"

#define LEAST_ROOM 64 /* a power of two, as all rooms are */

struct slab {
	struct slab *next;
	struct intro_future futures[];
};

struct intro_task_group {
	struct intro_executor *executor;
	/* `room` of each: the ring's, of which those from `first` on, `n`, were submitted; and the
	 * same in order, for a wait */
	struct intro_future **ring, **list;
	size_t room, first, n;
	struct slab *slabs;
	unsigned runs; /* calls of run, each in a task of the one before */
	bool waits;
	bool cancelled;		  /* some were */
	struct intro_error error; /* of one that failed; code 0: none */
};

static struct intro_future *at(const struct intro_task_group *group, size_t i)
{
	return group->ring[(group->first + i) & (group->room - 1)];
}

/* It is over. */
static void collect(struct intro_task_group *group, struct intro_future *future)
{
	struct intro_error error;

	/* a task may say ECANCELED, too */
	if (!intro_future_result(future, 0, NULL))
		;
	else if (intro_future_error(future, 0, &error))
		group->cancelled = true;
	else if (!group->error.code)
		group->error = error;
	intro_future_destroy(future);
}

/* Those in front of one that is not over. */
static void collect_first(struct intro_task_group *group)
{
	for (; group->n; group->first++, group->n--) {
		struct intro_future *future = at(group, 0);

		if (intro_future_state(future) < INTRO_FUTURE_CANCELLED_AND_NOTIFIED)
			return;
		collect(group, future);
	}
}

/* Twice the room, or the first; if there is memory for it. */
static void grow(struct intro_task_group *group)
{
	size_t more = group->room ? group->room : LEAST_ROOM, room = group->room + more;
	struct intro_future **ring = calloc(room, sizeof(struct intro_future *));
	struct intro_future **list = calloc(room, sizeof(struct intro_future *));
	struct slab *slab = aligned_alloc(_Alignof(struct slab),
					  sizeof(*slab) + more * sizeof(slab->futures[0]));

	if (!ring || !list || !slab) {
		free(ring);
		free(list);
		free(slab);
		return;
	}
	for (size_t i = 0; i < group->room; i++)
		ring[i] = at(group, i);
	for (size_t i = 0; i < more; i++)
		ring[group->room + i] = &slab->futures[i];
	free(group->ring);
	free(group->list);
	slab->next = group->slabs;
	group->slabs = slab;
	group->ring = ring;
	group->list = list;
	group->room = room;
	group->first = 0;
}

/* Seldom, as what is over is in another CPU's cache. 0 or -ENOMEM. */
static int make_room(struct intro_task_group *group)
{
	collect_first(group);
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

static int submit(struct intro_task_group *group, uint32_t name, intro_task_fn fn, const void *arg,
		  size_t size)
{
	struct intro_future *future;
	int err;

	if (group->n == group->room && (err = make_room(group)))
		return err;
	future = at(group, group->n++);
	intro_future_init(future);
	/* it may run here, and then run others, but not when it is refused */
	err = intro_executor_submit_named(group->executor, future, name, fn, arg, size);
	if (err)
		group->n--;
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
	int err = 0;

	if (group->waits)
		return -EBUSY;
	group->runs++;
	pthread_cleanup_push(run_is_over, group);
	/* for all else, and to be refused, it takes a submit */
	if (!executor->caller_runs || !fn || executor->reject.fn ||
	    intro__executor_is_parents(executor) ||
	    !executor->ops->run_now(executor, fn, arg, size, &group->error))
		err = submit(group, name, fn, arg, size);
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
	for (size_t i = 0; i < group->n; i++)
		group->list[i] = at(group, i);
	group->waits = true;
	pthread_cleanup_push(wait_is_over, group);
	n = intro_future_wait(group->list, group->n, INTRO_ALL_COMPLETED, timeout_ns, NULL);
	pthread_cleanup_pop(1);
	if (n < 0)
		return n;
	collect_first(group);
	group->first = 0; /* these are still in this CPU's cache */
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
	int err = group->waits || group->runs ? -EDEADLK : wait(group, timeout_ns);

	return err ? err : take_outcome(group, error);
}

void intro_task_group_cancel(struct intro_task_group *group)
{
	/* the last first: workers begin the others meanwhile */
	for (size_t i = group->n; i--;)
		intro_future_cancel(at(group, i));
}

void intro_task_group_free(struct intro_task_group *group)
{
	struct slab *slab;

	if (!group)
		return;
	/* in a forked child nobody runs them any more */
	if (group->n && !intro__executor_is_parents(group->executor)) {
		intro_task_group_cancel(group);
		for (; group->n; group->first++, group->n--)
			intro_future_destroy(at(group, 0));
	}
	while ((slab = group->slabs)) {
		group->slabs = slab->next;
		free(slab);
	}
	free(group->ring);
	free(group->list);
	free(group);
}
