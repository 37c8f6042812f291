// SPDX-License-Identifier: BSD-2-Clause
/* test_numa.c - CPU time against memory, and who paid, worked out by hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "analyze/numa.h"
#include "trace/topology.h"

static const char three_nodes[] =
	"{\"topology\":[{\"cpu\":0,\"core\":0,\"package\":0,\"node\":0},"
	"{\"cpu\":1,\"core\":0,\"package\":1,\"node\":4}],"
	"\"numa\":[{\"node\":0,\"memory_bytes\":1000},{\"node\":4,\"memory_bytes\":0},"
	"{\"node\":5,\"memory_bytes\":1000}],"
	"\"residency\":[{\"pid\":30,\"bytes\":[1000,0,3000],\"mappings\":[]}],"
	"\"counted\":[\"pages\"],\"pages_lost\":7}";

struct fixture {
	struct intro_topology *topology;
	struct intro__numa build;
};

static void begin(struct fixture *fixture, const char *meta)
{
	fixture->topology = intro_topology_of_meta(meta);
	assert_non_null(fixture->topology);
	assert_int_equal(intro__numa_begin(&fixture->build, fixture->topology, meta), 0);
}

static void end(struct fixture *fixture)
{
	intro__numa_free(fixture->build.numa);
	intro_topology_free(fixture->topology);
}

static struct intro_placement *placed(const struct fixture *fixture, const uint64_t *ran,
				      const uint64_t *pages)
{
	struct intro_placement *placement = intro_placement_new(fixture->topology);

	assert_non_null(placement);
	for (uint32_t i = 0; i < placement->nodes; i++) {
		placement->by_node[i] = ran[i];
		placement->by_node[placement->nodes + i] = pages[i];
	}
	return placement;
}

static void add_thread(struct fixture *fixture, uint32_t pid, const uint64_t *ran,
		       const uint64_t *pages)
{
	struct intro_thread thread = {.pid = pid, .placement = placed(fixture, ran, pages)};

	intro__numa_thread(&fixture->build, &thread);
	free((void *)thread.placement);
}

static void test_matrix(void **state)
{
	struct fixture f;

	begin(&f, three_nodes);
	/* two threads of one process: 1 page of node 0, 2 of 4, none of 5 */
	add_thread(&f, 10, (uint64_t[]){100, 50, 0}, (uint64_t[]){1, 0, 0});
	add_thread(&f, 10, (uint64_t[]){0, 1, 0}, (uint64_t[]){0, 2, 0});
	/* one that asked for nothing */
	add_thread(&f, 20, (uint64_t[]){5, 7, 0}, (uint64_t[]){0, 0, 0});
	/* one that was read at the end, which counts more than what it asked for */
	add_thread(&f, 30, (uint64_t[]){400, 0, 0}, (uint64_t[]){0, 9, 0});
	intro__numa_pages(&f.build, 0, 2, 11);
	intro__numa_pages(&f.build, 0, 2, 1);
	intro__numa_pages(&f.build, 1, 0, 3);
	assert_int_equal(intro__numa_finish(&f.build), 0);
	/* 100 ns: a third is 33, the largest column has the rest; 51: 17 */
	assert_int_equal(f.build.numa->cpu_ns[0], 33 + 100);
	assert_int_equal(f.build.numa->cpu_ns[1], 67);
	assert_int_equal(f.build.numa->cpu_ns[2], 300);
	assert_int_equal(f.build.numa->cpu_ns[3], 17);
	assert_int_equal(f.build.numa->cpu_ns[4], 34);
	assert_int_equal(f.build.numa->cpu_ns[5], 0);
	for (int i = 6; i < 9; i++)
		assert_int_equal(f.build.numa->cpu_ns[i], 0);
	assert_int_equal(f.build.numa->unplaced_ns[0], 5);
	assert_int_equal(f.build.numa->unplaced_ns[1], 7);
	assert_int_equal(f.build.numa->pages[2], 12);
	assert_int_equal(f.build.numa->pages[3], 3);
	assert_true(f.build.numa->counted);
	assert_int_equal(f.build.numa->pages_lost, 7);
	end(&f);
}

/* Numbers beyond 64 bits on the way; rows still sum. */
static void test_large(void **state)
{
	const uint64_t ran = 1ull << 60;
	struct fixture f;

	begin(&f, three_nodes);
	add_thread(&f, 10, (uint64_t[]){ran, 0, 0}, (uint64_t[]){1ull << 50, 3, 1ull << 51});
	assert_int_equal(intro__numa_finish(&f.build), 0);
	assert_int_equal(
		f.build.numa->cpu_ns[0] + f.build.numa->cpu_ns[1] + f.build.numa->cpu_ns[2], ran);
	assert_true(f.build.numa->cpu_ns[0] > ran / 4 && f.build.numa->cpu_ns[0] < ran / 2);
	end(&f);
}

static void test_one_node(void **state)
{
	struct fixture f;

	begin(&f, "{\"topology\":[{\"cpu\":0}]}");
	add_thread(&f, 10, (uint64_t[]){100}, (uint64_t[]){0});
	add_thread(&f, 11, (uint64_t[]){50}, (uint64_t[]){4});
	assert_int_equal(intro__numa_finish(&f.build), 0);
	assert_int_equal(f.build.numa->cpu_ns[0], 50);
	assert_int_equal(f.build.numa->unplaced_ns[0], 100);
	assert_false(f.build.numa->counted);
	end(&f);
}

static void test_paid(void **state)
{
	struct intro_task task = {.name = "t"};
	struct fixture f;

	begin(&f, three_nodes);
	intro__numa_task(&f.build, &task, "p"); /* never on a worker */
	for (uint64_t i = 1; i <= 15; i++) {
		struct intro_placement *placement =
			placed(&f, (uint64_t[]){i * 7 % 16, 0, 0}, (uint64_t[]){0, 0, 1});

		task.id = i;
		task.placement = placement;
		intro__numa_task(&f.build, &task, "p");
		free(placement);
	}
	/* all its memory near, but it waited: 100 after a move to another node */
	task.id = 99;
	task.placement = placed(&f, (uint64_t[]){1000, 0, 0}, (uint64_t[]){1, 0, 0});
	((struct intro_placement *)task.placement)->move_wait_ns[INTRO_MOVE_CROSS] = 100;
	((struct intro_placement *)task.placement)->move_wait_ns[INTRO_MOVE_NODE] = 9999;
	intro__numa_task(&f.build, &task, "p");
	free((void *)task.placement);
	assert_int_equal(intro__numa_finish(&f.build), 0);
	assert_int_equal(f.build.numa->paid_n, INTRO_PAID_MAX);
	assert_int_equal(f.build.numa->paid[0].id, 99);
	assert_int_equal(f.build.numa->paid[0].cross_wait_ns, 100);
	assert_int_equal(f.build.numa->paid[0].apart_ns, 0);
	/* 15, 14, 13 .. 7: all of 1..15 are there once */
	for (size_t i = 1; i < INTRO_PAID_MAX; i++)
		assert_int_equal(f.build.numa->paid[i].apart_ns, 16 - i);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matrix),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_one_node),
		cmocka_unit_test(test_paid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
