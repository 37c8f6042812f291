// SPDX-License-Identifier: BSD-2-Clause
/* tasks.c - the life of a task, from submit to done, and its ledger. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

/* How long, and how many, tasks that ended are kept for a RESULT or WAKE that may yet come. */
#define EXPIRE_NS (10ull * 1000 * 1000 * 1000)
#define ENDED_MAX 8192

const char *intro_task_status_text(enum intro_task_status status)
{
	switch (status) {
	case INTRO_TASK_FINISHED:
		return "finished";
	case INTRO_TASK_FAILED:
		return "failed";
	case INTRO_TASK_CANCELLED:
		return "cancelled";
	case INTRO_TASK_LOST:
		return "lost";
	case INTRO_TASK_QUEUED:
		return "queued";
	case INTRO_TASK_RUNNING:
		return "running";
	case INTRO_TASK_UNSEEN:
		return "unseen";
	}
	return "?";
}

struct task *intro__task_find(struct intro_replay *replay, uint64_t id)
{
	return id ? intro__map_get(&replay->tasks, id) : NULL;
}

struct task *intro__task_new(struct intro_replay *replay, uint64_t id, uint32_t pool_id)
{
	struct task *task;

	if (!id) {
		intro__strange(replay);
		return NULL;
	}
	if (replay->tasks_n >= replay->options.max_tasks) {
		replay->totals.dropped_tasks++;
		return NULL;
	}
	task = intro__calloc(replay, sizeof(*task));
	if (!task)
		return NULL;
	if (intro__map_set(&replay->tasks, id, task)) {
		replay->error = -ENOMEM;
		free(task);
		return NULL;
	}
	replay->tasks_n++;
	TAILQ_INSERT_TAIL(&replay->all_tasks, task, all);
	task->id = id;
	task->gaps_at_submit = replay->mark_gaps;
	/* until its SUBMIT is seen it was submitted before the trace began, or in a gap */
	task->submit = replay->mark_gaps ? replay->mark_gap_from : replay->begin;
	task->begin_unseen = replay->mark_gaps ? INTRO_UNKNOWN_LOST : INTRO_UNKNOWN_BEGIN;
	task->pool = intro__pool_get(replay, pool_id);
	if (task->pool) {
		intro__pool_advance(replay, task->pool);
		task->busy_at_submit = task->pool->busy_ns;
		task->none_at_submit = task->pool->none_ns;
		task->pool->seen.submitted++;
		if (!task->pool->seen.first_ns)
			task->pool->seen.first_ns = replay->now;
	}
	return task;
}

static void unlist(struct intro_replay *replay, struct task *task)
{
	if (!task->listed)
		return;
	TAILQ_REMOVE(&replay->ended, task, ended);
	task->listed = false;
	replay->ended_n--;
}

static void list(struct intro_replay *replay, struct task *task)
{
	unlist(replay, task);
	TAILQ_INSERT_TAIL(&replay->ended, task, ended);
	task->listed = true;
	task->listed_ns = replay->now;
	replay->ended_n++;
}

void intro__task_free(struct intro_replay *replay, struct task *task)
{
	unlist(replay, task);
	if (task->off)
		intro__fiber_on(replay, task); /* a replay that was not finished */
	intro__map_remove(&replay->tasks, task->id);
	TAILQ_REMOVE(&replay->all_tasks, task, all);
	replay->tasks_n--;
	free(task->ledger);
	free(task->tentative);
	free(task->placement);
	free(task);
}

/* --- the queue ---------------------------------------------------------------------------------
 */

static void book_queued(struct task *task, enum intro_cause cause, uint64_t *left, uint64_t ns)
{
	ns = min_u64(ns, *left);
	*left -= ns;
	task->queued[cause] += ns;
}

/* The part of a wait for which all workers had tasks, or there were none; returns the rest. */
static uint64_t book_no_worker(struct task *task, uint64_t ns, uint64_t busy, uint64_t none)
{
	book_queued(task, INTRO_QUEUED_BUSY, &ns, busy);
	/* workers which were not announced are seen by their first task only: they were busy */
	book_queued(task, task->pool->unannounced ? INTRO_QUEUED_BUSY : INTRO_QUEUED_STARTING, &ns,
		    none);
	return ns;
}

