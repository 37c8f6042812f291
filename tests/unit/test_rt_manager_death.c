/* SPDX-License-Identifier: BSD-2-Clause */
/* A manager whose clients want too much, lie, or die; and its end. */
#include "rt_manager.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/manager_private.h"

/* --- bounds ----------------------------------------------------------------------------------- */

static void full(void **state)
{
	struct intro_manager *old = m;
	char *bytes = calloc(1, 100000);
	uint64_t l, q;
	unsigned n[2] = {0};
	int err;

	m = intro_manager_new(OPTIONS(.limit = 1000000, .message = 100000));
	assert_non_null(m);
	l = make(INTRO_MANAGER_LIST, 0);
	q = make(INTRO_MANAGER_QUEUE, 0);
	for (int round = 0; round < 2; round++) {
		/* in pieces, and not */
		while (!(err = intro_manager_list_append(m, l, bytes, 100000)))
			n[round]++;
		assert_int_equal(err, -ENOSPC);
		while (!(err = intro_manager_queue_put(m, q, bytes, 1000, INTRO_FOREVER)))
			n[round]++;
		assert_int_equal(err, -ENOSPC);
		while (!(err = intro_manager_list_append(m, l, NULL, 0)))
			n[round]++;
		assert_int_equal(err, -ENOSPC);
		/* what is there is there, and what is given back is had again, all of it */
		assert_int_equal(length(l) + length(q), n[round]);
		assert_int_equal(intro_manager_clear(m, l), 0);
		assert_int_equal(intro_manager_clear(m, q), 0);
	}
	assert_true(n[0] > 9);
	assert_int_equal(n[0], n[1]);
	free(bytes);
	intro_manager_free(m);
	m = old;
}

static void too_many_clients(void **state)
{
	struct intro_manager *old = m;
	int fds[8], code;
	uint64_t l;

	m = intro_manager_new(OPTIONS(.clients = 4));
	assert_non_null(m);
	l = make(INTRO_MANAGER_LIST, 0);
	for (int i = 0; i < 8; i++) {
		fds[i] = manager_raw_connect(&code);
		assert_int_equal(code, i < 3 ? 0 : -EUSERS);
	}
	/* who is in goes on */
	assert_int_equal(append(l, "x"), 0);
	assert_null(intro_manager_connect(intro_manager_address(m)));
	assert_int_equal(errno, EUSERS);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	for (code = -1; code;)
		close(manager_raw_connect(&code));
	intro_manager_free(m);
	m = old;
}

static void of_somebody_else(void **state)
{
	pid_t pid;
	int code;

	if (getuid())
		skip();
	pid = fork();
	if (!pid) {
		/* the client finds it out by itself; and one that does not is told so */
		bool refused = !setuid(65534) && !intro_manager_connect(intro_manager_address(m)) &&
			       errno == EACCES;

		close(manager_raw_connect(&code));
		_exit(!refused || code != -EACCES);
	}
	reap(pid, 0);
}

/* What no client of ours sends. The server goes on for the others, whatever it is. */
static void liars(void **state)
{
	const uint64_t big = (uint64_t)1 << 62;
	uint64_t l = make(INTRO_MANAGER_LIST, 0);
	struct {
		struct packet packet;
		unsigned char bytes[200];
	} out;
	unsigned seed = 1;
	int code, fd;

	for (int round = 0; round < 3000; round++) {
		struct manager_request request = {.op = (uint32_t)rand_r(&seed) % (OP_END + 2),
						  .object = l,
						  .number = rand_r(&seed) % 3 - 1,
						  .key_size = (uint64_t)rand_r(&seed) % 300};
		size_t n = (size_t)rand_r(&seed) % sizeof(out.bytes);

		if (request.op == OP_DROP)
			request.object++;
		fd = manager_raw_connect(&code);
		assert_int_equal(code, 0);
		for (size_t i = 0; i < sizeof(out.bytes); i++)
			out.bytes[i] = (unsigned char)rand_r(&seed);
		if (round % 3)
			memcpy(out.bytes, &request, sizeof(request));
		if (round % 3 == 2)
			memset(out.bytes + 32, 0xff, 8); /* a key of 2^64 - 1 bytes */
		out.packet = (struct packet){.total = n, .kind = PACKET_MESSAGE};
		switch (rand_r(&seed) % 6) {
		case 0:
			out.packet.total = big;
			break;
		case 1:
			out.packet.total = n + 100000;
			break;
		case 2:
			out.packet.offset = 1 + (unsigned)rand_r(&seed) % 100;
			break;
		case 3:
			out.packet.kind = (unsigned)rand_r(&seed);
			break;
		}
		send(fd, &out, rand_r(&seed) % 8 ? sizeof(out.packet) + n : 5, MSG_NOSIGNAL);
		if (round % 2)
			recv(fd, &out, sizeof(out),
			     round % 4 == 1 ? MSG_DONTWAIT : MSG_PEEK | MSG_DONTWAIT);
		close(fd);
	}
	assert_int_equal(intro_manager_clear(m, l), 0);
	assert_int_equal(append(l, "x"), 0);
	assert_int_equal(length(l), 1);
}

