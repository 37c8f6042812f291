/* SPDX-License-Identifier: BSD-2-Clause */
/* The same fibers on one kernel thread and on several, and a call that blocks under one of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <introspect/fiber.h>

#include "workload.h"

#define SLICES 8		     /* a fiber gives way between them */
#define BLOCKS_NS (40 * WORKLOAD_MS) /* one fiber sleeps so long in the kernel */
#define PARKS_NS (2 * WORKLOAD_MS)   /* the others as fibers do */

struct strand {
	uint64_t seed, steps, expect, value;
	bool blocks;
	struct truth *truth; /* a part a slice; NULL: not wanted */
	struct intro_channel *results;
};

static void spin_slice(struct strand *strand)
{
	/* it may go on on another thread only after the slice */
	truth_begin_task(strand->truth, intro_fiber_id(intro_fiber_current()));
	strand->value = workload_spin(strand->value, strand->steps / SLICES);
	truth_end(strand->truth);
}

static int run_strand(void *arg)
{
	struct strand *strand = arg;
	const struct timespec block = {.tv_nsec = BLOCKS_NS};

	strand->value = strand->seed;
	for (int i = 0; i < SLICES; i++) {
		spin_slice(strand);
		if (i != SLICES / 2)
			intro_fiber_yield();
		else if (strand->blocks)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &block, NULL);
		else
			intro_fiber_sleep(PARKS_NS);
	}
	return intro_channel_send(strand->results, &strand, INTRO_FOREVER);
}

/* Counts the strands that ended well. */
struct collector {
	struct intro_channel *results;
	size_t right;
};

static int collect(void *arg)
{
	struct collector *collector = arg;
	struct strand *strand;

	while (!intro_channel_receive(collector->results, &strand, INTRO_FOREVER))
		collector->right += strand->value == strand->expect;
	return 0;
}

static void fill(struct workload_run *run, struct strand *strands, struct truth *truths,
		 struct intro_channel *results)
{
	for (uint32_t i = 0; i < run->tasks; i++) {
		struct strand *strand = &strands[i];
		uint64_t ns = workload_around(&run->seed, run->length_ns);

		strand->seed = workload_random(&run->seed);
		strand->steps = (uint64_t)((double)ns * run->rate) / SLICES * SLICES;
		strand->expect = workload_spin_expect(strand->seed, strand->steps);
		strand->blocks = i == 0;
		strand->truth = truths ? &truths[i] : NULL;
		strand->results = results;
	}
}

static int spawn_all(struct intro_fibers *fibers, struct strand *strands, uint32_t n)
{
	uint32_t strand = intro_mark_name("strand"), blocking = intro_mark_name("blocking");
	int err = 0;

	for (uint32_t i = 0; !err && i < n; i++) {
		truth_submit(strands[i].truth, strands[i].blocks ? "blocking" : "strand");
		err = intro_fiber_spawn_named(fibers, strands[i].blocks ? blocking : strand,
					      run_strand, &strands[i], NULL);
	}
	return err;
}

/* Nanoseconds that all took, in *took. */
static int run_on(struct workload_run *run, const char *name, unsigned threads, uint64_t *took)
{
	struct intro_fibers_options options = {
		.size = sizeof(options), .name = name, .threads = threads};
	struct strand *strands = calloc(run->tasks, sizeof(*strands));
	struct collector collector = {.results = intro_channel_new(sizeof(struct strand *), 4)};
	struct intro_fibers *fibers = intro_fibers_new(&options);
	struct intro_fibers *collectors = NULL;
	struct truth *truths = run->truth ? truth_new(run->tasks) : NULL;
	uint64_t begin;
	int err = -ENOMEM;

	options.name = "collect";
	options.threads = 1;
	if (strands && collector.results && fibers && (truths || !run->truth))
		collectors = intro_fibers_new(&options);
	if (collectors) {
		fill(run, strands, truths, collector.results);
		begin = workload_now();
		err = intro_fiber_spawn(collectors, collect, &collector, NULL);
		if (!err)
			err = spawn_all(fibers, strands, run->tasks);
		intro_fibers_wait(fibers, INTRO_FOREVER);
		*took = workload_now() - begin;
		intro_channel_close(collector.results);
	}
	intro_fibers_free(fibers);
	intro_fibers_free(collectors);
	intro_channel_free(collector.results);
	if (truths)
		truth_write(run->truth, name, truths, run->tasks);
	truth_free(truths, run->tasks);
	free(strands);
	if (err)
		return workload_fail("fibers '%s': %s", name, strerror(-err));
	if (collector.right != run->tasks)
		return workload_fail("fibers '%s': %zu of %u results are right", name,
				     collector.right, run->tasks);
	return 0;
}

int workload_fibers_run(struct workload_run *run)
{
	uint64_t one = 0, many = 0;
	int status;

	status = run_on(run, "one", 1, &one);
	if (!status)
		status = run_on(run, "many", run->workers, &many);
	snprintf(run->note, sizeof(run->note),
		 "; one fiber blocked for %llu ms: many-to-one took %.0f ms, many-to-many %.0f ms",
		 BLOCKS_NS / WORKLOAD_MS, (double)one / 1e6, (double)many / 1e6);
	return status;
}
