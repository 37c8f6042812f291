/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_SIM_H
#define TESTS_UNIT_SIM_H
/*
 * sim.h - a toy machine: CPUs, worker threads of one pool, and a submitter. It makes at random what
 * a real one would, writes the records of it, and keeps its own account of every nanosecond of
 * every task, by a way that has nothing in common with the replay: it adds each step of time to
 * what everybody is doing in it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/replay.h>

#define SIM_CPUS 3
#define SIM_WORKERS 7
#define SIM_TASKS 20000
#define SIM_POOL 1

/* What really happened to a task. */
struct sim_truth {
	uint64_t submit, start, end;
	uint64_t queued[2]; /* every worker busy; some idle */
	uint64_t running, blocked[4];
	uint64_t runnable[3]; /* preempted, woken, yielded */
	uint64_t held[2];     /* nobody, the pool */
	uint32_t migrations, voluntary, involuntary;
	int64_t early;
};

struct sim_worker_truth {
	uint64_t states[INTRO_STATES];
	int64_t early;
};

struct sim_options {
	unsigned seed;
	unsigned steps;
	bool losses;	  /* CPUs lose records now and then */
	bool mark_losses; /* and so do the rings of workers and the submitter */
};

/* Each record goes to push; truth[id] for ids 1..*tasks. Starts at 1 000 000 ns. */
struct sim {
	struct sim_truth truth[SIM_TASKS + 1];
	size_t tasks, ended;
	struct sim_worker_truth worker[SIM_WORKERS];
	uint64_t begin, end;
	uint64_t lost; /* gaps */
	uint64_t lost_marks;
};

typedef void (*sim_push_fn)(void *ctx, const struct intro_rec *record);
void sim_run(struct sim *sim, const struct sim_options *options, sim_push_fn push, void *ctx);

/* The causes of sim_truth.blocked and .runnable, by index. */
enum intro_cause sim_blocked_cause(unsigned index);
enum intro_cause sim_runnable_cause(unsigned index);
uint32_t sim_tid(unsigned worker);

#endif
