/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
#ifndef INTROSPECT_DEVICE_H
#define INTROSPECT_DEVICE_H
/*
 * device.h - /proc/introspect, the kernel module's side of abi.h: the same records, in the same
 * rings, where BPF is not to be had. introspect(4) describes it for users.
 *
 * One reader at a time: a second open fails with EBUSY. The calls, in this order:
 *
 *	open
 *	INTRO_DEVICE_VERSION	abi must be INTRO_DEVICE_ABI
 *	INTRO_DEVICE_SETUP	once: makes the rings, says how many and how far apart, and gives
 *				a descriptor of their memory
 *	mmap of that		cpus * stride bytes from offset 0, MAP_SHARED; then close it
 *	INTRO_DEVICE_TARGET	as often as wanted, before and after the start
 *	INTRO_DEVICE_START	events are recorded from here on
 *	INTRO_DEVICE_SNAPSHOT	then read() until it returns 0: where every target is
 *	INTRO_DEVICE_STOP	when it returns, nothing more is recorded
 *	close			ends the recording; the rings are there while they are mapped
 *
 * A ring is that of abi.h. The kernel keeps its own position: of what is mapped it reads
 * only `tail`, and a tail that makes no sense is a full ring. Whatever else the reader does to the
 * memory, and be it to cut it off, harms the reader alone.
 *
 * Waiting: who gave an eventfd to SETUP polls that one. Between START and STOP the kernel looks
 * every 10 ms, and tells it when some ring is a quarter full; no event ever wakes the reader.
 *
 * The module can be removed at any time, whoever has the file open. That is as if the reader had
 * closed it: recording ends, `ended` of every ring is set once nothing more can come, and the
 * eventfd is told. What the rings hold stays readable. Of the file no call is left: ioctl gives
 * ENOTTY, read EIO.
 *
 * Errors: EBUSY (a second reader; SETUP or START a second time), EINVAL (an argument), EBADF (the
 * eventfd), ENODATA (before SETUP), EPERM (open, without CAP_PERFMON or CAP_SYS_ADMIN), EPROTO
 * (SETUP: another ABI), ENOMEM, ENOTTY (no such call), ENXIO (START: this kernel has no
 * sched_switch).
 */
#include <linux/ioctl.h>
#include <linux/types.h>

#include <introspect/abi.h>

#define INTRO_DEVICE_NAME "introspect"
#define INTRO_DEVICE_PATH "/proc/" INTRO_DEVICE_NAME

/* Changes with the records and with these calls. */
#define INTRO_DEVICE_ABI (INTRO_ABI_VERSION << 8 | 1)

enum intro_device_use {
	INTRO_USE_REQUIRED, /* START fails without it */
	INTRO_USE_ALWAYS,
	INTRO_USE_PLACING, /* with INTRO_DEVICE_PLACE */
};
/*
 * The tracepoints that records come from: X(NAME, bit, use). What an absent one would have
 * told is missing from the trace.
 */
#define INTRO_TRACEPOINTS(X)                                                                       \
	X(sched_switch, 0, REQUIRED)                                                               \
	X(sched_waking, 1, ALWAYS)                                                                 \
	X(sched_wakeup_new, 2, ALWAYS)                                                             \
	X(sched_migrate_task, 3, ALWAYS)                                                           \
	X(sched_process_fork, 4, ALWAYS)                                                           \
	X(sched_process_exec, 5, ALWAYS)                                                           \
	X(sched_process_exit, 6, ALWAYS)                                                           \
	X(task_rename, 7, ALWAYS)                                                                  \
	X(mm_page_alloc, 8, PLACING)                                                               \
	X(mm_migrate_pages, 9, PLACING)                                                            \
	X(sched_move_numa, 10, PLACING)                                                            \
	X(sched_stick_numa, 11, PLACING)                                                           \
	X(sched_swap_numa, 12, PLACING)
#define INTRO_TRACEPOINT_COUNT 13
enum intro_device_point {
#define INTRO_POINT_ENUM(NAME, bit, use) INTRO_POINT_##NAME = bit,
	INTRO_TRACEPOINTS(INTRO_POINT_ENUM)
#undef INTRO_POINT_ENUM
};
/* Likewise with INTRO_DEVICE_PLACE, but a function, as no tracepoint tells of hinting faults. */
#define INTRO_FAULT_FUNCTION "task_numa_fault"
#define INTRO_FAULT_BIT 13

struct intro_device_version {
	__u32 abi;     /* INTRO_DEVICE_ABI of the module */
	__u32 missing; /* 1 << bit for each tracepoint, or function, that this kernel lacks */
};

#define INTRO_DEVICE_WHOLE_SYSTEM 1 /* everybody is a target */
#define INTRO_DEVICE_PLACE 2	    /* count whose node's memory threads get: PAGES and NUMA */

#define INTRO_DEVICE_RING_LEAST 4096
#define INTRO_DEVICE_RING_MOST (64u << 20)

struct intro_device_setup {
	__u32 abi;	  /* in: INTRO_DEVICE_ABI */
	__u32 flags;	  /* in: INTRO_DEVICE_*; anything else is EINVAL */
	__u64 ring_bytes; /* in: a power of two, LEAST to MOST; 0: as the module likes. out */
	__u64 stride;	  /* out: from one ring to the next */
	__u32 cpus;	  /* out: rings, one for each possible CPU, by number */
	__s32 event;	  /* in: an eventfd, or -1: nobody waits */
	__s32 memory;	  /* out: a descriptor of the rings' memory, close-on-exec */
	__u32 reserved;	  /* in: 0 */
};

struct intro_device_stats {
	__u64 bytes;	  /* written to all rings */
	__u64 lost;	  /* records that found no room */
	__u64 ignored;	  /* events that by design left no record */
	__u64 pages_lost; /* counted, and told of by no record */
	__u32 attached;	  /* 1 << bit for each tracepoint, or function, that START found */
	__u32 reserved;
};

#define INTRO_DEVICE_TYPE 0xb7
#define INTRO_DEVICE_VERSION _IOR(INTRO_DEVICE_TYPE, 0, struct intro_device_version)
#define INTRO_DEVICE_SETUP _IOWR(INTRO_DEVICE_TYPE, 1, struct intro_device_setup)
/* A thread by its tid in the initial pid namespace. Returns 1 if it already was a target. */
#define INTRO_DEVICE_TARGET _IO(INTRO_DEVICE_TYPE, 2)
#define INTRO_DEVICE_START _IO(INTRO_DEVICE_TYPE, 3)
#define INTRO_DEVICE_STOP _IO(INTRO_DEVICE_TYPE, 4)
/* enum intro_snapshot_when. A second one takes the place of what was not read of the first. */
#define INTRO_DEVICE_SNAPSHOT _IO(INTRO_DEVICE_TYPE, 5)
#define INTRO_DEVICE_STATS _IOR(INTRO_DEVICE_TYPE, 6, struct intro_device_stats)

INTRO_ASSERT_SIZE(intro_device_version, 8);
INTRO_ASSERT_SIZE(intro_device_setup, 40);
INTRO_ASSERT_SIZE(intro_device_stats, 40);

#endif
