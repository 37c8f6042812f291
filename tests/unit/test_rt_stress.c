/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A random mix of everything that pools and futures do, from several threads at a time, with marks
 * on and a tracer that reads them. What must hold: each task ends exactly once and in one final
 * state, runs at most once and if and only if it finished, its callbacks are called once, and
 * its marks tell the same story.
 */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/marks_private.h"

#define CLIENTS 3
#define BATCH 48
#define TASKS_MAX (1u << 26)

/* What the tracer saw of each task. */
static _Atomic uint8_t seen_start[TASKS_MAX], seen_end[TASKS_MAX], seen_submit[TASKS_MAX];

struct job {
	struct intro_future future; /* first, so that its alignment is the job's */
	struct intro_done_callback cb;
	_Atomic int ran;
	_Atomic int called;
	int code;
};

enum kind { THREADS, HELPING, PROCESSES, KINDS };

struct client {
	pthread_t thread;
	unsigned seed;
	int64_t until;
	enum kind kind;
	struct intro_executor *pool;
	struct job *job;
	unsigned long finished, failed, cancelled;
};

static unsigned rnd(struct client *c, unsigned below)
{
	return (unsigned)rand_r(&c->seed) % below;
}

static void check(bool holds, const char *what, int line)
{
	if (holds)
		return;
	fprintf(stderr, "line %d: %s\n", line, what);
	abort();
}
#define CHECK(x) check(x, #x, __LINE__)

static int job_thread(struct intro_call *call)
{
	struct job *job = (struct job *)call->arg;

	job->ran++;
	if (job->code < 0)
		sleep_ms(1);
	return job->code > 0 ? job->code : intro_call_return(call, job, 0);
}

static int job_process(struct intro_call *call)
{
	int code = *(const int *)call->arg;

	if (code < 0)
		sleep_ms(1);
	return code > 0 ? code : intro_call_return(call, (void *)call->arg, call->size);
}

static void job_done(struct intro_future *future, void *arg)
{
	struct job *job = arg;

	CHECK(intro_future_done(future));
	job->called++;
}

static void submit_one(struct client *c, struct job *job)
{
	unsigned char payload[3000] = {0};
	int err;

	memset(job, 0, sizeof(*job));
	intro_future_init(&job->future);
	job->cb = (struct intro_done_callback){.fn = job_done, .arg = job};
	job->code = (int)rnd(c, 20) - 1;
	job->code = job->code > 2 ? 0 : job->code;
	if (rnd(c, 2))
		intro_future_add_done_callback(&job->future, &job->cb);
	else
		job->cb.arg = NULL;
	memcpy(payload, &job->code, sizeof(job->code));
	if (c->kind == PROCESSES)
		err = intro_executor_submit(c->pool, &job->future, job_process, payload,
					    4 + rnd(c, sizeof(payload) - 4));
	else
		err = intro_executor_submit(c->pool, &job->future, job_thread, job, 0);
	CHECK(err == 0);
}

static void wait_some_way(struct client *c)
{
	struct intro_future *p[BATCH];
	struct intro_as_completed *it;
	size_t n = 0, index, yields;
	bool done[BATCH];
	int ret;

	for (unsigned i = 0; i < BATCH; i++)
		p[n++] = &c->job[i].future;
	switch (rnd(c, 5)) {
	case 0:
		it = intro_as_completed_new(p, n);
		yields = 0;
		while ((ret = intro_as_completed_next(it, rnd(c, 2) ? INTRO_FOREVER : 50 * 1000,
						      &index)))
			yields += ret == 1;
		CHECK(yields == n);
		intro_as_completed_free(it);
		break;
	case 1:
		ret = intro_future_wait(p, n, INTRO_FIRST_COMPLETED, INTRO_FOREVER, done);
		CHECK(ret >= 1);
		break;
	case 2:
		ret = intro_future_wait(p, n, INTRO_FIRST_EXCEPTION, INTRO_FOREVER, done);
		CHECK(ret >= 1);
		break;
	case 3:
		intro_future_wait(p, n, INTRO_ALL_COMPLETED, rnd(c, 100) * 1000, NULL);
		break;
	default:
		for (unsigned i = 0; i < BATCH; i += 1 + rnd(c, 4))
			intro_future_result(p[i], (int64_t)rnd(c, 1000) * 1000, NULL);
		break;
	}
}

