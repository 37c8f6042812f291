/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_PLACEMENT_H
#define INTROSPECT_PLACEMENT_H
/*
 * placement.h - where somebody ran, where memory came from, and how both moved: of a thread, of a
 * task (while it was on its worker), or summed.
 *
 * Pages are those that the kernel handed out (4 KiB each on x86) while the thread ran; what it
 * does with memory that somebody else had asked for is not seen by these counts.
 */
#include <stdint.h>

#include <introspect/topology.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* What the kernel's NUMA balancing decided for a thread. */
enum intro_decision {
	INTRO_DECISION_MOVED = 0,   /* it goes to another node, near its memory */
	INTRO_DECISION_STUCK = 1,   /* it would be better off there, but may not or cannot */
	INTRO_DECISION_SWAPPED = 2, /* it changes places with another */
	INTRO_DECISIONS = 3
};

struct intro_placement {
	uint64_t moves[INTRO_MOVES]; /* migrations by enum intro_move */
	/*
	 * Runnable, between a move and running there. A thread that is moved when it is
	 * woken would have waited some of it anyway: what a move across nodes costs shows beside
	 * those within one. That memory is slower afterwards no clock of the kernel tells; how
	 * long a thread ran apart from its memory is in intro_placement_apart.
	 */
	uint64_t move_wait_ns[INTRO_MOVES];
	uint64_t local_pages, remote_pages;   /* of the CPU's node, of another */
	uint64_t unplaced_pages;	      /* where the CPU or the page was is not known */
	uint64_t hinted_local, hinted_remote; /* pages touched that balancing watched, likewise */
	uint64_t balanced_pages;	      /* of the remote ones: balancing brought them here */
	uint64_t moved_pages; /* by move_pages, mbind, migrate_pages and their like, for it */
	uint64_t decisions[INTRO_DECISIONS];
	uint64_t elsewhere_ns;		       /* ran on a CPU whose node is not known */
	const struct intro_topology *topology; /* NULL: not known; outlives this */
	uint32_t nodes;			       /* of the topology */
	/* By place of the node: ns on its CPUs; then pages that came from it. */
	uint64_t by_node[];
};

static inline uint64_t intro_placement_ran(const struct intro_placement *placement, uint32_t node)
{
	return placement->by_node[node];
}

static inline uint64_t intro_placement_pages(const struct intro_placement *placement, uint32_t node)
{
	return placement->by_node[placement->nodes + node];
}

/* Zeroed, or a copy; the caller's to free(3). NULL: no memory. */
struct intro_placement *intro_placement_new(const struct intro_topology *topology);
struct intro_placement *intro_placement_copy(const struct intro_placement *placement);
/* sum += placement, and its opposite; of as many nodes. */
void intro_placement_add(struct intro_placement *sum, const struct intro_placement *placement);
void intro_placement_subtract(struct intro_placement *sum, const struct intro_placement *placement);
/* Migrations of all kinds. */
uint64_t intro_placement_moved(const struct intro_placement *placement);
/*
 * The node with most of its pages, or, when it asked for none, the one that it ran on most; the
 * first of equals. INTRO_NODE_NONE: neither is known.
 */
int intro_placement_home(const struct intro_placement *placement);
/*
 * How long it ran apart from its memory: its time on each node, times the part of its pages
 * which came from others. What remote memory may have cost is some part of that. 0 when it asked
 * for none.
 */
uint64_t intro_placement_apart(const struct intro_placement *placement);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
