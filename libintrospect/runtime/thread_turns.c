/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread_turns.c - a worker stands back where the others are faster without it.
 *
 * Each pop takes two lines, the front of the queue and the cell, from whoever popped last. From
 * another CPU each takes 50 to 200 ns on a virtual machine, as the host places it, and a short task
 * less: two workers that pop in turn do as little as a fifth of what one does alone. To pop many
 * at once would help, too. But then tasks do not begin in the order in which they were submitted,
 * and one that waits for the next, which works with two workers, may wait for ever: the next is
 * behind it.
 *
 * So a worker judges now and then: it compares how far the front of the queue has come, by all,
 * with how far it comes while this one only looks. It goes on looking as long as that is clearly
 * more, and is back within PERIOD_NS when it is not: others have got longer tasks, or wait for
 * something. The less it has helped, the more rarely a worker tries it.
 */
#include "spin.h"
#include "thread_private.h"

/* Pops from one judgement to the next: more, the less standing back has helped. */
#define APART_LEAST 16
#define APART_MOST 1024

/* What one does alone in so long is short, its pop included; longer tasks are worth the lines. */
#define SHORT_NS 100
/* Where all together take longer for one, it is not for the lines. */
#define CONTENDED_NS 500

/* So many wait: fewer are gone before it is back. */
#define BACKLOG_LEAST 32

/* How long others are looked at, the time that they are given to get the lines included. */
#define PERIOD_NS 2000
/* This worker has lost its CPU, maybe to them: that tells nothing. */
#define PERIOD_MOST_NS 8000
/* So many times as fast as all together. */
#define GAIN 3
#define GAIN_DIVISOR 2
/* After so long it is time to see again how fast all together are. */
#define STAND_NS 200000

#define PAUSES_A_LOOK 16

/* What happened between two looks. */
struct period {
	uint64_t pops;
	int64_t ns;
};

static struct period watch(struct thread_pool *pool)
{
	int64_t begin = intro__now(), now;
	uint64_t place = intro__task_ring_popped(&pool->queue);

	do {
		for (int i = 0; i < PAUSES_A_LOOK; i++)
			pause_cpu();
		now = intro__now();
	} while (now - begin < PERIOD_NS);
	place = intro__task_ring_popped(&pool->queue) - place;
	return (struct period){.pops = place, .ns = intro__now() - begin};
}

static bool pays(const struct period *alone, const struct period *all)
{
	return alone->pops * SHORT_NS >= (uint64_t)alone->ns &&
	       GAIN_DIVISOR * alone->pops * (uint64_t)all->ns >=
		       GAIN * all->pops * (uint64_t)alone->ns;
}

/* true: the pool did better than with this worker. */
static bool stand_back(struct thread_pool *pool, const struct period *all)
{
	int64_t end = intro__now() + STAND_NS;
	struct period alone;
	bool paid = false;

	do {
		/* others may want the CPU, among them those who are to be faster */
		sched_yield();
		alone = watch(pool);
		if (alone.ns >= PERIOD_MOST_NS)
			continue;
		if (!pays(&alone, all))
			return paid;
		paid = true;
	} while (intro__now() < end && intro__task_ring_may_pop(&pool->queue));
	return paid;
}

void intro__thread_judge(struct thread_pool *pool, struct turns *turns)
{
	uint64_t place = intro__task_ring_popped(&pool->queue);
	int64_t now = intro__now();
	struct period all = {.pops = place - turns->place, .ns = now - turns->since};

	if (!turns->apart)
		turns->apart = APART_LEAST;
	/* not where it is all but alone, nor where it is to look for the next task */
	if (turns->since && all.pops > turns->apart + turns->apart / 4 &&
	    all.ns < (int64_t)all.pops * CONTENDED_NS &&
	    intro__task_ring_length(&pool->queue) >= BACKLOG_LEAST) {
		if (stand_back(pool, &all))
			turns->apart = APART_LEAST;
		else if (turns->apart < APART_MOST)
			turns->apart *= 2;
		place = intro__task_ring_popped(&pool->queue);
		now = intro__now();
	}
	turns->left = turns->apart;
	turns->place = place;
	turns->since = now;
}