/* Its end, whatever it was; counts it. */
static void settle(struct client *c, struct job *job)
{
	struct intro_result result = {0};
	uint64_t task = intro_future_id(&job->future);
	int ret = intro_future_result(&job->future, INTRO_FOREVER, &result);

	CHECK(task > 0 && task < TASKS_MAX);
	if (ret == -ECANCELED) {
		CHECK(intro_future_cancelled(&job->future));
		CHECK(job->ran == 0);
		c->cancelled++;
	} else if (ret) {
		CHECK(ret == -EREMOTEIO && job->code > 0);
		c->failed++;
	} else {
		CHECK(job->code <= 0);
		CHECK(c->kind == PROCESSES ? memcmp(result.data, &job->code, 4) == 0
					   : result.data == job);
		c->finished++;
	}
	CHECK(c->kind == PROCESSES || job->ran == (ret != -ECANCELED));
	intro_future_destroy(&job->future);
	CHECK(job->called == (job->cb.arg != NULL));
}

static void *client_main(void *arg)
{
	struct client *c = arg;

	while (now_ns() < c->until) {
		for (unsigned i = 0; i < BATCH; i++)
			submit_one(c, &c->job[i]);
		for (unsigned i = 0, n = rnd(c, BATCH); i < n; i++)
			if (rnd(c, 3) == 0)
				intro_future_cancel(&c->job[rnd(c, BATCH)].future);
		if (rnd(c, 4))
			wait_some_way(c);
		for (unsigned i = 0; i < BATCH; i++)
			settle(c, &c->job[i]);
	}
	return NULL;
}

/* The tracer: reads all rings, while they are written, until told. */
struct tracer {
	pthread_t thread;
	_Atomic bool stop;
	unsigned long marks;
	uint64_t last; /* task */
	uint64_t lost;
};

static void take(struct tracer *t, const struct intro_rec_mark *m)
{
	t->marks++;
	CHECK(m->rec.kind >= INTRO_KIND_THREAD && m->rec.kind <= INTRO_KIND_READ);
	CHECK(m->rec.rows == 1 && m->rec.cpu == INTRO_CPU_NONE && m->rec.tid != 0);
	if (m->rec.kind == INTRO_KIND_THREAD || m->task >= TASKS_MAX)
		return;
	if (m->task > t->last)
		t->last = m->task;
	if (m->rec.kind == INTRO_KIND_SUBMIT)
		CHECK(seen_submit[m->task]++ == 0);
	if (m->rec.kind == INTRO_KIND_START)
		CHECK(seen_start[m->task]++ == 0);
	if (m->rec.kind == INTRO_KIND_CANCEL || m->rec.kind == INTRO_KIND_RESULT ||
	    (m->rec.kind == INTRO_KIND_END && (m->b & INTRO_END_RESULT)))
		CHECK(seen_end[m->task]++ == 0);
}

static void read_rings(struct tracer *t)
{
	struct intro_area *area = intro__area();

	for (unsigned i = 0; i < INTRO_AREA_SLOTS; i++) {
		struct intro_area_slot *slot = &area->slot[i];
		uint64_t head = atomic_load_explicit(&slot->head, memory_order_acquire);
		uint64_t tail = atomic_load_explicit(&slot->tail, memory_order_relaxed);

		for (; tail != head; tail += INTRO_ROW_BYTES) {
			struct intro_rec_mark m;

			memcpy(&m, &area->ring[i].data[tail & (INTRO_AREA_RING_BYTES - 1)],
			       sizeof(m));
			take(t, &m);
		}
		atomic_store_explicit(&slot->tail, tail, memory_order_release);
	}
}

