// SPDX-License-Identifier: BSD-2-Clause
/*
 * node.c - nodes from sysfs, memory by the system calls themselves: a program that links the
 * runtime needs no other library.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <introspect/node.h>

#define LONG_BITS (8 * sizeof(unsigned long))

struct node_set {
	unsigned long bits[INTRO_NODE_LIMIT / LONG_BITS];
};

static void node_add(struct node_set *set, size_t node)
{
	set->bits[node / LONG_BITS] |= 1ul << node % LONG_BITS;
}

static bool node_in(const struct node_set *set, size_t node)
{
	return set->bits[node / LONG_BITS] >> node % LONG_BITS & 1;
}

/* The first line of a file of sysfs; false when there is none. */
static bool read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool got = file && fgets(line, (int)size, file);

	if (file)
		fclose(file);
	return got;
}

/* "0-3,8" */
static void parse_list(const char *list, size_t limit, void (*add)(void *set, size_t n), void *set)
{
	while (*list >= '0' && *list <= '9') {
		char *end;
		size_t first = strtoul(list, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (size_t n = first; n <= last && n < limit; n++)
			add(set, n);
		list = *end == ',' ? end + 1 : end;
	}
}

static void add_node(void *set, size_t n)
{
	node_add(set, n);
}

static void add_cpu(void *set, size_t n)
{
	CPU_SET(n, (cpu_set_t *)set);
}

static bool read_nodes(const char *file, struct node_set *set)
{
	char path[96], line[4096];

	memset(set, 0, sizeof(*set));
	snprintf(path, sizeof(path), "/sys/devices/system/node/%s", file);
	if (!read_line(path, line, sizeof(line)))
		return false;
	parse_list(line, INTRO_NODE_LIMIT, add_node, set);
	return true;
}

static void node_cpus(size_t node, const cpu_set_t *allowed, cpu_set_t *cpus)
{
	char path[96], line[8192];

	CPU_ZERO(cpus);
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%zu/cpulist", node);
	if (read_line(path, line, sizeof(line)))
		parse_list(line, CPU_SETSIZE, add_cpu, cpus);
	CPU_AND(cpus, cpus, allowed);
}

/* The nodes whose memory cpusets let us have. */
static void allowed_memory(struct node_set *set)
{
	if (syscall(SYS_get_mempolicy, NULL, set->bits, (unsigned long)INTRO_NODE_LIMIT, NULL,
		    MPOL_F_MEMS_ALLOWED))
		memset(set, 0xff, sizeof(*set));
}

int intro_node_list(struct intro_node *nodes, size_t n)
{
	struct node_set online, memory, allowed = {{0}};
	struct intro_node one = {.memory = true};
	cpu_set_t mine;
	int count = 0;

	if (sched_getaffinity(0, sizeof(mine), &mine))
		return -errno;
	if (!read_nodes("online", &online)) {
		one.cpus = mine;
		if (n)
			nodes[0] = one;
		return 1;
	}
	if (!read_nodes("has_memory", &memory))
		memory = online;
	allowed_memory(&allowed);
	for (size_t i = 0; i < INTRO_NODE_LIMIT; i++) {
		if (!node_in(&online, i))
			continue;
		one.node = (uint32_t)i;
		one.memory = node_in(&memory, i) && node_in(&allowed, i);
		node_cpus(i, &mine, &one.cpus);
		if (!one.memory && !CPU_COUNT(&one.cpus))
			continue;
		if ((size_t)count < n)
			nodes[count] = one;
		count++;
	}
	return count;
}

int intro_node_here(void)
{
	unsigned cpu, node = 0;

	return getcpu(&cpu, &node) ? 0 : (int)node;
}

unsigned intro_node_distance(uint32_t from, uint32_t to)
{
	struct node_set online;
	char path[96], line[8192], *at = line;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/distance", from);
	if (!read_nodes("online", &online) || !read_line(path, line, sizeof(line)))
		return from == to ? 10 : 0;
	/* one figure for each node that is online */
	for (size_t node = 0; node < INTRO_NODE_LIMIT; node++) {
		unsigned long distance;

		if (!node_in(&online, node))
			continue;
		distance = strtoul(at, &at, 10);
		if (node == to)
			return (unsigned)distance;
	}
	return 0;
}

int intro_node_bind(uint32_t node)
{
	struct node_set online;
	cpu_set_t mine, cpus;

	if (sched_getaffinity(0, sizeof(mine), &mine))
		return -errno;
	if (!read_nodes("online", &online))
		return node ? -EINVAL : 0;
	if (node >= INTRO_NODE_LIMIT || !node_in(&online, node))
		return -EINVAL;
	node_cpus(node, &mine, &cpus);
	if (!CPU_COUNT(&cpus))
		return -EINVAL;
	return sched_setaffinity(0, sizeof(cpus), &cpus) ? -errno : 0;
}

/* --- memory ------------------------------------------------------------------------------------
 */

static void *allocate(size_t size, int mode, const struct node_set *set)
{
	void *memory;
	int error;

	if (!size) {
		errno = EINVAL;
		return NULL;
	}
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	/* the kernel's count is one less than what it reads */
	if (!syscall(SYS_mbind, memory, size, mode, set->bits, INTRO_NODE_LIMIT + 1ul, 0) ||
	    errno == ENOSYS)
		return memory;
	error = errno;
	munmap(memory, size);
	errno = error;
	return NULL;
}

void *intro_node_alloc(size_t size, uint32_t node, bool strict)
{
	struct node_set set = {{0}}, memory, allowed = {{0}};
	bool known = read_nodes("has_memory", &memory);

	allowed_memory(&allowed);
	if (node >= INTRO_NODE_LIMIT || (!known && node) ||
	    (known && (!node_in(&memory, node) || !node_in(&allowed, node)))) {
		errno = EINVAL;
		return NULL;
	}
	node_add(&set, node);
	return allocate(size, strict ? MPOL_BIND : MPOL_PREFERRED, &set);
}

void *intro_node_alloc_interleaved(size_t size)
{
	struct node_set memory, allowed = {{0}};

	allowed_memory(&allowed);
	if (!read_nodes("has_memory", &memory)) {
		memset(&memory, 0, sizeof(memory));
		node_add(&memory, 0);
	}
	for (size_t i = 0; i < sizeof(memory.bits) / sizeof(memory.bits[0]); i++)
		memory.bits[i] &= allowed.bits[i];
	return allocate(size, MPOL_INTERLEAVE, &memory);
}

void intro_node_free(void *memory, size_t size)
{
	if (memory)
		munmap(memory, size);
}

int intro_node_of(const void *address)
{
	uintptr_t page = (uintptr_t)address & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
	void *pages[1] = {(void *)page};
	int status = -ENOENT;

	if (syscall(SYS_move_pages, 0, 1ul, pages, NULL, &status, 0))
		return -errno;
	return status;
}
