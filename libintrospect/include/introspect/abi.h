/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
#ifndef INTROSPECT_ABI_H
#define INTROSPECT_ABI_H
/*
 * abi.h - the records that introspect's kernel side and marks write, and the ring they
 * are written to. This is the only definition: bpf/, kmod/, the runtime, the collector, the
 * trace file and the replay all include it, and nothing else spells these layouts out.
 *
 * Rules
 *   - A record is one or two rows of 32 bytes, little-endian, and starts with struct
 *     intro_rec. A reader that does not know a kind skips `rows` rows.
 *   - Times are CLOCK_MONOTONIC nanoseconds (bpf_ktime_get_ns, ktime_get_mono_fast_ns,
 *     clock_gettime). A mark in a ring may hold TSC ticks instead: see area.h.
 *   - Enum values are explicit and are never reused. New kinds are added at the end
 *     of their block. Any change of a layout or a meaning raises INTRO_ABI_VERSION.
 *   - Reserved fields are written as zero.
 *   - tid, tgid, pid are those of the initial pid namespace.
 */
#include <linux/types.h>

#define INTRO_ABI_VERSION 1

/* A record's size is a multiple of this. */
#define INTRO_ROW_BYTES 32
#define INTRO_ROWS_MAX 2
/* cpu of a record that was not written on behalf of a CPU (marks). */
#define INTRO_CPU_NONE 0xffff

/*
 * The kinds: X(NAME, value, rows, payload struct, text). One table for all readers and
 * printers. 1..63 come from the kernel side, 64..127 from marks, 128.. from the collector.
 */
#define INTRO_KINDS(X)                                                                             \
	/* kernel: scheduling */                                                                   \
	X(SWITCH, 1, 1, intro_rec_switch, "switch")                                                \
	X(WAKING, 2, 1, intro_rec_waking, "waking")                                                \
	X(WAKEUP_NEW, 3, 1, intro_rec_waking, "wakeup-new")                                        \
	X(MIGRATE, 4, 1, intro_rec_migrate, "migrate")                                             \
	X(PAGES, 5, 1, intro_rec_pages, "pages")                                                   \
	X(NUMA, 6, 1, intro_rec_numa, "numa")                                                      \
	/* kernel: the life of a task */                                                           \
	X(TASK, 8, 2, intro_rec_task, "task")                                                      \
	X(FORK, 9, 2, intro_rec_task, "fork")                                                      \
	X(EXEC, 10, 2, intro_rec_task, "exec")                                                     \
	X(RENAME, 11, 2, intro_rec_task, "rename")                                                 \
	X(EXIT, 12, 1, intro_rec_exit, "exit")                                                     \
	X(SNAPSHOT, 13, 2, intro_rec_snapshot, "snapshot")                                         \
	/* kernel and marks: records that did not fit their ring */                                \
	X(LOST, 16, 1, intro_rec_lost, "lost")                                                     \
	/* marks */                                                                                \
	X(THREAD, 64, 1, intro_rec_mark, "mark-thread")                                            \
	X(WORKER_START, 65, 1, intro_rec_mark, "worker-start")                                     \
	X(WORKER_STOP, 66, 1, intro_rec_mark, "worker-stop")                                       \
	X(SUBMIT, 67, 1, intro_rec_mark, "submit")                                                 \
	X(TAKE, 68, 1, intro_rec_mark, "take")                                                     \
	X(START, 69, 1, intro_rec_mark, "start")                                                   \
	X(END, 70, 1, intro_rec_mark, "end")                                                       \
	X(RESULT, 71, 1, intro_rec_mark, "result")                                                 \
	X(CANCEL, 72, 1, intro_rec_mark, "cancel")                                                 \
	X(WAIT, 73, 1, intro_rec_mark, "wait")                                                     \
	X(WAKE, 74, 1, intro_rec_mark, "wake")                                                     \
	X(READ, 75, 1, intro_rec_mark, "read")                                                     \
	X(MOUNT, 76, 1, intro_rec_mark, "mount")                                                   \
	X(UNMOUNT, 77, 1, intro_rec_mark, "unmount")                                               \
	X(READY, 78, 1, intro_rec_mark, "ready")                                                   \
	X(REJECT, 79, 1, intro_rec_mark, "reject")                                                 \
	/* collector: names that marks refer to by number */                                       \
	X(DEF, 128, 2, intro_rec_def, "definition")

