/* SPDX-License-Identifier: BSD-2-Clause */
/* locks.c - mutex, recursive lock, and the names of all locks. */
#include <pthread.h>

#include <introspect/mark.h>

#include "futex.h"
#include "locks_private.h"
#include "spin.h"

/* How long a mutex is looked at before its waiter sleeps, in pauses: about 2 us. */
#define SPINS 40

void intro__tag_init(struct lock_tag *tag, const char *name)
{
	tag->name = intro_mark_name(name);
	atomic_store_explicit(&tag->told, 0, memory_order_relaxed);
}

static int sleep_until(_Atomic uint32_t *word, uint32_t value, int64_t deadline, uint32_t bits)
{
	return bits ? intro__futex_wait_bits(word, value, deadline, bits)
		    : intro__futex_wait_lock(word, value, deadline);
}

int intro__lock_sleep(struct lock_tag *tag, _Atomic uint32_t *word, uint32_t value,
		      int64_t deadline, uint32_t bits)
{
	int64_t soon;

	if (!tag->name || atomic_load_explicit(&tag->told, memory_order_relaxed))
		return sleep_until(word, value, deadline, bits);
	/* told in the middle of the wait, which may have no end */
	soon = intro__now() + INTRO_LOCK_TOLD_NS;
	if (deadline <= soon)
		return sleep_until(word, value, deadline, bits);
	if (sleep_until(word, value, soon, bits) == -ETIMEDOUT &&
	    !atomic_exchange_explicit(&tag->told, 1, memory_order_relaxed))
		intro_mark_lock(word, tag->name);
	return 0;
}

/* --- mutex ----------------------------------------------------------------------------------- */

static struct mutex *mutex_of(struct intro_mutex *mutex)
{
	return (struct mutex *)(void *)mutex;
}

void intro_mutex_init(struct intro_mutex *mutex, const char *name)
{
	struct mutex *m = mutex_of(mutex);

	atomic_store_explicit(&m->word, MUTEX_FREE, memory_order_relaxed);
	intro__tag_init(&m->tag, name);
}

static inline bool try_take(struct mutex *m)
{
	uint32_t word = MUTEX_FREE;

	return atomic_compare_exchange_strong_explicit(&m->word, &word, MUTEX_HELD,
						       memory_order_acquire, memory_order_relaxed);
}

static __attribute__((noinline)) int take_slowly(struct mutex *m, int64_t timeout_ns)
{
	int64_t deadline;
	int err = 0;

	if (timeout_ns <= 0)
		return -ETIMEDOUT;
	/* not while others sleep: they come first */
	for (int i = 0; i < SPINS; i++) {
		uint32_t word = atomic_load_explicit(&m->word, memory_order_relaxed);

		if (word == MUTEX_WAITED_FOR)
			break;
		if (word == MUTEX_FREE && try_take(m))
			return 0;
		pause_cpu();
	}
	deadline = intro__deadline(timeout_ns);
	/* who takes it here does not know who else waits, and leaves it WAITED_FOR */
	while (atomic_exchange_explicit(&m->word, MUTEX_WAITED_FOR, memory_order_acquire) !=
	       MUTEX_FREE) {
		if (err)
			return err;
		err = intro__lock_sleep(&m->tag, &m->word, MUTEX_WAITED_FOR, deadline, 0);
	}
	return 0;
}

static inline int mutex_take(struct mutex *m, int64_t timeout_ns)
{
	return try_take(m) ? 0 : take_slowly(m, timeout_ns);
}

static inline int mutex_drop(struct mutex *m)
{
	uint32_t word = atomic_exchange_explicit(&m->word, MUTEX_FREE, memory_order_release);

	if (word == MUTEX_WAITED_FOR)
		intro__futex_wake_some(&m->word, 1, FUTEX_BITSET_MATCH_ANY);
	return word == MUTEX_FREE ? -EPERM : 0;
}

int intro_mutex_acquire(struct intro_mutex *mutex, int64_t timeout_ns)
{
	return mutex_take(mutex_of(mutex), timeout_ns);
}

int intro_mutex_release(struct intro_mutex *mutex)
{
	return mutex_drop(mutex_of(mutex));
}

bool intro_mutex_locked(const struct intro_mutex *mutex)
{
	const struct mutex *m = (const void *)mutex;

	return atomic_load_explicit(&m->word, memory_order_relaxed) != MUTEX_FREE;
}

/* --- recursive lock -------------------------------------------------------------------------- */

static struct recursive *recursive_of(struct intro_recursive *lock)
{
	return (struct recursive *)(void *)lock;
}

/* Nobody but the owner can find himself there. */
static inline bool is_mine(const struct recursive *r)
{
	return atomic_load_explicit(&r->owner, memory_order_relaxed) == (uint64_t)pthread_self();
}

void intro_recursive_init(struct intro_recursive *lock, const char *name)
{
	struct recursive *r = recursive_of(lock);

	atomic_store_explicit(&r->mutex.word, MUTEX_FREE, memory_order_relaxed);
	intro__tag_init(&r->mutex.tag, name);
	atomic_store_explicit(&r->owner, 0, memory_order_relaxed);
	r->count = 0;
}

int intro_recursive_acquire(struct intro_recursive *lock, int64_t timeout_ns)
{
	struct recursive *r = recursive_of(lock);
	int err;

	if (is_mine(r)) {
		if (r->count == UINT32_MAX)
			return -EAGAIN;
		r->count++;
		return 0;
	}
	err = mutex_take(&r->mutex, timeout_ns);
	if (err)
		return err;
	atomic_store_explicit(&r->owner, (uint64_t)pthread_self(), memory_order_relaxed);
	r->count = 1;
	return 0;
}

int intro_recursive_release(struct intro_recursive *lock)
{
	struct recursive *r = recursive_of(lock);

	if (!is_mine(r))
		return -EPERM;
	if (--r->count)
		return 0;
	atomic_store_explicit(&r->owner, 0, memory_order_relaxed);
	return mutex_drop(&r->mutex);
}

uint32_t intro_recursive_count(const struct intro_recursive *lock)
{
	const struct recursive *r = (const void *)lock;

	return is_mine(r) ? r->count : 0;
}

uint32_t intro__recursive_drop(struct intro_recursive *lock)
{
	struct recursive *r = recursive_of(lock);
	uint32_t count = r->count;

	r->count = 0;
	atomic_store_explicit(&r->owner, 0, memory_order_relaxed);
	mutex_drop(&r->mutex);
	return count;
}

void intro__recursive_take(struct intro_recursive *lock, uint32_t count)
{
	struct recursive *r = recursive_of(lock);

	intro_recursive_acquire(lock, INTRO_FOREVER);
	r->count = count;
}
