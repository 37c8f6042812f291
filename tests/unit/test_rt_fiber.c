/* SPDX-License-Identifier: BSD-2-Clause */
/* Fibers: one and several kernel threads, joining, sleeping, channels, marks, misuse. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/fiber.h>

static struct intro_fibers *fibers_new(unsigned threads)
{
	struct intro_fibers *fibers = intro_fibers_new(&(struct intro_fibers_options){
		.size = sizeof(struct intro_fibers_options), .name = "fib", .threads = threads});

	assert_non_null(fibers);
	return fibers;
}

static int returns(void *arg)
{
	return (int)(intptr_t)arg;
}

static void a_fiber_runs_and_is_joined(void **state)
{
	struct intro_fibers *fibers = fibers_new(1);
	struct intro_fiber *fiber;
	int status = 0;

	assert_int_equal(intro_fiber_spawn(fibers, returns, (void *)7, &fiber), 0);
	assert_int_equal(intro_fiber_join(fiber, INTRO_FOREVER, &status), 0);
	assert_int_equal(status, 7);
	status = 0;
	assert_int_equal(intro_fiber_join(fiber, 0, &status), 0); /* again */
	assert_int_equal(status, 7);
	intro_fibers_free(fibers);
	assert_int_equal(intro_fiber_join(fiber, INTRO_FOREVER, NULL), 0);
	intro_fiber_free(fiber);
	assert_int_equal(count_threads_left("fib/"), 0);
}

static int misuses_itself(void *arg)
{
	struct intro_fibers *fibers = arg;

	if (intro_fiber_join(intro_fiber_current(), 0, NULL) != -EDEADLK)
		return 1;
	if (intro_fibers_wait(fibers, 0) != -EDEADLK)
		return 2;
	return intro_fiber_sleep(-1) || intro_fiber_yield() ? 3 : 0;
}

static int sleeps_long(void *arg)
{
	return intro_fiber_sleep(20 * MSEC);
}

