/* SPDX-License-Identifier: BSD-2-Clause */
/* loop_timers.c - the timers of an event loop. See loop_timers.h. */
#include "loop_timers.h"

#include <stdbool.h>
#include <stdlib.h>

#include <introspect/future.h>

static bool is_before(const struct loop_timer *a, const struct loop_timer *b)
{
	return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void put(struct loop_timers *timers, uint32_t at, struct loop_timer timer)
{
	timers->heap[at] = timer;
	timers->slots[timer.slot].at = at;
}

/* The timer goes to `at`, or to where it belongs above or below. */
static void sift(struct loop_timers *timers, uint32_t at, struct loop_timer timer)
{
	uint32_t child;

	for (; at && is_before(&timer, &timers->heap[(at - 1) / 2]); at = (at - 1) / 2)
		put(timers, at, timers->heap[(at - 1) / 2]);
	while ((child = 2 * at + 1) < timers->n) {
		if (child + 1 < timers->n &&
		    is_before(&timers->heap[child + 1], &timers->heap[child]))
			child++;
		if (!is_before(&timers->heap[child], &timer))
			break;
		put(timers, at, timers->heap[child]);
		at = child;
	}
	put(timers, at, timer);
}

/* Room for one more, of which as many have a slot. */
static bool grow(struct loop_timers *timers)
{
	uint32_t room = timers->room ? 2 * timers->room : 16;
	struct loop_timer_slot *slots;
	struct loop_timer *heap;

	if (timers->n < timers->room)
		return true;
	if (room > UINT32_MAX / 4)
		return false;
	heap = realloc(timers->heap, room * sizeof(*heap));
	if (!heap)
		return false;
	timers->heap = heap;
	slots = realloc(timers->slots, room * sizeof(*slots));
	if (!slots)
		return false;
	timers->slots = slots;
	timers->room = room;
	return true;
}

static uint32_t take_slot(struct loop_timers *timers)
{
	uint32_t slot = timers->free;

	if (slot) {
		timers->free = timers->slots[slot - 1].at;
		return slot - 1;
	}
	slot = timers->slots_n++;
	timers->slots[slot].used = 0;
	return slot;
}

uint64_t intro__loop_timers_add(struct loop_timers *timers, int64_t due, struct call *call)
{
	struct loop_timer timer = {.due = due, .order = timers->order + 1, .call = call};

	if (!grow(timers))
		return 0;
	timers->order++;
	timer.slot = take_slot(timers);
	sift(timers, timers->n++, timer);
	return (uint64_t)timers->slots[timer.slot].used << 32 | (timer.slot + 1);
}

int64_t intro__loop_timers_next(const struct loop_timers *timers)
{
	return timers->n ? timers->heap[0].due : INTRO_FOREVER;
}

static struct call *take(struct loop_timers *timers, uint32_t at)
{
	struct loop_timer timer = timers->heap[at];
	struct loop_timer_slot *slot = &timers->slots[timer.slot];

	if (--timers->n != at)
		sift(timers, at, timers->heap[timers->n]);
	slot->used++;
	slot->at = timers->free;
	timers->free = timer.slot + 1;
	return timer.call;
}

struct call *intro__loop_timers_pop(struct loop_timers *timers)
{
	return timers->n ? take(timers, 0) : NULL;
}

struct call *intro__loop_timers_cancel(struct loop_timers *timers, uint64_t number)
{
	uint32_t slot = (uint32_t)number - 1, at;

	if (slot >= timers->slots_n || timers->slots[slot].used != number >> 32)
		return NULL;
	/* it may be free, and its number be guessed */
	at = timers->slots[slot].at;
	if (at >= timers->n || timers->heap[at].slot != slot)
		return NULL;
	return take(timers, at);
}

void intro__loop_timers_fini(struct loop_timers *timers)
{
	free(timers->heap);
	free(timers->slots);
}
