// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "trace/codec.h"
#include "trace_file.h"

/* The filter as its description reads, without tiles. */
static void plain_filter(const uint8_t *in, uint8_t *out, size_t rows)
{
	uint64_t before = 0;

	for (size_t i = 0; i < rows; i++) {
		uint8_t row[INTRO_ROW_BYTES];
		uint64_t now, difference;

		memcpy(row, in + i * sizeof(row), sizeof(row));
		memcpy(&now, row, sizeof(now));
		difference = now - before;
		before = now;
		memcpy(row, &difference, sizeof(difference));
		for (size_t c = 0; c < sizeof(row); c++)
			out[c * rows + i] = row[c];
	}
}

static void filter_is_what_it_says_and_undoes_itself(void **state)
{
	uint64_t seed = 1;

	for (size_t rows = 0; rows <= 130; rows++) {
		size_t bytes = rows * INTRO_ROW_BYTES;
		uint8_t *in = malloc(bytes + 1), *out = malloc(bytes + 1);
		uint8_t *plain = malloc(bytes + 1), *back = malloc(bytes + 1);

		for (size_t i = 0; i < bytes; i++)
			in[i] = (uint8_t)random_next(&seed);
		intro__rows_filter(in, out, rows);
		plain_filter(in, plain, rows);
		assert_memory_equal(out, plain, bytes);
		intro__rows_unfilter(out, back, rows);
		assert_memory_equal(in, back, bytes);
		free(in);
		free(out);
		free(plain);
		free(back);
	}
}

static void every_codec_gives_back_what_it_took(void **state)
{
	struct intro__codec *codec = intro__codec_new(3);
	struct intro_rec_switch rows[300];
	uint8_t back[sizeof(rows)];
	const void *stored;

	assert_non_null(codec);
	for (uint32_t i = 0; i < 300; i++)
		rows[i] = make_switch(1000000 + i * 1500, 1, i % 7, (i + 1) % 7);
	for (uint8_t id = ITR_RAW; id <= ITR_ROWS_ZSTD; id++) {
		uint8_t used = id;
		size_t bytes = intro__codec_encode(codec, &used, rows, sizeof(rows), &stored);
		uint8_t *copy = malloc(bytes);

		assert_int_equal(used, id);
		memcpy(copy, stored, bytes);
		assert_int_equal(intro__codec_decode(codec, used, copy, bytes, back, sizeof(back)),
				 0);
		assert_memory_equal(rows, back, sizeof(back));
		if (id != ITR_RAW)
			assert_true(bytes < sizeof(rows) / 4);
		free(copy);
	}
	intro__codec_free(codec);
}

static void what_does_not_shrink_is_stored_raw(void **state)
{
	struct intro__codec *codec = intro__codec_new(1);
	uint8_t noise[64 * INTRO_ROW_BYTES], id = ITR_ROWS_ZSTD;
	const void *stored;
	uint64_t seed = 7;

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)random_next(&seed);
	assert_int_equal(intro__codec_encode(codec, &id, noise, sizeof(noise), &stored),
			 sizeof(noise));
	assert_int_equal(id, ITR_RAW);
	assert_ptr_equal(stored, noise);
	intro__codec_free(codec);
}

static void decoding_never_writes_more_than_was_asked(void **state)
{
	struct intro__codec *codec = intro__codec_new(1);
	uint8_t zeros[4096] = {0}, id = ITR_ZSTD;
	uint8_t *small = malloc(64); /* ASan watches its end */
	const void *stored;
	uint8_t frame[256];
	size_t bytes = intro__codec_encode(codec, &id, zeros, sizeof(zeros), &stored);

	assert_true(bytes <= sizeof(frame));
	memcpy(frame, stored, bytes);
	assert_int_equal(intro__codec_decode(codec, ITR_ZSTD, frame, bytes, small, 64), -EBADMSG);
	assert_int_equal(intro__codec_decode(codec, ITR_ROWS_ZSTD, frame, bytes, small, 64),
			 -EBADMSG);
	assert_int_equal(intro__codec_decode(codec, ITR_RAW, frame, bytes, small, 64), -EBADMSG);
	assert_int_equal(intro__codec_decode(codec, 9, frame, bytes, small, 64), -EBADMSG);
	assert_int_equal(
		intro__codec_decode(codec, ITR_ZSTD, frame, bytes, small, ITR_RAW_MAX + 1u),
		-EBADMSG);
	assert_int_equal(intro__codec_decode(codec, ITR_ROWS_ZSTD, frame, bytes, small, 33),
			 -EBADMSG);
	free(small);
	intro__codec_free(codec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filter_is_what_it_says_and_undoes_itself),
		cmocka_unit_test(every_codec_gives_back_what_it_took),
		cmocka_unit_test(what_does_not_shrink_is_stored_raw),
		cmocka_unit_test(decoding_never_writes_more_than_was_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
