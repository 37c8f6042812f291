/* SPDX-License-Identifier: BSD-2-Clause */
/* Clocks, seeded numbers, and work of known length and result. */
#include <time.h>

#include "workload.h"

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t workload_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t workload_cpu(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t workload_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

uint64_t workload_around(uint64_t *state, uint64_t mean)
{
	return mean / 2 + workload_random(state) % (mean + 1);
}

#define SPIN_MUL 6364136223846793005ull
#define SPIN_ADD 1442695040888963407ull

uint64_t workload_spin(uint64_t x, uint64_t steps)
{
	while (steps--)
		x = x * SPIN_MUL + SPIN_ADD;
	return x;
}

/* x -> mul x + add, applied twice, is x -> mul^2 x + (mul + 1) add: square and multiply. */
uint64_t workload_spin_expect(uint64_t x, uint64_t steps)
{
	uint64_t mul = SPIN_MUL, add = SPIN_ADD;

	for (; steps; steps >>= 1) {
		if (steps & 1)
			x = x * mul + add;
		add *= mul + 1;
		mul *= mul;
	}
	return x;
}

double workload_spin_rate(void)
{
	const uint64_t steps = 500000;
	uint64_t best = UINT64_MAX, x = 1;

	for (int i = 0; i < 8; i++) {
		uint64_t begin = workload_cpu(), took;

		x = workload_spin(x, steps);
		took = workload_cpu() - begin;
		if (took < best)
			best = took;
	}
	/* the result is needed, or the compiler would leave the loop out */
	__asm__ volatile("" : : "r"(x));
	return (double)steps / (double)(best ? best : 1);
}
