// SPDX-License-Identifier: GPL-2.0-only
/*
 * rings.bpf.c - the same 32 bytes of a switch through either kind of ring, and neither.
 */
#include <linux/bpf.h>
#include "kern.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <introspect/abi.h>
#include "ring.bpf.h"

#define BUFFER_BYTES (4 << 20)
#define CPUS 64

struct buffer {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, BUFFER_BYTES);
};

/* filled in by rings.c: one buffer a CPU */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CPUS);
	__uint(key_size, sizeof(__u32));
	__array(values, struct buffer);
} buffers SEC(".maps");

#define PROGRAM(name)                                                                              \
	SEC("tp_btf/sched_switch")                                                                 \
	int BPF_PROG(name, bool preempt, struct task_struct *prev, struct task_struct *next,       \
		     unsigned int state)

static __always_inline void fill(struct intro_rec_switch *rec, __u64 ts, __u32 cpu,
				 struct task_struct *prev, struct task_struct *next, __u32 state)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(prev);

	rec_head(&rec->rec, ts, INTRO_KIND_SWITCH, 1, cpu, prev->pid);
	rec->next_tid = next->pid;
	rec->state = state;
	rec->arg1 = regs->si;
	rec->sysnr = regs->orig_ax;
	rec->arg0 = regs->di;
}

PROGRAM(empty)
{
	return 0;
}

PROGRAM(array)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct intro_ring *ring = ring_of(cpu);
	struct intro_rec_switch *rec;
	__u64 ts;

	if (!ring)
		return 0;
	ts = bpf_ktime_get_ns();
	rec = ring_take(ring, ts, cpu, sizeof(*rec));
	if (!rec)
		return 0;
	fill(rec, ts, cpu, prev, next, state);
	ring_publish(ring, sizeof(*rec));
	return 0;
}

PROGRAM(ringbuf)
{
	__u32 cpu = bpf_get_smp_processor_id();
	void *buffer = bpf_map_lookup_elem(&buffers, &cpu);
	struct intro_rec_switch *rec;
	__u64 ts;

	if (!buffer)
		return 0;
	ts = bpf_ktime_get_ns();
	rec = bpf_ringbuf_reserve(buffer, sizeof(*rec), 0);
	if (!rec)
		return 0;
	fill(rec, ts, cpu, prev, next, state);
	bpf_ringbuf_submit(rec, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
