// SPDX-License-Identifier: BSD-2-Clause
/* render_numa.c - the machine's nodes, and how CPU time and memory lie to each other. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "render.h"
#include "render_numa.h"

/* Columns by node; further nodes are in the JSON. */
#define NODES_SHOWN 8
#define COLUMNS_MAX 16

static void heading(const struct render *render, const char *title, const char *text)
{
	fprintf(render->out, "\n%s%s%s%s%s\n", render_colour(render, COLOUR_BOLD), title,
		render_colour(render, COLOUR_NONE), *text ? "   " : "", text);
}

/* "node 3", by place. */
struct name {
	char s[16];
};

static struct name node_name(const struct intro_topology *topology, int place)
{
	struct name name;

	if (place < 0)
		snprintf(name.s, sizeof(name.s), "-");
	else
		snprintf(name.s, sizeof(name.s), "node %u", topology->nodes[place].node);
	return name;
}

/* "0-3,8", cut where it gets long. */
static void cpu_list(const struct intro_topology *topology, int place, char *out, size_t size)
{
	size_t used = 0;

	*out = 0;
	for (size_t i = 0; i < topology->cpus_n && used + 24 < size; i++) {
		size_t last = i;

		if (topology->cpus[i].node != place)
			continue;
		while (last + 1 < topology->cpus_n && topology->cpus[last + 1].node == place &&
		       topology->cpus[last + 1].cpu == topology->cpus[last].cpu + 1)
			last++;
		used += (size_t)snprintf(out + used, size - used, "%s%u", used ? "," : "",
					 topology->cpus[i].cpu);
		if (last > i)
			used += (size_t)snprintf(out + used, size - used, "-%u",
						 topology->cpus[last].cpu);
		i = last;
	}
	if (!*out)
		snprintf(out, size, "none");
}

/* A table with a column a node between those given. */
struct grid {
	struct table_column columns[COLUMNS_MAX];
	struct name names[NODES_SHOWN];
	uint32_t nodes; /* shown */
	size_t n;
	struct table *table;
};

static void grid_begin(struct grid *grid, const struct intro_topology *topology,
		       const struct table_column *before, size_t before_n,
		       const struct table_column *after, size_t after_n)
{
	grid->nodes = topology->nodes_n < NODES_SHOWN ? (uint32_t)topology->nodes_n : NODES_SHOWN;
	grid->n = 0;
	for (size_t i = 0; i < before_n; i++)
		grid->columns[grid->n++] = before[i];
	for (uint32_t i = 0; i < grid->nodes; i++) {
		grid->names[i] = node_name(topology, (int)i);
		grid->columns[grid->n++] =
			(struct table_column){.title = grid->names[i].s, .right = true};
	}
	for (size_t i = 0; i < after_n; i++)
		grid->columns[grid->n++] = after[i];
	grid->table = table_new(grid->columns, grid->n);
}

/* Cells, each a copy; then grid_row. */
struct cells {
	char text[COLUMNS_MAX][160];
	size_t n;
};

static void cell(struct cells *cells, const char *text)
{
	snprintf(cells->text[cells->n++], sizeof(cells->text[0]), "%s", text);
}

static void cell_escaped(struct cells *cells, const char *text)
{
	text_escape(cells->text[cells->n++], sizeof(cells->text[0]), text, strlen(text),
		    text_utf8());
}

static void grid_row(struct grid *grid, const struct cells *cells)
{
	const char *row[COLUMNS_MAX];

	for (size_t i = 0; i < cells->n; i++)
		row[i] = cells->text[i];
	if (grid->table && cells->n == grid->n)
		table_add(grid->table, 0, row);
}

static void grid_end(const struct render *render, struct grid *grid,
		     const struct intro_topology *topology)
{
	if (grid->table)
		table_print(grid->table, render, 2);
	table_free(grid->table);
	if (topology->nodes_n > grid->nodes)
		fprintf(render->out, "  and %s: --json has all\n",
			text_plural(topology->nodes_n - grid->nodes, "node").s);
}

static struct text or_dot(uint64_t n, struct text text, bool utf8)
{
	return n ? text : text_ns_or_dot(0, utf8);
}

