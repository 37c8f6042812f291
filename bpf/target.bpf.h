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

/*
 * With a filter: targets that wait for a CPU, by tid. Each counts once in `contended` of the CPU
 * that it is queued on, and while that is not 0 all switches there are recorded, so that the trace
 * can say who held the CPU. A waking that finds its thread still running counts until the
 * thread's next turn: a few switches too many are recorded then, never one too few.
 */
__u64 waiting_bits[TID_LIMIT / 64];

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

static __always_inline void contended_add(__u32 cpu, __u64 n)
{
	struct intro_ring *ring = ring_of(cpu);

	if (ring)
		__sync_fetch_and_add(&ring->contended, n);
}

static __always_inline void target_waits(__u32 tid, __u32 cpu)
{
	if (bit_test(waiting_bits, tid))
		return;
	bit_set(waiting_bits, tid);
	contended_add(cpu, 1);
}

static __always_inline void target_runs(__u32 tid, __u32 cpu)
{
	if (!bit_test(waiting_bits, tid))
		return;
	bit_clear(waiting_bits, tid);
	contended_add(cpu, -1);
}

static __always_inline void target_moves(__u32 tid, __u32 from_cpu, __u32 to_cpu)
{
	if (!bit_test(waiting_bits, tid))
		return;
	contended_add(from_cpu, -1);
	contended_add(to_cpu, 1);
}

#endif
