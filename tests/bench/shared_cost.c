// SPDX-License-Identifier: BSD-2-Clause
/*
 * shared_cost.c - how fast processes share: "name value" lines, per second or MB/s. shared.py runs
 * it next to Python's multiprocessing, which does the same under the same names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <introspect/connection.h>
#include <introspect/manager.h>
#include <introspect/process_queue.h>
#include <introspect/shared.h>

#define SMALL 64
#define LARGE 65536
#define HUGE (4u << 20)

static unsigned char bytes[HUGE];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void check(int err)
{
	if (err)
		abort();
}

static void put_all(struct intro_process_queue *q, size_t size, int n)
{
	for (int i = 0; i < n; i++)
		check(intro_process_queue_put(q, bytes, size, INTRO_FOREVER));
}

static void get_all(struct intro_process_queue *q, int n)
{
	size_t size;

	for (int i = 0; i < n; i++)
		check(intro_process_queue_get(q, bytes, sizeof(bytes), &size, INTRO_FOREVER));
}

/* Messages a second, of one process to another. */
static double through_queue(struct intro_process_queue *q, size_t size, int n)
{
	double begin = now();

	if (!fork()) {
		put_all(q, size, n);
		_exit(0);
	}
	get_all(q, n);
	wait(NULL);
	return n / (now() - begin);
}

static void queues(void)
{
	struct intro_process_queue_options options = {.size = sizeof(options), .bytes = HUGE};
	struct intro_process_queue *q = intro_process_queue_new(&options);
	double begin = now();

	check(!q);
	for (int i = 0; i < 500000; i++) {
		put_all(q, SMALL, 1);
		get_all(q, 1);
	}
	printf("queue_alone %.0f\n", 500000 / (now() - begin));
	printf("queue_small %.0f\n", through_queue(q, SMALL, 1000000));
	printf("queue_large %.0f\n", through_queue(q, LARGE, 40000) * LARGE / 1e6);
	intro_process_queue_free(q);
}

static void echo(struct intro_connection *c, int n)
{
	size_t size;

	for (int i = 0; i < n; i++) {
		check(intro_connection_recv_into(c, bytes, sizeof(bytes), &size));
		check(intro_connection_send(c, bytes, size));
	}
	_exit(0);
}

static void connections(void)
{
	struct intro_connection *ends[2];
	size_t size;
	double begin;

	check(intro_connection_pair(true, ends));
	if (!fork())
		echo(ends[1], 20000);
	begin = now();
	for (int i = 0; i < 20000; i++) {
		check(intro_connection_send(ends[0], bytes, SMALL));
		check(intro_connection_recv_into(ends[0], bytes, sizeof(bytes), &size));
	}
	printf("pipe_round %.0f\n", 20000 / (now() - begin));
	wait(NULL);
	begin = now();
	if (!fork()) {
		for (int i = 0; i < 500; i++)
			check(intro_connection_send(ends[1], bytes, HUGE));
		_exit(0);
	}
	for (int i = 0; i < 500; i++)
		check(intro_connection_recv_into(ends[0], bytes, sizeof(bytes), &size));
	printf("pipe_large %.0f\n", 500.0 * HUGE / 1e6 / (now() - begin));
	wait(NULL);
	intro_connection_free(ends[0]);
	intro_connection_free(ends[1]);
}

static void arrays(void)
{
	struct intro_shared_array *a = intro_shared_array_new(INTRO_SHARED_INT64, 1, NULL);
	double begin = now();

	check(!a);
	for (int i = 0; i < 1000000; i++)
		check(intro_shared_value_add(a, 1, NULL));
	printf("value_add %.0f\n", 1000000 / (now() - begin));
	intro_shared_array_free(a);
}

static void managers(void)
{
	struct intro_manager *m = intro_manager_new(NULL);
	uint64_t list;
	double begin;

	check(!m || intro_manager_make(m, INTRO_MANAGER_LIST, 0, &list));
	begin = now();
	for (int i = 0; i < 20000; i++)
		check(intro_manager_list_append(m, list, bytes, SMALL));
	printf("list_append %.0f\n", 20000 / (now() - begin));
	intro_manager_free(m);
}

int main(void)
{
	/* a child shall not write what is its parent's */
	setvbuf(stdout, NULL, _IONBF, 0);
	memset(bytes, 7, sizeof(bytes));
	queues();
	connections();
	arrays();
	managers();
	return 0;
}
