// SPDX-License-Identifier: BSD-2-Clause
/* Files that are cut, damaged, foreign, hostile, or that the disk had no room for. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "trace/codec.h"
#include "trace/reader.h"
#include "trace_file.h"

#define STREAMS 3
#define RECORDS 36

static const uint32_t stream_ids[STREAMS] = {0, 1, INTRO_STREAM_MARKS(0)};

/* A small file of three streams and two META chunks. Record n has tid n; stream n % 3. */
static struct bytes small_file(void)
{
	struct intro_trace_options options = {.size = sizeof(options), .chunk_bytes = 128};
	int fd = memory_file();
	struct intro_trace_writer *writer = intro_trace_writer_new(dup(fd), &options);
	struct bytes file;

	assert_non_null(writer);
	assert_int_equal(intro_trace_writer_meta(writer, "{\"begin\":true}"), 0);
	for (uint32_t i = 0; i < RECORDS; i++) {
		struct intro_rec_switch sw = make_switch(1000 + i * 10, 1, i, i + 1);

		assert_int_equal(
			intro_trace_writer_append(writer, stream_ids[i % 3], &sw, sizeof(sw)), 0);
	}
	assert_int_equal(intro_trace_writer_flush(writer, 0), 0);
	assert_int_equal(intro_trace_writer_meta(writer, "{\"end\":true}"), 0);
	assert_int_equal(intro_trace_writer_close(writer), 0);
	file = memory_file_bytes(fd);
	close(fd);
	return file;
}

/*
 * What is read must be what was written, in order, with nothing twice. Returns how many records;
 * *lost: the sum of the LOST records' counts; *holes: LOST records with count 0.
 */
static size_t check_subset(struct intro_trace *trace, uint64_t *lost, size_t *holes)
{
	struct seen_list list = read_all(trace);
	size_t count = 0;
	uint32_t next = 0;

	*lost = 0;
	*holes = 0;
	for (size_t i = 0; i < list.count; i++) {
		const struct intro_rec *record = seen_record(&list.items[i]);

		if (record->kind == INTRO_KIND_LOST) {
			const struct intro_rec_lost *gap = (const struct intro_rec_lost *)record;

			assert_true(gap->until_ts >= record->ts);
			assert_true(gap->count || gap->until_ts > record->ts);
			*lost += gap->count;
			*holes += gap->count == 0;
			continue;
		}
		struct intro_rec_switch sw =
			make_switch(1000 + record->tid * 10, 1, record->tid, record->tid + 1);

		assert_in_range(record->tid, next, RECORDS - 1);
		assert_memory_equal(record, &sw, sizeof(sw));
		assert_int_equal(list.items[i].stream, stream_ids[record->tid % 3]);
		next = record->tid + 1;
		count++;
	}
	free(list.items);
	return count;
}

/* Records in chunks that end at or before `size`. */
static size_t records_before(struct bytes file, size_t size)
{
	size_t records = 0, offset;

	for (size_t n = 0;; n++) {
		const chunk_here *chunk = chunk_at(file, n, &offset);

		if (!chunk || offset + sizeof(*chunk) + chunk->stored_bytes > size)
			return records;
		if (chunk->type == ITR_RECORDS)
			records += chunk->records;
	}
}

static void cut_anywhere_what_is_whole_is_read(void **state)
{
	struct bytes file = small_file();
	struct itr_footer footer;
	size_t first_end, holes;
	uint64_t lost;

	memcpy(&footer, file.data + file.size - sizeof(footer), sizeof(footer));
	chunk_at(file, 1, &first_end);
	for (size_t size = 0; size <= file.size; size++) {
		struct intro_trace *trace = open_bytes(file.data, size);
		struct intro_trace_damage damage;

		if (!trace) {
			assert_int_equal(errno, ENODATA);
			assert_true(size < first_end);
			continue;
		}
		assert_true(size >= first_end);
		assert_int_equal(check_subset(trace, &lost, &holes), records_before(file, size));
		intro_trace_damage(trace, &damage);
		if (size < footer.index_offset + sizeof(chunk_here)) {
			assert_true(damage.truncated);
		} else {
			/* the index begins: all records are there */
			assert_false(damage.truncated);
			assert_int_equal(holes, 0);
			assert_int_equal(damage.bad_bytes != 0,
					 size != file.size && size != file.size - sizeof(footer));
		}
		/* the header of a chunk tells what it held */
		assert_in_range(lost, 0, 4);
		intro_trace_free(trace);
	}
	free(file.data);
}

