/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_FUTURE_PRIVATE_H
#define INTRO_RUNTIME_FUTURE_PRIVATE_H
/*
 * future_private.h - what is inside a future, and how executors end one.
 *
 * Rules
 *   1. `word` is the state, the lock and what else changes with them. Every change of it is a
 *      read-modify-write that leaves the other bits alone. The lock guards all other members.
 *      PENDING -> RUNNING alone is made without the lock; so is its rival, PENDING -> CANCELLED,
 *      under it. Whoever finds a future over and not LOCKED may read its result without.
 *      A thread pool's future is `begun` instead, its word still PENDING: intro__future_begin.
 *   2. A future is held, by its `executor`, from the submit until it is FINISHED or
 *      CANCELLED_AND_NOTIFIED; whoever makes it so does it as it unlocks and touches the
 *      future no more, except to run callbacks, which BUSY announces. destroy waits for both.
 *   3. `work` is the executor's while the future is held; the result takes its place at the end.
 *   4. Lock order: future, then a waiter's lock. Executors' locks and a future's are never held
 *      together.
 *   5. Marks that tell of a change of state are written under the lock, so their order is the
 *      order of the changes.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "futex.h"

#include <introspect/executor.h>
#include <introspect/future.h>
#include <introspect/mark.h>

#include "marks_private.h"
#include "spin.h"

/* Payloads up to this size travel in the future itself. */
#define INTRO__INLINE_BYTES 64
/* Results of processes up to this size, too. */
#define INTRO__SMALL_BYTES 64

struct future;
struct ring_cell;
struct wait_node;

/* Of word. */
#define FUTURE_STATE 0x07u    /* enum intro_future_state */
#define FUTURE_BUSY 0x10u     /* callbacks of the one that ended it are running */
#define FUTURE_LISTENED 0x20u /* it has, or had, waiters or callbacks */
#define FUTURE_LOCKED 0x40u
#define FUTURE_SLEEPERS 0x80u /* somebody sleeps until it is unlocked */

/* Of leaves: what its executor lets its readers do: look a while before they sleep; run it
 * themselves if they are the executor's workers; if they are not. */
#define FUTURE_SPINS 0x01u
#define FUTURE_HELPS 0x02u
#define FUTURE_GUESTS 0x04u

/* What an executor keeps in a future that it holds. */
struct future_work {
	intro_task_fn fn;
	const void *arg;
	size_t size;
	struct future *next, *prev; /* in a process pool's queues */
	uint64_t position;	    /* of its request, in a process worker's ring */
	int64_t submitted;	    /* ns; of a pool that times its tasks */
	union {
		unsigned char inlined[INTRO__INLINE_BYTES];
		uint32_t place; /* of a large payload, in its pool's segment; 0: at `arg` */
	};
};

/* What a submitter and a worker share of a task that nobody waits for is in the first line. */
struct future {
	_Atomic uint32_t word;
	bool failed;	 /* FINISHED with `error` */
	bool owns_bytes; /* result.data is ours to free */
	_Atomic bool begun;
	_Atomic uint8_t leaves; /* those of its executor */
	uint32_t pool;
	uint32_t name;
	_Atomic uint64_t task; /* stored after pool and name */
	/* that holds it, unless it is over; NULL: it was not submitted */
	_Atomic(struct intro_executor *) executor;
	/* in a thread pool's queue; NULL until it is there. Stored after all that it is run by */
	_Atomic(struct ring_cell *) place;
	union {
		struct future_work work;
		struct {
			struct intro_result result;
			union {
				struct intro_error error; /* only if `failed` */
				struct {
					unsigned char unused[8];
					unsigned char small[INTRO__SMALL_BYTES]; /* as malloc's */
				};
			};
		};
	};
	/* there once it is LISTENED, which whoever has the lock makes it by intro__future_listen */
	struct wait_node *waiters;
	struct intro_done_callback *callbacks;
};

_Static_assert(offsetof(struct future, work.next) <= 64, "struct future: hot part");
_Static_assert(offsetof(struct future, small) % 16 == 0, "struct future: results");
_Static_assert(sizeof(struct future) <= sizeof(struct intro_future), "struct intro_future");
_Static_assert(_Alignof(struct future) <= _Alignof(struct intro_future), "struct intro_future");

