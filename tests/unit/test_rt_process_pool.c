/* SPDX-License-Identifier: BSD-2-Clause */
/* Process pools: what Python's multiprocessing.Pool does, and what it does not: lost tasks. */
#include "rt_support.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <introspect/process_pool.h>

#define OPTIONS(...)                                                                               \
	(&(struct intro_process_pool_options){.size = sizeof(struct intro_process_pool_options),   \
					      __VA_ARGS__})
#define ITEMS 1000

/* Shared with the workers; made before any is forked. */
static struct shared {
	struct gate gate;
	_Atomic unsigned ran[ITEMS];
} * shared;

static int numbers[ITEMS];

static struct intro_process_pool *new_pool(const struct intro_process_pool_options *options)
{
	struct intro_process_pool *pool;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	memset(shared, 0, sizeof(*shared));
	for (int i = 0; i < ITEMS; i++)
		numbers[i] = i;
	pool = intro_process_pool_new(options);
	assert_non_null(pool);
	return pool;
}

static void end_pool(struct intro_process_pool *pool)
{
	intro_process_pool_close(pool);
	assert_int_equal(intro_process_pool_join(pool), 0);
	intro_process_pool_free(pool);
	assert_int_equal(count_children(), 0);
}

static int square(struct intro_call *call)
{
	long n = *(const int *)call->arg;
	long result = n * n;

	shared->ran[n]++;
	if (n == 13) {
		intro_call_error(call, "unlucky");
		return 13;
	}
	return intro_call_return(call, &result, sizeof(result));
}

static int give_pid(struct intro_call *call)
{
	pid_t pid = getpid();

	return intro_call_return(call, &pid, sizeof(pid));
}

static int dies(struct intro_call *call)
{
	gate_wait(&shared->gate);
	raise(SIGKILL);
	return 0;
}

static int waits(struct intro_call *call)
{
	gate_wait(&shared->gate);
	return 0;
}

static int is_square(size_t index, const struct intro_result *result,
		     const struct intro_error *error, void *ctx)
{
	size_t *next = ctx;

	assert_int_equal(index, (*next)++);
	if (index == 13) {
		assert_int_equal(error->code, 13);
		assert_string_equal(error->text, "unlucky");
		return 0;
	}
	assert_null(error);
	assert_int_equal(*(long *)result->data, index * index);
	return 0;
}

static void maps_in_chunks(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 2));

	assert_int_equal(intro_process_pool_chunk(pool, 0), 1);
	assert_int_equal(intro_process_pool_chunk(pool, 1), 1);
	assert_int_equal(intro_process_pool_chunk(pool, 8), 1);
	assert_int_equal(intro_process_pool_chunk(pool, 9), 2);
	assert_int_equal(intro_process_pool_chunk(pool, 1000), 125);
	for (size_t chunk = 0; chunk < 300; chunk += 99) {
		size_t next = 0;

		assert_int_equal(intro_process_pool_map(pool, square, numbers, ITEMS, sizeof(int),
							chunk, INTRO_FOREVER, is_square, &next),
				 0);
		assert_int_equal(next, ITEMS);
	}
	for (int i = 0; i < ITEMS; i++)
		assert_int_equal(shared->ran[i], 4);
	end_pool(pool);
}

static void check_item(const struct intro_imap_item *item)
{
	if (item->index == 13)
		assert_int_equal(item->error.code, 13);
	else
		assert_int_equal(*(long *)item->result.data, item->index * item->index);
}

static void imap_is_in_order(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 2));
	struct intro_imap_item item;
	struct intro_imap *it;

	it = intro_process_pool_imap(pool, square, numbers, 100, sizeof(int), 7);
	assert_non_null(it);
	for (size_t i = 0; i < 100; i++) {
		assert_int_equal(intro_imap_next(it, INTRO_FOREVER, &item), 1);
		assert_int_equal(item.index, i);
		check_item(&item);
	}
	assert_int_equal(intro_imap_next(it, 0, &item), 0);
	assert_int_equal(intro_imap_next(it, 0, &item), 0);
	intro_imap_free(it);
	it = intro_process_pool_imap(pool, square, numbers, 0, sizeof(int), 0);
	assert_non_null(it);
	assert_int_equal(intro_imap_next(it, 0, &item), 0);
	intro_imap_free(it);
	it = intro_process_pool_imap_unordered(pool, square, NULL, 0, sizeof(int), 0);
	assert_non_null(it);
	assert_int_equal(intro_imap_next(it, 0, &item), 0);
	intro_imap_free(it);
	intro_imap_free(NULL);
	end_pool(pool);
}

