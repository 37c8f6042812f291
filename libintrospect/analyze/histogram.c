// SPDX-License-Identifier: BSD-2-Clause
/* histogram.c - see histogram.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/histogram.h"

static unsigned octave_of(uint64_t value)
{
	unsigned bits = value ? 64 - (unsigned)__builtin_clzll(value) : 0;

	return bits > HISTOGRAM_SUB_BITS ? bits - HISTOGRAM_SUB_BITS : 0;
}

static unsigned sub_of(uint64_t value, unsigned octave)
{
	return (unsigned)(octave ? value >> (octave - 1) : value) & (HISTOGRAM_SUBS - 1);
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned octave, unsigned sub)
{
	uint64_t low, width;

	if (!octave)
		return sub;
	width = 1ull << (octave - 1);
	low = (uint64_t)(HISTOGRAM_SUBS + sub) << (octave - 1);
	return low + width / 2;
}

int intro__histogram_add(struct intro__histogram *histogram, uint64_t value)
{
	unsigned octave = octave_of(value);

	if (!histogram->octave[octave]) {
		histogram->octave[octave] = calloc(HISTOGRAM_SUBS, sizeof(uint32_t));
		if (!histogram->octave[octave])
			return -ENOMEM;
	}
	histogram->octave[octave][sub_of(value, octave)]++;
	histogram->n++;
	histogram->sum += value;
	if (value > histogram->max)
		histogram->max = value;
	return 0;
}

/* The value of that rank, from 1 on, in order of size. */
static uint64_t of_rank(const struct intro__histogram *histogram, uint64_t rank)
{
	for (unsigned octave = 0; octave < HISTOGRAM_OCTAVES; octave++) {
		for (unsigned sub = 0; histogram->octave[octave] && sub < HISTOGRAM_SUBS; sub++) {
			uint64_t count = histogram->octave[octave][sub];

			if (count >= rank) {
				uint64_t value = value_of(octave, sub);

				return value < histogram->max ? value : histogram->max;
			}
			rank -= count;
		}
	}
	return histogram->max;
}

static uint64_t percentile(const struct intro__histogram *histogram, unsigned percent)
{
	/* the smallest rank that has at least this part of all at or below it */
	uint64_t rank = (histogram->n * percent + 99) / 100;

	return histogram->n ? of_rank(histogram, rank ? rank : 1) : 0;
}

void intro__histogram_quantiles(const struct intro__histogram *histogram,
				struct intro_quantiles *quantiles)
{
	quantiles->p50 = percentile(histogram, 50);
	quantiles->p90 = percentile(histogram, 90);
	quantiles->p99 = percentile(histogram, 99);
	quantiles->max = histogram->max;
	quantiles->sum = histogram->sum;
}

void intro__histogram_free(struct intro__histogram *histogram)
{
	for (unsigned i = 0; i < HISTOGRAM_OCTAVES; i++)
		free(histogram->octave[i]);
	memset(histogram, 0, sizeof(*histogram));
}
