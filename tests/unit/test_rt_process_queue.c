/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues between processes: order, bounds, the end, and processes that are killed at any moment. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/process_queue.h>
#include <introspect/shared.h>

#define OPTIONS(...)                                                                               \
	(&(struct intro_process_queue_options){.size = sizeof(struct intro_process_queue_options), \
					       __VA_ARGS__})

static struct intro_process_queue *new_queue(const struct intro_process_queue_options *options)
{
	struct intro_process_queue *q = intro_process_queue_new(options);

	assert_non_null(q);
	return q;
}

static void reap(pid_t pid, int status)
{
	int got;

	assert_int_equal(waitpid(pid, &got, 0), pid);
	assert_int_equal(got, status);
}

static int put(struct intro_process_queue *q, uint64_t value)
{
	return intro_process_queue_put(q, &value, sizeof(value), INTRO_FOREVER);
}

static int get(struct intro_process_queue *q, uint64_t *value, int64_t timeout_ns)
{
	size_t size;
	int err = intro_process_queue_get(q, value, sizeof(*value), &size, timeout_ns);

	return err || size == sizeof(*value) ? err : -EBADMSG;
}

static void in_order(void **state)
{
	struct intro_process_queue *q = new_queue(OPTIONS(.capacity = 3));
	uint64_t value;
	int64_t begin;

	assert_true(intro_process_queue_empty(q) && !intro_process_queue_full(q));
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(intro_process_queue_put(q, &i, sizeof(i), 0), 0);
	assert_int_equal(intro_process_queue_size(q), 3);
	assert_true(!intro_process_queue_empty(q) && intro_process_queue_full(q));
	value = 4;
	assert_int_equal(intro_process_queue_put(q, &value, sizeof(value), 0), -ETIMEDOUT);
	begin = now_ns();
	assert_int_equal(intro_process_queue_put(q, &value, sizeof(value), 20 * MSEC), -ETIMEDOUT);
	assert_true(now_ns() - begin >= 20 * MSEC);
	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(get(q, &value, 0), 0);
		assert_int_equal(value, i);
	}
	assert_int_equal(get(q, &value, 0), -ETIMEDOUT);
	begin = now_ns();
	assert_int_equal(get(q, &value, 20 * MSEC), -ETIMEDOUT);
	assert_true(now_ns() - begin >= 20 * MSEC);
	intro_process_queue_free(q);
	intro_process_queue_free(NULL);
}

/* Of all sizes, over the end of the ring and again. */
static void bytes(void **state)
{
	struct intro_process_queue *q = new_queue(OPTIONS(.bytes = 5000));
	size_t limit = intro_process_queue_limit(q), size;
	unsigned char *in = malloc(limit), *out = malloc(limit);

	assert_int_equal(limit, 8192 - 16);
	for (unsigned round = 0; round < 3000; round++) {
		size_t n = round * 37 % (limit + 1);

		memset(in, (int)round, n);
		memset(out, 0xee, limit);
		assert_int_equal(intro_process_queue_put(q, in, n, 0), 0);
		assert_int_equal(intro_process_queue_get(q, out, limit, &size, 0), 0);
		assert_int_equal(size, n);
		assert_memory_equal(in, out, n);
	}
	/* so many bytes are full, whatever the capacity */
	assert_int_equal(intro_process_queue_put(q, in, limit - 16, 0), 0);
	assert_int_equal(intro_process_queue_put(q, in, 1, 0), -ETIMEDOUT);
	assert_int_equal(intro_process_queue_put(q, NULL, 0, 0), 0);
	assert_int_equal(intro_process_queue_put(q, NULL, 0, 0), -ETIMEDOUT);
	assert_int_equal(intro_process_queue_get(q, out, 10, &size, 0), -EMSGSIZE);
	assert_int_equal(size, limit - 16);
	assert_int_equal(intro_process_queue_get(q, out, size, &size, 0), 0);
	assert_int_equal(intro_process_queue_get(q, NULL, 0, &size, 0), 0);
	assert_int_equal(size, 0);
	assert_int_equal(intro_process_queue_put(q, in, limit + 1, INTRO_FOREVER), -EMSGSIZE);
	assert_int_equal(intro_process_queue_put(q, NULL, 1, 0), -EINVAL);
	free(in);
	free(out);
	intro_process_queue_free(q);
}

