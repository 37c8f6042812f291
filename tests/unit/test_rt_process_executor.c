/* SPDX-License-Identifier: BSD-2-Clause */
/* The process pool: what goes through it, its processes, its marks. Dying workers:
 * test_rt_process_death.c.
 */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 10000
#define BIG ((size_t)64 << 20)

static int echo(struct intro_call *call)
{
	return intro_call_return(call, (void *)call->arg, call->size);
}

static int give_pid(struct intro_call *call)
{
	pid_t pid = getpid();

	return intro_call_return(call, &pid, sizeof(pid));
}

static struct intro_executor *new_pool(unsigned workers)
{
	struct intro_executor *e =
		intro_process_executor_new(POOL_OPTIONS(.name = "test", .workers = workers));

	assert_non_null(e);
	return e;
}

static pid_t pid_of_one_worker(struct intro_executor *e)
{
	pid_t pid;

	result_of(e, give_pid, &pid, sizeof(pid));
	return pid;
}

static int wait_at_gate(struct intro_call *call)
{
	gate_wait(*(struct gate *const *)call->arg);
	return 0;
}

static void bytes_there_and_back(void **state)
{
	static const size_t sizes[] = {0,    1,	   63,	 64,   65,    4071,    4072,	4073,
				       4095, 4096, 4097, 8193, 65537, 1000003, 3u << 20};
	struct intro_executor *e = new_pool(2);
	unsigned char *bytes = malloc(3u << 20);

	for (size_t i = 0; i < 3u << 20; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 256);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct intro_result result;
		struct intro_future f;

		submit_new(e, &f, echo, bytes, sizes[i]);
		if (sizes[i])
			bytes[0] ^= 0xff; /* the copy is made: this is not seen */
		assert_int_equal(intro_future_result(&f, INTRO_FOREVER, &result), 0);
		assert_int_equal(result.size, sizes[i]);
		if (sizes[i]) {
			bytes[0] ^= 0xff;
			assert_memory_equal(result.data, bytes, sizes[i]);
		}
		intro_future_destroy(&f);
	}
	free(bytes);
	intro_executor_free(e);
}

static int check_and_return_big(struct intro_call *call)
{
	const unsigned char *in = call->arg;
	unsigned char *out;
	int ret;

	if (call->size != BIG || in[0] != 1 || in[BIG - 1] != 2)
		return 1;
	out = malloc(BIG);
	memset(out, 3, BIG);
	ret = intro_call_return(call, out, BIG);
	free(out);
	return ret;
}

static void large_ones_in_both_directions_at_once(void **state)
{
	struct intro_executor *e = new_pool(1);
	unsigned char *bytes = calloc(1, BIG);
	struct intro_future f[2];

	bytes[0] = 1;
	bytes[BIG - 1] = 2;
	for (int i = 0; i < 2; i++)
		submit_new(e, &f[i], check_and_return_big, bytes, BIG);
	for (int i = 0; i < 2; i++) {
		struct intro_result result;

		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, &result), 0);
		assert_int_equal(result.size, BIG);
		assert_int_equal(((unsigned char *)result.data)[BIG - 1], 3);
		intro_future_destroy(&f[i]);
	}
	free(bytes);
	intro_executor_free(e);
}

static void what_submit_refuses(void **state)
{
	struct intro_executor *e = new_pool(1);
	struct intro_future f;

	intro_future_init(&f);
	assert_int_equal(intro_executor_submit(e, &f, echo, "x", ((size_t)1 << 30) + 1), -EMSGSIZE);
	assert_int_equal(intro_executor_submit(e, &f, echo, NULL, 1), -EINVAL);
	assert_int_equal(intro_executor_submit(e, &f, NULL, NULL, 0), -EINVAL);
	assert_int_equal(intro_future_id(&f), 0);
	assert_int_equal(intro_executor_submit(e, &f, echo, "x", 1), 0); /* it is as new */
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
	intro_future_destroy(&f);
	intro_executor_free(e);
}

static int fails(struct intro_call *call)
{
	intro_call_return(call, "dropped", 8);
	intro_call_error(call, "%s on %u", call->worker, call->index);
	return *(const int *)call->arg;
}

