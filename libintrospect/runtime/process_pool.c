/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process_pool.c - the pool that outlives its workers: states, chunks, iterators, on a process
 * executor that replaces workers (process_private.h) and on map. See process_pool.h.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/process_pool.h>

#include "futex.h"
#include "map_private.h"
#include "options.h"
#include "spawn_private.h"

enum pool_state { POOL_RUNNING, POOL_CLOSED, POOL_TERMINATED };

struct intro_process_pool {
	struct intro_executor *executor;
	_Atomic int state; /* enum pool_state; only grows */
};

struct intro_process_pool *intro_process_pool_new(const struct intro_process_pool_options *given)
{
	struct intro_process_pool_options options;
	struct intro_executor_options under = {.size = sizeof(under)};
	struct intro_process_pool *pool;
	int err;

	err = intro__options_take(&options, sizeof(options), given);
	if (err) {
		errno = -err;
		return NULL;
	}
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	under.name = options.name;
	under.workers = options.workers;
	under.initializer = options.initializer;
	under.initarg = options.initarg;
	under.initarg_size = options.initarg_size;
	under.max_tasks_per_worker = options.max_tasks_per_worker;
	under.prefetch = options.prefetch;
	under.start_method = options.start_method;
	pool->executor = intro__process_executor_new(&under, true);
	if (!pool->executor) {
		err = errno;
		free(pool);
		errno = err;
		return NULL;
	}
	return pool;
}

/* Where another was faster the state is at least as far. */
static void advance(struct intro_process_pool *pool, enum pool_state to)
{
	int state = atomic_load(&pool->state);

	while (state < (int)to && !atomic_compare_exchange_weak(&pool->state, &state, (int)to))
		;
}

void intro_process_pool_close(struct intro_process_pool *pool)
{
	advance(pool, POOL_CLOSED);
	intro_executor_shutdown(pool->executor, 0);
}

void intro_process_pool_terminate(struct intro_process_pool *pool)
{
	advance(pool, POOL_TERMINATED);
	intro_executor_shutdown(pool->executor, INTRO_SHUTDOWN_CANCEL_PENDING);
	intro__process_executor_terminate(pool->executor);
}

int intro_process_pool_join(struct intro_process_pool *pool)
{
	if (atomic_load(&pool->state) == POOL_RUNNING)
		return -EBUSY;
	if (intro__process_executor_manages(pool->executor))
		return -EDEADLK;
	intro_executor_shutdown(pool->executor, INTRO_SHUTDOWN_WAIT);
	return 0;
}

void intro_process_pool_free(struct intro_process_pool *pool)
{
	if (!pool)
		return;
	if (atomic_load(&pool->state) == POOL_RUNNING)
		intro_process_pool_terminate(pool);
	intro_executor_free(pool->executor);
	free(pool);
}

/* A terminated pool is broken underneath; what its users did is close it. */
static int refusal(struct intro_process_pool *pool, int err)
{
	return err == -EPIPE && atomic_load(&pool->state) != POOL_RUNNING ? -ESHUTDOWN : err;
}

int intro_process_pool_apply_async(struct intro_process_pool *pool, struct intro_future *future,
				   intro_task_fn fn, const void *arg, size_t size)
{
	return refusal(pool, intro_executor_submit(pool->executor, future, fn, arg, size));
}

int intro_process_pool_apply(struct intro_process_pool *pool, struct intro_future *future,
			     intro_task_fn fn, const void *arg, size_t size,
			     struct intro_result *result)
{
	int err = intro_process_pool_apply_async(pool, future, fn, arg, size);

	return err ? err : intro_future_result(future, INTRO_FOREVER, result);
}

size_t intro_process_pool_chunk(const struct intro_process_pool *pool, size_t n)
{
	size_t parts = 4 * (size_t)pool->executor->workers;

	return n ? n / parts + (n % parts != 0) : 1;
}

int intro_process_pool_map(struct intro_process_pool *pool, intro_task_fn fn, const void *items,
			   size_t n, size_t item_size, size_t chunk, int64_t timeout_ns,
			   intro_map_done_fn done, void *ctx)
{
	int err;

	if (atomic_load(&pool->state) != POOL_RUNNING)
		return -ESHUTDOWN;
	if (!chunk)
		chunk = intro_process_pool_chunk(pool, n);
	err = intro_executor_map(pool->executor, fn, items, n, item_size, chunk, timeout_ns, done,
				 ctx);
	return refusal(pool, err);
}

