/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_EXECUTOR_H
#define INTROSPECT_EXECUTOR_H
/*
 * executor.h - one interface to pools of workers: threads (intro_thread_executor_new) or forked
 * processes (intro_process_executor_new). Semantics are those of Python's
 * concurrent.futures.Executor, under C names. Every pool marks its tasks (mark.h).
 *
 *	struct intro_executor *pool = intro_thread_executor_new(
 *		&(struct intro_executor_options){.size = sizeof(struct intro_executor_options),
 *						 .name = "resize", .workers = 4});
 *	struct intro_future future;
 *	intro_future_init(&future);
 *	intro_executor_submit(pool, &future, resize, photo, 0);
 *	intro_future_result(&future, INTRO_FOREVER, &result);
 *	intro_future_destroy(&future);
 *	intro_executor_free(pool);
 *
 * Thread-safety: every function may be called from any thread, but new/free. Tasks and callbacks
 *may call them too, free excepted; a shutdown from within its own pool does not wait.
 *
 * A thread pool is one queue; callbacks run in the worker that ended the task.
 *
 * A program with pools may fork at any time, and make other pools in the child. In the child the
 * parent's are there no more: submit, maintain and statistics give -ESHUTDOWN, shutdown and free
 * do nothing; futures of theirs that were not done will not be, and are not to be waited for or
 * destroyed. (Python's would take work that nobody does.)
 *
 * At exit nobody waits for a pool that was not freed (Python's run what is queued): futures are the
 * program's own memory, and those on main's stack are gone then.
 *
 * A process pool forks its workers in new, from a thread of its own ("<name>/mgr"), in which
 * callbacks run as well. What a worker is:
 *   - a copy of the program as it was at new: functions must be known then (a library
 *     loaded later is not), memory is not shared, descriptors are;
 *   - named "<name>/<index>" (prctl), with the signal mask of the thread that called new; handlers
 *of the program's are reset to the default, those of faults excepted;
 *   - deaf to SIGINT: a terminal sends that to the parent too, which decides (what the worker
 *     exec's inherits this);
 *   - killed when the parent dies, whatever it does then.
 * A worker that ends before its time, however, breaks the pool: the other workers are killed and
 * reaped, then all futures that are not done fail with -EPIPE and a text such as "worker resize/2
 * (tid 4123) was killed by signal 9 (SIGKILL) during task 17"; submit gives -EPIPE from then on.
 *
 * Requests and results go through memory that the pool shares with each worker; large payloads
 *(from 128 KiB on) through a segment of shared memory in which the function finds them, large
 *results through another. What a worker is handed ahead, so that it need not wait for its next
 *task, waits behind the one it runs, and is RUNNING: it cannot be cancelled any more. Unless
 *options.prefetch says how many, that is one task, or where tasks are short so many as take 200 us
 *together (255 at most). When a task takes long all the same (1 ms), and another worker has nothing
 *to do, that one gets what waits behind.
 */
#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct intro_executor;

/*
 * One run of a task, as its function sees it; valid until the function returns.
 *   thread pool:  arg is the submitter's pointer, untouched; size as given.
 *   process pool: arg points to a copy of the submitter's `size` bytes, in the worker.
 */
struct intro_call {
	const void *arg;
	size_t size;
	const char *worker; /* the worker's name, "resize/2" */
	unsigned index;	    /* the worker's index in its pool */
	uint64_t task;	    /* the number its marks carry (of map: the chunk's); initializer: 0 */
	void *initial;	    /* what the initializer stored in this worker */
	void *runtime;	    /* the runtime's own */
};

/*
 * The function of a task. Returns 0, or an error code (its future then has that error).
 * Before it returns it may give a result or an error text, each at most once.
 *
 * It may also end its thread, by pthread_exit or by being cancelled, as SystemExit may end a task
 * of Python's: its cleanup handlers are called, then the task fails with -EOWNERDEAD and the text
 * that it gave, or one that says so; with it fail the tasks which that thread was in the middle of.
 * In a thread pool another thread takes the worker's place, and its initializer is run again. In
 * a process pool that is the end of a worker: see above. Who leaves it by longjmp leaves a task
 * that never ends, as does who ends its thread from code without unwind tables, which compilers
 * make unless told not to.
 */
typedef int (*intro_task_fn)(struct intro_call *call);

/*
 * thread pool: the pointer is passed on as it is; process pool: `size` bytes are copied now. 0;
 * -EALREADY the second time; -ENOMEM.
 */
int intro_call_return(struct intro_call *call, void *data, size_t size);
/*
 * The text that goes with the error code, one line; cut at INTRO_ERROR_TEXT - 1. The first one
 * counts. Without one an error has the text of its code: that of a negative errno, or "failed with
 * 7".
 */
