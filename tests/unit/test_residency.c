// SPDX-License-Identifier: BSD-2-Clause
/* test_residency.c - numa_maps, as it is and as nobody should find it; and residencies in META. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "../../cli/render_numa.h"
#include "trace/residency.h"
#include "trace/topology.h"

static struct intro_topology *nodes_0_2(void)
{
	struct intro_topology *topology = intro__topology_new();

	assert_non_null(topology);
	intro__topology_add_node(topology, 0);
	intro__topology_add_node(topology, 2);
	intro__topology_finish(topology);
	return topology;
}

static const char maps[] =
	"559d4a000000 default file=/usr/bin/a\\040b mapped=2 active=1 N0=2 kernelpagesize_kB=4\n"
	"559d4b000000 default heap anon=7 dirty=7 N0=3 N2=4 kernelpagesize_kB=4\n"
	"7f0000000000 bind:2 anon=512 dirty=512 N2=512 kernelpagesize_kB=4\n"
	"7f0040000000 interleave:0,2 file=/anon_hugepage\\040(deleted) huge anon=2 N0=1 N2=1 "
	"kernelpagesize_kB=2048\n"
	"7f0080000000 weighted interleave:0,2 anon=1 N2=1 kernelpagesize_kB=4\n"
	"7f00c0000000 default\n"
	"7ffd00000000 default stack anon=3 N0=3 N9=5 kernelpagesize_kB=4\n";

static void test_parse(void **state)
{
	struct intro_topology *topology = nodes_0_2();
	struct intro_residency *r = intro_residency_parse(maps, topology);

	assert_non_null(r);
	/* what holds nothing is not listed */
	assert_int_equal(r->mappings_n, 6);
	assert_string_equal(r->mappings[0].name, "/usr/bin/a\\040b");
	assert_string_equal(r->mappings[1].name, "heap");
	assert_string_equal(r->mappings[2].name, "anonymous");
	assert_string_equal(r->mappings[2].policy, "bind:2");
	assert_string_equal(r->mappings[4].policy, "weighted");
	assert_string_equal(r->mappings[5].name, "stack");
	assert_int_equal(r->mappings[3].page_bytes, 2048 * 1024);
	assert_int_equal(r->mappings[3].address, 0x7f0040000000);
	assert_int_equal(intro_residency_pages(r, 1, 0), 3);
	assert_int_equal(intro_residency_pages(r, 1, 1), 4);
	assert_int_equal(intro_residency_bytes(r, 3), 2 * 2048 * 1024);
	assert_int_equal(r->bytes[0], (2 + 3 + 3) * 4096 + 2048 * 1024);
	assert_int_equal(r->bytes[1], (4 + 512 + 1) * 4096 + 2048 * 1024);
	assert_int_equal(r->other_bytes, 5 * 4096);
	intro_residency_keep(r, 2);
	assert_int_equal(r->mappings_n, 2);
	assert_int_equal(r->left_out, 4);
	assert_int_equal(r->mappings[0].address, 0x7f0040000000);
	assert_int_equal(r->mappings[1].address, 0x7f0000000000);
	assert_int_equal(intro_residency_pages(r, 1, 1), 512);
	intro_residency_free(r);
	intro_residency_free(NULL);
	intro_topology_free(topology);
}

static void test_hostile(void **state)
{
	static const char *const texts[] = {
		"",
		"\n\n\n",
		"N0=5\n",
		"zz default N0=5\n",
		"1234",
		"1234 ",
		"1234 default N0\n",
		"1234 default N0=\n",
		"1234 default N=5 N-1=5 Nx=5 N0=-5\n",
		"1234 default N99999999999999999999=5\n",
		"1234 default N65536=5\n",
		"1234 default N0=99999999999999999999\n",
		"1234 default file= kernelpagesize_kB=\n",
	};
	struct intro_topology *topology = nodes_0_2();

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct intro_residency *r = intro_residency_parse(texts[i], topology);

		assert_non_null(r);
		assert_int_equal(r->mappings_n, 0);
		assert_int_equal(r->bytes[0] + r->bytes[1], 0);
		intro_residency_keep(r, 3);
		intro_residency_free(r);
	}
	intro_topology_free(topology);
}

