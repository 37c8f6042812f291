// SPDX-License-Identifier: BSD-2-Clause
/* Reading one CPU's ring, with the test as the kernel that writes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <introspect/trace.h>

#include "collect/clock.h"
#include "collect/ring.h"

#define SIZE 4096
#define CPU 3

struct got {
	uint8_t bytes[4 * SIZE];
	size_t used;
	uint32_t stream; /* of the last call */
	int calls, fail;
};

struct fixture {
	union {
		struct intro_ring ring;
		uint8_t memory[sizeof(struct intro_ring) + SIZE + INTRO_RING_SLACK];
	};
	struct intro__ring reader;
	struct got got;
	struct intro__sink sink;
};

static int take(void *ctx, uint32_t stream, const void *records, size_t bytes)
{
	struct got *got = ctx;

	if (got->fail)
		return got->fail;
	assert_true(got->used + bytes <= sizeof(got->bytes));
	memcpy(got->bytes + got->used, records, bytes);
	got->used += bytes;
	got->stream = stream;
	got->calls++;
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	intro__ring_init(&f->reader, f->memory, SIZE, CPU);
	f->sink = (struct intro__sink){take, &f->got};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static struct intro_rec *put(struct fixture *f, uint8_t kind, uint8_t rows, uint64_t ts)
{
	struct intro_rec *rec = (struct intro_rec *)(f->memory + sizeof(struct intro_ring) +
						     (f->ring.head & (SIZE - 1)));

	memset(rec, 0, rows * INTRO_ROW_BYTES);
	*rec = (struct intro_rec){.ts = ts, .kind = kind, .rows = rows, .cpu = CPU, .tid = ts};
	f->ring.head += rows * INTRO_ROW_BYTES;
	return rec;
}

static const struct intro_rec *nth(const struct fixture *f, size_t n)
{
	size_t at = 0;

	for (; n; n--)
		at += ((const struct intro_rec *)(f->got.bytes + at))->rows * INTRO_ROW_BYTES;
	assert_true(at < f->got.used);
	return (const struct intro_rec *)(f->got.bytes + at);
}

static void all_is_handed_over_in_order_across_the_end(void **state)
{
	struct fixture *f = *state;
	uint64_t ts = 1, seen = 0;

	/* rows of 1 and 2, so that some two-row record starts in the last row of the ring */
	for (int round = 0; round < 20; round++) {
		while (SIZE - (f->ring.head - f->ring.tail) >= 2 * INTRO_ROW_BYTES)
			put(f, INTRO_KIND_FORK, 1 + ts % 2, ts), ts++;
		assert_true(intro__ring_fill(&f->reader) > 90);
		f->got.used = 0;
		assert_int_equal(intro__ring_drain(&f->reader, &f->sink, false), 0);
		assert_int_equal(f->got.stream, INTRO_STREAM_CPU(CPU));
		for (size_t at = 0; at < f->got.used;) {
			const struct intro_rec *rec = (const struct intro_rec *)(f->got.bytes + at);

			assert_int_equal(rec->ts, ++seen);
			assert_int_equal(rec->rows, 1 + seen % 2);
			at += rec->rows * INTRO_ROW_BYTES;
		}
		assert_int_equal(f->ring.tail, f->ring.head);
	}
	assert_int_equal(seen, ts - 1);
	assert_int_equal(f->reader.stored, seen);
	assert_int_equal(f->reader.lives, seen);
}

static void nothing_is_read_while_a_writer_is_open(void **state)
{
	struct fixture *f = *state;

	put(f, INTRO_KIND_SWITCH, 1, 5);
	f->ring.open = 1;
	assert_int_equal(intro__ring_drain(&f->reader, &f->sink, false), 0);
	assert_int_equal(f->got.used, 0);
	f->ring.open = 0;
	assert_int_equal(intro__ring_drain(&f->reader, &f->sink, false), 0);
	assert_int_equal(f->got.used, INTRO_ROW_BYTES);
}

static void an_earlier_time_is_raised_to_its_neighbours(void **state)
{
	struct fixture *f = *state;

	put(f, INTRO_KIND_SWITCH, 1, 100);
	put(f, INTRO_KIND_FORK, 2, 90); /* was interrupted by the switch */
	put(f, INTRO_KIND_SWITCH, 1, 110);
	intro__ring_drain(&f->reader, &f->sink, false);
	put(f, INTRO_KIND_EXEC, 2, 95);
	intro__ring_drain(&f->reader, &f->sink, false);
	assert_int_equal(nth(f, 1)->ts, 100);
	assert_int_equal(nth(f, 2)->ts, 110);
	assert_int_equal(nth(f, 3)->ts, 110);
}

static void names_and_losses_are_no_events(void **state)
{
	struct fixture *f = *state;

	put(f, INTRO_KIND_TASK, 2, 1);
	put(f, INTRO_KIND_LOST, 1, 2);
	put(f, INTRO_KIND_WAKING, 1, 3);
	intro__ring_drain(&f->reader, &f->sink, false);
	assert_int_equal(f->reader.stored, 1);
	assert_int_equal(f->got.used, 4 * INTRO_ROW_BYTES);
}

static void a_gap_still_open_at_the_end_is_told(void **state)
{
	struct fixture *f = *state;
	const struct intro_rec_lost *lost;

	put(f, INTRO_KIND_SWITCH, 1, 10);
	f->ring.gap_begin = 20;
	f->ring.gap_last = 30;
	f->ring.gap_count = f->ring.lost = 7;
	intro__ring_drain(&f->reader, &f->sink, false);
	assert_int_equal(f->got.used, INTRO_ROW_BYTES);
	intro__ring_drain(&f->reader, &f->sink, true);
	lost = (const struct intro_rec_lost *)nth(f, 1);
	assert_int_equal(lost->rec.kind, INTRO_KIND_LOST);
	assert_int_equal(lost->rec.ts, 20);
	assert_int_equal(lost->until_ts, 30);
	assert_int_equal(lost->count, 7);
	assert_int_equal(lost->rec.cpu, CPU);
	/* once */
	f->got.used = 0;
	intro__ring_drain(&f->reader, &f->sink, true);
	assert_int_equal(f->got.used, 0);
}

/* Its writer went away at 15: what is below the head is handed over, and from there nothing is
 * known. */
static void what_comes_after_the_writers_end_is_unknown(void **state)
{
	struct fixture *f = *state;
	struct intro__rings rings = {.of = &f->reader, .n = 1};
	uint64_t now = intro__now();
	const struct intro_rec_lost *lost;

	put(f, INTRO_KIND_SWITCH, 1, 10);
	assert_int_equal(intro__rings_ended(&rings), 0);
	f->ring.ended = 15;
	assert_int_equal(intro__rings_ended(&rings), 15);
	intro__ring_drain(&f->reader, &f->sink, false);
	assert_int_equal(f->got.used, INTRO_ROW_BYTES);
	intro__ring_drain(&f->reader, &f->sink, true);
	assert_int_equal(f->got.used, 2 * INTRO_ROW_BYTES);
	lost = (const struct intro_rec_lost *)nth(f, 1);
	assert_int_equal(lost->rec.kind, INTRO_KIND_LOST);
	assert_int_equal(lost->rec.ts, 15);
	assert_true(lost->until_ts >= now);
	assert_int_equal(lost->count, 0);
	assert_int_equal(lost->rec.cpu, CPU);
}

static void what_makes_no_sense_is_skipped(void **state)
{
	struct fixture *f = *state;

	put(f, INTRO_KIND_SWITCH, 1, 1)->rows = 9;
	assert_int_equal(intro__ring_drain(&f->reader, &f->sink, false), -EPROTO);
	assert_int_equal(f->ring.tail, f->ring.head);
	put(f, INTRO_KIND_SWITCH, 1, 2)->rows = 0;
	assert_int_equal(intro__ring_drain(&f->reader, &f->sink, false), -EPROTO);
	/* says two rows, has one */
	put(f, INTRO_KIND_SWITCH, 1, 3)->rows = 2;
	assert_int_equal(intro__ring_drain(&f->reader, &f->sink, false), -EPROTO);
	f->ring.head += SIZE + INTRO_ROW_BYTES;
	assert_int_equal(intro__ring_drain(&f->reader, &f->sink, false), -EPROTO);
	assert_int_equal(f->got.used, 0);
	assert_int_equal(f->reader.resyncs, 4);
	put(f, INTRO_KIND_SWITCH, 1, 4);
	assert_int_equal(intro__ring_drain(&f->reader, &f->sink, false), 0);
	assert_int_equal(f->got.used, INTRO_ROW_BYTES);
}

static void a_sink_that_fails_does_not_hold_up_the_ring(void **state)
{
	struct fixture *f = *state;

	put(f, INTRO_KIND_SWITCH, 1, 1);
	f->got.fail = -ENOSPC;
	assert_int_equal(intro__ring_drain(&f->reader, &f->sink, false), -ENOSPC);
	assert_int_equal(f->ring.tail, f->ring.head);
}

static void a_late_switch_goes_to_a_stream_of_its_own(void **state)
{
	struct fixture *f = *state;
	struct intro_rec_switch *late;

	put(f, INTRO_KIND_SWITCH, 1, 1000);
	put(f, INTRO_KIND_WAKING, 1, 2000);
	late = (struct intro_rec_switch *)put(f, INTRO_KIND_SWITCH, 1, 1500);
	late->state = INTRO_SWITCH_LATE;
	put(f, INTRO_KIND_SWITCH, 1, 2100);
	intro__ring_drain(&f->reader, &f->sink, false);
	assert_int_equal(f->got.calls, 3);
	/* its own time, before its neighbours' */
	assert_int_equal(nth(f, 2)->ts, 1500);
	assert_int_equal(nth(f, 3)->ts, 2100);
	assert_int_equal(f->reader.late, 1);
	assert_int_equal(f->reader.stored, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(all_is_handed_over_in_order_across_the_end),
		TEST(nothing_is_read_while_a_writer_is_open),
		TEST(an_earlier_time_is_raised_to_its_neighbours),
		TEST(names_and_losses_are_no_events),
		TEST(a_gap_still_open_at_the_end_is_told),
		TEST(what_comes_after_the_writers_end_is_unknown),
		TEST(what_makes_no_sense_is_skipped),
		TEST(a_sink_that_fails_does_not_hold_up_the_ring),
		TEST(a_late_switch_goes_to_a_stream_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
