/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop_executor.c - an event loop as an executor: its one worker is the thread that runs the loop,
 * and its tasks are calls in the loop's queue.
 *
 * A future's call is found in the queue until it runs, also by the thread that runs the turn, so a
 * callback may destroy a future that was to come after it. Who ends the last one touches the
 * executor under the loop's lock for the last time, and wakes by the loop's word: the executor may
 * be freed by then.
 */
#include <errno.h>
#include <stdlib.h>

#include "loop_private.h"

struct loop_executor {
	struct intro_executor base;
	struct intro_loop *loop;
	struct seat seat; /* of whoever runs the loop */
	char name[INTRO__NAME_BYTES + 16];
	/* under the loop's lock */
	uint64_t submitted, left; /* left: of those, not over */
	bool closed;
};

static struct loop_executor *loop_of(struct intro_executor *executor)
{
	return (struct loop_executor *)executor;
}

static void one_less(void *arg)
{
	struct loop_executor *e = arg;
	struct intro_loop *loop = e->loop;
	bool last;

	pthread_mutex_lock(&loop->lock);
	last = !--e->left;
	pthread_mutex_unlock(&loop->lock);
	if (last)
		intro__loop_settled(loop);
}

static int loop_submit(struct intro_executor *executor, struct future *f)
{
	struct loop_executor *e = loop_of(executor);
	struct intro_loop *loop = e->loop;
	struct call *call = calloc(1, sizeof(*call));

	if (!call)
		return -ENOMEM;
	call->future = f;
	call->task = intro_future_id(intro__public(f));
	pthread_mutex_lock(&loop->lock);
	if (e->closed) {
		pthread_mutex_unlock(&loop->lock);
		free(call);
		return -ESHUTDOWN;
	}
	e->submitted++;
	e->left++;
	intro__loop_queue(loop, call, f->name ? f->name : loop->soon_name);
	pthread_mutex_unlock(&loop->lock);
	if (intro__loop_is_foreign(loop))
		intro__loop_wake(loop);
	return 0;
}

void intro__loop_run_future(struct intro_loop *loop, struct future *f)
{
	struct loop_executor *e = loop_of(f->executor);

	/* also when the thread ends in it */
	pthread_cleanup_push(one_less, e);
	intro__seat_run(&e->seat, f);
	pthread_cleanup_pop(1);
}

static bool loop_forget(struct intro_executor *executor, struct future *f)
{
	struct call *call = intro__loop_unqueue(loop_of(executor)->loop, f);

	if (!call)
		return false;
	free(call);
	intro__count_cancelled(executor);
	one_less(loop_of(executor));
	return true;
}

static void cancel_pending(struct loop_executor *e)
{
	struct call *call;

	while ((call = intro__loop_unqueue(e->loop, NULL))) {
		struct future *f = call->future;

		free(call);
		pthread_cleanup_push(one_less, e);
		intro__future_drop_cancelled(f);
		pthread_cleanup_pop(1);
	}
}

static bool is_settled(struct loop_executor *e)
{
	bool settled;

	pthread_mutex_lock(&e->loop->lock);
	settled = !e->left;
	pthread_mutex_unlock(&e->loop->lock);
	return settled;
}

static void loop_shutdown(struct intro_executor *executor, unsigned flags)
{
	struct loop_executor *e = loop_of(executor);
	struct intro_loop *loop = e->loop;
	uint32_t seen;

	pthread_mutex_lock(&loop->lock);
	e->closed = true;
	pthread_mutex_unlock(&loop->lock);
	if (flags & INTRO_SHUTDOWN_CANCEL_PENDING)
		cancel_pending(e);
	while (flags & INTRO_SHUTDOWN_WAIT) {
		seen = atomic_load(&loop->settled);
		/* nobody else runs them */
		if (is_settled(e) || !intro__loop_is_foreign(loop))
			return;
		intro__futex_wait(&loop->settled, seen, INTRO_FOREVER);
	}
}

static int loop_broken(struct intro_executor *executor, struct intro_error *error)
{
	if (error)
		*error = (struct intro_error){.code = 0};
	return 0;
}

static uint64_t loop_backlog(struct intro_executor *executor)
{
	struct intro_loop *loop = loop_of(executor)->loop;
	uint64_t n = 0;

	pthread_mutex_lock(&loop->lock);
	for (struct call *call = loop->turn; call; call = call->next)
		n += call->future != NULL;
	for (struct call *call = loop->first; call; call = call->next)
		n += call->future != NULL;
	pthread_mutex_unlock(&loop->lock);
	return n;
}

static void loop_statistics(struct intro_executor *executor, struct intro_executor_statistics *to)
{
	struct loop_executor *e = loop_of(executor);

	intro__counts_add(to, &e->seat.counts);
	pthread_mutex_lock(&e->loop->lock);
	to->submitted = e->submitted;
	pthread_mutex_unlock(&e->loop->lock);
	to->workers = 1;
}

static void loop_free(struct intro_executor *executor)
{
	struct loop_executor *e = loop_of(executor);

	cancel_pending(e);
	intro__executor_fini_in(executor);
	pthread_mutex_lock(&e->loop->lock);
	e->loop->executor = NULL;
	pthread_mutex_unlock(&e->loop->lock);
	free(e);
}

static const struct intro_executor_ops loop_ops = {
	.submit = loop_submit,
	.forget = loop_forget,
	.shutdown = loop_shutdown,
	.broken = loop_broken,
	.free = loop_free,
	.backlog = loop_backlog,
	.statistics = loop_statistics,
	.shares_memory = true,
};

static int check_options(struct intro_executor_options *options,
			 const struct intro_executor_options *given)
{
	int err = given ? intro__executor_options(options, given) : 0;

	if (!err && (options->workers > 1 || options->initializer || options->waiters_help))
		err = -EINVAL;
	options->workers = 1;
	return err;
}

struct intro_executor *intro_loop_executor_new(struct intro_loop *loop,
					       const struct intro_executor_options *given)
{
	struct intro_executor_options options = {.size = sizeof(options)};
	int err = loop ? check_options(&options, given) : -EINVAL;
	struct loop_executor *e = err ? NULL : calloc(1, sizeof(*e));

	if (e)
		err = intro__executor_init_in(&e->base, &loop_ops, &options, loop->pool);
	else if (!err)
		err = -ENOMEM;
	if (!err) {
		e->loop = loop;
		intro__worker_name(&e->base, 0, e->name, sizeof(e->name));
		e->seat.executor = &e->base;
		e->seat.name = e->name;
		pthread_mutex_lock(&loop->lock);
		if (loop->executor)
			err = -EEXIST;
		else
			loop->executor = e;
		pthread_mutex_unlock(&loop->lock);
	}
	if (!err)
		return &e->base;
	free(e);
	errno = -err;
	return NULL;
}
