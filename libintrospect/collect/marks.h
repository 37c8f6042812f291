/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_MARKS_H
#define INTROSPECT_COLLECT_MARKS_H
/*
 * marks.h - reading marks (area.h) from the area made for a command and from those that the
 * programs made themselves. Everything in an area is hostile: a value is copied, then
 * checked, then used.
 */
#include <stdint.h>
#include <sys/types.h>

#include "collect/source.h"

struct intro__marks;

struct intro__marks_stats {
	uint64_t stored;
	uint64_t lost;	    /* by the programs, for want of room */
	uint64_t malformed; /* dropped here */
	uint64_t unslotted; /* threads that found no ring */
	unsigned int areas;
	unsigned int busy; /* areas that another tracer reads: the most met in one search */
};

/* Errors: NULL and errno. */
struct intro__marks *intro__marks_new(void);
/* "tsc" or "monotonic". */
const char *intro__marks_clock(const struct intro__marks *marks);
/*
 * Makes an area of our own, for a command that runs as `uid`. Its descriptor (which marks keeps),
 * or -errno.
 */
int intro__marks_create(struct intro__marks *marks, uid_t uid);
/*
 * Looks for areas in the processes below root (0: in all) and opens those which are new. Bounded: a
 * long search goes on in the next call.
 */
int intro__marks_find(struct intro__marks *marks, pid_t root);
/*
 * Hands over what is there. A ring's share of one drain is bounded, so that a program which writes
 * faster than this reads cannot hold it up. *fill: percent of the fullest ring.
 */
int intro__marks_drain(struct intro__marks *marks, const struct intro__sink *sink, bool last,
		       unsigned int *fill);
/* Tells the programs to stop marking. */
void intro__marks_stop(struct intro__marks *marks);
void intro__marks_stats(const struct intro__marks *marks, struct intro__marks_stats *stats);
void intro__marks_free(struct intro__marks *marks);

#endif