static void errors(void **state)
{
	struct intro_executor *e = new_pool(1);
	struct intro_error error;
	struct intro_future f;
	int code = 4;

	submit_new(e, &f, fails, &code, sizeof(code));
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), -EREMOTEIO);
	assert_int_equal(intro_future_error(&f, 0, &error), 0);
	assert_int_equal(error.code, 4);
	assert_string_equal(error.text, "test/0 on 0");
	intro_future_destroy(&f);
	intro_executor_free(e);
}

static void many_tasks(void **state)
{
	struct intro_future *f = aligned_alloc(64, MANY * sizeof(*f));
	struct intro_executor *e = new_pool(3);
	char payload[100] = {0};

	for (int i = 0; i < MANY; i++) {
		memcpy(payload, &i, sizeof(i));
		submit_new(e, &f[i], echo, payload, i % 2 ? 100 : 4);
	}
	for (int i = 0; i < MANY; i++) {
		struct intro_result result;

		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, &result), 0);
		assert_int_equal(result.size, i % 2 ? 100 : 4);
		assert_memory_equal(result.data, &i, sizeof(i));
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(e);
	free(f);
}

static void processes_come_and_go(void **state)
{
	unsigned fds = count_fds();
	struct intro_executor *e;

	assert_int_equal(count_children(), 0);
	for (int round = 0; round < 3; round++) {
		e = new_pool(4);
		assert_int_equal(count_children(), 4);
		assert_int_not_equal(pid_of_one_worker(e), getpid());
		intro_executor_free(e);
		assert_int_equal(count_children(), 0);
		assert_int_equal(count_fds(), fds);
	}
}

static void *make_pool(void *arg)
{
	return new_pool(1);
}

static void a_pool_outlives_the_thread_that_made_it(void **state)
{
	pthread_t thread;
	void *e;

	pthread_create(&thread, NULL, make_pool, NULL);
	pthread_join(thread, &e);
	sleep_ms(20);
	assert_int_not_equal(pid_of_one_worker(e), getpid());
	intro_executor_free(e);
}

static int initialize(struct intro_call *call)
{
	call->initial = (void *)((uintptr_t)call->arg + call->index);
	return 0;
}

struct identity {
	char worker[32];
	char comm[16];
	unsigned index;
	uintptr_t initial;
	sigset_t blocked;
	bool sigint_ignored;
	bool sigterm_default;
};

static int identify(struct intro_call *call)
{
	struct identity id = {.index = call->index, .initial = (uintptr_t)call->initial};
	struct sigaction action;

	snprintf(id.worker, sizeof(id.worker), "%s", call->worker);
	prctl(PR_GET_NAME, id.comm);
	pthread_sigmask(SIG_SETMASK, NULL, &id.blocked);
	sigaction(SIGINT, NULL, &action);
	id.sigint_ignored = action.sa_handler == SIG_IGN;
	sigaction(SIGTERM, NULL, &action);
	id.sigterm_default = action.sa_handler == SIG_DFL;
	return intro_call_return(call, &id, sizeof(id));
}

static void handler(int sig)
{
}

static void what_a_worker_is(void **state)
{
	struct intro_executor *e;
	struct intro_result result;
	struct intro_future f[8];
	sigset_t usr2;

	signal(SIGTERM, handler);
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &usr2, NULL);
	e = intro_process_executor_new(POOL_OPTIONS(.name = "a pool with a name", .workers = 2,
						    .initializer = initialize,
						    .initarg = (void *)1000));
	pthread_sigmask(SIG_UNBLOCK, &usr2, NULL);
	signal(SIGTERM, SIG_DFL);
	for (int i = 0; i < 8; i++)
		submit_new(e, &f[i], identify, NULL, 0);
	for (int i = 0; i < 8; i++) {
		struct identity *id;
		char name[32];

		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, &result), 0);
		id = result.data;
		assert_true(id->index < 2);
		assert_int_equal(id->initial, 1000 + id->index);
		snprintf(name, sizeof(name), "a pool with a name/%u", id->index);
		assert_string_equal(id->worker, name);
		snprintf(name, sizeof(name), "a pool with a/%u", id->index);
		assert_string_equal(id->comm, name);
		assert_true(sigismember(&id->blocked, SIGUSR2));
		assert_false(sigismember(&id->blocked, SIGUSR1));
		assert_true(id->sigint_ignored && id->sigterm_default);
		intro_future_destroy(&f[i]);
	}
	intro_executor_free(e);
}

