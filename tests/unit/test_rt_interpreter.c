/* SPDX-License-Identifier: BSD-2-Clause */
/* The interpreter lock and the pool whose tasks hold it. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <introspect/interpreter.h>

struct shared {
	struct intro_interpreter *interpreter;
	long count; /* plain: the lock guards it, or TSan finds out */
	int inside; /* likewise */
	atomic_int allowed;
	struct gate gate;
};

static void misuse_gives_its_error_and_does_no_harm(void **state)
{
	struct intro_interpreter *lock;

	errno = 0;
	assert_null(intro_interpreter_new(-1));
	assert_int_equal(errno, EINVAL);
	lock = intro_interpreter_new(0);
	assert_int_equal(intro_interpreter_interval(lock), INTRO_SWITCH_INTERVAL);
	assert_int_equal(intro_interpreter_set_interval(lock, 0), -EINVAL);
	assert_int_equal(intro_interpreter_set_interval(lock, -5), -EINVAL);
	assert_int_equal(intro_interpreter_interval(lock), INTRO_SWITCH_INTERVAL);
	assert_int_equal(intro_interpreter_set_interval(lock, MSEC), 0);
	assert_int_equal(intro_interpreter_interval(lock), MSEC);
	assert_int_equal(intro_interpreter_release(lock), -EPERM);
	assert_int_equal(intro_interpreter_check(lock), -EPERM);
	assert_int_equal(intro_interpreter_begin_allow(lock), -EPERM);
	assert_false(intro_interpreter_held(lock));
	assert_int_equal(intro_interpreter_acquire(lock), 0);
	assert_true(intro_interpreter_held(lock));
	assert_int_equal(intro_interpreter_acquire(lock), -EDEADLK);
	assert_int_equal(intro_interpreter_end_allow(lock), -EDEADLK);
	assert_int_equal(intro_interpreter_check(lock), 0);
	assert_int_equal(intro_interpreter_begin_allow(lock), 0);
	assert_int_equal(intro_interpreter_release(lock), -EPERM);
	errno = ENOTTY;
	assert_int_equal(intro_interpreter_end_allow(lock), 0);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(intro_interpreter_release(lock), 0);
	intro_interpreter_free(lock);
	intro_interpreter_free(NULL);
	errno = 0;
	assert_null(intro_interpreter_executor_new(NULL, POOL_OPTIONS(.workers = 1)));
	assert_int_equal(errno, EINVAL);
}

static void *takes_it_once(void *arg)
{
	struct shared *shared = arg;

	assert_int_equal(intro_interpreter_release(shared->interpreter), -EPERM);
	assert_int_equal(intro_interpreter_acquire(shared->interpreter), 0);
	shared->count++;
	assert_int_equal(intro_interpreter_release(shared->interpreter), 0);
	return NULL;
}

/* The holder of a lock that was asked for does not win it back. */
static void a_forced_switch_waits_for_the_taker(void **state)
{
	struct shared shared = {.interpreter = intro_interpreter_new(MSEC)};
	struct intro_interpreter_statistics n;
	pthread_t thread;
	int handed = 0;

	intro_interpreter_acquire(shared.interpreter);
	pthread_create(&thread, NULL, takes_it_once, &shared);
	while (!handed)
		handed = intro_interpreter_check(shared.interpreter);
	assert_int_equal(handed, 1);
	assert_true(intro_interpreter_held(shared.interpreter));
	assert_int_equal(shared.count, 1);
	intro_interpreter_statistics(shared.interpreter, &n);
	assert_int_equal(n.taken, 3);
	/* the way back may take an interval, too */
	assert_true(n.forced == 1 || n.forced == 2);
	assert_int_equal(n.asked, n.forced);
	assert_int_equal(n.allowed, 0);
	intro_interpreter_release(shared.interpreter);
	pthread_join(thread, NULL);
	intro_interpreter_free(shared.interpreter);
}

/* Nobody asks before a whole interval is over. */
static void nobody_is_forced_within_the_interval(void **state)
{
	struct shared shared = {.interpreter = intro_interpreter_new(3600 * SEC)};
	struct intro_interpreter_statistics n;
	pthread_t thread;

	intro_interpreter_acquire(shared.interpreter);
	pthread_create(&thread, NULL, takes_it_once, &shared);
	for (int i = 0; i < 20; i++) {
		sleep_ms(1);
		assert_int_equal(intro_interpreter_check(shared.interpreter), 0);
	}
	assert_int_equal(intro_interpreter_begin_allow(shared.interpreter), 0);
	pthread_join(thread, NULL);
	assert_int_equal(intro_interpreter_end_allow(shared.interpreter), 0);
	assert_int_equal(shared.count, 1);
	intro_interpreter_statistics(shared.interpreter, &n);
	assert_int_equal(n.forced, 0);
	assert_int_equal(n.asked, 0);
	assert_int_equal(n.allowed, 1);
	intro_interpreter_release(shared.interpreter);
	intro_interpreter_free(shared.interpreter);
}

