/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything of the runtime at once, for INTRO_STRESS_SECONDS (4; `make stress`: 60), half of
 * it with marks on: actors, each a thread or some, who do what they do at random until the time is
 * over, while the clock of the day jumps, a signal a millisecond interrupts somebody's system call,
 * and one of them forks. What must hold stands in each; and that all of it ends.
 */
#include "rt_support.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <introspect/fiber.h>
#include <introspect/locks.h>
#include <introspect/loop.h>
#include <introspect/queue.h>
#include <introspect/spawn.h>
#include <introspect/threads.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1 /* its own locks do not survive a fork among threads */
#define SCALE 10
#else
#define SANITIZED 0
#define SCALE 1
#endif

#define FUTURES (100000 / SCALE)
#define FIBERS (SANITIZED ? 200 : 1000)
#define BATCH 32
#define PRODUCERS 2

static void check(bool holds, const char *what, int line)
{
	if (holds)
		return;
	fprintf(stderr, "not ok - line %d: %s\n", line, what);
	abort();
}
#define CHECK(x) check(x, #x, __LINE__)

/* --- the clock of the day, which jumps: the runtime's own calls land here ------------------------
 */

static _Atomic unsigned long looks_at_the_day, looks, sleeps, interrupts;

int clock_gettime(clockid_t clock, struct timespec *time)
{
	static _Atomic int64_t jumps;

	if (syscall(SYS_clock_gettime, clock, time))
		return -1;
	looks++;
	if (clock == CLOCK_REALTIME) {
		looks_at_the_day++;
		time->tv_sec += (jumps++ % 2 ? 3600 : -3600);
	}
	return 0;
}

/* A deadline by the day's clock would be one of these: none may be asked for. */
long syscall(long number, ...)
{
	va_list args, looked_at;
	long result;

	va_start(args, number);
	if (number == SYS_futex) {
		va_copy(looked_at, args);
		(void)va_arg(looked_at, uint32_t *);
		CHECK(!(va_arg(looked_at, int) & FUTEX_CLOCK_REALTIME));
		va_end(looked_at);
		sleeps++;
	}
	result = real_syscall(number, args);
	va_end(args);
	return result;
}

/* --- actors ------------------------------------------------------------------------------------
 */

struct stage {
	int64_t until;
	struct intro_executor *plain, *helping, *dynamic;
	struct intro_queue *queue;
	struct intro_loop *loop;
	_Atomic bool closing;
	_Atomic unsigned long called; /* by the loop */
};

struct actor {
	pthread_t thread;
	void (*act)(struct actor *actor);
	struct stage *stage;
	unsigned seed;
	unsigned long acts;
	unsigned id;
	uint64_t next;		      /* a producer's number of its next item */
	uint64_t expected[PRODUCERS]; /* a consumer's of each of them */
};

static unsigned rnd(struct actor *actor, unsigned below)
{
	return (unsigned)rand_r(&actor->seed) % below;
}

static struct intro_executor *some_pool(struct actor *actor)
{
	struct intro_executor *pool[] = {actor->stage->plain, actor->stage->helping,
					 actor->stage->dynamic};

	return pool[rnd(actor, 3)];
}

struct job {
	struct intro_future future; /* first: aligned */
	struct intro_future child;
	struct intro_done_callback cb;
	struct intro_executor *pool;
	_Atomic int ran, called, child_ran;
	unsigned kind;
	bool has_child;
};

static int run_child(struct intro_call *call)
{
	struct job *job = (struct job *)call->arg;

	job->child_ran++;
	return 0;
}

/* A task that waits for one of the same pool: a worker, or a guest, helps. */
static int run_job(struct intro_call *call)
{
	struct job *job = (struct job *)call->arg;

	job->ran++;
	if (job->kind == 0) {
		intro_future_init(&job->child);
		CHECK(!intro_executor_submit(job->pool, &job->child, run_child, job, 0));
		CHECK(!intro_future_result(&job->child, INTRO_FOREVER, NULL));
		intro_future_destroy(&job->child);
	} else if (job->kind == 1) {
		sleep_ms(1);
	}
	return job->kind == 2 ? 7 : 0;
}

