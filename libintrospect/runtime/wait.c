/* SPDX-License-Identifier: BSD-2-Clause */
/* wait.c - waiting for many futures: wait and as_completed. */
#include <stdlib.h>
#include <string.h>

#include "executor_private.h"
#include "spin.h"
#include "waiter.h"

/* How long a reader looks before it sleeps. */
#define READER_SPIN_NS 30000

/* Readers of many futures sleep for single ones so often before they wait for all at once. */
#define BACKWARDS_SLEEPS 4

/* As many futures are waited for without an allocation. */
#define NODES_ON_STACK 16

void intro__wait_link(struct future *f, struct wait_node *node)
{
	intro__future_listen(f);
	if (atomic_load_explicit(&f->leaves, memory_order_relaxed) & FUTURE_SPINS)
		node->waiter->spins = true;
	node->next = f->waiters;
	node->link = &f->waiters;
	if (node->next)
		node->next->link = &node->next;
	f->waiters = node;
}

void intro__wait_unlink(struct wait_node *node)
{
	if (!node->link)
		return;
	*node->link = node->next;
	if (node->next)
		node->next->link = node->link;
	node->next = NULL;
	node->link = NULL;
}

static enum waiter_told fire(struct waiter *w, uint64_t task)
{
	uint32_t was = atomic_load_explicit(&w->fired, memory_order_relaxed);

	/* only the one who wins may set `task`, and it must be there when it is FIRED */
	do
		if (was == WAITER_FIRING || was == WAITER_FIRED)
			return WAITER_NOT_YET;
	while (!atomic_compare_exchange_weak_explicit(&w->fired, &was, WAITER_FIRING,
						      memory_order_relaxed, memory_order_relaxed));
	atomic_store_explicit(&w->task, task, memory_order_relaxed);
	atomic_store_explicit(&w->fired, WAITER_FIRED, memory_order_release);
	return was == WAITER_ASLEEP ? WAITER_WAKES : WAITER_FIRES;
}

static enum waiter_told tell_as_completed(struct waiter *w, struct wait_node *node, uint64_t task)
{
	enum waiter_told told = WAITER_NOT_YET;

	pthread_mutex_lock(&w->lock);
	*w->ready_end = node;
	w->ready_end = &node->next;
	if (w->asleep)
		told = fire(w, task);
	pthread_mutex_unlock(&w->lock);
	return told;
}

static bool is_last(struct waiter *w)
{
	return atomic_fetch_sub_explicit(&w->left, 1, memory_order_acq_rel) == 1;
}

enum waiter_told intro__waiter_tell(struct wait_node *node, uint64_t task, bool failed)
{
	struct waiter *w = node->waiter;

	switch (w->kind) {
	case WAITER_AS_COMPLETED:
		return tell_as_completed(w, node, task);
	case WAITER_ALL:
		return is_last(w) ? fire(w, task) : WAITER_NOT_YET;
	case WAITER_EXCEPTION:
		/* both, always: the last one must find that it is the last */
		return is_last(w) || failed ? fire(w, task) : WAITER_NOT_YET;
	default:
		return fire(w, task);
	}
}

int intro__waiter_sleep(struct waiter *w, int64_t deadline)
{
	struct spin spin = {0};
	bool spins = w->spins;
	uint32_t fired;

	while (spins && atomic_load_explicit(&w->fired, memory_order_acquire) != WAITER_FIRED)
		spins = spin_once(&spin, READER_SPIN_NS);
	for (;;) {
		fired = atomic_load_explicit(&w->fired, memory_order_acquire);
		if (fired == WAITER_FIRED)
			return 0;
		if (fired == WAITER_FIRING)
			sched_yield();
		else if (fired == WAITER_AWAKE)
			atomic_compare_exchange_strong_explicit(&w->fired, &fired, WAITER_ASLEEP,
								memory_order_relaxed,
								memory_order_relaxed);
		else if (intro__futex_wait(&w->fired, WAITER_ASLEEP, deadline) == -ETIMEDOUT &&
			 atomic_load_explicit(&w->fired, memory_order_acquire) == WAITER_ASLEEP)
			return -ETIMEDOUT;
	}
}

static uint64_t task_of(struct future *f)
{
	return atomic_load_explicit(&f->task, memory_order_relaxed);
}

