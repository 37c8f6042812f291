// SPDX-License-Identifier: BSD-2-Clause
/*
 * marks.c - reading the rings of areas. Copy, then check, then use.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <introspect/trace.h>

#include "collect/marks_internal.h"

#define BATCH_BYTES (64u << 10)
/* All areas together, in one drain: 25 ms of work at most. */
#define DRAIN_BYTES (4u << 20)
#define CHECKS_MOST 2000
/* A slot beyond the used ones is looked at every so many drains: claimers take the lowest. */
#define FULL_SCAN_EVERY 16
#define SLOTS_AHEAD 16
#define TASK_BITS 48
#define ID_BITS 20

struct drain {
	struct intro__marks *marks;
	struct area *area;
	unsigned int number; /* of the area */
	const struct intro__sink *sink;
	uint64_t heads[INTRO_AREA_SLOTS];
	uint8_t batch[BATCH_BYTES];
};

struct intro__marks *intro__marks_new(void)
{
	struct intro__marks *marks = calloc(1, sizeof(*marks));

	if (!marks)
		return NULL;
	intro__clock_init(&marks->clock);
	marks->began = intro__clock_sample(&marks->clock);
	return marks;
}

const char *intro__marks_clock(const struct intro__marks *marks)
{
	return marks->clock.tsc ? "tsc" : "monotonic";
}

static uint32_t stream_of(const struct drain *drain, unsigned int slot)
{
	return INTRO_STREAM_MARKS(drain->number * INTRO_AREA_SLOTS + slot);
}

/* /proc gives a program's files to root when it may not be dumped: ask for the user itself. */
static bool process_is_of(uint32_t pid, uid_t uid)
{
	char path[40], line[256];
	unsigned int real = 0;
	bool found = false;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	status = fopen(path, "re");
	while (status && !found && fgets(line, sizeof(line), status))
		found = sscanf(line, "Uid: %u", &real) == 1;
	if (status)
		fclose(status);
	return found && real == uid;
}

/*
 * May this thread write to that area? A live one must be a thread of the process it names, and of
 * the area's user; one that is gone cannot be asked, and harms nobody.
 */
static bool thread_is_plausible(struct drain *drain, uint64_t pid, uint32_t tid)
{
	char path[64];
	struct stat st;

	if (!tid || tid >= 1u << 22 || !pid || pid >= 1u << 22 ||
	    ++drain->marks->checks > CHECKS_MOST)
		return false;
	snprintf(path, sizeof(path), "/proc/%u/task/%u", (uint32_t)pid, tid);
	if (!stat(path, &st))
		return st.st_uid == drain->area->uid ||
		       (st.st_uid == 0 && process_is_of(pid, drain->area->uid));
	snprintf(path, sizeof(path), "/proc/%u", tid);
	return stat(path, &st) != 0;
}

static uint64_t own_task(const struct drain *drain, uint64_t task)
{
	return (task & ((1ull << TASK_BITS) - 1)) | (uint64_t)drain->number << TASK_BITS;
}

static uint32_t own_id(const struct drain *drain, uint32_t id)
{
	return id ? (id & ((1u << ID_BITS) - 1)) + (drain->number << ID_BITS) : 0;
}

static void renumber(const struct drain *drain, struct intro_rec_mark *mark)
{
	switch (mark->rec.kind) {
	case INTRO_KIND_REJECT:
		mark->a = own_id(drain, mark->a);
		mark->b = own_id(drain, mark->b);
		return;
	case INTRO_KIND_SUBMIT:
		mark->b = own_id(drain, mark->b);
		/* fall through */
	case INTRO_KIND_TAKE:
	case INTRO_KIND_START:
	case INTRO_KIND_CANCEL:
	case INTRO_KIND_MOUNT:
		mark->a = own_id(drain, mark->a);
		break;
	case INTRO_KIND_WORKER_START:
	case INTRO_KIND_WORKER_STOP:
		mark->a = own_id(drain, mark->a);
		return;
	case INTRO_KIND_THREAD:
		return;
	}
	mark->task = own_task(drain, mark->task);
}

static uint64_t time_of(const struct drain *drain, struct mark_ring *ring, uint64_t ts)
{
	ts = intro__clock_ns(&drain->marks->clock, ts);
	if (ts > drain->marks->now)
		ts = drain->marks->now;
	if (ts < ring->last_ts)
		ts = ring->last_ts;
	return ring->last_ts = ts;
}

