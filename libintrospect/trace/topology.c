// SPDX-License-Identifier: BSD-2-Clause
/* topology.c - see introspect/topology.h; and its form in META. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "trace/topology.h"

/* The kernel's limit, and more than any distance. */
#define NODE_NUMBER_MAX 1024
#define DISTANCE_MAX 255

struct intro_topology *intro__topology_new(void)
{
	struct intro_topology *topology = calloc(1, sizeof(*topology));

	if (!topology)
		return NULL;
	topology->nodes = calloc(INTRO_NODES_MAX, sizeof(*topology->nodes));
	if (topology->nodes)
		return topology;
	free(topology);
	return NULL;
}

void intro_topology_free(struct intro_topology *topology)
{
	if (!topology)
		return;
	free(topology->cpus);
	free(topology->nodes);
	free(topology);
}

struct intro_topology_cpu *intro__topology_add_cpu(struct intro_topology *topology, uint64_t cpu)
{
	size_t n = topology->cpus_n;

	if (cpu >= INTRO__CPUS_MAX || (n && topology->cpus[n - 1].cpu >= cpu))
		return NULL;
	if (!(n & (n - 1))) {
		struct intro_topology_cpu *cpus =
			realloc(topology->cpus, (n ? 2 * n : 1) * sizeof(*cpus));

		if (!cpus)
			return NULL;
		topology->cpus = cpus;
	}
	topology->cpus[n] = (struct intro_topology_cpu){.cpu = (uint32_t)cpu};
	topology->cpus_n++;
	return &topology->cpus[n];
}

struct intro_topology_node *intro__topology_add_node(struct intro_topology *topology, uint64_t node)
{
	size_t n = topology->nodes_n;

	if (node >= NODE_NUMBER_MAX || n == INTRO_NODES_MAX ||
	    (n && topology->nodes[n - 1].node >= node))
		return NULL;
	topology->nodes[n] = (struct intro_topology_node){.node = (uint32_t)node};
	topology->nodes_n++;
	return &topology->nodes[n];
}

void intro__topology_finish(struct intro_topology *topology)
{
	bool none = !topology->nodes_n;

	if (none)
		intro__topology_add_node(topology, 0)->distance[0] = 10;
	for (size_t i = 0; i < topology->cpus_n; i++) {
		struct intro_topology_cpu *cpu = &topology->cpus[i];

		if (none || cpu->node < 0)
			cpu->node = none && cpu->online ? 0 : INTRO_NODE_NONE;
		else
			cpu->node = intro_topology_place(topology, (uint32_t)cpu->node);
		if (!cpu->online)
			cpu->node = INTRO_NODE_NONE;
		if (cpu->node >= 0)
			topology->nodes[cpu->node].cpus++;
	}
}

