// SPDX-License-Identifier: BSD-2-Clause
/* seeds.c - fills DIRECTORY with small traces for fuzz_trace to start from. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <introspect/trace.h>

static int write_records(struct intro_trace_writer *writer)
{
	int err = intro_trace_writer_meta(writer, "{\"cpus\":2,\"command\":[\"a\",\"b\"]}");

	for (uint32_t i = 0; !err && i < 40; i++) {
		struct intro_rec_switch sw = {
			.rec = {.ts = 1000 + i * 7, .kind = INTRO_KIND_SWITCH, .rows = 1, .tid = i},
			.next_tid = i + 1,
		};
		struct intro_rec_task task = {
			.rec = {.ts = 1001 + i * 7, .kind = INTRO_KIND_TASK, .rows = 2, .tid = i},
		};

		err = intro_trace_writer_append(writer, i % 3, &sw, sizeof(sw));
		if (!err)
			err = intro_trace_writer_append(writer, i % 3, &task, sizeof(task));
	}
	return err;
}

static int write_seed(const char *path, const struct intro_trace_options *options, char mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct intro_trace_writer *writer;
	int err;

	/* the fuzzer's own first byte */
	if (fd < 0 || write(fd, &mode, 1) != 1)
		return -1;
	writer = intro_trace_writer_new(fd, options);
	if (!writer)
		return -1;
	err = write_records(writer);
	return intro_trace_writer_close(writer) || err;
}

int main(int argc, char **argv)
{
	int err = 0;

	if (argc != 2)
		return 2;
	for (int i = 0; i < 8 && !err; i++) {
		struct intro_trace_options options = {
			.size = sizeof(options),
			.no_compress = i & 1,
			.chunk_bytes = i & 2 ? 64 : 512,
		};
		char path[4096];

		snprintf(path, sizeof(path), "%s/seed-%d", argv[1], i);
		err = write_seed(path, &options, i & 4 ? '1' : '0');
	}
	return err ? 1 : 0;
}
