/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread pool starts a worker for whoever needs one, also where who submits saw another that was
 * about to be busy, or had none to start yet: each at the one moment that matters, held open.
 *
 * LIBS: -Wl,--wrap=intro__thread_backlog -Wl,--wrap=intro_mark_worker_stop
 */
#include "rt_support.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>

struct thread_pool;

static _Atomic bool begun, ran;

static int waits_for_other(struct intro_call *call)
{
	int64_t until = now_ns() + 10 * SEC;

	begun = true;
	while (!ran && now_ns() < until)
		sched_yield();
	return ran ? 0 : -ETIMEDOUT;
}

static int says_it_ran(struct intro_call *call)
{
	ran = true;
	return 0;
}

static void until(const _Atomic bool *what)
{
	while (!*what)
		sched_yield();
}

static void expect_both(struct intro_future *first, struct intro_future *second)
{
	assert_int_equal(intro_future_result(first, 30 * SEC, NULL), 0);
	assert_int_equal(intro_future_result(second, 30 * SEC, NULL), 0);
	intro_future_destroy(first);
	intro_future_destroy(second);
}

/* --- the one who is idle is so no more ---------------------------------------------------------
 */

static _Atomic bool may_begin; /* the worker, with what it was started for */
static _Atomic bool is_held;

/* Who submits has seen that a worker is to come to the queue. It comes before it is counted what
 * waits there. */
uint64_t __real_intro__thread_backlog(struct thread_pool *pool);
uint64_t __wrap_intro__thread_backlog(struct thread_pool *pool);
uint64_t __wrap_intro__thread_backlog(struct thread_pool *pool)
{
	if (atomic_exchange(&is_held, false)) {
		may_begin = true;
		until(&begun);
	}
	return __real_intro__thread_backlog(pool);
}

static int holds_up(struct intro_call *call)
{
	until(&may_begin);
	return 0;
}

static void a_worker_has_begun_meanwhile(void **state)
{
	struct intro_executor *e =
		intro_thread_executor_new(POOL_OPTIONS(.workers = 2, .initializer = holds_up));
	struct intro_future first, second;

	begun = ran = may_begin = false;
	submit_new(e, &first, waits_for_other, NULL, 0);
	is_held = true;
	submit_new(e, &second, says_it_ran, NULL, 0);
	assert_false(is_held);
	expect_both(&first, &second);
	intro_executor_free(e);
}

/* --- the one who leaves has not left yet --------------------------------------------------------
 */

static _Atomic bool keeps_leavers, leaves;

void __real_intro_mark_worker_stop(uint32_t pool, uint32_t worker);
void __wrap_intro_mark_worker_stop(uint32_t pool, uint32_t worker);
void __wrap_intro_mark_worker_stop(uint32_t pool, uint32_t worker)
{
	__real_intro_mark_worker_stop(pool, worker);
	if (keeps_leavers) {
		leaves = true;
		while (keeps_leavers)
			sched_yield();
	}
}

static void until_one_leaves(struct intro_executor *e)
{
	keeps_leavers = true;
	while (!leaves) {
		assert_int_equal(intro_executor_maintain(e), 0);
		sched_yield();
	}
}

static void a_worker_that_leaves_is_replaced(void **state)
{
	struct intro_executor *e = intro_dynamic_executor_new(POOL_OPTIONS(.workers = 2));
	struct intro_future first, second;

	begun = ran = leaves = false;
	submit_new(e, &first, waits_for_other, NULL, 0);
	submit_new(e, &second, says_it_ran, NULL, 0);
	expect_both(&first, &second);
	until_one_leaves(e);
	begun = ran = false;
	submit_new(e, &first, waits_for_other, NULL, 0);
	until(&begun);
	submit_new(e, &second, says_it_ran, NULL, 0);
	keeps_leavers = false;
	expect_both(&first, &second);
	intro_executor_free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_worker_has_begun_meanwhile),
		cmocka_unit_test(a_worker_that_leaves_is_replaced),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
