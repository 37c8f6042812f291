/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_THREAD_PRIVATE_H
#define INTRO_RUNTIME_THREAD_PRIVATE_H
/*
 * thread_private.h - what the files of the thread pool share: thread_executor.c (the pool and its
 * threads), thread_wake.c (who sleeps, who wakes whom), thread_queue.c (where tasks wait),
 * thread_run.c (one task on one thread), thread_dynamic.c (growing and shrinking).
 */
#include "apart.h"
#include "executor_private.h"
#include "placement.h"
#include "spin.h"
#include "task_ring.h"

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

/* What a worker that looks for tasks knows of the slot (thread_pool.slot). */
struct glance {
	uint64_t seen;	      /* its turn at the last glance */
	unsigned apart, left; /* pauses from one to the next; to the next */
};

/*
 * A thread that is none of the pool's and has run tasks of it: by waiting for them, or in submit.
 * It stays as long as the pool. That thread alone writes what it counts.
 */
struct guest {
	_Alignas(64) struct seat seat;
	const void *owner;	  /* the address of a variable of that thread alone */
	_Atomic uint64_t emptied; /* places of the ring that it took a task out of */
	_Atomic bool inside;
	bool announced; /* to a tracer, as a worker */
	struct guest *next;
};

/* A worker's account of whether the pool is faster without it; its own. See thread_turns.c. */
struct turns {
	unsigned left;	/* pops until it judges again */
	unsigned apart; /* from one judgement to the next; 0: the default */
	uint64_t place; /* the front of the queue at the last one, */
	int64_t since;	/* and when that was; 0: there was none */
};

struct thread_worker {
	_Alignas(64) struct seat seat;
	pthread_t thread;
	struct apart apart;
	pid_t tid;
	enum worker_slot slot; /* under the pool's lock */
	bool initialized;      /* its initializer is over */
	bool leaves;	       /* it was told to, by maintain */
	/* under the pool's lock: threads that this slot had, one after the other, and whether a
	 * shutdown joins the one that it has */
	uint64_t threads;
	bool is_joined;
	/* the thread that it had before, if that was not joined; its own */
	bool has_before;
	pthread_t before;
	_Atomic uint32_t awake;		/* the futex */
	struct thread_worker *sleeping; /* the next on the stack of sleepers */
	bool searching;
	bool looks_again; /* at the queue, when it has a task: see call_next */
	unsigned place;	  /* see placement.h; 0 in a pool that does not place */
	int64_t spin_ns;
	struct glance glance;
	struct turns turns;
	char name[INTRO__NAME_BYTES + 16];
};

/*
 * Of a pool whose callers run tasks. Not to count the backlog at each submit: below `room` places
 * there is room, whatever workers do; and while `full` is of this turn there is none.
 */
struct caller_runs {
	_Alignas(64) uint64_t backlog; /* 0: it is not one */
	_Atomic uint64_t room, turn;
	/* of a place that waits, or `held`, until a worker says that it has nothing to do; NULL:
	 * none */
	_Atomic(struct ring_cell *) full;
	struct ring_cell held;
	/* when room was found, and how many had been taken then */
	_Atomic int64_t begin;
	_Atomic uint64_t taken;
};
#define TURN_HELD UINT64_MAX

struct thread_pool {
	struct intro_executor base;
	struct ring_queue queue;
	struct placement *placement; /* NULL: workers run wherever they may */
	/* of a dynamic one; the thresholds in thousandths, grow_at 0: not one */
	unsigned least, grow_at, shrink_at;
	uint64_t serial; /* no other pool of this process has, or had, it */
	char guest[INTRO__NAME_BYTES + 16];
	bool barriers; /* who ends the queue fences guests: membarrier.h */
	_Atomic(struct guest *) guests;
	/*
	 * With waiters that help: the only task that waits, where its submitter puts it and takes
	 * it back without a trace; the others are in the ring. So it is older than these. Its
	 * `turn` is the number of the last that was there.
	 */
	_Alignas(64) struct ring_cell slot;
	_Alignas(64) _Atomic uint64_t idle;
	_Atomic bool over; /* closed or broken, and so is the queue */
	/*
	 * With waiters that help: a worker that was woken when all slept, on which CPU, and when a
	 * task was run first after that (0: not yet). NULL: there is none, or one has woken up
	 * since, or it was moved. `called` changes under the lock.
	 */
	_Atomic(struct thread_worker *) called;
	int called_from;
	_Atomic int64_t called_ns;
	pthread_mutex_t lock; /* guards what follows, and additions to idle's SLEEPING and LIVE */
	struct thread_worker *sleepers;
	unsigned started; /* slots ever used: worker[0..started) */
	uint64_t refused; /* of those pushed: taken back, as there was no thread to be had */
	bool closed;
	struct intro_error broken; /* code 0: sound */
	pthread_mutex_t join_lock;
	bool joined;
	/*
	 * Places in the ring that hold no task any more: `gone` and what guests have emptied. Who
	 * pops such a place takes it off; so it may be below 0 for a moment.
	 */
	_Alignas(64) _Atomic int64_t gone;
	_Atomic uint64_t beside;      /* tasks that left the slot for no worker and no guest */
	_Atomic uint32_t droppers;    /* who are in drop_queue: they have popped, and will count */
	_Atomic uint32_t guests_left; /* a futex, for a shutdown: how many have, since it is over */
	struct caller_runs caller_runs;
	struct thread_worker worker[];
};

