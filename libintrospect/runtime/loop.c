/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.c - the event loop.
 *
 * One queue of calls under a lock, as anybody may add to it; all else is the loop's thread's. Each
 * call is a piece of memory of its own, and a task from the moment it is queued. A watch that
 * is removed while its call is queued stays until that call was skipped.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "join.h"
#include "loop_private.h"
#include "marks_private.h"

#define EVENTS_A_TURN 64

struct watch {
	struct watch *next;
	int fd;
	uint32_t found; /* events of the call that is queued */
	bool queued, removed;
	intro_ready_fn fn;
	void *arg;
};

struct handler {
	struct handler *next;
	uint32_t name;
	intro_handler_fn fn;
	void *arg;
	char event[];
};

/* Its address is the thread. */
static __thread char here __attribute__((tls_model("initial-exec")));

bool intro__loop_is_foreign(struct intro_loop *loop)
{
	const char *runs_on = atomic_load_explicit(&loop->runs_on, memory_order_acquire);

	return runs_on && runs_on != &here;
}

static bool is_foreign(struct intro_loop *loop)
{
	return intro__loop_is_foreign(loop);
}

void intro__loop_wake(struct intro_loop *loop)
{
	uint64_t one = 1;
	int saved = errno;

	/* full means that it is to wake already */
	(void)!write(loop->wake, &one, sizeof(one));
	errno = saved;
}

void intro__loop_queue(struct intro_loop *loop, struct call *call, uint32_t name)
{
	call->next = NULL;
	if (!call->task)
		call->task = intro_mark_task();
	intro_mark_submit(call->task, loop->pool, name);
	if (loop->last)
		loop->last->next = call;
	else
		loop->first = call;
	loop->last = call;
}

static void queue(struct intro_loop *loop, struct call *call, uint32_t name)
{
	pthread_mutex_lock(&loop->lock);
	intro__loop_queue(loop, call, name);
	pthread_mutex_unlock(&loop->lock);
}

static bool is_for(const struct call *call, const struct future *f, uint64_t timer)
{
	if (timer)
		return call->timer == timer;
	return call->future && (!f || call->future == f);
}

static struct call **find_call(struct call **at, const struct future *f, uint64_t timer)
{
	while (*at && !is_for(*at, f, timer))
		at = &(*at)->next;
	return at;
}

static struct call *unqueue(struct intro_loop *loop, const struct future *f, uint64_t timer)
{
	struct call **at, *call;

	pthread_mutex_lock(&loop->lock);
	at = find_call(&loop->turn, f, timer);
	if (!*at)
		at = find_call(&loop->first, f, timer);
	call = *at;
	if (call)
		*at = call->next;
	if (call && call == loop->last) {
		loop->last = NULL;
		for (struct call *left = loop->first; left; left = left->next)
			loop->last = left;
	}
	pthread_mutex_unlock(&loop->lock);
	return call;
}

struct call *intro__loop_unqueue(struct intro_loop *loop, struct future *f)
{
	return unqueue(loop, f, 0);
}

/* What is queued by now is the turn's. */
static void begin_turn(struct intro_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->turn = loop->first;
	loop->first = loop->last = NULL;
	pthread_mutex_unlock(&loop->lock);
}

static struct call *next_call(struct intro_loop *loop)
{
	struct call *call;

	pthread_mutex_lock(&loop->lock);
	call = loop->turn;
	if (call)
		loop->turn = call->next;
	pthread_mutex_unlock(&loop->lock);
	return call;
}

static bool is_queued(struct intro_loop *loop)
{
	bool queued;

	pthread_mutex_lock(&loop->lock);
	queued = loop->first;
	pthread_mutex_unlock(&loop->lock);
	return queued;
}

void intro__loop_settled(struct intro_loop *loop)
{
	atomic_fetch_add(&loop->settled, 1);
	intro__futex_wake(&loop->settled);
}

/* --- making and freeing -------------------------------------------------------------------------
 */

struct intro_loop *intro_loop_new(const char *name)
{
	struct intro_loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event event = {.events = EPOLLIN};
	int err;