/* Sends requests and reads no reply: the others do not wait for it. */
static void deaf(void **state)
{
	uint64_t l = make(INTRO_MANAGER_LIST, 0);
	char *bytes = calloc(1, 1000000);
	struct {
		struct packet packet;
		struct manager_request request;
	} out = {.packet = {.total = sizeof(struct manager_request), .kind = PACKET_MESSAGE},
		 .request = {.op = OP_LIST_GET, .object = l}};
	int code, fd = manager_raw_connect(&code);

	assert_int_equal(intro_manager_list_append(m, l, bytes, 1000000), 0);
	for (int i = 0; i < 1000; i++)
		send(fd, &out, sizeof(out), MSG_DONTWAIT | MSG_NOSIGNAL);
	for (int i = 0; i < 100; i++)
		assert_int_equal(append(l, "x"), 0);
	assert_int_equal(length(l), 101);
	close(fd);
	free(bytes);
}

/* --- the dead --------------------------------------------------------------------------------- */

static void lock_of_the_dead(void **state)
{
	uint64_t lock = make(INTRO_MANAGER_LOCK, 0);
	struct gate *gate = gate_new_shared();
	pid_t pid, grandchild;

	for (int i = 0; i < 3; i++) {
		pid = fork();
		if (!pid) {
			if (intro_manager_lock_acquire(m, lock, INTRO_FOREVER))
				_exit(1);
			/* its connections are open in another process, which goes on */
			if (!fork()) {
				sleep_ms(300);
				_exit(0);
			}
			gate->waiting++;
			sleep_ms(20);
			raise(SIGKILL);
		}
		gate_expect(gate, (unsigned)i + 1);
		assert_int_equal(intro_manager_lock_acquire(m, lock, INTRO_FOREVER), -EOWNERDEAD);
		assert_int_equal(intro_manager_lock_release(m, lock), 0);
		assert_int_equal(intro_manager_lock_acquire(m, lock, INTRO_FOREVER), 0);
		assert_int_equal(intro_manager_lock_release(m, lock), 0);
		reap(pid, SIGKILL);
	}
	/* a waiter that is killed gets nothing */
	assert_int_equal(intro_manager_lock_acquire(m, lock, 0), 0);
	pid = fork();
	if (!pid)
		_exit(intro_manager_lock_acquire(m, lock, INTRO_FOREVER) != -1);
	sleep_ms(30);
	grandchild = fork();
	if (!grandchild)
		_exit(intro_manager_lock_acquire(m, lock, INTRO_FOREVER) ||
		      intro_manager_lock_release(m, lock));
	sleep_ms(30);
	kill(pid, SIGKILL);
	reap(pid, SIGKILL);
	assert_int_equal(intro_manager_lock_release(m, lock), 0);
	reap(grandchild, 0);
}