/* A name as long as the kernel allows and longer, and more mappings than are kept. */
static void test_limits(void **state)
{
	struct intro_topology *topology = nodes_0_2();
	size_t size = (INTRO_MAPPINGS_MAX + 10) * 32 + 9000, used = 0;
	struct intro_residency *r;
	char *text = malloc(size);

	assert_non_null(text);
	used += (size_t)sprintf(text + used, "1000 default file=/");
	memset(text + used, 'x', 8000);
	used += 8000;
	used += (size_t)sprintf(text + used, "end N0=1\n");
	for (int i = 0; i < INTRO_MAPPINGS_MAX + 5; i++)
		used += (size_t)sprintf(text + used, "%x default N2=1\n", 0x2000 + i);
	r = intro_residency_parse(text, topology);
	assert_non_null(r);
	assert_int_equal(r->mappings_n, INTRO_MAPPINGS_MAX);
	assert_int_equal(r->left_out, 6);
	assert_int_equal(strlen(r->mappings[0].name), sizeof(r->mappings[0].name) - 1);
	assert_string_equal(r->mappings[0].name + strlen(r->mappings[0].name) - 4, "xend");
	assert_int_equal(r->bytes[1], (INTRO_MAPPINGS_MAX + 5ull) * 4096);
	intro_residency_free(r);
	intro_topology_free(topology);
	free(text);
}

/* Names of files are what their owner likes. */
static void test_render_escapes(void **state)
{
	struct intro_topology *topology = nodes_0_2();
	struct intro_residency *r = intro_residency_parse(
		"1000 \x1b[2Jpolicy file=/tmp/\x1b]0;owned\x07\xff N0=1 kernelpagesize_kB=4\n",
		topology);
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	struct render render = {.out = out};

	assert_non_null(r);
	strcpy(r->comm, "\x1b[31m");
	render_residency(&render, r, topology, SIZE_MAX);
	assert_int_equal(render_json_residency(out, r, topology), 0);
	fclose(out);
	assert_null(strchr(text, 0x1b));
	assert_null(strchr(text, 0x07));
	assert_null(strchr(text, '\xff'));
	assert_non_null(strstr(text, "\\x1b]0;owned"));
	free(text);
	intro_residency_free(r);
	intro_topology_free(topology);
}

static void test_meta(void **state)
{
	struct intro_topology *topology = nodes_0_2();
	struct intro_residency *r = intro_residency_parse(maps, topology), **again;
	struct json_object *meta = json_object_new_object(), *array = json_object_new_array();
	size_t n;

	r->pid = 77;
	intro_residency_keep(r, 2);
	json_object_array_add(array, intro__residency_to_meta(r));
	json_object_object_add(meta, "residency", array);
	assert_int_equal(
		intro__residencies_of_meta(json_object_to_json_string(meta), topology, &again, &n),
		0);
	assert_int_equal(n, 1);
	assert_int_equal(again[0]->pid, 77);
	assert_int_equal(again[0]->mappings_n, 2);
	assert_int_equal(again[0]->left_out, 4);
	assert_string_equal(again[0]->mappings[1].policy, "bind:2");
	assert_memory_equal(again[0]->bytes, r->bytes, 2 * sizeof(uint64_t));
	assert_memory_equal(again[0]->pages, r->pages, 4 * sizeof(uint64_t));
	json_object_put(meta);
	intro_residency_free(again[0]);
	free(again);
	intro_residency_free(r);
	intro_topology_free(topology);
}

static void test_hostile_meta(void **state)
{
	static const char *const metas[] = {
		"",
		"[]",
		"{\"residency\":{}}",
		"{\"residency\":[1,null,[],\"x\",{}]}",
		"{\"residency\":[{\"pid\":-1,\"bytes\":[-1,\"x\",1e99],\"mappings\":[0,{},"
		"{\"name\":[],\"policy\":7,\"page_bytes\":-4,\"pages\":[1,2,3,4]},"
		"{\"page_bytes\":9999999999999999999,\"pages\":{}}],\"left_out\":-1}]}",
	};
	struct intro_topology *topology = nodes_0_2();

	for (size_t i = 0; i < sizeof(metas) / sizeof(*metas); i++) {
		struct intro_residency **list;
		size_t n;

		assert_int_equal(intro__residencies_of_meta(metas[i], topology, &list, &n), 0);
		for (size_t k = 0; k < n; k++) {
			assert_int_equal(list[k]->bytes[0] + list[k]->bytes[1], 0);
			intro_residency_free(list[k]);
		}
		free(list);
	}
	intro_topology_free(topology);
}

/* This very process, if the kernel knows nodes. */
static void test_own(void **state)
{
	struct intro_topology *topology = intro_topology_of_machine("/sys");
	struct intro_residency *r;
	uint64_t bytes = 0;

	assert_non_null(topology);
	r = intro_residency_of(getpid(), topology);
	if (!r) {
		assert_true(errno == ENOSYS || errno == EACCES || errno == EPERM);
		intro_topology_free(topology);
		skip();
	}
	for (uint32_t i = 0; i < r->nodes; i++)
		bytes += r->bytes[i];
	assert_true(bytes > 100000);
	intro_residency_free(r);
	assert_null(intro_residency_of(0x7fffffff, topology));
	assert_int_equal(errno, ENOENT);
	intro_topology_free(topology);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),  cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_limits), cmocka_unit_test(test_render_escapes),
		cmocka_unit_test(test_meta),   cmocka_unit_test(test_hostile_meta),
		cmocka_unit_test(test_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
