/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_FUTEX_H
#define INTRO_RUNTIME_FUTEX_H
/* futex.h - sleeping on a word of this process, with absolute CLOCK_MONOTONIC deadlines. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <introspect/future.h>

#define NSEC_PER_SEC 1000000000

static inline int64_t intro__now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

/* INTRO_FOREVER stays itself; what has passed already (also negative timeouts) stays passed. */
static inline int64_t intro__deadline(int64_t timeout_ns)
{
	int64_t deadline;

	if (timeout_ns == INTRO_FOREVER)
		return INTRO_FOREVER;
	if (timeout_ns <= 0)
		return 0;
	return __builtin_add_overflow(intro__now(), timeout_ns, &deadline) ? INTRO_FOREVER
									   : deadline;
}

/*
 * Sleeps while *word is `value`. 0: look again (woken, changed, interrupted); -ETIMEDOUT.
 * WAIT_BITSET, as glibc waits for conditions: a tracer tells it from a wait for a lock.
 */
static inline int intro__futex_wait_bits(_Atomic uint32_t *word, uint32_t value, int64_t deadline,
					 uint32_t bits)
{
	struct timespec until = {.tv_sec = deadline / NSEC_PER_SEC,
				 .tv_nsec = deadline % NSEC_PER_SEC};
	int saved = errno, err = 0;

	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value,
		    deadline == INTRO_FOREVER ? NULL : &until, NULL, bits))
		err = errno == ETIMEDOUT ? -ETIMEDOUT : 0;
	errno = saved;
	return err;
}

static inline int intro__futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t deadline)
{
	return intro__futex_wait_bits(word, value, deadline, FUTEX_BITSET_MATCH_ANY);
}

/* The same by plain WAIT, as glibc waits for locks. */
static inline int intro__futex_wait_lock(_Atomic uint32_t *word, uint32_t value, int64_t deadline)
{
	int64_t left = deadline == INTRO_FOREVER ? 0 : deadline - intro__now();
	struct timespec time;
	int saved = errno, err = 0;

	if (left < 0)
		return -ETIMEDOUT;
	time.tv_sec = left / NSEC_PER_SEC;
	time.tv_nsec = left % NSEC_PER_SEC;
	if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value,
		    deadline == INTRO_FOREVER ? NULL : &time, NULL, 0))
		err = errno == ETIMEDOUT ? -ETIMEDOUT : 0;
	errno = saved;
	return err;
}

/*
 * `word` may be gone already, when its owner needs no more than its value: nobody is woken then.
 * Returns whether somebody was.
 */
static inline bool intro__futex_wake_some(_Atomic uint32_t *word, uint32_t n, uint32_t bits)
{
	int saved = errno;
	long woken = syscall(SYS_futex, word, FUTEX_WAKE_BITSET_PRIVATE, n < INT_MAX ? n : INT_MAX,
			     NULL, NULL, bits);

	errno = saved;
	return woken > 0;
}

static inline void intro__futex_wake(_Atomic uint32_t *word)
{
	intro__futex_wake_some(word, INT_MAX, FUTEX_BITSET_MATCH_ANY);
}

#endif
