/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_EXECUTOR_PRIVATE_H
#define INTRO_RUNTIME_EXECUTOR_PRIVATE_H
/*
 * executor_private.h - what every kind of executor has, and what tells them apart.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "future_private.h"

struct handlers;
struct segment;

/* What is left to do for a task: nothing; intro__executor_queue; to submit it as any other. */
enum run_now { RUN_DONE, RUN_QUEUE, RUN_SUBMIT };

struct intro_executor_ops {
	/*
	 * Takes a future that is held and whose work is filled in. Marks its SUBMIT where no worker
	 * can see it yet. 0, -ESHUTDOWN, -EPIPE, -ENOMEM, -EMSGSIZE; then it is not taken.
	 */
	int (*submit)(struct intro_executor *executor, struct future *future);
	/* Takes a cancelled future out of the queue. false: a worker has it, and will let go soon.
	 */
	bool (*forget)(struct intro_executor *executor, struct future *future);
	void (*shutdown)(struct intro_executor *executor, unsigned flags);
	int (*broken)(struct intro_executor *executor, struct intro_error *error);
	/* After a shutdown that waited, from outside the pool. */
	void (*free)(struct intro_executor *executor);
	/* How many tasks are in its queue: for check_and_reject. */
	uint64_t (*backlog)(struct intro_executor *executor);
	/* Adds what its workers have counted, sets submitted and workers. */
	void (*statistics)(struct intro_executor *executor, struct intro_executor_statistics *to);
	int (*maintain)(struct intro_executor *executor); /* NULL: not a dynamic one */
	/*
	 * Submits a task: where the pool is full, runs it, else by intro__executor_queue. NULL: its
	 * callers run nothing.
	 */
	int (*run_or_queue)(struct intro_executor *executor, struct future *future, uint32_t name,
			    intro_task_fn fn, const void *arg, size_t size);
	/*
	 * With run_or_queue: where that would run the task, nobody listens to marks and the pool
	 * does not time its tasks, runs it without a future. *error is of the first failure.
	 */
	enum run_now (*run_now)(struct intro_executor *executor, intro_task_fn fn, const void *arg,
				size_t size, struct intro_error *error);
	/* map: whether workers see the submitter's memory */
	bool shares_memory;
	bool binds; /* its workers can be bound to nodes and cores */
};

#define INTRO__NAME_BYTES 64

/* What one worker has done; written by one thread only, read by any. */
struct intro__counts {
	_Atomic uint64_t executed, failures, timed, queued_ns, run_ns;
	_Atomic uint64_t beside; /* a thread pool's: tasks that were in no ring */
};

static inline void intro__count(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
			      memory_order_relaxed);
}

static inline void intro__count_task(struct intro__counts *counts, bool failed)
{
	intro__count(&counts->executed, 1);
	if (failed)
		intro__count(&counts->failures, 1);
}

static inline void intro__count_times(struct intro__counts *counts, int64_t queued, int64_t run)
{
	intro__count(&counts->timed, 1);
	intro__count(&counts->queued_ns, queued > 0 ? (uint64_t)queued : 0);
	intro__count(&counts->run_ns, run > 0 ? (uint64_t)run : 0);
}

void intro__counts_add(struct intro_executor_statistics *to, const struct intro__counts *counts);

struct intro_executor {
	const struct intro_executor_ops *ops;
	uint32_t pool;
	uint32_t forks; /* of the process that made it (executor.c) */
	unsigned workers;
	uint8_t leaves; /* FUTURE_SPINS, _HELPS, _GUESTS: to the readers of its futures */
	/* Those who call forget; the executor must stay until they are out (future.c). */
	_Atomic uint32_t visitors;
	/* of tasks that no worker ran; by any thread, rarely */
	_Atomic uint64_t cancelled, lost, rejected;
	/* of the options */
	int (*initializer)(struct intro_call *call);
	const void *initarg;
	size_t initarg_size;
	struct intro_check_and_reject reject;
	bool timed;
	unsigned caller_runs;
	bool spawns; /* its workers: functions go to them by number */
	char name[INTRO__NAME_BYTES];
	/* How a thread worker calls a function; NULL: as it is. Set before the first submit. */
	int (*run)(struct intro_executor *executor, intro_task_fn fn, struct intro_call *call);
	struct intro_interpreter *interpreter; /* run's */
};

