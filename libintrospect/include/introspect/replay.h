/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_REPLAY_H
#define INTROSPECT_REPLAY_H
/*
 * replay.h - one pass over a trace's records in order of time: threads, pools and tasks come to
 * life, change state and end; each that ended is handed to the sink with its ledger.
 *
 * Memory is O(threads alive + tasks alive). The same records give the same calls, in the same
 * order. Every record is distrusted: nothing a record says can crash the replay or make it grow
 * beyond the limits in the options.
 */
#include <stdbool.h>
#include <stdint.h>

#include <introspect/abi.h>
#include <introspect/ledger.h>
#include <introspect/placement.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The five states of the textbook life of a thread, and what cannot be known. */
enum intro_state {
	INTRO_STATE_NEW = 0,
	INTRO_STATE_RUNNABLE = 1,
	INTRO_STATE_RUNNING = 2,
	INTRO_STATE_BLOCKED = 3,
	INTRO_STATE_DEAD = 4,
	INTRO_STATE_UNKNOWN = 5,
	INTRO_STATES = 6
};

/* A thread, from first seen to its death or the trace's end. Valid during the call. */
struct intro_thread {
	uint32_t tid, pid, ppid;
	uint64_t start_time; /* ns; 0 not known. (tid, start_time) is its identity */
	char name[INTRO_COMM_BYTES];
	bool kernel;
	bool target; /* chosen by the filter; others were seen only beside targets */
	bool alive;  /* at the trace's end */
	uint32_t exit_code;
	uint64_t first_ns, last_ns; /* in the trace */
	uint64_t states_ns[INTRO_STATES];
	int64_t early_ns; /* see intro_cpu_ns */
	uint64_t voluntary, involuntary, migrations, runs, wakeups;
	uint32_t pool;	 /* whose worker it is; 0 none */
	uint32_t worker; /* its index */
	uint64_t tasks;	 /* ended by it */
	/* As a worker: time inside tasks (NULL: never in one), and time without a task, by state.
	 */
	const struct intro_ledger *in_tasks;
	uint64_t idle_ns[INTRO_STATES];
	const struct intro_placement *placement; /* never NULL */
};

enum intro_task_status {
	INTRO_TASK_FINISHED = 0,
	INTRO_TASK_FAILED = 1,
	INTRO_TASK_CANCELLED = 2,
	INTRO_TASK_LOST = 3,	/* its worker died or its pool broke */
	INTRO_TASK_QUEUED = 4,	/* open at the end of the trace, not started */
	INTRO_TASK_RUNNING = 5, /* open at the end of the trace, started */
	INTRO_TASK_UNSEEN = 6,	/* it ended, but how is among lost records */
};
const char *intro_task_status_text(enum intro_task_status status);

struct intro_task {
	uint64_t id;   /* as marked */
	uint32_t pool; /* as marked; 0: not known */
	const char *pool_name;
	uint32_t worker_tid; /* 0: never started */
	const char *name;    /* "" none */
	enum intro_task_status status;
	/* ns; 0: did not happen, or not seen */
	uint64_t submit_ns, take_ns, start_ns, end_ns, result_ns;
	uint64_t done_ns; /* submit_ns + wall: where the ledger ends */
	uint32_t voluntary, involuntary, migrations;
	int64_t early_ns;			 /* see intro_cpu_ns */
	const struct intro_placement *placement; /* NULL: it was never seen on a worker */
	struct intro_ledger ledger;		 /* sums to done_ns - submit_ns */
};

/*
 * What the kernel's CPU clocks (CLOCK_THREAD_CPUTIME_ID, getrusage, top) charge for running_ns.
 * The scheduler often charges a thread that was woken from its wake-up on, some microseconds before
 * it runs, and who really runs meanwhile as much less: early_ns is the sum of both. 0 in a trace
 * that does not tell.
 */
uint64_t intro_cpu_ns(uint64_t running_ns, int64_t early_ns);

struct intro_pool {
	uint32_t id;
	const char *name; /* "pool 3" when no name was recorded */
	enum intro_pool_kind kind;
	uint32_t workers;	    /* seen */
	uint64_t first_ns, last_ns; /* first submit or worker, last end */
	/* submitted is the sum of the others; lost counts LOST and UNSEEN, open QUEUED and RUNNING
	 */
	uint64_t submitted, finished, failed, cancelled, lost, open;
	uint64_t rejected; /* turned away by the pool: not in submitted */
};

/* Calls come in a fixed order: tasks and threads as they end; the rest, then pools, at finish. */
struct intro_replay_sink {
	void *ctx;
	void (*task)(void *ctx, const struct intro_task *task);
	void (*thread)(void *ctx, const struct intro_thread *thread);
	void (*pool)(void *ctx, const struct intro_pool *pool);
	/* As they are counted: by places of the CPU's node and of the memory's. */
	void (*pages)(void *ctx, uint32_t on, uint32_t from, uint64_t pages);
};

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_replay_options {
	size_t size;
	uint64_t begin_ns, end_ns; /* of the tracing itself; 0: first and last record */
	uint32_t max_tasks;	   /* live at once; 0: 262 144. More are counted and dropped */
	uint32_t max_threads;	   /* live at once; 0: 262 144 */
	/* Of the machine; outlives the replay. NULL: no node is known. */
	const struct intro_topology *topology;
};

struct intro_replay_totals {
	uint64_t records, lost;
	uint64_t begin_ns, end_ns;
	uint64_t strange;	/* records which contradict what was before: counted, survived */
	uint64_t dropped_tasks; /* over max_tasks */
	/* Charged to no thread that is known: with this the sum of all early_ns is 0. */
	int64_t idle_early_ns;
};

struct intro_replay;
struct intro_replay *intro_replay_new(const struct intro_replay_options *options,
				      const struct intro_replay_sink *sink);
/* Records must come in order of time. 0, or -ENOMEM (the replay is then spoilt). */
int intro_replay_push(struct intro_replay *replay, const struct intro_rec *record);
/* Ends what is open; `totals` may be NULL. */
int intro_replay_finish(struct intro_replay *replay, struct intro_replay_totals *totals);
void intro_replay_free(struct intro_replay *replay);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
