// SPDX-License-Identifier: BSD-2-Clause
/* kernel.c - what the kernel's records do to threads. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

static struct thread *thread_met(struct intro_replay *replay, uint32_t tid)
{
	struct thread *thread = intro__thread_get(replay, tid, intro__thread_first(replay, 0));

	if (thread) {
		thread->seen = true;
		thread->events++;
	}
	return thread;
}

/* --- switch ------------------------------------------------------------------------------------
 */

/* Whoever was thought to run here does not: from when, nobody knows. */
static void evict(struct intro_replay *replay, struct cpu *cpu)
{
	struct thread *thread = cpu->current;

	if (!thread)
		return;
	cpu->current = NULL;
	thread->on_cpu = CPU_NOWHERE;
	if (!thread->target) {
		intro__book(thread, replay->now, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_NO_KERNEL, 0);
		intro__enter(replay, thread, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_NO_KERNEL, 0);
		return;
	}
	intro__strange(replay);
	intro__book(thread, replay->now, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_UNRECORDED, 0);
	intro__enter(replay, thread, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_UNRECORDED, 0);
	intro__make_uncertain(replay, thread);
}

static void book_run(struct intro_replay *replay, struct thread *thread, const struct cpu *cpu)
{
	uint64_t from = max_u64(cpu->gap_until, cpu->last_switch);

	/* a bystander may have taken the CPU from another unrecorded */
	if (intro__settle(replay, thread, from,
			  thread->target ? INTRO_STATE_RUNNING : INTRO_STATE_UNKNOWN,
			  INTRO_UNKNOWN_NO_KERNEL, 0))
		return;
	intro__queue_leave(replay, thread);
	if (thread->state == INTRO_STATE_RUNNING || thread->by_snapshot) {
		intro__book(thread, replay->now, INTRO_STATE_RUNNING, 0, 0);
		return;
	}
	/*
	 * It got the CPU unseen, from somebody whose leaving was not recorded; not before this
	 * CPU's last recorded switch.
	 */
	if (thread->target && thread->since < replay->now)
		intro__strange(replay);
	if (thread->since < cpu->last_switch)
		intro__book(thread, cpu->last_switch, thread->state, thread->cause, thread->detail);
	intro__book(thread, replay->now, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_UNRECORDED, 0);
}

static void enter_off(struct intro_replay *replay, struct thread *thread,
		      const struct intro_rec_switch *sw)
{
	uint8_t off = sw->state & INTRO_OFF_MASK;
	bool early = thread->woken_early;
	struct intro__sleep sleep;

	if (sw->state & INTRO_SWITCH_LATE) {
		/* how it left is not known; its next event tells */
		intro__enter(replay, thread, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_UNRECORDED, 0);
		intro__make_uncertain(replay, thread);
		return;
	}
	if (off == INTRO_OFF_RUNNABLE || sw->state & INTRO_SWITCH_PREEMPT) {
		intro__enter(replay, thread, INTRO_STATE_RUNNABLE,
			     sw->sysnr == INTRO_SYS_NONE ? INTRO_RUNNABLE_PREEMPTED
							 : INTRO_RUNNABLE_YIELDED,
			     0);
		intro__queue_join(replay, thread);
		return;
	}
	sleep = intro__classify(sw->state, sw->arg1, sw->sysnr, sw->arg0, thread->waiting);
	intro__lock_number(replay, thread->pid, &sleep);
	intro__enter(replay, thread, INTRO_STATE_BLOCKED, (uint16_t)sleep.cause, sleep.detail);
	if (early && !thread->uncertain) {
		thread->never_slept = true;
		intro__queue_join(replay, thread);
	}
}

