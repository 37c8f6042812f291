/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Functions that end the thread which the runtime calls them in (pthread_exit, pthread_cancel), but
 * for tasks of thread pools (test_rt_thread_exit): nothing hangs, and all else goes on.
 */
#include "rt_support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/connection.h>
#include <introspect/fiber.h>
#include <introspect/locks.h>
#include <introspect/loop.h>
#include <introspect/periodic.h>
#include <introspect/process_pool.h>
#include <introspect/service.h>
#include <introspect/threads.h>

static int waits(struct intro_call *call)
{
	gate_wait(*(struct gate *const *)call->arg);
	return 0;
}

/* Also with a thread more in its process, which would keep that alive. */
static void *stays(void *arg)
{
	sleep_ms(1000000);
	return NULL;
}

static int makes_a_thread_and_exits(struct intro_call *call)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, stays, NULL))
		return 1;
	end_thread();
	return 0;
}

static void exits_in_callback(struct intro_future *future, void *arg)
{
	end_thread();
}

/* Runs `fn(arg)` in a thread that ends in it, or should. */
static void in_a_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;
	void *result = arg;

	assert_int_equal(pthread_create(&thread, NULL, fn, arg), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_true(!result || result == PTHREAD_CANCELED);
}

/* --- loops ------------------------------------------------------------------------------------ */

static void *runs_loop(void *loop)
{
	intro_loop_run(loop);
	return loop;
}

static void call_exits(void *called)
{
	++*(int *)called;
	end_thread();
}

static void call_counts(void *called)
{
	++*(int *)called;
}

static void handler_exits(const char *event, void *data, void *called)
{
	++*(int *)called;
	end_thread();
}

static void ready_exits(int fd, uint32_t events, void *called)
{
	char byte;

	assert_int_equal(read(fd, &byte, 1), 1);
	++*(int *)called;
	end_thread();
}

/* Each that exits ends one run; what is left of its turn comes first in the next. */
static void a_loop_goes_on_in_another_thread(void **state)
{
	struct intro_loop *loop = intro_loop_new("exits");
	struct intro_executor *e = intro_loop_executor_new(loop, NULL);
	struct intro_future f[2];
	int called = 0, pipes[2];
	struct intro_rec_mark *m;
	size_t n;

	marks_begin();
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(write(pipes[1], "x", 1), 1);
	assert_int_equal(intro_loop_add(loop, pipes[0], EPOLLIN, ready_exits, &called), 0);
	assert_int_equal(intro_loop_on(loop, "event", handler_exits, &called), 0);
	assert_int_equal(intro_loop_call_soon(loop, call_counts, &called), 0);
	assert_int_equal(intro_loop_call_soon(loop, call_exits, &called), 0);
	assert_int_equal(intro_loop_emit(loop, "event", NULL), 1);
	submit_new(e, &f[0], exits, NULL, 0);
	assert_int_equal(intro_loop_call_soon(loop, call_exits, &called), 0);
	submit_new(e, &f[1], nothing, NULL, 0);
	assert_int_equal(intro_loop_call_later(loop, MSEC, call_exits, &called, NULL), 0);
	for (int i = 0; i < 6; i++)
		in_a_thread(runs_loop, loop);
	assert_int_equal(called, 6);
	assert_int_equal(intro_future_result(&f[0], 0, NULL), -EOWNERDEAD);
	assert_int_equal(intro_future_result(&f[1], 0, NULL), 0);
	assert_int_equal(intro_loop_task(loop), 0);
	assert_int_equal(intro_loop_call_soon(loop, call_counts, &called), 0);
	assert_int_equal(intro_loop_run_until_idle(loop), 0);
	assert_int_equal(called, 7);
	intro_executor_free(e);
	intro_loop_free(loop);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_START, 0),
			 marks_count(m, n, INTRO_KIND_END, 0));
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_START, 0), 7);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_STOP, 0), 7);
	free(m);
	for (int i = 0; i < 2; i++) {
		intro_future_destroy(&f[i]);
		close(pipes[i]);
	}
}

/* Also one that waits, and so can be cancelled by anybody. */
static void a_loop_is_cancelled(void **state)
{
	struct intro_loop *loop;
	struct intro_executor *e;
	struct intro_future f;
	pthread_t thread;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* the frames that cancelling takes away stay there to a sanitizer */
#endif
	loop = intro_loop_new("exits");
	e = intro_loop_executor_new(loop, NULL);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(pthread_create(&thread, NULL, runs_loop, loop), 0);
		submit_new(e, &f, nothing, NULL, 0);
		assert_int_equal(intro_future_result(&f, 10 * SEC, NULL), 0);
		intro_future_destroy(&f);
		pthread_cancel(thread);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	intro_executor_free(e);
	intro_loop_free(loop);
}

