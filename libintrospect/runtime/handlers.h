/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_HANDLERS_H
#define INTRO_RUNTIME_HANDLERS_H
/*
 * handlers.h - cleanup handlers that call functions of the program's, which may end the thread
 * again.
 *
 * A handler that runs as its thread ends (pthread_exit, pthread_cancel) is still the innermost one
 * to the C library, but for those that the program's function had pushed: they are gone with its
 * frames, and were not popped. So a handler first makes itself the innermost one; who ends
 * the thread again in it comes back to its begin. It is to go on from there.
 */
#include <pthread.h>

struct handlers {
	__pthread_unwind_buf_t at;
};

/* Directly after pthread_cleanup_push: the handlers that there are. */
void intro__handlers_save(struct handlers *handlers);
/* In the handler: there are no others any more. */
void intro__handlers_restore(struct handlers *handlers);

/* Calls fn until it returns: again, when the thread is ended in it, which then ends after that. */
void intro__see_through(void (*fn)(void *arg), void *arg);

#endif