	if (!loop)
		return NULL;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll < 0 || loop->wake < 0 ||
	    epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &event)) {
		err = errno;
		if (loop->epoll >= 0)
			close(loop->epoll);
		if (loop->wake >= 0)
			close(loop->wake);
		free(loop);
		errno = err;
		return NULL;
	}
	pthread_mutex_init(&loop->lock, NULL);
	loop->pool = intro__pool_claim(name && *name ? name : "loop", 1, INTRO_POOL_THREAD);
	loop->soon_name = intro_mark_name("call");
	loop->timer_name = intro_mark_name("timer");
	loop->ready_name = intro_mark_name("ready");
	return loop;
}

static void free_calls(struct intro_loop *loop)
{
	struct call *call;

	begin_turn(loop);
	while ((call = next_call(loop))) {
		intro_mark_cancel(call->task, loop->pool);
		if (call->watch && call->watch->removed)
			free(call->watch);
		free(call);
	}
}

void intro_loop_free(struct intro_loop *loop)
{
	struct handler *handler;
	struct watch *watch;
	struct call *call;

	if (!loop)
		return;
	free_calls(loop);
	while ((call = intro__loop_timers_pop(&loop->timers)))
		free(call);
	intro__loop_timers_fini(&loop->timers);
	while ((handler = loop->handlers)) {
		loop->handlers = handler->next;
		free(handler);
	}
	while ((watch = loop->watches)) {
		loop->watches = watch->next;
		free(watch);
	}
	close(loop->epoll);
	close(loop->wake);
	intro__pool_release(loop->pool);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

/* --- calls and timers ---------------------------------------------------------------------------
 */

static struct call *call_new(intro_loop_fn fn, void *arg)
{
	struct call *call = calloc(1, sizeof(*call));

	if (call) {
		call->fn = fn;
		call->arg = arg;
	}
	return call;
}

int intro_loop_call_soon_threadsafe(struct intro_loop *loop, intro_loop_fn fn, void *arg)
{
	struct call *call;

	if (!fn)
		return -EINVAL;
	call = call_new(fn, arg);
	if (!call)
		return -ENOMEM;
	queue(loop, call, loop->soon_name);
	if (is_foreign(loop))
		intro__loop_wake(loop);
	return 0;
}

int intro_loop_call_soon(struct intro_loop *loop, intro_loop_fn fn, void *arg)
{
	return is_foreign(loop) ? -EPERM : intro_loop_call_soon_threadsafe(loop, fn, arg);
}

int intro_loop_call_later(struct intro_loop *loop, int64_t delay_ns, intro_loop_fn fn, void *arg,
			  uint64_t *number)
{
	struct call *call;

	if (is_foreign(loop))
		return -EPERM;
	if (!fn)
		return -EINVAL;
	call = call_new(fn, arg);
	if (call)
		call->timer =
			intro__loop_timers_add(&loop->timers, intro__deadline(delay_ns), call);
	if (!call || !call->timer) {
		free(call);
		return -ENOMEM;
	}
	if (number)
		*number = call->timer;
	return 0;
}

/* One that was due, and whose turn has not come. */
static int cancel_queued(struct intro_loop *loop, uint64_t number)
{
	struct call *call = number ? unqueue(loop, NULL, number) : NULL;

	if (!call)
		return -ENOENT;
	intro_mark_cancel(call->task, loop->pool);
	free(call);
	return 0;
}

int intro_loop_cancel(struct intro_loop *loop, uint64_t number)
{
	struct call *call;

	if (is_foreign(loop))
		return -EPERM;
	call = intro__loop_timers_cancel(&loop->timers, number);
	if (!call)
		return cancel_queued(loop, number);
	free(call);
	return 0;
}

static void queue_due(struct intro_loop *loop)
{
	while (intro__loop_timers_next(&loop->timers) <= intro__now())
		queue(loop, intro__loop_timers_pop(&loop->timers), loop->timer_name);
}

/* --- events --------------------------------------------------------------------------------------
 */

static struct handler **find_handler(struct intro_loop *loop, const char *event,
				     intro_handler_fn fn, void *arg)
{
	struct handler **at = &loop->handlers;

	while (*at && ((*at)->fn != fn || (*at)->arg != arg || strcmp((*at)->event, event) != 0))
		at = &(*at)->next;
	return at;
}

int intro_loop_on(struct intro_loop *loop, const char *event, intro_handler_fn fn, void *arg)
{
	struct handler *handler, **at;

	if (is_foreign(loop))
		return -EPERM;
	if (!event || !*event || strlen(event) >= EVENT_BYTES || !fn)
		return -EINVAL;
	at = find_handler(loop, event, fn, arg);
	if (*at)
		return -EEXIST;
	handler = calloc(1, sizeof(*handler) + EVENT_BYTES);
	if (!handler)
		return -ENOMEM;
	handler->fn = fn;
	handler->arg = arg;
	handler->name = intro_mark_name(event);
	snprintf(handler->event, EVENT_BYTES, "%s", event);
	*at = handler;
	return 0;
}

int intro_loop_off(struct intro_loop *loop, const char *event, intro_handler_fn fn, void *arg)
{
	struct handler *handler, **at;

	if (is_foreign(loop))
		return -EPERM;
	if (!event)
		return -EINVAL;
	at = find_handler(loop, event, fn, arg);
	handler = *at;
	if (!handler)
		return -ENOENT;
	*at = handler->next;
	free(handler);
	return 0;
}

int intro_loop_emit(struct intro_loop *loop, const char *event, void *data)
{
	int n = 0;

	if (is_foreign(loop))
		return -EPERM;
	if (!event)
		return -EINVAL;
	for (struct handler *handler = loop->handlers; handler; handler = handler->next) {
		struct call *call;

		if (strcmp(handler->event, event) != 0)
			continue;
		call = call_new(NULL, handler->arg);
		if (!call)
			return -ENOMEM;
		call->handle = handler->fn;
		call->data = data;
		snprintf(call->event, sizeof(call->event), "%s", event);
		queue(loop, call, handler->name);
		n++;
	}
	return n;
}

/* --- descriptors ---------------------------------------------------------------------------------
 */

static struct watch **find_watch(struct intro_loop *loop, int fd)
{
	struct watch **at = &loop->watches;

	while (*at && (*at)->fd != fd)
		at = &(*at)->next;
	return at;
}

int intro_loop_add(struct intro_loop *loop, int fd, uint32_t events, intro_ready_fn fn, void *arg)
{
	struct epoll_event event = {.events = events};
	struct watch *watch;
	int err;

	if (is_foreign(loop))
		return -EPERM;
	if (!fn)
		return -EINVAL;
	if (*find_watch(loop, fd))
		return -EEXIST;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	watch->fd = fd;
	watch->fn = fn;
	watch->arg = arg;
	event.data.ptr = watch;
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event)) {
		err = -errno;
		free(watch);
		return err;
	}
	watch->next = loop->watches;
	loop->watches = watch;
	return 0;
}

