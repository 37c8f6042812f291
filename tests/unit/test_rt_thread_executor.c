/* SPDX-License-Identifier: BSD-2-Clause */
/* The thread pool: workers, order, cancelling, shutdown, map, and the marks it writes. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/marks_private.h"

#define MANY 10000

static int give_back(struct intro_call *call)
{
	return intro_call_return(call, (void *)call->arg, call->size);
}

static int give_thread_name(struct intro_call *call)
{
	static __thread char name[32];

	pthread_getname_np(pthread_self(), name, sizeof(name));
	return strcmp(name, call->worker) ? -EBADMSG : intro_call_return(call, strdup(name), 0);
}

static int give_tid(struct intro_call *call)
{
	return intro_call_return(call, (void *)(uintptr_t)intro__tid(), 0);
}

static int fails(struct intro_call *call)
{
	intro_call_error(call, "reason %d", 5);
	intro_call_error(call, "another");
	return (int)(intptr_t)call->arg;
}

static struct intro_executor *new_pool(unsigned workers)
{
	struct intro_executor *e =
		intro_thread_executor_new(POOL_OPTIONS(.name = "test", .workers = workers));

	assert_non_null(e);
	return e;
}

static void submit(struct intro_executor *e, struct intro_future *f, intro_task_fn fn,
		   const void *arg)
{
	intro_future_init(f);
	assert_int_equal(intro_executor_submit(e, f, fn, arg, 3), 0);
}

static void done_with(struct intro_future *f)
{
	assert_int_equal(intro_future_result(f, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(f);
}

static void options(void **state)
{
	struct {
		struct intro_executor_options options;
		long later;
	} newer = {.options = {.size = sizeof(newer), .workers = 2}};
	struct intro_executor_options older = {
		.size = offsetof(struct intro_executor_options, initializer), .initializer = fails};
	struct intro_executor *e;
	struct intro_future f;

	assert_null(intro_thread_executor_new(NULL));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_thread_executor_new(&(struct intro_executor_options){.workers = 1}));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_thread_executor_new(POOL_OPTIONS(.workers = 1000000)));
	assert_int_equal(errno, EINVAL);
	e = intro_thread_executor_new(&newer.options);
	assert_int_equal(intro_executor_workers(e), 2);
	intro_executor_free(e);
	newer.later = 1;
	assert_null(intro_thread_executor_new(&newer.options));
	assert_int_equal(errno, E2BIG);
	e = intro_thread_executor_new(&older);
	assert_true(intro_executor_workers(e) >= 1);
	submit(e, &f, give_back, NULL);
	done_with(&f);
	intro_executor_free(e);
	intro_executor_free(NULL);
}

static int give_back_large(struct intro_call *call)
{
	return intro_call_return(call, (void *)call->arg, (size_t)1 << 30);
}

static void results_and_errors(void **state)
{
	struct intro_executor *e = new_pool(2);
	struct intro_result result;
	struct intro_error error;
	struct intro_future f;

	assert_int_equal(intro_executor_submit(e, &f, NULL, NULL, 0), -EINVAL);
	submit(e, &f, give_back, "abc");
	assert_true(intro_future_id(&f) > 0);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, &result), 0);
	assert_string_equal(result.data, "abc");
	assert_int_equal(result.size, 3);
	assert_int_equal(intro_executor_submit(e, &f, give_back, NULL, 0), -EINVAL);
	intro_future_destroy(&f);
	/* of memory between threads the size says nothing */
	submit(e, &f, give_back_large, &f);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, &result), 0);
	assert_ptr_equal(result.data, &f);
	assert_int_equal(result.size, (size_t)1 << 30);
	intro_future_destroy(&f);
	submit(e, &f, fails, (void *)7);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), -EREMOTEIO);
	assert_int_equal(intro_future_error(&f, 0, &error), 0);
	assert_int_equal(error.code, 7);
	assert_string_equal(error.text, "reason 5");
	intro_future_destroy(&f);
	submit(e, &f, fails, (void *)(intptr_t)-ENOENT);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), -ENOENT);
	intro_future_destroy(&f);
	intro_executor_free(e);
}