enum intro_kind {
#define INTRO_KIND_ENUM(NAME, value, rows, payload, text) INTRO_KIND_##NAME = value,
	INTRO_KINDS(INTRO_KIND_ENUM)
#undef INTRO_KIND_ENUM
};

/* The start of every record; 16 bytes. */
struct intro_rec {
	__u64 ts;  /* ns, CLOCK_MONOTONIC */
	__u8 kind; /* enum intro_kind */
	__u8 rows; /* size in rows of 32 bytes: 1..INTRO_ROWS_MAX */
	__u16 cpu; /* where it was written, or INTRO_CPU_NONE */
	__u32 tid; /* whom it is about: see each record */
};

/* Why `prev` left the CPU: the low nibble of intro_rec_switch.state. */
enum intro_off {
	INTRO_OFF_RUNNABLE = 0, /* preempted; or it gave way: sysnr is then sched_yield's */
	INTRO_OFF_SLEEP = 1,	/* TASK_INTERRUPTIBLE */
	INTRO_OFF_DISK = 2,	/* TASK_UNINTERRUPTIBLE and not idle: page I/O, disk, mm locks */
	INTRO_OFF_STOPPED = 3,	/* job control or ptrace */
	INTRO_OFF_IDLE = 4,	/* TASK_IDLE: a kernel thread with nothing to do */
	INTRO_OFF_DEAD = 5,	/* its last switch: it never runs again */
};
#define INTRO_OFF_MASK 0x0f
/* Flags in the same byte. */
/*
 * No program ran at this switch, as happens on kernels that run none while a protected process is
 * current. It is told when next leaves: ts comes from the scheduler's own account of next's
 * run; how prev left is not known. In a ring it lies behind later records.
 */
#define INTRO_SWITCH_LATE 0x10
#define INTRO_SWITCH_COMPAT 0x20  /* sysnr is of the 32-bit table */
#define INTRO_SWITCH_KTHREAD 0x40 /* prev has no user registers: sysnr and args are void */
#define INTRO_SWITCH_PREEMPT 0x80 /* the kernel took the CPU from it while it could run */

#define INTRO_SYS_NONE (-1) /* not in a system call: a fault, or not known */

/* SWITCH: on this CPU `tid` (prev) stops and `next_tid` runs from ts on; 0 is the idle task. */
struct intro_rec_switch {
	struct intro_rec rec; /* tid: prev */
	__u32 next_tid;
	__u8 state; /* enum intro_off | INTRO_SWITCH_* */
	/*
	 * When prev sleeps in futex: the operation, & 0x7f. In a system call whose first
	 * argument is a file descriptor: S_IFMT of the open file >> 12, or 0 if not known.
	 * Otherwise the low byte of the second argument.
	 */
	__u8 arg1;
	/* The system call that prev sleeps in (when RUNNABLE: sched_yield or none), or
	 * INTRO_SYS_NONE */
	__s16 sysnr;
	/*
	 * Its first argument. When prev is RUNNABLE, the idle task too, and not LATE: how long
	 * before ts the scheduler began to charge next, and ended charging prev, as it last read
	 * its clock then (for a wake-up that wanted this CPU); ns; 0: at ts, or not known, as in
	 * old traces. Of a thread that was idle long the reader trusts it no further than its
	 * wake-up: two clocks have drifted apart. When prev sleeps, ts is when it was last charged.
	 */
	__u64 arg0;
};

/*
 * WAKING: somebody makes `tid` runnable (it does not run yet). WAKEUP_NEW: a fork's child
 * becomes runnable for the first time. rec.cpu is the waker's CPU.
 */
