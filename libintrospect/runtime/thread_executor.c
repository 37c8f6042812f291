/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread_executor.c - a pool of threads.
 *
 * One queue under one lock; workers that find it empty sleep, each on a word of its own, on a stack
 * of sleepers (the last to fall asleep is the first to be woken: its cache is warm).
 *
 * At most one worker at a time is `searching`: woken for a task, or looking at the queue a last
 * while before it sleeps. A submit wakes nobody while one is searching. The searcher, having got
 * its task, wakes the next if there is more to do. So a burst of submits costs one wake-up each at
 * most, and few when tasks are shorter than a wake-up.
 *
 * Lock order: none; the pool's lock and a future's are never held together.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "executor_private.h"
#include "futex.h"
#include "queue.h"

/*
 * How long a worker looks at an empty queue before it sleeps, in pauses; about 5 us. Longer costs a
 * CPU that others want, shorter makes a submit every few us pay for a wake-up each.
 */
#define SPINS 100

struct thread_worker {
	struct thread_pool *pool;
	unsigned index;
	pthread_t thread;
	_Atomic uint32_t awake;		/* the futex */
	struct thread_worker *sleeping; /* the next on the stack of sleepers */
	bool searching;
	void *initial;
	char name[INTRO__NAME_BYTES + 16];
};

struct thread_pool {
	struct intro_executor base;
	bool may_spin;
	pthread_mutex_t lock; /* guards what follows */
	struct queue queue;
	struct thread_worker *sleepers;
	unsigned sleeping;  /* how many */
	unsigned searching; /* 0 or 1, but for a moment when the pool closes */
	unsigned starting;  /* created and not yet at the queue */
	unsigned started;   /* ever created: worker[0..started) */
	bool closed;
	struct intro_error broken; /* code 0: sound */
	pthread_mutex_t join_lock;
	bool joined;
	struct thread_worker worker[];
};

/* Which pool's worker this thread is. */
static __thread struct thread_pool *working_for __attribute__((tls_model("initial-exec")));

static struct thread_pool *pool_of(struct intro_executor *executor)
{
	return (struct thread_pool *)executor;
}

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/* lock is held. Returns whom to wake (by wake_worker) when it is released. */
static struct thread_worker *pop_sleeper(struct thread_pool *pool)
{
	struct thread_worker *w = pool->sleepers;

	if (w) {
		pool->sleepers = w->sleeping;
		pool->sleeping--;
	}
	return w;
}

/* lock is held. Somebody for the work that waits, unless somebody is on the way. */
static struct thread_worker *pop_searcher(struct thread_pool *pool)
{
	struct thread_worker *w;

	if (pool->searching || !queue_length(&pool->queue))
		return NULL;
	w = pop_sleeper(pool);
	if (w) {
		w->searching = true;
		pool->searching++;
	}
	return w;
}

static void wake_worker(struct thread_worker *w)
{
	if (!w)
		return;
	atomic_store_explicit(&w->awake, 1, memory_order_release);
	intro__futex_wake(&w->awake);
}

/* lock is held. */
static void stop_searching(struct thread_worker *w)
{
	if (w->searching)
		w->pool->searching--;
	w->searching = false;
}

/* lock is held, and is so on return. */
static void look_a_while(struct thread_worker *w)
{
	struct thread_pool *pool = w->pool;

	w->searching = true;
	pool->searching++;
	pthread_mutex_unlock(&pool->lock);
	for (int i = 0; i < SPINS && !queue_length(&pool->queue); i++)
		pause_cpu();
	pthread_mutex_lock(&pool->lock);
}

/* lock is held, and is so on return. */
static void sleep_until_woken(struct thread_worker *w)
{
	struct thread_pool *pool = w->pool;

	atomic_store_explicit(&w->awake, 0, memory_order_relaxed);
	w->sleeping = pool->sleepers;
	pool->sleepers = w;
	pool->sleeping++;
	pthread_mutex_unlock(&pool->lock);
	while (!atomic_load_explicit(&w->awake, memory_order_acquire))
		intro__futex_wait(&w->awake, 0, INTRO_FOREVER);
	pthread_mutex_lock(&pool->lock);
}

/* NULL: the pool is closed, and nothing is left to do. */
static struct future *next_task(struct thread_worker *w)
{
	struct thread_pool *pool = w->pool;
	struct thread_worker *next;
	struct future *f;
	bool looked = !pool->may_spin;

