/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_TOPOLOGY_H
#define INTROSPECT_TOPOLOGY_H
/*
 * topology.h - a machine's CPUs and memory nodes: of this machine, or of the one that a trace comes
 * from.
 *
 * Nodes are called by two numbers: the kernel's, which may have holes, and their place in `nodes`,
 * which has none, and is what every array by node is indexed by. A node may have no CPU (memory
 * alone) or no memory (CPUs alone); an offline node is not listed; a machine that knows no nodes
 * has one, number 0, with all CPUs. A CPU that is offline belongs to no node.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Further nodes are left out: their CPUs belong to none. */
#define INTRO_NODES_MAX 64
#define INTRO_NODE_NONE (-1)

struct intro_topology_cpu {
	uint32_t cpu;
	int32_t node;		/* its place in `nodes`, or INTRO_NODE_NONE */
	uint32_t core, package; /* CPUs with both alike are hardware threads of one core */
	bool online;
};

struct intro_topology_node {
	uint32_t node;	       /* the kernel's number */
	uint32_t cpus;	       /* online ones */
	uint64_t memory_bytes; /* 0: none, or not known */
	/* To each node in turn, as ACPI and the kernel put it: 10 is its own; 0 not known. */
	uint32_t distance[INTRO_NODES_MAX];
};

struct intro_topology {
	struct intro_topology_cpu *cpus; /* by number, ascending */
	size_t cpus_n;
	struct intro_topology_node *nodes; /* by number, ascending; one at least */
	size_t nodes_n;
};

/*
 * Of this machine, as `sys` ("/sys", or a copy of it for tests) tells. What it does not tell is
 * taken to be as simple as can be. NULL and errno: out of memory.
 */
struct intro_topology *intro_topology_of_machine(const char *sys);
/*
 * Of the machine whose META this is. Distrusts it: members of wrong types or out of range count as
 * not said. A topology without a CPU when nothing is said; NULL and errno: out of memory.
 */
struct intro_topology *intro_topology_of_meta(const char *json);
void intro_topology_free(struct intro_topology *topology);

/* NULL: not listed. */
const struct intro_topology_cpu *intro_topology_cpu(const struct intro_topology *topology,
						    uint32_t cpu);
/* The place in `nodes` of a CPU's node, or of the node of this number; or INTRO_NODE_NONE. */
int intro_topology_node_of_cpu(const struct intro_topology *topology, uint32_t cpu);
int intro_topology_place(const struct intro_topology *topology, uint32_t node);

/* How far a thread that moves from one CPU to another goes. */
enum intro_move {
	INTRO_MOVE_CORE = 0,	/* to the other hardware thread of its core: caches stay */
	INTRO_MOVE_NODE = 1,	/* to another core of its node */
	INTRO_MOVE_CROSS = 2,	/* to another node: its memory stays behind */
	INTRO_MOVE_UNKNOWN = 3, /* one of the CPUs is not in the topology, or in no node */
	INTRO_MOVES = 4
};
const char *intro_move_text(enum intro_move move);
enum intro_move intro_topology_move(const struct intro_topology *topology, uint32_t from,
				    uint32_t to);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
