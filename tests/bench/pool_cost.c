// SPDX-License-Identifier: BSD-2-Clause
/*
 * LIBS: -lglib-2.0
 *
 * pool_cost.c - the thread pool next to GLib's GThreadPool, 2 workers each, by turns. Prints
 * "name value" lines: empty tasks a second when a batch is submitted at once, and the time from
 * submit to start, median, of single tasks submitted to idle workers. The best round of each.
 */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <introspect/executor.h>

#define WORKERS 2
#define BATCH 50000
#define SINGLES 2000
#define ROUNDS 7

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int by_value(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[n / 2];
}

/* --- ours ------------------------------------------------------------------------------------ */

static int empty_task(struct intro_call *call)
{
	return 0;
}

static int stamp_task(struct intro_call *call)
{
	*(double *)call->arg = now_ns();
	return 0;
}

static struct intro_executor *our_pool(void)
{
	struct intro_executor_options options = {
		.size = sizeof(options),
		.name = "bench",
		.workers = WORKERS,
	};
	struct intro_executor *pool = intro_thread_executor_new(&options);

	if (!pool)
		exit(1);
	return pool;
}

static double our_batch(struct intro_future *futures, struct intro_future **list)
{
	struct intro_executor *pool = our_pool();
	double begin, took;

	for (size_t i = 0; i < BATCH; i++)
		intro_future_init(&futures[i]);
	begin = now_ns();
	for (size_t i = 0; i < BATCH; i++)
		if (intro_executor_submit(pool, &futures[i], empty_task, NULL, 0))
			exit(1);
	if (intro_future_wait(list, BATCH, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL) != BATCH)
		exit(1);
	took = now_ns() - begin;
	for (size_t i = 0; i < BATCH; i++)
		intro_future_destroy(&futures[i]);
	intro_executor_free(pool);
	return BATCH / took * 1e9;
}

static double our_latency(double *values)
{
	struct intro_executor *pool = our_pool();

	for (size_t i = 0; i < SINGLES; i++) {
		struct intro_future future;
		struct intro_result result;
		double begin, start = 0;

		intro_future_init(&future);
		begin = now_ns();
		if (intro_executor_submit(pool, &future, stamp_task, &start, 0) ||
		    intro_future_result(&future, INTRO_FOREVER, &result))
			exit(1);
		intro_future_destroy(&future);
		values[i] = start - begin;
	}
	intro_executor_free(pool);
	return median(values, SINGLES);
}

/* --- GLib's: it has no futures, so a task that is waited for answers through a queue ------------
 */

static gint left;
static GMutex mutex;
static GCond all_done;

static void glib_empty(gpointer data, gpointer ctx)
{
	if (g_atomic_int_dec_and_test(&left)) {
		g_mutex_lock(&mutex);
		g_cond_signal(&all_done);
		g_mutex_unlock(&mutex);
	}
}

static void glib_stamp(gpointer data, gpointer ctx)
{
	*(double *)data = now_ns();
	g_async_queue_push(ctx, data);
}

static double glib_batch(struct intro_future *memory)
{
	GThreadPool *pool = g_thread_pool_new(glib_empty, NULL, WORKERS, TRUE, NULL);
	double begin, took;

	g_atomic_int_set(&left, BATCH);
	begin = now_ns();
	for (size_t i = 0; i < BATCH; i++)
		g_thread_pool_push(pool, &memory[i], NULL);
	g_mutex_lock(&mutex);
	while (g_atomic_int_get(&left))
		g_cond_wait(&all_done, &mutex);
	g_mutex_unlock(&mutex);
	took = now_ns() - begin;
	g_thread_pool_free(pool, FALSE, TRUE);
	return BATCH / took * 1e9;
}

static double glib_latency(double *values)
{
	GAsyncQueue *answers = g_async_queue_new();
	GThreadPool *pool = g_thread_pool_new(glib_stamp, answers, WORKERS, TRUE, NULL);

	for (size_t i = 0; i < SINGLES; i++) {
		double start = 0, begin = now_ns();

		g_thread_pool_push(pool, &start, NULL);
		g_async_queue_pop(answers);
		values[i] = start - begin;
	}
	g_thread_pool_free(pool, FALSE, TRUE);
	g_async_queue_unref(answers);
	return median(values, SINGLES);
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static double smaller(double a, double b)
{
	return a < b ? a : b;
}

int main(void)
{
	struct intro_future *futures = aligned_alloc(64, BATCH * sizeof(*futures));
	struct intro_future **list = calloc(BATCH, sizeof(*list));
	double *values = calloc(SINGLES, sizeof(*values));
	double our_rate = 0, glib_rate = 0, our_ns = 1e18, glib_ns = 1e18;

	if (!futures || !list || !values)
		return 1;
	for (size_t i = 0; i < BATCH; i++)
		list[i] = &futures[i];
	for (int round = 0; round < ROUNDS; round++) {
		our_rate = larger(our_rate, our_batch(futures, list));
		glib_rate = larger(glib_rate, glib_batch(futures));
		our_ns = smaller(our_ns, our_latency(values));
		glib_ns = smaller(glib_ns, glib_latency(values));
	}
	printf("ours_per_s %.0f\nglib_per_s %.0f\n", our_rate, glib_rate);
	printf("ours_start_ns %.0f\nglib_start_ns %.0f\n", our_ns, glib_ns);
	free(futures);
	free(list);
	free(values);
	return 0;
}
