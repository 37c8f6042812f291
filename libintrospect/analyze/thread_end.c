// SPDX-License-Identifier: BSD-2-Clause
/* thread_end.c - a thread leaves the replay: its tasks, its pool, its place, and who is told. */
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

/* Out of its pool, out of its wait, its tasks lost. */
static void end_work(struct intro_replay *replay, struct thread *thread)
{
	intro__task_unwait(replay, thread);
	while (intro__depth(thread))
		intro__task_end(replay, thread->work->stack[thread->work->depth - 1],
				INTRO_STATUS_LOST, false);
	intro__pool_leave(replay, thread);
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
		.early_ns = thread->early_ns,
		.migrations = intro_placement_moved(thread->placement),
		.placement = thread->placement,
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
	end_work(replay, thread);
	intro__queue_leave(replay, thread);
	if (thread->on_cpu != CPU_NOWHERE)
		replay->cpus[thread->on_cpu]->current = NULL;
	emit(replay, thread, alive);
	intro__map_remove(&replay->threads, thread->tid);
	TAILQ_REMOVE(&replay->all_threads, thread, all);
	TAILQ_REMOVE(thread->uncertain ? &replay->uncertain : &replay->certain, thread, certainty);
	replay->threads_n--;
	free(thread->work);
	free(thread->placement);
	free(thread);
}
