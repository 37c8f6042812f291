/* SPDX-License-Identifier: BSD-2-Clause */
/* Futures: states, results, callbacks, wait, as_completed; with no executor. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define N 40

static struct intro_error some_error(int code)
{
	struct intro_error error = {.code = code};

	strcpy(error.text, "no luck");
	return error;
}

static void set_number(struct intro_future *f, uintptr_t number)
{
	assert_int_equal(intro_future_set_result(f, (struct intro_result){(void *)number, 1}), 0);
}

static void init_all(struct intro_future *f, struct intro_future **p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		intro_future_init(&f[i]);
		p[i] = &f[i];
	}
}

static void destroy_all(struct intro_future *f, size_t n)
{
	for (size_t i = 0; i < n; i++)
		intro_future_destroy(&f[i]);
}

/* A thread that does something to a future after a while. */
struct later {
	pthread_t thread;
	struct intro_future *future;
	void (*act)(struct intro_future *);
	unsigned ms;
};

static void *act_later(void *arg)
{
	struct later *l = arg;

	sleep_ms(l->ms);
	l->act(l->future);
	return NULL;
}

static void later(struct later *l, unsigned ms, void (*act)(struct intro_future *),
		  struct intro_future *f)
{
	l->ms = ms;
	l->act = act;
	l->future = f;
	assert_int_equal(pthread_create(&l->thread, NULL, act_later, l), 0);
}

static void finish(struct intro_future *f)
{
	intro_future_set_result(f, (struct intro_result){0});
}

static void break_it(struct intro_future *f)
{
	struct intro_error error = some_error(5);

	intro_future_set_error(f, &error);
}

static void cancel(struct intro_future *f)
{
	intro_future_cancel(f);
}

static void notify(struct intro_future *f)
{
	intro_future_set_running_or_notify_cancel(f);
}

static void from_pending_to_finished(void **state)
{
	struct intro_result result = {0};
	struct intro_error error;
	struct intro_future f;

	intro_future_init(&f);
	assert_int_equal(intro_future_id(&f), 0);
	assert_int_equal(intro_future_state(&f), INTRO_FUTURE_PENDING);
	assert_false(intro_future_done(&f) || intro_future_running(&f));
	assert_int_equal(intro_future_result(&f, 0, &result), -ETIMEDOUT);
	assert_int_equal(intro_future_set_running_or_notify_cancel(&f), 1);
	assert_int_equal(intro_future_state(&f), INTRO_FUTURE_RUNNING);
	assert_true(intro_future_running(&f));
	assert_int_equal(intro_future_set_running_or_notify_cancel(&f), -EINVAL);
	assert_false(intro_future_cancel(&f));
	assert_int_equal(intro_future_result(&f, -5, &result), -ETIMEDOUT);
	set_number(&f, 42);
	assert_int_equal(intro_future_state(&f), INTRO_FUTURE_FINISHED);
	assert_true(intro_future_done(&f));
	assert_false(intro_future_running(&f) || intro_future_cancelled(&f));
	assert_false(intro_future_cancel(&f));
	assert_int_equal(intro_future_result(&f, 0, &result), 0);
	assert_ptr_equal(result.data, 42);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	memset(&error, 0xff, sizeof(error));
	assert_int_equal(intro_future_error(&f, 0, &error), 0);
	assert_int_equal(error.code, 0);
	assert_string_equal(error.text, "");
	intro_future_destroy(&f);
}

static void a_result_is_set_once(void **state)
{
	struct intro_error error = some_error(1);
	struct intro_result result;
	struct intro_future f;

	intro_future_init(&f);
	set_number(&f, 1); /* Python allows it for PENDING, too */
	assert_int_equal(intro_future_set_result(&f, (struct intro_result){0}), -EINVAL);
	assert_int_equal(intro_future_set_error(&f, &error), -EINVAL);
	assert_int_equal(intro_future_set_running_or_notify_cancel(&f), -EINVAL);
	assert_int_equal(intro_future_result(&f, 0, &result), 0);
	assert_ptr_equal(result.data, 1);
	intro_future_destroy(&f);
	intro_future_init(&f);
	assert_true(intro_future_cancel(&f));
	assert_int_equal(intro_future_set_result(&f, (struct intro_result){0}), -EINVAL);
	intro_future_destroy(&f);
}