static int first_waits(struct intro_call *call)
{
	if (!*(const int *)call->arg)
		gate_wait(&shared->gate);
	return square(call);
}

/* The first one's result comes last. */
static void imap_unordered_is_as_completed(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 2, .prefetch = 1));
	bool seen[50] = {false};
	struct intro_imap_item item;
	struct intro_imap *it;
	int early = 0;

	it = intro_process_pool_imap_unordered(pool, first_waits, numbers, 50, sizeof(int), 1);
	assert_non_null(it);
	gate_expect(&shared->gate, 1);
	/* all but it, and the one that was handed to its worker ahead */
	for (; early < 48; early++) {
		assert_int_equal(intro_imap_next(it, INTRO_FOREVER, &item), 1);
		assert_true(item.index && !seen[item.index]);
		seen[item.index] = true;
		check_item(&item);
	}
	gate_open(&shared->gate);
	for (; early < 50; early++) {
		assert_int_equal(intro_imap_next(it, INTRO_FOREVER, &item), 1);
		assert_false(seen[item.index]);
		seen[item.index] = true;
	}
	assert_int_equal(intro_imap_next(it, INTRO_FOREVER, &item), 0);
	intro_imap_free(it);
	end_pool(pool);
}

static void imap_times_out_and_goes_on(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 1));
	struct intro_imap_item item;
	struct intro_imap *it;

	it = intro_process_pool_imap(pool, first_waits, numbers, 3, sizeof(int), 2);
	assert_int_equal(intro_imap_next(it, 0, &item), -ETIMEDOUT);
	assert_int_equal(intro_imap_next(it, MSEC, &item), -ETIMEDOUT);
	gate_open(&shared->gate);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(intro_imap_next(it, INTRO_FOREVER, &item), 1);
		assert_int_equal(item.index, i);
	}
	intro_imap_free(it);
	/* abandoned at once: the rest is cancelled */
	it = intro_process_pool_imap_unordered(pool, square, numbers, ITEMS, sizeof(int), 1);
	intro_imap_free(it);
	end_pool(pool);
}

static int joins(struct intro_call *call, const struct intro_arg *args, size_t n)
{
	char text[256];
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		if ((uintptr_t)args[i].data % 16)
			return -1;
		memcpy(text + at, args[i].data, args[i].size);
		at += args[i].size;
	}
	return intro_call_return(call, text, at);
}

static int is_joined(size_t index, const struct intro_result *result,
		     const struct intro_error *error, void *ctx)
{
	static const char *const expected[] = {"onetwo", "threefour", "",
					       "x and a long tail of it"};

	assert_null(error);
	assert_int_equal(result->size, strlen(expected[index]));
	assert_memory_equal(result->data, expected[index], result->size);
	++*(int *)ctx;
	return 0;
}

static void starmap_gives_tuples(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 2));
	const struct intro_arg args[] = {
		{"one", 3}, {"two", 3}, {"three", 5}, {"four", 4},
		{NULL, 0},  {"", 0},	{"x", 1},     {" and a long tail of it", 22},
	};
	struct intro_arg bad = {NULL, 3};
	int n = 0;

	assert_int_equal(intro_process_pool_starmap(pool, joins, args, 4, 2, 0, INTRO_FOREVER,
						    is_joined, &n),
			 0);
	assert_int_equal(n, 4);
	assert_int_equal(intro_process_pool_starmap(pool, joins, args, 4, 2, 3, INTRO_FOREVER,
						    is_joined, &n),
			 0);
	assert_int_equal(n, 8);
	assert_int_equal(intro_process_pool_starmap(pool, joins, &bad, 1, 1, 0, 0, is_joined, &n),
			 -EINVAL);
	assert_int_equal(intro_process_pool_starmap(pool, joins, args, 1, 65, 0, 0, is_joined, &n),
			 -EINVAL);
	assert_int_equal(intro_process_pool_starmap(pool, NULL, args, 1, 1, 0, 0, is_joined, &n),
			 -EINVAL);
	assert_int_equal(intro_process_pool_starmap(pool, joins, NULL, 0, 2, 0, 0, is_joined, &n),
			 0);
	end_pool(pool);
}

