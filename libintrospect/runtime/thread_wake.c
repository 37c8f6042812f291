/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread_wake.c - the workers of a thread pool from task to task: who looks for one, who sleeps,
 * and who wakes whom.
 *
 * A worker's step from task to task takes no lock. Workers that find the queue empty sleep, each on
 * a word of its own, on a stack of sleepers (the last to fall asleep is the first to be woken: its
 * cache is warm).
 *
 * At most one worker at a time is `searching`: woken for a task, or looking at the queue a last
 * while before it sleeps; two, when many tasks wait. A submit wakes nobody while enough are. The
 * searcher, having got its task, wakes the next if there is more to do. So a burst of submits costs
 * one wake-up each at most, and few when tasks are shorter than a wake-up.
 *
 * No wake-up is lost: a submitter pushes, then reads `idle`; a worker changes `idle`, then looks
 * at the queue. Both in sequentially consistent order, so one of them sees the other.
 *
 * Where waiters help, who wakes a worker goes on, and the kernel may leave that behind it on its
 * CPU (apart.h). If all workers slept, such a one is `called`, and who has run tasks for a while
 * and has seen none come moves it. Not at once: a wake-up of another CPU is worth it for many tasks
 * only.
 */
#include <pthread.h>

#include "spin.h"
#include "thread_private.h"

/* How long a worker looks at an empty queue before it sleeps: less, the less often it helps. */
#define WORKER_SPIN_NS 40000
#define WORKER_SPIN_LEAST_NS 5000

/* The same where waiters help, since it last saw that tasks come: they take most of what it is
 * woken for, and its wake-ups cost them more. */
#define SPIN_BESIDE_GUESTS_NS 200000

/* Of a worker, about 30 us: after so long it wants what callers run themselves. */
#define LOOKS_UNTIL_HUNGRY 1000

/* So many may be woken at a time, the second for a backlog of so many tasks. */
#define SEARCHERS 2
#define BACKLOG_A_SEARCHER 32

struct thread_worker *intro__thread_pop_sleeper(struct thread_pool *pool, uint64_t becomes)
{
	struct thread_worker **at =
		pool->placement ? intro__thread_near_sleeper(pool) : &pool->sleepers;
	struct thread_worker *w = *at;

	if (w) {
		*at = w->sleeping;
		atomic_fetch_add(&pool->idle, becomes - IDLE_SLEEPING);
	}
	return w;
}

bool intro__thread_wants_searcher(struct thread_pool *pool, uint64_t idle)
{
	unsigned searching = IDLE_COUNT(idle, IDLE_SEARCHING);

	return IDLE_COUNT(idle, IDLE_SLEEPING) && searching < SEARCHERS &&
	       intro__thread_length(pool) > (uint64_t)searching * BACKLOG_A_SEARCHER;
}

struct thread_worker *intro__thread_pop_searcher(struct thread_pool *pool)
{
	uint64_t idle = atomic_load(&pool->idle);
	struct thread_worker *w;

	if (!intro__thread_wants_searcher(pool, idle))
		return NULL;
	w = intro__thread_pop_sleeper(pool, IDLE_SEARCHING);
	if (!w)
		return NULL;
	w->searching = true;
	if (intro__thread_is_helped(pool) &&
	    IDLE_COUNT(idle, IDLE_SLEEPING) == IDLE_COUNT(idle, IDLE_LIVE)) {
		pool->called_from = sched_getcpu();
		atomic_store_explicit(&pool->called_ns, 0, memory_order_relaxed);
		atomic_store_explicit(&pool->called, w, memory_order_relaxed);
	}
	return w;
}

/*
 * A worker that has not come by then is on its waker's CPU, most likely. To get it to another one,
 * which has gone idle, costs the caller 12 to 45 us, and it is there after 35 to 140.
 */
#define CALLED_NS 100000

/* Since the first task that was run after it was called. */
static bool has_waited(struct thread_pool *pool, int64_t now)
{
	int64_t since = atomic_load_explicit(&pool->called_ns, memory_order_relaxed);

	if (!since)
		atomic_store_explicit(&pool->called_ns, now, memory_order_relaxed);
	return since && now - since >= CALLED_NS;
}

void intro__thread_fetch_called(struct thread_pool *pool)
{
	int64_t now = intro__now();
	struct thread_worker *w;

	/* in a forked child, whose parent's worker it is */
	if (intro__executor_is_parents(&pool->base) || !has_waited(pool, now))
		return;
	pthread_mutex_lock(&pool->lock);
	w = atomic_load_explicit(&pool->called, memory_order_relaxed);
	/* it may be another one by now */
	if (w && has_waited(pool, now)) {
		atomic_store_explicit(&pool->called, NULL, memory_order_relaxed);
		intro__apart_move(&w->apart, w->tid, pool->called_from);
	}
	pthread_mutex_unlock(&pool->lock);
}

/* w runs again: it was called, or was woken after who was, and is there before it. */
static void has_come(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);

	if (!intro__thread_is_helped(pool))
		return;
	pthread_mutex_lock(&pool->lock);
	atomic_store_explicit(&pool->called, NULL, memory_order_relaxed);
	pthread_mutex_unlock(&pool->lock);
	intro__apart_end(&w->apart);
}

