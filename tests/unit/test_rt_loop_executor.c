/* SPDX-License-Identifier: BSD-2-Clause */
/* An event loop as an executor. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <introspect/loop.h>

struct fixture {
	struct intro_loop *loop;
	struct intro_executor *executor;
	pthread_t thread;
	bool runs;
};

static void begin(struct fixture *f, const struct intro_executor_options *options)
{
	memset(f, 0, sizeof(*f));
	f->loop = intro_loop_new("l");
	f->executor = intro_loop_executor_new(f->loop, options);
	assert_non_null(f->executor);
}

static void *loop_main(void *arg)
{
	assert_int_equal(intro_loop_run(arg), 0);
	return NULL;
}

static void set(void *arg)
{
	*(_Atomic bool *)arg = true;
}

/* Returns when it runs. */
static void run_elsewhere(struct fixture *f)
{
	_Atomic bool there = false;

	pthread_create(&f->thread, NULL, loop_main, f->loop);
	assert_int_equal(intro_loop_call_soon_threadsafe(f->loop, set, &there), 0);
	while (!there)
		sleep_ms(1);
	f->runs = true;
}

static void end(struct fixture *f)
{
	intro_executor_free(f->executor);
	if (f->runs) {
		intro_loop_stop(f->loop);
		pthread_join(f->thread, NULL);
	}
	intro_loop_free(f->loop);
}

struct trace {
	char text[32];
	size_t n;
};

static void put(struct trace *trace, char c)
{
	trace->text[trace->n++] = c;
}

static void call_b(void *arg)
{
	put(arg, 'b');
}

static int task_a(struct intro_call *call)
{
	put((struct trace *)call->arg, 'a');
	assert_string_equal(call->worker, "l/0");
	assert_int_equal(call->index, 0);
	assert_true(call->task);
	return intro_call_return(call, (void *)call->arg, 0);
}

static int task_c(struct intro_call *call)
{
	put((struct trace *)call->arg, 'c');
	intro_call_error(call, "no %c", 'c');
	return -ENOENT;
}

static void submit(struct fixture *fixture, struct intro_future *f, intro_task_fn fn,
		   const void *arg)
{
	intro_future_init(f);
	assert_int_equal(intro_executor_submit(fixture->executor, f, fn, arg, 0), 0);
}

static void tasks_and_callbacks_share_a_queue(void **state)
{
	struct intro_future f[2];
	struct intro_result result;
	struct intro_error error;
	struct trace trace = {.n = 0};
	struct fixture fixture;

	begin(&fixture, POOL_OPTIONS(.name = "l"));
	submit(&fixture, &f[0], task_a, &trace);
	assert_int_equal(intro_loop_call_soon(fixture.loop, call_b, &trace), 0);
	submit(&fixture, &f[1], task_c, &trace);
	assert_int_equal(intro_future_result(&f[0], 0, NULL), -ETIMEDOUT);
	assert_int_equal(intro_loop_run_until_idle(fixture.loop), 0);
	assert_string_equal(trace.text, "abc");
	assert_int_equal(intro_future_result(&f[0], 0, &result), 0);
	assert_ptr_equal(result.data, &trace);
	assert_int_equal(intro_future_result(&f[1], 0, NULL), -ENOENT);
	assert_int_equal(intro_future_error(&f[1], 0, &error), 0);
	assert_string_equal(error.text, "no c");
	intro_future_destroy(&f[0]);
	intro_future_destroy(&f[1]);
	end(&fixture);
}

#define MANY 500

struct crowd {
	pthread_t thread;
	struct fixture *fixture;
	struct intro_future *future;
	pthread_t *ran_on;
};

static int whereabouts(struct intro_call *call)
{
	*(pthread_t *)call->arg = pthread_self();
	return 0;
}

static void *submit_many(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < MANY; i++)
		submit(crowd->fixture, &crowd->future[i], whereabouts, crowd->ran_on);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(intro_future_result(&crowd->future[i], INTRO_FOREVER, NULL), 0);
	return NULL;
}