static inline struct thread_pool *intro__thread_pool(struct intro_executor *executor)
{
	return (struct thread_pool *)executor;
}

/* Whether who submits, and waits, runs tasks itself meanwhile. */
static inline bool intro__thread_is_helped(const struct thread_pool *pool)
{
	return pool->base.leaves & FUTURE_GUESTS;
}

static inline struct ring_queue *intro__thread_queue(struct thread_pool *pool, unsigned place)
{
	return place ? &pool->placement->place[place].queue : &pool->queue;
}

/* lock is held: whom to wake in a pool that places, where it is linked. */
struct thread_worker **intro__thread_near_sleeper(struct thread_pool *pool);

/* --- thread_queue.c ----------------------------------------------------------------------------
 */

/* Seen by one who changed `idle` before: see thread_wake.c. */
bool intro__thread_is_empty(struct thread_pool *pool);
/* Places of the queue; not all of them need hold a task. */
uint64_t intro__thread_length(struct thread_pool *pool);
/* How many tasks wait. */
uint64_t intro__thread_backlog(struct thread_pool *pool);
/* How many were ever submitted. lock is not held. */
uint64_t intro__thread_submitted(struct thread_pool *pool);

/* For a worker, but what is alone in the slot. NULL: none now. */
struct future *intro__thread_pop(struct thread_worker *w);
/* What is in the slot, only if it has been there since the last call. NULL: none now. */
struct future *intro__thread_glance(struct thread_worker *w, struct spin *spin);
/* What is there. NULL: none now. The caller counts it in `beside`. */
struct future *intro__thread_pop_slot(struct thread_pool *pool);
/* For one who is no worker: whatever waits. NULL: none now. */
struct future *intro__thread_pop_one(struct thread_pool *pool);

enum taken { TAKEN_NOT = 0, TAKEN_FROM_RING = 1, TAKEN_FROM_SLOT = 2 };
/* Takes a task from where it waits; the caller counts it in `gone`, or `beside`. */
static inline enum taken intro__thread_take(struct thread_pool *pool, struct future *f)
{
	struct future *here = f;

	if (atomic_load_explicit(&f->place, memory_order_relaxed) != &pool->slot)
		return intro__task_ring_take_back(f) ? TAKEN_FROM_RING : TAKEN_NOT;
	return atomic_compare_exchange_strong(&pool->slot.future, &here, NULL) ? TAKEN_FROM_SLOT
									       : TAKEN_NOT;
}

/* 0; or why nothing is taken any more. */
int intro__thread_refuses(struct thread_pool *pool);
/* The ring did not take it. 0, or why not. */
int intro__thread_push_slowly(struct thread_pool *pool, struct ring_queue *queue, struct future *f);

static inline bool intro__thread_has_slot(const struct thread_pool *pool)
{
	return intro__thread_is_helped(pool) && !pool->placement;
}

/* false: it is not the only one that waits, or another one came first. */
static inline bool intro__thread_put_in_slot(struct thread_pool *pool, struct future *f,
					     uint64_t task)
{
	struct future *none = NULL;

	if (!intro__thread_has_slot(pool) ||
	    atomic_load_explicit(&pool->slot.future, memory_order_relaxed) ||
	    !intro__task_ring_is_drained(&pool->queue))
		return false;
	atomic_store_explicit(&pool->slot.turn, task, memory_order_relaxed);
	atomic_store_explicit(&f->place, &pool->slot, memory_order_release);
	return atomic_compare_exchange_strong(&pool->slot.future, &none, f);
}

/* A worker has nothing to do: callers are to queue tasks again. */
static inline void intro__thread_hungry(struct thread_pool *pool)
{
	struct caller_runs *c = &pool->caller_runs;

	if (atomic_load(&c->full) == &c->held)
		atomic_store(&c->full, NULL);
}

