/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_PROCESS_PRIVATE_H
#define INTRO_RUNTIME_PROCESS_PRIVATE_H
/*
 * process_private.h - what goes between a process pool and its workers, over one stream socket
 * each. Both ends are one program's image, so the records are plain structs; a request is
 * answered by one reply, in order.
 */
#include "executor_private.h"

/* Followed by `size` bytes. */
struct wire_request {
	uint64_t task;
	intro_task_fn fn; /* the image is the same on both sides of the fork */
	uint64_t size;
};

/* Followed by `text` bytes of the error's text, then `size` bytes of the result. */
struct wire_reply {
	uint64_t task; /* 0: the initializer failed; the worker ends */
	int32_t code;
	uint32_t text;
	uint64_t size;
	int64_t began, ended; /* ns; of a pool that times its tasks */
};

/* What a worker knows when it is born. */
struct worker_birth {
	const struct intro_executor *executor;
	unsigned index;
	int fd;			 /* its end of the socket */
	pid_t parent;		 /* who must be its parent; otherwise that has died already */
	const sigset_t *signals; /* blocked in the thread that made the pool */
};

/*
 * A process executor, or (`replaces`) what is under a process pool: a worker that dies takes the
 * task with it that it ran, which fails with -EOWNERDEAD; what it was handed ahead goes to others,
 * and a new worker takes its place. Only a failed initializer, workers that die as soon as they
 * are born, and a fork that fails break the pool then.
 */
struct intro_executor *intro__process_executor_new(const struct intro_executor_options *options,
						   bool replaces);
/* Whether this thread is its manager, which cannot wait for itself. */
bool intro__process_executor_manages(const struct intro_executor *executor);
/* Kills all workers; what is not finished fails with -ECANCELED. Does not wait. */
void intro__process_executor_terminate(struct intro_executor *executor);

/* The life of a worker, from fork on. */
void intro__process_worker(const struct worker_birth *birth) __attribute__((noreturn));

#endif
