/* SPDX-License-Identifier: BSD-2-Clause */
/* Mutex, recursive lock, condition, semaphore, event, barrier. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/locks.h>

#include "runtime/marks_private.h"

#define THREADS 6
#define ROUNDS 3000

struct crew {
	pthread_t thread[64];
	unsigned n;
};

static void crew_start(struct crew *crew, unsigned n, void *(*fn)(void *), void *arg)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&crew->thread[crew->n++], NULL, fn, arg), 0);
}

static void crew_join(struct crew *crew)
{
	while (crew->n)
		pthread_join(crew->thread[--crew->n], NULL);
}

/* --- mutex ----------------------------------------------------------------------------------- */

struct shared {
	struct intro_mutex mutex;
	struct intro_recursive recursive;
	struct intro_condition condition;
	struct intro_semaphore semaphore;
	struct intro_event event;
	struct intro_barrier barrier;
	uint64_t counter; /* under the lock of the test */
	_Atomic uint32_t inside, most, waiting, woken, failed;
	uint32_t order[64], orders;
};

static struct shared *shared_new(void)
{
	struct shared *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	return s;
}

static void *count_up(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < ROUNDS; i++) {
		/* some by short time-outs, again and again */
		while (intro_mutex_acquire(&s->mutex, i % 3 ? INTRO_FOREVER : 1000))
			;
		s->counter++;
		if (intro_mutex_release(&s->mutex))
			s->failed++;
	}
	return NULL;
}

static void test_mutex(void **state)
{
	struct shared *s = shared_new();
	struct crew crew = {.n = 0};

	intro_mutex_init(&s->mutex, "counter");
	crew_start(&crew, THREADS, count_up, s);
	crew_join(&crew);
	assert_int_equal(s->counter, THREADS * ROUNDS);
	assert_int_equal(s->failed, 0);
	assert_false(intro_mutex_locked(&s->mutex));
	free(s);
}

static void test_mutex_misuse(void **state)
{
	struct intro_mutex m = {0}; /* zeroes will do */
	int64_t before;

	assert_int_equal(intro_mutex_release(&m), -EPERM);
	assert_int_equal(intro_mutex_acquire(&m, 0), 0);
	assert_true(intro_mutex_locked(&m));
	assert_int_equal(intro_mutex_acquire(&m, 0), -ETIMEDOUT);
	before = now_ns();
	assert_int_equal(intro_mutex_acquire(&m, 20 * MSEC), -ETIMEDOUT);
	assert_true(now_ns() - before >= 20 * MSEC);
	assert_int_equal(intro_mutex_acquire(&m, -5), -ETIMEDOUT);
	assert_int_equal(intro_mutex_release(&m), 0);
	assert_int_equal(intro_mutex_release(&m), -EPERM);
	assert_int_equal(intro_mutex_acquire(&m, INTRO_FOREVER), 0);
	assert_int_equal(intro_mutex_release(&m), 0);
}

/* --- recursive lock -------------------------------------------------------------------------- */

static void *not_owner(void *arg)
{
	struct shared *s = arg;

	s->failed += intro_recursive_release(&s->recursive) != -EPERM;
	s->failed += intro_recursive_acquire(&s->recursive, 0) != -ETIMEDOUT;
	s->failed += intro_recursive_acquire(&s->recursive, MSEC) != -ETIMEDOUT;
	s->failed += intro_recursive_count(&s->recursive) != 0;
	return NULL;
}

static void *count_deeply(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < ROUNDS; i++) {
		for (int k = 0; k < 3; k++)
			intro_recursive_acquire(&s->recursive, INTRO_FOREVER);
		s->counter++;
		for (int k = 0; k < 3; k++)
			s->failed += intro_recursive_release(&s->recursive) != 0;
	}
	return NULL;
}

static void test_recursive(void **state)
{
	struct shared *s = shared_new();
	struct crew crew = {.n = 0};

	assert_int_equal(intro_recursive_release(&s->recursive), -EPERM);
	intro_recursive_init(&s->recursive, "recursive");
	assert_int_equal(intro_recursive_acquire(&s->recursive, 0), 0);
	assert_int_equal(intro_recursive_acquire(&s->recursive, 0), 0);
	assert_int_equal(intro_recursive_count(&s->recursive), 2);
	crew_start(&crew, 1, not_owner, s);
	crew_join(&crew);
	assert_int_equal(intro_recursive_release(&s->recursive), 0);
	assert_int_equal(intro_recursive_release(&s->recursive), 0);
	assert_int_equal(intro_recursive_release(&s->recursive), -EPERM);
	crew_start(&crew, THREADS, count_deeply, s);
	crew_join(&crew);
	assert_int_equal(s->counter, THREADS * ROUNDS);
	assert_int_equal(s->failed, 0);
	free(s);
}