static void switch_out(struct intro_replay *replay, struct cpu *cpu, uint32_t number,
		       const struct intro_rec_switch *sw)
{
	struct thread *thread = cpu->current;

	if (!thread || thread->tid != sw->rec.tid) {
		evict(replay, cpu);
		thread = thread_met(replay, sw->rec.tid);
		if (!thread)
			return;
		if (thread->on_cpu != CPU_NOWHERE) {
			/* two CPUs claim it: believe the newer */
			if (thread->target)
				intro__strange(replay);
			replay->cpus[thread->on_cpu]->current = NULL;
		}
	}
	thread->events++;
	intro__book_on(replay, thread, number);
	book_run(replay, thread, cpu);
	cpu->current = NULL;
	thread->on_cpu = CPU_NOWHERE;
	thread->last_cpu = (int32_t)number;
	if (!(sw->state & INTRO_SWITCH_PREEMPT) && (sw->state & INTRO_OFF_MASK))
		thread->voluntary++;
	else if (!(sw->state & INTRO_SWITCH_LATE))
		thread->involuntary++;
	if ((sw->state & INTRO_OFF_MASK) == INTRO_OFF_DEAD)
		intro__thread_end(replay, thread, false);
	else if (thread->target)
		enter_off(replay, thread, sw);
	else
		intro__enter(replay, thread, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_NO_KERNEL, 0);
}

/* It is running, as far as is known, and now begins to run: what was it until now? */
static void book_rerun(struct intro_replay *replay, struct thread *thread)
{
	bool there = thread->on_cpu != CPU_NOWHERE;

	if (there) {
		replay->cpus[thread->on_cpu]->current = NULL;
		thread->on_cpu = CPU_NOWHERE;
	}
	if (thread->by_snapshot) {
		intro__book(thread, replay->now, INTRO_STATE_RUNNABLE, INTRO_RUNNABLE_UNSEEN, 0);
	} else if (there) {
		/* it left that CPU unseen */
		if (thread->target)
			intro__strange(replay);
		intro__book(thread, replay->now, INTRO_STATE_UNKNOWN,
			    thread->target ? INTRO_UNKNOWN_UNRECORDED : INTRO_UNKNOWN_NO_KERNEL, 0);
	} else {
		/* a mark of its told so, a little before this record */
		intro__book(thread, replay->now, INTRO_STATE_RUNNING, 0, 0);
	}
}

/*
 * Whose wake-up nobody recorded: how much of it was sleep is not known. When it follows a process
 * under which nothing is recorded, that process was current at the wake-up: until it came, this was
 * sleep.
 */
static void book_unwoken(struct intro_replay *replay, struct thread *thread, const struct cpu *late)
{
	if (!late)
		intro__strange(replay);
	else if (thread->since < late->last_switch)
		intro__book(thread, late->last_switch, thread->state, thread->cause,
			    thread->detail);
	intro__book(thread, replay->now, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_UNRECORDED, 0);
}

/* late: the CPU, when the switch is a late one; else NULL */
static void book_wait(struct intro_replay *replay, struct thread *thread, const struct cpu *late)
{
	if (intro__settle(replay, thread, replay->gap_until,
			  thread->target ? INTRO_STATE_RUNNABLE : INTRO_STATE_UNKNOWN,
			  thread->target ? INTRO_RUNNABLE_UNSEEN : INTRO_UNKNOWN_NO_KERNEL, 0))
		return;
	intro__queue_leave(replay, thread);
	if (thread->state == INTRO_STATE_RUNNING) {
		book_rerun(replay, thread);
		return;
	}
	if (thread->never_slept) {
		intro__book(thread, replay->now, INTRO_STATE_RUNNABLE, INTRO_RUNNABLE_WOKEN, 0);
		return;
	}
	if (thread->state == INTRO_STATE_BLOCKED) {
		book_unwoken(replay, thread, late);
		return;
	}
	intro__book(thread, replay->now, thread->state, thread->cause, thread->detail);
}

