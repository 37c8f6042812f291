/* SPDX-License-Identifier: BSD-2-Clause */
/* wait.c - waiting for many futures: wait and as_completed. */
#include <stdlib.h>
#include <string.h>

#include "futex.h"
#include "waiter.h"

/* As many futures are waited for without an allocation. */
#define NODES_ON_STACK 16

void intro__wait_link(struct future *f, struct wait_node *node)
{
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

static bool fire(struct waiter *w, uint64_t task)
{
	uint32_t unfired = 0;

	if (atomic_load_explicit(&w->fired, memory_order_relaxed))
		return false;
	/* only the one who wins may set `task`, and it must be there when `fired` is 2 */
	if (!atomic_compare_exchange_strong_explicit(&w->fired, &unfired, 1, memory_order_relaxed,
						     memory_order_relaxed))
		return false;
	atomic_store_explicit(&w->task, task, memory_order_relaxed);
	atomic_store_explicit(&w->fired, 2, memory_order_release);
	return true;
}

static bool tell_as_completed(struct waiter *w, struct wait_node *node, uint64_t task)
{
	bool woken = false;

	pthread_mutex_lock(&w->lock);
	*w->ready_end = node;
	w->ready_end = &node->next;
	if (w->asleep)
		woken = fire(w, task);
	pthread_mutex_unlock(&w->lock);
	return woken;
}

bool intro__waiter_tell(struct wait_node *node, uint64_t task, bool failed)
{
	struct waiter *w = node->waiter;

	switch (w->kind) {
	case WAITER_AS_COMPLETED:
		return tell_as_completed(w, node, task);
	case WAITER_ALL:
		return atomic_fetch_sub_explicit(&w->left, 1, memory_order_acq_rel) == 1 &&
		       fire(w, task);
	case WAITER_EXCEPTION:
		/* both, always: the last one must find that it is the last */
		if (atomic_fetch_sub_explicit(&w->left, 1, memory_order_acq_rel) == 1 || failed)
			return fire(w, task);
		return false;
	default:
		return fire(w, task);
	}
}

int intro__waiter_sleep(struct waiter *w, int64_t deadline)
{
	uint32_t fired;

	while ((fired = atomic_load_explicit(&w->fired, memory_order_acquire)) != 2)
		if (intro__futex_wait(&w->fired, fired, deadline) == -ETIMEDOUT &&
		    atomic_load_explicit(&w->fired, memory_order_acquire) == 0)
			return -ETIMEDOUT;
	return 0;
}
static uint64_t task_of(struct future *f)
{
	return atomic_load_explicit(&f->task, memory_order_relaxed);
}

/* Not CANCELLED alone: like Python's, waits are over when the pool has let go of the future. */
static bool is_over(struct future *f)
{
	return atomic_load_explicit(&f->state, memory_order_acquire) >=
	       INTRO_FUTURE_CANCELLED_AND_NOTIFIED;
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
			fired |= intro__waiter_tell(&nodes[i], task_of(f), f->failed);
			continue;
		}
		pthread_mutex_lock(&f->lock);
		if (is_over(f))
			fired |= intro__waiter_tell(&nodes[i], task_of(f), f->failed);
		else
			intro__wait_link(f, &nodes[i]);
		pthread_mutex_unlock(&f->lock);
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
			pthread_mutex_lock(&f->lock);
			over = is_over(f);
			intro__wait_unlink(&nodes[i]);
			pthread_mutex_unlock(&f->lock);
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

int intro_future_wait(struct intro_future *const *futures, size_t n, enum intro_wait_when when,
		      int64_t timeout_ns, bool *done)
{
	struct wait_node few[NODES_ON_STACK], *nodes = few;
	struct waiter w = {.kind = kind_of(when), .left = n};
	int64_t deadline = intro__deadline(timeout_ns);
	bool at_once;
	int count;

	if (!n)
		return 0;
	if (n > NODES_ON_STACK && !(nodes = malloc(n * sizeof(*nodes))))
		return -ENOMEM;
	at_once = wait_begin(&w, nodes, futures, n);
	if (!at_once && timeout_ns > 0)
		intro__waiter_sleep(&w, deadline);
	count = wait_finish(nodes, futures, n, done);
	if (nodes != few)
		free(nodes);
	if (!atomic_load_explicit(&w.fired, memory_order_acquire))
		return -ETIMEDOUT;
	if (!at_once && w.task)
		intro_mark_wake(w.task);
	return count;
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
	pthread_mutex_lock(&f->lock);
	task = task_of(f);
	if (task && slept)
		intro_mark_wake(task);
	else if (task)
		intro_mark_read(task);
	pthread_mutex_unlock(&f->lock);
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
