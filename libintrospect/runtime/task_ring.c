/* SPDX-License-Identifier: BSD-2-Clause */
/* task_ring.c - the queue of a thread pool. See task_ring.h. */
#include <errno.h>
#include <stdlib.h>

#include "task_ring.h"

#define FIRST_CELLS 1024

/* So many places without a task are popped in one step. */
#define GONE_AT_ONCE 64

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

/* The ring is closed, and has been found empty since: true when there is another to look at. */
static bool go_on(struct ring_queue *queue, struct ring *ring)
{
	struct ring *next = atomic_load_explicit(&ring->next, memory_order_acquire);

	if (!next || atomic_load(&ring->head) != atomic_load(&ring->tail) / 2)
		return false;
	atomic_compare_exchange_strong(&queue->out, &ring, next);
	return true;
}

/* How many places from `head` on hold futures that were taken back; they stay so until popped. */
static uint64_t count_gone(struct ring *ring, uint64_t head)
{
	struct ring_cell *cell;
	uint64_t n = 0;

	do {
		n++;
		cell = &ring->cell[(head + n) & ring->mask];
	} while (n < GONE_AT_ONCE &&
		 atomic_load_explicit(&cell->turn, memory_order_acquire) == head + n + 1 &&
		 atomic_load_explicit(&cell->future, memory_order_relaxed) == RING_GONE);
	return n;
}

/* The place is popped: the submitter's of the next lap. Returns what was there. */
static struct future *empty_cell(struct ring *ring, uint64_t place)
{
	struct ring_cell *cell = &ring->cell[place & ring->mask];
	/* acquire: what the one who took it back has written before is seen by who finds it empty
	 */
	struct future *f = atomic_load_explicit(&cell->future, memory_order_acquire);

	if (f == RING_GONE)
		atomic_store_explicit(&cell->future, NULL, memory_order_relaxed);
	else /* a rival may take it back yet */
		f = atomic_exchange_explicit(&cell->future, NULL, memory_order_acq_rel);
	atomic_store_explicit(&cell->turn, place + 1 + ring->mask, memory_order_release);
	return f;
}

/* Where pops begin. */
struct front {
	struct ring *ring;
	uint64_t place;
};

/* Pops one place, or all those without a task that are in front: how many; 0: none, for now. */
static uint64_t claim(struct ring_queue *queue, struct front *front, bool only_gone)
{
	struct ring *ring = atomic_load_explicit(&queue->out, memory_order_acquire);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed), turn, n;
	struct ring_cell *cell;

	for (;;) {
		cell = &ring->cell[head & ring->mask];
		turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
		if (turn == head + 1) {
			n = 1;
			if (atomic_load_explicit(&cell->future, memory_order_relaxed) == RING_GONE)
				n = count_gone(ring, head);
			else if (only_gone)
				return 0;
			if (atomic_compare_exchange_weak(&ring->head, &head, head + n))
				break;
		} else if (turn > head + 1) {
			head = atomic_load_explicit(&ring->head, memory_order_relaxed);
		} else if (go_on(queue, ring)) {
			ring = atomic_load_explicit(&queue->out, memory_order_acquire);
			head = atomic_load_explicit(&ring->head, memory_order_relaxed);
		} else {
			return 0;
		}
	}
	*front = (struct front){.ring = ring, .place = head};
	return n;
}

struct future *intro__task_ring_pop(struct ring_queue *queue, uint64_t *gone)
{
	struct future *f = NULL;
	struct front front;
	uint64_t n = claim(queue, &front, false);

	if (!n)
		return NULL;
	/* the next one's first line is on its way while this one runs */
	__builtin_prefetch(
		atomic_load_explicit(&front.ring->cell[(front.place + n) & front.ring->mask].future,
				     memory_order_relaxed),
		1);
	for (uint64_t i = 0; i < n; i++)
		f = empty_cell(front.ring, front.place + i);
	*gone = f == RING_GONE ? n : 0;
	return f;
}

uint64_t intro__task_ring_sweep(struct ring_queue *queue)
{
	uint64_t n, all = 0;
	struct front front;

	for (; (n = claim(queue, &front, true)); all += n)
		for (uint64_t i = 0; i < n; i++)
			empty_cell(front.ring, front.place + i);
	return all;
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

uint64_t intro__task_ring_popped(struct ring_queue *queue)
{
	return atomic_load(&atomic_load(&queue->out)->head);
}
