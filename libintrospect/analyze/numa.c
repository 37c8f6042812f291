// SPDX-License-Identifier: BSD-2-Clause
/* numa.c - CPU time against memory, and the tasks that paid most for their distance. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "analyze/numa.h"
#include "trace/residency.h"

static void read_meta(struct intro_numa *numa, const char *meta)
{
	struct json_object *root = json_tokener_parse(meta), *value;

	if (json_object_is_type(root, json_type_object)) {
		if (json_object_object_get_ex(root, "counted", &value) &&
		    json_object_is_type(value, json_type_array))
			numa->counted = json_object_array_length(value) > 0;
		if (json_object_object_get_ex(root, "not_counted", &value) &&
		    json_object_is_type(value, json_type_string))
			snprintf(numa->not_counted, sizeof(numa->not_counted), "%s",
				 json_object_get_string(value));
		if (json_object_object_get_ex(root, "pages_lost", &value) &&
		    json_object_is_type(value, json_type_int) && json_object_get_int64(value) > 0)
			numa->pages_lost = json_object_get_uint64(value);
	}
	json_object_put(root);
}

int intro__numa_begin(struct intro__numa *build, const struct intro_topology *topology,
		      const char *meta)
{
	struct intro_numa *numa = calloc(1, sizeof(*numa));
	size_t n = topology->nodes_n;

	*build = (struct intro__numa){.numa = numa};
	intro__map_init(&build->processes);
	if (!numa)
		return -ENOMEM;
	numa->topology = topology;
	numa->pages = calloc(n * n, sizeof(uint64_t));
	numa->cpu_ns = calloc(n * n, sizeof(uint64_t));
	numa->unplaced_ns = calloc(n, sizeof(uint64_t));
	if (!numa->pages || !numa->cpu_ns || !numa->unplaced_ns)
		return -ENOMEM;
	read_meta(numa, meta);
	return intro__residencies_of_meta(meta, topology, &numa->residencies, &numa->residencies_n);
}

void intro__numa_pages(struct intro__numa *build, uint32_t on, uint32_t from, uint64_t pages)
{
	build->numa->pages[on * build->numa->topology->nodes_n + from] += pages;
}

void intro__numa_thread(struct intro__numa *build, const struct intro_thread *thread)
{
	struct intro_placement *process = intro__map_get(&build->processes, thread->pid);

	if (process) {
		intro_placement_add(process, thread->placement);
		return;
	}
	process = intro_placement_copy(thread->placement);
	if (!process || intro__map_set(&build->processes, thread->pid, process)) {
		free(process);
		build->error = -ENOMEM;
	}
}

static uint64_t cost(const struct intro_paid *paid)
{
	return paid->apart_ns + paid->cross_wait_ns;
}

void intro__numa_task(struct intro__numa *build, const struct intro_task *task,
		      const char *pool_name)
{
	struct intro_numa *numa = build->numa;
	struct intro_paid paid = {.id = task->id, .worker_tid = task->worker_tid};
	size_t at = numa->paid_n;

	if (!task->placement)
		return;
	paid.apart_ns = intro_placement_apart(task->placement);
	paid.cross_wait_ns = task->placement->move_wait_ns[INTRO_MOVE_CROSS];
	while (at && cost(&paid) > cost(&numa->paid[at - 1]))
		at--;
	if (!cost(&paid) || at == INTRO_PAID_MAX)
		return;
	paid.wall_ns = task->done_ns - task->submit_ns;
	snprintf(paid.name, sizeof(paid.name), "%s", task->name);
	snprintf(paid.pool_name, sizeof(paid.pool_name), "%s", pool_name);
	paid.placement = intro_placement_copy(task->placement);
	if (!paid.placement)
		build->error = -ENOMEM;
	if (numa->paid_n == INTRO_PAID_MAX)
		free(numa->paid[--numa->paid_n].placement);
	memmove(&numa->paid[at + 1], &numa->paid[at], (numa->paid_n - at) * sizeof(paid));
	numa->paid[at] = paid;
	numa->paid_n++;
}

/* Bytes or pages of a process by node: as it was at the end, else as it was handed out. */
static const uint64_t *memory_of(const struct intro_numa *numa, uint64_t pid,
				 const struct intro_placement *process)
{
	for (size_t i = 0; i < numa->residencies_n; i++)
		if ((uint64_t)numa->residencies[i]->pid == pid)
			return numa->residencies[i]->bytes;
	return process->by_node + process->nodes;
}

/* ns * part / whole, rounded down; the products of long recordings are longer than 64 bits. */
static uint64_t share(uint64_t ns, uint64_t part, double whole)
{
	uint64_t x = (uint64_t)((double)ns * ((double)part / whole));

	return x < ns ? x : ns;
}

/* Rows sum to what ran, to the nanosecond: what rounding leaves goes to the largest column. */
static void share_out(struct intro_numa *numa, const uint64_t *memory, uint32_t on, uint64_t ns)
{
	size_t n = numa->topology->nodes_n, most = 0;
	uint64_t left = ns;
	double whole = 0;

	for (size_t i = 0; i < n; i++) {
		whole += (double)memory[i];
		if (memory[i] > memory[most])
			most = i;
	}
	if (whole <= 0) {
		numa->unplaced_ns[on] += ns;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t part = i == most ? 0 : share(ns, memory[i], whole);

		part = part < left ? part : left;
		numa->cpu_ns[on * n + i] += part;
		left -= part;
	}
	numa->cpu_ns[on * n + most] += left;
}

int intro__numa_finish(struct intro__numa *build)
{
	struct intro__map *map = &build->processes;

	for (size_t i = 0; map->slots && i <= map->mask; i++) {
		struct intro_placement *process = map->slots[i].value;

		for (uint32_t on = 0; process && on < process->nodes; on++)
			share_out(build->numa, memory_of(build->numa, map->slots[i].key, process),
				  on, intro_placement_ran(process, on));
		free(process);
	}
	intro__map_free(map);
	return build->error;
}

void intro__numa_free(struct intro_numa *numa)
{
	if (!numa)
		return;
	for (size_t i = 0; i < numa->paid_n; i++)
		free(numa->paid[i].placement);
	for (size_t i = 0; i < numa->residencies_n; i++)
		intro_residency_free(numa->residencies[i]);
	free(numa->residencies);
	free(numa->pages);
	free(numa->cpu_ns);
	free(numa->unplaced_ns);
	free(numa);
}
