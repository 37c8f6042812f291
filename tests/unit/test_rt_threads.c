/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads with names, results, timed joins, daemons, and data of their own. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/threads.h>

#define THREAD_OPTIONS(...)                                                                        \
	(&(struct intro_thread_options){.size = sizeof(struct intro_thread_options), __VA_ARGS__})

static void *give_back(void *arg)
{
	return arg;
}

static void *wait_at_gate(void *arg)
{
	gate_wait(arg);
	return arg;
}

static struct intro_thread_handle *started(intro_thread_fn fn, void *arg,
					   const struct intro_thread_options *options)
{
	struct intro_thread_handle *t = intro_thread_new(fn, arg, options);

	assert_non_null(t);
	assert_int_equal(intro_thread_start(t), 0);
	return t;
}

static void finish(struct intro_thread_handle *t)
{
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, NULL), 0);
	intro_thread_free(t);
}

static void test_result(void **state)
{
	int x;
	void *result = NULL;
	struct intro_thread_handle *t = intro_thread_new(give_back, &x, NULL);

	assert_false(intro_thread_alive(t));
	assert_int_equal(intro_thread_ident(t), 0);
	assert_int_equal(intro_thread_start(t), 0);
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, &result), 0);
	assert_ptr_equal(result, &x);
	assert_false(intro_thread_alive(t));
	/* again, and by polling */
	result = NULL;
	assert_int_equal(intro_thread_join(t, 0, &result), 0);
	assert_ptr_equal(result, &x);
	intro_thread_free(t);
	intro_thread_free(NULL);
}

static void test_misuse(void **state)
{
	struct intro_thread_options bad = {.size = 3};
	struct gate gate = {0};
	struct intro_thread_handle *t = intro_thread_new(wait_at_gate, &gate, NULL);

	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, NULL), -EINVAL); /* not started */
	assert_int_equal(intro_thread_set_daemon(t, true), 0);
	assert_int_equal(intro_thread_set_daemon(t, false), 0);
	assert_int_equal(intro_thread_start(t), 0);
	assert_int_equal(intro_thread_start(t), -EALREADY);
	assert_int_equal(intro_thread_set_daemon(t, true), -EBUSY);
	assert_false(intro_thread_daemon(t));
	assert_int_equal(intro_thread_set_name(t, NULL), -EINVAL);
	assert_int_equal(intro_thread_join(t, 0, NULL), -ETIMEDOUT);
	assert_int_equal(intro_thread_join(t, 20 * MSEC, NULL), -ETIMEDOUT);
	assert_true(intro_thread_alive(t));
	gate_open(&gate);
	/* nothing of this hurt it */
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, NULL), 0);
	assert_int_equal(intro_thread_start(t), -EALREADY);
	assert_int_equal(intro_thread_set_daemon(t, true), -EBUSY);
	intro_thread_free(t);

	errno = 0;
	assert_null(intro_thread_new(NULL, NULL, NULL));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_thread_new(give_back, NULL, &bad));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_thread_new(give_back, NULL, THREAD_OPTIONS(.daemon = 7)));
	assert_int_equal(errno, EINVAL);
}

static void test_cannot_start(void **state)
{
	struct intro_thread_handle *t =
		intro_thread_new(give_back, NULL, THREAD_OPTIONS(.stack_bytes = 1));
	size_t before = intro_thread_active_count();

	assert_int_equal(intro_thread_start(t), -EINVAL);
	assert_int_equal(intro_thread_active_count(), before);
	assert_int_equal(intro_thread_join(t, 0, NULL), -EINVAL);
	assert_int_equal(intro_thread_ident(t), 0);
	intro_thread_free(t);
}

static void *join_self(void *arg)
{
	return (void *)(intptr_t)intro_thread_join(intro_thread_current(), INTRO_FOREVER, NULL);
}

static void test_join_self(void **state)
{
	struct intro_thread_handle *t = started(join_self, NULL, NULL);
	void *result;

	assert_int_equal(intro_thread_join(intro_thread_current(), 0, NULL), -EDEADLK);
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, &result), 0);
	assert_int_equal((intptr_t)result, -EDEADLK);
	intro_thread_free(t);
}