	pthread_mutex_lock(&pool->lock);
	while (!(f = queue_pop(&pool->queue)) && !pool->closed && !pool->broken.code) {
		if (!looked && (w->searching || !pool->searching)) {
			stop_searching(w);
			look_a_while(w);
			looked = true;
			continue;
		}
		stop_searching(w);
		sleep_until_woken(w);
		looked = !pool->may_spin;
	}
	stop_searching(w);
	next = pop_searcher(pool);
	pthread_mutex_unlock(&pool->lock);
	wake_worker(next);
	return f;
}

static void call_init(struct intro_call *call, struct thread_worker *w, struct call_state *state)
{
	state->copies = state->returned = state->explained = false;
	state->result = (struct intro_result){0};
	state->text[0] = 0;
	*call = (struct intro_call){
		.worker = w->name, .index = w->index, .initial = w->initial, .runtime = state};
}

static void run_task(struct thread_worker *w, struct future *f)
{
	struct future_end end = {.mark = INTRO_KIND_END, .status = INTRO_STATUS_OK};
	struct intro_error error;
	struct call_state state;
	struct intro_call call;
	uint64_t task = intro_future_id(intro__public(f));

	if (intro_future_set_running_or_notify_cancel(intro__public(f)) != 1)
		return;
	call_init(&call, w, &state);
	call.arg = f->work.arg;
	call.size = f->work.size;
	call.task = task;
	intro_mark_start(task, w->pool->base.pool);
	error.code = intro__executor_call(&w->pool->base, f->work.fn, &call);
	if (error.code) {
		memcpy(error.text, state.text, sizeof(error.text));
		end.status = INTRO_STATUS_FAILED;
		end.error = &error;
	} else {
		end.result = state.result;
	}
	intro__future_end(f, &end);
}

/* The queue of a pool that is not to run it, emptied. lock is not held. */
static void drop_queue(struct thread_pool *pool, const struct intro_error *error)
{
	struct future *f;

	do {
		pthread_mutex_lock(&pool->lock);
		f = queue_pop(&pool->queue);
		pthread_mutex_unlock(&pool->lock);
		if (f && error)
			intro__future_drop(f, error);
		else if (f)
			intro__future_drop_cancelled(f);
	} while (f);
}

/* All sleepers find the pool closed or broken. lock is not held. */
static void wake_all(struct thread_pool *pool)
{
	struct thread_worker *w;

	do {
		pthread_mutex_lock(&pool->lock);
		w = pop_sleeper(pool);
		pthread_mutex_unlock(&pool->lock);
		wake_worker(w);
	} while (w);
}

static int run_initializer(struct thread_worker *w)
{
	struct thread_pool *pool = w->pool;
	struct intro_error error;
	struct call_state state;
	struct intro_call call;
	int code;

	if (!pool->base.initializer)
		return 0;
	call_init(&call, w, &state);
	call.arg = pool->base.initarg;
	call.size = pool->base.initarg_size;
	code = intro__executor_call(&pool->base, pool->base.initializer, &call);
	w->initial = call.initial;
	if (!code)
		return 0;
	intro__error_set(&error, -EPIPE, "initializer of worker %s failed with %d%s%.60s", w->name,
			 code, state.text[0] ? ": " : "", state.text);
	pthread_mutex_lock(&pool->lock);
	if (!pool->broken.code)
		pool->broken = error;
	pthread_mutex_unlock(&pool->lock);
	wake_all(pool);
	drop_queue(pool, &error);
	return code;
}

static void *worker_main(void *arg)
{
	struct thread_worker *w = arg;
	struct thread_pool *pool = w->pool;
	char comm[16];
	struct future *f;
	int err;

	working_for = pool;
	intro__worker_name(&pool->base, w->index, comm, sizeof(comm));
	pthread_setname_np(pthread_self(), comm);
	intro_mark_worker_start(pool->base.pool, w->index);
	err = run_initializer(w);
	pthread_mutex_lock(&pool->lock);
	pool->starting--;
	pthread_mutex_unlock(&pool->lock);
	if (!err)
		while ((f = next_task(w)))
			run_task(w, f);
	intro_mark_worker_stop(pool->base.pool, w->index);
	return NULL;
}

