// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_rt_placement.c - thread pools that bind their workers. On a machine with several nodes (the
 * virtual one of tests/vm) also which node's workers run what.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <introspect/executor.h>
#include <introspect/interpreter.h>
#include <introspect/node.h>

#define NODES 64
#define TASKS 2000

static struct intro_node nodes[NODES]; /* with CPUs */
static int nodes_n;

static int find_nodes(void **state)
{
	struct intro_node all[NODES];
	int n = intro_node_list(all, NODES);

	for (int i = 0; i < n && i < NODES; i++)
		if (CPU_COUNT(&all[i].cpus))
			nodes[nodes_n++] = all[i];
	return nodes_n ? 0 : -1;
}

static struct intro_executor *pool_of(enum intro_binding binding, unsigned workers)
{
	struct intro_executor_options options = {
		.size = sizeof(options), .workers = workers, .binding = binding};
	struct intro_executor *pool = intro_thread_executor_new(&options);

	assert_non_null(pool);
	return pool;
}

struct seen_where {
	cpu_set_t cpus[8];
	_Atomic unsigned started;
	pthread_barrier_t all;
};

/* Each worker has one of these, as all wait for all. */
static int look_where(struct intro_call *call)
{
	struct seen_where *seen = (void *)call->arg;

	sched_getaffinity(0, sizeof(seen->cpus[0]), &seen->cpus[call->index]);
	atomic_fetch_add(&seen->started, 1);
	pthread_barrier_wait(&seen->all);
	return 0;
}

