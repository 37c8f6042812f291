/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments: blocks of shared memory, whole, where they belong, and given back. */
#include "rt_support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/segment.h"

#define MOST ((size_t)16 << 20)
#define BLOCKS 2
#define FOREVER_LATER (1000 * SEC)

static void fill(unsigned char *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 256 + seed);
}

static void two(struct segments *all, struct segment *s)
{
	assert_int_equal(intro__segments_new(all, 2), 0);
	intro__segment_init(&s[0], all, 0, MOST, BLOCKS);
	intro__segment_init(&s[1], all, 1, MOST, BLOCKS);
}

static void no_more(struct segments *all, struct segment *s)
{
	intro__segment_fini(&s[0]);
	intro__segment_fini(&s[1]);
	intro__segments_close(all);
}

static size_t memory_of(const struct segments *all)
{
	struct stat st;

	assert_int_equal(fstat(all->fd, &st), 0);
	return (size_t)st.st_blocks * 512;
}

static void blocks_are_whole(void **state)
{
	static const size_t sizes[] = {1,
				       SEGMENT_GRANULE - 1,
				       SEGMENT_GRANULE,
				       SEGMENT_GRANULE + 1,
				       SEGMENT_CHUNK - 1,
				       SEGMENT_CHUNK + 1,
				       3 * SEGMENT_CHUNK + 12345};
	unsigned char *bytes = malloc(4 * SEGMENT_CHUNK), *copy = malloc(4 * SEGMENT_CHUNK);
	unsigned fds = count_fds();
	struct segment s[2];
	struct segments all;

	two(&all, s);
	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned index = i % 2;
		size_t size = sizes[i / 2];
		struct segment_view view;
		uint32_t place;
		unsigned char *seen;

		fill(bytes, size, (unsigned)i);
		place = intro__segment_put(&s[index], bytes, size);
		assert_int_not_equal(place, 0);
		assert_int_equal(intro__segment_copy(&all, index, place, size, copy), 0);
		assert_memory_equal(copy, bytes, size);
		seen = intro__segment_view(&view, &all, index, place, size);
		assert_non_null(seen);
		assert_memory_equal(seen, bytes, size);
		/* the reader's own copy from here on */
		memset(seen, 0, size);
		assert_int_equal(intro__segment_copy(&all, index, place, size, copy), 0);
		assert_memory_equal(copy, bytes, size);
		intro__segment_view_end(&view);
		intro__segment_view_end(&view);
		intro__segment_free(&s[index], place, size);
	}
	no_more(&all, s);
	assert_int_equal(count_fds(), fds);
	free(bytes);
	free(copy);
}

static void blocks_do_not_overlap(void **state)
{
	size_t size = SEGMENT_GRANULE + 100, n = MOST / (2 * SEGMENT_GRANULE);
	unsigned char *bytes = malloc(size), *copy = malloc(size);
	uint32_t *place = calloc(n, sizeof(*place));
	struct segment s[2];
	struct segments all;

	two(&all, s);
	for (size_t i = 0; i < n; i++) {
		fill(bytes, size, (unsigned)i);
		place[i] = intro__segment_put(&s[i % 2], bytes, size);
		assert_int_not_equal(place[i], 0);
	}
	for (size_t i = 0; i < n; i++) {
		fill(bytes, size, (unsigned)i);
		assert_int_equal(intro__segment_copy(&all, i % 2, place[i], size, copy), 0);
		assert_memory_equal(copy, bytes, size);
		intro__segment_free(&s[i % 2], place[i], size);
	}
	/* all of it is free again, and the first of it is used first */
	assert_int_equal(intro__segment_put(&s[0], bytes, size), 1);
	intro__segment_free(&s[0], 1, size);
	no_more(&all, s);
	free(place);
	free(bytes);
	free(copy);
}

