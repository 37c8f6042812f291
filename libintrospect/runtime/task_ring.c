/* SPDX-License-Identifier: BSD-2-Clause */
/* task_ring.c - the queue of a thread pool. See task_ring.h. */
#include <errno.h>
#include <stdlib.h>

#include "task_ring.h"

#define FIRST_CELLS 1024

static struct ring *ring_new(size_t cells, uint64_t first)
{
	struct ring *ring = aligned_alloc(64, sizeof(*ring) + cells * sizeof(ring->cell[0]));

	if (!ring)
		return NULL;
	atomic_init(&ring->tail, first * 2);
	atomic_init(&ring->head, first);
	ring->mask = cells - 1;
	atomic_init(&ring->next, NULL);
	ring->older = NULL;
	for (uint64_t place = first; place < first + cells; place++) {
		atomic_init(&ring->cell[place & ring->mask].turn, place);
		atomic_init(&ring->cell[place & ring->mask].future, NULL);
	}
	return ring;
}

int intro__task_ring_init(struct ring_queue *queue)
{
	struct ring *ring = ring_new(FIRST_CELLS, 0);

	atomic_init(&queue->in, ring);
	atomic_init(&queue->out, ring);
	return ring ? 0 : -ENOMEM;
}

void intro__task_ring_fini(struct ring_queue *queue)
{
	struct ring *ring = atomic_load(&queue->in), *older;

	for (; ring; ring = older) {
		older = ring->older;
		free(ring);
	}
}

enum ring_push intro__task_ring_push(struct ring_queue *queue, struct future *f)
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
	f->work.place = cell;
	atomic_store_explicit(&cell->future, f, memory_order_relaxed);
	atomic_store_explicit(&cell->turn, turn + 1, memory_order_release);
	return RING_PUSHED;
}

/* The ring is closed, and has been found empty since: true when there is another to look at. */
static bool go_on(struct ring_queue *queue, struct ring *ring)
{
	struct ring *next = atomic_load_explicit(&ring->next, memory_order_acquire);

	if (!next || atomic_load(&ring->head) != atomic_load(&ring->tail) / 2)
		return false;
	atomic_compare_exchange_strong(&queue->out, &ring, next);
	return true;
}

struct future *intro__task_ring_pop(struct ring_queue *queue, bool *gone)
{
	struct ring *ring = atomic_load_explicit(&queue->out, memory_order_acquire);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed), turn;
	struct ring_cell *cell;
	struct future *f;

	for (;;) {
		cell = &ring->cell[head & ring->mask];
		turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
		if (turn == head + 1) {
			if (atomic_compare_exchange_weak(&ring->head, &head, head + 1))
				break;
		} else if (turn > head + 1) {
			head = atomic_load_explicit(&ring->head, memory_order_relaxed);
		} else if (go_on(queue, ring)) {
			ring = atomic_load_explicit(&queue->out, memory_order_acquire);
			head = atomic_load_explicit(&ring->head, memory_order_relaxed);
		} else {
			return NULL;
		}
	}
	/* the next one's first line is on its way while this one runs */
	__builtin_prefetch(atomic_load_explicit(&ring->cell[(head + 1) & ring->mask].future,
						memory_order_relaxed),
			   1);
	f = atomic_exchange_explicit(&cell->future, NULL, memory_order_acq_rel);
	atomic_store_explicit(&cell->turn, head + 1 + ring->mask, memory_order_release);
	*gone = f == RING_GONE;
	return f;
}

bool intro__task_ring_take_back(struct future *f)
{
	struct ring_cell *cell = f->work.place;
	struct future *here = f;

	return atomic_compare_exchange_strong(&cell->future, &here, RING_GONE);
}

int intro__task_ring_grow(struct ring_queue *queue)
{
	struct ring *old = atomic_load(&queue->in), *ring;
	uint64_t tail = atomic_load(&old->tail);

	if (atomic_load(&old->cell[(tail / 2) & old->mask].turn) >= tail / 2)
		return 0; /* somebody grew it, or workers have made room */
	/* nobody pushes meanwhile: the numbers go on where they are now */
	tail = atomic_fetch_or(&old->tail, RING_CLOSED);
	ring = ring_new((old->mask + 1) * 2, tail / 2);
	if (!ring) {
		atomic_fetch_and(&old->tail, ~(uint64_t)RING_CLOSED);
		return -ENOMEM;
	}
	ring->older = old;
	atomic_store_explicit(&queue->in, ring, memory_order_release);
	atomic_store_explicit(&old->next, ring, memory_order_release);
	return 0;
}

void intro__task_ring_close(struct ring_queue *queue)
{
	struct ring *ring = atomic_load(&queue->in);

	atomic_fetch_or(&ring->tail, RING_CLOSED);
}

uint64_t intro__task_ring_pushed(struct ring_queue *queue)
{
	return atomic_load(&atomic_load(&queue->in)->tail) / 2;
}

uint64_t intro__task_ring_popped(struct ring_queue *queue)
{
	return atomic_load(&atomic_load(&queue->out)->head);
}
