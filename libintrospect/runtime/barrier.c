/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * barrier.c - a barrier that can break. Each who waits has a node, on its stack, in which its
 * fate is written under the mutex; it leaves only with the mutex, and after it has read that. So
 * those of one round and those who come for the next never meet.
 */
#include <pthread.h>
#include <sys/queue.h>

#include "futex.h"
#include "locks_private.h"

enum fate { FATE_OPEN, FATE_PASSED, FATE_BROKEN };

struct party {
	LIST_ENTRY(party) all;
	enum fate fate;
};

LIST_HEAD(parties, party);

struct barrier {
	_Atomic uint32_t word; /* changes whenever somebody's fate does, or an action ends */
	struct lock_tag tag;
	uint32_t parties;
	struct intro_mutex mutex; /* guards what follows */
	uint32_t waiting;
	bool broken;
	bool acting; /* all are there, and the last one is in the action */
	struct parties all;
	intro_barrier_action action;
	void *arg;
};
static_assert(sizeof(struct barrier) <= sizeof(struct intro_barrier), "struct intro_barrier");

static struct barrier *barrier_of(struct intro_barrier *barrier)
{
	return (struct barrier *)(void *)barrier;
}

static void lock(struct barrier *b)
{
	intro_mutex_acquire(&b->mutex, INTRO_FOREVER);
}

static void unlock(struct barrier *b)
{
	intro_mutex_release(&b->mutex);
}

int intro_barrier_init(struct intro_barrier *barrier, uint32_t parties, intro_barrier_action action,
		       void *arg, const char *name)
{
	struct barrier *b = barrier_of(barrier);

	if (!parties || parties > INT32_MAX)
		return -EINVAL;
	atomic_store_explicit(&b->word, 0, memory_order_relaxed);
	intro__tag_init(&b->tag, name);
	b->parties = parties;
	intro_mutex_init(&b->mutex, NULL);
	b->waiting = 0;
	b->broken = b->acting = false;
	LIST_INIT(&b->all);
	b->action = action;
	b->arg = arg;
	return 0;
}

static void wake(struct barrier *b)
{
	atomic_fetch_add_explicit(&b->word, 1, memory_order_release);
	intro__futex_wake(&b->word);
}

/* The mutex is held. */
static void settle(struct barrier *b, enum fate fate)
{
	struct party *p;

	while ((p = LIST_FIRST(&b->all))) {
		LIST_REMOVE(p, all);
		p->fate = fate;
	}
	b->waiting = 0;
	wake(b);
}

/* The mutex is held, and is so on return: a look at the word, a sleep. */
static int sleep_once(struct barrier *b, int64_t deadline)
{
	uint32_t word = atomic_load_explicit(&b->word, memory_order_acquire);
	int err;

	unlock(b);
	err = intro__lock_sleep(&b->tag, &b->word, word, deadline, FUTEX_BITSET_MATCH_ANY);
	lock(b);
	return err;
}

struct passing {
	struct barrier *b;
	struct party *self;
	int err; /* of the action */
};

/* The mutex is held. */
static void pass_or_break(const struct passing *p)
{
	struct barrier *b = p->b;

	b->acting = false;
	if (p->err && p->self->fate == FATE_OPEN)
		b->broken = true;
	/* aborted or reset by the action, or during it: those are gone, and others may be here */
	if (p->self->fate != FATE_OPEN)
		wake(b);
	else
		settle(b, p->err ? FATE_BROKEN : FATE_PASSED);
}

/* In the action. */
static void thread_ends(void *arg)
{
	struct passing *p = arg;

	p->err = -EPIPE;
	lock(p->b);
	pass_or_break(p);
	unlock(p->b);
}

/* The mutex is held. The last one has come. */
static int pass(struct barrier *b, struct party *self)
{
	struct passing p = {.b = b, .self = self};

	if (b->action) {
		b->acting = true;
		unlock(b);
		pthread_cleanup_push(thread_ends, &p);
		p.err = b->action(b->arg);
		pthread_cleanup_pop(0);
		lock(b);
	}
	pass_or_break(&p);
	return p.err < 0 ? p.err : self->fate == FATE_PASSED ? 0 : -EPIPE;
}

/* The mutex is held. */
static int wait_for_others(struct barrier *b, struct party *self, int64_t deadline)
{
	int err = 0;

	while (self->fate == FATE_OPEN) {
		/* when all are there, nobody is late any more */
		if (err && !b->acting) {
			b->broken = true;
			settle(b, FATE_BROKEN);
			return err;
		}
		err = sleep_once(b, b->acting ? INTRO_FOREVER : deadline);
	}
	return self->fate == FATE_PASSED ? 0 : -EPIPE;
}

int intro_barrier_wait(struct intro_barrier *barrier, int64_t timeout_ns)
{
	struct barrier *b = barrier_of(barrier);
	int64_t deadline = intro__deadline(timeout_ns);
	struct party self = {.fate = FATE_OPEN};
	int index, err = 0;

	lock(b);
	while (b->acting && !err) /* one more than there are parties: for the next round */
		err = sleep_once(b, deadline);
	if (b->broken)
		err = -EPIPE;
	if (err) {
		unlock(b);
		return err;
	}
	index = (int)b->waiting++;
	LIST_INSERT_HEAD(&b->all, &self, all);
	if (b->waiting == b->parties)
		err = pass(b, &self);
	else
		err = wait_for_others(b, &self, deadline);
	unlock(b);
	return err ? err : index;
}

void intro_barrier_abort(struct intro_barrier *barrier)
{
	struct barrier *b = barrier_of(barrier);

	lock(b);
	b->broken = true;
	settle(b, FATE_BROKEN);
	unlock(b);
}

void intro_barrier_reset(struct intro_barrier *barrier)
{
	struct barrier *b = barrier_of(barrier);

	lock(b);
	b->broken = false;
	settle(b, FATE_BROKEN);
	unlock(b);
}

bool intro_barrier_broken(struct intro_barrier *barrier)
{
	struct barrier *b = barrier_of(barrier);
	bool broken;

	lock(b);
	broken = b->broken;
	unlock(b);
	return broken;
}

uint32_t intro_barrier_waiting(struct intro_barrier *barrier)
{
	struct barrier *b = barrier_of(barrier);
	uint32_t waiting;

	lock(b);
	waiting = b->acting ? b->parties : b->waiting;
	unlock(b);
	return waiting;
}
