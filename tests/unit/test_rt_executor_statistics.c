/* SPDX-License-Identifier: BSD-2-Clause */
/* What pools count, whom they reject, and how a dynamic one grows and shrinks. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 2000

static int at_gate(struct intro_call *call)
{
	gate_wait(*(struct gate *const *)call->arg);
	return 0;
}

static int succeeds(struct intro_call *call)
{
	return 0;
}

static int fails(struct intro_call *call)
{
	return 5;
}

static int sleeps(struct intro_call *call)
{
	sleep_ms(2);
	return 0;
}

typedef struct intro_executor *(*new_fn)(const struct intro_executor_options *options);

static struct intro_executor_statistics statistics_of(struct intro_executor *e)
{
	struct intro_executor_statistics s = {.size = sizeof(s)};

	assert_int_equal(intro_executor_statistics(e, &s), 0);
	return s;
}

static void submit(struct intro_executor *e, struct intro_future *f, intro_task_fn fn)
{
	intro_future_init(f);
	assert_int_equal(intro_executor_submit(e, f, fn, NULL, 0), 0);
}

static void submit_gate(struct intro_executor *e, struct intro_future *f, struct gate **gate)
{
	intro_future_init(f);
	assert_int_equal(intro_executor_submit(e, f, at_gate, gate, sizeof(*gate)), 0);
}

/* Until none but the tasks at the gate and those behind them is on its way. */
static void until_backlog(struct intro_executor *e, uint64_t n)
{
	while (statistics_of(e).backlog != n)
		sched_yield();
}

static void counts(new_fn new, uint64_t handed)
{
	struct gate *gate = gate_new_shared(); /* before workers are forked */
	struct intro_executor *e = new (POOL_OPTIONS(.name = "count", .workers = 1));
	struct intro_executor_statistics s;
	struct intro_future f[8];

	submit_gate(e, &f[0], &gate);
	gate_expect(gate, 1);
	for (int i = 1; i < 8; i++)
		submit(e, &f[i], i == 1 ? fails : succeeds);
	until_backlog(e, 8 - handed);
	s = statistics_of(e);
	assert_int_equal(s.submitted, 8);
	assert_int_equal(s.executed, 0);
	assert_int_equal(s.workers, 1);
	assert_true(intro_future_cancel(&f[4]));
	assert_true(intro_future_cancel(&f[5]));
	intro_future_destroy(&f[5]); /* taken out of the queue */
	assert_int_equal(statistics_of(e).cancelled, 1);
	gate_open(gate);
	assert_int_equal(intro_future_result(&f[7], INTRO_FOREVER, NULL), 0);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	s = statistics_of(e);
	assert_int_equal(s.submitted, 8);
	assert_int_equal(s.executed, 6);
	assert_int_equal(s.failures, 1);
	assert_int_equal(s.cancelled, 2);
	assert_int_equal(s.lost, 0);
	assert_int_equal(s.rejected, 0);
	assert_int_equal(s.backlog, 0);
	assert_int_equal(s.timed, 0);
	assert_true(s.average_queued_ns == 0 && s.average_run_ns == 0);
	for (int i = 0; i < 8; i++)
		if (i != 5)
			intro_future_destroy(&f[i]);
	intro_executor_free(e);
}

static void threads_are_counted(void **state)
{
	counts(intro_thread_executor_new, 1);
}

static void processes_are_counted(void **state)
{
	counts(intro_process_executor_new, 2);
}

static void times(new_fn new)
{
	struct gate *gate = gate_new_shared(); /* before workers are forked */
	struct intro_executor *e =
		new (POOL_OPTIONS(.name = "timed", .workers = 1, .timed = true, .prefetch = 1));
	struct intro_executor_statistics s;
	struct intro_future f[3];

	submit_gate(e, &f[0], &gate);
	gate_expect(gate, 1);
	submit(e, &f[1], sleeps);
	submit(e, &f[2], sleeps);
	sleep_ms(4);
	gate_open(gate);
	for (int i = 0; i < 3; i++)
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
	s = statistics_of(e);
	assert_int_equal(s.executed, 3);
	assert_int_equal(s.timed, 3);
	/* the first ran for those 4 ms, and both others waited; these slept 2 ms each, and the
	 * third waited for that, too */
	assert_true(s.run_ns >= 8 * MSEC);
	assert_true(s.queued_ns >= 10 * MSEC);
	assert_true(s.average_run_ns == (double)s.run_ns / 3);
	assert_true(s.average_queued_ns == (double)s.queued_ns / 3);
	for (int i = 0; i < 3; i++)
		intro_future_destroy(&f[i]);
	intro_executor_free(e);
}

static void threads_are_timed(void **state)
{
	times(intro_thread_executor_new);
}

static void processes_are_timed(void **state)
{
	times(intro_process_executor_new);
}

static int breaks(struct intro_call *call)
{
	gate_wait(*(struct gate *const *)call->arg);
	return 1;
}

