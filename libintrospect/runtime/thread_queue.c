/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread_queue.c - where the tasks of a thread pool wait: rings (task_ring.h), one or one a place,
 * and where waiters help a slot for one task.
 *
 * The slot. Who submits one task and waits for it runs it in a twentieth of a microsecond. In the
 * ring each such task would leave an empty place behind, which a worker pops on another CPU, and
 * every look of a worker would take lines from that thread that it writes at the next submit. So a
 * task that finds nothing else waiting goes into the slot, and who takes it back leaves no trace.
 * Workers look for tasks in the ring, to which nothing is written meanwhile, and glance at the slot
 * now and then: less often, the more often others had taken what was there. A worker leaves a task
 * there until it meets it the second time, but takes it at once where more tasks wait behind it.
 */
#include <errno.h>

#include "thread_private.h"

/* From one glance at the slot to the next: about 0.5 to 10 us. */
#define GLANCES_APART_LEAST 16
#define GLANCES_APART_MOST 256

bool intro__thread_is_empty(struct thread_pool *pool)
{
	return !atomic_load(&pool->slot.future) && intro__task_ring_is_empty(&pool->queue) &&
	       (!pool->placement || intro__placement_is_empty(pool->placement));
}

uint64_t intro__thread_length(struct thread_pool *pool)
{
	return (atomic_load(&pool->slot.future) != NULL) + intro__task_ring_length(&pool->queue) +
	       (pool->placement ? intro__placement_length(pool->placement) : 0);
}

uint64_t intro__thread_backlog(struct thread_pool *pool)
{
	int64_t places = (int64_t)intro__thread_length(pool);
	int64_t gone = atomic_load(&pool->gone);

	for (struct guest *g = atomic_load(&pool->guests); g; g = g->next)
		gone += (int64_t)atomic_load_explicit(&g->emptied, memory_order_relaxed);
	/* not one moment's numbers */
	return places > gone ? (uint64_t)(places - gone) : 0;
}

static uint64_t beside(const struct seat *seat)
{
	return atomic_load_explicit(&seat->counts.beside, memory_order_relaxed);
}

uint64_t intro__thread_submitted(struct thread_pool *pool)
{
	uint64_t n = intro__task_ring_pushed(&pool->queue);
	unsigned started;

	pthread_mutex_lock(&pool->lock);
	started = pool->started;
	n -= pool->refused;
	pthread_mutex_unlock(&pool->lock);
	for (unsigned place = 1; pool->placement && place < pool->placement->n; place++)
		n += intro__task_ring_pushed(intro__thread_queue(pool, place));
	n += (atomic_load(&pool->slot.future) != NULL) + atomic_load(&pool->beside);
	for (unsigned i = 0; i < started; i++)
		n += beside(&pool->worker[i].seat);
	for (struct guest *g = atomic_load(&pool->guests); g; g = g->next)
		n += beside(&g->seat);
	return n;
}

/* --- out of it ----------------------------------------------------------------------------------
 */

/* w NULL: for one who is no worker. */
static struct future *pop_from(struct thread_pool *pool, struct ring_queue *queue,
			       struct thread_worker *w)
{
	struct future *f;
	uint64_t gone;

	while ((f = intro__task_ring_pop(queue, &gone)) && gone) {
		/* until then the backlog counts too few */
		atomic_fetch_sub(&pool->gone, (int64_t)gone);
		if (w)
			w->looks_again = true;
	}
	return f;
}

/* Its own node's first, then near before far. */
static __attribute__((noinline)) struct future *pop_near(struct thread_pool *pool, unsigned place,
							 struct thread_worker *w)
{
	const struct placement *placement = pool->placement;
	struct future *f = NULL;

	for (unsigned i = 0; !f && i < placement->n; i++)
		f = pop_from(pool, intro__thread_queue(pool, placement->place[place].order[i]), w);
	return f;
}

struct future *intro__thread_pop_slot(struct thread_pool *pool)
{
	struct future *f = atomic_load_explicit(&pool->slot.future, memory_order_relaxed);

	return f && atomic_compare_exchange_strong(&pool->slot.future, &f, NULL) ? f : NULL;
}

static struct future *pop_in_turn(struct thread_pool *pool, struct thread_worker *w)
{
	struct turns *turns = &w->turns;
	struct future *f;

	if (!turns->left)
		intro__thread_judge(pool, turns);
	f = pop_from(pool, &pool->queue, w);
	if (f)
		turns->left--;
	return f;
}

struct future *intro__thread_pop(struct thread_worker *w)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	struct future *f;

	if (pool->placement)
		return pop_near(pool, w->place, w);
	if (!intro__thread_has_slot(pool))
		return pop_in_turn(pool, w);
	if (!intro__task_ring_may_pop(&pool->queue))
		return NULL;
	/* the oldest */
	f = intro__thread_pop_slot(pool);
	if (f)
		intro__count(&w->seat.counts.beside, 1);
	return f ? f : pop_from(pool, &pool->queue, w);
}

struct future *intro__thread_pop_one(struct thread_pool *pool)
{
	struct future *f = intro__thread_pop_slot(pool);

	if (f)
		atomic_fetch_add_explicit(&pool->beside, 1, memory_order_relaxed);
	else
		f = pool->placement ? pop_near(pool, 0, NULL) : pop_from(pool, &pool->queue, NULL);
	return f;
}

struct future *intro__thread_glance(struct thread_worker *w, struct spin *spin)
{
	struct thread_pool *pool = intro__thread_pool(w->seat.executor);
	struct glance *glance = &w->glance;
	struct future *f;
	uint64_t turn;