static void there_is_a_bound(void **state)
{
	size_t large = 3 * MOST / 4, small = MOST / 4;
	unsigned char *bytes = calloc(1, MOST);
	uint32_t place[2], last;
	struct segment s[2];
	struct segments all;

	two(&all, s);
	/* two of a size, however large */
	for (int i = 0; i < 2; i++) {
		place[i] = intro__segment_put(&s[0], bytes, large);
		assert_int_not_equal(place[i], 0);
	}
	assert_int_equal(intro__segment_put(&s[0], bytes, large), 0);
	assert_int_equal(intro__segment_put(&s[0], bytes, 1), 0);
	intro__segment_free(&s[0], place[0], large);
	last = intro__segment_put(&s[0], bytes, small);
	assert_int_equal(last, place[0]);
	assert_int_equal(intro__segment_put(&s[0], bytes, 1), 0);
	/* the other one is not concerned */
	assert_int_not_equal(intro__segment_put(&s[1], bytes, 1), 0);
	intro__segment_free(&s[1], 1, 1);
	assert_int_equal(intro__segment_put(&s[0], bytes, 0), 0);
	assert_int_equal(intro__segment_put(&s[0], bytes, SEGMENT_BYTES + 1), 0);
	no_more(&all, s);
	free(bytes);
}

static void places_that_cannot_be(void **state)
{
	static const uint32_t places[] = {0, SEGMENT_GRANULES, SEGMENT_GRANULES + 1, UINT32_MAX};
	unsigned char to[2];
	struct segment_view view;
	struct segment s[2];
	struct segments all;

	two(&all, s);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		size_t size = SEGMENT_GRANULE + 1;

		assert_int_equal(intro__segment_copy(&all, 0, places[i], size, to), -EINVAL);
		assert_null(intro__segment_view(&view, &all, 0, places[i], size));
	}
	assert_int_equal(intro__segment_copy(&all, 0, 1, 0, to), -EINVAL);
	assert_int_equal(intro__segment_copy(&all, 0, 1, SEGMENT_BYTES + 1, to), -EINVAL);
	assert_int_equal(intro__segment_copy(&all, 0, 1, SIZE_MAX, to), -EINVAL);
	assert_null(intro__segment_view(&view, &all, 0, 1, SIZE_MAX));
	no_more(&all, s);
}

static void what_is_not_used_is_given_back(void **state)
{
	unsigned char *bytes = calloc(1, MOST);
	struct segment s[2];
	struct segments all;
	uint32_t kept, gone;
	int64_t now = now_ns();

	two(&all, s);
	assert_int_equal(memory_of(&all), 0);
	assert_int_equal(intro__segment_trim(&s[0], now, false), -1);
	kept = intro__segment_put(&s[0], bytes, 1);
	gone = intro__segment_put(&s[0], bytes, MOST / 2);
	assert_true(memory_of(&all) >= MOST / 2);
	intro__segment_free(&s[0], gone, MOST / 2);
	/* too early; then it was in use a moment ago; then it was not */
	assert_true(intro__segment_trim(&s[0], now, false) > 0);
	assert_true(memory_of(&all) >= MOST / 2);
	now += FOREVER_LATER;
	assert_true(intro__segment_trim(&s[0], now, false) > 0);
	assert_true(memory_of(&all) >= MOST / 2);
	now += FOREVER_LATER;
	assert_true(intro__segment_trim(&s[0], now, false) > 0);
	assert_int_equal(memory_of(&all), SEGMENT_CHUNK);
	assert_int_equal(intro__segment_copy(&all, 0, kept, 1, bytes), 0);
	/* it can be had again */
	fill(bytes, MOST / 2, 3);
	gone = intro__segment_put(&s[0], bytes, MOST / 2);
	memset(bytes, 0, MOST / 2);
	assert_int_equal(intro__segment_copy(&all, 0, gone, MOST / 2, bytes), 0);
	assert_int_equal(bytes[1], 7 + 3);
	intro__segment_free(&s[0], gone, MOST / 2);
	intro__segment_free(&s[0], kept, 1);
	assert_int_equal(intro__segment_trim(&s[0], now, true), -1);
	assert_int_equal(memory_of(&all), 0);
	no_more(&all, s);
	free(bytes);
}

