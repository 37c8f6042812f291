// SPDX-License-Identifier: BSD-2-Clause
/*
 * hints follow|stay MS: a thread on node 0 touches memory of node 1 again and again, for MS
 * milliseconds, so that NUMA balancing sees it. follow: the thread stays, and its memory may be
 * brought to it. stay: the memory is bound, and the thread may be moved. It is a worker with one
 * task. Prints a line of JSON, what the kernel counted meanwhile: the pages that it brought over
 * for this thread, and the hinting faults of the whole machine.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <introspect/mark.h>
#include <introspect/node.h>

#define PAGES 1024
/* include/uapi/linux/mempolicy.h */
#define MPOL_BIND 2
#define MPOL_F_NUMA_BALANCING (1 << 13)

static size_t page;
static bool stay;
static int milliseconds;

/* The number behind this word, at a line's begin. */
static int64_t number_of(const char *path, const char *word)
{
	FILE *file = fopen(path, "re");
	int64_t number = -1;
	char line[256];

	while (file && number < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, word, strlen(word)) && strchr(" :", line[strlen(word)]))
			number = atoll(line + strcspn(line, "0123456789"));
	if (file)
		fclose(file);
	return number;
}

static int64_t brought_over(void)
{
	return number_of("/proc/thread-self/sched", "numa_pages_migrated");
}

static int64_t faults(void)
{
	return number_of("/proc/vmstat", "numa_hint_faults");
}

static void touch(char *memory)
{
	for (size_t at = 0; at < PAGES; at++)
		memory[at * page]++;
}

/* Memory that a thread on node 1 was the first to touch; NULL: this machine has no such node. */
static char *memory_of_node_1(void)
{
	unsigned long mask = 2;
	char *memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	if (memory == MAP_FAILED || intro_node_bind(1))
		return NULL;
	if (stay && syscall(SYS_mbind, memory, PAGES * page, MPOL_BIND | MPOL_F_NUMA_BALANCING,
			    &mask, 64ul, 0ul))
		return NULL;
	touch(memory);
	return memory;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool run_anywhere(void)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	return !sched_setaffinity(0, sizeof(all), &all);
}

static void *work(void *arg)
{
	uint32_t pool = intro_mark_pool("hints", 1);
	uint64_t task = intro_mark_task(), until;
	int64_t brought = brought_over(), seen = faults();
	char *memory = memory_of_node_1();

	if (!memory || !run_anywhere() || intro_node_bind(0))
		return NULL;
	intro_mark_worker_start(pool, 0);
	intro_mark_submit(task, pool, intro_mark_name("touch"));
	intro_mark_start(task, pool);
	if (stay && !run_anywhere())
		return NULL;
	for (until = now_ms() + (uint64_t)milliseconds; now_ms() < until;)
		touch(memory);
	intro_mark_end(task, INTRO_STATUS_OK, INTRO_END_RESULT);
	printf("{\"brought\":%" PRId64 ",\"faults\":%" PRId64 "}\n", brought_over() - brought,
	       faults() - seen);
	return memory;
}

int main(int argc, char **argv)
{
	void *memory = NULL;
	pthread_t thread;

	if (argc != 3)
		return 2;
	/* a fault of a huge page is one fault, and many pages */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	page = (size_t)sysconf(_SC_PAGESIZE);
	stay = !strcmp(argv[1], "stay");
	milliseconds = atoi(argv[2]);
	if (pthread_create(&thread, NULL, work, NULL))
		return 1;
	pthread_join(thread, &memory);
	return memory ? 0 : 1;
}
