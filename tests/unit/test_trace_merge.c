// SPDX-License-Identifier: BSD-2-Clause
/* Writing and reading back: content, order, bounds. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "trace/codec.h"
#include "trace_file.h"

#define WRITER(...)                                                                                \
	&(struct intro_trace_options)                                                              \
	{                                                                                          \
		.size = sizeof(struct intro_trace_options), __VA_ARGS__                            \
	}

static struct bytes finish(struct intro_trace_writer *writer, int fd)
{
	struct bytes file;

	assert_int_equal(intro_trace_writer_close(writer), 0);
	file = memory_file_bytes(fd);
	close(fd);
	return file;
}

static struct intro_trace_writer *start(int *fd, const struct intro_trace_options *options)
{
	struct intro_trace_writer *writer;

	*fd = memory_file();
	writer = intro_trace_writer_new(dup(*fd), options);
	assert_non_null(writer);
	return writer;
}

/* --- what is expected, by the plainest means -------------------------------------------------- */

struct expected {
	struct seen seen;
	size_t position;
};

static int compare(const void *left, const void *right)
{
	const struct expected *a = left, *b = right;
	uint64_t at = seen_record(&a->seen)->ts, bt = seen_record(&b->seen)->ts;

	if (at != bt)
		return at < bt ? -1 : 1;
	if (a->seen.stream != b->seen.stream)
		return a->seen.stream < b->seen.stream ? -1 : 1;
	return a->position < b->position ? -1 : 1;
}

/* Random records in random streams; few distinct times, so that there are many ties. */
static size_t write_random(struct intro_trace_writer *writer, struct expected *expected, size_t n,
			   uint64_t seed)
{
	static const uint32_t ids[] = {
		0, 1, 7, INTRO_STREAM_CONTROL, INTRO_STREAM_MARKS(0), INTRO_STREAM_MARKS(9)};
	enum { STREAMS = sizeof(ids) / sizeof(ids[0]) };
	uint64_t now[STREAMS] = {0};

	for (size_t i = 0; i < n; i++) {
		uint64_t dice = random_next(&seed);
		size_t s = dice % STREAMS;
		struct seen *seen = &expected[i].seen;

		now[s] += (dice >> 8) % 4 * ((dice >> 16) % 5);
		memset(seen, 0, sizeof(*seen));
		seen->stream = ids[s];
		expected[i].position = i;
		if (dice >> 60 < 3) {
			struct intro_rec_task task = make_task(now[s], 1, (uint32_t)(dice >> 20));

			seen->rows = 2;
			memcpy(seen->bytes, &task, sizeof(task));
		} else {
			struct intro_rec_switch sw =
				make_switch(now[s], 1, (uint32_t)(dice >> 20), (uint32_t)dice);

			seen->rows = 1;
			memcpy(seen->bytes, &sw, sizeof(sw));
		}
		assert_int_equal(intro_trace_writer_append(writer, ids[s], seen->bytes,
							   (size_t)seen->rows * INTRO_ROW_BYTES),
				 0);
		if ((dice >> 40) % 200 == 0)
			assert_int_equal(intro_trace_writer_flush(writer, 0), 0);
	}
	qsort(expected, n, sizeof(*expected), compare);
	return n;
}

static void round_trip(const struct intro_trace_options *options, uint64_t seed)
{
	enum { N = 3000 };
	struct expected *expected = calloc(N, sizeof(*expected));
	struct intro_trace_damage damage, none = {0};
	uint64_t first, last, records;
	struct intro_trace *trace;
	struct seen_list list;
	struct bytes file;
	int fd;
	struct intro_trace_writer *writer = start(&fd, options);

	write_random(writer, expected, N, seed);
	file = finish(writer, fd);
	trace = open_bytes(file.data, file.size);
	assert_non_null(trace);
	/* twice: a trace can be read as often as one likes */
	for (int pass = 0; pass < 2; pass++) {
		list = read_all(trace);
		assert_int_equal(list.count, N);
		for (size_t i = 0; i < N; i++)
			assert_memory_equal(&list.items[i], &expected[i].seen, sizeof(struct seen));
		free(list.items);
	}
	intro_trace_range(trace, &first, &last, &records);
	assert_int_equal(first, seen_record(&expected[0].seen)->ts);
	assert_int_equal(last, seen_record(&expected[N - 1].seen)->ts);
	assert_int_equal(records, N);
	intro_trace_damage(trace, &damage);
	assert_memory_equal(&damage, &none, sizeof(damage));
	intro_trace_free(trace);
	free(expected);
	free(file.data);
}

