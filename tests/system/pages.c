// SPDX-License-Identifier: BSD-2-Clause
/*
 * pages NODE PAGES ROUNDS [wait]: in each round a task touches so many pages of a node for the
 * first time. Prints a line of JSON a round: its task's number, and what others counted of just
 * that: the kernel's numa_maps of the mapping, and how many anonymous pages each node gained
 * meanwhile. Then, with `wait`, stays until its standard input ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <introspect/mark.h>
#include <introspect/node.h>

#define NODES 8

static int64_t anonymous_pages(int node)
{
	char path[64], line[128];
	long long n = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/vmstat", node);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "nr_anon_pages %lld", &n) == 1)
			break;
	if (file)
		fclose(file);
	return n;
}

/* Counters that CPUs keep for themselves are added up first. */
static void all_anonymous_pages(int64_t pages[NODES])
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1", 1) < 0)
		perror("stat_refresh");
	if (fd >= 0)
		close(fd);
	for (int i = 0; i < NODES; i++)
		pages[i] = anonymous_pages(i);
}

/* "N1=5" of the line of numa_maps that begins with the address. */
static void numa_maps(const void *address, int64_t pages[NODES])
{
	FILE *file = fopen("/proc/self/numa_maps", "re");
	char line[4096], begin[32];

	snprintf(begin, sizeof(begin), "%" PRIxPTR " ", (uintptr_t)address);
	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, begin, strlen(begin)) != 0)
			continue;
		for (int i = 0; i < NODES; i++) {
			char word[8];
			const char *at;

			snprintf(word, sizeof(word), " N%d=", i);
			at = strstr(line, word);
			pages[i] = at ? atoll(at + strlen(word)) : 0;
		}
	}
	if (file)
		fclose(file);
}

static void print(const char *name, const int64_t pages[NODES], const char *end)
{
	printf("\"%s\":[", name);
	for (int i = 0; i < NODES; i++)
		printf("%s%" PRId64, i ? "," : "", pages[i]);
	printf("]%s", end);
}

/* false: no memory. The last round's memory stays. */
static bool round_of(uint32_t pool, uint32_t node, size_t pages, bool last)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = pages * page;
	int64_t before[NODES], after[NODES], maps[NODES] = {0};
	uint64_t task = intro_mark_task();
	char *memory = intro_node_alloc(size, node, true);

	if (!memory)
		return false;
	madvise(memory, size, MADV_NOHUGEPAGE);
	intro_mark_submit(task, pool, intro_mark_name("touch"));
	all_anonymous_pages(before);
	intro_mark_start(task, pool);
	for (size_t at = 0; at < size; at += page)
		memory[at] = 1;
	intro_mark_end(task, INTRO_STATUS_OK, INTRO_END_RESULT);
	all_anonymous_pages(after);
	numa_maps(memory, maps);
	for (int i = 0; i < NODES; i++)
		after[i] -= before[i];
	printf("{\"task\":%" PRIu64 ",\"address\":%" PRIuPTR ",", task, (uintptr_t)memory);
	print("numa_maps", maps, ",");
	print("vmstat", after, "}\n");
	fflush(stdout);
	/* the next round's would be the same mapping */
	if (!last)
		intro_node_free(memory, size);
	return true;
}

int main(int argc, char **argv)
{
	uint32_t pool;
	char byte;

	if (argc < 4)
		return 2;
	/* what is here already is in memory, so that a round adds its own pages alone */
	mlockall(MCL_CURRENT);
	pool = intro_mark_pool("pages", 1);
	intro_mark_worker_start(pool, 0);
	for (int i = 0; i < atoi(argv[3]); i++)
		if (!round_of(pool, (uint32_t)atoi(argv[1]), (size_t)atol(argv[2]),
			      i + 1 == atoi(argv[3])))
			return 1;
	while (argc > 4 && read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
