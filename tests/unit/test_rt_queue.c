/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues of items: orders, bounds, time, done, shutdown, many at both ends. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/queue.h>

#define QUEUE_OPTIONS(...)                                                                         \
	(&(struct intro_queue_options){.size = sizeof(struct intro_queue_options), __VA_ARGS__})

static void *item(uintptr_t number)
{
	return (void *)number;
}

static void put(struct intro_queue *q, uintptr_t number)
{
	assert_int_equal(intro_queue_put(q, item(number), 0), 0);
}

static uintptr_t get(struct intro_queue *q)
{
	void *got = NULL;

	assert_int_equal(intro_queue_get(q, &got, 0), 0);
	return (uintptr_t)got;
}

static void assert_shut(struct intro_queue *q)
{
	void *got;

	assert_int_equal(intro_queue_get(q, &got, INTRO_FOREVER), -ESHUTDOWN);
	assert_int_equal(intro_queue_put(q, NULL, INTRO_FOREVER), -ESHUTDOWN);
	assert_true(intro_queue_is_shutdown(q));
}

/* --- orders ---------------------------------------------------------------------------------- */

/* Over the end of the ring, and growing while it is wrapped. */
static void test_fifo(void **state)
{
	struct intro_queue *q = intro_queue_new(NULL);
	uintptr_t in = 1, out = 1;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 13; i++)
			put(q, in++);
		for (int i = 0; i < 7; i++)
			assert_int_equal(get(q), out++);
	}
	assert_int_equal(intro_queue_size(q), in - out);
	while (out < in)
		assert_int_equal(get(q), out++);
	assert_true(intro_queue_empty(q));
	assert_false(intro_queue_full(q));
	intro_queue_free(q);
	intro_queue_free(NULL);
}

static void test_lifo(void **state)
{
	struct intro_queue *q = intro_queue_new(QUEUE_OPTIONS(.kind = INTRO_QUEUE_LIFO));

	for (uintptr_t i = 1; i <= 100; i++)
		put(q, i);
	for (uintptr_t i = 100; i > 50; i--)
		assert_int_equal(get(q), i);
	put(q, 1000);
	assert_int_equal(get(q), 1000);
	for (uintptr_t i = 50; i; i--)
		assert_int_equal(get(q), i);
	assert_int_equal(intro_queue_put_priority(q, NULL, 1, 0), -EINVAL);
	intro_queue_free(q);
}

/* Items are numbered in the order of their coming; priorities are few, so many are equal. */
static void test_priority(void **state)
{
	struct intro_queue *q = intro_queue_new(QUEUE_OPTIONS(.kind = INTRO_QUEUE_PRIORITY));
	int64_t priority[1000], last = INT64_MIN;
	uintptr_t last_number = 0;

	for (uintptr_t i = 0; i < 1000; i++) {
		priority[i] = rand() % 20 - 10;
		if (i == 500)
			priority[i] = INT64_MIN;
		if (i == 501)
			priority[i] = INT64_MAX;
		assert_int_equal(intro_queue_put_priority(q, item(i), priority[i], 0), 0);
	}
	for (int i = 0; i < 1000; i++) {
		uintptr_t number = get(q);

		assert_true(priority[number] >= last);
		if (priority[number] == last && i)
			assert_true(number > last_number);
		last = priority[number];
		last_number = number;
	}
	assert_int_equal(last_number, 501);
	put(q, 5);
	assert_int_equal(intro_queue_put_priority(q, item(6), -1, 0), 0);
	assert_int_equal(get(q), 6);
	assert_int_equal(get(q), 5);
	intro_queue_free(q);
}

/* --- bounds, time ---------------------------------------------------------------------------- */

