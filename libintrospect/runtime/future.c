/* SPDX-License-Identifier: BSD-2-Clause */
/* future.c - one future: its states, its result, one reader. Rules: future_private.h. */
#include <stdlib.h>
#include <string.h>

#include "executor_private.h"
#include "futex.h"
#include "waiter.h"

/* Readers to wake once the lock is released; those beyond are woken under it. */
#define WAKE_LATER 8

struct wakes {
	unsigned n;
	_Atomic uint32_t *word[WAKE_LATER];
};

static void lock(struct future *f)
{
	pthread_mutex_lock(&f->lock);
}

static void unlock(struct future *f)
{
	pthread_mutex_unlock(&f->lock);
}

static enum intro_future_state state_of(const struct future *f)
{
	return (enum intro_future_state)atomic_load_explicit(&f->state, memory_order_acquire);
}

static void set_state(struct future *f, enum intro_future_state state)
{
	atomic_store_explicit(&f->state, state, memory_order_release);
}

static uint64_t task_of(const struct future *f)
{
	return atomic_load_explicit(&f->task, memory_order_relaxed);
}

static void set_task(struct future *f, uint64_t task)
{
	atomic_store_explicit(&f->task, task, memory_order_relaxed);
}

static bool is_done(enum intro_future_state state)
{
	return state >= INTRO_FUTURE_CANCELLED;
}

static bool is_cancelled(enum intro_future_state state)
{
	return state == INTRO_FUTURE_CANCELLED || state == INTRO_FUTURE_CANCELLED_AND_NOTIFIED;
}

void intro_future_init(struct intro_future *future)
{
	struct future *f = intro__future(future);

	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->lock, NULL);
}

uint64_t intro_future_id(const struct intro_future *future)
{
	return atomic_load_explicit(&intro__future((struct intro_future *)future)->task,
				    memory_order_relaxed);
}

enum intro_future_state intro_future_state(const struct intro_future *future)
{
	return state_of(intro__future((struct intro_future *)future));
}

bool intro_future_cancelled(const struct intro_future *future)
{
	return is_cancelled(intro_future_state(future));
}

bool intro_future_running(const struct intro_future *future)
{
	return intro_future_state(future) == INTRO_FUTURE_RUNNING;
}

bool intro_future_done(const struct intro_future *future)
{
	return is_done(intro_future_state(future));
}

/* Which waiters learn of this? Of a CANCELLED future only its own readers, as in Python. */
static bool concerns(const struct future *f, enum waiter_kind kind)
{
	enum intro_future_state state = state_of(f);

	switch (kind) {
	case WAITER_RESULT:
		return is_done(state);
	case WAITER_DESTROY:
		return !f->held && !f->busy;
	default:
		return state >= INTRO_FUTURE_CANCELLED_AND_NOTIFIED;
	}
}

/* f is locked, its state new. Returns whether somebody's sleep ends by it (destroy apart). */
static bool tell_waiters(struct future *f, struct wakes *wakes)
{
	bool waited = false;

	for (struct wait_node *node = f->waiters, *next; node; node = next) {
		struct waiter *waiter = node->waiter;
		bool reader = waiter->kind != WAITER_DESTROY;

		next = node->next;
		if (!concerns(f, waiter->kind))
			continue;
		intro__wait_unlink(node);
		if (!intro__waiter_tell(node, task_of(f), f->failed))
			continue;
		waited |= reader;
		if (wakes->n < WAKE_LATER)
			wakes->word[wakes->n++] = &waiter->fired;
		else
			intro__futex_wake(&waiter->fired);
	}
	return waited;
}

static void wake(const struct wakes *wakes)
{
	for (unsigned i = 0; i < wakes->n; i++)
		intro__futex_wake(wakes->word[i]);
}

/* f is locked. Returns as tell_waiters. */
static bool become_done(struct future *f, enum intro_future_state state, struct wakes *wakes)
{
	set_state(f, state);
	f->busy = f->callbacks != NULL;
	return tell_waiters(f, wakes);
}

