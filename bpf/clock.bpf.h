/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_CLOCK_BPF_H
#define INTROSPECT_CLOCK_BPF_H
/*
 * clock.bpf.h - the time of a switch without reading the clock. schedule() has most often just read
 * one: the run queue's, by which the scheduler charges CPU time. It is not CLOCK_MONOTONIC, but
 * ticks alongside; their distance is measured once a millisecond, and the measuring switch pays for
 * it.
 *
 * Most often: a wake-up that wants this CPU reads the run queue's clock too, and the schedule()
 * that it leads to saves itself a second reading. The switch from the idle task and a preemption
 * are such, and how long they took to come is just what is to be known, so these read the real
 * clock. That leaves a thread which goes to sleep in the very system call in which somebody
 * was woken onto its CPU: its switch has the time of that wake-up, as its CPU time has.
 */

/* For so long, by the run queue's clock, a distance holds. */
#define CLOCK_SYNC_NS 1000000
/* CLOCK_MONOTONIC is slewed by at most 500 ppm against the hardware: 1 part in 2 048. */
#define CLOCK_SLEW_SHIFT 11

/*
 * The distance measured here is too long by the time since schedule() read its clock, most often a
 * fifth of a microsecond, but long when the hypervisor ran somebody else in between. So a shorter
 * one is taken at once, a longer one only as far as the clocks can have drifted apart.
 */
static __always_inline __u64 clock_sync(struct intro_ring *ring, struct task_struct *prev)
{
	struct rq *rq = prev->se.cfs_rq->rq;
	__u64 clock = rq->clock, now = bpf_ktime_get_ns(), offset = now - clock;
	__u64 drift = (clock - ring->clock_synced) >> CLOCK_SLEW_SHIFT;

	if (ring->clock_synced && (__s64)(offset - ring->clock_offset) > (__s64)drift)
		offset = ring->clock_offset + drift;
	ring->run_queue = (__u64)rq;
	ring->clock_offset = offset;
	ring->clock_synced = clock;
	return now;
}

/* ns, CLOCK_MONOTONIC; 0: only after clock_sync. asleep: prev leaves because it waits for
 * something. */
static __always_inline __u64 clock_of_switch(struct intro_ring *ring, struct task_struct *prev,
					     bool asleep)
{
	__u64 clock;

	/* the member is there with CONFIG_FAIR_GROUP_SCHED */
	if (!asleep || !bpf_core_field_exists(prev->se.cfs_rq))
		return bpf_ktime_get_ns();
	clock = bpf_rdonly_cast ? read_as(struct rq, ring->run_queue)->clock
				: prev->se.cfs_rq->rq->clock;
	if (unlikely(clock - ring->clock_synced >= CLOCK_SYNC_NS))
		return 0;
	return clock + ring->clock_offset;
}

#endif
