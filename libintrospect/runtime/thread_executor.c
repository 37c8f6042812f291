/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread_executor.c - a pool of threads.
 *
 * Its queue (thread_queue.c) has no lock, and who has nothing to do sleeps (thread_wake.c): a
 * submit to workers who are busy takes no lock.
 *
 * A worker whose thread ends in a task (pthread_exit, pthread_cancel) is gone when the task's
 * frames are: another thread takes its slot and goes on, so at no time is there a task that nobody
 * is there for. Where no thread is to be had it goes on itself, in its cleanup handler, and ends
 * when the pool does. Who has a slot joins the thread that had it before, as soon as that has ended
 * or when it ends itself; never under the lock, as what a thread runs at its end may submit.
 *
 * Lock order: none; the pool's lock and a future's are never held together.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "handlers.h"
#include "join.h"
#include "membarrier.h"
#include "thread_private.h"

/* A shutdown looks so often whether a guest has left that did not tell. */
#define GUESTS_LEFT_LOOK_NS 1000000

/* lock is held. What is in the queue still can be taken; nothing more gets in. */
static void end_queue(struct thread_pool *pool)
{
	intro__task_ring_close(&pool->queue);
	for (unsigned place = 1; pool->placement && place < pool->placement->n; place++)
		intro__task_ring_close(intro__thread_queue(pool, place));
	atomic_store(&pool->over, true);
	if (pool->barriers)
		intro__membarrier();
}

struct drop {
	struct thread_pool *pool;
	const struct intro_error *error; /* NULL: they are cancelled */
};

static void drop_all(void *arg)
{
	const struct drop *drop = arg;
	struct future *f;

	do {
		f = intro__thread_pop_one(drop->pool);
		if (f && drop->error)
			intro__future_drop(f, drop->error);
		else if (f)
			intro__future_drop_cancelled(f);
		else
			sched_yield(); /* a submitter is half way in */
	} while (!intro__thread_is_empty(drop->pool));
	atomic_fetch_sub(&drop->pool->droppers, 1);
}

/* The queue of a pool that is not to run it, emptied. lock is not held. */
static void drop_queue(struct thread_pool *pool, const struct intro_error *error)
{
	atomic_fetch_add(&pool->droppers, 1);
	intro__see_through(drop_all, &(struct drop){.pool = pool, .error = error});
}

/* All sleepers find the pool closed or broken. lock is not held. */
static void wake_all(void *arg)
{
	struct thread_pool *pool = arg;
	struct thread_worker *w;

	do {
		pthread_mutex_lock(&pool->lock);
		w = intro__thread_pop_sleeper(pool, 0);
		pthread_mutex_unlock(&pool->lock);
		intro__thread_wake(w);
	} while (w);
}

static void break_pool(struct thread_pool *pool, const struct intro_error *error)
{
	pthread_mutex_lock(&pool->lock);
	if (!pool->broken.code)
		pool->broken = *error;
	end_queue(pool);
	pthread_mutex_unlock(&pool->lock);
	wake_all(pool);
	drop_queue(pool, error);
}

static int run_initializer(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	struct intro_error error;
	int code = intro__seat_initialize(&w->seat, &error);

	w->initialized = true;
	atomic_fetch_sub(&pool->idle, IDLE_STARTING);
	if (code)
		break_pool(pool, &error);
	return code;
}

static void *worker_main(void *arg);

/*
 * lock is held. For a slot that has no thread, or whose thread `before` is about to end, to be
 * joined by the new one (NULL: by nobody). 0 or -errno: then nothing has changed.
 */
static int start_thread(struct thread_worker *w, const pthread_t *before)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	const bool had = w->has_before;
	const pthread_t was = w->before;
	int err;

	w->has_before = before;
	if (before)
		w->before = *before;
	atomic_fetch_add(&pool->idle, IDLE_STARTING);
	if (intro__thread_is_helped(pool)) /* its starter goes on, most often */
		err = intro__apart_create(&w->apart, &w->thread, worker_main, w);
	else
		err = pthread_create(&w->thread, NULL, worker_main, w);
	if (err) {
		atomic_fetch_sub(&pool->idle, IDLE_STARTING);
		w->has_before = had;
		w->before = was;
		return -err;
	}
	w->slot = SLOT_USED;
	w->threads++;
	w->is_joined = false;
	return 0;
}

