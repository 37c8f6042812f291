// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <introspect/trace.h>

#include "collect/clock.h"
#include "collect/ring.h"

void intro__ring_init(struct intro__ring *ring, void *memory, size_t size, uint32_t cpu)
{
	memset(ring, 0, sizeof(*ring));
	ring->shared = memory;
	ring->data = (uint8_t *)memory + sizeof(struct intro_ring);
	ring->size = size;
	ring->cpu = cpu;
	ring->tail = ring->shared->tail;
}

unsigned int intro__ring_fill(const struct intro__ring *ring)
{
	uint64_t head = __atomic_load_n(&ring->shared->head, __ATOMIC_ACQUIRE);

	return (head - ring->tail) * 100 / ring->size;
}

static void count(struct intro__ring *ring, const struct intro_rec *rec)
{
	switch (rec->kind) {
	case INTRO_KIND_LOST:
	case INTRO_KIND_TASK:
	case INTRO_KIND_NUMA:
		return;
	case INTRO_KIND_FORK:
	case INTRO_KIND_EXEC:
	case INTRO_KIND_EXIT:
		ring->lives++;
	}
	ring->stored++;
}

static bool is_late(const struct intro_rec *rec)
{
	if (rec->kind == INTRO_KIND_PAGES)
		return true;
	if (rec->kind == INTRO_KIND_WAKING)
		return ((const struct intro_rec_waking *)rec)->flags & INTRO_WAKING_LATE;
	return rec->kind == INTRO_KIND_SWITCH &&
	       ((const struct intro_rec_switch *)rec)->state & INTRO_SWITCH_LATE;
}

/* By how much the scheduler's clock may differ from ours over one run: its parts, and ns. */
#define LATE_PARTS 1000
#define LATE_NS 100000

/*
 * A record told late goes to a stream of its own, unless a switch's time makes no sense: before the
 * one that it follows (realtime threads have no such account). What it tells is then unknown.
 */
static int put_late(struct intro__ring *ring, struct intro_rec *rec, const struct intro__sink *sink)
{
	uint64_t slack = LATE_NS;

	if (rec->kind == INTRO_KIND_PAGES)
		return sink->put(sink->ctx, INTRO_STREAM_PLACED(ring->cpu), rec, INTRO_ROW_BYTES);
	if (ring->last_ts > rec->ts)
		slack += (ring->last_ts - rec->ts) / LATE_PARTS;
	if (rec->kind == INTRO_KIND_SWITCH) {
		if (rec->ts + slack < ring->last_switch)
			return 0;
		if (rec->ts < ring->last_switch)
			rec->ts = ring->last_switch;
		ring->last_switch = rec->ts;
	}
	ring->late++;
	return sink->put(sink->ctx, INTRO_STREAM_LATE(ring->cpu), rec, INTRO_ROW_BYTES);
}

/*
 * How many bytes of whole records lie in one piece from the tail on; -1 when one makes no sense. A
 * late record is a piece of its own. A
 * record that was begun before an interrupt wrote its own has the earlier time but the later
 * place: it takes the time of its neighbour (a few microseconds at most).
 */
static long piece(struct intro__ring *ring, uint64_t head)
{
	uint64_t offset = ring->tail & (ring->size - 1), end = offset + (head - ring->tail);
	uint64_t at = offset;

	while (at < end && at < ring->size) {
		struct intro_rec *rec = (struct intro_rec *)(ring->data + at);
		uint64_t bytes = (uint64_t)rec->rows * INTRO_ROW_BYTES;

		if (rec->rows == 0 || rec->rows > INTRO_ROWS_MAX || at + bytes > end)
			return -1;
		if (is_late(rec))
			return at == offset ? (long)bytes : (long)(at - offset);
		if (rec->ts < ring->last_ts)
			rec->ts = ring->last_ts;
		ring->last_ts = rec->ts;
		if (rec->kind == INTRO_KIND_SWITCH)
			ring->last_switch = rec->ts;
		count(ring, rec);
		at += bytes;
	}
	return at - offset;
}

static void advance(struct intro__ring *ring, uint64_t tail)
{
	ring->tail = tail;
	__atomic_store_n(&ring->shared->tail, tail, __ATOMIC_RELEASE);
}

/* The gap that no later record has closed. */
static int put_open_gap(struct intro__ring *ring, const struct intro__sink *sink)
{
	struct intro_ring *shared = ring->shared;
	struct intro_rec_lost lost = {
		.rec.ts = shared->gap_begin ? shared->gap_begin : shared->gap_last,
		.rec.kind = INTRO_KIND_LOST,
		.rec.rows = 1,
		.rec.cpu = ring->cpu,
		.until_ts = shared->gap_last,
		.count = shared->gap_count,
	};

	if (!shared->gap_count)
		return 0;
	shared->gap_count = 0;
	if (lost.rec.ts < ring->last_ts)
		lost.rec.ts = ring->last_ts;
	if (lost.until_ts < lost.rec.ts)
		lost.until_ts = lost.rec.ts;
	ring->last_ts = lost.rec.ts;
	return sink->put(sink->ctx, INTRO_STREAM_CPU(ring->cpu), &lost, sizeof(lost));
}

