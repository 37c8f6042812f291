// SPDX-License-Identifier: GPL-2.0-only
/*
 * introspect.bpf.c - the only compilation unit: one header a concern.
 */
#include <linux/bpf.h>
#include "kern.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <introspect/abi.h>

#include "ring.bpf.h"
#include "target.bpf.h"
#include "syscalls.h"
#include "drift.h"
#include "asleep.bpf.h"
#include "task.bpf.h"
#include "clock.bpf.h"
#include "place.bpf.h"
#include "sched.bpf.h"
#include "snapshot.bpf.h"

char LICENSE[] SEC("license") = "GPL";
