/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_THREADS_PRIVATE_H
#define INTRO_RUNTIME_THREADS_PRIVATE_H
/* threads_private.h - what thread-local data needs of the threads. */
#include <stdatomic.h>
#include <sys/queue.h>

#include <introspect/threads.h>

/*
 * A thread alone walks and changes its list. Who frees the local takes the value, and leaves the
 * node with local NULL: that thread uses it again, or frees it when it ends.
 */
struct local_value {
	_Atomic(struct intro_local *) local;
	void *value;
	LIST_ENTRY(local_value) of_thread;
	LIST_ENTRY(local_value) of_local; /* under the lock of the threads, like local */
};
LIST_HEAD(local_values, local_value);

void intro__threads_lock(void);
void intro__threads_unlock(void);

/* The caller's values; NULL and ENOMEM. */
struct local_values *intro__thread_locals(void);
/* As above, but NULL for a thread which has no handle yet. */
struct local_values *intro__thread_locals_known(void);

/* The calling thread ends, and these are its values. */
void intro__locals_end(struct local_values *values);
/* The values of a thread that fork left behind: no destructor is called. The lock is held. */
void intro__locals_abandon(struct local_values *values);

#endif
