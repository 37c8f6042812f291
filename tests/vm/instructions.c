// SPDX-License-Identifier: BSD-2-Clause
/*
 * instructions: what recording an event costs with each source, in a machine whose clock counts
 * instructions (QEMU -icount: one instruction, one tick). The same program runs without a source,
 * and with each in turn; least of some rounds. Needs root, the module loaded, and one CPU.
 */
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collect/source.h"

#define ROUNDS 4
#define TURNS 2000
#define FORKS 100
#define PAGES 4000
#define RING (2u << 20)
/* The kernel ends in the background what attaching began; waiting costs no instruction. */
#define SETTLE_S 2

static uint64_t ticks(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Two processes give way to each other: switches alone, of threads that can run. */
static void yields(void)
{
	struct sched_param first = {.sched_priority = 1}, none = {};
	pid_t other;

	/* so that each yield is a switch */
	sched_setscheduler(0, SCHED_FIFO, &first);
	other = fork();
	for (int i = 0; i < TURNS; i++)
		sched_yield();
	if (other == 0)
		_exit(0);
	waitpid(other, NULL, 0);
	sched_setscheduler(0, SCHED_OTHER, &none);
}

/* Two processes wake each other: a wake-up for each switch, and a sleep with its reason. */
static void pipes(void)
{
	int there[2], back[2];
	char byte = 0;
	pid_t other;

	if (pipe(there) || pipe(back))
		exit(1);
	other = fork();
	for (int i = 0; i < TURNS; i++) {
		if (other && (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1))
			exit(1);
		if (!other && (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1))
			_exit(1);
	}
	if (other == 0)
		_exit(0);
	waitpid(other, NULL, 0);
	close(there[0]);
	close(there[1]);
	close(back[0]);
	close(back[1]);
}

/* Processes are born and die. */
static void forks(void)
{
	for (int i = 0; i < FORKS; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

/* Pages are touched for the first time. */
static void touches(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = PAGES * page;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || madvise(memory, size, MADV_NOHUGEPAGE))
		exit(1);
	for (size_t at = 0; at < size; at += page)
		memory[at] = 1;
	munmap(memory, size);
}

static int count(void *ctx, uint32_t stream, const void *records, size_t bytes)
{
	return 0;
}

static void fail(const struct intro__reason *why)
{
	printf("Bail out! %s\n", why->text);
	exit(1);
}

/* Ticks of one round; *events: how many records it left. source may be NULL. */
static uint64_t measure(struct intro__source *source, void (*work)(void), uint64_t *events)
{
	const struct intro__sink sink = {count, NULL};
	struct intro__cpu_stats before = {}, after = {};
	struct intro__reason why;
	unsigned int fill;
	uint64_t took;

	if (source && source->ops->start(source, &why))
		fail(&why);
	work(); /* what is done the first time only is not counted */
	sleep(SETTLE_S);
	if (source) {
		source->ops->drain(source, &sink, false, &fill);
		source->ops->cpu_stats(source, 0, &before);
	}
	took = ticks();
	work();
	took = ticks() - took;
	if (source) {
		source->ops->stop(source);
		source->ops->drain(source, &sink, true, &fill);
		source->ops->cpu_stats(source, 0, &after);
	}
	if (after.lost)
		printf("# %llu records lost\n", (unsigned long long)after.lost);
	*events = after.stored - before.stored;
	return took;
}

enum { NONE, KMOD, BPF, SOURCES };

/* What is done, how many events that is if not as many as records, and when it is measured. */
static const struct work {
	const char *name;
	void (*work)(void);
	uint64_t events;
	bool plain, numa;
} works[] = {
	{"switch (sched_yield)", yields, 0, true, true},
	{"switch and wake-up (pipe)", pipes, 0, true, false},
	{"birth to death (fork)", forks, 0, true, false},
	{"page", touches, PAGES, false, true},
};

static const struct recording {
	const char *name;
	bool whole_system, numa;
} recordings[] = {
	{"whole system", true, false},
	{"filter", false, false},
	{"filter, by node", false, true},
};

/* Instructions an event, of each source: least of all rounds, less that without. */
static void compare(struct intro__source *const sources[], const struct work *work, double *cost,
		    uint64_t *events)
{
	uint64_t least[SOURCES];

	for (int i = 0; i < ROUNDS * SOURCES; i++) {
		uint64_t took = measure(sources[i % SOURCES], work->work, &events[i % SOURCES]);

		if (i < SOURCES || took < least[i % SOURCES])
			least[i % SOURCES] = took;
	}
	for (int i = KMOD; i < SOURCES; i++) {
		if (work->events)
			events[i] = work->events;
		cost[i] = ((double)least[i] - (double)least[NONE]) / (events[i] ? events[i] : 1);
	}
}

static struct intro__source *open_source(const struct intro__source_ops *ops,
					 const struct recording *recording,
					 const struct intro_topology *topology)
{
	struct intro__source_options options = {
		.ring_bytes = RING,
		.whole_system = recording->whole_system,
		.numa = recording->numa,
		.topology = topology,
	};
	struct intro__source *source;
	struct intro__reason why;

	if (ops->open(&source, &options, &why))
		fail(&why);
	source->ops->target(source, getpid());
	return source;
}

/* Returns how many were measured. */
static int measure_all(const struct recording *recording, const struct intro_topology *topology,
		       int tests)
{
	struct intro__source *sources[SOURCES] = {
		[KMOD] = open_source(&intro__source_kmod, recording, topology),
		[BPF] = open_source(&intro__source_bpf, recording, topology),
	};

	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		uint64_t events[SOURCES];
		double cost[SOURCES];

		if (recording->numa ? !works[i].numa : !works[i].plain)
			continue;
		compare(sources, &works[i], cost, events);
		printf("# figure %-26s %-15s kmod %6.0f bpf %6.0f instructions an event "
		       "(of %llu and %llu)\n",
		       works[i].name, recording->name, cost[KMOD], cost[BPF],
		       (unsigned long long)events[KMOD], (unsigned long long)events[BPF]);
		printf("%s %d - %s, %s: the module is the cheaper\n",
		       cost[KMOD] < cost[BPF] ? "ok" : "not ok", ++tests, works[i].name,
		       recording->name);
	}
	sources[KMOD]->ops->close(sources[KMOD]);
	sources[BPF]->ops->close(sources[BPF]);
	return tests;
}

int main(void)
{
	struct intro_topology *topology = intro_topology_of_machine("/sys");
	int tests = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(recordings) / sizeof(recordings[0]); i++)
		tests = measure_all(&recordings[i], topology, tests);
	intro_topology_free(topology);
	printf("1..%d\n", tests);
	return 0;
}
