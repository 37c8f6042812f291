/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forks while other threads use a manager. Without a sanitizer: the locks of its allocator do not
 * survive a fork.
 */
#include "rt_manager.h"

#include <pthread.h>
#include <unistd.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fork_while_threads_call),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
