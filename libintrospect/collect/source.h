/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_SOURCE_H
#define INTROSPECT_COLLECT_SOURCE_H
/*
 * source.h - what the session asks of whatever records the scheduler's events. A source is
 * one file with one struct intro__source_ops; the session knows no more of it.
 *
 * Order of calls: open, then target and start in any order, then snapshot and drain as often as
 * wanted, stop, a last drain, close. After stop nothing new is recorded, so that drain leaves
 * nothing behind.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <introspect/abi.h>
#include <introspect/topology.h>

#include "collect/reason.h"

/* Where records go: whole ones, in order of time within a stream. 0 or -errno. */
struct intro__sink {
	int (*put)(void *ctx, uint32_t stream, const void *records, size_t bytes);
	void *ctx;
};

struct intro__source_options {
	size_t ring_bytes; /* a power of two; 0: what the source finds good */
	bool whole_system;
	bool stats;			       /* time the programs */
	bool numa;			       /* count whose node's memory threads get */
	const struct intro_topology *topology; /* outlives open */
};

/* Of one CPU. stored + lost is what was produced. */
struct intro__cpu_stats {
	uint64_t stored; /* records handed to the sink, LOST, TASK and late ones not counted */
	uint64_t lost;
	uint64_t late; /* INTRO_SWITCH_LATE and INTRO_WAKING_LATE records */
};

/* Of one program of the source; zeroes unless options.stats. */
struct intro__program_stats {
	const char *name;
	uint64_t runs, run_ns, missed;
};
#define INTRO__PROGRAMS_MAX 16

/* What is counted of memory: as wanted, and as this kernel can. */
#define INTRO__COUNTS_PAGES 1
#define INTRO__COUNTS_HINTS 2
#define INTRO__COUNTS_MOVES 4
#define INTRO__COUNTS_DECISIONS 8

struct intro__source_stats {
	size_t ring_bytes;
	uint64_t ignored;      /* program runs that by design left no record */
	unsigned int counts;   /* INTRO__COUNTS_*, from start on */
	const char *no_counts; /* why not, though wanted; "" */
	uint64_t pages_lost;   /* counted, and told of by no record */
	size_t programs;
	struct intro__program_stats program[INTRO__PROGRAMS_MAX];
};

struct intro__source;
struct intro__source_ops {
	const char *name;
	int (*open)(struct intro__source **source, const struct intro__source_options *options,
		    struct intro__reason *why);
	/* Trace this thread and those it will start. 1: it already was. */
	int (*target)(struct intro__source *source, pid_t tid);
	int (*start)(struct intro__source *source, struct intro__reason *why);
	int (*snapshot)(struct intro__source *source, enum intro_snapshot_when when,
			const struct intro__sink *sink);
	/*
	 * Hands over what is there. *fill is the fullest ring's part in use before that, in
	 * percent. last: after stop; what was still being lost becomes a LOST record.
	 */
	int (*drain)(struct intro__source *source, const struct intro__sink *sink, bool last,
		     unsigned int *fill);
	void (*stop)(struct intro__source *source);
	/*
	 * When what records was taken away by somebody else, ns; 0: it is there. Nothing new
	 * comes, calls fail, and the last drain is due. NULL: it cannot be.
	 */
	uint64_t (*gone)(const struct intro__source *source, struct intro__reason *why);
	/* Counts the process births and exits seen by drain: changes mean "look again". */
	uint64_t (*generation)(const struct intro__source *source);
	size_t (*cpus)(const struct intro__source *source);
	void (*cpu_stats)(const struct intro__source *source, size_t cpu,
			  struct intro__cpu_stats *stats);
	void (*stats)(const struct intro__source *source, struct intro__source_stats *stats);
	void (*close)(struct intro__source *source); /* NULL is fine */
};

/* Every source starts with this. */
struct intro__source {
	const struct intro__source_ops *ops;
};

extern const struct intro__source_ops intro__source_bpf;
extern const struct intro__source_ops intro__source_kmod;

struct intro_device_version;
/* What the loaded module says of itself: 0, -ENOENT: none is loaded, -EBUSY: it serves somebody. */
int intro__kmod_version(struct intro_device_version *version);

#endif
