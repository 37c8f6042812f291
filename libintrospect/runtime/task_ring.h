/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_TASK_RING_H
#define INTRO_RUNTIME_TASK_RING_H
/*
 * task_ring.h - the queue of a thread pool: many submitters, many workers, no lock, no bound.
 *
 * Bounded rings of cells, each twice the size of its predecessor. A ring that is full is closed,
 * and the next takes its place for submitters; workers go on to that when the old one is empty.
 * Old rings stay until the pool is freed (together they are smaller than the last), so that
 * nobody can meet one that is gone.
 *
 * Places are numbered through all rings. A cell's `turn` says whose it is: its place's number, the
 * submitter's; that + 1, a worker's. A cell whose future was taken back holds RING_GONE.
 *
 * Memory order. `tail` and the pool's count of idle workers are how a submitter and a worker that
 * falls asleep find each other: each changes its own, then looks at the other's, all sequentially
 * consistent. So is ring_is_empty.
 */
#include "future_private.h"

struct ring_cell {
	_Atomic uint64_t turn;
	_Atomic(struct future *) future;
};

struct ring {
	_Alignas(64) _Atomic uint64_t tail; /* the next place * 2 + RING_CLOSED */
	_Alignas(64) _Atomic uint64_t head; /* the next place to be taken */
	_Alignas(64) uint64_t mask;
	_Atomic(struct ring *) next; /* set before it is closed, or never */
	struct ring *older;	     /* as long as the pool lives */
	struct ring_cell cell[];
};

#define RING_CLOSED 1u
#define RING_GONE ((struct future *)1)

struct ring_queue {
	_Atomic(struct ring *) in, out; /* for submitters; for workers */
};

/* 0; -ENOMEM. */
int intro__task_ring_init(struct ring_queue *queue);
void intro__task_ring_fini(struct ring_queue *queue);

enum ring_push { RING_PUSHED = 0, RING_FULL = 1, RING_IS_CLOSED = 2 };

/* Sets future->place, before anybody can pop it. */
static inline enum ring_push intro__task_ring_push(struct ring_queue *queue, struct future *f)
{
	struct ring *ring = atomic_load_explicit(&queue->in, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed), turn;
	struct ring_cell *cell;

	for (;;) {
		if (tail & RING_CLOSED)
			return RING_IS_CLOSED;
		cell = &ring->cell[(tail / 2) & ring->mask];
		turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
		if (turn == tail / 2) {
			if (atomic_compare_exchange_weak(&ring->tail, &tail, tail + 2))
				break;
		} else if (turn < tail / 2) {
			return RING_FULL;
		} else {
			tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
		}
	}
	__builtin_prefetch(&ring->cell[(turn + 8) & ring->mask], 1);
	atomic_store_explicit(&cell->future, f, memory_order_relaxed);
	atomic_store_explicit(&f->place, cell, memory_order_release);
	atomic_store_explicit(&cell->turn, turn + 1, memory_order_release);
	return RING_PUSHED;
}

/* NULL: none, for now. *gone: so many were taken back, and what is returned is none; or 0. */
struct future *intro__task_ring_pop(struct ring_queue *queue, uint64_t *gone);
/*
 * For a submitter: whether all that was pushed has been popped, or is about to be. Reads nothing
 * that pops of others change.
 */
static inline bool intro__task_ring_is_drained(struct ring_queue *queue)
{
	struct ring *ring = atomic_load_explicit(&queue->in, memory_order_acquire);
	uint64_t place = atomic_load_explicit(&ring->tail, memory_order_relaxed) / 2;

	return atomic_load_explicit(&ring->cell[(place - 1) & ring->mask].turn,
				    memory_order_relaxed) != place &&
	       atomic_load_explicit(&queue->out, memory_order_relaxed) == ring;
}

/* false: there is nothing to pop, for now. Reads only what a push or a pop writes. */
static inline bool intro__task_ring_may_pop(struct ring_queue *queue)
{
	struct ring *ring = atomic_load_explicit(&queue->out, memory_order_acquire);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	return atomic_load_explicit(&ring->cell[head & ring->mask].turn, memory_order_relaxed) !=
		       head ||
	       atomic_load_explicit(&ring->next, memory_order_relaxed);
}
/* Pops those in front that were taken back, up to the first that was not: how many. */
uint64_t intro__task_ring_sweep(struct ring_queue *queue);
/* Takes a future that was pushed, and may have been popped, out of its cell. true: it was there. */
static inline bool intro__task_ring_take_back(struct future *f)
{
	struct ring_cell *cell = atomic_load_explicit(&f->place, memory_order_relaxed);
	struct future *here = f;

	return atomic_compare_exchange_strong(&cell->future, &here, RING_GONE);
}

/* One at a time: the pool's lock is held. */
int intro__task_ring_grow(struct ring_queue *queue);
void intro__task_ring_close(struct ring_queue *queue);

/* How many were ever pushed; how many of them were popped. */
static inline uint64_t intro__task_ring_pushed(struct ring_queue *queue)
{
	return atomic_load(&atomic_load(&queue->in)->tail) / 2;
}
uint64_t intro__task_ring_popped(struct ring_queue *queue);

static inline uint64_t intro__task_ring_length(struct ring_queue *queue)
{
	uint64_t popped = intro__task_ring_popped(queue); /* first, or it may overtake */

	return intro__task_ring_pushed(queue) - popped;
}

static inline bool intro__task_ring_is_empty(struct ring_queue *queue)
{
	return intro__task_ring_pushed(queue) == intro__task_ring_popped(queue);
}

#endif
