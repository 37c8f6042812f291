/* SPDX-License-Identifier: BSD-2-Clause */
/* future.c - one future: its states, its result, one reader. Rules: future_private.h. */
#include <stdlib.h>
#include <string.h>

#include "executor_private.h"
#include "handlers.h"
#include "marks_private.h"
#include "spin.h"
#include "task_ring.h"
#include "waiter.h"

/* Nobody holds the lock for long: looks before the sleep pay. */
#define LOCK_LOOKS 100
/* A task on its way into a queue or out of it: as many looks, and then so far apart. */
#define BETWEEN_NS 50000

void intro__future_lock_slowly(struct future *f)
{
	unsigned looks = 0;
	uint32_t word;

	for (;;) {
		word = atomic_load_explicit(&f->word, memory_order_relaxed);
		if (!(word & FUTURE_LOCKED)) {
			if (atomic_compare_exchange_weak_explicit(
				    &f->word, &word, word | FUTURE_LOCKED, memory_order_acquire,
				    memory_order_relaxed))
				return;
		} else if (looks++ < LOCK_LOOKS) {
			pause_cpu();
		} else if ((word & FUTURE_SLEEPERS) ||
			   atomic_compare_exchange_weak_explicit(
				   &f->word, &word, word | FUTURE_SLEEPERS, memory_order_relaxed,
				   memory_order_relaxed)) {
			intro__futex_wait(&f->word, word | FUTURE_SLEEPERS, INTRO_FOREVER);
		}
	}
}

static void lock(struct future *f)
{
	intro__future_lock(f);
}

static void unlock(struct future *f)
{
	intro__future_unlock(f);
}

static enum intro_future_state state_of(const struct future *f)
{
	return intro__future_state(f);
}

static void set_state(struct future *f, enum intro_future_state state)
{
	intro__future_change(f, FUTURE_STATE, state);
}

static bool is(const struct future *f, uint32_t flags)
{
	return atomic_load_explicit(&f->word, memory_order_acquire) & flags;
}

/* f is locked, or the answer is soon old. */
static bool is_held(const struct future *f)
{
	return intro__future_is_held(f, atomic_load_explicit(&f->word, memory_order_acquire));
}

static uint64_t task_of(const struct future *f)
{
	return atomic_load_explicit(&f->task, memory_order_acquire);
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

	/* what an executor, a listener or the end fills in stays as it is: the first line will do
	 */
	memset(f, 0, offsetof(struct future, work));
	f->result = (struct intro_result){0};
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
		return !is_held(f) && !is(f, FUTURE_BUSY);
	default:
		return state >= INTRO_FUTURE_CANCELLED_AND_NOTIFIED;
	}
}

/* f is locked, its state new. Returns whether somebody's sleep ends by it (destroy apart). */
static bool tell_waiters(struct future *f, struct wakes *wakes)
{
	bool waited = false;

	if (!is(f, FUTURE_LISTENED))
		return false;
	for (struct wait_node *node = f->waiters, *next; node; node = next) {
		struct waiter *waiter = node->waiter;
		bool reader = waiter->kind != WAITER_DESTROY;
		enum waiter_told told;

		next = node->next;
		if (!concerns(f, waiter->kind))
			continue;
		intro__wait_unlink(node);
		told = intro__waiter_tell(node, task_of(f), f->failed);
		waited |= reader && told != WAITER_NOT_YET;
		if (told != WAITER_WAKES)
			continue;
		if (wakes->n < INTRO__WAKES)
			wakes->word[wakes->n++] = &waiter->fired;
		else
			intro__futex_wake(&waiter->fired);
	}
	return waited;
}

void intro__wake(struct wakes *wakes)
{
	for (unsigned i = 0; i < wakes->n; i++)
		intro__futex_wake(wakes->word[i]);
	wakes->n = 0;
}

/* f is locked. Returns as tell_waiters. */
static bool become_done(struct future *f, enum intro_future_state state, struct wakes *wakes)
{
	set_state(f, state);
	if (is(f, FUTURE_LISTENED) && f->callbacks)
		intro__future_change(f, 0, FUTURE_BUSY);
	return tell_waiters(f, wakes);
}