static void test_bounded(void **state)
{
	struct intro_queue *q = intro_queue_new(QUEUE_OPTIONS(.capacity = 2, .name = "two"));
	int64_t before;
	void *got;

	assert_int_equal(intro_queue_get(q, &got, 0), -ETIMEDOUT);
	before = now_ns();
	assert_int_equal(intro_queue_get(q, &got, 10 * MSEC), -ETIMEDOUT);
	assert_true(now_ns() - before >= 10 * MSEC);
	put(q, 1);
	assert_false(intro_queue_full(q));
	put(q, 2);
	assert_true(intro_queue_full(q));
	assert_int_equal(intro_queue_put(q, item(3), 0), -ETIMEDOUT);
	assert_int_equal(intro_queue_put(q, item(3), -1), -ETIMEDOUT);
	before = now_ns();
	assert_int_equal(intro_queue_put(q, item(3), 10 * MSEC), -ETIMEDOUT);
	assert_true(now_ns() - before >= 10 * MSEC);
	assert_int_equal(intro_queue_size(q), 2);
	assert_int_equal(get(q), 1);
	put(q, 3);
	assert_int_equal(get(q), 2);
	assert_int_equal(get(q), 3);
	intro_queue_free(q);
}

static void test_misuse(void **state)
{
	struct intro_queue_options bad = {.size = 1};
	struct intro_queue *q = intro_queue_new(NULL);

	errno = 0;
	assert_null(intro_queue_new(&bad));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_queue_new(QUEUE_OPTIONS(.kind = 3)));
	assert_int_equal(errno, EINVAL);
	/* one too many */
	assert_int_equal(intro_queue_task_done(q), -EINVAL);
	assert_int_equal(intro_queue_join(q, 0), 0);
	put(q, 1);
	assert_int_equal(intro_queue_join(q, 0), -ETIMEDOUT);
	assert_int_equal(intro_queue_join(q, 5 * MSEC), -ETIMEDOUT);
	assert_int_equal(get(q), 1);
	assert_int_equal(intro_queue_join(q, 0), -ETIMEDOUT);
	assert_int_equal(intro_queue_task_done(q), 0);
	assert_int_equal(intro_queue_task_done(q), -EINVAL);
	assert_int_equal(intro_queue_join(q, INTRO_FOREVER), 0);
	put(q, 2);
	assert_int_equal(get(q), 2);
	assert_int_equal(intro_queue_task_done(q), 0);
	intro_queue_free(q);
}

/* --- shutdown -------------------------------------------------------------------------------- */

static void test_shutdown_draining(void **state)
{
	struct intro_queue *q = intro_queue_new(NULL);

	put(q, 1);
	put(q, 2);
	intro_queue_shutdown(q, false);
	assert_int_equal(intro_queue_put(q, NULL, 0), -ESHUTDOWN);
	assert_int_equal(get(q), 1);
	assert_int_equal(get(q), 2);
	assert_shut(q);
	assert_int_equal(intro_queue_join(q, 0), -ETIMEDOUT);
	assert_int_equal(intro_queue_task_done(q), 0);
	assert_int_equal(intro_queue_task_done(q), 0);
	assert_int_equal(intro_queue_join(q, INTRO_FOREVER), 0);
	intro_queue_shutdown(q, false);
	intro_queue_free(q);
}

static void note_dropped(void *dropped, void *arg)
{
	uintptr_t **at = arg;

	*(*at)++ = (uintptr_t)dropped;
}

