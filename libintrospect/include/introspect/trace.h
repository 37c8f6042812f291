/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_TRACE_H
#define INTROSPECT_TRACE_H
/*
 * trace.h - writing and reading trace files (.itr). The format is in introspect-trace(5).
 *
 * A file is a sequence of chunks, each of one stream: the records of one CPU, of one marks ring, or
 * JSON that describes the trace. Within a stream records are in order of time. An index at the end
 * makes opening fast; without it (the tracer was killed, the disk is full) the chunks are scanned,
 * and what is whole is used.
 *
 * Errors: 0 or a count, or -errno; constructors return NULL and set errno. Objects belong to one
 * thread at a time.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/abi.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Streams: kernel records by CPU come first, so that ties in time put the kernel before marks. */
#define INTRO_STREAM_CPU(cpu) ((uint32_t)(cpu))
/* A CPU's late records (INTRO_SWITCH_LATE, INTRO_WAKING_LATE): apart, for their times go back. */
#define INTRO_STREAM_LATE(cpu) (0x8000u + (uint32_t)(cpu))
/* A CPU's PAGES records: told of when the pages have been counted for a while. */
#define INTRO_STREAM_PLACED(cpu) (0xc000u + (uint32_t)(cpu))
/*
 * DEF records, all with the time when recording began: a merged reader has every name before the
 * first mark that uses it, however late it was defined.
 */
#define INTRO_STREAM_DEFS 0x0000fffeu
#define INTRO_STREAM_CONTROL 0x0000ffffu /* the collector's own records: snapshots */
#define INTRO_STREAM_MARKS(n) (0x00010000u + (uint32_t)(n))
#define INTRO_STREAM_META 0xffffffffu

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_trace_options {
	size_t size;
	int level;	      /* zstd level, -50 to 19; 0: the default */
	bool no_compress;     /* store rows as they are */
	uint32_t chunk_bytes; /* of a full chunk, before compression, to 1 MiB; 0: the default */
};

struct intro_trace_writer;

/*
 * Writes to fd, which it then owns (closed by close and by free); after a failure it stays the
 * caller's. The file starts empty. NULL and errno: EINVAL for options out of range, or what
 * write(2) says.
 */
struct intro_trace_writer *intro_trace_writer_new(int fd,
						  const struct intro_trace_options *options);
/*
 * A JSON object of at most 1 MiB; the members of later ones replace those of earlier ones. Written
 * at once.
 */
int intro_trace_writer_meta(struct intro_trace_writer *writer, const char *json);
/*
 * Whole records, aligned to 8 bytes, in order of time after those of the stream before. Copied. One
 * that is earlier than its predecessor is stored with the predecessor's time, and counted: two
 * writers on one CPU may read the clock in one order and take their room in the other. -EINVAL
 * when they are malformed, nothing is then stored; -ENOSPC and other write errors stick: every
 * later call returns the same, and the file holds whole chunks only.
 */
int intro_trace_writer_append(struct intro_trace_writer *writer, uint32_t stream,
			      const void *records, size_t bytes);
/* Writes out streams whose chunk was begun more than max_age_ns ago (0: all). */
int intro_trace_writer_flush(struct intro_trace_writer *writer, uint64_t max_age_ns);
struct intro_trace_writer_stats {
	uint64_t records; /* written: those still gathered are not counted */
	uint64_t raw_bytes;
	uint64_t file_bytes;
	uint64_t raised; /* records that were out of order */
};
void intro_trace_writer_stats(const struct intro_trace_writer *writer,
			      struct intro_trace_writer_stats *stats);
/* Flushes, writes the index, closes and frees. Returns the first error there was. */
int intro_trace_writer_close(struct intro_trace_writer *writer);
/* Drops what is not written, closes, frees. NULL is fine. */
void intro_trace_writer_free(struct intro_trace_writer *writer);

struct intro_trace;

/* What is wrong with a file that could be opened. */
struct intro_trace_damage {
	bool truncated;	      /* no index: the end is missing */
	uint64_t bad_chunks;  /* a checksum did not match, or would not decompress */
	uint64_t bad_bytes;   /* of the file, not understood */
	uint64_t bad_records; /* malformed or out of order within a chunk */
	uint64_t lost_from_ns, lost_until_ns; /* what bad chunks covered, as far as known */
};

/*
 * NULL and errno; *why (may be NULL) is then a static one-line reason. EINVAL: not a trace;
 * ENODATA: empty, or not one whole chunk; EPROTONOSUPPORT: a version this reader does not know.
 */
struct intro_trace *intro_trace_open(const char *path, const char **why);
void intro_trace_free(struct intro_trace *trace);
/* All META chunks merged: one JSON object; the trace's memory. "{}" when there is none. */
const char *intro_trace_meta(const struct intro_trace *trace);
/* Grows as chunks are read: final once a cursor came to the end. */
void intro_trace_damage(const struct intro_trace *trace, struct intro_trace_damage *damage);
/* From the index: first and last record, and how many. */
void intro_trace_range(const struct intro_trace *trace, uint64_t *first_ns, uint64_t *last_ns,
		       uint64_t *records);

/*
 * All streams merged by (time, stream, position): the same file gives the same order always. Holds
 * one chunk a stream in memory, and only for streams which are under way. A bad chunk gives a LOST
 * record over its time range instead (count: its records), on its stream. Where the file does not
 * tell whose chunk is missing (a damaged header and no index, or the end cut off) every stream gets
 * a LOST record from its last known record to its next one or the trace's last: with count 0, for
 * not known.
 */
struct intro_cursor;
struct intro_cursor *intro_cursor_new(struct intro_trace *trace);
/* 1 and *record (valid until the next call) and *stream (may be NULL); 0 at the end; -errno. */
int intro_cursor_next(struct intro_cursor *cursor, const struct intro_rec **record,
		      uint32_t *stream);
void intro_cursor_free(struct intro_cursor *cursor);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
