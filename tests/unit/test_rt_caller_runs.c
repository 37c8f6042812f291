/* SPDX-License-Identifier: BSD-2-Clause */
/* Thread pools whose callers run tasks when too many wait (caller_runs). */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <introspect/fiber.h>
#include <introspect/interpreter.h>
#include <introspect/loop.h>

#define BACKLOG 4
#define MANY 5000
#define THREADS 4

static int fails(struct intro_call *call)
{
	intro_call_error(call, "no %s", "luck");
	return 7;
}

static void submit(struct intro_executor *pool, struct intro_future *f, intro_task_fn fn,
		   const void *arg)
{
	intro_future_init(f);
	assert_int_equal(intro_executor_submit(pool, f, fn, arg, 0), 0);
}

/* A pool whose one worker waits at the gate, with as many tasks behind it as it may have. */
struct full {
	struct intro_executor *pool;
	struct gate gate;
	struct intro_future busy, waiting[BACKLOG];
	struct seen seen[BACKLOG];
};

static void full_begin(struct full *full, struct intro_executor *pool)
{
	memset(full, 0, sizeof(*full));
	assert_non_null(pool);
	full->pool = pool;
	submit(pool, &full->busy, wait_at, &full->gate);
	gate_expect(&full->gate, 1);
	for (int i = 0; i < BACKLOG; i++) {
		submit(pool, &full->waiting[i], look, &full->seen[i]);
		assert_false(intro_future_done(&full->waiting[i]));
	}
}

static void full_end(struct full *full)
{
	gate_open(&full->gate);
	intro_future_destroy(&full->busy);
	for (int i = 0; i < BACKLOG; i++) {
		intro_future_result(&full->waiting[i], INTRO_FOREVER, NULL);
		intro_future_destroy(&full->waiting[i]);
		assert_int_equal(full->seen[i].ran, 1);
	}
	intro_executor_free(full->pool);
}

#define FULL_OPTIONS(...)                                                                          \
	POOL_OPTIONS(.name = "c", .workers = 1, .caller_runs = BACKLOG, __VA_ARGS__)

static struct intro_executor_statistics statistics_of(struct intro_executor *pool)
{
	struct intro_executor_statistics s = {.size = sizeof(s)};

	assert_int_equal(intro_executor_statistics(pool, &s), 0);
	return s;
}

static bool runs_at_once(struct intro_executor *pool)
{
	struct seen seen = {.ran = 0};
	struct intro_future f;
	bool at_once;

	submit(pool, &f, look, &seen);
	/* and not by the worker just now */
	at_once = intro_future_done(&f) && pthread_equal(seen.thread, pthread_self());
	intro_future_destroy(&f);
	return at_once;
}

static void the_caller_of_a_full_pool_runs_its_task(void **state)
{
	for (int timed = 0; timed < 2; timed++) {
		struct intro_executor_statistics s;
		struct intro_result result;
		struct seen seen = {.ran = 0};
		struct intro_future f;
		struct full full;

		full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.timed = timed)));
		for (int i = 1; i <= 3; i++) {
			submit(full.pool, &f, look, &seen);
			assert_int_equal(intro_future_state(&f), INTRO_FUTURE_FINISHED);
			assert_int_equal(seen.ran, i);
			assert_true(pthread_equal(seen.thread, pthread_self()));
			assert_int_equal(seen.index, 1);
			assert_string_equal(seen.worker, "c/guest");
			assert_true(intro_future_id(&f) > 0);
			assert_int_equal(intro_future_result(&f, 0, &result), 0);
			assert_ptr_equal(result.data, &seen);
			assert_int_equal(result.size, 5);
			intro_future_destroy(&f);
		}
		s = statistics_of(full.pool);
		assert_int_equal(s.submitted, 1 + BACKLOG + 3);
		assert_int_equal(s.executed, 3);
		assert_int_equal(s.timed, timed ? 3 : 0);
		assert_int_equal(s.backlog, BACKLOG);
		full_end(&full);
	}
}