static void misuse_gives_its_error_and_does_no_harm(void **state)
{
	struct intro_fibers_options bad[] = {
		{.size = 0},
		{.size = sizeof(bad[0]), .threads = 5000},
		{.size = sizeof(bad[0]), .stack_bytes = 100},
		{.size = sizeof(bad[0]), .stack_bytes = SIZE_MAX},
	};
	struct {
		struct intro_fibers_options options;
		char newer;
	} newer = {{.size = sizeof(newer)}, 1};
	struct intro_fibers *fibers;
	struct intro_fiber *fiber;
	int status;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		assert_null(intro_fibers_new(&bad[i]));
		assert_int_equal(errno, EINVAL);
	}
	assert_null(intro_fibers_new(NULL));
	assert_null(intro_fibers_new(&newer.options));
	assert_int_equal(errno, E2BIG);
	assert_null(intro_fiber_current());
	assert_int_equal(intro_fiber_yield(), -EPERM);
	assert_int_equal(intro_fiber_sleep(5), -EPERM);
	intro_fibers_free(NULL);
	intro_fiber_free(NULL);
	fibers = fibers_new(2);
	assert_int_equal(intro_fiber_spawn(fibers, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(intro_fiber_spawn(fibers, misuses_itself, fibers, &fiber), 0);
	assert_int_equal(intro_fiber_join(fiber, INTRO_FOREVER, &status), 0);
	assert_int_equal(status, 0);
	intro_fiber_free(fiber);
	assert_int_equal(intro_fiber_spawn(fibers, sleeps_long, NULL, &fiber), 0);
	assert_int_equal(intro_fiber_join(fiber, 0, NULL), -ETIMEDOUT);
	assert_int_equal(intro_fiber_join(fiber, 1000, NULL), -ETIMEDOUT);
	assert_int_equal(intro_fibers_wait(fibers, 0), -ETIMEDOUT);
	assert_int_equal(intro_fibers_wait(fibers, 1000), -ETIMEDOUT);
	assert_int_equal(intro_fibers_wait(fibers, INTRO_FOREVER), 0);
	assert_int_equal(intro_fiber_join(fiber, 0, NULL), 0);
	intro_fiber_free(fiber);
	intro_fibers_free(fibers);
}

/* --- order -------------------------------------------------------------------------------------
 */

struct story {
	char text[64];
	unsigned n;
	int64_t begin;
	struct intro_channel *channel;
};

struct teller {
	struct story *story;
	char letter;
};

static int tells(void *arg)
{
	struct teller *teller = arg;

	for (int i = 0; i < 3; i++) {
		teller->story->text[teller->story->n++] = teller->letter;
		intro_fiber_yield();
	}
	return 0;
}

static int starts_three(void *arg)
{
	static const char letters[] = "abc";
	struct story *story = arg;
	struct teller tellers[3];
	struct intro_fiber *fibers[3];

	for (int i = 0; i < 3; i++) {
		tellers[i] = (struct teller){story, letters[i]};
		if (intro_fiber_spawn((struct intro_fibers *)(void *)story->channel, tells,
				      &tellers[i], &fibers[i]))
			return 1;
	}
	for (int i = 0; i < 3; i++) {
		intro_fiber_join(fibers[i], INTRO_FOREVER, NULL);
		intro_fiber_free(fibers[i]);
	}
	return 0;
}

/* On one kernel thread fibers take turns, and need no lock. */
static void fibers_of_one_thread_take_turns(void **state)
{
	struct intro_fibers *fibers = fibers_new(1);
	struct story story = {.channel = (struct intro_channel *)(void *)fibers};
	struct intro_fiber *fiber;
	int status;

	assert_int_equal(intro_fiber_spawn(fibers, starts_three, &story, &fiber), 0);
	assert_int_equal(intro_fiber_join(fiber, INTRO_FOREVER, &status), 0);
	assert_int_equal(status, 0);
	assert_string_equal(story.text, "abcabcabc");
	intro_fiber_free(fiber);
	intro_fibers_free(fibers);
}

static int sleeps_and_tells(void *arg)
{
	struct teller *teller = arg;

	/* from one moment on, however late this fiber came to it */
	intro_fiber_sleep(teller->story->begin + (teller->letter - 'a') * 5 * MSEC - now_ns());
	teller->story->text[teller->story->n++] = teller->letter;
	return 0;
}

/* Sleeping fibers share one kernel thread, which sleeps till the first of them is due. */
static void sleepers_wake_in_order_of_time(void **state)
{
	static const char letters[] = "dbeac";
	struct intro_fibers *fibers = fibers_new(1);
	struct story story = {.begin = now_ns() + 100 * MSEC};
	struct teller tellers[5];

	for (int i = 0; i < 5; i++) {
		tellers[i] = (struct teller){&story, letters[i]};
		intro_fiber_spawn(fibers, sleeps_and_tells, &tellers[i], NULL);
	}
	assert_int_equal(intro_fibers_wait(fibers, INTRO_FOREVER), 0);
	assert_true(now_ns() - story.begin >= 20 * MSEC);
	assert_string_equal(story.text, "abcde");
	intro_fibers_free(fibers);
}

/* An idle scheduler uses no CPU, also while a fiber sleeps. */
static void an_idle_scheduler_uses_no_cpu(void **state)
{
	struct intro_fibers *fibers = fibers_new(2);
	int64_t cpu;

	intro_fiber_spawn(fibers, sleeps_long, NULL, NULL);
	sleep_ms(5);
	cpu = cpu_ns();
	intro_fibers_wait(fibers, INTRO_FOREVER);
	sleep_ms(80);
	assert_true(cpu_ns() - cpu < 20 * MSEC);
	intro_fibers_free(fibers);
}

/* --- many ------------------------------------------------------------------------------------ */

struct sum {
	_Atomic long sum;
	struct intro_channel *channel;
};

static int adds(void *arg)
{
	struct sum *sum = arg;
	volatile char stack[3000];

	for (int i = 0; i < 10; i++) {
		stack[i * 300] = (char)i;
		intro_fiber_yield();
		atomic_fetch_add(&sum->sum, stack[i * 300] == (char)i);
	}
	return 0;
}

#define MANY 1500
static void many_on(unsigned threads)
{
	struct intro_fibers *fibers = fibers_new(threads);
	struct intro_fibers_statistics statistics;
	struct sum sum = {0};

	for (int i = 0; i < MANY; i++)
		assert_int_equal(intro_fiber_spawn(fibers, adds, &sum, NULL), 0);
	assert_int_equal(intro_fibers_wait(fibers, INTRO_FOREVER), 0);
	assert_int_equal(sum.sum, 10 * MANY);
	intro_fibers_statistics(fibers, &statistics);
	assert_int_equal(statistics.spawned, MANY);
	assert_int_equal(statistics.ended, MANY);
	assert_int_equal(statistics.switches, 11 * MANY);
	intro_fibers_free(fibers);
}

static void thousand_fibers(void **state)
{
	many_on(1);
	many_on(2);
	many_on(5);
}

static int blocks(void *arg)
{
	gate_wait(arg);
	return 0;
}

static int opens(void *arg)
{
	gate_open(arg);
	return 0;
}

static int spawns_behind_itself(void *arg)
{
	void **args = arg;

	/* lands in this kernel thread's own queue, which now stands still until it is stolen */
	intro_fiber_spawn(args[0], opens, args[1], NULL);
	gate_wait(args[1]);
	return 0;
}

/* Another kernel thread takes over what waits behind a fiber that blocks. */
static void work_is_stolen_from_a_blocked_thread(void **state)
{
	struct intro_fibers *fibers = fibers_new(2);
	struct intro_fibers_statistics statistics;
	struct gate gate = {0};
	void *args[2] = {fibers, &gate};

	intro_fiber_spawn(fibers, spawns_behind_itself, args, NULL);
	assert_int_equal(intro_fibers_wait(fibers, INTRO_FOREVER), 0);
	intro_fibers_statistics(fibers, &statistics);
	assert_int_equal(statistics.stolen, 1);
	intro_fibers_free(fibers);
}

static int sets(void *arg)
{
	atomic_store((atomic_int *)arg, 1);
	return 0;
}

/* On one kernel thread a call that blocks stops all siblings. */
static void a_blocking_call_stops_the_siblings(void **state)
{
	struct intro_fibers *fibers = fibers_new(1);
	struct gate gate = {0};
	atomic_int ran = 0;

	intro_fiber_spawn(fibers, blocks, &gate, NULL);
	gate_expect(&gate, 1);
	intro_fiber_spawn(fibers, sets, &ran, NULL);
	sleep_ms(20);
	assert_int_equal(atomic_load(&ran), 0);
	gate_open(&gate);
	intro_fibers_wait(fibers, INTRO_FOREVER);
	assert_int_equal(atomic_load(&ran), 1);
	intro_fibers_free(fibers);
}

/* 4 MiB deep. */
static int overflows(void *arg)
{
	volatile char room[4096];
	intptr_t depth = (intptr_t)arg;

	room[0] = (char)depth;
	return depth == 1000 ? 0 : overflows((void *)(depth + 1)) + room[0];
}

/* Below a stack lies a page that nobody may touch. */
static void an_overflow_is_a_fault(void **state)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		intro_fiber_spawn(fibers_new(1), overflows, NULL, NULL);
		sleep_ms(20000);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* --- channels ----------------------------------------------------------------------------------
 */

static void channel_misuse(void **state)
{
	struct intro_channel *channel;
	int item = 1;

	errno = 0;
	assert_null(intro_channel_new(0, 3));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_channel_new(1u << 20, SIZE_MAX / 4));
	assert_int_equal(errno, ENOMEM);
	intro_channel_free(NULL);
	channel = intro_channel_new(sizeof(item), 2);
	assert_int_equal(intro_channel_receive(channel, &item, 0), -ETIMEDOUT);
	assert_int_equal(intro_channel_receive(channel, &item, 1000), -ETIMEDOUT);
	for (int i = 1; i <= 2; i++)
		assert_int_equal(intro_channel_send(channel, &i, 0), 0);
	assert_int_equal(intro_channel_send(channel, &item, 0), -ETIMEDOUT);
	assert_int_equal(intro_channel_send(channel, &item, 1000), -ETIMEDOUT);
	assert_int_equal(intro_channel_length(channel), 2);
	assert_int_equal(intro_channel_close(channel), 0);
	assert_int_equal(intro_channel_close(channel), -EALREADY);
	assert_int_equal(intro_channel_send(channel, &item, INTRO_FOREVER), -EPIPE);
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(intro_channel_receive(channel, &item, INTRO_FOREVER), 0);
		assert_int_equal(item, i);
	}
	assert_int_equal(intro_channel_receive(channel, &item, INTRO_FOREVER), -EPIPE);
	intro_channel_free(channel);
}

