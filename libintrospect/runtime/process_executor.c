/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process_executor.c - a pool of forked processes, as its users see it. What its manager thread
 * does: process_manager.c.
 *
 * A submitter that finds a worker with room puts a small task into that worker's ring itself; else
 * into the queue, and wakes the manager if that sleeps and some worker has room.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "child.h"
#include "join.h"
#include "marks_private.h"
#include "process_manager.h"
#include "spawn_private.h"

/* More belongs into shared memory. */
#define PAYLOAD_MAX SEGMENT_BYTES

/* What a submitter hands to a worker itself: the lock is held meanwhile. */
#define DIRECT_BYTES 4096

static struct process_pool *pool_of(struct intro_executor *executor)
{
	return (struct process_pool *)executor;
}

/* The payload goes into the future, into the segment, or into memory of its own. */
static int copy_payload(struct process_pool *pool, struct future *f)
{
	void *copy = f->work.inlined;

	if (f->work.size > PAYLOAD_MAX)
		return -EMSGSIZE;
	if (f->work.size && !f->work.arg)
		return -EINVAL;
	if (f->work.size >= SEGMENT_PAYLOAD) {
		int was = intro__cancel_forbid();

		f->work.place = intro__segment_put(&pool->payloads, f->work.arg, f->work.size);
		intro__cancel_allow(was);
		if (f->work.place) {
			f->work.arg = NULL;
			return 0;
		}
	}
	if (f->work.size > INTRO__INLINE_BYTES && !(copy = intro__bytes_alloc(f->work.size)))
		return -ENOMEM;
	if (f->work.size)
		memcpy(copy, f->work.arg, f->work.size);
	f->work.arg = copy;
	return 0;
}

void intro__payload_free(struct future *f)
{
	uint32_t place = payload_place(f);

	if (place)
		intro__segment_free(&pool_of(f->executor)->payloads, place, f->work.size);
	else if (f->work.size > INTRO__INLINE_BYTES)
		free((void *)f->work.arg);
	f->work.size = 0;
}

/* Whether a worker has it now. Under the lock. */
static bool hand_directly(struct process_pool *pool, struct future *f)
{
	struct link *link;

	if (pool->queue.first || pool->again.first || payload_in_ring(f) > DIRECT_BYTES)
		return false;
	link = intro__process_pool_choose(pool, payload_in_ring(f));
	if (!link || !intro__future_leave_pending(f, INTRO_FUTURE_RUNNING))
		return false;
	intro__process_pool_hand(pool, link, f);
	return true;
}

static int process_submit(struct intro_executor *executor, struct future *f)
{
	struct process_pool *pool = pool_of(executor);
	bool wake = false;
	int err;

	if (!intro__function_wire(executor, (void (*)(void))f->work.fn))
		return -ENOENT;
	err = copy_payload(pool, f);
	if (err)
		return err;
	pthread_mutex_lock(&pool->lock);
	if (pool->broken.code) {
		err = -EPIPE;
	} else if (pool->closed) {
		err = -ESHUTDOWN;
	} else {
		intro_mark_submit(intro_future_id(intro__public(f)), executor->pool, f->name);
		pool->submitted++;
		if (!hand_directly(pool, f)) {
			queue_push(&pool->queue, f);
			wake = pool->hungry;
			pool->hungry = false;
		}
	}
	pthread_mutex_unlock(&pool->lock);
	if (err)
		intro__payload_free(f);
	if (wake)
		intro__process_pool_wake_manager(pool);
	return err;
}

static bool process_forget(struct intro_executor *executor, struct future *f)
{
	struct process_pool *pool = pool_of(executor);
	bool queued;

	pthread_mutex_lock(&pool->lock);
	queued = queue_has(&pool->queue, f);
	if (queued) {
		queue_remove(&pool->queue, f);
		intro__payload_free(f);
		intro__count_cancelled(executor);
	}
	pthread_mutex_unlock(&pool->lock);
	return queued;
}

static uint64_t process_backlog(struct intro_executor *executor)
{
	return queue_length(&pool_of(executor)->queue);
}

static void process_statistics(struct intro_executor *executor,
			       struct intro_executor_statistics *to)
{
	struct process_pool *pool = pool_of(executor);

	for (unsigned i = 0; i < executor->workers; i++)
		intro__counts_add(to, &pool->link[i].counts);
	pthread_mutex_lock(&pool->lock);
	to->submitted = pool->submitted;
	pthread_mutex_unlock(&pool->lock);
	to->workers = pool->alive;
}

static void wake_manager(void *pool)
{
	intro__process_pool_wake_manager(pool);
}

static void process_shutdown(struct intro_executor *executor, unsigned flags)
{
	struct process_pool *pool = pool_of(executor);

	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	pthread_mutex_unlock(&pool->lock);
	pthread_cleanup_push(wake_manager, pool);
	if (flags & INTRO_SHUTDOWN_CANCEL_PENDING)
		intro__process_pool_drop_queue(pool, NULL);
	pthread_cleanup_pop(1);
	/* a callback runs in the manager, which cannot wait for itself */
	if (!(flags & INTRO_SHUTDOWN_WAIT) || intro__process_manages() == pool)
		return;
	pthread_mutex_lock(&pool->join_lock);
	if (!pool->joined)
		pthread_join(pool->manager, NULL);
	pool->joined = true;
	pthread_mutex_unlock(&pool->join_lock);
}

static int process_broken(struct intro_executor *executor, struct intro_error *error)
{
	struct process_pool *pool = pool_of(executor);

	return intro__executor_broken(&pool->lock, &pool->broken, error);
}