static void switch_in(struct intro_replay *replay, struct cpu *cpu,
		      const struct intro_rec_switch *sw)
{
	struct thread *thread = thread_met(replay, sw->next_tid);
	uint32_t number = sw->rec.cpu;

	if (!thread)
		return;
	intro__place_arrived(replay, thread, number);
	book_wait(replay, thread, sw->state & INTRO_SWITCH_LATE ? cpu : NULL);
	thread->runs++;
	thread->last_cpu = thread->on_cpu = (int32_t)number;
	intro__place_on(replay, thread, number);
	cpu->current = thread;
	intro__enter(replay, thread, INTRO_STATE_RUNNING, 0, 0);
}

static void on_switch(struct intro_replay *replay, const struct intro_rec_switch *sw)
{
	struct cpu *cpu = intro__cpu(replay, sw->rec.cpu);
	uint64_t early;

	if (!cpu)
		return;
	early = intro__early_of(replay, cpu, sw);
	/* who had it until now is known only if that is who leaves it now */
	if (cpu->waiters_n && cpu->current && cpu->current->tid == sw->rec.tid)
		intro__queue_settle_all(replay, cpu);
	cpu->settled = replay->now;
	if (sw->rec.tid)
		switch_out(replay, cpu, sw->rec.cpu, sw);
	else
		evict(replay, cpu);
	if (sw->next_tid)
		switch_in(replay, cpu, sw);
	if (early)
		intro__early_book(replay, sw, early);
	cpu->last_switch = replay->now;
}

/* --- wake-ups ----------------------------------------------------------------------------------
 */

static void become_woken(struct intro_replay *replay, struct thread *thread)
{
	thread->wakeups++;
	intro__enter(replay, thread, INTRO_STATE_RUNNABLE, INTRO_RUNNABLE_WOKEN, 0);
	intro__queue_join(replay, thread);
}

/* Told when it gets the CPU. Of one whose wake-up was seen it says nothing new. */
static void on_late_waking(struct intro_replay *replay, struct thread *thread, uint64_t woken)
{
	if (thread->state != INTRO_STATE_BLOCKED || thread->uncertain || woken < thread->since ||
	    woken > replay->now)
		return;
	intro__queue_leave(replay, thread);
	intro__book(thread, woken, INTRO_STATE_BLOCKED, thread->cause, thread->detail);
	intro__book(thread, replay->now, INTRO_STATE_RUNNABLE, INTRO_RUNNABLE_WOKEN, 0);
	become_woken(replay, thread);
}

static void on_waking(struct intro_replay *replay, const struct intro_rec_waking *waking)
{
	struct thread *thread = thread_met(replay, waking->rec.tid);

	if (!thread || !thread->target)
		return;
	if (waking->flags & INTRO_WAKING_LATE) {
		on_late_waking(replay, thread, waking->woken_ts);
		return;
	}
	if (thread->last_cpu == CPU_NOWHERE && waking->target_cpu < INTRO_CPU_NONE)
		thread->last_cpu = waking->target_cpu;
	if (intro__settle(replay, thread, replay->gap_until, INTRO_STATE_BLOCKED,
			  INTRO_BLOCKED_UNSEEN, 0)) {
		become_woken(replay, thread);
		return;
	}
	if (thread->state == INTRO_STATE_RUNNING) {
		thread->woken_early = true;
	} else if (thread->state == INTRO_STATE_BLOCKED) {
		intro__queue_leave(replay, thread);
		intro__book(thread, replay->now, INTRO_STATE_BLOCKED, thread->cause,
			    thread->detail);
		become_woken(replay, thread);
	}
	/* a waking of somebody who waits for a CPU already changes nothing */
}

static void on_wakeup_new(struct intro_replay *replay, const struct intro_rec_waking *waking)
{
	struct thread *thread = intro__thread_get(replay, waking->rec.tid, replay->now);

	if (!thread)
		return;
	thread->seen = true;
	thread->events++;
	if (!thread->target)
		return;
	if (!intro__settle(replay, thread, replay->gap_until, INTRO_STATE_NEW, 0, 0)) {
		if (thread->state != INTRO_STATE_NEW) {
			intro__strange(replay);
			return;
		}
		intro__book(thread, replay->now, INTRO_STATE_NEW, 0, 0);
	}
	intro__enter(replay, thread, INTRO_STATE_RUNNABLE, INTRO_RUNNABLE_NEW, 0);
}

