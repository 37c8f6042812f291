/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_PLACE_BPF_H
#define INTROSPECT_PLACE_BPF_H
/*
 * place.bpf.h - which node's memory a thread gets, counted here and told now and then: when the
 * thread leaves its CPU, and before a count is INTRO_PLACED_NS old, so that it can be booked to the
 * task that was under way. Counts are the CPU's, of who has it now; nothing else touches them.
 *
 * Counted is what the page allocator hands out for user memory: movable and from anywhere. That is
 * anonymous and shared memory, and what a thread brings into the page cache; not page tables, other
 * memory of the kernel's, or huge pages that were set aside beforehand.
 */

/* Whether any of this is wanted. Without it the programs are not even loaded. */
const volatile bool placing;
/* Above all nodes' numbers, at most INTRO_PLACED_NODES. */
const volatile __u32 placed_nodes = 1;
/* The number of the only node with memory, or -1 when a page's flags must tell. */
const volatile __s32 only_node = -1;
/* mm_migrate_pages has one more argument before its reason (Linux 6.5 and later). */
const volatile bool migrate_tells_splits;
/* How far to shift a page's flags for its node; found by trying (collect/place_bpf.c). */
__u32 node_shift;

/* The thread whose pages are looked at to find that out, and what was seen last. */
__u32 sample_tid;
__u64 sample_flags, samples;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct intro_placed);
} placed SEC(".maps");

/* Pages told of by no record, as the ring was full. */
__u64 placed_lost;

static __always_inline struct intro_placed *placed_of(__u32 cpu)
{
	return bpf_map_lookup_elem(&placed, &cpu);
}

/* A function of its own to the verifier, which therefore looks at it once. */
__noinline int placed_write(__u32 cpu, __u32 what, __u32 node, __u32 pages)
{
	struct intro_ring *ring = ring_of(cpu);
	struct intro_placed *counts = placed_of(cpu);
	struct intro_rec_pages *rec;

	if (!ring || !counts)
		return 0;
	if (ring->gap_count || !ring_fits(ring, ring->head, sizeof(*rec))) {
		__sync_fetch_and_add(&placed_lost, pages);
		return 0;
	}
	rec = ring_open(ring, counts->last, cpu, sizeof(*rec));
	if (rec) {
		rec_head(&rec->rec, counts->last, INTRO_KIND_PAGES, 1, cpu, counts->tid);
		rec->pages = pages;
		rec->node = node;
		rec->what = what;
		rec->reserved0 = 0;
		rec->since = counts->since;
	}
	ring_close(ring);
	return 0;
}

static __noinline int placed_flush(struct intro_ring *ring, __u32 cpu)
{
	struct intro_placed *counts = placed_of(cpu);
	__u32 n;

	ring->placed = 0;
	if (!counts)
		return 0;
	for (__u32 node = 0; node < INTRO_PLACED_NODES && node < placed_nodes; node++) {
		n = counts->given[node];
		counts->given[node] = 0;
		if (n)
			placed_write(cpu, INTRO_PAGES_GIVEN, node, n);
		n = __sync_lock_test_and_set(&counts->hinted[node], 0);
		if (n)
			placed_write(cpu, INTRO_PAGES_HINTED, node, n);
	}
	n = counts->elsewhere;
	counts->elsewhere = 0;
	if (n)
		placed_write(cpu, INTRO_PAGES_GIVEN, INTRO_NODE_UNKNOWN, n);
	n = __sync_lock_test_and_set(&counts->balanced, 0);
	if (n)
		placed_write(cpu, INTRO_PAGES_BALANCED, INTRO_NODE_UNKNOWN, n);
	n = __sync_lock_test_and_set(&counts->moved, 0);
	if (n)
		placed_write(cpu, INTRO_PAGES_MOVED, INTRO_NODE_UNKNOWN, n);
	counts->since = 0;
	return 0;
}

/* Who counts now, at ts. NULL: nobody whom the trace is about. */
static __always_inline struct intro_placed *placed_begin(__u32 cpu, bool flush)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct intro_ring *ring;
	struct intro_placed *counts;
	__u32 tid = task->pid;
	__u64 ts;

	if (!target_has(tid) || task->flags & PF_KTHREAD)
		return NULL;
	ring = ring_of(cpu);
	counts = placed_of(cpu);
	if (!ring || !counts)
		return NULL;
	ts = bpf_ktime_get_ns();
	if (flush && counts->since && (ts - counts->since > INTRO_PLACED_NS || counts->tid != tid))
		placed_flush(ring, cpu);
	if (!counts->since) {
		counts->since = ts;
		counts->tid = tid;
		ring->placed = 1;
		/* not before: a switch may come in between, and would see nothing to tell */
		barrier();
		ring->plain_until = 0;
	}
	counts->last = ts;
	return counts;
}

