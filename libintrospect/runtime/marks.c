/* SPDX-License-Identifier: BSD-2-Clause */
/* marks.c - the writer of the per-thread rings: slots, records, task numbers. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "marks_private.h"

#define RING_MASK (INTRO_AREA_RING_BYTES - 1)
#define TASK_BLOCK 64
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * What a thread keeps for itself. initial-exec: a mark must not call __tls_get_addr; the few
 * words fit the room that libc keeps for libraries loaded later.
 */
static __thread struct mark_thread {
	uint64_t head;
	/*
	 * How far head may go before the slow path is needed: one ring ahead of the tracer's tail
	 * as last read (it can only have grown since). 0: no slot, or not yet announced in it.
	 */
	uint64_t limit;
	uint8_t *ring;
	struct intro_area_slot *slot; /* NULL: none yet, or none to be had */
	uint32_t tid;
	bool slotless; /* found no slot: do not look again */
} self __attribute__((tls_model("initial-exec")));

__thread struct mark_numbers intro__mark_numbers __attribute__((tls_model("initial-exec")));

static pthread_key_t slot_key;
static bool slot_key_made;
static _Atomic uint64_t next_task_alone; /* when there is no area */

void intro__slot_release(void)
{
	struct intro_area_slot *slot = self.slot;

	if (!slot)
		return;
	self.slot = NULL;
	self.limit = 0;
	atomic_store_explicit(&slot->pool, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->worker, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->pid, 0, memory_order_relaxed);
	/* the next owner's acquire sees our head */
	atomic_store_explicit(&slot->owner, 0, memory_order_release);
}

static void thread_ends(void *unused)
{
	intro__slot_release();
}

/* The main thread runs no key destructors when the process ends by exit. */
__attribute__((destructor)) static void process_ends(void)
{
	intro__slot_release();
}

/* The slot stays the parent's thread's. The numbers left in the block are the parent's too. */
static void forked_child(void)
{
	memset(&self, 0, sizeof(self));
	intro__mark_numbers = (struct mark_numbers){0};
}

/* Before main: a handler that comes while a thread forks is not called in that child. */
__attribute__((constructor)) static void slots_begin(void)
{
	slot_key_made = !pthread_key_create(&slot_key, thread_ends);
	pthread_atfork(NULL, NULL, forked_child);
}

uint32_t intro__tid(void)
{
	if (unlikely(!self.tid))
		self.tid = (uint32_t)syscall(SYS_gettid);
	return self.tid;
}

static void slot_take(struct intro_area *area, unsigned index)
{
	struct intro_area_slot *slot = &area->slot[index];

	atomic_store_explicit(&slot->pool, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->worker, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->pid, (uint32_t)getpid(), memory_order_release);
	self.slot = slot;
	self.ring = area->ring[index].data;
	/* it is memory that other processes write too: take no more from it than a position */
	self.head = atomic_load_explicit(&slot->head, memory_order_relaxed);
	self.head = (self.head + INTRO_ROW_BYTES - 1) & ~(uint64_t)(INTRO_ROW_BYTES - 1);
	self.limit = 0;
	if (slot_key_made)
		pthread_setspecific(slot_key, slot);
}

/*
 * Asked only when all slots are owned. In another pid namespace a live owner looks dead; two
 * writers then spoil each other's marks in that one ring, and nothing else.
 */
static bool owner_is_dead(struct intro_area_slot *slot, uint32_t owner)
{
	uint32_t pid = atomic_load_explicit(&slot->pid, memory_order_acquire);

	return pid && syscall(SYS_tgkill, pid, owner, 0) && errno == ESRCH;
}

static bool slot_claim_one(struct intro_area *area, bool from_the_dead)
{
	uint32_t tid = intro__tid();

	for (unsigned i = 0; i < INTRO_AREA_SLOTS; i++) {
		_Atomic uint32_t *owner = &area->slot[i].owner;
		uint32_t old = atomic_load_explicit(owner, memory_order_relaxed);

		if (old && (!from_the_dead || !owner_is_dead(&area->slot[i], old)))
			continue;
		if (atomic_compare_exchange_strong_explicit(owner, &old, tid, memory_order_acquire,
							    memory_order_relaxed)) {
			slot_take(area, i);
			return true;
		}
	}
	return false;
}

/* From the lowest on, so that few rings are ever touched. */
static bool slot_claim(void)
{
	struct intro_area *area = intro__area();
	int saved = errno;
	bool found;

	if (self.slot)
		return true;
	if (!area || self.slotless)
		return false;
	found = slot_claim_one(area, false) || slot_claim_one(area, true);
	if (!found) {
		self.slotless = true;
		atomic_fetch_add_explicit(&area->unslotted, 1, memory_order_relaxed);
	}
	errno = saved;
	return found;
}

