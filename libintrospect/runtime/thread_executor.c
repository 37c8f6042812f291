/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread_executor.c - a pool of threads.
 *
 * One queue without a lock (task_ring.h): a submit to workers who are busy, and a worker's step
 * from task to task, take no lock. Workers that find the queue empty sleep, each on a word of its
 * own, on a stack of sleepers (the last to fall asleep is the first to be woken: its cache is
 * warm).
 *
 * At most one worker at a time is `searching`: woken for a task, or looking at the queue a last
 * while before it sleeps; two, when many tasks wait. A submit wakes nobody while enough are. The
 * searcher, having got its task, wakes the next if there is more to do. So a burst of submits costs
 * one wake-up each at most, and few when tasks are shorter than a wake-up.
 *
 * No wake-up is lost: a submitter pushes, then reads `idle`; a worker changes `idle`, then looks
 * at the queue. Both in sequentially consistent order, so one of them sees the other.
 *
 * Lock order: none; the pool's lock and a future's are never held together.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "executor_private.h"
#include "task_ring.h"
#include "spin.h"

/* How long a worker looks at an empty queue before it sleeps: less, the less often it helps. */
#define WORKER_SPIN_NS 40000
#define WORKER_SPIN_LEAST_NS 5000

/* So many may be woken at a time, the second for a backlog of so many tasks. */
#define SEARCHERS 2
#define BACKLOG_A_SEARCHER 32

/* A dynamic pool's thresholds, unless it is told others. */
#define GROW_AT 0.8
#define SHRINK_AT 0.4
#define THRESHOLD_MOST 1000

/* Of thread_pool.idle: how many workers are ... */
#define IDLE_SLEEPING ((uint64_t)1)
#define IDLE_SEARCHING                                                                             \
	((uint64_t)1 << 16) /* up to SEARCHERS, but for a moment when the pool closes */
#define IDLE_STARTING ((uint64_t)1 << 32) /* created and not yet at the queue */
#define IDLE_LIVE ((uint64_t)1 << 48)	  /* there at all */
#define IDLE_COUNT(idle, what) ((unsigned)((idle) / (what)) & 0xffff)

enum worker_slot {
	SLOT_FREE = 0,
	SLOT_USED = 1,
	SLOT_LEFT = 2, /* its thread ends, and is to be joined */
};

struct thread_worker {
	_Alignas(64) struct thread_pool *pool;
	unsigned index;
	struct intro__counts counts;
	pthread_t thread;
	enum worker_slot slot;		/* under the pool's lock */
	bool leaves;			/* it was told to, by maintain */
	_Atomic uint32_t awake;		/* the futex */
	struct thread_worker *sleeping; /* the next on the stack of sleepers */
	bool searching;
	int64_t spin_ns;
	void *initial;
	char name[INTRO__NAME_BYTES + 16];
};

struct thread_pool {
	struct intro_executor base;
	struct ring_queue queue;
	/* of a dynamic one; the thresholds in thousandths, grow_at 0: not one */
	unsigned least, grow_at, shrink_at;
	_Alignas(64) _Atomic uint64_t idle;
	_Atomic bool over;    /* closed or broken, and so is the queue */
	pthread_mutex_t lock; /* guards what follows, and additions to idle's SLEEPING and LIVE */
	struct thread_worker *sleepers;
	unsigned started; /* slots ever used: worker[0..started) */
	uint64_t refused; /* of those pushed: taken back, as there was no thread to be had */
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

/* lock is held. Returns whom to wake (by wake_worker) when it is released. */
static struct thread_worker *pop_sleeper(struct thread_pool *pool, uint64_t becomes)
{
	struct thread_worker *w = pool->sleepers;

	if (w) {
		pool->sleepers = w->sleeping;
		atomic_fetch_add(&pool->idle, becomes - IDLE_SLEEPING);
	}
	return w;
}

/*
 * Whether a sleeper should be woken: there is work, and not yet enough are on their way to it. The
 * second is called by a submitter, too: where the first, once awake, wakes it, that may leave
 * both on one CPU.
 */
static bool wants_searcher(struct thread_pool *pool, uint64_t idle)
{
	unsigned searching = IDLE_COUNT(idle, IDLE_SEARCHING);

	return IDLE_COUNT(idle, IDLE_SLEEPING) && searching < SEARCHERS &&
	       intro__task_ring_length(&pool->queue) > (uint64_t)searching * BACKLOG_A_SEARCHER;
}

/* lock is held. Somebody for the work that waits, unless somebody is on the way. */
static struct thread_worker *pop_searcher(struct thread_pool *pool)
{
	struct thread_worker *w;

