// SPDX-License-Identifier: BSD-2-Clause
/* Reading marks from areas, with the test as the program that writes them, well or ill. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <introspect/trace.h>

#include "collect/marks_internal.h"

#define RECORDS 20000
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

struct got {
	struct intro_rec_mark mark[RECORDS];
	uint32_t stream[RECORDS];
	size_t n;
	struct intro_rec_def def[64];
	size_t defs;
};

struct fixture {
	struct intro__marks *marks;
	struct intro_area *area; /* as the program sees it */
	struct got *got;
	struct intro__sink sink;
	uint64_t clock; /* of the marks */
};

static int take(void *ctx, uint32_t stream, const void *records, size_t bytes)
{
	struct got *got = ctx;

	if (stream == INTRO_STREAM_DEFS) {
		assert_true(got->defs < 64);
		memcpy(&got->def[got->defs++], records, bytes);
		return 0;
	}
	assert_true(got->n + bytes / INTRO_ROW_BYTES <= RECORDS);
	memcpy(&got->mark[got->n], records, bytes);
	for (size_t i = 0; i < bytes / INTRO_ROW_BYTES; i++)
		got->stream[got->n++] = stream;
	return 0;
}

static struct intro_area *map(int fd)
{
	struct intro_area *area = mmap(NULL, sizeof(*area), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_NORESERVE, fd, 0);

	assert_true(area != MAP_FAILED);
	return area;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	f->got = calloc(1, sizeof(*f->got));
	f->marks = intro__marks_new();
	assert_non_null(f->got);
	assert_non_null(f->marks);
	f->marks->clock.tsc = false; /* times are ns, so that they can be told */
	fd = intro__marks_create(f->marks, getuid());
	assert_true(fd >= 0);
	f->area = map(fd);
	f->sink = (struct intro__sink){take, f->got};
	f->clock = f->marks->area[0]->ring[0].last_ts;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	munmap(f->area, sizeof(*f->area));
	intro__marks_free(f->marks);
	free(f->got);
	free(f);
	return 0;
}

static void put_at(struct intro_area *area, unsigned int slot, uint64_t ts, uint8_t kind,
		   uint64_t task, uint32_t a, uint32_t b)
{
	struct intro_area_slot *s = &area->slot[slot];
	struct intro_rec_mark mark = {
		.rec = {.ts = ts, .kind = kind, .rows = 1}, .task = task, .a = a, .b = b};

	memcpy(area->ring[slot].data + s->head % INTRO_AREA_RING_BYTES, &mark, sizeof(mark));
	s->head += sizeof(mark);
}

static void put(struct fixture *f, unsigned int slot, uint8_t kind, uint64_t task, uint32_t a,
		uint32_t b)
{
	put_at(f->area, slot, ++f->clock, kind, task, a, b);
}

static void hello(struct fixture *f, unsigned int slot)
{
	put(f, slot, INTRO_KIND_THREAD, getpid(), gettid(), 0);
}

static void drain(struct fixture *f)
{
	unsigned int fill;

	f->got->n = f->got->defs = 0;
	assert_int_equal(intro__marks_drain(f->marks, &f->sink, false, &fill), 0);
}

static void marks_get_their_thread_and_keep_their_order(void **state)
{
	struct fixture *f = *state;
	uint64_t past;

	hello(f, 7);
	put(f, 7, INTRO_KIND_SUBMIT, 1, 2, 3);
	put(f, 7, INTRO_KIND_START, 1, 2, 0);
	past = f->clock - 1000;
	put_at(f->area, 7, past, INTRO_KIND_END, 1, 0, 0);
	drain(f);
	assert_int_equal(f->got->n, 4);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(f->got->stream[i], INTRO_STREAM_MARKS(7));
		assert_int_equal(f->got->mark[i].rec.tid, gettid());
		assert_int_equal(f->got->mark[i].rec.cpu, INTRO_CPU_NONE);
		assert_int_equal(f->got->mark[i].rec.rows, 1);
	}
	assert_int_equal(f->got->mark[1].task, 1);
	assert_int_equal(f->got->mark[1].a, 2);
	assert_int_equal(f->got->mark[1].b, 3);
	assert_int_equal(f->got->mark[2].rec.ts, f->clock);
	assert_int_equal(f->got->mark[3].rec.ts, f->clock);
	assert_int_equal(f->area->slot[7].tail, f->area->slot[7].head);
	drain(f);
	assert_int_equal(f->got->n, 0);
}

