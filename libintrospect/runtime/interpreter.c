/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * interpreter.c - the interpreter lock.
 *
 * `mutex` is held for moments only; the lock itself is the word `holder`. Asleep for the lock means
 * asleep on `dropped`; a holder that was asked sleeps on `taken` after it dropped the lock, until
 * `taken_n` says that somebody has it. Whoever asked is on its way to the lock and never gives
 * up, so that sleep ends.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <introspect/interpreter.h>
#include <introspect/locks.h>

#include "executor_private.h"

struct intro_interpreter {
	struct intro_mutex mutex;
	struct intro_condition dropped, taken;
	_Atomic(const char *) holder; /* a thread's `here`; NULL: nobody. Written under mutex */
	_Atomic bool asked;
	_Atomic int64_t interval;
	struct intro_interpreter_statistics n; /* under mutex */
};

/* Its address is the thread. */
static __thread char here __attribute__((tls_model("initial-exec")));

struct intro_interpreter *intro_interpreter_new(int64_t interval_ns)
{
	struct intro_interpreter *interpreter;

	if (interval_ns < 0) {
		errno = EINVAL;
		return NULL;
	}
	interpreter = calloc(1, sizeof(*interpreter));
	if (!interpreter)
		return NULL;
	intro_mutex_init(&interpreter->mutex, "interpreter");
	intro_condition_init(&interpreter->dropped, &interpreter->mutex, "interpreter lock");
	intro_condition_init(&interpreter->taken, &interpreter->mutex, "interpreter lock taken");
	interpreter->interval = interval_ns ? interval_ns : INTRO_SWITCH_INTERVAL;
	return interpreter;
}

void intro_interpreter_free(struct intro_interpreter *interpreter)
{
	free(interpreter);
}

static const char *holder_of(const struct intro_interpreter *interpreter)
{
	/* relaxed: only this thread writes this thread */
	return atomic_load_explicit(&interpreter->holder, memory_order_relaxed);
}

bool intro_interpreter_held(const struct intro_interpreter *interpreter)
{
	return holder_of(interpreter) == &here;
}

/* mutex is held. */
static void wait_an_interval(struct intro_interpreter *interpreter)
{
	uint64_t seen = interpreter->n.taken;

	if (intro_condition_wait(&interpreter->dropped, intro_interpreter_interval(interpreter)) !=
	    -ETIMEDOUT)
		return;
	if (!holder_of(interpreter) || interpreter->n.taken != seen)
		return;
	if (!atomic_exchange_explicit(&interpreter->asked, true, memory_order_relaxed))
		interpreter->n.asked++;
}

int intro_interpreter_acquire(struct intro_interpreter *interpreter)
{
	if (intro_interpreter_held(interpreter))
		return -EDEADLK;
	intro_mutex_acquire(&interpreter->mutex, INTRO_FOREVER);
	while (holder_of(interpreter))
		wait_an_interval(interpreter);
	atomic_store_explicit(&interpreter->holder, &here, memory_order_relaxed);
	interpreter->n.taken++;
	atomic_store_explicit(&interpreter->asked, false, memory_order_relaxed);
	intro_condition_notify_all(&interpreter->taken);
	intro_mutex_release(&interpreter->mutex);
	return 0;
}

static int drop(struct intro_interpreter *interpreter, bool allows)
{
	uint64_t seen;

	if (!intro_interpreter_held(interpreter))
		return -EPERM;
	intro_mutex_acquire(&interpreter->mutex, INTRO_FOREVER);
	interpreter->n.allowed += allows;
	atomic_store_explicit(&interpreter->holder, NULL, memory_order_relaxed);
	intro_condition_notify(&interpreter->dropped, 1);
	if (atomic_load_explicit(&interpreter->asked, memory_order_relaxed)) {
		interpreter->n.forced++;
		seen = interpreter->n.taken;
		while (interpreter->n.taken == seen)
			intro_condition_wait(&interpreter->taken, INTRO_FOREVER);
	}
	intro_mutex_release(&interpreter->mutex);
	return 0;
}

int intro_interpreter_release(struct intro_interpreter *interpreter)
{
	return drop(interpreter, false);
}

int intro_interpreter_check(struct intro_interpreter *interpreter)
{
	if (!intro_interpreter_held(interpreter))
		return -EPERM;
	if (!atomic_load_explicit(&interpreter->asked, memory_order_relaxed))
		return 0;
	drop(interpreter, false);
	intro_interpreter_acquire(interpreter);
	return 1;
}

int intro_interpreter_begin_allow(struct intro_interpreter *interpreter)
{
	return drop(interpreter, true);
}

int intro_interpreter_end_allow(struct intro_interpreter *interpreter)
{
	int saved = errno, err; /* that of the call which blocked */

	err = intro_interpreter_acquire(interpreter);
	errno = saved;
	return err;
}

int intro_interpreter_set_interval(struct intro_interpreter *interpreter, int64_t interval_ns)
{
	if (interval_ns <= 0)
		return -EINVAL;
	atomic_store_explicit(&interpreter->interval, interval_ns, memory_order_relaxed);
	return 0;
}

int64_t intro_interpreter_interval(const struct intro_interpreter *interpreter)
{
	return atomic_load_explicit(&interpreter->interval, memory_order_relaxed);
}

void intro_interpreter_statistics(struct intro_interpreter *interpreter,
				  struct intro_interpreter_statistics *statistics)
{
	intro_mutex_acquire(&interpreter->mutex, INTRO_FOREVER);
	*statistics = interpreter->n;
	intro_mutex_release(&interpreter->mutex);
}

/* --- the pool ---------------------------------------------------------------------------------
 */

static void release_if_held(void *interpreter)
{
	if (intro_interpreter_held(interpreter))
		intro_interpreter_release(interpreter);
}

static int run_locked(struct intro_executor *executor, intro_task_fn fn, struct intro_call *call)
{
	struct intro_interpreter *interpreter = executor->interpreter;
	int code;

	intro_interpreter_acquire(interpreter);
	/* also when the thread ends in the task */
	pthread_cleanup_push(release_if_held, interpreter);
	code = fn(call);
	pthread_cleanup_pop(1);
	return code;
}

struct intro_executor *intro_interpreter_executor_new(struct intro_interpreter *interpreter,
						      const struct intro_executor_options *options)
{
	struct intro_executor_options own;
	struct intro_executor *executor;
	int err = intro__executor_options(&own, options);

	/* a caller may hold the lock already */
	if (!err && (!interpreter || own.binding || own.caller_runs))
		err = -EINVAL;
	if (err) {
		errno = -err;
		return NULL;
	}
	executor = intro_thread_executor_new(&own);
	if (executor) {
		/* no worker starts before the first submit */
		executor->interpreter = interpreter;
		executor->run = run_locked;
		/* a worker that waits may hold the lock already */
		executor->leaves &= FUTURE_SPINS;
	}
	return executor;
}
