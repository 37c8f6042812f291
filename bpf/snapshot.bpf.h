/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_SNAPSHOT_BPF_H
#define INTROSPECT_SNAPSHOT_BPF_H
/*
 * snapshot.bpf.h - where every target is now, read by the collector as a stream of records.
 */

/* enum intro_snapshot_when of the one being read. */
__u8 snapshot_when;

static __always_inline void snapshot_fill(struct intro_rec_snapshot *rec, struct task_struct *task,
					  __u64 ts)
{
	__u32 state = task->__state, why = ASLEEP_NOWHERE;

	rec_head(&rec->rec, ts, INTRO_KIND_SNAPSHOT, 2, task_cpu(task), task->pid);
	rec->when = snapshot_when | (task->on_cpu ? INTRO_SNAPSHOT_ON_CPU : 0);
	if (task->exit_state) {
		rec->state = INTRO_OFF_DEAD;
	} else if (state && !task->on_cpu) {
		why = asleep_why(task, &learned, &rec->arg0);
		rec->state = asleep_state(state) | (__u8)why;
	} else {
		rec->state = INTRO_OFF_RUNNABLE;
	}
	rec->arg1 = why >> 8;
	rec->sysnr = why >> 16;
	rec->exec_ns = task->se.sum_exec_runtime;
	rec->wait_ns =
		bpf_core_field_exists(task->sched_info.run_delay) ? task->sched_info.run_delay : 0;
	rec->start_time = task->start_time;
}

SEC("iter/task")
int on_snapshot(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *tracer = bpf_get_current_task_btf();
	struct seq_file *seq = ctx->meta->seq;
	struct intro_rec_snapshot snapshot = {};
	struct intro_rec_task name = {};
	__u64 ts = bpf_ktime_get_ns();

	if (!task)
		return 0;
	if (!runs_in_kernel(task))
		regs_find(task);
	if (snapshot_when == INTRO_SNAPSHOT_BEGIN && task == tracer) {
		operations_learn(tracer, own_socket, &learned.socket_operations);
		operations_learn(tracer, own_pipe, &pipe_operations);
	}
	if (!target_has(task->pid))
		return 0;
	if (snapshot_when == INTRO_SNAPSHOT_BEGIN || !bit_test(known_bits, task->pid)) {
		task_fill(&name, ts, INTRO_KIND_TASK, task_cpu(task), task, 0);
		bpf_seq_write(seq, &name, sizeof(name));
	}
	snapshot_fill(&snapshot, task, ts);
	if (!bpf_seq_write(seq, &snapshot, sizeof(snapshot)))
		bit_set(known_bits, task->pid);
	return 0;
}

#endif