/* --- fibers ----------------------------------------------------------------------------------- */

static int fiber_exits(void *arg)
{
	intro_fiber_yield();
	end_thread();
	return 0;
}

static int fiber_is_cancelled(void *arg)
{
	pthread_cancel(pthread_self());
	pthread_testcancel();
	return 0;
}

static int fiber_yields(void *arg)
{
	for (int i = 0; i < 10; i++)
		intro_fiber_yield();
	return 5;
}

static void a_fiber_ends_its_carrier(void **state)
{
	struct intro_fibers *fibers;
	struct intro_fiber *fiber[60];
	struct intro_rec_mark *m;
	size_t n, failed = 0;
	int status;

#ifdef __SANITIZE_THREAD__
	skip(); /* ThreadSanitizer knows no pthread_exit in a fiber of its own */
#endif
	marks_begin();
	fibers = intro_fibers_new(
		&(struct intro_fibers_options){.size = sizeof(struct intro_fibers_options),
					       .name = "exits",
					       .threads = *(unsigned *)*state});
	for (int i = 0; i < 60; i++)
		assert_int_equal(intro_fiber_spawn(fibers,
						   i % 3 == 0	? fiber_exits
						   : i % 3 == 1 ? fiber_is_cancelled
								: fiber_yields,
						   NULL, &fiber[i]),
				 0);
	for (int i = 0; i < 60; i++) {
		assert_int_equal(intro_fiber_join(fiber[i], 10 * SEC, &status), 0);
		assert_int_equal(status, i % 3 == 2 ? 5 : -EOWNERDEAD);
		intro_fiber_free(fiber[i]);
	}
	assert_int_equal(intro_fibers_wait(fibers, 10 * SEC), 0);
	intro_fibers_free(fibers);
	m = marks_end(&n);
	for (size_t i = 0; i < n; i++)
		failed += m[i].rec.kind == INTRO_KIND_END && m[i].a == INTRO_STATUS_FAILED;
	assert_int_equal(failed, 60); /* a status that is not 0 is a failure, too */
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_START, 0),
			 marks_count(m, n, INTRO_KIND_WORKER_STOP, 0));
	free(m);
	assert_int_equal(count_threads_left("exits/"), 0);
}

/* --- periodic workers ------------------------------------------------------------------------- */

#define PERIODIC(...)                                                                              \
	(&(struct intro_periodic_options){                                                         \
		.size = sizeof(struct intro_periodic_options), .name = "exits", __VA_ARGS__})

static void add_task(struct intro_periodic *p, intro_task_fn fn)
{
	assert_int_equal(
		intro_periodic_add(
			p, &(struct intro_periodic_task){.size = sizeof(struct intro_periodic_task),
							 .fn = fn,
							 .spacing_ns = MSEC,
							 .run_immediately = true}),
		0);
}

static void until_runs(struct intro_periodic *p, uint64_t runs)
{
	struct intro_periodic_watch watch;

	do {
		sleep_ms(1);
		assert_int_equal(intro_periodic_watch(p, 0, &watch), 0);
	} while (watch.runs < runs);
	assert_int_equal(watch.failures, watch.runs);
}

static void hook_exits(unsigned task, const char *name, const struct intro_error *error, void *arg)
{
	assert_int_equal(error->code, -EOWNERDEAD);
	if (arg)
		end_thread();
}

static void a_periodic_task_fails_and_comes_again(void **state)
{
	for (int hook = 0; hook < 2; hook++) {
		struct intro_periodic *p = intro_periodic_new(
			PERIODIC(.failed = hook_exits, .failed_arg = hook ? *state : NULL));

		add_task(p, exits);
		assert_int_equal(intro_periodic_start(p, 0), 0);
		until_runs(p, 10);
		assert_int_equal(intro_periodic_stop(p), 0);
		assert_int_equal(intro_periodic_wait(p, 10 * SEC), 0);
		intro_periodic_free(p);
	}
}

static int rejects(struct intro_executor *executor, uint64_t backlog, void *arg)
{
	end_thread();
	return 0;
}

