/* SPDX-License-Identifier: BSD-2-Clause */
/* Process pools whose workers die: everything fails, is told why, is reaped, and nothing hangs. */
#include "rt_support.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/process_private.h"

#define TASKS 30

/* Before it opens no task kills: all that a test submits is in. Set before any worker is forked. */
static struct gate *gate;

static int give_pid(struct intro_call *call)
{
	pid_t pid = getpid();

	return intro_call_return(call, &pid, sizeof(pid));
}

static int sleeps_long(struct intro_call *call)
{
	sleep_ms(100000);
	return 0;
}

static int kills_itself(struct intro_call *call)
{
	gate_wait(gate);
	raise(*(const int *)call->arg);
	return 0;
}

static int ends_itself(struct intro_call *call)
{
	gate_wait(gate);
	_exit(*(const int *)call->arg);
}

static struct intro_executor *new_pool(unsigned workers)
{
	struct intro_executor *e;

	gate = gate_new_shared();
	e = intro_process_executor_new(POOL_OPTIONS(.name = "test", .workers = workers));

	assert_non_null(e);
	return e;
}

static pid_t pid_of_one_worker(struct intro_executor *e)
{
	pid_t pid;

	result_of(e, give_pid, &pid, sizeof(pid));
	return pid;
}

static void is_refused(struct intro_executor *e)
{
	struct intro_future f;

	intro_future_init(&f);
	assert_int_equal(intro_executor_submit(e, &f, give_pid, NULL, 0), -EPIPE);
	intro_future_destroy(&f);
}

/* Long tasks, and one that kills its worker: all fail with one text, which is returned. */
static struct intro_error break_it(struct intro_executor *e, intro_task_fn fn, int arg)
{
	struct intro_error first, error;
	struct intro_rec_mark *m;
	struct intro_future f[TASKS];
	char payload[100] = {0};
	size_t n;

	marks_begin();
	submit_new(e, &f[0], sleeps_long, NULL, 0);
	submit_new(e, &f[1], fn, &arg, sizeof(arg));
	for (int i = 2; i < TASKS; i++)
		submit_new(e, &f[i], sleeps_long, payload, sizeof(payload));
	gate_open(gate);
	for (int i = 0; i < TASKS; i++) {
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), -EPIPE);
		intro_future_error(&f[i], 0, &error);
		if (!i)
			first = error;
		assert_int_equal(error.code, -EPIPE);
		assert_string_equal(error.text, first.text);
	}
	/* nobody is left by the time it is known */
	assert_int_equal(count_children(), 0);
	assert_int_equal(intro_executor_broken(e, &error), -EPIPE);
	assert_string_equal(error.text, first.text);
	is_refused(e);
	m = marks_end(&n);
	for (int i = 0; i < TASKS; i++) {
		int r = marks_find(m, n, 0, INTRO_KIND_RESULT, intro_future_id(&f[i]));

		assert_true(r >= 0);
		assert_int_equal(m[r].a, INTRO_STATUS_LOST);
		assert_int_equal(marks_count(m, n, INTRO_KIND_RESULT, intro_future_id(&f[i])), 1);
		intro_future_destroy(&f[i]);
	}
	free(m);
	return first;
}

static void expect_text(const char *text, const char *how)
{
	unsigned worker;
	char rest[INTRO_ERROR_TEXT], want[INTRO_ERROR_TEXT];
	int tid;
	unsigned long long task;

	assert_int_equal(sscanf(text, "worker test/%u (tid %d) %111[^\n]", &worker, &tid, rest), 3);
	assert_int_equal(sscanf(strstr(rest, " during task "), " during task %llu", &task), 1);
	snprintf(want, sizeof(want), "%s during task %llu", how, task);
	assert_string_equal(rest, want);
}

