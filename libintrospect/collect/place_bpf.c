// SPDX-License-Identifier: BSD-2-Clause
/* place_bpf.c - see place_bpf.h. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <introspect/trace.h>

#include "collect/place_bpf.h"
#include "introspect.skel.h"

#define SAMPLES 8 /* pages of each node, all of which must tell the same */

/* What each optional program needs in the kernel: a function, or a tracepoint's type. */
static const struct optional {
	const char *btf;
	unsigned int counts;
} optional[INTRO__PLACE_OPTIONAL] = {
	{"btf_trace_mm_migrate_pages", INTRO__COUNTS_MOVES},
	{"btf_trace_sched_move_numa", INTRO__COUNTS_DECISIONS},
	{"btf_trace_sched_stick_numa", INTRO__COUNTS_DECISIONS},
	{"btf_trace_sched_swap_numa", INTRO__COUNTS_DECISIONS},
	{"task_numa_fault", INTRO__COUNTS_HINTS},
};

static void optional_programs(struct introspect_bpf *skel,
			      struct bpf_program *programs[INTRO__PLACE_OPTIONAL])
{
	programs[0] = skel->progs.on_migrate_pages;
	programs[1] = skel->progs.on_numa_move;
	programs[2] = skel->progs.on_numa_stick;
	programs[3] = skel->progs.on_numa_swap;
	programs[4] = skel->progs.on_numa_fault;
}

/* How many arguments a tracepoint has; 0: there is none of this name. */
static unsigned int arguments(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_TYPEDEF);
	const struct btf_type *type;

	if (id < 0)
		return 0;
	type = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
	if (btf_is_ptr(type))
		type = btf__type_by_id(btf, type->type);
	/* the tracepoint's own data comes first */
	return btf_is_func_proto(type) && btf_vlen(type) ? btf_vlen(type) - 1u : 0;
}

static bool kernel_has(const struct btf *btf, const char *name)
{
	return btf__find_by_name_kind(btf, name,
				      strncmp(name, "btf_trace_", 10) ? BTF_KIND_FUNC
								      : BTF_KIND_TYPEDEF) > 0;
}

static int node_with_memory(const struct intro_topology *topology, size_t *n)
{
	int only = -1;

	*n = 0;
	for (size_t i = 0; i < topology->nodes_n; i++) {
		if (!topology->nodes[i].memory_bytes)
			continue;
		only = (int)topology->nodes[i].node;
		++*n;
	}
	return *n == 1 ? only : -1;
}

void intro__place_choose(struct intro__place *place, struct introspect_bpf *skel,
			 const struct intro_topology *topology, size_t cpus)
{
	struct btf *btf = place->on ? btf__load_vmlinux_btf() : NULL;
	struct bpf_program *programs[INTRO__PLACE_OPTIONAL];
	uint32_t highest = topology->nodes[topology->nodes_n - 1].node;
	int only;
	size_t n;

	only = node_with_memory(topology, &n);
	optional_programs(skel, programs);
	place->on = place->on && btf;
	skel->rodata->placing = place->on;
	skel->rodata->only_node = only;
	skel->rodata->placed_nodes =
		highest < INTRO_PLACED_NODES ? highest + 1 : INTRO_PLACED_NODES;
	if (btf)
		skel->rodata->migrate_tells_splits =
			arguments(btf, "btf_trace_mm_migrate_pages") > 7;
	bpf_map__set_max_entries(skel->maps.placed, place->on ? cpus : 1);
	bpf_program__set_autoload(skel->progs.on_page_alloc, place->on);
	bpf_program__set_autoload(skel->progs.on_page_sample, place->on && only < 0);
	bpf_program__set_autoattach(skel->progs.on_page_sample, false);
	for (int i = 0; i < INTRO__PLACE_OPTIONAL; i++) {
		bool load = place->on && i < place->optional_n && kernel_has(btf, optional[i].btf);

		bpf_program__set_autoload(programs[i], load);
		bpf_program__set_autoattach(programs[i], false);
	}
	btf__free(btf);
}

/* --- where a page's flags have its node --------------------------------------------------------
 */

/* Touches pages bound to a node; false when none can be had. The program saw the last one. */
static bool touch(uint32_t node, size_t pages)
{
	unsigned long mask[1024 / (8 * sizeof(long)) + 1] = {0};
	size_t size = pages * (size_t)sysconf(_SC_PAGESIZE);
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool bound;

	if (memory == MAP_FAILED)
		return false;
	mask[node / (8 * sizeof(long))] = 1ul << node % (8 * sizeof(long));
	bound = !syscall(SYS_mbind, memory, size, MPOL_BIND, mask, 1024ul + 1, 0);
	if (bound)
		memset(memory, 1, size);
	munmap(memory, size);
	return bound;
}

/* The flags of a page of this node. Its field is at their top, however wide. */
static bool sample(struct introspect_bpf *skel, uint32_t node, uint64_t *flags)
{
	uint64_t before = skel->bss->samples;

	if (!touch(node, 1) || skel->bss->samples == before)
		return false;
	*flags = skel->bss->sample_flags;
	return true;
}