/* Waiters took tasks: those who submit do not look at the back of the queue. */
static inline void intro__thread_relieved(struct thread_pool *pool)
{
	struct caller_runs *c = &pool->caller_runs;
	struct ring_cell *full = atomic_load_explicit(&c->full, memory_order_relaxed);

	if (full && full != &c->held)
		atomic_store_explicit(&c->full, NULL, memory_order_relaxed);
}

bool intro__thread_count_full(struct thread_pool *pool);

/* Whether callers are to run their tasks themselves, as they were a moment ago. */
static inline bool intro__thread_is_still_full(struct thread_pool *pool)
{
	struct caller_runs *c = &pool->caller_runs;
	struct ring_cell *cell = atomic_load_explicit(&c->full, memory_order_acquire);

	return cell && atomic_load_explicit(&cell->turn, memory_order_relaxed) ==
			       atomic_load_explicit(&c->turn, memory_order_relaxed);
}

/* Whether callers are to run their tasks themselves. */
static inline bool intro__thread_is_full(struct thread_pool *pool)
{
	return intro__thread_is_still_full(pool) ||
	       (intro__task_ring_pushed(&pool->queue) >=
			atomic_load_explicit(&pool->caller_runs.room, memory_order_relaxed) &&
		intro__thread_count_full(pool));
}

/* lock is held. */
int intro__thread_start_worker(struct thread_pool *pool);
/* lock is held: one more, if that is wanted. 0 or -errno: where no thread is to be had, those who
 * are there do it, one day. */
int intro__thread_start_if_short(struct thread_pool *pool);
struct intro_executor *intro__thread_pool_new(const struct intro_executor_options *options);

/* --- thread_turns.c -----------------------------------------------------------------------------
 */

/* For a worker that is about to pop, and has nothing else: may take a fifth of a millisecond. */
void intro__thread_judge(struct thread_pool *pool, struct turns *turns);

/* --- thread_wake.c ------------------------------------------------------------------------------
 */

/* Runs tasks until the pool is over and nothing is left to do, or w is to leave. */
void intro__thread_run_all(struct thread_worker *w);
/*
 * Whether a sleeper should be woken: there is work, and not yet enough are on their way to it. The
 * second is called by a submitter, too: where the first, once awake, wakes it, that may leave
 * both on one CPU.
 */
bool intro__thread_wants_searcher(struct thread_pool *pool, uint64_t idle);
/* lock is held. Whom to wake when it is released: for the work that waits; whoever is next. */
struct thread_worker *intro__thread_pop_searcher(struct thread_pool *pool);
struct thread_worker *intro__thread_pop_sleeper(struct thread_pool *pool, uint64_t becomes);
/* NULL: nobody. */
void intro__thread_wake(struct thread_worker *w);

void intro__thread_fetch_called(struct thread_pool *pool);
/* The calling thread is about to run a task; to be called inside of the pool. */
static inline void intro__thread_fetch(struct thread_pool *pool)
{
	if (atomic_load_explicit(&pool->called, memory_order_relaxed))
		intro__thread_fetch_called(pool);
}

/* --- thread_run.c -------------------------------------------------------------------------------
 */

/* The calling thread is in this seat from now on; the one it had is seat->outer until it leaves. */
void intro__seat_take(struct seat *seat);
/* Its thread ends, and so has left all that it was in: seats, tasks that it helped with, callbacks.
 */
void intro__seats_unwound(void);
/* Whether the calling thread is a worker or a guest of the pool. */
bool intro__seat_in(const struct thread_pool *pool);
/* ops->run_or_queue */
int intro__thread_run_or_queue(struct intro_executor *executor, struct future *f, uint32_t name,
			       intro_task_fn fn, const void *arg, size_t size);
/* ops->run_now */
enum run_now intro__thread_run_now(struct intro_executor *executor, intro_task_fn fn,
				   const void *arg, size_t size, struct intro_error *error);
/* Calls the initializer; seat->initial is what it left. */
int intro__seat_initialize(struct seat *seat, struct intro_error *error);

/* As Python's pool: a new worker only when none is idle; a dynamic one: or nearly. */
bool intro__thread_is_short(struct thread_pool *pool, uint64_t idle);
static inline bool intro__thread_wants_more(struct thread_pool *pool, uint64_t idle)
{
	return IDLE_COUNT(idle, IDLE_LIVE) < pool->base.workers &&
	       intro__thread_is_short(pool, idle);
}

int intro__thread_maintain(struct intro_executor *executor);

#endif
