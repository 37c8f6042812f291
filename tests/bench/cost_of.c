// SPDX-License-Identifier: BSD-2-Clause
/*
 * cost_of.c - runs COMMAND with its output thrown away and prints "seconds of CPU, bytes of memory
 * at most". A child of a large program (a script's interpreter) would be charged with that one's
 * memory, which it has until it calls exec: so this small one is in between.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double seconds(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	struct rusage usage;
	int status;
	pid_t child;

	if (argc < 2) {
		fprintf(stderr, "usage: cost_of COMMAND [ARG...]\n");
		return 2;
	}
	child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
			_exit(126);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &usage) != child)
		return 1;
	printf("%.6f %ld\n", seconds(usage.ru_utime) + seconds(usage.ru_stime),
	       usage.ru_maxrss * 1024);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
