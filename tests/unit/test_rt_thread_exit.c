/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tasks, and callbacks, in which their thread ends: by pthread_exit, or cancelled. The task has
 * failed, another thread takes the worker's place, and nothing hangs.
 */
#include "rt_support.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <introspect/interpreter.h>

#define MANY 300

static struct intro_executor *new_pool(unsigned workers)
{
	struct intro_executor *e =
		intro_thread_executor_new(POOL_OPTIONS(.name = "exits", .workers = workers));

	assert_non_null(e);
	return e;
}

static int explains_and_exits(struct intro_call *call)
{
	intro_call_error(call, "no disk left");
	pthread_exit(NULL);
}

static int is_cancelled(struct intro_call *call)
{
#ifdef __SANITIZE_ADDRESS__
	end_thread(); /* AddressSanitizer takes the frames that cancelling takes away to be there */
#endif
	pthread_cancel(pthread_self());
	pthread_testcancel();
	return 0;
}

static struct intro_error error_of(struct intro_future *f)
{
	struct intro_error error = {0};

	assert_int_equal(intro_future_error(f, 10 * SEC, &error), 0);
	return error;
}

static void fails(struct intro_executor *e, intro_task_fn fn, const char *text)
{
	struct intro_future f;
	struct intro_error error;

	submit_new(e, &f, fn, NULL, 0);
	assert_int_equal(intro_future_result(&f, 10 * SEC, NULL), -EOWNERDEAD);
	error = error_of(&f);
	assert_int_equal(error.code, -EOWNERDEAD);
	if (!strstr(error.text, text))
		fail_msg("\"%s\" has no \"%s\"", error.text, text);
	intro_future_destroy(&f);
}

static void works(struct intro_executor *e)
{
	struct intro_future f;

	submit_new(e, &f, nothing, NULL, 0);
	assert_int_equal(intro_future_result(&f, 10 * SEC, NULL), 0);
	intro_future_destroy(&f);
}

static void the_task_has_failed_and_the_pool_goes_on(void **state)
{
	struct intro_executor_statistics n = {.size = sizeof(n)};
	struct intro_executor *e = new_pool(1);

	for (int i = 0; i < 20; i++) {
		fails(e, exits, "the thread of exits/0 ended in the task");
		fails(e, explains_and_exits, "no disk left");
		fails(e, is_cancelled, "the thread of exits/0 ended in the task");
		works(e);
	}
	assert_int_equal(intro_executor_statistics(e, &n), 0);
	assert_int_equal(n.submitted, 80);
	assert_int_equal(n.executed, 80);
	assert_int_equal(n.failures, 60);
	assert_int_equal(n.workers, 1);
	assert_int_equal(intro_executor_broken(e, NULL), 0);
	intro_executor_free(e);
	assert_int_equal(count_threads_left("exits/"), 0);
}

/* What was queued behind those that exit still runs, before and after a shutdown. */
static void nothing_that_waits_is_lost(void **state)
{
	struct intro_executor *e = new_pool(3);
	struct intro_future f[MANY];

	for (int i = 0; i < MANY; i++)
		submit_new(e, &f[i], i % 3 ? nothing : exits, NULL, 0);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(count_threads_left("exits/"), 0);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(intro_future_result(&f[i], 0, NULL), i % 3 ? 0 : -EOWNERDEAD);
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(e);
}

static void times_are_taken_all_the_same(void **state)
{
	struct intro_executor_statistics n = {.size = sizeof(n)};
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "exits", .workers = 1, .timed = true));

	fails(e, exits, "ended");
	assert_int_equal(intro_executor_statistics(e, &n), 0);
	assert_int_equal(n.timed, 1);
	assert_true(n.queued_ns > 0 && n.run_ns > 0 && n.run_ns < 100 * (uint64_t)SEC);
	intro_executor_free(e);
}

/* --- order ------------------------------------------------------------------------------------ */

struct order {
	_Atomic int n, handler, callback;
};

static void handler(void *arg)
{
	struct order *order = arg;

	order->handler = ++order->n;
}

static int exits_with_handler(struct intro_call *call)
{
	pthread_cleanup_push(handler, (void *)call->arg);
	pthread_exit(NULL);
	pthread_cleanup_pop(0);
	return 0;
}

static void is_called(struct intro_future *future, void *arg)
{
	struct order *order = arg;

	order->callback = ++order->n;
}

