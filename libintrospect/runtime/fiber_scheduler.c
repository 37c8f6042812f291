/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fiber_scheduler.c - the scheduler of fibers.
 *
 * Each kernel thread has a queue of ready fibers, runs the oldest, and takes half of another's
 * queue when its own is empty. What others make ready goes to a common queue. A fiber that gives
 * way switches to its kernel thread's own context, which then does what the fiber asked for
 * (`after`): only there may the fiber be put where another kernel thread finds it, as its registers
 * are not saved before.
 *
 * Rules
 *   1. fiber->state is the token of a wake-up. RUNNING -> PARKED by its kernel thread, after the
 *      switch; RUNNING -> NOTIFIED or PARKED -> RUNNING by who wakes it, and only the latter makes
 *      it ready: so a wake-up that comes before the sleep is not lost.
 *   2. Lock order: a channel's lock, fibers->lock, a queue's lock.
 *   3. Idle kernel threads sleep on `wakes`. Who goes to sleep says so in `idle`, then looks
 *      at `ready`, `next_timer` and `closing`; who changes one of these then looks at `idle`. All
 *      of them sequentially consistent, so that one of the two sees the other.
 *   4. A kernel thread's own data is looked for anew after each switch (intro__fiber_worker), never
 *      kept: the fiber may have moved.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "executor_private.h"
#include "fiber_private.h"
#include "future_private.h"
#include "handlers.h"
#include "join.h"
#include "marks_private.h"
#include "spin.h"

#define THREADS_MAX 1024
#define STACK_DEFAULT (256u * 1024)
#define STACK_MIN (16u * 1024)
#define SPINS 100 /* looks at an empty scheduler before sleeping; about 5 us */

static __thread struct fiber_worker *working_as __attribute__((tls_model("initial-exec")));

/* Not to be inlined: the compiler must not keep where a thread's data is, across a switch. */
__attribute__((noinline)) struct fiber_worker *intro__fiber_worker(void)
{
	__asm__ volatile("" ::: "memory");
	return working_as;
}

/* --- queues, and who sleeps --------------------------------------------------------------------
 */

static void queue_put(struct ready_queue *queue, struct intro_fiber *first,
		      struct intro_fiber *last, size_t n)
{
	last->next = NULL;
	pthread_mutex_lock(&queue->lock);
	if (queue->last)
		queue->last->next = first;
	else
		queue->first = first;
	queue->last = last;
	atomic_fetch_add_explicit(&queue->n, n, memory_order_relaxed);
	pthread_mutex_unlock(&queue->lock);
}

/* Up to (n + 1) / part of the oldest, linked; how many. */
static size_t queue_take(struct ready_queue *queue, size_t part, struct intro_fiber **first,
			 struct intro_fiber **last)
{
	size_t n, taken = 0;

	if (!atomic_load_explicit(&queue->n, memory_order_relaxed))
		return 0;
	pthread_mutex_lock(&queue->lock);
	n = atomic_load_explicit(&queue->n, memory_order_relaxed);
	if (n) {
		taken = part ? (n + part - 1) / part : 1;
		*first = *last = queue->first;
		for (size_t i = 1; i < taken; i++)
			*last = (*last)->next;
		queue->first = (*last)->next;
		if (!queue->first)
			queue->last = NULL;
		atomic_store_explicit(&queue->n, n - taken, memory_order_relaxed);
	}
	pthread_mutex_unlock(&queue->lock);
	return taken;
}

static void wake_one(struct intro_fibers *fibers)
{
	if (!atomic_load(&fibers->idle) || atomic_exchange(&fibers->waking, 1))
		return;
	atomic_fetch_add(&fibers->wakes, 1);
	/* who was about to sleep finds `wakes` changed, and needs no waking */
	if (!intro__futex_wake_some(&fibers->wakes, 1, FUTEX_BITSET_MATCH_ANY))
		atomic_store(&fibers->waking, 0);
}

static void wake_all(struct intro_fibers *fibers)
{
	if (!atomic_load(&fibers->idle))
		return;
	atomic_fetch_add(&fibers->wakes, 1);
	intro__futex_wake(&fibers->wakes);
}

void intro__fiber_enqueue(struct intro_fiber *fiber, bool soon)
{
	struct intro_fibers *fibers = fiber->fibers;
	struct fiber_worker *w = intro__fiber_worker();
	bool own = w && w->fibers == fibers;
	struct ready_queue *queue = own ? &w->queue : &fibers->common;

	atomic_fetch_add(&fibers->ready, 1);
	queue_put(queue, fiber, fiber, 1);
	if (!own || !soon || atomic_load(&queue->n) > 1)
		wake_one(fibers);
}

