/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_QUEUE_H
#define INTROSPECT_QUEUE_H
/*
 * queue.h - queues between threads: first in first out, last in first out, by priority; bounded or
 * not. Semantics are those of Python's queue module as of 3.13
 * (docs.python.org/3/library/queue.html), under C names. Link with -lintrospect-rt.
 *
 * An item is a pointer, which the queue does not look at; NULL is one too. Who gets it, owns
 * it. What a queue discards, at an immediate shutdown or when it is freed, goes to `dropped` of the
 * options.
 *
 * Marks. With `marked` an item is a task of a pool of the queue's name: submitted by put, started
 * by the get that returns it, ended by the next task_done, or the next get, of the thread
 * that got it; a discarded one is cancelled. Consumers say who they are by
 * intro_mark_worker_start(intro_queue_pool(queue), index), so that a report tells apart items which
 * waited as every consumer was busy. A thread may have items of four such queues in hand; of
 * more, an item's task ends as it starts. The queue's lock and conditions have names, made of its
 * own: "jobs", "jobs not empty", "jobs not full", "jobs done".
 *
 * Differences from Python, on purpose: join has a timeout; items that are discarded can be freed.
 *
 * Times are relative nanoseconds; INTRO_FOREVER waits without limit, 0 does not wait. Errors are
 * negative errno values and leave the queue as it was. Thread-safe throughout, but for free.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum intro_queue_kind {
	INTRO_QUEUE_FIFO = 0,
	INTRO_QUEUE_LIFO = 1,
	INTRO_QUEUE_PRIORITY = 2, /* the lowest number first; equals in the order of their coming */
};

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_queue_options {
	size_t size;
	const char *name; /* NULL: "queue" */
	enum intro_queue_kind kind;
	bool marked;
	size_t capacity; /* 0: as many as there is memory for */
	/* Called with what is discarded, by who discards it; may be NULL. */
	void (*dropped)(void *item, void *arg);
	void *arg;
};

struct intro_queue;
/* options NULL: none. NULL and errno: EINVAL, E2BIG, ENOMEM. */
struct intro_queue *intro_queue_new(const struct intro_queue_options *options);
/* Nobody uses it any more; what is in it is discarded. NULL is fine. */
void intro_queue_free(struct intro_queue *queue);

/*
 * 0; -ETIMEDOUT: full all the time; -ESHUTDOWN; -ENOMEM. put_priority: -EINVAL of another kind of
 * queue; put into a queue by priority has priority 0.
 */
int intro_queue_put(struct intro_queue *queue, void *item, int64_t timeout_ns);
int intro_queue_put_priority(struct intro_queue *queue, void *item, int64_t priority,
			     int64_t timeout_ns);
/* 0 and *item; -ETIMEDOUT: empty all the time; -ESHUTDOWN: shut down, and empty. */
int intro_queue_get(struct intro_queue *queue, void **item, int64_t timeout_ns);

/* As it was at a moment that is over when they return. full: never, without a capacity. */
size_t intro_queue_size(struct intro_queue *queue);
bool intro_queue_empty(struct intro_queue *queue);
bool intro_queue_full(struct intro_queue *queue);

/*
 * What was got is done. 0, or -EINVAL when more are done than were put.
 */
int intro_queue_task_done(struct intro_queue *queue);
/* Waits until everything that was put is done. 0, or -ETIMEDOUT. */
int intro_queue_join(struct intro_queue *queue, int64_t timeout_ns);

/*
 * No more puts: they, and those that wait, return -ESHUTDOWN. Gets go on until it is empty;
 * immediate: it is emptied now, and what was in it counts as done. May be called again.
 */
void intro_queue_shutdown(struct intro_queue *queue, bool immediate);
bool intro_queue_is_shutdown(struct intro_queue *queue);

/* The number of its pool, in marks; 0 when it is not marked. */
uint32_t intro_queue_pool(const struct intro_queue *queue);
/* The number, in marks, of the item that the calling thread has in hand; 0: none, or not marked. */
uint64_t intro_queue_task(const struct intro_queue *queue);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