static void queue_of_the_dead(void **state)
{
	uint64_t q = make(INTRO_MANAGER_QUEUE, 0);
	struct gate *gate = gate_new_shared();
	size_t size;
	void *data;
	pid_t pid;

	/* asleep in get: the item goes to somebody else */
	pid = fork();
	if (!pid)
		_exit(intro_manager_queue_get(m, q, &data, &size, INTRO_FOREVER) != -1);
	sleep_ms(30);
	kill(pid, SIGKILL);
	reap(pid, SIGKILL);
	assert_int_equal(intro_manager_queue_put(m, q, "kept", 4, 0), 0);
	expect_text("kept", intro_manager_queue_get(m, q, &data, &size, INTRO_FOREVER));
	assert_int_equal(intro_manager_queue_task_done(m, q), 0);
	/* with one in hand: join does not wait for it */
	assert_int_equal(intro_manager_queue_put(m, q, "lost", 4, 0), 0);
	pid = fork();
	if (!pid) {
		if (intro_manager_queue_get(m, q, &data, &size, INTRO_FOREVER))
			_exit(1);
		gate_wait(gate);
		raise(SIGKILL);
	}
	while (length(q))
		sleep_ms(1);
	assert_int_equal(intro_manager_queue_join(m, q, 10 * MSEC), -ETIMEDOUT);
	gate_open(gate);
	assert_int_equal(intro_manager_queue_join(m, q, INTRO_FOREVER), 0);
	reap(pid, SIGKILL);
	assert_int_equal(intro_manager_queue_task_done(m, q), -ENODATA);
}

static void server_is_killed(void **state)
{
	unsigned fds = count_fds();
	struct intro_manager *old = m;
	pthread_t threads[3];
	uint64_t q, l;
	void *result;
	pid_t pid;

	m = intro_manager_new(NULL);
	assert_non_null(m);
	q = make(INTRO_MANAGER_QUEUE, 0);
	l = make(INTRO_MANAGER_LIST, 0);
	/* before there are threads: a sanitizer's locks do not survive a fork */
	pid = fork();
	if (!pid) {
		size_t size;
		void *data;

		_exit(intro_manager_queue_get(m, q, &data, &size, INTRO_FOREVER) != -EPIPE ||
		      append(l, "x") != -EPIPE);
	}
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, manager_waits_for_item, &q);
	sleep_ms(30);
	kill(manager_pid(), SIGKILL);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &result);
		assert_int_equal((intptr_t)result, -EPIPE);
	}
	reap(pid, 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(append(l, "x"), -EPIPE);
	assert_null(intro_manager_connect(intro_manager_address(m)));
	assert_int_equal(errno, EPIPE);
	assert_int_equal(intro_manager_shutdown(m), 0);
	assert_int_equal(intro_manager_shutdown(m), 0);
	intro_manager_free(m);
	m = old;
	assert_int_equal(count_fds(), fds);
}

static void shut_down(void **state)
{
	unsigned fds = count_fds();
	struct intro_manager *old = m;
	pthread_t thread;
	uint64_t q;
	void *result;

	m = intro_manager_new(OPTIONS(.name = "mine"));
	assert_non_null(m);
	/* signals which its maker's terminal or group gets are not for it */
	kill(manager_pid(), SIGINT);
	kill(manager_pid(), SIGTERM);
	kill(manager_pid(), SIGHUP);
	q = make(INTRO_MANAGER_QUEUE, 0);
	pthread_create(&thread, NULL, manager_waits_for_item, &q);
	sleep_ms(20);
	assert_int_equal(intro_manager_shutdown(m), 0);
	pthread_join(thread, &result);
	assert_int_equal((intptr_t)result, -EPIPE);
	assert_int_equal(intro_manager_drop(m, q), -EPIPE);
	intro_manager_free(m);
	m = old;
	assert_int_equal(count_fds(), fds);
}