#define INTRO_WAKING_LATE 1
struct intro_rec_waking {
	struct intro_rec rec; /* tid: the woken */
	__u32 waker_tid;      /* current; in an interrupt, whom it interrupted; 0: idle */
	__u16 target_cpu;     /* WAKING: where it ran last, not where it will run */
	__u16 flags;	      /* INTRO_WAKING_* */
	__u64 woken_ts;	      /* INTRO_WAKING_LATE: when; else 0 */
};

/* MIGRATE: `tid` (not running) moves from one CPU's run queue to another's. */
struct intro_rec_migrate {
	struct intro_rec rec; /* tid: the moved */
	__u16 from_cpu;
	__u16 to_cpu;
	__u32 reserved0;
	__u64 reserved1;
};

/* What happened to the pages of a PAGES record. */
enum intro_pages {
	INTRO_PAGES_GIVEN = 1,	  /* handed out by the page allocator for user memory */
	INTRO_PAGES_HINTED = 2,	  /* touched, while NUMA balancing watched; they stayed on `node` */
	INTRO_PAGES_BALANCED = 3, /* likewise, and moved here, from another node */
	INTRO_PAGES_MOVED = 4,	  /* moved as it asked: mbind, move_pages, migrate_pages */
};
#define INTRO_NODE_UNKNOWN 0xffff

/*
 * PAGES: `pages` pages of the node `node`, or INTRO_NODE_UNKNOWN, as counted for `tid` while it ran
 * on rec.cpu, from `since` until ts. A thread's counts are told when it leaves the CPU, and before
 * they are some tens of microseconds old. ts is the last page's time: in a ring such a record
 * lies behind later ones.
 */
struct intro_rec_pages {
	struct intro_rec rec;
	__u32 pages;
	__u16 node;
	__u8 what; /* enum intro_pages */
	__u8 reserved0;
	__u64 since;
};

/*
 * One CPU's counts that are not yet told of. Not in a trace: the kernel side's own, of which what
 * is left at the end is read, or told of, once all is over.
 */
#define INTRO_PLACED_NS 50000 /* as old as a count may get */
#define INTRO_PLACED_NODES 64
struct intro_placed {
	__u64 since, last; /* ns; since 0: nothing is counted */
	__u32 tid;
	__u32 elsewhere; /* given, of no known node or of one above these */
	__u32 balanced, moved;
	__u32 given[INTRO_PLACED_NODES], hinted[INTRO_PLACED_NODES];
};

/* NUMA: what NUMA balancing decided for `tid`. */
enum intro_numa_decision {
	INTRO_NUMA_MOVED = 1,	/* it is moved */
	INTRO_NUMA_STUCK = 2,	/* it was to move, and could not */
	INTRO_NUMA_SWAPPED = 3, /* it changes places with other_tid */
};
struct intro_rec_numa {
	struct intro_rec rec;
	__u32 other_tid; /* 0: none */
	__u16 from_cpu, to_cpu;
	__u8 decision; /* enum intro_numa_decision */
	__u8 reserved0;
	__u16 reserved1;
	__u32 reserved2;
};

#define INTRO_COMM_BYTES 16
#define INTRO_TASK_KTHREAD 1 /* intro_rec_task.flags: a kernel thread */
#define INTRO_TASK_TARGET 2  /* chosen by the target filter (always set when whole-system) */

/*
 * Who somebody is. TASK: first seen. FORK: born, other_tid is the thread that called fork
 * or clone; a new thread of the same process when tgid equals the parent's tgid. EXEC:
 * other_tid is the tid it had before (exec from a thread takes the leader's). RENAME: comm
 * is the new name.
 */
