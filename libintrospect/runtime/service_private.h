/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_SERVICE_PRIVATE_H
#define INTRO_RUNTIME_SERVICE_PRIVATE_H
/* service_private.h - what a service's worker knows when it is born. */
#include <signal.h>

#include <introspect/service.h>

#include "executor_private.h"

struct service_birth {
	const struct intro_service *service; /* graceful_timeout_ns is set */
	const char *name;
	unsigned index;
	uint32_t pool;
	pid_t parent;	  /* who must be its parent; otherwise that has died already */
	int life;	  /* a pipe that ends when the manager does */
	sigset_t signals; /* blocked in the thread that runs the manager, before it did */
};

/* The life of a worker, from fork on; all signals but those of faults are blocked. */
void intro__service_worker(const struct service_birth *birth) __attribute__((noreturn));

/* Tells systemd, if it wants to hear. 0 or -errno. */
int intro__notify(const char *socket, const char *state);

#endif
