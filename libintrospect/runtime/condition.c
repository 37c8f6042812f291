/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * condition.c - a condition that wakes whom it means to, in the order of their coming.
 *
 * All sleep on one word, so that it has one address and a name. Each waits for one bit of 32: a
 * wake-up reaches those who are notified, and with more than 32 waiting some others, who
 * sleep again. The list of waiters is guarded by the lock; so a waiter's node, on its stack, is
 * good as long as the notifier has the lock.
 */
#include <sys/queue.h>

#include "futex.h"
#include "locks_private.h"

struct waiting {
	TAILQ_ENTRY(waiting) all;
	uint32_t bit;
	_Atomic bool notified;
};

TAILQ_HEAD(waiting_list, waiting);

struct condition {
	_Atomic uint32_t word; /* counts notifies */
	struct lock_tag tag;
	uint32_t tickets;
	struct intro_mutex *mutex; /* or NULL: */
	struct intro_recursive *recursive;
	struct waiting_list waiting;
};
static_assert(sizeof(struct condition) <= sizeof(struct intro_condition), "struct intro_condition");

static struct condition *condition_of(struct intro_condition *condition)
{
	return (struct condition *)(void *)condition;
}

static void init(struct condition *c, const char *name)
{
	atomic_store_explicit(&c->word, 0, memory_order_relaxed);
	intro__tag_init(&c->tag, name);
	c->tickets = 0;
	TAILQ_INIT(&c->waiting);
}

void intro_condition_init(struct intro_condition *condition, struct intro_mutex *mutex,
			  const char *name)
{
	struct condition *c = condition_of(condition);

	init(c, name);
	c->mutex = mutex;
	c->recursive = NULL;
}

void intro_condition_init_recursive(struct intro_condition *condition, struct intro_recursive *lock,
				    const char *name)
{
	struct condition *c = condition_of(condition);

	init(c, name);
	c->mutex = NULL;
	c->recursive = lock;
}

static bool held(const struct condition *c)
{
	return c->mutex ? intro_mutex_locked(c->mutex) : intro_recursive_count(c->recursive) > 0;
}

static uint32_t drop(struct condition *c)
{
	if (c->recursive)
		return intro__recursive_drop(c->recursive);
	intro_mutex_release(c->mutex);
	return 0;
}

static void take(struct condition *c, uint32_t count)
{
	if (c->recursive)
		intro__recursive_take(c->recursive, count);
	else
		intro_mutex_acquire(c->mutex, INTRO_FOREVER);
}

int intro__condition_wait_until(struct intro_condition *condition, int64_t deadline)
{
	struct condition *c = condition_of(condition);
	struct waiting self = {.bit = 1u << c->tickets++ % 32};
	uint32_t word, count;
	int err = 0;

	TAILQ_INSERT_TAIL(&c->waiting, &self, all);
	count = drop(c);
	for (;;) {
		/* before `notified`: a notify after this changes the word */
		word = atomic_load_explicit(&c->word, memory_order_acquire);
		if (atomic_load_explicit(&self.notified, memory_order_relaxed) || err)
			break;
		err = intro__lock_sleep(&c->tag, &c->word, word, deadline, self.bit);
	}
	take(c, count);
	/* with the lock nobody can notify any more */
	if (atomic_load_explicit(&self.notified, memory_order_relaxed))
		return 0;
	TAILQ_REMOVE(&c->waiting, &self, all);
	return err;
}

int intro_condition_wait(struct intro_condition *condition, int64_t timeout_ns)
{
	if (!held(condition_of(condition)))
		return -EPERM;
	return intro__condition_wait_until(condition, intro__deadline(timeout_ns));
}

int intro_condition_wait_for(struct intro_condition *condition, bool (*predicate)(void *arg),
			     void *arg, int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	int err = 0;

	if (!held(condition_of(condition)))
		return -EPERM;
	while (!predicate(arg)) {
		if (err)
			return err;
		err = intro__condition_wait_until(condition, deadline);
	}
	return 0;
}

uint32_t intro__condition_pick(struct intro_condition *condition, unsigned n)
{
	struct condition *c = condition_of(condition);
	struct waiting *w;
	uint32_t bits = 0;

	for (; n && (w = TAILQ_FIRST(&c->waiting)); n--) {
		TAILQ_REMOVE(&c->waiting, w, all);
		bits |= w->bit;
		atomic_store_explicit(&w->notified, true, memory_order_relaxed);
	}
	if (bits)
		atomic_fetch_add_explicit(&c->word, 1, memory_order_release);
	return bits;
}

void intro__condition_wake(struct intro_condition *condition, uint32_t bits)
{
	if (bits)
		intro__futex_wake_some(&condition_of(condition)->word, INT_MAX, bits);
}

int intro_condition_notify(struct intro_condition *condition, unsigned n)
{
	if (!held(condition_of(condition)))
		return -EPERM;
	intro__condition_wake(condition, intro__condition_pick(condition, n));
	return 0;
}

int intro_condition_notify_all(struct intro_condition *condition)
{
	return intro_condition_notify(condition, UINT32_MAX);
}
