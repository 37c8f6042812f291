/* SPDX-License-Identifier: BSD-2-Clause */
/* A manager: its objects, used by many. */
#include "rt_manager.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- objects ---------------------------------------------------------------------------------- */

static void lists(void **state)
{
	uint64_t l = make(INTRO_MANAGER_LIST, 0);
	const void *at, *item;
	size_t left, size, n = 0;
	void *data;

	assert_int_equal(append(l, "b"), 0);
	assert_int_equal(append(l, "d"), 0);
	assert_int_equal(intro_manager_list_insert(m, l, 0, "a", 1), 0);
	assert_int_equal(intro_manager_list_insert(m, l, -1, "c", 1), 0);
	assert_int_equal(intro_manager_list_insert(m, l, 99, "e", 1), 0);
	assert_int_equal(intro_manager_list_insert(m, l, -99, "", 0), 0);
	assert_int_equal(length(l), 6);
	expect_text("a", intro_manager_list_get(m, l, 1, &data, &size));
	expect_text("e", intro_manager_list_get(m, l, -1, &data, &size));
	expect_text("", intro_manager_list_get(m, l, -6, &data, &size));
	assert_int_equal(intro_manager_list_get(m, l, 6, &data, &size), -ERANGE);
	assert_int_equal(intro_manager_list_get(m, l, -7, &data, &size), -ERANGE);
	assert_int_equal(intro_manager_list_get(m, l, INT64_MIN, &data, &size), -ERANGE);
	assert_int_equal(intro_manager_list_set(m, l, 6, "x", 1), -ERANGE);
	assert_int_equal(intro_manager_list_pop(m, l, INT64_MAX, &data, &size), -ERANGE);
	assert_int_equal(intro_manager_list_insert(m, l, 0, NULL, 1), -EINVAL);
	assert_int_equal(intro_manager_list_set(m, l, 3, "C is large", 10), 0);
	expect_text("", intro_manager_list_pop(m, l, 0, &data, &size));
	expect_text("e", intro_manager_list_pop(m, l, -1, &data, &size));
	assert_int_equal(intro_manager_list_items(m, l, &data, &left), 0);
	for (at = data; intro_manager_unpack(&at, &left, &item, &size); n++)
		assert_true(n == 2 ? size == 10 && !memcmp(item, "C is large", 10)
				   : size == 1 && *(const char *)item == "ab d"[n]);
	assert_int_equal(n, 4);
	free(data);
	assert_int_equal(intro_manager_clear(m, l), 0);
	assert_int_equal(length(l), 0);
	assert_int_equal(intro_manager_list_pop(m, l, -1, &data, &size), -ERANGE);
	assert_int_equal(intro_manager_list_items(m, l, &data, &left), 0);
	assert_int_equal(left, 0);
	free(data);
}

static void many_items(void **state)
{
	uint64_t l = make(INTRO_MANAGER_LIST, 0);
	void *data;
	size_t size;
	int n;

	for (int i = 0; i < 1000; i++)
		assert_int_equal(intro_manager_list_append(m, l, &i, sizeof(i)), 0);
	for (int i = 0; i < 500; i++) {
		assert_int_equal(intro_manager_list_pop(m, l, i, &data, &size), 0);
		memcpy(&n, data, sizeof(n));
		assert_int_equal(n, 2 * i);
		free(data);
	}
	assert_int_equal(length(l), 500);
}

