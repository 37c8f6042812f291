// SPDX-License-Identifier: GPL-2.0-only
/*
 * on_switch.bpf.c - what it costs at least to hang on a switch: a program that does nothing, and
 * one that reads the clock and does nothing with it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tp_btf/sched_switch")
int empty(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_switch")
int clock(void *ctx)
{
	/* a call of a helper is not left out, whatever becomes of its result */
	bpf_ktime_get_ns();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
