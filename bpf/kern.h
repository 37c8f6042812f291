/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_KERN_H
#define INTROSPECT_KERN_H
/*
 * kern.h - the few kernel types the programs read: only the members they touch, in any order. The
 * loader moves every access to where the running kernel keeps that member (CO-RE), and a
 * type___suffix stands for another version's shape of `type`.
 */
#include <stdbool.h>
#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct thread_info {
	__u32 status; /* x86: TS_COMPAT */
	__u32 cpu;
};

struct list_head {
	struct list_head *next;
};

struct inode {
	unsigned short i_mode;
};

struct file {
	struct inode *f_inode;
	const void *f_op;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct signal_struct {
	atomic_t live;
};

struct rq {
	/* ns; not CLOCK_MONOTONIC. By clock_task threads are charged: it may leave out
	 * interrupts, and what the hypervisor stole */
	__u64 clock, clock_task;
};

struct cfs_rq {
	struct rq *rq;
};

struct sched_entity {
	__u64 exec_start; /* by clock_task: charged up to then */
	__u64 sum_exec_runtime;
	struct cfs_rq *cfs_rq; /* with CONFIG_FAIR_GROUP_SCHED */
};

struct sched_info {
	unsigned long long run_delay;
	unsigned long long last_arrival; /* by rq.clock: when it got the CPU */
	unsigned long long last_queued;	 /* by rq.clock; 0: it does not wait */
};

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int __state;
	unsigned int flags;
	int on_cpu;
	int on_rq;
	struct sched_entity se;
	struct sched_info sched_info;
	int exit_state;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	__u64 start_time;
	char comm[16];
	struct files_struct *files;
	struct signal_struct *signal;
};

/* Where thread_info is not in the task or has no cpu. */
struct task_struct___cpu {
	unsigned int cpu;
};

struct page {
	unsigned long flags;
};

/* Linux 6.18 and later. */
typedef struct {
	unsigned long f;
} memdesc_flags_t;

struct page___memdesc {
	memdesc_flags_t flags;
};

struct linux_binprm {
	int argc;
};

struct pt_regs {
#if defined(__TARGET_ARCH_x86)
	unsigned long bx, cx, si, di, orig_ax;
#elif defined(__TARGET_ARCH_arm64)
	__u64 regs[31];
	__u64 orig_x0;
	int syscallno;
#endif
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

/* include/linux/sched.h */
#define TASK_INTERRUPTIBLE 0x0001
#define TASK_UNINTERRUPTIBLE 0x0002
#define TASK_STOPPED_OR_TRACED 0x000c
#define TASK_PARKED 0x0040
#define TASK_DEAD 0x0080
#define TASK_NOLOAD 0x0400
#define TASK_RTLOCK_WAIT 0x1000
#define TASK_FROZEN 0x8000
/* include/linux/gfp_types.h */
#define ___GFP_HIGHMEM 0x02
#define ___GFP_MOVABLE 0x08
/* include/linux/migrate_mode.h */
#define MR_SYSCALL 3
#define MR_MEMPOLICY_MBIND 4
/* include/linux/sched/numa_balancing.h */
#define TNF_MIGRATED 0x01
/* include/linux/sched.h */
#define PF_IO_WORKER 0x00000010
#define PF_USER_WORKER 0x00004000
#define PF_KTHREAD 0x00200000
/* include/uapi/linux/stat.h */
#define S_IFIFO 0010000
#define S_IFSOCK 0140000
/* arch/x86/include/asm/thread_info.h */
#define TS_COMPAT 0x0002

#endif
