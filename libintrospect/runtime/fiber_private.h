/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_FIBER_PRIVATE_H
#define INTRO_RUNTIME_FIBER_PRIVATE_H
/*
 * fiber_private.h - how fibers, and threads, wait for something.
 *
 * Whoever waits puts a `parking` on its stack into a list of what it waits for, under that
 * thing's lock, releases the lock, and calls intro__park. Whoever has it takes the parking out of
 * the list and calls intro__unpark, both under the same lock; the one that waited takes the lock
 * again before it looks at what happened, and so before its stack or its fiber can go. That lock
 * comes before those of the scheduler.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <introspect/fiber.h>

#include "fiber_context.h"

struct handlers;

struct parking {
	struct intro_fiber *fiber; /* NULL: a thread, asleep on `told` */
	_Atomic uint32_t told;
	bool linked;
	int result;
	void *item;
	struct parking *next, *prev;
};

struct parking_list {
	struct parking *first, *last;
};

enum { FIBER_RUNNING, FIBER_NOTIFIED, FIBER_PARKED };
enum after { AFTER_YIELD, AFTER_PARK, AFTER_END };

struct stack {
	struct stack *next;
	char *map; /* a guard page, then the stack */
};

struct intro_fiber {
	struct intro_fibers *fibers;
	struct context context;
	intro_fiber_fn fn;
	void *arg;
	uint64_t task;
	int status;
	bool started;
	enum after after;
	_Atomic uint32_t state, refs;
	_Atomic bool done; /* written under fibers->lock */
	struct stack *stack;
	struct intro_fiber *next; /* in a queue */
	/* under fibers->lock */
	struct parking_list joiners;
	int64_t deadline;
	size_t timer; /* 1 + place among the timers; 0: none */
	_Atomic bool timed_out;
};

/* Of ready fibers, the oldest first. */
struct ready_queue {
	pthread_mutex_t lock;
	struct intro_fiber *first, *last;
	_Atomic size_t n; /* written under lock */
};

struct fiber_worker {
	struct intro_fibers *fibers;
	unsigned index;
	pthread_t thread;
	/* the thread that was it before, and ended in a fiber; to be joined by this one */
	bool has_before;
	pthread_t before;
	struct context context;
	struct handlers *handlers;
	struct intro_fiber *current;
	struct ready_queue queue;
	_Atomic uint64_t switches, stolen;
};

struct intro_fibers {
	uint32_t pool;
	unsigned threads, started;
	size_t stack_bytes, page;
	char name[64];
	struct ready_queue common;
	_Atomic size_t ready; /* in all queues */
	_Atomic uint32_t idle, wakes;
	_Atomic uint32_t waking; /* somebody was woken and has not looked yet */
	_Atomic int64_t next_timer;
	_Atomic bool closing;
	pthread_mutex_t lock; /* guards what follows, and as said in struct intro_fiber */
	uint64_t spawned, ended;
	struct intro_fiber **timers; /* a heap; room for all fibers alive */
	size_t timers_n, timers_room;
	struct stack *stacks;
	size_t stacks_n;
	struct parking_list waiters;
	struct fiber_worker worker[];
};

/* fiber_scheduler.c */
/* The calling kernel thread's, never to be kept across a switch; NULL: it is none of these. */
struct fiber_worker *intro__fiber_worker(void);
/* soon: the caller is between two fibers and takes the first of its queue at once. */
void intro__fiber_enqueue(struct intro_fiber *fiber, bool soon);
void intro__fiber_wake(struct intro_fiber *fiber);
void intro__fiber_arm(struct intro_fiber *fiber, int64_t deadline);
void intro__fiber_disarm(struct intro_fiber *fiber);
/* No fiber is left. */
void intro__fibers_destroy(struct intro_fibers *fibers);

/* fiber.c */
/* Its function returned, and its context was left for good. */
void intro__fiber_finish(struct intro_fiber *fiber);
void intro__fiber_stacks_free(struct intro_fibers *fibers);

void intro__parking_init(struct parking *parking);
/* The owner's lock is held. */
void intro__parking_link(struct parking_list *list, struct parking *parking);
void intro__parking_unlink(struct parking_list *list, struct parking *parking);
/* Until told, or the deadline. No lock is held. */
void intro__park(struct parking *parking, int64_t deadline);
/* The owner's lock is held; the parking is out of its list. */
void intro__unpark(struct parking *parking);

#endif
