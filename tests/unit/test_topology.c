// SPDX-License-Identifier: BSD-2-Clause
/* test_topology.c - machines as sysfs shows them, in trees of files made here; and as META. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "trace/topology.h"

static char root[64];

static int make_root(void **state)
{
	strcpy(root, "/tmp/introspect-sys-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

static void put(const char *path, const char *text)
{
	char full[256];
	FILE *file;

	snprintf(full, sizeof(full), "%s/devices/system/%s", root, path);
	for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(full, 0755);
		*slash = '/';
	}
	file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void put_cpu(int cpu, const char *core, const char *package)
{
	char path[64];

	snprintf(path, sizeof(path), "cpu/cpu%d/topology/core_id", cpu);
	put(path, core);
	snprintf(path, sizeof(path), "cpu/cpu%d/topology/physical_package_id", cpu);
	put(path, package);
}

static void put_node(int node, const char *cpus, const char *distances, const char *memory)
{
	char path[64];

	snprintf(path, sizeof(path), "node/node%d/cpulist", node);
	put(path, cpus);
	snprintf(path, sizeof(path), "node/node%d/distance", node);
	put(path, distances);
	snprintf(path, sizeof(path), "node/node%d/meminfo", node);
	put(path, memory);
}

/* Node 0 with a core of two threads, node 2 without memory, 5 without CPUs; CPU 3 is offline. */
static struct intro_topology *holes(void)
{
	put("cpu/present", "0-2,4,8-9\n");
	put("cpu/online", "0-2,8-9\n");
	put_cpu(0, "0\n", "0\n");
	put_cpu(1, "0\n", "0\n");
	put_cpu(2, "1\n", "0\n");
	put_cpu(8, "0\n", "1\n");
	put_cpu(9, "1\n", "1\n");
	put("node/online", "0,2,5\n");
	put_node(0, "0-2\n", "10 21 30\n",
		 "\nNode 0 MemTotal:       2064136 kB\nNode 0 MemFree:  1 kB\n");
	put_node(2, "8-9\n", "21 10 31\n", "\nNode 2 MemTotal:             0 kB\n");
	put_node(5, "\n", "30 31 10\n", "\nNode 5 MemTotal:       1024 kB\n");
	return intro_topology_of_machine(root);
}

static void check_holes(const struct intro_topology *topology)
{
	assert_non_null(topology);
	assert_int_equal(topology->cpus_n, 6);
	assert_int_equal(topology->nodes_n, 3);
	assert_int_equal(topology->nodes[0].node, 0);
	assert_int_equal(topology->nodes[1].node, 2);
	assert_int_equal(topology->nodes[2].node, 5);
	assert_int_equal(topology->nodes[0].memory_bytes, 2064136ull * 1024);
	assert_int_equal(topology->nodes[1].memory_bytes, 0);
	assert_int_equal(topology->nodes[2].memory_bytes, 1024 * 1024);
	assert_int_equal(topology->nodes[0].cpus, 3);
	assert_int_equal(topology->nodes[1].cpus, 2);
	assert_int_equal(topology->nodes[2].cpus, 0);
	assert_int_equal(topology->nodes[0].distance[1], 21);
	assert_int_equal(topology->nodes[2].distance[1], 31);
	assert_int_equal(topology->nodes[2].distance[3], 0);
	assert_int_equal(intro_topology_node_of_cpu(topology, 2), 0);
	assert_int_equal(intro_topology_node_of_cpu(topology, 8), 1);
	assert_int_equal(intro_topology_node_of_cpu(topology, 4), INTRO_NODE_NONE);
	assert_int_equal(intro_topology_node_of_cpu(topology, 3), INTRO_NODE_NONE);
	assert_int_equal(intro_topology_node_of_cpu(topology, UINT32_MAX), INTRO_NODE_NONE);
	assert_false(intro_topology_cpu(topology, 4)->online);
	assert_null(intro_topology_cpu(topology, 5));
	assert_int_equal(intro_topology_place(topology, 5), 2);
	assert_int_equal(intro_topology_place(topology, 1), INTRO_NODE_NONE);
	assert_int_equal(intro_topology_move(topology, 0, 1), INTRO_MOVE_CORE);
	assert_int_equal(intro_topology_move(topology, 1, 2), INTRO_MOVE_NODE);
	/* the same core number in another package */
	assert_int_equal(intro_topology_move(topology, 0, 8), INTRO_MOVE_CROSS);
	assert_int_equal(intro_topology_move(topology, 8, 9), INTRO_MOVE_NODE);
	assert_int_equal(intro_topology_move(topology, 0, 4), INTRO_MOVE_UNKNOWN);
	assert_int_equal(intro_topology_move(topology, 77, 0), INTRO_MOVE_UNKNOWN);
}

static void test_holes(void **state)
{
	struct intro_topology *topology = holes();

	check_holes(topology);
	intro_topology_free(topology);
}