static void print_nodes(const struct render *render, const struct intro_topology *topology)
{
	static const struct table_column before[] = {{.title = "NODE"},
						     {.title = "CPUS", .flex = 12},
						     {.title = "MEMORY", .right = true}};
	struct grid grid;

	heading(render, "NODES", "distance to:");
	grid_begin(&grid, topology, before, 3, NULL, 0);
	for (size_t i = 0; i < topology->nodes_n; i++) {
		const struct intro_topology_node *node = &topology->nodes[i];
		struct cells cells = {.n = 0};
		char cpus[120];

		cpu_list(topology, (int)i, cpus, sizeof(cpus));
		cell(&cells, node_name(topology, (int)i).s);
		cell(&cells, cpus);
		cell(&cells, node->memory_bytes ? text_bytes(node->memory_bytes).s : "none");
		for (uint32_t k = 0; k < grid.nodes; k++)
			cell(&cells, text_count(node->distance[k]).s);
		grid_row(&grid, &cells);
	}
	grid_end(render, &grid, topology);
}

/* A matrix: rows are the CPUs' nodes. `more`: a last column, or NULL. */
static void print_matrix(const struct render *render, const struct intro_topology *topology,
			 const uint64_t *matrix, const uint64_t *more, const char *more_title,
			 struct text (*say)(uint64_t))
{
	static const struct table_column before[] = {{.title = "ON CPUS OF"}};
	const struct table_column after[] = {{.title = more_title, .right = true}};
	size_t n = topology->nodes_n;
	struct grid grid;

	grid_begin(&grid, topology, before, 1, after, more ? 1 : 0);
	for (size_t i = 0; i < n; i++) {
		struct cells cells = {.n = 0};

		if (!topology->nodes[i].cpus)
			continue; /* nothing runs there */
		cell(&cells, node_name(topology, (int)i).s);
		for (uint32_t k = 0; k < grid.nodes; k++)
			cell(&cells,
			     or_dot(matrix[i * n + k], say(matrix[i * n + k]), render->utf8).s);
		if (more)
			cell(&cells, or_dot(more[i], say(more[i]), render->utf8).s);
		grid_row(&grid, &cells);
	}
	grid_end(render, &grid, topology);
}

static void print_moves(const struct render *render, const struct intro_placement *placement)
{
	static const char *const kinds[INTRO_MOVES] = {
		"to the core's other thread", "to another core of the node", "to another node",
		"from or to an unknown CPU"};
	static const struct table_column columns[] = {{.title = "MOVES"},
						      {.title = "TIMES", .right = true},
						      {.title = "WAITED", .right = true},
						      {.title = "EACH", .right = true}};
	struct table *table = table_new(columns, 4);

	putc('\n', render->out);
	for (int i = 0; table && i < INTRO_MOVES; i++) {
		uint64_t times = placement->moves[i], waited = placement->move_wait_ns[i];

		if (i == INTRO_MOVE_UNKNOWN && !times)
			continue;
		table_add(table, 0,
			  (const char *const[]){kinds[i], text_count(times).s,
						text_ns_or_dot(waited, render->utf8).s,
						times ? text_ns(waited / times).s : "-"});
	}
	if (table)
		table_print(table, render, 2);
	table_free(table);
}

static uint64_t placed(const struct intro_placement *placement)
{
	return placement->local_pages + placement->remote_pages;
}

static void place_cells(struct cells *cells, const struct intro_placement *placement,
			uint32_t nodes, bool utf8)
{
	cell(cells, node_name(placement->topology, intro_placement_home(placement)).s);
	cell(cells, text_percent(placement->local_pages, placed(placement)).s);
	cell(cells, text_percent(placement->remote_pages, placed(placement)).s);
	for (uint32_t i = 0; i < nodes; i++) {
		uint64_t pages = intro_placement_pages(placement, i);

		cell(cells, or_dot(pages, text_short(pages), utf8).s);
	}
	cell(cells, text_ns_or_dot(intro_placement_apart(placement), utf8).s);
	cell(cells, text_count(placement->moves[INTRO_MOVE_CROSS]).s);
}

static const struct table_column place_after[] = {{.title = "APART", .right = true},
						  {.title = "CROSSED", .right = true, .drop = 1}};