static void *tracer_main(void *arg)
{
	struct tracer *t = arg;

	while (!t->stop) {
		read_rings(t);
		sleep_ms(1);
	}
	read_rings(t);
	for (unsigned i = 0; i < INTRO_AREA_SLOTS; i++)
		t->lost += intro__area()->slot[i].lost;
	return NULL;
}

static struct intro_executor *new_pool(enum kind kind, unsigned workers)
{
	struct intro_executor_options *options =
		POOL_OPTIONS(.name = kind == PROCESSES ? "proc" : "thread", .workers = workers,
			     .waiters_help = kind == HELPING);

	return kind == PROCESSES ? intro_process_executor_new(options)
				 : intro_thread_executor_new(options);
}

static void run_clients(struct client *client, enum kind kind)
{
	struct intro_executor *pool = new_pool(kind, kind == PROCESSES ? 3 : 8);

	assert_non_null(pool);
	for (unsigned i = 0; i < CLIENTS; i++) {
		client[i] = (struct client){.seed = 1234 + i + 100 * kind,
					    .until = now_ns() + stress_seconds(4) * SEC / KINDS,
					    .kind = kind,
					    .pool = pool,
					    .job = aligned_alloc(64, BATCH * sizeof(struct job))};
		pthread_create(&client[i].thread, NULL, client_main, &client[i]);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		pthread_join(client[i].thread, NULL);
		free(client[i].job);
	}
	intro_executor_free(pool);
}

static void everything_at_once(void **state)
{
	unsigned long finished = 0, failed = 0, cancelled = 0, started = 0, ended = 0, lost;
	struct client client[KINDS][CLIENTS];
	struct tracer tracer = {0};

	marks_begin();
	pthread_create(&tracer.thread, NULL, tracer_main, &tracer);
	for (enum kind kind = 0; kind < KINDS; kind++)
		run_clients(client[kind], kind);
	tracer.stop = true;
	pthread_join(tracer.thread, NULL);
	intro__area()->enabled = INTRO_MARKS_OFF;
	lost = tracer.lost;
	for (unsigned i = 0; i < KINDS * CLIENTS; i++) {
		finished += client[i / CLIENTS][i % CLIENTS].finished;
		failed += client[i / CLIENTS][i % CLIENTS].failed;
		cancelled += client[i / CLIENTS][i % CLIENTS].cancelled;
	}
	for (unsigned i = 0; i <= tracer.last; i++) {
		started += seen_start[i];
		ended += seen_end[i];
	}
	printf("# figure stress: %lu finished, %lu failed, %lu cancelled; %lu marks, %lu lost\n",
	       finished, failed, cancelled, tracer.marks, lost);
	assert_true(finished > 0 && failed > 0 && cancelled > 0);
	/* a tracer kept off its CPU may lose some: counted, and no more than that */
	assert_in_range(started, finished + failed - (lost < finished ? lost : finished),
			finished + failed);
	assert_in_range(ended, lost < finished ? finished - lost + failed + cancelled : 0,
			finished + failed + cancelled);
}

#define ORDERED 4000

