/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process_executor.c - a pool of forked processes.
 *
 * A manager thread forks all workers before new returns, hands out tasks, ends futures, and
 * reaps. It is the forker because a parent-death signal comes at the end of the *thread* that
 * forked: the manager lives as long as the pool, whoever made the pool may not.
 *
 * Submitters put futures into the queue and wake the manager when it sleeps with room for them.
 * A worker is handed tasks up to 1 + prefetch, the least busy first. When a worker ends before
 * its time the pool is broken: the others are killed, everything not finished fails, all are
 * reaped. Or, under a process pool (process_private.h), it is replaced: of what it was handed, the
 * first may have run and is lost, what comes after cannot have begun, and is handed out again.
 *
 * Lock order: none; the pool's lock and a future's are never held together.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child.h"
#include "futex.h"
#include "marks_private.h"
#include "process_link.h"

/* A request goes through a socket, copied twice; larger data belongs into shared memory. */
#define PAYLOAD_MAX ((size_t)1 << 30)

/* A worker that dies idle so soon, never having answered, may have died of its birth. */
#define STILLBORN_NS NSEC_PER_SEC

enum birth { BIRTH_UNKNOWN, BIRTH_OK, BIRTH_FAILED };

struct process_pool {
	struct intro_executor base;
	unsigned room;	    /* tasks that a worker may have been handed: 1 + prefetch */
	unsigned max_tasks; /* of a worker; 0: no limit */
	bool replaces;
	int event; /* eventfd: wakes the manager */
	pthread_t manager;
	pid_t parent;
	sigset_t signals;     /* of the thread that made the pool */
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t born_cond;
	enum birth born;
	int birth_error;
	struct queue queue;
	uint64_t submitted;
	bool closed;
	bool terminated;
	bool hungry;		   /* the manager sleeps, and some worker has room */
	struct intro_error broken; /* code 0: sound */
	pthread_mutex_t join_lock;
	bool joined;
	/* the manager's own */
	unsigned stillborn; /* in a row */
	struct queue again; /* RUNNING, taken back from a worker that died */
	int *others;	    /* what a new worker must close */
	_Atomic unsigned alive;
	bool closing;	       /* the workers have been told to end */
	struct pollfd *polled; /* [0] event, then socket and pidfd of each worker */
	struct link link[];
};

/* Which pool's manager this thread is. */
static __thread struct process_pool *managing __attribute__((tls_model("initial-exec")));

static struct process_pool *pool_of(struct intro_executor *executor)
{
	return (struct process_pool *)executor;
}

