// SPDX-License-Identifier: BSD-2-Clause
/*
 * fibers.c - tasks that leave their thread and go on later, there or elsewhere.
 *
 * While a fiber is mounted it is on the stack of its thread, as any task that runs. Off its thread
 * it is `off`, for off_cause since off_since, which is booked when its next mark comes. Marks that
 * were lost, of whomever, may have been its own: from then on it is not known where it was, until
 * its next mark tells.
 */
#include "analyze/state.h"

static bool is_unmounted(const struct task *task)
{
	return task->off && task->off_cause != INTRO_UNKNOWN_LOST &&
	       task->off_cause != INTRO_UNKNOWN_NO_KERNEL;
}

static void book_off(struct intro_replay *replay, struct task *task)
{
	intro_ledger_book(task->ledger, (enum intro_cause)task->off_cause, 0,
			  replay->now - task->off_since);
	task->off_since = replay->now;
}

void intro__fiber_off(struct intro_replay *replay, struct task *task, enum intro_cause cause)
{
	task->off = true;
	task->off_cause = (uint16_t)cause;
	task->off_since = replay->now;
	if (is_unmounted(task))
		TAILQ_INSERT_TAIL(&replay->unmounted, task, off_list);
}

void intro__fiber_on(struct intro_replay *replay, struct task *task)
{
	if (!task->off)
		return;
	if (is_unmounted(task))
		TAILQ_REMOVE(&replay->unmounted, task, off_list);
	book_off(replay, task);
	task->off = false;
}

void intro__fiber_adrift(struct intro_replay *replay, struct task *task)
{
	intro__task_leave(replay, task, false);
	intro__fiber_off(replay, task, INTRO_UNKNOWN_LOST);
}

/* Each fiber is told once for each time it was unmounted: cheap in sum. */
void intro__fibers_lost(struct intro_replay *replay)
{
	struct task *task;

	while ((task = TAILQ_FIRST(&replay->unmounted))) {
		intro__fiber_on(replay, task);
		intro__fiber_off(replay, task, INTRO_UNKNOWN_LOST);
	}
}

void intro__fiber_arrive(struct intro_replay *replay, struct task *task, struct thread *thread,
			 bool mounts)
{
	if (task->worker && task->worker == thread && !mounts)
		return;
	if (task->worker) {
		/* it left unseen: in a gap, or somebody does not tell */
		if (!task->tentative)
			intro__strange(replay);
		intro__task_leave(replay, task, false);
	} else {
		if (!mounts && is_unmounted(task))
			intro__strange(replay);
		intro__fiber_on(replay, task);
	}
	if (!intro__task_enter(replay, task, thread))
		intro__fiber_off(replay, task, INTRO_UNKNOWN_NO_KERNEL);
}

/* The fiber that a mark of its life tells of; NULL: it is over. */
static struct task *fiber_of(struct intro_replay *replay, const struct intro_rec_mark *mark,
			     uint32_t pool)
{
	struct task *task = intro__task_find(replay, mark->task);

	if (!task)
		task = intro__task_new(replay, mark->task, pool);
	if (!task)
		return NULL;
	if (task->phase > PHASE_RUNNING) {
		intro__strange(replay);
		return NULL;
	}
	task->fiber = true;
	if (task->phase == PHASE_QUEUED) {
		if (!intro__task_started_unseen(replay, task))
			return NULL;
		intro__fiber_off(replay, task, INTRO_UNKNOWN_LOST);
	} else if (!task->worker && !task->off) {
		/* its worker had no room for it, when nobody knew yet that it is a fiber */
		intro__fiber_off(replay, task, INTRO_UNKNOWN_NO_KERNEL);
		task->off_since = task->start;
	}
	return task;
}

void intro__fiber_mount(struct intro_replay *replay, const struct intro_rec_mark *mark,
			struct thread *thread)
{
	struct task *task = fiber_of(replay, mark, mark->a);

	if (!task)
		return;
	if (thread && !thread->announced && !intro__depth(thread))
		intro__pool_join(replay, thread, mark->a, 0, false);
	task->worker_tid = mark->rec.tid;
	task->mounted_at = replay->now;
	intro__fiber_arrive(replay, task, thread, true);
}

void intro__fiber_unmount(struct intro_replay *replay, const struct intro_rec_mark *mark,
			  struct thread *thread)
{
	struct task *task = fiber_of(replay, mark, thread ? thread->pool_id : 0);
	/* two rings, one moment: what made it ready was read first */
	bool ready = mark->a == INTRO_UNMOUNT_READY || (task && task->ready_at == replay->now);

	if (!task)
		return;
	if (task->worker && task->worker != thread && task->mounted_at == replay->now)
		return; /* likewise: where it went on was read first */
	task->worker_tid = mark->rec.tid;
	intro__fiber_arrive(replay, task, thread, false);
	if (task->off)
		intro__fiber_on(replay, task);
	else
		intro__task_leave(replay, task, false);
	intro__fiber_off(replay, task, ready ? INTRO_UNMOUNTED_READY : INTRO_UNMOUNTED_PARKED);
}

void intro__fiber_ready(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct task *task = intro__task_find(replay, mark->task);

	if (!task)
		return; /* parked since before the trace: its MOUNT will tell */
	task = fiber_of(replay, mark, 0);
	if (!task)
		return;
	if (task->off) {
		if (task->off_cause == INTRO_UNMOUNTED_READY)
			intro__strange(replay);
		intro__fiber_on(replay, task);
	} else if (task->tentative) {
		intro__task_leave(replay, task, false);
	} else {
		task->ready_at = replay->now;
		return;
	}
	intro__fiber_off(replay, task, INTRO_UNMOUNTED_READY);
}