/* --- starmap: a tuple becomes an item: this, the sizes, then each argument, padded to 16 -------
 */

struct star {
	uint64_t fn; /* as in a request */
	uint64_t n;
	uint64_t size[];
};
#define PAD(bytes) (((bytes) + 15) & ~(size_t)15)

int intro__star(struct intro_call *call)
{
	const struct call_state *state = call->runtime;
	struct intro_arg args[INTRO_STARMAP_ARGS];
	unsigned char *copy = NULL;
	const struct star *star;
	struct star head;
	intro_star_fn fn;
	size_t at;
	int code;

	/* items of a chunk lie behind each other, after a header: only 8 is sure */
	memcpy(&head, call->arg, sizeof(head));
	fn = (intro_star_fn)intro__function_of(head.fn, state->spawned);
	if (!fn)
		return intro__not_registered(call);
	at = PAD(sizeof(head) + head.n * sizeof(head.size[0]));
	copy = aligned_alloc(16, PAD(call->size));
	if (!copy) {
		intro_call_error(call, "no memory for the arguments");
		return -ENOMEM;
	}
	memcpy(copy, call->arg, call->size);
	star = (const struct star *)(const void *)copy;
	for (size_t i = 0; i < head.n; i++) {
		args[i] = (struct intro_arg){.data = copy + at, .size = star->size[i]};
		at += PAD(star->size[i]);
	}
	code = fn(call, args, head.n);
	free(copy);
	return code;
}

/* Bytes of a packed tuple; 0: too many. */
static size_t star_bytes(const struct intro_arg *args, size_t n)
{
	size_t bytes = PAD(sizeof(struct star) + n * sizeof(uint64_t));

	for (size_t i = 0; i < n; i++)
		if (args[i].size > SIZE_MAX / 2 ||
		    __builtin_add_overflow(bytes, PAD(args[i].size), &bytes))
			return 0;
	return bytes;
}

static void star_pack(struct star *star, uint64_t fn, const struct intro_arg *args, size_t n)
{
	unsigned char *at = (unsigned char *)star + PAD(sizeof(*star) + n * sizeof(star->size[0]));

	star->fn = fn;
	star->n = n;
	for (size_t i = 0; i < n; i++) {
		star->size[i] = args[i].size;
		if (args[i].size)
			memcpy(at, args[i].data, args[i].size);
		at += PAD(args[i].size);
	}
}

int intro_process_pool_starmap(struct intro_process_pool *pool, intro_star_fn fn,
			       const struct intro_arg *args, size_t n, size_t per_item,
			       size_t chunk, int64_t timeout_ns, intro_map_done_fn done, void *ctx)
{
	uint64_t wire = intro__function_wire(pool->executor, (void (*)(void))fn);
	size_t item = 0, bytes;
	unsigned char *items;
	int err;

	if (!fn || !done || per_item > INTRO_STARMAP_ARGS || (n && per_item && !args))
		return -EINVAL;
	for (size_t i = 0; per_item && i < n * per_item; i++)
		if (args[i].size && !args[i].data)
			return -EINVAL;
	if (!wire)
		return -ENOENT;
	/* all items are as large as the largest */
	for (size_t i = 0; i < n; i++) {
		bytes = star_bytes(args + i * per_item, per_item);
		if (!bytes)
			return -EMSGSIZE;
		item = bytes > item ? bytes : item;
	}
	items = calloc(n ? n : 1, item ? item : 1);
	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		star_pack((struct star *)(void *)(items + i * item), wire, args + i * per_item,
			  per_item);
	err = intro_process_pool_map(pool, intro__star, items, n, item, chunk, timeout_ns, done,
				     ctx);
	free(items);
	return err;
}

/* --- imap ------------------------------------------------------------------------------------ */

struct intro_imap {
	struct map map;
	struct intro_as_completed *completed; /* NULL: in order */
	struct intro_future **futures;	      /* of the chunks, for `completed` */
	size_t next;			      /* chunk, in order */
	size_t chunk;			      /* the one that is being waited for or given */
	bool waiting;			      /* `chunk` is chosen, not yet given */
	/* the items of a chunk that were given, and not taken: [at, n) */
	struct intro_imap_item *item;
	size_t at, n;
};

