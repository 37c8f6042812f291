/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_PLACE_H
#define INTROSPECT_PLACE_H
/*
 * place.h - which node's memory a thread gets, counted in struct intro_placed (abi.h) and told when
 * the thread leaves its CPU, and before a count is INTRO_PLACED_NS old. What is counted is as
 * bpf/place.bpf.h has it.
 */
#include "session.h"

struct kprobe;
struct pt_regs;

/* Interrupts off: tells what is counted on this CPU. */
void place_flush(struct session *session, struct writer *writer, u32 cpu);
/* No probe runs: tells what no switch will. */
void place_finish(struct session *session);

void on_page_alloc(void *data, struct page *page, unsigned int order, gfp_t gfp, int migratetype);
void on_migrate_pages(MIGRATE_PAGES_ARGUMENTS);
void on_numa_move(void *data, struct task_struct *task, int from_cpu, int to_cpu);
void on_numa_stick(void *data, struct task_struct *task, int from_cpu, struct task_struct *other,
		   int to_cpu);
void on_numa_swap(void *data, struct task_struct *task, int from_cpu, struct task_struct *other,
		  int to_cpu);
/* Before the first instruction of task_numa_fault(). */
int on_numa_fault(struct kprobe *probe, struct pt_regs *regs);

#endif