/* Nothing is known of the CPU from when its writer went away until now. */
static int put_end(struct intro__ring *ring, const struct intro__sink *sink)
{
	uint64_t ended = __atomic_load_n(&ring->shared->ended, __ATOMIC_ACQUIRE);
	struct intro_rec_lost lost = {
		.rec.ts = ended > ring->last_ts ? ended : ring->last_ts,
		.rec.kind = INTRO_KIND_LOST,
		.rec.rows = 1,
		.rec.cpu = ring->cpu,
		.until_ts = intro__now(),
	};

	if (!ended || lost.until_ts <= lost.rec.ts)
		return 0;
	ring->last_ts = lost.rec.ts;
	return sink->put(sink->ctx, INTRO_STREAM_CPU(ring->cpu), &lost, sizeof(lost));
}

static int put(struct intro__ring *ring, struct intro_rec *piece, long bytes,
	       const struct intro__sink *sink)
{
	if (is_late(piece))
		return put_late(ring, piece, sink);
	return sink->put(sink->ctx, INTRO_STREAM_CPU(ring->cpu), piece, bytes);
}

int intro__ring_drain(struct intro__ring *ring, const struct intro__sink *sink, bool last)
{
	/* Acquire: head before open before the records; pairs with the writers' order. */
	uint64_t head = __atomic_load_n(&ring->shared->head, __ATOMIC_ACQUIRE);
	uint64_t open = __atomic_load_n(&ring->shared->open, __ATOMIC_ACQUIRE);
	int error = 0;

	if (open && !last)
		return 0;
	if (head - ring->tail > ring->size) {
		ring->resyncs++;
		advance(ring, head);
		return -EPROTO;
	}
	while (ring->tail != head) {
		uint64_t offset = ring->tail & (ring->size - 1);
		long bytes = piece(ring, head);

		if (bytes < 0) {
			ring->resyncs++;
			advance(ring, head);
			return -EPROTO;
		}
		if (!error)
			error = put(ring, (struct intro_rec *)(ring->data + offset), bytes, sink);
		advance(ring, ring->tail + bytes);
	}
	if (!error && last)
		error = put_open_gap(ring, sink);
	if (!error && last)
		error = put_end(ring, sink);
	return error;
}

int intro__rings_map(struct intro__rings *rings, int fd, size_t n, size_t stride, size_t ring_bytes)
{
	void *memory = mmap(NULL, n * stride, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	rings->memory = memory;
	rings->bytes = n * stride;
	rings->of = calloc(n, sizeof(*rings->of));
	if (!rings->of)
		return -ENOMEM;
	rings->n = n;
	for (size_t i = 0; i < n; i++)
		intro__ring_init(&rings->of[i], (uint8_t *)memory + i * stride, ring_bytes, i);
	return 0;
}

void intro__rings_free(struct intro__rings *rings)
{
	if (rings->memory)
		munmap(rings->memory, rings->bytes);
	free(rings->of);
	memset(rings, 0, sizeof(*rings));
}

int intro__rings_drain(struct intro__rings *rings, const struct intro__sink *sink, bool last,
		       unsigned int *fill)
{
	int error = 0;

	*fill = 0;
	for (size_t i = 0; i < rings->n; i++) {
		unsigned int used = intro__ring_fill(&rings->of[i]);
		int result = intro__ring_drain(&rings->of[i], sink, last);

		if (used > *fill)
			*fill = used;
		if (!error)
			error = result;
	}
	return error;
}

uint64_t intro__rings_ended(const struct intro__rings *rings)
{
	uint64_t last = 0;

	for (size_t i = 0; i < rings->n; i++) {
		/* acquire: pairs with the writer's release, after all that it wrote */
		uint64_t ended = __atomic_load_n(&rings->of[i].shared->ended, __ATOMIC_ACQUIRE);

		if (!ended)
			return 0;
		last = ended > last ? ended : last;
	}
	return last;
}

uint64_t intro__rings_lives(const struct intro__rings *rings)
{
	uint64_t lives = 0;

	for (size_t i = 0; i < rings->n; i++)
		lives += rings->of[i].lives;
	return lives;
}

void intro__rings_stats(const struct intro__rings *rings, size_t cpu,
			struct intro__cpu_stats *stats)
{
	const struct intro__ring *ring = &rings->of[cpu];

	stats->stored = ring->stored;
	stats->late = ring->late;
	stats->lost = __atomic_load_n(&ring->shared->lost, __ATOMIC_RELAXED);
}