/* --- condition ------------------------------------------------------------------------------- */

static void *wait_in_order(void *arg)
{
	struct shared *s = arg;
	uint32_t mine;

	intro_mutex_acquire(&s->mutex, INTRO_FOREVER);
	mine = s->waiting++;
	s->failed += intro_condition_wait(&s->condition, INTRO_FOREVER) != 0;
	s->order[s->orders++] = mine;
	intro_mutex_release(&s->mutex);
	return NULL;
}

static uint32_t orders(struct shared *s)
{
	uint32_t n;

	intro_mutex_acquire(&s->mutex, INTRO_FOREVER);
	n = s->orders;
	intro_mutex_release(&s->mutex);
	return n;
}

static void notify(struct shared *s, unsigned n)
{
	intro_mutex_acquire(&s->mutex, INTRO_FOREVER);
	assert_int_equal(intro_condition_notify(&s->condition, n), 0);
	intro_mutex_release(&s->mutex);
}

/* With 40 some share a bit: a wake-up that was not meant for them must not end their wait. */
static void test_condition_order(void **state)
{
	struct shared *s = shared_new();
	struct crew crew = {.n = 0};
	uint32_t seen = 0;

	intro_condition_init(&s->condition, &s->mutex, "order");
	for (unsigned i = 0; i < 40; i++) {
		crew_start(&crew, 1, wait_in_order, s);
		while (s->waiting <= i)
			sleep_ms(1);
	}
	for (unsigned i = 0; i < 4; i++) {
		notify(s, 1);
		while (orders(s) <= i)
			sleep_ms(1);
	}
	sleep_ms(5);
	assert_int_equal(orders(s), 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(s->order[i], i);
	notify(s, 3);
	while (orders(s) < 7)
		sleep_ms(1);
	for (uint32_t i = 4; i < 7; i++)
		seen |= 1u << s->order[i];
	assert_int_equal(seen, 0x70);
	intro_mutex_acquire(&s->mutex, INTRO_FOREVER);
	assert_int_equal(intro_condition_notify_all(&s->condition), 0);
	assert_int_equal(intro_condition_notify_all(&s->condition), 0);
	intro_mutex_release(&s->mutex);
	crew_join(&crew);
	assert_int_equal(s->orders, 40);
	assert_int_equal(s->failed, 0);
	free(s);
}

static bool counted_to_ten(void *arg)
{
	return ((struct shared *)arg)->counter >= 10;
}

static void *count_and_notify(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < 10; i++) {
		intro_recursive_acquire(&s->recursive, INTRO_FOREVER);
		s->counter++;
		s->failed += intro_condition_notify(&s->condition, 1) != 0;
		intro_recursive_release(&s->recursive);
	}
	return NULL;
}

static void test_condition_misuse(void **state)
{
	struct shared *s = shared_new();
	struct crew crew = {.n = 0};

	intro_condition_init_recursive(&s->condition, &s->recursive, NULL);
	assert_int_equal(intro_condition_wait(&s->condition, INTRO_FOREVER), -EPERM);
	assert_int_equal(intro_condition_notify(&s->condition, 1), -EPERM);
	assert_int_equal(intro_condition_notify_all(&s->condition), -EPERM);
	assert_int_equal(intro_condition_wait_for(&s->condition, counted_to_ten, s, 0), -EPERM);
	intro_recursive_acquire(&s->recursive, INTRO_FOREVER);
	intro_recursive_acquire(&s->recursive, INTRO_FOREVER);
	assert_int_equal(intro_condition_wait(&s->condition, 0), -ETIMEDOUT);
	assert_int_equal(intro_condition_wait(&s->condition, 5 * MSEC), -ETIMEDOUT);
	assert_int_equal(intro_condition_wait_for(&s->condition, counted_to_ten, s, 5 * MSEC),
			 -ETIMEDOUT);
	/* who gave up is not notified */
	assert_int_equal(intro_condition_notify(&s->condition, 1), 0);
	assert_int_equal(intro_recursive_count(&s->recursive), 2);
	/* wholly let go of, and wholly back */
	crew_start(&crew, 1, count_and_notify, s);
	assert_int_equal(intro_condition_wait_for(&s->condition, counted_to_ten, s, INTRO_FOREVER),
			 0);
	assert_int_equal(intro_recursive_count(&s->recursive), 2);
	assert_int_equal(intro_condition_wait_for(&s->condition, counted_to_ten, s, 0), 0);
	intro_recursive_release(&s->recursive);
	intro_recursive_release(&s->recursive);
	crew_join(&crew);
	assert_int_equal(s->failed, 0);
	free(s);
}