static __always_inline __u64 page_flags(struct page *page)
{
	if (bpf_core_field_exists(page->flags))
		return page->flags;
	return ((struct page___memdesc *)page)->flags.f;
}

#define GFP_USER_PAGE (___GFP_HIGHMEM | ___GFP_MOVABLE)

/* Preemption is off, and no interrupt asks for such pages. */
SEC("tp_btf/mm_page_alloc")
int BPF_PROG(on_page_alloc, struct page *page, unsigned int order, unsigned int gfp)
{
	struct intro_placed *counts;
	__u32 node = only_node;

	if ((gfp & GFP_USER_PAGE) != GFP_USER_PAGE || !page)
		return 0;
	counts = placed_begin(bpf_get_smp_processor_id(), true);
	if (!counts)
		return 0;
	if (only_node < 0)
		node = page_flags(page) >> (node_shift & 63);
	if (node < placed_nodes)
		counts->given[node & (INTRO_PLACED_NODES - 1)] += 1u << (order & 31);
	else
		counts->elsewhere += 1u << (order & 31);
	return 0;
}

SEC("tp_btf/mm_page_alloc")
int BPF_PROG(on_page_sample, struct page *page, unsigned int order, unsigned int gfp)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if ((gfp & GFP_USER_PAGE) != GFP_USER_PAGE || !page || (__u32)task->pid != sample_tid)
		return 0;
	sample_flags = page_flags(page);
	samples++;
	return 0;
}

/*
 * A thread touched pages that balancing had taken out of its reach to see who does. This program
 * may be preempted; but it counts for the thread which is current, and atomically.
 */
SEC("fentry/task_numa_fault")
int BPF_PROG(on_numa_fault, int last_cpupid, int mem_node, int pages, int flags)
{
	struct intro_placed *counts = placed_begin(bpf_get_smp_processor_id(), false);
	__u32 node = mem_node;

	if (!counts || pages <= 0)
		return 0;
	if (flags & TNF_MIGRATED)
		__sync_fetch_and_add(&counts->balanced, pages);
	else if (node < placed_nodes)
		__sync_fetch_and_add(&counts->hinted[node & (INTRO_PLACED_NODES - 1)], pages);
	return 0;
}

/* Apart, as the compiler would make one load of two, and the verifier wants constant addresses. */
static __noinline __u64 argument_6(unsigned long long *ctx)
{
	return ctx[6];
}

static __noinline __u64 argument_7(unsigned long long *ctx)
{
	return ctx[7];
}

SEC("tp_btf/mm_migrate_pages")
int BPF_PROG(on_migrate_pages, unsigned long succeeded)
{
	struct intro_placed *counts;
	__u32 reason;

	reason = migrate_tells_splits ? argument_7(ctx) : argument_6(ctx);
	if (!succeeded || (reason != MR_SYSCALL && reason != MR_MEMPOLICY_MBIND))
		return 0;
	counts = placed_begin(bpf_get_smp_processor_id(), false);
	if (counts)
		__sync_fetch_and_add(&counts->moved, (__u32)succeeded);
	return 0;
}

static __always_inline void decision_write(struct task_struct *task, __u32 from_cpu, __u32 to_cpu,
					   __u32 other_tid, __u8 decision)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct intro_ring *ring;
	struct intro_rec_numa *rec;
	__u64 ts;

	if (!target_has(task->pid))
		return;
	ring = ring_of(cpu);
	if (!ring)
		return;
	ts = bpf_ktime_get_ns();
	rec = ring_open(ring, ts, cpu, sizeof(*rec));
	if (rec) {
		rec_head(&rec->rec, ts, INTRO_KIND_NUMA, 1, cpu, task->pid);
		rec->other_tid = other_tid;
		rec->from_cpu = from_cpu;
		rec->to_cpu = to_cpu;
		rec->decision = decision;
		rec->reserved0 = 0;
		rec->reserved1 = 0;
		rec->reserved2 = 0;
	}
	ring_close(ring);
}

SEC("tp_btf/sched_move_numa")
int BPF_PROG(on_numa_move, struct task_struct *task, int from_cpu, int to_cpu)
{
	decision_write(task, from_cpu, to_cpu, 0, INTRO_NUMA_MOVED);
	return 0;
}

SEC("tp_btf/sched_stick_numa")
int BPF_PROG(on_numa_stick, struct task_struct *task, int from_cpu, struct task_struct *other,
	     int to_cpu)
{
	decision_write(task, from_cpu, to_cpu, other ? other->pid : 0, INTRO_NUMA_STUCK);
	return 0;
}

SEC("tp_btf/sched_swap_numa")
int BPF_PROG(on_numa_swap, struct task_struct *task, int from_cpu, struct task_struct *other,
	     int to_cpu)
{
	decision_write(task, from_cpu, to_cpu, other ? other->pid : 0, INTRO_NUMA_SWAPPED);
	return 0;
}

#endif