static void workers_start_on_demand(void **state)
{
	struct gate gate = {0};
	struct intro_executor *e = new_pool(4);
	struct intro_future f[6];

	assert_int_equal(count_threads_left("test/"), 0);
	for (int i = 0; i < 3; i++) { /* the second and third find the worker idle */
		struct intro_result result;

		submit(e, &f[0], give_tid, NULL);
		assert_int_equal(intro_future_result(&f[0], INTRO_FOREVER, &result), 0);
		intro_future_destroy(&f[0]);
		assert_int_equal(count_threads("test/"), 1);
		until_asleep((uint32_t)(uintptr_t)result.data);
	}
	submit(e, &f[0], wait_at, &gate);
	submit(e, &f[1], wait_at, &gate);
	gate_expect(&gate, 2);
	assert_int_equal(count_threads("test/"), 2);
	for (int i = 2; i < 6; i++)
		submit(e, &f[i], wait_at, &gate);
	gate_expect(&gate, 4);
	assert_int_equal(count_threads("test/"), 4);
	gate_open(&gate);
	for (int i = 0; i < 6; i++)
		done_with(&f[i]);
	intro_executor_free(e);
	assert_int_equal(count_threads_left("test/"), 0);
}

static void threads_carry_names(void **state)
{
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "a long name of a pool", .workers = 1));
	struct intro_result result;
	struct intro_error error;
	struct intro_future f;

	submit(e, &f, give_thread_name, NULL);
	/* the kernel has room for 15 bytes: the number is what must stay */
	assert_int_equal(intro_future_error(&f, INTRO_FOREVER, &error), 0);
	assert_int_equal(error.code, -EBADMSG);
	assert_int_equal(count_threads("a long name o/0"), 1);
	intro_future_destroy(&f);
	intro_executor_free(e);
	e = new_pool(1);
	submit(e, &f, give_thread_name, NULL);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, &result), 0);
	assert_string_equal(result.data, "test/0");
	free(result.data);
	intro_future_destroy(&f);
	intro_executor_free(e);
}

static int append(struct intro_call *call)
{
	static _Atomic uintptr_t next;

	return next++ == (uintptr_t)call->arg ? 0 : 1;
}

static void one_worker_keeps_the_order(void **state)
{
	struct intro_future *f = aligned_alloc(64, MANY * sizeof(*f));
	struct intro_executor *e = new_pool(1);

	for (uintptr_t i = 0; i < MANY; i++)
		submit(e, &f[i], append, (void *)i);
	for (int i = 0; i < MANY; i++)
		done_with(&f[i]);
	intro_executor_free(e);
	free(f);
}

static int count_up(struct intro_call *call)
{
	atomic_fetch_add((_Atomic int *)call->arg, 1);
	return 0;
}

static void *submit_many(void *arg)
{
	struct intro_future *f = aligned_alloc(64, MANY * sizeof(*f));
	void **args = arg;

	for (int i = 0; i < MANY; i++) {
		intro_future_init(&f[i]);
		if (intro_executor_submit(args[0], &f[i], count_up, args[1], 0))
			abort();
	}
	for (int i = 0; i < MANY; i++)
		intro_future_destroy(&f[i]); /* which waits */
	free(f);
	return NULL;
}

static void many_tasks_by_many_submitters(void **state)
{
	struct intro_executor *e = new_pool(8);
	_Atomic int count = 0;
	void *args[2] = {e, (void *)&count};
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, submit_many, args);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	/* destroy cancels what has not begun: those that ran ran once */
	assert_true(count > 0 && count <= 4 * MANY);
	intro_executor_free(e);
}

static int initialize(struct intro_call *call)
{
	if (strcmp(call->arg, "seed") || call->size != 4)
		return 1;
	call->initial = (void *)(uintptr_t)(100 + call->index);
	return 0;
}

static int give_initial(struct intro_call *call)
{
	return intro_call_return(call, call->initial, call->index);
}

static void initializers(void **state)
{
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.workers = 3, .initializer = initialize, .initarg = (void *)"seed",
			     .initarg_size = 4));
	struct intro_result result;
	struct intro_future f[20];

	for (int i = 0; i < 20; i++)
		submit(e, &f[i], give_initial, NULL);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, &result), 0);
		assert_int_equal((uintptr_t)result.data, 100 + result.size);
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(e);
}

static int fails_when_told(struct intro_call *call)
{
	gate_wait((struct gate *)call->arg);
	intro_call_error(call, "no such device");
	return -ENODEV;
}

