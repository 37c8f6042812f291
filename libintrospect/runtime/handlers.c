/* SPDX-License-Identifier: BSD-2-Clause */
/* handlers.c - which cleanup handlers a thread has. See handlers.h. */
#include "handlers.h"

void intro__handlers_save(struct handlers *handlers)
{
	/* keeps where the list of them begins */
	__pthread_register_cancel(&handlers->at);
	__pthread_unregister_cancel(&handlers->at);
}

void intro__handlers_restore(struct handlers *handlers)
{
	__pthread_unregister_cancel(&handlers->at);
}

struct errand {
	void (*fn)(void *arg);
	void *arg;
	struct handlers handlers;
};

static void go_on(void *arg)
{
	struct errand *errand = arg;

	intro__handlers_restore(&errand->handlers);
	errand->fn(errand->arg);
}

void intro__see_through(void (*fn)(void *arg), void *arg)
{
	struct errand errand = {.fn = fn, .arg = arg};

	pthread_cleanup_push(go_on, &errand);
	intro__handlers_save(&errand.handlers);
	fn(arg);
	pthread_cleanup_pop(0);
}
