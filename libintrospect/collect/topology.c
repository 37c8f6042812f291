// SPDX-License-Identifier: BSD-2-Clause
/* topology.c - this machine's topology, from sysfs. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collect/machine.h"
#include "trace/topology.h"

/* Lists of CPUs are as long as a machine is large; a longer line is cut. */
#define LINE 65536
#define PATH 512

/* "0-3,8": the next range in the text, and *text behind it; false at its end or where it errs. */
static bool next_range(const char **text, uint64_t *first, uint64_t *last)
{
	char *end;

	while (**text == ',')
		++*text;
	if (**text < '0' || **text > '9')
		return false;
	*first = *last = strtoull(*text, &end, 10);
	if (*end == '-') {
		if (end[1] < '0' || end[1] > '9')
			return false;
		*last = strtoull(end + 1, &end, 10);
	}
	*text = end;
	return *first <= *last && *last < INTRO__CPUS_MAX;
}

static bool list_has(const char *list, uint64_t n)
{
	uint64_t first, last;

	while (next_range(&list, &first, &last))
		if (n >= first && n <= last)
			return true;
	return false;
}

__attribute__((format(printf, 3, 4))) static bool read_at(const char *sys, char *line,
							  const char *format, ...)
{
	char path[PATH];
	va_list args;
	int used = snprintf(path, sizeof(path), "%.300s/devices/system/", sys);

	va_start(args, format);
	vsnprintf(path + used, sizeof(path) - (size_t)used, format, args);
	va_end(args);
	*line = 0;
	return intro__read_line(path, line, LINE);
}

static void add_cpu(struct intro_topology *topology, const char *sys, uint64_t n, bool online,
		    char *line)
{
	struct intro_topology_cpu *cpu = intro__topology_add_cpu(topology, n);

	if (!cpu)
		return;
	cpu->online = online;
	cpu->core = (uint32_t)n;
	cpu->node = INTRO_NODE_NONE;
	if (read_at(sys, line, "cpu/cpu%" PRIu64 "/topology/core_id", n) && *line >= '0')
		cpu->core = (uint32_t)strtoul(line, NULL, 10);
	if (read_at(sys, line, "cpu/cpu%" PRIu64 "/topology/physical_package_id", n) &&
	    *line >= '0')
		cpu->package = (uint32_t)strtoul(line, NULL, 10);
}

static void read_cpus(struct intro_topology *topology, const char *sys, char *online, char *line)
{
	char *present = malloc(LINE);
	const char *at = present;
	uint64_t first, last;

	if (!present)
		return;
	read_at(sys, online, "cpu/online");
	if (!read_at(sys, present, "cpu/present"))
		memcpy(present, online, LINE);
	while (next_range(&at, &first, &last))
		for (uint64_t n = first; n <= last; n++)
			add_cpu(topology, sys, n, list_has(online, n), line);
	free(present);
}

/* "Node 1 MemTotal:       2064136 kB" */
static uint64_t node_memory(const char *sys, uint64_t n)
{
	char path[PATH], line[256];
	uint64_t kb = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%.300s/devices/system/node/node%" PRIu64 "/meminfo", sys, n);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		const char *at = strstr(line, "MemTotal:");

		if (at && sscanf(at, "MemTotal: %" SCNu64 " kB", &kb) == 1)
			break;
	}
	if (file)
		fclose(file);
	return kb < UINT64_MAX / 1024 ? kb * 1024 : 0;
}

static void add_node(struct intro_topology *topology, const char *sys, uint64_t n, char *line)
{
	struct intro_topology_node *node = intro__topology_add_node(topology, n);
	char *at = line;

	if (!node)
		return;
	node->memory_bytes = node_memory(sys, n);
	if (read_at(sys, line, "node/node%" PRIu64 "/distance", n))
		for (size_t i = 0; i < INTRO_NODES_MAX; i++) {
			char *end;
			unsigned long distance = strtoul(at, &end, 10);

			if (end == at)
				break;
			node->distance[i] = distance <= 255 ? (uint32_t)distance : 0;
			at = end;
		}
	if (!read_at(sys, line, "node/node%" PRIu64 "/cpulist", n))
		return;
	for (size_t i = 0; i < topology->cpus_n; i++)
		if (list_has(line, topology->cpus[i].cpu))
			topology->cpus[i].node = (int32_t)n;
}

static void read_nodes(struct intro_topology *topology, const char *sys, char *online, char *line)
{
	const char *at = online;
	uint64_t first, last;

	read_at(sys, online, "node/online");
	while (next_range(&at, &first, &last))
		for (uint64_t n = first; n <= last; n++)
			add_node(topology, sys, n, line);
}

struct intro_topology *intro_topology_of_machine(const char *sys)
{
	struct intro_topology *topology = intro__topology_new();
	char *lines = malloc(2 * (size_t)LINE);
	bool nodes;

	if (!topology || !lines) {
		intro_topology_free(topology);
		free(lines);
		errno = ENOMEM;
		return NULL;
	}
	read_cpus(topology, sys, lines, lines + LINE);
	read_nodes(topology, sys, lines, lines + LINE);
	free(lines);
	nodes = topology->nodes_n > 0;
	intro__topology_finish(topology);
	if (!nodes)
		topology->nodes[0].memory_bytes =
			(uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	return topology;
}
