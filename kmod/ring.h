/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_RING_H
#define INTROSPECT_RING_H
/*
 * ring.h - writing to this CPU's ring (abi.h has the rules). All writers have interrupts off, so
 * that none comes between the loads and stores of another, and a ring is never `open`.
 */
#include <linux/irqflags.h>
#include <linux/ktime.h>

#include "session.h"

static inline void *ring_at(const struct session *session, const struct writer *writer,
			    u64 position)
{
	return (void *)(writer->ring + 1) + (position & session->mask);
}

/* A tail that makes no sense, before or beyond what is in the ring, leaves no room. */
static inline bool ring_fits(const struct session *session, const struct writer *writer, u64 bytes)
{
	return writer->head + bytes - READ_ONCE(writer->ring->tail) <= session->mask + 1;
}

static inline void ring_publish(struct writer *writer, u64 bytes)
{
	writer->head += bytes;
	/* the reader runs on another CPU: what is in the ring is visible before head */
	smp_store_release(&writer->ring->head, writer->head);
}

static inline void rec_head(struct intro_rec *rec, u64 ts, u8 kind, u8 rows, u32 cpu, u32 tid)
{
	rec->ts = ts;
	rec->kind = kind;
	rec->rows = rows;
	rec->cpu = cpu;
	rec->tid = tid;
}

/* task.c: the rare ways */
void ring_lose(struct writer *writer, u64 ts);
bool ring_end_gap(struct session *session, struct writer *writer, u32 cpu, u64 bytes);

/* Room for a record of `bytes`, behind a gap if there is one; without it nothing is counted. */
static inline bool ring_has_room(struct session *session, struct writer *writer, u32 cpu, u64 bytes)
{
	return likely(!writer->gap_count) ? likely(ring_fits(session, writer, bytes))
					  : ring_end_gap(session, writer, cpu, bytes);
}

/* Room for a record of `bytes`, or NULL and counted. Then ring_publish. */
static inline void *ring_take(struct session *session, struct writer *writer, u64 ts, u32 cpu,
			      u64 bytes)
{
	if (ring_has_room(session, writer, cpu, bytes))
		return ring_at(session, writer, writer->head);
	ring_lose(writer, ts);
	return NULL;
}

/* A record from where interrupts may be on. */
struct ring_spot {
	struct writer *writer;
	unsigned long flags;
	u64 ts; /* now */
	u32 cpu;
};

/* Interrupts are off from here to ring_close, which must follow even after NULL. */
static inline void *ring_open(struct session *session, struct ring_spot *spot, u64 bytes)
{
	local_irq_save(spot->flags);
	spot->writer = this_cpu_ptr(session->writers);
	spot->cpu = smp_processor_id();
	spot->ts = ktime_get_mono_fast_ns();
	return ring_take(session, spot->writer, spot->ts, spot->cpu, bytes);
}

static inline void ring_close(struct ring_spot *spot)
{
	local_irq_restore(spot->flags);
}

#endif
