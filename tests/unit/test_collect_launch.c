// SPDX-License-Identifier: BSD-2-Clause
/* Commands that wait to be told, and the process tree they end up in. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "collect/launch.h"
#include "collect/procs.h"

static int run(char *const argv[], int keep_fd, const char *keep_name)
{
	struct intro__reason why = {""};
	struct intro__launch launch;
	int status = 0, error;

	assert_int_equal(intro__launch_prepare(&launch, argv, true, keep_fd, keep_name, &why), 0);
	error = intro__launch_go(&launch, argv[0], &why);
	if (!error)
		assert_int_equal(waitpid(launch.pid, &status, 0), launch.pid);
	else
		assert_true(strlen(why.text) > 0);
	intro__launch_free(&launch);
	return error ? error : WEXITSTATUS(status);
}

static void a_command_runs_and_its_failure_to_is_told(void **state)
{
	char *const ok[] = {"sh", "-c", "exit 9", NULL};
	char *const none[] = {"/nonexistent/command", NULL};
	char *const directory[] = {"/tmp", NULL};

	assert_int_equal(run(ok, -1, NULL), 9);
	assert_int_equal(run(none, -1, NULL), -ENOENT);
	assert_int_equal(run(directory, -1, NULL), -EACCES);
}

static void a_descriptor_is_passed_on_by_name(void **state)
{
	char *const argv[] = {"sh", "-c", "read -r line <&$THE_FD; [ \"$line\" = through ]", NULL};
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_int_equal(write(fd[1], "through\n", 8), 8);
	assert_int_equal(run(argv, fd[0], "THE_FD"), 0);
	close(fd[0]);
	close(fd[1]);
}

static void one_that_is_not_told_runs_nothing(void **state)
{
	char path[] = "/tmp/introspect-launch-XXXXXX";
	char *argv[] = {"rm", path, NULL};
	struct intro__reason why;
	struct intro__launch launch;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(intro__launch_prepare(&launch, argv, true, -1, NULL, &why), 0);
	assert_int_equal(kill(launch.pid, 0), 0);
	intro__launch_free(&launch);
	assert_int_equal(kill(launch.pid, 0), -1);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
	close(fd);
}

static bool holds(const pid_t *pids, long n, pid_t pid)
{
	for (long i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

static int count(void *ctx, pid_t tid)
{
	++*(int *)ctx;
	return 0;
}

static void a_tree_is_its_root_and_what_is_below(void **state)
{
	int ready[2], threads = 0;
	pid_t child, grandchild, *pids;
	long n;

	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		grandchild = fork();
		if (grandchild == 0)
			_exit(pause());
		if (write(ready[1], &grandchild, sizeof(grandchild)) < 0)
			_exit(1);
		_exit(pause());
	}
	assert_int_equal(read(ready[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	n = intro__procs_tree(child, &pids);
	assert_int_equal(n, 2);
	assert_true(holds(pids, n, child) && holds(pids, n, grandchild));
	free(pids);
	n = intro__procs_tree(0, &pids);
	assert_true(holds(pids, n, child) && holds(pids, n, grandchild) &&
		    holds(pids, n, getpid()));
	assert_false(holds(pids, n, 2)); /* kthreadd */
	free(pids);
	assert_int_equal(intro__procs_threads(child, count, &threads), 0);
	assert_int_equal(threads, 1);
	kill(child, SIGKILL);
	kill(grandchild, SIGKILL);
	waitpid(child, NULL, 0);
	n = intro__procs_tree(child, &pids);
	assert_int_equal(n, 0);
	free(pids);
	assert_int_equal(intro__procs_threads(child, count, &threads), -ENOENT);
	close(ready[0]);
	close(ready[1]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_runs_and_its_failure_to_is_told),
		cmocka_unit_test(a_descriptor_is_passed_on_by_name),
		cmocka_unit_test(one_that_is_not_told_runs_nothing),
		cmocka_unit_test(a_tree_is_its_root_and_what_is_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
