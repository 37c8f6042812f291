// SPDX-License-Identifier: BSD-2-Clause
/*
 * book.c - booking. An interval of a thread is booked when it ends, because only its end tells
 * what it was; it goes to the thread's states and to the ledgers of the tasks it is in.
 */
#include "analyze/state.h"

static void book_ledger(const struct thread *thread, struct intro_ledger *ledger, uint64_t ns,
			enum intro_state state, uint16_t cause, uint64_t detail)
{
	switch (state) {
	case INTRO_STATE_RUNNING:
		intro_ledger_book_running(ledger, ns);
		break;
	case INTRO_STATE_RUNNABLE:
		intro__held_book(thread->work, ledger, cause, ns);
		break;
	case INTRO_STATE_NEW:
		intro_ledger_book(ledger, INTRO_RUNNABLE_NEW, 0, ns);
		break;
	case INTRO_STATE_DEAD:
		intro_ledger_book(ledger, INTRO_UNKNOWN_DIED, 0, ns);
		break;
	default: /* blocked, unknown */
		intro_ledger_book(ledger, cause, detail, ns);
		break;
	}
}

static void book_tasks(struct thread *thread, uint64_t ns, enum intro_state state, uint16_t cause,
		       uint64_t detail)
{
	struct work *work = thread->work;

	for (unsigned i = 0; i < work->depth; i++) {
		struct task *task = work->stack[i];

		book_ledger(thread, task->tentative ? task->tentative : task->ledger, ns, state,
			    cause, detail);
	}
	book_ledger(thread, &work->in_tasks, ns, state, cause, detail);
}

void intro__book(struct thread *thread, uint64_t until, enum intro_state state, uint16_t cause,
		 uint64_t detail)
{
	if (until > thread->since) {
		uint64_t ns = until - thread->since;

		thread->since = until;
		thread->states_ns[state] += ns;
		if (state == INTRO_STATE_RUNNING)
			intro__place_ran(thread, ns);
		if (intro__depth(thread))
			book_tasks(thread, ns, state, cause, detail);
		else if (thread->pool_id)
			thread->idle_ns[state] += ns;
	}
	/* they were of the interval that ended, whatever it turned out to be */
	intro__held_clear(thread);
}

/* What is known of an uncertain thread: its state up to gap_from. */
static void book_certain_part(struct thread *thread)
{
	intro__book(thread, thread->gap_from, thread->state, thread->cause, thread->detail);
}

void intro__book_on(struct intro_replay *replay, struct thread *thread, uint32_t cpu)
{
	/* before a gap it may have run somewhere else */
	if (thread->uncertain)
		book_certain_part(thread);
	intro__place_on(replay, thread, cpu);
}

static uint16_t unknown_cause(const struct thread *thread)
{
	return thread->seen ? INTRO_UNKNOWN_LOST : INTRO_UNKNOWN_NO_KERNEL;
}

void intro__book_now(struct intro_replay *replay, struct thread *thread)
{
	if (thread->uncertain) {
		book_certain_part(thread);
		intro__book(thread, replay->now, INTRO_STATE_UNKNOWN, unknown_cause(thread), 0);
		thread->gap_from = thread->since;
		return;
	}
	if (thread->never_slept) {
		/* asleep, or woken before it left its CPU: only what comes next can tell */
		intro__book(thread, replay->now, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_UNRECORDED, 0);
		return;
	}
	intro__queue_settle(replay, thread);
	intro__book(thread, replay->now, thread->state, thread->cause, thread->detail);
}

void intro__book_end(struct intro_replay *replay, struct thread *thread)
{
	if (thread->uncertain) {
		book_certain_part(thread);
		intro__book(thread, min_u64(replay->gap_until, replay->now), INTRO_STATE_UNKNOWN,
			    unknown_cause(thread), 0);
		intro__book(thread, replay->now, INTRO_STATE_UNKNOWN,
			    thread->seen ? INTRO_UNKNOWN_END : INTRO_UNKNOWN_NO_KERNEL, 0);
		return;
	}
	if (thread->never_slept)
		intro__book(thread, replay->now, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_END, 0);
	intro__book_now(replay, thread);
}