/* submit -> now, of a task that was handed over to `worker` and waited there. */
static void split_handed(struct intro_replay *replay, struct task *task,
			 const struct thread *worker)
{
	uint64_t busy = 0, left;

	left = book_no_worker(task, task->take - task->submit,
			      task->busy_at_take - task->busy_at_submit,
			      task->none_at_take - task->none_at_submit);
	book_queued(task, INTRO_QUEUED_DISPATCH, &left, left);
	if (worker && worker->work) {
		busy = worker->work->busy_ns;
		if (worker->work->depth)
			busy += replay->now - worker->work->busy_since;
		busy -= min_u64(busy, task->take_busy);
	}
	left = replay->now - task->take;
	book_queued(task, INTRO_QUEUED_PREFETCHED, &left, busy);
	book_queued(task, INTRO_QUEUED_WAKEUP, &left, left);
}

/* Splits submit -> now, the end of the wait in the queue. */
static void split_queue(struct intro_replay *replay, struct task *task)
{
	uint64_t left = replay->now - task->submit;
	struct thread *taker;

	if (task->begin_unseen) {
		task->before_ns = left;
		return;
	}
	if (!task->pool) {
		book_queued(task, INTRO_QUEUED_WAKEUP, &left, left);
		return;
	}
	if (task->pool->kind == INTRO_POOL_OWN) {
		book_queued(task, INTRO_QUEUED_STARTING, &left, left);
		return;
	}
	taker = task->take && task->take_tid != task->take_by
			? intro__thread_find(replay, task->take_tid)
			: NULL;
	if (taker && (!task->take_serial || taker->serial == task->take_serial) &&
	    (!task->worker_tid || task->worker_tid == task->take_tid)) {
		split_handed(replay, task, taker);
		return;
	}
	intro__pool_advance(replay, task->pool);
	left = book_no_worker(task, left, task->pool->busy_ns - task->busy_at_submit,
			      task->pool->none_ns - task->none_at_submit);
	book_queued(task, INTRO_QUEUED_WAKEUP, &left, left);
}

/* Marks were lost while it waited: whether it started, and when, is not known. */
static bool may_have_started(const struct intro_replay *replay, const struct task *task)
{
	return replay->mark_gaps != task->gaps_at_submit;
}

static void queue_unknown(struct intro_replay *replay, struct task *task)
{
	task->before_ns = replay->now - task->submit;
	if (!task->begin_unseen)
		task->begin_unseen = INTRO_UNKNOWN_LOST;
}

/* --- done --------------------------------------------------------------------------------------
 */

static enum intro_task_status status_of(const struct task *task)
{
	if (task->unseen)
		return INTRO_TASK_UNSEEN;
	if (task->phase == PHASE_QUEUED)
		return INTRO_TASK_QUEUED;
	if (task->phase == PHASE_RUNNING)
		return INTRO_TASK_RUNNING;
	switch (task->status) {
	case INTRO_STATUS_OK:
		return INTRO_TASK_FINISHED;
	case INTRO_STATUS_CANCELLED:
		return INTRO_TASK_CANCELLED;
	case INTRO_STATUS_LOST:
		return INTRO_TASK_LOST;
	default:
		return INTRO_TASK_FAILED;
	}
}

static void count(struct intro_pool *pool, enum intro_task_status status, uint64_t done)
{
	pool->last_ns = max_u64(pool->last_ns, done);
	switch (status) {
	case INTRO_TASK_FINISHED:
		pool->finished++;
		break;
	case INTRO_TASK_FAILED:
		pool->failed++;
		break;
	case INTRO_TASK_CANCELLED:
		pool->cancelled++;
		break;
	case INTRO_TASK_QUEUED:
	case INTRO_TASK_RUNNING:
		pool->open++;
		break;
	case INTRO_TASK_LOST:
	case INTRO_TASK_UNSEEN:
		pool->lost++;
		break;
	}
}

static void fill_ledger(const struct task *task, uint64_t done, struct intro_ledger *ledger)
{
	if (task->ledger)
		*ledger = *task->ledger;
	for (int cause = 1; cause < QUEUED_CAUSES; cause++)
		intro_ledger_book(ledger, (enum intro_cause)cause, 0, task->queued[cause]);
	intro_ledger_book(ledger, (enum intro_cause)task->begin_unseen, 0, task->before_ns);
	if (!task->result)
		return;
	intro_ledger_book(ledger, INTRO_DELIVERED_TRANSIT, 0, task->result - task->end);
	intro_ledger_book(ledger, INTRO_DELIVERED_WAKEUP, 0, done - task->result);
}

