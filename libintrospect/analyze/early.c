// SPDX-License-Identifier: BSD-2-Clause
/*
 * early.c - what the kernel's CPU clocks charge to whom. The scheduler charges the next thread
 * from when it last read its clock, which a wake-up may have done for it, some microseconds before
 * the switch (abi.h, intro_rec_switch.arg0). So a thread's CPU clock has its running time, and more
 * where it came, less where it was made to leave.
 */
#include "analyze/state.h"

/* Nothing holds up a switch for so long; sums of so little do not overflow. */
#define EARLY_MAX (10ull * 1000 * 1000 * 1000)

uint64_t intro__early_of(struct intro_replay *replay, const struct cpu *cpu,
			 const struct intro_rec_switch *sw)
{
	bool told = !(sw->state & (INTRO_OFF_MASK | INTRO_SWITCH_LATE));
	/* not before this CPU's last switch, which charged prev, or nobody, from then on */
	uint64_t from = max_u64(cpu->last_switch, replay->begin);
	const struct thread *next;

	if (!told || !sw->arg0)
		return 0;
	/* nor before it wanted the CPU: that bounds how far the clocks drifted apart meanwhile */
	next = intro__thread_find(replay, sw->next_tid);
	if (next && next->state == INTRO_STATE_RUNNABLE && !next->uncertain)
		from = max_u64(from, next->since);
	return min_u64(min_u64(sw->arg0, EARLY_MAX), replay->now - from);
}

void intro__early_book(struct intro_replay *replay, const struct intro_rec_switch *sw,
		       uint64_t early)
{
	struct thread *prev = intro__thread_find(replay, sw->rec.tid);
	struct thread *next = intro__thread_find(replay, sw->next_tid);
	int64_t *from = prev ? &prev->early_ns : &replay->totals.idle_early_ns;
	int64_t *to = next ? &next->early_ns : &replay->totals.idle_early_ns;

	for (unsigned i = 0; prev && i < intro__depth(prev); i++) {
		struct task *task = prev->work->stack[i];

		/* the rest was charged to what it did before */
		task->early_ns -= (int64_t)min_u64(early, replay->now - task->entered);
	}
	for (unsigned i = 0; next && i < intro__depth(next); i++)
		next->work->stack[i]->early_ns += (int64_t)early;
	*from -= (int64_t)early;
	*to += (int64_t)early;
}

uint64_t intro_cpu_ns(uint64_t running_ns, int64_t early_ns)
{
	return early_ns < 0 && running_ns < -(uint64_t)early_ns ? 0
								: running_ns + (uint64_t)early_ns;
}
