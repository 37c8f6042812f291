/* SPDX-License-Identifier: BSD-2-Clause */
/* Producers and consumers on either side of a bounded queue. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/queue.h>
#include <introspect/threads.h>

#include "workload.h"

#define PRODUCERS 2
#define CAPACITY 8

struct order {
	struct truth *truth; /* NULL: not wanted */
	uint64_t seed, steps, result;
	uint32_t consumed; /* how often */
};

struct trade {
	struct intro_queue *queue;
	struct order *orders;
	uint32_t orders_n;
	_Atomic uint32_t next;	   /* to be produced */
	_Atomic uint32_t consumer; /* the next one's index */
};

/* A quarter of the time that consuming takes: so the queue is full, and producers wait. */
static void *produce(void *arg)
{
	struct trade *trade = arg;
	uint32_t i;

	while ((i = atomic_fetch_add(&trade->next, 1)) < trade->orders_n) {
		struct order *order = &trade->orders[i];

		order->result = workload_spin(order->seed, order->steps / 4);
		truth_submit(order->truth, NULL);
		if (intro_queue_put(trade->queue, order, INTRO_FOREVER))
			return NULL;
	}
	return trade;
}

static void *consume(void *arg)
{
	struct trade *trade = arg;
	uint32_t pool = intro_queue_pool(trade->queue);
	uint32_t index = atomic_fetch_add(&trade->consumer, 1);
	void *item;

	intro_mark_worker_start(pool, index);
	while (intro_queue_get(trade->queue, &item, INTRO_FOREVER) == 0) {
		struct order *order = item;

		truth_begin_task(order->truth, intro_queue_task(trade->queue));
		order->result = workload_spin(order->result, order->steps - order->steps / 4);
		order->consumed++;
		truth_end(order->truth);
		intro_queue_task_done(trade->queue);
	}
	intro_mark_worker_stop(pool, index);
	return trade;
}

/* How many were started, as many as wanted unless a line was written on stderr. */
static unsigned start(struct intro_thread_handle **threads, unsigned n, intro_thread_fn fn,
		      struct trade *trade, const char *name)
{
	/* consumers are workers of the queue's pool; a producer is a task of its own */
	struct intro_thread_options options = {
		.size = sizeof(options), .name = name, .worker = fn == consume};

	for (unsigned i = 0; i < n; i++) {
		int err;

		threads[i] = intro_thread_new(fn, trade, &options);
		err = threads[i] ? intro_thread_start(threads[i]) : -errno;
		if (err) {
			intro_thread_free(threads[i]);
			workload_fail("producers: %s", strerror(-err));
			return i;
		}
	}
	return n;
}

static void join(struct intro_thread_handle **threads, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		intro_thread_join(threads[i], INTRO_FOREVER, NULL);
		intro_thread_free(threads[i]);
	}
}

static int run_trade(struct trade *trade, unsigned consumers)
{
	struct intro_thread_handle **threads = calloc(PRODUCERS + consumers, sizeof(*threads));
	unsigned producing = 0, consuming = 0;

	if (!threads)
		return workload_fail("out of memory");
	consuming = start(threads, consumers, consume, trade, "consumer");
	if (consuming == consumers)
		producing = start(threads + consumers, PRODUCERS, produce, trade, "producer");
	join(threads + consumers, producing);
	if (producing == PRODUCERS)
		intro_queue_join(trade->queue, INTRO_FOREVER);
	intro_queue_shutdown(trade->queue, false);
	join(threads, consuming);
	free(threads);
	return producing == PRODUCERS ? 0 : 1;
}

int workload_producers_run(struct workload_run *run)
{
	struct intro_queue_options options = {
		.size = sizeof(options), .name = "orders", .marked = true, .capacity = CAPACITY};
	struct trade trade = {.orders_n = run->tasks};
	struct truth *truths = run->truth ? truth_new(run->tasks) : NULL;
	int status;

	trade.orders = calloc(run->tasks, sizeof(*trade.orders));
	trade.queue = intro_queue_new(&options);
	if (!trade.orders || !trade.queue || (run->truth && !truths)) {
		free(trade.orders);
		truth_free(truths, run->tasks);
		intro_queue_free(trade.queue);
		return workload_fail("out of memory");
	}
	for (uint32_t i = 0; i < run->tasks; i++) {
		uint64_t ns = workload_around(&run->seed, run->length_ns);

		trade.orders[i].truth = truths ? &truths[i] : NULL;
		trade.orders[i].seed = workload_random(&run->seed);
		trade.orders[i].steps = (uint64_t)((double)ns * run->rate);
	}
	status = run_trade(&trade, run->workers);
	for (uint32_t i = 0; i < run->tasks && !status; i++) {
		const struct order *order = &trade.orders[i];

		if (order->consumed != 1 ||
		    order->result != workload_spin_expect(order->seed, order->steps))
			status = workload_fail("producers: order %u was consumed %u times", i,
					       order->consumed);
	}
	snprintf(run->note, sizeof(run->note), "; %d producers, a queue of %d", PRODUCERS,
		 CAPACITY);
	if (truths)
		truth_write(run->truth, "orders", truths, run->tasks);
	truth_free(truths, run->tasks);
	intro_queue_free(trade.queue);
	free(trade.orders);
	return status;
}