	if (glance->left) {
		glance->left--;
		return NULL;
	}
	f = atomic_load_explicit(&pool->slot.future, memory_order_acquire);
	turn = atomic_load_explicit(&pool->slot.turn, memory_order_relaxed);
	if (turn != glance->seen) {
		glance->seen = turn;
		if (glance->apart < GLANCES_APART_MOST)
			glance->apart *= 2;
		spin->until = 0; /* the pool is in use: go on looking */
	} else if (f && (f = intro__thread_pop_slot(pool))) {
		intro__count(&w->seat.counts.beside, 1);
		glance->apart = GLANCES_APART_LEAST;
		return f;
	}
	glance->left = glance->apart;
	return NULL;
}

/* --- into it ------------------------------------------------------------------------------------
 */

/* lock is held. */
static int why_refused(const struct thread_pool *pool)
{
	if (pool->broken.code)
		return -EPIPE;
	return pool->closed ? -ESHUTDOWN : 0;
}

int intro__thread_refuses(struct thread_pool *pool)
{
	int err;

	pthread_mutex_lock(&pool->lock);
	err = why_refused(pool);
	pthread_mutex_unlock(&pool->lock);
	return err;
}

/* The ring did not take it. 0: try again. */
static int make_room(struct thread_pool *pool, struct ring_queue *queue)
{
	uint64_t swept;
	int err;

	pthread_mutex_lock(&pool->lock);
	err = why_refused(pool);
	if (!err && (swept = intro__task_ring_sweep(queue)))
		atomic_fetch_sub_explicit(&pool->gone, (int64_t)swept, memory_order_relaxed);
	else if (!err)
		err = intro__task_ring_grow(queue);
	pthread_mutex_unlock(&pool->lock);
	return err;
}

int intro__thread_push_slowly(struct thread_pool *pool, struct ring_queue *queue, struct future *f)
{
	int err;

	do
		err = make_room(pool, queue);
	while (!err && intro__task_ring_push(queue, f));
	return err;
}

/* --- when callers run tasks ---------------------------------------------------------------------
 */

/*
 * A task that is shorter than what it takes to queue it costs its submitter more in the queue: a
 * worker on another CPU takes lines from it that it needs for the next. That is so where workers
 * take tasks as fast as they are pushed, one every SHORT_NS. Then nothing is queued until a worker
 * has nothing to do, and no more than a few until it has been found again.
 */
#define SHORT_NS 150
#define FEW_WHEN_SHORT 16
/* Fewer tell nothing. */
#define FEW_TO_JUDGE_BY 8

static bool are_short(struct thread_pool *pool, uint64_t tail, uint64_t backlog)
{
	struct caller_runs *c = &pool->caller_runs;
	int64_t begin = atomic_load_explicit(&c->begin, memory_order_relaxed);
	/* not one moment's numbers: it may be below 0 */
	int64_t taken =
		(int64_t)(tail - backlog - atomic_load_explicit(&c->taken, memory_order_relaxed));

	return begin && taken >= FEW_TO_JUDGE_BY &&
	       (intro__now() - begin) * (int64_t)pool->base.workers < taken * SHORT_NS;
}

/* All workers are there and none sleeps, or one looks for tasks: one will say if it is hungry. */
static bool may_hold(struct thread_pool *pool)
{
	uint64_t idle = atomic_load(&pool->idle);

	return IDLE_COUNT(idle, IDLE_LIVE) == pool->base.workers &&
	       (!IDLE_COUNT(idle, IDLE_SLEEPING) || IDLE_COUNT(idle, IDLE_SEARCHING));
}

static bool hold(struct thread_pool *pool)
{
	struct caller_runs *c = &pool->caller_runs;

	atomic_store(&c->turn, TURN_HELD);
	atomic_store(&c->full, &c->held);
	if (may_hold(pool))
		return true;
	atomic_store(&c->full, NULL);
	return false;
}

/* Until half of those that may wait are left. */
static void be_full(struct thread_pool *pool, uint64_t tail)
{
	struct ring *ring = atomic_load_explicit(&pool->queue.in, memory_order_acquire);
	struct caller_runs *c = &pool->caller_runs;
	uint64_t last = tail - c->backlog / 2 - 1;

	/* in an older ring it is not found there, and is counted again each time */
	atomic_store_explicit(&c->turn, last + 1, memory_order_relaxed);
	atomic_store_explicit(&c->full, &ring->cell[last & ring->mask], memory_order_release);
}

bool intro__thread_count_full(struct thread_pool *pool)
{
	struct caller_runs *c = &pool->caller_runs;
	uint64_t tail = intro__task_ring_pushed(&pool->queue);
	uint64_t backlog = intro__thread_backlog(pool), room;
	bool held = atomic_load_explicit(&c->turn, memory_order_relaxed) == TURN_HELD;

	/* with a ring a place there is no such place */
	if (pool->placement)
		return backlog >= c->backlog;
	if (backlog >= c->backlog) {
		be_full(pool, tail);
		return true;
	}
	if (!held && are_short(pool, tail, backlog) && hold(pool))
		return true;
	/* less by one that may wait in the slot */
	room = c->backlog - backlog;
	room -= intro__thread_has_slot(pool) && !atomic_load(&pool->slot.future);
	if (held && room > FEW_WHEN_SHORT)
		room = FEW_WHEN_SHORT;
	atomic_store_explicit(&c->turn, 0, memory_order_relaxed);
	atomic_store_explicit(&c->room, tail + room, memory_order_relaxed);
	atomic_store_explicit(&c->begin, intro__now(), memory_order_relaxed);
	atomic_store_explicit(&c->taken, tail - backlog, memory_order_relaxed);
	return false;
}