/* --- semaphore ------------------------------------------------------------------------------- */

static void *be_inside(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < ROUNDS / 3; i++) {
		uint32_t inside, most;

		while (intro_semaphore_acquire(&s->semaphore, i % 5 ? INTRO_FOREVER : 2000))
			;
		inside = ++s->inside;
		most = s->most;
		while (inside > most && !atomic_compare_exchange_weak(&s->most, &most, inside))
			;
		s->inside--;
		s->failed += intro_semaphore_release(&s->semaphore, 1) != 0;
	}
	return NULL;
}

static void *acquire_one(void *arg)
{
	struct shared *s = arg;

	s->failed += intro_semaphore_acquire(&s->semaphore, INTRO_FOREVER) != 0;
	s->woken++;
	return NULL;
}

static void test_semaphore(void **state)
{
	struct shared *s = shared_new();
	struct crew crew = {.n = 0};

	assert_int_equal(intro_semaphore_init_bounded(&s->semaphore, 2, "two"), 0);
	crew_start(&crew, THREADS, be_inside, s);
	crew_join(&crew);
	assert_in_range(s->most, 1, 2);
	assert_int_equal(s->failed, 0);
	assert_int_equal(intro_semaphore_value(&s->semaphore), 2);

	assert_int_equal(intro_semaphore_init(&s->semaphore, 0, NULL), 0);
	crew_start(&crew, 4, acquire_one, s);
	sleep_ms(5);
	assert_int_equal(s->woken, 0);
	assert_int_equal(intro_semaphore_release(&s->semaphore, 3), 0);
	while (s->woken < 3)
		sleep_ms(1);
	assert_int_equal(intro_semaphore_release(&s->semaphore, 2), 0);
	crew_join(&crew);
	assert_int_equal(intro_semaphore_value(&s->semaphore), 1);
	assert_int_equal(s->failed, 0);
	free(s);
}

