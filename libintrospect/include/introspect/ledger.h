/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_LEDGER_H
#define INTROSPECT_LEDGER_H
/*
 * ledger.h - the accounts of a task's time. Every nanosecond between submit and done is in
 * exactly one account; their sum is done - submit, always. What cannot be known is in UNKNOWN.
 *
 * submit            start                                   end        done
 *   |---- queued ----|-- running, runnable, blocked, ... ----|-- delivered --|
 *
 * done is the moment the result is set or, if somebody was already waiting for it, the moment
 * that reader has it.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum intro_account {
	INTRO_QUEUED = 0,    /* submit -> start */
	INTRO_RUNNING = 1,   /* its worker on a CPU inside the task */
	INTRO_RUNNABLE = 2,  /* its worker wants a CPU and has none */
	INTRO_BLOCKED = 3,   /* its worker asleep inside the task */
	INTRO_UNMOUNTED = 4, /* user-level threads: its fiber is off its kernel thread */
	INTRO_DELIVERED = 5, /* end -> done */
	INTRO_UNKNOWN = 6,   /* overlaps lost records, or the ends of the trace */
	INTRO_ACCOUNTS = 7
};

/*
 * Why. One numbering for all accounts; `detail` of an entry says more where the cause does.
 * X(NAME, value, account, text): the text is the key in JSON and the label in tables.
 */
#define INTRO_CAUSES(X)                                                                            \
	X(QUEUED_BUSY, 1, QUEUED, "busy")	      /* every worker had a task */                \
	X(QUEUED_WAKEUP, 2, QUEUED, "wakeup")	      /* a worker was idle: it had yet to run */   \
	X(QUEUED_STARTING, 3, QUEUED, "starting")     /* the pool had no worker yet */             \
	X(QUEUED_PREFETCHED, 4, QUEUED, "prefetched") /* handed to a worker with a task */         \
	X(QUEUED_DISPATCH, 5, QUEUED, "dispatch")     /* a worker was idle: not handed over yet */ \
	X(RUNNABLE_PREEMPTED, 16, RUNNABLE, "preempted")                                           \
	X(RUNNABLE_WOKEN, 17, RUNNABLE, "woken")                                                   \
	X(RUNNABLE_YIELDED, 18, RUNNABLE, "yielded")                                               \
	X(RUNNABLE_NEW, 19, RUNNABLE, "new")                                                       \
	X(RUNNABLE_UNSEEN, 20, RUNNABLE, "unseen")     /* runnable when records begin again */     \
	X(BLOCKED_LOCK, 32, BLOCKED, "lock")	       /* detail: futex address */                 \
	X(BLOCKED_CONDITION, 33, BLOCKED, "condition") /* detail: futex address */                 \
	X(BLOCKED_FUTURE, 34, BLOCKED, "future")       /* detail: the task waited for */           \
	X(BLOCKED_FILE, 35, BLOCKED, "file")	       /* detail: system call */                   \
	X(BLOCKED_SOCKET, 36, BLOCKED, "socket")       /* detail: system call */                   \
	X(BLOCKED_PIPE, 37, BLOCKED, "pipe")	       /* detail: system call */                   \
	X(BLOCKED_POLL, 38, BLOCKED, "poll")	       /* poll, select, epoll_wait */              \
	X(BLOCKED_SLEEP, 39, BLOCKED, "sleep")                                                     \
	X(BLOCKED_FAULT, 40, BLOCKED, "page fault")                                                \
	X(BLOCKED_CHILD, 41, BLOCKED, "child")	   /* wait4, waitid */                             \
	X(BLOCKED_STOPPED, 42, BLOCKED, "stopped") /* job control, ptrace */                       \
	X(BLOCKED_SYSCALL, 43, BLOCKED, "syscall") /* detail: its number; printed by its name */   \
	X(BLOCKED_TTY, 44, BLOCKED, "tty")	   /* a character device */                        \
	X(BLOCKED_UNSEEN, 45, BLOCKED, "unseen")   /* asleep when records begin; why not known */  \
	X(UNMOUNTED_READY, 48, UNMOUNTED, "ready") /* its thread had another, or blocked */        \
	X(UNMOUNTED_PARKED, 49, UNMOUNTED, "parked")   /* waits for a fiber, a channel, a time */  \
	X(DELIVERED_TRANSIT, 64, DELIVERED, "transit") /* function end -> result set */            \
	X(DELIVERED_WAKEUP, 65, DELIVERED, "wakeup")   /* result set -> the reader runs */         \
	X(UNKNOWN_LOST, 80, UNKNOWN, "lost")	       /* records were lost */                     \
	X(UNKNOWN_BEGIN, 81, UNKNOWN, "begin")	       /* before the trace's first record */       \
	X(UNKNOWN_END, 82, UNKNOWN, "end")	       /* open when the trace ended */             \
	X(UNKNOWN_NO_KERNEL, 83, UNKNOWN, "no kernel records") /* marks, but not its thread */     \
	X(UNKNOWN_DIED, 84, UNKNOWN, "died") /* its worker died; end not marked */                 \
	X(UNKNOWN_UNRECORDED, 85, UNKNOWN,                                                         \
	  "not recorded") /* a switch that the kernel kept to itself */

