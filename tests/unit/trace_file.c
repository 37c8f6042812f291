// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#ifdef __SANITIZE_ADDRESS__
/* gcc ships the function without its header */
size_t __sanitizer_get_current_allocated_bytes(void);
#endif

#include "trace/codec.h"
#include "trace_file.h"

/* splitmix64 */
uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int memory_file(void)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

struct bytes memory_file_bytes(int fd)
{
	struct bytes bytes;
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	bytes.size = (size_t)st.st_size;
	bytes.data = malloc(bytes.size + 1);
	assert_non_null(bytes.data);
	assert_int_equal(pread(fd, bytes.data, bytes.size, 0), (ssize_t)bytes.size);
	return bytes;
}

struct intro_trace *open_bytes(const void *data, size_t size)
{
	int fd = memory_file(), err;
	struct intro_trace *trace;
	const char *why;
	char path[64];

	assert_int_equal(write(fd, data, size), (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	trace = intro_trace_open(path, &why);
	err = errno;
	close(fd);
	assert_true(!trace == !!why);
	errno = err;
	return trace;
}

struct intro_rec_switch make_switch(uint64_t ts, uint16_t cpu, uint32_t tid, uint32_t next_tid)
{
	return (struct intro_rec_switch){
		.rec = {.ts = ts, .kind = INTRO_KIND_SWITCH, .rows = 1, .cpu = cpu, .tid = tid},
		.next_tid = next_tid,
		.state = INTRO_OFF_SLEEP,
		.sysnr = 202,
		.arg0 = 0x7f0000001000u + tid,
	};
}

struct intro_rec_task make_task(uint64_t ts, uint16_t cpu, uint32_t tid)
{
	return (struct intro_rec_task){
		.rec = {.ts = ts, .kind = INTRO_KIND_TASK, .rows = 2, .cpu = cpu, .tid = tid},
		.tgid = tid,
		.start_time = ts / 2,
		.comm = "worker",
	};
}

chunk_here *chunk_at(struct bytes file, size_t n, size_t *at)
{
	size_t offset = sizeof(struct itr_file_header);
	chunk_here *header;

	while (offset + sizeof(*header) <= file.size) {
		header = (chunk_here *)(file.data + offset);
		assert_int_equal(header->magic, ITR_CHUNK_MAGIC);
		if (n-- == 0) {
			if (at)
				*at = offset;
			return header;
		}
		offset += sizeof(*header) + header->stored_bytes;
	}
	return NULL;
}

void chunk_seal(chunk_here *header)
{
	header->payload_crc = intro__crc(header + 1, header->stored_bytes);
	header->crc = intro__crc(header, offsetof(chunk_here, crc));
}

static void see(struct seen_list *list, const struct intro_rec *record, uint32_t stream)
{
	struct seen *seen;

	if (list->count == list->room) {
		list->room = list->room ? list->room * 2 : 64;
		list->items = realloc(list->items, list->room * sizeof(*list->items));
		assert_non_null(list->items);
	}
	seen = &list->items[list->count++];
	memset(seen, 0, sizeof(*seen));
	seen->stream = stream;
	seen->rows = record->rows;
	memcpy(seen->bytes, record, (size_t)record->rows * INTRO_ROW_BYTES);
}

struct seen_list read_all(struct intro_trace *trace)
{
	struct intro_cursor *cursor = intro_cursor_new(trace);
	const struct intro_rec *record;
	struct seen_list list = {0};
	uint32_t stream, last_stream = 0;
	uint64_t last = 0;
	int more;

	assert_non_null(cursor);
	while ((more = intro_cursor_next(cursor, &record, &stream)) == 1) {
		assert_in_range(record->rows, 1, INTRO_ROWS_MAX);
		assert_true(record->ts >= last);
		if (record->ts == last && list.count)
			assert_true(stream >= last_stream);
		last = record->ts;
		last_stream = stream;
		see(&list, record, stream);
	}
	assert_int_equal(more, 0);
	assert_int_equal(intro_cursor_next(cursor, &record, &stream), 0);
	intro_cursor_free(cursor);
	return list;
}

size_t allocated_bytes(void)
{
#ifdef __SANITIZE_ADDRESS__
	return __sanitizer_get_current_allocated_bytes();
#else
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
#endif
}
