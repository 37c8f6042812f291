/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process_queue.c - a queue of messages in memory that processes share.
 *
 * One robust lock. A process may be killed between any two instructions of a change, so what says
 * which messages there are is kept twice: a change is made in the copy that is not in use, and one
 * store makes it the one in use. What each process has in hand, and how many of its threads sleep
 * for what, is in a slot of its own; totals are found again by adding up the slots, when a holder
 * of the lock has died. A process proves that it lives by a record lock (fcntl) on its slot's byte
 * of the memfd, which the kernel drops at its end. Sleepers look for the dead each time a slice of
 * their sleep is over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <introspect/process_queue.h>

#include "in_hand.h"
#include "marks_private.h"
#include "options.h"
#include "shared_lock.h"
#include "spin.h"

#define MAGIC 0x6575657571736b6aull
#define DEFAULT_BYTES (1u << 20)
#define LEAST_BYTES 4096
#define LOOK_NS 50000 /* about what waking a sleeper takes */

enum wait_kind { NOT_EMPTY, NOT_FULL, DONE, WAIT_KINDS };
static const char *const wait_names[] = {"not empty", "not full", "done"};

/* In the ring, before each message; both are padded to its size. */
struct record {
	uint64_t size;
	uint64_t task; /* 0: not marked */
};

struct state {
	uint64_t head, tail; /* bytes since the beginning: of the ring, modulo its size */
	uint64_t items;
	uint64_t shut_down;
};

/* A process that uses the queue. */
struct slot {
	uint32_t pid; /* 0: free */
	uint32_t waiting[WAIT_KINDS];
	uint64_t held; /* messages got, and not done */
};

struct wait_word {
	_Atomic uint32_t changes; /* the futex */
	/* what has moved in the ring; for those who look a while before they sleep */
	_Atomic uint32_t moved;
	uint32_t waiting; /* of all slots */
	uint32_t picked;  /* of them were, or will be, woken: they are not woken twice */
} __attribute__((aligned(64)));

/* In shared memory; the ring follows. All under the lock, but for atomic words. */
struct head {
	struct shared_lock lock;
	uint64_t magic, bytes, capacity;
	uint32_t pool;
	char name[INTRO_DEF_BYTES];
	struct state state[2] __attribute__((aligned(64)));
	_Atomic uint32_t current;
	bool large_waits; /* a put has waited for bytes: one get may make room for several */
	uint64_t held;	  /* of all slots */
	int64_t buried;	  /* when the dead were looked for by a sleeper */
	struct wait_word waits[WAIT_KINDS];
	struct slot slots[INTRO_PROCESS_QUEUE_USERS];
} __attribute__((aligned(64)));

struct intro_process_queue {
	struct head *head;
	unsigned char *ring;
	size_t mapped;
	uint64_t bytes, capacity; /* copies: the head may be overwritten */
	uint32_t pool;
	int fd;
	uint32_t maker; /* the process that claimed the pool, or 0 */
	_Atomic bool closed;
	struct lock_tag lock_tag, tags[WAIT_KINDS];
	/* This process's slot + 1, in a page that a forked child finds zeroed. */
	_Atomic uint32_t *mine;
	size_t page;
};

/* --- life ------------------------------------------------------------------------------------- */

static void discard(struct intro_process_queue *q)
{
	if (q->head)
		munmap(q->head, q->mapped);
	if (q->fd >= 0)
		close(q->fd);
	if (q->mine)
		munmap(q->mine, q->page);
	free(q);
}

static struct intro_process_queue *fail(struct intro_process_queue *q, int err)
{
	discard(q);
	errno = -err;
	return NULL;
}

static struct intro_process_queue *new_handle(void)
{
	struct intro_process_queue *q = calloc(1, sizeof(*q));
	void *page;

	if (!q)
		return NULL;
	q->fd = -1;
	q->page = (size_t)sysconf(_SC_PAGESIZE);
	page = mmap(NULL, q->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page != MAP_FAILED)
		q->mine = page;
	if (page == MAP_FAILED || madvise(page, q->page, MADV_WIPEONFORK))
		return fail(q, -errno);
	return q;
}

/* fd is open. */
static int map(struct intro_process_queue *q)
{
	void *data;
	int err = intro__shared_map(q->fd, &data, &q->mapped);

	if (err)
		return err;
	q->head = data;
	q->ring = (unsigned char *)data + sizeof(*q->head);
	return q->mapped <= sizeof(*q->head) ? -EINVAL : 0;
}