static void random_streams_come_back_merged(void **state)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		round_trip(NULL, seed);
		round_trip(WRITER(.no_compress = true), seed);
		round_trip(WRITER(.chunk_bytes = 64), seed);
		round_trip(WRITER(.chunk_bytes = 1000, .level = 3), seed);
		round_trip(WRITER(.chunk_bytes = ITR_RAW_MAX, .level = -7), seed);
	}
}

static void options_out_of_range_are_refused(void **state)
{
	int fd = memory_file();

	assert_null(intro_trace_writer_new(fd, WRITER(.level = 99)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_trace_writer_new(fd, WRITER(.chunk_bytes = 32)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_trace_writer_new(fd, WRITER(.chunk_bytes = ITR_RAW_MAX + 1)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_trace_writer_new(-1, NULL));
	/* it is still ours */
	assert_int_equal(close(fd), 0);
}

static void malformed_records_are_refused_whole(void **state)
{
	struct intro_rec_switch rows[2] = {make_switch(5, 0, 1, 2), make_switch(6, 0, 2, 3)};
	struct intro_trace_writer_stats stats;
	int fd;
	struct intro_trace_writer *writer = start(&fd, NULL);

	assert_int_equal(intro_trace_writer_append(writer, 0, rows, 31), -EINVAL);
	rows[1].rec.rows = 0;
	assert_int_equal(intro_trace_writer_append(writer, 0, rows, sizeof(rows)), -EINVAL);
	rows[1].rec.rows = 2; /* reaches beyond the end */
	assert_int_equal(intro_trace_writer_append(writer, 0, rows, sizeof(rows)), -EINVAL);
	rows[1].rec.rows = 1;
	assert_int_equal(intro_trace_writer_append(writer, INTRO_STREAM_META, rows, sizeof(rows)),
			 -EINVAL);
	assert_int_equal(intro_trace_writer_append(writer, 0, rows, 0), 0);
	assert_int_equal(intro_trace_writer_meta(writer, ""), -EINVAL);
	/* none of it was stored, and none of it sticks */
	assert_int_equal(intro_trace_writer_append(writer, 0, rows, sizeof(rows)), 0);
	assert_int_equal(intro_trace_writer_flush(writer, 0), 0);
	intro_trace_writer_stats(writer, &stats);
	assert_int_equal(stats.records, 2);
	assert_int_equal(stats.raw_bytes, sizeof(rows));
	free(finish(writer, fd).data);
}

static void records_out_of_order_are_raised_and_counted(void **state)
{
	static const uint64_t times[] = {10, 30, 20, 31, 5, 40};
	static const uint64_t stored[] = {10, 30, 30, 31, 31, 40};
	struct intro_trace_writer_stats stats;
	struct intro_trace *trace;
	struct seen_list list;
	struct bytes file;
	int fd;
	struct intro_trace_writer *writer = start(&fd, WRITER(.chunk_bytes = 64));

	for (size_t i = 0; i < 6; i++) {
		struct intro_rec_switch sw = make_switch(times[i], 0, 1, 2);

		assert_int_equal(intro_trace_writer_append(writer, 0, &sw, sizeof(sw)), 0);
	}
	intro_trace_writer_stats(writer, &stats);
	assert_int_equal(stats.raised, 2);
	file = finish(writer, fd);
	trace = open_bytes(file.data, file.size);
	list = read_all(trace);
	assert_int_equal(list.count, 6);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(seen_record(&list.items[i])->ts, stored[i]);
	free(list.items);
	intro_trace_free(trace);
	free(file.data);
}

static void a_reader_survives_a_writer_that_does_not_care_for_order(void **state)
{
	struct intro_trace_damage damage;
	switch_here *rows;
	struct intro_trace *trace;
	struct seen_list list;
	struct bytes file;
	int fd;
	struct intro_trace_writer *writer = start(&fd, WRITER(.no_compress = true));

	for (uint64_t i = 0; i < 10; i++) {
		struct intro_rec_switch sw = make_switch(100 + i * 10, 0, (uint32_t)i, 2);

		assert_int_equal(intro_trace_writer_append(writer, 0, &sw, sizeof(sw)), 0);
		assert_int_equal(intro_trace_writer_append(writer, 1, &sw, sizeof(sw)), 0);
	}
	file = finish(writer, fd);
	rows = (switch_here *)(chunk_at(file, 0, NULL) + 1);
	rows[0].rec.ts = 7;   /* before the chunk begins */
	rows[4].rec.ts = 1;   /* before its predecessor */
	rows[8].rec.rows = 9; /* impossible: the two last are lost */
	chunk_seal(chunk_at(file, 0, NULL));
	/* without the index, whose copy of the header is now another */
	trace = open_bytes(file.data, file.size - sizeof(struct itr_footer));
	assert_non_null(trace);
	list = read_all(trace);
	assert_int_equal(list.count, 18);
	for (size_t i = 0, n = 0; i < list.count; i++) {
		if (list.items[i].stream != 0)
			continue;
		assert_int_equal(seen_record(&list.items[i])->tid, n);
		assert_int_equal(seen_record(&list.items[i])->ts, n == 4 ? 130 : 100 + n * 10);
		n++;
	}
	intro_trace_damage(trace, &damage);
	assert_int_equal(damage.bad_records, 4);
	free(list.items);
	intro_trace_free(trace);
	free(file.data);
}

static void later_meta_replaces_earlier(void **state)
{
	struct intro_trace *trace;
	struct bytes file;
	int fd;
	struct intro_trace_writer *writer = start(&fd, NULL);

	assert_int_equal(intro_trace_writer_meta(writer, "{\"a\":1,\"b\":{\"c\":2}}"), 0);
	assert_int_equal(intro_trace_writer_meta(writer, "{\"b\":null,\"d\":\"x\"}"), 0);
	file = finish(writer, fd);
	trace = open_bytes(file.data, file.size);
	assert_non_null(trace);
	assert_string_equal(intro_trace_meta(trace), "{\"a\":1,\"b\":null,\"d\":\"x\"}");
	assert_int_equal(read_all(trace).count, 0);
	intro_trace_free(trace);
	free(file.data);
}

static void no_meta_is_an_empty_object(void **state)
{
	struct intro_rec_switch sw = make_switch(5, 0, 1, 2);
	struct intro_trace *trace;
	struct bytes file;
	int fd;
	struct intro_trace_writer *writer = start(&fd, NULL);

	assert_int_equal(intro_trace_writer_append(writer, 0, &sw, sizeof(sw)), 0);
	file = finish(writer, fd);
	trace = open_bytes(file.data, file.size);
	assert_string_equal(intro_trace_meta(trace), "{}");
	intro_trace_free(trace);
	free(file.data);
}

static void flush_writes_only_what_is_old_enough(void **state)
{
	struct intro_rec_switch sw = make_switch(5, 0, 1, 2);
	struct intro_trace_writer_stats stats;
	int fd;
	struct intro_trace_writer *writer = start(&fd, NULL);

	assert_int_equal(intro_trace_writer_append(writer, 0, &sw, sizeof(sw)), 0);
	assert_int_equal(intro_trace_writer_flush(writer, 3600u * 1000000000ull), 0);
	intro_trace_writer_stats(writer, &stats);
	assert_int_equal(stats.records, 0);
	assert_int_equal(intro_trace_writer_flush(writer, 0), 0);
	intro_trace_writer_stats(writer, &stats);
	assert_int_equal(stats.records, 1);
	/* an unfinished file: dropped without an index */
	intro_trace_writer_free(writer);
	close(fd);
}

/* --- bounds ---------------------------------------------------------------------------------- */

/* Peak of what is allocated while a trace of n chunks of 32 KiB is read. */
static size_t reading_peak(size_t chunks, size_t streams)
{
	enum { ROWS = 1024 };
	struct intro_rec_switch *rows = calloc(ROWS, sizeof(*rows));
	const struct intro_rec *record;
	size_t before, peak = 0, seen = 0;
	struct intro_cursor *cursor;
	struct intro_trace *trace;
	struct bytes file;
	uint64_t ts = 1000;
	int fd;
	struct intro_trace_writer *writer = start(&fd, WRITER(.chunk_bytes = 32u << 10));

	for (size_t i = 0; i < chunks; i++) {
		for (size_t r = 0; r < ROWS; r++)
			rows[r] = make_switch(ts++, 0, 1, 2);
		assert_int_equal(intro_trace_writer_append(writer, (uint32_t)(i * streams / chunks),
							   rows, ROWS * sizeof(*rows)),
				 0);
	}
	free(rows);
	file = finish(writer, fd);
	before = allocated_bytes();
	trace = open_bytes(file.data, file.size);
	cursor = intro_cursor_new(trace);
	while (intro_cursor_next(cursor, &record, NULL) == 1) {
		if (seen++ % ROWS == ROWS / 2 && allocated_bytes() - before > peak)
			peak = allocated_bytes() - before;
	}
	assert_int_equal(seen, chunks * ROWS);
	intro_cursor_free(cursor);
	intro_trace_free(trace);
	free(file.data);
	return peak;
}

static void memory_does_not_grow_with_the_trace(void **state)
{
	size_t shorter = reading_peak(500, 1), longer = reading_peak(10000, 1);
	size_t streams = reading_peak(2000, 2000);

	/* what is kept of a chunk is under 64 bytes; a list may be twice as long as it must */
	assert_in_range(longer, 1, shorter + 10000 * 64 * 2);
	/* 2000 streams one after another: 64 MB when decoded */
	assert_in_range(streams, 1, shorter + 2000 * 512);
}

/* 300 streams of 1 MiB, all under way at once, in a file of a few hundred kilobytes. */
static void a_decompression_bomb_is_bounded(void **state)
{
	enum { STREAMS = 300, ROWS = ITR_RAW_MAX / INTRO_ROW_BYTES };
	struct intro_rec_switch *rows = calloc(ROWS, sizeof(*rows));
	struct intro_trace_damage damage;
	const struct intro_rec *record;
	chunk_here *header;
	struct intro_cursor *cursor;
	struct intro_trace *trace;
	struct bytes one, bomb;
	size_t chunk_bytes;
	int fd;
	struct intro_trace_writer *writer = start(&fd, WRITER(.chunk_bytes = ITR_RAW_MAX));

	for (size_t i = 0; i < ROWS; i++)
		rows[i] = make_switch(1000 + i, 0, 1, 2);
	assert_int_equal(intro_trace_writer_append(writer, 0, rows, ROWS * sizeof(*rows)), 0);
	free(rows);
	one = finish(writer, fd);
	header = chunk_at(one, 0, NULL);
	chunk_bytes = sizeof(*header) + header->stored_bytes;
	bomb.size = sizeof(struct itr_file_header) + STREAMS * chunk_bytes;
	bomb.data = malloc(bomb.size);
	memcpy(bomb.data, one.data, sizeof(struct itr_file_header));
	for (uint32_t i = 0; i < STREAMS; i++) {
		header->stream = header->sequence = i;
		chunk_seal(header);
		memcpy(bomb.data + sizeof(struct itr_file_header) + i * chunk_bytes, header,
		       chunk_bytes);
	}
	assert_true(bomb.size < 4u << 20);
	trace = open_bytes(bomb.data, bomb.size);
	cursor = intro_cursor_new(trace);
	for (int i = 0; i < STREAMS; i++)
		assert_int_equal(intro_cursor_next(cursor, &record, NULL), 1);
	intro_trace_damage(trace, &damage);
	assert_int_equal(damage.bad_chunks, STREAMS - 256);
	intro_cursor_free(cursor);
	intro_trace_free(trace);
	free(one.data);
	free(bomb.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_streams_come_back_merged),
		cmocka_unit_test(options_out_of_range_are_refused),
		cmocka_unit_test(malformed_records_are_refused_whole),
		cmocka_unit_test(records_out_of_order_are_raised_and_counted),
		cmocka_unit_test(a_reader_survives_a_writer_that_does_not_care_for_order),
		cmocka_unit_test(later_meta_replaces_earlier),
		cmocka_unit_test(no_meta_is_an_empty_object),
		cmocka_unit_test(flush_writes_only_what_is_old_enough),
		cmocka_unit_test(memory_does_not_grow_with_the_trace),
		cmocka_unit_test(a_decompression_bomb_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
