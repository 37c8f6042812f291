// SPDX-License-Identifier: GPL-2.0-only
/* empty_switch.bpf.c - what it costs at least to hang on a switch: a program that does nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tp_btf/sched_switch")
int empty_switch(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