static void wake_manager(struct process_pool *pool)
{
	uint64_t one = 1;
	int saved = errno;

	/* it cannot fail: 2^64 wake-ups that nobody took are far */
	while (write(pool->event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	errno = saved;
}

/* The queue of a pool that is not to run it, emptied. lock is not held. */
static void drop_queue(struct process_pool *pool, const struct intro_error *error)
{
	struct future *f;

	do {
		pthread_mutex_lock(&pool->lock);
		f = queue_pop(&pool->queue);
		pthread_mutex_unlock(&pool->lock);
		if (f)
			intro__payload_free(f);
		if (f && error)
			intro__future_drop(f, error);
		else if (f)
			intro__future_drop_cancelled(f);
	} while (f);
}

static void reap(struct process_pool *pool, struct link *link, char *how, size_t size)
{
	if (link->pidfd < 0)
		return;
	intro__link_reap(link, how, size);
	intro__link_close(link);
	pool->alive--;
}

/* The first error stays: what follows are consequences. */
static void break_pool(struct process_pool *pool, const struct intro_error *error)
{
	struct future *f;
	char how[64];

	pthread_mutex_lock(&pool->lock);
	pool->broken = *error;
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->base.workers; i++)
		intro__link_kill(&pool->link[i]);
	for (unsigned i = 0; i < pool->base.workers; i++)
		reap(pool, &pool->link[i], how, sizeof(how));
	for (unsigned i = 0; i < pool->base.workers; i++)
		intro__link_drop(&pool->link[i], error);
	while ((f = queue_pop(&pool->again))) {
		intro__payload_free(f);
		intro__future_drop(f, error);
	}
	drop_queue(pool, error);
}

/* Forks a worker. 0 or -errno. */
static int start_worker(struct process_pool *pool, struct link *link)
{
	size_t n = 0;
	int err;

	pool->others[n++] = pool->event;
	for (unsigned i = 0; i < pool->base.workers; i++) {
		pool->others[n++] = pool->link[i].fd;
		pool->others[n++] = pool->link[i].pidfd;
	}
	err = intro__link_start(link, pool->parent, &pool->signals, pool->others, n);
	if (!err)
		pool->alive++;
	return err;
}

/* Whether it may have begun a task that it has not answered. */
static bool was_busy(const struct link *link)
{
	return link->handed.first && link->handed.first != link->unsent;
}

/* Whether workers die as soon as they are born, so that it makes no sense to go on. */
static bool is_hopeless(struct process_pool *pool, const struct link *link)
{
	if (link->answered || was_busy(link) || intro__now() - link->born > STILLBORN_NS)
		pool->stillborn = 0;
	else
		pool->stillborn++;
	return pool->stillborn > 8 + 2 * pool->base.workers;
}

/* A worker is gone, reaped; `error` tells why. */
static void replace_worker(struct process_pool *pool, struct link *link,
			   const struct intro_error *error)
{
	struct intro_error failed;
	struct future *f;
	int err;

	if (was_busy(link)) {
		f = queue_pop(&link->handed);
		intro__payload_free(f);
		intro__future_drop(f, error);
	}
	link->unsent = NULL;
	while ((f = queue_pop(&link->handed)))
		queue_push(&pool->again, f);
	err = start_worker(pool, link);
	if (!err)
		return;
	intro__error_set(&failed, -EPIPE, "worker %s cannot be replaced: %s", link->name,
			 strerrordesc_np(-err));
	break_pool(pool, &failed);
}

/*
 * A worker has ended, or must. Takes its last replies; then it was in time, or it is replaced, or
 * the pool is broken.
 */
static void worker_ended(struct process_pool *pool, struct link *link)
{
	int code = pool->replaces ? -EOWNERDEAD : -EPIPE;
	struct intro_error error = {0};
	uint64_t task;
	char how[64];

	if (intro__link_receive(link, &error) == LINK_BROKEN) {
		break_pool(pool, &error);
		return;
	}
	reap(pool, link, how, sizeof(how));
	if (pool->closing)
		return;
	task = link->handed.first ? intro_future_id(intro__public(link->handed.first)) : 0;
	if (task)
		intro__error_set(&error, code, "worker %s (tid %d) %s during task %llu", link->name,
				 (int)link->pid, how, (unsigned long long)task);
	else
		intro__error_set(&error, -EPIPE, "worker %s (tid %d) %s while idle", link->name,
				 (int)link->pid, how);
	if ((link->retiring && !task) || (pool->replaces && !is_hopeless(pool, link)))
		replace_worker(pool, link, &error);
	else
		break_pool(pool, &error);
}

static struct link *least_busy(struct process_pool *pool)
{
	struct link *best = NULL;
	size_t least = pool->room;

	for (unsigned i = 0; i < pool->base.workers && least; i++) {
		struct link *link = &pool->link[i];
		size_t n = queue_length(&link->handed);

		if (n < least && !(pool->max_tasks && link->given >= pool->max_tasks)) {
			best = link;
			least = n;
		}
	}
	return best;
}

/* Workers that have been given all they may: they end when that is done. */
static void retire_workers(struct process_pool *pool)
{
	for (unsigned i = 0; pool->max_tasks && i < pool->base.workers; i++) {
		struct link *link = &pool->link[i];

		if (link->given < pool->max_tasks || link->unsent || link->retiring)
			continue;
		link->retiring = true;
		shutdown(link->fd, SHUT_WR);
	}
}

/* false: nothing more to hand out, or nobody to hand it to. */
static bool hand_out_one(struct process_pool *pool)
{
	struct link *link = least_busy(pool);
	struct future *f;
	void *copy;

	if (!link)
		return false;
	f = queue_pop(&pool->again);
	if (f) {
		intro__link_hand(link, f);
		intro__link_send(link);
		return true;
	}
	pthread_mutex_lock(&pool->lock);
	f = queue_pop(&pool->queue);
	pool->hungry = !f;
	pthread_mutex_unlock(&pool->lock);
	if (!f)
		return false;
	copy = f->work.size > INTRO__INLINE_BYTES ? (void *)f->work.arg : NULL;
	/* from here on it cannot be cancelled, as in Python; if it was, it is not ours any more */
	if (intro_future_set_running_or_notify_cancel(intro__public(f)) == 1) {
		intro__link_hand(link, f);
		intro__link_send(link);
	} else {
		intro__count_cancelled(&pool->base);
		free(copy);
	}
	return true;
}

/* Tells the workers to end once the pool is closed and all is done. */
static void close_when_done(struct process_pool *pool)
{
	bool done;

	pthread_mutex_lock(&pool->lock);
	done = pool->closed && !pool->queue.first && !pool->again.first;
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; done && i < pool->base.workers; i++)
		done = !pool->link[i].handed.first;
	if (!done || pool->closing)
		return;
	pool->closing = true;
	for (unsigned i = 0; i < pool->base.workers; i++)
		shutdown(pool->link[i].fd, SHUT_WR);
}