static void killed_in_a_task(void **state)
{
	unsigned fds = count_fds();
	struct intro_executor *e = new_pool(2);

	expect_text(break_it(e, kills_itself, SIGKILL).text, "was killed by signal 9 (SIGKILL)");
	intro_executor_free(e);
	assert_int_equal(count_fds(), fds);
	e = new_pool(3);
	expect_text(break_it(e, kills_itself, SIGTERM).text, "was killed by signal 15 (SIGTERM)");
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	intro_executor_free(e);
	assert_int_equal(count_fds(), fds);
}

static void exits_in_a_task(void **state)
{
	struct intro_executor *e = new_pool(2);

	expect_text(break_it(e, ends_itself, 3).text, "exited with status 3");
	intro_executor_free(e);
	e = new_pool(2);
	expect_text(break_it(e, ends_itself, 0).text, "exited with status 0");
	intro_executor_free(e);
}

static void killed_while_idle(void **state)
{
	struct intro_executor *e = new_pool(2);
	pid_t pid = pid_of_one_worker(e);
	struct intro_error error;
	char want[INTRO_ERROR_TEXT];

	kill(pid, SIGKILL);
	while (!intro_executor_broken(e, &error))
		sleep_ms(1);
	snprintf(want, sizeof(want), "(tid %d) was killed by signal 9 (SIGKILL) while idle", pid);
	assert_non_null(strstr(error.text, want));
	is_refused(e);
	intro_executor_free(e);
	assert_int_equal(count_children(), 0);
}

static int leaves_a_child_behind(struct intro_call *call)
{
	gate_wait(gate);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, 0);
		sleep_ms(300);
		_exit(0);
	}
	raise(SIGKILL);
	return 0;
}

/* The socket stays open in the worker's own child; its end is seen all the same. */
static void killed_with_a_child_that_lives_on(void **state)
{
	struct intro_executor *e = new_pool(2);
	int64_t start = now_ns();

	expect_text(break_it(e, leaves_a_child_behind, 0).text, "was killed by signal 9 (SIGKILL)");
	assert_true(now_ns() - start < 100 * SEC);
	intro_executor_free(e);
}

static int closes_everything(struct intro_call *call)
{
	for (int fd = 3; fd < 1000; fd++)
		close(fd);
	sleep_ms(100000);
	return 0;
}

static void left_without_ending(void **state)
{
	struct intro_executor *e = new_pool(1);
	struct intro_error error;
	struct intro_future f;

	submit_new(e, &f, closes_everything, NULL, 0);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), -EPIPE);
	intro_future_error(&f, 0, &error);
	expect_text(error.text, "left its pool without ending");
	intro_future_destroy(&f);
	intro_executor_free(e);
	assert_int_equal(count_children(), 0);
}

/* A program whose SIGCHLD is ignored has its children reaped for it. */
static void reaped_by_somebody_else(void **state)
{
	struct intro_executor *e;
	struct intro_error error;

	signal(SIGCHLD, SIG_IGN);
	e = new_pool(1);
	kill(pid_of_one_worker(e), SIGKILL);
	while (!intro_executor_broken(e, &error))
		sleep_ms(1);
	assert_non_null(strstr(error.text, "is gone"));
	intro_executor_free(e);
	signal(SIGCHLD, SIG_DFL);
	assert_int_equal(count_children(), 0);
}

static int refuses_second(struct intro_call *call)
{
	if (call->index != 1)
		return 0;
	intro_call_error(call, "no seat for %s", call->worker);
	return 12;
}

static void a_failing_initializer(void **state)
{
	struct intro_executor *e = intro_process_executor_new(
		POOL_OPTIONS(.name = "test", .workers = 3, .initializer = refuses_second));
	struct intro_error error;

	while (!intro_executor_broken(e, &error))
		sleep_ms(1);
	assert_string_equal(error.text,
			    "initializer of worker test/1 failed with 12: no seat for test/1");
	is_refused(e);
	intro_executor_free(e);
	assert_int_equal(count_children(), 0);
}