static void a_failing_initializer_breaks_the_pool(void **state)
{
	struct gate gate = {0};
	struct intro_executor *e = intro_thread_executor_new(
		POOL_OPTIONS(.name = "test", .workers = 1, .initializer = fails_when_told,
			     .initarg = &gate));
	struct intro_rec_mark *m;
	struct intro_error error;
	struct intro_future f[5];
	size_t n;
	int i;

	marks_begin();
	assert_int_equal(intro_executor_broken(e, NULL), 0);
	for (i = 0; i < 5; i++)
		submit(e, &f[i], give_back, NULL);
	intro_future_cancel(&f[3]);
	gate_open(&gate);
	for (i = 0; i < 5; i++) {
		if (i == 3)
			continue;
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), -EPIPE);
		intro_future_error(&f[i], 0, &error);
		assert_string_equal(error.text,
				    "initializer of worker test/0 failed with -19: no such device");
	}
	assert_int_equal(intro_executor_broken(e, &error), -EPIPE);
	assert_non_null(strstr(error.text, "test/0"));
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(intro_future_state(&f[3]), INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
	m = marks_end(&n);
	for (i = 0; i < 5; i++) {
		uint64_t task = intro_future_id(&f[i]);
		int r = marks_find(m, n, 0, INTRO_KIND_RESULT, task);

		assert_int_equal(marks_count(m, n, INTRO_KIND_START, task), 0);
		assert_int_equal(marks_count(m, n, INTRO_KIND_CANCEL, task), i == 3);
		assert_int_equal(r >= 0, i != 3);
		assert_true(r < 0 || m[r].a == INTRO_STATUS_LOST);
		intro_future_destroy(&f[i]);
	}
	intro_future_init(&f[0]);
	assert_int_equal(intro_executor_submit(e, &f[0], give_back, NULL, 0), -EPIPE);
	intro_future_destroy(&f[0]);
	intro_executor_free(e);
	free(m);
}

static void shutdown_runs_what_was_submitted(void **state)
{
	struct gate gate = {0};
	struct intro_executor *e = new_pool(2);
	_Atomic int count = 0;
	struct intro_future f[50], late;
	int64_t start;

	for (int i = 0; i < 2; i++)
		submit(e, &f[i], wait_at, &gate);
	for (int i = 2; i < 50; i++)
		submit(e, &f[i], count_up, (void *)&count);
	gate_expect(&gate, 2);
	start = now_ns();
	intro_executor_shutdown(e, 0); /* does not wait */
	assert_true(now_ns() - start < 100 * SEC);
	assert_int_equal(count, 0);
	intro_future_init(&late);
	assert_int_equal(intro_executor_submit(e, &late, give_back, NULL, 0), -ESHUTDOWN);
	assert_int_equal(intro_future_id(&late), 0);
	assert_int_equal(intro_future_state(&late), INTRO_FUTURE_PENDING);
	intro_future_destroy(&late);
	gate_open(&gate);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	assert_int_equal(count, 48);
	assert_int_equal(count_threads_left("test/"), 0);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_WAIT);
	intro_executor_free(e);
	for (int i = 0; i < 50; i++) /* futures outlive their pool */
		done_with(&f[i]);
}

static void shutdown_cancels_pending(void **state)
{
	struct gate gate = {0};
	struct intro_executor *e = new_pool(1);
	struct intro_future f[10];

	for (int i = 0; i < 10; i++)
		submit(e, &f[i], wait_at, &gate);
	gate_expect(&gate, 1);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_CANCEL_PENDING);
	for (int i = 1; i < 10; i++)
		assert_int_equal(intro_future_state(&f[i]), INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
	assert_true(intro_future_running(&f[0]));
	gate_open(&gate);
	done_with(&f[0]);
	intro_executor_free(e);
	for (int i = 1; i < 10; i++) {
		assert_int_equal(intro_future_result(&f[i], 0, NULL), -ECANCELED);
		intro_future_destroy(&f[i]);
	}
}