static void assert_name(struct intro_thread_handle *t, const char *want)
{
	char name[INTRO_THREAD_NAME];

	intro_thread_name(t, name, sizeof(name));
	assert_string_equal(name, want);
}

static void test_names(void **state)
{
	struct gate gate = {0};
	struct intro_thread_handle *plain = intro_thread_new(give_back, NULL, NULL);
	struct intro_thread_handle *t =
		started(wait_at_gate, &gate, THREAD_OPTIONS(.name = "name-of-more-than-15-bytes"));
	char name[INTRO_THREAD_NAME], small[5];

	intro_thread_name(plain, name, sizeof(name));
	assert_int_equal(strncmp(name, "Thread-", 7), 0);
	intro_thread_free(plain);
	gate_expect(&gate, 1);
	assert_name(t, "name-of-more-than-15-bytes");
	intro_thread_name(t, small, sizeof(small));
	assert_string_equal(small, "name");
	while (!count_threads("name-of-more-th"))
		sleep_ms(1);
	assert_int_equal(intro_thread_set_name(t, "other"), 0);
	assert_name(t, "other");
	assert_int_equal(count_threads("other"), 1);
	gate_open(&gate);
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, NULL), 0);
	assert_int_equal(intro_thread_set_name(t, "ended"), 0);
	assert_name(t, "ended");
	intro_thread_free(t);
	assert_name(intro_thread_main(), "MainThread");
}

static void *who_am_i(void *arg)
{
	struct intro_thread_handle *self = intro_thread_current();

	*(uint32_t *)arg = (uint32_t)gettid();
	assert_int_equal(intro_thread_native_id(self), gettid());
	assert_true(intro_thread_alive(self));
	assert_ptr_not_equal(self, intro_thread_main());
	return self;
}

static void test_current(void **state)
{
	struct intro_thread_handle *t;
	uint32_t tid = 0;
	void *result;

	assert_ptr_equal(intro_thread_current(), intro_thread_main());
	assert_int_equal(intro_thread_native_id(intro_thread_main()), getpid());
	assert_false(intro_thread_daemon(intro_thread_main()));
	t = started(who_am_i, &tid, NULL);
	assert_int_not_equal(intro_thread_native_id(t), 0);
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, &result), 0);
	assert_ptr_equal(result, t);
	assert_int_equal(intro_thread_native_id(t), tid);
	assert_true(intro_thread_ident(t) > intro_thread_ident(intro_thread_main()));
	intro_thread_free(t);
}

static void test_enumerate(void **state)
{
	struct gate gate = {0};
	struct intro_thread_handle *t[3], *all[8];
	size_t before = intro_thread_active_count(), n, found = 0;

	for (int i = 0; i < 3; i++)
		t[i] = started(wait_at_gate, &gate, NULL);
	n = intro_thread_enumerate(all, 8);
	assert_int_equal(n, before + 3);
	for (size_t i = 0; i < n; i++) {
		for (int k = 0; k < 3; k++)
			found += all[i] == t[k];
		intro_thread_free(all[i]);
	}
	assert_int_equal(found, 3);
	n = intro_thread_enumerate(all, 1);
	assert_int_equal(n, before + 3);
	assert_ptr_equal(all[0], intro_thread_main());
	intro_thread_free(all[0]);
	gate_open(&gate);
	for (int i = 0; i < 3; i++)
		finish(t[i]);
	assert_int_equal(intro_thread_active_count(), before);
}

static void *foreign(void *arg)
{
	struct intro_thread_handle *self = intro_thread_current();
	char name[INTRO_THREAD_NAME];

	intro_thread_name(self, name, sizeof(name));
	assert_int_equal(strncmp(name, "Dummy-", 6), 0);
	assert_true(intro_thread_daemon(self));
	*(struct intro_thread_handle **)arg = intro_thread_ref(self);
	return NULL;
}

