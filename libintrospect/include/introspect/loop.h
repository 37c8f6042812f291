/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_LOOP_H
#define INTROSPECT_LOOP_H
/*
 * loop.h - an event loop: one thread that runs callbacks, one after the other, when they are asked
 * for, when their time has come, when a descriptor is ready, or when an event is emitted that they
 * handle. As Python's asyncio loop below its coroutines. Every callback that is queued is a task
 * with marks: a report shows how long it was queued behind others, and what it did.
 *
 *	struct intro_loop *loop = intro_loop_new("web");
 *	intro_loop_on(loop, "request", answer, server);
 *	intro_loop_add(loop, fd, EPOLLIN, readable, client);
 *	intro_loop_call_later(loop, 5 * second, give_up, client, &timer);
 *	intro_loop_run(loop); // until somebody calls intro_loop_stop
 *	intro_loop_free(loop);
 *
 * A turn of the loop looks for ready descriptors and due timers, then runs what was queued by
 * then, in order; what these callbacks queue is for the next turn.
 *
 * Thread-safety: while the loop runs its functions may be called by its callbacks alone (others
 * get -EPERM), but for call_soon_threadsafe and stop, which anybody may call at any time. While it
 * does not run, by one thread at a time. Not across fork.
 * Errors are negative errno values; after one nothing has changed.
 */
#include <introspect/executor.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct intro_loop;

typedef void (*intro_loop_fn)(void *arg);
/* `data` is what emit was given: it must stay until the handlers have run. */
typedef void (*intro_handler_fn)(const char *event, void *data, void *arg);
/* events: EPOLLIN and so on, as epoll(7) found them. */
typedef void (*intro_ready_fn)(int fd, uint32_t events, void *arg);

/* NULL and errno. The name is that of the pool which reports show; NULL: "loop". */
struct intro_loop *intro_loop_new(const char *name);
/* It does not run, and has no executor. What is queued is cancelled; descriptors stay open. NULL is
 * fine. */
void intro_loop_free(struct intro_loop *loop);

/*
 * Runs until stop. 0; -EBUSY when it runs already, also from a callback; an error of
 * epoll_wait. A stop that came before makes it return after one turn, as in Python.
 */
int intro_loop_run(struct intro_loop *loop);
/* Until nothing is queued, no timer is set, and no descriptor is ready; or stop. Errors likewise.
 */
int intro_loop_run_until_idle(struct intro_loop *loop);
/* Makes run return at the end of its turn. By anybody. */
void intro_loop_stop(struct intro_loop *loop);

/* The number, in marks (mark.h), of the callback that runs; 0: none does. By the loop's thread. */
uint64_t intro_loop_task(const struct intro_loop *loop);

/* Queues a callback. 0; -EPERM; -EINVAL; -ENOMEM. */
int intro_loop_call_soon(struct intro_loop *loop, intro_loop_fn fn, void *arg);
/* The same by anybody; wakes the loop. */
int intro_loop_call_soon_threadsafe(struct intro_loop *loop, intro_loop_fn fn, void *arg);
/*
 * Queues it in delay_ns, never earlier, with the millisecond of epoll_wait. *timer (which may be
 * NULL) is its number, for cancel.
 */
int intro_loop_call_later(struct intro_loop *loop, int64_t delay_ns, intro_loop_fn fn, void *arg,
			  uint64_t *timer);
/* Until it runs, also when it is due already. 0; -ENOENT when there is no such timer, or it ran. */
int intro_loop_cancel(struct intro_loop *loop, uint64_t timer);

/*
 * The loop as an executor, for all that takes one: tasks run on the loop's thread, in the queue
 * with its callbacks, and anybody may submit at any time. Of the options name (of its one worker),
 * check_and_reject and timed count; NULL: none of them. NULL and errno: EINVAL: more than
 * one worker, an initializer, waiters_help; EEXIST: there is one already; ENOMEM. What runs on the
 * loop must not wait for its tasks, which run when it is over. A shutdown waits for them only while
 * another thread runs the loop; free, before the loop is freed, cancels those that are left then.
 */
struct intro_executor *intro_loop_executor_new(struct intro_loop *loop,
					       const struct intro_executor_options *options);

/*
 * Handlers of an event, by its name; several, called in the order in which they were added. The
 * same handler with the same arg once: -EEXIST. off: 0 or -ENOENT; a call that is queued already is
 * made all the same.
 */
int intro_loop_on(struct intro_loop *loop, const char *event, intro_handler_fn fn, void *arg);
int intro_loop_off(struct intro_loop *loop, const char *event, intro_handler_fn fn, void *arg);
/* Queues all handlers of the event: how many. -ENOMEM after some were queued is possible. */
int intro_loop_emit(struct intro_loop *loop, const char *event, void *data);

/*
 * Calls fn whenever the descriptor is ready (level-triggered). One watch a descriptor: -EEXIST;
 * modify and remove: -ENOENT when there is none; what epoll_ctl says else (-EBADF, -EPERM of
 * a regular file). Remove it before it is closed. After remove fn is not called any more.
 */
int intro_loop_add(struct intro_loop *loop, int fd, uint32_t events, intro_ready_fn fn, void *arg);
int intro_loop_modify(struct intro_loop *loop, int fd, uint32_t events);
int intro_loop_remove(struct intro_loop *loop, int fd);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