/* Takes what the head says for a copy. */
static int check(struct intro_process_queue *q)
{
	char name[INTRO_DEF_BYTES], whole[INTRO_DEF_BYTES];

	q->bytes = q->head->bytes;
	q->capacity = q->head->capacity;
	q->pool = q->head->pool;
	if (q->head->magic != MAGIC || q->bytes < LEAST_BYTES || (q->bytes & (q->bytes - 1)) ||
	    q->bytes != q->mapped - sizeof(*q->head) || !q->capacity)
		return -EINVAL;
	memcpy(name, q->head->name, sizeof(name));
	name[sizeof(name) - 1] = 0;
	intro__tag_init(&q->lock_tag, name);
	for (int i = 0; i < WAIT_KINDS; i++) {
		/* what tells one from another is kept: the name is cut instead */
		snprintf(whole, sizeof(whole), "%.*s %s", INTRO_DEF_BYTES - 12, name,
			 wait_names[i]);
		intro__tag_init(&q->tags[i], whole);
	}
	return 0;
}

static int fill(struct intro_process_queue *q, const struct intro_process_queue_options *options)
{
	const char *name = options->name && *options->name ? options->name : "queue";
	size_t bytes = LEAST_BYTES, wanted = options->bytes ? options->bytes : DEFAULT_BYTES;
	int err;

	if (wanted > (size_t)1 << 40)
		return -EINVAL;
	while (bytes < wanted)
		bytes *= 2;
	q->fd = intro__shared_block("introspect-queue", sizeof(*q->head) + bytes);
	err = q->fd < 0 ? q->fd : map(q);
	if (!err)
		err = intro__shared_lock_init(&q->head->lock);
	if (err)
		return err;
	q->head->bytes = bytes;
	q->head->capacity = options->capacity ? options->capacity : UINT64_MAX;
	strncpy(q->head->name, name, sizeof(q->head->name) - 1);
	if (options->marked) {
		q->head->pool = intro__pool_claim(name, 0, INTRO_POOL_MARKED);
		q->maker = (uint32_t)getpid();
	}
	q->head->magic = MAGIC;
	return 0;
}

struct intro_process_queue *intro_process_queue_new(const struct intro_process_queue_options *given)
{
	struct intro_process_queue_options options = {.size = sizeof(options)};
	int err = given ? intro__options_take(&options, sizeof(options), given) : 0;
	struct intro_process_queue *q;

	if (err) {
		errno = -err;
		return NULL;
	}
	q = new_handle();
	if (!q)
		return NULL;
	err = fill(q, &options);
	if (!err)
		err = check(q);
	return err ? fail(q, err) : q;
}

struct intro_process_queue *intro_process_queue_attach(int fd)
{
	struct intro_process_queue *q = new_handle();
	int err;

	if (!q)
		return NULL;
	q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	err = q->fd < 0 ? -errno : map(q);
	if (!err)
		err = check(q);
	return err ? fail(q, err) : q;
}

/* --- who lives -------------------------------------------------------------------------------- */

static bool lives(const struct intro_process_queue *q, uint32_t index, uint32_t pid)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = index, .l_len = 1};

	/* a process does not see its own record locks */
	return pid == (uint32_t)getpid() || fcntl(q->fd, F_GETLK, &lock) || lock.l_type != F_UNLCK;
}

/* Totals from the slots. The lock is held. */
static void add_up(struct head *h)
{
	h->held = 0;
	for (int k = 0; k < WAIT_KINDS; k++)
		h->waits[k].waiting = h->waits[k].picked = 0;
	for (int i = 0; i < INTRO_PROCESS_QUEUE_USERS; i++) {
		h->held += h->slots[i].held;
		for (int k = 0; k < WAIT_KINDS; k++)
			h->waits[k].waiting += h->slots[i].waiting[k];
	}
}

/* Takes out of the accounts what the dead had. The lock is held. */
static void bury(struct intro_process_queue *q)
{
	struct head *h = q->head;

	for (uint32_t i = 0; i < INTRO_PROCESS_QUEUE_USERS; i++)
		if (h->slots[i].pid && !lives(q, i, h->slots[i].pid))
			memset(&h->slots[i], 0, sizeof(h->slots[i]));
	add_up(h);
}

static void lock(struct intro_process_queue *q)
{
	if (intro__shared_lock_take(&q->head->lock, &q->lock_tag, INTRO_FOREVER) == -EOWNERDEAD)
		bury(q);
}

static void unlock(struct intro_process_queue *q)
{
	intro__shared_lock_drop(&q->head->lock);
}

