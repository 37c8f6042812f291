/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_SCHED_H
#define INTROSPECT_SCHED_H
/*
 * sched.h - who runs where, who wakes whom.
 */
#include "session.h"

void on_switch(void *data, bool preempt, struct task_struct *prev, struct task_struct *next,
	       unsigned int prev_state);
void on_waking(void *data, struct task_struct *task);
void on_wakeup_new(void *data, struct task_struct *task);
void on_migrate(void *data, struct task_struct *task, int to_cpu);

#endif
