/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_SCHED_BPF_H
#define INTROSPECT_SCHED_BPF_H
/*
 * sched.bpf.h - who runs where, who wakes whom. on_switch runs a million times a second on a busy
 * machine: everything in it that is not needed each time is out of line.
 */

/* Wake-ups of the thread that is running anyway: seen and not recorded. */
__u64 self_wakings;

static __always_inline void switch_dead(__u32 tid, __u32 cpu)
{
	bit_clear(known_bits, tid);
	if (!whole_system) {
		bit_clear(target_bits, tid);
		target_runs(tid, cpu); /* for the last time: it waits no more */
	}
}

/* So many switches after a missed one, who comes may have been woken unseen; fewer if none waits.
 */
#define UNSEEN_SWITCHES 32

/*
 * Who was woken while no program ran gets the CPU in its turn. How long it has waited for one the
 * scheduler knows; whether its wake-up was seen only the reader does.
 */
static __noinline int waking_missed(struct intro_ring *ring, __u64 ts, __u32 cpu,
				    struct task_struct *next)
{
	struct intro_rec_waking *rec;
	__u64 queued, now;

	ring->unseen = next->pid ? ring->unseen - 1 : 0;
	if (!next->pid || !bpf_core_field_exists(next->sched_info.last_queued) ||
	    !CLOCK_KNOWS_QUEUE(next) || (!whole_system && !target_has(next->pid)))
		return 0;
	queued = next->sched_info.last_queued;
	now = next->se.cfs_rq->rq->clock;
	if (!queued || now < queued || now - queued > ts)
		return 0;
	/* as in switch_missed */
	if (ring->gap_count || !ring_fits(ring, ring->head, sizeof(*rec)))
		return 0;
	rec = ring_at(ring, ring->head);
	/* before the switch that it explains, whatever stream it comes from */
	rec_head(&rec->rec, ts - 1, INTRO_KIND_WAKING, 1, cpu, next->pid);
	rec->waker_tid = 0;
	rec->target_cpu = cpu;
	rec->flags = INTRO_WAKING_LATE;
	rec->woken_ts = ts - (now - queued);
	ring_publish(ring, sizeof(*rec));
	return 0;
}

/*
 * prev is not who came last. When it came the scheduler knows, by the clock that it has just read.
 * (Not how much it has charged prev with since: it begins to count anew in the middle of a run,
 * when a thread is moved to another group, as in its exit.)
 */
static __noinline int switch_missed(struct intro_ring *ring, __u64 ts, __u32 cpu,
				    struct task_struct *prev)
{
	struct intro_rec_switch *rec;
	__u64 ran;

	ring->unseen = UNSEEN_SWITCHES;
	if (!bpf_core_field_exists(prev->sched_info.last_arrival) || !CLOCK_KNOWS_QUEUE(prev))
		return 0;
	ran = prev->se.cfs_rq->rq->clock - prev->sched_info.last_arrival;
	if (ran > ts)
		return 0;
	/* not an event of now: without room it stays unknown, as all that no program saw */
	if (ring->gap_count || !ring_fits(ring, ring->head, sizeof(*rec)))
		return 0;
	rec = ring_at(ring, ring->head);
	rec_head(&rec->rec, ts - ran, INTRO_KIND_SWITCH, 1, cpu, ring->running - 1);
	rec->next_tid = prev->pid;
	rec->state = INTRO_SWITCH_LATE;
	rec->arg1 = 0;
	rec->sysnr = INTRO_SYS_NONE;
	rec->arg0 = 0;
	ring_publish(ring, sizeof(*rec));
	return 0;
}