/* This process's slot, or NULL: there are too many. The lock is held. */
static struct slot *my_slot(struct intro_process_queue *q)
{
	struct flock life = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	uint32_t mine = atomic_load_explicit(q->mine, memory_order_relaxed);

	if (mine)
		return &q->head->slots[mine - 1];
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < INTRO_PROCESS_QUEUE_USERS; i++) {
			struct slot *slot = &q->head->slots[i];

			life.l_start = i;
			if (slot->pid || fcntl(q->fd, F_SETLK, &life))
				continue;
			slot->pid = (uint32_t)getpid();
			atomic_store_explicit(q->mine, i + 1, memory_order_relaxed);
			return slot;
		}
		bury(q);
	}
	return NULL;
}

/* --- state: the lock is held ------------------------------------------------------------------ */

static const struct state *state_of(const struct head *h)
{
	return &h->state[atomic_load_explicit(&h->current, memory_order_relaxed) & 1];
}

static void commit(struct head *h, struct state next)
{
	uint32_t other = !(atomic_load_explicit(&h->current, memory_order_relaxed) & 1);

	h->state[other] = next;
	/* release: also for the compiler, which must not store a part of it later */
	atomic_store_explicit(&h->current, other, memory_order_release);
	atomic_store_explicit(&h->waits[NOT_EMPTY].moved,
			      (uint32_t)(next.tail / sizeof(struct record) + next.shut_down),
			      memory_order_relaxed);
	atomic_store_explicit(&h->waits[NOT_FULL].moved,
			      (uint32_t)(next.head / sizeof(struct record) + next.shut_down),
			      memory_order_relaxed);
}

static uint64_t footprint(uint64_t size)
{
	const uint64_t unit = sizeof(struct record);

	return unit + (size + unit - 1) / unit * unit;
}

static void ring_write(struct intro_process_queue *q, uint64_t at, const void *data, size_t n)
{
	uint64_t begin = at & (q->bytes - 1), part = q->bytes - begin;

	part = part < n ? part : n;
	memcpy(q->ring + begin, data, part);
	memcpy(q->ring, (const unsigned char *)data + part, n - part);
}