void intro_call_error(struct intro_call *call, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Asked before each submit: 0 lets it in; anything else is what submit returns, -EBUSY when it is
 * positive. `backlog`: how many tasks wait in the pool's queue. Called by the submitter's thread.
 */
struct intro_check_and_reject {
	int (*fn)(struct intro_executor *executor, uint64_t backlog, void *arg);
	void *arg;
};
/* Rejects (-EBUSY) when `max_backlog` tasks wait or more: as futurist.rejection's of that name. */
struct intro_check_and_reject intro_reject_when_reached(uint64_t max_backlog);

/* How a process pool makes workers. */
enum intro_start_method {
	INTRO_START_FORK = 0,  /* copies of this process as it is then */
	INTRO_START_SPAWN = 1, /* this program, executed anew: spawn.h */
};

/*
 * Where a thread pool's workers run. Bound ones are all started at once, the nodes that have CPUs
 * which this process may use taking turns; a core is all its hardware threads. Such a pool has a
 * queue for each node: a task goes to the node that its submitter runs on, unless
 * intro_executor_submit_near says which. A worker takes tasks of its own node first, then of
 * others, near before far; so no worker idles while any task waits, and tasks of one submitter may
 * start in another order than they were submitted in. With one node, binding is all there is.
 */
enum intro_binding {
	INTRO_BIND_NONE = 0,  /* the scheduler decides; one queue */
	INTRO_BIND_NODES = 1, /* to all CPUs of a node */
	INTRO_BIND_CORES = 2, /* to a core; several to one when there are more workers than cores */
};

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_executor_options {
	size_t size;
	const char *name; /* of the pool and the prefix of its workers' names; default "pool" */
	unsigned workers; /* 0: as many as CPUs this process may use */
	/*
	 * Run by each worker before its first task; not 0: the pool is broken. A process
	 * pool's workers see initarg as it was at new; a thread pool's may run it at any time.
	 */
	int (*initializer)(struct intro_call *call); /* may store to call->initial */
	void *initarg;				     /* call->arg of the initializer */
	size_t initarg_size;
	/* process pool: tasks handed to a worker ahead; 0: 1, or more where tasks are short */
	unsigned prefetch;
	/* process pool: after so many a worker ends, and a new one takes its place; 0: no limit */
	unsigned max_tasks_per_worker;
	/* All pools: */
	struct intro_check_and_reject check_and_reject; /* fn NULL: nothing is rejected */
	bool timed; /* statistics have times: three looks at the clock a task */
	/* A dynamic pool: `workers` is the most it has. */
	unsigned min_workers;	   /* 0: 1 */
	double grow_at, shrink_at; /* (busy + queued) / workers; 0: 0.8 and 0.4 */
	/*
	 * Thread pools: whoever waits without a limit of time, in intro_future_result, _error or
	 * intro_future_wait for all, runs those of the tasks it waits for that no worker has begun,
	 * on its own thread and stack, as a guest: call->worker is "<name>/guest", call->index
	 * `workers` (of every guest). So there may be as many tasks more at a time than workers as
	 * there are threads that wait. No initializer then (EINVAL); and the pool is freed when
	 * nobody waits for its futures any more.
	 */
	bool waiters_help;
	/* Process pools: */
	enum intro_start_method start_method;
	enum intro_binding binding; /* thread pool; of all other kinds EINVAL */
	/*
	 * Thread pools: a submit that finds so many tasks waiting runs its own on the spot, in the
	 * calling thread, as a guest would, and so do those after it, until half of what waited has
	 * been begun; 0: never. (Java's CallerRunsPolicy.) Where tasks prove to be shorter than
	 * what it takes to queue them, some 100 ns, they do so until a worker has nothing to do. It
	 * keeps those who submit from running ahead of the workers, and spares short tasks the
	 * queue. Such a task is over when submit returns, with its result or error in its future.
	 * So submit may take as long as the task: who holds a lock over submit must not submit what
	 * takes it. Not in a callback or on a fiber, nor in a hundred tasks within each other:
	 * there tasks are queued. check_and_reject comes first. EINVAL: with an initializer, of an
	 * interpreter's pool, of all other kinds.
	 */
	unsigned caller_runs;
};

/*
 * NULL and errno (EINVAL, E2BIG: options from a newer header, ENOMEM, or fork's). Thread workers
 * start on demand, while none is idle, and bound ones at once, as processes do. To spawn: ENOTSUP
 * before intro_process_main, ENOENT: the initializer is not registered.
 */
struct intro_executor *intro_thread_executor_new(const struct intro_executor_options *options);
struct intro_executor *intro_process_executor_new(const struct intro_executor_options *options);

/*
 * A pool of threads that grows and shrinks between its bounds, as futurist's
 * DynamicThreadPoolExecutor. min_workers are there from new on. A submit adds a worker when (busy +
 * queued) / workers has reached grow_at. Idle workers leave in intro_executor_maintain alone, to be
 * called now and then, by a periodic worker, say. EINVAL: min_workers above workers, a threshold
 * that is negative or above 1000, shrink_at not below grow_at.
 */
struct intro_executor *intro_dynamic_executor_new(const struct intro_executor_options *options);
/*
 * Adds workers while (busy + queued) / workers >= grow_at, else lets idle ones go while it is <=
 * shrink_at. 0; -EOPNOTSUPP: not a dynamic pool; -ESHUTDOWN; -EPIPE; -EAGAIN: no thread to be had.
 */
int intro_executor_maintain(struct intro_executor *executor);

/*
 * Hands `fn(arg, size)` to the pool; `future` is initialised, PENDING and not yet submitted (nor
 * being submitted or ended by another thread; one may cancel it or wait for it meanwhile), and
 * stays the caller's memory. A process pool copies the bytes before it returns. 0;
 * -ESHUTDOWN after shutdown; -EPIPE when the pool is broken; -EINVAL; -ENOMEM; -EAGAIN when there
 * is no thread to run it; process pools: -EMSGSIZE beyond 1 GiB, -ENOENT when workers are spawned
 * and fn is not registered (spawn.h); -EBUSY, or what check_and_reject returned: rejected. Then the
 * future is as it was.
 */
int intro_executor_submit(struct intro_executor *executor, struct intro_future *future,
			  intro_task_fn fn, const void *arg, size_t size);
/* The same under a name for the task (intro_mark_name), which reports group by. */
int intro_executor_submit_named(struct intro_executor *executor, struct intro_future *future,
				uint32_t name, intro_task_fn fn, const void *arg, size_t size);
/*
 * The same, for the workers of a node (intro_node_of tells where data is), or of the nearest that
 * has any; others take it when these are busy. In a pool whose workers are not bound the node
 * says nothing. -EINVAL: no node has such a number.
 */
int intro_executor_submit_near(struct intro_executor *executor, struct intro_future *future,
			       uint32_t node, uint32_t name, intro_task_fn fn, const void *arg,
			       size_t size);

/*
 * fn over n items of item_size bytes each, `chunk` items a task (0: 1); for each item in
 * order, as its result comes: done(index, result or NULL, error or NULL, ctx); done may return not
 * 0 to stop, which cancels the rest. Returns 0; the first not-0 of done; -ETIMEDOUT; as submit.
 * Thread pools see a pointer into `items`, process pools a copy of the item's bytes. An item
 * that fails does not keep the others of its chunk from running. A process's result is valid only
 * within done. When map returns early it has waited for the chunks that were running.
 */
typedef int (*intro_map_done_fn)(size_t index, const struct intro_result *result,
				 const struct intro_error *error, void *ctx);
int intro_executor_map(struct intro_executor *executor, intro_task_fn fn, const void *items,
		       size_t n, size_t item_size, size_t chunk, int64_t timeout_ns,
		       intro_map_done_fn done, void *ctx);

enum intro_shutdown {
	INTRO_SHUTDOWN_WAIT = 1,	   /* return when all workers are gone */
	INTRO_SHUTDOWN_CANCEL_PENDING = 2, /* cancel what has not started */
};
/* No submit succeeds from now on; what was submitted still runs. May be called again. */
void intro_executor_shutdown(struct intro_executor *executor, unsigned flags);
/* Shuts down, waits, frees. NULL is fine. Futures stay valid; their owner destroys them. */
void intro_executor_free(struct intro_executor *executor);

/*
 * What a pool has done until now, as futurist's ExecutorStatistics. Taken while tasks run, numbers
 * may differ by those that are just ending. submitted = executed + cancelled + lost + those that
 * wait or run. Times are of `timed` tasks: those of a pool whose options say so, all but lost ones.
 */
struct intro_executor_statistics {
	size_t size; /* set by the caller: sizeof */
	uint64_t submitted;
	uint64_t executed;			  /* to their end, failures included */
	uint64_t failures;			  /* the function returned an error */
	uint64_t cancelled;			  /* before they ran */
	uint64_t lost;				  /* failed because the pool broke */
	uint64_t rejected;			  /* by check_and_reject; not in submitted */
	uint64_t backlog;			  /* tasks in the queue now */
	uint64_t workers;			  /* there now */
	uint64_t timed;				  /* executed ones whose times were taken */
	uint64_t queued_ns;			  /* sum: submit to start */
	uint64_t run_ns;			  /* sum: start to end of the function */
	double average_queued_ns, average_run_ns; /* 0: none was timed */
};
/* 0; -EINVAL: no size; -ESHUTDOWN: see above. */
int intro_executor_statistics(struct intro_executor *executor,
			      struct intro_executor_statistics *statistics);

/* 0 while sound; else why it is broken: names the worker and its signal or status. */
int intro_executor_broken(struct intro_executor *executor, struct intro_error *error);
/* How many workers it may have. */
unsigned intro_executor_workers(const struct intro_executor *executor);
uint32_t intro_executor_pool_id(const struct intro_executor *executor);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
