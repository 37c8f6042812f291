/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_QUEUE_H
#define INTRO_RUNTIME_QUEUE_H
/* queue.h - a FIFO of held futures, linked through their work; its owner locks. */
#include "future_private.h"

struct queue {
	struct future *first, *last;
	/* Written under the owner's lock; a worker that spins looks at it without. */
	_Atomic size_t n;
};

static inline size_t queue_length(struct queue *q)
{
	return atomic_load_explicit(&q->n, memory_order_relaxed);
}

static inline void queue_count(struct queue *q, size_t by)
{
	atomic_store_explicit(&q->n, queue_length(q) + by, memory_order_relaxed);
}

static inline void queue_push(struct queue *q, struct future *f)
{
	f->work.next = NULL;
	f->work.prev = q->last;
	if (q->last)
		q->last->work.next = f;
	else
		q->first = f;
	q->last = f;
	queue_count(q, 1);
}

static inline void queue_remove(struct queue *q, struct future *f)
{
	if (f->work.prev)
		f->work.prev->work.next = f->work.next;
	else
		q->first = f->work.next;
	if (f->work.next)
		f->work.next->work.prev = f->work.prev;
	else
		q->last = f->work.prev;
	f->work.next = f->work.prev = NULL;
	queue_count(q, (size_t)-1);
}

static inline struct future *queue_pop(struct queue *q)
{
	struct future *f = q->first;

	if (f)
		queue_remove(q, f);
	return f;
}

/* All of `from` to the end of `to`. */
static inline void queue_splice(struct queue *to, struct queue *from)
{
	if (!from->first)
		return;
	from->first->work.prev = to->last;
	if (to->last)
		to->last->work.next = from->first;
	else
		to->first = from->first;
	to->last = from->last;
	queue_count(to, queue_length(from));
	from->first = from->last = NULL;
	atomic_store_explicit(&from->n, 0, memory_order_relaxed);
}

/* Is f in q? In no queue both links are NULL, and it is not the first. */
static inline bool queue_has(const struct queue *q, const struct future *f)
{
	return f->work.prev || q->first == f;
}

#endif
