/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections: whole messages of any size, descriptors, the end, and ends that are shared. */
#include "rt_support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/connection.h>

#define LARGE (5 * 1000 * 1000 + 3)

static struct intro_connection *ends[2];

static void pair(bool duplex)
{
	assert_int_equal(intro_connection_pair(duplex, ends), 0);
}

static void free_ends(void)
{
	intro_connection_free(ends[0]);
	intro_connection_free(ends[1]);
}

static void fill(unsigned char *bytes, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)(seed + i + i / 251);
}

static bool is_filled(const unsigned char *bytes, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != (unsigned char)(seed + i + i / 251))
			return false;
	return true;
}

static void reap(pid_t pid, int status)
{
	int got;

	assert_int_equal(waitpid(pid, &got, 0), pid);
	assert_int_equal(got, status);
}

static void expect(struct intro_connection *c, const char *text)
{
	void *data;
	size_t size;

	assert_int_equal(intro_connection_recv(c, 0, &data, &size), 0);
	assert_int_equal(size, strlen(text));
	assert_memory_equal(data, text, size);
	free(data);
}

static void send_text(struct intro_connection *c, const char *text)
{
	assert_int_equal(intro_connection_send(c, text, strlen(text)), 0);
}

static void both_ways(void **state)
{
	pair(true);
	assert_true(intro_connection_readable(ends[0]) && intro_connection_writable(ends[0]));
	send_text(ends[0], "one");
	send_text(ends[0], "");
	send_text(ends[0], "three");
	send_text(ends[1], "back");
	expect(ends[1], "one");
	expect(ends[1], "");
	expect(ends[1], "three");
	expect(ends[0], "back");
	assert_int_equal(intro_connection_send(ends[0], NULL, 1), -EINVAL);
	free_ends();
	intro_connection_free(NULL);
}

static void one_way(void **state)
{
	void *data;
	size_t size;

	pair(false);
	assert_true(intro_connection_readable(ends[0]) && !intro_connection_writable(ends[0]));
	assert_true(!intro_connection_readable(ends[1]) && intro_connection_writable(ends[1]));
	assert_int_equal(intro_connection_send(ends[0], "x", 1), -EOPNOTSUPP);
	assert_int_equal(intro_connection_send_fd(ends[0], 0), -EOPNOTSUPP);
	assert_int_equal(intro_connection_recv(ends[1], 0, &data, &size), -EOPNOTSUPP);
	assert_int_equal(intro_connection_recv_into(ends[1], &size, 1, &size), -EOPNOTSUPP);
	assert_int_equal(intro_connection_recv_fd(ends[1]), -EOPNOTSUPP);
	assert_int_equal(intro_connection_skip(ends[1]), -EOPNOTSUPP);
	assert_int_equal(intro_connection_poll(ends[1], 0), -EOPNOTSUPP);
	send_text(ends[1], "still works");
	expect(ends[0], "still works");
	free_ends();
}

/* Many times what the socket holds. */
static void of_any_size(void **state)
{
	static const size_t sizes[] = {1,
				       INTRO_CONNECTION_WHOLE - 1,
				       INTRO_CONNECTION_WHOLE,
				       INTRO_CONNECTION_WHOLE + 1,
				       2 * INTRO_CONNECTION_WHOLE,
				       300000,
				       LARGE};
	unsigned char *bytes = malloc(LARGE);
	size_t size;
	void *data;
	pid_t pid;

	pair(true);
	pid = fork();
	if (!pid) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			fill(bytes, sizes[i], (unsigned)i);
			if (intro_connection_send(ends[1], bytes, sizes[i]))
				_exit(1);
		}
		if (intro_connection_recv(ends[1], 0, &data, &size) || size != LARGE ||
		    !is_filled(data, size, 9))
			_exit(2);
		_exit(0);
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(bytes, 0xee, LARGE);
		if (i % 2) {
			assert_int_equal(intro_connection_recv_into(ends[0], bytes, LARGE, &size),
					 0);
			assert_true(is_filled(bytes, size, (unsigned)i));
		} else {
			assert_int_equal(intro_connection_recv(ends[0], LARGE, &data, &size), 0);
			assert_true(is_filled(data, size, (unsigned)i));
			free(data);
		}
		assert_int_equal(size, sizes[i]);
	}
	fill(bytes, LARGE, 9);
	assert_int_equal(intro_connection_send(ends[0], bytes, LARGE), 0);
	reap(pid, 0);
	free(bytes);
	free_ends();
}

