// SPDX-License-Identifier: BSD-2-Clause
/* The fuzzer of trace files, from fixed seeds and for as long as a unit test may take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "../fuzz/fuzz_trace.c"
#include "trace_file.h"

static struct bytes seed_file(bool compress)
{
	struct intro_trace_options options = {
		.size = sizeof(options),
		.chunk_bytes = 256,
		.no_compress = !compress,
	};
	int fd = memory_file();
	struct intro_trace_writer *writer = intro_trace_writer_new(dup(fd), &options);
	struct bytes file;

	assert_int_equal(intro_trace_writer_meta(writer, "{\"cpus\":2}"), 0);
	for (uint32_t i = 0; i < 60; i++) {
		struct intro_rec_switch sw = make_switch(1000 + i * 7, 0, i, i + 1);
		struct intro_rec_task task = make_task(1003 + i * 7, 0, i);

		assert_int_equal(intro_trace_writer_append(writer, i % 4, &sw, sizeof(sw)), 0);
		assert_int_equal(intro_trace_writer_append(writer, i % 4, &task, sizeof(task)), 0);
	}
	assert_int_equal(intro_trace_writer_close(writer), 0);
	file = memory_file_bytes(fd);
	close(fd);
	return file;
}

/* Changes a few bytes, or copies, cuts out or zeroes a piece. */
static void mutate(struct bytes *file, uint64_t *seed)
{
	uint64_t dice = random_next(seed);
	size_t from = random_next(seed) % file->size, to = random_next(seed) % file->size;
	size_t length = dice >> 16 & 0x7f;

	if (length > file->size - from)
		length = file->size - from;
	if (length > file->size - to)
		length = file->size - to;
	switch (dice % 6) {
	case 0:
		file->data[to] ^= (uint8_t)(1u << (dice >> 8) % 8);
		break;
	case 1:
		file->data[to] = (uint8_t)(dice >> 8);
		break;
	case 2:
		memmove(file->data + to, file->data + from, length);
		break;
	case 3:
		memset(file->data + to, dice >> 8 & 1 ? 0xff : 0, length & 15);
		break;
	case 4:
		memmove(file->data + from, file->data + from + length, file->size - from - length);
		file->size -= length;
		break;
	case 5:
		if (dice >> 8 & 1)
			file->size -= file->size / 8;
		break;
	}
}

static void mutated_traces_are_survived(void **state)
{
	for (uint64_t seed = 1; seed <= 1500; seed++) {
		struct bytes file = seed_file(seed & 1);
		uint8_t *input = malloc(file.size + 1);
		uint64_t random = seed;

		for (uint64_t n = random_next(&random) % 8; n < 8; n++)
			if (file.size > 200)
				mutate(&file, &random);
		input[0] = (uint8_t)(seed >> 1);
		memcpy(input + 1, file.data, file.size);
		LLVMFuzzerTestOneInput(input, file.size + 1);
		free(input);
		free(file.data);
	}
}

static void noise_is_survived(void **state)
{
	uint8_t noise[600];

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
		cmocka_unit_test(mutated_traces_are_survived),
		cmocka_unit_test(noise_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