static void cancelling(void **state)
{
	struct gate *gate = gate_new_shared();
	struct intro_executor *e = new_pool(1);
	struct intro_future f[6];
	char payload[200] = {0};

	submit_new(e, &f[0], wait_at_gate, &gate, sizeof(gate));
	submit_new(e, &f[1], echo, payload, sizeof(payload));
	gate_expect(gate, 1);
	while (!intro_future_running(&f[1])) /* handed over ahead, as in Python */
		sleep_ms(1);
	assert_false(intro_future_cancel(&f[0]));
	assert_false(intro_future_cancel(&f[1]));
	for (int i = 2; i < 6; i++)
		submit_new(e, &f[i], echo, payload, sizeof(payload));
	assert_true(intro_future_cancel(&f[2]));
	assert_int_equal(intro_future_state(&f[2]), INTRO_FUTURE_CANCELLED);
	intro_future_cancel(&f[3]);
	intro_future_destroy(&f[3]);
	intro_executor_shutdown(e, INTRO_SHUTDOWN_CANCEL_PENDING);
	assert_int_equal(intro_future_state(&f[2]), INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
	assert_int_equal(intro_future_state(&f[4]), INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
	intro_future_init(&f[3]);
	assert_int_equal(intro_executor_submit(e, &f[3], echo, payload, sizeof(payload)),
			 -ESHUTDOWN);
	gate_open(gate);
	intro_executor_free(e);
	assert_int_equal(intro_future_result(&f[0], 0, NULL), 0);
	assert_int_equal(intro_future_result(&f[1], 0, NULL), 0);
	assert_int_equal(intro_future_result(&f[5], 0, NULL), -ECANCELED);
	for (int i = 0; i < 6; i++)
		intro_future_destroy(&f[i]);
}

struct chain {
	struct intro_executor *e;
	struct intro_future next;
	struct intro_done_callback cb;
	_Atomic bool done;
};

static void submit_next(struct intro_future *future, void *arg)
{
	struct chain *chain = arg;

	intro_future_init(&chain->next);
	if (intro_executor_submit(chain->e, &chain->next, echo, "next", 5))
		abort();
	intro_executor_shutdown(chain->e, INTRO_SHUTDOWN_WAIT); /* in the manager: cannot wait */
	chain->done = true;
}

static void callbacks_may_use_their_pool(void **state)
{
	struct gate *gate = gate_new_shared(); /* before the fork, or workers have it not */
	struct chain chain = {.e = new_pool(1), .cb = {.fn = submit_next, .arg = &chain}};
	struct intro_result result;
	struct intro_future f;

	submit_new(chain.e, &f, wait_at_gate, &gate, sizeof(gate));
	intro_future_add_done_callback(&f, &chain.cb);
	gate_open(gate);
	while (!chain.done)
		sleep_ms(1);
	assert_int_equal(intro_future_result(&chain.next, INTRO_FOREVER, &result), 0);
	assert_string_equal(result.data, "next");
	intro_executor_free(chain.e);
	intro_future_destroy(&chain.next);
	intro_future_destroy(&f);
}

static int naps(struct intro_call *call)
{
	sleep_ms(2);
	return 0;
}

static void run_many(struct intro_executor *e, intro_task_fn fn, int n)
{
	struct intro_future f;

	for (int i = 0; i < n; i++) {
		submit_new(e, &f, fn, "x", 1);
		assert_int_equal(intro_future_result(&f, INTRO_FOREVER, NULL), 0);
		intro_future_destroy(&f);
	}
}

/* The one that says who has it in the end: a task may be taken back from a worker. */
static int last_take(const struct intro_rec_mark *m, size_t n, uint64_t task)
{
	int last = -1;

	for (int at = 0; (at = marks_find(m, n, (size_t)at, INTRO_KIND_TAKE, task)) >= 0; at++)
		last = at;
	return last;
}

/* Handed ahead while tasks were short, and then a long one: an idle worker gets them. */
static void what_is_held_up_goes_to_others(void **state)
{
	struct gate *gate = gate_new_shared();
	struct intro_executor *e = new_pool(2);
	struct intro_future f[40];
	unsigned again = 0;
	size_t n;
	struct intro_rec_mark *m;

	marks_begin();
	run_many(e, echo, 500);
	submit_new(e, &f[0], wait_at_gate, &gate, sizeof(gate));
	for (int i = 1; i < 40; i++)
		submit_new(e, &f[i], echo, "held", 4);
	for (int i = 1; i < 40; i++)
		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, NULL), 0);
	assert_true(intro_future_running(&f[0]));
	gate_open(gate);
	assert_int_equal(intro_future_result(&f[0], INTRO_FOREVER, NULL), 0);
	run_many(e, echo, 50); /* both go on */
	intro_executor_free(e);
	m = marks_end(&n);
	for (int i = 0; i < 40; i++) {
		uint64_t task = intro_future_id(&f[i]);
		int start = marks_find(m, n, 0, INTRO_KIND_START, task), take;

		assert_int_equal(marks_count(m, n, INTRO_KIND_START, task), 1);
		again += marks_count(m, n, INTRO_KIND_TAKE, task) > 1;
		take = last_take(m, n, task);
		assert_int_equal(m[take].b, m[start].rec.tid);
		intro_future_destroy(&f[i]);
	}
	printf("# figure held up: %u of 39 were taken back\n", again);
	free(m);
}

