/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef ANALYZE_NUMA_H
#define ANALYZE_NUMA_H
/* numa.h - making a struct intro_numa while a trace is replayed. */
#include <introspect/numa.h>

#include "analyze/map.h"

struct intro__numa {
	struct intro_numa *numa;
	struct intro__map processes; /* by pid: what its threads ran, and got of memory */
	int error;
};

/* 0 or -ENOMEM; then, either way, _finish. */
int intro__numa_begin(struct intro__numa *build, const struct intro_topology *topology,
		      const char *meta);
void intro__numa_task(struct intro__numa *build, const struct intro_task *task,
		      const char *pool_name);
void intro__numa_thread(struct intro__numa *build, const struct intro_thread *thread);
void intro__numa_pages(struct intro__numa *build, uint32_t on, uint32_t from, uint64_t pages);
/* Shares out the CPU time; frees all but build->numa, which is the caller's. 0 or -ENOMEM. */
int intro__numa_finish(struct intro__numa *build);
void intro__numa_free(struct intro_numa *numa);

#endif