	if (!wants_searcher(pool, atomic_load(&pool->idle)))
		return NULL;
	w = pop_sleeper(pool, IDLE_SEARCHING);
	if (w)
		w->searching = true;
	return w;
}

static void wake_worker(struct thread_worker *w)
{
	if (!w)
		return;
	atomic_store_explicit(&w->awake, 1, memory_order_release);
	intro__futex_wake(&w->awake);
}

/* Having got a task: the next is called if there is more. */
static void stop_searching(struct thread_worker *w)
{
	struct thread_pool *pool = w->pool;
	struct thread_worker *next;
	uint64_t idle = atomic_fetch_sub(&pool->idle, IDLE_SEARCHING);

	w->searching = false;
	if (!IDLE_COUNT(idle, IDLE_SLEEPING) || intro__task_ring_is_empty(&pool->queue))
		return;
	pthread_mutex_lock(&pool->lock);
	next = pop_searcher(pool);
	pthread_mutex_unlock(&pool->lock);
	wake_worker(next);
}

/* Whether w may look a while: it is the one who searches (now). */
static bool may_look(struct thread_worker *w)
{
	uint64_t idle = atomic_load_explicit(&w->pool->idle, memory_order_relaxed);

	if (!w->pool->base.may_spin)
		return false;
	while (!w->searching && !IDLE_COUNT(idle, IDLE_SEARCHING))
		w->searching =
			atomic_compare_exchange_weak(&w->pool->idle, &idle, idle + IDLE_SEARCHING);
	return w->searching;
}

/* The queue was empty. Returns when there may be something to do again. */
static void sleep_until_woken(struct thread_worker *w)
{
	struct thread_pool *pool = w->pool;
	uint64_t change = IDLE_SLEEPING - (w->searching ? IDLE_SEARCHING : 0);

	pthread_mutex_lock(&pool->lock);
	atomic_fetch_add(&pool->idle, change);
	w->searching = false;
	if (atomic_load(&pool->over) || !intro__task_ring_is_empty(&pool->queue)) {
		atomic_fetch_sub(&pool->idle, IDLE_SLEEPING);
		pthread_mutex_unlock(&pool->lock);
		return;
	}
	atomic_store_explicit(&w->awake, 0, memory_order_relaxed);
	w->sleeping = pool->sleepers;
	pool->sleepers = w;
	pthread_mutex_unlock(&pool->lock);
	while (!atomic_load_explicit(&w->awake, memory_order_acquire))
		intro__futex_wait(&w->awake, 0, INTRO_FOREVER);
}

/* The next that is there to be run. NULL: none now. */
static struct future *pop_task(struct thread_pool *pool)
{
	struct future *f;
	bool gone;

	do
		f = intro__task_ring_pop(&pool->queue, &gone);
	while (f && gone);
	return f;
}

static struct future *look_a_while(struct thread_worker *w)
{
	struct spin spin = {0};
	struct future *f;

	do
		f = pop_task(w->pool);
	while (!f && spin_once(&spin, w->spin_ns) &&
	       !atomic_load_explicit(&w->pool->over, memory_order_relaxed));
	if (f && w->spin_ns < WORKER_SPIN_NS)
		w->spin_ns *= 2;
	else if (!f && w->spin_ns > WORKER_SPIN_LEAST_NS)
		w->spin_ns /= 2;
	return f;
}

/* NULL: the pool is over and nothing is left to do, or this worker is to leave. */
static struct future *next_task(struct thread_worker *w)
{
	struct thread_pool *pool = w->pool;
	struct future *f;
	bool over;

	while (!w->leaves) {
		over = atomic_load(&pool->over);
		f = pop_task(pool);
		if (!f && over && intro__task_ring_is_empty(&pool->queue))
			return NULL;
		if (!f && may_look(w))
			f = look_a_while(w);
		if (f) {
			if (w->searching)
				stop_searching(w);
			return f;
		}
		if (!over)
			sleep_until_woken(w);
	}
	return NULL;
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
	int64_t begin = 0, queued = 0;

