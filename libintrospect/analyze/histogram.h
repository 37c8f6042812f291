/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef ANALYZE_HISTOGRAM_H
#define ANALYZE_HISTOGRAM_H
/*
 * histogram.h - counts of durations, for quantiles good to 1 part in 1 000 whatever the scale:
 * exact below 1 024, above that 512 buckets an octave, each octave allocated when first met.
 */
#include <stdint.h>

#include <introspect/report.h>

#define HISTOGRAM_SUB_BITS 9
#define HISTOGRAM_SUBS (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_OCTAVES (64 - HISTOGRAM_SUB_BITS + 1)

struct intro__histogram {
	uint64_t n, sum, max;
	/* octave 0 holds 0..511 one by one; octave k > 0 the values of HISTOGRAM_SUB_BITS + k bits
	 */
	uint32_t *octave[HISTOGRAM_OCTAVES];
};

int intro__histogram_add(struct intro__histogram *histogram, uint64_t value);
void intro__histogram_quantiles(const struct intro__histogram *histogram,
				struct intro_quantiles *quantiles);
void intro__histogram_free(struct intro__histogram *histogram);

#endif