static void handlers_of_the_task_come_first(void **state)
{
	struct intro_executor *e = new_pool(2);

	for (int i = 0; i < 100; i++) {
		struct order order = {0};
		struct intro_done_callback cb = {.fn = is_called, .arg = &order};
		struct intro_future f;

		intro_future_init(&f);
		intro_future_add_done_callback(&f, &cb);
		assert_int_equal(intro_executor_submit(e, &f, exits_with_handler, &order, 0), 0);
		assert_int_equal(intro_future_result(&f, 10 * SEC, NULL), -EOWNERDEAD);
		intro_future_destroy(&f);
		assert_int_equal(order.handler, 1);
		assert_int_equal(order.callback, 2);
	}
	intro_executor_free(e);
}

/* What the thread has of its own is destroyed, by functions that use the pool. */
static pthread_key_t key;
static _Atomic unsigned destroyed;

static void submits_and_waits(void *pool)
{
	works(pool);
	destroyed++;
}

static int sets_and_exits(struct intro_call *call)
{
	pthread_setspecific(key, call->arg);
	pthread_exit(NULL);
}

static void destructors_may_use_the_pool(void **state)
{
	struct intro_executor *e = new_pool(1);
	struct intro_future f[20];

	assert_int_equal(pthread_key_create(&key, submits_and_waits), 0);
	destroyed = 0;
	for (int i = 0; i < 20; i++)
		submit_new(e, &f[i], sets_and_exits, e, 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(error_of(&f[i]).code, -EOWNERDEAD);
		intro_future_destroy(&f[i]);
	}
	while (destroyed < 20)
		sleep_ms(1);
	intro_executor_free(e);
	pthread_key_delete(key);
}

/* --- marks ------------------------------------------------------------------------------------ */

static void marks_tell_of_the_failure_and_of_the_next_worker(void **state)
{
	struct intro_executor *e = new_pool(1);
	struct intro_rec_mark *m;
	struct intro_future f[2];
	size_t n;
	int end;

	marks_begin();
	submit_new(e, &f[0], exits, NULL, 0);
	assert_int_equal(intro_future_result(&f[0], 10 * SEC, NULL), -EOWNERDEAD);
	submit_new(e, &f[1], nothing, NULL, 0);
	assert_int_equal(intro_future_result(&f[1], 10 * SEC, NULL), 0);
	intro_executor_free(e);
	m = marks_end(&n);
	end = marks_find(m, n, 0, INTRO_KIND_END, intro_future_id(&f[0]));
	assert_true(end >= 0);
	assert_int_equal(m[end].a, INTRO_STATUS_FAILED);
	assert_true(m[end].b & INTRO_END_RESULT);
	assert_int_equal(marks_count(m, n, INTRO_KIND_END, intro_future_id(&f[0])), 1);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_START, 0), 2);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_STOP, 0), 2);
	free(m);
	intro_future_destroy(&f[0]);
	intro_future_destroy(&f[1]);
}

/* --- cancelled from outside ------------------------------------------------------------------- */

struct sleeper {
	pthread_t thread;
	_Atomic bool sleeps;
};

/* ThreadSanitizer takes whoever is cancelled in its sleep to be in there for good. */
static void sleeps(void)
{
#ifdef __SANITIZE_THREAD__
	for (;; sched_yield())
		pthread_testcancel();
#else
	sleep(1000);
#endif
}

static int sleeps_for_long(struct intro_call *call)
{
	struct sleeper *sleeper = (void *)call->arg;

	sleeper->thread = pthread_self();
	sleeper->sleeps = true;
	sleeps();
	return 0;
}

static void a_worker_is_cancelled_in_a_task(void **state)
{
	struct intro_executor *e = new_pool(2);

	for (int i = 0; i < 20; i++) {
		struct sleeper sleeper = {0};
		struct intro_future f;

		submit_new(e, &f, sleeps_for_long, &sleeper, 0);
		while (!sleeper.sleeps)
			sched_yield();
		pthread_cancel(sleeper.thread);
		assert_int_equal(error_of(&f).code, -EOWNERDEAD);
		intro_future_destroy(&f);
	}
	works(e);
	intro_executor_free(e);
}

static int gives_thread(struct intro_call *call)
{
	*(pthread_t *)call->arg = pthread_self();
	return 0;
}

static int tests_and_gives_thread(struct intro_call *call)
{
	pthread_testcancel();
	return gives_thread(call);
}

/* One that had nothing to do is not to take a task along. */
static void an_idle_worker_is_cancelled(void **state)
{
	struct intro_executor *e = new_pool(1);
	pthread_t first, second;
	struct intro_future f;

	submit_new(e, &f, gives_thread, &first, 0);
	assert_int_equal(intro_future_result(&f, 10 * SEC, NULL), 0);
	intro_future_destroy(&f);
	sleep_ms(20); /* likely enough it sleeps */
	pthread_cancel(first);
	submit_new(e, &f, tests_and_gives_thread, &second, 0);
	intro_future_result(&f, 10 * SEC, NULL);
	intro_future_destroy(&f);
	works(e);
	intro_executor_free(e);
}

