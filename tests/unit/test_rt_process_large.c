/* SPDX-License-Identifier: BSD-2-Clause */
/* Process pools with payloads and results that go through segments of shared memory. */
#include "rt_support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <introspect/process_pool.h>
#include <introspect/spawn.h>

#include "runtime/process_private.h"

#define LARGE ((size_t)5 << 20)
#define MANY 24

static const size_t sizes[] = {
	SEGMENT_PAYLOAD - 1, SEGMENT_PAYLOAD, SEGMENT_PAYLOAD + 1,
	SEGMENT_RESULT - 1,  SEGMENT_RESULT,  SEGMENT_RESULT + 1,
	SEGMENT_CHUNK - 1,   SEGMENT_CHUNK,   SEGMENT_CHUNK + 4097,
};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static struct gate *gate; /* in shared memory, set before any worker is forked */

static unsigned char byte_of(size_t i, unsigned seed)
{
	return (unsigned char)(i * 7 + i / 256 + seed);
}

static void fill(unsigned char *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_of(i, seed);
}

static bool is_filled(const unsigned char *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != byte_of(i, seed))
			return false;
	return true;
}

/* The segments of the one pool that this process has. 0: none, or no memory in them. */
static size_t segments_memory(void)
{
	size_t memory = 0;

	for (int fd = 3; fd < 100; fd++) {
		char path[32], name[64] = "";
		struct stat st;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, name, sizeof(name) - 1) > 0 &&
		    strstr(name, "introspect-segments") && !fstat(fd, &st))
			memory += (size_t)st.st_blocks * 512;
	}
	return memory;
}

static struct intro_executor *new_pool(unsigned workers, enum intro_start_method method)
{
	struct intro_executor *e = intro_process_executor_new(
		POOL_OPTIONS(.name = "large", .workers = workers, .start_method = method));

	assert_non_null(e);
	return e;
}

/* --- there and back -------------------------------------------------------------------------- */

static int echo(struct intro_call *call)
{
	return intro_call_return(call, (void *)call->arg, call->size);
}

static void expect_echo(struct intro_executor *e, const unsigned char *bytes, size_t size)
{
	struct intro_result result;
	struct intro_future f;

	submit_new(e, &f, echo, bytes, size);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, &result), 0);
	assert_int_equal(result.size, size);
	assert_memory_equal(result.data, bytes, size);
	intro_future_destroy(&f);
}

static void there_and_back(enum intro_start_method method)
{
	unsigned fds = count_fds();
	struct intro_executor *e = new_pool(2, method);
	unsigned char *bytes = malloc(LARGE);

	for (unsigned i = 0; i < SIZES; i++) {
		fill(bytes, sizes[i], i);
		expect_echo(e, bytes, sizes[i]);
	}
	assert_true(segments_memory() > 0);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(segments_memory(), 0);
	intro_executor_free(e);
	assert_int_equal(count_fds(), fds);
	free(bytes);
}

static void by_forked_workers(void **state)
{
	there_and_back(INTRO_START_FORK);
}

static void by_spawned_workers(void **state)
{
	there_and_back(INTRO_START_SPAWN);
}

