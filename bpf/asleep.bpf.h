/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_ASLEEP_BPF_H
#define INTROSPECT_ASLEEP_BPF_H
/*
 * asleep.bpf.h - why a thread sleeps, from the registers it entered the kernel with.
 */

struct asleep {
	__u64 arg0;
	__s16 sysnr;
	__u8 arg1;
	__u8 flags; /* INTRO_SWITCH_* */
};

/* Linux 6.2 and later: typed reads of untyped pointers, a tenth of the price of the helper's. */
extern void *bpf_rdonly_cast(void *object, __u32 type_id) __ksym __weak;
#define read_as(type, pointer)                                                                     \
	((type *)bpf_rdonly_cast((void *)(pointer), bpf_core_type_id_kernel(type)))

/*
 * Where a thread's user registers lie from the start of its kernel stack: the size of stacks and
 * what is kept above the registers differ by kernel. Found by the first snapshot, which asks the
 * helper; 0 before that. Reading them at that place saves the helper's call, 20 to 35 ns a switch.
 */
__u64 regs_offset;

/* Memory makes a number of a pointer: the verifier has no arithmetic on what it knows to point. */
static __u64 regs_place;

static __always_inline void regs_find(struct task_struct *task)
{
	__u64 stack = (__u64)task->stack, regs;

	if (!bpf_rdonly_cast || regs_offset)
		return;
	WRITE_ONCE(regs_place, bpf_task_pt_regs(task));
	regs = READ_ONCE(regs_place);
	if (regs > stack && regs - stack < 1 << 20)
		regs_offset = regs - stack;
}

static __always_inline struct pt_regs *regs_of(struct task_struct *task)
{
	__u64 offset = regs_offset;

	if (bpf_rdonly_cast && likely(offset))
		return read_as(struct pt_regs, task->stack + offset);
	return (struct pt_regs *)bpf_task_pt_regs(task);
}

/*
 * S_IFMT of an open file >> 12, 0 when the descriptor is not open. The table may be replaced under
 * us: it is freed after a grace period, and tracepoints hold that off; a stale entry reads as 0 or
 * as what was open a moment ago.
 */
static __always_inline __u8 file_type(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = task->files;
	struct file **slot, *file = NULL;
	struct inode *inode = NULL;
	unsigned short mode = 0;
	struct fdtable *fdt;

	if (!files)
		return 0;
	fdt = files->fdt;
	if (fd >= fdt->max_fds)
		return 0;
	slot = fdt->fd + fd;
	if (bpf_rdonly_cast) {
		/* any kernel type that begins with a pointer will do for the slot */
		file = read_as(struct file, read_as(struct list_head, slot)->next);
		return file ? file->f_inode->i_mode >> 12 : 0;
	}
	if (bpf_probe_read_kernel(&file, sizeof(file), slot) || !file ||
	    bpf_probe_read_kernel(&inode, sizeof(inode), &file->f_inode) || !inode ||
	    bpf_probe_read_kernel(&mode, sizeof(mode), &inode->i_mode))
		return 0;
	return mode >> 12;
}

/* Reads no register that it does not need: each is a load that may fault, so a checked one. */
static __always_inline void asleep_registers(struct task_struct *task, struct asleep *why)
{
	struct pt_regs *regs = regs_of(task);
	__u64 nr, arg1;

#if defined(__TARGET_ARCH_x86)
	nr = regs->orig_ax;
	if (nr >= 0x8000) /* -1: an exception or interrupt, so a page fault or a signal */
		return;
	why->sysnr = nr;
	if (unlikely(task->thread_info.status & TS_COMPAT)) {
		why->arg0 = (__u32)regs->bx;
		arg1 = regs->cx;
		why->arg1 = nr == SYS_FUTEX_COMPAT ? arg1 & 0x7f : arg1;
		why->flags |= INTRO_SWITCH_COMPAT;
		return;
	}
	why->arg0 = regs->di;
#elif defined(__TARGET_ARCH_arm64)
	nr = (__u32)regs->syscallno;
	if (nr >= 0x8000)
		return;
	why->sysnr = nr;
	why->arg0 = regs->orig_x0;
#endif
	if (nr < FD_SYSCALLS && fd_syscalls[nr >> 6] & SYS(nr)) {
		why->arg1 = file_type(task, why->arg0);
		return;
	}
#if defined(__TARGET_ARCH_x86)
	arg1 = regs->si;
#elif defined(__TARGET_ARCH_arm64)
	arg1 = regs->regs[1];
#endif
	why->arg1 = nr == SYS_FUTEX ? arg1 & 0x7f : arg1;
}

static __always_inline void asleep_why(struct task_struct *task, struct asleep *why)
{
	why->arg0 = 0;
	why->arg1 = 0;
	why->sysnr = INTRO_SYS_NONE;
	why->flags = 0;
	if (task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER))
		why->flags = INTRO_SWITCH_KTHREAD;
	else
		asleep_registers(task, why);
}

/*
 * A thread that can run left the CPU on its way back to user mode: at a reschedule, or because it
 * asked to (sched_yield). Only its system call tells, so only that one is reported.
 */
static __always_inline void asleep_yielded(struct task_struct *task, struct asleep *why)
{
	struct pt_regs *regs;

	if (task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER))
		return;
	regs = regs_of(task);
#if defined(__TARGET_ARCH_x86)
	if (regs->orig_ax == SYS_SCHED_YIELD && !(task->thread_info.status & TS_COMPAT))
		why->sysnr = SYS_SCHED_YIELD;
#elif defined(__TARGET_ARCH_arm64)
	if (regs->syscallno == SYS_SCHED_YIELD)
		why->sysnr = SYS_SCHED_YIELD;
#endif
}

#endif