static void print_pools(const struct render *render, const struct intro_report *report, bool all)
{
	static const struct table_column before[] = {{.title = "POOL", .flex = 8},
						     {.title = "HOME"},
						     {.title = "LOCAL", .right = true},
						     {.title = "REMOTE", .right = true}};
	size_t shown = all || report->pools_n < 10 ? report->pools_n : 10;
	struct grid grid;

	if (!report->pools_n)
		return;
	heading(render, "POOLS", "where their tasks' pages came from");
	grid_begin(&grid, report->topology, before, 4, place_after, 2);
	for (size_t i = 0; i < shown; i++) {
		struct cells cells = {.n = 0};

		cell_escaped(&cells, report->pools[i].pool.name);
		place_cells(&cells, report->pools[i].placement, grid.nodes, render->utf8);
		grid_row(&grid, &cells);
	}
	grid_end(render, &grid, report->topology);
	if (shown < report->pools_n)
		fprintf(render->out, "  and %s: --all\n",
			text_plural(report->pools_n - shown, "pool").s);
}

static void print_workers(const struct render *render, const struct intro_report *report, bool all)
{
	static const struct table_column before[] = {{.title = "WORKER", .flex = 8},
						     {.title = "TID", .right = true},
						     {.title = "HOME"},
						     {.title = "LOCAL", .right = true},
						     {.title = "REMOTE", .right = true}};
	size_t shown = 0, left = 0;
	struct grid grid;

	if (!report->pools_n)
		return;
	heading(render, "WORKERS", "all that they asked for");
	grid_begin(&grid, report->topology, before, 5, place_after, 2);
	for (size_t i = 0; i < report->threads_n; i++) {
		const struct intro_thread *thread = &report->threads[i];
		struct cells cells = {.n = 0};
		char text[48];

		if (!thread->pool)
			continue;
		if (!all && shown == 16) {
			left++;
			continue;
		}
		shown++;
		snprintf(text, sizeof(text), "%.16s/%" PRIu32, thread->name, thread->worker);
		cell_escaped(&cells, text);
		snprintf(text, sizeof(text), "%" PRIu32, thread->tid);
		cell(&cells, text);
		place_cells(&cells, thread->placement, grid.nodes, render->utf8);
		grid_row(&grid, &cells);
	}
	grid_end(render, &grid, report->topology);
	if (left)
		fprintf(render->out, "  and %s: --all\n", text_plural(left, "worker").s);
}

static void print_paid(const struct render *render, const struct intro_numa *numa)
{
	static const struct table_column columns[] = {
		{.title = "ID", .right = true},
		{.title = "NAME", .flex = 8},
		{.title = "POOL", .flex = 8},
		{.title = "WALL", .right = true},
		{.title = "APART", .right = true},
		{.title = "MOVED", .right = true},
		{.title = "HOME"},
		{.title = "LOCAL", .right = true},
		{.title = "WORKER", .right = true},
	};
	struct grid grid = {.n = sizeof(columns) / sizeof(columns[0])};

	if (!numa->paid_n)
		return;
	heading(render, "TASKS THAT PAID MOST",
		"ran apart from their memory, or waited after a move to another node");
	grid.table = table_new(columns, grid.n);
	for (size_t i = 0; i < numa->paid_n; i++) {
		const struct intro_paid *paid = &numa->paid[i];
		struct cells cells = {.n = 0};
		char number[24];

		snprintf(number, sizeof(number), "%" PRIu64, paid->id);
		cell(&cells, number);
		cell_escaped(&cells, paid->name);
		cell_escaped(&cells, paid->pool_name);
		cell(&cells, text_ns(paid->wall_ns).s);
		cell(&cells, text_ns_or_dot(paid->apart_ns, render->utf8).s);
		cell(&cells, text_ns_or_dot(paid->cross_wait_ns, render->utf8).s);
		cell(&cells, node_name(numa->topology, intro_placement_home(paid->placement)).s);
		cell(&cells, text_percent(paid->placement->local_pages, placed(paid->placement)).s);
		snprintf(number, sizeof(number), "%" PRIu32, paid->worker_tid);
		cell(&cells, number);
		grid_row(&grid, &cells);
	}
	if (grid.table)
		table_print(grid.table, render, 2);
	table_free(grid.table);
}

