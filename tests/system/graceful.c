/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * graceful KIND MILLISECONDS: work on a pool for that long, or until SIGUSR1 where a batch follows
 * the other, half of whose tasks fail; then an end as it should be. Status 0: every task ended as
 * it had to (a pool's may be lost, too).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <introspect/periodic.h>
#include <introspect/process_pool.h>
#include <introspect/service.h>

#define WORKERS 3
#define BATCH 12
#define MSEC 1000000ll

static volatile sig_atomic_t enough;

static void stop(int sig)
{
	enough = 1;
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 * MSEC + t.tv_nsec;
}

static int task(struct intro_call *call)
{
	struct timespec ms = {.tv_nsec = 1 * MSEC};

	nanosleep(&ms, NULL);
	return *(const int *)call->arg % 2 ? 5 : 0;
}

/* The futures of a batch that was submitted. */
static int check_batch(struct intro_future *f, bool may_lose)
{
	int wrong = 0;

	for (int i = 0; i < BATCH; i++) {
		int err = intro_future_result(&f[i], INTRO_FOREVER, NULL);

		wrong += err != (i % 2 ? -EREMOTEIO : 0) && !(may_lose && err == -EOWNERDEAD);
		intro_future_destroy(&f[i]);
	}
	return wrong;
}

static int run_executor(int64_t end)
{
	struct intro_executor_options options = {
		.size = sizeof(options), .name = "graceful", .workers = WORKERS};
	struct intro_executor *e = intro_process_executor_new(&options);
	struct intro_future f[BATCH];
	int wrong = !e;

	while (!wrong && !enough && now_ns() < end) {
		for (int i = 0; i < BATCH; i++) {
			intro_future_init(&f[i]);
			wrong |= intro_executor_submit(e, &f[i], task, &i, sizeof(i)) != 0;
		}
		wrong = wrong || check_batch(f, false);
	}
	intro_executor_free(e);
	return wrong;
}

static int run_pool(int64_t end)
{
	struct intro_process_pool_options options = {
		.size = sizeof(options), .name = "graceful", .workers = WORKERS};
	struct intro_process_pool *pool = intro_process_pool_new(&options);
	struct intro_future f[BATCH];
	int wrong = !pool;

	while (!wrong && !enough && now_ns() < end) {
		for (int i = 0; i < BATCH; i++) {
			intro_future_init(&f[i]);
			wrong |= intro_process_pool_apply_async(pool, &f[i], task, &i, sizeof(i)) !=
				 0;
		}
		wrong = wrong || check_batch(f, true);
	}
	if (pool) {
		intro_process_pool_close(pool);
		wrong |= intro_process_pool_join(pool) != 0;
	}
	intro_process_pool_free(pool);
	return wrong;
}

static int run_periodic(int64_t end)
{
	struct intro_periodic_options options = {.size = sizeof(options), .name = "graceful"};
	struct intro_periodic *p = intro_periodic_new(&options);
	struct intro_periodic_task work = {
		.size = sizeof(work), .fn = task, .spacing_ns = 2 * MSEC};
	struct intro_periodic_watch odd, even;
	const int numbers[] = {1, 2};

	if (!p)
		return 1;
	for (int i = 0; i < 2; i++) {
		work.arg = &numbers[i];
		if (intro_periodic_add(p, &work) != i)
			return 1;
	}
	if (intro_periodic_start(p, 0) || intro_periodic_wait(p, end - now_ns()) != -ETIMEDOUT ||
	    intro_periodic_stop(p) || intro_periodic_wait(p, INTRO_FOREVER) ||
	    intro_periodic_watch(p, 0, &odd) || intro_periodic_watch(p, 1, &even))
		return 1;
	intro_periodic_free(p);
	return !odd.failures || odd.successes || !even.successes || even.failures;
}

/* One worker fails again and again; one tells the manager to end. */
static int serve(struct intro_service_worker *worker)
{
	if (worker->index == 1)
		return 5;
	if (!intro_service_wait(worker, *(const int64_t *)worker->arg - now_ns()) && !worker->index)
		kill(getppid(), SIGTERM);
	return 0;
}

static int run_service(int64_t end)
{
	struct intro_service_manager_options options = {
		.size = sizeof(options), .backoff_min_ns = 5 * MSEC, .backoff_max_ns = 50 * MSEC};
	struct intro_service service = {.size = sizeof(service),
					.name = "graceful",
					.workers = WORKERS,
					.run = serve,
					.arg = &end};
	struct intro_service_manager *m = intro_service_manager_new(&options);
	int wrong = !m || intro_service_manager_add(m, &service) || intro_service_manager_run(m);

	intro_service_manager_free(m);
	return wrong;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int64_t end);
	} kinds[] = {
		{"executor", run_executor},
		{"pool", run_pool},
		{"periodic", run_periodic},
		{"service", run_service},
	};

	signal(SIGUSR1, stop);
	for (size_t i = 0; argc == 3 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, argv[1]))
			return kinds[i].run(now_ns() + atoll(argv[2]) * MSEC);
	fprintf(stderr, "usage: graceful executor|pool|periodic|service MILLISECONDS\n");
	return 2;
}
