/* SPDX-License-Identifier: BSD-2-Clause */
/* The event loop: order, timers, events, descriptors, other threads, marks, misuse. */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <introspect/loop.h>

struct story {
	struct intro_loop *loop;
	char text[64];
	unsigned n;
	int fd[2];
};

struct line {
	struct story *story;
	char letter;
};

static void tells(void *arg)
{
	struct line *line = arg;

	line->story->text[line->story->n++] = line->letter;
}

static void stops(void *arg)
{
	intro_loop_stop(((struct story *)arg)->loop);
}

static void begin(struct story *story)
{
	memset(story, 0, sizeof(*story));
	story->loop = intro_loop_new("loop");
	assert_non_null(story->loop);
}

static void calls_run_in_order(void **state)
{
	struct story story;
	struct line lines[3] = {{&story, 'a'}, {&story, 'b'}, {&story, 'c'}};

	begin(&story);
	for (int i = 0; i < 3; i++)
		assert_int_equal(intro_loop_call_soon(story.loop, tells, &lines[i]), 0);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0);
	assert_string_equal(story.text, "abc");
	/* a stop that comes before: one turn */
	intro_loop_call_soon(story.loop, tells, &lines[1]);
	intro_loop_stop(story.loop);
	assert_int_equal(intro_loop_run(story.loop), 0);
	assert_string_equal(story.text, "abcb");
	intro_loop_call_soon(story.loop, stops, &story);
	intro_loop_call_soon(story.loop, tells, &lines[2]); /* of the same turn */
	assert_int_equal(intro_loop_run(story.loop), 0);
	assert_string_equal(story.text, "abcbc");
	intro_loop_free(story.loop);
	intro_loop_free(NULL);
}

static void timers_run_in_order_of_time(void **state)
{
	struct story story;
	struct line lines[4] = {{&story, 'a'}, {&story, 'b'}, {&story, 'c'}, {&story, 'x'}};
	int64_t before = now_ns();
	uint64_t timer, again;

	begin(&story);
	intro_loop_call_later(story.loop, 200 * MSEC, tells, &lines[2], NULL);
	intro_loop_call_later(story.loop, 10 * MSEC, tells, &lines[1], NULL);
	intro_loop_call_later(story.loop, 150 * MSEC, tells, &lines[3], &timer);
	intro_loop_call_later(story.loop, -1, tells, &lines[0], &again);
	assert_int_equal(intro_loop_cancel(story.loop, timer), 0);
	assert_int_equal(intro_loop_cancel(story.loop, timer), -ENOENT);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0);
	assert_true(now_ns() - before >= 200 * MSEC);
	assert_string_equal(story.text, "abc");
	assert_int_equal(intro_loop_cancel(story.loop, again), -ENOENT);
	/* one that is never due goes with its loop */
	intro_loop_call_later(story.loop, INTRO_FOREVER, tells, &lines[0], NULL);
	intro_loop_call_soon(story.loop, tells, &lines[0]);
	intro_loop_free(story.loop);
	assert_string_equal(story.text, "abc");
}

struct canceller {
	struct story *story;
	uint64_t timer;
	int got[2];
};

static void cancels(void *arg)
{
	struct canceller *c = arg;

	for (int i = 0; i < 2; i++)
		c->got[i] = intro_loop_cancel(c->story->loop, c->timer);
}

/* Both are due in one turn; the second is queued when the first cancels it. */
static void a_due_timer_can_be_cancelled_until_it_runs(void **state)
{
	struct story story;
	struct line lines[2] = {{&story, 'a'}, {&story, 'b'}};
	struct canceller c = {.story = &story};
	uint64_t own;

	begin(&story);
	intro_loop_call_later(story.loop, 0, cancels, &c, &own);
	intro_loop_call_later(story.loop, 0, tells, &lines[0], &c.timer);
	intro_loop_call_later(story.loop, 0, tells, &lines[1], NULL);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0);
	assert_string_equal(story.text, "b");
	assert_int_equal(c.got[0], 0);
	assert_int_equal(c.got[1], -ENOENT);
	/* one that runs cannot cancel itself any more; 0 is no timer's number */
	intro_loop_call_later(story.loop, 0, cancels, &c, &c.timer);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0);
	assert_int_equal(c.got[0], -ENOENT);
	intro_loop_call_soon(story.loop, tells, &lines[0]);
	assert_int_equal(intro_loop_cancel(story.loop, 0), -ENOENT);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0);
	assert_string_equal(story.text, "ba");
	intro_loop_free(story.loop);
}