void intro__fiber_wake(struct intro_fiber *fiber)
{
	uint32_t state = atomic_load_explicit(&fiber->state, memory_order_relaxed);

	do {
		if (state == FIBER_NOTIFIED)
			return;
	} while (!atomic_compare_exchange_weak_explicit(
		&fiber->state, &state, state == FIBER_RUNNING ? FIBER_NOTIFIED : FIBER_RUNNING,
		memory_order_acq_rel, memory_order_relaxed));
	if (state == FIBER_RUNNING)
		return;
	intro_mark_ready(fiber->task);
	intro__fiber_enqueue(fiber, false);
}

static struct intro_fiber *steal(struct fiber_worker *w)
{
	struct intro_fibers *fibers = w->fibers;
	struct intro_fiber *first, *last;
	size_t n;

	for (unsigned i = 1; i < fibers->threads; i++) {
		struct fiber_worker *victim = &fibers->worker[(w->index + i) % fibers->threads];

		n = queue_take(&victim->queue, 2, &first, &last);
		if (!n)
			continue;
		atomic_fetch_add_explicit(&w->stolen, n, memory_order_relaxed);
		if (n > 1)
			queue_put(&w->queue, first->next, last, n - 1);
		return first;
	}
	return NULL;
}

/* A share of what others made ready goes behind one's own: so the order is that of readiness. */
static struct intro_fiber *find(struct fiber_worker *w)
{
	struct intro_fibers *fibers = w->fibers;
	struct intro_fiber *fiber, *last;
	size_t n = queue_take(&fibers->common, fibers->threads, &fiber, &last);

	if (n)
		queue_put(&w->queue, fiber, last, n);
	if (!queue_take(&w->queue, 0, &fiber, &last))
		fiber = steal(w);
	if (fiber && atomic_fetch_sub(&fibers->ready, 1) > 1)
		wake_one(fibers);
	return fiber;
}

/* --- timers: fibers->lock is held --------------------------------------------------------------
 */

static void timer_put(struct intro_fibers *fibers, size_t at, struct intro_fiber *fiber)
{
	fibers->timers[at] = fiber;
	fiber->timer = at + 1;
}

static void timer_sift(struct intro_fibers *fibers, size_t at)
{
	struct intro_fiber *fiber = fibers->timers[at], **timers = fibers->timers;
	size_t child;

	for (; at && timers[(at - 1) / 2]->deadline > fiber->deadline; at = (at - 1) / 2)
		timer_put(fibers, at, timers[(at - 1) / 2]);
	while ((child = 2 * at + 1) < fibers->timers_n) {
		if (child + 1 < fibers->timers_n &&
		    timers[child + 1]->deadline < timers[child]->deadline)
			child++;
		if (timers[child]->deadline >= fiber->deadline)
			break;
		timer_put(fibers, at, timers[child]);
		at = child;
	}
	timer_put(fibers, at, fiber);
}

static void timers_changed(struct intro_fibers *fibers)
{
	int64_t next = fibers->timers_n ? fibers->timers[0]->deadline : INTRO_FOREVER;
	int64_t old = atomic_exchange(&fibers->next_timer, next);

	if (next < old)
		wake_all(fibers);
}

static void timer_remove(struct intro_fibers *fibers, struct intro_fiber *fiber)
{
	size_t at = fiber->timer - 1;
	struct intro_fiber *last = fibers->timers[--fibers->timers_n];

	fiber->timer = 0;
	if (last != fiber) {
		timer_put(fibers, at, last);
		timer_sift(fibers, at);
	}
	timers_changed(fibers);
}

void intro__fiber_arm(struct intro_fiber *fiber, int64_t deadline)
{
	struct intro_fibers *fibers = fiber->fibers;

	pthread_mutex_lock(&fibers->lock);
	fiber->deadline = deadline;
	atomic_store_explicit(&fiber->timed_out, false, memory_order_relaxed);
	fibers->timers[fibers->timers_n] = fiber;
	timer_sift(fibers, fibers->timers_n++);
	timers_changed(fibers);
	pthread_mutex_unlock(&fibers->lock);
}

void intro__fiber_disarm(struct intro_fiber *fiber)
{
	struct intro_fibers *fibers = fiber->fibers;

	/* also when it fired: whoever did that must be done with the fiber */
	pthread_mutex_lock(&fibers->lock);
	if (fiber->timer)
		timer_remove(fibers, fiber);
	pthread_mutex_unlock(&fibers->lock);
}