/* Where there can be no segments all goes through the rings. */
static void without_segments(void **state)
{
	unsigned char *bytes = malloc(LARGE);
	struct rlimit old, small;
	struct intro_executor *e;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = SEGMENT_BYTES;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	e = new_pool(2, INTRO_START_FORK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	for (unsigned i = 0; i < SIZES; i++) {
		fill(bytes, sizes[i], i);
		expect_echo(e, bytes, sizes[i]);
	}
	assert_int_equal(segments_memory(), 0);
	intro_executor_free(e);
	free(bytes);
}

/* --- many ------------------------------------------------------------------------------------ */

struct numbered {
	unsigned number;
	unsigned char bytes[LARGE - sizeof(unsigned)];
};

/* Gives the payload back when the gate is open, if it is whole. */
static int check_and_echo(struct intro_call *call)
{
	const struct numbered *n = call->arg;

	gate_wait(gate);
	if (!is_filled(n->bytes, sizeof(n->bytes), n->number))
		return 1;
	return echo(call);
}

static void submit_many(struct intro_executor *e, struct intro_future *f, intro_task_fn fn)
{
	struct numbered *n = malloc(sizeof(*n));

	for (unsigned i = 0; i < MANY; i++) {
		n->number = i;
		fill(n->bytes, sizeof(n->bytes), i);
		submit_new(e, &f[i], fn, n, sizeof(*n));
	}
	free(n);
}

static void expect_whole(struct intro_future *f, unsigned number)
{
	struct intro_result result;
	struct numbered *n;

	assert_int_equal(intro_future_result(f, INTRO_FOREVER, &result), 0);
	assert_int_equal(result.size, sizeof(*n));
	n = result.data;
	assert_int_equal(n->number, number);
	assert_true(is_filled(n->bytes, sizeof(n->bytes), number));
}

static void more_than_there_is_room_for(void **state)
{
	struct intro_executor *e;
	struct intro_future f[MANY];

	gate = gate_new_shared();
	e = new_pool(2, INTRO_START_FORK);
	submit_many(e, f, check_and_echo);
	assert_true(MANY * LARGE > PAYLOADS_MOST);
	assert_true(segments_memory() >= PAYLOADS_MOST / 2);
	/* that of an empty pool, of payloads; a chunk more, as blocks begin anywhere */
	assert_true(segments_memory() <= PAYLOADS_MOST + SEGMENT_CHUNK);
	gate_open(gate);
	for (unsigned i = 0; i < MANY; i++) {
		expect_whole(&f[i], i);
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(e);
}

static void cancelled_and_taken_back(void **state)
{
	struct intro_executor *e;
	struct intro_future f[MANY];
	unsigned char *bytes = malloc(LARGE);

	gate = gate_new_shared();
	e = new_pool(1, INTRO_START_FORK);
	submit_many(e, f, check_and_echo);
	for (unsigned i = MANY / 2; i < MANY; i++) {
		intro_future_cancel(&f[i]);
		intro_future_destroy(&f[i]);
	}
	gate_open(gate);
	for (unsigned i = 0; i < MANY / 2; i++) {
		expect_whole(&f[i], i);
		intro_future_destroy(&f[i]);
	}
	fill(bytes, LARGE, 1);
	expect_echo(e, bytes, LARGE);
	intro_executor_free(e);
	free(bytes);
}

/* More results than may wait to be copied, of tasks that do not wait for that themselves. */
static void results_wait_for_their_reader(void **state)
{
	struct intro_executor *e = new_pool(1, INTRO_START_FORK);
	struct intro_future *f = aligned_alloc(64, 100 * sizeof(*f));
	unsigned char *bytes = malloc(SEGMENT_RESULT);

	fill(bytes, SEGMENT_RESULT, 9);
	for (int i = 0; i < 100; i++)
		submit_new(e, &f[i], echo, bytes, SEGMENT_RESULT);
	for (int i = 0; i < 100; i++) {
		struct intro_result result;

		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, &result), 0);
		assert_int_equal(result.size, SEGMENT_RESULT);
		assert_true(is_filled(result.data, result.size, 9));
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(e);
	free(bytes);
	free(f);
}

#define ITEM_BYTES ((size_t)300 << 10)

static int expect_item(size_t index, const struct intro_result *result,
		       const struct intro_error *error, void *ctx)
{
	assert_null(error);
	assert_int_equal(result->size, ITEM_BYTES);
	assert_memory_equal(result->data, (unsigned char *)ctx + index * ITEM_BYTES, ITEM_BYTES);
	return 0;
}

/* Chunks of large items, and what they give back, are large. */
static void mapped_in_chunks(void **state)
{
	struct intro_executor *e = new_pool(2, INTRO_START_FORK);
	unsigned char *items = malloc(10 * ITEM_BYTES);

	for (unsigned i = 0; i < 10; i++)
		fill(items + i * ITEM_BYTES, ITEM_BYTES, i);
	assert_int_equal(intro_executor_map(e, echo, items, 10, ITEM_BYTES, 3, INTRO_FOREVER,
					    expect_item, items),
			 0);
	intro_executor_free(e);
	free(items);
}

/* --- what a task may do ---------------------------------------------------------------------- */

/* A result that is dropped, as the task fails: its memory is free again. */
static int returns_and_fails(struct intro_call *call)
{
	if (intro_call_return(call, (void *)call->arg, call->size))
		return 1;
	return intro_call_return(call, (void *)call->arg, call->size) == -EALREADY ? -EDOM : 1;
}

static void of_failures_nothing_is_left(void **state)
{
	struct intro_executor *e = new_pool(1, INTRO_START_FORK);
	unsigned char *bytes = malloc(LARGE);
	struct intro_future f;

	fill(bytes, LARGE, 2);
	for (int i = 0; i < 3 * (int)(RESULTS_MOST / LARGE); i++) {
		submit_new(e, &f, returns_and_fails, bytes, LARGE);
		assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), -EDOM);
		intro_future_destroy(&f);
	}
	expect_echo(e, bytes, LARGE);
	/* one payload at a time, one result at a time */
	assert_true(segments_memory() <= 2 * (LARGE + SEGMENT_CHUNK));
	intro_executor_free(e);
	free(bytes);
}

