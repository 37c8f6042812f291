/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_NODE_H
#define INTROSPECT_NODE_H
/*
 * node.h - memory nodes, for programs that place their threads and their data.
 *
 * Nodes have the kernel's numbers. Those listed are online, and have CPUs or memory that this
 * process may use; one may have CPUs alone or memory alone. A kernel that knows no nodes has
 * node 0 with all that there is: every call works there as it does on a machine with one node.
 *
 * All may be called by any thread at any time; nothing is kept between calls.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sched.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Above all numbers of nodes. */
#define INTRO_NODE_LIMIT 1024

struct intro_node {
	uint32_t node;
	cpu_set_t cpus; /* which this process may use; none: memory alone */
	bool memory;	/* it has memory that this process may have */
};

/*
 * Fills up to n, by ascending numbers; returns how many there are, 1 at least. -ENOMEM.
 */
int intro_node_list(struct intro_node *nodes, size_t n);
/* The node of the CPU that the caller runs on; it may be another a moment later. */
int intro_node_here(void);
/* The kernel's distance (10: to itself), or 0 where it does not tell. */
unsigned intro_node_distance(uint32_t from, uint32_t to);

/*
 * Binds the calling thread to the CPUs of a node, of those that it may use. 0; -EINVAL: there is no
 * such node, or it has no such CPU.
 */
int intro_node_bind(uint32_t node);

/*
 * Zeroed memory of a node: a mapping of its own, so at least a page, for data that is worth it. It
 * is of that node from its first use on, whichever thread that is; where the node is full it may be
 * another's, unless `strict`: then the program is killed, as when all memory is used up. NULL and
 * errno: EINVAL without such a node, or one without memory for us; ENOMEM. intro_node_free.
 */
void *intro_node_alloc(size_t size, uint32_t node, bool strict);
/* The same, its pages on all nodes in turn. */
void *intro_node_alloc_interleaved(size_t size);
/* Of the same size. NULL is fine. */
void intro_node_free(void *memory, size_t size);
/*
 * The node that the page at `address` is on: 0 or above; -ENOENT: it was not yet used; -EFAULT:
 * that, too, on older kernels, or not memory of this process; -ENOSYS.
 */
int intro_node_of(const void *address);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