#define ITEMS 300
static int sends(void *arg)
{
	struct sum *sum = arg;

	for (long i = 1; i <= ITEMS; i++)
		if (intro_channel_send(sum->channel, &i, INTRO_FOREVER))
			return 1;
	return 0;
}

static int receives(void *arg)
{
	struct sum *sum = arg;
	long item;

	while (!intro_channel_receive(sum->channel, &item, INTRO_FOREVER))
		atomic_fetch_add(&sum->sum, item);
	return 0;
}

static void *receives_as_thread(void *arg)
{
	receives(arg);
	return NULL;
}

static void channel_of(size_t capacity, unsigned threads)
{
	struct intro_fibers *fibers = fibers_new(threads), *others = fibers_new(1);
	struct sum sum = {.channel = intro_channel_new(sizeof(long), capacity)};
	struct intro_fiber *senders[3];
	pthread_t thread;

	pthread_create(&thread, NULL, receives_as_thread, &sum);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(intro_fiber_spawn(fibers, sends, &sum, &senders[i]), 0);
		assert_int_equal(intro_fiber_spawn(fibers, receives, &sum, NULL), 0);
	}
	intro_fiber_spawn(others, receives, &sum, NULL);
	for (int i = 0; i < 3; i++) {
		int status;

		assert_int_equal(intro_fiber_join(senders[i], INTRO_FOREVER, &status), 0);
		assert_int_equal(status, 0);
		intro_fiber_free(senders[i]);
	}
	assert_int_equal(intro_channel_close(sum.channel), 0);
	intro_fibers_free(fibers);
	intro_fibers_free(others);
	pthread_join(thread, NULL);
	assert_int_equal(sum.sum, 3 * ITEMS * (ITEMS + 1) / 2);
	intro_channel_free(sum.channel);
}

