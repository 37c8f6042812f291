// SPDX-License-Identifier: BSD-2-Clause
/*
 * cursor.c - the records of all streams in one order: by time, then stream, then position.
 *
 * A heap holds the streams by the time of their next record. A stream whose next chunk is not
 * decoded yet is in it with the chunk's first time, so a chunk is decoded only when its turn comes.
 * Times within a stream never go back: what is earlier than its predecessor is raised to it, so
 * that no content of a file can break the order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trace/reader.h"

/*
 * Decoded chunks together. Our own writer's buffers stay under a quarter of it, so only a file
 * made to exhaust memory meets this; its chunk then counts as bad.
 */
#define DECODED_MAX (256u << 20)

struct stream {
	uint32_t id;
	const uint8_t *at, *end; /* next record, end of the decoded chunk */
	uint8_t *rows;		 /* the chunk; NULL: none is decoded */
	size_t room;
	size_t next, last;	    /* chunks not decoded yet: [next, last) */
	uint64_t floor_ns;	    /* no later record of this stream may be before */
	struct intro_rec_lost lost; /* stands for a missing chunk */
};

/* Ties in time go to the lower stream, and streams are in order of their id. */
struct entry {
	uint64_t ts;
	size_t stream;
};

struct intro_cursor {
	struct intro_trace *trace;
	struct stream *streams;
	struct entry *heap;
	size_t heap_count;
	struct stream *current; /* the heap's top, decoded; NULL: to be found */
	struct entry bound;	/* current may go on while its record is before this */
	size_t decoded_bytes;
	uint8_t *spare; /* the buffer of the chunk that was finished last */
	size_t spare_room;
};

static inline bool before(struct entry a, struct entry b)
{
	return a.ts < b.ts || (a.ts == b.ts && a.stream < b.stream);
}

