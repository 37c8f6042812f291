/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spawn.c - workers that are the program, executed anew. See spawn.h.
 *
 * What a worker has to know lies behind the rings in the memory that it shares with its pool; its
 * arguments are the descriptors of that and of its bell.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "marks_private.h"
#include "spawn_private.h"

#define EXEC_FAILED 127 /* as a shell says it */

/* Followed by the initializer's argument. */
struct wire_birth {
	_Alignas(16) uint64_t initializer; /* its number; 0: none */
	uint64_t initarg_size;
	uint32_t pool, index;
	int32_t parent;
	uint32_t timed, may_spin;
	int32_t segments; /* a descriptor, or -1 */
	sigset_t signals;
	char name[INTRO__NAME_BYTES];
};

/* intro_process_main was called: a worker would not start all of the program again. */
static _Atomic bool has_main;

bool intro__may_spawn(void)
{
	return atomic_load(&has_main);
}

size_t intro__spawn_bytes(const struct intro_executor *executor)
{
	return sizeof(struct wire_birth) + executor->initarg_size;
}

static void write_birth(const struct worker_birth *birth)
{
	const struct intro_executor *e = birth->executor;
	struct wire_birth *wire = (void *)(birth->pipe + 1);

	wire->initializer =
		e->initializer ? intro__function_wire(e, (void (*)(void))e->initializer) : 0;
	wire->initarg_size = e->initarg_size;
	wire->pool = e->pool;
	wire->index = birth->index;
	wire->parent = birth->parent;
	wire->timed = e->timed;
	wire->may_spin = birth->may_spin;
	wire->segments = birth->segments->fd;
	wire->signals = *birth->signals;
	memcpy(wire->name, e->name, sizeof(wire->name));
	if (e->initarg_size)
		memcpy(wire + 1, e->initarg, e->initarg_size);
}

/* The environment, with the area's descriptor as it is now. Freed by the caller; NULL. */
static char **environment(char *area, size_t size, int area_fd)
{
	size_t n = 0, length = strlen(INTRO_AREA_ENV "=");
	char **copy, **to;

	while (environ && environ[n])
		n++;
	to = copy = calloc(n + 2, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++)
		if (strncmp(environ[i], INTRO_AREA_ENV "=", length) != 0)
			*to++ = environ[i];
	snprintf(area, size, INTRO_AREA_ENV "=%d", area_fd);
	if (copy && area_fd >= 0)
		*to++ = area;
	return copy;
}

/* After fork: nothing that takes a lock. The signals stay blocked until the worker sets its own. */
static void execute(char **argv, char **envp, const int *keep, size_t n) __attribute__((noreturn));
static void execute(char **argv, char **envp, const int *keep, size_t n)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	for (size_t i = 0; i < n; i++)
		if (keep[i] >= 0)
			fcntl(keep[i], F_SETFD, 0);
	execve("/proc/self/exe", argv, envp);
	_exit(EXEC_FAILED);
}

pid_t intro__spawn(const struct worker_birth *birth, int memory)
{
	const int keep[] = {memory, birth->bell, intro__area_fd(), birth->segments->fd};
	char fds[32], area[64], mark[] = INTRO_SPAWN_ARGUMENT;
	char *argv[] = {program_invocation_name, mark, fds, NULL};
	char **envp = environment(area, sizeof(area), keep[2]);
	pid_t pid;

	if (!envp)
		return -ENOMEM;
	snprintf(fds, sizeof(fds), "%d,%d", memory, birth->bell);
	write_birth(birth);
	pid = fork();
	if (!pid)
		execute(argv, envp, keep, sizeof(keep) / sizeof(keep[0]));
	if (pid < 0)
		pid = -errno;
	free(envp);
	return pid;
}

/* The executor as far as a worker needs it. */
static void read_birth(struct intro_executor *e, struct segments *segments,
		       struct worker_birth *birth)
{
	struct wire_birth *wire = (void *)(birth->pipe + 1);

	e->pool = wire->pool;
	e->timed = wire->timed;
	memcpy(e->name, wire->name, sizeof(e->name) - 1);
	e->initarg_size = wire->initarg_size;
	e->initarg = e->initarg_size ? wire + 1 : NULL;
	if (wire->initializer)
		e->initializer = (intro_task_fn)intro__function_of(wire->initializer, true);
	if (wire->initializer && !e->initializer)
		e->initializer = intro__not_registered;
	birth->executor = e;
	birth->index = wire->index;
	birth->parent = wire->parent;
	birth->may_spin = wire->may_spin;
	intro__segments_inherit(segments, wire->segments);
	birth->segments = segments;
	birth->signals = &wire->signals;
}

void intro_process_main(int argc, char **argv)
{
	static struct intro_executor executor;
	static struct segments segments;
	struct worker_birth birth = {.spawned = true};
	int memory;

	atomic_store(&has_main, true);
	if (argc != 3 || strcmp(argv[1], INTRO_SPAWN_ARGUMENT) != 0)
		return;
	if (sscanf(argv[2], "%d,%d", &memory, &birth.bell) != 2)
		_exit(EXEC_FAILED);
	birth.pipe = intro__pipe_map_inherited(memory, &birth.more);
	if (!birth.pipe || birth.more < sizeof(struct wire_birth))
		_exit(EXEC_FAILED);
	close(memory);
	/* what a task executes is not the worker any more */
	fcntl(birth.bell, F_SETFD, FD_CLOEXEC);
	read_birth(&executor, &segments, &birth);
	intro__process_worker(&birth);
}