static void of_the_dead_nothing_is_left(void **state)
{
	unsigned char *bytes = calloc(1, MOST);
	struct segment s[2];
	struct segments all;
	uint32_t place;

	two(&all, s);
	assert_int_not_equal(intro__segment_put(&s[1], bytes, MOST / 2), 0);
	place = intro__segment_put(&s[0], memset(bytes, 5, 3), 3);
	intro__segment_erase(&all, 1);
	assert_int_equal(memory_of(&all), SEGMENT_CHUNK);
	assert_int_equal(intro__segment_copy(&all, 0, place, 3, bytes), 0);
	assert_int_equal(bytes[2], 5);
	no_more(&all, s);
	free(bytes);
}

static void a_descriptor_that_is_another_file(void **state)
{
	unsigned char byte = 1;
	struct segment_view view;
	struct segment s[2];
	struct segments all;
	struct stat st;
	uint32_t place;
	int file, own;

	two(&all, s);
	place = intro__segment_put(&s[0], &byte, 1);
	own = dup(all.fd);
	file = memfd_create("the task's", 0);
	assert_int_equal(dup2(file, all.fd), all.fd);
	assert_int_equal(intro__segment_put(&s[1], &byte, 1), 0);
	assert_int_equal(intro__segment_copy(&all, 0, place, 1, &byte), -EINVAL);
	assert_null(intro__segment_view(&view, &all, 0, place, 1));
	intro__segment_erase(&all, 0);
	no_more(&all, s);
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(st.st_size, 0);
	close(file);
	close(own);
}

static void none_without_room_for_a_file(void **state)
{
	struct rlimit old, small;
	struct segments all;
	struct segment s;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = SEGMENT_BYTES - 1;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(intro__segments_new(&all, 1), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	intro__segment_init(&s, &all, 0, MOST, BLOCKS);
	assert_int_equal(intro__segment_put(&s, "x", 1), 0);
	assert_int_equal(intro__segment_trim(&s, FOREVER_LATER, true), -1);
	intro__segment_fini(&s);
	intro__segments_close(&all);
}

#define THREADS 4
#define ROUNDS 200

struct puts {
	struct segments all;
	struct segment s[2];
	_Atomic bool over;
	_Atomic unsigned whole, torn;
};

static void *puts_and_frees(void *arg)
{
	unsigned char bytes[SEGMENT_GRANULE + 10], copy[sizeof(bytes)];
	struct puts *p = arg;
	uint32_t place;

	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t size = i % 3 ? sizeof(bytes) : 100;

		fill(bytes, size, i + (unsigned)(uintptr_t)&place);
		place = intro__segment_put(&p->s[0], bytes, size);
		if (!place)
			continue;
		if (intro__segment_copy(&p->all, 0, place, size, copy) || memcmp(copy, bytes, size))
			p->torn++;
		else
			p->whole++;
		intro__segment_free(&p->s[0], place, size);
	}
	return NULL;
}

static void *trims(void *arg)
{
	struct puts *p = arg;

	while (!atomic_load(&p->over)) {
		intro__segment_trim(&p->s[0], now_ns(), true);
		sleep_ms(1);
	}
	return NULL;
}

/* Memory that somebody writes to is not given back, whenever that happens. */
static void many_threads(void **state)
{
	pthread_t thread[THREADS], trimmer;
	struct puts p = {.over = false};

	two(&p.all, p.s);
	pthread_create(&trimmer, NULL, trims, &p);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, puts_and_frees, &p);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	atomic_store(&p.over, true);
	pthread_join(trimmer, NULL);
	assert_int_equal(p.torn, 0);
	assert_int_equal(p.whole, THREADS * ROUNDS);
	intro__segment_trim(&p.s[0], now_ns(), true);
	assert_int_equal(memory_of(&p.all), 0);
	no_more(&p.all, p.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_whole),
		cmocka_unit_test(blocks_do_not_overlap),
		cmocka_unit_test(there_is_a_bound),
		cmocka_unit_test(places_that_cannot_be),
		cmocka_unit_test(what_is_not_used_is_given_back),
		cmocka_unit_test(of_the_dead_nothing_is_left),
		cmocka_unit_test(a_descriptor_that_is_another_file),
		cmocka_unit_test(none_without_room_for_a_file),
		cmocka_unit_test(many_threads),
	};

	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