static void broken_pools_count_the_lost(void **state)
{
	struct gate *gate = gate_new_shared();
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.workers = 1, .initializer = breaks, .initarg = &gate,
			     .initarg_size = sizeof(gate)));
	struct intro_executor_statistics s;
	struct intro_future f[3];

	for (int i = 0; i < 3; i++)
		submit(e, &f[i], succeeds);
	assert_true(intro_future_cancel(&f[1]));
	gate_open(gate);
	for (int i = 0; i < 3; i++)
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL),
				 i == 1 ? -ECANCELED : -EPIPE);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	s = statistics_of(e);
	assert_int_equal(s.submitted, 3);
	assert_int_equal(s.lost, 2);
	assert_int_equal(s.cancelled, 1);
	assert_int_equal(s.executed, 0);
	for (int i = 0; i < 3; i++)
		intro_future_destroy(&f[i]);
	intro_executor_free(e);
}

static void sizes(void **state)
{
	struct intro_executor *e = intro_thread_executor_new(POOL_OPTIONS(.workers = 1));
	struct {
		struct intro_executor_statistics s;
		long later;
	} newer = {.s.size = sizeof(newer), .later = 7};
	struct intro_executor_statistics older = {
		.size = offsetof(struct intro_executor_statistics, failures), .failures = 9};

	assert_int_equal(intro_executor_statistics(e, &newer.s), 0);
	assert_int_equal(newer.later, 0);
	assert_int_equal(intro_executor_statistics(e, &older), 0);
	assert_int_equal(older.failures, 9);
	older.size = 0;
	assert_int_equal(intro_executor_statistics(e, &older), -EINVAL);
	intro_executor_free(e);
}

static void rejects(new_fn new, uint64_t handed)
{
	struct gate *gate = gate_new_shared();
	struct intro_executor *e =
		new (POOL_OPTIONS(.workers = 1, .check_and_reject = intro_reject_when_reached(2)));
	struct intro_executor_statistics s;
	struct intro_future f[5];
	uint64_t n = handed + 2;
	struct intro_rec_mark *m;
	size_t marks;

	for (uint64_t i = 0; i < handed; i++) {
		submit_gate(e, &f[i], &gate);
		until_backlog(e, 0);
	}
	gate_expect(gate, 1);
	submit(e, &f[handed], succeeds);
	submit(e, &f[handed + 1], succeeds);
	intro_future_init(&f[n]);
	marks_begin();
	assert_int_equal(intro_executor_submit_named(e, &f[n], 5, succeeds, NULL, 0), -EBUSY);
	m = marks_end(&marks);
	assert_int_equal(marks_count(m, marks, INTRO_KIND_SUBMIT, 0), 0);
	assert_int_equal(marks_count(m, marks, INTRO_KIND_REJECT, 0), 1);
	assert_int_equal(m[marks_find(m, marks, 0, INTRO_KIND_REJECT, 0)].a,
			 intro_executor_pool_id(e));
	assert_int_equal(m[marks_find(m, marks, 0, INTRO_KIND_REJECT, 0)].b, 5);
	free(m);
	assert_int_equal(intro_future_state(&f[n]), INTRO_FUTURE_PENDING);
	s = statistics_of(e);
	assert_int_equal(s.rejected, 1);
	assert_int_equal(s.submitted, n);
	gate_open(gate);
	until_backlog(e, 0);
	assert_int_equal(intro_executor_submit(e, &f[n], succeeds, NULL, 0), 0);
	for (uint64_t i = 0; i <= n; i++) {
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(e);
}

static void threads_reject(void **state)
{
	rejects(intro_thread_executor_new, 1);
}

static void processes_reject(void **state)
{
	rejects(intro_process_executor_new, 2);
}

static int as_told(struct intro_executor *e, uint64_t backlog, void *arg)
{
	return *(int *)arg;
}

static void the_hook_decides(void **state)
{
	int told = 3;
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.workers = 1, .check_and_reject = {.fn = as_told, .arg = &told}));
	struct intro_future f;

	intro_future_init(&f);
	assert_int_equal(intro_executor_submit(e, &f, succeeds, NULL, 0), -EBUSY);
	told = -EPERM;
	assert_int_equal(intro_executor_submit(e, &f, succeeds, NULL, 0), -EPERM);
	told = 0;
	assert_int_equal(intro_executor_submit(e, &f, succeeds, NULL, 0), 0);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(&f);
	intro_executor_free(e);
}

/* --- dynamic --------------------------------------------------------------------------------- */

