/* SPDX-License-Identifier: BSD-2-Clause */
/* Who waits for tasks of a thread pool runs them: the pool's own workers, and guests. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 3000

static struct intro_executor *pool_of(unsigned workers, bool waiters_help)
{
	struct intro_executor *pool = intro_thread_executor_new(
		POOL_OPTIONS(.name = "h", .workers = workers, .waiters_help = waiters_help));

	assert_non_null(pool);
	return pool;
}

static void submit(struct intro_executor *pool, struct intro_future *f, intro_task_fn fn,
		   const void *arg)
{
	intro_future_init(f);
	assert_int_equal(intro_executor_submit(pool, f, fn, arg, 0), 0);
}

/* A pool whose workers are all busy until the gate opens. */
struct busy {
	struct intro_executor *pool;
	struct gate gate;
	struct intro_future future[2];
	unsigned workers;
};

static void busy_begin(struct busy *busy, unsigned workers, bool waiters_help)
{
	memset(busy, 0, sizeof(*busy));
	busy->workers = workers;
	busy->pool = pool_of(workers, waiters_help);
	for (unsigned i = 0; i < workers; i++)
		submit(busy->pool, &busy->future[i], wait_at, &busy->gate);
	gate_expect(&busy->gate, workers);
}

static void busy_end(struct busy *busy)
{
	gate_open(&busy->gate);
	for (unsigned i = 0; i < busy->workers; i++)
		intro_future_destroy(&busy->future[i]);
	intro_executor_free(busy->pool);
}

static void a_guest_runs_what_it_waits_for(void **state)
{
	struct intro_executor_statistics stats = {.size = sizeof(stats)};
	struct intro_future f[3], *list[2] = {&f[0], &f[2]};
	struct seen seen[3] = {0};
	struct intro_result result;
	struct busy busy;

	busy_begin(&busy, 2, true);
	for (int i = 0; i < 3; i++)
		submit(busy.pool, &f[i], look, &seen[i]);
	assert_int_equal(intro_future_wait(list, 2, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL), 2);
	assert_int_equal(seen[1].ran, 0); /* nobody waits for that */
	intro_executor_statistics(busy.pool, &stats);
	assert_int_equal(stats.executed, 2);
	assert_int_equal(stats.backlog, 1);
	assert_int_equal(intro_future_result(&f[1], INTRO_FOREVER, &result), 0);
	assert_ptr_equal(result.data, &seen[1]);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(seen[i].ran, 1);
		assert_true(pthread_equal(seen[i].thread, pthread_self()));
		assert_int_equal(seen[i].index, 2);
		assert_string_equal(seen[i].worker, "h/guest");
		intro_future_destroy(&f[i]);
	}
	busy_end(&busy);
}

static void open_gate(struct intro_future *future, void *arg)
{
	gate_open(arg);
}

static void nobody_helps_unasked_or_in_time(void **state)
{
	for (int asked = 0; asked < 2; asked++) {
		struct intro_future f, *list = &f;
		struct seen seen = {0};
		struct busy busy;

		busy_begin(&busy, 1, asked);
		submit(busy.pool, &f, look, &seen);
		/* who waits for a time only could not keep it */
		assert_int_equal(intro_future_result(&f, MSEC, NULL), -ETIMEDOUT);
		assert_int_equal(intro_future_wait(&list, 1, INTRO_ALL_COMPLETED, MSEC, NULL),
				 -ETIMEDOUT);
		assert_int_equal(seen.ran, 0);
		if (!asked) {
			gate_open(&busy.gate);
			assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
			assert_false(pthread_equal(seen.thread, pthread_self()));
			assert_string_equal(seen.worker, "h/0");
		}
		intro_future_destroy(&f);
		busy_end(&busy);
	}
}

