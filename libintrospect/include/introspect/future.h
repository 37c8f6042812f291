/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_FUTURE_H
#define INTROSPECT_FUTURE_H
/*
 * future.h - the result of a task that may not have run yet. Semantics are those of Python's
 * concurrent.futures.Future (docs.python.org/3/library/concurrent.futures.html), under C names.
 *
 *	PENDING -> RUNNING -> FINISHED
 *	PENDING -> CANCELLED -> CANCELLED_AND_NOTIFIED
 *
 * Ownership. The caller owns the memory of a struct intro_future, from intro_future_init until it
 * is done (FINISHED or CANCELLED_AND_NOTIFIED) *and* intro_future_destroy returned, which waits
 * for whoever is still inside it: the pool that runs it, callbacks. A future that has not started
 *is cancelled and taken back from its pool without a wait. No allocation is made for a future;
 *add_done_callback takes the node's memory from the caller too.
 *
 * Times are relative nanoseconds; INTRO_FOREVER waits without limit, 0 polls.
 * Errors are negative errno values. Thread-safe throughout unless a line says otherwise.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define INTRO_FOREVER INT64_MAX

enum intro_future_state {
	INTRO_FUTURE_PENDING = 0,
	INTRO_FUTURE_RUNNING = 1,
	INTRO_FUTURE_CANCELLED = 2,
	INTRO_FUTURE_CANCELLED_AND_NOTIFIED = 3,
	INTRO_FUTURE_FINISHED = 4,
};

/* What a task gave back. */
struct intro_result {
	void *data;  /* thread pool: what the task returned; process pool: bytes, see size */
	size_t size; /* bytes at data; the future's own memory, valid until it is destroyed */
};

#define INTRO_ERROR_TEXT 112
/* Why a task failed. code 0: it did not. */
struct intro_error {
	int code;		     /* what the task returned, or a negative errno */
	char text[INTRO_ERROR_TEXT]; /* one line, NUL-terminated */
};

struct intro_future;
typedef void (*intro_done_fn)(struct intro_future *future, void *arg);

/* One callback; memory owned by the caller until it was called or the future is destroyed. */
struct intro_done_callback {
	intro_done_fn fn;
	void *arg;
	struct intro_done_callback *next; /* private */
};

/* Opaque: 256 bytes, 64-byte aligned, so that it can be a member or an array of the caller's. */
struct intro_future {
	unsigned char opaque[256];
} __attribute__((aligned(64)));

void intro_future_init(struct intro_future *future);
void intro_future_destroy(struct intro_future *future);

/* The number its marks carry (mark.h); 0 before it was submitted. */
uint64_t intro_future_id(const struct intro_future *future);
enum intro_future_state intro_future_state(const struct intro_future *future);
bool intro_future_cancelled(const struct intro_future *future);
bool intro_future_running(const struct intro_future *future);
bool intro_future_done(const struct intro_future *future);

/*
 * true: it is cancelled (now or before); false: running or finished, too late. As in Python its
 * result and callbacks know at once, while wait and as_completed hold it for done only when its
 * pool has met it (CANCELLED_AND_NOTIFIED).
 */
bool intro_future_cancel(struct intro_future *future);

/*
 * Waits for the end. 0 and *result; -ETIMEDOUT; -ECANCELED when cancelled; the task's error
 * code when that was negative, else -EREMOTEIO when the task failed: intro_future_error tells.
 */
int intro_future_result(struct intro_future *future, int64_t timeout_ns,
			struct intro_result *result);
/* Waits for the end. 0 and *error (code 0: no error); -ETIMEDOUT; -ECANCELED. */
int intro_future_error(struct intro_future *future, int64_t timeout_ns, struct intro_error *error);

/*
 * Called once when the future is done, by the thread that ended it, in the order added; at
 * once, by this thread, when it is done already. A callback may do anything but destroy the future.
 */
void intro_future_add_done_callback(struct intro_future *future, struct intro_done_callback *cb);

/*
 * A chain: as the source ends, so does the destination, with the same result (whose bytes stay the
 * source's), error or cancellation; cancelling the destination cancels the source where that has
 * not begun. As asyncio chains its futures to these. The link's memory is the caller's, as are both
 * futures', until both are done and destroyed. 0; -EINVAL: the destination is not a PENDING one
 * that no executor has, or is the source.
 */
struct intro_future_link {
	struct intro_done_callback source_ends, destination_ends;
	struct intro_future *source, *destination;
};
int intro_future_chain(struct intro_future_link *link, struct intro_future *source,
		       struct intro_future *destination);

enum intro_wait_when {
	INTRO_ALL_COMPLETED = 0,
	INTRO_FIRST_COMPLETED = 1,
	INTRO_FIRST_EXCEPTION = 2, /* the first that failed (not cancelled), or all done */
};
/*
 * Waits on n futures. On return done[i] (may be NULL) tells which are done. Returns how many are
 * done when the condition holds, or -ETIMEDOUT, with done[] set in both cases; -ENOMEM.
 */
int intro_future_wait(struct intro_future *const *futures, size_t n, enum intro_wait_when when,
		      int64_t timeout_ns, bool *done);

/*
 * Yields n futures as they complete, each once (one given twice: under its first index), those
 * already done first. `futures` and what was not yielded must stay until free. Not thread-safe.
 */
struct intro_as_completed;
struct intro_as_completed *intro_as_completed_new(struct intro_future *const *futures, size_t n);
/* 1 and *index (into futures); 0 when all were yielded; -ETIMEDOUT. */
int intro_as_completed_next(struct intro_as_completed *it, int64_t timeout_ns, size_t *index);
void intro_as_completed_free(struct intro_as_completed *it);

/*
 * For executors and tests. set_running_or_notify_cancel: 1 it is RUNNING now; 0 it was
 * cancelled and is CANCELLED_AND_NOTIFIED now; -EINVAL in any other state. set_*: 0, or -EINVAL
 * when it is done already (a result is set once), or for an error without a code. One without a
 * text is given that of its code.
 */
int intro_future_set_running_or_notify_cancel(struct intro_future *future);
int intro_future_set_result(struct intro_future *future, struct intro_result result);
int intro_future_set_error(struct intro_future *future, const struct intro_error *error);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
