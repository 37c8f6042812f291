/* SPDX-License-Identifier: BSD-2-Clause */
/* Task groups: their tasks run once each, failures are told, and callers run what is too much. */
#include "rt_support.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/task_group.h>

#define MANY 20000
#define RACES 200

static struct intro_executor *full_pool(unsigned workers, unsigned caller_runs)
{
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "grouped", .workers = workers, .caller_runs = caller_runs));

	assert_non_null(e);
	return e;
}

static void free_both(struct intro_task_group *group, struct intro_executor *e)
{
	intro_task_group_free(group);
	intro_executor_free(e);
}

static void runs(struct intro_task_group *group, intro_task_fn fn, const void *arg)
{
	assert_int_equal(intro_task_group_run(group, fn, arg, 0), 0);
}

/* The worker of a pool with one, until the gate opens. */
static void keep_busy(struct intro_task_group *group, struct gate *gate)
{
	runs(group, wait_at, gate);
	gate_expect(gate, 1);
}

static int counts(struct intro_call *call)
{
	++*(_Atomic unsigned *)call->arg;
	return 0;
}

static void all_run_once_each(void **state)
{
	struct intro_executor *e[] = {
		full_pool(2, 0), full_pool(2, 16),
		intro_thread_executor_new(
			POOL_OPTIONS(.workers = 2, .caller_runs = 16, .waiters_help = true)),
		intro_dynamic_executor_new(POOL_OPTIONS(.workers = 4, .caller_runs = 4))};
	struct intro_executor_statistics n = {.size = sizeof(n)};
	_Atomic unsigned counters[100];

	for (int i = 0; i < 4; i++) {
		struct intro_task_group *group = intro_task_group_new(e[i]);

		assert_non_null(group);
		memset((void *)counters, 0, sizeof(counters));
		for (int round = 0; round < 3; round++) {
			for (int k = 0; k < MANY; k++)
				runs(group, counts, (void *)&counters[k % 100]);
			assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, NULL), 0);
			for (int k = 0; k < 100; k++)
				assert_int_equal(counters[k], (round + 1) * MANY / 100);
		}
		assert_int_equal(intro_task_group_wait(group, 0, NULL), 0);
		assert_int_equal(intro_executor_statistics(e[i], &n), 0);
		assert_int_equal(n.submitted, 3 * MANY);
		assert_int_equal(n.executed, 3 * MANY);
		intro_task_group_free(group);
		intro_executor_free(e[i]);
	}
	intro_task_group_free(NULL);
}

static int only_adds(struct intro_call *call)
{
	unsigned one = 1;

	intro_call_return(call, &one, sizeof(one));
	return *(const unsigned *)call->arg == 7 ? 0 : 1;
}

static void processes_run_them(void **state)
{
	struct intro_executor *e = intro_process_executor_new(POOL_OPTIONS(.workers = 2));
	struct intro_task_group *group = intro_task_group_new(e);
	unsigned seven = 7;

	for (int i = 0; i < 1000; i++)
		assert_int_equal(intro_task_group_run(group, only_adds, &seven, sizeof(seven)), 0);
	assert_int_equal(intro_task_group_wait(group, 10 * SEC, NULL), 0);
	free_both(group, e);
}

/* What waits takes memory, what was run does not. */
static void memory_does_not_grow_with_the_tasks(void **state)
{
	struct intro_executor *e = full_pool(1, 64);
	struct intro_task_group *group = intro_task_group_new(e);
	_Atomic unsigned counter = 0;
	size_t before = 0;

	for (int i = 0; i < 10 * MANY; i++) {
		runs(group, counts, (void *)&counter);
		if (i == MANY / 10)
			before = mallinfo2().uordblks;
	}
	assert_in_range(mallinfo2().uordblks, 0, before + 512 * 1024);
	assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, NULL), 0);
	assert_int_equal(counter, 10 * MANY);
	free_both(group, e);
}

