/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef ANALYZE_STATE_H
#define ANALYZE_STATE_H
/*
 * state.h - the state of a replay, shared by its files.
 * Top down; none calls one above it, but tasks.c and fibers.c, which call each other:
 *
 *   replay.c      records in, in order of time; begin and end
 *   marks.c       what marks do to workers and tasks
 *   kernel.c      what kernel records do to threads
 *   thread_end.c  a thread leaves: its tasks, its pool, who is told
 *   fibers.c      tasks that leave their thread and go on later
 *   tasks.c       the life of a task and its ledger
 *   early.c       what the kernel's CPU clocks charge to whom
 *   book.c        booking: intervals of threads to states and tasks; lost records
 *   holders.c     who has the CPU that a runnable thread wants
 *   pools.c       pools, and the integrals that split `queued`
 *   locks.c       which lock an address is
 *   placement.c   on which node they run, where memory comes from, moves
 *   threads.c     the table of threads: who is alive, incarnations
 *   names.c       names by number
 *   cpus.c        CPUs by number
 *
 * Invariants
 *   - replay->now never goes back; thread->since <= now.
 *   - A thread is either certain (its state since `since` is known) or uncertain: known from
 *     since to gap_from, not after that, until its next event tells.
 *   - A task which runs is on the stack of its worker, and every interval of that thread since its
 *     start is booked to it: `now - start` is in its ledger whenever the thread is booked up to
 * now. A fiber that is off its thread has it up to off_since.
 */
#include <stdbool.h>
#include <sys/queue.h>

#include <introspect/placement.h>
#include <introspect/replay.h>

#include "analyze/ledger_impl.h"
#include "analyze/map.h"

/* A mark says that a task starts inside another at most this deep. */
#define STACK_MAX 16
#define HELD_MAX 8
#define POOLS_MAX 1024
#define NAMES_MAX 65536
#define CPU_NOWHERE (-1)

/* Whose the futex word at an address is: one entry a process that said so. */
struct named_lock {
	struct named_lock *next;
	uint32_t pid;
	uint32_t name; /* 0: that process gave it more than one */
};

struct pool {
	uint32_t id;
	char name[INTRO_DEF_BYTES + 8];
	enum intro_pool_kind kind;
	/* threads that work for it now; of those, in a task */
	uint32_t alive, busy;
	bool unannounced; /* has workers that began before the trace or never said so */
	/* time with all workers busy, and with no worker, up to `until` */
	uint64_t busy_ns, none_ns, until;
	struct intro_pool seen;
	TAILQ_ENTRY(pool) all;
};

enum phase {
	PHASE_QUEUED,
	PHASE_RUNNING,
	PHASE_ENDED, /* the function returned, or its worker died: a RESULT may follow */
	PHASE_SET,   /* the result is set: the WAKE of who waits for it may follow */
};

#define QUEUED_CAUSES 6
struct task {
	uint64_t id;
	struct pool *pool; /* number 0 stands for those over the limit; NULL: out of memory */
	uint32_t name;	   /* of intro__name, when it ends: its definition may come late */
	enum phase phase;
	uint8_t status;	       /* enum intro_status of END or RESULT */
	bool unseen;	       /* ended, but that was lost */
	uint16_t begin_unseen; /* UNKNOWN_BEGIN or UNKNOWN_LOST: no SUBMIT was seen; 0: it was */
	bool start_unseen, end_unseen;
	uint64_t submit, take, start, end, result;
	/* the pool's integrals at submit and at take */
	uint64_t busy_at_submit, none_at_submit, busy_at_take, none_at_take;
	uint32_t take_tid, take_by;
	uint64_t take_serial, take_busy; /* the taker-to-be, and its busy time at take */
	uint64_t gaps_at_submit;	 /* gaps in marks so far */
	uint64_t queued[QUEUED_CAUSES];	 /* ns by enum intro_cause QUEUED_* */
	uint64_t before_ns;		 /* submit -> start when that is not known */
	uint64_t entered;		 /* when it came to its worker, the last time */
	int64_t early_ns;		 /* of intro_task */
	uint32_t worker_tid;
	struct thread *worker; /* while it runs */
	/* While it is on a worker: less what the worker had when it came. */
	uint64_t voluntary, involuntary;
	struct intro_placement *placement; /* likewise; NULL: never on one */
	struct intro_ledger *ledger;	   /* of [start, end); from start on */
	/* since marks of the worker were lost at tentative_from: counts if an END comes */
	struct intro_ledger *tentative;
	uint64_t tentative_from, tentative_until;
	/* A fiber: runs, and is off its thread (worker is NULL) for this reason since then. */
	bool fiber, off;
	uint16_t off_cause;
	uint64_t off_since, ready_at, mounted_at;
	TAILQ_ENTRY(task) off_list;
	uint32_t waiters; /* threads with a WAIT for it */
	uint64_t listed_ns;
	bool listed;
	TAILQ_ENTRY(task) all;
	TAILQ_ENTRY(task) ended;
};

