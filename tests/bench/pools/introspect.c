/* SPDX-License-Identifier: BSD-2-Clause */
/* Ours: threads, each task with a future of its own, or in a task group. */
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <introspect/executor.h>
#include <introspect/task_group.h>

#include "pools.h"

static struct intro_executor *pool;
static struct intro_future *futures, **list;
static struct intro_task_group *group; /* NULL: futures */

static int call(struct intro_call *c)
{
	((void (*)(size_t))c->arg)(c->size);
	return 0;
}

static void run_group(size_t n, void (*fn)(size_t i))
{
	for (size_t i = 0; i < n; i++) {
		pool_submits(i);
		if (intro_task_group_run(group, call, (const void *)fn, i))
			abort();
	}
	if (intro_task_group_wait(group, INTRO_FOREVER, NULL))
		abort();
}

static void run_futures(size_t n, void (*fn)(size_t i))
{
	for (size_t i = 0; i < n; i++) {
		pool_submits(i);
		intro_future_init(&futures[i]);
		if (intro_executor_submit(pool, &futures[i], call, (const void *)fn, i))
			abort();
	}
	if (intro_future_wait(list, n, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL) != (int)n)
		abort();
	for (size_t i = 0; i < n; i++)
		intro_future_destroy(&futures[i]);
}

void pool_run(size_t n, void (*fn)(size_t i))
{
	if (group)
		run_group(n, fn);
	else
		run_futures(n, fn);
}

/* CPU time of a second in which nobody submits, us; the last look for tasks is over by then. */
static void measure_idleness(void)
{
	struct rusage before, after;

	pool_run(POOL_BATCH, task_empty);
	usleep(100000);
	getrusage(RUSAGE_SELF, &before);
	sleep(1);
	getrusage(RUSAGE_SELF, &after);
	timersub(&after.ru_utime, &before.ru_utime, &after.ru_utime);
	timersub(&after.ru_stime, &before.ru_stime, &after.ru_stime);
	timeradd(&after.ru_utime, &after.ru_stime, &after.ru_utime);
	printf("idle %ld\n", after.ru_utime.tv_sec * 1000000 + after.ru_utime.tv_usec);
}

/* As many as libgomp queues before a submit runs its task itself. */
#define CALLER_RUNS (64 * POOL_WORKERS)

/* usage: introspect [-w workers] [-h] [-g] [name...]: waiters help (-h), a task group (-g) */
int main(int argc, char **argv)
{
	struct intro_executor_options options = {.size = sizeof(options), .workers = POOL_WORKERS};
	bool groups = false;
	int option;

	while ((option = getopt(argc, argv, "w:hg")) != -1)
		if (option == 'w')
			options.workers = (unsigned)atoi(optarg);
		else if (option == 'h')
			options.waiters_help = true;
		else if (option == 'g')
			groups = true;
		else
			return 2;
	options.caller_runs = groups ? CALLER_RUNS : 0;
	futures = aligned_alloc(64, POOL_BATCH * sizeof(*futures));
	list = calloc(POOL_BATCH, sizeof(*list));
	pool = intro_thread_executor_new(&options);
	if (pool && groups)
		group = intro_task_group_new(pool);
	if (!futures || !list || !pool || (groups && !group))
		return 1;
	for (size_t i = 0; i < POOL_BATCH; i++)
		list[i] = &futures[i];
	pools_measure(argv + optind);
	if (pool_wants(argv + optind, "idle"))
		measure_idleness();
	intro_task_group_free(group);
	intro_executor_free(pool);
	free(futures);
	free(list);
	return 0;
}
