/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_JOIN_H
#define INTRO_RUNTIME_JOIN_H
/* join.h - calls that are no cancellation points: whoever makes them has things half done. */
#include <pthread.h>

/* Until intro__cancel_allow(was). */
static inline int intro__cancel_forbid(void)
{
	int was;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	return was;
}

static inline void intro__cancel_allow(int was)
{
	pthread_setcancelstate(was, &was);
}

static inline void intro__join(pthread_t thread)
{
	int was = intro__cancel_forbid();

	pthread_join(thread, NULL);
	intro__cancel_allow(was);
}

#endif
