/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_SHARED_LOCK_H
#define INTRO_RUNTIME_SHARED_LOCK_H
/*
 * shared_lock.h - locking and sleeping in memory that processes share, any of which may be killed
 * at any moment.
 *
 * A tag is each process's own: the same word has another address in each. Sleeps are cut into
 * slices, after which the sleeper looks again: whoever should have woken it, or was woken in its
 * place, may be dead.
 */
#include <pthread.h>

#include "locks_private.h"

#define SHARED_SLICE_NS 200000000ll

/* Recursive; the mutex comes first, so its address is that of the word it sleeps on. */
struct shared_lock {
	pthread_mutex_t mutex;
	_Atomic uint32_t owner; /* a tid; or one that died with it, until it is taken again */
	uint32_t count;		/* the owner's */
};

/* 0 or -errno. */
int intro__shared_lock_init(struct shared_lock *lock);
/*
 * 0; -EOWNERDEAD: the caller has it, and who had it before died with it; -ETIMEDOUT; -EAGAIN: held
 * too often.
 */
int intro__shared_lock_take(struct shared_lock *lock, struct lock_tag *tag, int64_t timeout_ns);
/* 0; -EPERM: the calling thread has it not. */
int intro__shared_lock_drop(struct shared_lock *lock);

/* Sleeps while *word is `value`, for a slice at most. 0: look again; -ETIMEDOUT. */
int intro__shared_sleep(struct lock_tag *tag, _Atomic uint32_t *word, uint32_t value,
			int64_t deadline);
void intro__shared_wake(_Atomic uint32_t *word, uint32_t n);

/* --- blocks of anonymous memory -------------------------------------------------------------- */

/* A memfd of that many bytes which can neither shrink nor grow, or -errno. */
int intro__shared_block(const char *name, size_t size);
/* Maps all of such a descriptor, whoever made it; -EINVAL when its size could change. */
int intro__shared_map(int fd, void **data, size_t *size);

#endif
