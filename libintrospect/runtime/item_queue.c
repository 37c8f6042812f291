/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * item_queue.c - queues of a program's items, between its threads.
 *
 * One lock, three conditions, as in Python. Whoever is to be woken is picked under the lock, and
 * woken after it is released. Marks are written under the lock: their order is that of the changes.
 */
#include <stdio.h>
#include <stdlib.h>

#include <introspect/queue.h>

#include "futex.h"
#include "in_hand.h"
#include "locks_private.h"
#include "marks_private.h"
#include "options.h"

#define NAME_BYTES INTRO_DEF_BYTES
#define FIRST_ROOM 16

struct entry {
	int64_t priority;
	uint64_t serial; /* of equals the first to come is the first to go */
	uint64_t task;	 /* 0: not marked */
	void *item;
};

/* A ring; a stack or a heap begins at its 0. */
struct items {
	enum intro_queue_kind kind;
	struct entry *entries;
	size_t first, n, room; /* room: a power of two */
};

struct intro_queue {
	struct intro_mutex lock;
	struct intro_condition not_empty, not_full, done;
	struct items items;
	size_t capacity;
	uint64_t serials;
	uint64_t unfinished; /* put, and not done */
	bool shut_down;
	bool marked;
	uint32_t pool;
	void (*dropped)(void *item, void *arg);
	void *arg;
};

/* --- items ----------------------------------------------------------------------------------- */

static struct entry *ring_at(struct items *q, size_t i)
{
	return &q->entries[(q->first + i) & (q->room - 1)];
}

static int make_room(struct items *q)
{
	size_t room = q->room ? 2 * q->room : FIRST_ROOM;
	struct entry *entries;

	if (q->n < q->room)
		return 0;
	if (room > SIZE_MAX / sizeof(*entries))
		return -ENOMEM;
	entries = malloc(room * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < q->n; i++)
		entries[i] = *ring_at(q, i);
	free(q->entries);
	q->entries = entries;
	q->first = 0;
	q->room = room;
	return 0;
}

static bool goes_before(const struct entry *a, const struct entry *b)
{
	return a->priority != b->priority ? a->priority < b->priority : a->serial < b->serial;
}

static void heap_push(struct entry *heap, size_t n, struct entry entry)
{
	size_t at = n;

	for (; at && goes_before(&entry, &heap[(at - 1) / 2]); at = (at - 1) / 2)
		heap[at] = heap[(at - 1) / 2];
	heap[at] = entry;
}

/* n: how many are left, beside the first, which is overwritten. */
static void heap_pop(struct entry *heap, size_t n)
{
	struct entry entry = heap[n];
	size_t at = 0, child;

	for (; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && goes_before(&heap[child + 1], &heap[child]))
			child++;
		if (!goes_before(&heap[child], &entry))
			break;
		heap[at] = heap[child];
	}
	heap[at] = entry;
}

static void push(struct items *q, struct entry entry)
{
	if (q->kind == INTRO_QUEUE_PRIORITY)
		heap_push(q->entries, q->n, entry);
	else
		*ring_at(q, q->n) = entry;
	q->n++;
}

static struct entry pop(struct items *q)
{
	struct entry entry;

	q->n--;
	switch (q->kind) {
	case INTRO_QUEUE_LIFO:
		return *ring_at(q, q->n);
	case INTRO_QUEUE_PRIORITY:
		entry = q->entries[0];
		heap_pop(q->entries, q->n);
		return entry;
	default:
		entry = *ring_at(q, 0);
		q->first = (q->first + 1) & (q->room - 1);
		return entry;
	}
}

/* --- life ------------------------------------------------------------------------------------ */

static void name_condition(struct intro_queue *q, struct intro_condition *condition,
			   const char *name, const char *what)
{
	char whole[NAME_BYTES];

	/* `what` tells one from another: the name is cut instead */
	snprintf(whole, sizeof(whole), "%.*s %s", NAME_BYTES - 12, name, what);
	intro_condition_init(condition, &q->lock, whole);
}

struct intro_queue *intro_queue_new(const struct intro_queue_options *given)
{
	struct intro_queue_options options = {.size = sizeof(options)};
	struct intro_queue *q;
	const char *name;
	int err = given ? intro__options_take(&options, sizeof(options), given) : 0;

	if (!err && (unsigned)options.kind > INTRO_QUEUE_PRIORITY)
		err = -EINVAL;
	if (err) {
		errno = -err;
		return NULL;
	}
	q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	name = options.name && *options.name ? options.name : "queue";
	intro_mutex_init(&q->lock, name);
	name_condition(q, &q->not_empty, name, "not empty");
	name_condition(q, &q->not_full, name, "not full");
	name_condition(q, &q->done, name, "done");
	q->capacity = options.capacity;
	q->items.kind = options.kind;
	q->dropped = options.dropped;
	q->arg = options.arg;
	q->marked = options.marked;
	if (q->marked)
		q->pool = intro__pool_claim(name, 0, INTRO_POOL_MARKED);
	return q;
}

void intro_queue_free(struct intro_queue *q)
{
	if (!q)
		return;
	intro_queue_shutdown(q, true);
	if (q->marked)
		intro__pool_release(q->pool);
	free(q);
}

/* --- put and get ----------------------------------------------------------------------------- */

static void lock(struct intro_queue *q)
{
	intro_mutex_acquire(&q->lock, INTRO_FOREVER);
}