/* --- callbacks -------------------------------------------------------------------------------- */

static void exits_in_callback(struct intro_future *future, void *arg)
{
	++*(_Atomic int *)arg;
	end_thread();
}

static void only_counts(struct intro_future *future, void *arg)
{
	++*(_Atomic int *)arg;
}

static void a_callback_ends_the_thread(void **state)
{
	struct intro_executor *e = new_pool(1);

	for (int i = 0; i < 40; i++) {
		_Atomic int called = 0;
		struct intro_done_callback cb[3] = {
			{.fn = exits_in_callback, .arg = &called},
			{.fn = i % 2 ? only_counts : exits_in_callback, .arg = &called},
			{.fn = only_counts, .arg = &called}};
		struct intro_future f;

		intro_future_init(&f);
		for (int k = 0; k < 3; k++)
			intro_future_add_done_callback(&f, &cb[k]);
		assert_int_equal(intro_executor_submit(e, &f, i % 3 ? nothing : exits, NULL, 0), 0);
		/* of the task it is too late to say anything */
		assert_int_equal(intro_future_result(&f, 10 * SEC, NULL), i % 3 ? 0 : -EOWNERDEAD);
		intro_future_destroy(&f);
		assert_int_equal(called, 3);
	}
	works(e);
	intro_executor_free(e);
}

/* --- tasks within tasks ----------------------------------------------------------------------- */

static int waits_for_one_that_exits(struct intro_call *call)
{
	struct intro_executor *e = (void *)call->arg;
	struct intro_future f;

	submit_new(e, &f, exits, NULL, 0);
	intro_future_result(&f, INTRO_FOREVER, NULL);
	intro_future_destroy(&f);
	return 0;
}

/* The worker runs the inner one itself, so both end with its thread. */
static void the_tasks_around_it_have_failed_too(void **state)
{
	struct intro_executor_statistics n = {.size = sizeof(n)};
	struct intro_executor *e = new_pool(1);
	struct intro_future f;

	for (int i = 0; i < 20; i++) {
		submit_new(e, &f, waits_for_one_that_exits, e, 0);
		assert_int_equal(error_of(&f).code, -EOWNERDEAD);
		intro_future_destroy(&f);
	}
	assert_int_equal(intro_executor_statistics(e, &n), 0);
	assert_int_equal(n.failures, 40);
	intro_executor_free(e);
}

/* --- guests ----------------------------------------------------------------------------------- */

struct visit {
	struct intro_executor *e;
	bool submit_runs;
	struct intro_error error; /* of what the visitor ran */
};

/* The future is on the visitor's stack: it must be over before that goes. */
struct mine {
	struct visit *visit;
	struct intro_future f;
};

static void looks_at_it(void *arg)
{
	struct mine *mine = arg;

	intro_future_error(&mine->f, 0, &mine->visit->error);
	intro_future_destroy(&mine->f);
}

static void *visits(void *arg)
{
	struct mine mine = {.visit = arg};

	intro_future_init(&mine.f);
	pthread_cleanup_push(looks_at_it, &mine);
	assert_int_equal(intro_executor_submit(mine.visit->e, &mine.f, exits, NULL, 0), 0);
	assert_false(mine.visit->submit_runs);
	intro_future_result(&mine.f, INTRO_FOREVER, NULL);
	fail_msg("it was not run here");
	pthread_cleanup_pop(1);
	return NULL;
}

/* A guest ends with the task that it ran; the pool is not kept waiting for it. */
static void a_guest_ends(void **state, unsigned caller_runs)
{
	struct intro_executor_statistics n = {.size = sizeof(n)};
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "exits", .workers = 1, .waiters_help = true,
			     .caller_runs = caller_runs));
	struct gate gate = {0};
	struct intro_future keeps, waits[4];
	pthread_t thread;

	submit_new(e, &keeps, wait_at, &gate, 0);
	gate_expect(&gate, 1);
	for (unsigned i = 0; i < caller_runs; i++)
		submit_new(e, &waits[i], nothing, NULL, 0);
	for (int i = 0; i < 20; i++) {
		struct visit visit = {.e = e, .submit_runs = caller_runs};

		assert_int_equal(pthread_create(&thread, NULL, visits, &visit), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(visit.error.code, -EOWNERDEAD);
		assert_non_null(strstr(visit.error.text, "exits/guest"));
	}
	gate_open(&gate);
	assert_int_equal(intro_future_result(&keeps, 10 * SEC, NULL), 0);
	intro_future_destroy(&keeps);
	for (unsigned i = 0; i < caller_runs; i++)
		intro_future_destroy(&waits[i]);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(intro_executor_statistics(e, &n), 0);
	assert_int_equal(n.failures, 20);
	assert_int_equal(n.submitted, n.executed + n.cancelled);
	intro_executor_free(e);
}