/* As soon as it is known that tasks are long, no more than one is handed out ahead. */
static void long_tasks_are_not_handed_out_ahead(void **state)
{
	struct gate *gate = gate_new_shared();
	struct intro_executor *e = new_pool(1);
	struct intro_future f[6];

	run_many(e, echo, 500);
	run_many(e, naps, 30);
	submit_new(e, &f[0], wait_at_gate, &gate, sizeof(gate));
	for (int i = 1; i < 6; i++)
		submit_new(e, &f[i], echo, "x", 1);
	gate_expect(gate, 1);
	while (!intro_future_running(&f[1]))
		sleep_ms(1);
	for (int i = 2; i < 6; i++)
		assert_int_equal(intro_future_state(&f[i]), INTRO_FUTURE_PENDING);
	gate_open(gate);
	intro_executor_free(e);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(intro_future_result(&f[i], 0, NULL), 0);
		intro_future_destroy(&f[i]);
	}
}

static int give_cpu_time(struct intro_call *call)
{
	int64_t ns = cpu_ns();

	return intro_call_return(call, &ns, sizeof(ns));
}

static int64_t cpu_of_worker(struct intro_executor *e)
{
	int64_t ns;

	result_of(e, give_cpu_time, &ns, sizeof(ns));
	return ns;
}

static void an_idle_pool_uses_no_cpu(void **state)
{
	struct intro_executor *e = new_pool(1);
	int64_t ours, worker;

	run_many(e, echo, 100);
	worker = cpu_of_worker(e);
	ours = cpu_ns();
	sleep_ms(500);
	assert_true(cpu_ns() - ours < 100 * MSEC);
	assert_true(cpu_of_worker(e) - worker < 100 * MSEC);
	intro_executor_free(e);
}

/* More than the rings hold, of all sizes, under way at a time. */
static void rings_run_full(void **state)
{
	static const size_t sizes[] = {60000, 65536, 65537, 0, 1, 63, 4096, 199000, 31, 32, 33};
	struct intro_executor *e =
		intro_process_executor_new(POOL_OPTIONS(.workers = 2, .prefetch = 100));
	unsigned char *bytes = malloc(200000);
	struct intro_future f[200];

	assert_non_null(e);
	for (size_t i = 0; i < 200000; i++)
		bytes[i] = (unsigned char)(i * 31 + i / 251);
	for (size_t i = 0; i < 200; i++)
		submit_new(e, &f[i], echo, bytes + i, sizes[i % 11]);
	for (size_t i = 0; i < 200; i++) {
		struct intro_result result;

		assert_int_equal(intro_future_result(&f[i], INTRO_FOREVER, &result), 0);
		assert_int_equal(result.size, sizes[i % 11]);
		if (result.size)
			assert_memory_equal(result.data, bytes + i, result.size);
		assert_int_equal((uintptr_t)result.data % 16, 0);
		intro_future_destroy(&f[i]);
	}
	free(bytes);
	intro_executor_free(e);
}