static void bad_options(void **state)
{
	struct {
		struct intro_process_queue_options options;
		uint64_t newer;
	} newer = {.options.size = sizeof(newer), .newer = 1};
	struct intro_shared_memory *m = intro_shared_memory_new(100000);

	assert_null(intro_process_queue_new(OPTIONS(.bytes = SIZE_MAX)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_process_queue_new(&newer.options));
	assert_int_equal(errno, E2BIG);
	newer.options.size = 0;
	assert_null(intro_process_queue_new(&newer.options));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_process_queue_attach(-1));
	assert_int_equal(errno, EBADF);
	assert_null(intro_process_queue_attach(intro_shared_memory_fd(m)));
	assert_int_equal(errno, EINVAL);
	intro_shared_memory_free(m);
	intro_process_queue_free(new_queue(NULL));
}

static void attached(void **state)
{
	struct intro_process_queue *q = new_queue(OPTIONS(.capacity = 2));
	pid_t pid = fork();
	uint64_t value = 0;

	if (!pid) {
		struct intro_process_queue *same =
			intro_process_queue_attach(intro_process_queue_fd(q));

		_exit(!same || put(same, 7) || put(same, 8) ||
		      intro_process_queue_put(same, &value, 8, 0) != -ETIMEDOUT);
	}
	reap(pid, 0);
	assert_int_equal(get(q, &value, 0), 0);
	assert_int_equal(value, 7);
	intro_process_queue_free(q);
}

static void joins(void **state)
{
	struct intro_process_queue *q = new_queue(NULL);
	uint64_t value;
	pid_t pid;

	assert_int_equal(intro_process_queue_join(q, 0), 0);
	assert_int_equal(intro_process_queue_task_done(q), -EINVAL);
	put(q, 1);
	put(q, 2);
	/* not got yet, so not done */
	assert_int_equal(intro_process_queue_task_done(q), -EINVAL);
	assert_int_equal(intro_process_queue_join(q, 0), -ETIMEDOUT);
	assert_int_equal(intro_process_queue_join(q, 10 * MSEC), -ETIMEDOUT);
	assert_int_equal(get(q, &value, 0), 0);
	assert_int_equal(intro_process_queue_task_done(q), 0);
	assert_int_equal(intro_process_queue_task_done(q), -EINVAL);
	assert_int_equal(get(q, &value, 0), 0);
	assert_int_equal(intro_process_queue_join(q, 0), -ETIMEDOUT);
	/* another process may say so */
	pid = fork();
	if (!pid) {
		sleep_ms(20);
		_exit(intro_process_queue_task_done(q) != 0);
	}
	assert_int_equal(intro_process_queue_join(q, INTRO_FOREVER), 0);
	reap(pid, 0);
	assert_int_equal(intro_process_queue_task_done(q), -EINVAL);
	put(q, 3);
	assert_int_equal(get(q, &value, 0), 0);
	assert_int_equal(intro_process_queue_task_done(q), 0);
	intro_process_queue_free(q);
}

static void closed(void **state)
{
	struct intro_process_queue *q = new_queue(NULL);
	uint64_t value;
	pid_t pid;

	put(q, 1);
	put(q, 2);
	assert_int_equal(get(q, &value, 0), 0);
	intro_process_queue_close(q);
	intro_process_queue_close(q);
	assert_int_equal(put(q, 3), -EBADF);
	assert_int_equal(get(q, &value, 0), -EBADF);
	assert_int_equal(intro_process_queue_task_done(q), 0);
	assert_int_equal(intro_process_queue_size(q), 1);
	/* to others it is open */
	pid = fork();
	if (!pid) {
		struct intro_process_queue *same =
			intro_process_queue_attach(intro_process_queue_fd(q));

		_exit(!same || get(same, &value, 0) || value != 2 ||
		      intro_process_queue_task_done(same));
	}
	reap(pid, 0);
	assert_int_equal(intro_process_queue_join(q, 0), 0);
	intro_process_queue_free(q);
}

static pid_t waiting_child(struct intro_process_queue *q, int (*does)(struct intro_process_queue *),
			   int result)
{
	pid_t pid = fork();

	if (!pid)
		_exit(does(q) != result);
	return pid;
}

