/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forks while other threads are inside of what a process has one of: names, functions, threads,
 * their data; and of a manager. Without a sanitizer: the locks of its allocator do not survive a
 * fork.
 */
#include "rt_manager.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include <introspect/spawn.h>
#include <introspect/threads.h>

#define FORKS 100

static _Atomic bool forked_enough;

static void *adds_until_then(void *arg)
{
	int64_t n = 0;

	for (; !forked_enough; n++)
		assert_int_equal(intro_manager_value_add(m, *(uint64_t *)arg, 1, NULL), 0);
	return (void *)(intptr_t)n;
}

/* Whatever the threads are in the midst of, a child finds the handle usable. */
static void fork_while_threads_call(void **state)
{
	uint64_t v = make(INTRO_MANAGER_VALUE, 0);
	int64_t sum, want = 0;
	pthread_t threads[3];
	void *result;
	pid_t pid;

	forked_enough = false;
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, adds_until_then, &v);
	for (int i = 0; i < 30; i++) {
		pid = fork();
		if (!pid) {
			for (int k = 0; k < 5; k++)
				if (intro_manager_value_add(m, v, 1, NULL))
					_exit(1);
			intro_manager_free(m);
			_exit(0);
		}
		reap(pid, 0);
		want += 5;
	}
	forked_enough = true;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &result);
		want += (intptr_t)result;
	}
	assert_int_equal(intro_manager_value_add(m, v, 0, &sum), 0);
	assert_int_equal(sum, want);
}

/* --- what has a lock that is the whole process's ------------------------------------------------
 */

static struct intro_local *local;

static bool registers(void)
{
	return intro_function_register("nothing", nothing) == 0;
}

static bool names(void)
{
	static _Atomic unsigned n;
	char name[INTRO_THREAD_NAME];

	/* known ones, too: the table has an end */
	snprintf(name, sizeof(name), "fork-%u", n++ % 1000);
	return intro_mark_name(name) && intro_mark_pool(name, 1);
}

static void *returns(void *arg)
{
	return arg;
}

static bool threads_come_and_go(void)
{
	struct intro_thread_handle *thread = intro_thread_new(returns, &local, NULL);
	void *result = NULL;
	bool good = thread && !intro_thread_start(thread) &&
		    !intro_thread_join(thread, INTRO_FOREVER, &result) && result == &local;

	intro_thread_free(thread);
	return good && intro_thread_active_count() > 0;
}

static bool has_data(void)
{
	struct intro_local *own = intro_local_new(NULL);
	bool good = own && !intro_local_set(own, &own) && intro_local_get(own) == &own &&
		    !intro_local_set(local, &local);

	intro_local_free(own);
	return good;
}

static bool (*const uses[])(void) = {registers, names, threads_come_and_go, has_data};
#define USES (sizeof(uses) / sizeof(uses[0]))

static void *uses_until_then(void *arg)
{
	bool (*use)(void) = *(bool (*const *)(void))arg;

	while (!forked_enough)
		assert_true(use());
	return NULL;
}

static void fork_while_threads_use(void **state)
{
	pthread_t threads[USES];
	pid_t pid;

	local = intro_local_new(NULL);
	assert_non_null(local);
	forked_enough = false;
	for (size_t i = 0; i < USES; i++)
		pthread_create(&threads[i], NULL, uses_until_then, (void *)&uses[i]);
	for (int n = 0; n < FORKS; n++) {
		pid = fork();
		if (!pid) {
			alarm(20);
			for (size_t i = 0; i < USES; i++)
				if (!uses[i]())
					_exit(1);
			_exit(0);
		}
		reap(pid, 0);
	}
	forked_enough = true;
	for (size_t i = 0; i < USES; i++)
		pthread_join(threads[i], NULL);
	intro_local_free(local);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fork_while_threads_call),
		cmocka_unit_test(fork_while_threads_use),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