static void on_migrate(struct intro_replay *replay, const struct intro_rec_migrate *migrate)
{
	struct thread *thread = thread_met(replay, migrate->rec.tid);

	if (!thread)
		return;
	if (migrate->from_cpu != migrate->to_cpu)
		intro__place_moved(replay, thread, migrate->from_cpu, migrate->to_cpu);
	if (migrate->to_cpu >= INTRO_CPU_NONE || thread->on_cpu != CPU_NOWHERE)
		return;
	if (thread->queue_cpu != CPU_NOWHERE && thread->queue_cpu != migrate->to_cpu) {
		intro__queue_leave(replay, thread);
		thread->last_cpu = migrate->to_cpu;
		intro__queue_join(replay, thread);
	} else {
		thread->last_cpu = migrate->to_cpu;
	}
}

/* --- identity ----------------------------------------------------------------------------------
 */

static void identify(struct thread *thread, const struct intro_rec_task *task)
{
	thread->seen = true;
	thread->pid = task->tgid;
	thread->ppid = task->ppid;
	thread->kernel = task->flags & INTRO_TASK_KTHREAD;
	thread->target = task->flags & INTRO_TASK_TARGET;
	if (task->start_time)
		thread->start_time = task->start_time;
	memcpy(thread->comm, task->comm, sizeof(thread->comm));
	thread->comm[sizeof(thread->comm) - 1] = '\0';
}

/* Ends an incarnation which is not that of start_time: its last switch was not recorded. */
static void end_old(struct intro_replay *replay, uint32_t tid, uint64_t start_time)
{
	struct thread *old = intro__thread_find(replay, tid);

	if (!old || !old->start_time || !start_time || old->start_time == start_time)
		return;
	if (!old->exiting)
		intro__strange(replay);
	intro__book_now(replay, old);
	intro__thread_end(replay, old, false);
}

static void on_task(struct intro_replay *replay, const struct intro_rec_task *task)
{
	struct thread *thread;

	end_old(replay, task->rec.tid, task->start_time);
	thread = intro__thread_get(replay, task->rec.tid,
				   intro__thread_first(replay, task->start_time));
	if (thread)
		identify(thread, task);
}

static void on_fork(struct intro_replay *replay, const struct intro_rec_task *task)
{
	struct thread *thread = intro__thread_find(replay, task->rec.tid);

	if (thread && !thread->start_time) {
		/* met without its birth, so this one is another */
		intro__book_now(replay, thread);
		intro__thread_end(replay, thread, false);
	}
	end_old(replay, task->rec.tid, task->start_time);
	thread = intro__thread_get(replay, task->rec.tid, replay->now);
	if (!thread)
		return;
	identify(thread, task);
	if (!thread->uncertain || thread->events || thread->since < replay->now)
		return; /* it is known already: the records are out of order */
	if (thread->target)
		intro__enter(replay, thread, INTRO_STATE_NEW, 0, 0);
}

static void on_exec(struct intro_replay *replay, const struct intro_rec_task *task)
{
	struct thread *thread, *leader;

	if (task->other_tid && task->other_tid != task->rec.tid) {
		thread = intro__thread_find(replay, task->other_tid);
		leader = intro__thread_find(replay, task->rec.tid);
		if (thread && leader) {
			intro__book_now(replay, leader);
			intro__thread_end(replay, leader, false);
		}
		if (thread) {
			intro__thread_rename_tid(replay, thread, task->rec.tid);
			thread->start_time = task->start_time;
		}
	}
	on_task(replay, task);
}