static int gets_one(struct intro_process_queue *q)
{
	uint64_t value;

	return get(q, &value, INTRO_FOREVER);
}

static int puts_one(struct intro_process_queue *q)
{
	return put(q, 77);
}

static int joins_all(struct intro_process_queue *q)
{
	return intro_process_queue_join(q, INTRO_FOREVER);
}

static void shut_down(void **state)
{
	struct intro_process_queue *q = new_queue(OPTIONS(.capacity = 2));
	uint64_t value;
	pid_t pids[3];

	/* draining */
	put(q, 1);
	put(q, 2);
	pids[0] = waiting_child(q, puts_one, -ESHUTDOWN);
	sleep_ms(20);
	intro_process_queue_shutdown(q, false);
	reap(pids[0], 0);
	assert_true(intro_process_queue_is_shutdown(q));
	assert_int_equal(put(q, 3), -ESHUTDOWN);
	assert_int_equal(get(q, &value, INTRO_FOREVER), 0);
	assert_int_equal(get(q, &value, INTRO_FOREVER), 0);
	assert_int_equal(value, 2);
	assert_int_equal(get(q, &value, INTRO_FOREVER), -ESHUTDOWN);
	intro_process_queue_free(q);
	/* with getters asleep */
	q = new_queue(NULL);
	for (int i = 0; i < 3; i++)
		pids[i] = waiting_child(q, gets_one, -ESHUTDOWN);
	sleep_ms(20);
	intro_process_queue_shutdown(q, false);
	for (int i = 0; i < 3; i++)
		reap(pids[i], 0);
	intro_process_queue_free(q);
	/* at once: what is in it counts as done */
	q = new_queue(NULL);
	put(q, 1);
	put(q, 2);
	pids[0] = waiting_child(q, joins_all, 0);
	sleep_ms(20);
	intro_process_queue_shutdown(q, true);
	reap(pids[0], 0);
	assert_int_equal(get(q, &value, INTRO_FOREVER), -ESHUTDOWN);
	assert_int_equal(intro_process_queue_size(q), 0);
	intro_process_queue_shutdown(q, true);
	intro_process_queue_free(q);
}

/* --- the dead --------------------------------------------------------------------------------- */

/* Gets n, is done with none, and is killed. */
static void killed_with_items(struct intro_process_queue *q, int n)
{
	pid_t pid = fork();
	uint64_t value;

	if (!pid) {
		for (int i = 0; i < n; i++)
			if (get(q, &value, INTRO_FOREVER))
				_exit(1);
		raise(SIGKILL);
	}
	reap(pid, SIGKILL);
}

static void joins_without_the_dead(void **state)
{
	struct intro_process_queue *q = new_queue(NULL);
	uint64_t value;
	pid_t pid;

	for (int i = 0; i < 5; i++)
		put(q, (uint64_t)i);
	killed_with_items(q, 3);
	assert_int_equal(get(q, &value, 0), 0);
	assert_int_equal(value, 3);
	assert_int_equal(intro_process_queue_task_done(q), 0);
	assert_int_equal(get(q, &value, 0), 0);
	assert_int_equal(intro_process_queue_join(q, 300 * MSEC), -ETIMEDOUT);
	assert_int_equal(intro_process_queue_task_done(q), 0);
	assert_int_equal(intro_process_queue_join(q, INTRO_FOREVER), 0);
	/* asleep in join when it happens */
	for (int i = 0; i < 5; i++)
		put(q, (uint64_t)i);
	pid = waiting_child(q, joins_all, 0);
	sleep_ms(20);
	killed_with_items(q, 5);
	reap(pid, 0);
	/* and a handle that is freed */
	put(q, 1);
	pid = fork();
	if (!pid) {
		int err = get(q, &value, INTRO_FOREVER);

		intro_process_queue_free(q);
		sleep_ms(err ? 0 : 300);
		_exit(err);
	}
	assert_int_equal(intro_process_queue_join(q, INTRO_FOREVER), 0);
	reap(pid, 0);
	intro_process_queue_free(q);
}

