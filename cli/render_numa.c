// SPDX-License-Identifier: BSD-2-Clause
/* render_numa.c - the machine's nodes, and how CPU time and memory spread over them. */
#include <json-c/json.h>

#include "render.h"

static struct json_object *node_object(const struct intro_topology *topology, size_t place)
{
	const struct intro_topology_node *node = &topology->nodes[place];
	struct json_object *object = json_object_new_object(), *cpus = json_object_new_array(),
			   *distances = json_object_new_array();

	json_object_object_add(object, "node", json_object_new_uint64(node->node));
	for (size_t i = 0; i < topology->cpus_n; i++)
		if (topology->cpus[i].node == (int)place)
			json_object_array_add(cpus, json_object_new_uint64(topology->cpus[i].cpu));
	json_object_object_add(object, "cpus", cpus);
	json_object_object_add(object, "memory_bytes", json_object_new_uint64(node->memory_bytes));
	for (size_t i = 0; i < topology->nodes_n; i++)
		json_object_array_add(distances, json_object_new_uint64(node->distance[i]));
	json_object_object_add(object, "distances", distances);
	return object;
}

struct json_object *json_numa(const struct intro_report *report)
{
	struct json_object *object = json_placement(report->placement),
			   *machine = json_object_new_array();

	for (size_t i = 0; i < report->topology->nodes_n; i++)
		json_object_array_add(machine, node_object(report->topology, i));
	json_object_object_add(object, "machine", machine);
	return object;
}
