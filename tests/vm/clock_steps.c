// SPDX-License-Identifier: BSD-2-Clause
/*
 * clock_steps ahead|back: every wait of the runtime that has a limit of time, while the day's clock
 * is set an hour ahead, or back, again and again. One that went by that clock would end at once, or
 * not at all. Only in the virtual machine: the clock is everybody's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <introspect/connection.h>
#include <introspect/fiber.h>
#include <introspect/interpreter.h>
#include <introspect/locks.h>
#include <introspect/loop.h>
#include <introspect/manager.h>
#include <introspect/periodic.h>
#include <introspect/process_pool.h>
#include <introspect/process_queue.h>
#include <introspect/queue.h>
#include <introspect/service.h>
#include <introspect/shared.h>
#include <introspect/threads.h>

#define MSEC 1000000ll
#define LIMIT (60 * MSEC)
/* An emulated machine on a busy one is slow, but not by that. */
#define MOST (60000 * MSEC)
#define HOUR 3600

static _Atomic bool over;
static _Atomic unsigned steps;
static unsigned tests, failed;

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 * MSEC + t.tv_nsec;
}

static void *step_the_clock(void *arg)
{
	struct timespec t, pause = {.tv_nsec = 3 * MSEC};

	while (!over) {
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_sec += *(const int *)arg;
		if (clock_settime(CLOCK_REALTIME, &t))
			break;
		steps++;
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void result(bool good, const char *name, int err, int64_t took)
{
	printf("%sok %u - %s\n", good ? "" : "not ", ++tests, name);
	if (!good) {
		printf("# %d (%s), %lld us\n", err, strerror(err < 0 ? -err : 0),
		       (long long)took / 1000);
		failed++;
	}
}

/* The call gives up after LIMIT. */
#define GIVES_UP(name, call)                                                                       \
	do {                                                                                       \
		int64_t since = now();                                                             \
		int got = call;                                                                    \
		int64_t took = now() - since;                                                      \
                                                                                                   \
		result(got == -ETIMEDOUT && took >= LIMIT && took < MOST, name, got, took);        \
	} while (0)

static void takes_its_time(const char *name, int err, int64_t took)
{
	result(!err && took >= LIMIT && took < MOST, name, err, took);
}

/* --- threads, locks, queues ---------------------------------------------------------------------
 */

static struct intro_event done;
static struct intro_recursive recursive;
static struct intro_shared_array *array;
static struct intro_interpreter *interpreter;
static _Atomic bool holds;

/* Has what its owner alone can have, until all is done. */
static void *holder(void *arg)
{
	struct timespec pause = {.tv_nsec = MSEC};

	intro_recursive_acquire(&recursive, INTRO_FOREVER);
	intro_shared_array_lock(array, INTRO_FOREVER);
	intro_interpreter_acquire(interpreter);
	holds = true;
	while (!intro_event_is_set(&done)) {
		/* who spins keeps the other emulated CPUs from running */
		nanosleep(&pause, NULL);
		intro_interpreter_check(interpreter);
	}
	intro_interpreter_release(interpreter);
	intro_shared_array_unlock(array);
	intro_recursive_release(&recursive);
	return NULL;
}

static bool never(void *arg)
{
	return false;
}

static void locks(struct intro_thread_handle *thread)
{
	struct intro_mutex mutex = {0};
	struct intro_condition condition;
	struct intro_semaphore semaphore = {0};
	struct intro_barrier barrier;
	int64_t began;
	int err;

	intro_mutex_acquire(&mutex, 0);
	intro_condition_init(&condition, &mutex, NULL);
	intro_barrier_init(&barrier, 2, NULL, NULL, NULL);
	GIVES_UP("mutex", intro_mutex_acquire(&mutex, LIMIT));
	GIVES_UP("recursive lock", intro_recursive_acquire(&recursive, LIMIT));
	GIVES_UP("condition", intro_condition_wait(&condition, LIMIT));
	GIVES_UP("condition, with a predicate",
		 intro_condition_wait_for(&condition, never, NULL, LIMIT));
	GIVES_UP("semaphore", intro_semaphore_acquire(&semaphore, LIMIT));
	GIVES_UP("event", intro_event_wait(&done, LIMIT));
	GIVES_UP("barrier", intro_barrier_wait(&barrier, LIMIT));
	GIVES_UP("join of a thread", intro_thread_join(thread, LIMIT, NULL));
	GIVES_UP("join of all threads", intro_thread_join_all(LIMIT));
	GIVES_UP("lock of a shared array", intro_shared_array_lock(array, LIMIT));
	intro_interpreter_set_interval(interpreter, LIMIT);
	began = now();
	err = intro_interpreter_acquire(interpreter);
	takes_its_time("interpreter lock, handed over after an interval", err, now() - began);
	intro_interpreter_release(interpreter);
}

static void queues(void)
{
	struct intro_queue_options options = {.size = sizeof(options), .capacity = 1};
	struct intro_process_queue_options shared = {.size = sizeof(shared), .capacity = 1};
	struct intro_queue *queue = intro_queue_new(&options), *empty = intro_queue_new(NULL);
	struct intro_process_queue *far = intro_process_queue_new(&shared),
				   *nothing = intro_process_queue_new(NULL);
	struct intro_connection *ends[2];
	void *item;
	char byte = 0;
	size_t size;
	int64_t began;
	int err;

	intro_queue_put(queue, NULL, 0);
	GIVES_UP("put to a full queue", intro_queue_put(queue, NULL, LIMIT));
	GIVES_UP("get from an empty queue", intro_queue_get(empty, &item, LIMIT));
	GIVES_UP("join of a queue", intro_queue_join(queue, LIMIT));
	intro_process_queue_put(far, &byte, 1, 0);
	GIVES_UP("put to a full process queue", intro_process_queue_put(far, &byte, 1, LIMIT));
	GIVES_UP("get from an empty process queue",
		 intro_process_queue_get(nothing, &byte, 1, &size, LIMIT));
	GIVES_UP("join of a process queue", intro_process_queue_join(far, LIMIT));
	intro_connection_pair(true, ends);
	began = now();
	err = intro_connection_poll(ends[0], LIMIT);
	takes_its_time("poll of a connection", err, now() - began);
	intro_connection_free(ends[0]);
	intro_connection_free(ends[1]);
	intro_process_queue_free(far);
	intro_process_queue_free(nothing);
	intro_queue_free(queue);
	intro_queue_free(empty);
}

/* --- futures and pools --------------------------------------------------------------------------
 */

static int outlasts(struct intro_call *call)
{
	struct timespec t = {.tv_nsec = 10 * LIMIT};

	nanosleep(&t, NULL);
	return 0;
}

static int taken(size_t index, const struct intro_result *outcome, const struct intro_error *error,
		 void *ctx)
{
	return 0;
}

static void futures(void)
{
	struct intro_executor_options options = {.size = sizeof(options), .workers = 1};
	struct intro_process_pool_options processes = {.size = sizeof(processes), .workers = 1};
	struct intro_executor *executor = intro_thread_executor_new(&options);
	struct intro_process_pool *pool = intro_process_pool_new(&processes);
	struct intro_future future, *list[] = {&future};
	struct intro_as_completed *completed;
	struct intro_imap_item item;
	struct intro_imap *imap;
	size_t index;
	char byte = 0;

	intro_future_init(&future);
	completed = intro_as_completed_new(list, 1);
	GIVES_UP("result of a future", intro_future_result(&future, LIMIT, NULL));
	GIVES_UP("error of a future", intro_future_error(&future, LIMIT, NULL));
	GIVES_UP("wait for futures",
		 intro_future_wait(list, 1, INTRO_FIRST_COMPLETED, LIMIT, NULL));
	GIVES_UP("as_completed", intro_as_completed_next(completed, LIMIT, &index));
	intro_as_completed_free(completed);
	intro_future_destroy(&future);
	GIVES_UP("map of an executor",
		 intro_executor_map(executor, outlasts, &byte, 1, 1, 1, LIMIT, taken, NULL));
	GIVES_UP("map of a process pool",
		 intro_process_pool_map(pool, outlasts, &byte, 1, 1, 1, LIMIT, taken, NULL));
	imap = intro_process_pool_imap(pool, outlasts, &byte, 1, 1, 1);
	GIVES_UP("next of an imap", intro_imap_next(imap, LIMIT, &item));
	intro_imap_free(imap);
	intro_process_pool_free(pool);
	intro_executor_free(executor);
}

/* --- fibers, loop, periodic worker --------------------------------------------------------------
 */

static int fiber_sleeps(void *arg)
{
	int64_t began = now();
	int err = intro_fiber_sleep(LIMIT);

	takes_its_time("sleep of a fiber", err, now() - began);
	return 0;
}

static int fiber_receives(void *channel)
{
	char byte;

	GIVES_UP("receive in a fiber", intro_channel_receive(channel, &byte, LIMIT));
	return 0;
}

static int fiber_stays(void *arg)
{
	while (!intro_event_is_set(arg))
		intro_fiber_sleep(MSEC);
	return 0;
}

static void fibers(void)
{
	struct intro_fibers_options options = {.size = sizeof(options), .threads = 1};
	struct intro_fibers *all = intro_fibers_new(&options);
	struct intro_channel *channel = intro_channel_new(1, 0);
	struct intro_event enough = {0};
	struct intro_fiber *fiber;
	char byte = 0;

	intro_fiber_spawn(all, fiber_sleeps, NULL, NULL);
	intro_fibers_wait(all, INTRO_FOREVER);
	intro_fiber_spawn(all, fiber_receives, channel, NULL);
	intro_fibers_wait(all, INTRO_FOREVER);
	intro_fiber_spawn(all, fiber_stays, &enough, &fiber);
	GIVES_UP("join of a fiber", intro_fiber_join(fiber, LIMIT, NULL));
	GIVES_UP("wait for all fibers", intro_fibers_wait(all, LIMIT));
	GIVES_UP("send to a channel", intro_channel_send(channel, &byte, LIMIT));
	GIVES_UP("receive from a channel", intro_channel_receive(channel, &byte, LIMIT));
	intro_event_set(&enough);
	intro_fiber_free(fiber);
	intro_fibers_free(all);
	intro_channel_free(channel);
}

static void keep_time(void *at)
{
	*(int64_t *)at = now();
}

static int64_t runs_at[5];

static int runs(struct intro_call *call)
{
	size_t *n = (size_t *)call->arg;

	runs_at[(*n)++] = now();
	return *n == sizeof(runs_at) / sizeof(runs_at[0]) ? INTRO_NEVER_AGAIN : 0;
}

static void schedules(void)
{
	struct intro_loop *loop = intro_loop_new(NULL);
	struct intro_periodic_options options = {.size = sizeof(options)};
	size_t n = 0;
	struct intro_periodic_task task = {.size = sizeof(task),
					   .fn = runs,
					   .arg = &n,
					   .spacing_ns = LIMIT / 4 + 1,
					   .run_immediately = true};
	struct intro_periodic *worker = intro_periodic_new(&options);
	int64_t began = now(), ran = 0;
	int err;

	intro_loop_call_later(loop, LIMIT, keep_time, &ran, NULL);
	err = intro_loop_run_until_idle(loop);
	takes_its_time("timer of a loop", err, ran - began);
	intro_loop_free(loop);
	intro_periodic_add(worker, &task);
	intro_periodic_start(worker, INTRO_PERIODIC_STOP_IF_EMPTY);
	err = intro_periodic_wait(worker, INTRO_FOREVER);
	takes_its_time("five runs of a periodic worker", err, runs_at[4] - runs_at[0]);
	intro_periodic_reset(worker);
	task.spacing_ns = HOUR * 1000 * MSEC;
	task.run_immediately = false;
	intro_periodic_add(worker, &task);
	n = 0;
	intro_periodic_start(worker, 0);
	GIVES_UP("wait for a periodic worker", intro_periodic_wait(worker, LIMIT));
	intro_periodic_free(worker);
}

/* --- processes ----------------------------------------------------------------------------------
 */

static void manager(void)
{
	struct intro_manager *m = intro_manager_new(NULL);
	uint64_t queue, full, lock, event;
	size_t size;
	void *data;

	intro_manager_make(m, INTRO_MANAGER_QUEUE, 0, &queue);
	intro_manager_make(m, INTRO_MANAGER_QUEUE, 1, &full);
	intro_manager_make(m, INTRO_MANAGER_LOCK, 0, &lock);
	intro_manager_make(m, INTRO_MANAGER_EVENT, 0, &event);
	intro_manager_queue_put(m, full, "x", 1, 0);
	intro_manager_lock_acquire(m, lock, 0);
	GIVES_UP("get from a manager's queue",
		 intro_manager_queue_get(m, queue, &data, &size, LIMIT));
	GIVES_UP("put to a manager's queue", intro_manager_queue_put(m, full, "x", 1, LIMIT));
	GIVES_UP("join of a manager's queue", intro_manager_queue_join(m, full, LIMIT));
	GIVES_UP("a manager's lock", intro_manager_lock_acquire(m, lock, LIMIT));
	GIVES_UP("a manager's event", intro_manager_event_wait(m, event, LIMIT));
	intro_manager_free(m);
}

/* What the workers, of which the third does not end when it is told, and the hooks write down. */
static struct {
	_Atomic int64_t waited, died, back, told, ended;
	_Atomic int runs;
} * served;

static int serves(struct intro_service_worker *worker)
{
	int64_t began = now();
	int run = ++served->runs;

	while (run == 3)
		pause();
	if (intro_service_wait(worker, LIMIT))
		return 1;
	served->waited = now() - began;
	served->died = now();
	/* the first is replaced at once, the second after the least back-off */
	_exit(1);
}

static void born(const struct intro_service_event *event, void *manager)
{
	static int births;

	if (++births != 3)
		return;
	served->told = now();
	served->back = served->told - served->died;
	intro_service_manager_stop(*(struct intro_service_manager **)manager, false);
}

static void dead(const struct intro_service_event *event, void *arg)
{
	served->ended = now() - served->told;
}

static void services(void)
{
	struct intro_service_manager *m;
	struct intro_service_manager_options options = {.size = sizeof(options),
							.graceful_timeout_ns = LIMIT,
							.backoff_min_ns = LIMIT,
							.no_signals = true,
							.new_worker = born,
							.dead_worker = dead,
							.hook_arg = &m};
	struct intro_service service = {.size = sizeof(service), .name = "serve", .run = serves};
	int err;

	served = mmap(NULL, sizeof(*served), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	m = intro_service_manager_new(&options);
	intro_service_manager_add(m, &service);
	err = intro_service_manager_run(m);
	takes_its_time("wait in a service's worker", err, served->waited);
	takes_its_time("back-off of a worker", err, served->back);
	takes_its_time("end of a worker that does not obey", err, served->ended);
	intro_service_manager_free(m);
}

int main(int argc, char **argv)
{
	struct intro_thread_handle *thread;
	pthread_t stepper;
	unsigned before;
	int step = argc == 2 && !strcmp(argv[1], "back") ? -HOUR : HOUR;

	if (access("/run/vm/settings", F_OK)) {
		puts("sets the clock: in the virtual machine of the tests alone");
		return 77;
	}
	alarm(110); /* by no clock that is set */
	setvbuf(stdout, NULL, _IOLBF, 0);
	pthread_create(&stepper, NULL, step_the_clock, &step);
	intro_recursive_init(&recursive, NULL);
	array = intro_shared_array_new(INTRO_SHARED_INT64, 1, NULL);
	interpreter = intro_interpreter_new(0);
	thread = intro_thread_new(holder, NULL, NULL);
	if (!array || !interpreter || !thread || intro_thread_start(thread))
		return 1;
	while (!holds)
		sched_yield();
	locks(thread);
	queues();
	futures();
	fibers();
	schedules();
	manager();
	services();
	before = steps;
	intro_event_set(&done);
	intro_thread_join(thread, INTRO_FOREVER, NULL);
	intro_thread_free(thread);
	intro_interpreter_free(interpreter);
	intro_shared_array_free(array);
	over = true;
	pthread_join(stepper, NULL);
	result(before > 100, "the clock was set more than a hundred times meanwhile", 0, before);
	printf("1..%u\n# figure the clock was set %u times\n", tests, steps);
	return failed != 0;
}
