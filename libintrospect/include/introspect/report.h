/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_REPORT_H
#define INTROSPECT_REPORT_H
/*
 * report.h - a trace, summed: what `introspect report` shows. Plain structs; printing is the
 * caller's. Memory is bounded by threads and pools, not by tasks or records.
 */
#include <introspect/numa.h>
#include <introspect/replay.h>
#include <introspect/trace.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Of wall times, ns. Quantiles are exact to 1 part in 1 000; max and sum exact. */
struct intro_quantiles {
	uint64_t p50, p90, p99, max, sum;
};

struct intro_report_pool {
	struct intro_pool pool;
	char name[INTRO_DEF_BYTES + 8]; /* pool.name points here */
	struct intro_quantiles wall;
	struct intro_ledger ledger; /* of all its tasks, open ones too */
	uint64_t cpu_ns;	    /* what CPU clocks charge for its running: intro_cpu_ns */
	/* Workers' running time inside tasks / (last_ns - first_ns). */
	double parallelism;
	uint32_t *worker_tids;		   /* pool.workers of them, by worker index */
	struct intro_placement *placement; /* of all its tasks */
};

struct intro_report_task {
	struct intro_task task;
	char name[INTRO_DEF_BYTES]; /* task.name points here */
};

/* What META said, read once. Strings are the report's. */
struct intro_report_trace {
	uint64_t duration_ns, events, lost;
	char *source, *kernel, *command;
	char *cut; /* why the recording ended before its time; "" when it did not */
	unsigned cpus, nodes;
	double tracer_cpu_s; /* of the tracer itself; below 0 when not known */
	struct intro_trace_damage damage;
	struct intro_replay_totals totals;
};

struct intro_report {
	struct intro_report_trace trace;
	struct intro_topology *topology;
	struct intro_placement *placement; /* of all threads that were traced */
	struct intro_numa *numa;
	struct intro_report_pool *pools; /* most task time first */
	size_t pools_n;
	/* Pool workers by pool and index, then by running time; DEAD is from death to the trace's
	 * end. */
	struct intro_thread *threads;
	size_t threads_n;
	struct intro_thread others; /* threads above max_threads, summed */
	size_t others_n;
	struct intro_report_task *slowest; /* by wall time, longest first */
	size_t slowest_n;
};

#define INTRO_REPORT_NONE SIZE_MAX
/* Zero a struct, set size = sizeof, then what you need. */
struct intro_report_options {
	size_t size;
	size_t slowest;	    /* how many; 0: 10; or INTRO_REPORT_NONE */
	size_t max_threads; /* 0: 65 536 */
	/* Called for each task as the replay meets its end; may be NULL. */
	void (*task)(void *ctx, const struct intro_task *task, const char *pool_name);
	/* Called now and then with the part done, 0..1; may be NULL. */
	void (*progress)(void *ctx, double done);
	void *ctx;
};

/* NULL and errno; what can be read of a damaged trace is in the report, with the damage. */
struct intro_report *intro_report_new(struct intro_trace *trace,
				      const struct intro_report_options *options);
void intro_report_free(struct intro_report *report);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