static void many_are_run_once_each(void **state)
{
	struct intro_future *f = aligned_alloc(64, MANY * sizeof(*f)), **list;
	struct seen *seen = calloc(MANY, sizeof(*seen));
	struct intro_executor *pool = pool_of(2, true);
	struct intro_executor_statistics stats = {.size = sizeof(stats)};

	list = calloc(MANY, sizeof(*list));
	for (int round = 0; round < 5; round++) {
		memset(seen, 0, MANY * sizeof(*seen));
		for (int i = 0; i < MANY; i++) {
			list[i] = &f[i];
			submit(pool, &f[i], look, &seen[i]);
		}
		for (int i = 0; i < MANY; i += 7)
			intro_future_cancel(&f[i]);
		assert_int_equal(
			intro_future_wait(list, MANY, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL),
			MANY);
		for (int i = 0; i < MANY; i++) {
			assert_int_equal(seen[i].ran, !intro_future_cancelled(&f[i]));
			intro_future_destroy(&f[i]);
		}
	}
	intro_executor_shutdown(pool, INTRO_SHUTDOWN_WAIT);
	intro_executor_statistics(pool, &stats);
	assert_int_equal(stats.submitted, 5 * MANY);
	assert_int_equal(stats.executed + stats.cancelled, 5 * MANY);
	assert_int_equal(stats.backlog, 0);
	intro_executor_free(pool);
	free(f);
	free(list);
	free(seen);
}

#define UNWAITED 200

static int by_value(const void *left, const void *right)
{
	int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;

	return (a > b) - (a < b);
}

static int note_time(struct intro_call *call)
{
	*(_Atomic int64_t *)call->arg = now_ns();
	return 0;
}

/* Workers leave to waiters what these take at once; nobody takes this. */
static void what_nobody_waits_for_is_started(void **state)
{
	struct intro_executor *pool = pool_of(1, true);
	struct intro_future f, alone;
	int64_t took[UNWAITED], begin;
	struct seen seen = {0};
	_Atomic int64_t when;

	for (int i = 0; i < UNWAITED; i++) {
		for (int n = 0; n < i * i % 1000; n++) {
			submit(pool, &f, look, &seen);
			assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
			intro_future_destroy(&f);
		}
		if (i % 20 == 0)
			sleep_ms(2); /* the worker, too */
		when = 0;
		begin = now_ns();
		submit(pool, &alone, note_time, &when);
		while (!when)
			sched_yield();
		took[i] = when - begin;
		intro_future_destroy(&alone);
	}
	qsort(took, UNWAITED, sizeof(took[0]), by_value);
	printf("# figure a task that nobody waits for starts after %.1f us, 1 in 10 after %.1f\n",
	       (double)took[UNWAITED / 2] / 1e3, (double)took[UNWAITED * 9 / 10] / 1e3);
	intro_executor_free(pool);
}

struct crowd {
	struct intro_executor *pool;
	_Atomic int ran;
};

static int count_one(struct intro_call *call)
{
	((struct crowd *)call->arg)->ran++;
	return 0;
}

/* One at a time by many: waited for, cancelled, or left to the worker. */
static void *one_at_a_time(void *arg)
{
	struct crowd *crowd = arg;
	struct intro_future f;

	for (int i = 0; i < MANY; i++) {
		submit(crowd->pool, &f, count_one, crowd);
		if (i % 3 == 0)
			intro_future_result(&f, INTRO_FOREVER, NULL);
		while (i % 3 == 1 && !intro_future_done(&f))
			sched_yield();
		if (i % 3 == 2 && i % 7)
			intro_future_cancel(&f);
		intro_future_destroy(&f);
	}
	return NULL;
}

static void one_at_a_time_by_many(void **state)
{
	for (unsigned threads = 1; threads <= 4; threads++) {
		struct crowd crowd = {.pool = pool_of(threads % 2 + 1, true)};
		struct intro_executor_statistics stats = {.size = sizeof(stats)};
		pthread_t thread[4];

		for (unsigned i = 0; i < threads; i++)
			pthread_create(&thread[i], NULL, one_at_a_time, &crowd);
		for (unsigned i = 0; i < threads; i++)
			pthread_join(thread[i], NULL);
		intro_executor_shutdown(crowd.pool, INTRO_SHUTDOWN_WAIT);
		intro_executor_statistics(crowd.pool, &stats);
		assert_int_equal(stats.submitted, threads * MANY);
		assert_int_equal(stats.executed, crowd.ran);
		assert_int_equal(stats.executed + stats.cancelled, threads * MANY);
		assert_true(crowd.ran >= (int)threads * MANY * 2 / 3);
		assert_int_equal(stats.backlog, 0);
		intro_executor_free(crowd.pool);
	}
}