static int square(struct intro_call *call)
{
	uint32_t i = *(const uint32_t *)call->arg;
	uint64_t s = (uint64_t)i * i;

	if (i % 10 == 9) {
		intro_call_error(call, "nine of %u", i);
		return -9;
	}
	return intro_call_return(call, &s, i % 10 == 8 ? 0 : sizeof(s));
}

static int check_square(size_t i, const struct intro_result *result,
			const struct intro_error *error, void *ctx)
{
	char text[32];
	size_t *n = ctx;

	assert_int_equal(i, *n);
	++*n;
	if (i % 10 == 9) {
		assert_null(result);
		assert_int_equal(error->code, -9);
		snprintf(text, sizeof(text), "nine of %zu", i);
		assert_string_equal(error->text, text);
	} else {
		assert_null(error);
		assert_int_equal(result->size, i % 10 == 8 ? 0 : 8);
		if (result->size)
			assert_int_equal(*(uint64_t *)result->data, i * i);
	}
	return i == 777 ? 5 : 0;
}

static void map_in_chunks(void **state)
{
	struct intro_executor *e = new_pool(2);
	uint32_t items[777];

	for (uint32_t i = 0; i < 777; i++)
		items[i] = i;
	for (size_t chunk = 0; chunk < 1000; chunk = chunk * 3 + 1) {
		size_t n = 0;

		assert_int_equal(intro_executor_map(e, square, items, 777, 4, chunk, INTRO_FOREVER,
						    check_square, &n),
				 0);
		assert_int_equal(n, 777);
	}
	intro_executor_free(e);
}

static int fails_with(struct intro_call *call)
{
	int code = *(const int *)call->arg;

	if (code == 8)
		intro_call_error(call, "one\nline\t%d", code);
	return code;
}

static const struct {
	int code;
	const char *text;
} without_words[] = {
	{7, "failed with 7"},
	{8, "one line 8"},
	{-ENOENT, "No such file or directory"},
	{-12345, "failed with -12345"},
};
#define WITHOUT_WORDS (sizeof(without_words) / sizeof(without_words[0]))

static int has_text(size_t i, const struct intro_result *result, const struct intro_error *error,
		    void *ctx)
{
	assert_int_equal(error->code, without_words[i].code);
	assert_string_equal(error->text, without_words[i].text);
	return 0;
}

static void every_error_has_a_text(void **state)
{
	struct intro_executor *pool[] = {new_pool(1),
					 intro_thread_executor_new(POOL_OPTIONS(.workers = 1))};
	int codes[WITHOUT_WORDS];
	struct intro_error error;
	struct intro_future f;

	for (size_t i = 0; i < WITHOUT_WORDS; i++)
		codes[i] = without_words[i].code;
	for (int k = 0; k < 2; k++) {
		for (size_t i = 0; i < WITHOUT_WORDS; i++) {
			submit_new(pool[k], &f, fails_with, &codes[i], sizeof(codes[i]));
			assert_int_equal(intro_future_error(&f, INTRO_FOREVER, &error), 0);
			has_text(i, NULL, &error, NULL);
			intro_future_destroy(&f);
		}
		assert_int_equal(intro_executor_map(pool[k], fails_with, codes, WITHOUT_WORDS,
						    sizeof(codes[0]), 3, INTRO_FOREVER, has_text,
						    NULL),
				 0);
		intro_executor_free(pool[k]);
	}
}