static void finalize(struct intro_replay *replay, struct task *task, uint64_t done)
{
	struct intro_task out = {
		.id = task->id,
		.pool = task->pool ? task->pool->id : 0,
		.pool_name = task->pool ? task->pool->name : "",
		.worker_tid = task->worker_tid,
		.name = intro__name(replay, task->name),
		.status = status_of(task),
		.submit_ns = task->submit,
		.take_ns = task->take,
		.start_ns = task->start,
		.end_ns = task->end_unseen ? 0 : task->end,
		.result_ns = task->result,
		.done_ns = done,
		.voluntary = (uint32_t)task->voluntary,
		.involuntary = (uint32_t)task->involuntary,
		.early_ns = task->early_ns,
		.migrations =
			task->placement ? (uint32_t)intro_placement_moved(task->placement) : 0,
		.placement = task->placement,
	};

	fill_ledger(task, done, &out.ledger);
	intro__locks_name(replay, &out.ledger);
	if (task->pool)
		count(&task->pool->seen, out.status, done);
	if (replay->sink.task)
		replay->sink.task(replay->sink.ctx, &out);
	intro__task_free(replay, task);
}

/* --- in its worker -----------------------------------------------------------------------------
 */

bool intro__task_enter(struct intro_replay *replay, struct task *task, struct thread *thread)
{
	if (!thread)
		return false;
	if (!thread->work) {
		thread->work = intro__calloc(replay, sizeof(*thread->work));
		if (!thread->work)
			return false;
	}
	if (thread->work->depth == STACK_MAX) {
		intro__strange(replay);
		return false;
	}
	if (!task->placement) {
		task->placement = intro_placement_new(replay->options.topology);
		if (!task->placement) {
			replay->error = -ENOMEM;
			return false;
		}
	}
	if (!thread->work->depth)
		intro__pool_busy(replay, thread, true);
	thread->work->stack[thread->work->depth++] = task;
	task->worker = thread;
	task->entered = replay->now;
	task->voluntary -= thread->voluntary;
	task->involuntary -= thread->involuntary;
	intro_placement_subtract(task->placement, thread->placement);
	return true;
}

static void pop(struct intro_replay *replay, struct task *task)
{
	struct thread *thread = task->worker;
	struct work *work = thread->work;
	unsigned i = work->depth;

	while (work->stack[--i] != task)
		;
	memmove(&work->stack[i], &work->stack[i + 1],
		(work->depth - i - 1) * sizeof(work->stack[0]));
	if (!--work->depth) {
		intro__pool_busy(replay, thread, false);
		intro__queue_leave(replay, thread);
	}
	task->voluntary += thread->voluntary;
	task->involuntary += thread->involuntary;
	intro_placement_add(task->placement, thread->placement);
	task->worker = NULL;
}

void intro__task_start(struct intro_replay *replay, struct task *task, struct thread *thread)
{
	task->ledger = intro__calloc(replay, sizeof(*task->ledger));
	if (!task->ledger)
		return;
	split_queue(replay, task);
	task->phase = PHASE_RUNNING;
	task->start = replay->now;
	if (!intro__task_enter(replay, task, thread) && task->fiber)
		intro__fiber_off(replay, task, INTRO_UNKNOWN_NO_KERNEL);
}

bool intro__task_started_unseen(struct intro_replay *replay, struct task *task)
{
	task->ledger = intro__calloc(replay, sizeof(*task->ledger));
	if (!task->ledger)
		return false;
	queue_unknown(replay, task);
	task->phase = PHASE_RUNNING;
	return true;
}

/* What was booked since marks were lost counts if the task is known to have run on. */
static void resolve_tentative(struct task *task, bool ran_on, uint64_t until)
{
	if (!task->tentative)
		return;
	if (ran_on)
		intro_ledger_add(task->ledger, task->tentative);
	else
		intro_ledger_book(task->ledger, INTRO_UNKNOWN_LOST, 0,
				  until - task->tentative_from);
	free(task->tentative);
	task->tentative = NULL;
}

static void leave(struct intro_replay *replay, struct task *task, enum intro_cause unseen,
		  bool ended)
{
	struct thread *thread = task->worker;

	if (!thread->seen)
		intro__book(thread, replay->now, INTRO_STATE_UNKNOWN, unseen, 0);
	intro__book_now(replay, thread);
	if (ended)
		thread->tasks++;
	/* a fiber may have been away and back while its marks were lost */
	resolve_tentative(task, ended && !task->fiber, replay->now);
	pop(replay, task);
}

