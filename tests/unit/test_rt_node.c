// SPDX-License-Identifier: BSD-2-Clause
/* test_rt_node.c - nodes and memory of theirs, on whatever machine this is. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <introspect/node.h>

#define NODES 64

static struct intro_node nodes[NODES];

static int list(void)
{
	int n = intro_node_list(nodes, NODES);

	assert_in_range(n, 1, NODES);
	return n;
}

/* A child of the kernel's may refuse mbind and move_pages (seccomp, no CONFIG_NUMA). */
static bool places(void)
{
	char *page = intro_node_alloc(1, nodes[0].node, false);
	int node;

	if (!page)
		return false;
	*page = 1;
	node = intro_node_of(page);
	intro_node_free(page, 1);
	return node >= 0;
}

static void test_list(void **state)
{
	int n = list(), cpus = 0;
	bool memory = false;
	cpu_set_t mine;

	assert_int_equal(intro_node_list(NULL, 0), n);
	assert_false(sched_getaffinity(0, sizeof(mine), &mine));
	for (int i = 0; i < n; i++) {
		cpus += CPU_COUNT(&nodes[i].cpus);
		memory |= nodes[i].memory;
		assert_true(nodes[i].memory || CPU_COUNT(&nodes[i].cpus));
		assert_true(!i || nodes[i].node > nodes[i - 1].node);
		assert_int_equal(intro_node_distance(nodes[i].node, nodes[i].node), 10);
	}
	assert_true(memory);
	/* each CPU is of one node */
	assert_int_equal(cpus, CPU_COUNT(&mine));
	assert_int_equal(intro_node_distance(0, INTRO_NODE_LIMIT), 0);
}

static void test_memory(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 3 * page + 5;
	int n = list();

	if (!places())
		skip();
	for (int i = 0; i < n; i++) {
		char *memory = intro_node_alloc(size, nodes[i].node, true);

		if (!nodes[i].memory) {
			assert_null(memory);
			assert_int_equal(errno, EINVAL);
			continue;
		}
		assert_non_null(memory);
		assert_true(intro_node_of(memory) == -ENOENT || intro_node_of(memory) == -EFAULT);
		for (size_t at = 0; at < size; at++)
			assert_int_equal(memory[at], 0);
		memset(memory, 7, size);
		for (size_t at = 0; at < size; at += page)
			assert_int_equal(intro_node_of(memory + at), nodes[i].node);
		intro_node_free(memory, size);
	}
}

static void test_interleaved(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = 64;
	int n = list(), with_memory = 0, seen[INTRO_NODE_LIMIT] = {0};
	char *memory;

	if (!places())
		skip();
	memory = intro_node_alloc_interleaved(pages * page);
	assert_non_null(memory);
	memset(memory, 1, pages * page);
	for (size_t i = 0; i < pages; i++) {
		int node = intro_node_of(memory + i * page);

		assert_in_range(node, 0, INTRO_NODE_LIMIT - 1);
		seen[node]++;
	}
	for (int i = 0; i < n; i++)
		with_memory += nodes[i].memory;
	for (int i = 0; i < n; i++)
		if (nodes[i].memory)
			assert_true(seen[nodes[i].node] >= (int)pages / with_memory - 1);
	intro_node_free(memory, pages * page);
}

static void test_misuse(void **state)
{
	assert_null(intro_node_alloc(0, 0, false));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_node_alloc(4096, INTRO_NODE_LIMIT, false));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_node_alloc(4096, INTRO_NODE_LIMIT - 1, false));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_node_alloc_interleaved(0));
	assert_int_equal(errno, EINVAL);
	intro_node_free(NULL, 0);
	assert_int_equal(intro_node_bind(INTRO_NODE_LIMIT), -EINVAL);
	assert_int_equal(intro_node_bind(INTRO_NODE_LIMIT - 1), -EINVAL);
	assert_true(intro_node_of((void *)8) < 0);
}

static void *bind(void *arg)
{
	struct intro_node *node = arg;
	cpu_set_t now;

	assert_int_equal(intro_node_bind(node->node), CPU_COUNT(&node->cpus) ? 0 : -EINVAL);
	assert_false(sched_getaffinity(0, sizeof(now), &now));
	if (CPU_COUNT(&node->cpus)) {
		assert_true(CPU_EQUAL(&now, &node->cpus));
		assert_int_equal(intro_node_here(), node->node);
	}
	return NULL;
}

/* A thread of its own each: binding narrows. */
static void test_bind(void **state)
{
	int n = list();

	for (int i = 0; i < n; i++) {
		pthread_t thread;

		assert_false(pthread_create(&thread, NULL, bind, &nodes[i]));
		pthread_join(thread, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),   cmocka_unit_test(test_memory),
		cmocka_unit_test(test_misuse), cmocka_unit_test(test_interleaved),
		cmocka_unit_test(test_bind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