static void tasks_are_queued_again_when_half_have_begun(void **state)
{
	struct full full;

	full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.waiters_help = true)));
	assert_true(runs_at_once(full.pool));
	/* those at the back are gone: half of them are left, and those tasks are not in the way */
	for (int i = BACKLOG / 2; i < BACKLOG; i++) {
		assert_int_equal(intro_future_result(&full.waiting[i], INTRO_FOREVER, NULL), 0);
	}
	assert_false(runs_at_once(full.pool));
	gate_open(&full.gate);
	assert_int_equal(intro_future_result(&full.waiting[0], INTRO_FOREVER, NULL), 0);
	while (statistics_of(full.pool).backlog)
		sleep_ms(1);
	assert_false(runs_at_once(full.pool));
	full_end(&full);
}

static void workers_make_room(void **state)
{
	struct intro_future f;
	struct seen seen = {.ran = 0};
	struct full full;

	full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.initializer = NULL)));
	assert_true(runs_at_once(full.pool));
	gate_open(&full.gate);
	for (int i = 0; i < BACKLOG; i++)
		assert_int_equal(intro_future_result(&full.waiting[i], INTRO_FOREVER, NULL), 0);
	submit(full.pool, &f, look, &seen);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	assert_string_equal(seen.worker, "c/0");
	intro_future_destroy(&f);
	full_end(&full);
}

static void count_call(struct intro_future *future, void *arg)
{
	++*(int *)arg;
}

static void ends_as_any_task_does(void **state)
{
	struct intro_done_callback cb = {.fn = count_call};
	struct intro_error error;
	struct intro_future f;
	struct seen seen = {.ran = 0};
	struct full full;
	int called = 0;

	full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.timed = false)));
	submit(full.pool, &f, fails, NULL);
	assert_int_equal(intro_future_result(&f, 0, NULL), -EREMOTEIO);
	assert_int_equal(intro_future_error(&f, 0, &error), 0);
	assert_int_equal(error.code, 7);
	assert_string_equal(error.text, "no luck");
	/* once only */
	assert_int_equal(intro_executor_submit(full.pool, &f, look, &seen, 0), -EINVAL);
	intro_future_destroy(&f);

	intro_future_init(&f);
	cb.arg = &called;
	intro_future_add_done_callback(&f, &cb);
	assert_int_equal(intro_executor_submit(full.pool, &f, look, &seen, 0), 0);
	assert_int_equal(called, 1);
	assert_int_equal(seen.ran, 1);
	intro_future_destroy(&f);

	intro_future_init(&f);
	assert_true(intro_future_cancel(&f));
	assert_int_equal(intro_executor_submit(full.pool, &f, look, &seen, 0), -EINVAL);
	assert_int_equal(seen.ran, 1);
	assert_true(intro_future_cancelled(&f));
	assert_int_equal(statistics_of(full.pool).failures, 1);
	assert_int_equal(statistics_of(full.pool).executed, 2);
	full_end(&full);
}

static void refuses_what_a_pool_refuses(void **state)
{
	struct intro_future f;
	struct seen seen = {.ran = 0};
	struct full full, other;

	full_begin(&full,
		   intro_thread_executor_new(
			   FULL_OPTIONS(.check_and_reject = intro_reject_when_reached(BACKLOG))));
	intro_future_init(&f);
	assert_int_equal(intro_executor_submit(full.pool, &f, look, &seen, 0), -EBUSY);
	intro_executor_shutdown(full.pool, 0);
	full_end(&full);

	full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.timed = false)));
	assert_true(runs_at_once(full.pool));
	intro_executor_shutdown(full.pool, 0);
	assert_int_equal(intro_executor_submit(full.pool, &f, look, &seen, 0), -ESHUTDOWN);
	assert_int_equal(intro_future_state(&f), INTRO_FUTURE_PENDING);
	assert_int_equal(seen.ran, 0);
	/* as it was */
	full_begin(&other, intro_thread_executor_new(FULL_OPTIONS(.timed = false)));
	assert_int_equal(intro_executor_submit(other.pool, &f, look, &seen, 0), 0);
	assert_int_equal(seen.ran, 1);
	intro_future_destroy(&f);
	full_end(&other);
	full_end(&full);
}