static void anybody_submits(void **state)
{
	struct intro_executor_statistics stats = {.size = sizeof(stats)};
	struct crowd crowd[3];
	struct fixture fixture;
	pthread_t ran_on = 0;

	begin(&fixture, POOL_OPTIONS(.timed = true));
	run_elsewhere(&fixture);
	for (int i = 0; i < 3; i++) {
		crowd[i] = (struct crowd){
			.fixture = &fixture,
			.future = aligned_alloc(64, MANY * sizeof(struct intro_future)),
			.ran_on = &ran_on};
		pthread_create(&crowd[i].thread, NULL, submit_many, &crowd[i]);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(crowd[i].thread, NULL);
	assert_true(pthread_equal(ran_on, fixture.thread));
	intro_executor_shutdown(fixture.executor, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(intro_executor_statistics(fixture.executor, &stats), 0);
	assert_int_equal(stats.submitted, 3 * MANY);
	assert_int_equal(stats.executed, 3 * MANY);
	assert_int_equal(stats.timed, 3 * MANY);
	assert_int_equal(stats.workers, 1);
	assert_int_equal(stats.backlog, 0);
	for (int i = 0; i < 3; i++) {
		for (int j = 0; j < MANY; j++)
			intro_future_destroy(&crowd[i].future[j]);
		free(crowd[i].future);
	}
	end(&fixture);
}

static int add_one(struct intro_call *call)
{
	return intro_call_return(call, (void *)(uintptr_t)(*(const int *)call->arg + 1), 0);
}

static int take(size_t index, const struct intro_result *result, const struct intro_error *error,
		void *ctx)
{
	assert_null(error);
	assert_int_equal((uintptr_t)result->data, index + 1);
	++*(int *)ctx;
	return 0;
}

static void takes_maps(void **state)
{
	int items[20], taken = 0;
	struct fixture fixture;

	for (int i = 0; i < 20; i++)
		items[i] = i;
	begin(&fixture, NULL);
	run_elsewhere(&fixture);
	assert_int_equal(intro_executor_map(fixture.executor, add_one, items, 20, sizeof(items[0]),
					    3, INTRO_FOREVER, take, &taken),
			 0);
	assert_int_equal(taken, 20);
	end(&fixture);
}

struct victims {
	struct fixture *fixture;
	struct intro_future *future;
};

static int destroy_the_rest(struct intro_call *call)
{
	const struct victims *v = call->arg;

	/* of this turn, and of the next */
	intro_future_destroy(&v->future[1]);
	submit(v->fixture, &v->future[3], task_a, NULL);
	assert_true(intro_future_cancel(&v->future[3]));
	intro_future_destroy(&v->future[3]);
	assert_true(intro_future_cancel(&v->future[2]));
	return 0;
}

static void what_is_queued_can_be_taken_back(void **state)
{
	struct intro_executor_statistics stats = {.size = sizeof(stats)};
	struct intro_future f[4];
	struct fixture fixture;
	struct victims victims = {&fixture, f};

	begin(&fixture, NULL);
	submit(&fixture, &f[0], destroy_the_rest, &victims);
	submit(&fixture, &f[1], task_a, NULL);
	submit(&fixture, &f[2], task_a, NULL);
	assert_int_equal(intro_loop_run_until_idle(fixture.loop), 0);
	assert_int_equal(intro_future_state(&f[2]), INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
	intro_executor_statistics(fixture.executor, &stats);
	assert_int_equal(stats.submitted, 4);
	assert_int_equal(stats.executed, 1);
	assert_int_equal(stats.cancelled, 3);
	intro_future_destroy(&f[0]);
	intro_future_destroy(&f[2]);
	/* the queue is sound: its end was among them */
	submit(&fixture, &f[0], whereabouts, &(pthread_t){0});
	assert_int_equal(intro_loop_run_until_idle(fixture.loop), 0);
	assert_int_equal(intro_future_result(&f[0], 0, NULL), 0);
	intro_future_destroy(&f[0]);
	end(&fixture);
}

static int sleep_a_little(struct intro_call *call)
{
	sleep_ms(20);
	*(_Atomic int *)call->arg += 1;
	return 0;
}

static void a_shutdown_waits_for_a_loop_that_runs(void **state)
{
	_Atomic int ran = 0;
	struct intro_future f[3];
	struct fixture fixture;

	begin(&fixture, NULL);
	run_elsewhere(&fixture);
	for (int i = 0; i < 3; i++)
		submit(&fixture, &f[i], sleep_a_little, &ran);
	intro_executor_shutdown(fixture.executor, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(ran, 3);
	for (int i = 0; i < 3; i++)
		intro_future_destroy(&f[i]);
	intro_future_init(&f[0]);
	assert_int_equal(intro_executor_submit(fixture.executor, &f[0], task_a, NULL, 0),
			 -ESHUTDOWN);
	assert_int_equal(intro_future_state(&f[0]), INTRO_FUTURE_PENDING);
	intro_future_destroy(&f[0]);
	end(&fixture);
}

static void one_that_does_not_run_is_not_waited_for(void **state)
{
	struct intro_future f[2];
	struct fixture fixture;

	begin(&fixture, NULL);
	submit(&fixture, &f[0], task_a, NULL);
	submit(&fixture, &f[1], task_a, NULL);
	intro_executor_shutdown(fixture.executor, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(intro_future_state(&f[0]), INTRO_FUTURE_PENDING);
	end(&fixture);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(intro_future_state(&f[i]), INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
		intro_future_destroy(&f[i]);
	}
}

static void a_loop_that_ends_ends_the_wait(void **state)
{
	struct intro_future f[2];
	struct gate gate = {0};
	struct fixture fixture;

	begin(&fixture, NULL);
	run_elsewhere(&fixture);
	submit(&fixture, &f[0], wait_at, &gate);
	gate_expect(&gate, 1);
	submit(&fixture, &f[1], task_a, NULL); /* for the next turn, which there will not be */
	intro_loop_stop(fixture.loop);
	gate_open(&gate);
	end(&fixture);
	assert_int_equal(intro_future_result(&f[0], 0, NULL), 0);
	assert_true(intro_future_cancelled(&f[1]));
	intro_future_destroy(&f[0]);
	intro_future_destroy(&f[1]);
}

static void rejects_and_refuses(void **state)
{
	struct intro_future f[2];
	struct fixture fixture;

	begin(&fixture, POOL_OPTIONS(.check_and_reject = intro_reject_when_reached(1)));
	submit(&fixture, &f[0], whereabouts, &(pthread_t){0});
	intro_future_init(&f[1]);
	assert_int_equal(intro_executor_submit(fixture.executor, &f[1], task_a, NULL, 0), -EBUSY);
	assert_int_equal(intro_executor_submit(fixture.executor, &f[0], task_a, NULL, 0), -EBUSY);
	assert_int_equal(intro_loop_run_until_idle(fixture.loop), 0);
	assert_int_equal(intro_executor_submit(fixture.executor, &f[0], task_a, NULL, 0), -EINVAL);
	assert_int_equal(intro_executor_submit(fixture.executor, &f[1], NULL, NULL, 0), -EINVAL);
	assert_int_equal(intro_executor_maintain(fixture.executor), -EOPNOTSUPP);
	assert_int_equal(intro_executor_broken(fixture.executor, NULL), 0);
	assert_null(intro_loop_executor_new(fixture.loop, NULL));
	assert_int_equal(errno, EEXIST);
	intro_future_destroy(&f[0]);
	intro_future_destroy(&f[1]);
	intro_executor_free(fixture.executor);
	assert_null(intro_loop_executor_new(fixture.loop, POOL_OPTIONS(.workers = 2)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_loop_executor_new(fixture.loop, POOL_OPTIONS(.waiters_help = true)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_loop_executor_new(NULL, NULL));
	assert_int_equal(errno, EINVAL);
	fixture.executor = intro_loop_executor_new(fixture.loop, POOL_OPTIONS(.workers = 1));
	assert_non_null(fixture.executor);
	end(&fixture);
}

static void its_tasks_are_marked_in_the_pool_of_the_loop(void **state)
{
	struct intro_future f;
	struct fixture fixture;
	struct intro_rec_mark *m;
	uint64_t task;
	int at;
	size_t n;

	marks_begin();
	begin(&fixture, NULL);
	submit(&fixture, &f, whereabouts, &(pthread_t){0});
	task = intro_future_id(&f);
	assert_int_equal(intro_loop_run_until_idle(fixture.loop), 0);
	intro_future_destroy(&f);
	end(&fixture);
	m = marks_end(&n);
	at = marks_find(m, n, 0, INTRO_KIND_SUBMIT, task);
	assert_true(at >= 0);
	at = marks_find(m, n, (size_t)at, INTRO_KIND_WORKER_START, 0);
	assert_true(at >= 0);
	at = marks_find(m, n, (size_t)at, INTRO_KIND_START, task);
	assert_true(at >= 0);
	at = marks_find(m, n, (size_t)at, INTRO_KIND_END, task);
	assert_true(at >= 0);
	assert_int_equal(m[at].b, INTRO_END_RESULT);
	assert_int_equal(marks_count(m, n, INTRO_KIND_SUBMIT, task), 1);
	assert_int_equal(marks_count(m, n, INTRO_KIND_END, task), 1);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tasks_and_callbacks_share_a_queue),
		cmocka_unit_test(anybody_submits),
		cmocka_unit_test(takes_maps),
		cmocka_unit_test(what_is_queued_can_be_taken_back),
		cmocka_unit_test(a_shutdown_waits_for_a_loop_that_runs),
		cmocka_unit_test(one_that_does_not_run_is_not_waited_for),
		cmocka_unit_test(a_loop_that_ends_ends_the_wait),
		cmocka_unit_test(rejects_and_refuses),
		cmocka_unit_test(its_tasks_are_marked_in_the_pool_of_the_loop),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