struct sum {
	struct intro_executor *pool;
	unsigned n;
	uint64_t sum;
};

/* 1 + ... + n, each a task of the same pool that waits for the next. */
static int sum_up(struct intro_call *call)
{
	struct sum *sum = (struct sum *)call->arg, rest = {sum->pool, sum->n - 1, 0};
	struct intro_future f;

	assert_string_equal(call->worker, "h/0");
	if (!sum->n)
		return 0;
	submit(sum->pool, &f, sum_up, &rest);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(&f);
	sum->sum = sum->n + rest.sum;
	return 0;
}

/* In Python one worker that waits for its own pool waits for ever. */
static void a_worker_helps_its_own_pool(void **state)
{
	struct intro_executor *pool = pool_of(1, false);
	struct sum sum = {pool, 90, 0};
	struct intro_future f;

	submit(pool, &f, sum_up, &sum);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	assert_int_equal(sum.sum, 90 * 91 / 2);
	intro_future_destroy(&f);
	intro_executor_free(pool);
}

struct chain {
	struct intro_executor *pool;
	struct intro_future f;
	struct seen seen;
	int timeout;
};

static void wait_in_callback(struct intro_future *future, void *arg)
{
	struct chain *chain = arg;

	/* the gate's worker is the other one: it will come to it */
	chain->timeout = intro_future_result(&chain->f, INTRO_FOREVER, NULL);
}

static void nobody_helps_in_a_callback(void **state)
{
	struct chain chain = {.seen = {.ran = 0}};
	struct intro_done_callback opens = {.fn = open_gate};
	struct intro_done_callback waits = {.fn = wait_in_callback, .arg = &chain};
	struct intro_future f;
	struct seen seen = {0};
	struct busy busy;

	busy_begin(&busy, 1, true);
	opens.arg = &busy.gate;
	submit(busy.pool, &chain.f, look, &chain.seen);
	submit(busy.pool, &f, look, &seen);
	intro_future_add_done_callback(&f, &opens);
	intro_future_add_done_callback(&f, &waits);
	/* run here, and its callbacks: the second waits until the worker has done the other */
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	assert_true(pthread_equal(seen.thread, pthread_self()));
	assert_int_equal(chain.timeout, 0);
	assert_false(pthread_equal(chain.seen.thread, pthread_self()));
	intro_future_destroy(&f);
	intro_future_destroy(&chain.f);
	busy_end(&busy);
}

static void *shut_down(void *arg)
{
	intro_executor_shutdown(arg, INTRO_SHUTDOWN_WAIT);
	return NULL;
}

struct late {
	struct intro_executor *pool;
	struct gate *gate, inside;
	pthread_t closer;
	_Atomic bool ended;
};

static int end_late(struct intro_call *call)
{
	struct late *late = (struct late *)call->arg;

	/* its own: must not wait for itself */
	intro_executor_shutdown(late->pool, INTRO_SHUTDOWN_WAIT);
	pthread_create(&late->closer, NULL, shut_down, late->pool);
	gate_open(late->gate);
	sleep_ms(30);
	late->ended = true;
	return 0;
}

static void a_guest_may_shut_its_pool_down(void **state)
{
	struct late late = {.ended = false};
	struct intro_future f;
	struct busy busy;

	busy_begin(&busy, 1, true);
	late.pool = busy.pool;
	late.gate = &busy.gate;
	submit(busy.pool, &f, end_late, &late);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	pthread_join(late.closer, NULL);
	intro_future_destroy(&f);
	busy_end(&busy);
}

static void *join_it(void *arg)
{
	struct late *late = arg;

	gate_wait(&late->inside);
	intro_executor_shutdown(late->pool, INTRO_SHUTDOWN_WAIT);
	assert_true(late->ended);
	return NULL;
}