static void options(void **state)
{
	struct intro_interpreter *interpreter = intro_interpreter_new(0);
	struct intro_loop *loop = intro_loop_new("l");

	assert_null(intro_thread_executor_new(FULL_OPTIONS(.initializer = look)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_process_executor_new(FULL_OPTIONS(.timed = false)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_loop_executor_new(loop, FULL_OPTIONS(.timed = false)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_interpreter_executor_new(interpreter, FULL_OPTIONS(.timed = false)));
	assert_int_equal(errno, EINVAL);
	intro_loop_free(loop);
	intro_interpreter_free(interpreter);
}

struct inner {
	struct intro_executor *pool;
	struct intro_future f;
	struct seen seen;
	bool at_once;
};

static void submit_inner(struct inner *inner)
{
	submit(inner->pool, &inner->f, look, &inner->seen);
	inner->at_once = intro_future_done(&inner->f);
}

static void submit_in_callback(struct intro_future *future, void *arg)
{
	submit_inner(arg);
}

static int submit_in_fiber(void *arg)
{
	submit_inner(arg);
	return 0;
}

static void inner_end(struct inner *inner)
{
	assert_int_equal(intro_future_result(&inner->f, INTRO_FOREVER, NULL), 0);
	assert_int_equal(inner->seen.ran, 1);
	intro_future_destroy(&inner->f);
}

static void callbacks_and_fibers_run_nothing(void **state)
{
	struct intro_fibers_options options = {.size = sizeof(options), .threads = 1};
	struct intro_fibers *fibers = intro_fibers_new(&options);
	struct inner in_callback = {.at_once = true}, in_fiber = {.at_once = true};
	struct intro_done_callback cb = {.fn = submit_in_callback, .arg = &in_callback};
	struct intro_future f;
	struct seen seen = {.ran = 0};
	struct full full;

	full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.timed = false)));
	in_callback.pool = in_fiber.pool = full.pool;
	intro_future_init(&f);
	intro_future_add_done_callback(&f, &cb);
	assert_int_equal(intro_executor_submit(full.pool, &f, look, &seen, 0), 0);
	assert_int_equal(seen.ran, 1);
	assert_int_equal(intro_fiber_spawn(fibers, submit_in_fiber, &in_fiber, NULL), 0);
	assert_int_equal(intro_fibers_wait(fibers, INTRO_FOREVER), 0);
	assert_false(in_callback.at_once);
	assert_false(in_fiber.at_once);
	gate_open(&full.gate);
	inner_end(&in_callback);
	inner_end(&in_fiber);
	intro_future_destroy(&f);
	intro_fibers_free(fibers);
	full_end(&full);
}

struct nest {
	struct intro_executor *pool;
	pthread_t thread;
	unsigned depth, deepest, started;
	struct intro_future f[200];
};

static int go_deeper(struct intro_call *call)
{
	struct nest *nest = (struct nest *)call->arg;

	if (!pthread_equal(nest->thread, pthread_self()))
		return 0;
	if (++nest->depth > nest->deepest)
		nest->deepest = nest->depth;
	if (nest->started < 200)
		submit(nest->pool, &nest->f[nest->started++], go_deeper, nest);
	nest->depth--;
	return 0;
}

static void not_without_end_within_each_other(void **state)
{
	struct nest *nest = aligned_alloc(64, sizeof(*nest));
	struct full full;

	full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.timed = false)));
	assert_true(runs_at_once(full.pool));
	memset(nest, 0, sizeof(*nest));
	nest->pool = full.pool;
	nest->thread = pthread_self();
	submit(full.pool, &nest->f[nest->started++], go_deeper, nest);
	assert_in_range(nest->deepest, 50, 150);
	assert_int_equal(nest->started, nest->deepest + 1); /* the last is queued */
	full_end(&full);
	for (unsigned i = 0; i < nest->started; i++)
		intro_future_destroy(&nest->f[i]);
	free(nest);
}

/* Run by a worker: what it submits, it runs as that worker. */
static int fill_and_submit(struct intro_call *call)
{
	struct full *full = (struct full *)call->arg;
	struct seen seen = {.ran = 0};
	struct intro_future f;

	for (int i = 0; i < BACKLOG; i++)
		submit(full->pool, &full->waiting[i], look, &full->seen[i]);
	submit(full->pool, &f, look, &seen);
	assert_int_equal(seen.ran, 1);
	assert_string_equal(seen.worker, call->worker);
	assert_int_equal(seen.index, 0);
	intro_future_destroy(&f);
	return 0;
}