/* lock is held. Who submitted since it was told to leave may have found no slot for another. */
static void leave_slot(struct thread_worker *w)
{
	w->slot = SLOT_LEFT;
	intro__thread_start_if_short(intro__thread_pool(w->seat.executor));
}

/*
 * The calling thread, which is about to end, was w. false: there is nobody in its stead, though
 * there is something to do.
 */
static bool is_succeeded(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	const pthread_t self = pthread_self(), before = w->before;
	const bool has_before = w->has_before;
	int err = 0;

	pthread_mutex_lock(&pool->lock);
	if (w->searching)
		atomic_fetch_sub(&pool->idle, IDLE_SEARCHING);
	w->searching = false;
	if (w->leaves)
		leave_slot(w);
	else if (!atomic_load(&pool->over) || !intro__thread_is_empty(pool))
		err = start_thread(w, w->is_joined ? NULL : &self);
	pthread_mutex_unlock(&pool->lock);
	/* w may be another's now */
	if (!err && has_before)
		intro__join(before);
	return !err;
}

static void join_before(struct thread_worker *w)
{
	if (w->has_before)
		intro__join(w->before);
	w->has_before = false;
}

/* Until there is nothing to do any more, or its thread ends. */
static void work(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);

	intro_mark_worker_start(pool->base.pool, w->seat.index);
	intro__seat_take(&w->seat);
	if (w->initialized || !run_initializer(w))
		intro__thread_run_all(w);
	if (intro__executor_is_parents(&pool->base))
		intro__child_vanish(0);
	intro_mark_worker_stop(pool->base.pool, w->seat.index);
	join_before(w);
	if (w->leaves) {
		pthread_mutex_lock(&pool->lock);
		leave_slot(w);
		pthread_mutex_unlock(&pool->lock);
	}
}

/* Its thread ends, in a task or while it had none. */
static void thread_ends(void *arg)
{
	struct thread_worker *w = arg;
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	struct intro_error error;

	if (intro__executor_is_parents(&pool->base))
		intro__child_vanish(0);
	intro__handlers_restore(w->seat.handlers);
	intro_mark_worker_stop(pool->base.pool, w->seat.index);
	intro__seats_unwound();
	if (!w->initialized) {
		w->initialized = true;
		atomic_fetch_sub(&pool->idle, IDLE_STARTING);
		intro__error_set(&error, -EPIPE, "the thread of worker %s ended in its initializer",
				 w->name);
		break_pool(pool, &error);
	}
	if (!is_succeeded(w))
		work(w);
}

static void *worker_main(void *arg)
{
	struct thread_worker *w = arg;
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	struct handlers handlers;
	char comm[16];

	intro__apart_end(&w->apart);
	w->tid = gettid();
	w->leaves = w->initialized = false;
	w->seat.handlers = &handlers;
	w->seat.initial = NULL;
	if (pool->placement)
		intro__placement_bind(pool->placement, w->seat.index);
	intro__worker_name(&pool->base, w->seat.index, comm, sizeof(comm));
	pthread_setname_np(pthread_self(), comm);
	pthread_cleanup_push(thread_ends, w);
	intro__handlers_save(&handlers);
	work(w);
	pthread_cleanup_pop(0);
	return NULL;
}

/* lock is held. A slot for a worker more: one that was left, or the next. */
static struct thread_worker *find_slot(struct thread_pool *pool)
{
	for (unsigned i = 0; i < pool->started; i++)
		if (pool->worker[i].slot != SLOT_USED)
			return &pool->worker[i];
	return pool->started < pool->base.workers ? &pool->worker[pool->started++] : NULL;
}

