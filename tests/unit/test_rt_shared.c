/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that processes share: blocks, typed arrays, and their lock when holders are killed. */
#include "rt_support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/locks.h>
#include <introspect/shared.h>

#define ROUNDS 3000

static void assert_fails(const void *made, int err)
{
	assert_null(made);
	assert_int_equal(errno, err);
}

static void reap(pid_t pid, int status)
{
	int got;

	assert_int_equal(waitpid(pid, &got, 0), pid);
	assert_int_equal(got, status);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void anonymous_blocks(void **state)
{
	struct intro_shared_memory *m = intro_shared_memory_new(10000), *same;
	unsigned char *bytes;
	pid_t pid;

	assert_non_null(m);
	assert_int_equal(intro_shared_memory_size(m), 10000);
	assert_null(intro_shared_memory_name(m));
	assert_int_equal(intro_shared_memory_unlink(m), -EINVAL);
	bytes = intro_shared_memory_data(m);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(bytes[i], 0);
	same = intro_shared_memory_attach(intro_shared_memory_fd(m));
	assert_non_null(same);
	assert_int_equal(intro_shared_memory_size(same), 10000);
	pid = fork();
	if (!pid) {
		bytes[9999] = 7;
		_exit(0);
	}
	reap(pid, 0);
	assert_int_equal(((unsigned char *)intro_shared_memory_data(same))[9999], 7);
	/* it cannot be shrunk under anybody */
	assert_int_equal(ftruncate(intro_shared_memory_fd(m), 1), -1);
	intro_shared_memory_free(m);
	assert_int_equal(((unsigned char *)intro_shared_memory_data(same))[9999], 7);
	intro_shared_memory_free(same);
	intro_shared_memory_free(NULL);
}

static void named_blocks(void **state)
{
	struct intro_shared_memory *m = intro_shared_memory_create(NULL, 100), *same;
	char name[INTRO_SHARED_NAME + 1], path[300];

	assert_non_null(m);
	strcpy(name, intro_shared_memory_name(m));
	assert_fails(intro_shared_memory_create(name, 100), EEXIST);
	same = intro_shared_memory_open(name);
	assert_non_null(same);
	assert_int_equal(intro_shared_memory_size(same), 100);
	strcpy(intro_shared_memory_data(m), "told");
	assert_string_equal(intro_shared_memory_data(same), "told");
	/* two made-up names differ */
	intro_shared_memory_free(same);
	same = intro_shared_memory_create(NULL, 1);
	assert_non_null(same);
	assert_string_not_equal(intro_shared_memory_name(same), name);
	assert_int_equal(intro_shared_memory_unlink(same), 0);
	assert_int_equal(intro_shared_memory_unlink(same), -ENOENT);
	intro_shared_memory_free(same);
	assert_int_equal(intro_shared_memory_unlink(m), 0);
	assert_fails(intro_shared_memory_open(name), ENOENT);
	/* it lives on without its name, which may be given again */
	assert_string_equal(intro_shared_memory_data(m), "told");
	same = intro_shared_memory_create(name, 200);
	assert_non_null(same);
	assert_int_equal(intro_shared_memory_unlink(same), 0);
	intro_shared_memory_free(same);
	intro_shared_memory_free(m);
	snprintf(path, sizeof(path), "/dev/shm/%s", name);
	assert_int_equal(access(path, F_OK), -1);
}

static void bad_blocks(void **state)
{
	char name[INTRO_SHARED_NAME + 2];
	FILE *file = tmpfile();
	struct rlimit limit = {.rlim_cur = 4096, .rlim_max = RLIM_INFINITY}, old;
	int empty;

	assert_fails(intro_shared_memory_new(0), EINVAL);
	assert_fails(intro_shared_memory_new(SIZE_MAX), EINVAL);
	assert_fails(intro_shared_memory_attach(-1), EBADF);
	assert_fails(intro_shared_memory_attach(fileno(file)), EINVAL);
	fclose(file);
	empty = memfd_create("empty", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	assert_int_equal(fcntl(empty, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_fails(intro_shared_memory_attach(empty), EINVAL);
	close(empty);
	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = 0;
	assert_fails(intro_shared_memory_create(name, 1), EINVAL);
	assert_fails(intro_shared_memory_create("", 1), EINVAL);
	assert_fails(intro_shared_memory_create("../x", 1), EINVAL);
	assert_fails(intro_shared_memory_create("a/x", 1), EINVAL);
	assert_fails(intro_shared_memory_create("a\xe4", 1), EINVAL);
	assert_fails(intro_shared_memory_create("introspect-test-0", 0), EINVAL);
	assert_fails(intro_shared_memory_open(NULL), EINVAL);
	assert_fails(intro_shared_memory_open("introspect-test-nosuch"), ENOENT);
	getrlimit(RLIMIT_FSIZE, &old);
	limit.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_fails(intro_shared_memory_new(8192), EFBIG);
	assert_fails(intro_shared_memory_create(NULL, 8192), EFBIG);
	setrlimit(RLIMIT_FSIZE, &old);
}

/* Only where the test can be somebody else. */
static void of_somebody_else(void **state)
{
	struct intro_shared_memory *m;
	pid_t pid;

	if (getuid())
		skip();
	m = intro_shared_memory_create(NULL, 100);
	assert_non_null(m);
	/* readable and writable to all, and yet not to be trusted */
	assert_int_equal(fchmod(intro_shared_memory_fd(m), 0666), 0);
	pid = fork();
	if (!pid) {
		bool refused = !setuid(65534) &&
			       !intro_shared_memory_open(intro_shared_memory_name(m)) &&
			       errno == EACCES;

		_exit(!refused);
	}
	reap(pid, 0);
	intro_shared_memory_unlink(m);
	intro_shared_memory_free(m);
}

/* --- arrays ----------------------------------------------------------------------------------- */

static void elements(void **state)
{
	struct intro_shared_array *a = intro_shared_array_new(INTRO_SHARED_INT32, 5, "elements");
	int32_t value = -3;
	int64_t now = 0;
	long wide = 1;

	assert_non_null(a);
	assert_int_equal(intro_shared_array_length(a), 5);
	assert_int_equal(intro_shared_array_type(a), INTRO_SHARED_INT32);
	assert_int_equal((uintptr_t)intro_shared_array_data(a) % 64, 0);
	assert_int_equal(intro_shared_array_set(a, 4, &value, sizeof(value)), 0);
	value = 1;
	assert_int_equal(intro_shared_array_get(a, 4, &value, sizeof(value)), 0);
	assert_int_equal(value, -3);
	assert_int_equal(intro_shared_array_add(a, 4, 5, &now), 0);
	assert_int_equal(now, 2);
	assert_int_equal(((int32_t *)intro_shared_array_data(a))[4], 2);
	assert_int_equal(intro_shared_array_get(a, 5, &value, sizeof(value)), -ERANGE);
	assert_int_equal(intro_shared_array_set(a, SIZE_MAX, &value, sizeof(value)), -ERANGE);
	assert_int_equal(intro_shared_array_add(a, 5, 1, NULL), -ERANGE);
	assert_int_equal(intro_shared_array_get(a, 0, &wide, sizeof(wide)), -EINVAL);
	assert_int_equal(intro_shared_array_set(a, 0, &wide, sizeof(wide)), -EINVAL);
	assert_int_equal(intro_shared_array_add_real(a, 0, 1, NULL), -EINVAL);
	assert_int_equal(intro_shared_array_add(a, 4, INT32_MAX, &now), -EOVERFLOW);
	assert_int_equal(now, 2);
	assert_int_equal(intro_shared_array_get(a, 4, &value, sizeof(value)), 0);
	assert_int_equal(value, 2);
	intro_shared_array_free(a);
	intro_shared_array_free(NULL);
}

static void all_types(void **state)
{
	static const struct {
		enum intro_shared_type type;
		size_t size;
		int64_t most;
	} types[] = {
		{INTRO_SHARED_INT8, 1, INT8_MAX},   {INTRO_SHARED_UINT8, 1, UINT8_MAX},
		{INTRO_SHARED_INT16, 2, INT16_MAX}, {INTRO_SHARED_UINT16, 2, UINT16_MAX},
		{INTRO_SHARED_INT32, 4, INT32_MAX}, {INTRO_SHARED_UINT32, 4, UINT32_MAX},
		{INTRO_SHARED_INT64, 8, INT64_MAX}, {INTRO_SHARED_UINT64, 8, INT64_MAX},
		{INTRO_SHARED_FLOAT, 4, 0},	    {INTRO_SHARED_DOUBLE, 8, 0},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct intro_shared_array *v = intro_shared_value_new(types[i].type, NULL);
		int64_t now = -1;
		double real = -1;

		assert_non_null(v);
		if (types[i].most) {
			assert_int_equal(intro_shared_value_add(v, types[i].most, &now), 0);
			assert_int_equal(now, types[i].most);
			assert_int_equal(intro_shared_value_add(v, 1, &now), -EOVERFLOW);
			assert_int_equal(intro_shared_value_add(v, -now, &now), 0);
			assert_int_equal(now, 0);
			assert_int_equal(intro_shared_array_add_real(v, 0, 1, &real), -EINVAL);
		} else {
			assert_int_equal(intro_shared_value_add(v, 1, NULL), -EINVAL);
			assert_int_equal(intro_shared_array_add_real(v, 0, 1.5, &real), 0);
			assert_true(real == 1.5);
		}
		intro_shared_array_free(v);
	}
	assert_fails(intro_shared_value_new(0, NULL), EINVAL);
	assert_fails(intro_shared_value_new(11, NULL), EINVAL);
	assert_fails(intro_shared_array_new(INTRO_SHARED_INT8, 0, NULL), EINVAL);
	assert_fails(intro_shared_array_new(INTRO_SHARED_INT64, SIZE_MAX / 4, NULL), EINVAL);
}

static void attached(void **state)
{
	struct intro_shared_array *a = intro_shared_array_new(INTRO_SHARED_INT64, 3, "attached");
	struct intro_shared_array *b = intro_shared_array_attach(intro_shared_array_fd(a));
	struct intro_shared_memory *no_array = intro_shared_memory_new(10000);
	int64_t value = 9;
	uint64_t *raw;

	assert_non_null(b);
	assert_int_equal(intro_shared_array_length(b), 3);
	assert_int_equal(intro_shared_array_set(a, 2, &value, sizeof(value)), 0);
	value = 0;
	assert_int_equal(intro_shared_array_get(b, 2, &value, sizeof(value)), 0);
	assert_int_equal(value, 9);
	assert_fails(intro_shared_array_attach(-1), EBADF);
	assert_fails(intro_shared_array_attach(intro_shared_memory_fd(no_array)), EINVAL);
	intro_shared_memory_free(no_array);
	no_array = intro_shared_memory_new(8);
	assert_fails(intro_shared_array_attach(intro_shared_memory_fd(no_array)), EINVAL);
	intro_shared_memory_free(no_array);
	/* a length that its memory does not hold: every word of the head in turn says so */
	no_array = intro_shared_memory_attach(intro_shared_array_fd(a));
	raw = intro_shared_memory_data(no_array);
	for (int i = 0; i < 16; i++) {
		struct intro_shared_array *c;
		uint64_t old = raw[i];

		raw[i] = 1ull << 60;
		c = intro_shared_array_attach(intro_shared_array_fd(a));
		assert_true(!c || intro_shared_array_length(c) == 3);
		intro_shared_array_free(c);
		raw[i] = old;
	}
	intro_shared_memory_free(no_array);
	intro_shared_array_free(a);
	intro_shared_array_free(b);
}

/* --- the lock --------------------------------------------------------------------------------- */

static void lock_is_recursive(void **state)
{
	struct intro_shared_array *a = intro_shared_array_new(INTRO_SHARED_INT64, 3, NULL);
	int64_t value = 1;
	pid_t pid;

	assert_int_equal(intro_shared_array_unlock(a), -EPERM);
	assert_int_equal(intro_shared_array_lock(a, 0), 0);
	assert_int_equal(intro_shared_array_lock(a, 0), 0);
	assert_int_equal(intro_shared_array_set(a, 0, &value, sizeof(value)), 0);
	pid = fork();
	if (!pid) {
		bool held = intro_shared_array_unlock(a) == -EPERM &&
			    intro_shared_array_lock(a, 0) == -ETIMEDOUT &&
			    intro_shared_array_lock(a, 20 * MSEC) == -ETIMEDOUT;

		_exit(!held);
	}
	reap(pid, 0);
	assert_int_equal(intro_shared_array_unlock(a), 0);
	assert_int_equal(intro_shared_array_unlock(a), 0);
	assert_int_equal(intro_shared_array_unlock(a), -EPERM);
	intro_shared_array_free(a);
}

static pid_t killed_with_the_lock(struct intro_shared_array *a)
{
	pid_t pid = fork();

	if (!pid) {
		if (!intro_shared_array_lock(a, INTRO_FOREVER))
			raise(SIGKILL);
		_exit(1);
	}
	return pid;
}

static void holder_is_killed(void **state)
{
	struct intro_shared_array *a = intro_shared_array_new(INTRO_SHARED_INT64, 3, NULL);
	struct gate *gate = gate_new_shared();
	int64_t now;
	pid_t pid;

	for (int i = 0; i < 5; i++) {
		reap(killed_with_the_lock(a), SIGKILL);
		assert_int_equal(intro_shared_array_lock(a, INTRO_FOREVER), -EOWNERDEAD);
		assert_int_equal(intro_shared_array_unlock(a), 0);
		/* told once */
		assert_int_equal(intro_shared_array_lock(a, 0), 0);
		assert_int_equal(intro_shared_array_unlock(a), 0);
	}
	/* an access to an element between does not swallow it */
	reap(killed_with_the_lock(a), SIGKILL);
	assert_int_equal(intro_shared_array_add(a, 1, 1, &now), 0);
	assert_int_equal(intro_shared_array_lock(a, 0), -EOWNERDEAD);
	assert_int_equal(intro_shared_array_unlock(a), 0);
	/* with somebody asleep for it */
	pid = fork();
	if (!pid) {
		if (intro_shared_array_lock(a, INTRO_FOREVER))
			_exit(1);
		gate->waiting++;
		sleep_ms(50);
		raise(SIGKILL);
	}
	gate_expect(gate, 1);
	assert_int_equal(intro_shared_array_lock(a, INTRO_FOREVER), -EOWNERDEAD);
	assert_int_equal(intro_shared_array_unlock(a), 0);
	reap(pid, SIGKILL);
	intro_shared_array_free(a);
}

/* Two elements that must be equal whenever the lock is free, or somebody is told that he died. */
static void add_to_both(struct intro_shared_array *a, unsigned rounds)
{
	int64_t *n = intro_shared_array_data(a);

	for (unsigned i = 0; i < rounds; i++) {
		int err = intro_shared_array_lock(a, INTRO_FOREVER);

		if (err == -EOWNERDEAD)
			n[0] = n[1];
		else if (err || n[0] != n[1])
			_exit(1);
		n[0]++;
		n[1]++;
		intro_shared_array_unlock(a);
	}
}

static void many_processes_add(void **state)
{
	struct intro_shared_array *a = intro_shared_array_new(INTRO_SHARED_INT64, 3, "both");
	pid_t pids[4];
	int64_t value;

	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			add_to_both(a, ROUNDS);
			for (int k = 0; k < ROUNDS; k++)
				if (intro_shared_array_add(a, 2, 2, NULL))
					_exit(2);
			_exit(0);
		}
	}
	for (int i = 0; i < 4; i++)
		reap(pids[i], 0);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(intro_shared_array_get(a, i, &value, sizeof(value)), 0);
		assert_int_equal(value, i == 2 ? 8 * ROUNDS : 4 * ROUNDS);
	}
	intro_shared_array_free(a);
}

static void killed_at_any_moment(void **state)
{
	struct intro_shared_array *a = intro_shared_array_new(INTRO_SHARED_INT64, 2, "both");
	pid_t pids[3];
	unsigned seed = 1;

	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 3; i++) {
			pids[i] = fork();
			if (!pids[i]) {
				add_to_both(a, UINT32_MAX);
				_exit(0);
			}
		}
		usleep((unsigned)rand_r(&seed) % 3000);
		for (int i = 0; i < 3; i++)
			kill(pids[i], SIGKILL);
		for (int i = 0; i < 3; i++)
			reap(pids[i], SIGKILL);
		add_to_both(a, 2);
	}
	intro_shared_array_free(a);
}