static void sleep_until_event(struct process_pool *pool)
{
	uint64_t count;

	for (unsigned i = 0; i < pool->base.workers; i++) {
		struct link *link = &pool->link[i];
		struct pollfd *p = &pool->polled[1 + 2 * i];

		p[0] = (struct pollfd){.fd = link->fd, .events = POLLIN};
		if (link->unsent)
			p[0].events |= POLLOUT;
		p[1] = (struct pollfd){.fd = link->pidfd, .events = POLLIN};
	}
	if (poll(pool->polled, 1 + 2 * (nfds_t)pool->base.workers, -1) < 0)
		for (unsigned i = 0; i < 1 + 2 * pool->base.workers; i++)
			pool->polled[i].revents = 0;
	if (pool->polled[0].revents)
		(void)!read(pool->event, &count, sizeof(count));
}

static void serve(struct process_pool *pool, unsigned i)
{
	const struct pollfd *p = &pool->polled[1 + 2 * i];
	struct link *link = &pool->link[i];
	struct intro_error error;
	enum link_state state = LINK_OPEN;

	if (p[0].revents & POLLOUT)
		intro__link_send(link);
	if (p[0].revents & ~POLLOUT)
		state = intro__link_receive(link, &error);
	if (state == LINK_BROKEN)
		break_pool(pool, &error);
	else if (state == LINK_ENDED || p[1].revents)
		worker_ended(pool, link);
}

static bool is_terminated(struct process_pool *pool)
{
	bool terminated;

	pthread_mutex_lock(&pool->lock);
	terminated = pool->terminated;
	pthread_mutex_unlock(&pool->lock);
	return terminated;
}

/* Forks all workers. 0 or -errno. */
static int fork_workers(struct process_pool *pool)
{
	char how[64];
	int err = 0;

	for (unsigned i = 0; !err && i < pool->base.workers; i++)
		err = start_worker(pool, &pool->link[i]);
	for (unsigned i = 0; err && i < pool->base.workers; i++) {
		intro__link_kill(&pool->link[i]);
		reap(pool, &pool->link[i], how, sizeof(how));
	}
	return err;
}