/* --- workers that die ------------------------------------------------------------------------ */

/* One worker: one task runs, and two were handed to it ahead, which take a payload along. */
static void a_lost_task_is_reported_and_no_other_is(void **state)
{
	struct intro_process_pool *pool =
		new_pool(OPTIONS(.name = "lossy", .workers = 1, .prefetch = 2));
	struct intro_future f[4];
	struct intro_result result;
	struct intro_error error;
	int big[1000] = {7};

	for (int i = 0; i < 4; i++)
		intro_future_init(&f[i]);
	assert_int_equal(intro_process_pool_apply_async(pool, &f[0], dies, NULL, 0), 0);
	assert_int_equal(intro_process_pool_apply_async(pool, &f[1], square, big, sizeof(big)), 0);
	assert_int_equal(intro_process_pool_apply_async(pool, &f[2], square, &numbers[5], 4), 0);
	assert_int_equal(intro_process_pool_apply_async(pool, &f[3], square, &numbers[6], 4), 0);
	gate_expect(&shared->gate, 1);
	while (!intro_future_running(&f[2]))
		sleep_ms(1);
	gate_open(&shared->gate);
	assert_int_equal(intro_future_result(&f[0], INTRO_FOREVER, NULL), -EOWNERDEAD);
	assert_int_equal(intro_future_error(&f[0], 0, &error), 0);
	assert_non_null(strstr(error.text, "worker lossy/0 (tid "));
	assert_non_null(strstr(error.text, "was killed by signal 9 (SIGKILL) during task "));
	for (int i = 1; i < 4; i++)
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, &result), 0);
	assert_int_equal(*(long *)result.data, 36);
	assert_int_equal(shared->ran[5] + shared->ran[6] + shared->ran[7], 3);
	assert_int_equal(intro_process_pool_broken(pool, NULL), 0);
	for (int i = 0; i < 4; i++)
		intro_future_destroy(&f[i]);
	end_pool(pool);
}

static pid_t pid_of(struct intro_process_pool *pool)
{
	struct intro_result result;
	struct intro_future f;
	pid_t pid;

	intro_future_init(&f);
	assert_int_equal(intro_process_pool_apply(pool, &f, give_pid, NULL, 0, &result), 0);
	pid = *(pid_t *)result.data;
	intro_future_destroy(&f);
	return pid;
}

static void an_idle_worker_is_replaced(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 1));
	unsigned fds = count_fds();

	for (int i = 0; i < 30; i++) {
		pid_t before = pid_of(pool);

		kill(before, SIGKILL);
		while (!kill(before, 0))
			sleep_ms(1);
		assert_true(pid_of(pool) != before);
	}
	assert_int_equal(count_children(), 1);
	assert_int_equal(count_fds(), fds);
	end_pool(pool);
}

static int some_die(struct intro_call *call)
{
	if (*(const int *)call->arg % 10 == 3)
		raise(SIGKILL);
	return square(call);
}

static int count_lost(size_t index, const struct intro_result *result,
		      const struct intro_error *error, void *ctx)
{
	unsigned *counts = ctx;

	if (!error) {
		assert_int_equal(*(long *)result->data, index * index);
		counts[0]++;
	} else {
		assert_int_equal(error->code, -EOWNERDEAD);
		assert_int_equal(index % 10, 3);
		counts[1]++;
	}
	return 0;
}

/* 30 workers die, each with one item: none runs twice, none is missing, nothing hangs. */
static void a_map_survives_its_workers(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 3, .prefetch = 4));
	unsigned counts[2] = {0};

	assert_int_equal(intro_process_pool_map(pool, some_die, numbers, 300, sizeof(int), 1,
						INTRO_FOREVER, count_lost, counts),
			 0);
	assert_int_equal(counts[0], 270);
	assert_int_equal(counts[1], 30);
	for (int i = 0; i < 300; i++)
		assert_int_equal(shared->ran[i], i % 10 != 3);
	end_pool(pool);
}

static int collect_pids(size_t index, const struct intro_result *result,
			const struct intro_error *error, void *ctx)
{
	pid_t *pids = ctx;

	assert_null(error);
	pids[index] = *(pid_t *)result->data;
	return 0;
}

static void no_worker_runs_more_than_its_share(const pid_t *pids, int n, int most)
{
	for (int i = 0; i < n; i++) {
		int same = 0;

		for (int j = 0; j < n; j++)
			same += pids[i] == pids[j];
		assert_true(same <= most);
	}
}

