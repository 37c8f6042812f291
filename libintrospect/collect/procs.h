/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_PROCS_H
#define INTROSPECT_COLLECT_PROCS_H
/*
 * procs.h - processes and threads as /proc shows them.
 */
#include <stddef.h>
#include <sys/types.h>

/*
 * The pids of `root` and all its descendants (root 0: of all processes but kernel threads) as a
 * new array, freed by the caller. Returns how many, or -errno.
 */
long intro__procs_tree(pid_t root, pid_t **pids);
/* Calls with each thread of the process; stops and returns at the first result below 0. */
int intro__procs_threads(pid_t pid, int (*with)(void *ctx, pid_t tid), void *ctx);

#endif
