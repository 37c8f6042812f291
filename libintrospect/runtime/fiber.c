/* SPDX-License-Identifier: BSD-2-Clause */
/* fiber.c - the life of a fiber: its stack, what it waits for, its end. Rules: fiber_scheduler.c.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <introspect/mark.h>

#include "fiber_private.h"
#include "futex.h"

#define STACKS_KEPT 256

struct intro_fiber *intro_fiber_current(void)
{
	struct fiber_worker *w = intro__fiber_worker();

	return w ? w->current : NULL;
}

/* --- waiting -----------------------------------------------------------------------------------
 */

static void give_way(struct intro_fiber *fiber, enum after after)
{
	struct fiber_worker *w = intro__fiber_worker();

	fiber->after = after;
	intro__context_switch(&fiber->context, &w->context, after == AFTER_END);
}

void intro__parking_init(struct parking *parking)
{
	memset(parking, 0, sizeof(*parking));
	parking->fiber = intro_fiber_current();
}

void intro__parking_link(struct parking_list *list, struct parking *parking)
{
	parking->linked = true;
	parking->next = NULL;
	parking->prev = list->last;
	if (list->last)
		list->last->next = parking;
	else
		list->first = parking;
	list->last = parking;
}

void intro__parking_unlink(struct parking_list *list, struct parking *parking)
{
	if (parking->prev)
		parking->prev->next = parking->next;
	else
		list->first = parking->next;
	if (parking->next)
		parking->next->prev = parking->prev;
	else
		list->last = parking->prev;
	parking->linked = false;
}

static bool is_told(struct parking *parking)
{
	return atomic_load_explicit(&parking->told, memory_order_acquire);
}

static void park_thread(struct parking *parking, int64_t deadline)
{
	while (!is_told(parking))
		if (intro__futex_wait(&parking->told, 0, deadline) == -ETIMEDOUT)
			return;
}

void intro__park(struct parking *parking, int64_t deadline)
{
	struct intro_fiber *fiber = parking->fiber;
	bool timed = deadline != INTRO_FOREVER;

	if (!fiber) {
		park_thread(parking, deadline);
		return;
	}
	if (timed)
		intro__fiber_arm(fiber, deadline);
	while (!is_told(parking) &&
	       !(timed && atomic_load_explicit(&fiber->timed_out, memory_order_acquire))) {
		uint32_t notified = FIBER_NOTIFIED;

		if (!atomic_compare_exchange_strong(&fiber->state, &notified, FIBER_RUNNING))
			give_way(fiber, AFTER_PARK);
	}
	if (timed)
		intro__fiber_disarm(fiber);
}

void intro__unpark(struct parking *parking)
{
	struct intro_fiber *fiber = parking->fiber;

	atomic_store_explicit(&parking->told, 1, memory_order_release);
	if (fiber)
		intro__fiber_wake(fiber);
	else
		intro__futex_wake(&parking->told);
}

/* fibers->lock is held. */
static void tell_all(struct parking_list *list)
{
	while (list->first) {
		struct parking *parking = list->first;

		intro__parking_unlink(list, parking);
		intro__unpark(parking);
	}
}

/* fibers->lock is held, and is so on return. 0; -ETIMEDOUT. */
static int wait_in(struct intro_fibers *fibers, struct parking_list *list, int64_t timeout_ns)
{
	struct parking parking;

	intro__parking_init(&parking);
	intro__parking_link(list, &parking);
	pthread_mutex_unlock(&fibers->lock);
	intro__park(&parking, intro__deadline(timeout_ns));
	pthread_mutex_lock(&fibers->lock);
	if (!parking.linked)
		return 0;
	intro__parking_unlink(list, &parking);
	return -ETIMEDOUT;
}

int intro_fiber_yield(void)
{
	struct intro_fiber *fiber = intro_fiber_current();

	if (!fiber)
		return -EPERM;
	give_way(fiber, AFTER_YIELD);
	return 0;
}

