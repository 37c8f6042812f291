/* SPDX-License-Identifier: BSD-2-Clause */
/* Ours: threads, each task with a future of its own. */
#include <introspect/executor.h>

#include "pools.h"

static struct intro_executor *pool;
static struct intro_future *futures, **list;

static int call(struct intro_call *c)
{
	((void (*)(size_t))c->arg)(c->size);
	return 0;
}

void pool_run(size_t n, void (*fn)(size_t i))
{
	for (size_t i = 0; i < n; i++) {
		intro_future_init(&futures[i]);
		if (intro_executor_submit(pool, &futures[i], call, (const void *)fn, i))
			abort();
	}
	if (intro_future_wait(list, n, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL) != (int)n)
		abort();
	for (size_t i = 0; i < n; i++)
		intro_future_destroy(&futures[i]);
}

int main(int argc, char **argv)
{
	struct intro_executor_options options = {.size = sizeof(options), .workers = POOL_WORKERS};

	if (argc > 1) {
		options.workers = POOL_WORKERS - 1;
		options.waiters_help = true;
	}

	futures = aligned_alloc(64, POOL_BATCH * sizeof(*futures));
	list = calloc(POOL_BATCH, sizeof(*list));
	pool = intro_thread_executor_new(&options);
	if (!futures || !list || !pool)
		return 1;
	for (size_t i = 0; i < POOL_BATCH; i++)
		list[i] = &futures[i];
	pools_measure();
	intro_executor_free(pool);
	free(futures);
	free(list);
	return 0;
}