/* Spoils all of its payload, and says whether that was whole before. */
static int writes_to_its_payload(struct intro_call *call)
{
	unsigned char *bytes = (unsigned char *)(uintptr_t)call->arg;
	bool whole = is_filled(bytes, call->size, 4);

	memset(bytes, 0xee, call->size);
	return whole ? 0 : 1;
}

static void a_payload_is_the_tasks_own(void **state)
{
	struct intro_executor *e = new_pool(2, INTRO_START_FORK);
	unsigned char *bytes = malloc(LARGE);
	struct intro_future f[6];

	fill(bytes, LARGE, 4);
	for (int i = 0; i < 6; i++)
		submit_new(e, &f[i], writes_to_its_payload, bytes, LARGE);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(e);
	free(bytes);
}

/* How many descriptors of memory a program would inherit that this task executes. */
static int memory_on_exec(struct intro_call *call)
{
	int n = 0;

	for (int fd = 3; fd < 1000; fd++) {
		char path[32], name[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, name, sizeof(name) - 1) > 0 &&
		    strstr(name, "introspect-segments") && !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
			n++;
	}
	return intro_call_return(call, &n, sizeof(n));
}

static void nothing_is_inherited(void **state)
{
	for (int method = INTRO_START_FORK; method <= INTRO_START_SPAWN; method++) {
		struct intro_executor *e = new_pool(1, (enum intro_start_method)method);
		int n = -1;

		result_of(e, memory_on_exec, &n, sizeof(n));
		assert_int_equal(n, 0);
		intro_executor_free(e);
	}
}

/* --- deaths ---------------------------------------------------------------------------------- */

static int dies_with_its_payload(struct intro_call *call)
{
	gate_wait(gate);
	raise(SIGKILL);
	return 0;
}

static void killed_with_large_payloads(void **state)
{
	unsigned fds = count_fds();
	struct intro_executor *e;
	struct intro_future f[MANY];

	gate = gate_new_shared();
	e = new_pool(2, INTRO_START_FORK);
	submit_many(e, f, dies_with_its_payload);
	gate_open(gate);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), -EPIPE);
		intro_future_destroy(&f[i]);
	}
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(segments_memory(), 0);
	intro_executor_free(e);
	assert_int_equal(count_children(), 0);
	assert_int_equal(count_fds(), fds);
}

static struct intro_process_pool *new_lasting_pool(unsigned workers)
{
	struct intro_process_pool_options options = {.size = sizeof(options), .workers = workers};
	struct intro_process_pool *pool = intro_process_pool_new(&options);

	assert_non_null(pool);
	return pool;
}

/* What is given back a moment after somebody was told. */
static void until_memory_is(size_t most)
{
	int64_t end = now_ns() + 20 * SEC;

	while (segments_memory() > most && now_ns() < end)
		sleep_ms(5);
	assert_true(segments_memory() <= most);
}

static int returns_and_dies(struct intro_call *call)
{
	echo(call);
	raise(SIGKILL);
	return 0;
}

static void a_result_of_the_dead_is_lost(void **state)
{
	struct intro_process_pool *pool = new_lasting_pool(1);
	unsigned char *bytes = malloc(LARGE);
	struct intro_future f;

	fill(bytes, LARGE, 6);
	for (int i = 0; i < 3; i++) {
		intro_future_init(&f);
		assert_int_equal(
			intro_process_pool_apply(pool, &f, returns_and_dies, bytes, LARGE, NULL),
			-EOWNERDEAD);
		intro_future_destroy(&f);
		/* the pool's payload alone */
		until_memory_is(LARGE + 2 * SEGMENT_CHUNK);
	}
	intro_process_pool_free(pool);
	free(bytes);
}

/* Every other one is killed after so many microseconds, whatever its worker does then. */
static int echo_under_fire(struct intro_call *call)
{
	const struct numbered *n = call->arg;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
	struct itimerspec at = {.it_value.tv_nsec = 1 + 1000 * (397 * n->number % 20000)};
	timer_t timer;

	if (n->number % 2 == 0 &&
	    (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &at, NULL)))
		return 1;
	return is_filled(n->bytes, sizeof(n->bytes), n->number) ? echo(call) : 1;
}

