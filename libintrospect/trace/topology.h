/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TRACE_TOPOLOGY_H
#define TRACE_TOPOLOGY_H
/* topology.h - a topology while it is made, and as members of META. */
#include <introspect/topology.h>

#define INTRO__CPUS_MAX 65536

struct json_object;

/*
 * An empty one, to which CPUs and nodes are added, each in ascending order; a CPU's node is the
 * kernel's number until intro__topology_finish makes it a place.
 */
struct intro_topology *intro__topology_new(void);
/* Zeroed but for its number, valid until the next; NULL when it cannot be added. */
struct intro_topology_cpu *intro__topology_add_cpu(struct intro_topology *topology, uint64_t cpu);
struct intro_topology_node *intro__topology_add_node(struct intro_topology *topology,
						     uint64_t node);
/* A machine without nodes gets node 0 with all its CPUs. */
void intro__topology_finish(struct intro_topology *topology);
/* Adds "nodes", "topology" and "numa" to the META of a trace. */
void intro__topology_to_meta(const struct intro_topology *topology, struct json_object *meta);

#endif