static inline uint64_t mark_clock(uint32_t enabled)
{
	struct timespec now;

#ifdef __x86_64__
	if (enabled == INTRO_MARKS_TSC)
		return __builtin_ia32_rdtsc();
#endif
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void ring_put(uint64_t ts, uint8_t kind, uint64_t task, uint32_t a, uint32_t b)
{
	uint64_t head = self.head;
	struct intro_rec_mark *mark =
		__builtin_assume_aligned(self.ring + (head & RING_MASK), INTRO_ROW_BYTES);

	*mark = (struct intro_rec_mark){
		.rec = {.ts = ts,
			.kind = kind,
			.rows = sizeof(*mark) / INTRO_ROW_BYTES,
			.cpu = INTRO_CPU_NONE,
			.tid = self.tid},
		.task = task,
		.a = a,
		.b = b,
	};
	self.head = head + sizeof(*mark);
	/* release: the tracer that sees the head sees the record */
	atomic_store_explicit(&self.slot->head, self.head, memory_order_release);
}

/* There may be no room: has the tracer read since? A new owner needs room to say who it is, too. */
static bool ring_make_room(uint64_t ts)
{
	struct intro_area_slot *slot = self.slot;
	bool announced = self.limit != 0;
	uint64_t need = announced ? INTRO_ROW_BYTES : 2 * INTRO_ROW_BYTES;
	/* acquire: what the tracer has read, it has read before we write over it */
	uint64_t tail = atomic_load_explicit(&slot->tail, memory_order_acquire);

	if (self.head - tail > INTRO_AREA_RING_BYTES - need) {
		atomic_store_explicit(&slot->lost,
				      atomic_load_explicit(&slot->lost, memory_order_relaxed) + 1,
				      memory_order_relaxed);
		return false;
	}
	if (!announced)
		ring_put(ts, INTRO_KIND_THREAD, (uint64_t)getpid(), self.tid, 0);
	self.limit = (tail & ~(uint64_t)(INTRO_ROW_BYTES - 1)) + INTRO_AREA_RING_BYTES;
	return true;
}

static __attribute__((noinline)) void mark_write_slowly(uint8_t kind, uint64_t task, uint32_t a,
							uint32_t b)
{
	const uint32_t *where = __atomic_load_n(&intro_marks_enabled, __ATOMIC_RELAXED);
	uint32_t enabled = __atomic_load_n(where, __ATOMIC_RELAXED);
	uint64_t ts;

	if (!enabled) /* turned off since the caller looked */
		return;
	ts = mark_clock(enabled);
	if (self.head >= self.limit && (!slot_claim() || !ring_make_room(ts)))
		return;
	ring_put(ts, kind, task, a, b);
}

/* The common case calls nothing, so that it saves no registers: 3 ns beside the clock read. */
void intro_mark_write(uint8_t kind, uint64_t task, uint32_t a, uint32_t b)
{
#ifdef __x86_64__
	const uint32_t *where = __atomic_load_n(&intro_marks_enabled, __ATOMIC_RELAXED);
	uint32_t enabled = __atomic_load_n(where, __ATOMIC_RELAXED);

	if (!unlikely(enabled != INTRO_MARKS_TSC || self.head >= self.limit)) {
		ring_put(__builtin_ia32_rdtsc(), kind, task, a, b);
		return;
	}
#endif
	mark_write_slowly(kind, task, a, b);
}

uint64_t intro__mark_task_slowly(void)
{
	struct intro_area *area = intro__area();
	uint64_t next;

	next = 1 + atomic_fetch_add_explicit(area ? &area->next_task : &next_task_alone, TASK_BLOCK,
					     memory_order_relaxed);
	intro__mark_numbers = (struct mark_numbers){.next = next + 1, .end = next + TASK_BLOCK};
	return next;
}

uint64_t intro_mark_task(void)
{
	return intro__mark_task();
}

void intro_mark_worker_start(uint32_t pool, uint32_t index)
{
	/* also while marks are off: a tracer that comes later reads who works for what */
	if (slot_claim()) {
		atomic_store_explicit(&self.slot->worker, index, memory_order_relaxed);
		atomic_store_explicit(&self.slot->pool, pool, memory_order_release);
	}
	intro_mark(INTRO_KIND_WORKER_START, 0, pool, index);
}

bool intro__mark_guest_start(uint32_t pool, uint32_t index)
{
	if (!intro_marks_on() ||
	    (self.slot && atomic_load_explicit(&self.slot->pool, memory_order_relaxed)))
		return false;
	intro_mark_worker_start(pool, index);
	return true;
}

void intro_mark_worker_stop(uint32_t pool, uint32_t index)
{
	intro_mark(INTRO_KIND_WORKER_STOP, 0, pool, index);
	if (self.slot) {
		atomic_store_explicit(&self.slot->pool, 0, memory_order_relaxed);
		atomic_store_explicit(&self.slot->worker, 0, memory_order_relaxed);
	}
}
