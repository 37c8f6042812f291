/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_FUTURE_PRIVATE_H
#define INTRO_RUNTIME_FUTURE_PRIVATE_H
/*
 * future_private.h - what is inside a future, and how executors end one.
 *
 * Rules
 *   1. `lock` guards all but `state` and `task`, which are written under it and may be read
 *      without. PENDING -> RUNNING alone is made without it, by compare-and-swap; so is its
 *      rival PENDING -> CANCELLED, under the lock.
 *   2. A future that is held belongs to its executor until it is FINISHED or
 *      CANCELLED_AND_NOTIFIED; whoever makes it so clears `held` under the lock and touches the
 * future no more, except to run callbacks, which `busy` announces. destroy waits for both.
 *   3. `work` is the executor's while the future is held; the result takes its place at the end.
 *   4. Lock order: future.lock, then a waiter's lock. Executors' locks and a
 *      future's are never held together.
 *   5. Marks that tell of a change of state are written under the lock, so their order is the
 *      order of the changes.
 */
#include <pthread.h>
#include <stdatomic.h>

#include <introspect/executor.h>
#include <introspect/future.h>
#include <introspect/mark.h>

/* Payloads up to this size travel in the future itself. */
#define INTRO__INLINE_BYTES 64

struct future;
struct wait_node;

/* What an executor keeps in a future that it holds. */
struct future_work {
	struct future *next, *prev; /* in one of the executor's queues */
	intro_task_fn fn;
	const void *arg;
	size_t size;
	unsigned char inlined[INTRO__INLINE_BYTES];
};

/* What a submitter, a worker and a reader share is in the first two lines of cache. */
struct future {
	pthread_mutex_t lock;
	_Atomic uint32_t state; /* enum intro_future_state */
	bool held;
	bool busy;	 /* callbacks of the one that ended it are running */
	bool failed;	 /* FINISHED with `error` */
	bool owns_bytes; /* result.data is ours to free */
	uint32_t pool;
	uint32_t name;
	_Atomic uint64_t task;		 /* written under the lock */
	struct intro_executor *executor; /* while held */
	struct wait_node *waiters;
	struct intro_done_callback *callbacks;
	union {
		struct future_work work;
		struct {
			struct intro_result result;
			struct intro_error error;
		};
	};
};

_Static_assert(offsetof(struct future, work.inlined) <= 128, "struct future: hot part");
_Static_assert(sizeof(struct future) <= sizeof(struct intro_future), "struct intro_future");
_Static_assert(_Alignof(struct future) <= _Alignof(struct intro_future), "struct intro_future");

static inline struct future *intro__future(struct intro_future *future)
{
	return (struct future *)(void *)future;
}

static inline struct intro_future *intro__public(struct future *future)
{
	return (struct intro_future *)(void *)future;
}

/* Before a submit: takes hold of a future that is PENDING and was never submitted, else -EINVAL. */
int intro__future_hold(struct future *future, struct intro_executor *executor, uint32_t pool,
		       uint32_t name);
/* The submit failed: as before intro__future_hold. */
void intro__future_unhold(struct future *future);

/* How a task ended. */
struct future_end {
	uint8_t mark; /* INTRO_KIND_END: the result is set as the function ends; or _RESULT */
	enum intro_status status;
	struct intro_result result;	 /* status OK */
	bool owns_bytes;		 /* result.data is malloc'ed: the future's now */
	const struct intro_error *error; /* any other status */
};
/* 0; -EINVAL when it is done already: then the bytes stay the caller's. */
int intro__future_end(struct future *future, const struct future_end *end);

#endif