/* Not CANCELLED alone: like Python's, waits are over when the pool has let go of the future. */
static bool is_over(struct future *f)
{
	return intro__future_state(f) >= INTRO_FUTURE_CANCELLED_AND_NOTIFIED;
}

static bool tell_at_once(struct wait_node *node, struct future *f)
{
	return intro__waiter_tell(node, task_of(f), f->failed) != WAITER_NOT_YET;
}

/* Links the nodes, or tells the waiter at once. true: the waiter fired for one that was done. */
static bool wait_begin(struct waiter *w, struct wait_node *nodes,
		       struct intro_future *const *futures, size_t n)
{
	bool fired = false;

	for (size_t i = 0; i < n; i++) {
		struct future *f = intro__future(futures[i]);

		nodes[i] = (struct wait_node){.waiter = w, .was_over = is_over(f)};
		/* the state is stored last: what there is to know is known without the lock */
		if (nodes[i].was_over) {
			fired |= tell_at_once(&nodes[i], f);
			continue;
		}
		intro__future_lock(f);
		if (is_over(f))
			fired |= tell_at_once(&nodes[i], f);
		else
			intro__wait_link(f, &nodes[i]);
		intro__future_unlock(f);
	}
	return fired;
}

/* Having locked every future that it was linked to, nobody is left who could still touch the
 * waiter. */
static int wait_finish(struct wait_node *nodes, struct intro_future *const *futures, size_t n,
		       bool *done)
{
	int count = 0;

	for (size_t i = 0; i < n; i++) {
		struct future *f = intro__future(futures[i]);
		bool over = nodes[i].was_over;

		if (!over) {
			intro__future_lock(f);
			over = is_over(f);
			intro__wait_unlink(&nodes[i]);
			intro__future_unlock(f);
		}
		count += over;
		if (done)
			done[i] = over;
	}
	return count;
}

static enum waiter_kind kind_of(enum intro_wait_when when)
{
	switch (when) {
	case INTRO_FIRST_COMPLETED:
		return WAITER_FIRST;
	case INTRO_FIRST_EXCEPTION:
		return WAITER_EXCEPTION;
	default:
		return WAITER_ALL;
	}
}

static int wait_linked(struct intro_future *const *futures, size_t n, enum waiter_kind kind,
		       int64_t deadline, bool *done)
{
	struct wait_node few[NODES_ON_STACK], *nodes = few;
	struct waiter w = {.kind = kind, .left = n};
	bool at_once;
	int count;

	if (n > NODES_ON_STACK && !(nodes = malloc(n * sizeof(*nodes))))
		return -ENOMEM;
	at_once = wait_begin(&w, nodes, futures, n);
	if (!at_once && deadline)
		intro__waiter_sleep(&w, deadline);
	count = wait_finish(nodes, futures, n, done);
	if (nodes != few)
		free(nodes);
	if (atomic_load_explicit(&w.fired, memory_order_acquire) != WAITER_FIRED)
		return -ETIMEDOUT;
	if (!at_once && w.task)
		intro_mark_wake(w.task);
	return count;
}

/*
 * All of many: the last ones first, one after the other, as those before them are over by then if
 * they were submitted in this order; so none of those gets a node. Returns how many are left,
 * at the begin, when this did not help.
 */
static size_t wait_backwards(struct intro_future *const *futures, size_t n, int64_t deadline,
			     unsigned most)
{
	for (unsigned sleeps = 0; n; n--) {
		if (is_over(intro__future(futures[n - 1])))
			continue;
		if (sleeps++ == most ||
		    wait_linked(&futures[n - 1], 1, WAITER_ALL, deadline, NULL) < 0)
			break;
	}
	return n;
}

int intro_future_wait(struct intro_future *const *futures, size_t n, enum intro_wait_when when,
		      int64_t timeout_ns, bool *done)
{
	int64_t deadline = intro__deadline(timeout_ns);
	size_t left = n;
	int count;

	if (kind_of(when) == WAITER_ALL) {
		if (deadline == INTRO_FOREVER)
			left = intro__help(futures, n);
		left = wait_backwards(futures, left, deadline,
				      n > NODES_ON_STACK ? BACKWARDS_SLEEPS : 0);
	}
	for (size_t i = left; done && i < n; i++)
		done[i] = true;
	if (!left)
		return (int)n;
	count = wait_linked(futures, left, kind_of(when), deadline, done);
	return count < 0 ? count : (int)(n - left) + count;
}