static void dicts(void **state)
{
	uint64_t d = make(INTRO_MANAGER_DICT, 0);
	const char *order[] = {"one", "", "three"};
	const void *at, *item;
	size_t left, size, n = 0;
	void *data;

	assert_int_equal(intro_manager_dict_set(m, d, "one", 3, "1", 1), 0);
	assert_int_equal(intro_manager_dict_set(m, d, "", 0, "none", 4), 0);
	assert_int_equal(intro_manager_dict_set(m, d, "two", 3, "2", 1), 0);
	assert_int_equal(intro_manager_dict_set(m, d, "three", 5, "", 0), 0);
	assert_int_equal(intro_manager_dict_set(m, d, "one", 3, "first", 5), 0);
	assert_int_equal(length(d), 4);
	expect_text("first", intro_manager_dict_get(m, d, "one", 3, &data, &size));
	expect_text("none", intro_manager_dict_get(m, d, "", 0, &data, &size));
	expect_text("2", intro_manager_dict_pop(m, d, "two", 3, &data, &size));
	assert_int_equal(intro_manager_dict_get(m, d, "two", 3, &data, &size), -ENOKEY);
	assert_int_equal(intro_manager_dict_pop(m, d, "two", 3, &data, &size), -ENOKEY);
	assert_int_equal(intro_manager_dict_has(m, d, "two", 3), -ENOKEY);
	assert_int_equal(intro_manager_dict_has(m, d, "three", 5), 0);
	assert_int_equal(intro_manager_dict_has(m, d, "thre", 4), -ENOKEY);
	assert_int_equal(intro_manager_dict_set(m, d, NULL, 3, "x", 1), -EINVAL);
	assert_int_equal(intro_manager_dict_keys(m, d, &data, &left), 0);
	for (at = data; intro_manager_unpack(&at, &left, &item, &size); n++) {
		assert_true(n < 3);
		assert_int_equal(size, strlen(order[n]));
		assert_memory_equal(item, order[n], size);
	}
	assert_int_equal(n, 3);
	free(data);
	for (int i = 0; i < 500; i++)
		assert_int_equal(intro_manager_dict_set(m, d, &i, sizeof(i), &n, sizeof(n)), 0);
	assert_int_equal(length(d), 503);
	assert_int_equal(intro_manager_clear(m, d), 0);
	assert_int_equal(length(d), 0);
	assert_int_equal(intro_manager_dict_has(m, d, "one", 3), -ENOKEY);
}

static void values(void **state)
{
	uint64_t v = make(INTRO_MANAGER_VALUE, 0);
	int64_t now = 0;
	size_t size;
	void *data;

	expect_text("", intro_manager_value_get(m, v, &data, &size));
	assert_int_equal(intro_manager_value_add(m, v, 40, NULL), 0);
	assert_int_equal(intro_manager_value_add(m, v, 2, &now), 0);
	assert_int_equal(now, 42);
	assert_int_equal(intro_manager_value_add(m, v, INT64_MAX, &now), -EOVERFLOW);
	assert_int_equal(intro_manager_value_add(m, v, -100, &now), 0);
	assert_int_equal(now, -58);
	assert_int_equal(intro_manager_value_set(m, v, "text", 4), 0);
	assert_int_equal(intro_manager_value_add(m, v, 1, &now), -EBADMSG);
	expect_text("text", intro_manager_value_get(m, v, &data, &size));
	assert_int_equal(intro_manager_clear(m, v), 0);
	assert_int_equal(intro_manager_value_add(m, v, 1, &now), 0);
	assert_int_equal(now, 1);
}

