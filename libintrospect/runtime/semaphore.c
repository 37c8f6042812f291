/* SPDX-License-Identifier: BSD-2-Clause */
/* semaphore.c - semaphore and event: a word, and how many sleep on it. */
#include "futex.h"
#include "locks_private.h"

/*
 * Who changes the word then looks at `sleepers`, and who sleeps adds himself there and then looks
 * at the word (the kernel does): both in the one order of seq_cst, so no wake-up is lost.
 */
struct semaphore {
	_Atomic uint32_t word; /* the value */
	_Atomic uint32_t sleepers;
	struct lock_tag tag;
	uint32_t most;
};
static_assert(sizeof(struct semaphore) <= sizeof(struct intro_semaphore), "struct intro_semaphore");

static struct semaphore *semaphore_of(struct intro_semaphore *semaphore)
{
	return (struct semaphore *)(void *)semaphore;
}

static int semaphore_init(struct semaphore *s, uint32_t value, uint32_t most, const char *name)
{
	if (value > most || !most)
		return -EINVAL;
	atomic_store_explicit(&s->word, value, memory_order_relaxed);
	atomic_store_explicit(&s->sleepers, 0, memory_order_relaxed);
	s->most = most;
	intro__tag_init(&s->tag, name);
	return 0;
}

int intro_semaphore_init(struct intro_semaphore *semaphore, uint32_t value, const char *name)
{
	return semaphore_init(semaphore_of(semaphore), value, INTRO_SEMAPHORE_MAX, name);
}

int intro_semaphore_init_bounded(struct intro_semaphore *semaphore, uint32_t value,
				 const char *name)
{
	if (value > INTRO_SEMAPHORE_MAX)
		return -EINVAL;
	return semaphore_init(semaphore_of(semaphore), value, value, name);
}

static bool take_one(struct semaphore *s)
{
	uint32_t value = atomic_load(&s->word);

	while (value)
		if (atomic_compare_exchange_weak(&s->word, &value, value - 1))
			return true;
	return false;
}

int intro_semaphore_acquire(struct intro_semaphore *semaphore, int64_t timeout_ns)
{
	struct semaphore *s = semaphore_of(semaphore);
	int64_t deadline;
	int err = 0;

	if (take_one(s))
		return 0;
	if (timeout_ns <= 0)
		return -ETIMEDOUT;
	deadline = intro__deadline(timeout_ns);
	atomic_fetch_add(&s->sleepers, 1);
	for (;;) {
		bool taken = take_one(s);

		if (taken || err) {
			atomic_fetch_sub(&s->sleepers, 1);
			return taken ? 0 : err;
		}
		err = intro__lock_sleep(&s->tag, &s->word, 0, deadline, FUTEX_BITSET_MATCH_ANY);
	}
}

int intro_semaphore_release(struct intro_semaphore *semaphore, uint32_t n)
{
	struct semaphore *s = semaphore_of(semaphore);
	uint32_t value = atomic_load(&s->word), most = s->most ? s->most : INTRO_SEMAPHORE_MAX;

	if (!n)
		return -EINVAL;
	do {
		if (n > most || value > most - n)
			return -EOVERFLOW;
	} while (!atomic_compare_exchange_weak(&s->word, &value, value + n));
	if (atomic_load(&s->sleepers))
		intro__futex_wake_some(&s->word, n, FUTEX_BITSET_MATCH_ANY);
	return 0;
}

uint32_t intro_semaphore_value(const struct intro_semaphore *semaphore)
{
	const struct semaphore *s = (const void *)semaphore;

	return atomic_load(&s->word);
}

/* --- event ----------------------------------------------------------------------------------- */

/* Counts changes, so that who slept while it was set for a moment knows: odd, it is set. */
struct event {
	_Atomic uint32_t word;
	_Atomic uint32_t sleepers;
	struct lock_tag tag;
};
static_assert(sizeof(struct event) <= sizeof(struct intro_event), "struct intro_event");

static struct event *event_of(struct intro_event *event)
{
	return (struct event *)(void *)event;
}

void intro_event_init(struct intro_event *event, const char *name)
{
	struct event *e = event_of(event);

	atomic_store_explicit(&e->word, 0, memory_order_relaxed);
	atomic_store_explicit(&e->sleepers, 0, memory_order_relaxed);
	intro__tag_init(&e->tag, name);
}

void intro_event_set(struct intro_event *event)
{
	struct event *e = event_of(event);
	uint32_t word = atomic_load(&e->word);

	do {
		if (word & 1)
			return;
	} while (!atomic_compare_exchange_weak(&e->word, &word, word + 1));
	if (atomic_load(&e->sleepers))
		intro__futex_wake(&e->word);
}

void intro_event_clear(struct intro_event *event)
{
	struct event *e = event_of(event);
	uint32_t word = atomic_load(&e->word);

	do {
		if (!(word & 1))
			return;
	} while (!atomic_compare_exchange_weak(&e->word, &word, word + 1));
}

bool intro_event_is_set(const struct intro_event *event)
{
	const struct event *e = (const void *)event;

	return atomic_load(&e->word) & 1;
}

int intro_event_wait(struct intro_event *event, int64_t timeout_ns)
{
	struct event *e = event_of(event);
	uint32_t word = atomic_load(&e->word);
	int64_t deadline;
	int err = 0;

	if (word & 1)
		return 0;
	if (timeout_ns <= 0)
		return -ETIMEDOUT;
	deadline = intro__deadline(timeout_ns);
	atomic_fetch_add(&e->sleepers, 1);
	while (atomic_load(&e->word) == word && !err)
		err = intro__lock_sleep(&e->tag, &e->word, word, deadline, FUTEX_BITSET_MATCH_ANY);
	atomic_fetch_sub(&e->sleepers, 1);
	return atomic_load(&e->word) == word ? err : 0;
}