static void run_everywhere(struct intro_executor *pool, unsigned workers, struct seen_where *seen)
{
	struct intro_future futures[8];

	memset(seen, 0, sizeof(*seen));
	pthread_barrier_init(&seen->all, NULL, workers);
	for (unsigned i = 0; i < workers; i++) {
		intro_future_init(&futures[i]);
		assert_int_equal(intro_executor_submit(pool, &futures[i], look_where, seen, 0), 0);
	}
	for (unsigned i = 0; i < workers; i++) {
		assert_int_equal(intro_future_result(&futures[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&futures[i]);
	}
	pthread_barrier_destroy(&seen->all);
	assert_int_equal(seen->started, workers);
}

/* Workers take the nodes in turn, and are bound to all CPUs of theirs. */
static void test_nodes(void **state)
{
	struct intro_executor *pool = pool_of(INTRO_BIND_NODES, 5);
	struct seen_where seen;

	run_everywhere(pool, 5, &seen);
	for (int i = 0; i < 5; i++)
		assert_true(CPU_EQUAL(&seen.cpus[i], &nodes[i % nodes_n].cpus));
	intro_executor_free(pool);
}

/* To a core each while there are enough: no two share a CPU; each is within its node. */
static void test_cores(void **state)
{
	struct intro_executor *pool = pool_of(INTRO_BIND_CORES, 8);
	struct seen_where seen;
	cpu_set_t both;

	run_everywhere(pool, 8, &seen);
	for (int i = 0; i < 8; i++) {
		assert_true(CPU_COUNT(&seen.cpus[i]) > 0);
		CPU_AND(&both, &seen.cpus[i], &nodes[i % nodes_n].cpus);
		assert_true(CPU_EQUAL(&both, &seen.cpus[i]));
	}
	for (int i = 0; i < 8; i++)
		for (int k = 0; k < i; k++) {
			CPU_AND(&both, &seen.cpus[i], &seen.cpus[k]);
			assert_true(!CPU_COUNT(&both) || CPU_EQUAL(&seen.cpus[i], &seen.cpus[k]));
		}
	if (nodes_n == 1 && CPU_COUNT(&nodes[0].cpus) > 1 &&
	    CPU_COUNT(&seen.cpus[0]) < CPU_COUNT(&nodes[0].cpus))
		assert_false(CPU_EQUAL(&seen.cpus[0], &seen.cpus[1]));
	intro_executor_free(pool);
}

static int count(struct intro_call *call)
{
	atomic_fetch_add((_Atomic unsigned *)call->arg, 1);
	return 0;
}

/* All queues are worked off, whatever the node: also of nodes without CPUs, or that are not. */
static void test_all_run(void **state)
{
	struct intro_future *futures = calloc(TASKS, sizeof(*futures));
	struct intro_executor *pool = pool_of(INTRO_BIND_NODES, 3);
	struct intro_executor_statistics statistics = {.size = sizeof(statistics)};
	_Atomic unsigned ran = 0;

	assert_non_null(futures);
	for (int i = 0; i < TASKS; i++) {
		intro_future_init(&futures[i]);
		assert_int_equal(i % 3 ? intro_executor_submit_near(pool, &futures[i],
								    (uint32_t)i % INTRO_NODE_LIMIT,
								    0, count, &ran, 0)
				       : intro_executor_submit(pool, &futures[i], count, &ran, 0),
				 0);
	}
	for (int i = 0; i < TASKS; i++) {
		assert_int_equal(intro_future_result(&futures[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&futures[i]);
	}
	assert_int_equal(ran, TASKS);
	intro_executor_statistics(pool, &statistics);
	assert_int_equal(statistics.submitted, TASKS);
	assert_int_equal(statistics.executed, TASKS);
	assert_int_equal(statistics.workers, 3);
	intro_executor_free(pool);
	free(futures);
}

/* What is queued at a shutdown that cancels, on every node, is cancelled; and none is lost. */
static void test_cancel_all(void **state)
{
	struct intro_future *futures = calloc(TASKS, sizeof(*futures));
	struct intro_executor *pool = pool_of(INTRO_BIND_CORES, 2);
	struct intro_future late;
	unsigned done = 0, cancelled = 0;
	_Atomic unsigned ran = 0;

	assert_non_null(futures);
	for (int i = 0; i < TASKS; i++) {
		intro_future_init(&futures[i]);
		assert_int_equal(intro_executor_submit_near(pool, &futures[i],
							    nodes[i % nodes_n].node, 0, count, &ran,
							    0),
				 0);
		if (i % 7 == 0)
			intro_future_cancel(&futures[i]);
	}
	intro_executor_shutdown(pool, INTRO_SHUTDOWN_WAIT | INTRO_SHUTDOWN_CANCEL_PENDING);
	intro_future_init(&late);
	assert_int_equal(intro_executor_submit(pool, &late, count, &ran, 0), -ESHUTDOWN);
	intro_future_destroy(&late);
	for (int i = 0; i < TASKS; i++) {
		assert_true(intro_future_done(&futures[i]));
		if (intro_future_cancelled(&futures[i]))
			cancelled++;
		else
			done++;
		intro_future_destroy(&futures[i]);
	}
	assert_int_equal(done, ran);
	assert_int_equal(done + cancelled, TASKS);
	intro_executor_free(pool);
	free(futures);
}

static int where(struct intro_call *call)
{
	struct timespec a_while = {.tv_nsec = 2000000};

	*(int *)call->arg = intro_node_here();
	nanosleep(&a_while, NULL);
	return 0;
}

/* With time between them, each task finds a sleeping worker of its own node. */
static void test_near(void **state)
{
	struct intro_executor *pool = pool_of(INTRO_BIND_NODES, 4 * (unsigned)nodes_n);
	struct timespec asleep = {.tv_nsec = 20000000};
	unsigned right = 0;

	for (int i = 0; i < 40; i++) {
		struct intro_future future;
		int node = -1;

		nanosleep(&asleep, NULL);
		intro_future_init(&future);
		assert_int_equal(intro_executor_submit_near(pool, &future, nodes[i % nodes_n].node,
							    0, where, &node, 0),
				 0);
		assert_int_equal(intro_future_result(&future, INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&future);
		right += node == (int)nodes[i % nodes_n].node;
	}
	/* a worker that looks a last while before it sleeps may be quicker, wherever it is */
	assert_true(right >= 30);
	intro_executor_free(pool);
}

/* Far is better than idle: one node's queue is worked off by all. */
static void test_steal(void **state)
{
	struct intro_executor *pool = pool_of(INTRO_BIND_NODES, 2 * (unsigned)nodes_n);
	struct intro_future futures[60];
	int node[60];
	unsigned away = 0;

	for (int i = 0; i < 60; i++) {
		intro_future_init(&futures[i]);
		assert_int_equal(intro_executor_submit_near(pool, &futures[i], nodes[0].node, 0,
							    where, &node[i], 0),
				 0);
	}
	for (int i = 0; i < 60; i++) {
		assert_int_equal(intro_future_result(&futures[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&futures[i]);
		away += node[i] != (int)nodes[0].node;
	}
	assert_true(nodes_n == 1 ? !away : away > 0);
	intro_executor_free(pool);
}

static void test_misuse(void **state)
{
	struct intro_executor_options options = {.size = sizeof(options), .workers = 1};
	struct intro_interpreter *lock = intro_interpreter_new(0);
	struct intro_executor *pool;
	struct intro_future future;

	options.binding = (enum intro_binding)3;
	assert_null(intro_thread_executor_new(&options));
	assert_int_equal(errno, EINVAL);
	options.binding = INTRO_BIND_NODES;
	assert_null(intro_process_executor_new(&options));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_dynamic_executor_new(&options));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_interpreter_executor_new(lock, &options));
	assert_int_equal(errno, EINVAL);
	intro_interpreter_free(lock);
	pool = pool_of(INTRO_BIND_NONE, 1);
	intro_future_init(&future);
	assert_int_equal(
		intro_executor_submit_near(pool, &future, INTRO_NODE_LIMIT, 0, count, &nodes_n, 0),
		-EINVAL);
	assert_int_equal(intro_executor_submit_near(pool, &future, 0, 0, NULL, NULL, 0), -EINVAL);
	/* a pool that does not place takes it as any other */
	assert_int_equal(intro_executor_submit_near(pool, &future, 1, 0, where, &(int){0}, 0), 0);
	assert_int_equal(intro_future_result(&future, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(&future);
	intro_executor_free(pool);
}

static int refuse(struct intro_call *call)
{
	return 3;
}

/* A pool that breaks before its first task. */
static void test_broken(void **state)
{
	struct intro_executor_options options = {.size = sizeof(options),
						 .workers = 3,
						 .binding = INTRO_BIND_NODES,
						 .initializer = refuse};
	struct intro_executor *pool = intro_thread_executor_new(&options);
	struct intro_future future;
	_Atomic unsigned ran = 0;
	int err;

	assert_non_null(pool);
	intro_future_init(&future);
	err = intro_executor_submit(pool, &future, count, &ran, 0);
	if (!err)
		err = intro_future_result(&future, INTRO_FOREVER, NULL);
	assert_int_equal(err, -EPIPE);
	assert_int_equal(ran, 0);
	intro_future_destroy(&future);
	intro_executor_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nodes),	cmocka_unit_test(test_cores),
		cmocka_unit_test(test_all_run), cmocka_unit_test(test_cancel_all),
		cmocka_unit_test(test_near),	cmocka_unit_test(test_steal),
		cmocka_unit_test(test_misuse),	cmocka_unit_test(test_broken),
	};

	return cmocka_run_group_tests(tests, find_nodes, NULL);
}