/* Unlocks f, which was just ended by this thread; wakes, then calls back. */
static void unlock_and_notify(struct future *f, struct wakes *wakes)
{
	struct intro_done_callback *cb = f->callbacks, *next;

	f->callbacks = NULL;
	unlock(f);
	wake(wakes);
	if (!cb)
		return;
	for (; cb; cb = next) {
		next = cb->next; /* it may free its node */
		cb->fn(intro__public(f), cb->arg);
	}
	wakes->n = 0;
	lock(f);
	f->busy = false;
	tell_waiters(f, wakes);
	unlock(f);
	wake(wakes);
}

int intro__future_hold(struct future *f, struct intro_executor *executor, uint32_t pool,
		       uint32_t name)
{
	int err = -EINVAL;

	lock(f);
	if (state_of(f) == INTRO_FUTURE_PENDING && !task_of(f)) {
		f->held = true;
		f->executor = executor;
		f->pool = pool;
		f->name = name;
		set_task(f, intro_mark_task());
		err = 0;
	}
	unlock(f);
	return err;
}

void intro__future_unhold(struct future *f)
{
	struct wakes wakes = {0};

	lock(f);
	f->held = false;
	set_task(f, 0);
	tell_waiters(f, &wakes);
	unlock(f);
	wake(&wakes);
}

static bool leave_pending(struct future *f, uint32_t to)
{
	uint32_t pending = INTRO_FUTURE_PENDING;

	return atomic_compare_exchange_strong_explicit(&f->state, &pending, to,
						       memory_order_acq_rel, memory_order_acquire);
}

bool intro_future_cancel(struct intro_future *future)
{
	struct future *f = intro__future(future);
	struct wakes wakes = {0};
	enum intro_future_state state;

	lock(f);
	if (!leave_pending(f, INTRO_FUTURE_CANCELLED)) {
		state = state_of(f);
		unlock(f);
		return is_cancelled(state);
	}
	if (task_of(f))
		intro_mark_cancel(task_of(f), f->pool);
	become_done(f, INTRO_FUTURE_CANCELLED, &wakes);
	unlock_and_notify(f, &wakes);
	return true;
}