/* What ends the scheduler's own thread stops the worker, which says why. */
static void a_periodic_scheduler_ends(void **state)
{
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "exits", .workers = 1, .check_and_reject = {.fn = rejects}));
	struct intro_periodic *p = intro_periodic_new(PERIODIC(.executor = e));

	add_task(p, nothing);
	assert_int_equal(intro_periodic_start(p, 0), 0);
	assert_int_equal(intro_periodic_wait(p, 10 * SEC), -EOWNERDEAD);
	intro_periodic_free(p);
	intro_executor_free(e);
}

/* --- processes -------------------------------------------------------------------------------- */

static void a_worker_process_ends(void **state)
{
	const intro_task_fn fns[] = {exits, makes_a_thread_and_exits};
	int n = 2;

#ifdef __SANITIZE_THREAD__
	n = 1; /* under ThreadSanitizer who was forked beside threads makes none */
#endif
	for (int i = 0; i < n; i++) {
		struct intro_executor *e =
			intro_process_executor_new(POOL_OPTIONS(.name = "exits", .workers = 2));
		struct intro_future f;
		struct intro_error error;

		submit_new(e, &f, fns[i], NULL, 0);
		assert_int_equal(intro_future_error(&f, 10 * SEC, &error), 0);
		assert_int_equal(error.code, -EPIPE);
		assert_non_null(strstr(error.text, "exited with status 1 during task"));
		intro_future_destroy(&f);
		intro_executor_free(e);
	}
	assert_int_equal(count_children(), 0);
}

static void a_pools_worker_process_is_replaced(void **state)
{
	struct intro_process_pool *pool = intro_process_pool_new(&(
		struct intro_process_pool_options){
		.size = sizeof(struct intro_process_pool_options), .name = "exits", .workers = 1});
	struct intro_done_callback cb;
	struct intro_future f;

	for (int i = 0; i < 10; i++) {
		/* the callback of what is lost ends the manager's thread, too */
		cb = (struct intro_done_callback){.fn = exits_in_callback};
		intro_future_init(&f);
		intro_future_add_done_callback(&f, &cb);
		assert_int_equal(intro_process_pool_apply_async(pool, &f, exits, NULL, 0), 0);
		assert_int_equal(intro_future_result(&f, 10 * SEC, NULL), -EOWNERDEAD);
		intro_future_destroy(&f);
		intro_future_init(&f);
		assert_int_equal(intro_process_pool_apply(pool, &f, nothing, NULL, 0, NULL), 0);
		intro_future_destroy(&f);
	}
	intro_process_pool_close(pool);
	assert_int_equal(intro_process_pool_join(pool), 0);
	intro_process_pool_free(pool);
	assert_int_equal(count_children(), 0);
}

/* n tasks whose callbacks end the thread that they run in: not this one's, while they wait. */
static void submit_with_callbacks(struct intro_executor *e, intro_task_fn fn, unsigned n,
				  struct intro_future *f, struct intro_done_callback *cb)
{
	for (unsigned i = 0; i < n; i++) {
		cb[i] = (struct intro_done_callback){.fn = exits_in_callback};
		intro_future_init(&f[i]);
		intro_future_add_done_callback(&f[i], &cb[i]);
		assert_int_equal(intro_executor_submit(e, &f[i], fn, NULL, 0), 0);
	}
}

static void all_end(struct intro_future *f, unsigned n, int result)
{
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(intro_future_result(&f[i], 10 * SEC, NULL), result);
		intro_future_destroy(&f[i]);
	}
}

/* Callbacks run in the manager's thread, without which workers would die. */
static void a_callback_ends_the_manager(void **state)
{
	struct gate *gate = gate_new_shared(); /* before the workers, who are to see it */
	struct intro_executor *e =
		intro_process_executor_new(POOL_OPTIONS(.name = "exits", .workers = 2));
	struct intro_done_callback cb[100];
	struct intro_future f[100], waiting[2];

	submit_with_callbacks(e, nothing, 100, f, cb);
	all_end(f, 100, 0);
	/* and when the pool breaks, each of them again: which it is not to while we submit */
	for (int i = 0; i < 2; i++)
		submit_new(e, &waiting[i], waits, &gate, sizeof(gate));
	gate_expect(gate, 2);
	submit_with_callbacks(e, exits, 100, f, cb);
	gate_open(gate);
	all_end(f, 100, -EPIPE);
	for (int i = 0; i < 2; i++)
		intro_future_destroy(&waiting[i]);
	intro_executor_free(e);
	assert_int_equal(count_children(), 0);
}

/* --- services --------------------------------------------------------------------------------- */

static _Atomic int *runs; /* shared with the workers */
static struct intro_service_manager *manager;

static int service_exits(struct intro_service_worker *worker)
{
	if (++*runs < 4)
		end_thread();
	return 0;
}