static void dynamic_options(void **state)
{
	struct intro_executor *e;

	assert_null(intro_dynamic_executor_new(NULL));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_dynamic_executor_new(POOL_OPTIONS(.workers = 2, .min_workers = 3)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_dynamic_executor_new(POOL_OPTIONS(.grow_at = -1)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_dynamic_executor_new(POOL_OPTIONS(.grow_at = 0.3)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_dynamic_executor_new(POOL_OPTIONS(.shrink_at = __builtin_nan(""))));
	assert_int_equal(errno, EINVAL);
	e = intro_thread_executor_new(POOL_OPTIONS(.workers = 2));
	assert_int_equal(intro_executor_maintain(e), -EOPNOTSUPP);
	intro_executor_free(e);
	e = intro_dynamic_executor_new(POOL_OPTIONS(.workers = 4, .min_workers = 2));
	assert_int_equal(statistics_of(e).workers, 2);
	assert_int_equal(intro_executor_workers(e), 4);
	assert_int_equal(intro_executor_maintain(e), 0);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(intro_executor_maintain(e), -ESHUTDOWN);
	intro_executor_free(e);
}

static int tells_who(struct intro_call *call)
{
	atomic_store(*(_Atomic uint32_t *const *)call->arg, (uint32_t)gettid());
	return 0;
}

static void grows_at_its_threshold(void **state)
{
	_Atomic uint32_t tid = 0, *at = &tid;
	struct intro_executor *e = intro_dynamic_executor_new(
		POOL_OPTIONS(.name = "dyn", .workers = 4, .grow_at = 2, .initializer = tells_who,
			     .initarg = &at, .initarg_size = sizeof(at)));
	/* (busy + queued) / workers reaches 2 at the second task, the fourth, the sixth */
	static const uint64_t expected[] = {1, 2, 2, 3, 3, 4, 4, 4};
	struct gate *gate = gate_new_shared();
	struct intro_future f[8];

	assert_int_equal(statistics_of(e).workers, 1);
	/* who is on its way to the queue or from it counts as busy */
	while (!atomic_load(&tid))
		sched_yield();
	until_asleep(atomic_load(&tid));
	for (int i = 0; i < 8; i++) {
		/* who starts counts as idle: let it take what it may first */
		submit_gate(e, &f[i], &gate);
		assert_int_equal(statistics_of(e).workers, expected[i]);
		gate_expect(gate, (unsigned)(i + 1 < (int)expected[i] ? i + 1 : (int)expected[i]));
	}
	gate_open(gate);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(e);
}

static void shrink_to(struct intro_executor *e, uint64_t n)
{
	do {
		assert_int_equal(intro_executor_maintain(e), 0);
		sched_yield();
	} while (statistics_of(e).workers != n);
	/* it stays there */
	assert_int_equal(intro_executor_maintain(e), 0);
	assert_int_equal(statistics_of(e).workers, n);
	while (count_threads("dyn/") != n)
		sched_yield();
}

static void shrinks_in_maintain_and_grows_again(void **state)
{
	struct intro_executor *e =
		intro_dynamic_executor_new(POOL_OPTIONS(.name = "dyn", .workers = 4));
	struct gate *gate = gate_new_shared(), *other = gate_new_shared();
	struct intro_future f[5];

	for (int round = 0; round < 3; round++) {
		submit_gate(e, &f[0], &other);
		for (int i = 1; i < 5; i++)
			submit_gate(e, &f[i], &gate);
		gate_expect(gate, 3);
		assert_int_equal(statistics_of(e).workers, 4);
		gate_open(gate);
		for (int i = 1; i < 5; i++)
			assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
		/* one is busy: 1/4 and 1/3 are low, 1/2 is not */
		shrink_to(e, 2);
		gate_open(other);
		assert_int_equal(intro_future_result(&f[0], INTRO_FOREVER, NULL), 0);
		shrink_to(e, 1);
		for (int i = 0; i < 5; i++)
			intro_future_destroy(&f[i]);
		gate = gate_new_shared();
		other = gate_new_shared();
	}
	assert_int_equal(statistics_of(e).executed, 15);
	intro_executor_free(e);
	assert_int_equal(count_threads_left("dyn/"), 0);
}

struct keeper {
	struct intro_executor *executor;
	_Atomic bool stop;
};

static void *keep(void *arg)
{
	struct keeper *keeper = arg;

	while (!keeper->stop)
		assert_int_equal(intro_executor_maintain(keeper->executor), 0);
	return NULL;
}

static void maintained_while_it_works(void **state)
{
	struct keeper keeper = {
		.executor = intro_dynamic_executor_new(POOL_OPTIONS(.name = "dyn", .workers = 4))};
	struct intro_future *f = aligned_alloc(64, MANY * sizeof(*f));
	pthread_t thread;

	pthread_create(&thread, NULL, keep, &keeper);
	for (int i = 0; i < MANY; i++) {
		submit(keeper.executor, &f[i], succeeds);
		if (i % 50 == 0)
			assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&f[i]);
	}
	keeper.stop = true;
	pthread_join(thread, NULL);
	intro_executor_shutdown(keeper.executor, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(statistics_of(keeper.executor).executed, MANY);
	intro_executor_free(keeper.executor);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_are_counted),
		cmocka_unit_test(processes_are_counted),
		cmocka_unit_test(threads_are_timed),
		cmocka_unit_test(processes_are_timed),
		cmocka_unit_test(broken_pools_count_the_lost),
		cmocka_unit_test(sizes),
		cmocka_unit_test(threads_reject),
		cmocka_unit_test(processes_reject),
		cmocka_unit_test(the_hook_decides),
		cmocka_unit_test(dynamic_options),
		cmocka_unit_test(grows_at_its_threshold),
		cmocka_unit_test(shrinks_in_maintain_and_grows_again),
		cmocka_unit_test(maintained_while_it_works),
	};

	watchdog(30);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
