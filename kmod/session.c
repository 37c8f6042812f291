// SPDX-License-Identifier: GPL-2.0-only
/*
 * session.c - the life of a recording.
 */
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "place.h"
#include "session.h"

#define RING_DEFAULT (8u << 20)
#define RINGS_TOTAL_MOST (256ull << 20) /* of the default size, for machines with many CPUs */
#define MEMORY_PART 4			/* of the machine's, for all rings */
#define LOOK_EVERY_MS 10
#define READABLE_PART 4

static struct intro_ring *ring_of(const struct session *session, u32 cpu)
{
	return session->rings.at + cpu * session->stride;
}

/* Whether some ring is a quarter full. What the reader makes of its own tail is its own affair. */
static bool is_readable(const struct session *session)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct writer *writer = per_cpu_ptr(session->writers, cpu);

		if (READ_ONCE(writer->head) - READ_ONCE(writer->ring->tail) >=
		    (session->mask + 1) / READABLE_PART)
			return true;
	}
	return false;
}

static void look(struct work_struct *work)
{
	struct session *session = container_of(work, struct session, look.work);

	if (is_readable(session))
		event_tell(session->event);
	schedule_delayed_work(&session->look, msecs_to_jiffies(LOOK_EVERY_MS));
}

struct session *session_new(void)
{
	struct session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return NULL;
	mutex_init(&session->mutex);
	INIT_DELAYED_WORK(&session->look, look);
	return session;
}

static void free_memory(struct session *session)
{
	memory_put(&session->rings);
	free_percpu(session->writers);
	session->writers = NULL;
	free_percpu(session->placed);
	session->placed = NULL;
	vfree(session->targets);
	vfree(session->known);
	vfree(session->waiting);
	session->targets = session->known = session->waiting = NULL;
	if (session->event)
		eventfd_ctx_put(session->event);
	session->event = NULL;
}

/* To a reader that did not end it itself. */
static void tell_end(struct session *session)
{
	u64 now = ktime_get_mono_fast_ns();
	u32 cpu;

	/* pairs with the reader's load: who sees it sees all that there will ever be in that ring
	 */
	for (cpu = 0; session->ready && cpu < nr_cpu_ids; cpu++)
		smp_store_release(&ring_of(session, cpu)->ended, now);
	if (session->event)
		event_tell(session->event);
}

void session_free(struct session *session)
{
	if (!session)
		return;
	session_stop(session);
	tell_end(session);
	kvfree(session->snapshot);
	free_memory(session);
	kfree(session);
}

static int alloc_memory(struct session *session, bool placing)
{
	session->writers = alloc_percpu(struct writer);
	if (placing) {
		session->placed = alloc_percpu(struct intro_placed);
		if (!session->placed)
			return -ENOMEM;
	}
	session->targets = vzalloc(TID_WORDS * sizeof(long));
	session->known = vzalloc(TID_WORDS * sizeof(long));
	session->waiting = vzalloc(TID_WORDS * sizeof(long));
	if (!session->writers || !session->targets || !session->known || !session->waiting)
		return -ENOMEM;
	bit_put(session->known, 0); /* the idle tasks need no introduction */
	return 0;
}

static int take_event(struct session *session, int fd)
{
	struct eventfd_ctx *event = fd == -1 ? NULL : eventfd_ctx_fdget(fd);

	if (IS_ERR(event))
		return PTR_ERR(event);
	session->event = event;
	return 0;
}

/* A number below nr_cpu_ids that is no CPU's has a ring too, so that the mapping has no hole. */
static struct file *alloc_all(struct session *session, int event, bool placing)
{
	struct file *file = ERR_PTR(-ENOMEM);
	int cpu, error = take_event(session, event);

	if (!error)
		error = alloc_memory(session, placing);
	if (!error)
		file = memory_get(&session->rings, nr_cpu_ids, session->stride);
	if (error || IS_ERR(file)) {
		free_memory(session);
		return error ? ERR_PTR(error) : file;
	}
	for_each_possible_cpu(cpu) {
		struct writer *writer = per_cpu_ptr(session->writers, cpu);

		writer->ring = ring_of(session, cpu);
		writer->placed = placing ? per_cpu_ptr(session->placed, cpu) : NULL;
	}
	return file;
}

static u64 ring_bytes(u64 wanted)
{
	u64 bytes = wanted ? wanted : RING_DEFAULT;
	u64 most = ((u64)totalram_pages() << PAGE_SHIFT) / MEMORY_PART;

	if (!wanted)
		while (bytes > INTRO_DEVICE_RING_LEAST * 16 &&
		       bytes * nr_cpu_ids > min_t(u64, RINGS_TOTAL_MOST, most))
			bytes /= 2;
	return bytes * nr_cpu_ids > most ? 0 : bytes;
}

struct file *session_setup(struct session *session, struct intro_device_setup *setup)
{
	u64 bytes = setup->ring_bytes;
	struct file *file;

	if (session->ready)
		return ERR_PTR(-EBUSY);
	if (setup->abi != INTRO_DEVICE_ABI)
		return ERR_PTR(-EPROTO);
	if (setup->flags & ~(INTRO_DEVICE_WHOLE_SYSTEM | INTRO_DEVICE_PLACE) || setup->reserved ||
	    (bytes && (!is_power_of_2(bytes) || bytes < INTRO_DEVICE_RING_LEAST ||
		       bytes > INTRO_DEVICE_RING_MOST)))
		return ERR_PTR(-EINVAL);
	bytes = ring_bytes(bytes);
	if (!bytes)
		return ERR_PTR(-ENOMEM);
	session->whole_system = setup->flags & INTRO_DEVICE_WHOLE_SYSTEM;
	session->mask = bytes - 1;
	session->stride = PAGE_ALIGN(bytes + sizeof(struct intro_ring) + INTRO_RING_SLACK);
	file = alloc_all(session, setup->event, setup->flags & INTRO_DEVICE_PLACE);
	if (IS_ERR(file))
		return file;
	setup->ring_bytes = bytes;
	setup->stride = session->stride;
	setup->cpus = nr_cpu_ids;
	session->ready = true;
	return file;
}

int session_start(struct session *session)
{
	int error;

	if (!session->ready)
		return -ENODATA;
	if (session->started)
		return -EBUSY;
	error = tracepoints_attach(session);
	if (error)
		return error;
	session->started = true;
	if (session->event)
		schedule_delayed_work(&session->look, msecs_to_jiffies(LOOK_EVERY_MS));
	return 0;
}

void session_stop(struct session *session)
{
	if (!session->started)
		return;
	tracepoints_detach(session);
	place_finish(session);
	cancel_delayed_work_sync(&session->look);
	session->started = false;
}

void session_stats(struct session *session, struct intro_device_stats *stats)
{
	int cpu;

	memset(stats, 0, sizeof(*stats));
	if (!session->ready)
		return;
	stats->attached = session->attached;
	for_each_possible_cpu(cpu) {
		const struct writer *writer = per_cpu_ptr(session->writers, cpu);

		stats->bytes += READ_ONCE(writer->head);
		stats->lost += READ_ONCE(writer->lost);
		stats->ignored += READ_ONCE(writer->ignored);
		stats->pages_lost += READ_ONCE(writer->pages_lost);
	}
}