struct intro_rec_task {
	struct intro_rec rec; /* tid: the child, the exec'ing, the renamed */
	__u32 tgid;
	__u32 ppid; /* tgid of the real parent */
	__u32 other_tid;
	__u32 flags;	  /* INTRO_TASK_* */
	__u64 start_time; /* ns, CLOCK_MONOTONIC: (tid, start_time) names a thread for good */
	char comm[INTRO_COMM_BYTES]; /* NUL-padded; NUL-terminated */
	__u64 reserved;
};

/* EXIT: `tid` is dying; its last SWITCH follows. */
struct intro_rec_exit {
	struct intro_rec rec;
	__u32 exit_code;  /* as wait(2) gives it: signal in the low 7 bits, status << 8 */
	__u32 group_dead; /* 1: the last thread of its process */
	__u64 start_time;
};

/* Where a thread was when tracing began or ended, for those that never switch in between. */
enum intro_snapshot_when { INTRO_SNAPSHOT_BEGIN = 1, INTRO_SNAPSHOT_END = 2 };
#define INTRO_SNAPSHOT_ON_CPU 0x10 /* it is on rec.cpu at ts */

struct intro_rec_snapshot {
	struct intro_rec rec; /* tid; cpu: its run queue's */
	__u8 when;	      /* enum intro_snapshot_when | INTRO_SNAPSHOT_* */
	__u8 state;	      /* as in intro_rec_switch; RUNNABLE: on a run queue or running */
	__u8 arg1;	      /* as in intro_rec_switch */
	__u8 reserved0;
	__s16 sysnr;
	__u16 reserved1;
	__u64 arg0;
	__u64 exec_ns; /* CPU time since it was born: the scheduler's own sum */
	__u64 wait_ns; /* time on a run queue without a CPU, likewise */
	__u64 start_time;
	__u64 reserved2;
};

/* LOST: `count` records found no room from ts until until_ts. tid: the thread, of a mark ring. */
struct intro_rec_lost {
	struct intro_rec rec;
	__u64 until_ts; /* the first record after the gap was written at or after this */
	__u64 count;
};

/* How a task ended: intro_rec_mark.a of END and RESULT. */
enum intro_status {
	INTRO_STATUS_OK = 0,
	INTRO_STATUS_FAILED = 1,    /* the function returned an error */
	INTRO_STATUS_CANCELLED = 2, /* never ran */
	INTRO_STATUS_LOST = 3,	    /* its worker died under it, or its pool broke */
};
/* intro_rec_mark.b of END and RESULT. */
#define INTRO_END_RESULT 1 /* END only: the result is set at the same moment, no RESULT follows */
#define INTRO_END_WAITED 2 /* somebody is asleep waiting for just this: a WAKE follows */

/* intro_rec_mark.b of START. */
#define INTRO_START_FIBER 1 /* a fiber's: it may leave its thread and go on on another */
/* intro_rec_mark.a of UNMOUNT: why a fiber left its thread. */
enum intro_unmount {
	INTRO_UNMOUNT_READY = 1,  /* it gave way, and could go on */
	INTRO_UNMOUNT_PARKED = 2, /* it waits for something; READY tells when it has it */
};

/*
 * A mark. rec.tid is the thread that wrote it. Tasks and pools are numbers which the program
 * chose; a task number is used once.
 *
 *   kind          task          a                    b
 *   THREAD        pid           tid                  0      this ring is this thread's from here on
 *   WORKER_START  0             pool                 index  this thread works for the pool
 *   WORKER_STOP   0             pool                 index
 *   SUBMIT        task          pool                 name (a DEF), 0: none
 *   TAKE          task          pool                 tid of the worker it is handed to; none: it
 *                                                    is taken as it starts (thread pools)
 *   START         task          pool                 INTRO_START_*   the function is entered
 *   END           task          enum intro_status    INTRO_END_*   the function returned
 *   RESULT        task          enum intro_status    INTRO_END_*   its future has the result
 *   CANCEL        task          pool                 0      ends a task that never started
 *   WAIT          task          0                    0      this thread starts to wait for it
 *   WAKE          task          0                    0      ... and has it (or gave up)
 *   READ          task          0                    0      the result was read without a wait
 *   MOUNT         task          pool                 0      this thread goes on with the fiber
 *   UNMOUNT       task          enum intro_unmount   0      this thread lets go of the fiber
 *   READY         task          0                    0      a parked fiber may go on; by any thread
 *   REJECT        0             pool                 name   a task was turned away: it is none
 */