static void last_replies_count(void **state)
{
	struct intro_executor *e = new_pool(1);
	struct intro_future f[3];
	int sig = SIGKILL;

	submit_new(e, &f[0], give_pid, NULL, 0);
	submit_new(e, &f[1], kills_itself, &sig, sizeof(sig));
	submit_new(e, &f[2], give_pid, NULL, 0);
	gate_open(gate);
	assert_int_equal(intro_future_result(&f[0], INTRO_FOREVER, NULL), 0);
	assert_int_equal(intro_future_result(&f[1], INTRO_FOREVER, NULL), -EPIPE);
	assert_int_equal(intro_future_result(&f[2], INTRO_FOREVER, NULL), -EPIPE);
	for (int i = 0; i < 3; i++)
		intro_future_destroy(&f[i]);
	intro_executor_free(e);
}

static int kills_on_the_last(struct intro_call *call)
{
	sleep_ms(1);
	if (*(const int *)call->arg == 99)
		raise(SIGKILL);
	return 0;
}

static int count_failed(size_t i, const struct intro_result *result,
			const struct intro_error *error, void *ctx)
{
	int *counts = ctx;

	counts[error != NULL]++;
	assert_true(!error || error->code == -EPIPE);
	return 0;
}

static void in_a_map(void **state)
{
	struct intro_executor *e = new_pool(2);
	int items[100], counts[2] = {0}, ret;

	for (int i = 0; i < 100; i++)
		items[i] = i;
	ret = intro_executor_map(e, kills_on_the_last, items, 100, sizeof(int), 5, INTRO_FOREVER,
				 count_failed, counts);
	/* -EPIPE: this thread was so slow that the pool broke before all chunks were submitted */
	assert_true(ret == 0 || ret == -EPIPE);
	assert_int_equal(counts[0] + counts[1], ret ? 0 : 100);
	assert_true(ret || counts[1] >= 5);
	assert_int_equal(intro_executor_map(e, kills_on_the_last, items, 1, sizeof(int), 1,
					    INTRO_FOREVER, count_failed, counts),
			 -EPIPE);
	intro_executor_free(e);
}

/* The rings that this worker shares with its pool. */
static struct pipe_shared *find_pipe(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], mode[8];
	uintptr_t from, to, found = 0;

	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && mode[3] == 's' &&
		    to - from == sizeof(struct pipe_shared))
			found = from;
	fclose(maps);
	return (struct pipe_shared *)found;
}

enum spoil { SPOIL_ALL, SPOIL_HEAD, SPOIL_TAIL, SPOIL_TEXT, SPOIL_TASK, SPOIL_PLACE, SPOILS };

/* Writes over what a worker with a bad pointer may write over, and lives on. */
static int spoils(struct intro_call *call)
{
	struct pipe_shared *pipe = find_pipe();
	uint64_t head = pipe->to_pool.head;
	struct wire_reply *reply = (void *)(pipe->replies + head % RING_BYTES);

	gate_wait(gate);
	memset(reply, 0, sizeof(*reply));
	reply->task = call->task;
	switch (*(const enum spoil *)call->arg) {
	case SPOIL_ALL:
		memset(pipe, 0xff, sizeof(*pipe));
		break;
	case SPOIL_HEAD:
		pipe->to_pool.head += RING_BYTES * 5;
		break;
	case SPOIL_TAIL:
		pipe->to_worker.tail += RING_BYTES;
		pipe->to_pool.head += RING_ALIGN;
		break;
	case SPOIL_TEXT:
		reply->text = 60000;
		pipe->to_pool.head += RING_ALIGN;
		break;
	case SPOIL_PLACE:
		reply->size = SEGMENT_RESULT;
		reply->place = SEGMENT_GRANULES;
		pipe->to_pool.head += RING_ALIGN;
		break;
	default:
		reply->task = call->task + 1;
		pipe->to_pool.head += RING_ALIGN;
		break;
	}
	/* the bell of a worker that is sane: what is tested is not who wakes whom */
	for (int fd = 3; fd < 100; fd++)
		send(fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	sleep_ms(100000);
	return 0;
}

static void a_worker_that_spoils_its_rings(void **state)
{
	for (enum spoil how = SPOIL_ALL; how < SPOILS; how++) {
		struct intro_executor *e = new_pool(2);
		struct intro_error error;
		struct intro_future f[2];

		submit_new(e, &f[0], spoils, &how, sizeof(how));
		submit_new(e, &f[1], sleeps_long, NULL, 0);
		gate_open(gate);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), -EPIPE);
			intro_future_error(&f[i], 0, &error);
			assert_non_null(strstr(error.text, "sent an invalid reply"));
			intro_future_destroy(&f[i]);
		}
		intro_executor_free(e);
		assert_int_equal(count_children(), 0);
	}
}

