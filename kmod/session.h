/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_KMOD_SESSION_H
#define INTROSPECT_KMOD_SESSION_H
/*
 * session.h - one recording: its rings, its targets. Made when the file is opened, freed when
 * it is closed or the module removed; the tracepoints get it as their data.
 *
 * Locks: `mutex` is taken by calls of the reader only, never by a tracepoint or the work `look`,
 * nor in a page fault, so that copying to the reader's memory under it is fine.
 */
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/eventfd.h>
#include <linux/kprobes.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include <introspect/device.h>

#include "compat.h"
#include "memory.h"

#define TID_LIMIT (1u << 22) /* the kernel's PID_MAX_LIMIT */
#define TID_WORDS (TID_LIMIT / BITS_PER_LONG)

/*
 * The writing end of one CPU's ring. Only this CPU uses it, with interrupts off, while probes
 * run; only `contended` is changed by others. The reader never sees it: of what it can write, the
 * tail alone is read.
 */
struct writer {
	u64 head;
	struct intro_ring *ring; /* mapped by the reader; its data follow */
	u64 running;		 /* 1 + tid of who came last; 0: none seen yet */
	u64 switched;		 /* when it came */
	u64 unseen;		 /* so many more switches may follow wake-ups that went unseen */
	u64 clock_offset;	 /* CLOCK_MONOTONIC less the scheduler's clock; 0: not known */
	/* Likewise less the clock by which tasks are charged, when by it (0: never), until when */
	u64 charge_offset, charge_synced, charge_until;
	u64 gap_begin, gap_last, gap_count;
	struct intro_placed *placed; /* NULL: pages are not counted */
	bool counted;		     /* some are, and not yet told of */
	u64 pages_lost;		     /* told of by no record */
	u64 lost;
	u64 ignored;
	/* How many targets wait for this CPU: while there are any, record every switch on it. */
	atomic_long_t contended ____cacheline_aligned;
};

struct session {
	bool whole_system;
	u64 mask; /* size of a ring - 1 */
	struct writer __percpu *writers;
	struct intro_placed __percpu *placed; /* NULL: pages are not counted */
	/* by tid: traced; named in the trace; with a filter: waits for a CPU */
	unsigned long *targets, *known, *waiting;

	struct mutex mutex;
	bool ready; /* the rings are there */
	bool started;
	size_t stride;
	struct memory rings; /* of `stride` bytes, by CPU */
	u32 attached;	     /* 1 << bit for each probe of the last start */
	struct kprobe faults;

	void *snapshot;
	size_t snapshot_bytes, snapshot_read;

	struct eventfd_ctx *event; /* NULL: nobody waits */
	struct delayed_work look;  /* between start and stop, with an event */
};

struct session *session_new(void);
/* Tells the reader that this is the end, should it not be its own doing. */
void session_free(struct session *session);
/* The file of the rings, for a descriptor of the reader's, or an ERR_PTR. */
struct file *session_setup(struct session *session, struct intro_device_setup *setup);
int session_start(struct session *session);
void session_stop(struct session *session);
void session_stats(struct session *session, struct intro_device_stats *stats);

/* Where every target is, into session->snapshot. */
int snapshot_take(struct session *session, enum intro_snapshot_when when);

/* Once, when the module is loaded. */
void tracepoints_find(void);
u32 tracepoints_missing(void);
int tracepoints_attach(struct session *session);
/* When it returns, no probe runs. */
void tracepoints_detach(struct session *session);

static inline bool bit_has(const unsigned long *bits, u32 tid)
{
	return test_bit(tid & (TID_LIMIT - 1), bits);
}

static inline void bit_put(unsigned long *bits, u32 tid)
{
	set_bit(tid & (TID_LIMIT - 1), bits);
}

static inline void bit_drop(unsigned long *bits, u32 tid)
{
	clear_bit(tid & (TID_LIMIT - 1), bits);
}

static inline bool target_has(const struct session *session, u32 tid)
{
	return session->whole_system || bit_has(session->targets, tid);
}

#endif