static void stop_when_it_stays(const struct intro_service_event *event, void *arg)
{
	if (*runs >= 3)
		intro_service_manager_stop(manager, false);
}

static struct intro_service_manager *
new_manager(void (*new_worker)(const struct intro_service_event *, void *),
	    void (*dead_worker)(const struct intro_service_event *, void *),
	    int (*run)(struct intro_service_worker *))
{
	struct intro_service service = {.size = sizeof(service), .name = "exits", .run = run};
	struct intro_service_manager_options options = {.size = sizeof(options),
							.backoff_min_ns = MSEC,
							.no_signals = true,
							.new_worker = new_worker,
							.dead_worker = dead_worker};
	struct intro_service_manager *m = intro_service_manager_new(&options);

	assert_non_null(m);
	assert_int_equal(intro_service_manager_add(m, &service), 0);
	return m;
}

static void a_service_worker_is_replaced(void **state)
{
	runs = mmap(NULL, sizeof(*runs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(runs, MAP_FAILED);
	manager = new_manager(NULL, stop_when_it_stays, service_exits);
	assert_int_equal(intro_service_manager_run(manager), 0);
	assert_true(*runs >= 3);
	intro_service_manager_free(manager);
	munmap((void *)runs, sizeof(*runs));
	assert_int_equal(count_children(), 0);
}

static void hook_of_manager_exits(const struct intro_service_event *event, void *arg)
{
	end_thread();
}

static void *runs_manager(void *m)
{
	intro_service_manager_run(m);
	return m;
}

/* No worker outlives the thread that ran the services. */
static void a_hook_ends_the_services(void **state)
{
	manager = new_manager(hook_of_manager_exits, hook_of_manager_exits, NULL);
	in_a_thread(runs_manager, manager);
	assert_int_equal(count_children(), 0);
	assert_int_equal(intro_service_manager_run(manager), -EALREADY);
	intro_service_manager_free(manager);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void *thread_exits(void *arg)
{
	if (arg)
		pthread_cancel(pthread_self());
	pthread_testcancel();
	pthread_exit((void *)1);
}

static void a_thread_is_joined(void **state)
{
	for (int i = 0; i < 20; i++) {
		struct intro_thread_handle *t =
			intro_thread_new(thread_exits, i % 2 ? *state : NULL, NULL);
		void *result = &result;

		assert_int_equal(intro_thread_start(t), 0);
		assert_int_equal(intro_thread_join(t, 10 * SEC, &result), 0);
		assert_null(result);
		assert_false(intro_thread_alive(t));
		intro_thread_free(t);
	}
	assert_int_equal(intro_thread_join_all(10 * SEC), 0);
}

/* --- shutdowns -------------------------------------------------------------------------------- */

static void *cancels_pending(void *executor)
{
	intro_executor_shutdown(executor, INTRO_SHUTDOWN_CANCEL_PENDING);
	return executor;
}

/* Callbacks end the thread that shuts down; what it cancels is over all the same. */
static void a_shutdown_ends_its_thread(void **state)
{
	struct intro_loop *loop = intro_loop_new("exits");
	struct gate *gate[] = {gate_new_shared(), gate_new_shared(), gate_new_shared()};
	struct intro_executor *e[] = {
		intro_thread_executor_new(POOL_OPTIONS(.name = "exits", .workers = 1)),
		intro_process_executor_new(
			POOL_OPTIONS(.name = "exits", .workers = 1, .prefetch = 1)),
		intro_loop_executor_new(loop, NULL)};

	for (int i = 0; i < 3; i++) {
		struct intro_done_callback cb[30];
		struct intro_future f[30];
		unsigned cancelled = 0;

		for (int k = 0; k < 30; k++) {
			cb[k] = (struct intro_done_callback){.fn = exits_in_callback};
			intro_future_init(&f[k]);
			if (k >= 10)
				intro_future_add_done_callback(&f[k], &cb[k]);
			assert_int_equal(intro_executor_submit(e[i], &f[k], waits, &gate[i],
							       sizeof(gate[i])),
					 0);
		}
		in_a_thread(cancels_pending, e[i]);
		/* where one thread does not cancel them all, the next does */
		while (!intro_future_done(&f[29]))
			in_a_thread(cancels_pending, e[i]);
		gate_open(gate[i]);
		for (int k = 0; k < 30; k++) {
			cancelled += intro_future_result(&f[k], 10 * SEC, NULL) == -ECANCELED;
			intro_future_destroy(&f[k]);
		}
		assert_true(cancelled >= 20);
		intro_executor_free(e[i]);
	}
	intro_loop_free(loop);
}

/* --- maps ------------------------------------------------------------------------------------- */

static _Atomic unsigned mapped;

static int counts_slowly(struct intro_call *call)
{
	sleep_ms(1);
	mapped += *(const unsigned char *)call->arg;
	return 0;
}

static int done_exits(size_t index, const struct intro_result *result,
		      const struct intro_error *error, void *ctx)
{
	assert_null(error);
	if (index == 2)
		end_thread();
	return 0;
}

/* The items are on its stack: no chunk may run any more when that goes. */
static void *maps(void *executor)
{
	unsigned char items[200];

	memset(items, 1, sizeof(items));
	intro_executor_map(executor, counts_slowly, items, sizeof(items), 1, 1, INTRO_FOREVER,
			   done_exits, NULL);
	return executor;
}

static void a_map_is_over_before_its_thread(void **state)
{
	struct intro_executor *e[] = {
		intro_thread_executor_new(POOL_OPTIONS(.name = "exits", .workers = 2)),
		intro_process_executor_new(POOL_OPTIONS(.name = "exits", .workers = 2))};
	unsigned then;

	for (int i = 0; i < 2; i++) {
		mapped = 0;
		in_a_thread(maps, e[i]);
		then = mapped;
		assert_true(then < 200);
		sleep_ms(5);
		assert_int_equal(mapped, then);
		intro_executor_free(e[i]);
	}
}

/* --- connections ------------------------------------------------------------------------------ */

static void *receives(void *connection)
{
	char byte;
	size_t n;

	return intro_connection_recv_into(connection, &byte, 1, &n) ? connection : NULL;
}

/* The lock that a receiver has is not left behind, nor half of a message. */
static void who_receives_is_not_cancelled(void **state)
{
	struct intro_connection *ends[2];
	pthread_t thread;
	void *result;
	char byte;
	size_t n;

	assert_int_equal(intro_connection_pair(true, ends), 0);
	assert_int_equal(pthread_create(&thread, NULL, receives, ends[0]), 0);
	sleep_ms(5);
	pthread_cancel(thread);
	for (int i = 0; i < 2; i++)
		assert_int_equal(intro_connection_send(ends[1], "x", 1), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
	assert_int_equal(intro_connection_recv_into(ends[0], &byte, 1, &n), 0);
	intro_connection_free(ends[0]);
	intro_connection_free(ends[1]);
}

/* --- barriers --------------------------------------------------------------------------------- */

static int action_exits(void *arg)
{
	end_thread();
	return 0;
}

static void *waits_at_barrier(void *barrier)
{
	/* the one that has come last never returns */
	assert_int_equal(intro_barrier_wait(barrier, 10 * SEC), -EPIPE);
	return NULL;
}

static void an_action_breaks_its_barrier(void **state)
{
	struct intro_barrier barrier;
	pthread_t thread[3];

	assert_int_equal(intro_barrier_init(&barrier, 3, action_exits, NULL, "exits"), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, waits_at_barrier, &barrier), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_true(intro_barrier_broken(&barrier));
	assert_int_equal(intro_barrier_waiting(&barrier), 0);
	intro_barrier_reset(&barrier);
	assert_int_equal(intro_barrier_wait(&barrier, 0), -ETIMEDOUT);
}

int main(void)
{
	static unsigned one = 1, three = 3;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_loop_goes_on_in_another_thread),
		cmocka_unit_test(a_loop_is_cancelled),
		cmocka_unit_test_prestate(a_fiber_ends_its_carrier, &one),
		cmocka_unit_test_prestate(a_fiber_ends_its_carrier, &three),
		cmocka_unit_test_prestate(a_periodic_task_fails_and_comes_again, &one),
		cmocka_unit_test(a_periodic_scheduler_ends),
		cmocka_unit_test(a_worker_process_ends),
		cmocka_unit_test(a_pools_worker_process_is_replaced),
		cmocka_unit_test(a_callback_ends_the_manager),
		cmocka_unit_test(a_service_worker_is_replaced),
		cmocka_unit_test(a_hook_ends_the_services),
		cmocka_unit_test_prestate(a_thread_is_joined, &one),
		cmocka_unit_test(a_shutdown_ends_its_thread),
		cmocka_unit_test(a_map_is_over_before_its_thread),
		cmocka_unit_test(who_receives_is_not_cancelled),
		cmocka_unit_test(an_action_breaks_its_barrier),
	};

	watchdog(60);
	private_area();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
