// SPDX-License-Identifier: BSD-2-Clause
/*
 * pools.c - pools, their workers, and names. A pool keeps two integrals over time: how long every
 * worker had a task, and how long there was no worker. A queued task takes their difference
 * between submit and start: two subtractions a task, whatever happened in between.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

struct pool *intro__pool_get(struct intro_replay *replay, uint32_t id)
{
	struct pool *pool = intro__map_get(&replay->pools, id);

	if (pool)
		return pool;
	if (id && replay->pools_n >= POOLS_MAX) {
		intro__strange(replay);
		return intro__pool_get(replay, 0);
	}
	pool = intro__calloc(replay, sizeof(*pool));
	if (!pool)
		return NULL;
	if (intro__map_set(&replay->pools, id, pool)) {
		replay->error = -ENOMEM;
		free(pool);
		return NULL;
	}
	pool->id = id;
	pool->until = replay->now;
	if (id)
		snprintf(pool->name, sizeof(pool->name), "pool %u", id);
	else
		snprintf(pool->name, sizeof(pool->name), "(no pool)");
	replay->pools_n++;
	TAILQ_INSERT_TAIL(&replay->all_pools, pool, all);
	return pool;
}

void intro__pool_advance(struct intro_replay *replay, struct pool *pool)
{
	uint64_t ns = replay->now - pool->until;

	if (!pool->alive)
		pool->none_ns += ns;
	else if (pool->busy >= pool->alive)
		pool->busy_ns += ns;
	pool->until = replay->now;
}

void intro__pool_leave(struct intro_replay *replay, struct thread *thread)
{
	struct pool *pool = thread->pool;

	if (!pool)
		return;
	intro__pool_advance(replay, pool);
	pool->alive--;
	if (intro__depth(thread))
		pool->busy--;
	thread->pool = NULL;
}

void intro__pool_join(struct intro_replay *replay, struct thread *thread, uint32_t id,
		      uint32_t index, bool announced)
{
	struct pool *pool = id ? intro__pool_get(replay, id) : NULL;

	if (!pool || !pool->id)
		return;
	if (thread->pool == pool) {
		if (announced)
			thread->worker = index;
		thread->announced |= announced;
		return;
	}
	intro__pool_leave(replay, thread);
	intro__pool_advance(replay, pool);
	thread->pool = pool;
	/* a worker that goes away and comes back is one worker */
	if (thread->pool_id != id)
		pool->seen.workers++;
	thread->pool_id = id;
	thread->worker = announced ? index : pool->seen.workers - 1;
	thread->announced = announced;
	pool->alive++;
	if (intro__depth(thread))
		pool->busy++;
	if (!announced)
		pool->unannounced = true;
	if (!pool->seen.first_ns)
		pool->seen.first_ns = replay->now;
}

void intro__pool_busy(struct intro_replay *replay, struct thread *thread, bool busy)
{
	struct work *work = thread->work;

	if (busy)
		work->busy_since = replay->now;
	else
		work->busy_ns += replay->now - work->busy_since;
	if (!thread->pool)
		return;
	intro__pool_advance(replay, thread->pool);
	if (busy)
		thread->pool->busy++;
	else
		thread->pool->busy--;
}

void intro__pools_finish(struct intro_replay *replay)
{
	struct pool *pool;

	TAILQ_FOREACH(pool, &replay->all_pools, all) {
		pool->seen.id = pool->id;
		pool->seen.name = pool->name;
		pool->seen.kind = pool->kind;
		if (replay->sink.pool)
			replay->sink.pool(replay->sink.ctx, &pool->seen);
	}
}

void intro__define_pool(struct intro_replay *replay, const struct intro_rec_def *def)
{
	struct pool *pool = def->id ? intro__pool_get(replay, def->id) : NULL;

	if (!pool || !pool->id)
		return;
	if (def->pool_kind <= INTRO_POOL_OWN)
		pool->kind = (enum intro_pool_kind)def->pool_kind;
	if (def->name[0])
		snprintf(pool->name, sizeof(pool->name), "%.*s", INTRO_DEF_BYTES - 1, def->name);
}