/* Sleepers who are killed are not waited for, and take nobody's place. */
static void killed_in_their_sleep(void **state)
{
	struct intro_process_queue *q = new_queue(OPTIONS(.capacity = 1));
	pid_t dead[4], living;
	uint64_t value;

	for (int i = 0; i < 4; i++)
		dead[i] = waiting_child(q, gets_one, 0);
	sleep_ms(30);
	living = waiting_child(q, gets_one, 0);
	sleep_ms(30);
	for (int i = 0; i < 4; i++) {
		kill(dead[i], SIGKILL);
		reap(dead[i], SIGKILL);
	}
	put(q, 1);
	reap(living, 0);
	put(q, 2);
	for (int i = 0; i < 4; i++)
		dead[i] = waiting_child(q, puts_one, 0);
	sleep_ms(30);
	living = waiting_child(q, puts_one, 0);
	sleep_ms(30);
	for (int i = 0; i < 4; i++) {
		kill(dead[i], SIGKILL);
		reap(dead[i], SIGKILL);
	}
	assert_int_equal(get(q, &value, INTRO_FOREVER), 0);
	assert_int_equal(value, 2);
	reap(living, 0);
	assert_int_equal(get(q, &value, INTRO_FOREVER), 0);
	assert_int_equal(value, 77);
	intro_process_queue_free(q);
}

/* --- stress ----------------------------------------------------------------------------------- */

#define PROCESSES 3 /* at each end */
#define IDS 400000

/* What each message's fate was: PUT is set when put returned, GOT counts. */
struct fates {
	_Atomic uint32_t next;
	_Atomic uint8_t put[IDS], got[IDS];
	_Atomic uint32_t bad;
};

static unsigned char content(uint32_t id, size_t i)
{
	return (unsigned char)(id * 7 + i);
}

static void produce(struct intro_process_queue *q, struct fates *fates, uint32_t n)
{
	unsigned char message[300];
	uint32_t id;

	while ((id = fates->next++) < n) {
		size_t size = 4 + id % 290;

		memcpy(message, &id, 4);
		for (size_t i = 4; i < size; i++)
			message[i] = content(id, i);
		if (intro_process_queue_put(q, message, size, INTRO_FOREVER))
			break;
		fates->put[id] = 1;
	}
}

static void consume(struct intro_process_queue *q, struct fates *fates)
{
	unsigned char message[300];
	size_t size;
	uint32_t id;

	while (!intro_process_queue_get(q, message, sizeof(message), &size, INTRO_FOREVER)) {
		memcpy(&id, message, 4);
		if (id >= IDS || size != 4 + id % 290) {
			fates->bad++;
			continue;
		}
		for (size_t i = 4; i < size; i++)
			fates->bad += message[i] != content(id, i);
		fates->got[id]++;
		fates->bad += intro_process_queue_task_done(q) != 0;
	}
}

static pid_t start(struct intro_process_queue *q, struct fates *fates, bool produces, uint32_t n)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (produces)
		produce(q, fates, n);
	else
		consume(q, fates);
	_exit(0);
}

