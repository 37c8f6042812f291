/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_LOOP_TIMERS_H
#define INTRO_RUNTIME_LOOP_TIMERS_H
/*
 * loop_timers.h - the timers of an event loop: a heap, and where in it each is, so that one of many
 * is added, fired or cancelled in a time that hardly grows with them.
 */
#include <stddef.h>
#include <stdint.h>

struct call;

struct loop_timer {
	int64_t due;
	uint64_t order; /* of those that are due at the same time */
	struct call *call;
	uint32_t slot;
};

/* A timer's number is its slot's, and how often that was used before. */
struct loop_timer_slot {
	uint32_t used;
	uint32_t at; /* in the heap; of a free one: as loop_timers.free */
};

struct loop_timers {
	struct loop_timer *heap;
	struct loop_timer_slot *slots;
	uint32_t n, room, slots_n;
	uint32_t free; /* 1 + a free slot; 0: none */
	uint64_t order;
};

/* The number, which is never 0 and not soon used again; 0: no memory. */
uint64_t intro__loop_timers_add(struct loop_timers *timers, int64_t due, struct call *call);
/* When the next one is due; INTRO_FOREVER: there is none. */
int64_t intro__loop_timers_next(const struct loop_timers *timers);
/* The call of the next one, which is no more; NULL: there is none. */
struct call *intro__loop_timers_pop(struct loop_timers *timers);
/* The same of the one of this number. */
struct call *intro__loop_timers_cancel(struct loop_timers *timers, uint64_t number);
/* None is left. */
void intro__loop_timers_fini(struct loop_timers *timers);

#endif
