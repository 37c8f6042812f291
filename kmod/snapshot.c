// SPDX-License-Identifier: GPL-2.0-only
/*
 * snapshot.c - where every target is now, for the reader to read.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/ktime.h>
#include <linux/uaccess.h>

#include "asleep.h"
#include "task.h"

struct snapshot_row {
	struct intro_rec_task name;
	struct intro_rec_snapshot where;
};

/* Rows for threads that come while the memory is being got. */
#define SPARE_ROWS 64
#define TRIES 5

/*
 * A thread that is not current may end any time: its stack is copied with faults caught, its files
 * are kept by its lock.
 */
static void why_of(struct task_struct *task, struct asleep *why)
{
	struct pt_regs regs;

	if (!asleep_in_kernel(task) &&
	    copy_from_kernel_nofault(&regs, task_pt_regs(task), sizeof(regs)))
		return;
	task_lock(task);
	asleep_why(task, &regs, why);
	task_unlock(task);
}

static void snapshot_fill(struct intro_rec_snapshot *rec, struct task_struct *task, u64 ts,
			  enum intro_snapshot_when when)
{
	struct asleep why = {.sysnr = INTRO_SYS_NONE};
	u32 state = READ_ONCE(task->__state);
	bool on_cpu = task_is_on_cpu(task);

	memset(rec, 0, sizeof(*rec));
	rec_head(&rec->rec, ts, INTRO_KIND_SNAPSHOT, 2, task_cpu(task), task->pid);
	rec->when = when | (on_cpu ? INTRO_SNAPSHOT_ON_CPU : 0);
	if (task->exit_state) {
		rec->state = INTRO_OFF_DEAD;
	} else if (state && !on_cpu) {
		why_of(task, &why);
		rec->state = asleep_state(state) | why.flags;
	} else {
		rec->state = INTRO_OFF_RUNNABLE;
	}
	rec->arg1 = why.arg1;
	rec->sysnr = why.sysnr;
	rec->arg0 = why.arg0;
	rec->exec_ns = task->se.sum_exec_runtime;
	rec->wait_ns = task_sched_info(task, run_delay);
	rec->start_time = task->start_time;
}

/* How many targets there are; of these, fills as many rows as there is room for. */
static size_t walk(struct session *session, struct snapshot_row *rows, size_t room,
		   enum intro_snapshot_when when)
{
	struct task_struct *process, *task;
	size_t n = 0;
	u64 ts;

	rcu_read_lock();
	for_each_process_thread(process, task) {
		if (!target_has(session, task->pid))
			continue;
		if (n < room) {
			ts = ktime_get_mono_fast_ns();
			task_fill(session, &rows[n].name, ts, INTRO_KIND_TASK, task_cpu(task), task,
				  0);
			snapshot_fill(&rows[n].where, task, ts, when);
			bit_put(session->known, task->pid);
		}
		n++;
	}
	rcu_read_unlock();
	return n;
}

int snapshot_take(struct session *session, enum intro_snapshot_when when)
{
	size_t room = 0, found;
	void *rows = NULL;
	int i;

	kvfree(session->snapshot);
	session->snapshot = NULL;
	session->snapshot_bytes = session->snapshot_read = 0;
	for (i = 0; i < TRIES; i++) {
		found = walk(session, rows, room, when);
		if (found <= room) {
			session->snapshot = rows;
			session->snapshot_bytes = found * sizeof(struct snapshot_row);
			return 0;
		}
		kvfree(rows);
		room = found + found / 4 + SPARE_ROWS;
		rows = kvmalloc_array(room, sizeof(struct snapshot_row), GFP_KERNEL);
		if (!rows)
			return -ENOMEM;
	}
	kvfree(rows);
	return -EAGAIN;
}