struct intro_rec_mark {
	struct intro_rec rec;
	__u64 task;
	__u32 a;
	__u32 b;
};

enum intro_def { INTRO_DEF_NAME = 1, INTRO_DEF_POOL = 2, INTRO_DEF_LOCK = 3 };
enum intro_pool_kind {
	INTRO_POOL_MARKED = 0, /* a program's own, known by its marks alone */
	INTRO_POOL_THREAD = 1,
	INTRO_POOL_PROCESS = 2,
	INTRO_POOL_OWN = 3, /* no pool: each task brings a worker of its own, made for it */
};

#define INTRO_DEF_BYTES 32
/*
 * DEF: what number `id` stands for. rec.tid: the pid that defined it. LOCK: the futex word at
 * `address` of that process belongs to a lock which is called as the NAME of that id.
 */
struct intro_rec_def {
	struct intro_rec rec;
	__u32 id;
	__u8 def;	/* enum intro_def: names and pools are numbered apart */
	__u8 pool_kind; /* enum intro_pool_kind */
	__u16 reserved0;
	__u32 workers; /* POOL: how many it may have; 0 not known. LOCK: low half of its address */
	__u32 address_high;	    /* LOCK */
	char name[INTRO_DEF_BYTES]; /* NUL-padded; NUL-terminated */
};

/* What the programs find out about the kernel that they run in. */
struct intro_learned {
	/*
	 * Where a thread's user registers lie from the start of its kernel stack: the size of
	 * stacks and what is kept above the registers differ by kernel. 0: not known
	 */
	__u64 regs_offset;
	__u64 socket_operations; /* f_op of all sockets; 1: not known */
};

/*
 * The ring of one CPU: this header, then `size` bytes, then INTRO_RING_SLACK bytes so that a
 * record which starts before the end is written and read without wrapping.
 *
 * head and tail only grow, in bytes; a record at position p starts at data[p & (size - 1)].
 * Only this CPU writes head; only the reader writes tail.
 *
 * The kernel may interrupt one writer on this CPU by another (a wake-up from an interrupt while
 * a fork is being recorded). Such an outer writer raises `open` before it takes its room
 * and lowers it after it wrote. Reader: load head, then open; while open is not 0 do not
 * read what that head covers; otherwise all below head is whole.
 *
 * When there is no room the writer adds to gap_count (and to lost), after setting gap_begin
 * if that was 0; before its next record it writes a LOST record from these and clears them.
 */
struct intro_ring {
	/* The line that each switch needs. But for head only this CPU uses it */
	__u64 head;
	__u64 running; /* 1 + tid of who came last; 0: none seen yet */
	/*
	 * Below this head there is room, and nothing to do before a switch is recorded: no gap to
	 * be closed, nothing unseen, nothing placed. Who gives cause for that sets it to 0.
	 */
	__u64 plain_until;
	/*
	 * CLOCK_MONOTONIC less the run queue's clock, until when by that clock it may be taken to
	 * be so, and where the run queue is (0: not looked for).
	 */
	__u64 clock_offset, clock_until;
	__u64 run_queue;
	struct intro_learned learned;
	/* The line of what is rare, and of the reader's tail */
	__u64 tail;
	__u64 lost;	 /* ever */
	__u64 gap_begin; /* ns; 0: no gap is open */
	__u64 gap_last;	 /* ns of the last record that did not fit */
	__u64 gap_count;
	/* After an INTRO_SWITCH_LATE: wake-ups may have gone unseen, too. Only this CPU uses it */
	__u64 unseen;
	/* Not 0: pages are counted and not yet told of. Only this CPU uses it */
	__u64 placed;
	/* Not 0: nothing is written any more, since then (ns); what is below head is all */
	__u64 ended;
	/* The line of those who may be interrupted, of other CPUs, and of comparing clocks */
	__u64 open;
	/* How many targets wait for this CPU: while there are any, record every switch on it. */
	__u64 contended;
	/* The run queue's clock when clock_offset was measured */
	__u64 clock_synced;
	__u64 reserved[5];
};
#define INTRO_RING_SLACK (INTRO_ROW_BYTES * INTRO_ROWS_MAX)