static void *manager_main(void *arg)
{
	static const struct intro_error terminated = {.code = -ECANCELED,
						      .text = "the pool was terminated"};
	struct process_pool *pool = arg;
	char comm[16];
	int err;

	managing = pool;
	snprintf(comm, sizeof(comm), "%.11s/mgr", pool->base.name);
	pthread_setname_np(pthread_self(), comm);
	err = fork_workers(pool);
	pthread_mutex_lock(&pool->lock);
	pool->born = err ? BIRTH_FAILED : BIRTH_OK;
	pool->birth_error = err;
	pthread_cond_signal(&pool->born_cond);
	pthread_mutex_unlock(&pool->lock);
	while (pool->alive) {
		while (!pool->closing && hand_out_one(pool))
			;
		retire_workers(pool);
		close_when_done(pool);
		sleep_until_event(pool);
		if (is_terminated(pool)) {
			break_pool(pool, &terminated);
			break;
		}
		for (unsigned i = 0; i < pool->base.workers; i++)
			if (pool->link[i].pidfd >= 0)
				serve(pool, i);
	}
	return NULL;
}

/* The payload goes into the future, or into memory of its own. */
static int copy_payload(struct future *f)
{
	void *copy = f->work.inlined;

	if (f->work.size > PAYLOAD_MAX)
		return -EMSGSIZE;
	if (f->work.size && !f->work.arg)
		return -EINVAL;
	if (f->work.size > INTRO__INLINE_BYTES && !(copy = malloc(f->work.size)))
		return -ENOMEM;
	if (f->work.size)
		memcpy(copy, f->work.arg, f->work.size);
	f->work.arg = copy;
	return 0;
}

static int process_submit(struct intro_executor *executor, struct future *f)
{
	struct process_pool *pool = pool_of(executor);
	bool wake = false;
	int err;

	err = copy_payload(f);
	if (err)
		return err;
	pthread_mutex_lock(&pool->lock);
	if (pool->broken.code) {
		err = -EPIPE;
	} else if (pool->closed) {
		err = -ESHUTDOWN;
	} else {
		intro_mark_submit(intro_future_id(intro__public(f)), executor->pool, f->name);
		queue_push(&pool->queue, f);
		pool->submitted++;
		wake = pool->hungry;
		pool->hungry = false;
	}
	pthread_mutex_unlock(&pool->lock);
	if (err)
		intro__payload_free(f);
	if (wake)
		wake_manager(pool);
	return err;
}

static bool process_forget(struct intro_executor *executor, struct future *f)
{
	struct process_pool *pool = pool_of(executor);
	bool queued;

	pthread_mutex_lock(&pool->lock);
	queued = queue_has(&pool->queue, f);
	if (queued) {
		queue_remove(&pool->queue, f);
		intro__payload_free(f);
		intro__count_cancelled(executor);
	}
	pthread_mutex_unlock(&pool->lock);
	return queued;
}

static uint64_t process_backlog(struct intro_executor *executor)
{
	return queue_length(&pool_of(executor)->queue);
}

static void process_statistics(struct intro_executor *executor,
			       struct intro_executor_statistics *to)
{
	struct process_pool *pool = pool_of(executor);

	for (unsigned i = 0; i < executor->workers; i++)
		intro__counts_add(to, &pool->link[i].counts);
	pthread_mutex_lock(&pool->lock);
	to->submitted = pool->submitted;
	pthread_mutex_unlock(&pool->lock);
	to->workers = pool->alive;
}

static void process_shutdown(struct intro_executor *executor, unsigned flags)
{
	struct process_pool *pool = pool_of(executor);

	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	pthread_mutex_unlock(&pool->lock);
	if (flags & INTRO_SHUTDOWN_CANCEL_PENDING)
		drop_queue(pool, NULL);
	wake_manager(pool);
	/* a callback runs in the manager, which cannot wait for itself */
	if (!(flags & INTRO_SHUTDOWN_WAIT) || managing == pool)
		return;
	pthread_mutex_lock(&pool->join_lock);
	if (!pool->joined)
		pthread_join(pool->manager, NULL);
	pool->joined = true;
	pthread_mutex_unlock(&pool->join_lock);
}

static int process_broken(struct intro_executor *executor, struct intro_error *error)
{
	struct process_pool *pool = pool_of(executor);

	return intro__executor_broken(&pool->lock, &pool->broken, error);
}

