/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queues of all kinds that are full, all at once, for INTRO_STRESS_SECONDS (1) times FULL_TIMES:
 * who puts without a limit of time stays where he is and uses no CPU, who has a limit is told in
 * time, as often as he tries; and when somebody takes at last, everything comes, once, in order.
 */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <introspect/fiber.h>
#include <introspect/manager.h>
#include <introspect/process_queue.h>
#include <introspect/queue.h>

/* `make stress` has queues that are full for minutes. */
#define FULL_TIMES 2
#define CAPACITY 4
#define PUTTERS 3
#define ITEMS 10 /* of each putter */
#define LIMIT (50 * MSEC)

struct item {
	uint32_t putter, number;
};

/* One kind of queue. put and get return as the kind's do; items are struct item. */
struct kind {
	const char *name;
	int (*put)(const struct item *item, int64_t timeout_ns);
	int (*get)(struct item *item);
};

static struct intro_queue *queue;
static struct intro_process_queue *process_queue;
static struct intro_manager *manager;
static uint64_t managed;
static struct intro_channel *channel;
static int64_t until;

static int put_to_queue(const struct item *item, int64_t timeout_ns)
{
	struct item *copy = malloc(sizeof(*copy));
	int err;

	*copy = *item;
	err = intro_queue_put(queue, copy, timeout_ns);
	if (err)
		free(copy);
	return err;
}

static int get_from_queue(struct item *item)
{
	void *got;
	int err = intro_queue_get(queue, &got, INTRO_FOREVER);

	if (err)
		return err;
	*item = *(struct item *)got;
	free(got);
	return intro_queue_task_done(queue);
}

static int put_to_process_queue(const struct item *item, int64_t timeout_ns)
{
	return intro_process_queue_put(process_queue, item, sizeof(*item), timeout_ns);
}

static int get_from_process_queue(struct item *item)
{
	size_t size;
	int err = intro_process_queue_get(process_queue, item, sizeof(*item), &size, INTRO_FOREVER);

	return err ? err : intro_process_queue_task_done(process_queue);
}

static int put_to_manager(const struct item *item, int64_t timeout_ns)
{
	return intro_manager_queue_put(manager, managed, item, sizeof(*item), timeout_ns);
}

static int get_from_manager(struct item *item)
{
	size_t size;
	void *data;
	int err = intro_manager_queue_get(manager, managed, &data, &size, INTRO_FOREVER);

	if (err)
		return err;
	memcpy(item, data, sizeof(*item));
	free(data);
	return intro_manager_queue_task_done(manager, managed);
}

static int put_to_channel(const struct item *item, int64_t timeout_ns)
{
	return intro_channel_send(channel, item, timeout_ns);
}

static int get_from_channel(struct item *item)
{
	return intro_channel_receive(channel, item, INTRO_FOREVER);
}

static const struct kind kinds[] = {
	{"queue", put_to_queue, get_from_queue},
	{"process queue", put_to_process_queue, get_from_process_queue},
	{"manager's queue", put_to_manager, get_from_manager},
	{"channel", put_to_channel, get_from_channel},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct putter {
	pthread_t thread;
	const struct kind *kind;
	uint32_t number;
} putters[KINDS][PUTTERS], triers[KINDS];

static struct trial {
	unsigned tries;
	int64_t longest;
} trials[KINDS];

static void *puts_all(void *arg)
{
	struct putter *p = arg;

	for (uint32_t i = 0; i < ITEMS; i++)
		assert_int_equal(p->kind->put(&(struct item){p->number, i}, INTRO_FOREVER), 0);
	return NULL;
}

/* As long as nobody takes anything. */
static void *tries_to_put(void *arg)
{
	struct putter *p = arg;
	struct trial *trial = &trials[p->number];
	struct item item = {.putter = PUTTERS};

	while (now_ns() + LIMIT < until) {
		int64_t began = now_ns(), took;

		assert_int_equal(p->kind->put(&item, LIMIT), -ETIMEDOUT);
		took = now_ns() - began;
		assert_true(took >= LIMIT);
		trial->longest = took > trial->longest ? took : trial->longest;
		trial->tries++;
		assert_int_equal(p->kind->put(&item, 0), -ETIMEDOUT);
	}
	return NULL;
}

static void begin(void)
{
	struct intro_queue_options options = {.size = sizeof(options), .capacity = CAPACITY};
	struct intro_process_queue_options far = {.size = sizeof(far), .capacity = CAPACITY};

	manager = intro_manager_new(NULL);
	queue = intro_queue_new(&options);
	process_queue = intro_process_queue_new(&far);
	channel = intro_channel_new(sizeof(struct item), CAPACITY);
	assert_true(manager && queue && process_queue && channel);
	assert_int_equal(intro_manager_make(manager, INTRO_MANAGER_QUEUE, CAPACITY, &managed), 0);
	for (size_t k = 0; k < KINDS; k++)
		for (uint32_t i = 0; i < CAPACITY; i++)
			assert_int_equal(kinds[k].put(&(struct item){PUTTERS + 1, i}, 0), 0);
}

static void end(void)
{
	assert_int_equal(intro_queue_join(queue, 0), 0);
	assert_int_equal(intro_process_queue_join(process_queue, 0), 0);
	assert_int_equal(intro_manager_queue_join(manager, managed, 0), 0);
	intro_manager_free(manager);
	intro_queue_free(queue);
	intro_process_queue_free(process_queue);
	intro_channel_free(channel);
}

/* Nothing twice, nothing missing, each putter's in its order. */
static void take_all(const struct kind *kind)
{
	uint32_t next[PUTTERS + 2] = {0};
	struct item item;

	for (unsigned i = 0; i < CAPACITY + PUTTERS * ITEMS; i++) {
		assert_int_equal(kind->get(&item), 0);
		assert_true(item.putter < PUTTERS || item.putter == PUTTERS + 1);
		assert_int_equal(item.number, next[item.putter]++);
	}
}

static void full_for_long(void **state)
{
	int64_t began, cpu, length = stress_seconds(1) * FULL_TIMES * SEC;

	begin();
	began = now_ns();
	until = began + length;
	cpu = cpu_ns();
	for (uint32_t k = 0; k < KINDS; k++) {
		for (uint32_t i = 0; i < PUTTERS; i++) {
			putters[k][i] = (struct putter){.kind = &kinds[k], .number = i};
			pthread_create(&putters[k][i].thread, NULL, puts_all, &putters[k][i]);
		}
		triers[k] = (struct putter){.kind = &kinds[k], .number = k};
		pthread_create(&triers[k].thread, NULL, tries_to_put, &triers[k]);
	}
	for (size_t k = 0; k < KINDS; k++)
		pthread_join(triers[k].thread, NULL);
	cpu = cpu_ns() - cpu;
	length = now_ns() - began;
	for (size_t k = 0; k < KINDS; k++) {
		assert_true(trials[k].tries > 0);
		take_all(&kinds[k]);
		for (uint32_t i = 0; i < PUTTERS; i++)
			pthread_join(putters[k][i].thread, NULL);
		printf("# figure full for %.1f s: %s: %u puts gave up, after %.1f ms at most\n",
		       (double)length / SEC, kinds[k].name, trials[k].tries,
		       (double)trials[k].longest / MSEC);
	}
	printf("# figure it took %.2f %% of a CPU\n", 100.0 * (double)cpu / (double)length);
	/* a sanitizer's, too; who looked all the time would take one, or two */
	assert_true(cpu < length / 5);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_for_long),
	};

	private_area();
	watchdog(stress_seconds(1) * FULL_TIMES + 60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