static void channels_lose_nothing(void **state)
{
	channel_of(0, 1);
	channel_of(1, 2);
	channel_of(0, 3);
	channel_of(16, 2);
}

/* Timeouts race with what they wait for: an item is received by one, once. */
static int receives_hastily(void *arg)
{
	struct sum *sum = arg;
	long item;
	int err;

	do {
		err = intro_channel_receive(sum->channel, &item, 20000);
		if (!err)
			atomic_fetch_add(&sum->sum, item);
	} while (!err || err == -ETIMEDOUT);
	return err == -EPIPE ? 0 : 1;
}

static int sends_slowly(void *arg)
{
	struct sum *sum = arg;

	for (long i = 1; i <= 100; i++) {
		intro_fiber_sleep(20000);
		if (intro_channel_send(sum->channel, &i, INTRO_FOREVER))
			return 1;
	}
	return intro_channel_close(sum->channel);
}

static void timeouts_race_with_items(void **state)
{
	for (unsigned threads = 1; threads <= 2; threads++) {
		struct intro_fibers *fibers = fibers_new(threads);
		struct sum sum = {.channel = intro_channel_new(sizeof(long), 0)};

		for (int i = 0; i < 3; i++)
			intro_fiber_spawn(fibers, receives_hastily, &sum, NULL);
		intro_fiber_spawn(fibers, sends_slowly, &sum, NULL);
		intro_fibers_free(fibers);
		assert_int_equal(sum.sum, 5050);
		intro_channel_free(sum.channel);
	}
}

/* --- marks ------------------------------------------------------------------------------------
 */

static int parks_once(void *arg)
{
	struct sum *sum = arg;
	long item;

	intro_fiber_yield();
	intro_channel_receive(sum->channel, &item, INTRO_FOREVER);
	return 1;
}