static void test_semaphore_misuse(void **state)
{
	struct intro_semaphore s, zeroes = {0};

	assert_int_equal(intro_semaphore_init(&s, INTRO_SEMAPHORE_MAX + 1, NULL), -EINVAL);
	assert_int_equal(intro_semaphore_init_bounded(&s, UINT32_MAX, NULL), -EINVAL);
	assert_int_equal(intro_semaphore_init_bounded(&s, 0, NULL), -EINVAL);
	assert_int_equal(intro_semaphore_init_bounded(&s, 3, NULL), 0);
	assert_int_equal(intro_semaphore_release(&s, 1), -EOVERFLOW);
	assert_int_equal(intro_semaphore_acquire(&s, 0), 0);
	assert_int_equal(intro_semaphore_release(&s, 2), -EOVERFLOW);
	assert_int_equal(intro_semaphore_release(&s, UINT32_MAX), -EOVERFLOW);
	assert_int_equal(intro_semaphore_release(&s, 0), -EINVAL);
	assert_int_equal(intro_semaphore_value(&s), 2);
	assert_int_equal(intro_semaphore_release(&s, 1), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(intro_semaphore_acquire(&s, MSEC), 0);
	assert_int_equal(intro_semaphore_acquire(&s, 0), -ETIMEDOUT);
	assert_int_equal(intro_semaphore_acquire(&s, 5 * MSEC), -ETIMEDOUT);
	assert_int_equal(intro_semaphore_init(&s, INTRO_SEMAPHORE_MAX, NULL), 0);
	assert_int_equal(intro_semaphore_release(&s, 1), -EOVERFLOW);
	assert_int_equal(intro_semaphore_acquire(&zeroes, 0), -ETIMEDOUT);
	assert_int_equal(intro_semaphore_release(&zeroes, 1), 0);
	assert_int_equal(intro_semaphore_acquire(&zeroes, 0), 0);
}

/* --- event ----------------------------------------------------------------------------------- */

static void *await_event(void *arg)
{
	struct shared *s = arg;

	s->waiting++;
	s->failed += intro_event_wait(&s->event, INTRO_FOREVER) != 0;
	s->woken++;
	return NULL;
}

static void test_event(void **state)
{
	struct shared *s = shared_new();
	struct crew crew = {.n = 0};

	assert_false(intro_event_is_set(&s->event));
	intro_event_init(&s->event, "event");
	assert_int_equal(intro_event_wait(&s->event, 0), -ETIMEDOUT);
	assert_int_equal(intro_event_wait(&s->event, 5 * MSEC), -ETIMEDOUT);
	intro_event_set(&s->event);
	intro_event_set(&s->event);
	assert_true(intro_event_is_set(&s->event));
	assert_int_equal(intro_event_wait(&s->event, 0), 0);
	intro_event_clear(&s->event);
	intro_event_clear(&s->event);
	assert_false(intro_event_is_set(&s->event));
	crew_start(&crew, 4, await_event, s);
	while (s->waiting < 4)
		sleep_ms(1);
	sleep_ms(10);
	assert_int_equal(s->woken, 0);
	/* set for no time at all: who waits has seen it; one that came late sees this one */
	do {
		intro_event_set(&s->event);
		intro_event_clear(&s->event);
		sleep_ms(5);
	} while (s->woken < 4);
	crew_join(&crew);
	assert_int_equal(s->failed, 0);
	free(s);
}

/* --- barrier --------------------------------------------------------------------------------- */

static int count_action(void *arg)
{
	struct shared *s = arg;

	/* nobody has passed */
	s->failed += s->woken % 4 != 0;
	s->counter++;
	return 0;
}

static void *pass_often(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < 200; i++) {
		int index = intro_barrier_wait(&s->barrier, INTRO_FOREVER);

		s->failed += index < 0 || index > 3;
		if (index >= 0)
			s->inside += (uint32_t)index;
		s->woken++;
		/* so that `woken` is whole when the next action looks at it */
		intro_barrier_wait((struct intro_barrier *)(s + 1), INTRO_FOREVER);
	}
	return NULL;
}

