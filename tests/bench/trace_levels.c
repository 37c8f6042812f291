// SPDX-License-Identifier: BSD-2-Clause
/*
 * trace_levels.c - what the row filter and each zstd level make of a trace: trace_levels FILE.
 * The records of each stream, in chunks of 8192 rows; CPU time, the best of three.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include <introspect/trace.h>

#include "trace/codec.h"

#define CHUNK_ROWS 8192
#define STREAMS_MAX 256

struct rows {
	uint32_t stream;
	uint8_t *data;
	size_t bytes, room;
};

struct sums {
	double filter_ns, compress_ns, decompress_ns, unfilter_ns;
	size_t bytes;
};

static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static struct rows *rows_of(struct rows *all, size_t *count, uint32_t stream)
{
	for (size_t i = 0; i < *count; i++)
		if (all[i].stream == stream)
			return &all[i];
	if (*count == STREAMS_MAX)
		exit(1);
	all[*count].stream = stream;
	return &all[(*count)++];
}

static size_t load(const char *path, struct rows *all, size_t *records)
{
	const char *why;
	struct intro_trace *trace = intro_trace_open(path, &why);
	struct intro_cursor *cursor = trace ? intro_cursor_new(trace) : NULL;
	const struct intro_rec *record;
	size_t count = 0;
	uint32_t stream;

	if (!cursor) {
		fprintf(stderr, "%s: %s\n", path, why);
		exit(1);
	}
	while (intro_cursor_next(cursor, &record, &stream) == 1) {
		struct rows *rows = rows_of(all, &count, stream);
		size_t bytes = (size_t)record->rows * INTRO_ROW_BYTES;

		if (rows->bytes + bytes > rows->room) {
			rows->room = rows->room ? rows->room * 2 : 1u << 20;
			rows->data = realloc(rows->data, rows->room);
			if (!rows->data)
				exit(1);
		}
		memcpy(rows->data + rows->bytes, record, bytes);
		rows->bytes += bytes;
		(*records)++;
	}
	intro_cursor_free(cursor);
	intro_trace_free(trace);
	return count;
}

static void one_chunk(const uint8_t *raw, size_t bytes, bool filter, int level, struct sums *sums)
{
	static uint8_t columns[CHUNK_ROWS * INTRO_ROW_BYTES], frame[CHUNK_ROWS * 40];
	static uint8_t back[sizeof(columns)];
	static ZSTD_CCtx *cctx;
	static ZSTD_DCtx *dctx;
	size_t rows = bytes / INTRO_ROW_BYTES, stored;
	double t0, t1, t2, t3, t4;

	if (!cctx) {
		cctx = ZSTD_createCCtx();
		dctx = ZSTD_createDCtx();
	}
	t0 = cpu_ns();
	if (filter)
		intro__rows_filter(raw, columns, rows);
	t1 = cpu_ns();
	stored =
		ZSTD_compressCCtx(cctx, frame, sizeof(frame), filter ? columns : raw, bytes, level);
	t2 = cpu_ns();
	if (ZSTD_decompressDCtx(dctx, columns, sizeof(columns), frame, stored) != bytes)
		exit(1);
	t3 = cpu_ns();
	if (filter)
		intro__rows_unfilter(columns, back, rows);
	t4 = cpu_ns();
	if (filter && memcmp(back, raw, bytes))
		exit(1);
	sums->filter_ns += t1 - t0;
	sums->compress_ns += t2 - t1;
	sums->decompress_ns += t3 - t2;
	sums->unfilter_ns += t4 - t3;
	sums->bytes += stored + sizeof(struct itr_chunk_header);
}

static void one_level(const struct rows *all, size_t count, size_t records, bool filter, int level)
{
	struct sums best = {0};

	for (int pass = 0; pass < 3; pass++) {
		struct sums sums = {0};

		for (size_t i = 0; i < count; i++) {
			size_t step = CHUNK_ROWS * INTRO_ROW_BYTES;

			for (size_t at = 0; at < all[i].bytes; at += step)
				one_chunk(all[i].data + at,
					  all[i].bytes - at < step ? all[i].bytes - at : step,
					  filter, level, &sums);
		}
		if (!pass || sums.filter_ns + sums.compress_ns < best.filter_ns + best.compress_ns)
			best = sums;
	}
	printf("%-6s %5d %8.2f %9.1f %9.1f %9.1f %9.1f\n", filter ? "rows" : "none", level,
	       (double)best.bytes / records, best.filter_ns / records, best.compress_ns / records,
	       best.decompress_ns / records, best.unfilter_ns / records);
}

int main(int argc, char **argv)
{
	static const int levels[] = {-5, -3, -2, -1, 1, 2, 3, 4, 6};
	static struct rows all[STREAMS_MAX];
	size_t count, records = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: trace_levels FILE\n");
		return 2;
	}
	count = load(argv[1], all, &records);
	printf("filter level  B/event    filter      zstd   un-zstd  unfilter  (ns/event; %zu "
	       "events)\n",
	       records);
	for (int filter = 0; filter < 2; filter++)
		for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
			one_level(all, count, records, filter, levels[i]);
	return 0;
}