/* `word` with `clear` cleared and `set` set; returns what it was. release and acquire. */
static inline uint32_t intro__future_change(struct future *f, uint32_t clear, uint32_t set)
{
	uint32_t was = atomic_load_explicit(&f->word, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(&f->word, &was, (was & ~clear) | set,
						      memory_order_acq_rel, memory_order_relaxed))
		;
	return was;
}

/* f is locked. */
static inline void intro__future_listen(struct future *f)
{
	uint32_t was = intro__future_change(f, 0, FUTURE_LISTENED);

	if (!(was & FUTURE_LISTENED)) {
		f->waiters = NULL;
		f->callbacks = NULL;
	}
}

void intro__future_lock_slowly(struct future *f);

static inline void intro__future_lock(struct future *f)
{
	uint32_t word = atomic_load_explicit(&f->word, memory_order_relaxed);

	if ((word & FUTURE_LOCKED) ||
	    !atomic_compare_exchange_strong_explicit(&f->word, &word, word | FUTURE_LOCKED,
						     memory_order_acquire, memory_order_relaxed))
		intro__future_lock_slowly(f);
}

/* Unlocks, and with the same store clears and sets what else has changed. */
static inline void intro__future_unlock_as(struct future *f, uint32_t clear, uint32_t set)
{
	uint32_t was = intro__future_change(f, clear | FUTURE_LOCKED | FUTURE_SLEEPERS, set);

	if (was & FUTURE_SLEEPERS)
		intro__futex_wake(&f->word);
}

static inline void intro__future_unlock(struct future *f)
{
	intro__future_unlock_as(f, 0, 0);
}

static inline enum intro_future_state intro__future_state(const struct future *f)
{
	uint32_t state = atomic_load_explicit(&f->word, memory_order_acquire) & FUTURE_STATE;

	if (state == INTRO_FUTURE_PENDING && atomic_load_explicit(&f->begun, memory_order_acquire))
		state = INTRO_FUTURE_RUNNING;
	return (enum intro_future_state)state;
}

/* `word` as it was read. */
static inline bool intro__future_is_held(const struct future *f, uint32_t word)
{
	return (word & FUTURE_STATE) <= INTRO_FUTURE_CANCELLED &&
	       atomic_load_explicit(&f->executor, memory_order_acquire);
}

static inline struct future *intro__future(struct intro_future *future)
{
	return (struct future *)(void *)future;
}

/* PENDING -> RUNNING or CANCELLED; the latter under the lock. false: it was not PENDING. */
static inline bool intro__future_leave_pending(struct future *f, uint32_t to)
{
	uint32_t word = atomic_load_explicit(&f->word, memory_order_relaxed);

	do
		if ((word & FUTURE_STATE) != INTRO_FUTURE_PENDING)
			return false;
	while (!atomic_compare_exchange_weak_explicit(&f->word, &word, word | to,
						      memory_order_acq_rel, memory_order_relaxed));
	return true;
}

static inline struct intro_future *intro__public(struct future *future)
{
	return (struct intro_future *)(void *)future;
}

/* The submit failed: as before intro__future_hold. */
void intro__future_unhold(struct future *future);

static inline bool intro__future_may_be_held(const struct future *f)
{
	uint32_t word = atomic_load_explicit(&f->word, memory_order_relaxed);

	return (word & FUTURE_STATE) == INTRO_FUTURE_PENDING &&
	       !atomic_load_explicit(&f->executor, memory_order_relaxed);
}

/* What it is, and to whom. */
static inline void intro__future_name(struct future *f, uint8_t leaves, uint32_t pool,
				      uint32_t name)
{
	f->pool = pool;
	f->name = name;
	atomic_store_explicit(&f->leaves, leaves, memory_order_relaxed);
	atomic_store_explicit(&f->task, intro__mark_task(), memory_order_release);
}

/*
 * Before a submit: takes hold of a future that is PENDING and was never submitted, else -EINVAL.
 * No read-modify-write: one thread submits a future, and whoever cancels it meanwhile has it either
 * CANCELLED before, or as it would be after, in the queue: who takes it out of there looks.
 */
static inline int intro__future_hold(struct future *f, struct intro_executor *executor,
				     uint8_t leaves, uint32_t pool, uint32_t name)
{
	if (!intro__future_may_be_held(f))
		return -EINVAL;
	intro__future_name(f, leaves, pool, name);
	atomic_store_explicit(&f->executor, executor, memory_order_release);
	return 0;
}