/* With a filter: is this switch recorded? */
static __always_inline bool switch_wanted(struct intro_ring *ring, __u32 cpu, bool preempted,
					  __u32 prev_tid, __u32 next_tid)
{
	bool contended = READ_ONCE(ring->contended), prev = bit_test(target_bits, prev_tid),
	     next = bit_test(target_bits, next_tid);

	if (!prev && !next && !contended)
		return false;
	if (!bit_test(known_bits, prev_tid))
		ring->plain_until = 0; /* it is to be introduced */
	if (prev && preempted)
		target_waits(prev_tid, cpu);
	if (next)
		target_runs(next_tid, cpu);
	return true;
}

/*
 * All that few switches need, before the switch itself is recorded: `ts` is 0 when the clocks must
 * be compared first. Returns its time, or 0 when there is no room for its record.
 */
static __noinline __u64 switch_prepare(struct intro_ring *ring, __u64 ts, struct task_struct *prev,
				       struct task_struct *next)
{
	__u32 cpu = bpf_get_smp_processor_id(), prev_tid = prev->pid;
	__u64 running = ring->running;

	if (!ts && CLOCK_KNOWS_QUEUE(prev)) {
		clock_sync(ring, prev);
		ts = clock_of_switch(ring, prev, true);
	} else if (!ts) {
		ts = bpf_ktime_get_ns();
	}
	if (!next->pid)
		ts = clock_before_idle(prev, ts);
	if (running != prev_tid + 1ull && running && prev_tid)
		switch_missed(ring, ts, cpu, prev);
	ring->running = next->pid + 1ull;
	if (placing && ring->placed)
		placed_flush(ring, cpu);
	if (ring->unseen)
		waking_missed(ring, ts, cpu, next);
	if (!bit_test(known_bits, next->pid))
		task_introduce(ring, ts, cpu, next);
	if ((!whole_system || prev->__state & TASK_DEAD) && !bit_test(known_bits, prev_tid))
		task_introduce(ring, ts, cpu, prev);
	if (prev->__state & TASK_DEAD)
		switch_dead(prev_tid, cpu);
	if (!ring->gap_count && !ring->unseen && !(placing && ring->placed))
		ring->plain_until = READ_ONCE(ring->tail) + ring_mask + 1;
	return ring_take(ring, ts, cpu, sizeof(struct intro_rec_switch)) ? ts : 0;
}

static __always_inline bool switch_is_plain(struct intro_ring *ring, __u64 ts, __u32 prev_tid,
					    __u32 next_tid, __u32 prev_state)
{
	return ts && next_tid && ring->running == prev_tid + 1ull &&
	       ring->head + sizeof(struct intro_rec_switch) <= ring->plain_until &&
	       bit_test(known_bits, next_tid) && !(prev_state & TASK_DEAD);
}

/*
 * Its arguments are read from ctx where they are needed: a stack of more than 48 bytes would lie in
 * memory of its own (Linux 6.13 and later), which few other programs keep in the cache.
 */
#define SWITCH_PREEMPT(ctx) ((bool)(ctx)[0])
#define SWITCH_PREV(ctx) ((struct task_struct *)(ctx)[1])
#define SWITCH_NEXT(ctx) ((struct task_struct *)(ctx)[2])
#define SWITCH_STATE(ctx) ((__u32)(ctx)[3])

