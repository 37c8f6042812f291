// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <x86intrin.h>
#endif

#include "collect/clock.h"

/* Of a pair's reads the quickest is kept: the TSC was read within it, at an unknown moment. */
#define TRIES 4

uint64_t intro__now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

#ifdef __x86_64__
static bool tsc_is_steady(void)
{
	FILE *file =
		fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
	unsigned int a, b, c, d;
	char name[32] = "";

	if (file) {
		if (!fgets(name, sizeof(name), file))
			name[0] = 0;
		fclose(file);
	}
	return !strcmp(name, "tsc\n") && __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8);
}

static uint64_t ticks_now(void)
{
	uint64_t ticks;

	_mm_lfence();
	ticks = __rdtsc();
	_mm_lfence();
	return ticks;
}
#else
static bool tsc_is_steady(void)
{
	return false;
}

static uint64_t ticks_now(void)
{
	return 0;
}
#endif

void intro__clock_init(struct intro__clock *clock)
{
	struct timespec pause = {.tv_nsec = 1000000};

	memset(clock, 0, sizeof(*clock));
	clock->tsc = tsc_is_steady();
	if (!clock->tsc)
		return;
	/* two pairs make a line */
	intro__clock_sample(clock);
	nanosleep(&pause, NULL);
	intro__clock_sample(clock);
}

uint64_t intro__clock_sample(struct intro__clock *clock)
{
	uint64_t best = UINT64_MAX, tsc = 0, ns = 0;
	unsigned int at = clock->pairs % INTRO__CLOCK_PAIRS;

	if (!clock->tsc)
		return intro__now();
	for (int i = 0; i < TRIES; i++) {
		uint64_t before = ticks_now(), now = intro__now(), after = ticks_now();

		if (after - before >= best)
			continue;
		best = after - before;
		tsc = before + best / 2;
		ns = now;
	}
	if (clock->pairs) {
		unsigned int last = (clock->pairs - 1) % INTRO__CLOCK_PAIRS;

		/* too soon after the last one to make a line with it */
		if (tsc <= clock->pair[last].tsc || ns <= clock->pair[last].ns)
			return clock->pair[last].ns;
	}
	clock->pair[at].tsc = tsc;
	clock->pair[at].ns = ns;
	clock->pairs++;
	return ns;
}

uint64_t intro__clock_ns(const struct intro__clock *clock, uint64_t ticks)
{
	unsigned int n = clock->pairs < INTRO__CLOCK_PAIRS ? clock->pairs : INTRO__CLOCK_PAIRS;
	unsigned int later = clock->pairs - 1, earlier;
	uint64_t tsc, ns, span_ticks, span_ns;

	if (!clock->tsc)
		return ticks;
	if (ticks >= clock->pair[later % INTRO__CLOCK_PAIRS].tsc)
		return clock->pair[later % INTRO__CLOCK_PAIRS].ns;
	/* Most ticks are of the last interval or the one before. */
	while (later > clock->pairs - n + 1 &&
	       ticks < clock->pair[(later - 1) % INTRO__CLOCK_PAIRS].tsc)
		later--;
	earlier = later - 1;
	tsc = clock->pair[earlier % INTRO__CLOCK_PAIRS].tsc;
	ns = clock->pair[earlier % INTRO__CLOCK_PAIRS].ns;
	span_ticks = clock->pair[later % INTRO__CLOCK_PAIRS].tsc - tsc;
	span_ns = clock->pair[later % INTRO__CLOCK_PAIRS].ns - ns;
	if (ticks >= tsc)
		return ns + (uint64_t)((unsigned __int128)(ticks - tsc) * span_ns / span_ticks);
	/* before all pairs kept: the first line drawn on backwards */
	span_ns = (unsigned __int128)(tsc - ticks) * span_ns / span_ticks;
	return span_ns < ns ? ns - span_ns : 0;
}