static void ring_read(const struct intro_process_queue *q, uint64_t at, void *data, size_t n)
{
	uint64_t begin = at & (q->bytes - 1), part = q->bytes - begin;

	part = part < n ? part : n;
	memcpy(data, q->ring + begin, part);
	memcpy((unsigned char *)data + part, q->ring, n - part);
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* How many to wake, `n` at most; picked with the lock held, to be given to wake. */
static uint32_t pick(struct intro_process_queue *q, enum wait_kind kind, uint32_t n)
{
	struct wait_word *w = &q->head->waits[kind];

	if (w->waiting <= w->picked)
		return 0;
	if (n > w->waiting - w->picked)
		n = w->waiting - w->picked;
	w->picked += n;
	atomic_fetch_add_explicit(&w->changes, 1, memory_order_relaxed);
	return n;
}

/* The lock is not held. */
static void wake(struct intro_process_queue *q, enum wait_kind kind, uint32_t n)
{
	if (n)
		intro__shared_wake(&q->head->waits[kind].changes, n);
}

static void count_down(uint32_t *n)
{
	if (*n)
		--*n;
}

/* For many sleepers together not more often than for one. The lock is held. */
static void bury_now_and_then(struct intro_process_queue *q)
{
	int64_t now = intro__now(), since = now - q->head->buried;

	/* before our time: by a process with another clock (a time namespace) */
	if (since >= 0 && since < SHARED_SLICE_NS / 2)
		return;
	q->head->buried = now;
	bury(q);
}

/* Gives up the lock, and has it again. 0: look again; -ETIMEDOUT; -EUSERS. */
static int wait_for(struct intro_process_queue *q, enum wait_kind kind, int64_t deadline)
{
	struct wait_word *w = &q->head->waits[kind];
	uint32_t changes = atomic_load_explicit(&w->changes, memory_order_relaxed);
	int64_t slice = intro__now() + SHARED_SLICE_NS;
	struct slot *me = my_slot(q);
	int err;

	if (!me)
		return -EUSERS;
	me->waiting[kind]++;
	w->waiting++;
	unlock(q);
	err = intro__shared_sleep(&q->tags[kind], &w->changes, changes, deadline);
	lock(q);
	count_down(&me->waiting[kind]);
	count_down(&w->waiting);
	count_down(&w->picked);
	if (intro__now() >= slice)
		bury_now_and_then(q);
	return err;
}

/* Gives up the lock, and looks a while whether something moves. */
static void look(struct intro_process_queue *q, enum wait_kind kind, int64_t timeout_ns)
{
	struct spin spin = {0};
	int64_t ns = timeout_ns < LOOK_NS ? timeout_ns : LOOK_NS;
	_Atomic uint32_t *moved = &q->head->waits[kind].moved;
	uint32_t seen = atomic_load_explicit(moved, memory_order_relaxed);

	unlock(q);
	while (atomic_load_explicit(moved, memory_order_relaxed) == seen && spin_once(&spin, ns))
		;
	lock(q);
}

/* 1: there is an item, or room for one of `size`; 0; -ESHUTDOWN. */
static int ready(const struct intro_process_queue *q, enum wait_kind kind, size_t size)
{
	const struct state *state = state_of(q->head);

	if (kind == NOT_EMPTY)
		return state->items ? 1 : state->shut_down ? -ESHUTDOWN : 0;
	if (state->shut_down)
		return -ESHUTDOWN;
	if (state->items >= q->capacity)
		return 0;
	if (q->bytes - (state->tail - state->head) >= footprint(size))
		return 1;
	q->head->large_waits = true;
	return 0;
}

/* The lock is held; and given up in between. */
static int until_ready(struct intro_process_queue *q, enum wait_kind kind, size_t size,
		       int64_t timeout_ns)
{
	int64_t deadline;
	int is = ready(q, kind, size), err = 0;

	if (is)
		return is < 0 ? is : 0;
	if (timeout_ns <= 0)
		return -ETIMEDOUT;
	deadline = intro__deadline(timeout_ns);
	look(q, kind, timeout_ns);
	while (!(is = ready(q, kind, size)) && !err)
		err = wait_for(q, kind, deadline);
	return is < 0 ? is : is ? 0 : err;
}

void intro_process_queue_free(struct intro_process_queue *q)
{
	uint32_t mine, woken;

	if (!q)
		return;
	mine = atomic_load_explicit(q->mine, memory_order_relaxed);
	if (mine) {
		lock(q);
		memset(&q->head->slots[mine - 1], 0, sizeof(struct slot));
		add_up(q->head);
		/* joins may have waited for just that */
		woken = pick(q, DONE, INT_MAX);
		unlock(q);
		wake(q, DONE, woken);
	}
	if (q->maker && q->maker == (uint32_t)getpid())
		intro__pool_release(q->pool);
	discard(q);
}

/* --- put -------------------------------------------------------------------------------------- */

size_t intro_process_queue_limit(const struct intro_process_queue *q)
{
	return q->bytes - sizeof(struct record);
}

/* The lock is held. */
static void push(struct intro_process_queue *q, const void *data, size_t size)
{
	struct state next = *state_of(q->head);
	struct record record = {.size = size};

	if (q->pool) {
		record.task = intro_mark_task();
		intro_mark_submit(record.task, q->pool, 0);
	}
	ring_write(q, next.tail, &record, sizeof(record));
	if (size)
		ring_write(q, next.tail + sizeof(record), data, size);
	next.tail += footprint(size);
	next.items++;
	commit(q->head, next);
}

int intro_process_queue_put(struct intro_process_queue *q, const void *data, size_t size,
			    int64_t timeout_ns)
{
	uint32_t woken = 0;
	int err;

	if (size && !data)
		return -EINVAL;
	if (atomic_load_explicit(&q->closed, memory_order_relaxed))
		return -EBADF;
	if (size > intro_process_queue_limit(q))
		return -EMSGSIZE;
	lock(q);
	err = until_ready(q, NOT_FULL, size, timeout_ns);
	if (!err) {
		push(q, data, size);
		woken = pick(q, NOT_EMPTY, 1);
	}
	unlock(q);
	wake(q, NOT_EMPTY, woken);
	return err;
}

/* --- get -------------------------------------------------------------------------------------- */

/* The lock is held, and there is one. */
static int pop(struct intro_process_queue *q, struct slot *me, void *buffer, size_t room,
	       size_t *size)
{
	struct state next = *state_of(q->head);
	struct record record;

	ring_read(q, next.head, &record, sizeof(record));
	if (record.size > intro_process_queue_limit(q) ||
	    footprint(record.size) > next.tail - next.head)
		return -EBADMSG;
	*size = record.size;
	if (record.size > room)
		return -EMSGSIZE;
	if (record.size)
		ring_read(q, next.head + sizeof(record), buffer, record.size);
	next.head += footprint(record.size);
	next.items--;
	/* before the commit: who dies here leaves it in the queue, and his account is closed */
	me->held++;
	q->head->held++;
	commit(q->head, next);
	if (q->pool)
		intro__hand_start(q->pool, record.task);
	return 0;
}

int intro_process_queue_get(struct intro_process_queue *q, void *buffer, size_t room, size_t *size,
			    int64_t timeout_ns)
{
	uint32_t room_for = 0, next = 0;
	struct slot *me;
	int err;

	if (atomic_load_explicit(&q->closed, memory_order_relaxed))
		return -EBADF;
	if (q->pool)
		intro__hand_end(q->pool);
	lock(q);
	me = my_slot(q);
	err = me ? until_ready(q, NOT_EMPTY, 0, timeout_ns) : -EUSERS;
	if (!err)
		err = pop(q, me, buffer, room, size);
	if (!err)
		room_for = pick(q, NOT_FULL, q->head->large_waits ? INT_MAX : 1);
	/* it was woken for what it does not take */
	if (err == -EMSGSIZE)
		next = pick(q, NOT_EMPTY, 1);
	unlock(q);
	wake(q, NOT_FULL, room_for);
	wake(q, NOT_EMPTY, next);
	return err;
}

size_t intro_process_queue_size(struct intro_process_queue *q)
{
	size_t n;

	lock(q);
	n = state_of(q->head)->items;
	unlock(q);
	return n;
}

bool intro_process_queue_empty(struct intro_process_queue *q)
{
	return intro_process_queue_size(q) == 0;
}

bool intro_process_queue_full(struct intro_process_queue *q)
{
	return intro_process_queue_size(q) >= q->capacity;
}

/* --- done ------------------------------------------------------------------------------------- */

static bool all_done(const struct head *h)
{
	return !state_of(h)->items && !h->held;
}

/* Whose message is done: one of our own, if we have any. The lock is held. */
static struct slot *holder(struct intro_process_queue *q)
{
	struct slot *me = my_slot(q);

	if (me && me->held)
		return me;
	for (int i = 0; i < INTRO_PROCESS_QUEUE_USERS; i++)
		if (q->head->slots[i].held)
			return &q->head->slots[i];
	return NULL;
}

int intro_process_queue_task_done(struct intro_process_queue *q)
{
	struct slot *slot;
	uint32_t woken = 0;

	if (q->pool)
		intro__hand_end(q->pool);
	lock(q);
	slot = holder(q);
	if (slot) {
		slot->held--;
		q->head->held--;
		if (all_done(q->head))
			woken = pick(q, DONE, INT_MAX);
	}
	unlock(q);
	wake(q, DONE, woken);
	return slot ? 0 : -EINVAL;
}

int intro_process_queue_join(struct intro_process_queue *q, int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	int err = 0;

	lock(q);
	while (!all_done(q->head) && !err)
		err = timeout_ns > 0 ? wait_for(q, DONE, deadline) : -ETIMEDOUT;
	if (all_done(q->head))
		err = 0;
	unlock(q);
	return err;
}

void intro_process_queue_close(struct intro_process_queue *q)
{
	atomic_store_explicit(&q->closed, true, memory_order_relaxed);
}

/* The lock is held. */
static void cancel_all(struct intro_process_queue *q, struct state *state)
{
	struct record record;

	/* ends whatever the memory holds */
	while (q->pool && (int64_t)(state->tail - state->head) > 0) {
		ring_read(q, state->head, &record, sizeof(record));
		intro_mark_cancel(record.task, q->pool);
		state->head += footprint(record.size);
	}
	state->head = state->tail;
	state->items = 0;
}

void intro_process_queue_shutdown(struct intro_process_queue *q, bool immediate)
{
	struct state next;
	uint32_t woken[WAIT_KINDS];

	lock(q);
	next = *state_of(q->head);
	next.shut_down = true;
	if (immediate)
		cancel_all(q, &next);
	commit(q->head, next);
	for (int k = 0; k < WAIT_KINDS; k++)
		woken[k] = pick(q, k, INT_MAX);
	unlock(q);
	for (int k = 0; k < WAIT_KINDS; k++)
		wake(q, k, woken[k]);
}

bool intro_process_queue_is_shutdown(struct intro_process_queue *q)
{
	bool shut_down;

	lock(q);
	shut_down = state_of(q->head)->shut_down;
	unlock(q);
	return shut_down;
}

uint32_t intro_process_queue_pool(const struct intro_process_queue *q)
{
	return q->pool;
}

uint64_t intro_process_queue_task(const struct intro_process_queue *q)
{
	return q->pool ? intro__hand_task(q->pool) : 0;
}

int intro_process_queue_fd(const struct intro_process_queue *q)
{
	return q->fd;
}
