/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_TRACE_FILE_H
#define TESTS_TRACE_FILE_H
/* trace_file.h - trace files in memory, to be made, cut, damaged and read by tests. */
#include <introspect/trace.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/format.h"

struct bytes {
	uint8_t *data;
	size_t size;
};

uint64_t random_next(uint64_t *state);

/* An empty memory file for a writer. */
int memory_file(void);
/* All of it, from malloc. */
struct bytes memory_file_bytes(int fd);
/* Opens a trace of these bytes; NULL and errno as intro_trace_open. */
struct intro_trace *open_bytes(const void *data, size_t size);

struct intro_rec_switch make_switch(uint64_t ts, uint16_t cpu, uint32_t tid, uint32_t next_tid);
struct intro_rec_task make_task(uint64_t ts, uint16_t cpu, uint32_t tid);

/* Chunks lie in a file at any address. */
typedef struct itr_chunk_header chunk_here __attribute__((aligned(1)));
typedef struct intro_rec_switch switch_here __attribute__((aligned(1)));
/* The n-th chunk's header in a whole file; NULL when there are fewer. *offset may be NULL. */
chunk_here *chunk_at(struct bytes file, size_t n, size_t *offset);
/* Makes both checksums of a changed chunk right again. */
void chunk_seal(chunk_here *header);

/* A record that was read, with its stream. */
struct seen {
	uint32_t stream;
	uint8_t rows;
	uint8_t bytes[INTRO_ROW_BYTES * INTRO_ROWS_MAX] __attribute__((aligned(8)));
};
struct seen_list {
	struct seen *items;
	size_t count, room;
};
/* Everything the cursor gives. Asserts that it comes in order and ends with 0. */
struct seen_list read_all(struct intro_trace *trace);
static inline const struct intro_rec *seen_record(const struct seen *seen)
{
	return (const struct intro_rec *)seen->bytes;
}

/* Bytes held from malloc by this process. */
size_t allocated_bytes(void);

#endif