void intro__book_mark(struct intro_replay *replay, struct thread *thread)
{
	if (thread->uncertain && thread->seen && thread->target) {
		if (intro__settle(replay, thread, replay->gap_until, INTRO_STATE_RUNNING, 0, 0))
			intro__enter(replay, thread, INTRO_STATE_RUNNING, 0, 0);
		return;
	}
	if (!thread->uncertain && thread->state == INTRO_STATE_BLOCKED && thread->never_slept) {
		/* it is about to be seen running, and no waking came: it never slept */
		thread->never_slept = false;
		thread->state = INTRO_STATE_RUNNABLE;
		thread->cause = INTRO_RUNNABLE_WOKEN;
		thread->detail = 0;
	}
	intro__book_now(replay, thread);
}

static void make_certain(struct intro_replay *replay, struct thread *thread)
{
	if (!thread->uncertain)
		return;
	thread->uncertain = false;
	TAILQ_REMOVE(&replay->uncertain, thread, certainty);
	TAILQ_INSERT_TAIL(&replay->certain, thread, certainty);
}

bool intro__settle(struct intro_replay *replay, struct thread *thread, uint64_t from,
		   enum intro_state state, uint16_t cause, uint64_t detail)
{
	if (!thread->uncertain)
		return false;
	book_certain_part(thread);
	from = min_u64(max_u64(from, thread->gap_from), replay->now);
	intro__book(thread, from, INTRO_STATE_UNKNOWN, unknown_cause(thread), 0);
	intro__book(thread, replay->now, state, cause, detail);
	make_certain(replay, thread);
	return true;
}

void intro__make_uncertain(struct intro_replay *replay, struct thread *thread)
{
	if (thread->uncertain)
		return;
	/* what it waited for until now is kept: the gap begins here */
	intro__queue_leave(replay, thread);
	if (thread->on_cpu != CPU_NOWHERE) {
		replay->cpus[thread->on_cpu]->current = NULL;
		thread->on_cpu = CPU_NOWHERE;
	}
	if (thread->never_slept) {
		thread->state = INTRO_STATE_UNKNOWN;
		thread->cause = INTRO_UNKNOWN_UNRECORDED;
		thread->detail = 0;
	}
	thread->uncertain = true;
	thread->gap_from = replay->now;
	thread->never_slept = thread->woken_early = thread->by_snapshot = false;
	TAILQ_REMOVE(&replay->certain, thread, certainty);
	TAILQ_INSERT_TAIL(&replay->uncertain, thread, certainty);
}

/* Runs on a CPU whose records are whole now: no other CPU's lost records can be about it. */
static bool runs_in_sight(const struct intro_replay *replay, const struct thread *thread)
{
	return thread->state == INTRO_STATE_RUNNING && thread->on_cpu != CPU_NOWHERE &&
	       replay->now >= replay->cpus[thread->on_cpu]->gap_until;
}

void intro__enter(struct intro_replay *replay, struct thread *thread, enum intro_state state,
		  uint16_t cause, uint64_t detail)
{
	make_certain(replay, thread);
	intro__queue_leave(replay, thread);
	intro__held_clear(thread);
	thread->since = replay->now;
	thread->state = state;
	thread->cause = cause;
	thread->detail = detail;
	thread->by_snapshot = false;
	if (state != INTRO_STATE_RUNNING)
		thread->woken_early = false;
	thread->never_slept = false;
	if (replay->now < replay->gap_until && !runs_in_sight(replay, thread))
		intro__make_uncertain(replay, thread);
}

void intro__cpu_gap(struct intro_replay *replay, uint32_t number, uint64_t until)
{
	struct cpu *cpu = intro__cpu(replay, number);
	struct thread *thread, *next;

	if (!cpu)
		return;
	intro__queue_settle_all(replay, cpu);
	until = max_u64(until, replay->now);
	cpu->gap_until = max_u64(cpu->gap_until, until);
	replay->gap_until = max_u64(replay->gap_until, until);
	replay->gaps = true;
	/* each thread moves at most once for each time it became certain: cheap in sum */
	for (thread = TAILQ_FIRST(&replay->certain); thread; thread = next) {
		next = TAILQ_NEXT(thread, certainty);
		if (!runs_in_sight(replay, thread))
			intro__make_uncertain(replay, thread);
	}
}
