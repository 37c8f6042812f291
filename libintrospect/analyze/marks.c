// SPDX-License-Identifier: BSD-2-Clause
/* marks.c - what marks do to workers and tasks. */
#include "analyze/state.h"

/* The thread that wrote a mark, booked up to now: it runs. */
static struct thread *marker(struct intro_replay *replay, uint32_t tid)
{
	struct thread *thread = intro__thread_get(replay, tid, intro__thread_first(replay, 0));

	if (thread)
		intro__book_mark(replay, thread);
	return thread;
}

/* Tasks of it that are open although marks of it were lost: they ended, or left, in the gap. */
static void end_unseen(struct intro_replay *replay, struct thread *thread)
{
	for (unsigned i = intro__depth(thread); i--;) {
		struct task *task = thread->work->stack[i];

		if (task->tentative && task->fiber)
			intro__fiber_adrift(replay, task);
		else if (task->tentative)
			intro__task_unseen(replay, task);
	}
}

static void on_worker_start(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct thread *thread = marker(replay, mark->rec.tid);

	if (!thread)
		return;
	end_unseen(replay, thread);
	intro__pool_join(replay, thread, mark->a, mark->b, true);
}

static void on_worker_stop(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct thread *thread = marker(replay, mark->rec.tid);

	if (!thread)
		return;
	end_unseen(replay, thread);
	intro__pool_leave(replay, thread);
	/* without kernel records nothing else will tell that it is gone */
	if (!thread->seen && !intro__depth(thread))
		intro__thread_end(replay, thread, false);
}

static void on_submit(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct task *task = intro__task_find(replay, mark->task);

	marker(replay, mark->rec.tid);
	if (task && task->begin_unseen && task->start && !task->name) {
		/* two rings, one moment: its start was read first */
		task->submit = task->start;
		task->before_ns = 0;
		task->begin_unseen = 0;
		task->name = mark->b;
		return;
	}
	if (task) {
		intro__strange(replay);
		return;
	}
	task = intro__task_new(replay, mark->task, mark->a);
	if (!task)
		return;
	task->name = mark->b;
	task->submit = replay->now;
	task->begin_unseen = 0;
}

static void on_take(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct task *task = intro__task_find(replay, mark->task);
	struct thread *taker;

	marker(replay, mark->rec.tid);
	if (!task)
		task = intro__task_new(replay, mark->task, mark->a);
	if (!task)
		return;
	if (task->phase != PHASE_QUEUED) {
		intro__strange(replay);
		return;
	}
	taker = intro__thread_find(replay, mark->b);
	task->take = replay->now;
	task->take_tid = mark->b;
	task->take_by = mark->rec.tid;
	task->take_serial = taker ? taker->serial : 0;
	task->take_busy = 0;
	if (taker && taker->work) {
		task->take_busy = taker->work->busy_ns;
		if (taker->work->depth)
			task->take_busy += replay->now - taker->work->busy_since;
	}
	if (task->pool) {
		intro__pool_advance(replay, task->pool);
		task->busy_at_take = task->pool->busy_ns;
		task->none_at_take = task->pool->none_ns;
	}
}

static void on_start(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct thread *thread = marker(replay, mark->rec.tid);
	struct task *task;

	if (thread)
		end_unseen(replay, thread);
	task = intro__task_find(replay, mark->task);
	if (!task)
		task = intro__task_new(replay, mark->task, mark->a);
	if (!task)
		return;
	if (task->phase != PHASE_QUEUED) {
		intro__strange(replay);
		return;
	}
	if (thread && !thread->announced && !intro__depth(thread))
		intro__pool_join(replay, thread, mark->a, 0, false);
	task->worker_tid = mark->rec.tid;
	task->fiber = mark->b & INTRO_START_FIBER;
	intro__task_start(replay, task, thread);
}

static void on_end(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct thread *thread = marker(replay, mark->rec.tid);
	struct task *task = intro__task_find(replay, mark->task);

	if (!task)
		task = intro__task_new(replay, mark->task, thread ? thread->pool_id : 0);
	if (!task)
		return;
	if (task->phase >= PHASE_ENDED && !task->unseen) {
		intro__strange(replay);
		return;
	}
	if (task->phase == PHASE_QUEUED) {
		task->worker_tid = mark->rec.tid;
		if (thread)
			thread->tasks++;
	} else if (task->fiber && task->phase == PHASE_RUNNING) {
		task->worker_tid = mark->rec.tid;
		intro__fiber_arrive(replay, task, thread, false);
	}
	intro__task_end(replay, task, mark->a, true);
	if (mark->b & INTRO_END_RESULT)
		intro__task_result(replay, task, mark->a, mark->b);
}