int intro_fiber_sleep(int64_t ns)
{
	struct parking parking;

	if (ns <= 0)
		return intro_fiber_yield();
	intro__parking_init(&parking);
	if (!parking.fiber)
		return -EPERM;
	intro__park(&parking, intro__deadline(ns));
	return 0;
}

/* --- stacks ------------------------------------------------------------------------------------
 */

static void stack_unmap(const struct intro_fibers *fibers, struct stack *stack)
{
	munmap(stack->map, fibers->page + fibers->stack_bytes);
	free(stack);
}

static struct stack *stack_map(const struct intro_fibers *fibers)
{
	struct stack *stack = malloc(sizeof(*stack));

	if (!stack)
		return NULL;
	stack->map = mmap(NULL, fibers->page + fibers->stack_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (stack->map == MAP_FAILED) {
		free(stack);
		return NULL;
	}
	if (mprotect(stack->map, fibers->page, PROT_NONE)) {
		stack_unmap(fibers, stack);
		return NULL;
	}
	return stack;
}

/* fibers->lock is held. Returns what is to be unmapped after it is released, or NULL. */
static struct stack *stack_put(struct intro_fibers *fibers, struct stack *stack)
{
	if (fibers->stacks_n == STACKS_KEPT)
		return stack;
	stack->next = fibers->stacks;
	fibers->stacks = stack;
	fibers->stacks_n++;
	return NULL;
}

static struct stack *stack_get(struct intro_fibers *fibers)
{
	struct stack *stack;

