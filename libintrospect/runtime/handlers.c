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
