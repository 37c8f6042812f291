/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ours: processes. Tasks with 8 bytes, one by one and as a process pool's map; large payloads, and
 * large results. Next to them what a copy takes that is nothing else.
 */
#include <string.h>

#include <introspect/process_pool.h>

#include "pools.h"

#define TASKS 100000
#define SINGLES 2000
#define LARGE ((size_t)64 << 20)
#define LARGE_TASKS 8
#define MEDIUM ((size_t)1 << 20)
#define MEDIUM_TASKS 256

static struct intro_executor *pool;
static struct intro_future *futures, **list;

static int square(struct intro_call *call)
{
	uint64_t x;

	memcpy(&x, call->arg, sizeof(x));
	x *= x;
	return intro_call_return(call, &x, sizeof(x));
}

static int ignore(struct intro_call *call)
{
	return 0;
}

static char *large;

static int give_back(struct intro_call *call)
{
	size_t size;

	memcpy(&size, call->arg, sizeof(size));
	return intro_call_return(call, large, size);
}

static int stamp(struct intro_call *call)
{
	uint64_t now = pool_now();

	return intro_call_return(call, &now, sizeof(now));
}

static double run(size_t n, intro_task_fn fn, const void *data, size_t size, size_t step)
{
	uint64_t begin = pool_now();

	for (size_t i = 0; i < n; i++) {
		intro_future_init(&futures[i]);
		if (intro_executor_submit(pool, &futures[i], fn, (const char *)data + i * step,
					  size))
			abort();
	}
	if (intro_future_wait(list, n, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL) != (int)n)
		abort();
	for (size_t i = 0; i < n; i++)
		intro_future_destroy(&futures[i]);
	return (double)(pool_now() - begin) / 1e9;
}

static int done(size_t index, const struct intro_result *result, const struct intro_error *error,
		void *ctx)
{
	return error != NULL;
}

static double map(struct intro_process_pool *mapper, const uint64_t *numbers, size_t n,
		  size_t chunk)
{
	uint64_t begin = pool_now();

	if (intro_process_pool_map(mapper, square, numbers, n, sizeof(*numbers), chunk,
				   INTRO_FOREVER, done, NULL))
		abort();
	return (double)n * 1e9 / (double)(pool_now() - begin);
}

static void maps(const uint64_t *numbers)
{
	struct intro_process_pool_options options = {.size = sizeof(options),
						     .workers = POOL_WORKERS};
	struct intro_process_pool *mapper = intro_process_pool_new(&options);

	if (!mapper)
		abort();
	map(mapper, numbers, TASKS / 10, 1); /* warm */
	printf("map_1 %.0f\n", map(mapper, numbers, TASKS, 1));
	printf("map_1000 %.0f\n", map(mapper, numbers, TASKS, 1000));
	intro_process_pool_free(mapper);
}

static double start(void)
{
	static uint64_t waited[SINGLES];

	for (size_t i = 0; i < SINGLES; i++) {
		struct intro_result result;
		uint64_t begin = pool_now(), at;

		intro_future_init(&futures[0]);
		if (intro_executor_submit(pool, &futures[0], stamp, NULL, 0) ||
		    intro_future_result(&futures[0], INTRO_FOREVER, &result))
			abort();
		memcpy(&at, result.data, sizeof(at));
		intro_future_destroy(&futures[0]);
		waited[i] = at - begin;
	}
	qsort(waited, SINGLES, sizeof(waited[0]), pool_by_value);
	return (double)waited[SINGLES / 2];
}

/* Between two buffers that have their memory. */
static double copies(size_t n, void *to)
{
	uint64_t begin;

	memcpy(to, large, LARGE);
	begin = pool_now();
	for (size_t i = 0; i < n; i++) {
		memcpy(to, large, LARGE);
		__asm__ volatile("" ::"r"(to) : "memory");
	}
	return (double)(n * LARGE) * 1e3 / (double)(pool_now() - begin);
}

/*
 * MB/s, the second time: what the first one takes is for the most part how long the kernel, or the
 * host of a virtual machine, takes to find memory.
 */
static double payloads(size_t n, size_t size)
{
	run(n, ignore, large, size, 0);
	return (double)(n * size) / 1e6 / run(n, ignore, large, size, 0);
}

static double results(size_t n, size_t size)
{
	run(n, give_back, &size, sizeof(size), 0);
	return (double)(n * size) / 1e6 / run(n, give_back, &size, sizeof(size), 0);
}

static void bytes(void)
{
	void *to = malloc(LARGE);

	if (!to)
		abort();
	printf("copy %.0f\n", copies(LARGE_TASKS, to));
	printf("large %.0f\n", payloads(LARGE_TASKS, LARGE));
	printf("large_results %.0f\n", results(LARGE_TASKS, LARGE));
	printf("medium %.0f\n", payloads(MEDIUM_TASKS, MEDIUM));
	printf("medium_results %.0f\n", results(MEDIUM_TASKS, MEDIUM));
	free(to);
}

int main(void)
{
	struct intro_executor_options options = {.size = sizeof(options), .workers = POOL_WORKERS};
	uint64_t *numbers = calloc(TASKS, sizeof(*numbers));

	large = malloc(LARGE);
	futures = aligned_alloc(64, TASKS * sizeof(*futures));
	list = calloc(TASKS, sizeof(*list));
	if (!futures || !list || !numbers || !large)
		return 1;
	memset(large, 1, LARGE); /* before the workers are forked: they have it, too */
	pool = intro_process_executor_new(&options);
	if (!pool)
		return 1;
	for (size_t i = 0; i < TASKS; i++)
		list[i] = &futures[i];
	run(TASKS / 10, square, numbers, sizeof(*numbers), sizeof(*numbers)); /* warm */
	printf("process_batch %.0f\n",
	       TASKS / run(TASKS, square, numbers, sizeof(*numbers), sizeof(*numbers)));
	printf("process_start %.0f\n", start());
	bytes();
	intro_executor_free(pool);
	maps(numbers);
	free(large);
	free(numbers);
	free(futures);
	free(list);
	return 0;
}