/* Of a thread that is or was in a task. */
struct work {
	struct task *stack[STACK_MAX];
	unsigned depth;
	/* Who had its CPU, of the interval under way: its pool, its process, others by name. */
	uint64_t held_pool, held_process;
	unsigned held_n;
	struct intro_split held[HELD_MAX];
	struct intro_ledger in_tasks;
	uint64_t busy_ns, busy_since; /* ever in a task; since when, while depth */
};

struct thread {
	uint32_t tid, pid, ppid, exit_code;
	uint64_t start_time, serial;
	char comm[INTRO_COMM_BYTES];
	bool kernel, target, exiting;
	bool seen; /* in kernel records, not by marks alone */

	uint8_t state; /* enum intro_state, since `since` */
	bool uncertain;
	bool by_snapshot; /* the state is a snapshot's: a bit older than its record */
	bool woken_early; /* RUNNING: a waking came; it may be for the sleep it is about to begin */
	bool never_slept; /* BLOCKED, if no other waking comes: woken before it left the CPU */
	bool moved;	  /* a MIGRATE was counted since it ran last, */
	enum intro_move move; /* ... of this kind, at: */
	uint64_t moved_at;
	int node; /* of the CPU that it runs on or ran on last: a place, or INTRO_NODE_NONE */
	uint16_t cause;
	uint64_t detail;
	uint64_t since, gap_from;
	int32_t last_cpu, on_cpu; /* CPU_NOWHERE; on_cpu: it is that CPU's `current` */

	uint64_t first, events;
	uint64_t states_ns[INTRO_STATES], idle_ns[INTRO_STATES];
	uint64_t voluntary, involuntary, runs, wakeups, tasks;
	int64_t early_ns; /* of intro_thread */
	struct intro_placement *placement;
	uint64_t exec_begin, wait_begin; /* of the begin snapshot */
	bool has_begin;

	struct pool *pool;
	uint32_t pool_id, worker;
	bool announced;	  /* by a WORKER_START */
	uint64_t waiting; /* task of its open WAIT mark; 0 none */
	struct work *work;

	int32_t queue_cpu; /* among that CPU's waiters, or CPU_NOWHERE */
	uint32_t queue_slot;
	TAILQ_ENTRY(thread) certainty;
	TAILQ_ENTRY(thread) all;
};

TAILQ_HEAD(thread_list, thread);
TAILQ_HEAD(task_list, task);
TAILQ_HEAD(pool_list, pool);

/* A thread in a task that wants a CPU; in one array, as all of them are told of each switch. */
struct waiter {
	struct thread *thread;
	uint64_t from; /* told of all up to here, or up to cpu->settled if that is later */
	uint32_t pool_id, pid;
	uint64_t held_pool, held_process; /* not yet in its work */
};

struct cpu {
	struct thread *current; /* NULL: idle or not known */
	uint64_t gap_until, last_switch;
	uint64_t settled; /* all waiters know who ran up to here */
	uint32_t waiters_n, waiters_room;
	struct waiter *waiters;
};

struct intro_replay {
	struct intro_replay_options options;
	struct intro_replay_sink sink;
	struct intro_replay_totals totals;
	int error;
	bool begun;
	uint64_t begin, now;
	uint64_t gap_until; /* of any CPU */
	bool gaps;
	uint64_t mark_gaps, mark_gap_from; /* how many; begin of the last */
	uint64_t serial;

	struct intro__map threads, tasks, pools, names, locks;
	struct thread_list all_threads, certain, uncertain;
	size_t threads_n, tasks_n, names_n, locks_n, pools_n, ended_n;
	struct task_list all_tasks, ended;
	struct task_list unmounted; /* fibers known to be off their threads, and why */
	struct pool_list all_pools;
	struct cpu **cpus; /* by number; allocated when met */
	size_t cpus_n;
};

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline void intro__strange(struct intro_replay *replay)
{
	replay->totals.strange++;
}

