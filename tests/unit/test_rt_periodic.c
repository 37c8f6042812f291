/* SPDX-License-Identifier: BSD-2-Clause */
/* Periodic workers: when tasks run, what is counted, how they end. Times are bounds from below. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/periodic.h>

#define OPTIONS(...)                                                                               \
	(&(struct intro_periodic_options){.size = sizeof(struct intro_periodic_options),           \
					  __VA_ARGS__})
#define TASK(...)                                                                                  \
	(&(struct intro_periodic_task){.size = sizeof(struct intro_periodic_task), __VA_ARGS__})

static _Atomic unsigned calls, inside_now, failures_told;
static _Atomic int64_t starts[64], ends[64];

static void until(const _Atomic unsigned *count, unsigned n)
{
	while (*count < n)
		sleep_ms(1);
}

static int counts(struct intro_call *call)
{
	assert_int_equal(inside_now++, 0);
	starts[calls % 64] = now_ns();
	inside_now--;
	calls++;
	return 0;
}

static int takes_long(struct intro_call *call)
{
	unsigned n = calls % 64;

	starts[n] = now_ns();
	sleep_ms(20);
	ends[n] = now_ns();
	calls++;
	return 0;
}

static int fails(struct intro_call *call)
{
	intro_call_error(call, "no %s", (const char *)call->arg);
	calls++;
	return 7;
}

static int ends_at_three(struct intro_call *call)
{
	return ++calls == 3 ? INTRO_NEVER_AGAIN : 0;
}

static struct intro_periodic *new_worker(const struct intro_periodic_options *options)
{
	struct intro_periodic *p;

	calls = failures_told = 0;
	p = intro_periodic_new(options);
	assert_non_null(p);
	return p;
}

static struct intro_periodic_watch watch(struct intro_periodic *p, unsigned task)
{
	struct intro_periodic_watch w;

	assert_int_equal(intro_periodic_watch(p, task, &w), 0);
	return w;
}

static void stop_and_wait(struct intro_periodic *p)
{
	assert_int_equal(intro_periodic_stop(p), 0);
	assert_int_equal(intro_periodic_wait(p, INTRO_FOREVER), 0);
}

/* No two starts are closer than the spacing; elapsed and waited are sums of what is. */
static void runs_with_its_spacing(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS(.name = "test"));
	struct intro_periodic_watch w;
	int64_t begin = now_ns();

	assert_int_equal(
		intro_periodic_add(p, TASK(.name = "count", .fn = counts, .spacing_ns = 5 * MSEC)),
		0);
	assert_int_equal(intro_periodic_count(p), 1);
	assert_int_equal(intro_periodic_start(p, 0), 0);
	until(&calls, 5);
	stop_and_wait(p);
	w = watch(p, 0);
	assert_int_equal(w.runs, calls);
	assert_int_equal(w.successes, calls);
	assert_int_equal(w.failures, 0);
	assert_false(w.running || w.never_again);
	assert_true(starts[0] - begin >= 5 * MSEC);
	for (unsigned i = 1; i < calls && i < 64; i++)
		assert_true(starts[i] - starts[i - 1] >= 5 * MSEC - MSEC / 10);
	assert_true(w.elapsed_ns >= 0 && w.waited_ns >= 0);
	assert_true(w.elapsed_ns + w.waited_ns <= now_ns() - begin);
	intro_periodic_free(p);
	assert_int_equal(count_threads_left("test/"), 0);
}

static void overruns_are_counted_and_never_overlap(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS());
	struct intro_periodic_watch w;

	intro_periodic_add(p, TASK(.fn = takes_long, .spacing_ns = MSEC, .run_immediately = true));
	assert_int_equal(intro_periodic_start(p, 0), 0);
	until(&calls, 3);
	stop_and_wait(p);
	w = watch(p, 0);
	assert_int_equal(w.overruns, w.runs);
	assert_true(w.elapsed_ns >= (int64_t)w.runs * 20 * MSEC);
	for (unsigned i = 1; i < calls; i++)
		assert_true(starts[i] >= ends[i - 1]);
	intro_periodic_free(p);
}