/* lock is held: a pool grows a few times in its life only. */
static int start_worker(struct thread_pool *pool)
{
	struct thread_worker *w = &pool->worker[pool->started];
	int err;

	w->pool = pool;
	w->index = pool->started;
	intro__worker_name(&pool->base, w->index, w->name, sizeof(w->name));
	err = pthread_create(&w->thread, NULL, worker_main, w);
	if (err)
		return -err;
	pool->started++;
	pool->starting++;
	return 0;
}

/* lock is held. As Python's pool: a new worker only when none is idle. */
static bool wants_worker(struct thread_pool *pool)
{
	return pool->started < pool->base.workers &&
	       queue_length(&pool->queue) > pool->sleeping + pool->searching + pool->starting;
}

static int thread_submit(struct intro_executor *executor, struct future *f)
{
	struct thread_pool *pool = pool_of(executor);
	struct thread_worker *w = NULL;
	int err = 0;

	pthread_mutex_lock(&pool->lock);
	if (pool->broken.code) {
		err = -EPIPE;
	} else if (pool->closed) {
		err = -ESHUTDOWN;
	} else {
		intro_mark_submit(intro_future_id(intro__public(f)), executor->pool, f->name);
		queue_push(&pool->queue, f);
		if (wants_worker(pool))
			err = start_worker(pool);
		w = pop_searcher(pool);
		if (err && pool->started)
			err = 0; /* those who are there will do it */
		else if (err)
			queue_remove(&pool->queue, f);
	}
	pthread_mutex_unlock(&pool->lock);
	wake_worker(w);
	return err;
}

static bool thread_forget(struct intro_executor *executor, struct future *f)
{
	struct thread_pool *pool = pool_of(executor);
	bool queued;

	pthread_mutex_lock(&pool->lock);
	queued = queue_has(&pool->queue, f);
	if (queued)
		queue_remove(&pool->queue, f);
	pthread_mutex_unlock(&pool->lock);
	return queued;
}

static void thread_shutdown(struct intro_executor *executor, unsigned flags)
{
	struct thread_pool *pool = pool_of(executor);

	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	pthread_mutex_unlock(&pool->lock);
	if (flags & INTRO_SHUTDOWN_CANCEL_PENDING)
		drop_queue(pool, NULL);
	wake_all(pool);
	/* a worker cannot wait for its own end */
	if (!(flags & INTRO_SHUTDOWN_WAIT) || working_for == pool)
		return;
	pthread_mutex_lock(&pool->join_lock);
	for (unsigned i = 0; !pool->joined && i < pool->started; i++)
		pthread_join(pool->worker[i].thread, NULL);
	pool->joined = true;
	pthread_mutex_unlock(&pool->join_lock);
}

static int thread_broken(struct intro_executor *executor, struct intro_error *error)
{
	struct thread_pool *pool = pool_of(executor);
	int code;

	pthread_mutex_lock(&pool->lock);
	code = pool->broken.code;
	if (error)
		*error = pool->broken;
	pthread_mutex_unlock(&pool->lock);
	return code;
}

static void thread_free(struct intro_executor *executor)
{
	struct thread_pool *pool = pool_of(executor);

	intro__executor_fini(executor);
	pthread_mutex_destroy(&pool->join_lock);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

static const struct intro_executor_ops thread_ops = {
	.submit = thread_submit,
	.forget = thread_forget,
	.shutdown = thread_shutdown,
	.broken = thread_broken,
	.free = thread_free,
	.shares_memory = true,
};

struct intro_executor *intro_thread_executor_new(const struct intro_executor_options *given)
{
	struct intro_executor_options options;
	struct intro_executor base = {0};
	pthread_mutexattr_t spinning;
	struct thread_pool *pool;
	int err;

	err = intro__executor_options(&options, given);
	if (!err)
		err = intro__executor_init(&base, &thread_ops, &options, INTRO_POOL_THREAD);
	if (err) {
		errno = -err;
		return NULL;
	}
	pool = calloc(1, sizeof(*pool) + base.workers * sizeof(pool->worker[0]));
	if (!pool) {
		intro__executor_fini(&base);
		errno = ENOMEM;
		return NULL;
	}
	pool->base = base;
	pool->may_spin = intro__usable_cpus() > 1;
	pthread_mutexattr_init(&spinning);
	pthread_mutexattr_settype(&spinning, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&pool->lock, &spinning);
	pthread_mutexattr_destroy(&spinning);
	pthread_mutex_init(&pool->join_lock, NULL);
	return &pool->base;
}
