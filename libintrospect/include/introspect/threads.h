/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_THREADS_H
#define INTROSPECT_THREADS_H
/*
 * threads.h - threads with a name, a result, a join that can time out, and data of their own.
 * Semantics are those of Python's threading.Thread and threading.local
 * (docs.python.org/3/library/threading.html), under C names. Link with -lintrospect-rt.
 *
 *	struct intro_thread_handle *t = intro_thread_new(work, arg, NULL);
 *	intro_thread_start(t);
 *	...
 *	intro_thread_join(t, INTRO_FOREVER, &result);
 *	intro_thread_free(t);
 *
 * Ownership. A handle is counted: who made it, who got it from intro_thread_enumerate, and who
 * called intro_thread_ref each give one intro_thread_free. A thread that runs keeps its own handle
 * alive, so freeing a handle neither stops the thread nor waits for it.
 *
 * Daemon threads. At exit(3), which main's return calls, the library waits for every thread that
 * was started here, is not a daemon and has not ended: intro_thread_join_all, called by a handler
 * that the first intro_thread_start registers with atexit(3). Daemon threads are not waited for:
 * the process ends under them. _exit(2) and signals wait for nobody.
 *
 * Marks. A thread is a task of the pool "threads": submitted by start, started when its function is
 * entered, ended when that returns; a join that waits is a wait for it. Tasks are named by the
 * thread's name, without digits and what divides them at its end, so that "reader-7" and
 * "reader-8" are one name. A thread that works off tasks which it marks itself sets
 * `worker` in the options, and is no task.
 *
 * Differences from Python, on purpose. A thread returns a value. ident is never used again. start
 * does not wait until the thread runs. The values of thread-local data are given to a destructor.
 *
 * Errors are negative errno values. Thread-safe throughout. In the child of a fork the thread that
 * called fork is the main thread, and the others have ended.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct intro_thread_handle;
typedef void *(*intro_thread_fn)(void *arg);

enum intro_daemon {
	INTRO_DAEMON_INHERIT = 0, /* as the thread which makes it; main is none */
	INTRO_DAEMON_NO = 1,
	INTRO_DAEMON_YES = 2,
};

#define INTRO_THREAD_NAME 64 /* longer names are cut; the kernel shows the first 15 bytes */

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_thread_options {
	size_t size;
	const char *name; /* NULL: "Thread-1", "Thread-2" ... */
	enum intro_daemon daemon;
	bool worker;	    /* it marks its own tasks, and is none */
	size_t stack_bytes; /* 0: the system's */
};

/* Not started. options NULL: none. NULL and errno: EINVAL, E2BIG, ENOMEM. */
struct intro_thread_handle *intro_thread_new(intro_thread_fn fn, void *arg,
					     const struct intro_thread_options *options);
struct intro_thread_handle *intro_thread_ref(struct intro_thread_handle *thread);
/* Gives one reference back; NULL is fine. */
void intro_thread_free(struct intro_thread_handle *thread);

/* 0; -EALREADY when it was started before; -EAGAIN: no more threads, and it may be tried again. */
int intro_thread_start(struct intro_thread_handle *thread);

/*
 * Waits until it has ended. Any thread may, any number of times. 0 and what its function returned
 * (`result` may be NULL; also the result: NULL when it ended by pthread_exit); -ETIMEDOUT;
 * -EINVAL when it was not started, or was not made here; -EDEADLK when it is the caller. The main
 * thread ends, for this purpose, when it begins to wait for the others at exit.
 */
int intro_thread_join(struct intro_thread_handle *thread, int64_t timeout_ns, void **result);

/*
 * Waits for every thread that is no daemon, but the caller and main, also those which are started
 * meanwhile. 0, or -ETIMEDOUT.
 */
int intro_thread_join_all(int64_t timeout_ns);

/* Started, and not ended. */
bool intro_thread_alive(const struct intro_thread_handle *thread);
/* A number which no other thread of this process has or had; 0 before start. */
uint64_t intro_thread_ident(const struct intro_thread_handle *thread);
/* The number its marks carry (mark.h); 0 before start, and of what is no task. */
uint64_t intro_thread_task(const struct intro_thread_handle *thread);
/* As the kernel knows it, and used again after its end. 0 before start; may wait until it runs. */
uint32_t intro_thread_native_id(struct intro_thread_handle *thread);

/* At any time. 0, or -EINVAL for NULL. */
int intro_thread_set_name(struct intro_thread_handle *thread, const char *name);
/* Copies it, NUL-terminated, cut to size. */
void intro_thread_name(const struct intro_thread_handle *thread, char *name, size_t size);

/* 0; -EBUSY when it was started. */
int intro_thread_set_daemon(struct intro_thread_handle *thread, bool daemon);
bool intro_thread_daemon(const struct intro_thread_handle *thread);

/*
 * The calling thread's handle, no reference: good until the thread ends. A thread that was not made
 * here gets one at its first call, named "Dummy-1", a daemon, which cannot be joined. NULL and
 * ENOMEM.
 */
struct intro_thread_handle *intro_thread_current(void);
/* The main thread's, no reference; good until exit. NULL and ENOMEM. */
struct intro_thread_handle *intro_thread_main(void);

/*
 * The threads alive: main, those started, and those not made here which asked who they are. Fills
 * in up to `room` handles, each with a reference, and returns how many there are.
 */
size_t intro_thread_enumerate(struct intro_thread_handle **threads, size_t room);
size_t intro_thread_active_count(void);

/* --- thread-local data ----------------------------------------------------------------------- */

/*
 * A value for each thread. When a thread ends (not at exit), the destructor, if there is one, gets
 * what it has set and was not NULL, on that thread; if destructors set values again they are called
 * again, four times at most. The value is NULL for a thread that has set none.
 */
struct intro_local;
typedef void (*intro_local_destructor)(void *value);

/* NULL and ENOMEM. */
struct intro_local *intro_local_new(intro_local_destructor destructor);
/* Calls the destructor for the values of all threads. Nobody uses it any more. NULL is fine. */
void intro_local_free(struct intro_local *local);
/* 0, or -ENOMEM, which cannot happen for a thread that has set a value before. */
int intro_local_set(struct intro_local *local, void *value);
void *intro_local_get(struct intro_local *local);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
