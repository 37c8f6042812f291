// SPDX-License-Identifier: BSD-2-Clause
/* The fuzzer of the replay, from fixed seeds and for as long as a unit test may take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../fuzz/fuzz_replay.c"
#include "trace_file.h"

/* Rows of every kind about few threads, tasks and pools, so that they meet each other. */
static void likely_nonsense(uint8_t *input, size_t rows, uint64_t *seed)
{
	static const uint8_t kinds[] = {1,  1,	1,  2,	2,  3,	4,  8,	9,  10, 12, 13, 16, 64, 65,
					66, 67, 67, 68, 69, 69, 70, 70, 71, 72, 73, 74, 75, 128};

	for (size_t i = 0; i < rows; i++) {
		uint8_t *row = input + i * INTRO_ROW_BYTES;
		struct intro_rec_mark mark = {
			.rec = {.ts = random_next(seed) % 1000,
				.kind = kinds[random_next(seed) % sizeof(kinds)],
				.rows = 1,
				.cpu = random_next(seed) % 3,
				.tid = random_next(seed) % 6},
			.task = random_next(seed) % 12,
			.a = random_next(seed) % 6,
			.b = (uint32_t)random_next(seed) % 4,
		};

		if (mark.rec.kind == INTRO_KIND_SWITCH)
			mark.b = (uint32_t)random_next(seed) % 6 |
				 (uint32_t)(random_next(seed) % 300) << 16;
		memcpy(row, &mark, sizeof(mark));
	}
}

static void nonsense_is_survived_and_sums(void **state)
{
	enum { ROWS = 400 };
	static uint8_t input[1 + ROWS * INTRO_ROW_BYTES];

	for (uint64_t seed = 1; seed <= 150; seed++) {
		uint64_t random = seed;

		input[0] = (uint8_t)seed;
		likely_nonsense(input + 1, ROWS, &random);
		LLVMFuzzerTestOneInput(input, sizeof(input));
	}
}

static void noise_is_survived(void **state)
{
	uint8_t noise[1 + 64 * INTRO_ROW_BYTES];

	for (uint64_t seed = 1; seed <= 300; seed++) {
		uint64_t random = seed;

		for (size_t i = 0; i < sizeof(noise); i++)
			noise[i] = (uint8_t)random_next(&random);
		LLVMFuzzerTestOneInput(noise, sizeof(noise));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nonsense_is_survived_and_sums),
		cmocka_unit_test(noise_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
