// SPDX-License-Identifier: BSD-2-Clause
/*
 * holders.c - who has the CPU that a runnable thread wants. Each CPU has an array of the threads
 * that are in a task and wait for it; when the thread which runs there changes, those and only
 * those are told. Threads outside tasks need none of this and cost nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

/* Beyond this many on one CPU holders are not kept: a bound on the work per switch. */
#define WAITERS_MAX 1024

static void hold_other(struct work *work, const struct thread *holder, uint64_t ns)
{
	struct intro_split *slot;

	for (unsigned i = 0; i < work->held_n; i++) {
		slot = &work->held[i];
		if (slot->holder_tid != holder->tid &&
		    memcmp(slot->holder_name, holder->comm, INTRO_COMM_BYTES) != 0)
			continue;
		slot->ns += ns;
		return;
	}
	if (work->held_n < HELD_MAX) {
		slot = &work->held[work->held_n++];
		*slot = (struct intro_split){
			.holder = INTRO_HELD_OTHER, .holder_tid = holder->tid, .ns = ns};
		memcpy(slot->holder_name, holder->comm, INTRO_COMM_BYTES);
		return;
	}
	/* too many in one wait: the last slot stands for all that follow */
	slot = &work->held[HELD_MAX - 1];
	slot->ns += ns;
	slot->holder_tid = 0;
	memset(slot->holder_name, 0, sizeof(slot->holder_name));
}

static void tell(struct waiter *waiter, const struct thread *holder, uint64_t ns)
{
	if (waiter->pool_id && holder->pool_id == waiter->pool_id)
		waiter->held_pool += ns;
	else if (waiter->pid && holder->pid == waiter->pid)
		waiter->held_process += ns;
	else
		hold_other(waiter->thread->work, holder, ns);
}

void intro__queue_settle(struct intro_replay *replay, struct thread *thread)
{
	struct waiter *waiter;
	struct cpu *cpu;
	uint64_t from;

	if (thread->queue_cpu == CPU_NOWHERE)
		return;
	cpu = replay->cpus[thread->queue_cpu];
	waiter = &cpu->waiters[thread->queue_slot];
	from = max_u64(waiter->from, cpu->settled);
	if (cpu->current && from < replay->now)
		tell(waiter, cpu->current, replay->now - from);
	waiter->from = replay->now;
	thread->work->held_pool += waiter->held_pool;
	thread->work->held_process += waiter->held_process;
	waiter->held_pool = waiter->held_process = 0;
}

void intro__queue_settle_all(struct intro_replay *replay, struct cpu *cpu)
{
	const struct thread *holder = cpu->current;

	for (uint32_t i = 0; holder && i < cpu->waiters_n; i++) {
		struct waiter *waiter = &cpu->waiters[i];
		uint64_t from = max_u64(waiter->from, cpu->settled);

		if (from < replay->now)
			tell(waiter, holder, replay->now - from);
	}
	cpu->settled = replay->now;
}

static bool make_room(struct intro_replay *replay, struct cpu *cpu)
{
	uint32_t room = cpu->waiters_room ? cpu->waiters_room * 2 : 16;
	struct waiter *waiters;

	if (cpu->waiters_n < cpu->waiters_room)
		return true;
	if (cpu->waiters_n >= WAITERS_MAX)
		return false;
	waiters = realloc(cpu->waiters, room * sizeof(*waiters));
	if (!waiters) {
		replay->error = -ENOMEM;
		return false;
	}
	cpu->waiters = waiters;
	cpu->waiters_room = room;
	return true;
}

void intro__queue_join(struct intro_replay *replay, struct thread *thread)
{
	struct cpu *cpu;

	if (!intro__depth(thread) || thread->queue_cpu != CPU_NOWHERE || thread->uncertain ||
	    thread->last_cpu == CPU_NOWHERE)
		return;
	cpu = intro__cpu(replay, (uint32_t)thread->last_cpu);
	if (!cpu || !make_room(replay, cpu))
		return;
	thread->queue_cpu = thread->last_cpu;
	thread->queue_slot = cpu->waiters_n++;
	cpu->waiters[thread->queue_slot] = (struct waiter){.thread = thread,
							   .from = replay->now,
							   .pool_id = thread->pool_id,
							   .pid = thread->pid};
}

void intro__queue_leave(struct intro_replay *replay, struct thread *thread)
{
	struct waiter *last;
	struct cpu *cpu;

	if (thread->queue_cpu == CPU_NOWHERE)
		return;
	intro__queue_settle(replay, thread);
	cpu = replay->cpus[thread->queue_cpu];
	last = &cpu->waiters[--cpu->waiters_n];
	last->thread->queue_slot = thread->queue_slot;
	cpu->waiters[thread->queue_slot] = *last;
	thread->queue_cpu = CPU_NOWHERE;
}

void intro__held_clear(struct thread *thread)
{
	if (!thread->work)
		return;
	thread->work->held_n = 0;
	thread->work->held_pool = thread->work->held_process = 0;
}

static uint64_t book_held(struct intro_ledger *ledger, struct intro_split held, uint16_t cause,
			  uint64_t left)
{
	held.cause = cause;
	held.ns = min_u64(held.ns, left);
	intro__ledger_book_split(ledger, &held);
	return left - held.ns;
}

void intro__held_book(const struct work *work, struct intro_ledger *ledger, uint16_t cause,
		      uint64_t ns)
{
	struct intro_split held = {.holder = INTRO_HELD_POOL, .ns = work->held_pool};

	ns = book_held(ledger, held, cause, ns);
	held = (struct intro_split){.holder = INTRO_HELD_PROCESS, .ns = work->held_process};
	ns = book_held(ledger, held, cause, ns);
	for (unsigned i = 0; i < work->held_n; i++)
		ns = book_held(ledger, work->held[i], cause, ns);
	held = (struct intro_split){.holder = INTRO_HELD_NONE, .ns = ns};
	book_held(ledger, held, cause, ns);
}