static void print_balancing(const struct render *render, const struct intro_placement *all)
{
	if (all->hinted_local + all->hinted_remote)
		fprintf(render->out,
			"  balancing watched %s pages being touched: %s local; it brought %s "
			"over\n",
			text_count(all->hinted_local + all->hinted_remote).s,
			text_percent(all->hinted_local, all->hinted_local + all->hinted_remote).s,
			text_count(all->balanced_pages).s);
	if (all->decisions[0] + all->decisions[1] + all->decisions[2])
		fprintf(render->out,
			"  balancing moved threads %s times, swapped %s, could not %s\n",
			text_count(all->decisions[INTRO_DECISION_MOVED]).s,
			text_count(all->decisions[INTRO_DECISION_SWAPPED]).s,
			text_count(all->decisions[INTRO_DECISION_STUCK]).s);
	if (all->moved_pages)
		fprintf(render->out, "  moved as the program asked: %s\n",
			text_plural(all->moved_pages, "page").s);
}

static void print_pages(const struct render *render, const struct intro_report *report)
{
	const struct intro_numa *numa = report->numa;
	const struct intro_placement *all = report->placement;

	if (!numa->counted) {
		fprintf(render->out, "\nPages were not counted%s%s: record with --numa\n",
			*numa->not_counted ? ": " : "", numa->not_counted);
		return;
	}
	heading(render, "PAGES HANDED OUT", "from:");
	print_matrix(render, report->topology, numa->pages, NULL, "", text_count);
	if (all->unplaced_pages)
		fprintf(render->out, "  and %s of no known node\n",
			text_plural(all->unplaced_pages, "page").s);
	if (numa->pages_lost)
		fprintf(render->out, "  %s%s lost%s: the rings were full\n",
			render_colour(render, COLOUR_BAD), text_plural(numa->pages_lost, "page").s,
			render_colour(render, COLOUR_NONE));
	print_balancing(render, all);
}

void render_numa(const struct render *render, const struct intro_report *report, bool all)
{
	render_trace(render, &report->trace);
	print_nodes(render, report->topology);
	if (report->topology->nodes_n == 1)
		fputs("  one node: all memory is equally near\n", render->out);
	heading(render, "CPU TIME", "by where the memory of the process is:");
	print_matrix(render, report->topology, report->numa->cpu_ns, report->numa->unplaced_ns,
		     "not known", text_ns);
	print_pages(render, report);
	print_moves(render, report->placement);
	print_pools(render, report, all);
	print_workers(render, report, all);
	print_paid(render, report->numa);
	for (size_t i = 0; i < report->numa->residencies_n; i++)
		render_residency(render, report->numa->residencies[i], report->topology,
				 all ? SIZE_MAX : 8);
}

void render_residency(const struct render *render, const struct intro_residency *residency,
		      const struct intro_topology *topology, size_t top)
{
	static const struct table_column before[] = {{.title = "ADDRESS", .drop = 1},
						     {.title = "MAPPING", .flex = 12},
						     {.title = "POLICY", .flex = 8, .drop = 2},
						     {.title = "SIZE", .right = true}};
	struct cells sums = {.n = 0};
	char comm[80], title[96];
	uint64_t total = 0;
	struct grid grid;

	text_escape(comm, sizeof(comm), residency->comm, strlen(residency->comm), render->utf8);
	snprintf(title, sizeof(title), "process %d %s", residency->pid, comm);
	heading(render, "RESIDENT", title);
	grid_begin(&grid, topology, before, 4, NULL, 0);
	for (size_t i = 0; i < residency->mappings_n && i < top; i++) {
		const struct intro_mapping *mapping = &residency->mappings[i];
		struct cells cells = {.n = 0};
		char address[24];

		snprintf(address, sizeof(address), "%" PRIx64, mapping->address);
		cell(&cells, address);
		cell_escaped(&cells, mapping->name);
		cell_escaped(&cells, mapping->policy);
		cell(&cells, text_bytes(intro_residency_bytes(residency, i)).s);
		for (uint32_t k = 0; k < grid.nodes; k++) {
			uint64_t bytes =
				intro_residency_pages(residency, i, k) * mapping->page_bytes;

			cell(&cells, or_dot(bytes, text_bytes(bytes), render->utf8).s);
		}
		grid_row(&grid, &cells);
	}
	for (uint32_t k = 0; k < residency->nodes; k++)
		total += residency->bytes[k];
	cell(&sums, "");
	cell(&sums, "all mappings");
	cell(&sums, "");
	cell(&sums, text_bytes(total).s);
	for (uint32_t k = 0; k < grid.nodes; k++)
		cell(&sums, text_bytes(residency->bytes[k]).s);
	grid_row(&grid, &sums);
	grid_end(render, &grid, topology);
}