int intro_future_set_running_or_notify_cancel(struct intro_future *future)
{
	struct future *f = intro__future(future);
	struct wakes wakes = {0};
	int ret = -EINVAL;

	if (leave_pending(f, INTRO_FUTURE_RUNNING))
		return 1;
	lock(f);
	if (state_of(f) == INTRO_FUTURE_CANCELLED) {
		f->held = false;
		set_state(f, INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
		tell_waiters(f, &wakes);
		ret = 0;
	}
	unlock(f);
	wake(&wakes);
	return ret;
}

int intro__future_end(struct future *f, const struct future_end *end)
{
	struct wakes wakes = {0};
	uint32_t flags;

	lock(f);
	if (is_done(state_of(f))) {
		unlock(f);
		return -EINVAL;
	}
	f->held = false;
	f->executor = NULL;
	f->failed = end->status != INTRO_STATUS_OK;
	f->result = end->result;
	f->owns_bytes = end->owns_bytes;
	if (f->failed)
		f->error = *end->error;
	else
		f->error.code = f->error.text[0] = 0;
	flags = become_done(f, INTRO_FUTURE_FINISHED, &wakes) ? INTRO_END_WAITED : 0;
	if (end->mark == INTRO_KIND_END)
		flags |= INTRO_END_RESULT;
	if (task_of(f))
		intro_mark(end->mark, task_of(f), (uint32_t)end->status, flags);
	unlock_and_notify(f, &wakes);
	return 0;
}

int intro_future_set_result(struct intro_future *future, struct intro_result result)
{
	struct future_end end = {
		.mark = INTRO_KIND_RESULT, .status = INTRO_STATUS_OK, .result = result};

	return intro__future_end(intro__future(future), &end);
}

int intro_future_set_error(struct intro_future *future, const struct intro_error *error)
{
	struct future_end end = {
		.mark = INTRO_KIND_RESULT, .status = INTRO_STATUS_FAILED, .error = error};

	return intro__future_end(intro__future(future), &end);
}

void intro_future_add_done_callback(struct intro_future *future, struct intro_done_callback *cb)
{
	struct future *f = intro__future(future);
	struct intro_done_callback **end = &f->callbacks;

	cb->next = NULL;
	lock(f);
	if (!is_done(state_of(f))) {
		while (*end)
			end = &(*end)->next;
		*end = cb;
		unlock(f);
		return;
	}
	unlock(f);
	cb->fn(future, cb->arg);
}

/* f is locked, and is so on return. */
static int wait_for_end(struct future *f, int64_t timeout_ns)
{
	struct waiter waiter = {.kind = WAITER_RESULT};
	struct wait_node node = {.waiter = &waiter};
	uint64_t task = task_of(f);
	int64_t deadline;

	if (is_done(state_of(f))) {
		if (task)
			intro_mark_read(task);
		return 0;
	}
	if (timeout_ns <= 0)
		return -ETIMEDOUT;
	deadline = intro__deadline(timeout_ns);
	intro__wait_link(f, &node);
	if (task)
		intro_mark_wait(task);
	unlock(f);
	intro__waiter_sleep(&waiter, deadline);
	lock(f); /* not before it can this wake-up be marked: its cause is, under the lock */
	if (task)
		intro_mark_wake(task);
	if (is_done(state_of(f)))
		return 0;
	intro__wait_unlink(&node);
	return -ETIMEDOUT;
}

int intro_future_result(struct intro_future *future, int64_t timeout_ns,
			struct intro_result *result)
{
	struct future *f = intro__future(future);
	int ret;

	lock(f);
	ret = wait_for_end(f, timeout_ns);
	if (!ret) {
		if (is_cancelled(state_of(f)))
			ret = -ECANCELED;
		else if (f->failed)
			ret = f->error.code < 0 ? f->error.code : -EREMOTEIO;
		else if (result)
			*result = f->result;
	}
	unlock(f);
	return ret;
}

int intro_future_error(struct intro_future *future, int64_t timeout_ns, struct intro_error *error)
{
	struct future *f = intro__future(future);
	int ret;

	lock(f);
	ret = wait_for_end(f, timeout_ns);
	if (!ret) {
		if (is_cancelled(state_of(f)))
			ret = -ECANCELED;
		else if (error)
			*error = f->error;
	}
	unlock(f);
	return ret;
}

/* f is locked, and is so on return: takes a cancelled future back from its executor. */
static void take_back(struct future *f)
{
	struct intro_executor *executor = f->executor;

	/* as long as it holds the future it cannot be freed; from here on it sees that we are in */
	atomic_fetch_add_explicit(&executor->visitors, 1, memory_order_relaxed);
	unlock(f);
	if (executor->ops->forget(executor, f))
		intro_future_set_running_or_notify_cancel(intro__public(f));
	atomic_fetch_sub_explicit(&executor->visitors, 1, memory_order_release);
	lock(f);
}

void intro_future_destroy(struct intro_future *future)
{
	struct future *f = intro__future(future);
	struct waiter waiter = {.kind = WAITER_DESTROY};
	struct wait_node node = {.waiter = &waiter};

	lock(f);
	if (f->held && state_of(f) == INTRO_FUTURE_PENDING) {
		unlock(f);
		intro_future_cancel(future);
		lock(f);
	}
	if (f->held && state_of(f) == INTRO_FUTURE_CANCELLED)
		take_back(f);
	if (f->held || f->busy) {
		intro__wait_link(f, &node);
		unlock(f);
		intro__waiter_sleep(&waiter, INTRO_FOREVER);
		lock(f);
	}
	unlock(f);
	if (f->owns_bytes)
		free(f->result.data);
	pthread_mutex_destroy(&f->lock);
}