static void test_barrier(void **state)
{
	struct shared *s = calloc(1, sizeof(*s) + sizeof(struct intro_barrier));
	struct crew crew = {.n = 0};

	assert_int_equal(intro_barrier_init(&s->barrier, 0, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(intro_barrier_init(&s->barrier, 4, count_action, s, "barrier"), 0);
	assert_int_equal(intro_barrier_init((struct intro_barrier *)(s + 1), 4, NULL, NULL, NULL),
			 0);
	crew_start(&crew, 4, pass_often, s);
	crew_join(&crew);
	assert_int_equal(s->failed, 0);
	assert_int_equal(s->counter, 200);
	assert_int_equal(s->inside, 200 * (0 + 1 + 2 + 3));
	assert_int_equal(intro_barrier_waiting(&s->barrier), 0);
	assert_false(intro_barrier_broken(&s->barrier));
	free(s);
}

static void *find_broken(void *arg)
{
	struct shared *s = arg;

	s->failed += intro_barrier_wait(&s->barrier, INTRO_FOREVER) != -EPIPE;
	return NULL;
}

static void *pass_once(void *arg)
{
	struct shared *s = arg;

	s->failed += intro_barrier_wait(&s->barrier, INTRO_FOREVER) < 0;
	return NULL;
}

static void until_waiting(struct shared *s, uint32_t n)
{
	while (intro_barrier_waiting(&s->barrier) < n)
		sleep_ms(1);
}

static void test_barrier_breaks(void **state)
{
	struct shared *s = shared_new();
	struct crew crew = {.n = 0};

	assert_int_equal(intro_barrier_init(&s->barrier, 3, NULL, NULL, NULL), 0);
	/* by abort */
	crew_start(&crew, 2, find_broken, s);
	until_waiting(s, 2);
	intro_barrier_abort(&s->barrier);
	crew_join(&crew);
	assert_true(intro_barrier_broken(&s->barrier));
	assert_int_equal(intro_barrier_wait(&s->barrier, INTRO_FOREVER), -EPIPE);
	intro_barrier_reset(&s->barrier);
	assert_false(intro_barrier_broken(&s->barrier));
	/* by time */
	crew_start(&crew, 1, find_broken, s);
	until_waiting(s, 1);
	assert_int_equal(intro_barrier_wait(&s->barrier, 5 * MSEC), -ETIMEDOUT);
	crew_join(&crew);
	assert_true(intro_barrier_broken(&s->barrier));
	intro_barrier_reset(&s->barrier);
	/* reset under those who wait: broken for them, whole for who comes */
	crew_start(&crew, 2, find_broken, s);
	until_waiting(s, 2);
	intro_barrier_reset(&s->barrier);
	crew_join(&crew);
	assert_false(intro_barrier_broken(&s->barrier));
	crew_start(&crew, 2, pass_once, s);
	assert_true(intro_barrier_wait(&s->barrier, INTRO_FOREVER) >= 0);
	crew_join(&crew);
	assert_int_equal(s->failed, 0);
	free(s);
}

static int failing_action(void *arg)
{
	return *(int *)arg;
}

static void test_barrier_action_fails(void **state)
{
	struct shared *s = shared_new();
	struct crew crew = {.n = 0};
	int result = -ENOSPC;

	assert_int_equal(intro_barrier_init(&s->barrier, 2, failing_action, &result, NULL), 0);
	crew_start(&crew, 1, find_broken, s);
	until_waiting(s, 1);
	assert_int_equal(intro_barrier_wait(&s->barrier, INTRO_FOREVER), -ENOSPC);
	crew_join(&crew);
	assert_true(intro_barrier_broken(&s->barrier));
	intro_barrier_reset(&s->barrier);
	result = 5;
	crew_start(&crew, 1, find_broken, s);
	until_waiting(s, 1);
	assert_int_equal(intro_barrier_wait(&s->barrier, INTRO_FOREVER), -EPIPE);
	crew_join(&crew);
	result = 0;
	intro_barrier_reset(&s->barrier);
	crew_start(&crew, 1, pass_once, s);
	assert_true(intro_barrier_wait(&s->barrier, INTRO_FOREVER) >= 0);
	crew_join(&crew);
	assert_int_equal(s->failed, 0);
	free(s);
}

/* --- names ----------------------------------------------------------------------------------- */

static void test_names(void **state)
{
	struct shared *s = shared_new();

	intro_mutex_init(&s->mutex, "my mutex");
	assert_int_equal(intro_mutex_acquire(&s->mutex, INTRO_FOREVER), 0);
	assert_int_equal(intro_mutex_acquire(&s->mutex, 1000), -ETIMEDOUT);
	assert_int_equal(locks_told(&s->mutex, "my mutex"), 0); /* nobody waited long */
	for (int i = 0; i < 3; i++)
		assert_int_equal(intro_mutex_acquire(&s->mutex, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(&s->mutex, "my mutex"), 1);
	/* made again at its place, as an object of a pool of memory is */
	intro_mutex_init(&s->mutex, "my mutex");
	assert_int_equal(intro_mutex_acquire(&s->mutex, INTRO_FOREVER), 0);
	assert_int_equal(intro_mutex_acquire(&s->mutex, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(&s->mutex, "my mutex"), 1);

	assert_int_equal(intro_semaphore_init(&s->semaphore, 0, "my semaphore"), 0);
	assert_int_equal(intro_semaphore_acquire(&s->semaphore, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(&s->semaphore, "my semaphore"), 1);
	intro_event_init(&s->event, "my event");
	assert_int_equal(intro_event_wait(&s->event, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(&s->event, "my event"), 1);
	assert_int_equal(intro_barrier_init(&s->barrier, 2, NULL, NULL, "my barrier"), 0);
	assert_int_equal(intro_barrier_wait(&s->barrier, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(&s->barrier, "my barrier"), 1);
	intro_condition_init(&s->condition, &s->mutex, "my condition");
	assert_int_equal(intro_condition_wait(&s->condition, LONG_WAIT), -ETIMEDOUT);
	assert_int_equal(locks_told(&s->condition, "my condition"), 1);
	intro_mark_lock(s, 0);
	assert_int_equal(locks_told(s, ""), 0);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutex),
		cmocka_unit_test(test_mutex_misuse),
		cmocka_unit_test(test_recursive),
		cmocka_unit_test(test_condition_order),
		cmocka_unit_test(test_condition_misuse),
		cmocka_unit_test(test_semaphore),
		cmocka_unit_test(test_semaphore_misuse),
		cmocka_unit_test(test_event),
		cmocka_unit_test(test_barrier),
		cmocka_unit_test(test_barrier_breaks),
		cmocka_unit_test(test_barrier_action_fails),
		cmocka_unit_test(test_names),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
