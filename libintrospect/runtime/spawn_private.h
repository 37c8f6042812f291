/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_SPAWN_PRIVATE_H
#define INTRO_RUNTIME_SPAWN_PRIVATE_H
/*
 * spawn_private.h - functions on their way to another process, and the birth of workers by exec.
 */
#include <introspect/process_pool.h>
#include <introspect/spawn.h>

#include "process_private.h"

/* What a function is called in requests: its address, or for spawned workers its number; 0: none.
 */
uint64_t intro__function_wire(const struct intro_executor *executor, void (*fn)(void));
/* What is called so in this process. NULL: a spawned worker that does not know it. */
void (*intro__function_of(uint64_t wire, bool spawned))(void);

/* What a task ends with whose function is not known. */
int intro__not_registered(struct intro_call *call);

/* Whether this program can be a worker. */
bool intro__may_spawn(void);

/* Bytes that the memory shared with a spawned worker has behind the rings. */
size_t intro__spawn_bytes(const struct intro_executor *executor);
/* As fork: the worker's pid, or -errno. `memory`: the descriptor of birth->pipe. */
pid_t intro__spawn(const struct worker_birth *birth, int memory);

/* The runtime's own, in map.c and process_pool.c. */
int intro__map_chunk(struct intro_call *call);
int intro__star(struct intro_call *call);

#endif