static struct fates *new_fates(void)
{
	struct fates *fates = mmap(NULL, sizeof(*fates), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(fates != MAP_FAILED);
	return fates;
}

/* How many that were put never came; none came twice. */
static unsigned lost_of(const struct fates *fates)
{
	unsigned lost = 0;

	for (uint32_t i = 0; i < IDS; i++) {
		assert_true(fates->got[i] <= 1);
		lost += fates->put[i] && !fates->got[i];
	}
	assert_int_equal(fates->bad, 0);
	return lost;
}

static void many_to_many(void **state)
{
	struct intro_process_queue *q = new_queue(OPTIONS(.capacity = 50, .bytes = 4096));
	struct fates *fates = new_fates();
	pid_t pids[2 * PROCESSES];

	for (int i = 0; i < 2 * PROCESSES; i++)
		pids[i] = start(q, fates, i < PROCESSES, 30000);
	for (int i = 0; i < PROCESSES; i++)
		reap(pids[i], 0);
	assert_int_equal(intro_process_queue_join(q, INTRO_FOREVER), 0);
	assert_int_equal(lost_of(fates), 0);
	for (uint32_t i = 0; i < 30000; i++)
		assert_int_equal(fates->got[i], 1);
	intro_process_queue_shutdown(q, false);
	for (int i = PROCESSES; i < 2 * PROCESSES; i++)
		reap(pids[i], 0);
	munmap(fates, sizeof(*fates));
	intro_process_queue_free(q);
}

/*
 * Producers and consumers die at any moment; each consumer takes at most what it had in hand.
 * ThreadSanitizer takes a lock that a timed wait has got from a dead holder for one that is free.
 */
static void killed_at_any_moment(void **state)
{
#ifdef __SANITIZE_THREAD__
	skip();
#endif
	struct intro_process_queue *q = new_queue(OPTIONS(.capacity = 20, .bytes = 4096));
	struct fates *fates = new_fates();
	pid_t pids[2 * PROCESSES];
	unsigned seed = 1, killed = 0, lost;
	int64_t end = now_ns() + 3 * SEC;

	for (int i = 0; i < 2 * PROCESSES; i++)
		pids[i] = start(q, fates, i < PROCESSES, IDS);
	while (now_ns() < end && fates->next < IDS) {
		int which = rand_r(&seed) % (2 * PROCESSES), status;

		usleep((unsigned)rand_r(&seed) % 4000);
		kill(pids[which], SIGKILL);
		assert_int_equal(waitpid(pids[which], &status, 0), pids[which]);
		killed += which >= PROCESSES;
		pids[which] = start(q, fates, which < PROCESSES, IDS);
	}
	fates->next = IDS;
	for (int i = 0; i < PROCESSES; i++)
		reap(pids[i], 0);
	assert_int_equal(intro_process_queue_join(q, INTRO_FOREVER), 0);
	lost = lost_of(fates);
	assert_true(killed > 0);
	assert_true(lost <= killed);
	intro_process_queue_shutdown(q, false);
	for (int i = PROCESSES; i < 2 * PROCESSES; i++)
		reap(pids[i], 0);
	munmap(fates, sizeof(*fates));
	intro_process_queue_free(q);
}

static void *thread_produces(void *arg)
{
	for (uint64_t i = 1; i <= 5000; i++)
		assert_int_equal(put(arg, i), 0);
	return NULL;
}

static void *thread_consumes(void *arg)
{
	uint64_t value, sum = 0;

	while (!get(arg, &value, INTRO_FOREVER)) {
		sum += value;
		assert_int_equal(intro_process_queue_task_done(arg), 0);
	}
	return (void *)(uintptr_t)sum;
}

/* Between threads it is a queue as well. */
static void many_threads(void **state)
{
	struct intro_process_queue *q = new_queue(OPTIONS(.capacity = 10));
	uint64_t sum = 0;
	pthread_t threads[4];
	void *result;

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, i < 2 ? thread_produces : thread_consumes, q);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(intro_process_queue_join(q, INTRO_FOREVER), 0);
	intro_process_queue_shutdown(q, false);
	for (int i = 2; i < 4; i++) {
		pthread_join(threads[i], &result);
		sum += (uint64_t)(uintptr_t)result;
	}
	assert_int_equal(sum, 2 * 5000ull * 5001 / 2);
	intro_process_queue_free(q);
}

static _Atomic bool forked_enough;

static void *passes_until_then(void *arg)
{
	uint64_t value;

	while (!forked_enough) {
		assert_int_equal(put(arg, 1), 0);
		assert_int_equal(get(arg, &value, INTRO_FOREVER), 0);
		assert_int_equal(intro_process_queue_task_done(arg), 0);
	}
	return NULL;
}

/*
 * Also when another thread holds the lock: its child is another process to the queue. Which takes
 * no lock of AddressSanitizer's; of ThreadSanitizer's it does.
 */
static void fork_while_threads_pass(void **state)
{
#ifdef __SANITIZE_THREAD__
	skip();
#endif
	struct intro_process_queue *q = new_queue(OPTIONS(.capacity = 4));
	pthread_t threads[3];
	uint64_t value;
	pid_t pid;

	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, passes_until_then, q);
	for (int i = 0; i < 30; i++) {
		pid = fork();
		if (!pid) {
			for (int k = 0; k < 20; k++)
				if (put(q, 2) || get(q, &value, INTRO_FOREVER) ||
				    intro_process_queue_task_done(q))
					_exit(1);
			_exit(0);
		}
		reap(pid, 0);
	}
	forked_enough = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(intro_process_queue_size(q), 0);
	assert_int_equal(intro_process_queue_join(q, INTRO_FOREVER), 0);
	intro_process_queue_free(q);
}