/* The callbacks that are left. */
struct calls {
	struct future *f;
	struct intro_done_callback *next;
};

static void call_back(void *arg)
{
	struct calls *calls = arg;
	struct wakes wakes = {0};
	struct intro_done_callback *cb;

	while ((cb = calls->next)) {
		calls->next = cb->next; /* it may free its node */
		cb->fn(intro__public(calls->f), cb->arg);
	}
	lock(calls->f);
	intro__future_change(calls->f, FUTURE_BUSY, 0);
	tell_waiters(calls->f, &wakes);
	unlock(calls->f);
	intro__wake(&wakes);
}

/* Unlocks f, which was just ended by this thread; wakes, then calls back. */
static void unlock_and_notify(struct future *f, struct wakes *wakes)
{
	struct calls calls = {.f = f};

	if (is(f, FUTURE_LISTENED)) {
		calls.next = f->callbacks;
		f->callbacks = NULL;
	}
	unlock(f);
	intro__wake(wakes);
	if (!calls.next)
		return;
	intro__help_forbid(true);
	/* where the thread ends in one, those after it are called all the same */
	intro__see_through(call_back, &calls);
	intro__help_forbid(false);
}

void intro__future_unhold(struct future *f)
{
	struct wakes wakes = {0};

	lock(f);
	atomic_store_explicit(&f->executor, NULL, memory_order_relaxed);
	atomic_store_explicit(&f->leaves, 0, memory_order_relaxed);
	atomic_store_explicit(&f->place, NULL, memory_order_relaxed);
	atomic_store_explicit(&f->task, 0, memory_order_relaxed);
	tell_waiters(f, &wakes);
	unlock(f);
	intro__wake(&wakes);
}

bool intro__future_begin_slowly(struct future *f)
{
	bool begins;

	lock(f);
	begins = state_of(f) == INTRO_FUTURE_PENDING;
	if (begins)
		atomic_store_explicit(&f->begun, true, memory_order_release);
	unlock(f);
	return begins;
}

/*
 * f is locked. Whether it will be begun, or be in its cell, in a moment: see intro__future_begin.
 * As it is not over, nor can be before it is unlocked, the pool is there, and so is the cell.
 */
static bool is_between(const struct future *f)
{
	const struct ring_cell *cell;

	if (state_of(f) != INTRO_FUTURE_PENDING)
		return false;
	intro__fence_after_atomic();
	cell = atomic_load_explicit(&f->place, memory_order_acquire);
	return cell && atomic_load_explicit(&cell->future, memory_order_acquire) != f &&
	       !atomic_load_explicit(&f->begun, memory_order_acquire);
}

static void lock_to_cancel(struct future *f)
{
	uint32_t word;

	lock(f);
	for (unsigned looks = 0; is_between(f); looks++) {
		unlock(f);
		word = atomic_load_explicit(&f->word, memory_order_relaxed);
		if (looks < LOCK_LOOKS)
			pause_cpu();
		else /* a sleep, as we may have the CPU that it is waited for on */
			intro__futex_wait(&f->word, word, intro__deadline(BETWEEN_NS));
		lock(f);
	}
}