/* A chain: the callback of one submits the next. */
static void chain(struct intro_future *future, void *arg)
{
	struct job *job = arg;

	job->called++;
	if (job->kind == 3) {
		intro_future_init(&job->child);
		CHECK(!intro_executor_submit(job->pool, &job->child, run_child, job, 0));
		job->has_child = true;
	}
}

static void wait_any_way(struct actor *actor, struct intro_future **list)
{
	struct intro_as_completed *it;
	size_t index, yields = 0;
	int ret;

	switch (rnd(actor, 5)) {
	case 0:
		intro_future_wait(list, BATCH, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL);
		break;
	case 1:
		CHECK(intro_future_wait(list, BATCH, INTRO_FIRST_COMPLETED, INTRO_FOREVER, NULL) >
		      0);
		break;
	case 2:
		it = intro_as_completed_new(list, BATCH);
		while ((ret = intro_as_completed_next(it, rnd(actor, 2) ? INTRO_FOREVER : 20000,
						      &index)))
			yields += ret == 1;
		CHECK(yields == BATCH);
		intro_as_completed_free(it);
		break;
	case 3:
		intro_future_wait(list, BATCH, INTRO_FIRST_EXCEPTION, rnd(actor, 1000) * 1000,
				  NULL);
		break;
	default:
		break;
	}
}

static void settle(struct job *job)
{
	int ret = intro_future_result(&job->future, INTRO_FOREVER, NULL);

	CHECK(ret == 0 || ret == -ECANCELED || ret == -EREMOTEIO);
	CHECK((ret == -EREMOTEIO) == (job->kind == 2 && job->ran));
	CHECK(job->ran == (ret != -ECANCELED));
	CHECK(intro_future_set_result(&job->future, (struct intro_result){0}) == -EINVAL);
	CHECK(!intro_future_cancel(&job->future) || ret == -ECANCELED);
	intro_future_destroy(&job->future); /* after its callbacks */
	CHECK(job->called == 1);
	if (job->has_child) {
		CHECK(intro_future_result(&job->child, INTRO_FOREVER, NULL) == 0);
		intro_future_destroy(&job->child);
	}
	CHECK(job->child_ran == (job->has_child || (job->kind == 0 && job->ran)));
}

static void act_futures(struct actor *actor)
{
	struct job *job = aligned_alloc(64, BATCH * sizeof(*job));
	struct intro_future *list[BATCH];

	for (unsigned i = 0; i < BATCH; i++) {
		memset(&job[i], 0, sizeof(job[i]));
		job[i].kind = rnd(actor, 12);
		job[i].pool = some_pool(actor);
		job[i].cb = (struct intro_done_callback){.fn = chain, .arg = &job[i]};
		list[i] = &job[i].future;
		intro_future_init(&job[i].future);
		intro_future_add_done_callback(&job[i].future, &job[i].cb);
		CHECK(!intro_executor_submit(job[i].pool, &job[i].future, run_job, &job[i], 0));
		if (rnd(actor, 8) == 0)
			intro_future_cancel(&job[rnd(actor, i + 1)].future);
	}
	wait_any_way(actor, list);
	for (unsigned i = 0; i < BATCH; i++)
		settle(&job[i]);
	free(job);
}

static int square(struct intro_call *call)
{
	uint64_t x = *(const uint64_t *)call->arg;

	return intro_call_return(call, (void *)(uintptr_t)(x * x), 0);
}

static int add_up(size_t index, const struct intro_result *result, const struct intro_error *error,
		  void *ctx)
{
	uint64_t *left = ctx;

	CHECK(!error && (uintptr_t)result->data == index * index);
	return --*left == 0;
}

/* A map, now and then abandoned. */
static void act_map(struct actor *actor)
{
	uint64_t items[200], left = 1 + rnd(actor, 300);
	int stopped = left <= 200;

	for (unsigned i = 0; i < 200; i++)
		items[i] = i;
	CHECK(intro_executor_map(some_pool(actor), square, items, 200, sizeof(items[0]),
				 1 + rnd(actor, 20), INTRO_FOREVER, add_up, &left) == stopped);
	intro_executor_maintain(actor->stage->dynamic);
}