void intro__thread_wake(struct thread_worker *w)
{
	if (!w)
		return;
	atomic_store_explicit(&w->awake, 1, memory_order_release);
	intro__futex_wake(&w->awake);
}

/*
 * Having got a task: the next is called, or started, if there is more. Who submitted that may have
 * seen one who searches, or is still to come to the queue, and not yet that it had found what it
 * looked for; or have counted fewer than wait, while places were taken off the queue.
 */
static void call_next(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	bool searched = w->searching;
	struct thread_worker *next;
	uint64_t idle =
		searched ? atomic_fetch_sub(&pool->idle, IDLE_SEARCHING) : atomic_load(&pool->idle);

	w->searching = w->looks_again = false;
	if (searched && IDLE_COUNT(idle, IDLE_SLEEPING))
		intro__thread_hungry(pool); /* those who sleep do not say so */
	else if (IDLE_COUNT(idle, IDLE_LIVE) == pool->base.workers)
		return;
	if (intro__thread_is_empty(pool))
		return;
	pthread_mutex_lock(&pool->lock);
	intro__thread_start_if_short(pool);
	next = intro__thread_pop_searcher(pool);
	pthread_mutex_unlock(&pool->lock);
	intro__thread_wake(next);
}

/* Whether w may look a while: it is the one who searches (now). */
static bool may_look(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	uint64_t idle = atomic_load_explicit(&pool->idle, memory_order_relaxed);

	if (!(pool->base.leaves & FUTURE_SPINS))
		return false;
	while (!w->searching && !IDLE_COUNT(idle, IDLE_SEARCHING))
		w->searching =
			atomic_compare_exchange_weak(&pool->idle, &idle, idle + IDLE_SEARCHING);
	return w->searching;
}

/* The queue was empty. Returns when there may be something to do again. */
static void sleep_until_woken(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	uint64_t change = IDLE_SLEEPING - (w->searching ? IDLE_SEARCHING : 0);

	if (w->has_before && !pthread_tryjoin_np(w->before, NULL))
		w->has_before = false;
	pthread_mutex_lock(&pool->lock);
	atomic_fetch_add(&pool->idle, change);
	intro__thread_hungry(pool);
	if (atomic_load(&pool->over) || !intro__thread_is_empty(pool)) {
		/* still searching: who submitted this woke nobody, and relies on it for the rest */
		atomic_fetch_sub(&pool->idle, change);
		pthread_mutex_unlock(&pool->lock);
		return;
	}
	w->searching = false;
	atomic_store_explicit(&w->awake, 0, memory_order_relaxed);
	w->sleeping = pool->sleepers;
	pool->sleepers = w;
	pthread_mutex_unlock(&pool->lock);
	while (!atomic_load_explicit(&w->awake, memory_order_acquire))
		intro__futex_wait(&w->awake, 0, INTRO_FOREVER);
	has_come(w);
	/* better now than in a task: it would be one that nobody meant */
	pthread_testcancel();
}

static struct future *look_a_while(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	bool slot = intro__thread_has_slot(pool), looks;
	unsigned looked = 0;
	struct spin spin = {0};
	struct future *f;

	w->glance.left = 0;
	do {
		f = intro__thread_pop(w);
		if (++looked == LOOKS_UNTIL_HUNGRY)
			intro__thread_hungry(pool);
		if (!f && slot)
			f = intro__thread_glance(w, &spin);
		looks = !f && spin_once(&spin, w->spin_ns) &&
			!atomic_load_explicit(&pool->over, memory_order_relaxed);
	} while (looks);
	if (slot)
		return f;
	if (f && w->spin_ns < WORKER_SPIN_NS)
		w->spin_ns *= 2;
	else if (!f && w->spin_ns > WORKER_SPIN_LEAST_NS)
		w->spin_ns /= 2;
	return f;
}

static struct future *pop_any(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	struct future *f = intro__thread_pop(w);

	if (f || !intro__thread_has_slot(pool) || !(f = intro__thread_pop_slot(pool)))
		return f;
	intro__count(&w->seat.counts.beside, 1);
	return f;
}

/* NULL: the pool is over and nothing is left to do, or this worker is to leave. */
static struct future *next_task(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	struct future *f;
	bool over;

	while (!w->leaves) {
		over = atomic_load(&pool->over);
		f = intro__thread_pop(w);
		if (!f && !over && may_look(w))
			f = look_a_while(w);
		else if (!f)
			f = pop_any(w);
		if (!f && over && intro__thread_is_empty(pool))
			return NULL;
		if (f) {
			if (w->searching || w->looks_again)
				call_next(w);
			return f;
		}
		if (!over)
			sleep_until_woken(w);
	}
	return NULL;
}

void intro__thread_run_all(struct thread_worker *w)
{
	struct future *f;

	w->searching = false;
	w->looks_again = true;
	w->glance = (struct glance){.apart = 1};
	w->spin_ns = intro__thread_has_slot(intro__thread_pool(w->seat.executor))
			     ? SPIN_BESIDE_GUESTS_NS
			     : WORKER_SPIN_NS;
	while ((f = next_task(w)))
		intro__seat_run(&w->seat, f);
}
