// SPDX-License-Identifier: BSD-2-Clause
/* render_numa_json.c - placement as JSON; nodes by the kernel's numbers. */
#include <errno.h>
#include <json-c/json.h>

#include "render_numa.h"

static void add_u64(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

/* null: not known. */
static struct json_object *node_number(const struct intro_topology *topology, int place)
{
	return place < 0 || !topology ? NULL : json_object_new_uint64(topology->nodes[place].node);
}

/* "core": 3 and so on, of the kinds of moves. */
static struct json_object *by_move(const uint64_t *values)
{
	struct json_object *object = json_object_new_object();

	for (int i = 0; i < INTRO_MOVES; i++)
		add_u64(object, intro_move_text((enum intro_move)i), values[i]);
	return object;
}

static void add_pages(struct json_object *object, const struct intro_placement *placement)
{
	add_u64(object, "local_pages", placement->local_pages);
	add_u64(object, "remote_pages", placement->remote_pages);
	add_u64(object, "unplaced_pages", placement->unplaced_pages);
	add_u64(object, "apart_ns", intro_placement_apart(placement));
	add_u64(object, "hinted_local_pages", placement->hinted_local);
	add_u64(object, "hinted_remote_pages", placement->hinted_remote);
	add_u64(object, "balanced_pages", placement->balanced_pages);
	add_u64(object, "moved_pages", placement->moved_pages);
}

struct json_object *json_placement(const struct intro_placement *placement)
{
	struct json_object *object = json_object_new_object(), *nodes = json_object_new_array(),
			   *decisions = json_object_new_object();

	json_object_object_add(object, "home_node",
			       node_number(placement->topology, intro_placement_home(placement)));
	json_object_object_add(object, "moves", by_move(placement->moves));
	json_object_object_add(object, "move_wait_ns", by_move(placement->move_wait_ns));
	for (uint32_t i = 0; i < placement->nodes; i++) {
		struct json_object *node = json_object_new_object();

		json_object_object_add(node, "node", node_number(placement->topology, (int)i));
		add_u64(node, "ran_ns", intro_placement_ran(placement, i));
		add_u64(node, "pages", intro_placement_pages(placement, i));
		json_object_array_add(nodes, node);
	}
	json_object_object_add(object, "nodes", nodes);
	add_u64(object, "elsewhere_ns", placement->elsewhere_ns);
	add_pages(object, placement);
	add_u64(decisions, "moved", placement->decisions[INTRO_DECISION_MOVED]);
	add_u64(decisions, "stuck", placement->decisions[INTRO_DECISION_STUCK]);
	add_u64(decisions, "swapped", placement->decisions[INTRO_DECISION_SWAPPED]);
	json_object_object_add(object, "decisions", decisions);
	return object;
}

static struct json_object *node_object(const struct intro_topology *topology, size_t place)
{
	const struct intro_topology_node *node = &topology->nodes[place];
	struct json_object *object = json_object_new_object(), *cpus = json_object_new_array(),
			   *distances = json_object_new_array();

	add_u64(object, "node", node->node);
	for (size_t i = 0; i < topology->cpus_n; i++)
		if (topology->cpus[i].node == (int)place)
			json_object_array_add(cpus, json_object_new_uint64(topology->cpus[i].cpu));
	json_object_object_add(object, "cpus", cpus);
	add_u64(object, "memory_bytes", node->memory_bytes);
	for (size_t i = 0; i < topology->nodes_n; i++)
		json_object_array_add(distances, json_object_new_uint64(node->distance[i]));
	json_object_object_add(object, "distances", distances);
	return object;
}

static struct json_object *row_object(const uint64_t *values, size_t n)
{
	struct json_object *row = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(row, json_object_new_uint64(values[i]));
	return row;
}

static struct json_object *matrix_object(const uint64_t *values, size_t n)
{
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(rows, row_object(values + i * n, n));
	return rows;
}

static struct json_object *paid_object(const struct intro_paid *paid)
{
	struct json_object *object = json_object_new_object();

	add_u64(object, "id", paid->id);
	json_object_object_add(object, "name", json_text(paid->name));
	json_object_object_add(object, "pool", json_text(paid->pool_name));
	add_u64(object, "worker_tid", paid->worker_tid);
	add_u64(object, "wall_ns", paid->wall_ns);
	add_u64(object, "apart_ns", paid->apart_ns);
	add_u64(object, "cross_wait_ns", paid->cross_wait_ns);
	json_object_object_add(object, "numa", json_placement(paid->placement));
	return object;
}

static struct json_object *residency_object(const struct intro_residency *residency)
{
	struct json_object *object = json_object_new_object(), *mappings = json_object_new_array();

	add_u64(object, "pid", (uint64_t)residency->pid);
	json_object_object_add(object, "bytes", row_object(residency->bytes, residency->nodes));
	for (size_t i = 0; i < residency->mappings_n; i++) {
		const struct intro_mapping *mapping = &residency->mappings[i];
		struct json_object *one = json_object_new_object();

		add_u64(one, "address", mapping->address);
		json_object_object_add(one, "name", json_text(mapping->name));
		json_object_object_add(one, "policy", json_text(mapping->policy));
		add_u64(one, "page_bytes", mapping->page_bytes);
		json_object_object_add(
			one, "pages",
			row_object(residency->pages + i * residency->nodes, residency->nodes));
		json_object_array_add(mappings, one);
	}
	json_object_object_add(object, "mappings", mappings);
	add_u64(object, "mappings_left_out", residency->left_out);
	return object;
}

static void add_machine(struct json_object *object, const struct intro_topology *topology)
{
	struct json_object *machine = json_object_new_array();

	for (size_t i = 0; i < topology->nodes_n; i++)
		json_object_array_add(machine, node_object(topology, i));
	json_object_object_add(object, "machine", machine);
}

struct json_object *json_numa(const struct intro_report *report)
{
	struct json_object *object = json_placement(report->placement),
			   *paid = json_object_new_array(), *residency = json_object_new_array();
	const struct intro_numa *numa = report->numa;
	size_t n = report->topology->nodes_n;

	add_machine(object, report->topology);
	json_object_object_add(object, "counted", json_object_new_boolean(numa->counted));
	if (*numa->not_counted)
		json_object_object_add(object, "not_counted", json_text(numa->not_counted));
	add_u64(object, "pages_lost", numa->pages_lost);
	json_object_object_add(object, "pages", matrix_object(numa->pages, n));
	json_object_object_add(object, "cpu_ns", matrix_object(numa->cpu_ns, n));
	json_object_object_add(object, "cpu_unplaced_ns", row_object(numa->unplaced_ns, n));
	for (size_t i = 0; i < numa->paid_n; i++)
		json_object_array_add(paid, paid_object(&numa->paid[i]));
	json_object_object_add(object, "paid", paid);
	for (size_t i = 0; i < numa->residencies_n; i++)
		json_object_array_add(residency, residency_object(numa->residencies[i]));
	json_object_object_add(object, "residency", residency);
	return object;
}

static struct json_object *pool_object(const struct intro_report_pool *pool)
{
	struct json_object *object = json_object_new_object();

	add_u64(object, "id", pool->pool.id);
	json_object_object_add(object, "name", json_text(pool->pool.name));
	json_object_object_add(object, "numa", json_placement(pool->placement));
	return object;
}

static struct json_object *worker_object(const struct intro_thread *thread)
{
	struct json_object *object = json_object_new_object();

	add_u64(object, "tid", thread->tid);
	add_u64(object, "pool_id", thread->pool);
	add_u64(object, "worker", thread->worker);
	json_object_object_add(object, "numa", json_placement(thread->placement));
	return object;
}

int render_json_numa(FILE *out, const struct intro_report *report)
{
	struct json_object *object = json_object_new_object(), *pools = json_object_new_array(),
			   *workers = json_object_new_array();

	json_object_object_add(object, "schema", json_object_new_string("introspect.numa/1"));
	json_object_object_add(object, "numa", json_numa(report));
	for (size_t i = 0; i < report->pools_n; i++)
		json_object_array_add(pools, pool_object(&report->pools[i]));
	json_object_object_add(object, "pools", pools);
	for (size_t i = 0; i < report->threads_n; i++)
		if (report->threads[i].pool)
			json_object_array_add(workers, worker_object(&report->threads[i]));
	json_object_object_add(object, "workers", workers);
	return json_print(out, object);
}

int render_json_residency(FILE *out, const struct intro_residency *residency,
			  const struct intro_topology *topology)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "schema", json_object_new_string("introspect.residency/1"));
	add_machine(object, topology);
	json_object_object_add(object, "residency", residency_object(residency));
	return json_print(out, object);
}