/* The lock may be held so long: a pool grows rarely. */
int intro__thread_start_worker(struct thread_pool *pool)
{
	struct thread_worker *w = find_slot(pool);
	pthread_t left;
	int err;

	if (!w)
		return 0; /* the one who leaves has not left its slot yet */
	left = w->thread;
	w->seat.executor = &pool->base;
	w->seat.name = w->name;
	w->seat.index = (unsigned)(w - pool->worker);
	w->place = pool->placement ? intro__placement_of(pool->placement, w->seat.index) : 0;
	intro__worker_name(&pool->base, w->seat.index, w->name, sizeof(w->name));
	err = start_thread(w, w->slot == SLOT_LEFT ? &left : NULL);
	/* not before: whoever submits meanwhile would rely on it */
	if (!err)
		atomic_fetch_add(&pool->idle, IDLE_LIVE);
	return err;
}

int intro__thread_start_if_short(struct thread_pool *pool)
{
	if (atomic_load(&pool->over) || !intro__thread_wants_more(pool, atomic_load(&pool->idle)))
		return 0;
	return intro__thread_start_worker(pool);
}

/* Is there more to do than workers who know of it? f was just pushed, and may be gone. */
static __attribute__((noinline)) int call_worker(struct thread_pool *pool, struct future *f,
						 uint64_t idle)
{
	enum taken taken = TAKEN_NOT;
	struct thread_worker *w;
	int err;

	if (!intro__thread_wants_searcher(pool, idle) && !intro__thread_wants_more(pool, idle))
		return 0;
	pthread_mutex_lock(&pool->lock);
	err = intro__thread_start_if_short(pool);
	w = intro__thread_pop_searcher(pool);
	/* those who are there will do it, or one of them has it already */
	if (err && !IDLE_COUNT(atomic_load(&pool->idle), IDLE_LIVE))
		taken = intro__thread_take(pool, f);
	if (taken == TAKEN_FROM_RING) {
		pool->refused++;
		atomic_fetch_add_explicit(&pool->gone, 1, memory_order_relaxed);
	} else if (!taken) {
		err = 0;
	}
	pthread_mutex_unlock(&pool->lock);
	intro__thread_wake(w);
	return err;
}

static int push(struct thread_pool *pool, struct future *f, uint64_t task)
{
	struct ring_queue *queue = &pool->queue;
	struct future *here = f; /* which may be gone */

	if (intro__thread_put_in_slot(pool, f, task)) {
		/* the slot cannot be closed; workers may have looked there the last time */
		if (atomic_load(&pool->over) &&
		    atomic_compare_exchange_strong(&pool->slot.future, &here, NULL))
			return intro__thread_refuses(pool);
		return 0;
	}
	if (pool->placement)
		queue = intro__thread_queue(pool, intro__placement_here(pool->placement));
	return intro__task_ring_push(queue, f) ? intro__thread_push_slowly(pool, queue, f) : 0;
}

static int thread_submit(struct intro_executor *executor, struct future *f)
{
	struct thread_pool *pool = intro__thread_pool(executor);
	uint64_t idle, task = atomic_load_explicit(&f->task, memory_order_relaxed);
	int err;

	if (atomic_load_explicit(&pool->over, memory_order_relaxed))
		return intro__thread_refuses(pool);
	intro_mark_submit(task, executor->pool, f->name);
	err = push(pool, f, task);
	idle = atomic_load(&pool->idle);
	if (!err &&
	    (IDLE_COUNT(idle, IDLE_SLEEPING) || IDLE_COUNT(idle, IDLE_LIVE) < pool->base.workers))
		err = call_worker(pool, f, idle);
	/* it ended between our look and our push, or has no thread: the mark stands */
	if (err)
		intro_mark_cancel(task, executor->pool);
	return err;
}

static bool thread_forget(struct intro_executor *executor, struct future *f)
{
	struct thread_pool *pool = intro__thread_pool(executor);
	enum taken taken = intro__thread_take(pool, f);

	if (!taken)
		return false;
	if (taken == TAKEN_FROM_RING)
		atomic_fetch_add_explicit(&pool->gone, 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&pool->beside, 1, memory_order_relaxed);
	intro__count_cancelled(executor);
	return true;
}