static void from_last_finish(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS(.schedule = INTRO_PERIODIC_LAST_FINISHED));

	intro_periodic_add(p, TASK(.fn = takes_long, .spacing_ns = 30 * MSEC));
	intro_periodic_start(p, 0);
	until(&calls, 3);
	stop_and_wait(p);
	for (unsigned i = 1; i < calls; i++)
		assert_true(starts[i] - ends[i - 1] >= 30 * MSEC);
	intro_periodic_free(p);
}

/* A start is never before a multiple of the spacing that lies after the last end. */
static void from_aligned_finish(void **state)
{
	struct intro_periodic *p =
		new_worker(OPTIONS(.schedule = INTRO_PERIODIC_ALIGNED_LAST_FINISHED));

	intro_periodic_add(p, TASK(.fn = takes_long, .spacing_ns = 50 * MSEC));
	intro_periodic_start(p, 0);
	until(&calls, 3);
	stop_and_wait(p);
	for (unsigned i = 1; i < calls; i++)
		assert_true(starts[i] / (50 * MSEC) > ends[i - 1] / (50 * MSEC));
	intro_periodic_free(p);
}

static void jitter_only_delays(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS(.jitter_percent = 100));
	int64_t least = INT64_MAX, most = 0;

	intro_periodic_add(p, TASK(.fn = counts, .spacing_ns = 4 * MSEC));
	for (int i = 0; i < 50; i++) {
		struct intro_periodic_watch w = watch(p, 0);

		least = w.due_in_ns < least ? w.due_in_ns : least;
		most = w.due_in_ns > most ? w.due_in_ns : most;
		assert_int_equal(intro_periodic_reset(p), 0);
	}
	assert_true(most <= 8 * MSEC);
	assert_true(most - least > MSEC / 2);
	intro_periodic_free(p);
}

static struct intro_periodic *asking; /* before it is started */

static void tell(unsigned task, const char *name, const struct intro_error *error, void *arg)
{
	assert_int_equal(task, 0);
	assert_string_equal(name, "failing");
	assert_int_equal(error->code, 7);
	assert_string_equal(error->text, "no luck");
	assert_ptr_equal(arg, &calls);
	assert_int_equal(intro_periodic_wait(asking, 0), -EDEADLK);
	failures_told++;
}

static void failures_are_told_and_run_again(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS(.failed = tell, .failed_arg = &calls));
	struct intro_periodic_watch w;

	asking = p;
	intro_periodic_add(p, TASK(.name = "failing", .fn = fails, .arg = "luck",
				   .spacing_ns = MSEC, .run_immediately = true));
	intro_periodic_start(p, 0);
	until(&failures_told, 3);
	stop_and_wait(p);
	w = watch(p, 0);
	assert_int_equal(w.failures, w.runs);
	assert_int_equal(w.failures, failures_told);
	assert_int_equal(w.successes, 0);
	intro_periodic_free(p);
}

static void never_again_and_reset(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS());
	struct intro_periodic_watch w;

	intro_periodic_add(p, TASK(.fn = ends_at_three, .spacing_ns = MSEC));
	assert_int_equal(intro_periodic_start(p, INTRO_PERIODIC_STOP_IF_EMPTY), 0);
	assert_int_equal(intro_periodic_wait(p, INTRO_FOREVER), 0);
	w = watch(p, 0);
	assert_true(w.never_again);
	assert_int_equal(w.runs, 3);
	assert_int_equal(w.successes, 3);
	assert_int_equal(intro_periodic_start(p, 0), -EALREADY);
	assert_int_equal(intro_periodic_reset(p), 0);
	assert_int_equal(watch(p, 0).runs, 0);
	calls = 0;
	assert_int_equal(intro_periodic_start(p, INTRO_PERIODIC_STOP_IF_EMPTY), 0);
	assert_int_equal(intro_periodic_wait(p, INTRO_FOREVER), 0);
	assert_int_equal(watch(p, 0).runs, 3);
	intro_periodic_free(p);
}

