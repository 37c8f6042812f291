/* SPDX-License-Identifier: BSD-2-Clause */
/* The queue of thread pools: order, growth, taking back, closing; many at both ends. */
#include "rt_support.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/task_ring.h"

#define MANY 20000
#define THREADS 2

static struct future *futures(size_t n)
{
	struct intro_future *f = aligned_alloc(64, n * sizeof(*f));

	assert_non_null(f);
	for (size_t i = 0; i < n; i++)
		intro_future_init(&f[i]);
	return intro__future(f);
}

static struct future *nth(struct future *all, size_t i)
{
	return intro__future((struct intro_future *)all + i);
}

static pthread_mutex_t grow_lock = PTHREAD_MUTEX_INITIALIZER;

static void push(struct ring_queue *q, struct future *f)
{
	while (intro__task_ring_push(q, f)) {
		pthread_mutex_lock(&grow_lock);
		assert_int_equal(intro__task_ring_grow(q), 0);
		pthread_mutex_unlock(&grow_lock);
	}
}

static void keeps_the_order_while_it_grows(void **state)
{
	struct future *all = futures(MANY);
	struct ring_queue q;
	uint64_t gone = 1;
	size_t out = 0;

	assert_int_equal(intro__task_ring_init(&q), 0);
	assert_null(intro__task_ring_pop(&q, &gone));
	for (size_t i = 0; i < MANY; i++) {
		push(&q, nth(all, i));
		if (i % 3 == 0) {
			assert_ptr_equal(intro__task_ring_pop(&q, &gone), nth(all, out++));
			assert_int_equal(gone, 0);
		}
		assert_int_equal(intro__task_ring_length(&q), i + 1 - out);
	}
	for (; out < MANY; out++)
		assert_ptr_equal(intro__task_ring_pop(&q, &gone), nth(all, out));
	assert_null(intro__task_ring_pop(&q, &gone));
	assert_true(intro__task_ring_is_empty(&q));
	assert_int_equal(intro__task_ring_pushed(&q), MANY);
	intro__task_ring_fini(&q);
	free(all);
}

static void gives_back_what_was_not_popped(void **state)
{
	struct future *all = futures(3);
	struct ring_queue q;
	uint64_t gone;

	assert_int_equal(intro__task_ring_init(&q), 0);
	for (int i = 0; i < 3; i++)
		push(&q, nth(all, (size_t)i));
	assert_true(intro__task_ring_take_back(nth(all, 1)));
	assert_false(intro__task_ring_take_back(nth(all, 1)));
	assert_ptr_equal(intro__task_ring_pop(&q, &gone), nth(all, 0));
	assert_int_equal(gone, 0);
	assert_false(intro__task_ring_take_back(nth(all, 0)));
	assert_non_null(intro__task_ring_pop(&q, &gone));
	assert_int_equal(gone, 1);
	assert_ptr_equal(intro__task_ring_pop(&q, &gone), nth(all, 2));
	assert_int_equal(gone, 0);
	intro__task_ring_fini(&q);
	free(all);
}

static void pops_many_without_a_task_at_once(void **state)
{
	struct future *all = futures(MANY);
	uint64_t gone = 0, places = 0;
	struct ring_queue q;

	assert_int_equal(intro__task_ring_init(&q), 0);
	for (size_t i = 0; i < MANY; i++)
		push(&q, nth(all, i));
	for (size_t i = 1; i < MANY - 1; i++)
		assert_true(intro__task_ring_take_back(nth(all, i)));
	assert_int_equal(intro__task_ring_sweep(&q), 0); /* the first is in the way */
	assert_ptr_equal(intro__task_ring_pop(&q, &gone), nth(all, 0));
	assert_non_null(intro__task_ring_pop(&q, &gone));
	assert_in_range(gone, 2, MANY - 2);
	places = gone + intro__task_ring_sweep(&q);
	assert_int_equal(places, MANY - 2);
	assert_ptr_equal(intro__task_ring_pop(&q, &gone), nth(all, MANY - 1));
	assert_int_equal(gone, 0);
	assert_true(intro__task_ring_is_empty(&q));
	/* what it held is free for those who submit */
	for (size_t i = 0; i < MANY; i++)
		push(&q, nth(all, i));
	for (size_t i = 0; i < MANY; i++)
		assert_ptr_equal(intro__task_ring_pop(&q, &gone), nth(all, i));
	intro__task_ring_fini(&q);
	free(all);
}

static void takes_nothing_once_closed(void **state)
{
	struct future *all = futures(2);
	struct ring_queue q;
	uint64_t gone;

	assert_int_equal(intro__task_ring_init(&q), 0);
	push(&q, nth(all, 0));
	intro__task_ring_close(&q);
	assert_int_equal(intro__task_ring_push(&q, nth(all, 1)), RING_IS_CLOSED);
	assert_ptr_equal(intro__task_ring_pop(&q, &gone), nth(all, 0));
	assert_null(intro__task_ring_pop(&q, &gone));
	assert_true(intro__task_ring_is_empty(&q));
	intro__task_ring_fini(&q);
	free(all);
}

struct crowd {
	struct ring_queue q;
	struct future *all;
	_Atomic size_t pushing, popped, taken;
	_Atomic unsigned char seen[MANY];
};

static void *pusher(void *arg)
{
	struct crowd *crowd = arg;
	size_t first = crowd->pushing++;

	for (size_t i = first; i < MANY; i += THREADS) {
		push(&crowd->q, nth(crowd->all, i));
		if (i % 70 < 40 && intro__task_ring_take_back(nth(crowd->all, i))) {
			crowd->seen[i]++;
			crowd->taken++;
		}
	}
	return NULL;
}

static void *popper(void *arg)
{
	struct crowd *crowd = arg;
	struct future *f;
	uint64_t gone;

	while (crowd->popped < MANY) {
		f = intro__task_ring_pop(&crowd->q, &gone);
		if (!f) {
			sched_yield();
			continue;
		}
		crowd->popped += gone ? gone : 1;
		if (!gone)
			crowd->seen[(struct intro_future *)f - (struct intro_future *)crowd->all]++;
	}
	return NULL;
}

static void hands_each_out_once(void **state)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	pthread_t thread[2 * THREADS];

	crowd->all = futures(MANY);
	assert_int_equal(intro__task_ring_init(&crowd->q), 0);
	for (int i = 0; i < 2 * THREADS; i++)
		pthread_create(&thread[i], NULL, i % 2 ? popper : pusher, crowd);
	for (int i = 0; i < 2 * THREADS; i++)
		pthread_join(thread[i], NULL);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(crowd->seen[i], 1);
	assert_true(intro__task_ring_is_empty(&crowd->q));
	intro__task_ring_fini(&crowd->q);
	free(crowd->all);
	free(crowd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_order_while_it_grows),
		cmocka_unit_test(gives_back_what_was_not_popped),
		cmocka_unit_test(pops_many_without_a_task_at_once),
		cmocka_unit_test(takes_nothing_once_closed),
		cmocka_unit_test(hands_each_out_once),
	};

	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