static void queues(void **state)
{
	uint64_t q = make(INTRO_MANAGER_QUEUE, 2);
	int64_t begin;
	size_t size;
	void *data;

	assert_int_equal(intro_manager_queue_get(m, q, &data, &size, 0), -ETIMEDOUT);
	begin = now_ns();
	assert_int_equal(intro_manager_queue_get(m, q, &data, &size, 20 * MSEC), -ETIMEDOUT);
	assert_true(now_ns() - begin >= 20 * MSEC);
	assert_int_equal(intro_manager_queue_put(m, q, "1", 1, 0), 0);
	assert_int_equal(intro_manager_queue_put(m, q, "2", 1, 0), 0);
	assert_int_equal(intro_manager_queue_put(m, q, "3", 1, 0), -ETIMEDOUT);
	begin = now_ns();
	assert_int_equal(intro_manager_queue_put(m, q, "3", 1, 20 * MSEC), -ETIMEDOUT);
	assert_true(now_ns() - begin >= 20 * MSEC);
	assert_int_equal(length(q), 2);
	assert_int_equal(intro_manager_queue_task_done(m, q), -ENODATA);
	expect_text("1", intro_manager_queue_get(m, q, &data, &size, 0));
	assert_int_equal(intro_manager_queue_task_done(m, q), 0);
	assert_int_equal(intro_manager_queue_task_done(m, q), -ENODATA);
	assert_int_equal(intro_manager_queue_join(m, q, 10 * MSEC), -ETIMEDOUT);
	expect_text("2", intro_manager_queue_get(m, q, &data, &size, INTRO_FOREVER));
	assert_int_equal(intro_manager_queue_join(m, q, 0), -ETIMEDOUT);
	assert_int_equal(intro_manager_queue_task_done(m, q), 0);
	assert_int_equal(intro_manager_queue_join(m, q, 0), 0);
	assert_int_equal(intro_manager_queue_put(m, q, "", 0, 0), 0);
	assert_int_equal(intro_manager_clear(m, q), 0);
	assert_int_equal(intro_manager_queue_join(m, q, 0), 0);
}

static void locks_and_events(void **state)
{
	uint64_t lock = make(INTRO_MANAGER_LOCK, 0), event = make(INTRO_MANAGER_EVENT, 0),
		 tried = make(INTRO_MANAGER_EVENT, 0);
	size_t n;
	pid_t pid;

	assert_int_equal(intro_manager_lock_release(m, lock), -EPERM);
	assert_int_equal(intro_manager_lock_acquire(m, lock, INTRO_FOREVER), 0);
	assert_int_equal(intro_manager_lock_acquire(m, lock, 0), -ETIMEDOUT);
	pid = fork();
	if (!pid)
		_exit(intro_manager_lock_acquire(m, lock, 10 * MSEC) != -ETIMEDOUT ||
		      intro_manager_lock_release(m, lock) != -EPERM ||
		      intro_manager_event_set(m, tried) ||
		      intro_manager_event_wait(m, event, INTRO_FOREVER) ||
		      intro_manager_lock_acquire(m, lock, INTRO_FOREVER) ||
		      intro_manager_lock_release(m, lock));
	assert_int_equal(intro_manager_event_wait(m, event, 20 * MSEC), -ETIMEDOUT);
	assert_int_equal(intro_manager_event_wait(m, tried, INTRO_FOREVER), 0);
	assert_int_equal(intro_manager_event_set(m, event), 0);
	assert_int_equal(intro_manager_event_set(m, event), 0);
	assert_int_equal(intro_manager_event_wait(m, event, 0), 0);
	assert_int_equal(intro_manager_lock_release(m, lock), 0);
	reap(pid, 0);
	assert_int_equal(intro_manager_event_clear(m, event), 0);
	assert_int_equal(intro_manager_event_wait(m, event, 0), -ETIMEDOUT);
	assert_int_equal(intro_manager_length(m, lock, &n), -EOPNOTSUPP);
	assert_int_equal(intro_manager_length(m, event, &n), -EOPNOTSUPP);
	assert_int_equal(intro_manager_clear(m, event), -EOPNOTSUPP);
}

