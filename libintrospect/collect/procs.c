// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collect/procs.h"

struct process {
	pid_t pid, ppid;
	bool chosen;
};

static pid_t number_of(const char *name)
{
	char *end;
	long value = strtol(name, &end, 10);

	return *end || value <= 0 || value >= 1 << 22 ? 0 : value;
}

static pid_t parent_of(pid_t pid)
{
	char path[40], text[512], *after;
	ssize_t got;
	int fd, ppid = -1;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[got > 0 ? got : 0] = 0;
	/* the name may hold anything, parentheses too */
	after = strrchr(text, ')');
	if (!after || sscanf(after, ") %*c %d", &ppid) != 1)
		return -1;
	return ppid;
}

static long list(struct process **processes)
{
	DIR *dir = opendir("/proc");
	size_t n = 0, room = 0;
	struct dirent *entry;

	*processes = NULL;
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		struct process one = {.pid = number_of(entry->d_name)};

		if (!one.pid)
			continue;
		one.ppid = parent_of(one.pid);
		if (one.ppid < 0)
			continue;
		if (n == room) {
			struct process *more;

			room = room ? room * 2 : 256;
			more = realloc(*processes, room * sizeof(*more));
			if (!more) {
				closedir(dir);
				return -ENOMEM;
			}
			*processes = more;
		}
		(*processes)[n++] = one;
	}
	closedir(dir);
	return n;
}

#define KTHREADD 2
#define PID_LIMIT (1 << 22)

/* Numbers of children may be below their parents': repeat until nothing changes. */
static int choose(struct process *processes, long n, pid_t root)
{
	uint8_t *in = calloc(1, PID_LIMIT / 8 + 1);
	bool more = true;

	if (!in)
		return -ENOMEM;
	in[root / 8] |= 1 << root % 8;
	while (more) {
		more = false;
		for (long i = 0; i < n; i++) {
			struct process *one = &processes[i];
			pid_t by = one->pid == root ? root : one->ppid;

			if (one->chosen)
				continue;
			one->chosen = root ? in[by / 8] & 1 << by % 8
					   : one->pid != KTHREADD && one->ppid != KTHREADD;
			if (one->chosen)
				in[one->pid / 8] |= 1 << one->pid % 8;
			more |= root && one->chosen;
		}
	}
	free(in);
	return 0;
}

long intro__procs_tree(pid_t root, pid_t **pids)
{
	struct process *processes;
	long n = list(&processes), chosen = 0;

	*pids = n < 0 ? NULL : calloc(n + 1, sizeof(**pids));
	if (n >= 0 && !*pids)
		n = -ENOMEM;
	if (n >= 0 && choose(processes, n, root))
		n = -ENOMEM;
	for (long i = 0; i < n; i++)
		if (processes[i].chosen)
			(*pids)[chosen++] = processes[i].pid;
	free(processes);
	return n < 0 ? n : chosen;
}

int intro__procs_threads(pid_t pid, int (*with)(void *ctx, pid_t tid), void *ctx)
{
	struct dirent *entry;
	char path[40];
	int result = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (result >= 0 && (entry = readdir(dir))) {
		pid_t tid = number_of(entry->d_name);

		if (tid)
			result = with(ctx, tid);
	}
	closedir(dir);
	return result < 0 ? result : 0;
}