static void hears(const char *event, void *data, void *arg)
{
	struct line *line = arg;

	assert_string_equal(event, "request");
	assert_ptr_equal(data, line->story);
	tells(line);
}

static void an_event_has_several_handlers(void **state)
{
	struct story story;
	struct line lines[2] = {{&story, 'a'}, {&story, 'b'}};
	char longer[] = "a name of thirty-two bytes or so";

	begin(&story);
	assert_int_equal(intro_loop_emit(story.loop, "request", &story), 0);
	assert_int_equal(intro_loop_on(story.loop, "request", hears, &lines[0]), 0);
	assert_int_equal(intro_loop_on(story.loop, "request", hears, &lines[1]), 0);
	assert_int_equal(intro_loop_on(story.loop, "request", hears, &lines[1]), -EEXIST);
	assert_int_equal(intro_loop_on(story.loop, "", hears, NULL), -EINVAL);
	assert_int_equal(intro_loop_on(story.loop, NULL, hears, NULL), -EINVAL);
	assert_int_equal(intro_loop_on(story.loop, longer, hears, NULL), -EINVAL);
	assert_int_equal(intro_loop_on(story.loop, "request", NULL, NULL), -EINVAL);
	assert_int_equal(intro_loop_emit(story.loop, NULL, NULL), -EINVAL);
	assert_int_equal(intro_loop_emit(story.loop, "request", &story), 2);
	assert_int_equal(intro_loop_emit(story.loop, "another", &story), 0);
	intro_loop_run_until_idle(story.loop);
	assert_string_equal(story.text, "ab");
	assert_int_equal(intro_loop_off(story.loop, "request", hears, &lines[0]), 0);
	assert_int_equal(intro_loop_off(story.loop, "request", hears, &lines[0]), -ENOENT);
	assert_int_equal(intro_loop_off(story.loop, NULL, hears, NULL), -EINVAL);
	assert_int_equal(intro_loop_emit(story.loop, "request", &story), 1);
	intro_loop_run_until_idle(story.loop);
	assert_string_equal(story.text, "abb");
	intro_loop_free(story.loop);
}

static void reads(int fd, uint32_t events, void *arg)
{
	struct story *story = arg;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(fd, &story->text[story->n], 1), 1);
	story->n++;
}

static void reads_and_removes(int fd, uint32_t events, void *arg)
{
	struct story *story = arg;

	reads(fd, events, arg);
	assert_int_equal(intro_loop_remove(story->loop, fd), 0);
}

static void removes(void *arg)
{
	struct story *story = arg;

	assert_int_equal(intro_loop_remove(story->loop, story->fd[0]), 0);
}

static void descriptors_are_read_when_ready(void **state)
{
	struct story story;
	unsigned fds;

	begin(&story);
	fds = count_fds();
	assert_int_equal(pipe(story.fd), 0);
	assert_int_equal(intro_loop_add(story.loop, story.fd[0], EPOLLIN, NULL, NULL), -EINVAL);
	assert_int_equal(intro_loop_add(story.loop, 9999, EPOLLIN, reads, NULL), -EBADF);
	assert_int_equal(intro_loop_modify(story.loop, story.fd[0], 0), -ENOENT);
	assert_int_equal(intro_loop_remove(story.loop, story.fd[0]), -ENOENT);
	assert_int_equal(intro_loop_add(story.loop, story.fd[0], EPOLLIN, reads, &story), 0);
	assert_int_equal(intro_loop_add(story.loop, story.fd[0], EPOLLIN, reads, &story), -EEXIST);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0);
	assert_int_equal(write(story.fd[1], "xyz", 3), 3);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0); /* all three: by level */
	assert_string_equal(story.text, "xyz");
	assert_int_equal(write(story.fd[1], "w", 1), 1);
	assert_int_equal(intro_loop_modify(story.loop, story.fd[0], 0), 0);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0);
	assert_string_equal(story.text, "xyz");
	assert_int_equal(intro_loop_modify(story.loop, story.fd[0], EPOLLIN), 0);
	/* removed by a callback of the turn in which it is ready: not called */
	intro_loop_call_soon(story.loop, removes, &story);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0);
	assert_string_equal(story.text, "xyz");
	assert_int_equal(
		intro_loop_add(story.loop, story.fd[0], EPOLLIN, reads_and_removes, &story), 0);
	assert_int_equal(intro_loop_run_until_idle(story.loop), 0);
	assert_string_equal(story.text, "xyzw");
	assert_int_equal(intro_loop_add(story.loop, story.fd[0], EPOLLIN, reads, &story), 0);
	close(story.fd[0]);
	close(story.fd[1]);
	assert_int_equal(count_fds(), fds);
	intro_loop_free(story.loop);
	assert_int_equal(count_fds(), fds - 2);
}