static void cancelling(void **state)
{
	struct gate gate = {0};
	struct intro_executor *e = new_pool(1);
	struct intro_future running, queued, dropped;
	_Atomic int count = 0;

	submit(e, &running, wait_at, &gate);
	gate_expect(&gate, 1);
	submit(e, &queued, count_up, (void *)&count);
	submit(e, &dropped, count_up, (void *)&count);
	assert_false(intro_future_cancel(&running));
	assert_true(intro_future_cancel(&queued));
	assert_int_equal(intro_future_state(&queued), INTRO_FUTURE_CANCELLED);
	/* its owner may have its memory back at once, though the only worker is busy */
	assert_true(intro_future_cancel(&dropped));
	intro_future_destroy(&dropped);
	memset(&dropped, 0xa5, sizeof(dropped));
	gate_open(&gate);
	done_with(&running);
	intro_executor_free(e);
	assert_int_equal(intro_future_state(&queued), INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
	intro_future_destroy(&queued);
	assert_int_equal(count, 0);
}

static void destroy_waits_for_the_running(void **state)
{
	struct gate gate = {0};
	struct intro_executor *e = new_pool(1);
	_Atomic int count = 0;
	struct intro_future f[2];

	submit(e, &f[0], count_up, (void *)&count);
	intro_future_result(&f[0], INTRO_FOREVER, NULL);
	submit(e, &f[1], wait_at, &gate);
	gate_expect(&gate, 1);
	gate_open(&gate);
	intro_future_destroy(&f[1]);
	intro_future_destroy(&f[0]);
	memset(f, 0xa5, sizeof(f));
	intro_executor_free(e);
}

struct nested {
	struct intro_executor *e;
	struct intro_future inner;
	_Atomic int count;
};

static int submits_another(struct intro_call *call)
{
	struct nested *nested = (void *)call->arg;

	intro_executor_shutdown(nested->e, 0); /* any call is allowed from within */
	return intro_executor_submit(nested->e, &nested->inner, count_up, (void *)&nested->count,
				     0) == -ESHUTDOWN
		       ? 0
		       : -1;
}

static int submits_and_waits(struct intro_call *call)
{
	struct nested *nested = (void *)call->arg;
	int err = intro_executor_submit(nested->e, &nested->inner, count_up, (void *)&nested->count,
					0);

	return err ? err : intro_future_result(&nested->inner, INTRO_FOREVER, NULL);
}

static int shuts_down_and_waits(struct intro_call *call)
{
	intro_executor_shutdown((struct intro_executor *)call->arg, INTRO_SHUTDOWN_WAIT);
	return 0;
}

static void tasks_may_use_their_pool(void **state)
{
	struct nested nested = {.e = new_pool(2)};
	struct intro_future f;

	intro_future_init(&nested.inner);
	submit(nested.e, &f, submits_and_waits, &nested);
	done_with(&f);
	assert_int_equal(nested.count, 1);
	intro_future_destroy(&nested.inner);
	intro_future_init(&nested.inner);
	submit(nested.e, &f, submits_another, &nested);
	done_with(&f);
	intro_future_destroy(&nested.inner);
	intro_executor_free(nested.e);
	nested.e = new_pool(2);
	submit(nested.e, &f, shuts_down_and_waits, nested.e);
	done_with(&f);
	intro_executor_free(nested.e);
}

/* A second; its workers' last looks for tasks are over by then, the bound is for the tests'
 * machine. */
static void an_idle_pool_uses_no_cpu(void **state)
{
	struct gate gate = {0};
	struct intro_executor *e = new_pool(8);
	struct intro_future f[8];
	int64_t cpu;

	for (int i = 0; i < 8; i++)
		submit(e, &f[i], wait_at, &gate);
	gate_expect(&gate, 8);
	gate_open(&gate);
	for (int i = 0; i < 8; i++)
		done_with(&f[i]);
	sleep_ms(20);
	cpu = cpu_ns();
	sleep_ms(1000);
	assert_true(cpu_ns() - cpu < 30 * MSEC);
	intro_executor_free(e);
}

struct sums {
	int n;
	int errors;
	int stop_at;
};

static int square(struct intro_call *call)
{
	uintptr_t i = *(const uint32_t *)call->arg;

	if (i % 10 == 9) {
		intro_call_error(call, "nine of %u", (unsigned)i);
		return 9;
	}
	return intro_call_return(call, (void *)(i * i), 0);
}

static int check_square(size_t i, const struct intro_result *result,
			const struct intro_error *error, void *ctx)
{
	struct sums *sums = ctx;
	char text[32];

	assert_int_equal(i, sums->n);
	sums->n++;
	if (i % 10 == 9) {
		assert_null(result);
		assert_int_equal(error->code, 9);
		snprintf(text, sizeof(text), "nine of %zu", i);
		assert_string_equal(error->text, text);
		sums->errors++;
	} else {
		assert_null(error);
		assert_int_equal((uintptr_t)result->data, i * i);
	}
	return sums->n == sums->stop_at ? 77 : 0;
}

static void map_in_chunks(void **state)
{
	struct intro_executor *e = new_pool(3);
	uint32_t items[1000];

	for (uint32_t i = 0; i < 1000; i++)
		items[i] = i;
	for (size_t chunk = 0; chunk < 12; chunk++) {
		struct sums sums = {0};

		assert_int_equal(intro_executor_map(e, square, items, 1000, sizeof(items[0]),
						    chunk == 11 ? 5000 : chunk, INTRO_FOREVER,
						    check_square, &sums),
				 0);
		assert_int_equal(sums.n, 1000);
		assert_int_equal(sums.errors, 100);
	}
	assert_int_equal(intro_executor_map(e, square, NULL, 0, 4, 1, 0, check_square, NULL), 0);
	assert_int_equal(intro_executor_map(e, NULL, items, 1, 4, 1, 0, check_square, NULL),
			 -EINVAL);
	for (int stop = 1; stop < 30; stop += 7) {
		struct sums sums = {.stop_at = stop};

		assert_int_equal(intro_executor_map(e, square, items, 1000, 4, 4, INTRO_FOREVER,
						    check_square, &sums),
				 77);
		assert_int_equal(sums.n, stop);
	}
	intro_executor_shutdown(e, 0);
	assert_int_equal(
		intro_executor_map(e, square, items, 1000, 4, 4, INTRO_FOREVER, check_square, NULL),
		-ESHUTDOWN);
	intro_executor_free(e);
}

static int sleeps(struct intro_call *call)
{
	sleep_ms(30);
	return 0;
}

static int ignore(size_t i, const struct intro_result *result, const struct intro_error *error,
		  void *ctx)
{
	++*(int *)ctx;
	return 0;
}

static void map_gives_up_in_time(void **state)
{
	struct intro_executor *e = new_pool(1);
	char items[500] = {0};
	int n = 0;

	assert_int_equal(intro_executor_map(e, sleeps, items, 500, 1, 1, 50 * MSEC, ignore, &n),
			 -ETIMEDOUT);
	assert_true(n < 500);
	assert_int_equal(intro_executor_map(e, sleeps, items, 2, 1, 1, 100 * SEC, ignore, &n), 0);
	intro_executor_free(e);
}

static void marks_tell_the_story(void **state)
{
	struct intro_executor *e = new_pool(2);
	uint32_t pool = intro_executor_pool_id(e), name = intro_mark_name("tell");
	struct intro_rec_mark *m;
	struct intro_future f;
	uint64_t task;
	int i;
	size_t n;

	marks_begin();
	intro_future_init(&f);
	assert_int_equal(intro_executor_submit_named(e, &f, name, fails, (void *)3, 0), 0);
	task = intro_future_id(&f);
	while (!intro_future_done(&f))
		sleep_ms(1);
	intro_future_result(&f, 0, NULL);
	intro_future_destroy(&f);
	intro_executor_free(e);
	m = marks_end(&n);
	i = marks_find(m, n, 0, INTRO_KIND_SUBMIT, task);
	assert_true(i >= 0 && m[i].a == pool && m[i].b == name);
	i = marks_find(m, n, 0, INTRO_KIND_WORKER_START, 0);
	assert_true(i >= 0 && m[i].a == pool && m[i].b == 0);
	i = marks_find(m, n, (size_t)i, INTRO_KIND_START, task);
	assert_true(i >= 0 && m[i].a == pool);
	i = marks_find(m, n, (size_t)i, INTRO_KIND_END, task);
	assert_true(i >= 0 && m[i].a == INTRO_STATUS_FAILED);
	assert_int_equal(m[i].b, INTRO_END_RESULT); /* nobody waited */
	i = marks_find(m, n, (size_t)i, INTRO_KIND_READ, task);
	assert_true(i >= 0);
	assert_true(marks_find(m, n, 0, INTRO_KIND_WORKER_STOP, 0) >= 0);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAIT, 0), 0);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAKE, 0), 0);
	assert_int_equal(marks_count(m, n, INTRO_KIND_RESULT, 0), 0);
	free(m);
}

