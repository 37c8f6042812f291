/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_PROCESS_PRIVATE_H
#define INTRO_RUNTIME_PROCESS_PRIVATE_H
/*
 * process_private.h - what goes between a process pool and its workers, through a ring each way
 * (process_ring.h). Both ends are one program, so the records are plain structs; a request
 * is answered by one reply, in order, unless it was revoked.
 */
#include "executor_private.h"
#include "process_ring.h"
#include "segment.h"

/* Whose a request is that lies in the ring. Changed by compare-and-swap from PENDING, once. */
enum wire_claim {
	CLAIM_PENDING = 0,
	CLAIM_BEGUN = 1,   /* the worker's: it will answer it */
	CLAIM_REVOKED = 2, /* the pool took it back: the worker passes over it */
};

/* Followed by `size` bytes, if these have no place in the pool's segment. */
struct wire_request {
	uint64_t task;
	uint64_t fn; /* its address, or for spawned workers its number (spawn_private.h) */
	uint64_t size;
	_Atomic uint32_t claim; /* enum wire_claim */
	uint32_t place;
};

/*
 * Followed by a wire_times if the pool times its tasks, by `text` bytes of the error's text, then
 * by `size` bytes of the result, if these have no place in the worker's segment. That block is free
 * again when the reply was taken out of the ring.
 */
struct wire_reply {
	uint64_t task; /* 0: the initializer failed; the worker ends */
	int32_t code;
	uint32_t text;
	uint64_t size;
	uint32_t place;
};

struct wire_times {
	int64_t began, ended; /* ns */
};

_Static_assert(sizeof(struct wire_request) <= RING_ALIGN, "a header must not wrap");
_Static_assert(sizeof(struct wire_reply) <= RING_ALIGN, "a header must not wrap");

/* The segments of a pool. */
#define SEGMENT_OF_PAYLOADS 0u
#define SEGMENT_OF_RESULTS(worker) (1u + (worker))

/* How much of a segment is in use at a time: bytes, or blocks of a size if that is more. */
#define PAYLOADS_MOST ((size_t)64 << 20)
#define PAYLOADS_BLOCKS 4
#define RESULTS_MOST ((size_t)16 << 20)
#define RESULTS_BLOCKS 1

/* What a worker knows when it is born. */
struct worker_birth {
	const struct intro_executor *executor;
	unsigned index;
	int bell; /* its end of the socket */
	const struct segments *segments;
	struct pipe_shared *pipe;
	size_t more;		 /* bytes behind that */
	bool spawned;		 /* in a worker: it was */
	bool may_spin;		 /* look for a while before it sleeps */
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