static int count(struct intro_call *call)
{
	*(unsigned char *)call->arg += 1;
	return 0;
}

static void act_many(struct actor *actor)
{
	struct intro_future *f = aligned_alloc(64, FUTURES * sizeof(*f));
	struct intro_future **list = malloc(FUTURES * sizeof(*list));
	unsigned char *ran = calloc(FUTURES, 1);
	struct intro_executor *pool = some_pool(actor);

	for (unsigned i = 0; i < FUTURES; i++) {
		list[i] = &f[i];
		intro_future_init(&f[i]);
		CHECK(!intro_executor_submit(pool, &f[i], count, &ran[i], 0));
	}
	CHECK(intro_future_wait(list, FUTURES, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL) ==
	      FUTURES);
	for (unsigned i = 0; i < FUTURES; i++) {
		CHECK(ran[i] == 1);
		intro_future_destroy(&f[i]);
	}
	free(f);
	free(list);
	free(ran);
}

static void act_pools(struct actor *actor)
{
	struct intro_executor *pool = intro_thread_executor_new(
		POOL_OPTIONS(.name = "brief", .workers = 1 + rnd(actor, 3),
			     .waiters_help = rnd(actor, 2), .caller_runs = rnd(actor, 4)));
	struct intro_future f[8];
	unsigned flags = rnd(actor, 4);

	for (unsigned i = 0; i < 8; i++) {
		struct job job = {.kind = 0};

		intro_future_init(&f[i]);
		CHECK(!intro_executor_submit(pool, &f[i], run_child, &job, 0));
		if (rnd(actor, 2))
			intro_future_result(&f[i], INTRO_FOREVER, NULL);
		intro_future_destroy(&f[i]); /* cancels it, or waits for its end */
		CHECK(job.child_ran <= 1);
	}
	intro_executor_shutdown(pool, flags);
	intro_executor_free(pool);
}

/* --- a queue that is full all the time ----------------------------------------------------------
 */

static void act_producer(struct actor *actor)
{
	uint64_t item = (actor->next << 1 | (actor->id & 1)) << 1 | 1;
	int err = intro_queue_put(actor->stage->queue, (void *)(uintptr_t)item,
				  rnd(actor, 4) ? 50 * MSEC : (int64_t)rnd(actor, 20000));

	CHECK(err == 0 || err == -ETIMEDOUT);
	actor->next += !err;
}

/* Each producer's come in its order, none twice, none missing. */
static void act_consumer(struct actor *actor)
{
	uint64_t *expected = actor->expected;
	void *item;
	uint64_t number;

	sleep_ms(1);
	for (unsigned i = 0; i < 3; i++) {
		int err = intro_queue_get(actor->stage->queue, &item, 10 * MSEC);

		CHECK(err == 0 || err == -ETIMEDOUT);
		if (err)
			return;
		number = (uintptr_t)item >> 1;
		CHECK(number >> 1 == expected[number & 1]++);
		CHECK(!intro_queue_task_done(actor->stage->queue));
	}
}

/* --- locks, threads, fibers, a loop --------------------------------------------------------------
 */

static struct intro_mutex mutex;
static struct intro_recursive recursive;
static struct intro_condition condition;
static struct intro_semaphore semaphore;
static struct intro_event event;
static int held; /* guarded by mutex */
static _Atomic int inside;
static struct intro_local *local;

static void act_locks(struct actor *actor)
{
	int64_t timeout = rnd(actor, 2) ? INTRO_FOREVER : (int64_t)rnd(actor, 100000);

	if (!intro_mutex_acquire(&mutex, timeout)) {
		CHECK(held++ == 0);
		if (rnd(actor, 4) == 0) {
			held--;
			intro_condition_wait(&condition, 100000);
			held++;
		}
		if (rnd(actor, 2))
			intro_condition_notify_all(&condition);
		held--;
		CHECK(!intro_mutex_release(&mutex));
	}
	if (!intro_semaphore_acquire(&semaphore, timeout)) {
		CHECK(++inside <= 2);
		inside--;
		CHECK(!intro_semaphore_release(&semaphore, 1));
	}
	if (!intro_recursive_acquire(&recursive, timeout)) {
		CHECK(!intro_recursive_acquire(&recursive, 0));
		CHECK(!intro_recursive_release(&recursive));
		CHECK(!intro_recursive_release(&recursive));
	}
	if (rnd(actor, 2))
		intro_event_set(&event);
	else if (intro_event_wait(&event, 50000) == 0)
		intro_event_clear(&event);
}