struct opener {
	struct gate *gate;
	uint32_t reader;
};

static void *open_when_asleep(void *arg)
{
	const struct opener *opener = arg;

	until_asleep(opener->reader);
	gate_open(opener->gate);
	return NULL;
}

/* How two tasks end at a gate under a reader that sleeps; the reader's marks. */
static void read_asleep(int (*read)(struct intro_future *const *, size_t), unsigned waits,
			unsigned wakes)
{
	struct gate gate = {0};
	struct intro_executor *e = new_pool(2);
	struct intro_future f[2], *p[2] = {&f[0], &f[1]};
	struct intro_rec_mark *m;
	struct opener opener = {&gate, intro__tid()};
	unsigned waited = 0;
	pthread_t thread;
	size_t n;

	marks_begin();
	submit(e, &f[0], wait_at, &gate);
	submit(e, &f[1], wait_at, &gate);
	gate_expect(&gate, 2);
	pthread_create(&thread, NULL, open_when_asleep, &opener);
	assert_true(read(p, 2) > 0);
	pthread_join(thread, NULL);
	intro_executor_free(e);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAIT, 0), waits);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAKE, 0), wakes);
	for (size_t i = 0; i < n; i++) {
		if (m[i].rec.kind != INTRO_KIND_END || !(m[i].b & INTRO_END_WAITED))
			continue;
		waited++;
		/* each such end is followed by the wake-up it caused */
		assert_int_equal(marks_count(m, n, INTRO_KIND_WAKE, m[i].task), 1);
		assert_true(marks_find(m, n, i, INTRO_KIND_WAKE, m[i].task) >= 0);
	}
	assert_int_equal(waited, wakes);
	for (int i = 0; i < 2; i++)
		intro_future_destroy(&f[i]);
	free(m);
}

