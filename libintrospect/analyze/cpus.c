// SPDX-License-Identifier: BSD-2-Clause
/* cpus.c - the CPUs seen, by number; and the memory that the rooms above take for their state. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

void *intro__calloc(struct intro_replay *replay, size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		replay->error = -ENOMEM;
	return memory;
}

struct cpu *intro__cpu(struct intro_replay *replay, uint32_t number)
{
	struct cpu *cpu;

	if (number >= INTRO_CPU_NONE) {
		intro__strange(replay);
		return NULL;
	}
	if (number >= replay->cpus_n) {
		size_t n = (number + 64) & ~(size_t)63;
		struct cpu **cpus = realloc(replay->cpus, n * sizeof(*cpus));

		if (!cpus) {
			replay->error = -ENOMEM;
			return NULL;
		}
		memset(cpus + replay->cpus_n, 0, (n - replay->cpus_n) * sizeof(*cpus));
		replay->cpus = cpus;
		replay->cpus_n = n;
	}
	if (!replay->cpus[number]) {
		cpu = intro__calloc(replay, sizeof(*cpu));
		if (!cpu)
			return NULL;
		replay->cpus[number] = cpu;
	}
	return replay->cpus[number];
}

void intro__cpus_free(struct intro_replay *replay)
{
	for (size_t i = 0; i < replay->cpus_n; i++) {
		if (replay->cpus[i])
			free(replay->cpus[i]->waiters);
		free(replay->cpus[i]);
	}
	free(replay->cpus);
}
