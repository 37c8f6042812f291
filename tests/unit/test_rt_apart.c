/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that begin, or wake up, on another CPU than whoever started or woke them, and may run
 * wherever they might before.
 */
#include "rt_support.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/task_group.h>

#include "runtime/thread_private.h"

#define TIMES 50
#define MANY 100

/* For the calls below that the test stands in for. */
static unsigned apart;		/* calls of pthread_create that say where the thread is to begin */
static int refused;		/* what they return, if not 0 */
static _Atomic bool is_limited; /* the calling thread's cpuset has a CPU more than it may use */
static _Atomic unsigned asked;	/* calls of sched_setaffinity by a thread for itself */
static pthread_mutex_t asked_lock = PTHREAD_MUTEX_INITIALIZER;
static cpu_set_t last_asked;
static pid_t moved; /* the last thread for which another one asked */

static _Atomic bool keeps_wakes;
static _Atomic uint32_t *kept; /* whoever was to be woken meanwhile */

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
	if (!refused)
		return create(thread, attr, fn, arg);
	pthread_testcancel(); /* glibc waits for the thread that it has made */
	return refused;
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
	if (pid) {
		moved = pid;
	} else {
		asked++;
		pthread_mutex_lock(&asked_lock); /* workers of a pool, at the same time */
		last_asked = *set;
		pthread_mutex_unlock(&asked_lock);
	}
	return change(pid, size, set);
}