/* f is locked; not so on return. */
static bool cancel_locked(struct future *f)
{
	struct wakes wakes = {0};
	enum intro_future_state state;

	if (state_of(f) == INTRO_FUTURE_RUNNING ||
	    !intro__future_leave_pending(f, INTRO_FUTURE_CANCELLED)) {
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

bool intro__future_cancel(struct future *f)
{
	lock(f);
	return cancel_locked(f);
}

bool intro_future_cancel(struct intro_future *future)
{
	struct future *f = intro__future(future);

	lock_to_cancel(f);
	return cancel_locked(f);
}

int intro_future_set_running_or_notify_cancel(struct intro_future *future)
{
	struct future *f = intro__future(future);
	struct wakes wakes = {0};
	int ret = -EINVAL;

	if (intro__future_leave_pending(f, INTRO_FUTURE_RUNNING))
		return 1;
	lock(f);
	if (state_of(f) == INTRO_FUTURE_CANCELLED) {
		set_state(f, INTRO_FUTURE_CANCELLED_AND_NOTIFIED);
		tell_waiters(f, &wakes);
		ret = 0;
	}
	unlock(f);
	intro__wake(&wakes);
	return ret;
}

static void mark_end(const struct future *f, const struct future_end *end, uint32_t flags)
{
	if (end->mark == INTRO_KIND_END)
		flags |= INTRO_END_RESULT;
	if (task_of(f))
		intro_mark(end->mark, task_of(f), (uint32_t)end->status, flags);
}

static void store_result(struct future *f, const struct future_end *end)
{
	f->result = end->result;
	f->owns_bytes = end->owns_bytes;
	if (end->copies)
		f->result.data = memcpy(f->small, end->result.data, end->result.size);
}

static __attribute__((noinline)) int end_locked(struct future *f, const struct future_end *end)
{
	struct wakes now = {0}, *wakes = end->later ? end->later : &now;
	bool waited;

	lock(f);
	if (is_done(state_of(f)) || (end->by_anybody && is_held(f))) {
		unlock(f);
		return -EINVAL;
	}
	f->failed = end->status != INTRO_STATUS_OK;
	store_result(f, end);
	if (f->failed)
		f->error = *end->error;
	if (!is(f, FUTURE_LISTENED)) {
		mark_end(f, end, 0);
		intro__future_unlock_as(f, FUTURE_STATE, INTRO_FUTURE_FINISHED);
		return 0;
	}
	waited = become_done(f, INTRO_FUTURE_FINISHED, wakes);
	mark_end(f, end, waited ? INTRO_END_WAITED : 0);
	if (end->later && !f->callbacks)
		unlock(f);
	else
		unlock_and_notify(f, wakes);
	return 0;
}

int intro__future_end(struct future *f, const struct future_end *end)
{
	if (end->status == INTRO_STATUS_OK && !end->by_anybody && intro__future_ends_at_once(f)) {
		store_result(f, end);
		if (intro__future_end_at_once(f))
			return 0;
	}
	return end_locked(f, end);
}

int intro_future_set_result(struct intro_future *future, struct intro_result result)
{
	struct future_end end = {.mark = INTRO_KIND_RESULT,
				 .status = INTRO_STATUS_OK,
				 .by_anybody = true,
				 .result = result};

	return intro__future_end(intro__future(future), &end);
}

int intro_future_set_error(struct intro_future *future, const struct intro_error *error)
{
	struct future_end end = {.mark = INTRO_KIND_RESULT,
				 .status = INTRO_STATUS_FAILED,
				 .by_anybody = true,
				 .error = error};

	if (!error || !error->code)
		return -EINVAL;
	return intro__future_end(intro__future(future), &end);
}

void intro_future_add_done_callback(struct intro_future *future, struct intro_done_callback *cb)
{
	struct future *f = intro__future(future);
	struct intro_done_callback **end;

	cb->next = NULL;
	lock(f);
	if (!is_done(state_of(f))) {
		intro__future_listen(f);
		end = &f->callbacks;
		while (*end)
			end = &(*end)->next;
		*end = cb;
		unlock(f);
		return;
	}
	unlock(f);
	cb->fn(future, cb->arg);
}

void intro__future_notify_cancel(void *future)
{
	intro_future_set_running_or_notify_cancel(future);
}

static void end_destination(struct intro_future *source, void *arg)
{
	struct intro_future *to = ((struct intro_future_link *)arg)->destination;
	struct future *f = intro__future(source);

	/* over, and so not to change any more; a destination that was cancelled first stays that */
	if (is_cancelled(state_of(f))) {
		/* nothing happens to one that is RUNNING or over */
		pthread_cleanup_push(intro__future_notify_cancel, to);
		intro_future_cancel(to);
		pthread_cleanup_pop(1);
	} else if (f->failed) {
		intro_future_set_error(to, &f->error);
	} else {
		intro_future_set_result(to, f->result);
	}
}

static void cancel_source(struct intro_future *destination, void *arg)
{
	struct intro_future_link *link = arg;

	if (!intro_future_cancelled(destination))
		return;
	intro_future_set_running_or_notify_cancel(destination);
	intro_future_cancel(link->source);
}

int intro_future_chain(struct intro_future_link *link, struct intro_future *source,
		       struct intro_future *destination)
{
	struct future *to = intro__future(destination);

	if (source == destination || state_of(to) != INTRO_FUTURE_PENDING || is_held(to))
		return -EINVAL;
	*link = (struct intro_future_link){
		.source_ends = {.fn = end_destination, .arg = link},
		.destination_ends = {.fn = cancel_source, .arg = link},
		.source = source,
		.destination = destination,
	};
	intro_future_add_done_callback(destination, &link->destination_ends);
	intro_future_add_done_callback(source, &link->source_ends);
	return 0;
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

/*
 * Waits, without the lock where it is over already. What it gave is then there to be read: it
 * does not change any more. 0; -ETIMEDOUT; -ECANCELED.
 */
static int outcome(struct future *f, int64_t timeout_ns)
{
	struct intro_future *const future = intro__public(f);
	uint32_t word = atomic_load_explicit(&f->word, memory_order_acquire);
	int ret = 0;

	if (timeout_ns == INTRO_FOREVER && (word & FUTURE_STATE) == INTRO_FUTURE_PENDING) {
		intro__help(&future, 1);
		word = atomic_load_explicit(&f->word, memory_order_acquire);
	}
	if (!(word & FUTURE_LOCKED) && is_done((enum intro_future_state)(word & FUTURE_STATE))) {
		if (task_of(f))
			intro_mark_read(task_of(f));
	} else {
		lock(f);
		ret = wait_for_end(f, timeout_ns);
		unlock(f);
	}
	if (!ret && is_cancelled(state_of(f)))
		ret = -ECANCELED;
	return ret;
}

int intro_future_result(struct intro_future *future, int64_t timeout_ns,
			struct intro_result *result)
{
	struct future *f = intro__future(future);
	int ret = outcome(f, timeout_ns);

	if (!ret && f->failed)
		ret = f->error.code < 0 ? f->error.code : -EREMOTEIO;
	else if (!ret && result)
		*result = f->result;
	return ret;
}

int intro_future_error(struct intro_future *future, int64_t timeout_ns, struct intro_error *error)
{
	struct future *f = intro__future(future);
	int ret = outcome(f, timeout_ns);

	if (!ret && error) {
		*error = f->failed ? f->error : (struct intro_error){0};
		if (f->failed)
			intro__error_explain(error);
	}
	return ret;
}

/* f is locked, and is so on return: takes a cancelled future back from its executor. */
static void take_back(struct future *f)
{
	struct intro_executor *executor = atomic_load_explicit(&f->executor, memory_order_relaxed);

	/* as long as it holds the future it cannot be freed; from here on it sees that we are in */
	atomic_fetch_add_explicit(&executor->visitors, 1, memory_order_relaxed);
	unlock(f);
	if (executor->ops->forget(executor, f))
		intro_future_set_running_or_notify_cancel(intro__public(f));
	atomic_fetch_sub_explicit(&executor->visitors, 1, memory_order_release);
	lock(f);
}

static __attribute__((noinline)) void wait_until_let_go(struct intro_future *future)
{
	struct future *f = intro__future(future);
	struct waiter waiter = {.kind = WAITER_DESTROY};
	struct wait_node node = {.waiter = &waiter};

	lock(f);
	if (is_held(f) && state_of(f) == INTRO_FUTURE_PENDING) {
		unlock(f);
		intro_future_cancel(future);
		lock(f);
	}
	if (is_held(f) && state_of(f) == INTRO_FUTURE_CANCELLED)
		take_back(f);
	if (is_held(f) || is(f, FUTURE_BUSY)) {
		intro__wait_link(f, &node);
		unlock(f);
		intro__waiter_sleep(&waiter, INTRO_FOREVER);
		lock(f);
	}
	unlock(f);
}

void intro_future_destroy(struct intro_future *future)
{
	struct future *f = intro__future(future);
	uint32_t word = atomic_load_explicit(&f->word, memory_order_acquire);

	if ((word & (FUTURE_BUSY | FUTURE_LOCKED)) || intro__future_is_held(f, word))
		wait_until_let_go(future);
	if (f->owns_bytes)
		free(f->result.data);
}
