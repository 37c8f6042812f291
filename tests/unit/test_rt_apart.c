/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that begin on another CPU than their creator's, and may run wherever that may. */
#include "rt_support.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include <introspect/fiber.h>

#include "runtime/apart.h"

#define TIMES 50

/* For the calls below that the test stands in for. */
static unsigned apart;		/* calls of pthread_create that say where the thread is to begin */
static int refused;		/* what they return, if not 0 */
static _Atomic bool is_limited; /* the calling thread's cpuset has a CPU more than it may use */
static _Atomic unsigned asked;	/* calls of sched_setaffinity */
static cpu_set_t last_asked;

static void *real(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	*(void **)&create = real("pthread_create");
	if (!attr)
		return create(thread, attr, fn, arg);
	apart++;
	return refused ? refused : create(thread, attr, fn, arg);
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	int (*get)(pid_t, size_t, cpu_set_t *), err;

	*(void **)&get = real("sched_getaffinity");
	err = get(pid, size, set);
	if (is_limited && asked)
		CPU_SET_S(CPU_SETSIZE - 1, size, set);
	return err;
}

int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set)
{
	int (*change)(pid_t, size_t, const cpu_set_t *);

	*(void **)&change = real("sched_setaffinity");
	asked++;
	last_asked = *set;
	return change(pid, size, set);
}

static cpu_set_t affinity(void)
{
	cpu_set_t set;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	return set;
}

static void need_cpus(int n)
{
	cpu_set_t set = affinity();

	if (CPU_COUNT(&set) < n) {
		print_message("needs %d CPUs\n", n);
		skip();
	}
}

struct newborn {
	struct apart apart;
	_Atomic int cpu; /* where it began; -1: it has not */
	cpu_set_t began, then;
};

static void *is_born(void *arg)
{
	struct newborn *n = arg;

	n->began = affinity();
	n->cpu = sched_getcpu();
	intro__apart_end(&n->apart);
	n->then = affinity();
	return NULL;
}

/* Creates it, and keeps this CPU until it has begun. */
static void bear(struct newborn *n)
{
	pthread_t thread;

	*n = (struct newborn){.cpu = -1};
	assert_int_equal(intro__apart_create(&n->apart, &thread, is_born, n), 0);
	while (n->cpu < 0)
		;
	pthread_join(thread, NULL);
}

static void begins_on_another_cpu(void **state)
{
	cpu_set_t mine = affinity();
	struct newborn n;

	need_cpus(2);
	for (int i = 0; i < TIMES; i++) {
		bear(&n);
		assert_true(n.apart.is);
		assert_int_equal(CPU_COUNT(&n.began), CPU_COUNT(&mine) - 1);
		assert_true(CPU_ISSET(n.cpu, &n.began));
		assert_true(CPU_EQUAL(&n.then, &mine));
	}
}

static void begins_here_where_there_is_no_other(void **state)
{
	cpu_set_t mine = affinity(), one;
	struct newborn n;
	int here = sched_getcpu();

	CPU_ZERO(&one);
	CPU_SET(here, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	asked = 0;
	bear(&n);
	assert_false(n.apart.is);
	assert_int_equal(n.cpu, here);
	assert_true(CPU_EQUAL(&n.then, &one));
	assert_int_equal(asked, 0);
	assert_int_equal(sched_setaffinity(0, sizeof(mine), &mine), 0);
}

static void may_run_on_what_the_cpuset_gets(void **state)
{
	struct newborn n;

	need_cpus(2);
	asked = 0;
	bear(&n);
	assert_int_equal(asked, 1);
	assert_int_equal(CPU_COUNT(&last_asked), CPU_SETSIZE);
}

static void keeps_to_what_its_creator_was_limited_to(void **state)
{
	cpu_set_t mine = affinity();
	struct newborn n;

	need_cpus(2);
	asked = 0;
	is_limited = true;
	bear(&n);
	is_limited = false;
	assert_int_equal(asked, 2);
	assert_true(CPU_EQUAL(&last_asked, &mine));
}

static void begins_all_the_same_when_it_may_not_be_told_where(void **state)
{
	struct newborn n;

	need_cpus(2);
	refused = EPERM;
	apart = asked = 0;
	bear(&n);
	refused = 0;
	assert_int_equal(apart, 1);
	assert_false(n.apart.is);
	assert_int_equal(asked, 0);
}

static void says_that_there_is_no_thread_to_be_had(void **state)
{
	struct newborn n;
	pthread_t thread;

	need_cpus(2);
	refused = EAGAIN;
	apart = 0;
	assert_int_equal(intro__apart_create(&n.apart, &thread, is_born, &n), EAGAIN);
	refused = 0;
	assert_int_equal(apart, 1);
}

static cpu_set_t seen;

static int sees_affinity(struct intro_call *call)
{
	seen = affinity();
	return 0;
}

static int fiber_sees_affinity(void *arg)
{
	seen = affinity();
	return 0;
}

static void workers_of_pools_do(void **state)
{
	cpu_set_t mine = affinity();
	struct intro_executor *e;
	struct intro_future f;

	need_cpus(2);
	e = intro_thread_executor_new(POOL_OPTIONS(.workers = 1));
	apart = 0;
	submit_new(e, &f, sees_affinity, NULL, 0);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	assert_int_equal(apart, 1);
	assert_true(CPU_EQUAL(&seen, &mine));
	intro_future_destroy(&f);
	intro_executor_free(e);
}

static void threads_of_fibers_do(void **state)
{
	struct intro_fibers_options options = {.size = sizeof(options), .threads = 1};
	cpu_set_t mine = affinity();
	struct intro_fibers *fibers;
	struct intro_fiber *fiber;

	need_cpus(2);
	apart = 0;
	fibers = intro_fibers_new(&options);
	assert_non_null(fibers);
	assert_int_equal(apart, 1);
	assert_int_equal(intro_fiber_spawn(fibers, fiber_sees_affinity, NULL, &fiber), 0);
	assert_int_equal(intro_fiber_join(fiber, INTRO_FOREVER, NULL), 0);
	assert_true(CPU_EQUAL(&seen, &mine));
	intro_fiber_free(fiber);
	intro_fibers_free(fibers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins_on_another_cpu),
		cmocka_unit_test(begins_here_where_there_is_no_other),
		cmocka_unit_test(may_run_on_what_the_cpuset_gets),
		cmocka_unit_test(keeps_to_what_its_creator_was_limited_to),
		cmocka_unit_test(begins_all_the_same_when_it_may_not_be_told_where),
		cmocka_unit_test(says_that_there_is_no_thread_to_be_had),
		cmocka_unit_test(workers_of_pools_do),
		cmocka_unit_test(threads_of_fibers_do),
	};

	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