static int feeds(void *arg)
{
	struct sum *sum = arg;
	long item = 5;

	intro_fiber_yield();
	intro_fiber_yield();
	return intro_channel_send(sum->channel, &item, INTRO_FOREVER);
}

static void marks_tell_of_every_mount(void **state)
{
	static const struct {
		uint8_t kind;
		uint32_t a, b;
	} life[] = {
		{INTRO_KIND_SUBMIT, 0, 0},
		{INTRO_KIND_START, 0, INTRO_START_FIBER},
		{INTRO_KIND_UNMOUNT, INTRO_UNMOUNT_READY, 0},
		{INTRO_KIND_MOUNT, 0, 0},
		{INTRO_KIND_UNMOUNT, INTRO_UNMOUNT_PARKED, 0},
		{INTRO_KIND_READY, 0, 0},
		{INTRO_KIND_MOUNT, 0, 0},
		{INTRO_KIND_END, INTRO_STATUS_FAILED, INTRO_END_RESULT},
	};
	struct intro_fibers *fibers = fibers_new(1);
	struct sum sum = {.channel = intro_channel_new(sizeof(long), 0)};
	struct intro_fiber *fiber;
	struct intro_rec_mark *m;
	uint64_t task;
	size_t n;
	int at = -1;

	marks_begin();
	intro_fiber_spawn(fibers, parks_once, &sum, &fiber);
	intro_fiber_spawn(fibers, feeds, &sum, NULL);
	task = intro_fiber_id(fiber);
	assert_int_equal(intro_fibers_wait(fibers, INTRO_FOREVER), 0);
	assert_int_equal(intro_fiber_join(fiber, 0, NULL), 0);
	m = marks_end(&n);
	for (size_t i = 0; i < sizeof(life) / sizeof(life[0]); i++) {
		at = marks_find(m, n, (size_t)(at + 1), life[i].kind, task);
		assert_true(at >= 0);
		if (life[i].kind == INTRO_KIND_UNMOUNT || life[i].kind == INTRO_KIND_END)
			assert_int_equal(m[at].a, life[i].a);
		if (life[i].kind == INTRO_KIND_START || life[i].kind == INTRO_KIND_END)
			assert_int_equal(m[at].b, life[i].b);
	}
	assert_int_equal(marks_count(m, n, INTRO_KIND_MOUNT, task), 2);
	assert_int_equal(marks_count(m, n, INTRO_KIND_UNMOUNT, task), 2);
	assert_int_equal(marks_count(m, n, INTRO_KIND_READY, task), 1);
	assert_int_equal(marks_count(m, n, INTRO_KIND_READ, task), 1);
	free(m);
	intro_fiber_free(fiber);
	intro_fibers_free(fibers);
	intro_channel_free(sum.channel);
}

struct joins {
	struct intro_fiber *fiber;
	atomic_bool about_to;
};

static int joins(void *arg)
{
	struct joins *of = arg;

	atomic_store(&of->about_to, true);
	return intro_fiber_join(of->fiber, INTRO_FOREVER, NULL);
}

/* Whoever joins, thread or fiber, is told of by END, and says when it has it. */
static void a_join_is_marked(void **state)
{
	struct intro_fibers *fibers = fibers_new(2);
	struct gate gate = {0};
	struct intro_fiber *fiber, *joiner;
	struct joins of = {0};
	struct intro_rec_mark *m;
	size_t n;
	int end;

	marks_begin();
	intro_fiber_spawn(fibers, blocks, &gate, &fiber);
	gate_expect(&gate, 1);
	of.fiber = fiber;
	intro_fiber_spawn(fibers, joins, &of, &joiner);
	while (!atomic_load(&of.about_to))
		sleep_ms(1);
	assert_int_equal(intro_fiber_join(joiner, 50 * MSEC, NULL), -ETIMEDOUT);
	gate_open(&gate);
	assert_int_equal(intro_fiber_join(joiner, INTRO_FOREVER, NULL), 0);
	m = marks_end(&n);
	end = marks_find(m, n, 0, INTRO_KIND_END, intro_fiber_id(fiber));
	assert_true(end >= 0);
	assert_int_equal(m[end].b, INTRO_END_RESULT | INTRO_END_WAITED);
	assert_true(marks_find(m, n, (size_t)end, INTRO_KIND_WAKE, intro_fiber_id(fiber)) > end);
	/* a fiber's join is no wait of its kernel thread's */
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAIT, intro_fiber_id(fiber)), 0);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAIT, intro_fiber_id(joiner)),
			 marks_count(m, n, INTRO_KIND_WAKE, intro_fiber_id(joiner)));
	assert_true(marks_count(m, n, INTRO_KIND_WAIT, intro_fiber_id(joiner)) >= 1);
	free(m);
	intro_fiber_free(fiber);
	intro_fiber_free(joiner);
	intro_fibers_free(fibers);
}

