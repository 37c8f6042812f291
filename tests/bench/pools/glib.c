/* SPDX-License-Identifier: BSD-2-Clause */
/* GThreadPool. It has no futures: tasks are counted, and the last one signals. */
#include <glib.h>

#include "pools.h"

static GThreadPool *pool;
static void (*function)(size_t i);
static gint left;
static GMutex mutex;
static GCond all_done;

static void call(gpointer data, gpointer ctx)
{
	function(GPOINTER_TO_SIZE(data) - 1);
	if (g_atomic_int_dec_and_test(&left)) {
		g_mutex_lock(&mutex);
		g_cond_signal(&all_done);
		g_mutex_unlock(&mutex);
	}
}

void pool_run(size_t n, void (*fn)(size_t i))
{
	function = fn;
	g_atomic_int_set(&left, (gint)n);
	for (size_t i = 0; i < n; i++) {
		pool_submits(i);
		g_thread_pool_push(pool, GSIZE_TO_POINTER(i + 1), NULL);
	}
	g_mutex_lock(&mutex);
	while (g_atomic_int_get(&left))
		g_cond_wait(&all_done, &mutex);
	g_mutex_unlock(&mutex);
}

int main(int argc, char **argv)
{
	pool = g_thread_pool_new(call, NULL, POOL_WORKERS, TRUE, NULL);
	pools_measure(argv + 1);
	g_thread_pool_free(pool, FALSE, TRUE);
	return 0;
}
