// SPDX-License-Identifier: BSD-2-Clause
/* ledger_check.c - see ledger_check.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "ledger_check.h"

void check_ledger(const struct intro_ledger *ledger)
{
	uint64_t sums[INTRO_ACCOUNTS] = {0};

	assert_true(ledger->splits <= INTRO_LEDGER_SPLITS);
	for (uint32_t i = 0; i < ledger->splits; i++) {
		const struct intro_split *split = &ledger->split[i];

		assert_string_not_equal(intro_cause_text((enum intro_cause)split->cause), "?");
		assert_true(split->holder <= INTRO_HELD_OTHER);
		assert_true(split->holder == INTRO_HELD_NONE ||
			    intro_cause_account((enum intro_cause)split->cause) == INTRO_RUNNABLE);
		assert_non_null(memchr(split->holder_name, 0, INTRO_COMM));
		sums[intro_cause_account((enum intro_cause)split->cause)] += split->ns;
	}
	sums[INTRO_RUNNING] = ledger->account[INTRO_RUNNING];
	for (int i = 0; i < INTRO_ACCOUNTS; i++)
		assert_int_equal(sums[i], ledger->account[i]);
}

void check_task(const struct intro_task *task)
{
	check_ledger(&task->ledger);
	assert_true(task->done_ns >= task->submit_ns);
	assert_int_equal(intro_ledger_total(&task->ledger), task->done_ns - task->submit_ns);
	assert_string_not_equal(intro_task_status_text(task->status), "?");
	assert_non_null(task->name);
	assert_non_null(task->pool_name);
}

void check_thread(const struct intro_thread *thread)
{
	uint64_t sum = 0;

	for (int i = 0; i < INTRO_STATES; i++)
		sum += thread->states_ns[i];
	assert_true(thread->last_ns >= thread->first_ns);
	assert_int_equal(sum, thread->last_ns - thread->first_ns);
	sum = thread->placement->elsewhere_ns;
	for (uint32_t i = 0; i < thread->placement->nodes; i++)
		sum += intro_placement_ran(thread->placement, i);
	assert_int_equal(sum, thread->states_ns[INTRO_STATE_RUNNING]);
	assert_non_null(memchr(thread->name, 0, sizeof(thread->name)));
	if (thread->in_tasks)
		check_ledger(thread->in_tasks);
}
