/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_INTERPRETER_H
#define INTROSPECT_INTERPRETER_H
/*
 * interpreter.h - the lock of an interpreter, and a pool whose tasks hold it: CPython's rule, so
 * that what it does to threads can be shown, or built, without Python.
 *
 *	struct intro_interpreter *interpreter = intro_interpreter_new(0);
 *	struct intro_executor *pool = intro_interpreter_executor_new(interpreter, &options);
 *	// in a task, which holds the lock from its first line on:
 *	for (...) {
 *		one_instruction();
 *		intro_interpreter_check(interpreter); // as often as CPython's evaluation loop
 *	}
 *	intro_interpreter_begin_allow(interpreter); // Py_BEGIN_ALLOW_THREADS
 *	read(...);
 *	intro_interpreter_end_allow(interpreter);
 *
 * The rule. One thread holds the lock. Who wants it sleeps for the switch interval (5 ms); when
 * nobody took the lock in all that time it asks the holder for it. The holder sees that at its next
 * check, drops the lock, and then waits until another thread has taken it: a forced switch, without
 * which it would win its own lock back. A holder that is about to block allows the others instead,
 * and has to wait for the lock again when it comes back, behind whoever computes: the convoy that
 * interpreters are known for.
 *
 * Thread-safety: every function may be called from any thread, but new and free. The lock is no
 * recursive one, and belongs to a thread: not to be held across a fork, nor across a switch of
 * fibers.
 */
#include <introspect/executor.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define INTRO_SWITCH_INTERVAL 5000000 /* ns, as sys.getswitchinterval() */

struct intro_interpreter;

/* NULL and errno: EINVAL (negative), ENOMEM. interval_ns 0: INTRO_SWITCH_INTERVAL. */
struct intro_interpreter *intro_interpreter_new(int64_t interval_ns);
/* Nobody holds the lock or waits for it, and pools on it are gone. NULL is fine. */
void intro_interpreter_free(struct intro_interpreter *interpreter);

/* Waits for the lock. 0; -EDEADLK when this thread has it. */
int intro_interpreter_acquire(struct intro_interpreter *interpreter);
/* 0; -EPERM when this thread does not have it. */
int intro_interpreter_release(struct intro_interpreter *interpreter);
/*
 * Hands the lock over if somebody asked for it, and waits for it again. 1 when it did, else 0: two
 * loads then. -EPERM when this thread does not have it.
 */
int intro_interpreter_check(struct intro_interpreter *interpreter);
/* Around a call that may block: release and acquire, counted apart. Errors likewise. */
int intro_interpreter_begin_allow(struct intro_interpreter *interpreter);
int intro_interpreter_end_allow(struct intro_interpreter *interpreter);
bool intro_interpreter_held(const struct intro_interpreter *interpreter); /* by this thread */

/* sys.setswitchinterval: of waits that begin from now on. 0; -EINVAL when not positive. */
int intro_interpreter_set_interval(struct intro_interpreter *interpreter, int64_t interval_ns);
int64_t intro_interpreter_interval(const struct intro_interpreter *interpreter);

struct intro_interpreter_statistics {
	uint64_t taken;	  /* how often somebody got the lock */
	uint64_t asked;	  /* how often a holder was asked, after a whole interval */
	uint64_t forced;  /* switches that the holder made because it was asked */
	uint64_t allowed; /* begin_allow */
};
void intro_interpreter_statistics(struct intro_interpreter *interpreter,
				  struct intro_interpreter_statistics *statistics);

/*
 * A thread pool whose tasks and initializer run with the lock held. The wait for it is a part of
 * the task, as in Python, where a worker thread needs the lock before it can look at anything. A
 * task that ends while it allows others, or after it released the lock, is fine. Results are set,
 * and callbacks run, without the lock.
 * NULL and errno as intro_thread_executor_new. Freed with intro_executor_free.
 */
struct intro_executor *intro_interpreter_executor_new(struct intro_interpreter *interpreter,
						      const struct intro_executor_options *options);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
