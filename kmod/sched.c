// SPDX-License-Identifier: GPL-2.0-only
/*
 * sched.c - on_switch runs a million times a second on a busy machine: everything in it that is not
 * needed each time is out of line. What is recorded, and when, is as bpf/sched.bpf.h has it.
 */
#include "asleep.h"
#include "clock.h"
#include "place.h"
#include "sched.h"
#include "task.h"

/* So many switches after a missed one, who comes may have been woken unseen; fewer if none waits.
 */
#define UNSEEN_SWITCHES 32

static void contended_add(struct session *session, u32 cpu, long n)
{
	if (likely(cpu < nr_cpu_ids))
		atomic_long_add(n, &per_cpu_ptr(session->writers, cpu)->contended);
}

static void target_waits(struct session *session, u32 tid, u32 cpu)
{
	if (bit_has(session->waiting, tid))
		return;
	bit_put(session->waiting, tid);
	contended_add(session, cpu, 1);
}

static void target_runs(struct session *session, u32 tid, u32 cpu)
{
	if (!bit_has(session->waiting, tid))
		return;
	bit_drop(session->waiting, tid);
	contended_add(session, cpu, -1);
}

static void target_moves(struct session *session, u32 tid, u32 from_cpu, u32 to_cpu)
{
	if (!bit_has(session->waiting, tid))
		return;
	contended_add(session, from_cpu, -1);
	contended_add(session, to_cpu, 1);
}

static void switch_dead(struct session *session, u32 tid, u32 cpu)
{
	bit_drop(session->known, tid);
	if (!session->whole_system) {
		bit_drop(session->targets, tid);
		target_runs(session, tid, cpu); /* for the last time: it waits no more */
	}
}

/*
 * Who was woken while no probe ran gets the CPU in its turn. How long it has waited for one the
 * scheduler knows; whether its wake-up was seen only the reader does.
 */
static void waking_missed(struct session *session, struct writer *writer, u64 ts, u32 cpu,
			  struct task_struct *next)
{
	struct intro_rec_waking *rec;
	u64 queued = task_sched_info(next, last_queued), woken = queued + writer->clock_offset;

	writer->unseen = next->pid ? writer->unseen - 1 : 0;
	if (!next->pid || !queued || !writer->clock_offset || woken > ts ||
	    !target_has(session, next->pid))
		return;
	/* as in switch_missed */
	if (writer->gap_count || !ring_fits(session, writer, sizeof(*rec)))
		return;
	rec = ring_at(session, writer, writer->head);
	/* before the switch that it explains, whatever stream it comes from */
	rec_head(&rec->rec, ts - 1, INTRO_KIND_WAKING, 1, cpu, next->pid);
	rec->waker_tid = 0;
	rec->target_cpu = cpu;
	rec->flags = INTRO_WAKING_LATE;
	rec->woken_ts = woken;
	ring_publish(writer, sizeof(*rec));
}

/* prev is not who came last. When it came the scheduler knows. */
static void switch_missed(struct session *session, struct writer *writer, u64 ts, u32 cpu,
			  struct task_struct *prev)
{
	u64 arrived = task_sched_info(prev, last_arrival), came = arrived + writer->clock_offset;
	struct intro_rec_switch *rec;

	writer->unseen = UNSEEN_SWITCHES;
	if (!arrived || !writer->clock_offset || came > ts)
		return;
	writer->switched = came;
	/* not an event of now: without room it stays unknown, as all that no probe saw */
	if (writer->gap_count || !ring_fits(session, writer, sizeof(*rec)))
		return;
	rec = ring_at(session, writer, writer->head);
	rec_head(&rec->rec, came, INTRO_KIND_SWITCH, 1, cpu, writer->running - 1);
	rec->next_tid = prev->pid;
	rec->state = INTRO_SWITCH_LATE;
	rec->arg1 = 0;
	rec->sysnr = INTRO_SYS_NONE;
	rec->arg0 = 0;
	ring_publish(writer, sizeof(*rec));
}

/* With a filter: is this switch recorded? */
static bool switch_wanted(struct session *session, struct writer *writer, u32 cpu, bool preempted,
			  u32 prev_tid, u32 next_tid)
{
	bool contended = atomic_long_read(&writer->contended);
	bool prev = bit_has(session->targets, prev_tid), next = bit_has(session->targets, next_tid);

	if (!prev && !next && !contended)
		return false;
	if (prev && preempted)
		target_waits(session, prev_tid, cpu);
	if (next)
		target_runs(session, next_tid, cpu);
	return true;
}

/*
 * All that few switches need, before the switch itself is recorded. Returns whether there is room
 * for its record.
 */
static noinline bool switch_prepare(struct session *session, struct writer *writer, u64 ts, u32 cpu,
				    struct task_struct *prev, struct task_struct *next)
{
	u32 prev_tid = prev->pid;
	bool dead = READ_ONCE(prev->__state) & TASK_DEAD;

	if (writer->running != prev_tid + 1ull && writer->running && prev_tid)
		switch_missed(session, writer, ts, cpu, prev);
	if (prev_tid && writer->switched && task_sched_info(prev, last_arrival))
		writer->clock_offset = writer->switched - task_sched_info(prev, last_arrival);
	if (writer->counted)
		place_flush(session, writer, cpu);
	if (writer->unseen)
		waking_missed(session, writer, ts, cpu, next);
	if (!bit_has(session->known, next->pid))
		task_introduce(session, writer, ts, cpu, next);
	if ((!session->whole_system || dead) && !bit_has(session->known, prev_tid))
		task_introduce(session, writer, ts, cpu, prev);
	if (dead)
		switch_dead(session, prev_tid, cpu);
	return ring_take(session, writer, ts, cpu, sizeof(struct intro_rec_switch));
}