	pthread_mutex_lock(&fibers->lock);
	stack = fibers->stacks;
	if (stack) {
		fibers->stacks = stack->next;
		fibers->stacks_n--;
	}
	pthread_mutex_unlock(&fibers->lock);
	return stack ? stack : stack_map(fibers);
}

void intro__fiber_stacks_free(struct intro_fibers *fibers)
{
	struct stack *stack;

	while ((stack = fibers->stacks)) {
		fibers->stacks = stack->next;
		stack_unmap(fibers, stack);
	}
}

/* --- a fiber's life ----------------------------------------------------------------------------
 */

static void fiber_main(void *arg)
{
	struct intro_fiber *fiber = arg;

	fiber->status = fiber->fn(fiber->arg);
	give_way(fiber, AFTER_END);
}

/* Room for a timer of each fiber alive, so that arming cannot fail. */
static int admit(struct intro_fibers *fibers)
{
	struct intro_fiber **timers;
	int err = 0;

	pthread_mutex_lock(&fibers->lock);
	if (fibers->spawned - fibers->ended == fibers->timers_room) {
		size_t room = fibers->timers_room ? 2 * fibers->timers_room : 64;

		timers = realloc(fibers->timers, room * sizeof(struct intro_fiber *));
		if (timers) {
			fibers->timers = timers;
			fibers->timers_room = room;
		} else {
			err = -ENOMEM;
		}
	}
	if (!err)
		fibers->spawned++;
	pthread_mutex_unlock(&fibers->lock);
	return err;
}

int intro_fiber_spawn_named(struct intro_fibers *fibers, uint32_t name, intro_fiber_fn fn,
			    void *arg, struct intro_fiber **handle)
{
	struct intro_fiber *fiber;

	if (!fn)
		return -EINVAL;
	fiber = calloc(1, sizeof(*fiber));
	if (!fiber)
		return -ENOMEM;
	fiber->stack = stack_get(fibers);
	if (!fiber->stack || admit(fibers)) {
		if (fiber->stack)
			stack_unmap(fibers, fiber->stack);
		free(fiber);
		return -ENOMEM;
	}
	fiber->fibers = fibers;
	fiber->fn = fn;
	fiber->arg = arg;
	fiber->task = intro_mark_task();
	fiber->refs = handle ? 2 : 1;
	intro__context_make(&fiber->context, fiber->stack->map + fibers->page, fibers->stack_bytes,
			    fiber_main, fiber);
	if (handle)
		*handle = fiber;
	intro_mark_submit(fiber->task, fibers->pool, name);
	intro__fiber_enqueue(fiber, false);
	return 0;
}

int intro_fiber_spawn(struct intro_fibers *fibers, intro_fiber_fn fn, void *arg,
		      struct intro_fiber **fiber)
{
	return intro_fiber_spawn_named(fibers, 0, fn, arg, fiber);
}

uint64_t intro_fiber_id(const struct intro_fiber *fiber)
{
	return fiber->task;
}

void intro_fiber_free(struct intro_fiber *fiber)
{
	if (fiber && atomic_fetch_sub_explicit(&fiber->refs, 1, memory_order_acq_rel) == 1)
		free(fiber);
}

static bool is_done(const struct intro_fiber *fiber)
{
	return atomic_load_explicit(&fiber->done, memory_order_acquire);
}

/* Not done yet: waits for it. */
static int wait_for(struct intro_fiber *fiber, int64_t timeout_ns)
{
	struct intro_fibers *fibers = fiber->fibers;
	bool thread = !intro_fiber_current();
	int err = 0;

	pthread_mutex_lock(&fibers->lock);
	if (!is_done(fiber)) {
		/* a fiber that waits does not make its kernel thread wait */
		if (thread)
			intro_mark_wait(fiber->task);
		err = wait_in(fibers, &fiber->joiners, timeout_ns);
		if (thread || !err)
			intro_mark_wake(fiber->task);
	}
	pthread_mutex_unlock(&fibers->lock);
	return err;
}

int intro_fiber_join(struct intro_fiber *fiber, int64_t timeout_ns, int *status)
{
	int err;

	if (fiber == intro_fiber_current())
		return -EDEADLK;
	if (!is_done(fiber)) {
		if (timeout_ns <= 0)
			return -ETIMEDOUT;
		err = wait_for(fiber, timeout_ns);
		if (err)
			return err;
	} else {
		intro_mark_read(fiber->task);
	}
	if (status)
		*status = fiber->status;
	return 0;
}

/* Its function returned, and its context was left for good. */
void intro__fiber_finish(struct intro_fiber *fiber)
{
	struct intro_fibers *fibers = fiber->fibers;
	struct stack *unused;
	uint32_t flags = INTRO_END_RESULT;

	intro__context_end(&fiber->context);
	pthread_mutex_lock(&fibers->lock);
	if (fiber->joiners.first)
		flags |= INTRO_END_WAITED;
	intro_mark_end(fiber->task, fiber->status ? INTRO_STATUS_FAILED : INTRO_STATUS_OK, flags);
	atomic_store_explicit(&fiber->done, true, memory_order_release);
	tell_all(&fiber->joiners);
	unused = stack_put(fibers, fiber->stack);
	fibers->ended++;
	if (fibers->ended == fibers->spawned)
		tell_all(&fibers->waiters);
	pthread_mutex_unlock(&fibers->lock);
	if (unused)
		stack_unmap(fibers, unused);
	intro_fiber_free(fiber);
}

int intro_fibers_wait(struct intro_fibers *fibers, int64_t timeout_ns)
{
	struct intro_fiber *self = intro_fiber_current();
	int err = 0;

	if (self && self->fibers == fibers)
		return -EDEADLK;
	pthread_mutex_lock(&fibers->lock);
	if (fibers->ended != fibers->spawned)
		err = timeout_ns > 0 ? wait_in(fibers, &fibers->waiters, timeout_ns) : -ETIMEDOUT;
	pthread_mutex_unlock(&fibers->lock);
	return err;
}

void intro_fibers_free(struct intro_fibers *fibers)
{
	if (!fibers)
		return;
	while (intro_fibers_wait(fibers, INTRO_FOREVER))
		;
	intro__fibers_destroy(fibers);
}
