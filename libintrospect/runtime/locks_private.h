/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_LOCKS_PRIVATE_H
#define INTRO_RUNTIME_LOCKS_PRIVATE_H
/*
 * locks_private.h - what the locks are made of. The word that they sleep on comes first in each, so
 * it is aligned to 8 bytes: a tracer tells conditions apart by that much.
 */
#include <assert.h>
#include <stdatomic.h>

#include <introspect/locks.h>

/* What a lock is called. */
struct lock_tag {
	uint32_t name; /* intro_mark_name; 0: none */
	_Atomic uint32_t told;
};

struct mutex {
	_Atomic uint32_t word; /* MUTEX_* */
	struct lock_tag tag;
};
enum { MUTEX_FREE, MUTEX_HELD, MUTEX_WAITED_FOR };

struct recursive {
	struct mutex mutex;
	/* pthread_self: stays what it is over a fork. Only the owner writes it. */
	_Atomic uint64_t owner;
	uint32_t count; /* the owner's */
};

static_assert(sizeof(struct mutex) <= sizeof(struct intro_mutex), "struct intro_mutex");
static_assert(sizeof(struct recursive) <= sizeof(struct intro_recursive), "struct intro_recursive");

void intro__tag_init(struct lock_tag *tag, const char *name);

/*
 * Sleeps while *word is `value`: 0, or -ETIMEDOUT. bits 0: as for a lock; else as for a condition,
 * until one of the bits is woken. Tells the tag when that takes long.
 */
int intro__lock_sleep(struct lock_tag *tag, _Atomic uint32_t *word, uint32_t value,
		      int64_t deadline, uint32_t bits);

/*
 * The two halves of a notify: whom to wake, with the lock held, and waking them, which may be after
 * it is released, so that they find it free.
 */
uint32_t intro__condition_pick(struct intro_condition *condition, unsigned n);
void intro__condition_wake(struct intro_condition *condition, uint32_t bits);

/* intro_condition_wait by a deadline, of a lock that is held. */
int intro__condition_wait_until(struct intro_condition *condition, int64_t deadline);

/* Gives up the whole of a recursive lock, and takes it back. */
uint32_t intro__recursive_drop(struct intro_recursive *lock);
void intro__recursive_take(struct intro_recursive *lock, uint32_t count);

#endif