static int read_first(struct intro_future *const *p, size_t n)
{
	return intro_future_wait(p, n, INTRO_FIRST_COMPLETED, INTRO_FOREVER, NULL);
}

static int read_all(struct intro_future *const *p, size_t n)
{
	return intro_future_wait(p, n, INTRO_ALL_COMPLETED, INTRO_FOREVER, NULL);
}

static int read_one(struct intro_future *const *p, size_t n)
{
	return intro_future_result(p[0], INTRO_FOREVER, NULL) == 0;
}

static int read_one_as_completed(struct intro_future *const *p, size_t n)
{
	struct intro_as_completed *it = intro_as_completed_new(p, n);
	size_t i;
	int ret = intro_as_completed_next(it, INTRO_FOREVER, &i);

	intro_as_completed_free(it);
	return ret;
}

static void marks_tell_who_was_waited_for(void **state)
{
	read_asleep(read_one, 1, 1);
	read_asleep(read_first, 0, 1);
	read_asleep(read_all, 0, 1);
	read_asleep(read_one_as_completed, 0, 1);
}

static void a_wait_in_vain_is_marked_as_ended(void **state)
{
	struct gate gate = {0};
	struct intro_executor *e = new_pool(1);
	struct intro_rec_mark *m;
	struct intro_future f;
	int i;
	size_t n;

	marks_begin();
	submit(e, &f, wait_at, &gate);
	assert_int_equal(intro_future_result(&f, 0, NULL), -ETIMEDOUT);
	assert_int_equal(intro_future_result(&f, MSEC, NULL), -ETIMEDOUT);
	gate_open(&gate);
	intro_executor_free(e);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAIT, intro_future_id(&f)), 1);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WAKE, intro_future_id(&f)), 1);
	i = marks_find(m, n, 0, INTRO_KIND_END, intro_future_id(&f));
	assert_true(i >= 0 && m[i].b == INTRO_END_RESULT);
	intro_future_destroy(&f);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),
		cmocka_unit_test(results_and_errors),
		cmocka_unit_test(workers_start_on_demand),
		cmocka_unit_test(threads_carry_names),
		cmocka_unit_test(one_worker_keeps_the_order),
		cmocka_unit_test(many_tasks_by_many_submitters),
		cmocka_unit_test(initializers),
		cmocka_unit_test(a_failing_initializer_breaks_the_pool),
		cmocka_unit_test(shutdown_runs_what_was_submitted),
		cmocka_unit_test(shutdown_cancels_pending),
		cmocka_unit_test(cancelling),
		cmocka_unit_test(destroy_waits_for_the_running),
		cmocka_unit_test(tasks_may_use_their_pool),
		cmocka_unit_test(an_idle_pool_uses_no_cpu),
		cmocka_unit_test(map_in_chunks),
		cmocka_unit_test(map_gives_up_in_time),
		cmocka_unit_test(marks_tell_the_story),
		cmocka_unit_test(marks_tell_who_was_waited_for),
		cmocka_unit_test(a_wait_in_vain_is_marked_as_ended),
	};

	private_area();
	watchdog(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
