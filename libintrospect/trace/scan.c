// SPDX-License-Identifier: BSD-2-Clause
/*
 * scan.c - finds the chunks of a file that has no usable index, and says where in each stream
 * records may be missing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trace/reader.h"

#define WINDOW_BYTES (64u << 10)

/* A stale or copied chunk has a number from before: not taken for one of this file's. */
static bool header_fits(const struct itr_chunk_header *header, uint32_t next_sequence)
{
	return intro__chunk_header_valid(header) && header->sequence >= next_sequence;
}

/* Moves *offset to the next header at or after it, or to the file's end. */
static int find_header(struct intro_trace *trace, uint64_t *offset, uint32_t next_sequence)
{
	static const uint32_t magic = ITR_CHUNK_MAGIC;
	struct itr_chunk_header header;
	uint8_t *window;
	int err = intro__buffer_need(&trace->stored, WINDOW_BYTES);

	if (err)
		return err;
	window = trace->stored.data;
	while (*offset + sizeof(header) <= trace->size) {
		uint64_t left = trace->size - *offset;
		size_t bytes = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
		const uint8_t *end = window + bytes - sizeof(header) + 1;
		const uint8_t *at = window;

		err = intro__trace_read(trace, window, bytes, *offset);
		if (err)
			return err;
		for (; at < end; at++) {
			at = memmem(at, (size_t)(end - at) + sizeof(magic) - 1, &magic,
				    sizeof(magic));
			if (!at)
				break;
			memcpy(&header, at, sizeof(header));
			if (header_fits(&header, next_sequence)) {
				*offset += (uint64_t)(at - window);
				return 0;
			}
		}
		*offset += (uint64_t)(end - window);
	}
	*offset = trace->size;
	return 0;
}

static int add_gap(struct intro_trace *trace, uint64_t offset)
{
	/* what is missing there is the index */
	if (trace->index_offset && offset >= trace->index_offset)
		return 0;
	if (trace->gaps_count == trace->gaps_room) {
		size_t room = trace->gaps_room ? trace->gaps_room * 2 : 16;
		void *gaps = realloc(trace->gaps, room * sizeof(*trace->gaps));

		if (!gaps)
			return -ENOMEM;
		trace->gaps = gaps;
		trace->gaps_room = room;
	}
	trace->gaps[trace->gaps_count++] = offset;
	return 0;
}

/* The file ends within this chunk's payload: what it held is known, but not there. */
static int add_cut_chunk(struct intro_trace *trace, const struct itr_chunk_header *header,
			 uint64_t offset)
{
	struct chunk chunk = intro__chunk_of(header, offset);

	intro__chunk_bad(trace, &chunk);
	if (chunk.type != ITR_RECORDS || !chunk.records || chunk.stream == INTRO_STREAM_META)
		return 0;
	chunk.flags |= CHUNK_MISSING;
	return intro__trace_keep(trace, &chunk);
}

/* Between *offset and the next header nothing can be understood. */
static int resync(struct intro_trace *trace, uint64_t *offset, uint32_t next_sequence)
{
	uint64_t from = (*offset)++;
	int err = find_header(trace, offset, next_sequence);

	trace->damage.bad_bytes += *offset - from;
	return err ? err : add_gap(trace, from);
}

/* One chunk; *offset is moved behind it. */
static int take_chunk(struct intro_trace *trace, const struct itr_chunk_header *header,
		      uint64_t *offset)
{
	uint64_t at = *offset, left = trace->size - at - sizeof(*header);

	if (header->stored_bytes > left) {
		trace->damage.bad_bytes += left + sizeof(*header);
		*offset = trace->size;
		return add_cut_chunk(trace, header, at);
	}
	*offset += sizeof(*header) + header->stored_bytes;
	return intro__trace_add(trace, header, at);
}

int intro__trace_scan(struct intro_trace *trace)
{
	uint64_t offset = sizeof(struct itr_file_header);
	struct itr_chunk_header header;
	uint32_t next_sequence = 0;
	int err = 0;

	while (!err && offset + sizeof(header) <= trace->size) {
		err = intro__trace_read(trace, &header, sizeof(header), offset);
		if (err)
			break;
		if (!header_fits(&header, next_sequence)) {
			err = resync(trace, &offset, next_sequence);
			continue;
		}
		if (header.sequence != next_sequence)
			err = add_gap(trace, offset);
		next_sequence = header.sequence + (header.type != ITR_INDEX);
		/* the index comes after all the rest */
		if (header.type == ITR_INDEX)
			trace->damage.truncated = false;
		if (!err)
			err = take_chunk(trace, &header, &offset);
	}
	if (!err && offset < trace->size &&
	    !(trace->index_offset && trace->size - offset == sizeof(struct itr_footer)))
		trace->damage.bad_bytes += trace->size - offset;
	return err;
}