static void test_shutdown_immediate(void **state)
{
	uintptr_t dropped[32] = {0}, *at = dropped;
	struct intro_queue *q = intro_queue_new(QUEUE_OPTIONS(.dropped = note_dropped, .arg = &at));

	for (uintptr_t i = 1; i <= 26; i++) {
		put(q, i);
		if (i <= 10)
			get(q);
	}
	intro_queue_shutdown(q, true);
	/* what was got is not done yet */
	assert_int_equal(at - dropped, 16);
	for (uintptr_t i = 0; i < 16; i++)
		assert_int_equal(dropped[i], 11 + i);
	assert_int_equal(intro_queue_size(q), 0);
	assert_shut(q);
	assert_int_equal(intro_queue_join(q, 0), -ETIMEDOUT);
	for (int i = 0; i < 10; i++)
		assert_int_equal(intro_queue_task_done(q), 0);
	assert_int_equal(intro_queue_task_done(q), -EINVAL);
	assert_int_equal(intro_queue_join(q, INTRO_FOREVER), 0);
	intro_queue_free(q);

	/* draining first, immediate after; free discards too */
	at = dropped;
	q = intro_queue_new(
		QUEUE_OPTIONS(.dropped = note_dropped, .arg = &at, .kind = INTRO_QUEUE_LIFO));
	put(q, 1);
	put(q, 2);
	intro_queue_shutdown(q, false);
	intro_queue_shutdown(q, true);
	assert_int_equal(at - dropped, 2);
	assert_int_equal(dropped[0], 2);
	intro_queue_free(q);
	at = dropped;
	q = intro_queue_new(QUEUE_OPTIONS(.dropped = note_dropped, .arg = &at));
	put(q, 7);
	intro_queue_free(q);
	assert_int_equal(at - dropped, 1);
	assert_int_equal(dropped[0], 7);
}

struct sleeper {
	struct intro_queue *queue;
	_Atomic int put, got, joined;
};

static void *sleep_in_put(void *arg)
{
	struct sleeper *s = arg;

	s->put = intro_queue_put(s->queue, NULL, INTRO_FOREVER);
	return NULL;
}

static void *sleep_in_get(void *arg)
{
	struct sleeper *s = arg;
	void *got;

	s->got = intro_queue_get(s->queue, &got, INTRO_FOREVER);
	return NULL;
}

static void *sleep_in_join(void *arg)
{
	struct sleeper *s = arg;

	s->joined = intro_queue_join(s->queue, INTRO_FOREVER);
	return NULL;
}

static void shut_while_asleep(struct intro_queue *q, struct sleeper *s, void *(*fn)(void *),
			      bool immediate)
{
	pthread_t thread;

	s->queue = q;
	s->put = s->got = s->joined = 1;
	assert_int_equal(pthread_create(&thread, NULL, fn, s), 0);
	sleep_ms(10);
	intro_queue_shutdown(q, immediate);
	pthread_join(thread, NULL);
	intro_queue_free(q);
}

static void test_shutdown_wakes(void **state)
{
	struct sleeper s;
	struct intro_queue *q = intro_queue_new(NULL);

	shut_while_asleep(q, &s, sleep_in_get, false);
	assert_int_equal(s.got, -ESHUTDOWN);
	q = intro_queue_new(QUEUE_OPTIONS(.capacity = 1));
	put(q, 1);
	shut_while_asleep(q, &s, sleep_in_put, false);
	assert_int_equal(s.put, -ESHUTDOWN);
	q = intro_queue_new(NULL);
	put(q, 1);
	shut_while_asleep(q, &s, sleep_in_join, true);
	assert_int_equal(s.joined, 0);
}

/* --- many ------------------------------------------------------------------------------------ */

#define ENDS 4
#define EACH 2000

struct traffic {
	struct intro_queue *queue;
	_Atomic uint32_t next, failed, got;
	_Atomic uint8_t seen[ENDS * EACH];
};