static void killed_at_any_moment(void **state)
{
	unsigned fds = count_fds(), whole = 0, lost = 0;
	struct intro_process_pool *pool = new_lasting_pool(2);
	struct numbered *n = malloc(sizeof(*n));
	struct intro_future f[MANY];

	for (unsigned i = 0; i < MANY; i++) {
		n->number = i;
		fill(n->bytes, sizeof(n->bytes), n->number);
		intro_future_init(&f[i]);
		assert_int_equal(
			intro_process_pool_apply_async(pool, &f[i], echo_under_fire, n, sizeof(*n)),
			0);
	}
	free(n);
	for (unsigned i = 0; i < MANY; i++) {
		int err = intro_future_result(&f[i], INTRO_FOREVER, NULL);

		if (err) {
			assert_int_equal(err, -EOWNERDEAD);
			lost++;
		} else {
			expect_whole(&f[i], i);
			whole++;
		}
		intro_future_destroy(&f[i]);
	}
	print_message("# figure killed at any moment: %u lost, %u whole\n", lost, whole);
	assert_true(lost > 0);
	intro_process_pool_close(pool);
	assert_int_equal(intro_process_pool_join(pool), 0);
	assert_int_equal(segments_memory(), 0);
	intro_process_pool_free(pool);
	assert_int_equal(count_children(), 0);
	assert_int_equal(count_fds(), fds);
}

/* --- the end --------------------------------------------------------------------------------- */

static void shut_down_with_large_ones_pending(void **state)
{
	unsigned fds = count_fds(), cancelled = 0;
	struct intro_executor *e;
	struct intro_future f[MANY];

	gate = gate_new_shared();
	e = new_pool(2, INTRO_START_FORK);
	submit_many(e, f, check_and_echo);
	gate_expect(gate, 2);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_CANCEL_PENDING);
	gate_open(gate);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(segments_memory(), 0);
	for (unsigned i = 0; i < MANY; i++) {
		if (intro_future_cancelled(&f[i]))
			cancelled++;
		else
			expect_whole(&f[i], i);
		intro_future_destroy(&f[i]);
	}
	assert_true(cancelled > 0 && cancelled < MANY);
	intro_executor_free(e);
	assert_int_equal(count_fds(), fds);
}

static void terminated_with_large_ones_pending(void **state)
{
	unsigned fds = count_fds();
	struct intro_process_pool *pool;
	struct intro_future f[MANY];
	unsigned char *bytes = calloc(1, LARGE);

	gate = gate_new_shared();
	pool = new_lasting_pool(2);
	for (int i = 0; i < MANY; i++) {
		intro_future_init(&f[i]);
		assert_int_equal(
			intro_process_pool_apply_async(pool, &f[i], check_and_echo, bytes, LARGE),
			0);
	}
	gate_expect(gate, 2);
	intro_process_pool_terminate(pool);
	assert_int_equal(intro_process_pool_join(pool), 0);
	assert_int_equal(segments_memory(), 0);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(intro_future_result(&f[i], 0, NULL), -ECANCELED);
		intro_future_destroy(&f[i]);
	}
	intro_process_pool_free(pool);
	assert_int_equal(count_children(), 0);
	assert_int_equal(count_fds(), fds);
	free(bytes);
}

static void an_idle_pool_has_no_memory(void **state)
{
	struct intro_executor *e = new_pool(1, INTRO_START_FORK);
	unsigned char *bytes = malloc(LARGE);

	fill(bytes, LARGE, 7);
	expect_echo(e, bytes, LARGE);
	assert_true(segments_memory() >= 2 * LARGE);
	until_memory_is(0);
	expect_echo(e, bytes, LARGE);
	intro_executor_free(e);
	free(bytes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_forked_workers),
		cmocka_unit_test(by_spawned_workers),
		cmocka_unit_test(without_segments),
		cmocka_unit_test(more_than_there_is_room_for),
		cmocka_unit_test(cancelled_and_taken_back),
		cmocka_unit_test(results_wait_for_their_reader),
		cmocka_unit_test(mapped_in_chunks),
		cmocka_unit_test(of_failures_nothing_is_left),
		cmocka_unit_test(a_payload_is_the_tasks_own),
		cmocka_unit_test(nothing_is_inherited),
		cmocka_unit_test(killed_with_large_payloads),
		cmocka_unit_test(a_result_of_the_dead_is_lost),
		cmocka_unit_test(killed_at_any_moment),
		cmocka_unit_test(shut_down_with_large_ones_pending),
		cmocka_unit_test(terminated_with_large_ones_pending),
		cmocka_unit_test(an_idle_pool_has_no_memory),
	};

	intro_function_register("echo", echo);
	intro_function_register("memory_on_exec", memory_on_exec);
	if (argc == 1)
		private_area();
	intro_process_main(argc, argv);
	watchdog(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
