/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What marks cost tasks of 10 us: the same batch with marks off and on by turns, while a thread
 * empties the rings every 5 ms as a tracer would. Prints the median of the ratios.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <introspect/area.h>
#include <introspect/executor.h>
#include <introspect/mark.h>

#include "pools.h"

#define TASKS 2000
#define PAIRS 31

static struct intro_area *area(void)
{
	_Atomic uint32_t *enabled = (_Atomic uint32_t *)intro_marks_enabled;

	return (struct intro_area *)((char *)enabled - offsetof(struct intro_area, enabled));
}

static _Atomic uint64_t drained; /* rows */

static void drain(void)
{
	static unsigned char copy[INTRO_AREA_RING_BYTES];

	for (int i = 0; i < INTRO_AREA_SLOTS; i++) {
		struct intro_area_slot *slot = &area()->slot[i];
		uint64_t head = atomic_load(&slot->head), tail = atomic_load(&slot->tail);

		if (head == tail || head - tail > sizeof(copy))
			continue;
		for (uint64_t at = tail; at != head; at += INTRO_ROW_BYTES)
			memcpy(copy + (at - tail),
			       &area()->ring[i].data[at & (INTRO_AREA_RING_BYTES - 1)],
			       INTRO_ROW_BYTES);
		drained += (head - tail) / INTRO_ROW_BYTES;
		atomic_store(&slot->tail, head);
	}
}

static void *tracer(void *stop)
{
	while (!*(_Atomic bool *)stop) {
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
		drain();
	}
	return NULL;
}

static size_t steps = 1;

static int task(struct intro_call *call)
{
	pool_spin(steps);
	return 0;
}

/* How many steps take 10 us: the least time of some tries, as the others were disturbed. */
static void calibrate(void)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 100; i++) {
		uint64_t begin = pool_now();

		pool_spin(20000);
		begin = pool_now() - begin;
		least = begin < least ? begin : least;
	}
	steps = (size_t)(10000.0 * 20000 / (double)least);
}

static double batch(struct intro_executor *pool, uint32_t enabled)
{
	static struct intro_future future[TASKS], *list[TASKS];
	uint64_t begin;

	atomic_store(&area()->enabled, enabled);
	begin = pool_now();
	for (size_t i = 0; i < TASKS; i++) {
		list[i] = &future[i];
		intro_future_init(&future[i]);
		if (intro_executor_submit(pool, &future[i], task, NULL, 0))
			abort();
	}
	if (intro_future_wait(list, TASKS, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL) != TASKS)
		abort();
	for (size_t i = 0; i < TASKS; i++)
		intro_future_destroy(&future[i]);
	return (double)(pool_now() - begin);
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

int main(void)
{
	struct intro_executor_options options = {.size = sizeof(options), .workers = POOL_WORKERS};
	struct intro_executor *pool = intro_thread_executor_new(&options);
	_Atomic bool stop = false;
	double ratio[PAIRS];
	pthread_t thread;

	if (!pool)
		return 1;
	calibrate();
	batch(pool, INTRO_MARKS_OFF);
	pthread_create(&thread, NULL, tracer, &stop);
	for (int i = 0; i < PAIRS; i++) {
		double off = batch(pool, INTRO_MARKS_OFF);

		ratio[i] = batch(pool, INTRO_MARKS_TSC) / off;
	}
	stop = true;
	pthread_join(thread, NULL);
	intro_executor_free(pool);
	if (drained < (uint64_t)PAIRS * TASKS) /* it was not measured then */
		return 1;
	qsort(ratio, PAIRS, sizeof(ratio[0]), by_size);
	printf("marks %.4f\n", ratio[PAIRS / 2]);
	return 0;
}