static void *runs(void *arg)
{
	struct story *story = arg;

	return (void *)(intptr_t)intro_loop_run(story->loop);
}

static void runs_again(void *arg)
{
	struct story *story = arg;

	story->text[story->n++] = intro_loop_run(story->loop) == -EBUSY ? 'y' : 'n';
}

struct count {
	_Atomic unsigned n;
};

static void counts(void *arg)
{
	((struct count *)arg)->n++;
}

static void other_threads_only_call_threadsafe(void **state)
{
	struct story story;
	struct line line = {&story, 'a'};
	struct count count = {0};
	pthread_t thread;
	void *ret;

	begin(&story);
	pthread_create(&thread, NULL, runs, &story);
	intro_loop_call_soon_threadsafe(story.loop, counts, &count);
	while (!count.n)
		sleep_ms(1);
	assert_int_equal(intro_loop_run(story.loop), -EBUSY);
	assert_int_equal(intro_loop_run_until_idle(story.loop), -EBUSY);
	assert_int_equal(intro_loop_call_soon(story.loop, tells, &line), -EPERM);
	assert_int_equal(intro_loop_call_later(story.loop, 1, tells, &line, NULL), -EPERM);
	assert_int_equal(intro_loop_cancel(story.loop, 1), -EPERM);
	assert_int_equal(intro_loop_on(story.loop, "request", hears, &line), -EPERM);
	assert_int_equal(intro_loop_off(story.loop, "request", hears, &line), -EPERM);
	assert_int_equal(intro_loop_emit(story.loop, "request", &line), -EPERM);
	assert_int_equal(intro_loop_add(story.loop, 0, EPOLLIN, reads, &story), -EPERM);
	assert_int_equal(intro_loop_modify(story.loop, 0, EPOLLIN), -EPERM);
	assert_int_equal(intro_loop_remove(story.loop, 0), -EPERM);
	assert_int_equal(intro_loop_call_soon_threadsafe(story.loop, NULL, NULL), -EINVAL);
	assert_int_equal(intro_loop_call_soon_threadsafe(story.loop, runs_again, &story), 0);
	for (int i = 0; i < 1000; i++)
		intro_loop_call_soon_threadsafe(story.loop, counts, &count);
	while (count.n != 1001)
		sleep_ms(1);
	intro_loop_stop(story.loop);
	pthread_join(thread, &ret);
	assert_null(ret);
	assert_string_equal(story.text, "y");
	assert_int_equal(intro_loop_call_soon(story.loop, NULL, NULL), -EINVAL);
	assert_int_equal(intro_loop_call_later(story.loop, 1, NULL, NULL, NULL), -EINVAL);
	intro_loop_free(story.loop);
}

struct numbered {
	struct intro_loop *loop;
	uint64_t task;
};

static void tells_its_number(void *arg)
{
	struct numbered *numbered = arg;

	numbered->task = intro_loop_task(numbered->loop);
}

static void a_callback_knows_its_task(void **state)
{
	struct numbered numbered = {.loop = intro_loop_new(NULL)};
	struct intro_rec_mark *m;
	size_t n;

	marks_begin();
	assert_int_equal(intro_loop_call_soon(numbered.loop, tells_its_number, &numbered), 0);
	intro_loop_run_until_idle(numbered.loop);
	m = marks_end(&n);
	assert_int_equal(m[marks_find(m, n, 0, INTRO_KIND_START, 0)].task, numbered.task);
	assert_int_not_equal(numbered.task, 0);
	assert_int_equal(intro_loop_task(numbered.loop), 0);
	intro_loop_free(numbered.loop);
	free(m);
}