/* Nor where one of them takes as long as all others together. */
static void one_that_takes_long_keeps_no_others(void **state)
{
	struct intro_executor *e = full_pool(2, 0);
	struct intro_task_group *group = intro_task_group_new(e);
	_Atomic unsigned counter = 0;
	struct gate gate = {0};
	size_t before = 0;

	keep_busy(group, &gate);
	for (unsigned i = 0; i < MANY; i++) {
		runs(group, counts, (void *)&counter);
		while ((int)(i - counter) > 50)
			sched_yield();
		if (i == MANY / 10)
			before = mallinfo2().uordblks + mallinfo2().hblkhd;
	}
	assert_in_range(mallinfo2().uordblks + mallinfo2().hblkhd, 0, before + 64 * 1024);
	gate_open(&gate);
	assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, NULL), 0);
	assert_int_equal(counter, MANY);
	free_both(group, e);
}

/* --- who runs them ---------------------------------------------------------------------------- */

struct who {
	pthread_t thread;
	char worker[32];
	uint64_t task;
};

static int tells_who(struct intro_call *call)
{
	struct who *who = (void *)call->arg;

	who->thread = pthread_self();
	who->task = call->task;
	snprintf(who->worker, sizeof(who->worker), "%s", call->worker);
	return 0;
}

/* The worker is busy and the queue is full: the third and all others, one like the other. */
static void callers_run_what_is_too_much(void **state)
{
	struct intro_executor *e = full_pool(1, 1);
	struct intro_task_group *group = intro_task_group_new(e);
	struct gate gate = {0};
	struct who who[50] = {0};

	keep_busy(group, &gate);
	for (int i = 0; i < 50; i++)
		runs(group, tells_who, &who[i]);
	for (int i = 1; i < 50; i++) {
		assert_true(pthread_equal(who[i].thread, pthread_self()));
		assert_string_equal(who[i].worker, "grouped/guest");
		assert_true(who[i].task > who[i - 1].task || i == 1);
	}
	assert_int_equal(intro_task_group_wait(group, MSEC, NULL), -ETIMEDOUT);
	gate_open(&gate);
	assert_int_equal(intro_task_group_wait(group, 10 * SEC, NULL), 0);
	assert_false(pthread_equal(who[0].thread, pthread_self()));
	free_both(group, e);
}

/* Who records marks sees all of them, wherever they ran. */
static void all_have_marks(void **state)
{
	struct intro_executor *e = full_pool(1, 4);
	struct intro_task_group *group = intro_task_group_new(e);
	_Atomic unsigned counter = 0;
	uint32_t name = intro_mark_name("grouped task");
	struct intro_rec_mark *m;
	size_t n;

	/* before, too, without a listener */
	for (int i = 0; i < 100; i++)
		runs(group, counts, (void *)&counter);
	marks_begin();
	for (int i = 0; i < 100; i++)
		assert_int_equal(
			intro_task_group_run_named(group, name, counts, (void *)&counter, 0), 0);
	assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, NULL), 0);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_SUBMIT, 0), 100);
	assert_true(marks_count(m, n, INTRO_KIND_END, 0) >= 100);
	free(m);
	assert_int_equal(counter, 200);
	free_both(group, e);
}

/* --- failures --------------------------------------------------------------------------------- */

static int fails(struct intro_call *call)
{
	intro_call_error(call, "no disk left");
	return -ENOSPC;
}

static int fails_without_a_word(struct intro_call *call)
{
	return 7;
}

static int says_cancelled(struct intro_call *call)
{
	return -ECANCELED;
}

