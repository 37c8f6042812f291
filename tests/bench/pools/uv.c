/* SPDX-License-Identifier: BSD-2-Clause */
/* libuv's uv_queue_work. The loop runs until every request has come back to it. */
#include <uv.h>

#include "pools.h"

static uv_work_t *requests;
static void (*function)(size_t i);

static void call(uv_work_t *request)
{
	function((size_t)(request - requests));
}

static void after(uv_work_t *request, int status)
{
	if (status)
		abort();
}

void pool_run(size_t n, void (*fn)(size_t i))
{
	function = fn;
	for (size_t i = 0; i < n; i++) {
		pool_submits(i);
		if (uv_queue_work(uv_default_loop(), &requests[i], call, after))
			abort();
	}
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
	char workers[8];

	snprintf(workers, sizeof(workers), "%d", POOL_WORKERS);
	setenv("UV_THREADPOOL_SIZE", workers, 1);
	requests = calloc(POOL_BATCH, sizeof(*requests));
	if (!requests)
		return 1;
	pools_measure(argv + 1);
	free(requests);
	return 0;
}
