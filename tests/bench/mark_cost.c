// SPDX-License-Identifier: BSD-2-Clause
/*
 * mark_cost.c - what a mark costs, next to the clock it reads. Prints "name ns" lines; each the
 * best of many rounds, the rounds of all taking turns. It plays the tracer too: it turns its own
 * marks on and empties its ring between rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <introspect/area.h>
#include <introspect/mark.h>

#define ROUNDS 300
#define CALLS 8000 /* fewer than a ring holds */

static uint64_t sink;

static struct intro_area *area(void)
{
	_Atomic uint32_t *enabled = (_Atomic uint32_t *)intro_marks_enabled;

	return (struct intro_area *)((char *)enabled - offsetof(struct intro_area, enabled));
}

static void set_marks(uint32_t to)
{
	atomic_store(&area()->enabled, to);
}

static void drain(void)
{
	for (int i = 0; i < INTRO_AREA_SLOTS; i++) {
		struct intro_area_slot *slot = &area()->slot[i];

		if (atomic_load(&slot->owner) == (uint32_t)gettid())
			atomic_store(&slot->tail, atomic_load(&slot->head));
	}
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void nothing(void)
{
	for (uint64_t i = 0; i < CALLS; i++)
		__asm__ volatile("" ::: "memory");
}

static void marks(void)
{
	for (uint64_t i = 0; i < CALLS; i++)
		intro_mark_submit(i + 1, 1, 0);
}

/* Marks whose cause is another thread's mark keep their clock behind it. */
static void marks_of_effects(void)
{
	for (uint64_t i = 0; i < CALLS; i++)
		intro_mark_start(i + 1, 1);
}

static void clock_gettime_alone(void)
{
	struct timespec now;

	for (uint64_t i = 0; i < CALLS; i++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		sink += (uint64_t)now.tv_nsec;
	}
}

static void tsc_alone(void)
{
#if defined(__x86_64__)
	for (uint64_t i = 0; i < CALLS; i++) {
		uint64_t now = __rdtsc();

		/* as a mark uses it: stored */
		__asm__ volatile("" ::"r"(now) : "memory");
	}
#endif
}

static void tsc_fenced(void)
{
#if defined(__x86_64__)
	for (uint64_t i = 0; i < CALLS; i++) {
		uint64_t now;

		_mm_lfence();
		now = __rdtsc();
		__asm__ volatile("" ::"r"(now) : "memory");
	}
#endif
}

static const struct {
	const char *name;
	uint32_t enabled;
	void (*run)(void);
} cases[] = {
	{"loop", INTRO_MARKS_OFF, nothing},
	{"mark_off", INTRO_MARKS_OFF, marks},
	{"clock_gettime", INTRO_MARKS_OFF, clock_gettime_alone},
	{"mark_monotonic", INTRO_MARKS_MONOTONIC, marks},
#if defined(__x86_64__)
	{"rdtsc", INTRO_MARKS_OFF, tsc_alone},
	{"mark_tsc", INTRO_MARKS_TSC, marks},
	{"rdtsc_fenced", INTRO_MARKS_OFF, tsc_fenced},
	{"mark_tsc_fenced", INTRO_MARKS_TSC, marks_of_effects},
#endif
};

int main(void)
{
	enum { CASES = sizeof(cases) / sizeof(cases[0]) };
	double best[CASES];

	intro_mark_pool("bench", 1); /* makes the area, and with it the switch */
	intro_mark_write(INTRO_KIND_START, 1, 1, 0);
	for (int i = 0; i < CASES; i++)
		best[i] = 1e18;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < CASES; i++) {
			double begin, took;

			set_marks(cases[i].enabled);
			drain();
			begin = now_ns();
			cases[i].run();
			took = (now_ns() - begin) / CALLS;
			if (took < best[i])
				best[i] = took;
		}
	}
	for (int i = 0; i < CASES; i++)
		printf("%s %.2f\n", cases[i].name, best[i]);
	return sink == 1;
}