static void a_guest_that_waits_ends(void **state)
{
	a_guest_ends(state, 0);
}

static void a_guest_that_submits_ends(void **state)
{
	a_guest_ends(state, 2);
}

/* --- other pools of threads ------------------------------------------------------------------- */

static void dynamic_pools(void **state)
{
	struct intro_executor_statistics n = {.size = sizeof(n)};
	struct intro_executor *e = intro_dynamic_executor_new(
		POOL_OPTIONS(.name = "exits", .workers = 4, .min_workers = 2));
	struct intro_future f[MANY];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++)
			submit_new(e, &f[i], i % 2 ? nothing : exits, NULL, 0);
		for (int i = 0; i < MANY; i++) {
			assert_int_equal(intro_future_result(&f[i], 10 * SEC, NULL),
					 i % 2 ? 0 : -EOWNERDEAD);
			intro_future_destroy(&f[i]);
		}
		assert_int_equal(intro_executor_maintain(e), 0);
	}
	assert_int_equal(intro_executor_statistics(e, &n), 0);
	assert_true(n.workers >= 2 && n.workers <= 4);
	intro_executor_free(e);
	assert_int_equal(count_threads_left("exits/"), 0);
}

static void placed_pools(void **state)
{
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "exits", .workers = 2, .binding = INTRO_BIND_CORES));

	for (int i = 0; i < 20; i++) {
		fails(e, exits, "ended in the task");
		works(e);
	}
	intro_executor_free(e);
}

static void the_interpreter_lock_is_released(void **state)
{
	struct intro_interpreter *lock = intro_interpreter_new(0);
	struct intro_executor *e =
		intro_interpreter_executor_new(lock, POOL_OPTIONS(.name = "exits", .workers = 2));

	for (int i = 0; i < 20; i++) {
		fails(e, i % 2 ? exits : is_cancelled, "ended in the task");
		assert_int_equal(intro_interpreter_acquire(lock), 0);
		assert_int_equal(intro_interpreter_release(lock), 0);
		works(e);
	}
	intro_executor_free(e);
	intro_interpreter_free(lock);
}

static void an_initializer_breaks_the_pool(void **state)
{
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "exits", .workers = 2, .initializer = exits));
	struct intro_error error;
	struct intro_future f;

	submit_new(e, &f, nothing, NULL, 0);
	error = error_of(&f);
	assert_int_equal(error.code, -EPIPE);
	assert_non_null(strstr(error.text, "ended in its initializer"));
	assert_int_equal(intro_executor_broken(e, &error), -EPIPE);
	intro_future_destroy(&f);
	intro_executor_free(e);
	assert_int_equal(count_threads_left("exits/"), 0);
}

static int initializes(struct intro_call *call)
{
	call->initial = call->initial ? NULL : (void *)&key;
	return 0;
}

static int has_initial(struct intro_call *call)
{
	return call->initial == &key ? 0 : 1;
}

static void who_comes_after_is_initialized(void **state)
{
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "exits", .workers = 1, .initializer = initializes));
	struct intro_future f;

	for (int i = 0; i < 10; i++) {
		fails(e, exits, "ended in the task");
		submit_new(e, &f, has_initial, NULL, 0);
		assert_int_equal(intro_future_result(&f, 10 * SEC, NULL), 0);
		intro_future_destroy(&f);
	}
	intro_executor_free(e);
}

/* --- no thread to be had ---------------------------------------------------------------------- */

static _Atomic bool no_threads;

/* Submits while another submit is finding out that there is no thread. */
struct second {
	struct intro_executor *e;
	struct intro_future f;
	pthread_t thread;
	int err;
};

static struct second *_Atomic second;

static void *submits_second(void *arg)
{
	struct second *s = arg;

	s->err = intro_executor_submit(s->e, &s->f, nothing, NULL, 0);
	return NULL;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	struct second *s;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	if (!no_threads)
		return real(thread, attr, fn, arg);
	s = atomic_exchange(&second, NULL);
	if (s) {
		real(&s->thread, NULL, submits_second, s);
		sleep_ms(20); /* likely enough it has pushed its task */
	}
	return EAGAIN;
}