static void failures(struct intro_executor *e, struct intro_task_group *group)
{
	const struct {
		intro_task_fn fn;
		int code, error;
		const char *text;
	} cases[] = {{fails, -ENOSPC, -ENOSPC, "no disk left"},
		     {fails_without_a_word, -EREMOTEIO, 7, "failed with 7"},
		     {says_cancelled, -ECANCELED, -ECANCELED, "Operation canceled"},
		     {nothing, 0, 0, ""}};
	struct intro_error error;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int k = 0; k < 30; k++)
			runs(group, k == 11 ? cases[i].fn : nothing, NULL);
		assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, &error),
				 cases[i].code);
		assert_int_equal(error.code, cases[i].error);
		if (error.code)
			assert_string_equal(error.text, cases[i].text);
	}
	/* it is told once, and to who does not want to know more as well */
	runs(group, fails, NULL);
	assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, NULL), -ENOSPC);
	assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, &error), 0);
	assert_int_equal(error.code, 0);
}

static int says_late(struct intro_call *call)
{
	return -ETIMEDOUT;
}

static void a_task_may_say_that_it_was_late(void **state)
{
	struct intro_executor *e = full_pool(1, 0);
	struct intro_task_group *group = intro_task_group_new(e);
	struct intro_error error = {.code = 1};
	struct gate gate = {0};

	runs(group, says_late, NULL);
	keep_busy(group, &gate);
	assert_int_equal(intro_task_group_wait(group, 0, &error), -ETIMEDOUT);
	assert_int_equal(error.code, 0);
	assert_int_equal(intro_task_group_wait(group, -1, NULL), -ETIMEDOUT);
	gate_open(&gate);
	assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, &error), -ETIMEDOUT);
	assert_int_equal(error.code, -ETIMEDOUT);
	assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, &error), 0);
	free_both(group, e);
}

static void failures_are_told(void **state)
{
	struct intro_executor *e = full_pool(2, 0);
	struct intro_task_group *group = intro_task_group_new(e);

	failures(e, group);
	free_both(group, e);
}

/* The same of tasks that have no future. */
static void failures_of_callers_tasks_are_told(void **state)
{
	struct intro_executor *e = full_pool(1, 1);
	struct intro_task_group *busy = intro_task_group_new(e), *group = intro_task_group_new(e);
	struct gate gate = {0};

	keep_busy(busy, &gate);
	for (int i = 0; i < 3; i++)
		runs(busy, nothing, NULL);
	failures(e, group);
	gate_open(&gate);
	assert_int_equal(intro_task_group_wait(busy, 10 * SEC, NULL), 0);
	intro_task_group_free(busy);
	free_both(group, e);
}

static void what_has_not_begun_is_cancelled(void **state)
{
	struct intro_executor *e = full_pool(1, 0);
	struct intro_task_group *group = intro_task_group_new(e);
	struct gate gate = {0};
	struct intro_error error;
	_Atomic unsigned counter = 0;

	for (int i = 0; i < 2; i++) {
		gate = (struct gate){0};
		keep_busy(group, &gate);
		for (int k = 0; k < 200; k++)
			runs(group, counts, (void *)&counter);
		intro_task_group_cancel(group);
		gate_open(&gate);
		assert_int_equal(intro_task_group_wait(group, 10 * SEC, &error), -ECANCELED);
		assert_int_equal(error.code, -ECANCELED);
		assert_string_equal(error.text, "Operation canceled");
		assert_int_equal(counter, 0);
	}
	/* a failure is more than that */
	gate = (struct gate){0};
	runs(group, fails, NULL);
	keep_busy(group, &gate);
	runs(group, counts, (void *)&counter);
	intro_task_group_cancel(group);
	gate_open(&gate);
	assert_int_equal(intro_task_group_wait(group, 10 * SEC, NULL), -ENOSPC);
	assert_int_equal(intro_task_group_wait(group, 10 * SEC, NULL), 0);
	assert_int_equal(counter, 0);
	free_both(group, e);
}

