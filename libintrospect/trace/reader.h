/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_TRACE_READER_H
#define INTROSPECT_TRACE_READER_H
/* reader.h - an open trace, as reader.c and scan.c leave it to cursor.c. */
#include <introspect/trace.h>

#include "trace/codec.h"

enum {
	CHUNK_COUNTED = 1,    /* its damage is in intro_trace.damage already */
	CHUNK_MISSING = 2,    /* no payload: a LOST record stands for it */
	CHUNK_HEADER_BAD = 4, /* in the file; the index had it whole. Counted already */
};

/* A hole in a stream is beside one of its chunks. */
enum { PLACE_BEFORE = 0, PLACE_CHUNK = 1, PLACE_AFTER = 2 };

/* What is kept of a chunk in memory. */
struct chunk {
	uint64_t offset; /* of the header */
	uint64_t t_first, t_last;
	uint32_t stream;
	uint32_t records;
	uint32_t raw_bytes, stored_bytes;
	uint32_t payload_crc;
	uint8_t type, codec, flags;
	uint8_t place; /* among chunks of the same offset: PLACE_* */
};

struct json_object;

struct intro_trace {
	int fd;
	uint64_t size;
	uint64_t index_offset; /* as the footer says; 0: there is none */
	struct intro__codec *codec;
	struct intro__buffer stored, raw;
	struct chunk *chunks; /* of records; sorted by (stream, offset, place) once open */
	size_t chunks_count, chunks_room;
	uint64_t *gaps; /* ascending offsets: here chunks of unknown streams are missing */
	size_t gaps_count, gaps_room;
	struct json_object *meta;
	size_t meta_bytes;
	char *meta_text;
	bool any; /* at least one chunk is whole */
	struct intro_trace_damage damage;
	uint64_t first_ns, last_ns, records;
};

/* Exactly `bytes` at offset; -ENODATA when the file ends before. */
int intro__trace_read(const struct intro_trace *trace, void *to, size_t bytes, uint64_t offset);
/* Decodes to raw (raw_bytes of room). -EBADMSG when damaged, or what pread(2) says. */
int intro__chunk_read(struct intro_trace *trace, struct chunk *chunk, uint8_t *raw);
/* Adds the chunk to the damage, once. */
void intro__chunk_bad(struct intro_trace *trace, struct chunk *chunk);
bool intro__chunk_header_valid(const struct itr_chunk_header *header);
struct chunk intro__chunk_of(const struct itr_chunk_header *header, uint64_t offset);
/* Takes in a chunk whose header is valid: keeps it, or merges it when META. 0 or -ENOMEM. */
int intro__trace_add(struct intro_trace *trace, const struct itr_chunk_header *header,
		     uint64_t offset);
/* Appends to the list; 0 or -ENOMEM. */
int intro__trace_keep(struct intro_trace *trace, const struct chunk *chunk);

/* Finds the chunks by walking through the file, and where some are missing. 0 or -errno. */
int intro__trace_scan(struct intro_trace *trace);
/* Sorts the chunks and puts a missing one wherever a stream may have lost some to a gap. */
int intro__trace_arrange(struct intro_trace *trace);

#endif
