/* SPDX-License-Identifier: BSD-2-Clause */
/* Who wakes, starts, or makes way for, whom in a thread pool: tasks begin in turn, and none waits
 * for a worker that there could be. */
#include "rt_support.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

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

/* --- many short tasks: workers stand back (thread_turns.c) ------------------------------------ */

#define SHORT 3000
#define ROUNDS 60

/* The others look on while one worker runs short tasks; and here one waits for the next. */
static void a_task_waits_for_the_next_among_short_ones(void **state)
{
	struct intro_future *all = calloc(SHORT + 2, sizeof(*all));
	struct intro_executor *e = intro_thread_executor_new(POOL_OPTIONS(.workers = 2));
	_Atomic bool ran;

	for (int round = 0; round < ROUNDS; round++) {
		ran = false;
		for (int i = 0; i < SHORT; i++)
			submit_new(e, &all[i], nothing, NULL, 0);
		submit_new(e, &all[SHORT], waits_for_other, &ran, 0);
		submit_new(e, &all[SHORT + 1], says_it_ran, &ran, 0);
		for (int i = 0; i < SHORT + 2; i++) {
			assert_int_equal(intro_future_result(&all[i], 30 * SEC, NULL), 0);
			intro_future_destroy(&all[i]);
		}
	}
	intro_executor_free(e);
	free(all);
}

struct turn {
	_Atomic int *begun; /* of all */
	int before;	    /* how many had begun when this one did */
};

static int begins(struct intro_call *call)
{
	struct turn *turn = (struct turn *)call->arg;

	turn->before = atomic_fetch_add(turn->begun, 1);
	return 0;
}

/* When a task begins, the others at most of those before it, one a worker, do not run yet. */
static void tasks_begin_in_turn(unsigned workers)
{
	struct intro_future *all = calloc(SHORT, sizeof(*all));
	struct turn *turn = calloc(SHORT, sizeof(*turn));
	struct intro_executor *e = intro_thread_executor_new(POOL_OPTIONS(.workers = workers));
	_Atomic int begun;

	for (int round = 0; round < ROUNDS; round++) {
		begun = 0;
		for (int i = 0; i < SHORT; i++) {
			turn[i].begun = &begun;
			submit_new(e, &all[i], begins, &turn[i], 0);
		}
		for (int i = 0; i < SHORT; i++) {
			assert_int_equal(intro_future_result(&all[i], 30 * SEC, NULL), 0);
			intro_future_destroy(&all[i]);
			assert_true(turn[i].before > i - (int)workers);
		}
	}
	intro_executor_free(e);
	free(turn);
	free(all);
}

static void two_workers_keep_the_order(void **state)
{
	tasks_begin_in_turn(2);
}

static void more_than_there_are_cpus_keep_the_order(void **state)
{
	tasks_begin_in_turn(8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_waits_for_the_next),
		cmocka_unit_test(a_task_waits_for_the_next_where_waiters_help),
		cmocka_unit_test(a_task_waits_for_the_next_among_short_ones),
		cmocka_unit_test(two_workers_keep_the_order),
		cmocka_unit_test(more_than_there_are_cpus_keep_the_order),
	};

	watchdog(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
