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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collect/source.h"

#define ROUNDS 4
#define TURNS 2000
#define FORKS 100
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

/* Instructions an event, of each source: least of all rounds, less that without. */
static void compare(struct intro__source *const sources[], void (*work)(void), double *cost,
		    uint64_t *events)
{
	uint64_t least[SOURCES];

	for (int i = 0; i < ROUNDS * SOURCES; i++) {
		uint64_t took = measure(sources[i % SOURCES], work, &events[i % SOURCES]);

		if (i < SOURCES || took < least[i % SOURCES])
			least[i % SOURCES] = took;
	}
	for (int i = KMOD; i < SOURCES; i++)
		cost[i] = ((double)least[i] - (double)least[NONE]) / (events[i] ? events[i] : 1);
}

static struct intro__source *open_source(const struct intro__source_ops *ops, bool whole_system,
					 const struct intro_topology *topology)
{
	struct intro__source_options options = {
		.ring_bytes = RING, .whole_system = whole_system, .topology = topology};
	struct intro__source *source;
	struct intro__reason why;

	if (ops->open(&source, &options, &why))
		fail(&why);
	source->ops->target(source, getpid());
	return source;
}

int main(void)
{
	static const struct {
		const char *name;
		void (*work)(void);
	} works[] = {
		{"switch (sched_yield)", yields},
		{"switch and wake-up (pipe)", pipes},
		{"birth to death (fork)", forks},
	};
	struct intro_topology *topology = intro_topology_of_machine("/sys");
	int tests = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int whole = 1; whole >= 0; whole--) {
		struct intro__source *sources[SOURCES] = {
			[KMOD] = open_source(&intro__source_kmod, whole, topology),
			[BPF] = open_source(&intro__source_bpf, whole, topology),
		};

		for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
			uint64_t events[SOURCES];
			double cost[SOURCES];

			compare(sources, works[i].work, cost, events);
			printf("# figure %-26s %-12s kmod %6.0f bpf %6.0f instructions an event "
			       "(of %llu and %llu)\n",
			       works[i].name, whole ? "whole system" : "filter", cost[KMOD],
			       cost[BPF], (unsigned long long)events[KMOD],
			       (unsigned long long)events[BPF]);
			printf("%s %d - %s, %s: the module is the cheaper\n",
			       cost[KMOD] < cost[BPF] ? "ok" : "not ok", ++tests, works[i].name,
			       whole ? "whole system" : "filter");
		}
		sources[KMOD]->ops->close(sources[KMOD]);
		sources[BPF]->ops->close(sources[BPF]);
	}
	intro_topology_free(topology);
	printf("1..%d\n", tests);
	return 0;
}