static void added_while_it_runs(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS());

	assert_int_equal(intro_periodic_start(p, 0), -ENOENT);
	assert_int_equal(intro_periodic_start(p, INTRO_PERIODIC_ALLOW_EMPTY), 0);
	sleep_ms(5);
	for (int i = 0; i < 20; i++)
		assert_int_equal(intro_periodic_add(p, TASK(.fn = counts, .spacing_ns = 2 * MSEC,
							    .run_immediately = true)),
				 i);
	for (unsigned i = 0; i < 20; i++)
		while (watch(p, i).runs < 2)
			sleep_ms(1);
	stop_and_wait(p);
	intro_periodic_free(p);
}

static int sleeps(struct intro_call *call)
{
	calls++;
	sleep_ms(30);
	return 0;
}

/* What waits behind another in the same thread: waited_ns; what has not begun at stop never does.
 */
static void one_thread_queues(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS());
	int64_t waited;

	for (int i = 0; i < 2; i++)
		intro_periodic_add(
			p, TASK(.fn = sleeps, .spacing_ns = 3600 * SEC, .run_immediately = true));
	intro_periodic_start(p, 0);
	until(&calls, 2);
	stop_and_wait(p);
	waited = watch(p, 0).waited_ns + watch(p, 1).waited_ns;
	assert_true(waited >= 29 * MSEC);
	assert_int_equal(intro_periodic_reset(p), 0);
	calls = 0;
	intro_periodic_start(p, 0);
	until(&calls, 1);
	while (watch(p, 0).running + watch(p, 1).running + watch(p, 0).runs + watch(p, 1).runs < 2)
		sleep_ms(1);
	stop_and_wait(p);
	assert_int_equal(watch(p, 0).runs + watch(p, 1).runs, calls);
	intro_periodic_free(p);
}

static void on_a_given_pool(void **state)
{
	struct intro_executor *e =
		intro_thread_executor_new(POOL_OPTIONS(.name = "given", .workers = 2));
	struct intro_periodic *p = new_worker(OPTIONS(.executor = e));

	for (int i = 0; i < 3; i++)
		intro_periodic_add(p, TASK(.fn = sleeps, .spacing_ns = MSEC));
	intro_periodic_start(p, 0);
	until(&calls, 6);
	assert_int_equal(intro_periodic_reset(p), -EBUSY);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(intro_periodic_wait(p, INTRO_FOREVER), -ESHUTDOWN);
	intro_periodic_free(p);
	intro_executor_free(e);
}

struct in_process {
	int answer;
};

static int in_a_process(struct intro_call *call)
{
	const struct in_process *arg = call->arg;

	if (call->size != sizeof(*arg) || arg->answer != 42)
		return 1;
	sleep_ms(2);
	return INTRO_NEVER_AGAIN;
}

static int fails_in_a_process(struct intro_call *call)
{
	intro_call_error(call, "as it must");
	return 9;
}

static void told_from_a_process(unsigned task, const char *name, const struct intro_error *error,
				void *arg)
{
	assert_int_equal(error->code, 9);
	assert_string_equal(error->text, "as it must");
	failures_told++;
}

static void on_processes(void **state)
{
	struct intro_executor *e = intro_process_executor_new(POOL_OPTIONS(.workers = 1));
	struct intro_periodic *p =
		new_worker(OPTIONS(.executor = e, .failed = told_from_a_process));
	struct in_process arg = {.answer = 42};

	intro_periodic_add(p, TASK(.fn = in_a_process, .arg = &arg, .arg_size = sizeof(arg),
				   .spacing_ns = MSEC));
	intro_periodic_add(p, TASK(.fn = fails_in_a_process, .spacing_ns = MSEC));
	arg.answer = 0;
	intro_periodic_start(p, 0);
	until(&failures_told, 2);
	while (!watch(p, 0).never_again)
		sleep_ms(1);
	assert_int_equal(watch(p, 0).successes, 1);
	assert_true(watch(p, 0).elapsed_ns >= 2 * MSEC);
	intro_periodic_free(p);
	intro_executor_free(e);
}