static void errors(void **state)
{
	struct intro_error error = some_error(3), got;
	struct intro_future f;

	intro_future_init(&f);
	assert_int_equal(intro_future_set_error(&f, &error), 0);
	assert_int_equal(intro_future_state(&f), INTRO_FUTURE_FINISHED);
	assert_int_equal(intro_future_result(&f, 0, NULL), -EREMOTEIO);
	assert_int_equal(intro_future_error(&f, 0, &got), 0);
	assert_int_equal(got.code, 3);
	assert_string_equal(got.text, "no luck");
	intro_future_destroy(&f);
	intro_future_init(&f);
	error.code = -ENOENT;
	assert_int_equal(intro_future_set_error(&f, &error), 0);
	assert_int_equal(intro_future_result(&f, 0, NULL), -ENOENT);
	intro_future_destroy(&f);
	/* no error at all; and one that says nothing of itself */
	intro_future_init(&f);
	error = (struct intro_error){.text = "no luck"};
	assert_int_equal(intro_future_set_error(&f, &error), -EINVAL);
	assert_int_equal(intro_future_set_error(&f, NULL), -EINVAL);
	assert_int_equal(intro_future_state(&f), INTRO_FUTURE_PENDING);
	error = (struct intro_error){.code = -ENOENT};
	assert_int_equal(intro_future_set_error(&f, &error), 0);
	assert_int_equal(intro_future_error(&f, 0, &got), 0);
	assert_string_equal(got.text, strerror(ENOENT));
	intro_future_destroy(&f);
}

static void from_pending_to_notified(void **state)
{
	struct intro_error error;
	struct intro_future f;

	intro_future_init(&f);
	assert_true(intro_future_cancel(&f));
	assert_int_equal(intro_future_state(&f), INTRO_FUTURE_CANCELLED);
	assert_true(intro_future_cancelled(&f) && intro_future_done(&f));
	assert_true(intro_future_cancel(&f));
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), -ECANCELED);
	assert_int_equal(intro_future_error(&f, 0, &error), -ECANCELED);
	assert_int_equal(intro_future_set_running_or_notify_cancel(&f), 0);
	assert_int_equal(intro_future_state(&f), INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
	assert_true(intro_future_cancelled(&f) && intro_future_done(&f));
	assert_true(intro_future_cancel(&f));
	assert_int_equal(intro_future_set_running_or_notify_cancel(&f), -EINVAL);
	assert_int_equal(intro_future_result(&f, 0, NULL), -ECANCELED);
	intro_future_destroy(&f);
}

static void result_waits(void **state)
{
	struct intro_future f;
	struct later l;
	int64_t start = now_ns();

	intro_future_init(&f);
	assert_int_equal(intro_future_result(&f, 20 * MSEC, NULL), -ETIMEDOUT);
	assert_true(now_ns() - start >= 20 * MSEC);
	later(&l, 20, finish, &f);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	pthread_join(l.thread, NULL);
	intro_future_destroy(&f);
	intro_future_init(&f);
	later(&l, 20, cancel, &f);
	assert_int_equal(intro_future_error(&f, 100 * SEC, NULL), -ECANCELED);
	pthread_join(l.thread, NULL);
	intro_future_destroy(&f);
}

static void *read_forever(void *arg)
{
	return (void *)(intptr_t)intro_future_result(arg, INTRO_FOREVER, NULL);
}

static void many_readers_of_one_future(void **state)
{
	struct intro_future f;
	pthread_t thread[20];
	void *ret;

	intro_future_init(&f);
	for (int i = 0; i < 20; i++)
		pthread_create(&thread[i], NULL, read_forever, &f);
	sleep_ms(20);
	finish(&f);
	for (int i = 0; i < 20; i++) {
		pthread_join(thread[i], &ret);
		assert_null(ret);
	}
	intro_future_destroy(&f);
}

struct record {
	int n;
	int order[8];
	struct intro_future *future;
	pthread_t thread;
};

struct numbered {
	struct intro_done_callback cb;
	struct record *record;
	int number;
};