static void fire_due(struct intro_fibers *fibers)
{
	int64_t next = atomic_load_explicit(&fibers->next_timer, memory_order_relaxed);

	if (next == INTRO_FOREVER || intro__now() < next)
		return;
	pthread_mutex_lock(&fibers->lock);
	while (fibers->timers_n && fibers->timers[0]->deadline <= intro__now()) {
		struct intro_fiber *fiber = fibers->timers[0];

		timer_remove(fibers, fiber);
		atomic_store_explicit(&fiber->timed_out, true, memory_order_release);
		intro__fiber_wake(fiber);
	}
	pthread_mutex_unlock(&fibers->lock);
}

/* --- a kernel thread ---------------------------------------------------------------------------
 */

static void after_switch(struct intro_fiber *fiber)
{
	uint32_t running = FIBER_RUNNING;

	switch (fiber->after) {
	case AFTER_YIELD:
		intro_mark_unmount(fiber->task, INTRO_UNMOUNT_READY);
		intro__fiber_enqueue(fiber, true);
		break;
	case AFTER_PARK:
		intro_mark_unmount(fiber->task, INTRO_UNMOUNT_PARKED);
		/* if it succeeds the fiber is its waker's from here on */
		if (atomic_compare_exchange_strong(&fiber->state, &running, FIBER_PARKED))
			break;
		atomic_store(&fiber->state, FIBER_RUNNING);
		intro_mark_ready(fiber->task);
		intro__fiber_enqueue(fiber, true);
		break;
	case AFTER_END:
		intro__fiber_finish(fiber);
		break;
	}
}

static void run(struct fiber_worker *w, struct intro_fiber *fiber)
{
	if (fiber->started)
		intro_mark_mount(fiber->task, w->fibers->pool);
	else
		intro_mark_start_fiber(fiber->task, w->fibers->pool);
	fiber->started = true;
	atomic_fetch_add_explicit(&w->switches, 1, memory_order_relaxed);
	w->current = fiber;
	intro__help_forbid(true); /* its stack is small */
	intro__context_switch(&w->context, &fiber->context, false);
	intro__help_forbid(false);
	w->current = NULL;
	after_switch(fiber);
}

static void sleep_idle(struct intro_fibers *fibers)
{
	uint32_t wakes = atomic_load(&fibers->wakes);

	atomic_fetch_add(&fibers->idle, 1);
	if (!atomic_load(&fibers->ready) && !atomic_load(&fibers->closing))
		intro__futex_wait(&fibers->wakes, wakes, atomic_load(&fibers->next_timer));
	atomic_fetch_sub(&fibers->idle, 1);
	atomic_store(&fibers->waking, 0);
}

static void look_a_while(struct intro_fibers *fibers)
{
	for (int i = 0; i < SPINS && !atomic_load_explicit(&fibers->ready, memory_order_relaxed);
	     i++)
		pause_cpu();
}

static void carry_on(struct fiber_worker *w)
{
	struct intro_fibers *fibers = w->fibers;
	struct intro_fiber *fiber;

	while (!atomic_load_explicit(&fibers->closing, memory_order_acquire)) {
		fire_due(fibers);
		fiber = find(w);
		if (!fiber) {
			look_a_while(fibers);
			if (!atomic_load(&fibers->ready))
				sleep_idle(fibers);
			continue;
		}
		run(w, fiber);
	}
}

static void carry(struct fiber_worker *w)
{
	working_as = w;
	intro_mark_worker_start(w->fibers->pool, w->index);
	carry_on(w);
	intro_mark_worker_stop(w->fibers->pool, w->index);
	if (w->has_before)
		intro__join(w->before);
}

static void *worker_main(void *arg);

/*
 * A fiber has ended the thread that carried it; we are on that thread's own stack again. Another
 * one takes over first, as fibers may be freed once the last fiber is over. Where none is to be had
 * this one goes on, until they are.
 */
static void thread_ends(void *arg)
{
	struct fiber_worker *w = arg;
	struct intro_fiber *fiber = w->current;
	pthread_t before = w->before;
	bool had = w->has_before, is_succeeded;

	intro__context_return(&w->context);
	intro__handlers_restore(w->handlers);
	intro__help_forbid(false);
	intro_mark_worker_stop(w->fibers->pool, w->index);
	working_as = NULL;
	w->current = NULL;
	w->has_before = true;
	w->before = pthread_self();
	is_succeeded = !pthread_create(&w->thread, NULL, worker_main, w);
	if (!is_succeeded) {
		w->has_before = had;
		w->before = before;
	} else if (had) {
		intro__join(before);
	}
	if (fiber) {
		fiber->status = -EOWNERDEAD;
		intro__fiber_finish(fiber);
	}
	if (!is_succeeded)
		carry(w);
}