static void any_flipped_bit_is_survived(void **state)
{
	struct bytes file = small_file();
	size_t holes;

	for (size_t bit = 0; bit < file.size * 8; bit++) {
		size_t at = bit / 8, count;
		struct intro_trace_damage d;
		struct intro_trace *trace;
		uint64_t lost;

		file.data[at] ^= (uint8_t)(1u << bit % 8);
		trace = open_bytes(file.data, file.size);
		if (!trace) {
			assert_true(at < sizeof(struct itr_file_header));
			assert_int_equal(errno, EINVAL);
		} else {
			count = check_subset(trace, &lost, &holes);
			intro_trace_damage(trace, &d);
			/* every record is there or counted, and nothing is claimed lost in vain */
			assert_int_equal(count + lost, RECORDS);
			assert_int_equal(holes, 0);
			assert_false(d.truncated);
			if (lost)
				assert_true(d.bad_chunks == 1 && d.lost_from_ns &&
					    d.lost_until_ns >= d.lost_from_ns);
			/* also where the index holds a copy, and nothing is lost */
			assert_true(d.bad_chunks || d.bad_bytes);
		}
		intro_trace_free(trace);
		file.data[at] ^= (uint8_t)(1u << bit % 8);
	}
	free(file.data);
}

/* As above, of a file that was never closed: damaged headers make holes. */
static void any_flipped_bit_without_index_is_survived(void **state)
{
	struct bytes file = small_file();
	struct itr_footer footer;
	size_t size, first;

	memcpy(&footer, file.data + file.size - sizeof(footer), sizeof(footer));
	size = footer.index_offset;
	chunk_at(file, 0, &first);
	for (size_t bit = first * 8; bit < size * 8; bit++) {
		size_t at = bit / 8, count, holes;
		struct intro_trace_damage damage;
		struct intro_trace *trace;
		uint64_t lost;

		file.data[at] ^= (uint8_t)(1u << bit % 8);
		trace = open_bytes(file.data, size);
		assert_non_null(trace);
		count = check_subset(trace, &lost, &holes);
		intro_trace_damage(trace, &damage);
		assert_true(damage.bad_chunks || damage.bad_bytes);
		if (count + lost < RECORDS) {
			assert_int_equal(RECORDS - count - lost, 4);
			/* each stream says so, unless it has no time left in which to lose */
			assert_in_range(holes, STREAMS - 1, 2 * STREAMS);
		}
		intro_trace_free(trace);
		file.data[at] ^= (uint8_t)(1u << bit % 8);
	}
	free(file.data);
}

static void the_index_is_what_a_walk_finds(void **state)
{
	struct bytes file = small_file();
	struct intro_trace *indexed = open_bytes(file.data, file.size);
	struct intro_trace *walked = open_bytes(file.data, file.size - sizeof(struct itr_footer));

	assert_int_equal(indexed->chunks_count, 9);
	assert_int_equal(indexed->chunks_count, walked->chunks_count);
	assert_memory_equal(indexed->chunks, walked->chunks,
			    indexed->chunks_count * sizeof(struct chunk));
	assert_string_equal(intro_trace_meta(indexed), intro_trace_meta(walked));
	assert_string_equal(intro_trace_meta(walked), "{\"begin\":true,\"end\":true}");
	assert_int_equal(indexed->first_ns, 1000);
	assert_int_equal(indexed->last_ns, 1000 + (RECORDS - 1) * 10);
	assert_int_equal(walked->records, RECORDS);
	intro_trace_free(indexed);
	intro_trace_free(walked);
	free(file.data);
}