static void misuse(void **state)
{
	struct intro_periodic_watch w;
	struct intro_periodic *p;

	assert_null(intro_periodic_new(NULL));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_periodic_new(OPTIONS(.jitter_percent = 101)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_periodic_new(OPTIONS(.schedule = 9)));
	p = new_worker(OPTIONS());
	assert_int_equal(intro_periodic_add(p, NULL), -EINVAL);
	assert_int_equal(intro_periodic_add(p, TASK(.spacing_ns = SEC)), -EINVAL);
	assert_int_equal(intro_periodic_add(p, TASK(.fn = counts)), -EINVAL);
	assert_int_equal(intro_periodic_add(p, TASK(.fn = counts, .spacing_ns = -1)), -EINVAL);
	assert_int_equal(intro_periodic_add(p, TASK(.fn = counts, .spacing_ns = INT64_MAX)),
			 -EINVAL);
	assert_int_equal(intro_periodic_stop(p), -EINVAL);
	assert_int_equal(intro_periodic_wait(p, 0), -EINVAL);
	assert_int_equal(intro_periodic_watch(p, 0, &w), -ENOENT);
	assert_int_equal(intro_periodic_start(p, 64), -EINVAL);
	assert_int_equal(intro_periodic_add(p, TASK(.fn = counts, .spacing_ns = MSEC)), 0);
	assert_int_equal(intro_periodic_start(p, 0), 0);
	assert_int_equal(intro_periodic_start(p, 0), -EALREADY);
	assert_int_equal(intro_periodic_wait(p, MSEC), -ETIMEDOUT);
	until(&calls, 1);
	intro_periodic_free(p);
	intro_periodic_free(NULL);
}

static void each_run_is_a_task(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS());
	uint32_t name = intro_mark_name("three");
	struct intro_rec_mark *m;
	size_t n;
	int at;

	intro_periodic_add(p, TASK(.name = "three", .fn = ends_at_three, .spacing_ns = MSEC));
	marks_begin();
	intro_periodic_start(p, INTRO_PERIODIC_STOP_IF_EMPTY);
	intro_periodic_wait(p, INTRO_FOREVER);
	intro_periodic_free(p);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_SUBMIT, 0), 3);
	assert_int_equal(marks_count(m, n, INTRO_KIND_START, 0), 3);
	assert_int_equal(marks_count(m, n, INTRO_KIND_END, 0), 3);
	at = marks_find(m, n, 0, INTRO_KIND_SUBMIT, 0);
	assert_int_equal(m[at].b, name);
	at = marks_find(m, n, (size_t)at, INTRO_KIND_END, m[at].task);
	assert_true(at >= 0);
	assert_int_equal(m[at].a, INTRO_STATUS_OK);
	free(m);
}

static void idle_uses_no_cpu(void **state)
{
	struct intro_periodic *p = new_worker(OPTIONS());
	int64_t cpu;

	intro_periodic_add(p, TASK(.fn = counts, .spacing_ns = 3600 * SEC));
	intro_periodic_start(p, 0);
	sleep_ms(20);
	cpu = cpu_ns();
	sleep_ms(200);
	assert_true(cpu_ns() - cpu < 50 * MSEC);
	intro_periodic_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_with_its_spacing),
		cmocka_unit_test(overruns_are_counted_and_never_overlap),
		cmocka_unit_test(from_last_finish),
		cmocka_unit_test(from_aligned_finish),
		cmocka_unit_test(jitter_only_delays),
		cmocka_unit_test(failures_are_told_and_run_again),
		cmocka_unit_test(never_again_and_reset),
		cmocka_unit_test(added_while_it_runs),
		cmocka_unit_test(one_thread_queues),
		cmocka_unit_test(on_a_given_pool),
		cmocka_unit_test(on_processes),
		cmocka_unit_test(misuse),
		cmocka_unit_test(each_run_is_a_task),
		cmocka_unit_test(idle_uses_no_cpu),
	};

	private_area();
	watchdog(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
