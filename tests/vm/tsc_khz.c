// SPDX-License-Identifier: BSD-2-Clause
/*
 * tsc_khz: how fast this machine's time stamp counter runs, which the emulated one is. The guest is
 * told: when the machine is busy it measures its timers wrongly, by factors.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>

#define PAIRS 50
#define APART_NS 100000000

struct pair {
	uint64_t ns, ticks;
};

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* Both clocks at one moment: the narrowest of some tries. */
static struct pair both(void)
{
	struct pair best = {};
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < PAIRS; i++) {
		uint64_t before = now(), ticks = __rdtsc(), after = now();

		if (after - before < least) {
			least = after - before;
			best = (struct pair){before + least / 2, ticks};
		}
	}
	return best;
}

int main(void)
{
	struct timespec apart = {.tv_nsec = APART_NS};
	struct pair begin = both(), end;

	nanosleep(&apart, NULL);
	end = both();
	printf("%.0f\n", (end.ticks - begin.ticks) * 1e6 / (end.ns - begin.ns));
	return 0;
}
#else
int main(void)
{
	return 77;
}
#endif
