/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_PROCESS_POOL_H
#define INTROSPECT_PROCESS_POOL_H
/*
 * process_pool.h - a pool of forked processes that outlives its workers. Semantics are those of
 * Python's multiprocessing.Pool, under C names.
 *
 *	struct intro_process_pool *pool = intro_process_pool_new(
 *		&(struct intro_process_pool_options){.size = sizeof(struct
 *intro_process_pool_options), .name = "squares", .workers = 4}); intro_process_pool_map(pool,
 *square, numbers, n, sizeof(numbers[0]), 0, INTRO_FOREVER, add_up, &sum);
 *	intro_process_pool_close(pool);
 *	intro_process_pool_join(pool);
 *	intro_process_pool_free(pool);
 *
 * What a worker is, what a task's function sees, and how results travel is as for the process
 * executor (executor.h). They part when a worker dies before its time: the executor breaks, the
 * pool puts a new worker in its place. The task that the dead one ran is lost: its future fails
 * with -EOWNERDEAD and a text such as "worker squares/2 (tid 4123) was killed by signal 9 (SIGKILL)
 * during task 17". (In Python nobody is told, and whoever waits for its result waits forever.) Of a
 * lost chunk every item fails so. No task is run twice. What the dead worker had been handed
 * ahead, and cannot have begun, goes to others.
 *
 * A worker that is forked later is a copy of the program as it is then, locks which other threads
 * hold included: what tasks use should not depend on those.
 *
 * In a forked child the parent's pool is there no more: what is submitted gets -ESHUTDOWN, the
 *other functions leave the parent's workers alone. Iterators of it are not to be used there.
 *
 * The pool is RUNNING, then closed or terminated, then joined. Thread-safety: every function may
 * be called from any thread, but new and free. Callbacks of futures run in the pool's manager
 * thread; they may not join.
 */
#include <introspect/executor.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct intro_process_pool;

/* Zero a struct, set size = sizeof, then what you need. As struct intro_executor_options. */
struct intro_process_pool_options {
	size_t size;
	const char *name;
	unsigned workers;			     /* 0: as many as CPUs this process may use */
	int (*initializer)(struct intro_call *call); /* not 0: the pool is broken */
	void *initarg;
	size_t initarg_size;
	unsigned max_tasks_per_worker; /* then a new one takes its place; a chunk is one; 0: no
					  limit */
	unsigned prefetch; /* tasks handed to a worker ahead; 0: 1, or more where they are short */
	enum intro_start_method start_method;
};

/* NULL and errno: EINVAL, E2BIG (options from a newer header), ENOMEM, or fork's. */
struct intro_process_pool *intro_process_pool_new(const struct intro_process_pool_options *options);
/* Terminates what is not closed, joins, frees. NULL is fine. Iterators are to be freed before. */
void intro_process_pool_free(struct intro_process_pool *pool);

/*
 * One call, its result in `future`, which is the caller's (future.h): apply_async returns when it
 * is submitted, apply when it is done, with what intro_future_result returns. -ESHUTDOWN when
 * closed; -EPIPE when broken; -EINVAL; -ENOMEM; -EMSGSIZE. A callback and an error callback:
 * intro_future_add_done_callback.
 */
int intro_process_pool_apply(struct intro_process_pool *pool, struct intro_future *future,
			     intro_task_fn fn, const void *arg, size_t size,
			     struct intro_result *result);
int intro_process_pool_apply_async(struct intro_process_pool *pool, struct intro_future *future,
				   intro_task_fn fn, const void *arg, size_t size);

/*
 * As intro_executor_map. `chunk` items a task; 0: n / (4 * workers), rounded up, which is Python's
 * rule (intro_process_pool_chunk tells).
 */
int intro_process_pool_map(struct intro_process_pool *pool, intro_task_fn fn, const void *items,
			   size_t n, size_t item_size, size_t chunk, int64_t timeout_ns,
			   intro_map_done_fn done, void *ctx);
size_t intro_process_pool_chunk(const struct intro_process_pool *pool, size_t n);

/*
 * starmap: items that are tuples of arguments, of any number and size. The n tuples lie behind
 * each other in `args`, `per_item` arguments each; the function gets its tuple as args[0] ...
 * args[n - 1], each pointing to a copy of its bytes in the worker, aligned to 16.
 */
struct intro_arg {
	const void *data;
	size_t size;
};
typedef int (*intro_star_fn)(struct intro_call *call, const struct intro_arg *args, size_t n);
#define INTRO_STARMAP_ARGS 64 /* per_item at most */
/* As intro_function_register (spawn.h), for spawned workers. */
int intro_function_register_star(const char *name, intro_star_fn fn);
int intro_process_pool_starmap(struct intro_process_pool *pool, intro_star_fn fn,
			       const struct intro_arg *args, size_t n, size_t per_item,
			       size_t chunk, int64_t timeout_ns, intro_map_done_fn done, void *ctx);

/*
 * imap: a map whose results are taken one at a time: in order, or (unordered) as chunks
 * complete. `items` must stay until the iterator is freed; all chunks are submitted at once.
 * chunk 0: 1, as in Python. NULL and errno, as submit. Not thread-safe.
 */
struct intro_imap;
struct intro_imap *intro_process_pool_imap(struct intro_process_pool *pool, intro_task_fn fn,
					   const void *items, size_t n, size_t item_size,
					   size_t chunk);
struct intro_imap *intro_process_pool_imap_unordered(struct intro_process_pool *pool,
						     intro_task_fn fn, const void *items, size_t n,
						     size_t item_size, size_t chunk);
struct intro_imap_item {
	size_t index;		    /* into items */
	struct intro_result result; /* valid until the iterator is freed */
	struct intro_error error;   /* code 0: there is a result */
};
/* 1 and *item; 0 when all were taken; -ETIMEDOUT, then it may be called again; -ENOMEM. */
int intro_imap_next(struct intro_imap *it, int64_t timeout_ns, struct intro_imap_item *item);
/* Cancels what has not begun, waits for what runs. NULL is fine. */
void intro_imap_free(struct intro_imap *it);

/* Nothing is submitted from now on; what was submitted still runs, then the workers end. */
void intro_process_pool_close(struct intro_process_pool *pool);
/*
 * Nothing is submitted from now on, and the workers are killed: what waits is cancelled or fails
 * with -ECANCELED, what runs fails so.
 */
void intro_process_pool_terminate(struct intro_process_pool *pool);
/*
 * Until all workers have ended. 0; -EBUSY: it is neither closed nor terminated; -EDEADLK: from a
 * callback of its own. May be called again.
 */
int intro_process_pool_join(struct intro_process_pool *pool);

/* 0 while sound; else why: an initializer failed, a worker could not be replaced. */
int intro_process_pool_broken(struct intro_process_pool *pool, struct intro_error *error);
unsigned intro_process_pool_workers(const struct intro_process_pool *pool);
uint32_t intro_process_pool_id(const struct intro_process_pool *pool);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