static int end_later(struct intro_call *call)
{
	struct late *late = (struct late *)call->arg;

	gate_open(&late->inside);
	gate_open(late->gate);
	sleep_ms(50);
	late->ended = true;
	return 0;
}

static void a_shutdown_by_others_waits_for_guests(void **state)
{
	struct late late = {.ended = false};
	struct intro_future f;
	struct busy busy;

	busy_begin(&busy, 1, true);
	late.pool = busy.pool;
	late.gate = &busy.gate;
	pthread_create(&late.closer, NULL, join_it, &late);
	submit(busy.pool, &f, end_later, &late);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	pthread_join(late.closer, NULL);
	intro_future_destroy(&f);
	busy_end(&busy);
}

static void guests_have_no_initializer(void **state)
{
	assert_null(intro_thread_executor_new(
		POOL_OPTIONS(.name = "h", .initializer = look, .waiters_help = true)));
	assert_int_equal(errno, EINVAL);
}

static void rejection_counts_tasks_alone(void **state)
{
	struct intro_executor *pool = intro_thread_executor_new(
		POOL_OPTIONS(.name = "h", .workers = 1, .waiters_help = true,
			     .check_and_reject = intro_reject_when_reached(3)));
	struct gate gate = {0};
	struct intro_future busy, f;
	struct seen seen = {0};

	assert_non_null(pool);
	submit(pool, &busy, wait_at, &gate);
	gate_expect(&gate, 1);
	/* each leaves an empty place in the queue behind */
	for (int i = 0; i < MANY; i++) {
		submit(pool, &f, look, &seen);
		assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&f);
	}
	assert_int_equal(seen.ran, MANY);
	gate_open(&gate);
	intro_future_destroy(&busy);
	intro_executor_free(pool);
}

static void marks_make_the_guest_a_worker(void **state)
{
	struct intro_rec_mark *m;
	struct intro_future f;
	struct seen seen = {0};
	struct busy busy;
	uint64_t task;
	size_t n;
	int at;

	marks_begin();
	busy_begin(&busy, 1, true);
	submit(busy.pool, &f, look, &seen);
	task = intro_future_id(&f);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(&f);
	busy_end(&busy);
	m = marks_end(&n);
	at = marks_find(m, n, 0, INTRO_KIND_START, task);
	assert_true(at > 0);
	for (int i = at - 1;; i--) {
		assert_true(i >= 0);
		if (m[i].rec.tid != m[at].rec.tid)
			continue;
		assert_int_equal(m[i].rec.kind, INTRO_KIND_WORKER_START);
		assert_int_equal(m[i].b, 1);
		break;
	}
	at = marks_find(m, n, (size_t)at, INTRO_KIND_END, task);
	assert_true(at > 0);
	assert_int_equal(m[at].b, INTRO_END_RESULT); /* nobody waits meanwhile */
	do
		assert_true((size_t)++at < n);
	while (m[at].rec.tid != (uint32_t)gettid());
	assert_int_equal(m[at].rec.kind, INTRO_KIND_WORKER_STOP);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAIT, task), 0);
	assert_int_equal(marks_count(m, n, INTRO_KIND_READ, task), 1);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_runs_what_it_waits_for),
		cmocka_unit_test(nobody_helps_unasked_or_in_time),
		cmocka_unit_test(many_are_run_once_each),
		cmocka_unit_test(what_nobody_waits_for_is_started),
		cmocka_unit_test(one_at_a_time_by_many),
		cmocka_unit_test(a_worker_helps_its_own_pool),
		cmocka_unit_test(nobody_helps_in_a_callback),
		cmocka_unit_test(a_guest_may_shut_its_pool_down),
		cmocka_unit_test(a_shutdown_by_others_waits_for_guests),
		cmocka_unit_test(guests_have_no_initializer),
		cmocka_unit_test(rejection_counts_tasks_alone),
		cmocka_unit_test(marks_make_the_guest_a_worker),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
