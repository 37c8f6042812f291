/* SPDX-License-Identifier: BSD-2-Clause */
/* Worker processes that are this program, executed anew. */
#include "rt_support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/process_pool.h>
#include <introspect/spawn.h>

#define BIG ((size_t)8 << 20)
#define FAR_FD 700

#define SPAWN_OPTIONS(...)                                                                         \
	POOL_OPTIONS(.name = "new", .start_method = INTRO_START_SPAWN, __VA_ARGS__)

/* What a copy of this process would see. */
static int changed;
static int err_before_main;

static int echo(struct intro_call *call)
{
	return intro_call_return(call, (void *)call->arg, call->size);
}

struct identity {
	pid_t pid, parent;
	int changed;
	bool far_fd, sigint_ignored, usr2_blocked;
	char worker[32], comm[16], initial[16];
};

static int initialize(struct intro_call *call)
{
	if (call->size != 6)
		return 1;
	call->initial = strdup(call->arg);
	return 0;
}

static int identify(struct intro_call *call)
{
	struct identity id = {.pid = getpid(), .parent = getppid(), .changed = changed};
	struct sigaction action;
	sigset_t blocked;

	id.far_fd = fcntl(FAR_FD, F_GETFD) >= 0;
	sigaction(SIGINT, NULL, &action);
	id.sigint_ignored = action.sa_handler == SIG_IGN;
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	id.usr2_blocked = sigismember(&blocked, SIGUSR2) && !sigismember(&blocked, SIGUSR1);
	snprintf(id.worker, sizeof(id.worker), "%s", call->worker);
	prctl(PR_GET_NAME, id.comm);
	if (call->initial)
		snprintf(id.initial, sizeof(id.initial), "%s", (char *)call->initial);
	return intro_call_return(call, &id, sizeof(id));
}

static int fails(struct intro_call *call)
{
	intro_call_error(call, "as it should");
	return 7;
}

static int naps(struct intro_call *call)
{
	sleep_ms(100000);
	return 0;
}

static int dies(struct intro_call *call)
{
	raise(SIGKILL);
	return 0;
}

static int joins(struct intro_call *call, const struct intro_arg *args, size_t n)
{
	char text[64];
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		memcpy(text + at, args[i].data, args[i].size);
		at += args[i].size;
	}
	return intro_call_return(call, text, at);
}

static int unknown(struct intro_call *call)
{
	return 0;
}

static int known_here_only(struct intro_call *call)
{
	return 0;
}

static int unknown_star(struct intro_call *call, const struct intro_arg *args, size_t n)
{
	return 0;
}

static struct intro_executor *new_pool(const struct intro_executor_options *options)
{
	struct intro_executor *e = intro_process_executor_new(options);

	assert_non_null(e);
	return e;
}

static void what_a_spawned_worker_is(void **state)
{
	char initarg[] = "hello";
	struct intro_executor *e;
	struct intro_result result;
	struct intro_future f;
	struct identity *id;
	unsigned fds = count_fds();
	sigset_t usr2;

	changed = 5;
	assert_int_equal(dup2(STDERR_FILENO, FAR_FD), FAR_FD); /* would be inherited */
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &usr2, NULL);
	e = new_pool(SPAWN_OPTIONS(.workers = 1, .initializer = initialize, .initarg = initarg,
				   .initarg_size = sizeof(initarg)));
	pthread_sigmask(SIG_UNBLOCK, &usr2, NULL);
	submit_new(e, &f, identify, NULL, 0);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, &result), 0);
	id = result.data;
	assert_int_not_equal(id->pid, getpid());
	assert_int_equal(id->parent, getpid());
	assert_int_equal(id->changed, 0);
	assert_false(id->far_fd);
	assert_true(id->sigint_ignored && id->usr2_blocked);
	assert_string_equal(id->worker, "new/0");
	assert_string_equal(id->comm, "new/0");
	assert_string_equal(id->initial, "hello");
	intro_future_destroy(&f);
	intro_executor_free(e);
	close(FAR_FD);
	assert_int_equal(count_children(), 0);
	assert_int_equal(count_fds(), fds);
}

