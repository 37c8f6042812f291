/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_SPIN_H
#define INTRO_RUNTIME_SPIN_H
/*
 * spin.h - looking a while before a sleep.
 *
 * To wake a sleeper on another CPU takes tens of microseconds where that CPU has gone idle, so
 * whoever expects an event soon looks for about as long as the wake-up would take: at most twice
 * the best. It offers its CPU to others meanwhile: where there are more threads than CPUs
 * its time is over after that, and it sleeps.
 */
#include <sched.h>

#include "futex.h"

#define SPIN_PAUSES_A_LOOK 16  /* at the clock */
#define SPIN_PAUSES_A_YIELD 64 /* about 3 us */

struct spin {
	unsigned pauses;
	int64_t until;
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/*
 * A load after this is not done before a read-modify-write before it is seen by others. On x86 that
 * is so by itself.
 */
static inline void intro__fence_after_atomic(void)
{
#if defined(__x86_64__) || defined(__i386__)
	atomic_signal_fence(memory_order_seq_cst);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* false: `ns` are over since the first call. */
static inline bool spin_once(struct spin *spin, int64_t ns)
{
	int64_t now;

	pause_cpu();
	if (++spin->pauses % SPIN_PAUSES_A_LOOK)
		return true;
	if (spin->pauses % SPIN_PAUSES_A_YIELD == 0)
		sched_yield();
	now = intro__now();
	if (!spin->until)
		spin->until = now + ns;
	return now < spin->until;
}

#endif