static void workers_retire(void **state)
{
	struct intro_process_pool *pool =
		new_pool(OPTIONS(.workers = 2, .max_tasks_per_worker = 3, .prefetch = 7));
	unsigned fds = count_fds();
	pid_t pids[60];

	assert_int_equal(intro_process_pool_map(pool, give_pid, numbers, 60, sizeof(int), 1,
						INTRO_FOREVER, collect_pids, pids),
			 0);
	no_worker_runs_more_than_its_share(pids, 60, 3);
	for (int i = 0; count_fds() != fds && i < 20000; i++)
		sleep_ms(1);
	assert_int_equal(count_fds(), fds);
	end_pool(pool);
}

static void workers_of_an_executor_retire(void **state)
{
	struct intro_executor *e =
		intro_process_executor_new(POOL_OPTIONS(.workers = 1, .max_tasks_per_worker = 1));
	pid_t pids[20];

	assert_non_null(e);
	assert_int_equal(intro_executor_map(e, give_pid, numbers, 20, sizeof(int), 1, INTRO_FOREVER,
					    collect_pids, pids),
			 0);
	no_worker_runs_more_than_its_share(pids, 20, 1);
	assert_int_equal(intro_executor_broken(e, NULL), 0);
	intro_executor_free(e);
	assert_int_equal(count_children(), 0);
}

static int initializer_fails(struct intro_call *call)
{
	intro_call_error(call, "no database");
	return 5;
}

static int initializer_dies(struct intro_call *call)
{
	raise(SIGKILL);
	return 0;
}

static void hopeless_workers_break_it(void **state)
{
	int (*initializers[])(struct intro_call *) = {initializer_fails, initializer_dies};

	for (int i = 0; i < 2; i++) {
		struct intro_process_pool *pool =
			new_pool(OPTIONS(.workers = 2, .initializer = initializers[i]));
		struct intro_error error;
		struct intro_future f;

		while (!intro_process_pool_broken(pool, &error))
			sleep_ms(1);
		assert_int_equal(error.code, -EPIPE);
		assert_non_null(strstr(error.text, i ? "SIGKILL" : "no database"));
		intro_future_init(&f);
		assert_int_equal(intro_process_pool_apply_async(pool, &f, square, numbers, 4),
				 -EPIPE);
		intro_future_destroy(&f);
		end_pool(pool);
	}
}

/* --- states ---------------------------------------------------------------------------------- */

static void states(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 1));
	struct intro_future f;
	size_t next = 0;

	intro_future_init(&f);
	assert_int_equal(intro_process_pool_workers(pool), 1);
	assert_int_equal(intro_process_pool_join(pool), -EBUSY);
	assert_int_equal(intro_process_pool_apply(pool, &f, NULL, NULL, 0, NULL), -EINVAL);
	assert_int_equal(intro_process_pool_apply_async(pool, &f, waits, NULL, 0), 0);
	intro_process_pool_close(pool);
	intro_process_pool_close(pool);
	assert_int_equal(intro_process_pool_map(pool, square, numbers, 5, 4, 0, INTRO_FOREVER,
						is_square, &next),
			 -ESHUTDOWN);
	assert_null(intro_process_pool_imap(pool, square, numbers, 5, 4, 0));
	assert_int_equal(errno, ESHUTDOWN);
	gate_open(&shared->gate);
	assert_int_equal(intro_process_pool_join(pool), 0);
	assert_int_equal(intro_process_pool_join(pool), 0);
	assert_int_equal(intro_future_result(&f, 0, NULL), 0);
	intro_future_destroy(&f);
	intro_future_init(&f);
	assert_int_equal(intro_process_pool_apply(pool, &f, square, numbers, 4, NULL), -ESHUTDOWN);
	intro_process_pool_terminate(pool);
	assert_int_equal(intro_process_pool_join(pool), 0);
	intro_process_pool_free(pool);
	assert_null(intro_process_pool_new(NULL));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_process_pool_new(OPTIONS(.workers = 1000000)));
	assert_int_equal(errno, EINVAL);
	intro_process_pool_free(NULL);
}