static void who_frees_it_waits(void **state)
{
	struct intro_executor *e = full_pool(1, 0);
	struct intro_task_group *group = intro_task_group_new(e);
	struct seen seen = {0};
	_Atomic unsigned counter = 0;

	runs(group, look, &seen);
	for (int i = 0; i < 1000; i++)
		runs(group, counts, (void *)&counter);
	intro_task_group_free(group);
	assert_true(counter <= 1000);
	intro_executor_free(e);
}

/* --- misuse ----------------------------------------------------------------------------------- */

static int rejects(struct intro_executor *executor, uint64_t backlog, void *arg)
{
	return 1;
}

static void what_is_refused(void **state)
{
	struct intro_executor *e = full_pool(1, 4);
	struct intro_executor *rejecting = intro_thread_executor_new(
		POOL_OPTIONS(.workers = 1, .caller_runs = 4, .check_and_reject = {.fn = rejects}));
	struct intro_task_group *group = intro_task_group_new(rejecting);
	_Atomic unsigned counter = 0;

	assert_int_equal(intro_task_group_run(group, counts, (void *)&counter, 0), -EBUSY);
	intro_task_group_free(group);
	intro_executor_free(rejecting);
	group = intro_task_group_new(e);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(intro_task_group_run(group, NULL, NULL, 0), -EINVAL);
		runs(group, counts, (void *)&counter);
	}
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	for (int i = 0; i < 100; i++)
		assert_int_equal(intro_task_group_run(group, counts, (void *)&counter, 0),
				 -ESHUTDOWN);
	assert_int_equal(intro_task_group_wait(group, 0, NULL), 0);
	assert_int_equal(counter, 1000);
	free_both(group, e);
}

struct asked {
	struct intro_task_group *group;
	_Atomic unsigned counter;
	bool asks; /* it is inside */
	bool ends; /* the thread */
};

/* Refuses one, and lets in some others instead. */
static int runs_others_instead(struct intro_executor *executor, uint64_t backlog, void *arg)
{
	struct asked *asked = arg;

	if (asked->asks || !asked->group)
		return 0;
	asked->asks = true;
	for (int i = 0; i < 3; i++)
		runs(asked->group, counts, (void *)&asked->counter);
	asked->asks = false;
	if (asked->ends)
		pthread_exit(NULL);
	return -EAGAIN;
}

static void *is_refused(void *arg)
{
	struct asked *asked = arg;

	return (void *)(intptr_t)intro_task_group_run(asked->group, fails, NULL, 0);
}

static void what_refuses_runs_others(void **state)
{
	struct asked asked = {0};
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.workers = 1,
			     .check_and_reject = {.fn = runs_others_instead, .arg = &asked}));
	struct intro_task_group *group = intro_task_group_new(e);
	struct gate gate = {0};
	pthread_t thread;
	void *result;

	keep_busy(group, &gate);
	asked.group = group;
	for (int i = 0; i < 100; i++) {
		asked.ends = i % 2;
		assert_int_equal(pthread_create(&thread, NULL, is_refused, &asked), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_int_equal((intptr_t)result, asked.ends ? 0 : -EAGAIN);
	}
	gate_open(&gate);
	assert_int_equal(intro_task_group_wait(group, 10 * SEC, NULL), 0);
	assert_int_equal(asked.counter, 300);
	free_both(group, e);
}

