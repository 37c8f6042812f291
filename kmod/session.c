// SPDX-License-Identifier: GPL-2.0-only
/*
 * session.c - the life of a recording.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>

#include "session.h"

#define RING_DEFAULT (8u << 20)
#define RINGS_TOTAL_MOST (256ull << 20) /* of the default size, for machines with many CPUs */
#define MEMORY_PART 4			/* of the machine's, for all rings */
#define LOOK_EVERY_MS 10
#define READABLE_PART 4

bool session_is_readable(struct session *session)
{
	u64 used;
	int cpu;

	/* pairs with session_setup: the rings are there when it says so */
	if (!smp_load_acquire(&session->ready))
		return false;
	for_each_possible_cpu(cpu) {
		const struct intro_ring *ring = session->rings[cpu];

		/* as the reader sees it: what it makes of its own tail is its own affair */
		used = READ_ONCE(ring->head) - READ_ONCE(ring->tail);
		if (used >= (session->mask + 1) / READABLE_PART)
			return true;
	}
	return false;
}

static void look(struct work_struct *work)
{
	struct session *session = container_of(work, struct session, look.work);

	if (!wq_has_sleeper(&session->readable))
		return;
	if (session_is_readable(session))
		wake_up_interruptible(&session->readable);
	else
		schedule_delayed_work(&session->look, msecs_to_jiffies(LOOK_EVERY_MS));
}

struct session *session_new(void)
{
	struct session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return NULL;
	mutex_init(&session->mutex);
	init_waitqueue_head(&session->readable);
	INIT_DELAYED_WORK(&session->look, look);
	return session;
}

static void free_memory(struct session *session)
{
	u32 cpu;

	for (cpu = 0; session->rings && cpu < nr_cpu_ids; cpu++)
		vfree(session->rings[cpu]);
	kfree(session->rings);
	session->rings = NULL;
	free_percpu(session->writers);
	session->writers = NULL;
	vfree(session->targets);
	vfree(session->known);
	vfree(session->waiting);
	session->targets = session->known = session->waiting = NULL;
}

void session_free(struct session *session)
{
	if (!session)
		return;
	session_stop(session);
	cancel_delayed_work_sync(&session->look);
	kvfree(session->snapshot);
	free_memory(session);
	kfree(session);
}

/* A number below nr_cpu_ids that is no CPU's has a ring too, so that the mapping has no hole. */
static int alloc_rings(struct session *session)
{
	u32 cpu;

	session->rings = kcalloc(nr_cpu_ids, sizeof(*session->rings), GFP_KERNEL);
	if (!session->rings)
		return -ENOMEM;
	for (cpu = 0; cpu < nr_cpu_ids; cpu++) {
		bool possible = cpu_possible(cpu);
		int node = possible ? cpu_to_node(cpu) : NUMA_NO_NODE;

		session->rings[cpu] = vzalloc_node(session->stride, node);
		if (!session->rings[cpu])
			return -ENOMEM;
		if (possible)
			per_cpu_ptr(session->writers, cpu)->ring = session->rings[cpu];
	}
	return 0;
}

static int alloc_memory(struct session *session)
{
	session->writers = alloc_percpu(struct writer);
	session->targets = vzalloc(TID_WORDS * sizeof(long));
	session->known = vzalloc(TID_WORDS * sizeof(long));
	session->waiting = vzalloc(TID_WORDS * sizeof(long));
	if (!session->writers || !session->targets || !session->known || !session->waiting)
		return -ENOMEM;
	bit_put(session->known, 0); /* the idle tasks need no introduction */
	return alloc_rings(session);
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

int session_setup(struct session *session, struct intro_device_setup *setup)
{
	u64 bytes = setup->ring_bytes;
	int error;

	if (session->ready)
		return -EBUSY;
	if (setup->abi != INTRO_ABI_VERSION)
		return -EPROTO;
	if (setup->flags & ~INTRO_DEVICE_WHOLE_SYSTEM || setup->reserved ||
	    (bytes && (!is_power_of_2(bytes) || bytes < INTRO_DEVICE_RING_LEAST ||
		       bytes > INTRO_DEVICE_RING_MOST)))
		return -EINVAL;
	bytes = ring_bytes(bytes);
	if (!bytes)
		return -ENOMEM;
	session->whole_system = setup->flags & INTRO_DEVICE_WHOLE_SYSTEM;
	session->mask = bytes - 1;
	session->stride = PAGE_ALIGN(bytes + sizeof(struct intro_ring) + INTRO_RING_SLACK);
	error = alloc_memory(session);
	if (error) {
		free_memory(session);
		return error;
	}
	setup->ring_bytes = bytes;
	setup->stride = session->stride;
	setup->cpus = nr_cpu_ids;
	/* mmap and poll look at it without the mutex: after all that it stands for */
	smp_store_release(&session->ready, true);
	return 0;
}

int session_start(struct session *session)
{
	int error;

	if (!session->ready)
		return -ENODATA;
	if (session->started)
		return -EBUSY;
	error = tracepoints_attach(session);
	session->started = !error;
	return error;
}

void session_stop(struct session *session)
{
	if (!session->started)
		return;
	tracepoints_detach(session);
	session->started = false;
}

void session_stats(struct session *session, struct intro_device_stats *stats)
{
	int cpu;

	memset(stats, 0, sizeof(*stats));
	if (!session->ready)
		return;
	for_each_possible_cpu(cpu) {
		const struct writer *writer = per_cpu_ptr(session->writers, cpu);

		stats->bytes += READ_ONCE(writer->head);
		stats->lost += READ_ONCE(writer->lost);
		stats->ignored += READ_ONCE(writer->ignored);
	}
}