static inline unsigned intro__depth(const struct thread *thread)
{
	return thread->work ? thread->work->depth : 0;
}

/* cpus.c. NULL and replay->error when out of memory. */
void *intro__calloc(struct intro_replay *replay, size_t size);
/* Made when needed; NULL also for a number that no CPU has. */
struct cpu *intro__cpu(struct intro_replay *replay, uint32_t number);
void intro__cpus_free(struct intro_replay *replay);

/* placement.c: the CPU that the thread runs on. */
void intro__place_on(const struct intro_replay *replay, struct thread *thread, uint32_t cpu);
void intro__place_ran(struct thread *thread, uint64_t ns);
void intro__place_moved(const struct intro_replay *replay, struct thread *thread, uint32_t from,
			uint32_t to);
/* It gets the CPU, and is not yet booked up to now. */
void intro__place_arrived(const struct intro_replay *replay, struct thread *thread, uint32_t cpu);
void intro__place_pages(struct intro_replay *replay, const struct intro_rec_pages *rec);
void intro__place_decided(struct intro_replay *replay, const struct intro_rec_numa *rec);

/* kernel.c: false when the kind is not the kernel's. */
bool intro__kernel_record(struct intro_replay *replay, const struct intro_rec *rec);

/* threads.c */
struct thread *intro__thread_find(struct intro_replay *replay, uint32_t tid);
/* Finds or makes it; NULL for tid 0, over the limit, or out of memory. first: when new. */
struct thread *intro__thread_get(struct intro_replay *replay, uint32_t tid, uint64_t first);
/* first_ns of a thread which is met now and was born before, as far as known. */
uint64_t intro__thread_first(const struct intro_replay *replay, uint64_t start_time);
void intro__thread_rename_tid(struct intro_replay *replay, struct thread *thread, uint32_t tid);

/* thread_end.c: its tasks are lost, the sink has it, it is freed. It is booked up to now. */
void intro__thread_end(struct intro_replay *replay, struct thread *thread, bool alive);

/* early.c */
/* By how much next is charged early, as far as it can be true; before anything is done. */
uint64_t intro__early_of(struct intro_replay *replay, const struct cpu *cpu,
			 const struct intro_rec_switch *sw);
/* From prev to next, when both are known. */
void intro__early_book(struct intro_replay *replay, const struct intro_rec_switch *sw,
		       uint64_t early);

/* book.c */
void intro__book(struct thread *thread, uint64_t until, enum intro_state state, uint16_t cause,
		 uint64_t detail);
/* Until now, or until its events were lost and now again, it has been on this CPU if it ran. */
void intro__book_on(struct intro_replay *replay, struct thread *thread, uint32_t cpu);
/* Books up to now in the state it has, with what is known now; its state stays. */
void intro__book_now(struct intro_replay *replay, struct thread *thread);
/* Likewise at the trace's end. */
void intro__book_end(struct intro_replay *replay, struct thread *thread);
/* It wrote a mark: it runs now, if nothing better is known. */
void intro__book_mark(struct intro_replay *replay, struct thread *thread);
/* If uncertain: was in `state` since `from` (the end of the gap) until now; certain then. */
bool intro__settle(struct intro_replay *replay, struct thread *thread, uint64_t from,
		   enum intro_state state, uint16_t cause, uint64_t detail);
void intro__enter(struct intro_replay *replay, struct thread *thread, enum intro_state state,
		  uint16_t cause, uint64_t detail);
void intro__make_uncertain(struct intro_replay *replay, struct thread *thread);
void intro__cpu_gap(struct intro_replay *replay, uint32_t number, uint64_t until);

/* holders.c */
void intro__queue_join(struct intro_replay *replay, struct thread *thread);
void intro__queue_leave(struct intro_replay *replay, struct thread *thread);
/* Tells one, or all who wait for a CPU, who had it up to now. */
void intro__queue_settle(struct intro_replay *replay, struct thread *thread);
void intro__queue_settle_all(struct intro_replay *replay, struct cpu *cpu);
/* Forgets who had the CPU, as the interval is booked. */
void intro__held_clear(struct thread *thread);
/* Books ns of runnable time to the ledger, by holder. */
void intro__held_book(const struct work *work, struct intro_ledger *ledger, uint16_t cause,
		      uint64_t ns);