static void a_mark_of_the_future_is_of_now(void **state)
{
	struct fixture *f = *state;

	hello(f, 0);
	put_at(f->area, 0, UINT64_MAX, INTRO_KIND_START, 1, 1, 0);
	drain(f);
	assert_true(f->got->mark[1].rec.ts <= intro__clock_sample(&f->marks->clock));
	assert_true(f->got->mark[1].rec.ts >= f->clock);
}

static void what_is_no_mark_is_dropped_and_counted(void **state)
{
	struct fixture *f = *state;
	struct intro__marks_stats stats;

	put(f, 0, INTRO_KIND_START, 1, 1, 0); /* of nobody yet */
	hello(f, 0);
	put(f, 0, INTRO_KIND_SWITCH, 1, 1, 0);
	put(f, 0, INTRO_KIND_DEF, 1, 1, 0);
	put(f, 0, 255, 1, 1, 0);
	put(f, 0, INTRO_KIND_START, 5, 1, 0);
	((struct intro_rec *)(f->area->ring[0].data + f->area->slot[0].head - INTRO_ROW_BYTES))
		->rows = 2;
	put(f, 0, INTRO_KIND_START, 6, 1, 0);
	drain(f);
	intro__marks_stats(f->marks, &stats);
	assert_int_equal(f->got->n, 2);
	assert_int_equal(f->got->mark[1].task, 6);
	assert_int_equal(stats.malformed, 5);
	assert_int_equal(stats.stored, 2);
}

