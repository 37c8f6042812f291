/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_PROCESS_QUEUE_H
#define INTROSPECT_PROCESS_QUEUE_H
/*
 * process_queue.h - a bounded queue of messages between processes, first in first out, many
 * producers, many consumers. Semantics are those of Python's multiprocessing.JoinableQueue, with
 * the shutdown of queue.Queue, under C names. Link with -lintrospect-rt.
 *
 * A message is any number of bytes up to intro_process_queue_limit, which are copied: into shared
 * memory by put, out of it by get. A forked child has its parent's queue, by the same handle;
 * another process attaches the descriptor (connection.h can send it). The memory has no name, and
 * is gone with the last process that has it. One process should have one handle of a queue.
 *
 * What is lost when a process is killed. Nobody hangs, and the queue stays whole:
 *   in put     the message is in it, or is not; never in part;
 *   in get     the message went with its consumer, or is still in it;
 *   after get  the message is lost with its consumer; for join it counts as done, within a second.
 *              (In Python join then waits forever.)
 * Up to 0.2 s may pass until another process takes the place of one that was killed when it had
 * just been woken. The same holds for a process that ends by itself, or frees its handle.
 *
 * Marks. With `marked` an item is a task of a pool of the queue's name: submitted by put, started
 * by the get that returns it, ended by the next task_done, or the next get, of the thread
 * that got it; a discarded one is cancelled. Consumers say who they are by
 * intro_mark_worker_start(intro_process_queue_pool(queue), index). The queue's lock and waits have
 * names, made of its own: "jobs", "jobs not empty", "jobs not full", "jobs done".
 *
 * Differences from Python, on purpose. There is no feeder thread: when put returns the message is
 * in the queue, so there is no join_thread. join and task_done look at what was got: one done too
 * many is found at once. Errors are told apart by their number: full and empty are -ETIMEDOUT.
 *
 * Times are relative nanoseconds; INTRO_FOREVER waits without limit, 0 does not wait. Errors are
 * negative errno values and leave the queue as it was. Thread-safe throughout, but for free. Not
 * fair: a large message may wait until many small ones have gone by.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_process_queue_options {
	size_t size;
	const char *name; /* NULL: "queue" */
	bool marked;
	size_t capacity; /* messages; 0: as many as there are bytes for */
	size_t bytes;	 /* of all messages, each with a head of 16; 0: 1 MiB; at least 4096 */
};

struct intro_process_queue;
/* options NULL: none. NULL and errno: EINVAL, E2BIG (options from a newer header), ENOMEM, EMFILE.
 */
struct intro_process_queue *
intro_process_queue_new(const struct intro_process_queue_options *options);
/* That of a descriptor, which stays the caller's. EINVAL: it is no queue. */
struct intro_process_queue *intro_process_queue_attach(int fd);
/* Close-on-exec; the queue's: not to be closed, nor opened and closed by another way. */
int intro_process_queue_fd(const struct intro_process_queue *queue);
/*
 * Unmaps and frees; the queue goes on as long as any process has it. What this process got and is
 * not done with counts as done. NULL is fine.
 */
void intro_process_queue_free(struct intro_process_queue *queue);

/* The largest message. */
size_t intro_process_queue_limit(const struct intro_process_queue *queue);

/*
 * 0; -ETIMEDOUT: full all the time; -ESHUTDOWN; -EMSGSIZE: larger than the limit; -EINVAL: no
 * data, yet a size; -EBADF: closed; -EUSERS: more than INTRO_PROCESS_QUEUE_USERS processes.
 */
int intro_process_queue_put(struct intro_process_queue *queue, const void *data, size_t size,
			    int64_t timeout_ns);
/*
 * 0, and *size says how many bytes are in `buffer`; -ETIMEDOUT: empty all the time; -ESHUTDOWN:
 * shut down, and empty; -EMSGSIZE: it has more than `room`, *size says how many, it stays;
 * -EBADF; -EUSERS; -EBADMSG: the memory was overwritten.
 */
int intro_process_queue_get(struct intro_process_queue *queue, void *buffer, size_t room,
			    size_t *size, int64_t timeout_ns);
#define INTRO_PROCESS_QUEUE_USERS 256

/* As it was at a moment that is over when they return. full: never, without a capacity. */
size_t intro_process_queue_size(struct intro_process_queue *queue);
bool intro_process_queue_empty(struct intro_process_queue *queue);
bool intro_process_queue_full(struct intro_process_queue *queue);

/*
 * A message that was got, by this process or another, is done. 0; -EINVAL: more are done than were
 * got.
 */
int intro_process_queue_task_done(struct intro_process_queue *queue);
/* Waits until everything that was put was got and is done. 0, or -ETIMEDOUT. */
int intro_process_queue_join(struct intro_process_queue *queue, int64_t timeout_ns);

/* This process neither puts nor gets any more: -EBADF. The others do. May be called again. */
void intro_process_queue_close(struct intro_process_queue *queue);
/*
 * For all processes: no more puts, which return -ESHUTDOWN. Gets go on until it is empty;
 * immediate: it is emptied now. May be called again.
 */
void intro_process_queue_shutdown(struct intro_process_queue *queue, bool immediate);
bool intro_process_queue_is_shutdown(struct intro_process_queue *queue);

/* The number of its pool, in marks; 0 when it is not marked. */
uint32_t intro_process_queue_pool(const struct intro_process_queue *queue);
/* The number of the calling thread's item, as in marks; 0 when it has none, or it is not marked. */
uint64_t intro_process_queue_task(const struct intro_process_queue *queue);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
