/* SPDX-License-Identifier: BSD-2-Clause */
/* A program with pools forks: what is left of them in the child, and what is not hurt in either. */
#include "rt_support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/periodic.h>
#include <introspect/process_pool.h>

#include "runtime/future_private.h"

static int done(size_t index, const struct intro_result *result, const struct intro_error *error,
		void *ctx)
{
	return 0;
}

/* 0, or the number of what was not so. */
static int in_child(struct intro_executor *pool, bool dynamic)
{
	struct intro_executor_statistics stats = {.size = sizeof(stats)};
	struct intro_error error;
	struct intro_future f;
	char item = 0;

	alarm(20);
	intro_future_init(&f);
	if (intro_executor_submit(pool, &f, nothing, NULL, 0) != -ESHUTDOWN)
		return 1;
	if (intro_future_state(&f) != INTRO_FUTURE_PENDING)
		return 2;
	if (intro_executor_map(pool, nothing, &item, 1, 1, 1, INTRO_FOREVER, done, NULL) !=
	    -ESHUTDOWN)
		return 3;
	if (intro_executor_statistics(pool, &stats) != -ESHUTDOWN)
		return 4;
	if (intro_executor_broken(pool, &error) != -ESHUTDOWN || !error.text[0])
		return 5;
	if (dynamic && intro_executor_maintain(pool) != -ESHUTDOWN)
		return 6;
	intro_executor_shutdown(pool, INTRO_SHUTDOWN_WAIT);
	intro_executor_free(pool);
	intro_future_destroy(&f);
	return 0;
}

static void the_child_of(struct intro_executor *pool, bool dynamic)
{
	struct intro_future f[3];
	int status;
	pid_t child;

	assert_non_null(pool);
	for (int i = 0; i < 3; i++) {
		intro_future_init(&f[i]);
		assert_int_equal(intro_executor_submit(pool, &f[i], nothing, NULL, 0), 0);
		if (i != 1)
			continue;
		child = fork();
		assert_true(child >= 0);
		if (!child)
			_exit(in_child(pool, dynamic));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(pool);
}

static void threads_stay_with_the_parent(void **state)
{
	the_child_of(intro_thread_executor_new(POOL_OPTIONS(.workers = 2)), false);
}

static void of_dynamic_pools_too(void **state)
{
	the_child_of(intro_dynamic_executor_new(POOL_OPTIONS(.workers = 2)), true);
}

static void processes_stay_with_the_parent(void **state)
{
	the_child_of(intro_process_executor_new(POOL_OPTIONS(.workers = 2)), false);
	assert_int_equal(count_children(), 0);
}

static void expect_good_child(int (*fn)(void *), void *arg)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		alarm(20);
		_exit(fn(arg));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int pool_in_child(void *arg)
{
	struct intro_process_pool *pool = arg;
	struct intro_future f;
	char item = 0;

	intro_future_init(&f);
	if (intro_process_pool_apply_async(pool, &f, nothing, NULL, 0) != -ESHUTDOWN ||
	    intro_process_pool_map(pool, nothing, &item, 1, 1, 1, INTRO_FOREVER, done, NULL) !=
		    -ESHUTDOWN)
		return 1;
	if (intro_process_pool_imap(pool, nothing, &item, 1, 1, 1) || errno != ESHUTDOWN)
		return 2;
	intro_process_pool_terminate(pool);
	if (intro_process_pool_join(pool))
		return 3;
	intro_process_pool_free(pool);
	return 0;
}

/* Whose terminate is not the parent's. */
static void process_pools_stay_with_the_parent(void **state)
{
	struct intro_process_pool_options options = {.size = sizeof(options), .workers = 2};
	struct intro_process_pool *pool = intro_process_pool_new(&options);
	struct intro_future f;

	assert_non_null(pool);
	expect_good_child(pool_in_child, pool);
	intro_future_init(&f);
	assert_int_equal(intro_process_pool_apply(pool, &f, nothing, NULL, 0, NULL), 0);
	intro_future_destroy(&f);
	intro_process_pool_free(pool);
	assert_int_equal(count_children(), 0);
}

static int periodic_in_child(void *arg)
{
	struct intro_periodic_task task = {.size = sizeof(task), .fn = nothing, .spacing_ns = MSEC};
	struct intro_periodic_watch watch;
	struct intro_periodic *worker = arg;

	if (intro_periodic_add(worker, &task) != -ESHUTDOWN ||
	    intro_periodic_start(worker, 0) != -ESHUTDOWN ||
	    intro_periodic_stop(worker) != -ESHUTDOWN || intro_periodic_reset(worker) != -ESHUTDOWN)
		return 1;
	if (intro_periodic_wait(worker, INTRO_FOREVER) != -ESHUTDOWN ||
	    intro_periodic_watch(worker, 0, &watch) != -ESHUTDOWN || intro_periodic_count(worker))
		return 2;
	intro_periodic_free(worker);
	return 0;
}

static void periodic_workers_stay_with_the_parent(void **state)
{
	struct intro_periodic_options options = {.size = sizeof(options)};
	struct intro_periodic_task task = {.size = sizeof(task), .fn = nothing, .spacing_ns = MSEC};
	struct intro_periodic *worker = intro_periodic_new(&options);
	struct intro_periodic_watch watch;
	uint64_t before;

	assert_non_null(worker);
	assert_int_equal(intro_periodic_add(worker, &task), 0);
	assert_int_equal(intro_periodic_start(worker, 0), 0);
	expect_good_child(periodic_in_child, worker);
	assert_int_equal(intro_periodic_watch(worker, 0, &watch), 0);
	before = watch.runs;
	do {
		sleep_ms(1);
		assert_int_equal(intro_periodic_watch(worker, 0, &watch), 0);
	} while (watch.runs == before);
	intro_periodic_free(worker);
}

/* --- who returns from a task in a process that it was not submitted in --------------------------
 */

static _Atomic unsigned *ran; /* shared with all children */

static int runs(struct intro_call *call)
{
	++*ran;
	return 0;
}

/* Its status is the code, of which a child that does not end has none. */
static int forks_and_returns(struct intro_call *call)
{
	int status = -1;
	pid_t child = fork();

	if (!child) {
		alarm(20);
		if (call->size)
			pthread_exit(NULL);
		return 0;
	}
	return waitpid(child, &status, 0) == child ? status : -1;
}

/* It ends, and runs nothing of what the pool has still to do. */
static void expect_child_to_end(struct intro_executor *e, bool exits, int status)
{
	struct intro_future first, f[50];
	struct intro_error error;

	assert_non_null(e);
	*ran = 0;
	submit_new(e, &first, forks_and_returns, "x", exits);
	for (int i = 0; i < 50; i++)
		submit_new(e, &f[i], runs, NULL, 0);
	assert_int_equal(intro_future_error(&first, INTRO_FOREVER, &error), 0);
	assert_int_equal(error.code, status);
	intro_future_destroy(&first);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&f[i]);
	}
	assert_int_equal(*ran, 50);
	intro_executor_free(e);
}

