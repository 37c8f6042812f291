/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_PROCESS_RING_H
#define INTRO_RUNTIME_PROCESS_RING_H
/*
 * process_ring.h - what a process pool and one worker share: a ring of bytes each way, in memory
 * of their own, and a socket as the bell.
 *
 * A ring has one writer and one reader, and positions that only grow: `head` is the writer's,
 * `tail` the reader's. Who finds nothing to do looks a while, then says in `wants` what it waits
 * for and sleeps in the socket; whoever makes that happen rings. So a side that is awake costs the
 * other no system call. The socket's end is the other side's end.
 *
 * No wake-up is lost: one side stores its position, then reads `wants`; the other stores `wants`,
 * then reads the position; all sequentially consistent, so one of them sees the other.
 *
 * Messages begin at multiples of RING_ALIGN, so that a header never wraps. The other side's
 * position is the only thing that is taken from shared memory here, and is checked: a worker
 * whose memory is spoilt may have written anything.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_ALIGN ((size_t)32)
#define RING_BYTES ((size_t)256 << 10) /* a power of two */

/* What a side that sleeps waits for. */
#define WANTS_DATA 1u
#define WANTS_ROOM 2u

struct ring_positions {
	_Alignas(64) _Atomic uint64_t head;
	_Alignas(64) _Atomic uint64_t tail;
};

struct pipe_shared {
	struct ring_positions to_worker, to_pool;
	_Alignas(64) _Atomic uint32_t pool_wants;
	_Atomic uint32_t length_ns; /* the worker's: of its tasks, about, as they are now */
	_Alignas(64) _Atomic uint32_t worker_wants;
	_Atomic uint32_t ends; /* the pool's: no more requests will come */
	_Alignas(4096) unsigned char requests[RING_BYTES];
	unsigned char replies[RING_BYTES];
};

/* One side's view of one ring. */
struct ring_end {
	struct ring_positions *shared;
	unsigned char *bytes;
	uint64_t at;	/* its own position, not yet told to the other side */
	uint64_t other; /* the other side's, as last read */
	_Atomic uint32_t *other_wants;
	int bell;
};

/* One side of both rings. */
struct pipe_end {
	struct pipe_shared *shared; /* NULL: none */
	size_t bytes;		    /* of the mapping */
	struct ring_end out, in;
	_Atomic uint32_t *wants; /* its own */
};

/*
 * Fresh memory, to be shared with one worker, with `more` bytes behind. `memory` NULL, or gets a
 * descriptor of it. NULL and errno.
 */
struct pipe_shared *intro__pipe_map(size_t more, int *memory);
/* The same, from that descriptor; *more: how much is behind. */
struct pipe_shared *intro__pipe_map_inherited(int memory, size_t *more);
void intro__pipe_unmap(struct pipe_end *end);
/* `shared` is fresh, with so many bytes behind. */
void intro__pipe_open(struct pipe_end *end, struct pipe_shared *shared, size_t more, bool is_worker,
		      int bell);

/*
 * Sleeping takes three steps: says what it waits for; looks once more (a reading after this sees
 * what the other side did before it looked at `wants`); sleeps in the socket. `got` takes what was
 * said back.
 */
static inline void pipe_want(struct pipe_end *end, uint32_t wants)
{
	atomic_store(end->wants, wants);
}

static inline void pipe_got(struct pipe_end *end)
{
	atomic_store_explicit(end->wants, 0, memory_order_relaxed);
}

/* Wakes the other side, which sleeps. */
void intro__pipe_ring(struct ring_end *ring);
/*
 * Takes what was rung, within so many ms (-1: without limit): 0; -EAGAIN: nothing; -EPIPE: the
 * other side is gone.
 */
int intro__pipe_answer(int bell, int timeout_ms);

/* --- the writer's ----------------------------------------------------------------------------- */

#define MESSAGE_PARTS 4

/* On its way into a ring; its header is part 0. Parts may be empty. */
struct ring_message {
	struct {
		const void *data;
		size_t size;
	} part[MESSAGE_PARTS];
	unsigned at; /* the part that is being put */
	size_t put;  /* bytes of that */
	size_t left; /* bytes of all parts, to be put yet */
};

void intro__message_add(struct ring_message *message, const void *data, size_t size);
/*
 * Puts what there is room for; the reader sees it, and is woken if it waits for that. true: that
 * was all of it.
 */
bool intro__message_put(struct ring_end *ring, struct ring_message *message);

static inline size_t ring_padded(size_t size)
{
	return (size + RING_ALIGN - 1) & ~(RING_ALIGN - 1);
}

/* Bytes that may be put, if need be as of now; 0 also when the reader's position makes no sense. */
static inline size_t ring_room(struct ring_end *ring, size_t wanted)
{
	uint64_t used = ring->at - ring->other;

	if (RING_BYTES - used < wanted || used > RING_BYTES) {
		ring->other = atomic_load(&ring->shared->tail);
		used = ring->at - ring->other;
	}
	return used > RING_BYTES ? 0 : RING_BYTES - (size_t)used;
}

/* --- the reader's ----------------------------------------------------------------------------- */

/*
 * Bytes that may be taken, if need be as of now. Above RING_BYTES: the writer's position makes no
 * sense.
 */
static inline size_t ring_has(struct ring_end *ring, size_t wanted)
{
	if (ring->other - ring->at < wanted)
		ring->other = atomic_load(&ring->shared->head);
	return (size_t)(ring->other - ring->at);
}

/* What lies at a position that is a multiple of RING_ALIGN. */
static inline void *ring_place(const struct ring_end *ring, uint64_t position)
{
	return ring->bytes + (position & (RING_BYTES - 1));
}

/* They are there. `to` NULL: thrown away. */
void intro__ring_take(struct ring_end *ring, void *to, size_t size);

/* A message is taken to its end. */
static inline void ring_next_message(struct ring_end *ring)
{
	ring->at = ring_padded(ring->at);
}

/* What was taken is room again; the writer is woken if it waits for that. */
static inline void ring_release(struct ring_end *ring)
{
	atomic_store(&ring->shared->tail, ring->at);
	if (atomic_load(ring->other_wants) & WANTS_ROOM)
		intro__pipe_ring(ring);
}

#endif
