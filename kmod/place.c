// SPDX-License-Identifier: GPL-2.0-only
/*
 * place.c - pages by node, for who has the CPU. They are counted with interrupts off, as the switch
 * that tells of them has them off: nothing comes between.
 */
#include <linux/irqflags.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/migrate_mode.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/sched/numa_balancing.h>

#include "place.h"
#include "ring.h"

static void place_write(struct session *session, struct writer *writer, u32 cpu,
			enum intro_pages what, u32 node, u32 pages)
{
	const struct intro_placed *counts = writer->placed;
	struct intro_rec_pages *rec;

	if (!pages)
		return;
	if (!ring_has_room(session, writer, cpu, sizeof(*rec))) {
		WRITE_ONCE(writer->pages_lost, writer->pages_lost + pages);
		return;
	}
	rec = ring_at(session, writer, writer->head);
	rec_head(&rec->rec, counts->last, INTRO_KIND_PAGES, 1, cpu, counts->tid);
	rec->pages = pages;
	rec->node = node;
	rec->what = what;
	rec->reserved0 = 0;
	rec->since = counts->since;
	ring_publish(writer, sizeof(*rec));
}

void place_flush(struct session *session, struct writer *writer, u32 cpu)
{
	u32 node, nodes = min_t(u32, nr_node_ids, INTRO_PLACED_NODES);
	struct intro_placed *counts = writer->placed;

	for (node = 0; node < nodes; node++) {
		place_write(session, writer, cpu, INTRO_PAGES_GIVEN, node, counts->given[node]);
		place_write(session, writer, cpu, INTRO_PAGES_HINTED, node, counts->hinted[node]);
		counts->given[node] = counts->hinted[node] = 0;
	}
	place_write(session, writer, cpu, INTRO_PAGES_GIVEN, INTRO_NODE_UNKNOWN, counts->elsewhere);
	place_write(session, writer, cpu, INTRO_PAGES_BALANCED, INTRO_NODE_UNKNOWN,
		    counts->balanced);
	place_write(session, writer, cpu, INTRO_PAGES_MOVED, INTRO_NODE_UNKNOWN, counts->moved);
	counts->elsewhere = counts->balanced = counts->moved = 0;
	counts->since = 0;
	writer->counted = false;
}

void place_finish(struct session *session)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct writer *writer = per_cpu_ptr(session->writers, cpu);

		if (writer->counted)
			place_flush(session, writer, cpu);
	}
}

/* Whether the trace is about who has the CPU. */
static bool place_wanted(const struct session *session)
{
	return !(current->flags & PF_KTHREAD) && target_has(session, current->pid);
}

/* Interrupts off: where to count for who has the CPU, from now on. */
static struct intro_placed *place_begin(struct session *session)
{
	struct writer *writer = this_cpu_ptr(session->writers);
	struct intro_placed *counts = writer->placed;
	u32 tid = current->pid;
	u64 ts = ktime_get_mono_fast_ns();

	if (writer->counted && (ts - counts->since > INTRO_PLACED_NS || counts->tid != tid))
		place_flush(session, writer, smp_processor_id());
	if (!writer->counted) {
		writer->counted = true;
		counts->since = ts;
		counts->tid = tid;
	}
	counts->last = ts;
	return counts;
}

void on_page_alloc(void *data, struct page *page, unsigned int order, gfp_t gfp, int migratetype)
{
	const gfp_t user_memory = __GFP_HIGHMEM | __GFP_MOVABLE;
	struct intro_placed *counts;
	unsigned long flags;
	u32 node;

	if ((gfp & user_memory) != user_memory || !page || !place_wanted(data))
		return;
	node = page_to_nid(page);
	local_irq_save(flags);
	counts = place_begin(data);
	if (node < INTRO_PLACED_NODES)
		counts->given[node] += 1u << order;
	else
		counts->elsewhere += 1u << order;
	local_irq_restore(flags);
}

void on_migrate_pages(MIGRATE_PAGES_ARGUMENTS)
{
	unsigned long flags;

	if (!succeeded || (reason != MR_SYSCALL && reason != MR_MEMPOLICY_MBIND) ||
	    !place_wanted(data))
		return;
	local_irq_save(flags);
	place_begin(data)->moved += succeeded;
	local_irq_restore(flags);
}

/* A thread touched pages that balancing had taken out of its reach to see who does. */
int on_numa_fault(struct kprobe *probe, struct pt_regs *regs)
{
	struct session *session = container_of(probe, struct session, faults);
	u32 node = regs_get_kernel_argument(regs, 1);
	int pages = regs_get_kernel_argument(regs, 2);
	struct intro_placed *counts;
	unsigned long flags;

	if (pages <= 0 || !place_wanted(session))
		return 0;
	local_irq_save(flags);
	counts = place_begin(session);
	if (regs_get_kernel_argument(regs, 3) & TNF_MIGRATED)
		counts->balanced += pages;
	else if (node < INTRO_PLACED_NODES)
		counts->hinted[node] += pages;
	local_irq_restore(flags);
	return 0;
}
NOKPROBE_SYMBOL(on_numa_fault);

static void decision_write(struct session *session, struct task_struct *task, u32 from_cpu,
			   u32 to_cpu, const struct task_struct *other, u8 decision)
{
	struct intro_rec_numa *rec;
	struct ring_spot spot;

	if (!target_has(session, task->pid))
		return;
	rec = ring_open(session, &spot, sizeof(*rec));
	if (rec) {
		rec_head(&rec->rec, spot.ts, INTRO_KIND_NUMA, 1, spot.cpu, task->pid);
		rec->other_tid = other ? other->pid : 0;
		rec->from_cpu = from_cpu;
		rec->to_cpu = to_cpu;
		rec->decision = decision;
		rec->reserved0 = 0;
		rec->reserved1 = 0;
		rec->reserved2 = 0;
		ring_publish(spot.writer, sizeof(*rec));
	}
	ring_close(&spot);
}

void on_numa_move(void *data, struct task_struct *task, int from_cpu, int to_cpu)
{
	decision_write(data, task, from_cpu, to_cpu, NULL, INTRO_NUMA_MOVED);
}

void on_numa_stick(void *data, struct task_struct *task, int from_cpu, struct task_struct *other,
		   int to_cpu)
{
	decision_write(data, task, from_cpu, to_cpu, other, INTRO_NUMA_STUCK);
}

void on_numa_swap(void *data, struct task_struct *task, int from_cpu, struct task_struct *other,
		  int to_cpu)
{
	decision_write(data, task, from_cpu, to_cpu, other, INTRO_NUMA_SWAPPED);
}