/* --- all at random ----------------------------------------------------------------------------
 */

struct storm {
	struct intro_fibers *fibers;
	struct intro_channel *channel;
	_Atomic long alive, sent, received;
	_Atomic unsigned random;
};

static int storms(void *arg)
{
	struct storm *storm = arg;
	unsigned random = atomic_fetch_add(&storm->random, 0x9e3779b9u) * 2654435761u;
	struct intro_fiber *child;
	long item = 1;

	for (int i = 0; i < 12; i++) {
		random = random * 1664525u + 1013904223u;
		switch (random >> 28 & 7) {
		case 0:
			intro_fiber_sleep(random >> 16 & 0xffff);
			break;
		case 1:
		case 2:
			if (!intro_channel_send(storm->channel, &item, random >> 12 & 0xffff))
				atomic_fetch_add(&storm->sent, 1);
			break;
		case 3:
		case 4:
			if (!intro_channel_receive(storm->channel, &item, random >> 12 & 0xffff))
				atomic_fetch_add(&storm->received, item);
			break;
		case 5:
			if (atomic_fetch_sub(&storm->alive, 1) <= 0 ||
			    intro_fiber_spawn(storm->fibers, storms, storm, &child))
				break;
			intro_fiber_join(child, random >> 10 & 0x1ffff, NULL);
			intro_fiber_free(child);
			break;
		default:
			intro_fiber_yield();
			break;
		}
	}
	return 0;
}

static void everything_at_random(void **state)
{
	for (unsigned round = 0; round < 6; round++) {
		struct storm storm = {.fibers = fibers_new(1 + round % 3),
				      .channel = intro_channel_new(sizeof(long), round % 2 * 3),
				      .alive = 400,
				      .random = round};
		struct intro_fibers_statistics statistics;
		long item;

		for (int i = 0; i < 60; i++)
			intro_fiber_spawn(storm.fibers, storms, &storm, NULL);
		assert_int_equal(intro_fibers_wait(storm.fibers, INTRO_FOREVER), 0);
		while (!intro_channel_receive(storm.channel, &item, 0))
			storm.received += item;
		assert_int_equal(storm.sent, storm.received);
		intro_fibers_statistics(storm.fibers, &statistics);
		assert_int_equal(statistics.spawned, statistics.ended);
		intro_fibers_free(storm.fibers);
		intro_channel_free(storm.channel);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fiber_runs_and_is_joined),
		cmocka_unit_test(misuse_gives_its_error_and_does_no_harm),
		cmocka_unit_test(fibers_of_one_thread_take_turns),
		cmocka_unit_test(sleepers_wake_in_order_of_time),
		cmocka_unit_test(an_idle_scheduler_uses_no_cpu),
		cmocka_unit_test(thousand_fibers),
		cmocka_unit_test(work_is_stolen_from_a_blocked_thread),
		cmocka_unit_test(a_blocking_call_stops_the_siblings),
		cmocka_unit_test(an_overflow_is_a_fault),
		cmocka_unit_test(channel_misuse),
		cmocka_unit_test(channels_lose_nothing),
		cmocka_unit_test(timeouts_race_with_items),
		cmocka_unit_test(marks_tell_of_every_mount),
		cmocka_unit_test(a_join_is_marked),
		cmocka_unit_test(everything_at_random),
	};

	private_area();
	watchdog(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
