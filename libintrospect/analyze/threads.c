// SPDX-License-Identifier: BSD-2-Clause
/* threads.c - the threads alive: tid to current incarnation; their birth and death. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

struct thread *intro__thread_find(struct intro_replay *replay, uint32_t tid)
{
	return tid ? intro__map_get(&replay->threads, tid) : NULL;
}

uint64_t intro__thread_first(const struct intro_replay *replay, uint64_t start_time)
{
	/* an earlier incarnation may have lived and died since begin when records were lost */
	uint64_t first = replay->gaps ? replay->now : replay->begin;

	if (start_time)
		first = max_u64(replay->begin, start_time);
	return min_u64(first, replay->now);
}

struct thread *intro__thread_get(struct intro_replay *replay, uint32_t tid, uint64_t first)
{
	struct thread *thread = intro__thread_find(replay, tid);

	if (thread || !tid)
		return thread;
	if (replay->threads_n >= replay->options.max_threads) {
		intro__strange(replay);
		return NULL;
	}
	thread = intro__calloc(replay, sizeof(*thread));
	if (!thread)
		return NULL;
	thread->placement = intro_placement_new(replay->options.topology);
	if (!thread->placement || intro__map_set(&replay->threads, tid, thread)) {
		replay->error = -ENOMEM;
		free(thread->placement);
		free(thread);
		return NULL;
	}
	thread->node = INTRO_NODE_NONE;
	thread->tid = tid;
	thread->serial = ++replay->serial;
	thread->target = true;
	thread->state = INTRO_STATE_UNKNOWN;
	thread->cause = INTRO_UNKNOWN_NO_KERNEL;
	thread->uncertain = true;
	thread->first = thread->since = thread->gap_from = first;
	thread->last_cpu = thread->on_cpu = thread->queue_cpu = CPU_NOWHERE;
	replay->threads_n++;
	TAILQ_INSERT_TAIL(&replay->all_threads, thread, all);
	TAILQ_INSERT_TAIL(&replay->uncertain, thread, certainty);
	return thread;
}

void intro__thread_rename_tid(struct intro_replay *replay, struct thread *thread, uint32_t tid)
{
	intro__map_remove(&replay->threads, thread->tid);
	thread->tid = tid;
	if (intro__map_set(&replay->threads, tid, thread))
		replay->error = -ENOMEM;
}
