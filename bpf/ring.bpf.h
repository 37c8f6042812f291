/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_RING_BPF_H
#define INTROSPECT_RING_BPF_H
/*
 * ring.bpf.h - writing to this CPU's struct intro_ring (abi.h has the rules).
 *
 * There are two kinds of writers on a CPU. The scheduler's tracepoints run with interrupts off:
 * nothing comes between their loads and stores, so these are plain (ring_take, ring_publish). The
 * tracepoints of fork, exec, exit and rename can be interrupted by the former, never the other way
 * round: they raise `open` and move head with a compare-and-swap (ring_open, ring_close).
 */

/* Size of a ring - 1. Known to the verifier when it proves that records stay inside. */
const volatile __u64 ring_mask = 4095;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct intro_ring) + 4096 + INTRO_RING_SLACK);
} rings SEC(".maps");

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * The reader runs on another CPU: what is in the ring must be visible before head. x86 keeps stores
 * in order; elsewhere an exchange is a full barrier.
 */
static __always_inline void ring_store_release(__u64 *p, __u64 value)
{
#if defined(__TARGET_ARCH_x86)
	barrier();
	WRITE_ONCE(*p, value);
#else
	__sync_lock_test_and_set(p, value);
#endif
}

static __always_inline struct intro_ring *ring_of(__u32 cpu)
{
	return bpf_map_lookup_elem(&rings, &cpu);
}

static __always_inline void *ring_at(struct intro_ring *ring, __u64 position)
{
	return (void *)(ring + 1) + (position & ring_mask);
}

static __always_inline bool ring_fits(struct intro_ring *ring, __u64 head, __u64 bytes)
{
	return head + bytes - READ_ONCE(ring->tail) <= ring_mask + 1;
}

static __always_inline void rec_head(struct intro_rec *rec, __u64 ts, __u8 kind, __u8 rows,
				     __u32 cpu, __u32 tid)
{
	rec->ts = ts;
	/* one store for four members; little-endian */
	*(__u64 *)&rec->kind =
		kind | (__u64)rows << 8 | (__u64)(cpu & 0xffff) << 16 | (__u64)tid << 32;
}

/* Atomic, because an interrupt may lose a record while an interruptible writer is losing one. */
static __noinline void ring_lose(struct intro_ring *ring, __u64 ts)
{
	if (!ring->gap_begin)
		ring->gap_begin = ts;
	ring->gap_last = ts;
	__sync_fetch_and_add(&ring->lost, 1);
	__sync_fetch_and_add(&ring->gap_count, 1);
	ring->plain_until = 0;
}

/*
 * Writes the LOST record of the open gap at `position`. An interrupt that loses a record halfway
 * leaves a count without a begin: such a gap begins where it ended.
 */
static __always_inline void ring_write_gap(struct intro_ring *ring, __u64 position, __u32 cpu)
{
	struct intro_rec_lost *rec = ring_at(ring, position);
	__u64 count = __sync_lock_test_and_set(&ring->gap_count, 0);
	__u64 begin = ring->gap_begin, last = ring->gap_last;

	ring->gap_begin = 0;
	rec_head(&rec->rec, begin ? begin : last, INTRO_KIND_LOST, 1, cpu, 0);
	rec->until_ts = last;
	rec->count = count;
}

/* Interrupts off: closes the gap when there is room for that and for what comes next. */
static __noinline int ring_end_gap(struct intro_ring *ring, __u32 cpu, __u64 bytes)
{
	__u64 head = ring->head;

	if (!ring_fits(ring, head, bytes + INTRO_ROW_BYTES))
		return 0;
	ring_write_gap(ring, head, cpu);
	ring_store_release(&ring->head, head + INTRO_ROW_BYTES);
	return 1;
}

/* Interrupts off: room for a record of `bytes`, or NULL and counted. Then ring_publish. */
static __always_inline void *ring_take(struct intro_ring *ring, __u64 ts, __u32 cpu, __u64 bytes)
{
	if (likely(!ring->gap_count) ? likely(ring_fits(ring, ring->head, bytes))
				     : ring_end_gap(ring, cpu, bytes))
		return ring_at(ring, ring->head);
	ring_lose(ring, ts);
	return NULL;
}

static __always_inline void ring_publish(struct intro_ring *ring, __u64 bytes)
{
	ring_store_release(&ring->head, ring->head + bytes);
}

/*
 * Interrupts on: as ring_take, and the ring is `open` until ring_close, which must follow even
 * after NULL. A failed compare-and-swap means that an interrupt wrote: each try sees fresh room.
 */
static __always_inline void *ring_open(struct intro_ring *ring, __u64 ts, __u32 cpu, __u64 bytes)
{
	__sync_fetch_and_add(&ring->open, 1);
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u64 head = READ_ONCE(ring->head);
		__u64 gap = READ_ONCE(ring->gap_count) ? INTRO_ROW_BYTES : 0;

		if (!ring_fits(ring, head, gap + bytes))
			break;
		if (__sync_val_compare_and_swap(&ring->head, head, head + gap + bytes) != head)
			continue;
		if (gap)
			ring_write_gap(ring, head, cpu);
		return ring_at(ring, head + gap);
	}
	ring_lose(ring, ts);
	return NULL;
}

static __always_inline void ring_close(struct intro_ring *ring)
{
	barrier();
	__sync_fetch_and_add(&ring->open, -1);
}

#endif
