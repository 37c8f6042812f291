/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_NUMA_H
#define INTROSPECT_NUMA_H
/*
 * numa.h - how the CPU time of a trace and its memory lie to each other. Matrices are by place of
 * the nodes: a row for the CPU's node, in it a column for the memory's.
 */
#include <introspect/replay.h>
#include <introspect/residency.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A task by what placement may have cost it: at most so much, most often far less. */
struct intro_paid {
	uint64_t id;
	char name[INTRO_DEF_BYTES], pool_name[INTRO_DEF_BYTES + 8];
	uint32_t worker_tid;
	uint64_t wall_ns;
	uint64_t apart_ns;	/* see intro_placement_apart */
	uint64_t cross_wait_ns; /* runnable, between moves to another node and running there */
	struct intro_placement *placement;
};
#define INTRO_PAID_MAX 10

struct intro_numa {
	const struct intro_topology *topology;
	bool counted;	       /* pages were counted, so that none means none */
	char not_counted[128]; /* why not, though it was wanted; "" */
	uint64_t pages_lost;   /* counted, but told of by no record */
	uint64_t *pages;       /* the matrix of pages handed out, exactly */
	/*
	 * The matrix of CPU time: of a process, what its threads ran on the row's node, shared out
	 * by where its memory is: as read when the recording ended, or else as it was handed
	 * out. Nobody sees which memory an instruction used.
	 */
	uint64_t *cpu_ns;
	uint64_t *unplaced_ns; /* by row: of processes of whose memory nothing is known */
	struct intro_paid paid[INTRO_PAID_MAX]; /* most first; none that paid nothing */
	size_t paid_n;
	/* Of processes that were alive when the recording ended. */
	struct intro_residency **residencies;
	size_t residencies_n;
};

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