static void all_who_submit_are_refused(void **state)
{
	struct second s = {.e = new_pool(1)};
	struct intro_future f;

	intro_future_init(&f);
	intro_future_init(&s.f);
	second = &s;
	no_threads = true;
	assert_int_equal(intro_executor_submit(s.e, &f, nothing, NULL, 0), -EAGAIN);
	assert_int_equal(pthread_join(s.thread, NULL), 0);
	no_threads = false;
	assert_int_equal(s.err, -EAGAIN);
	assert_int_equal(intro_future_state(&s.f), INTRO_FUTURE_PENDING);
	works(s.e);
	intro_future_destroy(&f);
	intro_future_destroy(&s.f);
	intro_executor_free(s.e);
}

/* Who would have gone goes on, until there is no more to do. */
static void without_threads_the_pool_goes_on(void **state)
{
	struct intro_executor_statistics n = {.size = sizeof(n)};
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "exits", .workers = 1, .initializer = initializes));
	const intro_task_fn fns[] = {has_initial, exits, waits_for_one_that_exits, exits};
	struct intro_done_callback cb[MANY];
	struct intro_future f[MANY];
	_Atomic int called = 0;

	works(e);
	no_threads = true;
	for (int i = 0; i < MANY; i++) {
		cb[i] = (struct intro_done_callback){.fn = exits_in_callback, .arg = &called};
		intro_future_init(&f[i]);
		if (i % 4 == 3)
			intro_future_add_done_callback(&f[i], &cb[i]);
		assert_int_equal(intro_executor_submit(e, &f[i], fns[i % 4], e, 0), 0);
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(intro_future_result(&f[i], 10 * SEC, NULL),
				 i % 4 ? -EOWNERDEAD : 0);
		intro_future_destroy(&f[i]);
	}
	assert_int_equal(called, MANY / 4);
	assert_int_equal(intro_executor_statistics(e, &n), 0);
	assert_int_equal(n.workers, 1);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	no_threads = false;
	intro_executor_free(e);
	assert_int_equal(count_threads_left("exits/"), 0);
}

static __thread struct intro_executor *to_be_closed;

/* In a submit: its task is in the queue, and it is about to start a worker. */
int pthread_mutex_lock(pthread_mutex_t *lock)
{
	static int (*real)(pthread_mutex_t *);
	struct intro_executor *e = to_be_closed;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_mutex_lock");
	to_be_closed = NULL;
	if (e)
		intro_executor_shutdown(e, 0);
	return real(lock);
}

static void a_shutdown_comes_before_the_first_worker(void **state)
{
	struct intro_executor *e;
	struct intro_error error;
	struct intro_future f;

	for (int i = 0; i < 20; i++) {
		e = new_pool(1);
		intro_future_init(&f);
		no_threads = i % 2;
		to_be_closed = e;
		assert_int_equal(intro_executor_submit(e, &f, nothing, NULL, 0), 0);
		assert_null(to_be_closed);
		assert_int_equal(intro_future_error(&f, 10 * SEC, &error), 0);
		assert_int_equal(error.code, i % 2 ? -EAGAIN : 0);
		no_threads = false;
		intro_future_destroy(&f);
		intro_executor_free(e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_task_has_failed_and_the_pool_goes_on),
		cmocka_unit_test(nothing_that_waits_is_lost),
		cmocka_unit_test(times_are_taken_all_the_same),
		cmocka_unit_test(handlers_of_the_task_come_first),
		cmocka_unit_test(destructors_may_use_the_pool),
		cmocka_unit_test(marks_tell_of_the_failure_and_of_the_next_worker),
		cmocka_unit_test(a_worker_is_cancelled_in_a_task),
		cmocka_unit_test(an_idle_worker_is_cancelled),
		cmocka_unit_test(a_callback_ends_the_thread),
		cmocka_unit_test(the_tasks_around_it_have_failed_too),
		cmocka_unit_test(a_guest_that_waits_ends),
		cmocka_unit_test(a_guest_that_submits_ends),
		cmocka_unit_test(dynamic_pools),
		cmocka_unit_test(placed_pools),
		cmocka_unit_test(the_interpreter_lock_is_released),
		cmocka_unit_test(an_initializer_breaks_the_pool),
		cmocka_unit_test(who_comes_after_is_initialized),
		cmocka_unit_test(all_who_submit_are_refused),
		cmocka_unit_test(without_threads_the_pool_goes_on),
		cmocka_unit_test(a_shutdown_comes_before_the_first_worker),
	};

	watchdog(60);
	private_area();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