	if (intro_future_set_running_or_notify_cancel(intro__public(f)) != 1) {
		intro__count_cancelled(&w->pool->base);
		return;
	}
	call_init(&call, w, &state);
	if (w->pool->base.timed) {
		begin = intro__now();
		queued = begin - f->work.submitted;
	}
	call.arg = f->work.arg;
	call.size = f->work.size;
	call.task = task;
	intro_mark_start(task, w->pool->base.pool);
	error.code = intro__executor_call(&w->pool->base, f->work.fn, &call);
	if (w->pool->base.timed)
		intro__count_times(&w->counts, queued, intro__now() - begin);
	intro__count_task(&w->counts, error.code);
	if (error.code) {
		memcpy(error.text, state.text, sizeof(error.text));
		end.status = INTRO_STATUS_FAILED;
		end.error = &error;
	} else {
		end.result = state.result;
	}
	intro__future_end(f, &end);
}

/* lock is held. What is in the queue still can be taken; nothing more gets in. */
static void end_queue(struct thread_pool *pool)
{
	intro__task_ring_close(&pool->queue);
	atomic_store(&pool->over, true);
}

/* The queue of a pool that is not to run it, emptied. lock is not held. */
static void drop_queue(struct thread_pool *pool, const struct intro_error *error)
{
	struct future *f;

	do {
		f = pop_task(pool);
		if (f && error)
			intro__future_drop(f, error);
		else if (f)
			intro__future_drop_cancelled(f);
		else
			sched_yield(); /* a submitter is half way in */
	} while (!intro__task_ring_is_empty(&pool->queue));
}

/* All sleepers find the pool closed or broken. lock is not held. */
static void wake_all(struct thread_pool *pool)
{
	struct thread_worker *w;

	do {
		pthread_mutex_lock(&pool->lock);
		w = pop_sleeper(pool, 0);
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
	end_queue(pool);
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
	atomic_fetch_sub(&pool->idle, IDLE_STARTING);
	if (!err)
		while ((f = next_task(w)))
			run_task(w, f);
	intro_mark_worker_stop(pool->base.pool, w->index);
	if (w->leaves) {
		pthread_mutex_lock(&pool->lock);
		w->slot = SLOT_LEFT;
		pthread_mutex_unlock(&pool->lock);
	}
	return NULL;
}

/* lock is held. A slot for a worker more: one that was left, or the next. */
static struct thread_worker *take_slot(struct thread_pool *pool)
{
	for (unsigned i = 0; i < pool->started; i++) {
		if (pool->worker[i].slot == SLOT_USED)
			continue;
		if (pool->worker[i].slot == SLOT_LEFT)
			pthread_join(pool->worker[i].thread, NULL); /* it takes no lock any more */
		pool->worker[i].slot = SLOT_FREE;
		return &pool->worker[i];
	}
	return pool->started < pool->base.workers ? &pool->worker[pool->started++] : NULL;
}

/* lock is held: a pool grows rarely. */
static int start_worker(struct thread_pool *pool)
{
	struct thread_worker *w = take_slot(pool);
	int err;

	if (!w)
		return 0; /* the one who leaves has not left its slot yet */
	w->pool = pool;
	w->index = (unsigned)(w - pool->worker);
	w->leaves = w->searching = false;
	w->initial = NULL;
	w->spin_ns = WORKER_SPIN_NS;
	intro__worker_name(&pool->base, w->index, w->name, sizeof(w->name));
	atomic_fetch_add(&pool->idle, IDLE_STARTING + IDLE_LIVE);
	err = pthread_create(&w->thread, NULL, worker_main, w);
	if (err)
		atomic_fetch_sub(&pool->idle, IDLE_STARTING + IDLE_LIVE);
	else
		w->slot = SLOT_USED;
	return -err;
}

/* Tasks that run or wait, a thousand for each. */
static uint64_t load_of(struct thread_pool *pool, uint64_t idle)
{
	unsigned live = IDLE_COUNT(idle, IDLE_LIVE);
	unsigned free = IDLE_COUNT(idle, IDLE_SLEEPING) + IDLE_COUNT(idle, IDLE_SEARCHING) +
			IDLE_COUNT(idle, IDLE_STARTING);

	return 1000 * (intro__task_ring_length(&pool->queue) + (live > free ? live - free : 0));
}

/* As Python's pool: a new worker only when none is idle; a dynamic one: or nearly. */
static bool wants_worker(struct thread_pool *pool, uint64_t idle)
{
	uint64_t live = IDLE_COUNT(idle, IDLE_LIVE);

	if (live >= pool->base.workers)
		return false;
	return pool->grow_at ? load_of(pool, idle) >= pool->grow_at * live
			     : load_of(pool, idle) > 1000 * live;
}

static bool wants_fewer(struct thread_pool *pool, uint64_t idle)
{
	uint64_t live = IDLE_COUNT(idle, IDLE_LIVE);

	return live > pool->least && load_of(pool, idle) <= pool->shrink_at * live;
}

/* There is more to do than workers who know of it. f was just pushed, and may be gone. */
static int call_worker(struct thread_pool *pool, struct future *f)
{
	struct thread_worker *w;
	int err = 0;

	pthread_mutex_lock(&pool->lock);
	if (!atomic_load(&pool->over) && wants_worker(pool, atomic_load(&pool->idle)))
		err = start_worker(pool);
	w = pop_searcher(pool);
	/* those who are there will do it, or one of them has it already */
	if (err &&
	    (IDLE_COUNT(atomic_load(&pool->idle), IDLE_LIVE) || !intro__task_ring_take_back(f)))
		err = 0;
	pool->refused += err != 0;
	pthread_mutex_unlock(&pool->lock);
	wake_worker(w);
	return err;
}

/* The queue did not take it. 0: try again. */
static int make_room(struct thread_pool *pool)
{
	int err;

	pthread_mutex_lock(&pool->lock);
	if (pool->broken.code)
		err = -EPIPE;
	else if (pool->closed)
		err = -ESHUTDOWN;
	else
		err = intro__task_ring_grow(&pool->queue);
	pthread_mutex_unlock(&pool->lock);
	return err;
}

static int thread_submit(struct intro_executor *executor, struct future *f)
{
	struct thread_pool *pool = pool_of(executor);
	uint64_t idle, task = intro_future_id(intro__public(f));
	int err = 0;

	if (atomic_load_explicit(&pool->over, memory_order_relaxed))
		return make_room(pool);
	intro_mark_submit(task, executor->pool, f->name);
	while (!err && intro__task_ring_push(&pool->queue, f))
		err = make_room(pool);
	idle = atomic_load(&pool->idle);
	if (!err && (wants_searcher(pool, idle) || wants_worker(pool, idle)))
		err = call_worker(pool, f);
	/* it ended between our look and our push, or has no thread: the mark stands */
	if (err)
		intro_mark_cancel(task, executor->pool);
	return err;
}

static bool thread_forget(struct intro_executor *executor, struct future *f)
{
	bool taken = intro__task_ring_take_back(f);

	if (taken)
		intro__count_cancelled(executor);
	return taken;
}

static uint64_t thread_backlog(struct intro_executor *executor)
{
	return intro__task_ring_length(&pool_of(executor)->queue);
}

static void thread_statistics(struct intro_executor *executor, struct intro_executor_statistics *to)
{
	struct thread_pool *pool = pool_of(executor);
	uint64_t refused;
	unsigned started;

	pthread_mutex_lock(&pool->lock);
	started = pool->started;
	refused = pool->refused;
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < started; i++)
		intro__counts_add(to, &pool->worker[i].counts);
	to->submitted = intro__task_ring_pushed(&pool->queue) - refused;
	to->workers = IDLE_COUNT(atomic_load(&pool->idle), IDLE_LIVE);
}

/* lock is held. Workers that shall leave, linked by `sleeping`, to be woken. */
static struct thread_worker *let_go(struct thread_pool *pool)
{
	struct thread_worker *leaving = NULL, *w;