static void more_than_wanted(void **state)
{
	unsigned char small[10], *bytes = malloc(LARGE);
	size_t size = 0;
	void *data;
	pid_t pid;

	pair(true);
	send_text(ends[1], "eleven byte");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(intro_connection_recv(ends[0], 10, &data, &size), -EMSGSIZE);
		assert_int_equal(size, 11);
		assert_int_equal(intro_connection_recv_into(ends[0], small, 10, &size), -EMSGSIZE);
		assert_int_equal(size, 11);
	}
	/* the end of it is in the connection, not in the descriptor */
	assert_int_equal(intro_connection_poll(ends[0], 0), 1);
	assert_int_equal(intro_connection_detach(ends[0]), -EBUSY);
	expect(ends[0], "eleven byte");
	pid = fork();
	if (!pid) {
		fill(bytes, LARGE, 1);
		for (int i = 0; i < 3; i++)
			if (intro_connection_send(ends[1], bytes, LARGE))
				_exit(1);
		_exit(intro_connection_send(ends[1], "last", 4) != 0);
	}
	assert_int_equal(intro_connection_recv(ends[0], LARGE - 1, &data, &size), -EMSGSIZE);
	assert_int_equal(intro_connection_skip(ends[0]), 0);
	assert_int_equal(intro_connection_recv(ends[0], 1, &data, &size), -EMSGSIZE);
	assert_int_equal(intro_connection_recv(ends[0], size, &data, &size), 0);
	assert_true(size == LARGE && is_filled(data, size, 1));
	free(data);
	assert_int_equal(intro_connection_skip(ends[0]), 0);
	expect(ends[0], "last");
	reap(pid, 0);
	free(bytes);
	free_ends();
}

static void the_end(void **state)
{
	void *data;
	size_t size;

	pair(true);
	/* what was sent before comes, whatever the other end has not received */
	send_text(ends[1], "a");
	send_text(ends[1], "b");
	send_text(ends[0], "never received");
	assert_int_equal(intro_connection_close(ends[1]), 0);
	expect(ends[0], "a");
	assert_int_equal(intro_connection_poll(ends[0], 0), 1);
	expect(ends[0], "b");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(intro_connection_poll(ends[0], INTRO_FOREVER), 1);
		assert_int_equal(intro_connection_recv(ends[0], 0, &data, &size), -EPIPE);
		assert_int_equal(intro_connection_recv_fd(ends[0]), -EPIPE);
		assert_int_equal(intro_connection_send(ends[0], "x", 1), -EPIPE);
	}
	/* closed is closed */
	assert_true(intro_connection_closed(ends[1]) && !intro_connection_closed(ends[0]));
	assert_int_equal(intro_connection_close(ends[1]), -EBADF);
	assert_int_equal(intro_connection_send(ends[1], "x", 1), -EBADF);
	assert_int_equal(intro_connection_send_fd(ends[1], 0), -EBADF);
	assert_int_equal(intro_connection_recv(ends[1], 0, &data, &size), -EBADF);
	assert_int_equal(intro_connection_recv_fd(ends[1]), -EBADF);
	assert_int_equal(intro_connection_skip(ends[1]), -EBADF);
	assert_int_equal(intro_connection_poll(ends[1], 0), -EBADF);
	assert_int_equal(intro_connection_fd(ends[1]), -EBADF);
	assert_int_equal(intro_connection_detach(ends[1]), -EBADF);
	free_ends();
}

static void polls(void **state)
{
	int64_t begin;
	pid_t pid;

	pair(false);
	assert_int_equal(intro_connection_poll(ends[0], 0), 0);
	begin = now_ns();
	assert_int_equal(intro_connection_poll(ends[0], 30 * MSEC), 0);
	assert_true(now_ns() - begin >= 30 * MSEC);
	pid = fork();
	if (!pid) {
		sleep_ms(30);
		_exit(intro_connection_send(ends[1], "x", 1) != 0);
	}
	assert_int_equal(intro_connection_poll(ends[0], INTRO_FOREVER), 1);
	expect(ends[0], "x");
	assert_int_equal(intro_connection_poll(ends[0], 0), 0);
	reap(pid, 0);
	free_ends();
}

