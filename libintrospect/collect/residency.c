// SPDX-License-Identifier: BSD-2-Clause
/* residency.c - where the memory of a living process lies. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <introspect/residency.h>

#include "collect/machine.h"

/* A process with 65 530 mappings, each with all there can be in a line. */
#define TEXT_MAX (64u << 20)

/* The whole of a file of the kernel's, NUL-terminated; NULL and errno. */
static char *slurp(const char *path)
{
	FILE *file = fopen(path, "re");
	size_t held = 0, room = 0, got = 1;
	char *text = NULL;
	int error = 0;

	if (!file)
		return NULL;
	while (!error && got && held < TEXT_MAX) {
		if (room - held < 4096) {
			char *more = realloc(text, room = room ? 2 * room : 65536);

			error = more ? 0 : ENOMEM;
			text = more ? more : text;
		}
		got = error ? 0 : fread(text + held, 1, room - held - 1, file);
		held += got;
		if (ferror(file))
			error = errno ? errno : EIO;
	}
	fclose(file);
	if (!error) {
		text[held] = 0;
		return text;
	}
	free(text);
	errno = error;
	return NULL;
}

struct intro_residency *intro_residency_of(pid_t pid, const struct intro_topology *topology)
{
	struct intro_residency *residency;
	char path[64], comm[64] = "";
	char *text;

	snprintf(path, sizeof(path), "/proc/%d/numa_maps", pid);
	text = slurp(path);
	if (!text) {
		/* the process is there, the file is not: a kernel without nodes */
		snprintf(path, sizeof(path), "/proc/%d", pid);
		if (errno == ENOENT && !access(path, F_OK))
			errno = ENOSYS;
		return NULL;
	}
	residency = intro_residency_parse(text, topology);
	free(text);
	if (!residency)
		return NULL;
	residency->pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	intro__read_line(path, comm, sizeof(comm));
	snprintf(residency->comm, sizeof(residency->comm), "%.15s", comm);
	return residency;
}