static void too_many_users(void **state)
{
	struct intro_process_queue *q = new_queue(NULL);
	struct gate *gate = gate_new_shared();
	pid_t pids[INTRO_PROCESS_QUEUE_USERS];
	uint64_t value;

	for (int i = 0; i < INTRO_PROCESS_QUEUE_USERS; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			if (get(q, &value, 0) != -ETIMEDOUT)
				_exit(1);
			gate_wait(gate);
			_exit(0);
		}
	}
	gate_expect(gate, INTRO_PROCESS_QUEUE_USERS);
	assert_int_equal(get(q, &value, 0), -EUSERS);
	/* one dies, and there is room */
	kill(pids[0], SIGKILL);
	reap(pids[0], SIGKILL);
	assert_int_equal(get(q, &value, 0), -ETIMEDOUT);
	gate_open(gate);
	for (int i = 1; i < INTRO_PROCESS_QUEUE_USERS; i++)
		reap(pids[i], 0);
	intro_process_queue_free(q);
}

/* --- marks ------------------------------------------------------------------------------------ */

static void marks(void **state)
{
	struct intro_process_queue *q;
	struct intro_rec_mark *m;
	uint64_t value, task;
	size_t n;
	pid_t pid;
	int at;

	marks_begin();
	q = new_queue(OPTIONS(.name = "jobs", .marked = true));
	assert_true(intro_process_queue_pool(q) != 0);
	put(q, 1);
	put(q, 2);
	put(q, 3);
	pid = fork();
	if (!pid) {
		bool wrong =
			get(q, &value, 0) || intro_process_queue_task_done(q) || get(q, &value, 0);
		/* a child has not in hand what its parent has */
		pid_t grandchild = fork();
		int status = -1;

		if (!grandchild)
			_exit(intro_process_queue_task(q) || intro_process_queue_task_done(q));
		waitpid(grandchild, &status, 0);
		_exit(wrong || status);
	}
	reap(pid, 0);
	intro_process_queue_shutdown(q, true);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_SUBMIT, 0), 3);
	assert_int_equal(marks_count(m, n, INTRO_KIND_START, 0), 2);
	assert_int_equal(marks_count(m, n, INTRO_KIND_END, 0), 1);
	assert_int_equal(marks_count(m, n, INTRO_KIND_CANCEL, 0), 1);
	at = marks_find(m, n, 0, INTRO_KIND_SUBMIT, 0);
	task = m[at].task;
	assert_int_equal(m[at].a, intro_process_queue_pool(q));
	assert_true(marks_find(m, n, (size_t)at, INTRO_KIND_START, task) > at);
	assert_true(marks_find(m, n, (size_t)at, INTRO_KIND_END, task) > at);
	free(m);
	intro_process_queue_free(q);
}

static void waits_are_named(void **state)
{
	struct intro_process_queue *q = new_queue(OPTIONS(.name = "mine", .capacity = 1));
	uint64_t value = 1;

	for (int i = 0; i < 2; i++)
		assert_int_equal(get(q, &value, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(NULL, "mine not empty"), 1);
	put(q, 1);
	assert_int_equal(intro_process_queue_put(q, &value, 8, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(NULL, "mine not full"), 1);
	assert_int_equal(intro_process_queue_join(q, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(NULL, "mine done"), 1);
	intro_process_queue_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),
		cmocka_unit_test(bytes),
		cmocka_unit_test(bad_options),
		cmocka_unit_test(attached),
		cmocka_unit_test(joins),
		cmocka_unit_test(closed),
		cmocka_unit_test(shut_down),
		cmocka_unit_test(joins_without_the_dead),
		cmocka_unit_test(killed_in_their_sleep),
		cmocka_unit_test(many_to_many),
		cmocka_unit_test(killed_at_any_moment),
		cmocka_unit_test(many_threads),
		cmocka_unit_test(fork_while_threads_pass),
		cmocka_unit_test(too_many_users),
		cmocka_unit_test(marks),
		cmocka_unit_test(waits_are_named),
	};

	watchdog(120);
	private_area();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
