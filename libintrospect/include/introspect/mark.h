/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_MARK_H
#define INTROSPECT_MARK_H
/*
 * mark.h - mark your own tasks. Link with -lintrospect-rt.
 *
 *	uint32_t pool = intro_mark_pool("resize", 4);
 *	// each worker thread, once:
 *	intro_mark_worker_start(pool, index);
 *	// whoever hands out work:
 *	uint64_t task = intro_mark_task();
 *	intro_mark_submit(task, pool, intro_mark_name("thumbnail"));
 *	// the worker:
 *	intro_mark_start(task, pool);
 *	...
 *	intro_mark_end(task, INTRO_STATUS_OK, INTRO_END_RESULT);
 *
 * Cost. With no tracer listening a mark is one predictable branch. With one it is a clock read
 * and a few stores into this thread's own ring: no system call, no lock, never a wait. When the
 * ring is full the mark is dropped and counted.
 *
 * Thread-safety: every function here may be called from any thread at any time, also
 * between fork and exec in the child. Not from signal handlers that interrupt a mark.
 * No function here fails: what cannot be marked is counted as lost.
 *
 * The meaning of each mark is in abi.h; the memory is described in area.h.
 */
#include <stdbool.h>
#include <stdint.h>

#include <introspect/abi.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/*
 * Points to `enabled` of the area in use (area.h), or to a constant 0; never NULL. Both the pointer
 * and what it points to may change at any time: read them with intro_marks_on.
 */
extern const uint32_t *intro_marks_enabled;

/* The way of a mark when somebody listens. Use the functions below. */
void intro_mark_write(uint8_t kind, uint64_t task, uint32_t a, uint32_t b);

static inline bool intro_marks_on(void)
{
	const uint32_t *enabled = __atomic_load_n(&intro_marks_enabled, __ATOMIC_RELAXED);

	return __builtin_expect(__atomic_load_n(enabled, __ATOMIC_RELAXED) != 0, 0);
}

static inline void intro_mark(uint8_t kind, uint64_t task, uint32_t a, uint32_t b)
{
	if (intro_marks_on())
		intro_mark_write(kind, task, a, b);
}

/*
 * A mark whose cause is another thread's mark. The CPU may read its TSC before the load that told
 * of the cause is done, even when that was a locked one; without the fence the effect is now and
 * then stamped some hundred ticks before its cause.
 */
static inline void intro_mark_effect(uint8_t kind, uint64_t task, uint32_t a, uint32_t b)
{
	if (!intro_marks_on())
		return;
#ifdef __x86_64__
	__builtin_ia32_lfence();
#endif
	intro_mark_write(kind, task, a, b);
}

/* A number no other task of this process tree has: from 1 on, in submit order for one submitter. */
uint64_t intro_mark_task(void);

/*
 * A number for a pool or a name, to be used in marks. Names longer than 31 bytes are cut. The
 * same name gives the same number in one process (a pool: the same name and kind). They take a
 * lock: call once, keep it. NULL or "": 0, which stands for no name; for a pool: "pool".
 */
uint32_t intro_mark_name(const char *name);
uint32_t intro_mark_pool(const char *name, uint32_t workers);
uint32_t intro_mark_pool_kind(const char *name, uint32_t workers, enum intro_pool_kind kind);

/*
 * The lock whose waiters sleep on the futex word at this address, in this process, is called so: a
 * report then says the name. Of a pthread_mutex_t its own address will do. 0: nothing happens.
 * There is room for a few thousand names, pools and locks: name those which are waited for.
 */
void intro_mark_lock(const void *address, uint32_t name);

/* The calling thread starts or stops to be worker `index` of the pool. */
void intro_mark_worker_start(uint32_t pool, uint32_t index);
void intro_mark_worker_stop(uint32_t pool, uint32_t index);

static inline void intro_mark_submit(uint64_t task, uint32_t pool, uint32_t name)
{
	intro_mark(INTRO_KIND_SUBMIT, task, pool, name);
}

static inline void intro_mark_take(uint64_t task, uint32_t pool, uint32_t worker_tid)
{
	intro_mark_effect(INTRO_KIND_TAKE, task, pool, worker_tid);
}

static inline void intro_mark_start(uint64_t task, uint32_t pool)
{
	intro_mark_effect(INTRO_KIND_START, task, pool, 0);
}

/*
 * User-level threads: the calling thread starts a fiber, which may leave it (unmount), be said to
 * be ready by anybody when it was parked, and go on on this or another thread (mount).
 */
static inline void intro_mark_start_fiber(uint64_t task, uint32_t pool)
{
	intro_mark_effect(INTRO_KIND_START, task, pool, INTRO_START_FIBER);
}

static inline void intro_mark_mount(uint64_t task, uint32_t pool)
{
	intro_mark_effect(INTRO_KIND_MOUNT, task, pool, 0);
}

static inline void intro_mark_unmount(uint64_t task, enum intro_unmount why)
{
	intro_mark(INTRO_KIND_UNMOUNT, task, (uint32_t)why, 0);
}

static inline void intro_mark_ready(uint64_t task)
{
	intro_mark(INTRO_KIND_READY, task, 0, 0);
}

static inline void intro_mark_end(uint64_t task, enum intro_status status, uint32_t flags)
{
	intro_mark(INTRO_KIND_END, task, (uint32_t)status, flags);
}

static inline void intro_mark_result(uint64_t task, enum intro_status status, uint32_t flags)
{
	intro_mark_effect(INTRO_KIND_RESULT, task, (uint32_t)status, flags);
}

static inline void intro_mark_cancel(uint64_t task, uint32_t pool)
{
	intro_mark(INTRO_KIND_CANCEL, task, pool, 0);
}

/* The pool did not take a task of that name (0: none); there is no number for what is none. */
static inline void intro_mark_reject(uint32_t pool, uint32_t name)
{
	intro_mark(INTRO_KIND_REJECT, 0, pool, name);
}

static inline void intro_mark_wait(uint64_t task)
{
	intro_mark(INTRO_KIND_WAIT, task, 0, 0);
}

static inline void intro_mark_wake(uint64_t task)
{
	intro_mark_effect(INTRO_KIND_WAKE, task, 0, 0);
}

static inline void intro_mark_read(uint64_t task)
{
	intro_mark_effect(INTRO_KIND_READ, task, 0, 0);
}

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