/* The widths of the field, as bits, that agree with what was seen of a node's pages. */
static uint64_t widths_of(struct introspect_bpf *skel, uint32_t node)
{
	uint64_t agree = UINT64_MAX, flags;

	for (int i = 0; i < SAMPLES; i++) {
		if (!sample(skel, node, &flags))
			return 0;
		for (unsigned int width = 1; width <= 10; width++)
			if (flags >> (64 - width) != node)
				agree &= ~(1ull << width);
	}
	return agree & 0x7fe;
}

void intro__place_calibrate(struct intro__place *place, struct introspect_bpf *skel,
			    const struct intro_topology *topology)
{
	struct bpf_link *link;
	uint64_t agree = 0x7fe;
	bool told = false;

	if (!place->on || skel->rodata->only_node >= 0)
		return;
	skel->bss->sample_tid = (uint32_t)syscall(SYS_gettid);
	link = bpf_program__attach(skel->progs.on_page_sample);
	for (size_t i = 0; link && i < topology->nodes_n; i++) {
		uint64_t widths = topology->nodes[i].memory_bytes
					  ? widths_of(skel, topology->nodes[i].node)
					  : 0;

		if (!widths)
			continue; /* we may have no memory of that node */
		agree &= widths;
		/* all widths look alike for node 0, whose bits are 0 */
		told |= topology->nodes[i].node != 0;
	}
	bpf_link__destroy(link);
	if (told && agree && !(agree & (agree - 1))) {
		skel->bss->node_shift = 64 - (unsigned int)__builtin_ctzll(agree);
		return;
	}
	place->on = false;
	snprintf(place->why_not, sizeof(place->why_not),
		 link ? "pages do not tell their node, or this process may have memory of one "
			"node only"
		      : "cannot attach to mm_page_alloc");
}

/* --- from start to stop ------------------------------------------------------------------------
 */

void intro__place_attach(struct intro__place *place, struct introspect_bpf *skel)
{
	struct bpf_program *programs[INTRO__PLACE_OPTIONAL];

	if (!place->on)
		return;
	place->counted = INTRO__COUNTS_PAGES;
	optional_programs(skel, programs);
	for (int i = 0; i < INTRO__PLACE_OPTIONAL; i++) {
		if (bpf_program__fd(programs[i]) < 0)
			continue;
		place->optional[i] = bpf_program__attach(programs[i]);
		if (place->optional[i])
			place->counted |= optional[i].counts;
	}
}

void intro__place_detach(struct intro__place *place)
{
	for (int i = 0; i < INTRO__PLACE_OPTIONAL; i++) {
		bpf_link__destroy(place->optional[i]);
		place->optional[i] = NULL;
	}
}

static int put(const struct intro_placed *counts, uint32_t cpu, enum intro_pages what,
	       uint32_t node, uint32_t pages, const struct intro__sink *sink)
{
	struct intro_rec_pages rec = {
		.rec = {counts->last, INTRO_KIND_PAGES, 1, (uint16_t)cpu, counts->tid},
		.pages = pages,
		.node = (uint16_t)node,
		.what = (uint8_t)what,
		.since = counts->since,
	};

	return pages ? sink->put(sink->ctx, INTRO_STREAM_PLACED(cpu), &rec, sizeof(rec)) : 0;
}

static int put_all(const struct intro_placed *counts, uint32_t cpu, const struct intro__sink *sink)
{
	int error =
		put(counts, cpu, INTRO_PAGES_GIVEN, INTRO_NODE_UNKNOWN, counts->elsewhere, sink);

	for (uint32_t node = 0; !error && node < INTRO_PLACED_NODES; node++) {
		error = put(counts, cpu, INTRO_PAGES_GIVEN, node, counts->given[node], sink);
		if (!error)
			error = put(counts, cpu, INTRO_PAGES_HINTED, node, counts->hinted[node],
				    sink);
	}
	if (!error)
		error = put(counts, cpu, INTRO_PAGES_BALANCED, INTRO_NODE_UNKNOWN, counts->balanced,
			    sink);
	return error ? error
		     : put(counts, cpu, INTRO_PAGES_MOVED, INTRO_NODE_UNKNOWN, counts->moved, sink);
}

int intro__place_finish(struct intro__place *place, struct introspect_bpf *skel, size_t cpus,
			const struct intro__sink *sink)
{
	int error = 0;

	for (uint32_t cpu = 0; place->on && !error && cpu < cpus; cpu++) {
		struct intro_placed counts, none = {0};

		if (bpf_map__lookup_elem(skel->maps.placed, &cpu, sizeof(cpu), &counts,
					 sizeof(counts), 0) ||
		    !counts.since)
			continue;
		bpf_map__update_elem(skel->maps.placed, &cpu, sizeof(cpu), &none, sizeof(none), 0);
		error = put_all(&counts, cpu, sink);
	}
	return error;
}