static void on_rename(struct intro_replay *replay, const struct intro_rec_task *task)
{
	struct thread *thread = intro__thread_find(replay, task->rec.tid);

	if (!thread ||
	    (thread->start_time && task->start_time && thread->start_time != task->start_time)) {
		on_task(replay, task);
		return;
	}
	memcpy(thread->comm, task->comm, sizeof(thread->comm));
	thread->comm[sizeof(thread->comm) - 1] = '\0';
}

static void on_exit_record(struct intro_replay *replay, const struct intro_rec_exit *rec)
{
	struct thread *thread = thread_met(replay, rec->rec.tid);

	if (!thread)
		return;
	thread->exiting = true;
	thread->exit_code = rec->exit_code;
	if (rec->start_time && !thread->start_time)
		thread->start_time = rec->start_time;
}

/* --- snapshots ---------------------------------------------------------------------------------
 */

struct seen_state {
	enum intro_state state;
	uint16_t cause;
	uint64_t detail;
};

static struct seen_state snapshot_state(const struct intro_replay *replay,
					const struct thread *thread,
					const struct intro_rec_snapshot *snapshot)
{
	uint8_t off = snapshot->state & INTRO_OFF_MASK;
	struct intro__sleep sleep;

	if (snapshot->when & INTRO_SNAPSHOT_ON_CPU)
		return (struct seen_state){.state = INTRO_STATE_RUNNING};
	if (off == INTRO_OFF_RUNNABLE)
		return (struct seen_state){INTRO_STATE_RUNNABLE, INTRO_RUNNABLE_UNSEEN, 0};
	if (off == INTRO_OFF_DEAD)
		return (struct seen_state){.state = INTRO_STATE_DEAD};
	sleep = intro__classify(snapshot->state, snapshot->arg1, snapshot->sysnr, snapshot->arg0,
				thread->waiting);
	intro__lock_number(replay, thread->pid, &sleep);
	return (struct seen_state){INTRO_STATE_BLOCKED, (uint16_t)sleep.cause, sleep.detail};
}

static void snapshot_settle(struct intro_replay *replay, struct thread *thread,
			    const struct intro_rec_snapshot *snapshot)
{
	struct seen_state seen = snapshot_state(replay, thread, snapshot);
	struct cpu *cpu;

	intro__book_on(replay, thread, snapshot->rec.cpu);
	if (!intro__settle(replay, thread, replay->gap_until, seen.state, seen.cause, seen.detail))
		return;
	if (thread->last_cpu == CPU_NOWHERE && snapshot->rec.cpu < INTRO_CPU_NONE)
		thread->last_cpu = snapshot->rec.cpu;
	cpu = intro__cpu(replay, snapshot->rec.cpu);
	if (seen.state == INTRO_STATE_RUNNING && cpu && !cpu->current) {
		cpu->current = thread;
		thread->last_cpu = thread->on_cpu = snapshot->rec.cpu;
	}
	intro__enter(replay, thread, seen.state, seen.cause, seen.detail);
	if (!thread->uncertain)
		thread->by_snapshot = true;
}

/* No event between two snapshots which do not agree: the scheduler's own sums decide. */
static void book_sums(struct intro_replay *replay, struct thread *thread,
		      const struct intro_rec_snapshot *snapshot)
{
	uint64_t ran = snapshot->exec_ns - thread->exec_begin;
	uint64_t waited = snapshot->wait_ns - thread->wait_begin;
	uint64_t total = replay->now - thread->since;

	if (snapshot->exec_ns < thread->exec_begin || snapshot->wait_ns < thread->wait_begin)
		ran = waited = 0;
	ran = min_u64(ran, total);
	waited = min_u64(waited, total - ran);
	intro__queue_leave(replay, thread);
	intro__book(thread, thread->since + ran, INTRO_STATE_RUNNING, 0, 0);
	intro__book(thread, thread->since + waited, INTRO_STATE_RUNNABLE, INTRO_RUNNABLE_UNSEEN, 0);
	if (thread->state == INTRO_STATE_BLOCKED)
		intro__book(thread, replay->now, INTRO_STATE_BLOCKED, thread->cause,
			    thread->detail);
	else
		intro__book(thread, replay->now, INTRO_STATE_UNKNOWN, INTRO_UNKNOWN_LOST, 0);
}