static void bytes_and_errors(void **state)
{
	struct intro_executor *e = new_pool(SPAWN_OPTIONS(.workers = 2));
	unsigned char *big = malloc(BIG);
	struct intro_result result;
	struct intro_error error;
	struct intro_future f[3];

	for (size_t i = 0; i < BIG; i++)
		big[i] = (unsigned char)(i * 7 + i / 256);
	submit_new(e, &f[0], echo, big, BIG);
	submit_new(e, &f[1], fails, NULL, 0);
	submit_new(e, &f[2], echo, "small", 6);
	assert_int_equal(intro_future_result(&f[0], INTRO_FOREVER, &result), 0);
	assert_int_equal(result.size, BIG);
	assert_memory_equal(result.data, big, BIG);
	assert_int_equal(intro_future_error(&f[1], INTRO_FOREVER, &error), 0);
	assert_int_equal(error.code, 7);
	assert_string_equal(error.text, "as it should");
	assert_int_equal(intro_future_result(&f[2], INTRO_FOREVER, &result), 0);
	assert_string_equal(result.data, "small");
	for (int i = 0; i < 3; i++)
		intro_future_destroy(&f[i]);
	free(big);
	intro_executor_free(e);
}

static int count_item(size_t i, const struct intro_result *result, const struct intro_error *error,
		      void *ctx)
{
	assert_null(error);
	assert_int_equal(*(int *)result->data, (int)i);
	++*(int *)ctx;
	return 0;
}

static int is_joined(size_t i, const struct intro_result *result, const struct intro_error *error,
		     void *ctx)
{
	assert_null(error);
	assert_memory_equal(result->data, i ? "threefour" : "onetwo", result->size);
	++*(int *)ctx;
	return 0;
}

static void a_pool_of_spawned_workers(void **state)
{
	struct intro_process_pool_options options = {
		.size = sizeof(options), .workers = 2, .start_method = INTRO_START_SPAWN};
	const struct intro_arg args[] = {{"one", 3}, {"two", 3}, {"three", 5}, {"four", 4}};
	struct intro_process_pool *pool = intro_process_pool_new(&options);
	struct intro_future f;
	int items[50], n = 0;

	assert_non_null(pool);
	for (int i = 0; i < 50; i++)
		items[i] = i;
	for (size_t chunk = 0; chunk < 8; chunk += 7)
		assert_int_equal(intro_process_pool_map(pool, echo, items, 50, sizeof(int), chunk,
							INTRO_FOREVER, count_item, &n),
				 0);
	assert_int_equal(n, 100);
	assert_int_equal(intro_process_pool_starmap(pool, joins, args, 2, 2, 0, INTRO_FOREVER,
						    is_joined, &n),
			 0);
	assert_int_equal(n, 102);
	intro_future_init(&f);
	assert_int_equal(intro_process_pool_apply(pool, &f, dies, NULL, 0, NULL), -EOWNERDEAD);
	intro_future_destroy(&f);
	/* those who take its place are spawned as well */
	assert_int_equal(intro_process_pool_map(pool, echo, items, 50, sizeof(int), 1,
						INTRO_FOREVER, count_item, &n),
			 0);
	assert_int_equal(intro_process_pool_map(pool, unknown, items, 50, sizeof(int), 1,
						INTRO_FOREVER, count_item, &n),
			 -ENOENT);
	assert_int_equal(intro_process_pool_starmap(pool, unknown_star, args, 2, 2, 0,
						    INTRO_FOREVER, is_joined, &n),
			 -ENOENT);
	assert_int_equal(n, 152);
	intro_process_pool_free(pool);
	assert_int_equal(count_children(), 0);
}

static void functions_that_are_not_registered(void **state)
{
	struct intro_executor *e = new_pool(SPAWN_OPTIONS(.workers = 1));
	struct intro_error error;
	struct intro_future f;

	intro_future_init(&f);
	assert_int_equal(intro_executor_submit(e, &f, unknown, NULL, 0), -ENOENT);
	assert_int_equal(intro_executor_submit(e, &f, echo, "x", 2), 0); /* it is as new */
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(&f);
	/* too late: after intro_process_main */
	assert_int_equal(intro_function_register("known here only", known_here_only), 0);
	submit_new(e, &f, known_here_only, NULL, 0);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), -ENOENT);
	intro_future_error(&f, 0, &error);
	assert_non_null(strstr(error.text, "not registered"));
	intro_future_destroy(&f);
	intro_executor_free(e);
	assert_null(intro_process_executor_new(SPAWN_OPTIONS(.initializer = unknown)));
	assert_int_equal(errno, ENOENT);
	e = new_pool(SPAWN_OPTIONS(.workers = 1, .initializer = known_here_only));
	while (!intro_executor_broken(e, &error))
		sleep_ms(1);
	assert_non_null(strstr(error.text, "not registered"));
	intro_executor_free(e);
}