static void on_result(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct task *task = intro__task_find(replay, mark->task);

	marker(replay, mark->rec.tid);
	if (!task || task->phase == PHASE_SET) {
		intro__strange(replay);
		return;
	}
	if (task->phase < PHASE_ENDED)
		intro__task_end(replay, task, mark->a, false);
	intro__task_result(replay, task, mark->a, mark->b);
}

static void on_cancel(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct task *task = intro__task_find(replay, mark->task);

	marker(replay, mark->rec.tid);
	if (!task || task->phase != PHASE_QUEUED) {
		intro__strange(replay);
		return;
	}
	intro__task_cancel(replay, task);
}

static void on_reject(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct pool *pool;

	marker(replay, mark->rec.tid);
	pool = intro__pool_get(replay, mark->a);
	if (pool)
		pool->seen.rejected++;
}

static void on_wait(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct thread *thread = marker(replay, mark->rec.tid);
	struct task *task = intro__task_find(replay, mark->task);

	if (!thread)
		return;
	intro__task_unwait(replay, thread);
	thread->waiting = mark->task;
	if (task)
		task->waiters++;
}

static void on_wake(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct thread *thread = marker(replay, mark->rec.tid);
	struct task *task;

	if (thread)
		intro__task_unwait(replay, thread);
	task = intro__task_find(replay, mark->task);
	if (task && task->phase == PHASE_SET)
		intro__task_wake(replay, task);
}

static void on_mount(struct intro_replay *replay, const struct intro_rec_mark *mark)
{
	struct thread *thread = marker(replay, mark->rec.tid);

	if (thread)
		end_unseen(replay, thread);
	intro__fiber_mount(replay, mark, thread);
}

bool intro__mark_record(struct intro_replay *replay, const struct intro_rec *rec)
{
	const struct intro_rec_mark *mark = (const struct intro_rec_mark *)rec;

	switch (rec->kind) {
	case INTRO_KIND_THREAD:
	case INTRO_KIND_READ:
		marker(replay, rec->tid);
		return true;
	case INTRO_KIND_WORKER_START:
		on_worker_start(replay, mark);
		return true;
	case INTRO_KIND_WORKER_STOP:
		on_worker_stop(replay, mark);
		return true;
	case INTRO_KIND_SUBMIT:
		on_submit(replay, mark);
		return true;
	case INTRO_KIND_TAKE:
		on_take(replay, mark);
		return true;
	case INTRO_KIND_START:
		on_start(replay, mark);
		return true;
	case INTRO_KIND_END:
		on_end(replay, mark);
		return true;
	case INTRO_KIND_RESULT:
		on_result(replay, mark);
		return true;
	case INTRO_KIND_CANCEL:
		on_cancel(replay, mark);
		return true;
	case INTRO_KIND_REJECT:
		on_reject(replay, mark);
		return true;
	case INTRO_KIND_WAIT:
		on_wait(replay, mark);
		return true;
	case INTRO_KIND_WAKE:
		on_wake(replay, mark);
		return true;
	case INTRO_KIND_MOUNT:
		on_mount(replay, mark);
		return true;
	case INTRO_KIND_UNMOUNT:
		intro__fiber_unmount(replay, mark, marker(replay, rec->tid));
		return true;
	case INTRO_KIND_READY:
		marker(replay, rec->tid);
		intro__fiber_ready(replay, mark);
		return true;
	default:
		return false;
	}
}

static void lost_of(struct intro_replay *replay, struct thread *thread, uint64_t until)
{
	if (!intro__depth(thread))
		return;
	intro__book_now(replay, thread);
	for (unsigned i = 0; i < thread->work->depth; i++) {
		struct task *task = thread->work->stack[i];

		if (task->tentative) {
			task->tentative_until = max_u64(task->tentative_until, until);
			continue;
		}
		task->tentative = intro__calloc(replay, sizeof(*task->tentative));
		task->tentative_from = replay->now;
		task->tentative_until = max_u64(until, replay->now);
	}
}

void intro__mark_lost(struct intro_replay *replay, const struct intro_rec_lost *lost)
{
	struct thread *thread;

	replay->mark_gaps++;
	replay->mark_gap_from = replay->now;
	intro__fibers_lost(replay);
	if (lost->rec.tid) {
		thread = intro__thread_find(replay, lost->rec.tid);
		if (thread)
			lost_of(replay, thread, lost->until_ts);
		return;
	}
	/* nobody knows whose they were */
	TAILQ_FOREACH(thread, &replay->all_threads, all)
		lost_of(replay, thread, lost->until_ts);
}
