/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_MACHINE_H
#define INTROSPECT_COLLECT_MACHINE_H
/*
 * machine.h - what files of /proc and /sys say.
 */
#include <stdbool.h>
#include <stddef.h>

/* The first line of a file, without its end; false when there is none. */
bool intro__read_line(const char *path, char *text, size_t size);
/*
 * The limits of our cgroup, which a command starts in, as version 2 writes them ("max 100000"); ""
 * where there is no such controller. Only its own: a parent's may be tighter.
 */
void intro__cgroup_limits(char *cpu, char *memory, size_t size);

#endif
