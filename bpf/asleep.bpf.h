/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_ASLEEP_BPF_H
#define INTROSPECT_ASLEEP_BPF_H
/*
 * asleep.bpf.h - why a thread sleeps, from the registers it entered the kernel with.
 */

/* The second half of a struct intro_rec_switch from `state` on, as one store of its first word. */
#define ASLEEP(flags, arg1, sysnr) ((flags) | (__u32)(__u8)(arg1) << 8 | (__u32)(sysnr) << 16)
#define ASLEEP_NOWHERE ASLEEP(0, 0, INTRO_SYS_NONE)

/* Linux 6.2 and later: typed reads of untyped pointers, a tenth of the price of the helper's. */
extern void *bpf_rdonly_cast(void *object, __u32 type_id) __ksym __weak;
#define read_as(type, pointer)                                                                     \
	((type *)bpf_rdonly_cast((void *)(pointer), bpf_core_type_id_kernel(type)))

/*
 * Found by the first snapshot, which asks the helper for a thread's registers and looks at the
 * tracer's own socket. Reading registers at that place saves the helper's call, 20 to 35 ns a
 * switch. What a switch needs of this is copied into the ring's header, which it needs anyway.
 */
struct intro_learned learned = {.socket_operations = 1};

/* Memory makes a number of a pointer: the verifier has no arithmetic on what it knows to point. */
static __u64 regs_place;

static __always_inline void regs_find(struct task_struct *task)
{
	__u64 stack = (__u64)task->stack, regs;

	if (!bpf_rdonly_cast || learned.regs_offset)
		return;
	WRITE_ONCE(regs_place, bpf_task_pt_regs(task));
	regs = READ_ONCE(regs_place);
	if (regs > stack && regs - stack < 1 << 20)
		learned.regs_offset = regs - stack;
}

static __always_inline struct pt_regs *regs_of(struct task_struct *task, __u64 offset)
{
	if (bpf_rdonly_cast && likely(offset))
		return read_as(struct pt_regs, task->stack + offset);
	return (struct pt_regs *)bpf_task_pt_regs(task);
}

#define FDS_LEAST 64 /* no table of descriptors is smaller: BITS_PER_LONG */

/*
 * Where a thread keeps its open file, or NULL. The table may be replaced under us: it is freed
 * after a grace period, and tracepoints hold that off; a stale entry reads as NULL or as what was
 * open a moment ago.
 */
static __always_inline struct file **file_slot(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = task->files;
	struct fdtable *fdt;

	if (!files)
		return NULL;
	fdt = files->fdt;
	return likely(fd < FDS_LEAST) || fd < fdt->max_fds ? fdt->fd + fd : NULL;
}

/* Any kernel type that begins with a pointer will do for the slot. */
#define file_in(slot) read_as(struct file, read_as(struct list_head, slot)->next)

/*
 * All sockets have the operations of one table, all pipes those of another, and to know these saves
 * reading the inode, which is seldom in the cache. They are learned from the tracer's own, the
 * descriptors that it keeps open over the first snapshot; 1: not learned.
 */
__u32 own_socket, own_pipe;
static __u64 pipe_operations = 1;

static __always_inline void operations_learn(struct task_struct *tracer, __u32 fd, __u64 *to)
{
	struct file **slot = file_slot(tracer, fd);
	__u64 operations = bpf_rdonly_cast && slot ? (__u64)file_in(slot)->f_op : 0;

	if (operations)
		*to = operations;
}

/* Before Linux 6.2 each read is a helper's. */
static __always_inline __u8 file_type_copied(struct file **slot)
{
	struct inode *inode;
	unsigned short mode;
	struct file *file;

	if (bpf_probe_read_kernel(&file, sizeof(file), slot) || !file ||
	    bpf_probe_read_kernel(&inode, sizeof(inode), &file->f_inode) || !inode ||
	    bpf_probe_read_kernel(&mode, sizeof(mode), &inode->i_mode))
		return 0;
	return mode >> 12;
}