/* Not in the middle of what waits either. */
static void a_full_pool_that_is_shut_down_refuses(void **state)
{
	struct intro_executor *e = full_pool(1, 1);
	struct intro_task_group *group = intro_task_group_new(e);
	struct gate gate = {0};

	keep_busy(group, &gate);
	for (int i = 0; i < 10; i++)
		runs(group, nothing, NULL);
	intro_executor_shutdown(e, 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(intro_task_group_run(group, nothing, NULL, 0), -ESHUTDOWN);
	gate_open(&gate);
	assert_int_equal(intro_task_group_wait(group, 10 * SEC, NULL), 0);
	free_both(group, e);
}

struct nested {
	struct intro_task_group *group;
	int run, wait, ran;
};

static int runs_and_waits(struct intro_call *call)
{
	struct nested *nested = (void *)call->arg;

	nested->run = intro_task_group_run(nested->group, nothing, NULL, 0);
	nested->wait = intro_task_group_wait(nested->group, 0, NULL);
	nested->ran++;
	return 0;
}

/* In a task that the caller of run runs there may be more tasks, but no wait. */
static void a_task_uses_its_own_group(void **state)
{
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.workers = 1, .caller_runs = 1, .waiters_help = true));
	struct nested nested = {.group = intro_task_group_new(e)}, waiting = nested;
	struct intro_future busy;
	struct gate gate = {0};

	submit_new(e, &busy, wait_at, &gate, 0);
	gate_expect(&gate, 1);
	/* the one that is queued: the wait runs it */
	runs(nested.group, runs_and_waits, &waiting);
	for (int i = 0; i < 100; i++) {
		runs(nested.group, runs_and_waits, &nested);
		assert_int_equal(nested.run, 0);
		assert_int_equal(nested.wait, -EDEADLK);
	}
	assert_int_equal(nested.ran, 100);
	assert_int_equal(waiting.ran, 0);
	assert_int_equal(intro_task_group_wait(nested.group, INTRO_FOREVER, NULL), 0);
	assert_int_equal(waiting.ran, 1);
	assert_int_equal(waiting.run, -EBUSY);
	assert_int_equal(waiting.wait, -EDEADLK);
	gate_open(&gate);
	assert_int_equal(intro_future_result(&busy, 10 * SEC, NULL), 0);
	intro_future_destroy(&busy);
	intro_task_group_free(nested.group);
	intro_executor_free(e);
}

/* --- the thread ends, the process forks ------------------------------------------------------- */

struct visit {
	struct intro_task_group *group;
	intro_task_fn fn;
	bool waits;
};

static void *visits(void *arg)
{
	struct visit *visit = arg;

	runs(visit->group, nothing, NULL);
	runs(visit->group, visit->fn, NULL);
	if (visit->waits)
		intro_task_group_wait(visit->group, INTRO_FOREVER, NULL);
	return arg;
}

