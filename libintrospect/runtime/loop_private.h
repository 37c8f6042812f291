/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_LOOP_PRIVATE_H
#define INTRO_RUNTIME_LOOP_PRIVATE_H
/* loop_private.h - what the event loop (loop.c) and its executor (loop_executor.c) share. */
#include <introspect/loop.h>

#include "executor_private.h"
#include "loop_timers.h"

#define EVENT_BYTES 32

/* One call; the first of fn, handle, future, watch that is set tells which. */
struct call {
	struct call *next;
	uint64_t task;
	intro_loop_fn fn;
	intro_handler_fn handle;
	struct future *future; /* held by the loop's executor */
	struct watch *watch;
	uint64_t timer; /* its number; 0: none */
	void *arg, *data;
	char event[EVENT_BYTES];
};

struct intro_loop {
	uint32_t pool;
	int epoll, wake; /* wake: an eventfd */
	uint32_t soon_name, timer_name, ready_name;
	_Atomic(const char *) runs_on; /* a thread's `here`; NULL: does not run */
	_Atomic bool stopping;
	pthread_mutex_t lock; /* guards what follows, up to timers */
	struct call *first, *last;
	struct call *turn; /* what is left of the turn under way; taken by the loop's thread */
	struct loop_executor *executor; /* NULL: none */
	_Atomic uint32_t settled; /* a futex: it ends to run, or its executor has nothing left */
	struct loop_timers timers;
	struct call *running; /* NULL: none. The loop's thread */
	struct handler *handlers;
	struct watch *watches;
};

/* Whether the loop runs, on another thread. */
bool intro__loop_is_foreign(struct intro_loop *loop);
/* Appends a call, as the task call->task (0: a new one). The lock is held. */
void intro__loop_queue(struct intro_loop *loop, struct call *call, uint32_t name);
/* Sees that a loop which sleeps looks at its queue. */
void intro__loop_wake(struct intro_loop *loop);
/* Takes the call of this future (NULL: any future) out of the queue; NULL: none. Takes the lock. */
struct call *intro__loop_unqueue(struct intro_loop *loop, struct future *future);

/* Wakes those who wait for the executor's end. */
void intro__loop_settled(struct intro_loop *loop);

/* Runs it, or tells it that it was cancelled. By the loop's thread. */
void intro__loop_run_future(struct intro_loop *loop, struct future *future);

#endif
