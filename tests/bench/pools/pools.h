/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_BENCH_POOLS_H
#define TESTS_BENCH_POOLS_H
/*
 * pools.h - what is measured of each pool of two workers, the same for all of them. A program
 * brings pool_run and calls pools_measure, which prints "name value" lines: all, or those that the
 * command line names. What a pool needs to know that a batch is over (futures, a counter) is a part
 * of what is measured; making the pool is not.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define POOL_WORKERS 2
#define POOL_BATCH 50000 /* the most that pool_run is asked for */
#define POOL_SINGLES 5000
#define POOL_FANS 1000
#define POOL_FAN 16
#define POOL_SKEWED 4096
#define POOL_BURSTS 100
#define POOL_BURST 500
/* A rate is measured for so long: a new thread may be left for 12 ms on its creator's CPU. */
#define POOL_RATE_NS 100000000

/*
 * Runs fn(0) ... fn(n - 1) as a task each, submitted one by one, and returns when all have ended.
 * Calls pool_submits(i) right before each submit.
 */
void pool_run(size_t n, void (*fn)(size_t i));

static uint64_t pool_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool pool_stamps; /* where submits are to be timed */
static uint64_t pool_submitted[POOL_BATCH], pool_begun[POOL_BATCH];

static inline void pool_submits(size_t i)
{
	if (pool_stamps)
		pool_submitted[i] = pool_now();
}

static void pool_spin(size_t steps)
{
	volatile uint32_t x = 1;

	while (steps--)
		x = x * 1664525 + 1013904223;
}

static void task_empty(size_t i)
{
	(void)i;
}

static void task_stamp(size_t i)
{
	pool_begun[i] = pool_now();
}

static void task_short(size_t i)
{
	(void)i;
	pool_spin(500);
}

/* One in 64 is 256 times as long as the others, and they come in a row. */
static void task_skewed(size_t i)
{
	pool_spin(i < POOL_SKEWED / 64 ? 25600 : 100);
}

static int pool_by_value(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

/*
 * The mean without the slowest tenth. The median cannot tell what is less than 10 ns apart, as some
 * CPUs count their time in steps of that.
 */
static double pool_mean(uint64_t *values, size_t n)
{
	uint64_t sum = 0;

	qsort(values, n, sizeof(values[0]), pool_by_value);
	n -= n / 10;
	for (size_t i = 0; i < n; i++)
		sum += values[i];
	return (double)sum / (double)n;
}

/* Of rounds of n tasks each; the clock is read once in so many rounds. */
static double pool_rate(size_t rounds, size_t n, void (*fn)(size_t i))
{
	uint64_t begin = pool_now(), tasks = 0, took;

	do {
		for (size_t round = 0; round < rounds; round++)
			pool_run(n, fn);
		tasks += rounds * n;
		took = pool_now() - begin;
	} while (took < POOL_RATE_NS);
	return (double)tasks * 1e9 / (double)took;
}

/* From submit to start, of `rounds` rounds of n tasks each, n * rounds <= POOL_BATCH. */
static double pool_start(size_t rounds, size_t n)
{
	static uint64_t waited[POOL_BATCH];

	pool_stamps = true;
	for (size_t round = 0; round < rounds; round++) {
		pool_run(n, task_stamp);
		for (size_t i = 0; i < n; i++)
			waited[round * n + i] = pool_begun[i] - pool_submitted[i];
	}
	pool_stamps = false;
	return pool_mean(waited, rounds * n);
}

/* us for each burst, of which the first task comes when workers sleep. */
static double pool_burst(void)
{
	const struct timespec apart = {0, 3000000};
	static uint64_t took[POOL_BURSTS];

	for (size_t i = 0; i < POOL_BURSTS; i++) {
		uint64_t begin;

		nanosleep(&apart, NULL);
		begin = pool_now();
		pool_run(POOL_BURST, task_short);
		took[i] = pool_now() - begin;
	}
	return pool_mean(took, POOL_BURSTS) / 1e3;
}

/* `names` ends with NULL, as argv does; none: all are wanted. */
static bool pool_wants(char *const *names, const char *name)
{
	bool any = *names;

	while (*names && strcmp(*names, name))
		names++;
	return !any || *names;
}

static void pools_measure(char *const *names)
{
	pool_rate(1, POOL_BATCH, task_empty); /* warm */
	if (pool_wants(names, "batch"))
		printf("batch %.0f\n", pool_rate(1, POOL_BATCH, task_empty));
	if (pool_wants(names, "single"))
		printf("single %.0f\n", pool_rate(POOL_SINGLES, 1, task_empty));
	if (pool_wants(names, "start"))
		printf("start %.1f\n", pool_start(POOL_SINGLES, 1));
	if (pool_wants(names, "start_batch"))
		printf("start_batch %.1f\n", pool_start(POOL_BATCH / POOL_BURST, POOL_BURST));
	if (pool_wants(names, "fan"))
		printf("fan %.0f\n", pool_rate(POOL_FANS, POOL_FAN, task_short) / POOL_FAN);
	if (pool_wants(names, "burst"))
		printf("burst %.1f\n", pool_burst());
	if (pool_wants(names, "skewed"))
		printf("skewed %.0f\n", pool_rate(1, POOL_SKEWED, task_skewed));
}

#ifdef __cplusplus
}
#endif
#endif