static int collect(size_t index, const struct intro_result *result, const struct intro_error *error,
		   void *ctx)
{
	struct intro_imap *it = ctx;
	struct intro_imap_item *item = &it->item[it->n++];

	memset(item, 0, sizeof(*item));
	item->index = index;
	if (error)
		item->error = *error;
	else
		item->result = *result;
	return 0;
}

void intro_imap_free(struct intro_imap *it)
{
	if (!it)
		return;
	intro_as_completed_free(it->completed);
	intro__map_end(&it->map);
	free(it->futures);
	free(it->item);
	free(it);
}

static int watch_completion(struct intro_imap *it)
{
	it->futures = calloc(it->map.chunks ? it->map.chunks : 1, sizeof(struct intro_future *));
	if (!it->futures)
		return -ENOMEM;
	for (size_t i = 0; i < it->map.chunks; i++)
		it->futures[i] = &it->map.future[i];
	it->completed = intro_as_completed_new(it->futures, it->map.chunks);
	return it->completed ? 0 : -ENOMEM;
}

static struct intro_imap *imap_new(struct intro_process_pool *pool, intro_task_fn fn,
				   const void *items, size_t n, size_t item_size, size_t chunk,
				   bool ordered)
{
	struct intro_imap *it = calloc(1, sizeof(*it));
	int err = 0;

	if (!it)
		return NULL;
	it->map = (struct map){.executor = pool->executor,
			       .n = n,
			       .per_chunk = chunk ? chunk : 1,
			       .item_size = item_size,
			       .done = collect,
			       .ctx = it};
	it->item = calloc(it->map.per_chunk < n ? it->map.per_chunk : n + 1, sizeof(*it->item));
	if (atomic_load(&pool->state) != POOL_RUNNING)
		err = -ESHUTDOWN;
	else if (!it->item)
		err = -ENOMEM;
	else
		err = refusal(pool, intro__map_begin(&it->map, fn, items));
	if (!err && !ordered)
		err = watch_completion(it);
	if (err) {
		intro_imap_free(it);
		errno = -err;
		return NULL;
	}
	return it;
}

struct intro_imap *intro_process_pool_imap(struct intro_process_pool *pool, intro_task_fn fn,
					   const void *items, size_t n, size_t item_size,
					   size_t chunk)
{
	return imap_new(pool, fn, items, n, item_size, chunk, true);
}

struct intro_imap *intro_process_pool_imap_unordered(struct intro_process_pool *pool,
						     intro_task_fn fn, const void *items, size_t n,
						     size_t item_size, size_t chunk)
{
	return imap_new(pool, fn, items, n, item_size, chunk, false);
}

/* 1: a chunk is chosen; 0: there is none left; -ETIMEDOUT. */
static int choose_chunk(struct intro_imap *it, int64_t timeout_ns)
{
	if (it->completed)
		return intro_as_completed_next(it->completed, timeout_ns, &it->chunk);
	if (it->next == it->map.chunks)
		return 0;
	it->chunk = it->next++;
	return 1;
}

int intro_imap_next(struct intro_imap *it, int64_t timeout_ns, struct intro_imap_item *item)
{
	int64_t deadline = intro__deadline(timeout_ns);
	int ret;

	while (it->at == it->n) {
		if (!it->waiting) {
			ret = choose_chunk(it, timeout_ns);
			if (ret <= 0)
				return ret;
			it->waiting = true;
		}
		it->at = it->n = 0;
		ret = intro__map_give(&it->map, it->chunk, deadline);
		if (ret)
			return ret;
		it->waiting = false;
	}
	*item = it->item[it->at++];
	return 1;
}

/* --- what is known of it --------------------------------------------------------------------- */

int intro_process_pool_broken(struct intro_process_pool *pool, struct intro_error *error)
{
	return intro_executor_broken(pool->executor, error);
}

unsigned intro_process_pool_workers(const struct intro_process_pool *pool)
{
	return pool->executor->workers;
}

uint32_t intro_process_pool_id(const struct intro_process_pool *pool)
{
	return pool->executor->pool;
}