/* The same for one that the submitter itself runs, at once, without a queue: it is RUNNING. */
static inline int intro__future_hold_running(struct future *f, struct intro_executor *executor,
					     uint8_t leaves, uint32_t pool, uint32_t name)
{
	if (!intro__future_may_be_held(f))
		return -EINVAL;
	atomic_store_explicit(&f->executor, executor, memory_order_release);
	if (!intro__future_leave_pending(f, INTRO_FUTURE_RUNNING)) {
		intro__future_unhold(f);
		return -EINVAL;
	}
	intro__future_name(f, leaves, pool, name);
	return 0;
}

/* A cleanup handler: notifies a struct intro_future that was cancelled, and no other. */
void intro__future_notify_cancel(void *future);

/* As cancel, for who took it out of its cell, and does not begin it. */
bool intro__future_cancel(struct future *f);

bool intro__future_begin_slowly(struct future *f);

/*
 * The caller took f out of its cell of a thread pool's queue, or another kind of executor gave it:
 * it is RUNNING from here on; false: it was cancelled.
 *
 * A future in a cell is cancelled there: cancel locks it, then looks whether it is still in the
 * cell, and leaves it alone where it is not. Here the cell was changed first, then the word is
 * looked at. Both changes are read-modify-writes with a fence behind, so one of both sees the
 * other's: either cancel finds the cell empty, or we find the future locked or CANCELLED. So to
 * begin one takes no read-modify-write of its own.
 */
static inline bool intro__future_begin(struct future *f)
{
	if (!atomic_load_explicit(&f->place, memory_order_relaxed))
		return intro__future_leave_pending(f, INTRO_FUTURE_RUNNING);
	intro__fence_after_atomic();
	if (atomic_load_explicit(&f->word, memory_order_acquire) & (FUTURE_STATE | FUTURE_LOCKED))
		return intro__future_begin_slowly(f);
	atomic_store_explicit(&f->begun, true, memory_order_release);
	return true;
}

/*
 * The calling thread is about to wait for all of these, without a limit of time: runs those of
 * them that no worker has begun, where it may. Returns how many are left: those after them are
 * over.
 */
size_t intro__help(struct intro_future *const *futures, size_t n);
/* It is (begin) in a callback from now on, and helps nobody; or not any more. */
void intro__help_forbid(bool begin);

/* Readers to be woken when a lock is released; those beyond are woken under it. */
#define INTRO__WAKES 8
struct wakes {
	unsigned n;
	_Atomic uint32_t *word[INTRO__WAKES];
};
/* Wakes them; they may be gone. */
void intro__wake(struct wakes *wakes);

/* How a task ended. */
struct future_end {
	uint8_t mark; /* INTRO_KIND_END: the result is set as the function ends; or _RESULT */
	enum intro_status status;
	struct intro_result result;	 /* status OK */
	bool owns_bytes;		 /* result.data is malloc'ed: the future's now */
	bool by_anybody;		 /* not by the executor that holds it */
	bool copies;			 /* result.data is small, and copied into the future */
	const struct intro_error *error; /* any other status */
	/* NULL, or takes whom to wake: whoever ends many at a time wakes their reader once */
	struct wakes *later;
};
/* 0; -EINVAL when it is done already: then the bytes stay the caller's. */
int intro__future_end(struct future *future, const struct future_end *end);

/*
 * The common case in one step: a task that its executor runs, for which nobody waits yet, and of
 * which no mark is to be made, as that must be made under the lock. Is it so, the result may be
 * stored; then, is it so still, the future is FINISHED.
 */
static inline bool intro__future_ends_at_once(const struct future *f)
{
	return atomic_load_explicit(&f->word, memory_order_relaxed) <= INTRO_FUTURE_RUNNING &&
	       !intro_marks_on();
}

static inline bool intro__future_end_at_once(struct future *f)
{
	uint32_t word = atomic_load_explicit(&f->word, memory_order_relaxed);

	return word <= INTRO_FUTURE_RUNNING &&
	       atomic_compare_exchange_strong_explicit(&f->word, &word, INTRO_FUTURE_FINISHED,
						       memory_order_acq_rel, memory_order_relaxed);
}

#endif