int intro_loop_modify(struct intro_loop *loop, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events};

	if (is_foreign(loop))
		return -EPERM;
	event.data.ptr = *find_watch(loop, fd);
	if (!event.data.ptr)
		return -ENOENT;
	return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, fd, &event) ? -errno : 0;
}

int intro_loop_remove(struct intro_loop *loop, int fd)
{
	struct watch **at, *watch;

	if (is_foreign(loop))
		return -EPERM;
	at = find_watch(loop, fd);
	watch = *at;
	if (!watch)
		return -ENOENT;
	/* a descriptor that was closed already is gone from there */
	epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL);
	*at = watch->next;
	watch->removed = true;
	if (!watch->queued)
		free(watch);
	return 0;
}

/* -ENOMEM: the descriptor is ready in the next turn as well. */
static int queue_ready(struct intro_loop *loop, struct watch *watch, uint32_t events)
{
	struct call *call = call_new(NULL, NULL);

	if (!call)
		return -ENOMEM;
	call->watch = watch;
	watch->found = events;
	watch->queued = true;
	queue(loop, call, loop->ready_name);
	return 0;
}

/* --- turns --------------------------------------------------------------------------------------
 */

static void run_watch(struct watch *watch)
{
	watch->queued = false;
	if (watch->removed)
		free(watch);
	else
		watch->fn(watch->fd, watch->found, watch->arg);
}