/* The kinds a program may write: those of the ABI which are marks. */
static bool is_mark(uint8_t kind)
{
	switch (kind) {
#define KIND_IS_MARK(NAME, value, rows, payload, text)                                             \
	case value:                                                                                \
		return value >= INTRO_KIND_THREAD && value < INTRO_KIND_DEF;
		INTRO_KINDS(KIND_IS_MARK)
#undef KIND_IS_MARK
	default:
		return false;
	}
}

/* Whether the mark, now in its final form, goes to the trace. */
static bool take_mark(struct drain *drain, struct mark_ring *ring, struct intro_rec_mark *mark)
{
	if (mark->rec.rows != 1 || !is_mark(mark->rec.kind))
		return false;
	if (mark->rec.kind == INTRO_KIND_THREAD &&
	    (ring->tid != mark->a || ring->pid != mark->task)) {
		ring->tid = thread_is_plausible(drain, mark->task, mark->a) ? mark->a : 0;
		ring->pid = mark->task;
	}
	if (!ring->tid)
		return false;
	mark->rec.ts = time_of(drain, ring, mark->rec.ts);
	mark->rec.cpu = INTRO_CPU_NONE;
	mark->rec.tid = ring->tid;
	renumber(drain, mark);
	return true;
}

static int put_batch(struct drain *drain, unsigned int slot, size_t bytes)
{
	struct intro_rec_mark *marks = (struct intro_rec_mark *)drain->batch;
	size_t n = bytes / sizeof(*marks), kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (!take_mark(drain, &drain->area->ring[slot], &marks[i]))
			continue;
		if (kept != i)
			marks[kept] = marks[i];
		kept++;
	}
	drain->marks->stats.malformed += n - kept;
	drain->marks->stats.stored += kept;
	if (!kept)
		return 0;
	return drain->sink->put(drain->sink->ctx, stream_of(drain, slot), marks,
				kept * sizeof(*marks));
}

/* pread also of what is mapped nowhere; a hole reads as zeroes, which are no marks. */
static int read_ring(struct drain *drain, unsigned int slot, uint64_t head, size_t *budget)
{
	struct mark_ring *ring = &drain->area->ring[slot];
	int error = 0;

	while (!error && ring->tail != head && *budget) {
		uint64_t offset = ring->tail % INTRO_AREA_RING_BYTES;
		size_t bytes = head - ring->tail;
		ssize_t got;

		if (bytes > INTRO_AREA_RING_BYTES - offset)
			bytes = INTRO_AREA_RING_BYTES - offset;
		if (bytes > BATCH_BYTES)
			bytes = BATCH_BYTES;
		if (bytes > *budget)
			bytes = *budget;
		got = pread(drain->area->fd, drain->batch, bytes,
			    offsetof(struct intro_area, ring) +
				    slot * sizeof(struct intro_area_ring) + offset);
		if (got != (ssize_t)bytes)
			return got < 0 ? -errno : -EIO;
		ring->tail += bytes;
		*budget -= bytes;
		error = put_batch(drain, slot, bytes);
	}
	atomic_store_explicit(&drain->area->shared->slot[slot].tail, ring->tail,
			      memory_order_release);
	return error;
}

/*
 * The program drops marks only while its ring is full, so all drops since the last look came
 * after the last mark it wrote then, which is the last one read now, and before now.
 */
static int tell_losses(struct drain *drain, unsigned int slot)
{
	struct mark_ring *ring = &drain->area->ring[slot];
	uint64_t lost =
		atomic_load_explicit(&drain->area->shared->slot[slot].lost, memory_order_relaxed);
	struct intro_rec_lost rec = {
		.rec.ts = ring->last_ts,
		.rec.kind = INTRO_KIND_LOST,
		.rec.rows = 1,
		.rec.cpu = INTRO_CPU_NONE,
		.rec.tid = ring->tid,
		.until_ts = drain->marks->now,
		.count = lost - ring->lost,
	};

	if (lost == ring->lost)
		return 0;
	ring->lost = lost;
	/* more than a program can write in a drain's time: a made-up number */
	if (!ring->tid || rec.count > 1u << 30) {
		drain->marks->stats.malformed++;
		return 0;
	}
	drain->marks->stats.lost += rec.count;
	return drain->sink->put(drain->sink->ctx, stream_of(drain, slot), &rec, sizeof(rec));
}

