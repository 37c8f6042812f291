/* SPDX-License-Identifier: BSD-2-Clause */
/* Who wakes, or starts, whom in a thread pool: nobody waits for a worker that there could be. */
#include "rt_support.h"

#include <errno.h>
#include <sched.h>

#define PAIRS 2000

static void done_with(struct intro_future *f)
{
	assert_int_equal(intro_future_result(f, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(f);
}

static int waits_for_other(struct intro_call *call)
{
	_Atomic bool *other_ran = (_Atomic bool *)call->arg;
	int64_t until = now_ns() + 10 * SEC;

	while (!*other_ran && now_ns() < until)
		sched_yield();
	return *other_ran ? 0 : -ETIMEDOUT;
}

static int says_it_ran(struct intro_call *call)
{
	*(_Atomic bool *)call->arg = true;
	return 0;
}

/* The only worker looks for tasks: it takes the first, and for the second one is to be started. */
static void the_second_gets_a_worker(struct intro_executor_options *options)
{
	struct intro_future first, second;
	struct intro_executor *e;
	_Atomic bool ran;

	for (int i = 0; i < PAIRS; i++) {
		e = intro_thread_executor_new(options);
		assert_non_null(e);
		submit_new(e, &first, nothing, NULL, 0);
		done_with(&first);
		ran = false;
		submit_new(e, &first, waits_for_other, &ran, 0);
		submit_new(e, &second, says_it_ran, &ran, 0);
		/* with a limit: who waits does not help */
		assert_int_equal(intro_future_result(&first, 30 * SEC, NULL), 0);
		done_with(&first);
		done_with(&second);
		intro_executor_free(e);
	}
}

static void a_task_waits_for_the_next(void **state)
{
	the_second_gets_a_worker(POOL_OPTIONS(.workers = 2));
}

static void a_task_waits_for_the_next_where_waiters_help(void **state)
{
	the_second_gets_a_worker(POOL_OPTIONS(.workers = 2, .waiters_help = true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_waits_for_the_next),
		cmocka_unit_test(a_task_waits_for_the_next_where_waiters_help),
	};

	watchdog(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