static void run_call(struct intro_loop *loop, struct call *call)
{
	loop->running = call;
	if (call->future) {
		intro__loop_run_future(loop, call->future);
	} else {
		intro_mark_start(call->task, loop->pool);
		if (call->fn)
			call->fn(call->arg);
		else if (call->handle)
			call->handle(call->event, call->data, call->arg);
		else
			run_watch(call->watch);
		intro_mark_end(call->task, INTRO_STATUS_OK, INTRO_END_RESULT);
	}
	loop->running = NULL;
	free(call);
}

uint64_t intro_loop_task(const struct intro_loop *loop)
{
	return loop->running ? loop->running->task : 0;
}

static int timeout_ms(struct intro_loop *loop, bool until_idle)
{
	int64_t left;

	if (atomic_load(&loop->stopping) || is_queued(loop))
		return 0;
	if (!loop->timers.n)
		return until_idle ? 0 : -1;
	left = intro__loop_timers_next(&loop->timers) - intro__now();
	if (left <= 0)
		return 0;
	left = (left - 1) / 1000000 + 1;
	return left < 1000000 ? (int)left : 1000000;
}

static int poll_ready(struct intro_loop *loop, int timeout)
{
	struct epoll_event events[EVENTS_A_TURN];
	uint64_t count;
	int n = epoll_wait(loop->epoll, events, EVENTS_A_TURN, timeout);
	int was, err = 0;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	was = intro__cancel_forbid();
	for (int i = 0; i < n && !err; i++) {
		struct watch *watch = events[i].data.ptr;

		if (!watch)
			(void)!read(loop->wake, &count, sizeof(count));
		else if (!watch->queued)
			err = queue_ready(loop, watch, events[i].events);
	}
	intro__cancel_allow(was);
	return err;
}

static int turn(struct intro_loop *loop, bool until_idle)
{
	struct call *call;
	int err = poll_ready(loop, timeout_ms(loop, until_idle));

	if (err)
		return err;
	queue_due(loop);
	begin_turn(loop);
	while ((call = next_call(loop)))
		run_call(loop, call);
	return 0;
}

static void run_ends(struct intro_loop *loop)
{
	atomic_store(&loop->stopping, false);
	intro_mark_worker_stop(loop->pool, 0);
	atomic_store_explicit(&loop->runs_on, NULL, memory_order_release);
	intro__loop_settled(loop);
}

/* What is left of the turn is first in the next. */
static void put_back_turn(struct intro_loop *loop)
{
	struct call **end = &loop->turn;

	pthread_mutex_lock(&loop->lock);
	while (*end)
		end = &(*end)->next;
	*end = loop->first;
	loop->first = loop->turn;
	loop->turn = NULL;
	for (struct call *call = loop->first; call; call = call->next)
		loop->last = call;
	pthread_mutex_unlock(&loop->lock);
}

/* In a callback, or cancelled while it waited. Another may run the loop. */
static void thread_ends(void *arg)
{
	struct intro_loop *loop = arg;
	struct call *call = loop->running;

	if (call && !call->future)
		intro_mark_end(call->task, INTRO_STATUS_FAILED, INTRO_END_RESULT);
	loop->running = NULL;
	free(call);
	put_back_turn(loop);
	run_ends(loop);
}

static int run_turns(struct intro_loop *loop, bool until_idle)
{
	int err = 0;
	bool idle = false;

	do {
		/* idle when a turn after the last thing to do found nothing more */
		idle = until_idle && !loop->timers.n && !is_queued(loop);
		err = idle ? poll_ready(loop, 0) : turn(loop, until_idle);
		idle &= !is_queued(loop);
	} while (!err && !idle && !atomic_load(&loop->stopping));
	return err;
}

static int run(struct intro_loop *loop, bool until_idle)
{
	const char *nobody = NULL;
	int err;

	if (!atomic_compare_exchange_strong(&loop->runs_on, &nobody, &here))
		return -EBUSY;
	intro_mark_worker_start(loop->pool, 0);
	pthread_cleanup_push(thread_ends, loop);
	err = run_turns(loop, until_idle);
	pthread_cleanup_pop(0);
	run_ends(loop);
	return err;
}

int intro_loop_run(struct intro_loop *loop)
{
	return run(loop, false);
}

int intro_loop_run_until_idle(struct intro_loop *loop)
{
	return run(loop, true);
}

void intro_loop_stop(struct intro_loop *loop)
{
	atomic_store(&loop->stopping, true);
	intro__loop_wake(loop);
}
