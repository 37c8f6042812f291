/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_TASK_H
#define INTROSPECT_TASK_H
/*
 * task.h - the life of a task: fork, exec, rename, exit; and the record that names one.
 */
#include "ring.h"

struct linux_binprm;

void task_fill(const struct session *session, struct intro_rec_task *rec, u64 ts, u8 kind, u32 cpu,
	       struct task_struct *task, u32 other_tid);
/*
 * Interrupts off: names a thread that the trace does not know. One that finds no room is tried
 * again at its next switch, so it is not counted as lost.
 */
void task_introduce(struct session *session, struct writer *writer, u64 ts, u32 cpu,
		    struct task_struct *task);

void on_fork(void *data, struct task_struct *parent, struct task_struct *child);
void on_exec(void *data, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm);
void on_rename(void *data, struct task_struct *task, const char *comm);
void on_exit(EXIT_ARGUMENTS);

#endif