static void sift_down(struct intro_cursor *cursor, size_t at)
{
	struct entry *heap = cursor->heap, moved = heap[at];
	size_t child;

	while ((child = 2 * at + 1) < cursor->heap_count) {
		if (child + 1 < cursor->heap_count && before(heap[child + 1], heap[child]))
			child++;
		if (!before(heap[child], moved))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moved;
}

static void find_bound(struct intro_cursor *cursor)
{
	const struct entry *heap = cursor->heap;

	cursor->bound = (struct entry){UINT64_MAX, SIZE_MAX};
	if (cursor->heap_count > 1)
		cursor->bound = heap[1];
	if (cursor->heap_count > 2 && before(heap[2], cursor->bound))
		cursor->bound = heap[2];
}

/* --- chunks ---------------------------------------------------------------------------------- */

static void drop_buffer(struct intro_cursor *cursor, struct stream *stream)
{
	if (!stream->rows)
		return;
	cursor->decoded_bytes -= stream->room;
	free(cursor->spare);
	cursor->spare = stream->rows;
	cursor->spare_room = stream->room;
	stream->at = stream->end = NULL;
	stream->rows = NULL;
	stream->room = 0;
}

/* -EBADMSG: there is no room for this chunk. */
static int take_buffer(struct intro_cursor *cursor, struct stream *stream, size_t bytes)
{
	/* a spare much too large would be held for as long as this chunk lasts */
	if (cursor->spare_room < bytes || cursor->spare_room / 2 > bytes) {
		free(cursor->spare);
		cursor->spare = malloc(bytes);
		cursor->spare_room = cursor->spare ? bytes : 0;
		if (!cursor->spare)
			return -ENOMEM;
	}
	if (cursor->decoded_bytes + cursor->spare_room > DECODED_MAX)
		return -EBADMSG;
	stream->rows = cursor->spare;
	stream->room = cursor->spare_room;
	cursor->decoded_bytes += stream->room;
	cursor->spare = NULL;
	cursor->spare_room = 0;
	return 0;
}

static void stand_in(struct stream *stream, const struct chunk *chunk)
{
	uint64_t from = chunk->t_first > stream->floor_ns ? chunk->t_first : stream->floor_ns;

	stream->lost = (struct intro_rec_lost){
		.rec = {.ts = from, .kind = INTRO_KIND_LOST, .rows = 1},
		.until_ts = chunk->t_last > from ? chunk->t_last : from,
		.count = chunk->records,
	};
	stream->lost.rec.cpu = stream->id < INTRO_CPU_NONE ? (uint16_t)stream->id : INTRO_CPU_NONE;
	stream->at = (const uint8_t *)&stream->lost;
	stream->end = stream->at + sizeof(stream->lost);
}

/*
 * Makes the decoded rows fit to be merged: times in order, sizes within the chunk. What follows
 * a record of impossible size cannot be told apart: the chunk ends there.
 */
static void check_rows(struct intro_cursor *cursor, struct stream *stream,
		       const struct chunk *chunk)
{
	uint64_t now = chunk->t_first > stream->floor_ns ? chunk->t_first : stream->floor_ns;
	uint8_t *at = stream->rows, *end = at + chunk->raw_bytes;
	uint32_t records = 0, bad = 0;

	while (at < end) {
		struct intro_rec *record = (struct intro_rec *)at;
		size_t left = (size_t)(end - at) / INTRO_ROW_BYTES;

		if (record->rows - 1u >= INTRO_ROWS_MAX || record->rows > left)
			break;
		if (record->ts < now) {
			record->ts = now;
			bad++;
		}
		now = record->ts;
		records++;
		at += (size_t)record->rows * INTRO_ROW_BYTES;
	}
	stream->at = stream->rows;
	stream->end = at;
	if (records != chunk->records)
		bad += records < chunk->records ? chunk->records - records : 1;
	if (!(chunk->flags & CHUNK_COUNTED))
		cursor->trace->damage.bad_records += bad;
}

static int decode(struct intro_cursor *cursor, struct stream *stream)
{
	struct chunk *chunk = &cursor->trace->chunks[stream->next++];
	int err;

	if (chunk->flags & CHUNK_MISSING) {
		stand_in(stream, chunk);
		return 0;
	}
	err = take_buffer(cursor, stream, chunk->raw_bytes);
	if (!err)
		err = intro__chunk_read(cursor->trace, chunk, stream->rows);
	if (err == -EBADMSG) {
		drop_buffer(cursor, stream);
		intro__chunk_bad(cursor->trace, chunk);
		stand_in(stream, chunk);
		return 0;
	}
	if (err)
		return err;
	check_rows(cursor, stream, chunk);
	chunk->flags |= CHUNK_COUNTED;
	return 0;
}

/* --- the cursor ------------------------------------------------------------------------------ */

static size_t count_streams(const struct intro_trace *trace)
{
	size_t count = 0;

	for (size_t i = 0; i < trace->chunks_count; i++)
		count += i == 0 || trace->chunks[i].stream != trace->chunks[i - 1].stream;
	return count;
}

struct intro_cursor *intro_cursor_new(struct intro_trace *trace)
{
	struct intro_cursor *cursor = calloc(1, sizeof(*cursor));
	size_t count = count_streams(trace);
	struct stream *stream;

	if (!cursor)
		return NULL;
	cursor->trace = trace;
	cursor->streams = calloc(count + 1, sizeof(*cursor->streams));
	cursor->heap = calloc(count + 1, sizeof(*cursor->heap));
	if (!cursor->streams || !cursor->heap) {
		intro_cursor_free(cursor);
		errno = ENOMEM;
		return NULL;
	}
	stream = cursor->streams - 1;
	for (size_t i = 0; i < trace->chunks_count; i++) {
		const struct chunk *chunk = &trace->chunks[i];

		if (i == 0 || chunk->stream != trace->chunks[i - 1].stream) {
			stream++;
			stream->id = chunk->stream;
			stream->next = i;
			cursor->heap[cursor->heap_count].ts = chunk->t_first;
			cursor->heap[cursor->heap_count].stream = cursor->heap_count;
			cursor->heap_count++;
		}
		stream->last = i + 1;
	}
	for (size_t i = cursor->heap_count / 2; i-- > 0;)
		sift_down(cursor, i);
	return cursor;
}

void intro_cursor_free(struct intro_cursor *cursor)
{
	if (!cursor)
		return;
	for (size_t i = 0; cursor->heap && i < cursor->heap_count; i++)
		free(cursor->streams[cursor->heap[i].stream].rows);
	free(cursor->spare);
	free(cursor->streams);
	free(cursor->heap);
	free(cursor);
}

/* The heap's top is not where it belongs any more: its stream moved on. */
static void reorder(struct intro_cursor *cursor, struct stream *stream)
{
	struct entry *top = &cursor->heap[0];

	if (stream->at >= stream->end)
		drop_buffer(cursor, stream);
	if (stream->at < stream->end) {
		top->ts = ((const struct intro_rec *)stream->at)->ts;
	} else if (stream->next < stream->last) {
		uint64_t first = cursor->trace->chunks[stream->next].t_first;

		top->ts = first > stream->floor_ns ? first : stream->floor_ns;
	} else {
		*top = cursor->heap[--cursor->heap_count];
		if (!cursor->heap_count)
			return;
	}
	sift_down(cursor, 0);
}

/* Finds the stream whose record is next. 1, 0 at the end, or -errno. */
static int find_next(struct intro_cursor *cursor)
{
	struct stream *stream = cursor->current;

	cursor->current = NULL;
	if (stream)
		reorder(cursor, stream);
	while (cursor->heap_count) {
		stream = &cursor->streams[cursor->heap[0].stream];
		if (stream->at < stream->end) {
			find_bound(cursor);
			cursor->current = stream;
			return 1;
		}
		if (stream->next < stream->last) {
			int err = decode(cursor, stream);

			if (err)
				return err;
		}
		reorder(cursor, stream);
	}
	return 0;
}

static inline bool may_go_on(const struct intro_cursor *cursor)
{
	const struct stream *stream = cursor->current;
	struct entry next;

	if (!stream || stream->at >= stream->end)
		return false;
	next.ts = ((const struct intro_rec *)stream->at)->ts;
	next.stream = (size_t)(stream - cursor->streams);
	return before(next, cursor->bound);
}

int intro_cursor_next(struct intro_cursor *cursor, const struct intro_rec **record, uint32_t *id)
{
	struct stream *stream;

	if (!may_go_on(cursor)) {
		int found = find_next(cursor);

		if (found <= 0)
			return found;
	}
	stream = cursor->current;
	*record = (const struct intro_rec *)stream->at;
	stream->at += (size_t)(*record)->rows * INTRO_ROW_BYTES;
	stream->floor_ns = (*record)->ts;
	if (id)
		*id = stream->id;
	return 1;
}
