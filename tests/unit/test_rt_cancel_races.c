/* SPDX-License-Identifier: BSD-2-Clause */
/* A future that is cancelled by one thread while another submits it and others begin it. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64
#define RACE_NS 300000000

struct job {
	struct intro_future future;
	_Atomic int ran;
	bool cancelled; /* by the one who races */
	bool refused;	/* by submit: it came first */
};

struct race {
	struct job job[BATCH];
	_Atomic unsigned turn; /* odd: of the one who cancels */
	_Atomic bool over;
};

static int run(struct intro_call *call)
{
	struct job *job = (struct job *)call->arg;

	job->ran++;
	return 0;
}

static void cancel_some(struct race *race, unsigned *seed)
{
	for (unsigned i = rand_r(seed) % BATCH, n = 0; n < BATCH; n++, i = (i + 1) % BATCH) {
		struct job *job = &race->job[i];

		if (rand_r(seed) % 4)
			continue;
		job->cancelled = intro_future_cancel(&job->future);
		/* too late says that it has begun, and nothing else */
		if (!job->cancelled && !intro_future_running(&job->future) &&
		    !intro_future_done(&job->future))
			abort();
	}
}

static void *canceller(void *arg)
{
	struct race *race = arg;
	unsigned seed = 1;

	while (!race->over) {
		if (race->turn % 2) {
			cancel_some(race, &seed);
			race->turn++;
		} else {
			sched_yield();
		}
	}
	return NULL;
}

static void check(struct job *job)
{
	int ret =
		job->refused ? -ECANCELED : intro_future_result(&job->future, INTRO_FOREVER, NULL);

	assert_int_equal(ret, job->cancelled ? -ECANCELED : 0);
	assert_int_equal(job->ran, !job->cancelled);
	intro_future_destroy(&job->future);
}

static void race_batch(struct intro_executor *e, struct race *race, bool waits)
{
	for (unsigned i = 0; i < BATCH; i++) {
		struct job *job = &race->job[i];

		job->ran = 0;
		job->cancelled = job->refused = false;
		intro_future_init(&job->future);
	}
	race->turn++;
	for (unsigned i = 0; i < BATCH; i++) {
		struct job *job = &race->job[i];
		int err = intro_executor_submit(e, &job->future, run, job, 0);

		assert_true(!err || err == -EINVAL);
		job->refused = err;
		if (waits && !err)
			intro_future_result(&job->future, INTRO_FOREVER, NULL);
	}
	while (race->turn % 2)
		sched_yield();
	for (unsigned i = BATCH; i-- > 0;)
		check(&race->job[i]);
}

static void race_in(const struct intro_executor_options *options)
{
	struct intro_executor *e = intro_thread_executor_new(options);
	struct race *race = aligned_alloc(64, sizeof(*race));
	int64_t until = now_ns() + RACE_NS;
	bool waits = false;
	pthread_t thread;

	assert_true(e && race);
	memset(race, 0, sizeof(*race));
	assert_int_equal(pthread_create(&thread, NULL, canceller, race), 0);
	do {
		race_batch(e, race, waits);
		waits = !waits;
	} while (now_ns() < until);
	race->over = true;
	pthread_join(thread, NULL);
	intro_executor_free(e);
	free(race);
}

static void beside_workers(void **state)
{
	race_in(POOL_OPTIONS(.workers = 2));
}

static void beside_one_who_waits(void **state)
{
	race_in(POOL_OPTIONS(.workers = 1, .waiters_help = true));
}

static void beside_a_caller_who_runs(void **state)
{
	race_in(POOL_OPTIONS(.workers = 1, .waiters_help = true, .caller_runs = 4));
}

static void beside_bound_workers(void **state)
{
	race_in(POOL_OPTIONS(.workers = 2, .binding = INTRO_BIND_NODES));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(beside_workers),
		cmocka_unit_test(beside_one_who_waits),
		cmocka_unit_test(beside_a_caller_who_runs),
		cmocka_unit_test(beside_bound_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
