/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_MAP_PRIVATE_H
#define INTRO_RUNTIME_MAP_PRIVATE_H
/* map_private.h - a map under way: its chunks, each a task with a future. */
#include "executor_private.h"

struct chunk;
struct item;

/* Filled in by the caller up to `ctx`; the rest is map.c's, and zero. */
struct map {
	struct intro_executor *executor;
	size_t n, per_chunk, item_size;
	intro_map_done_fn done;
	void *ctx;

	size_t chunks;
	size_t submitted; /* chunks */
	struct intro_future *future;
	struct chunk *chunk;
	struct item *item; /* threads only */
	unsigned char *request;
};

/* Submits all chunks. 0 or -errno; intro__map_end is to be called in any case. */
int intro__map_begin(struct map *m, intro_task_fn fn, const void *items);
/*
 * Waits for a chunk and gives its items to `done`, in order. 0; what `done` returned; -ETIMEDOUT.
 * Results are valid until intro__map_end.
 */
int intro__map_give(struct map *m, size_t chunk, int64_t deadline);
/* What has not started never will; what runs is waited for: it uses our memory and the caller's. */
void intro__map_end(struct map *m);

#endif