static void the_index_may_take_many_chunks(void **state)
{
	enum { CHUNKS = 40000 };
	struct intro_trace_options options = {.size = sizeof(options), .chunk_bytes = 64};
	int fd = memory_file();
	struct intro_trace_writer *writer = intro_trace_writer_new(dup(fd), &options);
	struct intro_trace_damage damage, none = {0};
	struct intro_trace *trace;
	struct seen_list list;
	struct bytes file;

	for (uint32_t i = 0; i < CHUNKS; i++) {
		struct intro_rec_task task = make_task(1000 + i, 0, i);

		assert_int_equal(intro_trace_writer_append(writer, 0, &task, sizeof(task)), 0);
	}
	assert_int_equal(intro_trace_writer_close(writer), 0);
	file = memory_file_bytes(fd);
	close(fd);
	trace = open_bytes(file.data, file.size);
	assert_int_equal(trace->chunks_count, CHUNKS);
	list = read_all(trace);
	assert_int_equal(list.count, CHUNKS);
	intro_trace_damage(trace, &damage);
	assert_memory_equal(&damage, &none, sizeof(none));
	free(list.items);
	intro_trace_free(trace);
	free(file.data);
}

static void expect_refusal(const void *data, size_t size, int err)
{
	errno = 0;
	assert_null(open_bytes(data, size));
	assert_int_equal(errno, err);
}

static void reseal_file(struct bytes file)
{
	uint32_t crc = intro__crc(file.data, offsetof(struct itr_file_header, crc));

	memcpy(file.data + offsetof(struct itr_file_header, crc), &crc, sizeof(crc));
}

static void what_is_not_ours_is_refused(void **state)
{
	struct bytes file = small_file();
	const char *why = NULL;
	uint8_t noise[4096];
	uint64_t seed = 3;

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)random_next(&seed);
	expect_refusal("", 0, ENODATA);
	expect_refusal(noise, sizeof(noise), EINVAL);
	expect_refusal("PERFILE2, and more of it than a header", 38, EINVAL);
	expect_refusal("\x7f", 1, EINVAL);
	/* a line-end conversion */
	expect_refusal("\x89ITR\n\x1a\n and more of it than a header", 32, EINVAL);
	expect_refusal(file.data, sizeof(struct itr_file_header), ENODATA);
	/* from the future: the file's format, then the records' */
	file.data[offsetof(struct itr_file_header, version)] = ITR_VERSION + 1;
	reseal_file(file);
	expect_refusal(file.data, file.size, EPROTONOSUPPORT);
	file.data[offsetof(struct itr_file_header, version)] = ITR_VERSION;
	file.data[offsetof(struct itr_file_header, abi_version)] = INTRO_ABI_VERSION + 1;
	reseal_file(file);
	expect_refusal(file.data, file.size, EPROTONOSUPPORT);
	file.data[offsetof(struct itr_file_header, abi_version)] = INTRO_ABI_VERSION;
	file.data[offsetof(struct itr_file_header, byte_order)] = 0x0a;
	reseal_file(file);
	expect_refusal(file.data, file.size, EINVAL);
	free(file.data);

	assert_null(intro_trace_open("/nonexistent/file.itr", &why));
	assert_int_equal(errno, ENOENT);
	assert_non_null(why);
	assert_null(intro_trace_open("/", NULL));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_trace_open("/dev/null", NULL));
	assert_int_equal(errno, EINVAL);
}