static void misuse(void **state)
{
	uint64_t l = make(INTRO_MANAGER_LIST, 0), q = make(INTRO_MANAGER_QUEUE, 0), none;
	pthread_t thread;
	size_t size;
	void *data, *result;

	/* of another kind, of none */
	assert_int_equal(intro_manager_dict_has(m, l, "", 0), -EOPNOTSUPP);
	assert_int_equal(intro_manager_queue_get(m, l, &data, &size, 0), -EOPNOTSUPP);
	assert_int_equal(intro_manager_event_wait(m, l, INTRO_FOREVER), -EOPNOTSUPP);
	assert_int_equal(append(q, "x"), -EOPNOTSUPP);
	assert_int_equal(append(0, "x"), -ENOENT);
	assert_int_equal(append(UINT64_MAX, "x"), -ENOENT);
	assert_int_equal(intro_manager_make(m, 0, 0, &none), -EINVAL);
	assert_int_equal(intro_manager_make(m, 7, 0, &none), -EINVAL);
	assert_int_equal(intro_manager_make(m, INTRO_MANAGER_LIST, 1, &none), -EINVAL);
	assert_int_equal(intro_manager_make(m, INTRO_MANAGER_QUEUE, UINT64_MAX, &none), -EINVAL);
	/* dropped under a waiter, and again */
	pthread_create(&thread, NULL, manager_waits_for_item, &q);
	sleep_ms(20);
	assert_int_equal(intro_manager_drop(m, q), 0);
	pthread_join(thread, &result);
	assert_int_equal((intptr_t)result, -ENOENT);
	assert_int_equal(intro_manager_drop(m, q), -ENOENT);
	assert_int_equal(length(l), 0);
}

/* Larger than a packet, than a socket; not larger than the manager wants. */
static void large_items(void **state)
{
	struct intro_manager *old = m;
	unsigned char *bytes = malloc(3000000), *got;
	uint64_t l, d;
	size_t size;
	void *data;

	m = intro_manager_new(OPTIONS(.message = 3000000 - 1));
	assert_non_null(m);
	l = make(INTRO_MANAGER_LIST, 0);
	d = make(INTRO_MANAGER_DICT, 0);
	for (size_t i = 0; i < 3000000; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 1000);
	for (size_t n = 60000; n < 3000000; n += 367777) {
		assert_int_equal(intro_manager_list_append(m, l, bytes, n), 0);
		assert_int_equal(intro_manager_list_get(m, l, -1, &data, &size), 0);
		assert_int_equal(size, n);
		assert_memory_equal(data, bytes, n);
		free(data);
	}
	assert_int_equal(intro_manager_list_append(m, l, bytes, 3000000), -EMSGSIZE);
	assert_int_equal(intro_manager_dict_set(m, d, bytes, 2000000, bytes, 1000000), -EMSGSIZE);
	assert_int_equal(intro_manager_dict_set(m, d, bytes, 2000000, bytes, 999999), 0);
	assert_int_equal(intro_manager_dict_get(m, d, bytes, 2000000, &data, &size), 0);
	assert_int_equal(size, 999999);
	got = data;
	assert_int_equal(got[999998], bytes[999998]);
	free(data);
	/* all of them are more than a message */
	assert_int_equal(intro_manager_list_items(m, l, &data, &size), -EMSGSIZE);
	assert_true(length(l) > 5);
	free(bytes);
	intro_manager_free(m);
	m = old;
}

/* --- many ------------------------------------------------------------------------------------- */

#define PROCESSES 4
#define EACH 300

static void work(uint64_t l, uint64_t d, uint64_t v, uint64_t q, int process)
{
	for (int i = 0; i < EACH; i++) {
		int id = process * EACH + i;

		if (intro_manager_list_append(m, l, &id, sizeof(id)) ||
		    intro_manager_dict_set(m, d, &id, sizeof(id), &i, sizeof(i)) ||
		    intro_manager_value_add(m, v, id, NULL) ||
		    intro_manager_queue_put(m, q, &id, sizeof(id), INTRO_FOREVER))
			_exit(1);
	}
	_exit(0);
}