/* Who waits long says for what, in processes that have it at different addresses, too. */
static void waits_are_named(void **state)
{
	struct intro_shared_array *a = intro_shared_array_new(INTRO_SHARED_INT64, 1, "accounts");
	int held[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(held), 0);
	pid = fork();
	if (!pid) {
		struct intro_shared_array *b = intro_shared_array_attach(intro_shared_array_fd(a));

		if (b && !intro_shared_array_lock(b, INTRO_FOREVER) && write(held[1], "", 1) == 1)
			while (true)
				pause();
		_exit(1);
	}
	/* nobody tries the lock before: its waits are told in the same area, they are the child's
	 */
	close(held[1]);
	assert_int_equal(read(held[0], &byte, 1), 1);
	close(held[0]);
	assert_int_equal(locks_told(NULL, "accounts"), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(intro_shared_array_lock(a, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(NULL, "accounts"), 1);
	kill(pid, SIGKILL);
	assert_int_equal(intro_shared_array_lock(a, INTRO_FOREVER), -EOWNERDEAD);
	assert_int_equal(intro_shared_array_unlock(a), 0);
	reap(pid, SIGKILL);
	intro_shared_array_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous_blocks),
		cmocka_unit_test(named_blocks),
		cmocka_unit_test(bad_blocks),
		cmocka_unit_test(of_somebody_else),
		cmocka_unit_test(elements),
		cmocka_unit_test(all_types),
		cmocka_unit_test(attached),
		cmocka_unit_test(lock_is_recursive),
		cmocka_unit_test(holder_is_killed),
		cmocka_unit_test(many_processes_add),
		cmocka_unit_test(killed_at_any_moment),
		cmocka_unit_test(waits_are_named),
	};

	watchdog(120);
	private_area();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
