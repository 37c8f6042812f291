/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_SEGMENT_H
#define INTRO_RUNTIME_SEGMENT_H
/*
 * segment.h - shared memory for what is large: one side puts bytes there, the other reads them in
 * place, and a ring carries no more than where they are.
 *
 * All segments of a pool are ranges of one memfd without memory in it at first: the first holds
 * payloads and is the pool's, the others hold results, one for each worker, and are theirs. Who has
 * a segment keeps its books in memory of his own, so that nobody else can spoil them. It is mapped
 * there, in huge pages where the kernel gives them, and stays so: of what it takes to write 64 MiB
 * into fresh small pages, copying is a tenth. A worker maps a payload as its own alone, so what it
 * writes there is not seen by anybody else; the pool copies results.
 *
 * Who frees a block: its segment's owner, when the other side has said that it is done with it.
 * What was not used for a while is given back by intro__segment_trim. The death of either side
 * leaves nothing behind: the books are the owner's, the memory goes with the last descriptor and
 * mapping, and of a worker's segment by intro__segment_erase.
 *
 * A task that closes descriptors which are not its own, and then opens others, must not find its
 * files written to: before it is used a descriptor is looked at.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SEGMENT_BYTES ((size_t)1 << 30)	   /* the most that one block has */
#define SEGMENT_GRANULE ((size_t)64 << 10) /* blocks begin and end at multiples of it */
#define SEGMENT_CHUNK ((size_t)2 << 20)	   /* gets memory as a whole; a huge page */
#define SEGMENT_GRANULES (SEGMENT_BYTES / SEGMENT_GRANULE)
#define SEGMENT_CHUNKS (SEGMENT_BYTES / SEGMENT_CHUNK)

/* What is at least so large goes through a segment; below, a ring is as fast. */
#define SEGMENT_PAYLOAD ((size_t)128 << 10)
#define SEGMENT_RESULT ((size_t)512 << 10)

/* The memfd of all segments of a pool. */
struct segments {
	int fd; /* -1: none */
	dev_t dev;
	ino_t ino;
};

/* Its owner's books. */
struct segment {
	struct segments all;
	unsigned index;
	size_t most, blocks;	 /* may be in use together: so many granules or blocks of a size */
	pthread_mutex_t warming; /* for who gives it memory; taken before `lock` */
	unsigned char *base;	 /* where it is mapped; NULL: nowhere yet. Under `warming` */
	pthread_mutex_t lock;	 /* guards what follows */
	size_t in_use;
	unsigned char used[SEGMENT_GRANULES / 8];
	unsigned char warm[SEGMENT_CHUNKS / 8]; /* has memory */
	unsigned top; /* chunks from here on were not in use since it was last trimmed */
	int64_t trim; /* when to trim next, ns; 0: it has no memory */
};

/* For so many segments; 0 or -errno: then there is none. */
int intro__segments_new(struct segments *all, unsigned n);
/* The same in a program that was executed with the descriptor, which no other is to inherit. */
void intro__segments_inherit(struct segments *all, int fd);
void intro__segments_close(struct segments *all);

/*
 * There is room for so many bytes, or so many blocks if that is more: what few blocks take turns
 * in stays in the cache.
 */
void intro__segment_init(struct segment *segment, const struct segments *all, unsigned index,
			 size_t most, size_t blocks);
/* Gives all memory back. Nobody uses it any more. */
void intro__segment_fini(struct segment *segment);
/* Gives back the memory of a segment whose owner is dead. */
void intro__segment_erase(const struct segments *all, unsigned index);

/* Copies the bytes into a new block; where that is, or 0: there is no room, or no memory. */
uint32_t intro__segment_put(struct segment *segment, const void *data, size_t size);
void intro__segment_free(struct segment *segment, uint32_t place, size_t size);
/*
 * Gives back what was not used for a while, or all that is not in use. When to call it again: in
 * ms; -1: it has no memory.
 */
int intro__segment_trim(struct segment *segment, int64_t now, bool all);

/* A block copied by its reader. 0; -EINVAL: there is no such block, or what -errno pread gave. */
int intro__segment_copy(const struct segments *all, unsigned index, uint32_t place, size_t size,
			void *to);

/* A block read in place. */
struct segment_view {
	void *map; /* NULL: none */
	size_t bytes;
};
/* Its bytes; what is written to them is the reader's alone. NULL: no such block, or no memory. */
void *intro__segment_view(struct segment_view *view, const struct segments *all, unsigned index,
			  uint32_t place, size_t size);
void intro__segment_view_end(struct segment_view *view);

#endif
