/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_PLACEMENT_H
#define INTRO_RUNTIME_PLACEMENT_H
/*
 * placement.h - the nodes of a thread pool that places its workers: a queue for each, and in which
 * order a worker looks at them. A pool that does not has one queue, thread_pool.queue, and no
 * struct placement; of one that does, that is the first node's.
 *
 * A place is a node's index among those with CPUs.
 */
#include <introspect/node.h>

#include "task_ring.h"

#define PLACES_MAX 64

struct place {
	uint32_t node;
	cpu_set_t cpus;
	unsigned cores_n;
	cpu_set_t *cores;	   /* the CPUs of each core */
	uint8_t order[PLACES_MAX]; /* of places to take tasks from: itself, then near before far */
	struct ring_queue queue;   /* but the first's */
};

struct placement {
	unsigned n;
	bool cores;			   /* workers are bound to cores */
	uint8_t of_node[INTRO_NODE_LIMIT]; /* the place that is nearest to a node */
	struct place place[];
};

/* NULL and errno. */
struct placement *intro__placement_new(bool cores);
void intro__placement_free(struct placement *placement);
/* The place of a pool's worker of this index, and the binding of the calling thread to it. */
static inline unsigned intro__placement_of(const struct placement *placement, unsigned index)
{
	return index % placement->n;
}
void intro__placement_bind(const struct placement *placement, unsigned index);
/* Where a task goes that the calling thread submits: as it said, once, or else where it runs. */
unsigned intro__placement_here(const struct placement *placement);
/* Of all places but the first. */
bool intro__placement_is_empty(struct placement *placement);
uint64_t intro__placement_length(struct placement *placement);
/* The next submit of the calling thread is for this node; -1: for where it runs. */
void intro__placement_near(int node);

#endif