/* A process that makes a pool, tells its workers' pids, and is killed. */
static void orphan_a_pool(int to)
{
	struct intro_executor *e = new_pool(3);
	struct intro_future f[2];
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	intro_future_init(&f[0]);
	intro_executor_submit(e, &f[0], sleeps_long, NULL, 0);
	while ((entry = readdir(dir))) {
		char path[300], line[512] = "", *end;
		FILE *file;
		int ppid, pid = atoi(entry->d_name);

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		file = pid ? fopen(path, "re") : NULL;
		if (!file)
			continue;
		if (fgets(line, sizeof(line), file) && (end = strrchr(line, ')')) &&
		    sscanf(end + 1, " %*c %d", &ppid) == 1 && ppid == getpid())
			(void)!write(to, &pid, sizeof(pid));
		fclose(file);
	}
	sleep_ms(20);
	raise(SIGKILL);
}

/* Also the busy one, though it does not look at its socket. */
static void workers_die_with_their_parent(void **state)
{
	int pipefd[2], pid, n = 0, status;
	pid_t parent;

	prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans become our children */
	assert_int_equal(pipe(pipefd), 0);
	parent = fork();
	if (!parent)
		orphan_a_pool(pipefd[1]);
	close(pipefd[1]);
	while (read(pipefd[0], &pid, sizeof(pid)) == sizeof(pid))
		n++;
	close(pipefd[0]); /* its end: the workers had it too, and are gone */
	assert_int_equal(n, 3);
	for (int i = 0; i < 4; i++) {
		assert_true(wait(&status) > 0);
		/*
		 * An idle one may have met the end of its socket first (0); one that had not run
		 * yet found its parent gone (1).
		 */
		assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL
						: WEXITSTATUS(status) <= 1);
	}
	assert_int_equal(count_children(), 0);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

/* A pool that cannot be made whole is not made at all. */
static void no_descriptors_no_pool(void **state)
{
	unsigned fds = count_fds();
	struct rlimit old, few;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	/* fds counts ".", ".." and the directory itself: from none to room for two workers */
	for (unsigned more = 0; more <= 9; more++) {
		few.rlim_cur = fds - 3 + more;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		errno = 0;
		assert_null(intro_process_executor_new(POOL_OPTIONS(.workers = 8)));
		assert_int_equal(errno, EMFILE);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(count_children(), 0);
	assert_int_equal(count_fds(), fds);
}

static int interrupts_all(struct intro_call *call)
{
	return kill(getpid(), SIGINT);
}

static void the_terminal_interrupts_the_parent_alone(void **state)
{
	struct intro_executor *e = new_pool(1);
	struct intro_future f;

	submit_new(e, &f, interrupts_all, NULL, 0);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(&f);
	intro_executor_free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_in_a_task),
		cmocka_unit_test(exits_in_a_task),
		cmocka_unit_test(killed_while_idle),
		cmocka_unit_test(killed_with_a_child_that_lives_on),
		cmocka_unit_test(left_without_ending),
		cmocka_unit_test(reaped_by_somebody_else),
		cmocka_unit_test(a_failing_initializer),
		cmocka_unit_test(last_replies_count),
		cmocka_unit_test(in_a_map),
		cmocka_unit_test(a_worker_that_spoils_its_rings),
		cmocka_unit_test(workers_die_with_their_parent),
		cmocka_unit_test(no_descriptors_no_pool),
		cmocka_unit_test(the_terminal_interrupts_the_parent_alone),
	};

	private_area();
	watchdog(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
