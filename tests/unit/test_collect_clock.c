// SPDX-License-Identifier: BSD-2-Clause
/* TSC ticks to CLOCK_MONOTONIC. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include "collect/clock.h"

/* A TSC of exactly 2 ticks a ns, whose pairs waver by one. */
static void fill(struct intro__clock *clock, unsigned int pairs)
{
	*clock = (struct intro__clock){.tsc = true, .pairs = pairs};
	for (unsigned int i = 0; i < pairs; i++) {
		clock->pair[i % INTRO__CLOCK_PAIRS].tsc = 1000000 + 20000ull * i;
		clock->pair[i % INTRO__CLOCK_PAIRS].ns = 5000000 + 10000ull * i + i % 2;
	}
}

static void pairs_are_met_and_between_them_it_is_straight(void **state)
{
	struct intro__clock clock;

	fill(&clock, 10);
	for (unsigned int i = 0; i < 10; i++)
		assert_int_equal(intro__clock_ns(&clock, clock.pair[i].tsc), clock.pair[i].ns);
	assert_int_equal(intro__clock_ns(&clock, 1000000 + 10000), 5005000);
	assert_int_equal(intro__clock_ns(&clock, 1000000 + 30000), 5015000);
}

static void order_is_kept(void **state)
{
	struct intro__clock clock;
	uint64_t last = 0;

	/* more pairs than are kept, ticks from before the first kept to after the last */
	fill(&clock, 3 * INTRO__CLOCK_PAIRS + 5);
	for (uint64_t tsc = 900000; tsc < 1000000 + 20000ull * clock.pairs; tsc += 7) {
		uint64_t ns = intro__clock_ns(&clock, tsc);

		assert_true(ns >= last);
		last = ns;
	}
	assert_int_equal(last, clock.pair[(clock.pairs - 1) % INTRO__CLOCK_PAIRS].ns);
}

static void hostile_ticks_stay_in_range(void **state)
{
	struct intro__clock clock;

	fill(&clock, 20);
	assert_int_equal(intro__clock_ns(&clock, UINT64_MAX), clock.pair[19].ns);
	assert_true(intro__clock_ns(&clock, 0) <= clock.pair[0].ns);
}

static void without_tsc_nothing_is_converted(void **state)
{
	struct intro__clock clock = {.tsc = false};

	assert_int_equal(intro__clock_ns(&clock, 12345), 12345);
	assert_true(intro__clock_sample(&clock) > 0);
}

#ifdef __x86_64__
static void run_on(int n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(n % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set); /* where that is not allowed, any CPU will do */
}

/*
 * Ticks read between two reads of the clock must come out between these, give or take what a pair
 * may be wrong by. Marks read the TSC without fences, so here too.
 */
static void this_machine(void **state)
{
	enum { ROUNDS = 40, READS = 200 };
	static struct {
		uint64_t before, ticks, after;
	} reads[ROUNDS * READS];
	struct timespec t, pause = {.tv_nsec = 5000000};
	int64_t worst = 0, over = 0;
	struct intro__clock clock;

	intro__clock_init(&clock);
	if (!clock.tsc)
		skip();
	for (int round = 0; round < ROUNDS; round++) {
		/* marks are of one CPU, the pair is of another */
		run_on(round);
		for (int i = 0; i < READS; i++) {
			clock_gettime(CLOCK_MONOTONIC, &t);
			reads[round * READS + i].before = t.tv_sec * 1000000000ull + t.tv_nsec;
			reads[round * READS + i].ticks = __rdtsc();
			clock_gettime(CLOCK_MONOTONIC, &t);
			reads[round * READS + i].after = t.tv_sec * 1000000000ull + t.tv_nsec;
		}
		run_on(round + 1);
		intro__clock_sample(&clock);
		for (int i = round * READS; i < (round + 1) * READS; i++) {
			int64_t ns = intro__clock_ns(&clock, reads[i].ticks), off = 0;

			if (ns < (int64_t)reads[i].before)
				off = reads[i].before - ns;
			else if (ns > (int64_t)reads[i].after)
				off = ns - reads[i].after;
			over += off > 0;
			worst = off > worst ? off : worst;
		}
		nanosleep(&pause, NULL);
	}
	printf("# figure TSC to CLOCK_MONOTONIC: %ld of %d conversions outside two clock reads, by "
	       "%ld ns "
	       "at most\n",
	       (long)over, ROUNDS * READS, (long)worst);
	/* a pair may be taken across a stop of the virtual machine: only gross errors fail */
	assert_true(worst < 20000);
}
#endif

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_are_met_and_between_them_it_is_straight),
		cmocka_unit_test(order_is_kept),
		cmocka_unit_test(hostile_ticks_stay_in_range),
		cmocka_unit_test(without_tsc_nothing_is_converted),
#ifdef __x86_64__
		cmocka_unit_test(this_machine),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