static inline int intro__executor_call(struct intro_executor *executor, intro_task_fn fn,
				       struct intro_call *call)
{
	return executor->run ? executor->run(executor, fn, call) : fn(call);
}

/* What a thread that runs tasks of an executor is to them: a worker, or a guest. */
struct seat {
	struct intro_executor *executor;
	const char *name;
	unsigned index;
	void *initial;
	struct intro__counts counts;
	struct handlers *handlers; /* of a worker's thread outside of its tasks; NULL: a guest */
	struct seat *outer;	   /* of the same thread: which it was in before (thread_run.c) */
};

/*
 * In a forked child: where a worker forked in its task, what it returns to is the parent's. It runs
 * nothing of that, and the child ends.
 */
void intro__seats_forked(void);

/* Runs a task that was taken from the queue, or tells it that it was cancelled. */
void intro__seat_run(struct seat *seat, struct future *future);

/* A run of a task as the runtime sees it: behind intro_call.runtime. */
struct call_state {
	bool copies;		 /* results are copied: the worker is another process */
	bool spawned;		 /* and was spawned */
	struct segment *segment; /* for large ones; NULL: none */
	uint32_t place;		 /* of the result, there; 0: it is at result.data */
	bool returned;
	bool explained;
	struct intro_result result;
	char text[INTRO_ERROR_TEXT];
	_Alignas(16) unsigned char small[INTRO__SMALL_BYTES]; /* a copy that needs no memory */
};

/* Frees a copy of a result. */
static inline void intro__call_free(struct call_state *state)
{
	if (state->copies && state->result.data != state->small)
		free(state->result.data);
}

/*
 * The caller's options in this library's size: what a caller built with an older header does not
 * know is 0. -E2BIG: it asks for something that this library does not know.
 */
int intro__executor_options(struct intro_executor_options *options,
			    const struct intro_executor_options *given);

unsigned intro__usable_cpus(void);

/* Fills in what all kinds share; the pool's number is claimed. 0 or -errno. */
int intro__executor_init(struct intro_executor *executor, const struct intro_executor_ops *ops,
			 const struct intro_executor_options *options, enum intro_pool_kind kind);
void intro__executor_fini(struct intro_executor *executor);
/* A submit, after its checks: takes hold of the future, which ops->submit then gets. */
int intro__executor_queue(struct intro_executor *executor, struct future *future, uint32_t name,
			  intro_task_fn fn, const void *arg, size_t size);
/* The same for one that is of a pool which was there before it, and stays. */
int intro__executor_init_in(struct intro_executor *executor, const struct intro_executor_ops *ops,
			    const struct intro_executor_options *options, uint32_t pool);
void intro__executor_fini_in(struct intro_executor *executor);
/* Why the pool is broken, copied under its lock; `error` may be NULL. Returns the code; 0: sound.
 */
int intro__executor_broken(pthread_mutex_t *lock, const struct intro_error *broken,
			   struct intro_error *error);

/* The calling process is a forked child of the one that made it. */
bool intro__executor_is_parents(const struct intro_executor *executor);
/* How many forks led to this process, since main. */
uint32_t intro__forks(void);

void intro__numbered_name(const char *pool, unsigned index, char *name, size_t size);
/* "pool/3"; `size` small cuts the pool's part, never the number. */
void intro__worker_name(const struct intro_executor *executor, unsigned index, char *name,
			size_t size);

static inline void intro__count_cancelled(struct intro_executor *executor)
{
	atomic_fetch_add_explicit(&executor->cancelled, 1, memory_order_relaxed);
}

/* For a future that a pool holds and will never run: it fails, or was cancelled and is told so. */
void intro__future_drop(struct future *future, const struct intro_error *error);
/* The same, cancelling it. */
void intro__future_drop_cancelled(struct future *future);

/*
 * Memory for bytes on their way between processes, to be freed by free: huge pages where it is
 * large, as page faults would take three quarters of the time that it takes to fill it.
 */
void *intro__bytes_alloc(size_t size);

/* Every error that is told has a text: where its task gave none, what its code means. */
void intro__error_explain(struct intro_error *error);
/* error->text gets the formatted text, cut. */
void intro__error_set(struct intro_error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