/* A worker that registered before we came wrote no mark of it: its slot says so. */
static int introduce_owner(struct drain *drain, unsigned int slot)
{
	struct intro_area_slot *shared = &drain->area->shared->slot[slot];
	struct mark_ring *ring = &drain->area->ring[slot];
	uint32_t owner = atomic_load_explicit(&shared->owner, memory_order_acquire);
	uint32_t pid = atomic_load_explicit(&shared->pid, memory_order_relaxed);
	struct intro_rec_mark marks[2] = {
		{.rec.kind = INTRO_KIND_THREAD, .task = pid, .a = owner},
		{.rec.kind = INTRO_KIND_WORKER_START,
		 .a = own_id(drain, atomic_load_explicit(&shared->pool, memory_order_acquire)),
		 .b = atomic_load_explicit(&shared->worker, memory_order_relaxed)},
	};
	size_t n = marks[1].a ? 2 : 1;

	if (!owner || ring->tid || !thread_is_plausible(drain, pid, owner))
		return 0;
	ring->tid = owner;
	ring->pid = pid;
	for (size_t i = 0; i < n; i++) {
		marks[i].rec.ts = ring->last_ts;
		marks[i].rec.rows = 1;
		marks[i].rec.cpu = INTRO_CPU_NONE;
		marks[i].rec.tid = owner;
	}
	drain->marks->stats.stored += n;
	return drain->sink->put(drain->sink->ctx, stream_of(drain, slot), marks,
				n * sizeof(marks[0]));
}

static int drain_slot(struct drain *drain, unsigned int slot, size_t *budget, unsigned int *fill)
{
	struct mark_ring *ring = &drain->area->ring[slot];
	uint64_t head = drain->heads[slot], unread = head - ring->tail;
	int error;

	if (unread > INTRO_AREA_RING_BYTES) {
		/* it ran backwards or ahead of its ring: nothing between can be told from noise */
		drain->marks->stats.malformed++;
		ring->tail = head;
		atomic_store_explicit(&drain->area->shared->slot[slot].tail, head,
				      memory_order_release);
		return 0;
	}
	if (unread * 100 / INTRO_AREA_RING_BYTES > *fill)
		*fill = unread * 100 / INTRO_AREA_RING_BYTES;
	error = unread ? read_ring(drain, slot, head, budget) : 0;
	/* what the budget left unread comes before what was lost */
	if (!error && ring->tail == head)
		error = tell_losses(drain, slot);
	return error;
}

/* Names come from a hostile program and end up on terminals. */
static void clean_name(char *name)
{
	bool ended = false;

	for (size_t i = 0; i < INTRO_DEF_BYTES; i++) {
		ended |= !name[i] || i == INTRO_DEF_BYTES - 1;
		if (ended)
			name[i] = 0;
		else if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			name[i] = '?';
	}
}

static int put_def(struct drain *drain, const struct intro_area_def *shared)
{
	struct intro_rec_def def;

	memcpy(&def, (const void *)&shared->rec, sizeof(def));
	if (def.rec.kind != INTRO_KIND_DEF || def.rec.rows != 2 || !def.id ||
	    def.def < INTRO_DEF_NAME || def.def > INTRO_DEF_LOCK ||
	    def.pool_kind > INTRO_POOL_OWN) {
		drain->marks->stats.malformed++;
		return 0;
	}
	def.rec.ts = drain->marks->began;
	def.rec.cpu = INTRO_CPU_NONE;
	def.id = own_id(drain, def.id);
	def.reserved0 = 0;
	if (def.def != INTRO_DEF_LOCK)
		def.address_high = 0;
	clean_name(def.name);
	return drain->sink->put(drain->sink->ctx, INTRO_STREAM_DEFS, &def, sizeof(def));
}

