// SPDX-License-Identifier: BSD-2-Clause
/*
 * holders.c - who has the CPU that a runnable thread wants. Each CPU has a list of the threads
 * that are in a task and wait for it; when the thread which runs there changes, those and only
 * those are told. Threads outside tasks need none of this and cost nothing.
 */
#include <string.h>

#include "analyze/replay_impl.h"

/* Beyond this many on one CPU holders are not kept: a bound on the work per switch. */
#define WAITERS_MAX 1024

static struct intro_split holder_of(const struct thread *thread, const struct thread *holder)
{
	struct intro_split held = {.holder = INTRO_HELD_NONE};

	if (!holder)
		return held;
	if (thread->pool_id && holder->pool_id == thread->pool_id) {
		held.holder = INTRO_HELD_POOL;
	} else if (thread->pid && holder->pid == thread->pid) {
		held.holder = INTRO_HELD_PROCESS;
	} else {
		held.holder = INTRO_HELD_OTHER;
		held.holder_tid = holder->tid;
		memcpy(held.holder_name, holder->comm, INTRO_COMM);
	}
	return held;
}

static bool same_holder(const struct intro_split *a, const struct intro_split *b)
{
	return a->holder == b->holder && !memcmp(a->holder_name, b->holder_name, INTRO_COMM);
}

static void hold(struct work *work, const struct intro_split *held)
{
	struct intro_split *slot;

	for (unsigned i = 0; i < work->held_n; i++) {
		slot = &work->held[i];
		if (!same_holder(slot, held))
			continue;
		slot->ns += held->ns;
		if (slot->holder_tid != held->holder_tid)
			slot->holder_tid = 0;
		return;
	}
	if (work->held_n < HELD_MAX) {
		work->held[work->held_n++] = *held;
		return;
	}
	/* too many in one wait: the last slot stands for all that follow */
	slot = &work->held[HELD_MAX - 1];
	slot->ns += held->ns;
	slot->holder = INTRO_HELD_OTHER;
	slot->holder_tid = 0;
	memset(slot->holder_name, 0, sizeof(slot->holder_name));
}

void intro__queue_settle(struct intro_replay *replay, struct thread *thread)
{
	struct intro_split held;

	if (thread->queue_cpu == CPU_NOWHERE || replay->now <= thread->held_since)
		return;
	held = holder_of(thread, replay->cpus[thread->queue_cpu]->current);
	held.ns = replay->now - thread->held_since;
	thread->held_since = replay->now;
	hold(thread->work, &held);
}

void intro__queue_settle_all(struct intro_replay *replay, struct cpu *cpu)
{
	struct thread *thread;

	TAILQ_FOREACH(thread, &cpu->waiters, waiters)
	intro__queue_settle(replay, thread);
}

void intro__queue_join(struct intro_replay *replay, struct thread *thread)
{
	struct cpu *cpu;

	if (!intro__depth(thread) || thread->queue_cpu != CPU_NOWHERE || thread->uncertain ||
	    thread->last_cpu == CPU_NOWHERE)
		return;
	cpu = intro__cpu(replay, (uint32_t)thread->last_cpu);
	if (!cpu || cpu->waiters_n >= WAITERS_MAX)
		return;
	cpu->waiters_n++;
	TAILQ_INSERT_TAIL(&cpu->waiters, thread, waiters);
	thread->queue_cpu = thread->last_cpu;
	thread->held_since = replay->now;
}

void intro__queue_leave(struct intro_replay *replay, struct thread *thread)
{
	struct cpu *cpu;

	if (thread->queue_cpu == CPU_NOWHERE)
		return;
	intro__queue_settle(replay, thread);
	cpu = replay->cpus[thread->queue_cpu];
	cpu->waiters_n--;
	TAILQ_REMOVE(&cpu->waiters, thread, waiters);
	thread->queue_cpu = CPU_NOWHERE;
}

void intro__held_book(const struct work *work, struct intro_ledger *ledger, uint16_t cause,
		      uint64_t ns)
{
	struct intro_split rest = {.cause = cause, .holder = INTRO_HELD_NONE};

	for (unsigned i = 0; i < work->held_n; i++) {
		struct intro_split held = work->held[i];

		held.cause = cause;
		held.ns = min_u64(held.ns, ns);
		ns -= held.ns;
		intro__ledger_book_split(ledger, &held);
	}
	rest.ns = ns;
	intro__ledger_book_split(ledger, &rest);
}
