/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_AREA_H
#define INTROSPECT_AREA_H
/*
 * area.h - the shared memory that marks are written to: its layout, and the rules between the
 * program (the runtime writes) and the tracer (the collector reads).
 *
 * One memfd named INTRO_AREA_NAME, sealed against shrinking and growing, exactly
 * sizeof(struct intro_area) bytes, sparse. It is made by
 *   - the tracer, for a command that it starts: passed down as an inherited file descriptor
 *     whose number is in the environment variable INTRO_AREA_ENV, so one area serves the
 *     whole process tree and outlives it; or
 *   - the runtime, at a program's first use of it, when there is no such variable: a
 *     tracer that attaches finds it in /proc/PID/maps ("/memfd:" INTRO_AREA_NAME).
 * A forked child inherits the mapping, and its threads take slots of their own.
 *
 * The geometry is fixed by INTRO_AREA_VERSION, so a reader never takes a size or an
 * offset from the memory itself. A reader treats all contents as hostile: it copies, then checks.
 *
 * Who writes what: `tracer` and a slot's tail the tracer; `enabled` too (the runtime before a
 * tracer comes); all else the program. An area has one tracer at a time: a second one leaves it
 * alone. The program works the same without a tracer: full rings drop and count.
 */
#include <stdatomic.h>
#include <stdint.h>

#include <introspect/abi.h>

#define INTRO_AREA_NAME "introspect-marks"
#define INTRO_AREA_ENV "INTROSPECT_MARKS_FD"
#define INTRO_AREA_MAGIC 0x314b52414d544e49ull /* "INTMARK1" */
#define INTRO_AREA_VERSION 1

#define INTRO_AREA_SLOTS 1024
#define INTRO_AREA_DEFS 4096
#define INTRO_AREA_RING_BYTES (512u << 10) /* a power of two; 16 384 marks */

/* What the ts of marks are, and whether any are written. */
enum intro_marks {
	INTRO_MARKS_OFF = 0,
	INTRO_MARKS_MONOTONIC = 1, /* clock_gettime(CLOCK_MONOTONIC), ns */
	INTRO_MARKS_TSC = 2,	   /* rdtsc ticks; the collector converts */
};

/*
 * A thread's ring. A thread claims a slot by compare-and-swap of `owner` from 0 to its tid, when it
 * writes its first mark or becomes a worker, and sets it to 0 when it ends; records
 * still unread stay and the next owner goes on behind them, starting with a THREAD record.
 * A claimer that finds none free may take one whose owner no longer exists.
 * pid is 0 while a slot is being claimed or released.
 */
struct intro_area_slot {
	_Atomic uint32_t owner;	 /* tid; 0: free */
	_Atomic uint32_t pid;	 /* of the owner */
	_Atomic uint32_t pool;	 /* of the worker that the owner is; 0: no worker */
	_Atomic uint32_t worker; /* its index in the pool */
	_Atomic uint64_t head;	 /* bytes ever written; stored (release) after the record */
	_Atomic uint64_t lost;	 /* records ever dropped for want of room */
	uint64_t reserved0[4];
	_Atomic uint64_t tail; /* bytes ever read (the tracer's; release) */
	uint64_t reserved1[7];
};

/* What a number stands for. Appended, never changed; `ready` is stored (release) last. */
struct intro_area_def {
	_Atomic uint32_t ready;
	uint32_t pid;
	struct intro_rec_def rec; /* rec.rec.ts is as in marks; 0: defined while marks were off */
	uint64_t reserved[7];
};

struct intro_area {
	uint64_t magic;
	uint32_t version;
	_Atomic uint32_t
		tracer; /* pid of the one who reads, by compare-and-swap from 0 or a dead one */
	uint64_t reserved1[6];
	_Atomic uint32_t enabled; /* enum intro_marks; on a line that is otherwise not written */
	uint32_t reserved2[15];
	_Atomic uint64_t next_task; /* task numbers: taken in blocks by each thread */
	_Atomic uint32_t next_pool;
	_Atomic uint32_t next_name;
	_Atomic uint32_t defs; /* used of def[]; may pass INTRO_AREA_DEFS: then some are lost */
	_Atomic uint32_t unslotted; /* threads that found no slot: their marks are not counted */
	uint64_t reserved3[5];
	uint8_t pad[4096 - 192];
	struct intro_area_slot slot[INTRO_AREA_SLOTS];
	struct intro_area_def def[INTRO_AREA_DEFS];
	/* ring i belongs to slot i; see INTRO_RING_SLACK for the room behind each */
	struct intro_area_ring {
		uint8_t data[INTRO_AREA_RING_BYTES];
		uint8_t slack[4096];
	} ring[INTRO_AREA_SLOTS];
};

INTRO_ASSERT_SIZE(intro_area_slot, 128);
INTRO_ASSERT_SIZE(intro_area_def, 128);
INTRO_ASSERT_OFFSET(intro_area, slot, 4096);
INTRO_ASSERT_OFFSET(intro_area, ring, 4096 + INTRO_AREA_SLOTS * 128 + INTRO_AREA_DEFS * 128);

#endif
