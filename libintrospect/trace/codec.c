// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <introspect/abi.h>

#include "trace/codec.h"

#define ROW INTRO_ROW_BYTES
#define TILE 16 /* rows and columns that are transposed at once, in 16 registers */

typedef uint8_t tile_row __attribute__((vector_size(TILE)));

static inline tile_row interleave_low(tile_row a, tile_row b)
{
	return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7,
				       23);
}

static inline tile_row interleave_high(tile_row a, tile_row b)
{
	return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30,
				       15, 31);
}

/*
 * Interleaving row i with row i + 8 is a perfect shuffle of the tile's 256 bytes: it rotates
 * the 8 bits of a byte's address (row, column) by one. Four of them swap row and column.
 */
static inline void shuffle(const tile_row *in, tile_row *out)
{
#pragma GCC unroll 8
	for (int i = 0; i < TILE / 2; i++) {
		out[2 * i] = interleave_low(in[i], in[i + TILE / 2]);
		out[2 * i + 1] = interleave_high(in[i], in[i + TILE / 2]);
	}
}

static inline void transpose_tile(const uint8_t *in, size_t in_stride, uint8_t *out,
				  size_t out_stride)
{
	tile_row a[TILE], b[TILE];

#pragma GCC unroll 16
	for (int i = 0; i < TILE; i++)
		memcpy(&a[i], in + (size_t)i * in_stride, TILE);
	shuffle(a, b);
	shuffle(b, a);
	shuffle(a, b);
	shuffle(b, a);
#pragma GCC unroll 16
	for (int i = 0; i < TILE; i++)
		memcpy(out + (size_t)i * out_stride, &a[i], TILE);
}

void intro__rows_filter(const uint8_t *in, uint8_t *out, size_t rows)
{
	uint8_t tile[TILE][ROW];
	uint64_t before = 0, now, difference;
	size_t done = 0;

	for (; done < rows; done += TILE) {
		size_t n = rows - done < TILE ? rows - done : TILE;

		for (size_t i = 0; i < n; i++) {
			const uint8_t *row = in + (done + i) * ROW;

			memcpy(tile[i], row, ROW);
			memcpy(&now, row, sizeof(now));
			difference = now - before;
			before = now;
			memcpy(tile[i], &difference, sizeof(difference));
		}
		if (n == TILE) {
			transpose_tile(tile[0], ROW, out + done, rows);
			transpose_tile(tile[0] + TILE, ROW, out + TILE * rows + done, rows);
			continue;
		}
		for (size_t i = 0; i < n; i++)
			for (size_t c = 0; c < ROW; c++)
				out[c * rows + done + i] = tile[i][c];
	}
}

void intro__rows_unfilter(const uint8_t *in, uint8_t *out, size_t rows)
{
	uint64_t before = 0, difference;
	size_t done = 0;

	for (; done < rows; done += TILE) {
		size_t n = rows - done < TILE ? rows - done : TILE;
		uint8_t *row = out + done * ROW;

		if (n == TILE) {
			transpose_tile(in + done, rows, row, ROW);
			transpose_tile(in + TILE * rows + done, rows, row + TILE, ROW);
		} else {
			for (size_t i = 0; i < n; i++)
				for (size_t c = 0; c < ROW; c++)
					row[i * ROW + c] = in[c * rows + done + i];
		}
		for (size_t i = 0; i < n; i++) {
			memcpy(&difference, row + i * ROW, sizeof(difference));
			before += difference;
			memcpy(row + i * ROW, &before, sizeof(before));
		}
	}
}

int intro__buffer_need(struct intro__buffer *buffer, size_t bytes)
{
	if (!bytes)
		bytes = 1; /* never NULL, which memcpy may not be given */
	if (bytes <= buffer->room)
		return 0;
	free(buffer->data);
	buffer->data = malloc(bytes);
	buffer->room = buffer->data ? bytes : 0;
	return buffer->data ? 0 : -ENOMEM;
}

struct intro__codec {
	int level;
	ZSTD_CCtx *cctx; /* both made when first needed */
	ZSTD_DCtx *dctx;
	struct intro__buffer columns, frame;
};

struct intro__codec *intro__codec_new(int level)
{
	struct intro__codec *codec = calloc(1, sizeof(*codec));

	if (codec)
		codec->level = level;
	return codec;
}

void intro__codec_free(struct intro__codec *codec)
{
	if (!codec)
		return;
	ZSTD_freeCCtx(codec->cctx);
	ZSTD_freeDCtx(codec->dctx);
	free(codec->columns.data);
	free(codec->frame.data);
	free(codec);
}

static size_t filter_and_compress(struct intro__codec *codec, uint8_t codec_id, const void *raw,
				  size_t raw_bytes)
{
	const void *plain = raw;

	if (!codec->cctx)
		codec->cctx = ZSTD_createCCtx();
	if (!codec->cctx || intro__buffer_need(&codec->frame, ZSTD_compressBound(raw_bytes)))
		return SIZE_MAX;
	if (codec_id == ITR_ROWS_ZSTD) {
		if (intro__buffer_need(&codec->columns, raw_bytes))
			return SIZE_MAX;
		intro__rows_filter(raw, codec->columns.data, raw_bytes / ROW);
		plain = codec->columns.data;
	}
	/* an error is a huge number */
	return ZSTD_compressCCtx(codec->cctx, codec->frame.data, codec->frame.room, plain,
				 raw_bytes, codec->level);
}

size_t intro__codec_encode(struct intro__codec *codec, uint8_t *codec_id, const void *raw,
			   size_t raw_bytes, const void **out)
{
	size_t bytes = *codec_id == ITR_RAW ? SIZE_MAX
					    : filter_and_compress(codec, *codec_id, raw, raw_bytes);

	if (bytes >= raw_bytes) {
		*codec_id = ITR_RAW;
		*out = raw;
		return raw_bytes;
	}
	*out = codec->frame.data;
	return bytes;
}

int intro__codec_decode(struct intro__codec *codec, uint8_t codec_id, const void *stored,
			size_t stored_bytes, void *raw, size_t raw_bytes)
{
	void *plain = raw;

	if (raw_bytes > ITR_RAW_MAX)
		return -EBADMSG;
	switch (codec_id) {
	case ITR_RAW:
		if (stored_bytes != raw_bytes)
			return -EBADMSG;
		memcpy(raw, stored, raw_bytes);
		return 0;
	case ITR_ROWS_ZSTD:
		if (raw_bytes % ROW)
			return -EBADMSG;
		if (intro__buffer_need(&codec->columns, raw_bytes))
			return -ENOMEM;
		plain = codec->columns.data;
		break;
	case ITR_ZSTD:
		break;
	default:
		return -EBADMSG;
	}
	if (!codec->dctx)
		codec->dctx = ZSTD_createDCtx();
	if (!codec->dctx)
		return -ENOMEM;
	/* an error is a huge number, so it is not equal either */
	if (ZSTD_decompressDCtx(codec->dctx, plain, raw_bytes, stored, stored_bytes) != raw_bytes)
		return -EBADMSG;
	if (codec_id == ITR_ROWS_ZSTD)
		intro__rows_unfilter(plain, raw, raw_bytes / ROW);
	return 0;
}

uint32_t intro__crc(const void *data, size_t bytes)
{
	return (uint32_t)crc32_z(0, data, bytes);
}