static uint64_t thread_backlog(struct intro_executor *executor)
{
	return intro__thread_backlog(intro__thread_pool(executor));
}

static void thread_statistics(struct intro_executor *executor, struct intro_executor_statistics *to)
{
	struct thread_pool *pool = intro__thread_pool(executor);
	unsigned started;

	pthread_mutex_lock(&pool->lock);
	started = pool->started;
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < started; i++)
		intro__counts_add(to, &pool->worker[i].seat.counts);
	for (struct guest *g = atomic_load(&pool->guests); g; g = g->next)
		intro__counts_add(to, &g->seat.counts);
	to->submitted = intro__thread_submitted(pool);
	to->workers = IDLE_COUNT(atomic_load(&pool->idle), IDLE_LIVE);
}

/* The queue is empty, and nothing comes any more: a guest that has a task has been seen inside. */
static void join_guests(struct thread_pool *pool)
{
	uint32_t left;

	while (atomic_load(&pool->droppers))
		sched_yield();
	for (struct guest *g = atomic_load(&pool->guests); g; g = g->next)
		for (;;) {
			left = atomic_load(&pool->guests_left);
			if (!atomic_load(&g->inside))
				break;
			/* one that leaves may not know yet that somebody waits */
			intro__futex_wait(&pool->guests_left, left,
					  intro__deadline(GUESTS_LEFT_LOOK_NS));
		}
}

/* The thread in this slot, and those that take its place meanwhile. */
static void join_slot(struct thread_pool *pool, struct thread_worker *w)
{
	uint64_t joined = 0, threads;
	pthread_t thread;

	for (;;) {
		pthread_mutex_lock(&pool->lock);
		threads = w->slot == SLOT_FREE ? 0 : w->threads;
		thread = w->thread;
		w->is_joined = true;
		pthread_mutex_unlock(&pool->lock);
		if (threads == joined)
			return;
		intro__join(thread);
		joined = threads;
	}
}

static void join_all(struct thread_pool *pool)
{
	pthread_mutex_lock(&pool->join_lock);
	for (unsigned i = 0; !pool->joined && i < pool->base.workers; i++)
		join_slot(pool, &pool->worker[i]);
	pool->joined = true;
	pthread_mutex_unlock(&pool->join_lock);
	join_guests(pool);
}

/*
 * Whoever pushed a task before this, and would start the first worker for it, finds the pool
 * closed: so it is started here. error->code is not 0 where there is none and no thread to be had.
 */
static void close_pool(struct thread_pool *pool, bool runs_rest, struct intro_error *error)
{
	int err = 0;

	error->code = 0;
	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	end_queue(pool);
	if (runs_rest && !IDLE_COUNT(atomic_load(&pool->idle), IDLE_LIVE) &&
	    !intro__thread_is_empty(pool))
		err = intro__thread_start_worker(pool);
	pthread_mutex_unlock(&pool->lock);
	if (err)
		intro__error_set(error, err, "no thread to be had for pool %s", pool->base.name);
}

static void thread_shutdown(struct intro_executor *executor, unsigned flags)
{
	struct thread_pool *pool = intro__thread_pool(executor);
	struct intro_error error;

	close_pool(pool, !(flags & INTRO_SHUTDOWN_CANCEL_PENDING), &error);
	pthread_cleanup_push(wake_all, pool);
	if (flags & INTRO_SHUTDOWN_CANCEL_PENDING)
		drop_queue(pool, NULL);
	else if (error.code)
		drop_queue(pool, &error);
	pthread_cleanup_pop(1);
	/* a worker cannot wait for its own end, nor a guest */
	if ((flags & INTRO_SHUTDOWN_WAIT) && !intro__seat_in(pool))
		join_all(pool);
}

static int thread_broken(struct intro_executor *executor, struct intro_error *error)
{
	struct thread_pool *pool = intro__thread_pool(executor);

	return intro__executor_broken(&pool->lock, &pool->broken, error);
}