static void a_worker_runs_it_as_itself(void **state)
{
	struct full full = {.pool = intro_thread_executor_new(FULL_OPTIONS(.timed = false))};

	submit(full.pool, &full.busy, fill_and_submit, &full);
	assert_int_equal(intro_future_result(&full.busy, INTRO_FOREVER, NULL), 0);
	full_end(&full);
}

static void in_bound_pools_too(void **state)
{
	struct full full;

	full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.binding = INTRO_BIND_CORES)));
	assert_true(runs_at_once(full.pool));
	gate_open(&full.gate);
	for (int i = 0; i < BACKLOG; i++)
		assert_int_equal(intro_future_result(&full.waiting[i], INTRO_FOREVER, NULL), 0);
	assert_false(runs_at_once(full.pool) && statistics_of(full.pool).backlog);
	full_end(&full);
}

struct late {
	struct full *full;
	struct gate inside;
	_Atomic bool ended;
};

static int end_late(struct intro_call *call)
{
	struct late *late = (struct late *)call->arg;

	gate_open(&late->inside);
	sleep_ms(30);
	late->ended = true;
	return 0;
}

static void *submit_late(void *arg)
{
	struct late *late = arg;
	struct intro_future f;

	submit(late->full->pool, &f, end_late, late);
	assert_true(late->ended);
	intro_future_destroy(&f);
	return NULL;
}

static void a_shutdown_waits_for_callers(void **state)
{
	struct full full;
	struct late late = {.full = &full};
	pthread_t caller;

	full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.timed = false)));
	pthread_create(&caller, NULL, submit_late, &late);
	gate_wait(&late.inside);
	gate_open(&full.gate);
	intro_executor_shutdown(full.pool, INTRO_SHUTDOWN_WAIT);
	assert_true(late.ended);
	pthread_join(caller, NULL);
	full_end(&full);
}

struct crowd {
	struct intro_executor *pool;
	_Atomic uint64_t at_once, refused;
};

static int run_once(struct intro_call *call)
{
	*(unsigned char *)call->arg += 1;
	return 0;
}

/* Until the pool is shut down under its feet. */
static void *submit_many(void *arg)
{
	struct crowd *crowd = arg;
	struct intro_future *f = aligned_alloc(64, MANY * sizeof(*f));
	unsigned char *ran = calloc(MANY, 1);
	size_t n = 0;
	int err = 0;

	for (; n < MANY && !err; n++) {
		intro_future_init(&f[n]);
		err = intro_executor_submit(crowd->pool, &f[n], run_once, &ran[n], 0);
		crowd->at_once += intro_future_done(&f[n]);
	}
	assert_true(!err || err == -ESHUTDOWN);
	crowd->refused += err != 0;
	for (size_t i = 0; i < n; i++) {
		bool refused = err && i == n - 1;

		if (!refused)
			assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&f[i]);
		assert_int_equal(ran[i], !refused);
	}
	free(f);
	free(ran);
	return NULL;
}

static void each_runs_once(void **state)
{
	for (int kind = 0; kind < 6; kind++) {
		struct intro_executor_options *options =
			POOL_OPTIONS(.name = "c", .workers = 2, .caller_runs = kind < 2 ? 1 : 16,
				     .waiters_help = kind % 2);
		struct crowd crowd = {.pool = intro_thread_executor_new(options)};
		struct intro_executor_statistics s;
		pthread_t thread[THREADS];

		for (int i = 0; i < THREADS; i++)
			pthread_create(&thread[i], NULL, submit_many, &crowd);
		if (kind >= 4) {
			sleep_ms(2);
			intro_executor_shutdown(crowd.pool, INTRO_SHUTDOWN_WAIT);
		}
		for (int i = 0; i < THREADS; i++)
			pthread_join(thread[i], NULL);
		intro_executor_shutdown(crowd.pool, INTRO_SHUTDOWN_WAIT);
		s = statistics_of(crowd.pool);
		assert_int_equal(s.submitted, s.executed);
		assert_int_equal(s.backlog, 0);
		if (!crowd.refused)
			assert_int_equal(s.submitted, THREADS * MANY);
		intro_executor_free(crowd.pool);
	}
}