static void *doubled(void *arg)
{
	CHECK(!intro_local_set(local, &local));
	return (void *)((uintptr_t)arg * 2);
}

static int no_more(struct intro_call *call)
{
	return 0;
}

static void act_threads(struct actor *actor)
{
	struct intro_thread_handle *thread[4];
	void *result;

	for (uintptr_t i = 0; i < 4; i++) {
		thread[i] = intro_thread_new(doubled, (void *)i, NULL);
		CHECK(thread[i] && !intro_thread_start(thread[i]));
		CHECK(intro_thread_start(thread[i]) < 0);
		CHECK(!intro_local_set(local, thread));
		CHECK(!intro_function_register("stress", no_more));
	}
	for (uintptr_t i = 0; i < 4; i++) {
		CHECK(!intro_thread_join(thread[i], INTRO_FOREVER, &result));
		CHECK((uintptr_t)result == 2 * i);
		intro_thread_free(thread[i]);
	}
}

static struct intro_channel *channel;

static int fiber(void *arg)
{
	uint64_t number = (uintptr_t)arg;

	intro_fiber_yield();
	if (number % 50 == 0)
		intro_fiber_sleep(100000);
	CHECK(!intro_channel_send(channel, &number, INTRO_FOREVER));
	return 0;
}

static int fiber_sum(void *arg)
{
	uint64_t number, sum = 0;

	for (unsigned i = 0; i < FIBERS; i++) {
		CHECK(!intro_channel_receive(channel, &number, INTRO_FOREVER));
		sum += number;
	}
	CHECK(sum == (uint64_t)FIBERS * (FIBERS - 1) / 2);
	return 0;
}

static void act_fibers(struct actor *actor)
{
	struct intro_fibers_options options = {.size = sizeof(options),
					       .threads = 1 + rnd(actor, 3)};
	struct intro_fibers *fibers = intro_fibers_new(&options);

	channel = intro_channel_new(sizeof(uint64_t), rnd(actor, 20));
	CHECK(fibers && channel);
	CHECK(!intro_fiber_spawn(fibers, fiber_sum, NULL, NULL));
	for (uintptr_t i = 0; i < FIBERS; i++)
		CHECK(!intro_fiber_spawn(fibers, fiber, (void *)i, NULL));
	CHECK(!intro_fibers_wait(fibers, INTRO_FOREVER));
	intro_fibers_free(fibers);
	intro_channel_free(channel);
}

static void called(void *arg)
{
	struct stage *stage = arg;

	stage->called++;
}

static void act_loop(struct actor *actor)
{
	CHECK(!intro_loop_call_soon_threadsafe(actor->stage->loop, called, actor->stage));
	if (actor->acts % 64 == 0)
		sleep_ms(1);
}

static void *loop_main(void *arg)
{
	struct stage *stage = arg;

	CHECK(!intro_loop_run(stage->loop));
	return NULL;
}

/* --- forks while the others hold whatever they hold ----------------------------------------------
 */

/* What else a program may want of the runtime that it was forked with: all of it anew. */
static int in_child_anew(void)
{
	struct intro_queue *queue = intro_queue_new(NULL);
	struct intro_loop *loop = intro_loop_new("child");
	struct intro_executor *pool =
		intro_process_executor_new(POOL_OPTIONS(.name = "child", .workers = 1));
	struct intro_future f;
	void *item;

	if (!queue || intro_queue_put(queue, &f, 0) || intro_queue_get(queue, &item, 0))
		return 10;
	intro_queue_free(queue);
	if (!loop || intro_loop_run_until_idle(loop))
		return 11;
	intro_loop_free(loop);
	intro_future_init(&f);
	if (!pool || intro_executor_submit(pool, &f, no_more, NULL, 0) ||
	    intro_future_result(&f, INTRO_FOREVER, NULL))
		return 12;
	intro_future_destroy(&f);
	intro_executor_free(pool);
	if (intro_local_get(local) || intro_local_set(local, &f) || intro_local_get(local) != &f)
		return 13;
	return intro_function_register("child", no_more) ? 14 : 0;
}