static void test_foreign(void **state)
{
	size_t before = intro_thread_active_count();
	struct intro_thread_handle *handle;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, foreign, &handle), 0);
	pthread_join(thread, NULL);
	assert_false(intro_thread_alive(handle));
	assert_int_equal(intro_thread_join(handle, INTRO_FOREVER, NULL), -EINVAL);
	assert_int_equal(intro_thread_active_count(), before);
	intro_thread_free(handle);
}

static void *make_child(void *arg)
{
	struct intro_thread_handle *t = intro_thread_new(give_back, NULL, arg);
	bool daemon = intro_thread_daemon(t);

	intro_thread_free(t);
	return (void *)(intptr_t)daemon;
}

static void test_daemon_inherited(void **state)
{
	struct intro_thread_handle *t;
	void *result;

	t = started(make_child, NULL, THREAD_OPTIONS(.daemon = INTRO_DAEMON_YES));
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, &result), 0);
	assert_int_equal((intptr_t)result, true);
	intro_thread_free(t);
	t = started(make_child, THREAD_OPTIONS(.daemon = INTRO_DAEMON_NO),
		    THREAD_OPTIONS(.daemon = INTRO_DAEMON_YES));
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, &result), 0);
	assert_int_equal((intptr_t)result, false);
	intro_thread_free(t);
	t = started(make_child, NULL, NULL);
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, &result), 0);
	assert_int_equal((intptr_t)result, false);
	intro_thread_free(t);
}

static void test_free_while_it_runs(void **state)
{
	struct gate gate = {0};
	size_t before = intro_thread_active_count();

	intro_thread_free(started(wait_at_gate, &gate, THREAD_OPTIONS(.name = "freed")));
	gate_expect(&gate, 1);
	assert_int_equal(intro_thread_active_count(), before + 1);
	gate_open(&gate);
	while (intro_thread_active_count() > before)
		sleep_ms(1);
	assert_int_equal(count_threads_left("freed"), 0);
}

static void *quit(void *arg)
{
	pthread_exit(arg);
}

static void test_pthread_exit(void **state)
{
	struct intro_thread_handle *t = started(quit, state, NULL);
	void *result = t;

	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, &result), 0);
	assert_null(result);
	intro_thread_free(t);
}

static void *joiner(void *arg)
{
	void *result = NULL;

	assert_int_equal(intro_thread_join(arg, INTRO_FOREVER, &result), 0);
	return result;
}

static void test_many_joiners(void **state)
{
	struct gate gate = {0};
	struct intro_thread_handle *t = started(wait_at_gate, &gate, NULL), *j[4];
	void *result;

	for (int i = 0; i < 4; i++)
		j[i] = started(joiner, t, NULL);
	gate_expect(&gate, 1);
	sleep_ms(5);
	gate_open(&gate);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(intro_thread_join(j[i], INTRO_FOREVER, &result), 0);
		assert_ptr_equal(result, &gate);
		intro_thread_free(j[i]);
	}
	intro_thread_free(t);
}

static void test_join_all(void **state)
{
	struct gate gate = {0};
	struct intro_thread_handle *t = started(wait_at_gate, &gate, NULL);
	struct intro_thread_handle *d =
		started(wait_at_gate, &gate, THREAD_OPTIONS(.daemon = INTRO_DAEMON_YES));

	assert_int_equal(intro_thread_join_all(10 * MSEC), -ETIMEDOUT);
	assert_int_equal(intro_thread_set_daemon(t, true), -EBUSY);
	gate_open(&gate);
	assert_int_equal(intro_thread_join_all(INTRO_FOREVER), 0);
	assert_false(intro_thread_alive(t));
	intro_thread_free(t);
	finish(d);
	assert_int_equal(intro_thread_join_all(0), 0);
}

/* --- the end of a process -------------------------------------------------------------------- */

static void *write_late(void *arg)
{
	sleep_ms(50);
	(void)!write((int)(intptr_t)arg, "x", 1);
	return NULL;
}

static void *never(void *arg)
{
	for (;;)
		sleep_ms(1000);
	return NULL;
}