static void a_child_ends_where_it_returns_to_the_pool(void **state)
{
	ran = mmap(NULL, sizeof(*ran), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(ran, MAP_FAILED);
	for (int exits = 0; exits < 2; exits++) {
		expect_child_to_end(intro_thread_executor_new(POOL_OPTIONS(.workers = 1)), exits,
				    0);
		expect_child_to_end(intro_dynamic_executor_new(POOL_OPTIONS(.workers = 1)), exits,
				    0);
		expect_child_to_end(intro_process_executor_new(POOL_OPTIONS(.workers = 1)), exits,
				    exits ? W_EXITCODE(1, 0) : 0);
	}
	munmap((void *)ran, sizeof(*ran));
	assert_int_equal(count_children(), 0);
}

/* --- what another thread has in hand of the task's future, when the task forks ------------------
 */

static pid_t parent;

static void counts_call(struct intro_future *future, void *arg)
{
	++*ran;
}

/* As if a waiter were about to link itself to the future. */
static int forks_while_its_future_is_locked(struct intro_call *call)
{
	struct future *f = intro__future(*(struct intro_future *const *)call->arg);
	int status = -1;
	pid_t child;

	intro__future_lock(f);
	child = fork();
	if (!child) {
		alarm(20);
		return 0;
	}
	intro__future_unlock(f);
	return waitpid(child, &status, 0) == child ? status : -1;
}

static void leaves_the_future_to_its_parent(bool waiters_help)
{
	struct intro_executor *e =
		intro_thread_executor_new(POOL_OPTIONS(.workers = 1, .waiters_help = waiters_help));
	struct intro_future f, *at = &f;
	struct intro_done_callback called = {.fn = counts_call};
	struct intro_error error;

	marks_begin();
	*ran = 0;
	intro_future_init(&f);
	intro_future_add_done_callback(&f, &called);
	assert_int_equal(
		intro_executor_submit(e, &f, forks_while_its_future_is_locked, &at, sizeof(at)), 0);
	assert_int_equal(intro_future_error(&f, INTRO_FOREVER, &error), 0);
	if (getpid() != parent) /* it helped, and so goes on in the child */
		_exit(error.code);
	assert_int_equal(error.code, 0);
	intro_future_destroy(&f);
	intro_executor_free(e);
	assert_int_equal(*ran, 1);
}

/* In the child nobody is called, and nothing is told of the task. */
static void a_child_leaves_the_future_to_its_parent(void **state)
{
	struct intro_rec_mark *m;
	size_t n;

	parent = getpid();
	ran = mmap(NULL, sizeof(*ran), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(ran, MAP_FAILED);
	for (int waiters_help = 0; waiters_help < 2; waiters_help++) {
		leaves_the_future_to_its_parent(waiters_help);
		m = marks_end(&n);
		assert_int_equal(marks_count(m, n, INTRO_KIND_END, 0), 1);
		free(m);
	}
	munmap((void *)ran, sizeof(*ran));
	assert_int_equal(count_children(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_stay_with_the_parent),
		cmocka_unit_test(of_dynamic_pools_too),
		cmocka_unit_test(processes_stay_with_the_parent),
		cmocka_unit_test(process_pools_stay_with_the_parent),
		cmocka_unit_test(periodic_workers_stay_with_the_parent),
		cmocka_unit_test(a_child_ends_where_it_returns_to_the_pool),
		cmocka_unit_test(a_child_leaves_the_future_to_its_parent),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
