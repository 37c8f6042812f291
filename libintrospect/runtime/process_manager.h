/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_PROCESS_MANAGER_H
#define INTRO_RUNTIME_PROCESS_MANAGER_H
/*
 * process_manager.h - what a process pool consists of, and what its manager thread does and its
 * submitters share with it.
 *
 * Lock order: none; the pool's lock and a future's are never held together. It is held for short
 * times only, but for the bell of a worker that sleeps.
 */
#include <poll.h>
#include <signal.h>

#include "process_link.h"

enum birth { BIRTH_UNKNOWN, BIRTH_OK, BIRTH_FAILED };

struct handlers;

struct process_pool {
	struct intro_executor base;
	unsigned prefetch;  /* 0: as many as tasks are short */
	unsigned max_tasks; /* of a worker; 0: no limit */
	bool replaces;
	bool may_spin;
	int event; /* eventfd: wakes the manager */
	struct segments segments;
	struct segment payloads; /* the large ones */
	pthread_t manager;
	struct handlers *handlers; /* of that thread */
	pid_t parent;
	sigset_t signals;     /* of the thread that made the pool */
	pthread_mutex_t lock; /* guards what follows, and of the links what is said there */
	pthread_cond_t born_cond;
	enum birth born;
	int birth_error;
	struct queue queue;
	struct queue again; /* RUNNING, taken back from a worker */
	unsigned ahead; /* tasks for a worker that has not answered any, as for the last that did */
	uint64_t submitted;
	bool closed;
	bool terminated;
	bool hungry;		   /* the manager sleeps, and some worker has room */
	struct intro_error broken; /* code 0: sound */
	pthread_mutex_t join_lock;
	bool joined;
	/* the manager's own */
	unsigned stillborn; /* in a row */
	int *others;	    /* what a new worker must close */
	_Atomic unsigned alive;
	bool closing;	       /* the workers have been told to end */
	int64_t spin_ns;       /* how long it looks before it sleeps */
	struct pollfd *polled; /* [0] event, then bell and pidfd of each worker */
	struct link link[];
};

/* The worker to be handed a task of `size` bytes; NULL: none now. Under the lock. */
struct link *intro__process_pool_choose(struct process_pool *pool, size_t size);
/* Hands it a task that is RUNNING. Under the lock. */
void intro__process_pool_hand(struct process_pool *pool, struct link *link, struct future *future);

void intro__process_pool_wake_manager(struct process_pool *pool);
/* The queue of a pool that is not to run it, emptied: cancelled, or failed. The lock is not held.
 */
void intro__process_pool_drop_queue(struct process_pool *pool, const struct intro_error *error);

void *intro__process_manager(void *pool);
/* Whose manager this thread is; NULL: none's. */
struct process_pool *intro__process_manages(void);

#endif