static void many_processes(void **state)
{
	uint64_t l = make(INTRO_MANAGER_LIST, 0), d = make(INTRO_MANAGER_DICT, 0),
		 v = make(INTRO_MANAGER_VALUE, 0), q = make(INTRO_MANAGER_QUEUE, 5);
	const int n = PROCESSES * EACH;
	bool seen[PROCESSES * EACH] = {0};
	pid_t pids[PROCESSES];
	int64_t sum;
	void *data;
	size_t size;
	int id;

	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		if (!pids[i])
			work(l, d, v, q, i);
	}
	for (int i = 0; i < n; i++) {
		assert_int_equal(intro_manager_queue_get(m, q, &data, &size, INTRO_FOREVER), 0);
		memcpy(&id, data, sizeof(id));
		free(data);
		assert_false(seen[id]);
		seen[id] = true;
		assert_int_equal(intro_manager_queue_task_done(m, q), 0);
	}
	for (int i = 0; i < PROCESSES; i++)
		reap(pids[i], 0);
	assert_int_equal(length(l), n);
	assert_int_equal(length(d), n);
	assert_int_equal(intro_manager_value_add(m, v, 0, &sum), 0);
	assert_int_equal(sum, (int64_t)n * (n - 1) / 2);
	assert_int_equal(intro_manager_queue_join(m, q, INTRO_FOREVER), 0);
}

struct thread_work {
	uint64_t q, v;
};

static void *thread_puts(void *arg)
{
	struct thread_work *w = arg;

	for (int i = 0; i < 200; i++)
		assert_int_equal(intro_manager_queue_put(m, w->q, &i, sizeof(i), INTRO_FOREVER), 0);
	return NULL;
}

static void *thread_gets(void *arg)
{
	struct thread_work *w = arg;
	size_t size;
	void *data;
	int n;

	for (int i = 0; i < 200; i++) {
		assert_int_equal(intro_manager_queue_get(m, w->q, &data, &size, INTRO_FOREVER), 0);
		memcpy(&n, data, sizeof(n));
		free(data);
		assert_int_equal(intro_manager_value_add(m, w->v, n, NULL), 0);
	}
	return NULL;
}

static void many_threads(void **state)
{
	struct thread_work w = {make(INTRO_MANAGER_QUEUE, 3), make(INTRO_MANAGER_VALUE, 0)};
	pthread_t threads[8];
	int64_t sum;

	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, i % 2 ? thread_puts : thread_gets, &w);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(intro_manager_value_add(m, w.v, 0, &sum), 0);
	assert_int_equal(sum, 4 * 199 * 200 / 2);
}

static void connected(void **state)
{
	uint64_t l = make(INTRO_MANAGER_LIST, 0);
	const char *address = intro_manager_address(m);
	struct intro_manager *other;
	pid_t pid;

	assert_int_equal(address[0], '@');
	other = intro_manager_connect(address);
	assert_non_null(other);
	assert_int_equal(intro_manager_list_append(other, l, "x", 1), 0);
	assert_int_equal(intro_manager_shutdown(other), -EPERM);
	intro_manager_free(other);
	assert_int_equal(length(l), 1);
	assert_null(intro_manager_connect("@introspect-nosuch"));
	assert_int_equal(errno, EPIPE);
	assert_null(intro_manager_connect("/tmp/x"));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_manager_connect(NULL));
	assert_null(intro_manager_connect("@"));
	/* a child is not the maker */
	pid = fork();
	if (!pid) {
		int err = intro_manager_shutdown(m);

		intro_manager_free(m);
		_exit(err != -EPERM);
	}
	reap(pid, 0);
	assert_int_equal(length(l), 1);
}

static void bad_options(void **state)
{
	struct {
		struct intro_manager_options options;
		uint64_t newer;
	} newer = {.options.size = sizeof(newer), .newer = 1};

	assert_null(intro_manager_new(&newer.options));
	assert_int_equal(errno, E2BIG);
	assert_null(intro_manager_new(OPTIONS(.limit = SIZE_MAX)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_manager_new(OPTIONS(.message = SIZE_MAX)));
	assert_int_equal(errno, EINVAL);
	intro_manager_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lists),	      TEST(many_items),	      TEST(dicts),     TEST(values),
		TEST(queues),	      TEST(locks_and_events), TEST(misuse),    TEST(large_items),
		TEST(many_processes), TEST(many_threads),     TEST(connected), TEST(bad_options),
	};

	watchdog(120);
	private_area();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
