// SPDX-License-Identifier: BSD-2-Clause
/* placement.c - see placement.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/executor.h>

#include "thread_private.h"

static __thread int near_node __attribute__((tls_model("initial-exec"))) = -1;

/* The hardware threads of a CPU's core, of those that we may use. */
static void core_of(int cpu, const cpu_set_t *allowed, cpu_set_t *core)
{
	char path[96], list[512], *at = list;
	FILE *file;

	CPU_ZERO(core);
	CPU_SET(cpu, core);
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
		 cpu);
	file = fopen(path, "re");
	if (file && fgets(list, sizeof(list), file))
		while (*at >= '0' && *at <= '9') {
			unsigned long first = strtoul(at, &at, 10), last = first;

			if (*at == '-')
				last = strtoul(at + 1, &at, 10);
			for (; first <= last && first < CPU_SETSIZE; first++)
				CPU_SET(first, core);
			at += *at == ',';
		}
	if (file)
		fclose(file);
	CPU_AND(core, core, allowed);
}

static int find_cores(struct place *place)
{
	cpu_set_t left = place->cpus;

	place->cores = calloc((size_t)CPU_COUNT(&place->cpus), sizeof(*place->cores));
	if (!place->cores)
		return -ENOMEM;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		cpu_set_t *core = &place->cores[place->cores_n];

		if (!CPU_ISSET(cpu, &left))
			continue;
		core_of(cpu, &left, core);
		CPU_XOR(&left, &left, core);
		place->cores_n++;
	}
	return 0;
}

/* What is not told is farther than all that is. */
static unsigned distance(uint32_t from, uint32_t to)
{
	unsigned far = intro_node_distance(from, to);

	return far ? far : 256;
}

/* Itself first; of equals those that come next in a circle, so that not all take from one. */
static void find_order(struct placement *placement, unsigned p)
{
	struct place *place = &placement->place[p];

	for (unsigned i = 0; i < placement->n; i++) {
		unsigned other = (p + i) % placement->n, at = i;
		unsigned far = distance(place->node, placement->place[other].node);

		while (at > 1 &&
		       far < distance(place->node, placement->place[place->order[at - 1]].node)) {
			place->order[at] = place->order[at - 1];
			at--;
		}
		place->order[at] = (uint8_t)other;
	}
}

/* Of nodes without CPUs, too: whoever submits for their memory. */
static void find_nearest(struct placement *placement, const struct intro_node *nodes, int n)
{
	for (int i = 0; i < n; i++) {
		unsigned best = 0;

		for (unsigned p = 1; p < placement->n; p++)
			if (distance(nodes[i].node, placement->place[p].node) <
			    distance(nodes[i].node, placement->place[best].node))
				best = p;
		placement->of_node[nodes[i].node] = (uint8_t)best;
	}
}

static int fill(struct placement *placement, const struct intro_node *nodes, int n)
{
	int err = 0;

	for (int i = 0; i < n && placement->n < PLACES_MAX; i++) {
		struct place *place = &placement->place[placement->n];

		if (!CPU_COUNT(&nodes[i].cpus))
			continue;
		place->node = nodes[i].node;
		place->cpus = nodes[i].cpus;
		if (placement->n++)
			err = intro__task_ring_init(&place->queue);
		if (!err)
			err = find_cores(place);
		if (err)
			return err;
	}
	for (unsigned p = 0; p < placement->n; p++)
		find_order(placement, p);
	find_nearest(placement, nodes, n);
	return placement->n ? 0 : -EINVAL;
}

struct placement *intro__placement_new(bool cores)
{
	struct intro_node *nodes = calloc(PLACES_MAX, sizeof(*nodes));
	int n = nodes ? intro_node_list(nodes, PLACES_MAX) : -ENOMEM, err;
	struct placement *placement;

	if (n > PLACES_MAX)
		n = PLACES_MAX;
	placement = n < 0 ? NULL : calloc(1, sizeof(*placement) + (size_t)n * sizeof(struct place));
	err = n < 0 ? n : placement ? 0 : -ENOMEM;
	if (!err) {
		placement->cores = cores;
		err = fill(placement, nodes, n);
	}
	free(nodes);
	if (!err)
		return placement;
	intro__placement_free(placement);
	errno = -err;
	return NULL;
}

void intro__placement_free(struct placement *placement)
{
	if (!placement)
		return;
	for (unsigned p = 0; p < placement->n; p++) {
		if (p && atomic_load(&placement->place[p].queue.in))
			intro__task_ring_fini(&placement->place[p].queue);
		free(placement->place[p].cores);
	}
	free(placement);
}

void intro__placement_bind(const struct placement *placement, unsigned index)
{
	const struct place *place = &placement->place[intro__placement_of(placement, index)];
	const cpu_set_t *set = placement->cores
				       ? &place->cores[index / placement->n % place->cores_n]
				       : &place->cpus;

	/* it fails when our CPUs were taken from us since: then it runs where it may */
	sched_setaffinity(0, sizeof(*set), set);
}

void intro__placement_near(int node)
{
	near_node = node;
}

unsigned intro__placement_here(const struct placement *placement)
{
	int node = near_node;

	near_node = -1;
	if (node < 0)
		node = placement->n > 1 ? intro_node_here() : 0;
	return node < INTRO_NODE_LIMIT ? placement->of_node[node] : 0;
}

bool intro__placement_is_empty(struct placement *placement)
{
	for (unsigned p = 1; p < placement->n; p++)
		if (!intro__task_ring_is_empty(&placement->place[p].queue))
			return false;
	return true;
}

uint64_t intro__placement_length(struct placement *placement)
{
	uint64_t length = 0;

	for (unsigned p = 1; p < placement->n; p++)
		length += intro__task_ring_length(&placement->place[p].queue);
	return length;
}

/* The last that fell asleep on a node where there is work, else the last of all. */
struct thread_worker **intro__thread_near_sleeper(struct thread_pool *pool)
{
	for (struct thread_worker **at = &pool->sleepers; *at; at = &(*at)->sleeping)
		if (!intro__task_ring_is_empty(intro__thread_queue(pool, (*at)->place)))
			return at;
	return &pool->sleepers;
}

int intro_executor_submit_near(struct intro_executor *executor, struct intro_future *future,
			       uint32_t node, uint32_t name, intro_task_fn fn, const void *arg,
			       size_t size)
{
	int err;

	if (node >= INTRO_NODE_LIMIT)
		return -EINVAL;
	intro__placement_near((int)node);
	err = intro_executor_submit_named(executor, future, name, fn, arg, size);
	/* a pool that does not place, or did not come to it, leaves it */
	intro__placement_near(-1);
	return err;
}
