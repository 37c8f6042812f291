/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_TRACE_CODEC_H
#define INTROSPECT_TRACE_CODEC_H
/*
 * codec.h - what happens to a chunk's payload between memory and disk.
 *
 * The row filter takes any number of rows of 32 bytes. It replaces the u64 at the start of each by
 * its difference to that of the row before (0 for the first), then stores byte 0 of all rows, byte
 * 1 of all rows, and so on. It undoes itself exactly, whatever the rows hold.
 */
#include <stddef.h>
#include <stdint.h>

#include "trace/format.h"

/* out: rows * 32 bytes, not overlapping in. */
void intro__rows_filter(const uint8_t *in, uint8_t *out, size_t rows);
void intro__rows_unfilter(const uint8_t *in, uint8_t *out, size_t rows);

/* Memory that grows as needed and never shrinks. Zeroed: empty. */
struct intro__buffer {
	uint8_t *data;
	size_t room;
};
/* At least `bytes`; what it held is gone. 0 or -ENOMEM. */
int intro__buffer_need(struct intro__buffer *buffer, size_t bytes);

struct intro__codec;
struct intro__codec *intro__codec_new(int level);
void intro__codec_free(struct intro__codec *codec);
/*
 * Encodes raw_bytes (≤ ITR_RAW_MAX; for ITR_ROWS_ZSTD whole rows). *codec_id: what is wanted, then
 * what was done: ITR_RAW when that is smaller, or memory is short. *out is valid until the next
 * call. Returns its size.
 */
size_t intro__codec_encode(struct intro__codec *codec, uint8_t *codec_id, const void *raw,
			   size_t raw_bytes, const void **out);
/* Fills raw with exactly raw_bytes, or returns -EBADMSG: whatever `stored` holds. Or -ENOMEM. */
int intro__codec_decode(struct intro__codec *codec, uint8_t codec_id, const void *stored,
			size_t stored_bytes, void *raw, size_t raw_bytes);

/* crc32 of a structure up to its last member, the crc. */
uint32_t intro__crc(const void *data, size_t bytes);
#define intro__crc_of(s) intro__crc((s), sizeof(*(s)) - sizeof(uint32_t))

#endif