static int in_child(struct stage *stage, bool all)
{
	struct intro_executor_statistics stats = {.size = sizeof(stats)};
	struct intro_future f;
	struct intro_executor *pool;
	void *result;

	intro_future_init(&f);
	for (int i = 0; i < 3; i++) {
		pool = i == 0 ? stage->plain : i == 1 ? stage->helping : stage->dynamic;
		if (intro_executor_submit(pool, &f, count, NULL, 0) != -ESHUTDOWN ||
		    intro_executor_statistics(pool, &stats) != -ESHUTDOWN ||
		    intro_executor_broken(pool, NULL) != -ESHUTDOWN)
			return 1;
		intro_executor_free(pool);
	}
	alarm(30);
	intro_mark_name("in a child");
	intro_mark_pool("of a child", 1);
	if (!intro_mark_task())
		return 2;
	pool = intro_thread_executor_new(POOL_OPTIONS(.name = "child", .workers = 2));
	if (!pool || intro_executor_submit(pool, &f, run_child, &(struct job){.kind = 0}, 0) ||
	    intro_future_result(&f, INTRO_FOREVER, NULL))
		return 3;
	intro_future_destroy(&f);
	intro_executor_free(pool);
	if (intro_thread_active_count() != 1)
		return 4;
	struct intro_thread_handle *thread = intro_thread_new(doubled, (void *)4, NULL);

	if (!thread || intro_thread_start(thread) ||
	    intro_thread_join(thread, INTRO_FOREVER, &result) || (uintptr_t)result != 8)
		return 5;
	intro_thread_free(thread);
	return all ? in_child_anew() : 0;
}

static void act_fork(struct actor *actor)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (!child)
		syscall(SYS_exit_group, in_child(actor->stage, actor->acts % 4 == 0));
	while (waitpid(child, &status, 0) < 0)
		CHECK(errno == EINTR);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fprintf(stderr, "the child ended with %#x\n", (unsigned)status);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	sleep_ms(5);
}

/* --- the whole -------------------------------------------------------------------------------- */

static void *act(void *arg)
{
	struct actor *actor = arg;

	/* a consumer goes on until nobody produces any more */
	while (now_ns() < actor->stage->until ||
	       (actor->act == act_consumer && !actor->stage->closing)) {
		actor->act(actor);
		actor->acts++;
	}
	return NULL;
}

static void stage_begin(struct stage *stage, unsigned seconds)
{
	struct intro_queue_options queue = {.size = sizeof(queue), .capacity = 4};

	*stage = (struct stage){
		.plain = intro_thread_executor_new(POOL_OPTIONS(.name = "plain", .workers = 3)),
		.helping = intro_thread_executor_new(POOL_OPTIONS(.name = "helping", .workers = 2,
								  .waiters_help = true,
								  .caller_runs = 40)),
		.dynamic =
			intro_dynamic_executor_new(POOL_OPTIONS(.name = "dynamic", .workers = 4)),
		.queue = intro_queue_new(&queue),
		.loop = intro_loop_new("stress"),
	};
	CHECK(stage->plain && stage->helping && stage->dynamic && stage->queue && stage->loop);
	intro_mutex_init(&mutex, "mutex");
	intro_recursive_init(&recursive, "recursive");
	intro_condition_init(&condition, &mutex, "condition");
	intro_semaphore_init_bounded(&semaphore, 2, "semaphore");
	intro_event_init(&event, "event");
	local = intro_local_new(NULL);
	CHECK(local);
	stage->until = now_ns() + (int64_t)seconds * SEC;
}

