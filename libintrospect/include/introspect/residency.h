/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_RESIDENCY_H
#define INTROSPECT_RESIDENCY_H
/*
 * residency.h - where the memory of a process lies: each of its mappings by node, as
 * /proc/PID/numa_maps tells. Pages that two processes share count for both.
 */
#include <stdbool.h>
#include <sys/types.h>

#include <introspect/topology.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Further mappings are in the sums alone. */
#define INTRO_MAPPINGS_MAX 65536

struct intro_mapping {
	uint64_t address;
	uint64_t page_bytes; /* of the pages that it is counted in */
	char policy[32];     /* as numa_maps has it: "default", "bind:1" */
	/* "heap", "stack", "anonymous", or the end of a file's path. From the kernel as it is. */
	char name[64];
};

struct intro_residency {
	pid_t pid;
	char comm[16];
	uint32_t nodes; /* of the topology */
	struct intro_mapping *mappings;
	size_t mappings_n, left_out;
	uint64_t *pages;      /* mappings_n rows of `nodes` */
	uint64_t *bytes;      /* by place of the node: of all mappings */
	uint64_t other_bytes; /* on nodes that the topology has not */
};

/* Of a living process. NULL and errno: ENOENT or ESRCH, EACCES, ENOSYS without numa_maps. */
struct intro_residency *intro_residency_of(pid_t pid, const struct intro_topology *topology);
/* From text as numa_maps has; what is no such line is passed over. NULL and errno. */
struct intro_residency *intro_residency_parse(const char *text,
					      const struct intro_topology *topology);
static inline uint64_t intro_residency_pages(const struct intro_residency *residency,
					     size_t mapping, uint32_t node)
{
	return residency->pages[mapping * residency->nodes + node];
}
/* Of a mapping, on all nodes. */
uint64_t intro_residency_bytes(const struct intro_residency *residency, size_t mapping);
/* Keeps the n mappings with most memory, most first. */
void intro_residency_keep(struct intro_residency *residency, size_t n);
void intro_residency_free(struct intro_residency *residency);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