/* A definition may be late (its writer was preempted, or killed): later ones are told before it. */
static int drain_defs(struct drain *drain)
{
	struct area *area = drain->area;
	unsigned int n = atomic_load_explicit(&area->shared->defs, memory_order_relaxed);
	int error = 0;

	if (n > INTRO_AREA_DEFS)
		n = INTRO_AREA_DEFS;
	for (unsigned int i = area->defs; i < n && !error; i++) {
		struct intro_area_def *def = &area->shared->def[i];

		if (area->told[i / 8] & 1 << i % 8 ||
		    !atomic_load_explicit(&def->ready, memory_order_acquire))
			continue;
		area->told[i / 8] |= 1 << i % 8;
		error = put_def(drain, def);
	}
	while (area->defs < n && area->told[area->defs / 8] & 1 << area->defs % 8)
		area->defs++;
	return error;
}

/* How many slots need a look in this drain. */
static unsigned int load_heads(struct drain *drain)
{
	struct area *area = drain->area;
	unsigned int look = area->slots + SLOTS_AHEAD;

	if (look > INTRO_AREA_SLOTS || area->drains++ % FULL_SCAN_EVERY == 0)
		look = INTRO_AREA_SLOTS;
	for (unsigned int i = 0; i < look; i++) {
		struct intro_area_slot *slot = &area->shared->slot[i];

		drain->heads[i] = atomic_load_explicit(&slot->head, memory_order_acquire) &
				  ~(uint64_t)(INTRO_ROW_BYTES - 1);
		if (i >= area->slots &&
		    (drain->heads[i] || atomic_load_explicit(&slot->owner, memory_order_relaxed)))
			area->slots = i + 1;
	}
	return area->slots;
}

static int drain_area(struct drain *drain, size_t *budget, unsigned int *fill)
{
	bool first = drain->area->drains == 0;
	unsigned int slots = load_heads(drain);
	/* every ring has its turn to be first, for the same reason */
	unsigned int turn = drain->area->drains;
	int error;

	/* after the heads: all that they cover was written before it */
	drain->marks->now = intro__clock_sample(&drain->marks->clock);
	/* before the marks: which may refer to what was defined a moment ago */
	error = drain_defs(drain);
	for (unsigned int i = 0; i < slots && !error; i++) {
		unsigned int slot = (i + turn) % slots;

		if (first)
			error = introduce_owner(drain, slot);
		if (!error)
			error = drain_slot(drain, slot, budget, fill);
	}
	return error;
}

int intro__marks_drain(struct intro__marks *marks, const struct intro__sink *sink, bool last,
		       unsigned int *fill)
{
	/* the last drain of a big machine may need more than one share */
	size_t budget = last ? (size_t)INTRO_AREA_SLOTS * INTRO_AREA_RING_BYTES : DRAIN_BYTES;
	struct drain *drain;
	int error = 0;

	*fill = 0;
	if (!marks->areas)
		return 0;
	drain = malloc(sizeof(*drain));
	if (!drain)
		return -ENOMEM;
	drain->marks = marks;
	drain->sink = sink;
	marks->checks = 0;
	for (unsigned int i = 0; i < marks->areas && !error; i++) {
		/* another comes first each time: the budget may not reach all */
		drain->number = (i + marks->turn) % marks->areas;
		drain->area = marks->area[drain->number];
		error = drain_area(drain, &budget, fill);
	}
	marks->turn++;
	free(drain);
	return error;
}

void intro__marks_stop(struct intro__marks *marks)
{
	for (unsigned int i = 0; i < marks->areas; i++)
		atomic_store_explicit(&marks->area[i]->shared->enabled, INTRO_MARKS_OFF,
				      memory_order_release);
}

void intro__marks_stats(const struct intro__marks *marks, struct intro__marks_stats *stats)
{
	*stats = marks->stats;
	stats->areas = marks->areas;
	for (unsigned int i = 0; i < marks->areas; i++)
		stats->unslotted += atomic_load_explicit(&marks->area[i]->shared->unslotted,
							 memory_order_relaxed);
}

void intro__marks_free(struct intro__marks *marks)
{
	if (!marks)
		return;
	intro__marks_stop(marks);
	for (unsigned int i = 0; i < marks->areas; i++) {
		atomic_store(&marks->area[i]->shared->tracer, 0);
		munmap(marks->area[i]->shared, MAPPED_BYTES);
		close(marks->area[i]->fd);
		free(marks->area[i]);
	}
	free(marks);
}
