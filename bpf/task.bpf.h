/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_TASK_BPF_H
#define INTROSPECT_TASK_BPF_H
/*
 * task.bpf.h - the life of a task: fork, exec, rename, exit; and the record that names one.
 */

/* sched_process_exit has a second argument (Linux 6.16 and later). */
const volatile bool exit_tells_group_dead;

static __always_inline void task_fill(struct intro_rec_task *rec, __u64 ts, __u8 kind, __u32 cpu,
				      struct task_struct *task, __u32 other_tid)
{
	__u32 tid = task->pid;

	rec_head(&rec->rec, ts, kind, 2, cpu, tid);
	rec->tgid = task->tgid;
	rec->ppid = task->real_parent->tgid;
	rec->other_tid = other_tid;
	rec->flags = (task->flags & PF_KTHREAD ? INTRO_TASK_KTHREAD : 0) |
		     (target_has(tid) ? INTRO_TASK_TARGET : 0);
	rec->start_time = task->start_time;
	bpf_probe_read_kernel(rec->comm, sizeof(rec->comm), task->comm);
	rec->comm[INTRO_COMM_BYTES - 1] = 0;
	rec->reserved = 0;
}

/*
 * Interrupts off: names a thread that the trace does not know. One that finds no room is tried
 * again at its next switch, so it is not counted as lost.
 */
static __noinline int task_introduce(struct intro_ring *ring, __u64 ts, __u32 cpu,
				     struct task_struct *task)
{
	if (ring->gap_count || !ring_fits(ring, ring->head, sizeof(struct intro_rec_task)))
		return 0;
	task_fill(ring_at(ring, ring->head), ts, INTRO_KIND_TASK, cpu, task, 0);
	ring_publish(ring, sizeof(struct intro_rec_task));
	bit_set(known_bits, task->pid);
	return 0;
}

/* Interrupts on. Returns whether the record was stored. */
static __always_inline bool task_write(__u8 kind, struct task_struct *task, __u32 other_tid,
				       const char *comm)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct intro_ring *ring = ring_of(cpu);
	struct intro_rec_task *rec;
	__u64 ts;

	if (!ring)
		return false;
	ts = bpf_ktime_get_ns();
	rec = ring_open(ring, ts, cpu, sizeof(*rec));
	if (rec) {
		task_fill(rec, ts, kind, cpu, task, other_tid);
		if (comm) {
			__builtin_memset(rec->comm, 0, sizeof(rec->comm));
			bpf_probe_read_kernel_str(rec->comm, sizeof(rec->comm), comm);
		}
	}
	ring_close(ring);
	return rec;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 tid = child->pid;

	if (!target_has(parent->pid))
		return 0;
	if (!whole_system)
		bit_set(target_bits, tid);
	if (task_write(INTRO_KIND_FORK, child, parent->pid, NULL))
		bit_set(known_bits, tid);
	return 0;
}

/* A thread that is not the leader takes the leader's tid by exec. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u32 tid = task->pid, old_tid = old_pid;

	if (!whole_system && tid != old_tid && bit_test(target_bits, old_tid)) {
		bit_set(target_bits, tid);
		bit_clear(target_bits, old_tid);
	}
	if (!target_has(tid) && !bit_test(known_bits, tid))
		return 0;
	if (task_write(INTRO_KIND_EXEC, task, old_tid, NULL))
		bit_set(known_bits, tid);
	return 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *task, const char *comm)
{
	__u32 tid = task->pid;

	if (target_has(tid) || bit_test(known_bits, tid))
		task_write(INTRO_KIND_RENAME, task, 0, comm);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct intro_ring *ring;
	struct intro_rec_exit *rec;
	__u64 ts;

	if (!target_has(task->pid))
		return 0;
	ring = ring_of(cpu);
	if (!ring)
		return 0;
	ts = bpf_ktime_get_ns();
	rec = ring_open(ring, ts, cpu, sizeof(*rec));
	if (rec) {
		rec_head(&rec->rec, ts, INTRO_KIND_EXIT, 1, cpu, task->pid);
		rec->exit_code = task->exit_code;
		rec->group_dead =
			exit_tells_group_dead ? (bool)ctx[1] : !task->signal->live.counter;
		rec->start_time = task->start_time;
	}
	ring_close(ring);
	return 0;
}

#endif