static void *produce(void *arg)
{
	struct traffic *t = arg;

	for (int i = 0; i < EACH; i++) {
		uintptr_t number = t->next++;
		int err;

		do
			err = intro_queue_put(t->queue, item(number),
					      number % 3 ? INTRO_FOREVER : 1000);
		while (err == -ETIMEDOUT);
		t->failed += err != 0;
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct traffic *t = arg;
	void *got;
	int err;

	while ((err = intro_queue_get(t->queue, &got, t->got % 3 ? INTRO_FOREVER : 1000)) !=
	       -ESHUTDOWN) {
		if (err)
			continue;
		t->seen[(uintptr_t)got]++;
		t->got++;
		t->failed += intro_queue_task_done(t->queue) != 0;
	}
	return NULL;
}

static void many(enum intro_queue_kind kind)
{
	struct traffic *t = calloc(1, sizeof(*t));
	pthread_t in[ENDS], out[ENDS];

	t->queue = intro_queue_new(
		QUEUE_OPTIONS(.kind = kind, .capacity = 7, .name = "many", .marked = true));
	for (int i = 0; i < ENDS; i++) {
		assert_int_equal(pthread_create(&in[i], NULL, produce, t), 0);
		assert_int_equal(pthread_create(&out[i], NULL, consume, t), 0);
	}
	for (int i = 0; i < ENDS; i++)
		pthread_join(in[i], NULL);
	assert_int_equal(intro_queue_join(t->queue, INTRO_FOREVER), 0);
	intro_queue_shutdown(t->queue, false);
	for (int i = 0; i < ENDS; i++)
		pthread_join(out[i], NULL);
	assert_int_equal(t->failed, 0);
	for (int i = 0; i < ENDS * EACH; i++)
		assert_int_equal(t->seen[i], 1);
	intro_queue_free(t->queue);
	free(t);
}

static void test_many(void **state)
{
	many(INTRO_QUEUE_FIFO);
	many(INTRO_QUEUE_LIFO);
	many(INTRO_QUEUE_PRIORITY);
}

/* --- marks ----------------------------------------------------------------------------------- */

static void test_marks(void **state)
{
	struct intro_queue *q, *others[4];
	struct intro_rec_mark *m;
	uint64_t task, first;
	size_t n;
	int at;

	marks_begin();
	q = intro_queue_new(QUEUE_OPTIONS(.name = "marked", .marked = true));
	for (uintptr_t i = 0; i < 4; i++)
		put(q, i);
	assert_int_equal(intro_queue_task(q), 0);
	get(q);
	first = intro_queue_task(q);
	assert_int_equal(intro_queue_task_done(q), 0);
	assert_int_equal(intro_queue_task(q), 0);
	get(q);
	get(q); /* ends the second's */
	intro_queue_shutdown(q, true);
	assert_int_equal(intro_queue_task_done(q), 0);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_SUBMIT, 0), 4);
	assert_int_equal(marks_count(m, n, INTRO_KIND_START, 0), 3);
	assert_int_equal(marks_count(m, n, INTRO_KIND_END, 0), 3);
	assert_int_equal(marks_count(m, n, INTRO_KIND_CANCEL, 0), 1);
	at = marks_find(m, n, 0, INTRO_KIND_SUBMIT, 0);
	assert_true(at >= 0);
	task = m[at].task;
	assert_int_equal(task, first);
	assert_int_equal(m[at].a, intro_queue_pool(q));
	at = marks_find(m, n, (size_t)at, INTRO_KIND_START, task);
	assert_true(at >= 0);
	assert_true(marks_find(m, n, (size_t)at, INTRO_KIND_END, task) > at);
	free(m);
	intro_queue_free(q);

	/* items of more queues in hand than are kept: each ends all the same */
	marks_begin();
	q = intro_queue_new(QUEUE_OPTIONS(.name = "fifth", .marked = true));
	for (int i = 0; i < 4; i++) {
		others[i] = intro_queue_new(QUEUE_OPTIONS(.name = "other", .marked = true));
		put(others[i], 1);
		get(others[i]);
	}
	put(q, 1);
	get(q);
	assert_int_equal(intro_queue_task_done(q), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(intro_queue_task_done(others[i]), 0);
		intro_queue_free(others[i]);
	}
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_START, 0), 5);
	assert_int_equal(marks_count(m, n, INTRO_KIND_END, 0), 5);
	free(m);
	intro_queue_free(q);

	q = intro_queue_new(NULL);
	assert_int_equal(intro_queue_pool(q), 0);
	intro_queue_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fifo),
		cmocka_unit_test(test_lifo),
		cmocka_unit_test(test_priority),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_shutdown_draining),
		cmocka_unit_test(test_shutdown_immediate),
		cmocka_unit_test(test_shutdown_wakes),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_marks),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