const struct intro_topology_cpu *intro_topology_cpu(const struct intro_topology *topology,
						    uint32_t cpu)
{
	size_t low = 0, high = topology->cpus_n;

	/* most often there are no holes */
	if (cpu < high && topology->cpus[cpu].cpu == cpu)
		return &topology->cpus[cpu];
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (topology->cpus[middle].cpu == cpu)
			return &topology->cpus[middle];
		if (topology->cpus[middle].cpu < cpu)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

int intro_topology_node_of_cpu(const struct intro_topology *topology, uint32_t number)
{
	const struct intro_topology_cpu *cpu = intro_topology_cpu(topology, number);

	return cpu ? cpu->node : INTRO_NODE_NONE;
}

int intro_topology_place(const struct intro_topology *topology, uint32_t node)
{
	for (size_t i = 0; i < topology->nodes_n; i++)
		if (topology->nodes[i].node == node)
			return (int)i;
	return INTRO_NODE_NONE;
}

const char *intro_move_text(enum intro_move move)
{
	static const char *const texts[INTRO_MOVES] = {
		[INTRO_MOVE_CORE] = "core",
		[INTRO_MOVE_NODE] = "node",
		[INTRO_MOVE_CROSS] = "cross",
		[INTRO_MOVE_UNKNOWN] = "unknown",
	};

	return (unsigned)move < INTRO_MOVES ? texts[move] : "?";
}

enum intro_move intro_topology_move(const struct intro_topology *topology, uint32_t from,
				    uint32_t to)
{
	const struct intro_topology_cpu *a = intro_topology_cpu(topology, from);
	const struct intro_topology_cpu *b = intro_topology_cpu(topology, to);

	if (!a || !b || a->node < 0 || b->node < 0)
		return INTRO_MOVE_UNKNOWN;
	if (a->node != b->node)
		return INTRO_MOVE_CROSS;
	return a->core == b->core && a->package == b->package ? INTRO_MOVE_CORE : INTRO_MOVE_NODE;
}

/* --- META --------------------------------------------------------------------------------------
 */

static void add_number(struct json_object *to, const char *key, int64_t value)
{
	json_object_object_add(to, key, json_object_new_int64(value));
}

static struct json_object *cpu_object(const struct intro_topology *topology,
				      const struct intro_topology_cpu *cpu)
{
	struct json_object *object = json_object_new_object();

	add_number(object, "cpu", cpu->cpu);
	add_number(object, "core", cpu->core);
	add_number(object, "package", cpu->package);
	add_number(object, "node", cpu->node < 0 ? -1 : (int64_t)topology->nodes[cpu->node].node);
	json_object_object_add(object, "online", json_object_new_boolean(cpu->online));
	return object;
}

static struct json_object *node_object(const struct intro_topology *topology,
				       const struct intro_topology_node *node)
{
	struct json_object *object = json_object_new_object();
	struct json_object *distances = json_object_new_array();

	add_number(object, "node", node->node);
	add_number(object, "cpus", node->cpus);
	json_object_object_add(object, "memory_bytes", json_object_new_uint64(node->memory_bytes));
	for (size_t i = 0; i < topology->nodes_n; i++)
		json_object_array_add(distances, json_object_new_int64(node->distance[i]));
	json_object_object_add(object, "distances", distances);
	return object;
}

void intro__topology_to_meta(const struct intro_topology *topology, struct json_object *meta)
{
	struct json_object *cpus = json_object_new_array(), *nodes = json_object_new_array();

	for (size_t i = 0; i < topology->cpus_n; i++)
		json_object_array_add(cpus, cpu_object(topology, &topology->cpus[i]));
	for (size_t i = 0; i < topology->nodes_n; i++)
		json_object_array_add(nodes, node_object(topology, &topology->nodes[i]));
	add_number(meta, "nodes", (int64_t)topology->nodes_n);
	json_object_object_add(meta, "topology", cpus);
	json_object_object_add(meta, "numa", nodes);
}

static struct json_object *member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}

/* Within 0..max, or otherwise. */
static int64_t number(struct json_object *value, int64_t max, int64_t otherwise)
{
	int64_t n = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;

	return n >= 0 && n <= max ? n : otherwise;
}

static size_t elements(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static void read_cpus(struct intro_topology *topology, struct json_object *array)
{
	for (size_t i = 0; i < elements(array) && i < INTRO__CPUS_MAX; i++) {
		struct json_object *object = json_object_array_get_idx(array, i);
		struct json_object *online = member(object, "online");
		int64_t at = number(member(object, "cpu"), INTRO__CPUS_MAX - 1, -1);
		struct intro_topology_cpu *cpu =
			at < 0 ? NULL : intro__topology_add_cpu(topology, (uint64_t)at);

		if (!cpu)
			continue;
		cpu->core = (uint32_t)number(member(object, "core"), INT32_MAX, at);
		cpu->package = (uint32_t)number(member(object, "package"), INT32_MAX, 0);
		cpu->node = (int32_t)number(member(object, "node"), NODE_NUMBER_MAX, -1);
		cpu->online = !json_object_is_type(online, json_type_boolean) ||
			      json_object_get_boolean(online);
	}
}

static void read_nodes(struct intro_topology *topology, struct json_object *array)
{
	for (size_t i = 0; i < elements(array) && i < INTRO_NODES_MAX; i++) {
		struct json_object *object = json_object_array_get_idx(array, i);
		struct json_object *distances = member(object, "distances");
		int64_t at = number(member(object, "node"), NODE_NUMBER_MAX, -1);
		struct intro_topology_node *node =
			at < 0 ? NULL : intro__topology_add_node(topology, (uint64_t)at);

		if (!node)
			continue;
		node->memory_bytes = (uint64_t)number(member(object, "memory_bytes"), INT64_MAX, 0);
		for (size_t k = 0; k < elements(distances) && k < INTRO_NODES_MAX; k++)
			node->distance[k] = (uint32_t)number(
				json_object_array_get_idx(distances, k), DISTANCE_MAX, 0);
	}
}

struct intro_topology *intro_topology_of_meta(const char *json)
{
	struct intro_topology *topology = intro__topology_new();
	struct json_object *root;

	if (!topology) {
		errno = ENOMEM;
		return NULL;
	}
	root = json_tokener_parse(json);
	read_cpus(topology, member(root, "topology"));
	read_nodes(topology, member(root, "numa"));
	json_object_put(root);
	intro__topology_finish(topology);
	return topology;
}