static void process_free(struct intro_executor *executor)
{
	struct process_pool *pool = pool_of(executor);

	intro__executor_fini(executor);
	for (unsigned i = 0; i < executor->workers; i++)
		intro__link_close(&pool->link[i]);
	if (pool->event >= 0)
		close(pool->event);
	pthread_mutex_destroy(&pool->join_lock);
	pthread_cond_destroy(&pool->born_cond);
	pthread_mutex_destroy(&pool->lock);
	free(pool->others);
	free(pool->polled);
	free(pool);
}

static const struct intro_executor_ops process_ops = {
	.submit = process_submit,
	.forget = process_forget,
	.shutdown = process_shutdown,
	.broken = process_broken,
	.free = process_free,
	.backlog = process_backlog,
	.statistics = process_statistics,
	.shares_memory = false,
};

static struct process_pool *pool_alloc(const struct intro_executor *base,
				       const struct intro_executor_options *options, bool replaces)
{
	struct process_pool *pool =
		calloc(1, sizeof(*pool) + base->workers * sizeof(pool->link[0]));

	if (!pool)
		return NULL;
	pool->base = *base;
	pool->room = 1 + (options->prefetch ? options->prefetch : 1);
	pool->max_tasks = options->max_tasks_per_worker;
	pool->replaces = replaces;
	pool->parent = getpid();
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->born_cond, NULL);
	pthread_mutex_init(&pool->join_lock, NULL);
	for (unsigned i = 0; i < base->workers; i++)
		pool->link[i] = (struct link){.executor = &pool->base,
					      .index = i,
					      .fd = -1,
					      .pidfd = -1,
					      .keeps = replaces};
	pool->polled = calloc(1 + 2 * (size_t)base->workers, sizeof(*pool->polled));
	pool->others = calloc(1 + 2 * (size_t)base->workers, sizeof(*pool->others));
	pool->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->polled && pool->others && pool->event >= 0) {
		pool->polled[0] = (struct pollfd){.fd = pool->event, .events = POLLIN};
		return pool;
	}
	process_free(&pool->base);
	return NULL;
}

/* Returns when all workers are forked. 0 or -errno; then there is no manager any more. */
static int start_manager(struct process_pool *pool)
{
	int err;

	intro__signals_block(&pool->signals);
	err = -pthread_create(&pool->manager, NULL, manager_main, pool);
	pthread_sigmask(SIG_SETMASK, &pool->signals, NULL);
	if (err)
		return err;
	pthread_mutex_lock(&pool->lock);
	while (pool->born == BIRTH_UNKNOWN)
		pthread_cond_wait(&pool->born_cond, &pool->lock);
	err = pool->birth_error;
	pthread_mutex_unlock(&pool->lock);
	if (err)
		pthread_join(pool->manager, NULL);
	return err;
}

struct intro_executor *intro__process_executor_new(const struct intro_executor_options *given,
						   bool replaces)
{
	struct intro_executor_options options;
	struct intro_executor base = {0};
	struct process_pool *pool;
	int err;

	err = intro__executor_options(&options, given);
	if (!err && options.prefetch >= UINT_MAX)
		err = -EINVAL;
	if (!err)
		err = intro__executor_init(&base, &process_ops, &options, INTRO_POOL_PROCESS);
	if (err) {
		errno = -err;
		return NULL;
	}
	pool = pool_alloc(&base, &options, replaces);
	if (!pool) {
		intro__pool_release(base.pool);
		errno = ENOMEM;
		return NULL;
	}
	err = start_manager(pool);
	if (err) {
		process_free(&pool->base);
		errno = -err;
		return NULL;
	}
	return &pool->base;
}

struct intro_executor *intro_process_executor_new(const struct intro_executor_options *options)
{
	return intro__process_executor_new(options, false);
}

void intro__process_executor_terminate(struct intro_executor *executor)
{
	struct process_pool *pool = pool_of(executor);

	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	pool->terminated = true;
	pthread_mutex_unlock(&pool->lock);
	wake_manager(pool);
}

bool intro__process_executor_manages(const struct intro_executor *executor)
{
	return managing && &managing->base == executor;
}