static inline bool switch_is_plain(const struct session *session, const struct writer *writer,
				   u32 prev_tid, u32 next_tid, u32 prev_state)
{
	return writer->running == prev_tid + 1ull && !writer->unseen && !writer->gap_count &&
	       !writer->counted && ring_fits(session, writer, sizeof(struct intro_rec_switch)) &&
	       bit_has(session->known, next_tid) &&
	       (session->whole_system || bit_has(session->known, prev_tid)) &&
	       !(prev_state & TASK_DEAD);
}

void on_switch(void *data, bool preempt, struct task_struct *prev, struct task_struct *next,
	       unsigned int prev_state)
{
	struct session *session = data;
	struct writer *writer = this_cpu_ptr(session->writers);
	u32 cpu = smp_processor_id(), prev_tid = prev->pid, next_tid = next->pid;
	struct asleep why = {.sysnr = INTRO_SYS_NONE};
	struct intro_rec_switch *rec;
	u64 ts;

	/*
	 * prev_state is what it was before schedule() looked for signals: with one pending the
	 * thread stays runnable, and only __state says so (before Linux 6.15).
	 */
	if (preempt || !READ_ONCE(prev->__state))
		prev_state = 0;
	if (!session->whole_system &&
	    !switch_wanted(session, writer, cpu, !prev_state, prev_tid, next_tid)) {
		writer->running = next_tid + 1ull;
		writer->switched = 0;
		return;
	}
	ts = clock_of_switch(writer, prev, prev_state && prev_tid);
	if (unlikely(!switch_is_plain(session, writer, prev_tid, next_tid, prev_state)) &&
	    !switch_prepare(session, writer, ts, cpu, prev, next))
		ts = 0;
	writer->running = next_tid + 1ull;
	writer->switched = ts;
	if (!ts)
		return;
	if (prev_state) {
		asleep_why(prev, task_pt_regs(prev), &why);
		prev_state = asleep_state(prev_state);
	} else {
		why.arg0 = clock_early(writer, next, ts);
		if (preempt)
			why.flags = INTRO_SWITCH_PREEMPT;
		else
			asleep_yielded(prev, &why);
	}
	rec = ring_at(session, writer, writer->head);
	rec_head(&rec->rec, ts, INTRO_KIND_SWITCH, 1, cpu, prev_tid);
	rec->next_tid = next_tid;
	rec->state = prev_state | why.flags;
	rec->arg1 = why.arg1;
	rec->sysnr = why.sysnr;
	rec->arg0 = why.arg0;
	ring_publish(writer, sizeof(*rec));
}

static void waking_write(struct session *session, u8 kind, struct task_struct *task)
{
	struct writer *writer = this_cpu_ptr(session->writers);
	u32 cpu = smp_processor_id(), task_on = task_cpu(task);
	struct intro_rec_waking *rec;
	u64 ts = ktime_get_mono_fast_ns();

	if (!session->whole_system) {
		target_waits(session, task->pid, task_on);
		if (unlikely(!bit_has(session->known, current->pid)))
			task_introduce(session, writer, ts, cpu, current);
	}
	rec = ring_take(session, writer, ts, cpu, sizeof(*rec));
	if (!rec)
		return;
	rec_head(&rec->rec, ts, kind, 1, cpu, task->pid);
	rec->waker_tid = current->pid;
	rec->target_cpu = task_on;
	rec->flags = 0;
	rec->woken_ts = 0;
	ring_publish(writer, sizeof(*rec));
}

/*
 * The running thread may be "woken" before it went to sleep, the one case of this tracepoint with
 * interrupts on; it says nothing, as the thread goes on running.
 */
void on_waking(void *data, struct task_struct *task)
{
	struct session *session = data;

	if (task == current)
		this_cpu_inc(session->writers->ignored);
	else if (target_has(session, task->pid))
		waking_write(session, INTRO_KIND_WAKING, task);
}

void on_wakeup_new(void *data, struct task_struct *task)
{
	if (target_has(data, task->pid))
		waking_write(data, INTRO_KIND_WAKEUP_NEW, task);
}

void on_migrate(void *data, struct task_struct *task, int to_cpu)
{
	struct session *session = data;
	u32 cpu = smp_processor_id(), from_cpu = task_cpu(task);
	struct intro_rec_migrate *rec;
	struct writer *writer;
	u64 ts;

	if (!target_has(session, task->pid))
		return;
	writer = this_cpu_ptr(session->writers);
	if (!session->whole_system)
		target_moves(session, task->pid, from_cpu, to_cpu);
	ts = ktime_get_mono_fast_ns();
	rec = ring_take(session, writer, ts, cpu, sizeof(*rec));
	if (!rec)
		return;
	rec_head(&rec->rec, ts, INTRO_KIND_MIGRATE, 1, cpu, task->pid);
	rec->from_cpu = from_cpu;
	rec->to_cpu = to_cpu;
	rec->reserved0 = 0;
	rec->reserved1 = 0;
	ring_publish(writer, sizeof(*rec));
}