/* Dies in the midst of a message, which is larger than the socket. */
static void sender_is_killed(void **state)
{
	char *bytes = calloc(1, LARGE);
	size_t size;
	void *data;
	pid_t pid;

	pair(true);
	pid = fork();
	if (!pid) {
		intro_connection_send(ends[1], "whole", 5);
		intro_connection_send(ends[1], bytes, LARGE);
		_exit(0);
	}
	intro_connection_close(ends[1]);
	expect(ends[0], "whole");
	assert_int_equal(intro_connection_poll(ends[0], INTRO_FOREVER), 1);
	kill(pid, SIGKILL);
	reap(pid, SIGKILL);
	assert_int_equal(intro_connection_recv(ends[0], 0, &data, &size), -ECONNRESET);
	assert_int_equal(intro_connection_recv(ends[0], 0, &data, &size), -EPIPE);
	free(bytes);
	free_ends();
}

static void receiver_is_killed(void **state)
{
	char *bytes = calloc(1, LARGE);
	pid_t pid;

	pair(true);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	intro_connection_close(ends[1]);
	/* nobody receives it: the sender waits until its receiver dies */
	if (!fork()) {
		sleep_ms(50);
		kill(pid, SIGKILL);
		_exit(0);
	}
	assert_int_equal(intro_connection_send(ends[0], bytes, LARGE), -EPIPE);
	assert_int_equal(intro_connection_send(ends[0], bytes, 1), -EPIPE);
	reap(pid, SIGKILL);
	wait(NULL);
	free(bytes);
	free_ends();
}

static void descriptors(void **state)
{
	struct intro_connection *mine[2], *got;
	unsigned fds = count_fds();
	int fd;
	void *data;
	size_t size;

	pair(true);
	assert_int_equal(intro_connection_pair(false, mine), 0);
	send_text(ends[0], "first");
	assert_int_equal(intro_connection_send_fd(ends[0], intro_connection_fd(mine[1])), 0);
	send_text(ends[0], "last");
	assert_int_equal(intro_connection_send_fd(ends[0], -1), -EBADF);
	assert_int_equal(intro_connection_send_fd(ends[0], 999), -EBADF);
	assert_int_equal(intro_connection_recv_fd(ends[1]), -ENOMSG);
	expect(ends[1], "first");
	assert_int_equal(intro_connection_recv(ends[1], 0, &data, &size), -ENOMSG);
	fd = intro_connection_recv_fd(ends[1]);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	expect(ends[1], "last");
	got = intro_connection_attach(fd, INTRO_CONNECTION_WRITES);
	assert_non_null(got);
	send_text(got, "through the copy");
	expect(mine[0], "through the copy");
	intro_connection_free(got);
	/* those that nobody takes are closed: skipped, begun, never received */
	for (int i = 0; i < 3; i++)
		assert_int_equal(intro_connection_send_fd(ends[0], intro_connection_fd(mine[1])),
				 0);
	assert_int_equal(intro_connection_skip(ends[1]), 0);
	assert_int_equal(intro_connection_recv(ends[1], 0, &data, &size), -ENOMSG);
	intro_connection_free(mine[0]);
	intro_connection_free(mine[1]);
	free_ends();
	assert_int_equal(count_fds(), fds);
}

static void attach_and_detach(void **state)
{
	int fd, other[2];

	pair(true);
	fd = intro_connection_detach(ends[1]);
	assert_true(fd >= 0 && intro_connection_closed(ends[1]));
	intro_connection_free(ends[1]);
	errno = 0;
	assert_null(intro_connection_attach(fd, 0));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_connection_attach(fd, 4));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_connection_attach(-1, INTRO_CONNECTION_BOTH));
	assert_int_equal(errno, EBADF);
	assert_int_equal(pipe(other), 0);
	assert_null(intro_connection_attach(other[0], INTRO_CONNECTION_READS));
	assert_int_equal(errno, EPROTOTYPE);
	close(other[0]);
	close(other[1]);
	ends[1] = intro_connection_attach(fd, INTRO_CONNECTION_BOTH);
	assert_non_null(ends[1]);
	send_text(ends[0], "x");
	expect(ends[1], "x");
	free_ends();
}