static void note(struct intro_future *future, void *arg)
{
	struct numbered *cb = arg;

	assert_true(intro_future_done(future));
	cb->record->future = future;
	cb->record->thread = pthread_self();
	cb->record->order[cb->record->n++] = cb->number;
	free(cb); /* it is ours again */
}

static void add_numbered(struct intro_future *f, struct record *record, int number)
{
	struct numbered *cb = malloc(sizeof(*cb));

	*cb = (struct numbered){.cb = {.fn = note, .arg = cb}, .record = record, .number = number};
	intro_future_add_done_callback(f, &cb->cb);
}

static void callbacks_in_order_then_at_once(void **state)
{
	struct record record = {0};
	struct intro_future f;
	struct later l;

	intro_future_init(&f);
	for (int i = 0; i < 3; i++)
		add_numbered(&f, &record, i);
	assert_int_equal(record.n, 0);
	later(&l, 1, finish, &f);
	pthread_join(l.thread, NULL);
	assert_int_equal(record.n, 3);
	assert_ptr_equal(record.future, &f);
	assert_true(pthread_equal(record.thread, l.thread));
	add_numbered(&f, &record, 3);
	assert_int_equal(record.n, 4);
	assert_true(pthread_equal(record.thread, pthread_self()));
	for (int i = 0; i < 4; i++)
		assert_int_equal(record.order[i], i);
	intro_future_destroy(&f);
}

static void callbacks_of_the_cancelled(void **state)
{
	struct record record = {0};
	struct intro_future f;

	intro_future_init(&f);
	add_numbered(&f, &record, 1);
	intro_future_cancel(&f);
	assert_int_equal(record.n, 1);
	intro_future_cancel(&f);
	notify(&f);
	assert_int_equal(record.n, 1);
	add_numbered(&f, &record, 2);
	assert_int_equal(record.n, 2);
	intro_future_destroy(&f);
}

static void never_called(struct intro_future *future, void *arg)
{
	*(int *)arg += 1;
}

static void a_pending_future_dies_without_callbacks(void **state)
{
	int called = 0;
	struct intro_done_callback cb = {.fn = never_called, .arg = &called};
	struct intro_future f;

	intro_future_init(&f);
	intro_future_add_done_callback(&f, &cb);
	intro_future_destroy(&f);
	assert_int_equal(called, 0);
}

static void slow_callback(struct intro_future *future, void *arg)
{
	sleep_ms(50);
	assert_int_equal(intro_future_result(future, 0, NULL), 0);
	*(_Atomic int *)arg = 1;
}

static void destroy_waits_for_callbacks(void **state)
{
	_Atomic int called = 0;
	struct intro_done_callback cb = {.fn = slow_callback, .arg = (void *)&called};
	struct intro_future f;
	struct later l;

	intro_future_init(&f);
	intro_future_add_done_callback(&f, &cb);
	later(&l, 1, finish, &f);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(&f);
	assert_int_equal(called, 1);
	memset(&f, 0xa5, sizeof(f));
	pthread_join(l.thread, NULL);
}

struct pair {
	struct intro_future source, destination;
	struct intro_future_link link;
};

static void chain(struct pair *pair)
{
	intro_future_init(&pair->source);
	intro_future_init(&pair->destination);
	assert_int_equal(intro_future_chain(&pair->link, &pair->source, &pair->destination), 0);
}

static void unchain(struct pair *pair)
{
	intro_future_destroy(&pair->source);
	intro_future_destroy(&pair->destination);
}