static void stage_end(struct stage *stage)
{
	struct intro_executor *pool[] = {stage->plain, stage->helping, stage->dynamic};
	struct intro_executor_statistics stats = {.size = sizeof(stats)};

	for (int i = 0; i < 3; i++) {
		intro_executor_shutdown(pool[i], INTRO_SHUTDOWN_WAIT);
		CHECK(!intro_executor_statistics(pool[i], &stats));
		CHECK(stats.submitted == stats.executed + stats.cancelled + stats.lost);
		CHECK(stats.backlog == 0 && stats.lost == 0);
		intro_executor_free(pool[i]);
	}
	intro_queue_free(stage->queue);
	intro_loop_free(stage->loop);
	intro_local_free(local);
}

static void everything_at_once(void)
{
	static const struct {
		const char *name;
		void (*act)(struct actor *actor);
	} parts[] = {
		{"futures", act_futures}, {"futures", act_futures}, {"maps", act_map},
		{"many", act_many},	  {"pools", act_pools},	    {"puts", act_producer},
		{"puts", act_producer},	  {"gets", act_consumer},   {"locks", act_locks},
		{"locks", act_locks},	  {"locks", act_locks},	    {"threads", act_threads},
		{"fibers", act_fibers},	  {"calls", act_loop},	    {"forks", act_fork},
	};
	enum {
		PARTS = sizeof(parts) / sizeof(parts[0]),
		CALLS = PARTS - 2,
		ACTORS = SANITIZED ? PARTS - 1 : PARTS, /* the last one forks */
	};
	static struct actor actor[ACTORS];
	struct stage stage;
	pthread_t loop;

	stage_begin(&stage, stress_seconds(4) / 2);
	pthread_create(&loop, NULL, loop_main, &stage);
	for (unsigned i = 0; i < ACTORS; i++) {
		actor[i] = (struct actor){.act = parts[i].act, .stage = &stage, .id = i, .seed = i};
		pthread_create(&actor[i].thread, NULL, act, &actor[i]);
	}
	for (unsigned i = 0; i < ACTORS; i++) {
		if (parts[i].act == act_consumer) {
			pthread_join(actor[5].thread, NULL);
			pthread_join(actor[6].thread, NULL);
			CHECK(!intro_queue_join(stage.queue, INTRO_FOREVER));
			stage.closing = true;
		}
		if (parts[i].act != act_producer)
			pthread_join(actor[i].thread, NULL);
	}
	while (stage.called < actor[CALLS].acts)
		sleep_ms(1);
	intro_loop_stop(stage.loop);
	pthread_join(loop, NULL);
	CHECK(stage.called == actor[CALLS].acts);
	stage_end(&stage);
	printf("# figure stress:");
	for (unsigned i = 0; i < ACTORS; i++) {
		printf(" %lu %s", actor[i].acts, parts[i].name);
		assert_true(actor[i].acts > 0);
	}
	printf("\n");
	assert_true(looks > 0 && sleeps > 0 && interrupts > 0); /* they do come this way */
	assert_int_equal(looks_at_the_day, 0);
}

static void without_marks(void **state)
{
	everything_at_once();
}

/* Nobody reads them: most are lost, as they are where a tracer is too slow. */
static void with_marks(void **state)
{
	size_t n;

	marks_begin();
	everything_at_once();
	free(marks_end(&n));
	assert_true(n > 0);
}

static void interrupted(int sig)
{
	interrupts++;
}

/* No call is restarted by the kernel. Forked children have no timers. */
static void interrupt_calls(void)
{
	struct sigaction action = {.sa_handler = interrupted};
	struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	struct itimerspec often = {.it_value.tv_nsec = MSEC, .it_interval.tv_nsec = MSEC};
	timer_t timer;

	sigaction(SIGUSR2, &action, NULL);
	CHECK(!timer_create(CLOCK_MONOTONIC, &how, &timer));
	CHECK(!timer_settime(timer, 0, &often, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_marks),
		cmocka_unit_test(with_marks),
	};

	private_area();
	watchdog(stress_seconds(4) + 240);
	interrupt_calls();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