enum intro_cause {
#define INTRO_CAUSE_ENUM(NAME, value, account, text) INTRO_##NAME = value,
	INTRO_CAUSES(INTRO_CAUSE_ENUM)
#undef INTRO_CAUSE_ENUM
};

const char *intro_account_text(enum intro_account account);
const char *intro_cause_text(enum intro_cause cause);
enum intro_account intro_cause_account(enum intro_cause cause);
/* "lock 0x55…c0", "getdents64": cause and detail for people; returns buf. */
const char *intro_cause_describe(enum intro_cause cause, uint64_t detail, char *buf, size_t size);
/* The name of an x86-64 (or this machine's) system call; NULL when not known. */
const char *intro_syscall_text(int number);

/* Who had the CPU that a runnable thread wanted. */
enum intro_holder {
	INTRO_HELD_NONE = 0,	/* nobody: on its way to an idle CPU, or not known */
	INTRO_HELD_POOL = 1,	/* a worker of the same pool */
	INTRO_HELD_PROCESS = 2, /* another thread of the same process */
	INTRO_HELD_OTHER = 3,	/* somebody else: named by comm */
};

/* More than there are causes, those of RUNNABLE counted once a holder: folding always finds room.
 */
#define INTRO_LEDGER_SPLITS 56
#define INTRO_COMM 32
/*
 * Bounded: an entry a (cause, detail, holder, holder_name); when there are too many the smallest
 * are folded into one of their cause (and holder) with detail INTRO_DETAIL_MANY and no name. The
 * entries of an account sum to it, exactly; RUNNING has none.
 */
#define INTRO_DETAIL_MANY UINT64_MAX
/* LOCK and CONDITION, in place of an address: the lock has a name, and this with its number. */
#define INTRO_DETAIL_NAMED (1ull << 62)
struct intro_split {
	uint16_t cause;	     /* enum intro_cause */
	uint16_t holder;     /* enum intro_holder; of RUNNABLE_* only */
	uint32_t holder_tid; /* 0 when there were several of that name */
	uint64_t detail;
	uint64_t ns;
	char holder_name[INTRO_COMM]; /* of a named lock: its name */
};

struct intro_ledger {
	uint64_t account[INTRO_ACCOUNTS]; /* ns */
	uint32_t splits;
	struct intro_split split[INTRO_LEDGER_SPLITS];
};

/* Adds ns to the cause's account and split. */
void intro_ledger_book(struct intro_ledger *ledger, enum intro_cause cause, uint64_t detail,
		       uint64_t ns);
void intro_ledger_book_running(struct intro_ledger *ledger, uint64_t ns);
/* sum += ledger, entry by entry. */
void intro_ledger_add(struct intro_ledger *sum, const struct intro_ledger *ledger);
uint64_t intro_ledger_total(const struct intro_ledger *ledger);
/* ns of a cause over all details and holders. */
uint64_t intro_ledger_cause(const struct intro_ledger *ledger, enum intro_cause cause);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