static void *worker_main(void *arg)
{
	struct fiber_worker *w = arg;
	struct intro_fibers *fibers = w->fibers;
	struct handlers handlers;
	char name[64 + 16], comm[16];

	/* the number is worth more than the end of the pool's name */
	snprintf(name, sizeof(name), "/%u", w->index);
	snprintf(comm, sizeof(comm), "%.*s", (int)(sizeof(comm) - 1 - strlen(name)), fibers->name);
	strncat(comm, name, sizeof(comm) - 1 - strlen(comm));
	pthread_setname_np(pthread_self(), comm);
	intro__context_self(&w->context);
	w->handlers = &handlers;
	pthread_cleanup_push(thread_ends, w);
	intro__handlers_save(&handlers);
	carry(w);
	pthread_cleanup_pop(0);
	return NULL;
}

/* --- the scheduler -----------------------------------------------------------------------------
 */

static int check_options(struct intro_fibers_options *options,
			 const struct intro_fibers_options *given)
{
	const unsigned char *bytes = (const unsigned char *)given;

	if (!given || given->size < sizeof(given->size))
		return -EINVAL;
	for (size_t i = sizeof(*options); i < given->size; i++)
		if (bytes[i])
			return -E2BIG;
	memset(options, 0, sizeof(*options));
	memcpy(options, given, given->size < sizeof(*options) ? given->size : sizeof(*options));
	if (options->threads > THREADS_MAX)
		return -EINVAL;
	if (options->stack_bytes && options->stack_bytes < STACK_MIN)
		return -EINVAL;
	if (options->stack_bytes > SIZE_MAX / 4)
		return -EINVAL;
	return 0;
}

void intro__fibers_destroy(struct intro_fibers *fibers)
{
	atomic_store(&fibers->closing, true);
	atomic_fetch_add(&fibers->wakes, 1);
	intro__futex_wake(&fibers->wakes);
	for (unsigned i = 0; i < fibers->started; i++)
		intro__join(fibers->worker[i].thread);
	intro__fiber_stacks_free(fibers);
	for (unsigned i = 0; i < fibers->threads; i++)
		pthread_mutex_destroy(&fibers->worker[i].queue.lock);
	pthread_mutex_destroy(&fibers->common.lock);
	pthread_mutex_destroy(&fibers->lock);
	intro__pool_release(fibers->pool);
	free(fibers->timers);
	free(fibers);
}

static int start_workers(struct intro_fibers *fibers)
{
	for (unsigned i = 0; i < fibers->threads; i++) {
		struct fiber_worker *w = &fibers->worker[i];
		int err;

		w->fibers = fibers;
		w->index = i;
		err = pthread_create(&w->thread, NULL, worker_main, w);
		if (err)
			return err;
		fibers->started++;
	}
	return 0;
}

struct intro_fibers *intro_fibers_new(const struct intro_fibers_options *given)
{
	struct intro_fibers_options options;
	struct intro_fibers *fibers;
	int err = check_options(&options, given);

	if (err) {
		errno = -err;
		return NULL;
	}
	if (!options.threads)
		options.threads = intro__usable_cpus();
	if (!options.stack_bytes)
		options.stack_bytes = STACK_DEFAULT;
	fibers = calloc(1, sizeof(*fibers) + options.threads * sizeof(fibers->worker[0]));
	if (!fibers)
		return NULL;
	fibers->threads = options.threads;
	fibers->page = (size_t)sysconf(_SC_PAGESIZE);
	fibers->stack_bytes = (options.stack_bytes + fibers->page - 1) & ~(fibers->page - 1);
	fibers->next_timer = INTRO_FOREVER;
	snprintf(fibers->name, sizeof(fibers->name), "%s",
		 options.name && *options.name ? options.name : "fibers");
	pthread_mutex_init(&fibers->lock, NULL);
	pthread_mutex_init(&fibers->common.lock, NULL);
	for (unsigned i = 0; i < fibers->threads; i++)
		pthread_mutex_init(&fibers->worker[i].queue.lock, NULL);
	fibers->pool = intro__pool_claim(fibers->name, fibers->threads, INTRO_POOL_THREAD);
	err = start_workers(fibers);
	if (err) {
		intro__fibers_destroy(fibers);
		errno = err;
		return NULL;
	}
	return fibers;
}

void intro_fibers_statistics(struct intro_fibers *fibers,
			     struct intro_fibers_statistics *statistics)
{
	memset(statistics, 0, sizeof(*statistics));
	pthread_mutex_lock(&fibers->lock);
	statistics->spawned = fibers->spawned;
	statistics->ended = fibers->ended;
	pthread_mutex_unlock(&fibers->lock);
	for (unsigned i = 0; i < fibers->threads; i++) {
		statistics->switches +=
			atomic_load_explicit(&fibers->worker[i].switches, memory_order_relaxed);
		statistics->stolen +=
			atomic_load_explicit(&fibers->worker[i].stolen, memory_order_relaxed);
	}
}