	while (pool->sleepers && wants_fewer(pool, atomic_load(&pool->idle))) {
		w = pop_sleeper(pool, 0 - IDLE_LIVE);
		w->leaves = true;
		w->sleeping = leaving;
		leaving = w;
	}
	return leaving;
}

static int thread_maintain(struct intro_executor *executor)
{
	struct thread_pool *pool = pool_of(executor);
	struct thread_worker *leaving, *next;
	unsigned live;
	int err = 0;

	if (!pool->grow_at)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&pool->lock);
	if (pool->broken.code)
		err = -EPIPE;
	else if (pool->closed)
		err = -ESHUTDOWN;
	live = 0;
	while (!err && wants_worker(pool, atomic_load(&pool->idle)) &&
	       IDLE_COUNT(atomic_load(&pool->idle), IDLE_LIVE) != live) {
		live = IDLE_COUNT(atomic_load(&pool->idle), IDLE_LIVE);
		err = start_worker(pool);
	}
	leaving = err ? NULL : let_go(pool);
	pthread_mutex_unlock(&pool->lock);
	for (; leaving; leaving = next) {
		next = leaving->sleeping; /* its own again once it is awake */
		wake_worker(leaving);
	}
	return err;
}

static void thread_shutdown(struct intro_executor *executor, unsigned flags)
{
	struct thread_pool *pool = pool_of(executor);
	bool there;

	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	end_queue(pool);
	pthread_mutex_unlock(&pool->lock);
	if (flags & INTRO_SHUTDOWN_CANCEL_PENDING)
		drop_queue(pool, NULL);
	wake_all(pool);
	/* a worker cannot wait for its own end */
	if (!(flags & INTRO_SHUTDOWN_WAIT) || working_for == pool)
		return;
	pthread_mutex_lock(&pool->join_lock);
	for (unsigned i = 0; !pool->joined && i < pool->base.workers; i++) {
		pthread_mutex_lock(&pool->lock);
		there = pool->worker[i].slot != SLOT_FREE;
		pthread_mutex_unlock(&pool->lock);
		if (there)
			pthread_join(pool->worker[i].thread, NULL);
	}
	pool->joined = true;
	pthread_mutex_unlock(&pool->join_lock);
}