/* Sizes and counts which only a liar writes, with right checksums. */
static void huge_claims_are_not_believed(void **state)
{
	static const struct {
		size_t offset, size;
		uint64_t value;
	} lies[] = {
		{offsetof(chunk_here, raw_bytes), 4, 0xffffffffu},
		{offsetof(chunk_here, raw_bytes), 4, ITR_RAW_MAX},
		{offsetof(chunk_here, raw_bytes), 4, 32},
		{offsetof(chunk_here, raw_bytes), 4, 33},
		{offsetof(chunk_here, raw_bytes), 4, 0},
		{offsetof(chunk_here, stored_bytes), 4, 0xffffffffu},
		{offsetof(chunk_here, stored_bytes), 4, 0},
		{offsetof(chunk_here, records), 4, 0xffffffffu},
		{offsetof(chunk_here, records), 4, 0},
		{offsetof(chunk_here, records), 4, 1},
		{offsetof(chunk_here, t_last), 8, 0},
		{offsetof(chunk_here, t_last), 8, UINT64_MAX},
		{offsetof(chunk_here, t_first), 8, 0},
		{offsetof(chunk_here, t_first), 8, UINT64_MAX},
		{offsetof(chunk_here, sequence), 4, 0xffffffffu},
		{offsetof(chunk_here, stream), 4, INTRO_STREAM_META},
		{offsetof(chunk_here, type), 1, 77},
		{offsetof(chunk_here, type), 1, ITR_META},
		{offsetof(chunk_here, type), 1, ITR_INDEX},
		{offsetof(chunk_here, codec), 1, 77},
		{offsetof(chunk_here, codec), 1, ITR_RAW},
	};
	struct bytes whole = small_file();

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct bytes file = {malloc(whole.size), whole.size};
		chunk_here *chunk;
		struct intro_trace *trace;
		struct seen_list list;

		memcpy(file.data, whole.data, whole.size);
		chunk = chunk_at(file, 3, NULL);
		memcpy((uint8_t *)chunk + lies[i].offset, &lies[i].value, lies[i].size);
		chunk->crc = intro__crc(chunk, offsetof(chunk_here, crc));
		trace = open_bytes(file.data, file.size - sizeof(struct itr_footer));
		assert_non_null(trace);
		list = read_all(trace);
		assert_true(list.count >= 4);
		free(list.items);
		intro_trace_free(trace);
		free(file.data);
	}
	free(whole.data);
}

static void a_lying_footer_or_index_is_not_believed(void **state)
{
	struct bytes file = small_file();
	uint8_t *at = file.data + file.size - sizeof(struct itr_footer);
	struct itr_footer right, wrong;
	static const uint64_t values[] = {0, 1, 31, 32, 1u << 20, UINT64_MAX, UINT64_MAX - 63};

	memcpy(&right, at, sizeof(right));
	for (size_t i = 0; i < 2 * sizeof(values) / sizeof(values[0]); i++) {
		struct intro_trace_damage damage;
		struct intro_trace *trace;
		uint64_t lost;
		size_t holes;

		wrong = right;
		if (i % 2)
			wrong.index_offset = values[i / 2];
		else
			wrong.chunks = values[i / 2];
		wrong.crc = intro__crc_of(&wrong);
		memcpy(at, &wrong, sizeof(wrong));
		trace = open_bytes(file.data, file.size);
		assert_non_null(trace);
		assert_int_equal(check_subset(trace, &lost, &holes), RECORDS);
		assert_int_equal(lost + holes, 0);
		intro_trace_damage(trace, &damage);
		assert_int_equal(damage.bad_chunks, 1);
		intro_trace_free(trace);
	}
	free(file.data);
}

/* --- a disk without room --------------------------------------------------------------------- */

static void no_room_at_all_is_told_at_once(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		skip();
	assert_null(intro_trace_writer_new(fd, NULL));
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(close(fd), 0);
}

