/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_PERIODIC_H
#define INTROSPECT_PERIODIC_H
/*
 * periodic.h - functions that are run again and again, with a spacing. Semantics are those of
 * futurist.periodics.PeriodicWorker, under C names.
 *
 *	struct intro_periodic *worker = intro_periodic_new(
 *		&(struct intro_periodic_options){.size = sizeof(struct intro_periodic_options),
 *						 .name = "upkeep"});
 *	intro_periodic_add(worker, &(struct intro_periodic_task){
 *					   .size = sizeof(struct intro_periodic_task),
 *					   .name = "sweep", .fn = sweep, .spacing_ns = 1000000000});
 *	intro_periodic_start(worker, 0);
 *	...
 *	intro_periodic_free(worker);
 *
 * A scheduler thread ("<name>/sched") hands each task to an executor when it is due: to the
 * one given, or to a thread of its own. A task never runs twice at the same time: when it is due
 * next is decided when it ends. Every run is a task with marks, under the task's name, so
 * reports show queue time and run time of each.
 *
 * Times are of CLOCK_MONOTONIC: steps of the wall clock change nothing.
 *
 * Thread-safety: every function may be called from any thread, but new and free; by the tasks
 * too, but free and wait. Ownership: the worker copies the options, a task's struct and its name;
 * what `arg` points to stays the caller's and must stay (a process pool: is copied by add).
 *
 * In a forked child the parent's worker is there no more: its functions give -ESHUTDOWN (count: 0),
 * free does nothing.
 *
 * Where it differs from futurist: start returns, instead of running the loop in its caller;
 * NEVER_AGAIN is a return value; `waited_ns` counts from the moment when a run was due, so it
 * also has the wait behind another task; overruns are counted.
 */
#include <introspect/executor.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct intro_periodic;

/* What a task returns to be run no more. It counts as a success. */
#define INTRO_NEVER_AGAIN 0x5e7e5

/* When a task that has ended is due again. */
enum intro_periodic_schedule {
	/* its start + spacing; at once when that has passed */
	INTRO_PERIODIC_LAST_STARTED = 0,
	/* its end + spacing */
	INTRO_PERIODIC_LAST_FINISHED = 1,
	/* the first multiple of the spacing (of CLOCK_MONOTONIC) after its end */
	INTRO_PERIODIC_ALIGNED_LAST_FINISHED = 2,
};

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_periodic_options {
	size_t size;
	const char *name; /* of the worker, its threads and its pool; default "periodic" */
	/* Runs the tasks; the caller's, must outlive the worker. NULL: one thread of its own. */
	struct intro_executor *executor;
	enum intro_periodic_schedule schedule;
	/* Added to each due time: a random part of the spacing, at most so many percent; 0..100. */
	unsigned jitter_percent;
	/* Called after each run that failed, by the thread that ended it. May be NULL. */
	void (*failed)(unsigned task, const char *name, const struct intro_error *error, void *arg);
	void *failed_arg;
};

struct intro_periodic_task {
	size_t size;
	const char *name; /* of its marks; default "periodic" */
	intro_task_fn fn; /* 0: well; INTRO_NEVER_AGAIN; else it failed, and is run again */
	const void *arg;
	size_t arg_size;      /* process pool: bytes at arg, copied */
	int64_t spacing_ns;   /* > 0 */
	bool run_immediately; /* first due at the start, or when added; else a spacing later */
};

/* What is known of a task's runs. */
struct intro_periodic_watch {
	uint64_t runs; /* ended: successes + failures */
	uint64_t successes;
	uint64_t failures;
	uint64_t overruns;  /* runs that took longer than the spacing */
	int64_t elapsed_ns; /* from start to end, all runs; a failed one of a process: from due */
	int64_t waited_ns;  /* from due to start, all runs */
	bool never_again;   /* it asked to be run no more */
	bool running;	    /* handed to the executor, and not ended */
	int64_t due_in_ns;  /* until its next run; 0: due, running, or never again */
};

/* NULL and errno: EINVAL, E2BIG (options from a newer header), ENOMEM, or the executor's. */
struct intro_periodic *intro_periodic_new(const struct intro_periodic_options *options);
/* Stops, waits for what runs, frees. NULL is fine. */
void intro_periodic_free(struct intro_periodic *worker);

/*
 * Adds a task, also while the worker runs. Its number (0, 1, ...), or -EINVAL (no function, a
 * spacing that is not positive or over 100 years), -E2BIG, -ENOMEM.
 */
int intro_periodic_add(struct intro_periodic *worker, const struct intro_periodic_task *task);

enum intro_periodic_start {
	INTRO_PERIODIC_ALLOW_EMPTY = 1,	  /* with no task to run: waits for one to be added */
	INTRO_PERIODIC_STOP_IF_EMPTY = 2, /* stops by itself when no task wants to run again */
};
/* 0; -EALREADY: it runs, or has run and was not reset; -ENOENT: no task; -EAGAIN: no thread. */
int intro_periodic_start(struct intro_periodic *worker, unsigned flags);
/* No run begins from now on; what runs goes on. 0; -EINVAL when it was never started. */
int intro_periodic_stop(struct intro_periodic *worker);
/*
 * Until it has stopped and nothing runs any more. 0; -ETIMEDOUT; -EINVAL: not started; -EDEADLK
 * from its own task; -EPIPE, -ESHUTDOWN: it has stopped because its executor takes no tasks;
 * -EOWNERDEAD: because its own thread was ended (pthread_exit) by what it called.
 */
int intro_periodic_wait(struct intro_periodic *worker, int64_t timeout_ns);
/* As new, with the same tasks, those that asked for no more included. 0; -EBUSY while it runs. */
int intro_periodic_reset(struct intro_periodic *worker);

unsigned intro_periodic_count(struct intro_periodic *worker);
/* 0 and *watch; -ENOENT: there is no task of that number. */
int intro_periodic_watch(struct intro_periodic *worker, unsigned task,
			 struct intro_periodic_watch *watch);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
