/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_TARGET_BPF_H
#define INTROSPECT_TARGET_BPF_H
/*
 * target.bpf.h - who is traced. Bits by tid: `target_bits` is set by the collector at the start and
 * by the fork program for children of targets, before they first run; `known_bits` says that the
 * trace has the name of a tid. Both are cleared at the thread's last switch, so that a reused tid
 * starts afresh.
 */

#define TID_LIMIT (1u << 22) /* the kernel's PID_MAX_LIMIT */

/* Everybody is a target: the tests below fall away when the program is loaded. */
const volatile bool whole_system;

__u64 target_bits[TID_LIMIT / 64];
__u64 known_bits[TID_LIMIT / 64];

#define bit_word(bits, tid) ((bits)[((tid) & (TID_LIMIT - 1)) >> 6])
#define bit_of(tid) (1ull << ((tid)&63))
#define bit_test(bits, tid) (!!(bit_word(bits, tid) & bit_of(tid)))
#define bit_set(bits, tid) ((void)__sync_fetch_and_or(&bit_word(bits, tid), bit_of(tid)))
#define bit_clear(bits, tid) ((void)__sync_fetch_and_and(&bit_word(bits, tid), ~bit_of(tid)))

static __always_inline bool target_has(__u32 tid)
{
	return whole_system || bit_test(target_bits, tid);
}

static __always_inline __u32 task_cpu(struct task_struct *task)
{
	if (bpf_core_field_exists(task->thread_info.cpu))
		return task->thread_info.cpu;
	return ((struct task_struct___cpu *)task)->cpu;
}

/*
 * A target waits, or will, for that CPU: have every switch there recorded, so that the trace can
 * say who held it. The idle task's turn ends it (on_switch).
 */
static __always_inline void target_contends(__u32 cpu)
{
	struct intro_ring *ring;

	if (whole_system)
		return;
	ring = ring_of(cpu);
	if (ring && !READ_ONCE(ring->contended))
		WRITE_ONCE(ring->contended, 1);
}

#endif
