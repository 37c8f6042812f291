/* SPDX-License-Identifier: BSD-2-Clause */
/* A program with pools forks: what is left of them in the child, and what is not hurt in either. */
#include "rt_support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int nothing(struct intro_call *call)
{
	return 0;
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_stay_with_the_parent),
		cmocka_unit_test(of_dynamic_pools_too),
		cmocka_unit_test(processes_stay_with_the_parent),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