static void nobody_marks_for_somebody_else(void **state)
{
	struct fixture *f = *state;
	pid_t child = fork();

	if (child == 0)
		_exit(pause());
	/* a live thread that is no thread of that process */
	put(f, 0, INTRO_KIND_THREAD, getpid(), child, 0);
	put(f, 0, INTRO_KIND_START, 1, 1, 0);
	/* impossible numbers */
	put(f, 0, INTRO_KIND_THREAD, 0, 0, 0);
	put(f, 0, INTRO_KIND_START, 2, 1, 0);
	put(f, 0, INTRO_KIND_THREAD, UINT64_MAX, UINT32_MAX, 0);
	put(f, 0, INTRO_KIND_START, 3, 1, 0);
	/* of another user: there is none but root that every machine has */
	f->marks->area[0]->uid = getuid() + 1;
	put(f, 0, INTRO_KIND_THREAD, child, child, 0);
	put(f, 0, INTRO_KIND_START, 4, 1, 0);
	drain(f);
	assert_int_equal(f->got->n, 0);
	f->marks->area[0]->uid = getuid();
	put(f, 0, INTRO_KIND_THREAD, child, child, 0);
	put(f, 0, INTRO_KIND_THREAD, getpid(), gettid(), 0);
	put(f, 0, INTRO_KIND_THREAD, child, child, 0);
	put(f, 0, INTRO_KIND_START, 5, 1, 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	/* gone by now: its marks outlive it */
	drain(f);
	assert_int_equal(f->got->n, 4);
	assert_int_equal(f->got->mark[3].rec.tid, child);
}

static void a_wild_head_costs_that_ring_alone(void **state)
{
	struct fixture *f = *state;
	struct intro__marks_stats stats;

	hello(f, 0);
	hello(f, 1);
	put(f, 1, INTRO_KIND_START, 1, 1, 0);
	f->area->slot[0].head = 1ull << 60;
	drain(f);
	assert_int_equal(f->got->n, 2);
	assert_int_equal(f->got->stream[0], INTRO_STREAM_MARKS(1));
	f->area->slot[0].head = 3 * INTRO_ROW_BYTES + 5; /* backwards, and between rows */
	drain(f);
	intro__marks_stats(f->marks, &stats);
	assert_int_equal(stats.malformed, 2);
	f->area->slot[0].head = 3 * INTRO_ROW_BYTES;
	hello(f, 0);
	put(f, 0, INTRO_KIND_START, 9, 1, 0);
	drain(f);
	assert_int_equal(f->got->n, 2);
	assert_int_equal(f->got->mark[1].task, 9);
}

static void losses_are_told_after_the_last_mark(void **state)
{
	struct fixture *f = *state;
	const struct intro_rec_lost *lost;
	struct intro__marks_stats stats;

	hello(f, 4);
	put(f, 4, INTRO_KIND_START, 1, 1, 0);
	f->area->slot[4].lost = 12;
	drain(f);
	assert_int_equal(f->got->n, 3);
	lost = (const struct intro_rec_lost *)&f->got->mark[2];
	assert_int_equal(lost->rec.kind, INTRO_KIND_LOST);
	assert_int_equal(lost->rec.tid, gettid());
	assert_int_equal(lost->rec.ts, f->clock);
	assert_true(lost->until_ts >= lost->rec.ts);
	assert_int_equal(lost->count, 12);
	f->area->slot[4].lost = 15;
	drain(f);
	assert_int_equal(f->got->n, 1);
	assert_int_equal(((const struct intro_rec_lost *)&f->got->mark[0])->count, 3);
	/* no program loses that many between two drains */
	f->area->slot[4].lost = UINT64_MAX;
	drain(f);
	assert_int_equal(f->got->n, 0);
	intro__marks_stats(f->marks, &stats);
	assert_int_equal(stats.lost, 15);
	assert_int_equal(stats.malformed, 1);
}

static void a_full_ring_is_read_whole(void **state)
{
	struct fixture *f = *state;
	unsigned int fill;

	for (int round = 0; round < 3; round++) {
		hello(f, 2);
		for (unsigned int i = 1; i < INTRO_AREA_RING_BYTES / INTRO_ROW_BYTES; i++)
			put(f, 2, INTRO_KIND_START, i, 1, 0);
		f->got->n = 0;
		assert_int_equal(intro__marks_drain(f->marks, &f->sink, false, &fill), 0);
		assert_int_equal(fill, 100);
		assert_int_equal(f->got->n, INTRO_AREA_RING_BYTES / INTRO_ROW_BYTES);
		for (unsigned int i = 1; i < f->got->n; i++)
			assert_int_equal(f->got->mark[i].task, i);
	}
}

struct tally {
	size_t drained; /* in this drain */
	size_t slot[40];
};

static int tally(void *ctx, uint32_t stream, const void *records, size_t bytes)
{
	struct tally *t = ctx;

	t->drained += bytes;
	t->slot[stream - INTRO_STREAM_MARKS(0)] += bytes;
	return 0;
}

/* 40 full rings are more than one drain takes: it stops, and the next one goes on. */
static void one_drain_is_bounded_and_fair(void **state)
{
	struct fixture *f = *state;
	struct tally t = {0};
	struct intro__sink sink = {tally, &t};
	unsigned int fill, drains = 0;
	size_t all = 40ul * INTRO_AREA_RING_BYTES, total = 0;

	for (unsigned int slot = 0; slot < 40; slot++) {
		hello(f, slot);
		for (unsigned int i = 1; i < INTRO_AREA_RING_BYTES / INTRO_ROW_BYTES; i++)
			put(f, slot, INTRO_KIND_START, i, 1, 0);
	}
	while (total < all && drains++ < 100) {
		t.drained = 0;
		assert_int_equal(intro__marks_drain(f->marks, &sink, false, &fill), 0);
		assert_true(t.drained > 0 && t.drained < all / 2);
		total += t.drained;
	}
	assert_int_equal(total, all);
	assert_true(drains > 2);
	for (unsigned int slot = 0; slot < 40; slot++)
		assert_int_equal(t.slot[slot], INTRO_AREA_RING_BYTES);
}

static void names_are_cleaned(void **state)
{
	struct fixture *f = *state;
	struct intro_area_def *def = f->area->def;
	struct intro__marks_stats stats;

	for (int i = 0; i < 4; i++)
		def[i].rec = (struct intro_rec_def){.rec.kind = INTRO_KIND_DEF,
						    .rec.rows = 2,
						    .id = i + 1,
						    .def = INTRO_DEF_NAME};
	memcpy(def[0].rec.name, "\033[2Jevil\n", 10);
	memset(def[1].rec.name, 'x', INTRO_DEF_BYTES);
	def[2].rec.def = 77;
	memcpy(def[3].rec.name, "good\0hidden", 12);
	/* the first one's writer has not finished */
	def[1].ready = def[2].ready = def[3].ready = 1;
	f->area->defs = 4;
	drain(f);
	assert_int_equal(f->got->defs, 2);
	assert_int_equal(strlen(f->got->def[0].name), INTRO_DEF_BYTES - 1);
	assert_string_equal(f->got->def[1].name, "good");
	assert_int_equal(f->got->def[1].name[6], 0);
	def[0].ready = 1;
	f->area->defs = UINT32_MAX;
	drain(f);
	assert_int_equal(f->got->defs, 1);
	assert_string_equal(f->got->def[0].name, "?[2Jevil?");
	drain(f);
	assert_int_equal(f->got->defs, 0);
	intro__marks_stats(f->marks, &stats);
	assert_int_equal(stats.malformed, 1);
}

static int make(size_t size, int seals, struct intro_area **area)
{
	int fd = memfd_create(INTRO_AREA_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	*area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(*area != MAP_FAILED);
	(*area)->magic = INTRO_AREA_MAGIC;
	(*area)->version = INTRO_AREA_VERSION;
	munmap(*area, 4096);
	if (seals)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	*area = size == sizeof(**area) ? map(fd) : NULL;
	return fd;
}

static int opened(struct fixture *f, int fd, struct intro_area *area)
{
	int error = intro__area_open(f->marks, fd, getuid());

	if (area)
		munmap(area, sizeof(*area));
	if (error)
		close(fd);
	return error;
}

static void what_is_no_area_is_refused(void **state)
{
	struct fixture *f = *state;
	struct intro_area *area;
	pid_t dead;
	int fd;

	fd = make(sizeof(*area), 0, &area);
	assert_int_equal(opened(f, fd, area), -EINVAL);
	fd = make(sizeof(*area), F_SEAL_GROW, &area);
	assert_int_equal(opened(f, fd, area), -EINVAL);
	fd = make(4096, SEALS, &area);
	assert_int_equal(opened(f, fd, area), -EINVAL);
	fd = make(sizeof(*area) + 4096, SEALS, &area);
	assert_int_equal(opened(f, fd, area), -EINVAL);
	fd = make(sizeof(*area), SEALS, &area);
	area->magic++;
	assert_int_equal(opened(f, fd, area), -EPROTONOSUPPORT);
	fd = make(sizeof(*area), SEALS, &area);
	area->version++;
	assert_int_equal(opened(f, fd, area), -EPROTONOSUPPORT);
	/* another tracer's; and one whose tracer is dead */
	fd = make(sizeof(*area), SEALS, &area);
	area->tracer = getppid();
	assert_int_equal(opened(f, fd, area), -EBUSY);
	dead = fork();
	if (dead == 0)
		_exit(0);
	waitpid(dead, NULL, 0);
	fd = make(sizeof(*area), SEALS, &area);
	area->tracer = dead;
	assert_int_equal(opened(f, fd, area), 0);
	assert_int_equal(f->marks->areas, 2);
}

static void a_program_met_late_is_introduced(void **state)
{
	struct fixture *f = *state;
	struct intro_area *area;
	int fd = make(sizeof(*area), SEALS, &area);

	/* registered as a worker, and marked for a tracer before us */
	area->slot[0].owner = gettid();
	area->slot[0].pid = getpid();
	area->slot[0].pool = 6;
	area->slot[0].worker = 2;
	put_at(area, 0, 1, INTRO_KIND_START, 1, 6, 0);
	area->slot[0].lost = 100;
	assert_int_equal(intro__area_open(f->marks, fd, getuid()), 0);
	assert_int_equal(area->enabled, INTRO_MARKS_MONOTONIC);
	assert_int_equal(area->tracer, getpid());
	assert_int_equal(area->slot[0].tail, area->slot[0].head);
	drain(f);
	assert_int_equal(f->got->n, 2);
	assert_int_equal(f->got->mark[0].rec.kind, INTRO_KIND_THREAD);
	assert_int_equal(f->got->mark[0].a, gettid());
	assert_int_equal(f->got->mark[1].rec.kind, INTRO_KIND_WORKER_START);
	/* numbers of a second area are kept apart from the first's */
	assert_int_equal(f->got->mark[1].a, 6 + (1 << 20));
	assert_int_equal(f->got->mark[1].b, 2);
	assert_int_equal(f->got->stream[1], INTRO_STREAM_MARKS(INTRO_AREA_SLOTS));
	put_at(area, 0, f->got->mark[0].rec.ts + 1, INTRO_KIND_SUBMIT, 9, 6, 4);
	put_at(area, 0, f->got->mark[0].rec.ts + 2, INTRO_KIND_END, 9, 1, 1);
	drain(f);
	assert_int_equal(f->got->mark[0].task, 9 + (1ull << 48));
	assert_int_equal(f->got->mark[0].a, 6 + (1 << 20));
	assert_int_equal(f->got->mark[0].b, 4 + (1 << 20));
	assert_int_equal(f->got->mark[1].task, 9 + (1ull << 48));
	assert_int_equal(f->got->mark[1].a, 1);
	intro__marks_stop(f->marks);
	assert_int_equal(area->enabled, INTRO_MARKS_OFF);
	munmap(area, sizeof(*area));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(marks_get_their_thread_and_keep_their_order),
		TEST(a_mark_of_the_future_is_of_now),
		TEST(what_is_no_mark_is_dropped_and_counted),
		TEST(nobody_marks_for_somebody_else),
		TEST(a_wild_head_costs_that_ring_alone),
		TEST(losses_are_told_after_the_last_mark),
		TEST(a_full_ring_is_read_whole),
		TEST(one_drain_is_bounded_and_fair),
		TEST(names_are_cleaned),
		TEST(what_is_no_area_is_refused),
		TEST(a_program_met_late_is_introduced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