/* When each task was submitted, started, ended, had by its reader; by the clock of the marks. */
static void check_order(const struct intro_rec_mark *m, size_t n)
{
	static uint64_t when[ORDERED + 128][4]; /* numbers come in blocks of 64 */
	int first = marks_find(m, n, 0, INTRO_KIND_SUBMIT, 0);
	unsigned compared = 0;

	assert_true(first >= 0);
	memset(when, 0, sizeof(when));
	for (size_t i = 0; i < n; i++) {
		static const uint8_t step[] = {[INTRO_KIND_SUBMIT] = 1,
					       [INTRO_KIND_START] = 2,
					       [INTRO_KIND_END] = 3,
					       [INTRO_KIND_WAKE] = 4,
					       [INTRO_KIND_READ] = 4};
		uint8_t s = m[i].rec.kind < sizeof(step) ? step[m[i].rec.kind] : 0;
		uint64_t task = m[i].task - m[first].task;

		if (s && task < ORDERED + 128 && !when[task][s - 1])
			when[task][s - 1] = m[i].rec.ts;
	}
	for (unsigned i = 0; i < ORDERED + 128; i++) {
		for (unsigned s = 1; s < 4; s++)
			assert_true(!when[i][s] || when[i][s] >= when[i][s - 1]);
		compared += when[i][3] != 0;
	}
	assert_true(compared >= ORDERED / 2); /* the tracer is not there: rings may be full */
}

static void order_by(enum intro_marks clock)
{
	struct intro_future *f = aligned_alloc(64, ORDERED * sizeof(*f));
	struct intro_executor *pool = new_pool(THREADS, 2);
	struct intro_rec_mark *m;
	size_t n;

	marks_begin();
	intro__area()->enabled = clock;
	for (unsigned i = 0; i < ORDERED; i++) {
		intro_future_init(&f[i]);
		assert_int_equal(intro_executor_submit(pool, &f[i], nothing, NULL, 0), 0);
		if (i % 3 == 0)
			intro_future_result(&f[i], INTRO_FOREVER, NULL);
	}
	for (unsigned i = 0; i < ORDERED; i++) {
		intro_future_result(&f[i], INTRO_FOREVER, NULL);
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(pool);
	m = marks_end(&n);
	check_order(m, n);
	free(m);
	free(f);
}

static void causes_are_marked_before_effects(void **state)
{
	order_by(INTRO_MARKS_MONOTONIC);
}

/* rdtsc waits for nothing before it, yet what one thread marks after another comes later. */
static void causes_before_effects_by_tsc(void **state)
{
	char source[16] = "";
	FILE *file =
		fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");

	if (file && !fgets(source, sizeof(source), file))
		source[0] = 0;
	if (file)
		fclose(file);
	if (strcmp(source, "tsc\n")) {
		print_message("the kernel does not trust this machine's TSC\n");
		skip();
	}
	for (int i = 0; i < 10; i++)
		order_by(INTRO_MARKS_TSC);
}

/* Pools that come and go under their submitters' hands. */
static void pools_come_and_go(void **state)
{
	struct client c = {.seed = 99};
	int64_t until = now_ns() + SEC;

	while (now_ns() < until) {
		struct intro_future f[40];
		unsigned n = 1 + rnd(&c, 40), flags;
		enum kind kind = rnd(&c, 4) ? THREADS : PROCESSES;
		struct intro_executor *pool = new_pool(kind, 1 + rnd(&c, 4));
		int code = 0;

		assert_non_null(pool);
		for (unsigned i = 0; i < n; i++) {
			intro_future_init(&f[i]);
			assert_int_equal(intro_executor_submit(pool, &f[i], job_process, &code,
							       sizeof(code)),
					 0);
		}
		flags = rnd(&c, 4);
		intro_executor_shutdown(pool, flags);
		intro_executor_free(pool);
		for (unsigned i = 0; i < n; i++) {
			enum intro_future_state end = intro_future_state(&f[i]);

			assert_true(end == INTRO_FUTURE_FINISHED ||
				    (end == INTRO_FUTURE_CANCELLED_AND_NOTIFIED &&
				     (flags & INTRO_SHUTDOWN_CANCEL_PENDING)));
			intro_future_destroy(&f[i]);
		}
	}
	assert_int_equal(count_children(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_at_once),
		cmocka_unit_test(causes_are_marked_before_effects),
		cmocka_unit_test(causes_before_effects_by_tsc),
		cmocka_unit_test(pools_come_and_go),
	};

	private_area();
	watchdog(stress_seconds(4) + 200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
