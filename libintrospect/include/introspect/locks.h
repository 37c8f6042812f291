/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_LOCKS_H
#define INTROSPECT_LOCKS_H
/*
 * locks.h - mutex, recursive lock, condition, semaphore, event and barrier, as those of Python's
 * threading (docs.python.org/3/library/threading.html), under C names. Link with -lintrospect-rt.
 *
 *	static struct intro_mutex accounts;
 *	intro_mutex_init(&accounts, "accounts");
 *	intro_mutex_acquire(&accounts, INTRO_FOREVER);
 *	...
 *	intro_mutex_release(&accounts);
 *
 * Memory is the caller's and holds no resource: it may go away when nobody uses it. All zeroes are
 * a mutex, a recursive lock, a semaphore of value 0, an event, without a name and ready for use; a
 * condition and a barrier need their init.
 *
 * Names. NULL: none. The first wait of a named lock that is longer than INTRO_LOCK_TOLD_NS writes
 * down whose address this is, so that a report says "lock accounts" instead of the address;
 * shorter ones cost nothing. A lock which nobody waits for is never written down. Locks of
 * other makes are named by intro_mark_lock (mark.h).
 *
 * Times are relative nanoseconds; INTRO_FOREVER waits without limit, 0 polls. Errors are negative
 * errno values; a function that fails leaves its object as it was, unless a line says otherwise.
 * Thread-safe throughout, between the threads of one process. None of them is fair, but for the
 * condition, which wakes who has waited longest. After a fork the child has what the parent had: a
 * lock that another thread held stays held.
 */
#include <stdbool.h>
#include <stdint.h>

#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define INTRO_LOCK_TOLD_NS 100000

struct intro_mutex {
	uint32_t opaque[4];
} __attribute__((aligned(8)));

struct intro_recursive {
	uint64_t opaque[4];
} __attribute__((aligned(8)));

struct intro_condition {
	uint64_t opaque[8];
} __attribute__((aligned(8)));

struct intro_semaphore {
	uint32_t opaque[6];
} __attribute__((aligned(8)));

struct intro_event {
	uint32_t opaque[4];
} __attribute__((aligned(8)));

struct intro_barrier {
	uint64_t opaque[12];
} __attribute__((aligned(8)));

/* --- mutex: threading.Lock ------------------------------------------------------------------- */

void intro_mutex_init(struct intro_mutex *mutex, const char *name);
/* 0, or -ETIMEDOUT; with timeout 0 at once. Who has it already waits for himself. */
int intro_mutex_acquire(struct intro_mutex *mutex, int64_t timeout_ns);
/* Any thread may, as in Python. 0, or -EPERM when nobody has it. */
int intro_mutex_release(struct intro_mutex *mutex);
bool intro_mutex_locked(const struct intro_mutex *mutex);

/* --- recursive lock: threading.RLock --------------------------------------------------------- */

void intro_recursive_init(struct intro_recursive *lock, const char *name);
/* 0, also when the caller has it already; -ETIMEDOUT; -EAGAIN: held 2^32 - 1 times. */
int intro_recursive_acquire(struct intro_recursive *lock, int64_t timeout_ns);
/* 0; free when released as often as acquired; -EPERM when the caller has it not. */
int intro_recursive_release(struct intro_recursive *lock);
/* How often the caller has it; 0: not. */
uint32_t intro_recursive_count(const struct intro_recursive *lock);

/* --- condition: threading.Condition ---------------------------------------------------------- */

/* Of a lock that outlives it. */
void intro_condition_init(struct intro_condition *condition, struct intro_mutex *mutex,
			  const char *name);
void intro_condition_init_recursive(struct intro_condition *condition, struct intro_recursive *lock,
				    const char *name);
/*
 * Lets go of the lock (of a recursive one wholly), waits to be notified, and has the lock again on
 * return, in all cases. Never woken without cause. 0; -ETIMEDOUT; -EPERM when the lock is not held.
 */
int intro_condition_wait(struct intro_condition *condition, int64_t timeout_ns);
/* Waits until predicate(arg), which is called with the lock held, is true. As above. */
int intro_condition_wait_for(struct intro_condition *condition, bool (*predicate)(void *arg),
			     void *arg, int64_t timeout_ns);
/* Wakes up to n, those who wait longest. 0, or -EPERM when the lock is not held. */
int intro_condition_notify(struct intro_condition *condition, unsigned n);
int intro_condition_notify_all(struct intro_condition *condition);

/* --- semaphore: threading.Semaphore, BoundedSemaphore ---------------------------------------- */

#define INTRO_SEMAPHORE_MAX 0x7fffffffu
/* 0, or -EINVAL above the maximum. */
int intro_semaphore_init(struct intro_semaphore *semaphore, uint32_t value, const char *name);
/* Never above its first value, which is at least 1. */
int intro_semaphore_init_bounded(struct intro_semaphore *semaphore, uint32_t value,
				 const char *name);
/* 0; -ETIMEDOUT. */
int intro_semaphore_acquire(struct intro_semaphore *semaphore, int64_t timeout_ns);
/* 0; -EINVAL for n 0; -EOVERFLOW: more than was acquired, of a bounded one, or the maximum. */
int intro_semaphore_release(struct intro_semaphore *semaphore, uint32_t n);
uint32_t intro_semaphore_value(const struct intro_semaphore *semaphore);

/* --- event: threading.Event ------------------------------------------------------------------ */

void intro_event_init(struct intro_event *event, const char *name);
void intro_event_set(struct intro_event *event);
void intro_event_clear(struct intro_event *event);
bool intro_event_is_set(const struct intro_event *event);
/* 0 when it is set, or was while the caller waited; -ETIMEDOUT. */
int intro_event_wait(struct intro_event *event, int64_t timeout_ns);

/* --- barrier: threading.Barrier -------------------------------------------------------------- */

/*
 * action may be NULL; the thread that comes last calls it before any of the others goes on. When it
 * does not return 0, or ends its thread (pthread_exit), the barrier breaks.
 */
typedef int (*intro_barrier_action)(void *arg);
/* 0, or -EINVAL for no parties. */
int intro_barrier_init(struct intro_barrier *barrier, uint32_t parties, intro_barrier_action action,
		       void *arg, const char *name);
/*
 * Waits until as many as there are parties wait. The order of coming, 0 to parties - 1; -EPIPE: it
 * is broken, or was broken or reset meanwhile; -ETIMEDOUT, which breaks it for all; of the
 * thread whose action failed, what that returned when negative, else -EPIPE.
 */
int intro_barrier_wait(struct intro_barrier *barrier, int64_t timeout_ns);
/* Breaks it: who waits, and comes until reset, gets -EPIPE. */
void intro_barrier_abort(struct intro_barrier *barrier);
/* Whole and empty again; who waits gets -EPIPE. */
void intro_barrier_reset(struct intro_barrier *barrier);
bool intro_barrier_broken(struct intro_barrier *barrier);
uint32_t intro_barrier_waiting(struct intro_barrier *barrier);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