static void on_snapshot(struct intro_replay *replay, const struct intro_rec_snapshot *snapshot)
{
	bool end = (snapshot->when & 0x0f) == INTRO_SNAPSHOT_END;
	struct thread *thread;
	struct seen_state seen;

	end_old(replay, snapshot->rec.tid, snapshot->start_time);
	thread = intro__thread_get(replay, snapshot->rec.tid,
				   intro__thread_first(replay, snapshot->start_time));
	if (!thread)
		return;
	thread->seen = true;
	if (snapshot->start_time)
		thread->start_time = snapshot->start_time;
	if (!thread->target)
		return;
	if (!end && !thread->has_begin) {
		thread->has_begin = true;
		thread->exec_begin = snapshot->exec_ns;
		thread->wait_begin = snapshot->wait_ns;
	}
	if (thread->uncertain) {
		snapshot_settle(replay, thread, snapshot);
		return;
	}
	seen = snapshot_state(replay, thread, snapshot);
	if (thread->never_slept) {
		intro__queue_leave(replay, thread);
		if (seen.state == INTRO_STATE_BLOCKED) {
			intro__book(thread, replay->now, thread->state, thread->cause,
				    thread->detail);
			intro__enter(replay, thread, thread->state, thread->cause, thread->detail);
		} else {
			intro__book(thread, replay->now, INTRO_STATE_RUNNABLE, INTRO_RUNNABLE_WOKEN,
				    0);
			intro__enter(replay, thread, INTRO_STATE_RUNNABLE, INTRO_RUNNABLE_WOKEN, 0);
			intro__queue_join(replay, thread);
		}
		return;
	}
	if (end && thread->has_begin && !thread->events && seen.state != thread->state) {
		intro__strange(replay);
		book_sums(replay, thread, snapshot);
		intro__enter(replay, thread, seen.state, seen.cause, seen.detail);
	}
}

bool intro__kernel_record(struct intro_replay *replay, const struct intro_rec *rec)
{
	switch (rec->kind) {
	case INTRO_KIND_SWITCH:
		on_switch(replay, (const struct intro_rec_switch *)rec);
		return true;
	case INTRO_KIND_WAKING:
		on_waking(replay, (const struct intro_rec_waking *)rec);
		return true;
	case INTRO_KIND_WAKEUP_NEW:
		on_wakeup_new(replay, (const struct intro_rec_waking *)rec);
		return true;
	case INTRO_KIND_MIGRATE:
		on_migrate(replay, (const struct intro_rec_migrate *)rec);
		return true;
	case INTRO_KIND_PAGES:
		intro__place_pages(replay, (const struct intro_rec_pages *)rec);
		return true;
	case INTRO_KIND_NUMA:
		intro__place_decided(replay, (const struct intro_rec_numa *)rec);
		return true;
	case INTRO_KIND_TASK:
		on_task(replay, (const struct intro_rec_task *)rec);
		return true;
	case INTRO_KIND_FORK:
		on_fork(replay, (const struct intro_rec_task *)rec);
		return true;
	case INTRO_KIND_EXEC:
		on_exec(replay, (const struct intro_rec_task *)rec);
		return true;
	case INTRO_KIND_RENAME:
		on_rename(replay, (const struct intro_rec_task *)rec);
		return true;
	case INTRO_KIND_EXIT:
		on_exit_record(replay, (const struct intro_rec_exit *)rec);
		return true;
	case INTRO_KIND_SNAPSHOT:
		on_snapshot(replay, (const struct intro_rec_snapshot *)rec);
		return true;
	default:
		return false;
	}
}