static void terminate_leaves_nobody_waiting(void **state)
{
	for (int how = 0; how < 2; how++) {
		struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 2));
		struct intro_future f[20];

		for (int i = 0; i < 20; i++) {
			intro_future_init(&f[i]);
			assert_int_equal(
				intro_process_pool_apply_async(pool, &f[i], waits, NULL, 0), 0);
		}
		gate_expect(&shared->gate, 2);
		if (how)
			intro_process_pool_close(pool);
		intro_process_pool_terminate(pool);
		for (int i = 0; i < 20; i++)
			assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL),
					 -ECANCELED);
		assert_int_equal(intro_process_pool_join(pool), 0);
		assert_int_equal(count_children(), 0);
		intro_process_pool_free(pool);
		for (int i = 0; i < 20; i++)
			intro_future_destroy(&f[i]);
	}
}

static void freed_without_a_close(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.name = "gone", .workers = 2));
	struct intro_future f;

	intro_future_init(&f);
	intro_process_pool_apply_async(pool, &f, waits, NULL, 0);
	gate_expect(&shared->gate, 1);
	intro_process_pool_free(pool);
	assert_int_equal(intro_future_result(&f, 0, NULL), -ECANCELED);
	intro_future_destroy(&f);
	assert_int_equal(count_children(), 0);
	assert_int_equal(count_threads_left("gone"), 0);
}

static void join_in_callback(struct intro_future *future, void *arg)
{
	assert_int_equal(intro_process_pool_join(arg), -EDEADLK);
	shared->ran[0] = 100;
}

static void a_callback_cannot_join(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 1));
	struct intro_done_callback cb = {.fn = join_in_callback, .arg = pool};
	struct intro_future f;

	intro_future_init(&f);
	intro_future_add_done_callback(&f, &cb);
	assert_int_equal(intro_process_pool_apply_async(pool, &f, waits, NULL, 0), 0);
	intro_process_pool_close(pool);
	gate_open(&shared->gate);
	assert_int_equal(intro_process_pool_join(pool), 0);
	assert_int_equal(shared->ran[0], 100);
	intro_future_destroy(&f);
	intro_process_pool_free(pool);
}

static void marks_tell_of_loss_and_of_a_second_hand(void **state)
{
	struct intro_process_pool *pool = new_pool(OPTIONS(.workers = 1, .prefetch = 1));
	struct intro_future f[2];
	struct intro_rec_mark *m;
	uint64_t lost, saved;
	size_t n;
	int at;

	marks_begin();
	for (int i = 0; i < 2; i++)
		intro_future_init(&f[i]);
	intro_process_pool_apply_async(pool, &f[0], dies, NULL, 0);
	intro_process_pool_apply_async(pool, &f[1], square, numbers, 4);
	while (!intro_future_running(&f[1]))
		sleep_ms(1);
	gate_open(&shared->gate);
	assert_int_equal(intro_future_result(&f[1], INTRO_FOREVER, NULL), 0);
	lost = intro_future_id(&f[0]);
	saved = intro_future_id(&f[1]);
	m = marks_end(&n);
	at = marks_find(m, n, 0, INTRO_KIND_RESULT, lost);
	assert_true(at >= 0);
	assert_int_equal(m[at].a, INTRO_STATUS_LOST);
	assert_int_equal(marks_count(m, n, INTRO_KIND_START, lost), 1);
	assert_int_equal(marks_count(m, n, INTRO_KIND_TAKE, saved), 2);
	assert_int_equal(marks_count(m, n, INTRO_KIND_START, saved), 1);
	free(m);
	for (int i = 0; i < 2; i++)
		intro_future_destroy(&f[i]);
	end_pool(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_in_chunks),
		cmocka_unit_test(imap_is_in_order),
		cmocka_unit_test(imap_unordered_is_as_completed),
		cmocka_unit_test(imap_times_out_and_goes_on),
		cmocka_unit_test(starmap_gives_tuples),
		cmocka_unit_test(a_lost_task_is_reported_and_no_other_is),
		cmocka_unit_test(an_idle_worker_is_replaced),
		cmocka_unit_test(a_map_survives_its_workers),
		cmocka_unit_test(workers_retire),
		cmocka_unit_test(workers_of_an_executor_retire),
		cmocka_unit_test(hopeless_workers_break_it),
		cmocka_unit_test(states),
		cmocka_unit_test(terminate_leaves_nobody_waiting),
		cmocka_unit_test(freed_without_a_close),
		cmocka_unit_test(a_callback_cannot_join),
		cmocka_unit_test(marks_tell_of_loss_and_of_a_second_hand),
	};

	private_area();
	watchdog(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