long syscall(long number, ...)
{
	va_list args, looked_at;
	_Atomic uint32_t *word;
	long result;

	va_start(args, number);
	va_copy(looked_at, args);
	word = number == SYS_futex ? va_arg(looked_at, _Atomic uint32_t *) : NULL;
	/* who is on its way to sleep may do so */
	if (word && keeps_wakes && va_arg(looked_at, int) == FUTEX_WAKE_BITSET_PRIVATE) {
		kept = word;
		result = 0;
	} else {
		result = real_syscall(number, args);
	}
	va_end(looked_at);
	va_end(args);
	return result;
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
		assert_false(n.apart.is);
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

static void need_all_cpus(void)
{
	cpu_set_t mine = affinity(), all, now;

	memset(&all, 0xff, sizeof(all));
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	now = affinity();
	assert_int_equal(sched_setaffinity(0, sizeof(mine), &mine), 0);
	if (!CPU_EQUAL(&now, &mine)) {
		print_message("needs all the CPUs that there are\n");
		skip();
	}
}

static void may_run_on_what_the_cpuset_gets(void **state)
{
	struct newborn n;

	need_cpus(2);
	need_all_cpus();
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
	assert_false(n.apart.is);
	refused = 0;
	assert_int_equal(apart, 1);
}

struct sleeper {
	struct apart apart;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool woken;
	int cpu;
	cpu_set_t then;
};

static void *sleeps(void *arg)
{
	struct sleeper *s = arg;

	s->tid = gettid();
	while (!s->woken)
		intro__futex_wait((_Atomic uint32_t *)&s->tid, (uint32_t)s->tid, INTRO_FOREVER);
	s->cpu = sched_getcpu();
	intro__apart_end(&s->apart);
	s->then = affinity();
	return NULL;
}

static void put_to_sleep(struct sleeper *s)
{
	*s = (struct sleeper){0};
	assert_int_equal(pthread_create(&s->thread, NULL, sleeps, s), 0);
	while (!s->tid)
		sched_yield();
	until_asleep((uint32_t)s->tid);
}

static void wake_up(struct sleeper *s)
{
	s->woken = true;
	intro__futex_wake((_Atomic uint32_t *)&s->tid);
	pthread_join(s->thread, NULL);
}

static void wakes_up_on_another_cpu(void **state)
{
	cpu_set_t mine = affinity();
	struct sleeper s;

	need_cpus(2);
	for (int i = 0; i < TIMES; i++) {
		put_to_sleep(&s);
		intro__apart_move(&s.apart, s.tid, sched_getcpu());
		assert_true(s.apart.is);
		assert_int_equal(CPU_COUNT(&s.apart.others), CPU_COUNT(&mine) - 1);
		wake_up(&s);
		assert_true(CPU_ISSET(s.cpu, &s.apart.others));
		assert_true(CPU_EQUAL(&s.then, &mine));
		assert_false(s.apart.is);
	}
}

static void keeps_what_it_was_given_meanwhile(void **state)
{
	struct sleeper s;
	cpu_set_t given;

	need_cpus(2);
	put_to_sleep(&s);
	intro__apart_move(&s.apart, s.tid, sched_getcpu());
	CPU_XOR(&given, &s.apart.before, &s.apart.others);
	assert_int_equal(sched_setaffinity(s.tid, sizeof(given), &given), 0);
	wake_up(&s);
	assert_true(CPU_EQUAL(&s.then, &given));
}

/* --- in pools -----------------------------------------------------------------------------------
 */

static struct intro_executor *new_pool(struct intro_executor_options *options)
{
	struct intro_executor *e;

	need_cpus(2);
	apart = 0;
	moved = 0;
	e = intro_thread_executor_new(options);
	assert_non_null(e);
	return e;
}

static struct thread_worker *called(struct intro_executor *e)
{
	return atomic_load(&intro__thread_pool(e)->called);
}

static void until_sleepers(struct intro_executor *e, unsigned n)
{
	while (IDLE_COUNT(atomic_load(&intro__thread_pool(e)->idle), IDLE_SLEEPING) != n)
		sleep_ms(1);
}

struct where {
	cpu_set_t affinity;
	pid_t tid;
};

static int tells_where(struct intro_call *call)
{
	struct where *where = (struct where *)call->arg;

	where->affinity = affinity();
	where->tid = gettid();
	return 0;
}

/* By the worker: who waits with a limit does not help. */
static void wait_for(struct intro_future *f)
{
	assert_int_equal(intro_future_result(f, 30 * SEC, NULL), 0);
	intro_future_destroy(f);
}

static struct where run(struct intro_executor *e)
{
	struct intro_future f;
	struct where where = {0};

	submit_new(e, &f, tells_where, &where, 0);
	wait_for(&f);
	assert_int_not_equal(where.tid, gettid());
	return where;
}

/* Its worker sleeps, and will not wake up: as long as wakes are kept. Returns who that is. */
static pid_t hold_worker(struct intro_executor *e)
{
	pid_t tid = run(e).tid;

	until_asleep((uint32_t)tid);
	keeps_wakes = true;
	return tid;
}

static void release_worker(void)
{
	keeps_wakes = false;
	intro__futex_wake(kept);
}

static int takes_50_us(struct intro_call *call)
{
	int64_t until = now_ns() + 50000;

	while (now_ns() < until)
		;
	return 0;
}

static struct intro_future futures[MANY], *all[MANY];

static void submit_many(struct intro_executor *e, size_t n, intro_task_fn fn)
{
	for (size_t i = 0; i < n; i++) {
		all[i] = &futures[i];
		submit_new(e, all[i], fn, NULL, 0);
	}
}

/* The waiter has run them all when it returns, if nobody else came. */
static void help(size_t n)
{
	assert_int_equal(intro_future_wait(all, n, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL), n);
	for (size_t i = 0; i < n; i++)
		intro_future_destroy(all[i]);
}

static void a_worker_begins_beside_who_helps(void **state)
{
	struct intro_executor *e = new_pool(POOL_OPTIONS(.workers = 1, .waiters_help = true));
	cpu_set_t mine = affinity();
	struct where where = run(e);

	assert_int_equal(apart, 1);
	assert_true(CPU_EQUAL(&where.affinity, &mine));
	intro_executor_free(e);
}

static void one_that_does_not_come_is_fetched(void **state)
{
	struct intro_executor *e = new_pool(POOL_OPTIONS(.workers = 1, .waiters_help = true));
	pid_t worker = hold_worker(e);
	cpu_set_t mine = affinity();
	struct where where = {0};

	submit_many(e, MANY, takes_50_us);
	assert_non_null(called(e));
	help(MANY);
	assert_int_equal(moved, worker);
	assert_null(called(e));
	release_worker();
	where = run(e);
	assert_int_equal(where.tid, worker);
	assert_true(CPU_EQUAL(&where.affinity, &mine));
	intro_executor_free(e);
}

static void one_that_comes_is_not(void **state)
{
	struct intro_executor *e = new_pool(POOL_OPTIONS(.workers = 1, .waiters_help = true));
	struct intro_future f;

	hold_worker(e);
	submit_new(e, &f, nothing, NULL, 0);
	assert_non_null(called(e));
	release_worker();
	wait_for(&f);
	assert_null(called(e));
	assert_int_equal(moved, 0);
	intro_executor_free(e);
}

/* Unless something else keeps us that long between two tasks: then once more. */
static void not_before_a_while_is_over(void **state)
{
	struct intro_executor *e = new_pool(POOL_OPTIONS(.workers = 1, .waiters_help = true));
	unsigned times = 0;

	do {
		moved = 0;
		hold_worker(e);
		sleep_ms(1); /* does not count */
		submit_many(e, 3, nothing);
		help(3);
		release_worker();
	} while (moved && ++times < TIMES);
	assert_true(times < TIMES);
	intro_executor_free(e);
}

static void callers_that_run_tasks_fetch_it(void **state)
{
	struct intro_executor *e =
		new_pool(POOL_OPTIONS(.workers = 1, .waiters_help = true, .caller_runs = 1));
	pid_t worker = hold_worker(e);

	submit_many(e, MANY, takes_50_us);
	assert_int_equal(moved, worker);
	release_worker();
	help(MANY);
	intro_executor_free(e);
}

static void groups_whose_callers_run_tasks_fetch_it(void **state)
{
	struct intro_executor *e =
		new_pool(POOL_OPTIONS(.workers = 1, .waiters_help = true, .caller_runs = 1));
	struct intro_task_group *group = intro_task_group_new(e);
	pid_t worker = hold_worker(e);

	assert_non_null(group);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(intro_task_group_run(group, takes_50_us, NULL, 0), 0);
	assert_int_equal(moved, worker);
	release_worker();
	assert_int_equal(intro_task_group_wait(group, INTRO_FOREVER, NULL), 0);
	intro_task_group_free(group);
	intro_executor_free(e);
}

static void nobody_is_called_while_another_is_awake(void **state)
{
	struct intro_executor *e = new_pool(POOL_OPTIONS(.workers = 2, .waiters_help = true));
	struct intro_future blocked[2], f;
	static struct gate gates[2];

	for (int i = 0; i < 2; i++)
		submit_new(e, &blocked[i], wait_at, &gates[i], 0);
	gate_expect(&gates[0], 1);
	gate_expect(&gates[1], 1);
	gate_open(&gates[1]);
	until_sleepers(e, 1);
	keeps_wakes = true;
	submit_new(e, &f, nothing, NULL, 0);
	assert_null(called(e));
	release_worker();
	wait_for(&f);
	gate_open(&gates[0]);
	wait_for(&blocked[0]);
	wait_for(&blocked[1]);
	intro_executor_free(e);
}

/* Who submits there soon sleeps, and leaves its CPU to a worker. */
static void workers_of_other_pools_stay(void **state)
{
	struct intro_executor *e = new_pool(POOL_OPTIONS(.workers = 1));
	struct intro_future f;

	hold_worker(e);
	assert_int_equal(apart, 0);
	submit_new(e, &f, nothing, NULL, 0);
	assert_null(called(e));
	release_worker();
	wait_for(&f);
	intro_executor_free(e);
}

static pid_t child; /* of the first that forks; in the child itself -1 */

static int forks_once(struct intro_call *call)
{
	if (child)
		return 0;
	child = fork();
	if (child > 0)
		waitpid(child, NULL, 0);
	else
		child = -1;
	sleep_ms(1);
	return 0;
}

/* It goes on from the task, in the waiter. */
static void a_forked_child_leaves_its_parents_alone(void **state)
{
	struct intro_executor *e = new_pool(POOL_OPTIONS(.workers = 1, .waiters_help = true));
	pid_t worker = hold_worker(e);
	cpu_set_t mine = affinity(), workers;

	submit_many(e, 4, forks_once);
	assert_int_equal(intro_future_wait(all, 1, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL), 1);
	atomic_store(&intro__thread_pool(e)->called_ns, 1); /* long ago */
	moved = 0;
	if (child < 0) {
		intro_future_wait(all, 4, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL);
		_exit(0);
	}
	assert_int_equal(sched_getaffinity(worker, sizeof(workers), &workers), 0);
	assert_true(CPU_EQUAL(&workers, &mine));
	help(4);
	release_worker();
	intro_executor_free(e);
}

static void *submits_cancelled(void *e)
{
	static struct intro_future f;

	pthread_cancel(pthread_self());
	submit_new(e, &f, nothing, NULL, 0);
	return &f;
}

static void a_refused_affinity_is_no_cancellation_point(void **state)
{
	struct intro_executor *e = new_pool(POOL_OPTIONS(.workers = 1, .waiters_help = true));
	pthread_t thread;
	void *f;

	refused = EPERM;
	assert_int_equal(pthread_create(&thread, NULL, submits_cancelled, e), 0);
	pthread_join(thread, &f);
	refused = 0;
	assert_ptr_not_equal(f, PTHREAD_CANCELED);
	assert_int_equal(apart, 1);
	wait_for(f);
	run(e);
	intro_executor_free(e);
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
		cmocka_unit_test(wakes_up_on_another_cpu),
		cmocka_unit_test(keeps_what_it_was_given_meanwhile),
		cmocka_unit_test(a_worker_begins_beside_who_helps),
		cmocka_unit_test(one_that_does_not_come_is_fetched),
		cmocka_unit_test(one_that_comes_is_not),
		cmocka_unit_test(not_before_a_while_is_over),
		cmocka_unit_test(callers_that_run_tasks_fetch_it),
		cmocka_unit_test(groups_whose_callers_run_tasks_fetch_it),
		cmocka_unit_test(nobody_is_called_while_another_is_awake),
		cmocka_unit_test(workers_of_other_pools_stay),
		cmocka_unit_test(a_forked_child_leaves_its_parents_alone),
		cmocka_unit_test(a_refused_affinity_is_no_cancellation_point),
	};

	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
