/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_WAITER_H
#define INTRO_RUNTIME_WAITER_H
/*
 * waiter.h - readers who sleep until futures end.
 *
 * A reader links one node into each future it waits for; whoever ends the future unlinks the node
 * and tells the waiter, all under the future's lock. A waiter that has been `fired` belongs to
 * nobody but its reader: the one who fired it may still call FUTEX_WAKE on a word that is gone, and
 * that is harmless.
 */
#include "future_private.h"

enum waiter_kind {
	WAITER_RESULT,	/* one future: result, error; ends at CANCELLED already */
	WAITER_DESTROY, /* one future: wait until it is let go of */
	WAITER_ALL,	/* `left` counts the futures not done */
	WAITER_FIRST,
	WAITER_EXCEPTION,
	WAITER_AS_COMPLETED,
};

enum waiter_fired {
	WAITER_AWAKE = 0, /* not fired; its reader looks at it */
	WAITER_FIRING = 1,
	WAITER_FIRED = 2,
	WAITER_ASLEEP = 3, /* not fired; its reader sleeps */
};

struct waiter {
	enum waiter_kind kind;
	bool spins;		/* its reader looks a while before it sleeps */
	_Atomic uint32_t fired; /* enum waiter_fired; the futex */
	_Atomic size_t left;	/* ALL, EXCEPTION */
	_Atomic uint64_t task;	/* of the future that fired it: set before */
	/* AS_COMPLETED: guards the rest */
	pthread_mutex_t lock;
	bool asleep;
	struct wait_node *ready, **ready_end; /* ended and not yet yielded, linked by `next` */
};

struct wait_node {
	struct wait_node *next, **link; /* in future.waiters; link NULL: not linked */
	struct waiter *waiter;
	bool was_over; /* before the wait began: it was never linked */
};

/* The node's future is locked. */
void intro__wait_link(struct future *future, struct wait_node *node);
void intro__wait_unlink(struct wait_node *node);

enum waiter_told {
	WAITER_NOT_YET = 0, /* more must end, or it was fired before */
	WAITER_FIRES = 1,   /* this very end fired it */
	WAITER_WAKES = 2,   /* and it is to be woken when the lock is released */
};
/* The future of the node has ended, and the node is not linked (any more). */
enum waiter_told intro__waiter_tell(struct wait_node *node, uint64_t task, bool failed);

/* Sleeps until fired, or -ETIMEDOUT. */
int intro__waiter_sleep(struct waiter *waiter, int64_t deadline);

#endif