/* Also when somebody else has the maker's descriptors. */
static void maker_is_killed(void **state)
{
	int server[2], pid = 0;
	pid_t maker, number;
	uint64_t q;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe(server), 0);
	maker = fork();
	if (!maker) {
		m = intro_manager_new(NULL);
		number = manager_pid();
		q = make(INTRO_MANAGER_QUEUE, 0);
		if (!fork())
			_exit((int)(intptr_t)manager_waits_for_item(&q) != -EPIPE);
		sleep_ms(30);
		(void)!write(server[1], &number, sizeof(number));
		raise(SIGKILL);
	}
	assert_int_equal(read(server[0], &number, sizeof(number)), sizeof(number));
	close(server[0]);
	close(server[1]);
	reap(maker, SIGKILL);
	/* its server and its child are ours now; both end */
	for (int i = 0; i < 2; i++) {
		int status;

		pid = wait(&status);
		assert_true(pid > 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(wait(NULL), -1);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

/* Whose ends of pipes the server has: nobody's. */
static void no_descriptors(void **state)
{
	struct intro_manager *old = m;
	int pipe_ends[2];
	char byte;

	assert_int_equal(pipe(pipe_ends), 0);
	m = intro_manager_new(NULL);
	assert_non_null(m);
	close(pipe_ends[1]);
	assert_int_equal(read(pipe_ends[0], &byte, 1), 0);
	close(pipe_ends[0]);
	intro_manager_free(m);
	m = old;
}

/* Clients at random, killed at random; what they did is what is there. */
static void stress(void **state)
{
	uint64_t l = make(INTRO_MANAGER_LIST, 0), v = make(INTRO_MANAGER_VALUE, 0),
		 q = make(INTRO_MANAGER_QUEUE, 10), lock = make(INTRO_MANAGER_LOCK, 0);
	struct gate *counts = gate_new_shared();
	unsigned seed = 1, killed = 0;
	int64_t end = now_ns() + 2 * SEC, sum;
	pid_t pids[6];

	memset(pids, 0, sizeof(pids));
	while (now_ns() < end) {
		int which = rand_r(&seed) % 6;

		if (pids[which]) {
			kill(pids[which], SIGKILL);
			reap(pids[which], SIGKILL);
			killed++;
		}
		pids[which] = fork();
		if (!pids[which]) {
			unsigned mine = seed;
			size_t size;
			void *data;

			for (;;) {
				int err = intro_manager_lock_acquire(m, lock, INTRO_FOREVER);

				if ((err && err != -EOWNERDEAD) || append(l, "x"))
					_exit(1);
				if (intro_manager_value_add(m, v, 1, NULL))
					_exit(2);
				counts->waiting++;
				if (intro_manager_lock_release(m, lock))
					_exit(3);
				if (rand_r(&mine) % 2)
					err = intro_manager_queue_put(m, q, "y", 1, 5 * MSEC);
				else
					err = intro_manager_queue_get(m, q, &data, &size, 5 * MSEC);
				if (err && err != -ETIMEDOUT)
					_exit(4);
			}
		}
		sleep_ms((unsigned)rand_r(&seed) % 8);
	}
	for (int i = 0; i < 6; i++) {
		if (!pids[i])
			continue;
		kill(pids[i], SIGKILL);
		reap(pids[i], SIGKILL);
		killed++;
	}
	/* between each two of its changes a process may have died, holding the lock */
	assert_int_equal(intro_manager_lock_acquire(m, lock, INTRO_FOREVER) == -ETIMEDOUT, 0);
	assert_int_equal(intro_manager_value_add(m, v, 0, &sum), 0);
	assert_true(killed > 5 && sum > 0);
	assert_in_range(length(l), (uint64_t)sum, (uint64_t)sum + killed);
	assert_in_range(counts->waiting, (uint64_t)sum - killed, (uint64_t)sum);
	assert_int_equal(intro_manager_clear(m, q), 0);
	assert_int_equal(intro_manager_queue_join(m, q, INTRO_FOREVER), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(full),
		TEST(too_many_clients),
		TEST(of_somebody_else),
		TEST(liars),
		TEST(deaf),
		TEST(lock_of_the_dead),
		TEST(queue_of_the_dead),
		TEST(server_is_killed),
		TEST(shut_down),
		cmocka_unit_test(maker_is_killed),
		TEST(no_descriptors),
		TEST(stress),
	};

	watchdog(120);
	private_area();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
