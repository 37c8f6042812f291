// SPDX-License-Identifier: GPL-2.0-only
/*
 * task.c - what happens seldom: fork, exec, rename, exit, names, and rings that are full.
 */
#include <linux/sched/signal.h>
#include <linux/string.h>

#include "task.h"

/* The reader's copy of the gap, for when it ends without another record. */
static void gap_tell(const struct writer *writer)
{
	WRITE_ONCE(writer->ring->lost, writer->lost);
	WRITE_ONCE(writer->ring->gap_begin, writer->gap_begin);
	WRITE_ONCE(writer->ring->gap_last, writer->gap_last);
	WRITE_ONCE(writer->ring->gap_count, writer->gap_count);
}

void ring_lose(struct writer *writer, u64 ts)
{
	if (!writer->gap_count)
		writer->gap_begin = ts;
	writer->gap_last = ts;
	writer->gap_count++;
	writer->lost++;
	gap_tell(writer);
}

/* Closes the gap when there is room for that and for what comes next. */
bool ring_end_gap(struct session *session, struct writer *writer, u32 cpu, u64 bytes)
{
	struct intro_rec_lost *rec = ring_at(session, writer, writer->head);

	if (!ring_fits(session, writer, bytes + sizeof(*rec)))
		return false;
	rec_head(&rec->rec, writer->gap_begin, INTRO_KIND_LOST, 1, cpu, 0);
	rec->until_ts = writer->gap_last;
	rec->count = writer->gap_count;
	writer->gap_count = 0;
	gap_tell(writer);
	ring_publish(writer, sizeof(*rec));
	return true;
}

void task_fill(const struct session *session, struct intro_rec_task *rec, u64 ts, u8 kind, u32 cpu,
	       struct task_struct *task, u32 other_tid)
{
	rec_head(&rec->rec, ts, kind, 2, cpu, task->pid);
	rec->tgid = task->tgid;
	rcu_read_lock();
	rec->ppid = rcu_dereference(task->real_parent)->tgid;
	rcu_read_unlock();
	rec->other_tid = other_tid;
	rec->flags = (task->flags & PF_KTHREAD ? INTRO_TASK_KTHREAD : 0) |
		     (target_has(session, task->pid) ? INTRO_TASK_TARGET : 0);
	rec->start_time = task->start_time;
	memcpy(rec->comm, task->comm, sizeof(rec->comm));
	rec->comm[INTRO_COMM_BYTES - 1] = 0;
	rec->reserved = 0;
}

void task_introduce(struct session *session, struct writer *writer, u64 ts, u32 cpu,
		    struct task_struct *task)
{
	if (writer->gap_count || !ring_fits(session, writer, sizeof(struct intro_rec_task)))
		return;
	task_fill(session, ring_at(session, writer, writer->head), ts, INTRO_KIND_TASK, cpu, task,
		  0);
	ring_publish(writer, sizeof(struct intro_rec_task));
	bit_put(session->known, task->pid);
}

static void task_write(struct session *session, u8 kind, struct task_struct *task, u32 other_tid,
		       const char *comm)
{
	struct intro_rec_task *rec;
	struct ring_spot spot;

	rec = ring_open(session, &spot, sizeof(*rec));
	if (rec) {
		task_fill(session, rec, spot.ts, kind, spot.cpu, task, other_tid);
		if (comm)
			strscpy_pad(rec->comm, comm, sizeof(rec->comm));
		ring_publish(spot.writer, sizeof(*rec));
		bit_put(session->known, task->pid);
	}
	ring_close(&spot);
}

/* The child has not run yet: it is a target before its first instruction. */
void on_fork(void *data, struct task_struct *parent, struct task_struct *child)
{
	struct session *session = data;

	if (!target_has(session, parent->pid))
		return;
	if (!session->whole_system)
		bit_put(session->targets, child->pid);
	task_write(session, INTRO_KIND_FORK, child, parent->pid, NULL);
}

/* A thread that is not the leader takes the leader's tid by exec. */
void on_exec(void *data, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct session *session = data;
	u32 tid = task->pid, old_tid = old_pid;

	if (!session->whole_system && tid != old_tid && bit_has(session->targets, old_tid)) {
		bit_put(session->targets, tid);
		bit_drop(session->targets, old_tid);
	}
	if (target_has(session, tid) || bit_has(session->known, tid))
		task_write(session, INTRO_KIND_EXEC, task, old_tid, NULL);
}

void on_rename(void *data, struct task_struct *task, const char *comm)
{
	struct session *session = data;

	if (target_has(session, task->pid) || bit_has(session->known, task->pid))
		task_write(session, INTRO_KIND_RENAME, task, 0, comm);
}

void on_exit(EXIT_ARGUMENTS)
{
	struct session *session = data;
	struct intro_rec_exit *rec;
	struct ring_spot spot;

	if (!target_has(session, task->pid))
		return;
	rec = ring_open(session, &spot, sizeof(*rec));
	if (rec) {
		rec_head(&rec->rec, spot.ts, INTRO_KIND_EXIT, 1, spot.cpu, task->pid);
		rec->exit_code = task->exit_code;
		rec->group_dead = exit_group_dead(task);
		rec->start_time = task->start_time;
		ring_publish(spot.writer, sizeof(*rec));
	}
	ring_close(&spot);
}