/* --- where streams have holes ---------------------------------------------------------------- */

static int by_place(const void *left, const void *right)
{
	const struct chunk *a = left, *b = right;

	if (a->stream != b->stream)
		return a->stream < b->stream ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return a->place - b->place;
}

static void measure(struct intro_trace *trace, uint64_t *longest_ns)
{
	*longest_ns = 0;
	trace->first_ns = trace->chunks_count ? UINT64_MAX : 0;
	for (size_t i = 0; i < trace->chunks_count; i++) {
		const struct chunk *chunk = &trace->chunks[i];

		if (chunk->t_first < trace->first_ns)
			trace->first_ns = chunk->t_first;
		if (chunk->t_last > trace->last_ns)
			trace->last_ns = chunk->t_last;
		if (chunk->t_last - chunk->t_first > *longest_ns)
			*longest_ns = chunk->t_last - chunk->t_first;
		trace->records += chunk->records;
	}
}

static bool gap_between(const struct intro_trace *trace, uint64_t from, uint64_t until)
{
	size_t low = 0, high = trace->gaps_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (trace->gaps[middle] < from)
			low = middle + 1;
		else
			high = middle;
	}
	return low < trace->gaps_count && trace->gaps[low] <= until;
}

static int keep_hole(struct intro_trace *trace, const struct chunk *beside, uint8_t place,
		     uint64_t from_ns, uint64_t until_ns)
{
	struct chunk hole = {
		.offset = beside->offset,
		.t_first = from_ns,
		.t_last = until_ns,
		.stream = beside->stream,
		.type = ITR_RECORDS,
		.place = place,
		.flags = CHUNK_MISSING | CHUNK_COUNTED,
	};

	return from_ns < until_ns ? intro__trace_keep(trace, &hole) : 0;
}

/*
 * The holes of the stream whose chunks are [begin, end). Of a stream that has no more chunks in
 * a file that was cut off, records may be missing since the writer last wrote them: no longer
 * ago than the longest time any chunk was gathered for.
 */
static int add_holes(struct intro_trace *trace, size_t begin, size_t end, uint64_t longest_ns)
{
	struct chunk before = trace->chunks[begin];
	uint64_t from_ns = trace->first_ns;
	int err = 0;

	if (gap_between(trace, 0, before.offset))
		err = keep_hole(trace, &before, PLACE_BEFORE, from_ns, before.t_first);
	for (size_t i = begin + 1; !err && i < end; i++) {
		struct chunk chunk = trace->chunks[i];

		if (gap_between(trace, before.offset + 1, chunk.offset))
			err = keep_hole(trace, &before, PLACE_AFTER, before.t_last, chunk.t_first);
		before = chunk;
	}
	if (err)
		return err;
	from_ns = before.t_last;
	if (gap_between(trace, before.offset + 1, UINT64_MAX))
		return keep_hole(trace, &before, PLACE_AFTER, from_ns, trace->last_ns);
	if (!trace->damage.truncated)
		return 0;
	if (trace->last_ns - longest_ns > from_ns)
		from_ns = trace->last_ns - longest_ns;
	return keep_hole(trace, &before, PLACE_AFTER, from_ns, trace->last_ns);
}

int intro__trace_arrange(struct intro_trace *trace)
{
	size_t count = trace->chunks_count;
	uint64_t longest_ns;
	int err = 0;

	measure(trace, &longest_ns);
	if (count)
		qsort(trace->chunks, count, sizeof(*trace->chunks), by_place);
	if (!trace->gaps_count && !trace->damage.truncated)
		return 0;
	for (size_t begin = 0, end; !err && begin < count; begin = end) {
		for (end = begin + 1; end < count; end++)
			if (trace->chunks[end].stream != trace->chunks[begin].stream)
				break;
		err = add_holes(trace, begin, end, longest_ns);
	}
	if (!err && trace->chunks_count != count)
		qsort(trace->chunks, trace->chunks_count, sizeof(*trace->chunks), by_place);
	return err;
}