static void thread_free(struct intro_executor *executor)
{
	struct thread_pool *pool = intro__thread_pool(executor);

	intro__executor_fini(executor);
	pthread_mutex_destroy(&pool->join_lock);
	pthread_mutex_destroy(&pool->lock);
	intro__task_ring_fini(&pool->queue);
	for (struct guest *g = atomic_load(&pool->guests), *next; g; g = next) {
		next = g->next;
		free(g);
	}
	intro__placement_free(pool->placement);
	free(pool);
}

static const struct intro_executor_ops thread_ops = {
	.submit = thread_submit,
	.forget = thread_forget,
	.shutdown = thread_shutdown,
	.broken = thread_broken,
	.free = thread_free,
	.backlog = thread_backlog,
	.statistics = thread_statistics,
	.maintain = intro__thread_maintain,
	.run_or_queue = intro__thread_run_or_queue,
	.run_now = intro__thread_run_now,
	.shares_memory = true,
	.binds = true,
};

static _Atomic uint64_t pools_made; /* by this process: what guests tell pools by */

static struct thread_pool *pool_alloc(const struct intro_executor *base)
{
	size_t size = sizeof(struct thread_pool) + base->workers * sizeof(struct thread_worker);
	struct thread_pool *pool = aligned_alloc(_Alignof(struct thread_pool), size);
	pthread_mutexattr_t spinning;

	if (!pool)
		return NULL;
	memset(pool, 0, size);
	if (intro__task_ring_init(&pool->queue)) {
		free(pool);
		return NULL;
	}
	pool->base = *base;
	pool->base.leaves |= FUTURE_HELPS | (intro__usable_cpus() > 1 ? FUTURE_SPINS : 0);
	pool->serial = 1 + atomic_fetch_add(&pools_made, 1);
	pool->caller_runs.backlog = base->caller_runs;
	pool->barriers = base->caller_runs && intro__membarrier_register();
	pool->caller_runs.held.turn = TURN_HELD;
	snprintf(pool->guest, sizeof(pool->guest), "%s/guest", pool->base.name);
	pthread_mutexattr_init(&spinning);
	pthread_mutexattr_settype(&spinning, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&pool->lock, &spinning);
	pthread_mutexattr_destroy(&spinning);
	pthread_mutex_init(&pool->join_lock, NULL);
	return pool;
}

struct intro_executor *intro__thread_pool_new(const struct intro_executor_options *options)
{
	struct intro_executor base = {0};
	struct thread_pool *pool;
	int err = intro__executor_init(&base, &thread_ops, options, INTRO_POOL_THREAD);

	if (err) {
		errno = -err;
		return NULL;
	}
	pool = pool_alloc(&base);
	if (!pool) {
		intro__executor_fini(&base);
		errno = ENOMEM;
		return NULL;
	}
	return &pool->base;
}

/* Its workers are all there from the beginning, so that each node has its own. */
static int place_workers(struct thread_pool *pool, enum intro_binding binding)
{
	int err = 0;

	pool->placement = intro__placement_new(binding == INTRO_BIND_CORES);
	if (!pool->placement)
		return -errno;
	pthread_mutex_lock(&pool->lock);
	for (unsigned i = 0; !err && i < pool->base.workers; i++)
		err = intro__thread_start_worker(pool);
	pthread_mutex_unlock(&pool->lock);
	return err;
}

struct intro_executor *intro_thread_executor_new(const struct intro_executor_options *given)
{
	struct intro_executor_options options;
	int err = intro__executor_options(&options, given);
	struct intro_executor *executor;

	if (err) {
		errno = -err;
		return NULL;
	}
	executor = intro__thread_pool_new(&options);
	if (!executor || options.binding == INTRO_BIND_NONE)
		return executor;
	err = place_workers(intro__thread_pool(executor), options.binding);
	if (!err)
		return executor;
	intro_executor_free(executor);
	errno = -err;
	return NULL;
}