void intro__task_leave(struct intro_replay *replay, struct task *task, bool ended)
{
	leave(replay, task, INTRO_UNKNOWN_NO_KERNEL, ended);
}

static void leave_worker(struct intro_replay *replay, struct task *task, bool died, bool marked)
{
	enum intro_cause unseen = died ? INTRO_UNKNOWN_DIED : INTRO_UNKNOWN_NO_KERNEL;

	if (task->off)
		intro__fiber_on(replay, task);
	else if (!task->worker)
		intro_ledger_book(task->ledger, unseen, 0, replay->now - task->start);
	else
		leave(replay, task, unseen, marked);
}

void intro__task_end(struct intro_replay *replay, struct task *task, uint32_t status, bool marked)
{
	bool died = status == INTRO_STATUS_LOST && !marked;

	if (task->phase == PHASE_RUNNING) {
		leave_worker(replay, task, died, marked);
	} else if (task->unseen) {
		/* given up too early: what it did since is not known, nor was booked */
		intro_ledger_book(task->ledger, INTRO_UNKNOWN_LOST, 0, replay->now - task->end);
		task->unseen = false;
	} else if (marked || status == INTRO_STATUS_OK || may_have_started(replay, task)) {
		queue_unknown(replay, task);
	} else {
		split_queue(replay, task);
	}
	task->phase = PHASE_ENDED;
	task->status = (uint8_t)min_u64(status, UINT8_MAX);
	task->end = replay->now;
	task->end_unseen = !marked;
	list(replay, task);
}

void intro__task_unseen(struct intro_replay *replay, struct task *task)
{
	uint64_t end = min_u64(task->tentative_until, replay->now);

	resolve_tentative(task, false, end);
	pop(replay, task);
	task->phase = PHASE_ENDED;
	task->unseen = task->end_unseen = true;
	task->end = end;
	list(replay, task);
}

void intro__task_result(struct intro_replay *replay, struct task *task, uint32_t status,
			uint32_t flags)
{
	task->result = replay->now;
	/* that its worker died says more than that it failed */
	if (task->unseen || task->status != INTRO_STATUS_LOST || status == INTRO_STATUS_OK)
		task->status = (uint8_t)min_u64(status, UINT8_MAX);
	task->unseen = false;
	task->phase = PHASE_SET;
	if (flags & INTRO_END_WAITED || task->waiters)
		list(replay, task);
	else
		finalize(replay, task, replay->now);
}

void intro__task_wake(struct intro_replay *replay, struct task *task)
{
	finalize(replay, task, replay->now);
}

void intro__task_cancel(struct intro_replay *replay, struct task *task)
{
	split_queue(replay, task);
	task->phase = PHASE_ENDED;
	task->status = INTRO_STATUS_CANCELLED;
	task->end_unseen = true;
	finalize(replay, task, replay->now);
}

static void let_go(struct intro_replay *replay, struct task *task)
{
	finalize(replay, task, task->result ? task->result : task->end);
}

void intro__tasks_expire(struct intro_replay *replay)
{
	struct task *task;

	while ((task = TAILQ_FIRST(&replay->ended)) &&
	       (replay->ended_n > ENDED_MAX || replay->now - task->listed_ns > EXPIRE_NS))
		let_go(replay, task);
}

static void finish_task(struct intro_replay *replay, struct task *task)
{
	switch (task->phase) {
	case PHASE_QUEUED:
		if (may_have_started(replay, task)) {
			queue_unknown(replay, task);
			task->unseen = true;
		} else {
			split_queue(replay, task);
		}
		break;
	case PHASE_RUNNING:
		task->unseen = task->tentative != NULL ||
			       (task->off && task->off_cause == INTRO_UNKNOWN_LOST);
		leave_worker(replay, task, false, false);
		break;
	default:
		let_go(replay, task);
		return;
	}
	finalize(replay, task, replay->now);
}

void intro__tasks_finish(struct intro_replay *replay)
{
	struct task *task;

	while ((task = TAILQ_FIRST(&replay->all_tasks)))
		finish_task(replay, task);
}

void intro__task_unwait(struct intro_replay *replay, struct thread *thread)
{
	struct task *task = thread->waiting ? intro__task_find(replay, thread->waiting) : NULL;

	if (task && task->waiters)
		task->waiters--;
	thread->waiting = 0;
}