static int run_as(struct intro_call *call)
{
	_Atomic unsigned *ran = (_Atomic unsigned *)call->arg;

	if (call->size)
		sleep_ms(1);
	ran[call->index]++;
	return 0;
}

/* Callers keep what is short to themselves; what is long goes to workers all the same. */
static void workers_get_what_is_long(void **state)
{
	struct intro_future *f = aligned_alloc(64, MANY * sizeof(*f));

	for (int help = 0; help < 2; help++) {
		struct intro_executor *pool = intro_thread_executor_new(
			POOL_OPTIONS(.name = "c", .workers = 1, .caller_runs = 64,
				     .waiters_help = help));
		_Atomic unsigned ran[2] = {0}, ran_long[2] = {0};
		unsigned n = 0;

		for (int round = 0; round < 10; round++) {
			for (int i = 0; i < MANY; i++) {
				intro_future_init(&f[i]);
				assert_int_equal(intro_executor_submit(pool, &f[i], run_as, ran, 0),
						 0);
			}
			for (int i = MANY; i-- > 0;) {
				assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL),
						 0);
				intro_future_destroy(&f[i]);
			}
		}
		assert_int_equal(ran[0] + ran[1], 10 * MANY);
		/* the worker wants some soon */
		while (!ran_long[0] && n < MANY) {
			intro_future_init(&f[n]);
			assert_int_equal(intro_executor_submit(pool, &f[n++], run_as, ran_long, 1),
					 0);
		}
		assert_true(ran_long[0] > 0);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
			intro_future_destroy(&f[i]);
		}
		printf("# figure %u of %u short tasks by callers; %u long ones until a worker ran "
		       "one\n",
		       ran[1], 10 * MANY, n);
		intro_executor_free(pool);
	}
	free(f);
}

static void marks_make_the_caller_a_worker(void **state)
{
	static const uint8_t order[] = {INTRO_KIND_WORKER_START, INTRO_KIND_SUBMIT,
					INTRO_KIND_START, INTRO_KIND_END, INTRO_KIND_WORKER_STOP};
	struct intro_rec_mark *m;
	struct intro_future f;
	struct seen seen = {.ran = 0};
	struct full full;
	uint64_t task;
	size_t n, at = 0;

	marks_begin();
	full_begin(&full, intro_thread_executor_new(FULL_OPTIONS(.timed = false)));
	submit(full.pool, &f, look, &seen);
	task = intro_future_id(&f);
	intro_future_destroy(&f);
	full_end(&full);
	m = marks_end(&n);
	for (size_t i = 0; i < n && at < sizeof(order); i++) {
		bool whose = m[i].rec.kind == INTRO_KIND_WORKER_START ||
			     m[i].rec.kind == INTRO_KIND_WORKER_STOP || m[i].task == task;

		if (m[i].rec.tid == (uint32_t)gettid() && whose)
			assert_int_equal(m[i].rec.kind, order[at++]);
	}
	assert_int_equal(at, sizeof(order));
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_caller_of_a_full_pool_runs_its_task),
		cmocka_unit_test(tasks_are_queued_again_when_half_have_begun),
		cmocka_unit_test(workers_make_room),
		cmocka_unit_test(ends_as_any_task_does),
		cmocka_unit_test(refuses_what_a_pool_refuses),
		cmocka_unit_test(options),
		cmocka_unit_test(callbacks_and_fibers_run_nothing),
		cmocka_unit_test(not_without_end_within_each_other),
		cmocka_unit_test(a_worker_runs_it_as_itself),
		cmocka_unit_test(in_bound_pools_too),
		cmocka_unit_test(a_shutdown_waits_for_callers),
		cmocka_unit_test(each_runs_once),
		cmocka_unit_test(workers_get_what_is_long),
		cmocka_unit_test(marks_make_the_caller_a_worker),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