static void no_more_room_sticks_and_what_is_written_is_read(void **state)
{
	struct intro_trace_options options = {.size = sizeof(options), .chunk_bytes = 128};
	struct rlimit old, limit;
	struct intro_trace_writer *writer;
	struct intro_trace_writer_stats stats;
	struct intro_trace *trace;
	char path[] = "/tmp/introspect-XXXXXX";
	int fd = mkstemp(path), err = 0;
	size_t holes;
	uint64_t lost;

	assert_true(fd >= 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 500; /* in the middle of a chunk */
	writer = intro_trace_writer_new(fd, &options);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (uint32_t i = 0; i < RECORDS && !err; i++) {
		struct intro_rec_switch sw = make_switch(1000 + i * 10, 1, i, i + 1);

		err = intro_trace_writer_append(writer, stream_ids[i % 3], &sw, sizeof(sw));
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(err, -EFBIG);
	/* there is room again, but the file has a hole: it sticks */
	assert_int_equal(intro_trace_writer_append(writer, 0, NULL, 0), -EFBIG);
	assert_int_equal(intro_trace_writer_flush(writer, 0), -EFBIG);
	assert_int_equal(intro_trace_writer_meta(writer, "{}"), -EFBIG);
	intro_trace_writer_stats(writer, &stats);
	assert_int_equal(intro_trace_writer_close(writer), -EFBIG);
	trace = intro_trace_open(path, NULL);
	assert_non_null(trace);
	assert_true(trace->damage.truncated);
	assert_int_equal(trace->damage.bad_bytes, 0); /* whole chunks only */
	assert_int_equal(trace->size, stats.file_bytes);
	assert_true(stats.records > 0);
	assert_int_equal(check_subset(trace, &lost, &holes), stats.records);
	intro_trace_free(trace);
	assert_int_equal(unlink(path), 0);
}

/* A pipe takes what fits and no more: the rest of a chunk follows in further writes. */
static void short_writes_are_completed(void **state)
{
	enum { ROWS = 20000 };
	struct intro_trace_options options = {.size = sizeof(options), .no_compress = true};
	struct intro_rec_switch *rows = calloc(ROWS, sizeof(*rows));
	struct intro_trace_writer *writer;
	struct intro_trace *trace;
	struct seen_list list;
	struct bytes file;
	int pipe_fds[2], copy = memory_file(), status;
	pid_t child;

	for (uint32_t i = 0; i < ROWS; i++)
		rows[i] = make_switch(1000 + i, 0, i, i + 1);
	assert_int_equal(pipe(pipe_fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char buffer[1000];
		ssize_t n;

		close(pipe_fds[1]);
		while ((n = read(pipe_fds[0], buffer, sizeof(buffer))) > 0)
			if (write(copy, buffer, (size_t)n) != n)
				_exit(1);
		_exit(0);
	}
	close(pipe_fds[0]);
	writer = intro_trace_writer_new(pipe_fds[1], &options);
	assert_non_null(writer);
	assert_int_equal(intro_trace_writer_append(writer, 0, rows, ROWS * sizeof(*rows)), 0);
	assert_int_equal(intro_trace_writer_close(writer), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	file = memory_file_bytes(copy);
	close(copy);
	trace = open_bytes(file.data, file.size);
	list = read_all(trace);
	assert_int_equal(list.count, ROWS);
	free(list.items);
	intro_trace_free(trace);
	free(file.data);
	free(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_anywhere_what_is_whole_is_read),
		cmocka_unit_test(any_flipped_bit_is_survived),
		cmocka_unit_test(any_flipped_bit_without_index_is_survived),
		cmocka_unit_test(the_index_is_what_a_walk_finds),
		cmocka_unit_test(the_index_may_take_many_chunks),
		cmocka_unit_test(what_is_not_ours_is_refused),
		cmocka_unit_test(huge_claims_are_not_believed),
		cmocka_unit_test(a_lying_footer_or_index_is_not_believed),
		cmocka_unit_test(no_room_at_all_is_told_at_once),
		cmocka_unit_test(no_more_room_sticks_and_what_is_written_is_read),
		cmocka_unit_test(short_writes_are_completed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
