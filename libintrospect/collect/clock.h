/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_CLOCK_H
#define INTROSPECT_COLLECT_CLOCK_H
/*
 * clock.h - from TSC ticks to CLOCK_MONOTONIC. Pairs of both are taken at every drain; in between
 * the two run straight, so a time is interpolated between the pairs around it. The lines meet at
 * the pairs: order is kept. To stay between pairs, take one after the ticks were read.
 */
#include <stdbool.h>
#include <stdint.h>

#define INTRO__CLOCK_PAIRS 64 /* over a second of drains */

struct intro__clock {
	bool tsc;	    /* false: marks carry CLOCK_MONOTONIC, there is nothing to convert */
	unsigned int pairs; /* taken; the last INTRO__CLOCK_PAIRS are kept */
	struct {
		uint64_t tsc, ns;
	} pair[INTRO__CLOCK_PAIRS];
};

/* CLOCK_MONOTONIC, ns. */
uint64_t intro__now(void);
/* The TSC is used if the kernel itself keeps time by it and the CPU says that it runs evenly. */
void intro__clock_init(struct intro__clock *clock);
/* Takes a pair and returns the time now, in ns. */
uint64_t intro__clock_sample(struct intro__clock *clock);
/* ns of ticks; never later than the last pair. */
uint64_t intro__clock_ns(const struct intro__clock *clock, uint64_t ticks);

#endif