static void unlock(struct intro_queue *q)
{
	intro_mutex_release(&q->lock);
}

static bool is_full(const struct intro_queue *q)
{
	return q->capacity && q->items.n >= q->capacity;
}

/* The lock is held. */
static int wait_for_room(struct intro_queue *q, int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	int err = 0;

	while (!q->shut_down && is_full(q)) {
		if (timeout_ns <= 0 || err)
			return -ETIMEDOUT;
		err = intro__condition_wait_until(&q->not_full, deadline);
	}
	return q->shut_down ? -ESHUTDOWN : make_room(&q->items);
}

static int put(struct intro_queue *q, void *item, int64_t priority, int64_t timeout_ns)
{
	struct entry entry = {.priority = priority, .item = item};
	uint32_t bits = 0;
	int err;

	lock(q);
	err = wait_for_room(q, timeout_ns);
	if (!err) {
		entry.serial = ++q->serials;
		if (q->marked) {
			entry.task = intro_mark_task();
			intro_mark_submit(entry.task, q->pool, 0);
		}
		push(&q->items, entry);
		q->unfinished++;
		bits = intro__condition_pick(&q->not_empty, 1);
	}
	unlock(q);
	intro__condition_wake(&q->not_empty, bits);
	return err;
}

int intro_queue_put(struct intro_queue *q, void *item, int64_t timeout_ns)
{
	return put(q, item, 0, timeout_ns);
}

int intro_queue_put_priority(struct intro_queue *q, void *item, int64_t priority,
			     int64_t timeout_ns)
{
	return q->items.kind == INTRO_QUEUE_PRIORITY ? put(q, item, priority, timeout_ns) : -EINVAL;
}

/* The lock is held. */
static int wait_for_item(struct intro_queue *q, int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	int err = 0;

	while (!q->items.n) {
		if (q->shut_down)
			return -ESHUTDOWN;
		if (timeout_ns <= 0 || err)
			return -ETIMEDOUT;
		err = intro__condition_wait_until(&q->not_empty, deadline);
	}
	return 0;
}

int intro_queue_get(struct intro_queue *q, void **item, int64_t timeout_ns)
{
	struct entry entry;
	uint32_t bits = 0;
	int err;

	if (q->marked)
		intro__hand_end(q->pool);
	lock(q);
	err = wait_for_item(q, timeout_ns);
	if (!err) {
		entry = pop(&q->items);
		*item = entry.item;
		if (entry.task)
			intro__hand_start(q->pool, entry.task);
		bits = intro__condition_pick(&q->not_full, 1);
	}
	unlock(q);
	intro__condition_wake(&q->not_full, bits);
	return err;
}

size_t intro_queue_size(struct intro_queue *q)
{
	size_t n;

	lock(q);
	n = q->items.n;
	unlock(q);
	return n;
}

bool intro_queue_empty(struct intro_queue *q)
{
	return intro_queue_size(q) == 0;
}

bool intro_queue_full(struct intro_queue *q)
{
	bool full;

	lock(q);
	full = is_full(q);
	unlock(q);
	return full;
}

/* --- done ------------------------------------------------------------------------------------ */

int intro_queue_task_done(struct intro_queue *q)
{
	uint32_t bits = 0;
	int err = 0;

	if (q->marked)
		intro__hand_end(q->pool);
	lock(q);
	if (!q->unfinished)
		err = -EINVAL;
	else if (!--q->unfinished)
		bits = intro__condition_pick(&q->done, UINT32_MAX);
	unlock(q);
	intro__condition_wake(&q->done, bits);
	return err;
}

int intro_queue_join(struct intro_queue *q, int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	int err = 0;

	lock(q);
	while (q->unfinished) {
		if (timeout_ns <= 0 || err) {
			unlock(q);
			return -ETIMEDOUT;
		}
		err = intro__condition_wait_until(&q->done, deadline);
	}
	unlock(q);
	return 0;
}

/* In the order in which gets would have had them. */
static void discard(const struct intro_queue *q, struct items *items)
{
	while (items->n) {
		struct entry entry = pop(items);

		if (entry.task)
			intro_mark_cancel(entry.task, q->pool);
		if (q->dropped)
			q->dropped(entry.item, q->arg);
	}
	free(items->entries);
}

void intro_queue_shutdown(struct intro_queue *q, bool immediate)
{
	struct items discarded = {.n = 0};

	lock(q);
	q->shut_down = true;
	if (immediate) {
		discarded = q->items;
		q->items = (struct items){.kind = discarded.kind};
		/* more may have been called done than were got */
		q->unfinished -= discarded.n < q->unfinished ? discarded.n : q->unfinished;
		if (!q->unfinished)
			intro_condition_notify_all(&q->done);
	}
	intro_condition_notify_all(&q->not_empty);
	intro_condition_notify_all(&q->not_full);
	unlock(q);
	discard(q, &discarded);
}

bool intro_queue_is_shutdown(struct intro_queue *q)
{
	bool shut_down;

	lock(q);
	shut_down = q->shut_down;
	unlock(q);
	return shut_down;
}

uint32_t intro_queue_pool(const struct intro_queue *q)
{
	return q->pool;
}

uint64_t intro_queue_task(const struct intro_queue *q)
{
	return q->marked ? intro__hand_task(q->pool) : 0;
}
