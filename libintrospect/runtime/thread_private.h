/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_THREAD_PRIVATE_H
#define INTRO_RUNTIME_THREAD_PRIVATE_H
/*
 * thread_private.h - what the files of the thread pool share: thread_executor.c (queue, workers,
 * who wakes whom), thread_run.c (one task on one thread), thread_dynamic.c (growing and shrinking).
 */
#include "executor_private.h"
#include "placement.h"
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

struct thread_worker {
	_Alignas(64) struct seat seat;
	pthread_t thread;
	enum worker_slot slot;		/* under the pool's lock */
	bool leaves;			/* it was told to, by maintain */
	_Atomic uint32_t awake;		/* the futex */
	struct thread_worker *sleeping; /* the next on the stack of sleepers */
	bool searching;
	unsigned place; /* see placement.h; 0 in a pool that does not place */
	int64_t spin_ns;
	char name[INTRO__NAME_BYTES + 16];
};

struct thread_pool {
	struct intro_executor base;
	struct ring_queue queue;
	struct placement *placement; /* NULL: workers run wherever they may */
	/* of a dynamic one; the thresholds in thousandths, grow_at 0: not one */
	unsigned least, grow_at, shrink_at;
	unsigned pauses_a_look; /* of a worker who looks at the empty queue */
	char guest[INTRO__NAME_BYTES + 16];
	struct intro__counts guest_counts; /* but what was executed: helped - helped_cancelled */
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
	/*
	 * Places in the queue that hold no task any more are `helped` + `gone`: guests count what
	 * they took out of them when they leave, the others who take one out, or pop such a place,
	 * count at once. So, with the queue empty, that is the less below 0 the more guests are
	 * still inside.
	 */
	_Alignas(64) _Atomic uint64_t helped, helped_cancelled;
	_Atomic int64_t gone;
	_Atomic uint32_t droppers;    /* who are in drop_queue: they have popped, and will count */
	_Atomic uint32_t guests_left; /* a futex, for a shutdown: how many have */
	struct thread_worker worker[];
};

static inline struct thread_pool *intro__thread_pool(struct intro_executor *executor)
{
	return (struct thread_pool *)executor;
}

static inline struct ring_queue *intro__thread_queue(struct thread_pool *pool, unsigned place)
{
	return place ? &pool->placement->place[place].queue : &pool->queue;
}

/* lock is held: whom to wake in a pool that places, where it is linked. */
struct thread_worker **intro__thread_near_sleeper(struct thread_pool *pool);

/* How many tasks wait. */
uint64_t intro__thread_backlog(struct thread_pool *pool);

/* lock is held. */
struct thread_worker *intro__thread_pop_sleeper(struct thread_pool *pool, uint64_t becomes);
int intro__thread_start_worker(struct thread_pool *pool);
void intro__thread_wake(struct thread_worker *worker);
struct intro_executor *intro__thread_pool_new(const struct intro_executor_options *options);

/* The calling thread is in this seat from now on; the one it had is seat->outer until it leaves. */
void intro__seat_take(struct seat *seat);
void intro__seat_leave(struct seat *seat);
/* Whether the calling thread is a worker or a guest of the pool. */
bool intro__seat_in(const struct thread_pool *pool);
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