static void *join_main(void *arg)
{
	if (intro_thread_join(intro_thread_main(), INTRO_FOREVER, NULL) == 0)
		(void)!write((int)(intptr_t)arg, "m", 1);
	return NULL;
}

/* Runs fn in a child that ends by exit(0), and tells how many bytes it wrote to fd. */
static size_t bytes_of_child(void (*fn)(int fd))
{
	int pipefd[2], status;
	char buf[16];
	ssize_t n, all = 0;
	pid_t pid;

	assert_int_equal(pipe(pipefd), 0);
	pid = fork();
	if (!pid) {
		close(pipefd[0]);
		watchdog(10);
		fn(pipefd[1]);
		exit(0);
	}
	close(pipefd[1]);
	while ((n = read(pipefd[0], buf, sizeof(buf))) > 0)
		all += n;
	close(pipefd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return (size_t)all;
}

static void leave_one_running(int fd)
{
	intro_thread_free(started(write_late, (void *)(intptr_t)fd, NULL));
}

static void leave_daemon_running(int fd)
{
	intro_thread_free(started(never, NULL, THREAD_OPTIONS(.daemon = INTRO_DAEMON_YES)));
}

static void leave_one_that_joins_main(int fd)
{
	intro_thread_free(started(join_main, (void *)(intptr_t)fd, NULL));
}

static void *exit_in_thread(void *arg)
{
	exit(0);
}

static void end_from_a_thread(int fd)
{
	leave_one_running(fd);
	intro_thread_free(started(exit_in_thread, NULL, NULL));
	never(NULL);
}

static void test_exit(void **state)
{
	assert_int_equal(bytes_of_child(leave_one_running), 1);
	assert_int_equal(bytes_of_child(leave_daemon_running), 0);
	assert_int_equal(bytes_of_child(leave_one_that_joins_main), 1);
	assert_int_equal(bytes_of_child(end_from_a_thread), 1);
}

/* ThreadSanitizer refuses threads in a child that was forked from several. */
static bool can_start_in_child(void)
{
#ifdef __SANITIZE_THREAD__
	return true;
#else
	struct intro_thread_handle *t = intro_thread_new(give_back, NULL, NULL);
	bool good = t && !intro_thread_start(t) && !intro_thread_join(t, INTRO_FOREVER, NULL);

	intro_thread_free(t);
	return good;
#endif
}

static void *fork_in_thread(void *arg)
{
	struct intro_thread_handle *other = arg;
	int status;
	pid_t pid = fork();

	if (!pid) {
		bool good = intro_thread_main() == intro_thread_current() &&
			    intro_thread_active_count() == 1 && !intro_thread_alive(other) &&
			    intro_thread_join(other, INTRO_FOREVER, NULL) == 0 &&
			    intro_thread_native_id(intro_thread_current()) == (uint32_t)getpid();

		_exit(good && can_start_in_child() ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return (void *)(intptr_t)status;
}

static void test_fork(void **state)
{
	struct gate gate = {0};
	struct intro_thread_handle *other = started(wait_at_gate, &gate, NULL), *t;
	void *result;

	gate_expect(&gate, 1);
	t = started(fork_in_thread, other, NULL);
	assert_int_equal(intro_thread_join(t, INTRO_FOREVER, &result), 0);
	assert_int_equal((intptr_t)result, 0);
	intro_thread_free(t);
	assert_int_equal((intptr_t)fork_in_thread(other), 0);
	gate_open(&gate);
	finish(other);
}

/* --- thread-local data ----------------------------------------------------------------------- */

static _Atomic int destroyed;
static struct intro_local *local, *second;

static void destroy(void *value)
{
	destroyed++;
	free(value);
}

static void destroy_and_set_again(void *value)
{
	destroyed++;
	assert_int_equal(intro_local_set(second, value), 0);
}

static void *use_local(void *arg)
{
	int *mine = malloc(sizeof(*mine)), *other = malloc(sizeof(*other));

	assert_null(intro_local_get(local));
	assert_int_equal(intro_local_set(local, mine), 0);
	assert_ptr_equal(intro_local_get(local), mine);
	assert_int_equal(intro_local_set(local, other), 0);
	assert_ptr_equal(intro_local_get(local), other);
	free(mine);
	if (arg)
		gate_wait(arg);
	return NULL;
}

static void *use_second(void *arg)
{
	assert_int_equal(intro_local_set(second, &destroyed), 0);
	return NULL;
}

static void test_local(void **state)
{
	struct gate gate = {0};
	struct intro_thread_handle *t[3];
	pthread_t plain;

	destroyed = 0;
	local = intro_local_new(destroy);
	assert_int_equal(intro_local_set(local, NULL), 0);
	for (int i = 0; i < 3; i++)
		t[i] = started(use_local, i ? &gate : NULL, NULL);
	assert_int_equal(pthread_create(&plain, NULL, use_local, NULL), 0);
	pthread_join(plain, NULL);
	finish(t[0]);
	assert_int_equal(destroyed, 2);
	assert_null(intro_local_get(local));
	gate_expect(&gate, 2);
	intro_local_free(local); /* two threads have values */
	assert_int_equal(destroyed, 4);
	gate_open(&gate);
	finish(t[1]);
	finish(t[2]);
	assert_int_equal(destroyed, 4);
	intro_local_free(NULL);
}

static void test_local_again(void **state)
{
	destroyed = 0;
	second = intro_local_new(destroy_and_set_again);
	finish(started(use_second, NULL, NULL));
	assert_in_range(destroyed, 2, 16); /* again, but not for ever */
	intro_local_free(second);
	/* a thread's place for a value is used again */
	for (int i = 0; i < 3; i++) {
		struct intro_local *l = intro_local_new(NULL);

		assert_int_equal(intro_local_set(l, &i), 0);
		assert_ptr_equal(intro_local_get(l), &i);
		intro_local_free(l);
	}
}

/* --- marks ----------------------------------------------------------------------------------- */

static void test_marks(void **state)
{
	struct gate gate = {0};
	struct intro_thread_handle *t, *w;
	struct intro_rec_mark *m;
	uint64_t task, number;
	size_t n;
	int at;

	marks_begin();
	t = started(wait_at_gate, &gate, THREAD_OPTIONS(.name = "reader-7"));
	w = started(give_back, NULL, THREAD_OPTIONS(.worker = true));
	assert_int_equal(intro_thread_join(t, MSEC, NULL), -ETIMEDOUT);
	number = intro_thread_task(t);
	assert_int_equal(intro_thread_task(w), 0);
	gate_open(&gate);
	finish(t);
	finish(w);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_SUBMIT, 0), 1);
	at = marks_find(m, n, 0, INTRO_KIND_SUBMIT, 0);
	assert_true(at >= 0);
	task = m[at].task;
	assert_int_equal(task, number);
	assert_int_equal(m[at].a, intro_mark_pool_kind("threads", 0, INTRO_POOL_OWN));
	assert_int_equal(m[at].b, intro_mark_name("reader"));
	at = marks_find(m, n, 0, INTRO_KIND_START, task);
	assert_true(at >= 0);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_START, 0), 1);
	at = marks_find(m, n, (size_t)at, INTRO_KIND_END, task);
	assert_true(at >= 0);
	assert_true(m[at].b & INTRO_END_RESULT);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_STOP, 0), 1);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAIT, task),
			 marks_count(m, n, INTRO_KIND_WAKE, task));
	assert_in_range(marks_count(m, n, INTRO_KIND_WAIT, task), 1, 2);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_cannot_start),
		cmocka_unit_test(test_join_self),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_current),
		cmocka_unit_test(test_enumerate),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_daemon_inherited),
		cmocka_unit_test(test_free_while_it_runs),
		cmocka_unit_test(test_pthread_exit),
		cmocka_unit_test(test_many_joiners),
		cmocka_unit_test(test_join_all),
		cmocka_unit_test(test_exit),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_local_again),
		cmocka_unit_test(test_marks),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
