/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_CLOCK_BPF_H
#define INTROSPECT_CLOCK_BPF_H
/*
 * clock.bpf.h - the time of a switch without reading the clock. schedule() has most often just read
 * one: the run queue's, by which the scheduler charges CPU time. It is not CLOCK_MONOTONIC, but
 * ticks alongside; their distance is measured now and then (drift.h), and the measuring switch pays
 * for it.
 *
 * Most often: a wake-up that wants this CPU reads the run queue's clock too, and the schedule()
 * that it leads to saves itself a second reading. The switch from the idle task and a preemption
 * are such, and how long they took to come is just what is to be known, so these read the real
 * clock. That leaves a thread which goes to sleep in the very system call in which somebody
 * was woken onto its CPU: its switch has the time of that wake-up, as its CPU time has.
 */

static __always_inline void clock_sync(struct intro_ring *ring, struct task_struct *prev)
{
	struct rq *rq = prev->se.cfs_rq->rq;
	__u64 clock = rq->clock, measured = bpf_ktime_get_ns() - clock;

	ring->clock_until = clock + clock_holds_next(ring->clock_until - ring->clock_synced,
						     ring->clock_offset, measured);
	ring->clock_offset =
		clock_offset_next(ring->clock_offset, ring->clock_synced, measured, clock);
	ring->run_queue = (__u64)rq;
	ring->learned = learned;
	ring->clock_synced = clock;
}

/* Can clocks be compared? The member is there with CONFIG_FAIR_GROUP_SCHED. */
#define CLOCK_KNOWS_QUEUE(prev) bpf_core_field_exists((prev)->se.cfs_rq)

/* The run queue's; 0 where it is not known, or, with typed reads, not yet: see clock_sync. */
static __always_inline __u64 clock_queue(struct intro_ring *ring, struct task_struct *prev)
{
	if (bpf_rdonly_cast)
		return read_as(struct rq, ring->run_queue)->clock;
	return CLOCK_KNOWS_QUEUE(prev) ? prev->se.cfs_rq->rq->clock : 0;
}

/* ns, CLOCK_MONOTONIC; 0: only after clock_sync. asleep: prev leaves because it waits for
 * something. */
static __always_inline __u64 clock_of_switch(struct intro_ring *ring, struct task_struct *prev,
					     bool asleep)
{
	__u64 clock;

	if (!asleep)
		return bpf_ktime_get_ns();
	clock = clock_queue(ring, prev);
	if (unlikely(clock > ring->clock_until))
		return 0;
	return clock + ring->clock_offset; /* before the first clock_sync both are 0 */
}

/*
 * A CPU goes idle; ts is the time of that switch by clock_of_switch. Returns when prev was last
 * charged: then the scheduler looked for work on other CPUs, and read the clock once more, which is
 * charged to nobody.
 */
static __always_inline __u64 clock_before_idle(struct task_struct *prev, __u64 ts)
{
	return CLOCK_KNOWS_QUEUE(prev)
		       ? ts - (prev->se.cfs_rq->rq->clock_task - prev->se.exec_start)
		       : ts;
}

/*
 * How long before ts, the real time of this switch, the scheduler began to charge next: since it
 * last read the run queue's clock. (It charges by clock_task, which runs with that one, but for
 * interrupts and what the hypervisor stole where the kernel takes these out.) Nothing is compared
 * here, as the distance measured would hold what is asked for; what the clocks drift apart in a
 * long idle time the reader bounds by next's wake-up.
 */
static __always_inline __u64 clock_early(struct intro_ring *ring, struct task_struct *prev,
					 __u64 ts)
{
	__u64 early;

	if (!bpf_rdonly_cast && !ring->clock_until)
		return 0;
	/* before the first clock_sync both are 0 */
	early = ts - (clock_queue(ring, prev) + ring->clock_offset);
	return early < ts ? early : 0;
}

#endif
