// SPDX-License-Identifier: BSD-2-Clause
/* threads.c - the threads alive: tid to current incarnation; their birth and death. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/replay_impl.h"

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
	if (intro__map_set(&replay->threads, tid, thread)) {
		replay->error = -ENOMEM;
		free(thread);
		return NULL;
	}
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

static void emit(struct intro_replay *replay, const struct thread *thread, bool alive)
{
	struct intro_thread out = {
		.tid = thread->tid,
		.pid = thread->pid,
		.ppid = thread->ppid,
		.start_time = thread->start_time,
		.kernel = thread->kernel,
		.target = thread->target,
		.alive = alive,
		.exit_code = thread->exit_code,
		.first_ns = thread->first,
		.last_ns = thread->since,
		.voluntary = thread->voluntary,
		.involuntary = thread->involuntary,
		.migrations = thread->migrations,
		.runs = thread->runs,
		.wakeups = thread->wakeups,
		.pool = thread->pool_id,
		.worker = thread->worker,
		.tasks = thread->tasks,
		.in_tasks = thread->work ? &thread->work->in_tasks : NULL,
	};

	if (thread->work)
		intro__locks_name(replay, &thread->work->in_tasks);
	memcpy(out.name, thread->comm, sizeof(out.name));
	memcpy(out.states_ns, thread->states_ns, sizeof(out.states_ns));
	memcpy(out.idle_ns, thread->idle_ns, sizeof(out.idle_ns));
	if (replay->sink.thread)
		replay->sink.thread(replay->sink.ctx, &out);
}

void intro__thread_end(struct intro_replay *replay, struct thread *thread, bool alive)
{
	intro__worker_end(replay, thread);
	intro__queue_leave(replay, thread);
	if (thread->on_cpu != CPU_NOWHERE)
		replay->cpus[thread->on_cpu]->current = NULL;
	emit(replay, thread, alive);
	intro__map_remove(&replay->threads, thread->tid);
	TAILQ_REMOVE(&replay->all_threads, thread, all);
	TAILQ_REMOVE(thread->uncertain ? &replay->uncertain : &replay->certain, thread, certainty);
	replay->threads_n--;
	free(thread->work);
	free(thread);
}