/* What a trace says of a machine is what the machine said. */
static void test_meta(void **state)
{
	struct intro_topology *topology = holes(), *again;
	struct json_object *meta = json_object_new_object();

	intro__topology_to_meta(topology, meta);
	again = intro_topology_of_meta(json_object_to_json_string(meta));
	check_holes(again);
	json_object_put(meta);
	intro_topology_free(again);
	intro_topology_free(topology);
}

/* A kernel without nodes. */
static void test_no_nodes(void **state)
{
	struct intro_topology *topology;

	put("cpu/online", "0-1\n");
	topology = intro_topology_of_machine(root);
	assert_non_null(topology);
	assert_int_equal(topology->cpus_n, 2);
	assert_int_equal(topology->nodes_n, 1);
	assert_int_equal(topology->nodes[0].node, 0);
	assert_int_equal(topology->nodes[0].cpus, 2);
	assert_int_equal(topology->nodes[0].distance[0], 10);
	assert_true(topology->nodes[0].memory_bytes > 0);
	/* cores that are not told apart are cores of their own */
	assert_int_equal(intro_topology_move(topology, 0, 1), INTRO_MOVE_NODE);
	intro_topology_free(topology);
}

static void test_nothing(void **state)
{
	struct intro_topology *topology = intro_topology_of_machine("/nonexistent");

	assert_non_null(topology);
	assert_int_equal(topology->cpus_n, 0);
	assert_int_equal(topology->nodes_n, 1);
	assert_int_equal(intro_topology_node_of_cpu(topology, 0), INTRO_NODE_NONE);
	assert_int_equal(intro_topology_move(topology, 0, 1), INTRO_MOVE_UNKNOWN);
	intro_topology_free(topology);
	intro_topology_free(NULL);
}

static void test_hostile_files(void **state)
{
	static const char *const lists[] = {
		"0-99999999999999999999\n",
		"5-2\n",
		"-1\n",
		"0-\n",
		"1,1,1,0\n",
		"\n",
		"",
		"0-70000\n",
		"a,b-c\n",
		"0,,,1,,,\n",
		"0x3\n",
		"2000\n",
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		struct intro_topology *topology;

		put("cpu/present", lists[i]);
		put("cpu/online", lists[(i + 3) % 12]);
		put("node/online", lists[(i + 5) % 12]);
		put_node(0, lists[(i + 7) % 12], "-1 999999999999999999999 x 10\n",
			 "Node 0 MemTotal: 99999999999999999999 kB\n");
		put_node(1, lists[(i + 9) % 12], "\n", "MemTotal:\n");
		topology = intro_topology_of_machine(root);
		assert_non_null(topology);
		assert_in_range(topology->nodes_n, 1, INTRO_NODES_MAX);
		for (size_t k = 0; k < topology->cpus_n; k++)
			assert_true(topology->cpus[k].node < (int)topology->nodes_n);
		intro_topology_free(topology);
	}
}

static void test_many_nodes(void **state)
{
	struct intro_topology *topology;

	put("cpu/online", "0-199\n");
	put("node/online", "0-199\n");
	for (int i = 0; i < 200; i++) {
		char cpus[16];

		snprintf(cpus, sizeof(cpus), "%d\n", i);
		put_node(i, cpus, "10 20 30\n", "Node 0 MemTotal: 4 kB\n");
	}
	topology = intro_topology_of_machine(root);
	assert_non_null(topology);
	assert_int_equal(topology->nodes_n, INTRO_NODES_MAX);
	assert_int_equal(intro_topology_node_of_cpu(topology, 63), 63);
	assert_int_equal(intro_topology_node_of_cpu(topology, 64), INTRO_NODE_NONE);
	intro_topology_free(topology);
}

static void test_hostile_meta(void **state)
{
	static const char *const metas[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"topology\":7,\"numa\":{}}",
		"{\"topology\":[1,null,{},{\"cpu\":-1},{\"cpu\":99999999999},{\"cpu\":\"0\"}],"
		"\"numa\":[[],{\"node\":-3},{\"node\":5000},{\"node\":1,\"distances\":[-1,1e9,\"\"]"
		"}]}",
		/* out of order, twice, and a node that is not there */
		"{\"topology\":[{\"cpu\":3,\"node\":9},{\"cpu\":1},{\"cpu\":3,\"node\":1}],"
		"\"numa\":[{\"node\":4,\"memory_bytes\":-5},{\"node\":2},{\"node\":4}]}",
	};

	for (size_t i = 0; i < sizeof(metas) / sizeof(*metas); i++) {
		struct intro_topology *topology = intro_topology_of_meta(metas[i]);

		assert_non_null(topology);
		assert_int_equal(topology->nodes_n, 1);
		assert_in_range(topology->cpus_n, 0, 1);
		for (size_t k = 0; k < topology->cpus_n; k++)
			assert_int_equal(topology->cpus[k].node, INTRO_NODE_NONE);
		assert_int_equal(topology->nodes[0].memory_bytes, 0);
		intro_topology_free(topology);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_holes, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_meta, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_no_nodes, make_root, remove_root),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test_setup_teardown(test_hostile_files, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_many_nodes, make_root, remove_root),
		cmocka_unit_test(test_hostile_meta),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