/* S_IFMT of an open file >> 12, 0 when the descriptor is not open. */
static __always_inline __u8 file_type(struct task_struct *task, __u32 fd, __u64 socket_operations)
{
	struct file **slot = file_slot(task, fd);
	struct file *file;
	__u64 operations;

	if (!slot)
		return 0;
	if (!bpf_rdonly_cast)
		return file_type_copied(slot);
	file = file_in(slot);
	operations = (__u64)file->f_op; /* 0 where there is no file */
	if (operations == socket_operations)
		return S_IFSOCK >> 12;
	if (operations == pipe_operations)
		return S_IFIFO >> 12;
	return file->f_inode->i_mode >> 12;
}

#if defined(__TARGET_ARCH_x86)
#define regs_sysnr(regs) ((regs)->orig_ax)
#define regs_arg0(regs) ((regs)->di)
#define regs_arg1(regs) ((regs)->si)
static __always_inline bool is_compat(struct task_struct *task)
{
	return task->thread_info.status & TS_COMPAT;
}

static __always_inline __u32 asleep_compat(struct pt_regs *regs, __u64 nr, __u64 *arg0)
{
	__u64 arg1 = regs->cx;

	*arg0 = (__u32)regs->bx;
	return ASLEEP(INTRO_SWITCH_COMPAT, nr == SYS_FUTEX_COMPAT ? arg1 & 0x7f : arg1, nr);
}
#elif defined(__TARGET_ARCH_arm64)
#define regs_sysnr(regs) ((__u64)(__u32)(regs)->syscallno)
#define regs_arg0(regs) ((regs)->orig_x0)
#define regs_arg1(regs) ((regs)->regs[1])
#endif

/* Reads no register that it does not need: each is a load that may fault, so a checked one. */
static __always_inline __u32 asleep_registers(struct task_struct *task,
					      const struct intro_learned *known, __u64 *arg0)
{
	struct pt_regs *regs = regs_of(task, known->regs_offset);
	__u64 nr = regs_sysnr(regs), arg1;

	if (nr >= 0x8000) /* -1: an exception or interrupt, so a page fault or a signal */
		return ASLEEP_NOWHERE;
#if defined(__TARGET_ARCH_x86)
	if (unlikely(is_compat(task)))
		return asleep_compat(regs, nr, arg0);
#endif
	*arg0 = regs_arg0(regs);
	if (takes_descriptor(nr))
		return ASLEEP(0, file_type(task, *arg0, known->socket_operations), nr);
	arg1 = regs_arg1(regs);
	return ASLEEP(0, nr == SYS_FUTEX ? arg1 & 0x7f : arg1, nr);
}

static __always_inline bool runs_in_kernel(struct task_struct *task)
{
	return task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER);
}

/* Why a thread sleeps: an ASLEEP, and arg0, which was 0. */
static __always_inline __u32 asleep_why(struct task_struct *task, const struct intro_learned *known,
					__u64 *arg0)
{
	return runs_in_kernel(task) ? ASLEEP(INTRO_SWITCH_KTHREAD, 0, INTRO_SYS_NONE)
				    : asleep_registers(task, known, arg0);
}

/*
 * A thread that can run left the CPU on its way back to user mode: at a reschedule, or because it
 * asked to (sched_yield). Only its system call tells, so only that one is reported.
 */
static __always_inline __u32 asleep_yielded(struct task_struct *task, __u64 offset)
{
	if (runs_in_kernel(task) || regs_sysnr(regs_of(task, offset)) != SYS_SCHED_YIELD)
		return ASLEEP_NOWHERE;
#if defined(__TARGET_ARCH_x86)
	if (is_compat(task))
		return ASLEEP_NOWHERE;
#endif
	return ASLEEP(0, 0, SYS_SCHED_YIELD);
}

#endif
