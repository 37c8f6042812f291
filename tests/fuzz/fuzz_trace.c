// SPDX-License-Identifier: BSD-2-Clause
/*
 * fuzz_trace.c - any bytes as a trace file: it opens or is refused, it ends, and what it gives is
 * in order of time. Checksums would stop nearly every mutation at the door, so if the first byte
 * is odd they are put right first: then the bytes behind it are what a liar would write.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <introspect/trace.h>

#include "trace/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_crc(uint8_t *at, size_t bytes)
{
	uint32_t crc = intro__crc(at, bytes - sizeof(crc));

	memcpy(at + bytes - sizeof(crc), &crc, sizeof(crc));
}

static void reseal(uint8_t *data, size_t size)
{
	size_t offset = sizeof(struct itr_file_header);
	struct itr_chunk_header header;

	if (size < offset)
		return;
	put_crc(data, offset);
	while (offset + sizeof(header) <= size) {
		uint8_t *at = data + offset;
		size_t left = size - offset - sizeof(header);

		memcpy(&header, at, sizeof(header));
		if (header.magic != ITR_CHUNK_MAGIC)
			break;
		if (header.stored_bytes <= left)
			header.payload_crc = intro__crc(at + sizeof(header), header.stored_bytes);
		memcpy(at, &header, sizeof(header));
		put_crc(at, sizeof(header));
		if (header.stored_bytes > left)
			break;
		offset += sizeof(header) + header.stored_bytes;
	}
	if (size - offset == sizeof(struct itr_footer))
		put_crc(data + offset, sizeof(struct itr_footer));
}

static void read_through(struct intro_trace *trace)
{
	struct intro_cursor *cursor = intro_cursor_new(trace);
	const struct intro_rec *record;
	uint32_t stream, last_stream = 0;
	uint64_t last = 0;
	int more;

	if (!cursor)
		abort();
	while ((more = intro_cursor_next(cursor, &record, &stream)) == 1) {
		if (record->rows < 1 || record->rows > INTRO_ROWS_MAX || record->ts < last ||
		    (record->ts == last && stream < last_stream))
			abort();
		last = record->ts;
		last_stream = stream;
	}
	if (more)
		abort();
	intro_cursor_free(cursor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct intro_trace *trace;
	char path[64];
	uint8_t *copy;
	int fd;

	if (size < 1)
		return 0;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	copy = malloc(size);
	if (fd < 0 || !copy)
		abort();
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1)
		reseal(copy, size - 1);
	if (write(fd, copy, size - 1) != (ssize_t)(size - 1))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	trace = intro_trace_open(path, NULL);
	if (trace) {
		if (!intro_trace_meta(trace))
			abort();
		read_through(trace);
	}
	intro_trace_free(trace);
	close(fd);
	free(copy);
	return 0;
}