/* marks.c */
bool intro__mark_record(struct intro_replay *replay, const struct intro_rec *rec);
void intro__mark_lost(struct intro_replay *replay, const struct intro_rec_lost *lost);

/* tasks.c */
struct task *intro__task_find(struct intro_replay *replay, uint64_t id);
struct task *intro__task_new(struct intro_replay *replay, uint64_t id, uint32_t pool);
void intro__task_start(struct intro_replay *replay, struct task *task, struct thread *thread);
/* The function returned, or died with its worker; status: enum intro_status. */
void intro__task_end(struct intro_replay *replay, struct task *task, uint32_t status, bool marked);
void intro__task_result(struct intro_replay *replay, struct task *task, uint32_t status,
			uint32_t flags);
/* Its worker went on to something else: its END is among lost marks. */
void intro__task_unseen(struct intro_replay *replay, struct task *task);
void intro__task_cancel(struct intro_replay *replay, struct task *task);
/* The thread waits for no task any more. */
void intro__task_unwait(struct intro_replay *replay, struct thread *thread);
void intro__task_wake(struct intro_replay *replay, struct task *task);
/* Lets go of those that ended long ago and whose RESULT or WAKE never came. */
void intro__tasks_expire(struct intro_replay *replay);
void intro__tasks_finish(struct intro_replay *replay);
void intro__task_free(struct intro_replay *replay, struct task *task);

/* Its worker has it now. false: there is no room. */
bool intro__task_enter(struct intro_replay *replay, struct task *task, struct thread *thread);
/* Its worker, booked up to now, has it no more; ended: by its END. */
void intro__task_leave(struct intro_replay *replay, struct task *task, bool ended);
/* It runs, but its START was not seen. false: out of memory. */
bool intro__task_started_unseen(struct intro_replay *replay, struct task *task);

/* fibers.c: `thread` wrote the mark, and is booked up to now; NULL: over the limit. */
void intro__fiber_mount(struct intro_replay *replay, const struct intro_rec_mark *mark,
			struct thread *thread);
void intro__fiber_unmount(struct intro_replay *replay, const struct intro_rec_mark *mark,
			  struct thread *thread);
void intro__fiber_ready(struct intro_replay *replay, const struct intro_rec_mark *mark);
/* The thread says that it has the fiber; mounts: since now. */
void intro__fiber_arrive(struct intro_replay *replay, struct task *task, struct thread *thread,
			 bool mounts);
void intro__fiber_off(struct intro_replay *replay, struct task *task, enum intro_cause cause);
/* Books the time it was off, if it was. */
void intro__fiber_on(struct intro_replay *replay, struct task *task);
/* Its thread went on to something else, and marks were lost: where it is nobody knows. */
void intro__fiber_adrift(struct intro_replay *replay, struct task *task);
/* Marks were lost, which may have been of any fiber that is off its thread. */
void intro__fibers_lost(struct intro_replay *replay);

/* pools.c */
/* Makes it when needed; over the limit pool 0, which nobody works for, stands for it. */
struct pool *intro__pool_get(struct intro_replay *replay, uint32_t id);
void intro__pool_advance(struct intro_replay *replay, struct pool *pool);
void intro__pool_join(struct intro_replay *replay, struct thread *thread, uint32_t id,
		      uint32_t index, bool announced);
void intro__pool_leave(struct intro_replay *replay, struct thread *thread);
/* The thread enters its first task, or leaves its last. */
void intro__pool_busy(struct intro_replay *replay, struct thread *thread, bool busy);
void intro__pools_finish(struct intro_replay *replay);
void intro__define_pool(struct intro_replay *replay, const struct intro_rec_def *def);

/* names.c */
void intro__define_name(struct intro_replay *replay, const struct intro_rec_def *def);
/* "" for one that was not defined. */
const char *intro__name(struct intro_replay *replay, uint32_t id);
void intro__names_free(struct intro_replay *replay);

/* locks.c */
void intro__define_lock(struct intro_replay *replay, const struct intro_rec_def *def);
/* A thread of process `pid` sleeps on a lock: the name's number takes the address's place. */
void intro__lock_number(const struct intro_replay *replay, uint32_t pid,
			struct intro__sleep *sleep);
/* Names for numbers, before the ledger is handed out. */
void intro__locks_name(struct intro_replay *replay, struct intro_ledger *ledger);
void intro__locks_free(struct intro_replay *replay);

#endif