static void process_free(struct intro_executor *executor)
{
	struct process_pool *pool = pool_of(executor);

	intro__executor_fini(executor);
	for (unsigned i = 0; i < executor->workers; i++)
		intro__link_close(&pool->link[i]);
	intro__segment_fini(&pool->payloads);
	intro__segments_close(&pool->segments);
	if (pool->event >= 0)
		close(pool->event);
	pthread_mutex_destroy(&pool->join_lock);
	pthread_cond_destroy(&pool->born_cond);
	pthread_mutex_destroy(&pool->lock);
	free(pool->others);
	free(pool->polled);
	free(pool);
}

static const struct intro_executor_ops process_ops = {
	.submit = process_submit,
	.forget = process_forget,
	.shutdown = process_shutdown,
	.broken = process_broken,
	.free = process_free,
	.backlog = process_backlog,
	.statistics = process_statistics,
	.shares_memory = false,
};

/* NULL and errno; then base->pool is released. */
static struct process_pool *pool_alloc(const struct intro_executor *base,
				       const struct intro_executor_options *options, bool replaces)
{
	struct process_pool *pool =
		calloc(1, sizeof(*pool) + base->workers * sizeof(pool->link[0]));
	pthread_mutexattr_t adaptive;
	int err;

	if (!pool) {
		intro__pool_release(base->pool);
		errno = ENOMEM;
		return NULL;
	}
	pool->base = *base;
	pool->may_spin = intro__usable_cpus() > 1;
	pool->prefetch = options->prefetch;
	pool->max_tasks = options->max_tasks_per_worker;
	pool->replaces = replaces;
	pool->parent = getpid();
	/* held for less than a sleep takes */
	pthread_mutexattr_init(&adaptive);
	pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&pool->lock, &adaptive);
	pthread_mutexattr_destroy(&adaptive);
	pthread_cond_init(&pool->born_cond, NULL);
	pthread_mutex_init(&pool->join_lock, NULL);
	/* without them all goes through the rings */
	intro__segments_new(&pool->segments, SEGMENT_OF_RESULTS(base->workers));
	intro__segment_init(&pool->payloads, &pool->segments, SEGMENT_OF_PAYLOADS, PAYLOADS_MOST,
			    PAYLOADS_BLOCKS);
	for (unsigned i = 0; i < base->workers; i++)
		pool->link[i] = (struct link){.executor = &pool->base,
					      .index = i,
					      .bell = -1,
					      .pidfd = -1,
					      .segments = &pool->segments,
					      .keeps = replaces};
	pool->polled = calloc(1 + 2 * (size_t)base->workers, sizeof(*pool->polled));
	pool->others = calloc(1 + 2 * (size_t)base->workers, sizeof(*pool->others));
	pool->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->polled && pool->others && pool->event >= 0) {
		pool->polled[0] = (struct pollfd){.fd = pool->event, .events = POLLIN};
		return pool;
	}
	err = errno;
	process_free(&pool->base);
	errno = err;
	return NULL;
}

/* Returns when all workers are forked. 0 or -errno; then there is no manager any more. */
static int start_manager(struct process_pool *pool)
{
	int err;

	intro__signals_block(&pool->signals);
	err = -pthread_create(&pool->manager, NULL, intro__process_manager, pool);
	pthread_sigmask(SIG_SETMASK, &pool->signals, NULL);
	if (err)
		return err;
	pthread_mutex_lock(&pool->lock);
	while (pool->born == BIRTH_UNKNOWN)
		pthread_cond_wait(&pool->born_cond, &pool->lock);
	err = pool->birth_error;
	pthread_mutex_unlock(&pool->lock);
	if (err)
		pthread_join(pool->manager, NULL);
	return err;
}

/* Whether spawned workers would find their way. */
static int can_start(const struct intro_executor *base)
{
	if (!base->spawns)
		return 0;
	if (!intro__may_spawn())
		return -ENOTSUP;
	if (base->initarg_size && !base->initarg)
		return -EINVAL;
	return base->initializer && !intro__function_wire(base, (void (*)(void))base->initializer)
		       ? -ENOENT
		       : 0;
}

struct intro_executor *intro__process_executor_new(const struct intro_executor_options *given,
						   bool replaces)
{
	struct intro_executor_options options;
	struct intro_executor base = {0};
	struct process_pool *pool;
	int err, was;

	err = intro__executor_options(&options, given);
	if (!err && (options.prefetch >= UINT_MAX || options.start_method > INTRO_START_SPAWN))
		err = -EINVAL;
	if (!err)
		err = intro__executor_init(&base, &process_ops, &options, INTRO_POOL_PROCESS);
	if (!err) {
		err = can_start(&base);
		if (err)
			intro__pool_release(base.pool);
	}
	if (err) {
		errno = -err;
		return NULL;
	}
	pool = pool_alloc(&base, &options, replaces);
	if (!pool)
		return NULL;
	was = intro__cancel_forbid();
	err = start_manager(pool);
	intro__cancel_allow(was);
	if (err) {
		process_free(&pool->base);
		errno = -err;
		return NULL;
	}
	return &pool->base;
}

struct intro_executor *intro_process_executor_new(const struct intro_executor_options *options)
{
	return intro__process_executor_new(options, false);
}

void intro__process_executor_terminate(struct intro_executor *executor)
{
	struct process_pool *pool = pool_of(executor);

	if (intro__executor_is_parents(executor))
		return;
	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	pool->terminated = true;
	pthread_mutex_unlock(&pool->lock);
	intro__process_pool_wake_manager(pool);
}

bool intro__process_executor_manages(const struct intro_executor *executor)
{
	struct process_pool *pool = intro__process_manages();

	return pool && &pool->base == executor;
}
