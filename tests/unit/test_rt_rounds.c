/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks that need each other at once, as many as there are workers: no worker may sleep through
 * one. */
#include "rt_support.h"

#include <introspect/locks.h>

#define WORKERS 4
#define AHEAD 8 /* submitted before the first of them must have ended */
#define ROUNDS 5000
#define PATIENCE (60000 * MSEC)

static int meet(struct intro_call *call)
{
	return intro_barrier_wait((struct intro_barrier *)call->arg, INTRO_FOREVER) < 0;
}

/* Of a task that nobody runs, its round never ends. */
static void every_round_ends(void **state)
{
	static struct intro_future f[AHEAD];
	struct intro_executor *e = intro_thread_executor_new(POOL_OPTIONS(.workers = WORKERS));
	static struct intro_barrier barrier;

	assert_non_null(e);
	assert_int_equal(intro_barrier_init(&barrier, WORKERS, NULL, NULL, NULL), 0);
	for (int i = 0; i < ROUNDS * WORKERS + AHEAD; i++) {
		struct intro_future *now = &f[i % AHEAD];

		if (i >= AHEAD) {
			assert_int_equal(intro_future_result(now, PATIENCE, NULL), 0);
			intro_future_destroy(now);
		}
		intro_future_init(now);
		if (i < ROUNDS * WORKERS)
			assert_int_equal(intro_executor_submit(e, now, meet, &barrier, 0), 0);
	}
	intro_executor_free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_round_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
