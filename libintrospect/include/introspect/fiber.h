/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_FIBER_H
#define INTROSPECT_FIBER_H
/*
 * fiber.h - user-level threads: fibers on one kernel thread (many-to-one) or on several
 * (many-to-many), with channels, sleeping and joining. A fiber costs a stack, not a kernel thread,
 * and gives way in the program's own time: when it yields, sleeps, joins, or waits for a channel.
 *
 *	struct intro_fibers *fibers = intro_fibers_new(&(struct intro_fibers_options){
 *		.size = sizeof(struct intro_fibers_options), .name = "web", .threads = 1});
 *	struct intro_fiber *fiber;
 *	intro_fiber_spawn(fibers, serve, client, &fiber);
 *	intro_fiber_join(fiber, INTRO_FOREVER, &status);
 *	intro_fiber_free(fiber);
 *	intro_fibers_free(fibers);
 *
 * A fiber that makes a call which blocks in the kernel (read, nanosleep, a mutex) blocks its kernel
 * thread, and so all fibers that wait for that thread. On several threads the others take over
 * what waits (work stealing); on one, all siblings stand still, ready and unmounted. A tracer sees
 * just that: a fiber is a task with marks at start, mount, unmount, ready and end.
 *
 * What a fiber may not do: hold a pthread mutex, or any lock that belongs to a thread, across
 * anything that gives way, as it may go on on another thread; likewise rely on errno or
 * thread-local data from before. Its stack has a fixed size, below which lies a page that
 * nobody may touch: an overflow is a SIGSEGV, not somebody else's data.
 *
 * Order: fibers of one kernel thread run in the order in which they became ready. There is no
 * preemption.
 *
 * Thread-safety: every function may be called from any thread or fiber, unless it says otherwise.
 * A forked child has the calling fiber alone: it may only exec or exit.
 * Times are as in future.h, errors are negative errno values.
 */
#include <stdint.h>

#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct intro_fibers;
struct intro_fiber;

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_fibers_options {
	size_t size;
	const char *name;   /* of the pool, and the prefix of its kernel threads' names; "fibers" */
	unsigned threads;   /* kernel threads; 1: many-to-one; 0: as many as CPUs */
	size_t stack_bytes; /* of a fiber, at least 16 KiB; 0: 256 KiB, used as far as touched */
};

/* NULL and errno: EINVAL, E2BIG (options from a newer header), ENOMEM, EAGAIN (no thread). */
struct intro_fibers *intro_fibers_new(const struct intro_fibers_options *options);
/* Until no fiber is left. 0; -ETIMEDOUT; -EDEADLK from one of its own fibers. */
int intro_fibers_wait(struct intro_fibers *fibers, int64_t timeout_ns);
/* Waits until no fiber is left, and frees. Not from one of its own fibers. NULL is fine. */
void intro_fibers_free(struct intro_fibers *fibers);

struct intro_fibers_statistics {
	uint64_t spawned, ended;
	uint64_t switches; /* how often a kernel thread went on with a fiber */
	uint64_t stolen;   /* fibers that one kernel thread took from another's queue */
};
void intro_fibers_statistics(struct intro_fibers *fibers,
			     struct intro_fibers_statistics *statistics);

/* What a fiber runs. Not 0: its task failed. */
typedef int (*intro_fiber_fn)(void *arg);

/*
 * A new fiber, ready to run. *fiber (which may be NULL: nobody joins it) is a handle that the
 * caller frees, at any time. 0; -EINVAL; -ENOMEM, also when the kernel has no more mappings (two a
 * fiber, /proc/sys/vm/max_map_count).
 */
int intro_fiber_spawn(struct intro_fibers *fibers, intro_fiber_fn fn, void *arg,
		      struct intro_fiber **fiber);
/* The same under a name for the task (intro_mark_name), which reports group by. */
int intro_fiber_spawn_named(struct intro_fibers *fibers, uint32_t name, intro_fiber_fn fn,
			    void *arg, struct intro_fiber **fiber);
/*
 * Waits for its end: a fiber gives way, a thread sleeps. 0 and *status (may be NULL), as often as
 * one likes; -ETIMEDOUT; -EDEADLK when it is the caller itself. The status is -EOWNERDEAD when the
 * fiber ended its kernel thread (pthread_exit); another one took that's place.
 */
int intro_fiber_join(struct intro_fiber *fiber, int64_t timeout_ns, int *status);
/* Gives the handle back; the fiber, if it has not ended, goes on. NULL is fine. */
void intro_fiber_free(struct intro_fiber *fiber);
/* The number its marks carry (mark.h). */
uint64_t intro_fiber_id(const struct intro_fiber *fiber);

/* The calling fiber, valid as long as it runs; NULL outside of any. Not to be freed. */
struct intro_fiber *intro_fiber_current(void);
/* Lets others run first that are ready. 0; -EPERM outside of any fiber. */
int intro_fiber_yield(void);
/* Gives way for that time; not positive: as yield. 0; -EPERM outside of any fiber. */
int intro_fiber_sleep(int64_t ns);

/* --- channels ----------------------------------------------------------------------------------
 *
 * Items of a fixed size, copied, in order. As Go's: of capacity 0 a send waits for its receiver.
 * Other than Go's, a send on a closed channel is an error, not a panic, and so is a second close.
 * Between fibers of any kernel threads, and plain threads, which sleep.
 */
struct intro_channel;

/* NULL and errno: EINVAL (item_bytes 0), ENOMEM. */
struct intro_channel *intro_channel_new(size_t item_bytes, size_t capacity);
/* Nobody uses it any more. NULL is fine. */
void intro_channel_free(struct intro_channel *channel);
/* 0; -EPIPE when it is closed, or closed while this waits; -ETIMEDOUT. Then nothing was sent. */
int intro_channel_send(struct intro_channel *channel, const void *item, int64_t timeout_ns);
/* 0 and *item; -EPIPE when it is closed and empty; -ETIMEDOUT. */
int intro_channel_receive(struct intro_channel *channel, void *item, int64_t timeout_ns);
/* Wakes all who wait; what is in it can still be received. 0; -EALREADY. */
int intro_channel_close(struct intro_channel *channel);
/* How many items are in it now. */
size_t intro_channel_length(struct intro_channel *channel);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