static void wait_and_as_completed(void **state)
{
	struct gate *gate = gate_new_shared();
	struct intro_executor *e = new_pool(2);
	struct intro_future f[3], *p[3] = {&f[0], &f[1], &f[2]};
	struct intro_as_completed *it;
	bool done[3];
	size_t i;

	submit_new(e, &f[0], wait_at_gate, &gate, sizeof(gate));
	gate_expect(gate, 1);
	submit_new(e, &f[1], echo, "x", 1);
	assert_int_equal(intro_future_wait(p, 2, INTRO_FIRST_COMPLETED, INTRO_FOREVER, done), 1);
	assert_true(!done[0] && done[1]);
	assert_int_equal(intro_future_wait(p, 2, INTRO_ALL_COMPLETED, MSEC, done), -ETIMEDOUT);
	submit_new(e, &f[2], echo, "y", 1);
	assert_int_equal(intro_future_result(&f[2], INTRO_FOREVER, NULL), 0);
	it = intro_as_completed_new(p, 3);
	assert_int_equal(intro_as_completed_next(it, 0, &i), 1);
	assert_int_equal(i, 1);
	assert_int_equal(intro_as_completed_next(it, 0, &i), 1);
	assert_int_equal(i, 2);
	assert_int_equal(intro_as_completed_next(it, 0, &i), -ETIMEDOUT);
	gate_open(gate);
	assert_int_equal(intro_as_completed_next(it, INTRO_FOREVER, &i), 1);
	assert_int_equal(i, 0);
	assert_int_equal(intro_as_completed_next(it, INTRO_FOREVER, &i), 0);
	intro_as_completed_free(it);
	intro_executor_free(e);
	for (i = 0; i < 3; i++)
		intro_future_destroy(&f[i]);
}

static void marks_tell_the_story(void **state)
{
	struct intro_executor *e;
	struct intro_rec_mark *m;
	struct intro_future f[20];
	uint32_t pool;
	size_t n;

	marks_begin();
	e = new_pool(2);
	pool = intro_executor_pool_id(e);
	for (int i = 0; i < 20; i++)
		submit_new(e, &f[i], echo, "abc", 3);
	for (int i = 0; i < 20; i++)
		intro_future_result(&f[i], INTRO_FOREVER, NULL);
	intro_executor_free(e);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_START, 0), 2);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_STOP, 0), 2);
	for (int i = 0; i < 20; i++) {
		static const uint8_t kinds[] = {INTRO_KIND_SUBMIT, INTRO_KIND_TAKE,
						INTRO_KIND_START, INTRO_KIND_END,
						INTRO_KIND_RESULT};
		uint64_t task = intro_future_id(&f[i]);
		int at[5];

		for (int k = 0; k < 5; k++) {
			at[k] = k == 1 ? last_take(m, n, task)
				       : marks_find(m, n, 0, kinds[k], task);
			assert_true(at[k] >= 0);
			assert_true(k == 1 || marks_count(m, n, kinds[k], task) == 1);
			assert_true(!k || at[k] > at[k - 1]);
			assert_true(k > 2 || m[at[k]].a == pool);
		}
		assert_int_equal(m[at[0]].rec.tid, getpid());
		assert_int_equal(m[at[1]].b, m[at[2]].rec.tid); /* handed to who started it */
		assert_int_not_equal(m[at[2]].rec.tid, getpid());
		assert_int_equal(m[at[2]].rec.tid, m[at[3]].rec.tid);
		assert_int_equal(m[at[3]].a, INTRO_STATUS_OK);
		assert_int_equal(m[at[3]].b, 0);
		assert_int_equal(m[at[4]].a, INTRO_STATUS_OK);
		/* waited for: a wake-up of the reader, else a read */
		assert_int_equal(marks_count(m, n, INTRO_KIND_WAKE, task),
				 m[at[4]].b == INTRO_END_WAITED);
		assert_int_equal(marks_count(m, n, INTRO_KIND_READ, task), m[at[4]].b == 0);
		intro_future_destroy(&f[i]);
	}
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_there_and_back),
		cmocka_unit_test(large_ones_in_both_directions_at_once),
		cmocka_unit_test(what_submit_refuses),
		cmocka_unit_test(errors),
		cmocka_unit_test(many_tasks),
		cmocka_unit_test(processes_come_and_go),
		cmocka_unit_test(a_pool_outlives_the_thread_that_made_it),
		cmocka_unit_test(what_a_worker_is),
		cmocka_unit_test(cancelling),
		cmocka_unit_test(callbacks_may_use_their_pool),
		cmocka_unit_test(what_is_held_up_goes_to_others),
		cmocka_unit_test(long_tasks_are_not_handed_out_ahead),
		cmocka_unit_test(an_idle_pool_uses_no_cpu),
		cmocka_unit_test(rings_run_full),
		cmocka_unit_test(map_in_chunks),
		cmocka_unit_test(every_error_has_a_text),
		cmocka_unit_test(wait_and_as_completed),
		cmocka_unit_test(marks_tell_the_story),
	};

	private_area();
	watchdog(250);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