struct intro_as_completed {
	struct waiter waiter;
	struct intro_future *const *futures;
	size_t n;	/* nodes */
	size_t to_come; /* not yielded yet */
	struct wait_node nodes[];
};

struct pair {
	struct intro_future *future;
	size_t index;
};

static int compare_pairs(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	if (x->future != y->future)
		return x->future < y->future ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* A future that is given twice is yielded once, under its first index. The others get no waiter. */
static int mark_first_of_each(struct intro_as_completed *it)
{
	struct pair *pairs = malloc((it->n ? it->n : 1) * sizeof(*pairs));

	if (!pairs)
		return -ENOMEM;
	for (size_t i = 0; i < it->n; i++)
		pairs[i] = (struct pair){it->futures[i], i};
	qsort(pairs, it->n, sizeof(*pairs), compare_pairs);
	for (size_t i = 0; i < it->n; i++) {
		if (i && pairs[i].future == pairs[i - 1].future)
			continue;
		it->nodes[pairs[i].index].waiter = &it->waiter;
		it->to_come++;
	}
	free(pairs);
	return 0;
}

struct intro_as_completed *intro_as_completed_new(struct intro_future *const *futures, size_t n)
{
	struct intro_as_completed *it = calloc(1, sizeof(*it) + n * sizeof(it->nodes[0]));

	if (!it)
		return NULL;
	it->waiter.kind = WAITER_AS_COMPLETED;
	pthread_mutex_init(&it->waiter.lock, NULL);
	it->waiter.ready_end = &it->waiter.ready;
	it->futures = futures;
	it->n = n;
	if (mark_first_of_each(it)) {
		pthread_mutex_destroy(&it->waiter.lock);
		free(it);
		errno = ENOMEM;
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		if (it->nodes[i].waiter)
			wait_begin(&it->waiter, &it->nodes[i], &futures[i], 1);
	return it;
}

/* waiter.lock is held. */
static size_t take_ready(struct intro_as_completed *it)
{
	struct wait_node *node = it->waiter.ready;

	it->waiter.ready = node->next;
	if (!node->next)
		it->waiter.ready_end = &it->waiter.ready;
	node->waiter = NULL; /* yielded */
	it->to_come--;
	return (size_t)(node - it->nodes);
}

/* waiter.lock is held. Sleeps until there is one ready. */
static void sleep_for_ready(struct waiter *w, int64_t deadline)
{
	w->asleep = true;
	atomic_store_explicit(&w->fired, 0, memory_order_relaxed);
	pthread_mutex_unlock(&w->lock);
	intro__waiter_sleep(w, deadline);
	pthread_mutex_lock(&w->lock);
	w->asleep = false;
}

int intro_as_completed_next(struct intro_as_completed *it, int64_t timeout_ns, size_t *index)
{
	struct waiter *w = &it->waiter;
	bool slept = false;
	struct future *f;
	uint64_t task;

	if (!it->to_come)
		return 0;
	pthread_mutex_lock(&w->lock);
	if (!w->ready && timeout_ns > 0) {
		sleep_for_ready(w, intro__deadline(timeout_ns));
		slept = true;
	}
	if (!w->ready) {
		pthread_mutex_unlock(&w->lock);
		return -ETIMEDOUT;
	}
	*index = take_ready(it);
	pthread_mutex_unlock(&w->lock);
	f = intro__future(it->futures[*index]);
	/* its lock: the end is marked before this, and whoever ended it is done with our node */
	intro__future_lock(f);
	task = task_of(f);
	if (task && slept)
		intro_mark_wake(task);
	else if (task)
		intro_mark_read(task);
	intro__future_unlock(f);
	return 1;
}

void intro_as_completed_free(struct intro_as_completed *it)
{
	if (!it)
		return;
	for (size_t i = 0; i < it->n; i++)
		if (it->nodes[i].waiter)
			wait_finish(&it->nodes[i], &it->futures[i], 1, NULL);
	pthread_mutex_destroy(&it->waiter.lock);
	free(it);
}
