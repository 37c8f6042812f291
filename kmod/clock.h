/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_KMOD_CLOCK_H
#define INTROSPECT_KMOD_CLOCK_H
/*
 * clock.h - the time of a switch without reading the clock, and since when next is charged; all as
 * bpf/clock.bpf.h tells. A module cannot see the run queue's clock, but up to when, by that clock,
 * prev was charged and from when on next is; see TASKS_ARE_CHARGED_ALL.
 */
#include <linux/ktime.h>

#include "drift.h"
#include "session.h"

/* ns, CLOCK_MONOTONIC. asleep: prev leaves because it waits for something. */
static inline u64 clock_of_switch(struct writer *writer, const struct task_struct *prev,
				  bool asleep)
{
	u64 clock = prev->se.exec_start;

	if (!TASKS_ARE_CHARGED_ALL || !asleep)
		return ktime_get_mono_fast_ns();
	if (unlikely(clock > writer->charge_until)) {
		u64 measured = ktime_get_mono_fast_ns() - clock;

		writer->charge_until =
			clock + clock_holds_next(writer->charge_until - writer->charge_synced,
						 writer->charge_offset, measured);
		writer->charge_offset = clock_offset_next(writer->charge_offset,
							  writer->charge_synced, measured, clock);
		writer->charge_synced = clock;
	}
	return clock + writer->charge_offset;
}

/* How long before ts, the real time of this switch, the scheduler began to charge next. */
static inline u64 clock_early(const struct writer *writer, const struct task_struct *next, u64 ts)
{
	u64 early = ts - (next->se.exec_start + writer->charge_offset);

	/* idle tasks are not charged */
	return TASKS_ARE_CHARGED_ALL && writer->charge_synced && next->pid && early < ts ? early
											 : 0;
}

#endif
