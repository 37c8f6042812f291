/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_RING_H
#define INTROSPECT_COLLECT_RING_H
/*
 * ring.h - reading one CPU's struct intro_ring (abi.h), whoever writes it.
 */
#include "collect/source.h"

struct intro__ring {
	struct intro_ring *shared;
	uint8_t *data; /* size + INTRO_RING_SLACK bytes */
	size_t size;
	uint32_t cpu;
	uint64_t tail;
	uint64_t last_ts;
	uint64_t last_switch; /* time of the last SWITCH */
	uint64_t stored;      /* but for LOST, TASK, NUMA, PAGES and late records */
	uint64_t late;
	uint64_t lives;	  /* FORK, EXEC and EXIT records */
	uint64_t resyncs; /* the ring made no sense and was skipped to its head */
};

/* `memory` is the header and what follows it. */
void intro__ring_init(struct intro__ring *ring, void *memory, size_t size, uint32_t cpu);
/* Percent in use. */
unsigned int intro__ring_fill(const struct intro__ring *ring);
/* Hands all whole records to the sink as the stream of the CPU; see intro__source_ops.drain. */
int intro__ring_drain(struct intro__ring *ring, const struct intro__sink *sink, bool last);

/* The rings of all CPUs, one after the other in one mapping. */
struct intro__rings {
	struct intro__ring *of; /* by CPU */
	size_t n;
	void *memory;
	size_t bytes;
};

/* 0 or -errno; after either, free. */
int intro__rings_map(struct intro__rings *rings, int fd, size_t n, size_t stride,
		     size_t ring_bytes);
void intro__rings_free(struct intro__rings *rings);
/* As intro__source_ops.drain, generation and cpu_stats. */
int intro__rings_drain(struct intro__rings *rings, const struct intro__sink *sink, bool last,
		       unsigned int *fill);
/* When their writer went away, of itself and for good: all of them are then as they stay. 0: it is
 * there. */
uint64_t intro__rings_ended(const struct intro__rings *rings);
uint64_t intro__rings_lives(const struct intro__rings *rings);
void intro__rings_stats(const struct intro__rings *rings, size_t cpu,
			struct intro__cpu_stats *stats);

#endif
