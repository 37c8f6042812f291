/* SPDX-License-Identifier: BSD-2-Clause */
/* thread_dynamic.c - how many workers a thread pool has: on demand, or between two bounds. */
#include <errno.h>

#include "thread_private.h"

/* A dynamic pool's thresholds, unless it is told others. */
#define GROW_AT 0.8
#define SHRINK_AT 0.4
#define THRESHOLD_MOST 1000

/* Tasks that run or wait, a thousand for each. */
static uint64_t load_of(struct thread_pool *pool, uint64_t idle)
{
	unsigned live = IDLE_COUNT(idle, IDLE_LIVE);
	unsigned free = IDLE_COUNT(idle, IDLE_SLEEPING) + IDLE_COUNT(idle, IDLE_SEARCHING) +
			IDLE_COUNT(idle, IDLE_STARTING);

	return 1000 * (intro__thread_backlog(pool) + (live > free ? live - free : 0));
}

bool intro__thread_is_short(struct thread_pool *pool, uint64_t idle)
{
	uint64_t live = IDLE_COUNT(idle, IDLE_LIVE);

	return pool->grow_at ? load_of(pool, idle) >= pool->grow_at * live
			     : load_of(pool, idle) > 1000 * live;
}

static bool wants_fewer(struct thread_pool *pool, uint64_t idle)
{
	uint64_t live = IDLE_COUNT(idle, IDLE_LIVE);

	return live > pool->least && load_of(pool, idle) <= pool->shrink_at * live;
}

/* lock is held. Workers that shall leave, linked by `sleeping`, to be woken. */
static struct thread_worker *let_go(struct thread_pool *pool)
{
	struct thread_worker *leaving = NULL, *w;

	while (pool->sleepers && wants_fewer(pool, atomic_load(&pool->idle))) {
		w = intro__thread_pop_sleeper(pool, 0 - IDLE_LIVE);
		w->leaves = true;
		w->sleeping = leaving;
		leaving = w;
	}
	return leaving;
}

int intro__thread_maintain(struct intro_executor *executor)
{
	struct thread_pool *pool = intro__thread_pool(executor);
	struct thread_worker *leaving, *next;
	unsigned live;
	int err = 0;

	if (!pool->grow_at)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&pool->lock);
	if (pool->broken.code)
		err = -EPIPE;
	else if (pool->closed)
		err = -ESHUTDOWN;
	live = 0;
	while (!err && intro__thread_wants_more(pool, atomic_load(&pool->idle)) &&
	       IDLE_COUNT(atomic_load(&pool->idle), IDLE_LIVE) != live) {
		live = IDLE_COUNT(atomic_load(&pool->idle), IDLE_LIVE);
		err = intro__thread_start_worker(pool);
	}
	leaving = err ? NULL : let_go(pool);
	intro__thread_hungry(pool); /* submits may want those back that leave */
	pthread_mutex_unlock(&pool->lock);
	for (; leaving; leaving = next) {
		next = leaving->sleeping; /* its own again once it is awake */
		intro__thread_wake(leaving);
	}
	return err;
}

static int dynamic_options(struct intro_executor_options *options,
			   const struct intro_executor_options *given)
{
	int err = intro__executor_options(options, given);

	if (err)
		return err;
	if (options->binding)
		return -EINVAL;
	options->workers = options->workers ? options->workers : intro__usable_cpus();
	options->min_workers = options->min_workers ? options->min_workers : 1;
	options->grow_at = options->grow_at != 0 ? options->grow_at : GROW_AT;
	options->shrink_at = options->shrink_at != 0 ? options->shrink_at : SHRINK_AT;
	/* written so that not-a-number is refused, too; below a thousandth it would be 0 */
	if (options->min_workers > options->workers || !(options->grow_at <= THRESHOLD_MOST) ||
	    !(options->grow_at >= 0.001) || !(options->shrink_at >= 0) ||
	    !(options->shrink_at < options->grow_at))
		return -EINVAL;
	return 0;
}

struct intro_executor *intro_dynamic_executor_new(const struct intro_executor_options *given)
{
	struct intro_executor_options options;
	int err = dynamic_options(&options, given);
	struct intro_executor *executor = NULL;
	struct thread_pool *pool;

	if (err)
		errno = -err;
	else
		executor = intro__thread_pool_new(&options);
	if (!executor)
		return NULL;
	pool = intro__thread_pool(executor);
	pool->least = options.min_workers;
	pool->grow_at = (unsigned)(options.grow_at * 1000 + 0.5);
	pool->shrink_at = (unsigned)(options.shrink_at * 1000 + 0.5);
	pthread_mutex_lock(&pool->lock);
	while (!err && pool->started < pool->least)
		err = intro__thread_start_worker(pool);
	pthread_mutex_unlock(&pool->lock);
	if (!err)
		return &pool->base;
	intro_executor_free(&pool->base);
	errno = -err;
	return NULL;
}