/* What no connection sends. */
static void nonsense(void **state)
{
	const uint64_t packets[][3] = {
		{5, 0, 0x6d7367},		    /* fewer bytes than it has */
		{1ull << 62, 0, 0x6d7367},	    /* none of very many */
		{1ull << 62, 1ull << 62, 0x6d7367}, /* its end first */
		{0, 0, 1},			    /* of no kind */
		{0, 0, 0x6d7366},		    /* a descriptor without one */
	};
	void *data;
	size_t size;

	pair(true);
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
		assert_int_equal(
			send(intro_connection_fd(ends[0]), packets[i], sizeof(packets[i]), 0),
			sizeof(packets[i]));
		if (i == 0)
			send(intro_connection_fd(ends[0]), "short", 5, 0);
		for (int k = 0; k < 1 + !i; k++)
			assert_int_equal(intro_connection_recv(ends[1], 0, &data, &size), -EBADMSG);
		send_text(ends[0], "and on");
		expect(ends[1], "and on");
	}
	free_ends();
}

#define SENDERS 3
#define EACH 2000

/* Several processes at each end; every message arrives once and whole. */
static void shared_ends(void **state)
{
	struct gate *counter = gate_new_shared();
	unsigned char bytes[3000];
	pid_t pids[2 * SENDERS];
	size_t size;

	pair(false);
	for (int i = 0; i < SENDERS; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		for (unsigned k = 0; k < EACH; k++) {
			fill(bytes, sizeof(bytes), k);
			if (intro_connection_send(ends[1], bytes, 1 + k % sizeof(bytes)))
				_exit(1);
		}
		_exit(0);
	}
	for (int i = SENDERS; i < 2 * SENDERS; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		intro_connection_close(ends[1]);
		while (!intro_connection_recv_into(ends[0], bytes, sizeof(bytes), &size)) {
			if (!is_filled(bytes, size, (unsigned)size - 1))
				_exit(1);
			counter->waiting++;
		}
		_exit(0);
	}
	intro_connection_close(ends[1]);
	for (int i = 0; i < 2 * SENDERS; i++)
		reap(pids[i], 0);
	assert_int_equal(counter->waiting, SENDERS * EACH);
	free_ends();
}

static void *sends_many(void *arg)
{
	unsigned char *bytes = malloc(200000);

	for (unsigned k = 0; k < 100; k++) {
		fill(bytes, 200000, 5);
		assert_int_equal(intro_connection_send(arg, bytes, 1000 * (k % 200 + 1)), 0);
	}
	free(bytes);
	return NULL;
}

static void *receives_many(void *arg)
{
	size_t size;
	void *data;

	for (unsigned k = 0; k < 100; k++) {
		while (!intro_connection_poll(arg, 1 * MSEC))
			;
		assert_int_equal(intro_connection_recv(arg, 0, &data, &size), 0);
		assert_true(is_filled(data, size, 5));
		free(data);
	}
	return NULL;
}

/* Threads of one process share an end, whatever the size. */
static void many_threads(void **state)
{
	pthread_t threads[4];

	pair(true);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, i % 2 ? sends_many : receives_many, ends[i % 2]);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	free_ends();
}

static int received;

static void *waits_for_one(void *arg)
{
	size_t size;
	void *data = NULL;

	received = intro_connection_recv(arg, 0, &data, &size);
	free(data);
	return NULL;
}

static void closed_under_a_thread(void **state)
{
	pthread_t thread;
	int fd;

	pair(true);
	pthread_create(&thread, NULL, waits_for_one, ends[0]);
	sleep_ms(50);
	/* either it is inside by now, or the end is closed before it comes */
	fd = intro_connection_detach(ends[0]);
	if (fd == -EBUSY) {
		assert_int_equal(intro_connection_close(ends[0]), -EBUSY);
		assert_int_equal(intro_connection_poll(ends[0], 1 * MSEC), 0);
		send_text(ends[1], "x");
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(received, 0);
		assert_int_equal(intro_connection_close(ends[0]), 0);
	} else {
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(received, -EBADF);
		close(fd);
	}
	free_ends();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways),	    cmocka_unit_test(one_way),
		cmocka_unit_test(of_any_size),	    cmocka_unit_test(more_than_wanted),
		cmocka_unit_test(the_end),	    cmocka_unit_test(polls),
		cmocka_unit_test(sender_is_killed), cmocka_unit_test(receiver_is_killed),
		cmocka_unit_test(descriptors),	    cmocka_unit_test(attach_and_detach),
		cmocka_unit_test(nonsense),	    cmocka_unit_test(shared_ends),
		cmocka_unit_test(many_threads),	    cmocka_unit_test(closed_under_a_thread),
	};

	watchdog(120);
	private_area();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
