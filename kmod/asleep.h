/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_ASLEEP_H
#define INTROSPECT_ASLEEP_H
/*
 * asleep.h - why a thread sleeps, from the registers it entered the kernel with.
 */
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/sched/task_stack.h>

#include <introspect/abi.h>

#include "compat.h"
#include "syscalls.h"

struct asleep {
	u64 arg0;
	s16 sysnr;
	u8 arg1;
	u8 flags; /* INTRO_SWITCH_* */
};

/*
 * S_IFMT of an open file >> 12, 0 when the descriptor is not open. The table may be replaced and
 * the file closed under us; both live on for a grace period, which the caller holds off. The
 * caller is the task itself or holds its alloc_lock: else task->files could go.
 */
static inline u8 file_type(struct task_struct *task, unsigned int fd)
{
	struct files_struct *files = READ_ONCE(task->files);
	struct inode *inode;
	struct fdtable *fdt;
	struct file *file;

	if (!files)
		return 0;
	fdt = rcu_dereference_raw(files->fdt);
	if (fd >= fdt->max_fds)
		return 0;
	file = rcu_dereference_raw(fdt->fd[array_index_nospec(fd, fdt->max_fds)]);
	if (!file)
		return 0;
	inode = READ_ONCE(file->f_inode);
	return inode ? inode->i_mode >> 12 : 0;
}

static inline void asleep_registers(struct task_struct *task, const struct pt_regs *regs,
				    struct asleep *why)
{
	u64 nr = regs_sysnr(regs), arg1;

	if (nr >= 0x8000) /* -1: an exception or interrupt, so a page fault or a signal */
		return;
	why->sysnr = nr;
	if (unlikely(task_is_compat(task))) {
		why->arg0 = regs_compat_arg0(regs);
		arg1 = regs_compat_arg1(regs);
		why->arg1 = nr == SYS_FUTEX_COMPAT ? arg1 & 0x7f : arg1;
		why->flags |= INTRO_SWITCH_COMPAT;
		return;
	}
	why->arg0 = regs_arg0(regs);
	if (takes_descriptor(nr)) {
		why->arg1 = file_type(task, why->arg0);
		return;
	}
	arg1 = regs_arg1(regs);
	why->arg1 = nr == SYS_FUTEX ? arg1 & 0x7f : arg1;
}

static inline bool asleep_in_kernel(const struct task_struct *task)
{
	return task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER);
}

static inline void asleep_why(struct task_struct *task, const struct pt_regs *regs,
			      struct asleep *why)
{
	if (asleep_in_kernel(task))
		why->flags = INTRO_SWITCH_KTHREAD;
	else
		asleep_registers(task, regs, why);
}

/*
 * A thread that can run left the CPU on its way back to user mode: at a reschedule, or because it
 * asked to (sched_yield). Only its system call tells, so only that one is reported.
 */
static inline void asleep_yielded(struct task_struct *task, struct asleep *why)
{
	if (!asleep_in_kernel(task) && regs_sysnr(task_pt_regs(task)) == SYS_SCHED_YIELD &&
	    !task_is_compat(task))
		why->sysnr = SYS_SCHED_YIELD;
}

#endif