SEC("tp_btf/sched_switch")
int on_switch(__u64 *ctx)
{
	struct intro_ring *ring = ring_of(bpf_get_smp_processor_id());
	struct task_struct *prev = SWITCH_PREV(ctx);
	struct intro_rec_switch *rec;
	__u32 state, why;
	__u64 ts;

	if (!ring)
		return 0;
	/*
	 * The state told is what it was before schedule() looked for signals: with one pending the
	 * thread stays runnable, and only __state says so (before Linux 6.15).
	 */
	state = SWITCH_PREEMPT(ctx) || !prev->__state ? 0 : SWITCH_STATE(ctx);
	if (!whole_system && !switch_wanted(ring, bpf_get_smp_processor_id(), !state, prev->pid,
					    SWITCH_NEXT(ctx)->pid)) {
		ring->running = (__u32)SWITCH_NEXT(ctx)->pid + 1ull;
		return 0;
	}
	ts = clock_of_switch(ring, prev, state);
	if (unlikely(!switch_is_plain(ring, ts, prev->pid, SWITCH_NEXT(ctx)->pid, state))) {
		ts = switch_prepare(ring, ts, prev, SWITCH_NEXT(ctx));
		if (!ts)
			return 0;
	}
	rec = ring_at(ring, ring->head);
	rec_head(&rec->rec, ts, INTRO_KIND_SWITCH, 1, bpf_get_smp_processor_id(), prev->pid);
	rec->next_tid = SWITCH_NEXT(ctx)->pid;
	ring->running = (__u32)SWITCH_NEXT(ctx)->pid + 1ull;
	if (state) {
		rec->arg0 = 0;
		why = asleep_state(state) | asleep_why(prev, &ring->learned, &rec->arg0);
	} else {
		rec->arg0 = clock_early(ring, prev, ts);
		why = SWITCH_PREEMPT(ctx) ? ASLEEP(INTRO_SWITCH_PREEMPT, 0, INTRO_SYS_NONE)
					  : asleep_yielded(prev, ring->learned.regs_offset);
	}
	*(__u32 *)&rec->state = why;
	ring_publish(ring, sizeof(*rec));
	return 0;
}

static __always_inline void waking_write(__u8 kind, struct task_struct *task,
					 struct task_struct *waker)
{
	__u32 cpu = bpf_get_smp_processor_id(), task_on = task_cpu(task);
	struct intro_ring *ring = ring_of(cpu);
	struct intro_rec_waking *rec;
	__u64 ts;

	if (!ring)
		return;
	ts = bpf_ktime_get_ns();
	if (!whole_system) {
		target_waits(task->pid, task_on);
		if (unlikely(!bit_test(known_bits, waker->pid)))
			task_introduce(ring, ts, cpu, waker);
	}
	rec = ring_take(ring, ts, cpu, sizeof(*rec));
	if (!rec)
		return;
	rec_head(&rec->rec, ts, kind, 1, cpu, task->pid);
	rec->waker_tid = waker->pid;
	rec->target_cpu = task_on;
	rec->flags = 0;
	rec->woken_ts = 0;
	ring_publish(ring, sizeof(*rec));
}

/*
 * The running thread may be "woken" before it went to sleep, the one case of this tracepoint with
 * interrupts on; it says nothing, as the thread goes on running.
 */
SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct *task)
{
	struct task_struct *waker = bpf_get_current_task_btf();

	if (task == waker)
		__sync_fetch_and_add(&self_wakings, 1);
	else if (target_has(task->pid))
		waking_write(INTRO_KIND_WAKING, task, waker);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
	if (target_has(task->pid))
		waking_write(INTRO_KIND_WAKEUP_NEW, task, bpf_get_current_task_btf());
	return 0;
}

SEC("tp_btf/sched_migrate_task")
int BPF_PROG(on_migrate, struct task_struct *task, int to_cpu)
{
	__u32 cpu = bpf_get_smp_processor_id(), from_cpu;
	struct intro_rec_migrate *rec;
	struct intro_ring *ring;
	__u64 ts;

	if (!target_has(task->pid))
		return 0;
	ring = ring_of(cpu);
	if (!ring)
		return 0;
	from_cpu = task_cpu(task);
	if (!whole_system)
		target_moves(task->pid, from_cpu, to_cpu);
	ts = bpf_ktime_get_ns();
	rec = ring_take(ring, ts, cpu, sizeof(*rec));
	if (!rec)
		return 0;
	rec_head(&rec->rec, ts, INTRO_KIND_MIGRATE, 1, cpu, task->pid);
	rec->from_cpu = from_cpu;
	rec->to_cpu = to_cpu;
	rec->reserved0 = 0;
	rec->reserved1 = 0;
	ring_publish(ring, sizeof(*rec));
	return 0;
}

#endif