static void bad_calls(void **state)
{
	assert_int_equal(err_before_main, ENOTSUP);
	assert_int_equal(intro_function_register(NULL, echo), -EINVAL);
	assert_int_equal(intro_function_register("", echo), -EINVAL);
	assert_int_equal(intro_function_register("x", NULL), -EINVAL);
	assert_int_equal(intro_function_register("introspect:x", echo), -EINVAL);
	assert_int_equal(intro_function_register_star("x", NULL), -EINVAL);
	assert_int_equal(intro_function_register("echo", echo), 0);
	assert_int_equal(intro_function_register("echo", fails), -EEXIST);
	assert_null(intro_process_executor_new(SPAWN_OPTIONS(.initarg_size = 5)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_process_executor_new(POOL_OPTIONS(.start_method = 2)));
	assert_int_equal(errno, EINVAL);
}

static void marks_of_spawned_workers(void **state)
{
	struct intro_executor *e;
	struct intro_rec_mark *m;
	struct intro_future f;
	uint64_t task;
	size_t n;
	int start;

	marks_begin();
	e = new_pool(SPAWN_OPTIONS(.workers = 2));
	submit_new(e, &f, echo, "abc", 4);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	task = intro_future_id(&f);
	intro_future_destroy(&f);
	intro_executor_free(e);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_STOP, 0), 2);
	start = marks_find(m, n, 0, INTRO_KIND_START, task);
	assert_true(start >= 0);
	assert_int_not_equal(m[start].rec.tid, getpid());
	assert_int_equal(marks_count(m, n, INTRO_KIND_END, task), 1);
	assert_int_equal(marks_count(m, n, INTRO_KIND_RESULT, task), 1);
	free(m);
}

static void spawned_workers_die_with_their_parent(void **state)
{
	struct intro_future f[2];
	int status;
	pid_t parent;

	prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans become our children */
	parent = fork();
	if (!parent) {
		struct intro_executor *e = intro_process_executor_new(SPAWN_OPTIONS(.workers = 2));

		for (int i = 0; i < 2; i++) {
			intro_future_init(&f[i]);
			intro_executor_submit(e, &f[i], i ? naps : echo, "x", 1);
		}
		intro_future_result(&f[0], INTRO_FOREVER, NULL);
		raise(SIGKILL);
	}
	for (int i = 0; i < 3; i++) {
		assert_true(wait(&status) > 0);
		assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL
						: WEXITSTATUS(status) <= 1);
	}
	assert_int_equal(count_children(), 0);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

/* 0, or what was not so. What a pool opens gets the numbers of what a program usually has there. */
static int without(unsigned closed)
{
	struct intro_executor *pools[2];
	struct intro_result result;
	struct intro_future f;

	alarm(60);
	for (int fd = 0; fd < 3; fd++)
		if (closed >> fd & 1)
			close(fd);
	pools[0] = intro_process_executor_new(POOL_OPTIONS(.workers = 2));
	pools[1] = intro_process_executor_new(SPAWN_OPTIONS(.workers = 2));
	for (int i = 0; i < 20; i++) {
		intro_future_init(&f);
		if (!pools[i % 2] || intro_executor_submit(pools[i % 2], &f, echo, "abc", 4))
			return 1;
		if (intro_future_result(&f, INTRO_FOREVER, &result) || strcmp(result.data, "abc"))
			return 2;
		intro_future_destroy(&f);
	}
	intro_executor_free(pools[0]);
	intro_executor_free(pools[1]);
	return count_children() ? 3 : 0;
}

static void without_standard_descriptors(void **state)
{
	int status;
	pid_t pid;

	for (unsigned closed = 1; closed < 8; closed++) {
		pid = fork();
		if (!pid)
			_exit(without(closed));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

/* Nobody has said yet that this program can be a worker. */
static int try_too_early(void)
{
	return intro_process_executor_new(SPAWN_OPTIONS(.workers = 1)) ? 0 : errno;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_spawned_worker_is),
		cmocka_unit_test(bytes_and_errors),
		cmocka_unit_test(a_pool_of_spawned_workers),
		cmocka_unit_test(functions_that_are_not_registered),
		cmocka_unit_test(bad_calls),
		cmocka_unit_test(marks_of_spawned_workers),
		cmocka_unit_test(spawned_workers_die_with_their_parent),
		cmocka_unit_test(without_standard_descriptors),
	};

	intro_function_register("echo", echo);
	intro_function_register("initialize", initialize);
	intro_function_register("identify", identify);
	intro_function_register("fails", fails);
	intro_function_register("naps", naps);
	intro_function_register("dies", dies);
	intro_function_register_star("joins", joins);
	if (argc == 1) {
		private_area();
		err_before_main = try_too_early();
	}
	intro_process_main(argc, argv);
	watchdog(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