static int counts(struct intro_call *call)
{
	struct shared *shared = (struct shared *)call->arg;
	int handed = 0;

	if (!intro_interpreter_held(shared->interpreter))
		return 1;
	for (int i = 0; i < 2000; i++) {
		if (shared->inside++)
			return 2;
		shared->count++;
		shared->inside--;
		if (i % 500 == 499) {
			intro_interpreter_begin_allow(shared->interpreter);
			atomic_fetch_add(&shared->allowed, 1);
			intro_interpreter_end_allow(shared->interpreter);
		}
		handed += intro_interpreter_check(shared->interpreter);
	}
	return handed < 0 ? 3 : 0;
}

static int initializes(struct intro_call *call)
{
	struct shared *shared = *(struct shared *const *)call->arg;

	return intro_interpreter_held(shared->interpreter) ? 0 : 1;
}

#define TASKS 40
static void one_task_at_a_time(void **state)
{
	struct shared shared = {.interpreter = intro_interpreter_new(100000)}, *at = &shared;
	struct intro_future *futures;
	struct intro_executor *pool = intro_interpreter_executor_new(
		shared.interpreter,
		POOL_OPTIONS(.name = "gil", .workers = 4, .initializer = initializes,
			     .initarg = &at, .initarg_size = sizeof(at)));
	struct intro_interpreter_statistics n;

	assert_non_null(pool);
	futures = aligned_alloc(64, TASKS * sizeof(*futures));
	for (int i = 0; i < TASKS; i++) {
		intro_future_init(&futures[i]);
		assert_int_equal(intro_executor_submit(pool, &futures[i], counts, &shared, 0), 0);
	}
	for (int i = 0; i < TASKS; i++) {
		assert_int_equal(intro_future_result(&futures[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&futures[i]);
	}
	intro_executor_free(pool);
	assert_int_equal(shared.count, TASKS * 2000);
	assert_int_equal(atomic_load(&shared.allowed), TASKS * 4);
	intro_interpreter_statistics(shared.interpreter, &n);
	assert_int_equal(n.allowed, TASKS * 4);
	assert_true(n.taken >= TASKS * 5);
	free(futures);
	intro_interpreter_free(shared.interpreter);
}

static int waits_allowing(struct intro_call *call)
{
	struct shared *shared = (struct shared *)call->arg;

	intro_interpreter_begin_allow(shared->interpreter);
	gate_wait(&shared->gate);
	intro_interpreter_end_allow(shared->interpreter);
	return 0;
}

static int ends_without_it(struct intro_call *call)
{
	struct shared *shared = (struct shared *)call->arg;

	intro_interpreter_begin_allow(shared->interpreter);
	return 0;
}

/* Tasks that block let others run, and a task may end without the lock. */
static void a_task_that_blocks_lets_others_run(void **state)
{
	struct shared shared = {.interpreter = intro_interpreter_new(0)};
	struct intro_executor *pool = intro_interpreter_executor_new(
		shared.interpreter, POOL_OPTIONS(.name = "gil", .workers = 3));
	struct intro_future futures[4];

	for (int i = 0; i < 4; i++)
		intro_future_init(&futures[i]);
	intro_executor_submit(pool, &futures[0], waits_allowing, &shared, 0);
	intro_executor_submit(pool, &futures[1], waits_allowing, &shared, 0);
	gate_expect(&shared.gate, 2);
	intro_executor_submit(pool, &futures[2], ends_without_it, &shared, 0);
	intro_executor_submit(pool, &futures[3], counts, &shared, 0);
	assert_int_equal(intro_future_result(&futures[2], INTRO_FOREVER, NULL), 0);
	assert_int_equal(intro_future_result(&futures[3], INTRO_FOREVER, NULL), 0);
	assert_false(intro_future_done(&futures[0]));
	gate_open(&shared.gate);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(intro_future_result(&futures[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&futures[i]);
	}
	intro_executor_free(pool);
	assert_int_equal(intro_interpreter_acquire(shared.interpreter), 0);
	intro_interpreter_release(shared.interpreter);
	intro_interpreter_free(shared.interpreter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(misuse_gives_its_error_and_does_no_harm),
		cmocka_unit_test(a_forced_switch_waits_for_the_taker),
		cmocka_unit_test(nobody_is_forced_within_the_interval),
		cmocka_unit_test(one_task_at_a_time),
		cmocka_unit_test(a_task_that_blocks_lets_others_run),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