/* Another thread goes on with the group, and is told. */
static void a_task_ends_the_callers_thread(void **state)
{
	struct intro_executor *e =
		intro_thread_executor_new(POOL_OPTIONS(.name = "grouped", .workers = 1,
						       .caller_runs = 2, .waiters_help = true));
	struct visit visit = {.group = intro_task_group_new(e), .fn = exits};
	struct intro_task_group *busy = intro_task_group_new(e);
	struct intro_error error;
	struct gate gate = {0};
	pthread_t thread;
	void *result;

	keep_busy(busy, &gate);
	for (int i = 0; i < 40; i++) {
		/* in the run; or, as there is room, in the wait */
		visit.waits = i % 2;
		if (!visit.waits)
			for (int k = 0; k < 2; k++)
				runs(busy, nothing, NULL);
		assert_int_equal(pthread_create(&thread, NULL, visits, &visit), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_null(result);
		assert_int_equal(intro_task_group_wait(visit.group, INTRO_FOREVER, &error),
				 -EOWNERDEAD);
		assert_non_null(strstr(error.text, "grouped/guest"));
		if (!visit.waits) {
			gate_open(&gate);
			assert_int_equal(intro_task_group_wait(busy, INTRO_FOREVER, NULL), 0);
			gate = (struct gate){0};
			keep_busy(busy, &gate);
		}
	}
	gate_open(&gate);
	assert_int_equal(intro_task_group_wait(busy, 10 * SEC, NULL), 0);
	intro_task_group_free(busy);
	intro_task_group_free(visit.group);
	intro_executor_free(e);
}

static void a_forked_child_runs_none(void **state)
{
	struct intro_executor *e = full_pool(1, 1);
	struct intro_task_group *group = intro_task_group_new(e);
	struct gate gate = {0};
	int status;
	pid_t pid;

	keep_busy(group, &gate);
	for (int i = 0; i < 10; i++)
		runs(group, nothing, NULL);
	pid = fork();
	if (!pid) {
		if (intro_task_group_run(group, nothing, NULL, 0) != -ESHUTDOWN ||
		    intro_task_group_wait(group, INTRO_FOREVER, NULL) != -ESHUTDOWN)
			_exit(1);
		intro_task_group_free(group);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	gate_open(&gate);
	assert_int_equal(intro_task_group_wait(group, 10 * SEC, NULL), 0);
	free_both(group, e);
}

/* --- beside a shutdown ------------------------------------------------------------------------ */

struct race {
	struct intro_executor *e;
	_Atomic bool over;
	_Atomic unsigned late;
};

static int is_late(struct intro_call *call)
{
	struct race *race = (void *)call->arg;

	if (race->over)
		race->late++;
	return 0;
}

static void *runs_until_refused(void *arg)
{
	struct race *race = arg;
	struct intro_task_group *group = intro_task_group_new(race->e);

	while (!intro_task_group_run(group, is_late, race, 0))
		;
	intro_task_group_wait(group, INTRO_FOREVER, NULL);
	intro_task_group_free(group);
	return NULL;
}

/* Nothing runs once a shutdown that waited has returned, not even what callers run. */
static void a_shutdown_waits_for_callers(void **state)
{
	for (int i = 0; i < RACES; i++) {
		struct race race = {.e = full_pool(1, 2)};
		pthread_t thread[2];

		for (int k = 0; k < 2; k++)
			assert_int_equal(
				pthread_create(&thread[k], NULL, runs_until_refused, &race), 0);
		sleep_ms(i % 2);
		intro_executor_shutdown(race.e, INTRO_SHUTDOWN_WAIT);
		race.over = true;
		for (int k = 0; k < 2; k++)
			pthread_join(thread[k], NULL);
		assert_int_equal(race.late, 0);
		intro_executor_free(race.e);
	}
}

/* --- where there is no membarrier(2) ---------------------------------------------------------- */

static _Atomic bool no_barriers;
static _Atomic unsigned refusals;

long syscall(long number, ...)
{
	va_list args;
	long result;

	if (number == SYS_membarrier && no_barriers) {
		refusals++;
		errno = ENOSYS;
		return -1;
	}
	va_start(args, number);
	result = real_syscall(number, args);
	va_end(args);
	return result;
}

static void without_barriers(void **state)
{
	no_barriers = true;
	all_run_once_each(state);
	a_full_pool_that_is_shut_down_refuses(state);
	a_shutdown_waits_for_callers(state);
	no_barriers = false;
	/* it was asked for once a pool, and not used */
	assert_int_equal(refusals, 3 + 1 + RACES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_run_once_each),
		cmocka_unit_test(processes_run_them),
		cmocka_unit_test(memory_does_not_grow_with_the_tasks),
		cmocka_unit_test(one_that_takes_long_keeps_no_others),
		cmocka_unit_test(callers_run_what_is_too_much),
		cmocka_unit_test(all_have_marks),
		cmocka_unit_test(failures_are_told),
		cmocka_unit_test(a_task_may_say_that_it_was_late),
		cmocka_unit_test(failures_of_callers_tasks_are_told),
		cmocka_unit_test(what_has_not_begun_is_cancelled),
		cmocka_unit_test(who_frees_it_waits),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(what_refuses_runs_others),
		cmocka_unit_test(a_full_pool_that_is_shut_down_refuses),
		cmocka_unit_test(a_task_uses_its_own_group),
		cmocka_unit_test(a_task_ends_the_callers_thread),
		cmocka_unit_test(a_forked_child_runs_none),
		cmocka_unit_test(a_shutdown_waits_for_callers),
		cmocka_unit_test(without_barriers),
	};

	watchdog(120);
	private_area();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
