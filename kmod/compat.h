/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_COMPAT_H
#define INTROSPECT_COMPAT_H
/*
 * compat.h - all that differs between kernels and architectures. Nothing else of the module looks
 * at a version or at a configuration. Written for Linux 6.1 and later.
 */
#include <linux/eventfd.h>
#include <linux/sched.h>
#include <linux/thread_info.h>
#include <linux/version.h>
#include <trace/events/kmem.h>
#include <trace/events/migrate.h>
#include <trace/events/sched.h>
#include <trace/events/task.h>

/* Threads of the kernel that run in a program's name: they have no user registers of their own. */
#ifndef PF_USER_WORKER
#define PF_USER_WORKER 0 /* Linux 6.4 */
#endif

#ifndef TASK_STOPPED_OR_TRACED
#define TASK_STOPPED_OR_TRACED (__TASK_STOPPED | __TASK_TRACED)
#endif

/* Linux 6.8: an eventfd is told of one event at a time. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define event_tell(event) eventfd_signal(event, 1)
#else
#define event_tell(event) eventfd_signal(event)
#endif

/* Linux 6.16: sched_process_exit says whether the process dies with this thread. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#define EXIT_ARGUMENTS void *data, struct task_struct *task
#define exit_group_dead(task) (!atomic_read(&(task)->signal->live))
#else
#define EXIT_ARGUMENTS void *data, struct task_struct *task, bool group_dead
#define exit_group_dead(task) (group_dead)
#endif

/* Linux 6.5: mm_migrate_pages tells of large folios that it split. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define MIGRATE_PAGES_ARGUMENTS                                                                    \
	void *data, unsigned long succeeded, unsigned long failed, unsigned long thp_succeeded,    \
		unsigned long thp_failed, unsigned long thp_split, enum migrate_mode mode,         \
		int reason
#else
#define MIGRATE_PAGES_ARGUMENTS                                                                    \
	void *data, unsigned long succeeded, unsigned long failed, unsigned long thp_succeeded,    \
		unsigned long thp_failed, unsigned long thp_split,                                 \
		unsigned long large_folio_split, enum migrate_mode mode, int reason
#endif

static inline bool task_is_on_cpu(struct task_struct *task)
{
#ifdef CONFIG_SMP
	return READ_ONCE(task->on_cpu);
#else
	return task == current;
#endif
}

/* The scheduler's account of waiting, by its own clock; 0 where it keeps none. */
#ifdef CONFIG_SCHED_INFO
#define task_sched_info(task, member) ((task)->sched_info.member)
#else
#define task_sched_info(task, member) 0
#endif

/*
 * Whether tasks are charged by the run queue's clock: up to se.exec_start. Elsewhere interrupts, or
 * what a hypervisor stole, are taken out, and what is left is no time.
 */
#if defined(CONFIG_IRQ_TIME_ACCOUNTING) || defined(CONFIG_PARAVIRT_TIME_ACCOUNTING)
#define TASKS_ARE_CHARGED_ALL 0
#else
#define TASKS_ARE_CHARGED_ALL 1
#endif

/* What a thread entered the kernel with. */
#if defined(CONFIG_X86_64)
#define regs_sysnr(regs) ((regs)->orig_ax)
#define regs_arg0(regs) ((regs)->di)
#define regs_arg1(regs) ((regs)->si)
#define regs_compat_arg0(regs) ((u32)(regs)->bx)
#define regs_compat_arg1(regs) ((regs)->cx)
static inline bool task_is_compat(struct task_struct *task)
{
	return task_thread_info(task)->status & TS_COMPAT;
}
#elif defined(CONFIG_ARM64)
#define regs_sysnr(regs) ((u32)(regs)->syscallno)
#define regs_arg0(regs) ((regs)->orig_x0)
#define regs_arg1(regs) ((regs)->regs[1])
#define regs_compat_arg0(regs) ((u32)(regs)->orig_x0)
#define regs_compat_arg1(regs) ((u32)(regs)->regs[1])
#define SYS_FUTEX_COMPAT 240
static inline bool task_is_compat(struct task_struct *task)
{
	return is_compat_thread(task_thread_info(task));
}
#else
#error "introspect: how does this architecture pass the arguments of a system call?"
#endif

#endif