static void a_queued_callback_is_a_task(void **state)
{
	static const uint8_t life[] = {INTRO_KIND_SUBMIT, INTRO_KIND_START, INTRO_KIND_END};
	struct story story;
	struct line line = {&story, 'a'};
	struct intro_rec_mark *m;
	uint64_t task;
	size_t n;
	int at;

	begin(&story);
	marks_begin();
	intro_loop_call_soon(story.loop, tells, &line);
	intro_loop_call_later(story.loop, MSEC, tells, &line, NULL);
	intro_loop_run_until_idle(story.loop);
	intro_loop_call_soon(story.loop, tells, &line);
	intro_loop_free(story.loop);
	m = marks_end(&n);
	assert_int_equal(marks_count(m, n, INTRO_KIND_SUBMIT, 0), 3);
	assert_int_equal(marks_count(m, n, INTRO_KIND_CANCEL, 0), 1);
	assert_int_equal(marks_count(m, n, INTRO_KIND_WORKER_START, 0), 1);
	at = marks_find(m, n, 0, INTRO_KIND_SUBMIT, 0);
	task = m[at].task;
	for (size_t i = 0; i < sizeof(life); i++, at++) {
		at = marks_find(m, n, (size_t)at, life[i], task);
		assert_true(at >= 0);
	}
	assert_int_equal(m[at - 1].b, INTRO_END_RESULT);
	free(m);
}

/* Many timers: each in its time, those of one time in the order of asking, or cancelled. */
#define MANY_TIMERS 20000

static struct {
	uint64_t number[MANY_TIMERS];
	int64_t due[MANY_TIMERS]; /* from below */
	bool cancelled[MANY_TIMERS];
	unsigned ran, in_order;
} many;

static void in_its_time(void *arg)
{
	size_t i = (size_t)arg;

	assert_false(many.cancelled[i]);
	assert_true(now_ns() >= many.due[i]);
	many.ran++;
}

static void in_order(void *arg)
{
	assert_int_equal((size_t)arg, many.in_order++);
}

static void many_timers(void **state)
{
	struct intro_loop *loop = intro_loop_new("many");
	unsigned random = 1, cancelled = 0;
	uint64_t again;

	memset(&many, 0, sizeof(many));
	for (size_t i = 0; i < MANY_TIMERS; i++) {
		int64_t delay =
			(int64_t)((random = random * 1103515245 + 12345) >> 16) % 1000 * MSEC;

		many.due[i] = now_ns() + delay / 5;
		assert_int_equal(intro_loop_call_later(loop, delay / 5, in_its_time, (void *)i,
						       &many.number[i]),
				 0);
		/* one that is there, of any age, and may be so already */
		if (i % 2 && !many.cancelled[random % i]) {
			assert_int_equal(intro_loop_cancel(loop, many.number[random % i]), 0);
			many.cancelled[random % i] = true;
			cancelled++;
		}
	}
	for (size_t i = 0; i < MANY_TIMERS; i++)
		if (many.cancelled[i])
			assert_int_equal(intro_loop_cancel(loop, many.number[i]), -ENOENT);
	assert_int_equal(intro_loop_run_until_idle(loop), 0);
	assert_int_equal(many.ran, MANY_TIMERS - cancelled);
	for (size_t i = 0; i < MANY_TIMERS; i++)
		assert_int_equal(intro_loop_cancel(loop, many.number[i]), -ENOENT);
	/* their places are used again, their numbers are not */
	assert_int_equal(intro_loop_call_later(loop, SEC, in_its_time, NULL, &again), 0);
	for (size_t i = 0; i < MANY_TIMERS; i++)
		assert_true(many.number[i] != again);
	assert_int_equal(intro_loop_cancel(loop, 0), -ENOENT);
	assert_int_equal(intro_loop_cancel(loop, UINT64_MAX), -ENOENT);
	assert_int_equal(intro_loop_cancel(loop, again), 0);
	for (size_t i = 0; i < MANY_TIMERS; i++)
		assert_int_equal(intro_loop_call_later(loop, 0, in_order, (void *)i, NULL), 0);
	assert_int_equal(intro_loop_run_until_idle(loop), 0);
	assert_int_equal(many.in_order, MANY_TIMERS);
	intro_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_timers),
		cmocka_unit_test(calls_run_in_order),
		cmocka_unit_test(timers_run_in_order_of_time),
		cmocka_unit_test(a_due_timer_can_be_cancelled_until_it_runs),
		cmocka_unit_test(an_event_has_several_handlers),
		cmocka_unit_test(descriptors_are_read_when_ready),
		cmocka_unit_test(other_threads_only_call_threadsafe),
		cmocka_unit_test(a_callback_knows_its_task),
		cmocka_unit_test(a_queued_callback_is_a_task),
	};

	private_area();
	watchdog(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