static int thread_broken(struct intro_executor *executor, struct intro_error *error)
{
	struct thread_pool *pool = pool_of(executor);

	return intro__executor_broken(&pool->lock, &pool->broken, error);
}

static void thread_free(struct intro_executor *executor)
{
	struct thread_pool *pool = pool_of(executor);

	intro__executor_fini(executor);
	pthread_mutex_destroy(&pool->join_lock);
	pthread_mutex_destroy(&pool->lock);
	intro__task_ring_fini(&pool->queue);
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
	.maintain = thread_maintain,
	.shares_memory = true,
};

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
	pool->base.may_spin = intro__usable_cpus() > 1;
	pthread_mutexattr_init(&spinning);
	pthread_mutexattr_settype(&spinning, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&pool->lock, &spinning);
	pthread_mutexattr_destroy(&spinning);
	pthread_mutex_init(&pool->join_lock, NULL);
	return pool;
}

static struct thread_pool *pool_new(const struct intro_executor_options *options)
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
	}
	return pool;
}

struct intro_executor *intro_thread_executor_new(const struct intro_executor_options *given)
{
	struct intro_executor_options options;
	int err = intro__executor_options(&options, given);
	struct thread_pool *pool;

	if (err) {
		errno = -err;
		return NULL;
	}
	pool = pool_new(&options);
	return pool ? &pool->base : NULL;
}

static int dynamic_options(struct intro_executor_options *options,
			   const struct intro_executor_options *given)
{
	int err = intro__executor_options(options, given);

	if (err)
		return err;
	options->workers = options->workers ? options->workers : intro__usable_cpus();
	options->min_workers = options->min_workers ? options->min_workers : 1;
	options->grow_at = options->grow_at != 0 ? options->grow_at : GROW_AT;
	options->shrink_at = options->shrink_at != 0 ? options->shrink_at : SHRINK_AT;
	/* written so that not-a-number is refused, too; below a thousandth it would be 0 */
	if (options->min_workers > options->workers || !(options->grow_at <= THRESHOLD_MOST) ||
	    !(options->grow_at >= 0.001) || !(options->shrink_at >= 0) ||
	    !(options->shrink_at < options->grow_at))
		return -EINVAL;
	return 0;
}

struct intro_executor *intro_dynamic_executor_new(const struct intro_executor_options *given)
{
	struct intro_executor_options options;
	int err = dynamic_options(&options, given);
	struct thread_pool *pool = NULL;

	if (err)
		errno = -err;
	else
		pool = pool_new(&options);
	if (!pool)
		return NULL;
	pool->least = options.min_workers;
	pool->grow_at = (unsigned)(options.grow_at * 1000 + 0.5);
	pool->shrink_at = (unsigned)(options.shrink_at * 1000 + 0.5);
	pthread_mutex_lock(&pool->lock);
	while (!err && pool->started < pool->least)
		err = start_worker(pool);
	pthread_mutex_unlock(&pool->lock);
	if (!err)
		return &pool->base;
	intro_executor_free(&pool->base);
	errno = -err;
	return NULL;
}
