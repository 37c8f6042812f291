/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_LAUNCH_H
#define INTROSPECT_COLLECT_LAUNCH_H
/*
 * launch.h - a command that waits before its first instruction until it is told to go, and then
 * runs as the user who called sudo.
 */
#include <stdbool.h>
#include <sys/types.h>

#include "collect/reason.h"

struct intro__launch {
	pid_t pid;
	int pidfd; /* readable when it has ended */
	int go;
	int failed;
	uid_t uid; /* whom it runs as */
};

/* Whom a command will run as. */
uid_t intro__launch_uid(bool as_root);
/*
 * Forks. keep_fd (or -1) stays open in the command, its number in the environment variable
 * keep_name. 0 or -errno.
 */
int intro__launch_prepare(struct intro__launch *launch, char *const argv[], bool as_root,
			  int keep_fd, const char *keep_name, struct intro__reason *why);
/* Lets it exec; returns once it has: 0, or -errno of exec, and it has ended. */
int intro__launch_go(struct intro__launch *launch, const char *name, struct intro__reason *why);
/* One that was not told to go ends without having run anything. Never touches a running one. */
void intro__launch_free(struct intro__launch *launch);

#endif