static void a_chain_passes_the_end_on(void **state)
{
	struct intro_error error = some_error(5), got;
	struct intro_result result;
	struct pair pair;

	chain(&pair);
	set_number(&pair.source, 7);
	assert_int_equal(intro_future_result(&pair.destination, 0, &result), 0);
	assert_int_equal((uintptr_t)result.data, 7);
	unchain(&pair);
	chain(&pair);
	assert_int_equal(intro_future_set_error(&pair.source, &error), 0);
	assert_int_equal(intro_future_error(&pair.destination, 0, &got), 0);
	assert_int_equal(got.code, 5);
	assert_string_equal(got.text, "no luck");
	unchain(&pair);
	chain(&pair);
	assert_true(intro_future_cancel(&pair.source));
	assert_int_equal(intro_future_state(&pair.destination),
			 INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
	unchain(&pair);
}

static void a_chain_passes_cancelling_back(void **state)
{
	struct intro_future other;
	struct pair pair;

	chain(&pair);
	assert_true(intro_future_cancel(&pair.destination));
	assert_true(intro_future_cancelled(&pair.source));
	unchain(&pair);
	/* too late: the source goes on, the destination stays cancelled */
	chain(&pair);
	assert_int_equal(intro_future_set_running_or_notify_cancel(&pair.source), 1);
	assert_true(intro_future_cancel(&pair.destination));
	assert_true(intro_future_running(&pair.source));
	set_number(&pair.source, 7);
	assert_int_equal(intro_future_result(&pair.source, 0, NULL), 0);
	assert_int_equal(intro_future_result(&pair.destination, 0, NULL), -ECANCELED);
	/* and what is done cannot be a destination, nor the source itself; a source may be done */
	intro_future_init(&other);
	assert_int_equal(intro_future_chain(&pair.link, &other, &pair.source), -EINVAL);
	assert_int_equal(intro_future_chain(&pair.link, &other, &other), -EINVAL);
	assert_int_equal(intro_future_chain(&pair.link, &pair.source, &other), 0);
	assert_int_equal(intro_future_result(&other, 0, NULL), 0);
	intro_future_destroy(&other);
	unchain(&pair);
}

static void wait_for_none(void **state)
{
	assert_int_equal(intro_future_wait(NULL, 0, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL), 0);
	assert_int_equal(intro_future_wait(NULL, 0, INTRO_FIRST_COMPLETED, INTRO_FOREVER, NULL), 0);
}

static void wait_polls(void **state)
{
	struct intro_future f[3], *p[3];
	bool done[3];

	init_all(f, p, 3);
	assert_int_equal(intro_future_wait(p, 3, INTRO_FIRST_COMPLETED, 0, done), -ETIMEDOUT);
	finish(&f[1]);
	assert_int_equal(intro_future_wait(p, 3, INTRO_FIRST_COMPLETED, 0, done), 1);
	assert_true(!done[0] && done[1] && !done[2]);
	assert_int_equal(intro_future_wait(p, 3, INTRO_FIRST_EXCEPTION, 0, done), -ETIMEDOUT);
	assert_int_equal(intro_future_wait(p, 3, INTRO_ALL_COMPLETED, 0, NULL), -ETIMEDOUT);
	break_it(&f[0]);
	assert_int_equal(intro_future_wait(p, 3, INTRO_FIRST_EXCEPTION, 0, done), 2);
	assert_true(done[0] && done[1] && !done[2]);
	/* cancelled is not done for wait before the pool has taken notice, as in Python */
	cancel(&f[2]);
	assert_int_equal(intro_future_wait(p, 3, INTRO_ALL_COMPLETED, 0, done), -ETIMEDOUT);
	assert_true(done[0] && done[1] && !done[2]);
	notify(&f[2]);
	assert_int_equal(intro_future_wait(p, 3, INTRO_ALL_COMPLETED, 0, done), 3);
	assert_true(done[0] && done[1] && done[2]);
	destroy_all(f, 3);
}

static void wait_for_all(void **state)
{
	struct intro_future f[N], *p[N];
	struct later l[3];
	bool done[N];

	init_all(f, p, N);
	for (int i = 3; i < N; i++)
		finish(&f[i]);
	later(&l[0], 30, finish, &f[0]);
	later(&l[1], 10, break_it, &f[1]);
	later(&l[2], 20, finish, &f[2]);
	assert_int_equal(intro_future_wait(p, N, INTRO_ALL_COMPLETED, INTRO_FOREVER, done), N);
	for (int i = 0; i < N; i++)
		assert_true(done[i]);
	for (int i = 0; i < 3; i++)
		pthread_join(l[i].thread, NULL);
	destroy_all(f, N);
}

static void wait_for_the_first(void **state)
{
	struct intro_future f[N], *p[N];
	bool done[N];
	struct later l;

	init_all(f, p, N);
	later(&l, 10, finish, &f[17]);
	assert_int_equal(intro_future_wait(p, N, INTRO_FIRST_COMPLETED, INTRO_FOREVER, done), 1);
	for (int i = 0; i < N; i++)
		assert_int_equal(done[i], i == 17);
	pthread_join(l.thread, NULL);
	destroy_all(f, N);
}

static void wait_for_the_first_exception(void **state)
{
	struct intro_future f[3], *p[3];
	struct later l[3];
	bool done[3];

	init_all(f, p, 3);
	later(&l[0], 5, finish, &f[0]);
	later(&l[1], 40, break_it, &f[1]);
	assert_int_equal(intro_future_wait(p, 3, INTRO_FIRST_EXCEPTION, INTRO_FOREVER, done), 2);
	assert_true(done[0] && done[1] && !done[2]);
	pthread_join(l[0].thread, NULL);
	pthread_join(l[1].thread, NULL);
	destroy_all(f, 3);
	/* a cancellation is none; none at all: when all are done */
	init_all(f, p, 3);
	finish(&f[0]);
	cancel(&f[1]);
	notify(&f[1]);
	later(&l[2], 20, finish, &f[2]);
	assert_int_equal(intro_future_wait(p, 3, INTRO_FIRST_EXCEPTION, INTRO_FOREVER, done), 3);
	pthread_join(l[2].thread, NULL);
	destroy_all(f, 3);
}

static void wait_gives_up(void **state)
{
	struct intro_future f[N], *p[N];
	int64_t start = now_ns();
	bool done[N];

	init_all(f, p, N);
	finish(&f[2]);
	assert_int_equal(intro_future_wait(p, N, INTRO_ALL_COMPLETED, 20 * MSEC, done), -ETIMEDOUT);
	assert_true(now_ns() - start >= 20 * MSEC);
	for (int i = 0; i < N; i++)
		assert_int_equal(done[i], i == 2);
	for (int i = 0; i < N; i++) /* nothing of the wait is left in them */
		finish(&f[i]);
	destroy_all(f, N);
}

static void wait_for_one_given_twice(void **state)
{
	struct intro_future f[2], *p[4] = {&f[0], &f[1], &f[0], &f[0]};
	struct later l;
	bool done[4];

	intro_future_init(&f[0]);
	intro_future_init(&f[1]);
	finish(&f[1]);
	later(&l, 10, finish, &f[0]);
	assert_int_equal(intro_future_wait(p, 4, INTRO_ALL_COMPLETED, INTRO_FOREVER, done), 4);
	pthread_join(l.thread, NULL);
	destroy_all(f, 2);
}

static void as_completed_yields_the_done_first(void **state)
{
	struct intro_future f[5], *p[5];
	struct intro_as_completed *it;
	struct later l[2];
	size_t i;

	init_all(f, p, 5);
	finish(&f[3]);
	break_it(&f[1]);
	cancel(&f[4]);
	it = intro_as_completed_new(p, 5);
	assert_int_equal(intro_as_completed_next(it, 0, &i), 1);
	assert_int_equal(i, 1);
	assert_int_equal(intro_as_completed_next(it, INTRO_FOREVER, &i), 1);
	assert_int_equal(i, 3);
	assert_int_equal(intro_as_completed_next(it, 0, &i), -ETIMEDOUT);
	assert_int_equal(intro_as_completed_next(it, 5 * MSEC, &i), -ETIMEDOUT);
	later(&l[0], 10, notify, &f[4]);
	assert_int_equal(intro_as_completed_next(it, INTRO_FOREVER, &i), 1);
	assert_int_equal(i, 4);
	later(&l[1], 10, finish, &f[0]);
	assert_int_equal(intro_as_completed_next(it, INTRO_FOREVER, &i), 1);
	assert_int_equal(i, 0);
	finish(&f[2]);
	assert_int_equal(intro_as_completed_next(it, 0, &i), 1);
	assert_int_equal(i, 2);
	assert_int_equal(intro_as_completed_next(it, 0, &i), 0);
	assert_int_equal(intro_as_completed_next(it, INTRO_FOREVER, &i), 0);
	pthread_join(l[0].thread, NULL);
	pthread_join(l[1].thread, NULL);
	destroy_all(f, 5);
	intro_as_completed_free(it); /* what it yielded may be gone */
}

static void as_completed_yields_each_once(void **state)
{
	struct intro_future f[2], *p[5] = {&f[1], &f[0], &f[1], &f[0], &f[0]};
	struct intro_as_completed *it;
	size_t i;

	intro_future_init(&f[0]);
	intro_future_init(&f[1]);
	finish(&f[0]);
	it = intro_as_completed_new(p, 5);
	assert_int_equal(intro_as_completed_next(it, 0, &i), 1);
	assert_int_equal(i, 1);
	assert_int_equal(intro_as_completed_next(it, 0, &i), -ETIMEDOUT);
	finish(&f[1]);
	assert_int_equal(intro_as_completed_next(it, 0, &i), 1);
	assert_int_equal(i, 0);
	assert_int_equal(intro_as_completed_next(it, 0, &i), 0);
	intro_as_completed_free(it);
	destroy_all(f, 2);
}

static void as_completed_may_be_left_early(void **state)
{
	struct intro_future f[3], *p[3];
	struct intro_as_completed *it;
	size_t i;

	init_all(f, p, 3);
	it = intro_as_completed_new(p, 3);
	finish(&f[2]);
	assert_int_equal(intro_as_completed_next(it, 0, &i), 1);
	finish(&f[1]); /* not yielded */
	intro_as_completed_free(it);
	finish(&f[0]); /* nobody listens */
	destroy_all(f, 3);
	it = intro_as_completed_new(NULL, 0);
	assert_int_equal(intro_as_completed_next(it, INTRO_FOREVER, &i), 0);
	intro_as_completed_free(it);
	intro_as_completed_free(NULL);
}

static void *finish_all(void *arg)
{
	struct intro_future **p = arg;

	for (int i = 0; i < N; i++)
		finish(p[i]);
	return NULL;
}

/* Readers of all kinds while others end the futures. */
static void races_between_readers_and_enders(void **state)
{
	for (int round = 0; round < 200; round++) {
		struct intro_future f[N], *p[N];
		struct intro_as_completed *it;
		pthread_t thread;
		unsigned seen = 0;
		size_t i;

		init_all(f, p, N);
		pthread_create(&thread, NULL, finish_all, p);
		assert_true(intro_future_wait(p, N, INTRO_FIRST_COMPLETED, INTRO_FOREVER, NULL) >=
			    1);
		it = intro_as_completed_new(p, N);
		while (intro_as_completed_next(it, INTRO_FOREVER, &i) == 1) {
			assert_int_equal(intro_future_result(p[i], 0, NULL), 0);
			seen++;
		}
		intro_as_completed_free(it);
		assert_int_equal(seen, N);
		assert_int_equal(intro_future_wait(p, N, INTRO_ALL_COMPLETED, 0, NULL), N);
		destroy_all(f, N);
		pthread_join(thread, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_pending_to_finished),
		cmocka_unit_test(a_result_is_set_once),
		cmocka_unit_test(errors),
		cmocka_unit_test(from_pending_to_notified),
		cmocka_unit_test(result_waits),
		cmocka_unit_test(many_readers_of_one_future),
		cmocka_unit_test(callbacks_in_order_then_at_once),
		cmocka_unit_test(callbacks_of_the_cancelled),
		cmocka_unit_test(a_pending_future_dies_without_callbacks),
		cmocka_unit_test(destroy_waits_for_callbacks),
		cmocka_unit_test(a_chain_passes_the_end_on),
		cmocka_unit_test(a_chain_passes_cancelling_back),
		cmocka_unit_test(wait_for_none),
		cmocka_unit_test(wait_polls),
		cmocka_unit_test(wait_for_all),
		cmocka_unit_test(wait_for_the_first),
		cmocka_unit_test(wait_for_the_first_exception),
		cmocka_unit_test(wait_gives_up),
		cmocka_unit_test(wait_for_one_given_twice),
		cmocka_unit_test(as_completed_yields_the_done_first),
		cmocka_unit_test(as_completed_yields_each_once),
		cmocka_unit_test(as_completed_may_be_left_early),
		cmocka_unit_test(races_between_readers_and_enders),
	};

	watchdog(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