#ifdef __cplusplus
#define INTRO_ASSERT(condition, text) static_assert(condition, text)
#else
#define INTRO_ASSERT(condition, text) _Static_assert(condition, text)
#endif
#define INTRO_ASSERT_SIZE(type, bytes) INTRO_ASSERT(sizeof(struct type) == (bytes), #type)
INTRO_ASSERT_SIZE(intro_rec, 16);
INTRO_ASSERT_SIZE(intro_rec_switch, 32);
INTRO_ASSERT_SIZE(intro_rec_waking, 32);
INTRO_ASSERT_SIZE(intro_rec_migrate, 32);
INTRO_ASSERT_SIZE(intro_rec_pages, 32);
INTRO_ASSERT_SIZE(intro_rec_numa, 32);
INTRO_ASSERT_SIZE(intro_placed, 544);
INTRO_ASSERT_SIZE(intro_rec_task, 64);
INTRO_ASSERT_SIZE(intro_rec_exit, 32);
INTRO_ASSERT_SIZE(intro_rec_snapshot, 64);
INTRO_ASSERT_SIZE(intro_rec_lost, 32);
INTRO_ASSERT_SIZE(intro_rec_mark, 32);
INTRO_ASSERT_SIZE(intro_rec_def, 64);
INTRO_ASSERT_SIZE(intro_ring, 192);
#define INTRO_ASSERT_OFFSET(type, member, bytes)                                                   \
	INTRO_ASSERT(__builtin_offsetof(struct type, member) == (bytes), #type "." #member)
INTRO_ASSERT_OFFSET(intro_rec, kind, 8);
INTRO_ASSERT_OFFSET(intro_rec, cpu, 10);
INTRO_ASSERT_OFFSET(intro_rec, tid, 12);
INTRO_ASSERT_OFFSET(intro_rec_switch, next_tid, 16);
INTRO_ASSERT_OFFSET(intro_rec_switch, state, 20);
INTRO_ASSERT_OFFSET(intro_rec_switch, sysnr, 22);
INTRO_ASSERT_OFFSET(intro_rec_switch, arg0, 24);
INTRO_ASSERT_OFFSET(intro_rec_waking, waker_tid, 16);
INTRO_ASSERT_OFFSET(intro_rec_migrate, to_cpu, 18);
INTRO_ASSERT_OFFSET(intro_rec_pages, node, 20);
INTRO_ASSERT_OFFSET(intro_rec_pages, since, 24);
INTRO_ASSERT_OFFSET(intro_rec_numa, decision, 24);
INTRO_ASSERT_OFFSET(intro_rec_task, start_time, 32);
INTRO_ASSERT_OFFSET(intro_rec_task, comm, 40);
INTRO_ASSERT_OFFSET(intro_rec_exit, start_time, 24);
INTRO_ASSERT_OFFSET(intro_rec_snapshot, sysnr, 20);
INTRO_ASSERT_OFFSET(intro_rec_snapshot, arg0, 24);
INTRO_ASSERT_OFFSET(intro_rec_snapshot, start_time, 48);
INTRO_ASSERT_OFFSET(intro_rec_lost, until_ts, 16);
INTRO_ASSERT_OFFSET(intro_rec_mark, task, 16);
INTRO_ASSERT_OFFSET(intro_rec_mark, b, 28);
INTRO_ASSERT_OFFSET(intro_rec_def, name, 32);
INTRO_ASSERT_OFFSET(intro_ring, tail, 64);

#endif
