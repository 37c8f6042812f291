/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process_manager.c - the manager thread of a process pool. See process_manager.h.
 *
 * It forks the workers, as a parent-death signal comes at the end of the *thread* that forked: the
 * manager lives as long as the pool, whoever made the pool may not. It hands out what submitters
 * could not, sends what is large, ends futures, and reaps. What it finds done in one pass over
 * the workers it takes all at once; when there is nothing it looks a while and then sleeps in poll.
 *
 * When a worker ends before its time the pool is broken: the others are killed, everything not
 * finished fails, all are reaped. Or, under a process pool (process_private.h), it is replaced: of
 * what it was handed, what it had begun is lost, what comes after goes to others.
 */
#include "process_manager.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "child.h"
#include "handlers.h"
#include "join.h"
#include "marks_private.h"
#include "spin.h"

/* A worker that dies idle so soon, never having answered, may have died of its birth. */
#define STILLBORN_NS NSEC_PER_SEC

/* A worker is handed so much work ahead, by the length of its last tasks, if that is less than ..
 */
#define AHEAD_NS 200000
#define AHEAD_TASKS 255
/* Tasks that are no longer than the manager may look for their end. */
#define AHEAD_SHORT (AHEAD_NS / MANAGER_SPIN_NS)

/* What waits behind a task for so long is taken back when another worker is idle. */
#define HELD_UP_NS 1000000

/* How long the manager looks before it sleeps, while tasks are under way. */
#define MANAGER_SPIN_NS 40000
#define MANAGER_SPIN_LEAST_NS 5000

/* So often it asks for deaths while it does not sleep. */
#define DEATHS_NS 1000000

/* Tasks handed out before submitters get the lock again. */
#define HAND_OUT_BATCH 64

/* Which pool's manager this thread is. */
static __thread struct process_pool *managing __attribute__((tls_model("initial-exec")));

struct process_pool *intro__process_manages(void)
{
	return managing;
}

void intro__process_pool_wake_manager(struct process_pool *pool)
{
	int saved = errno, was = intro__cancel_forbid();
	uint64_t one = 1;

	/* it cannot fail: 2^64 wake-ups that nobody took are far */
	while (write(pool->event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	intro__cancel_allow(was);
	errno = saved;
}

void intro__process_pool_drop_queue(struct process_pool *pool, const struct intro_error *error)
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

/* --- handing out ----------------------------------------------------------------------------- */

static unsigned room_of(const struct process_pool *pool, const struct link *link)
{
	if (link->held_up)
		return 1;
	if (pool->prefetch)
		return 1 + pool->prefetch;
	return 1 + (link->ahead ? link->ahead : pool->ahead);
}

static bool may_have(struct process_pool *pool, struct link *link, size_t size)
{
	if (link->unsent || (pool->max_tasks && link->given >= pool->max_tasks))
		return false;
	return link_load(link) < room_of(pool, link) &&
	       (link_is_large(size) || link_fits(link, size));
}

struct link *intro__process_pool_choose(struct process_pool *pool, size_t size)
{
	struct link *best = NULL;
	unsigned least = UINT_MAX;

	for (unsigned i = 0; i < pool->base.workers && least; i++) {
		struct link *link = &pool->link[i];

		if (link->open && link_load(link) < least && may_have(pool, link, size)) {
			best = link;
			least = link_load(link);
		}
	}
	return best;
}

/* A worker that was given all it may ends when that is done. Under the lock. */
static void retire_when_due(struct process_pool *pool, struct link *link)
{
	if (pool->max_tasks && link->given >= pool->max_tasks && !link->unsent && !link->retiring)
		intro__link_end(link);
}

void intro__process_pool_hand(struct process_pool *pool, struct link *link, struct future *f)
{
	intro__link_hand(link, f);
	retire_when_due(pool, link);
}

/* The next, and whom it is for; NULL: there is none, or nobody. Under the lock. */
static struct future *next_task(struct process_pool *pool, struct link **link)
{
	struct queue *from = pool->again.first ? &pool->again : &pool->queue;
	struct future *f = from->first;

	*link = intro__process_pool_choose(pool, f ? payload_in_ring(f) : 0);
	if (!f || !*link)
		return NULL;
	return queue_pop(from);
}

/* It was cancelled while it waited. */
static void let_go(struct process_pool *pool, struct future *f)
{
	intro__payload_free(f);
	intro__count_cancelled(&pool->base);
	intro_future_set_running_or_notify_cancel(intro__public(f));
}

/* Whether there was something to hand out. `sleeps`: submitters have to wake us from now on. */
static bool hand_out(struct process_pool *pool, bool sleeps)
{
	struct future *f, *cancelled = NULL;
	struct link *link;
	unsigned n = 0;

	pthread_mutex_lock(&pool->lock);
	while (n < HAND_OUT_BATCH && (f = next_task(pool, &link))) {
		/* from here on it cannot be cancelled, as in Python */
		if (!intro_future_running(intro__public(f)) &&
		    !intro__future_leave_pending(f, INTRO_FUTURE_RUNNING)) {
			cancelled = f;
			break;
		}
		intro__process_pool_hand(pool, link, f);
		n++;
	}
	pool->hungry = sleeps && link;
	pthread_mutex_unlock(&pool->lock);
	if (cancelled)
		let_go(pool, cancelled);
	return n || cancelled;
}

/* --- births and deaths ----------------------------------------------------------------------- */

/* Waits for its end. Nothing is handed to it any more. */
static void reap(struct process_pool *pool, struct link *link, char *how, size_t size)
{
	if (link->pidfd < 0)
		return;
	intro__link_reap(link, how, size);
	pool->alive--;
}

struct drop {
	struct queue *queue;
	const struct intro_error *error;
};

static void drop_all(void *arg)
{
	const struct drop *drop = arg;
	struct future *f;

	while ((f = queue_pop(drop->queue))) {
		intro__payload_free(f);
		intro__future_drop(f, drop->error);
	}
}

static void drop(struct queue *q, const struct intro_error *error)
{
	intro__see_through(drop_all, &(struct drop){.queue = q, .error = error});
}

/* The first error stays: what follows are consequences. */
static void break_pool(struct process_pool *pool, const struct intro_error *error)
{
	struct queue dropped = {0};
	char how[64];

	pthread_mutex_lock(&pool->lock);
	pool->broken = *error;
	for (unsigned i = 0; i < pool->base.workers; i++) {
		struct link *link = &pool->link[i];

		link->open = false;
		link->unsent = NULL;
		queue_splice(&dropped, &link->out);
		queue_splice(&dropped, &link->handed);
	}
	queue_splice(&dropped, &pool->again);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->base.workers; i++)
		intro__link_kill(&pool->link[i]);
	for (unsigned i = 0; i < pool->base.workers; i++) {
		reap(pool, &pool->link[i], how, sizeof(how));
		intro__link_close(&pool->link[i]);
	}
	drop(&dropped, error);
	intro__process_pool_drop_queue(pool, error);
}

/* Forks a worker. 0 or -errno. */
static int start_worker(struct process_pool *pool, struct link *link)
{
	struct worker_birth birth = {
		.may_spin = pool->may_spin, .parent = pool->parent, .signals = &pool->signals};
	size_t n = 0;
	int err;

	pool->others[n++] = pool->event;
	for (unsigned i = 0; i < pool->base.workers; i++) {
		pool->others[n++] = pool->link[i].bell;
		pool->others[n++] = pool->link[i].pidfd;
	}
	err = intro__link_start(link, &birth, pool->others, n);
	if (err)
		return err;
	pool->alive++;
	pthread_mutex_lock(&pool->lock);
	link->open = true;
	pthread_mutex_unlock(&pool->lock);
	return 0;
}

/* Whether workers die as soon as they are born, so that it makes no sense to go on. */
static bool is_hopeless(struct process_pool *pool, struct link *link, bool busy)
{
	if (link->answered || busy || intro__now() - link->born > STILLBORN_NS)
		pool->stillborn = 0;
	else
		pool->stillborn++;
	return pool->stillborn > 8 + 2 * pool->base.workers;
}

/* A worker is gone, reaped; `error` tells why. */
static void replace_worker(struct process_pool *pool, struct link *link, bool busy,
			   const struct intro_error *error)
{
	struct queue lost = {0};
	struct intro_error failed;
	int err;

	pthread_mutex_lock(&pool->lock);
	if (busy)
		queue_push(&lost, queue_pop(&link->out));
	queue_splice(&pool->again, &link->out);
	pthread_mutex_unlock(&pool->lock);
	intro__link_close(link);
	err = start_worker(pool, link);
	if (err) {
		intro__error_set(&failed, -EPIPE, "worker %s cannot be replaced: %s", link->name,
				 strerrordesc_np(-err));
		break_pool(pool, &failed);
	}
	/* last, as the thread may end in a callback */
	drop(&lost, error);
}

/* How many tasks of this length are worth handing out ahead. */
static unsigned ahead_for(uint32_t length_ns)
{
	if (length_ns < AHEAD_NS / AHEAD_TASKS)
		return AHEAD_TASKS;
	return length_ns < AHEAD_NS ? AHEAD_NS / length_ns : 1;
}

static enum link_state receive(struct process_pool *pool, struct link *link,
			       struct intro_error *error)
{
	uint32_t length;
	bool sane;

	if (!intro__link_has(link))
		return LINK_OPEN;
	length = atomic_load_explicit(&link->pipe.shared->length_ns, memory_order_relaxed);
	pthread_mutex_lock(&pool->lock);
	sane = intro__link_accept(link);
	link->held_up = false;
	link->ahead = ahead_for(length);
	pool->ahead = link->ahead;
	pthread_mutex_unlock(&pool->lock);
	return sane ? intro__link_receive(link, error) : intro__link_is_nonsense(link, error);
}

/*
 * A worker has ended, or must. Takes its last replies; then it was in time, or it is replaced, or
 * the pool is broken.
 */
static void worker_ended(struct process_pool *pool, struct link *link)
{
	struct intro_error error = {0};
	bool busy, in_time;
	char how[64];

	pthread_mutex_lock(&pool->lock);
	link->open = false;
	intro__link_accept(link);
	pthread_mutex_unlock(&pool->lock);
	reap(pool, link, how, sizeof(how));
	if (receive(pool, link, &error) == LINK_BROKEN) {
		break_pool(pool, &error);
		return;
	}
	busy = intro__link_is_busy(link);
	in_time = pool->closing || (link->retiring && !link->out.first);
	link->unsent = NULL;
	if (busy)
		intro__error_set(
			&error, pool->replaces ? -EOWNERDEAD : -EPIPE,
			"worker %s (tid %d) %s during task %llu", link->name, (int)link->pid, how,
			(unsigned long long)intro_future_id(intro__public(link->out.first)));
	else
		intro__error_set(&error, -EPIPE, "worker %s (tid %d) %s while idle", link->name,
				 (int)link->pid, how);
	if (pool->closing)
		intro__link_close(link);
	else if (in_time || (pool->replaces && !is_hopeless(pool, link, busy)))
		replace_worker(pool, link, busy, &error);
	else
		break_pool(pool, &error);
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
		intro__link_close(&pool->link[i]);
	}
	return err;
}

/* --- the loop -------------------------------------------------------------------------------- */

/* A large payload that found no room when it was submitted, and of which nothing was sent yet. */
static void find_place(struct process_pool *pool, struct link *link)
{
	struct future *f = link->unsent;
	void *copy = (void *)f->work.arg;

	if (payload_in_ring(f) < SEGMENT_PAYLOAD || link->message.at || link->message.put)
		return;
	f->work.place = intro__segment_put(&pool->payloads, copy, f->work.size);
	if (!f->work.place)
		return;
	f->work.arg = NULL;
	free(copy);
	intro__link_hand_place(link);
}

/* Sends more of a large request. Whether something went. */
static bool send_more(struct process_pool *pool, struct link *link)
{
	bool any = false;

	if (!link->unsent)
		return false;
	find_place(pool, link);
	if (!intro__link_send(link, &any))
		return any;
	pthread_mutex_lock(&pool->lock);
	/* a smaller one may lie in the ring as yet, to be taken back and handed to another */
	if (!link->keeps && payload_in_ring(link->unsent) > RING_BYTES)
		intro__payload_free(link->unsent);
	link->unsent = NULL;
	retire_when_due(pool, link);
	pthread_mutex_unlock(&pool->lock);
	return true;
}

/* All that can be done now, once around. Whether there was something. */
static bool pass(struct process_pool *pool, bool sleeps)
{
	bool any = hand_out(pool, sleeps);

	for (unsigned i = 0; i < pool->base.workers; i++) {
		struct link *link = &pool->link[i];
		struct intro_error error;

		if (link->pidfd < 0)
			continue;
		any |= send_more(pool, link);
		if (!intro__link_has(link))
			continue;
		any = true;
		if (receive(pool, link, &error) == LINK_BROKEN) {
			break_pool(pool, &error);
			break;
		}
	}
	return any;
}

/* Tells the workers to end once the pool is closed and all is done. */
static void close_when_done(struct process_pool *pool)
{
	bool done;

	if (pool->closing)
		return;
	pthread_mutex_lock(&pool->lock);
	done = pool->closed && !pool->queue.first && !pool->again.first;
	for (unsigned i = 0; done && i < pool->base.workers; i++)
		done = !link_load(&pool->link[i]);
	for (unsigned i = 0; done && i < pool->base.workers; i++) {
		pool->link[i].open = false;
		if (pool->link[i].pidfd >= 0)
			intro__link_end(&pool->link[i]);
	}
	pool->closing = done;
	pthread_mutex_unlock(&pool->lock);
}

/* Whether a pass would find something; cheaper than that. */
static bool is_something(struct process_pool *pool, size_t queued)
{
	if (queue_length(&pool->queue) != queued)
		return true;
	for (unsigned i = 0; i < pool->base.workers; i++) {
		struct link *link = &pool->link[i];

		if (link->pidfd >= 0 && (intro__link_has(link) || link_has_room(link)))
			return true;
	}
	return false;
}

/*
 * Whether something may come soon: what is under way is short. Who looks in vain pays for it: a
 * thread that offered its CPU to others waits for it the longer when it is woken.
 */
static bool is_soon(struct process_pool *pool)
{
	bool soon = false;

	pthread_mutex_lock(&pool->lock);
	for (unsigned i = 0; !soon && i < pool->base.workers; i++) {
		struct link *link = &pool->link[i];

		soon = link_load(link) && (link->unsent || link->ahead >= AHEAD_SHORT);
	}
	pthread_mutex_unlock(&pool->lock);
	return soon;
}

/* false: nothing came. */
static bool look_a_while(struct process_pool *pool)
{
	size_t queued = queue_length(&pool->queue);
	struct spin spin = {0};
	bool found;

	if (!pool->may_spin || !is_soon(pool))
		return false;
	while (!(found = is_something(pool, queued)) && spin_once(&spin, pool->spin_ns))
		;
	if (found && pool->spin_ns < MANAGER_SPIN_NS)
		pool->spin_ns *= 2;
	else if (!found && pool->spin_ns > MANAGER_SPIN_LEAST_NS)
		pool->spin_ns /= 2;
	return found;
}

/*
 * Takes back what waits behind a task that takes long, when somebody is idle. Until when to sleep,
 * ms; -1: there is nothing of the kind.
 */
static int relieve(struct process_pool *pool)
{
	int64_t now = intro__now(), first = INT64_MAX;
	bool idle = false, stuck;

	pthread_mutex_lock(&pool->lock);
	stuck = pool->queue.first || pool->again.first;
	for (unsigned i = 0; i < pool->base.workers; i++) {
		idle |= pool->link[i].open && !link_load(&pool->link[i]) && !pool->link[i].retiring;
		stuck &= !link_load(&pool->link[i]);
	}
	for (unsigned i = 0; idle && i < pool->base.workers; i++) {
		struct link *link = &pool->link[i];

		if (!link->open || link_load(link) < 2 || link->held_up) {
			link->held_since = 0;
			continue;
		}
		if (!link->held_since || link->answered != link->answered_seen) {
			link->answered_seen = link->answered;
			link->held_since = now;
		}
		if (now - link->held_since >= HELD_UP_NS) {
			intro__link_accept(link);
			intro__link_revoke(link, &pool->again);
		} else if (link->held_since < first) {
			first = link->held_since;
		}
	}
	pthread_mutex_unlock(&pool->lock);
	/* a ring may be full of what was revoked; nobody rings when that is passed over */
	if (stuck)
		return 1;
	if (!idle || first == INT64_MAX)
		return -1;
	return 1 + (int)((first + HELD_UP_NS - now) / 1000000);
}

/* Sleeps (timeout 0: does not), then sees to what happened besides messages. */
static void take_events(struct process_pool *pool, int timeout_ms)
{
	uint64_t count;

	for (unsigned i = 0; i < pool->base.workers; i++) {
		struct pollfd *p = &pool->polled[1 + 2 * i];

		p[0] = (struct pollfd){.fd = pool->link[i].bell, .events = POLLIN};
		p[1] = (struct pollfd){.fd = pool->link[i].pidfd, .events = POLLIN};
	}
	if (poll(pool->polled, 1 + 2 * (nfds_t)pool->base.workers, timeout_ms) <= 0)
		return;
	if (pool->polled[0].revents)
		(void)!read(pool->event, &count, sizeof(count));
	for (unsigned i = 0; i < pool->base.workers; i++) {
		const struct pollfd *p = &pool->polled[1 + 2 * i];
		struct link *link = &pool->link[i];

		/* what happened to one may have ended all */
		if (link->pidfd < 0)
			continue;
		if (p[1].revents || (p[0].revents && intro__pipe_answer(link->bell, 0) == -EPIPE))
			worker_ended(pool, link);
	}
}

static void set_wants(struct process_pool *pool, bool sleeps)
{
	for (unsigned i = 0; i < pool->base.workers; i++) {
		struct link *link = &pool->link[i];

		if (link->pidfd < 0)
			continue;
		if (sleeps)
			pipe_want(&link->pipe, link->unsent ? WANTS_DATA | WANTS_ROOM : WANTS_DATA);
		else
			pipe_got(&link->pipe);
	}
}

/* The lesser of two time-outs of poll. */
static int sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static void sleep_until_event(struct process_pool *pool)
{
	int timeout =
		sooner(relieve(pool), intro__segment_trim(&pool->payloads, intro__now(), false));

	set_wants(pool, true);
	if (!pass(pool, true) && pool->alive)
		take_events(pool, timeout);
	set_wants(pool, false);
}

static bool is_terminated(struct process_pool *pool)
{
	bool terminated;

	pthread_mutex_lock(&pool->lock);
	terminated = pool->terminated;
	pthread_mutex_unlock(&pool->lock);
	return terminated;
}

static void manage(struct process_pool *pool)
{
	static const struct intro_error terminated = {.code = -ECANCELED,
						      .text = "the pool was terminated"};
	int64_t asked = intro__now(), now;

	while (pool->alive) {
		if (pass(pool, false)) {
			now = intro__now();
			if (now - asked < DEATHS_NS)
				continue;
			asked = now;
			take_events(pool, 0);
			intro__segment_trim(&pool->payloads, now, false);
		} else if (look_a_while(pool)) {
			continue;
		} else {
			close_when_done(pool);
			sleep_until_event(pool);
		}
		if (is_terminated(pool) && pool->alive)
			break_pool(pool, &terminated);
	}
}

/*
 * A callback that ends its thread ends this one, but not before the pool: workers die with it. What
 * was under way is either done or starts again; of a pool that was being broken the queue is left.
 */
static void go_on(void *arg)
{
	struct process_pool *pool = arg;

	intro__handlers_restore(pool->handlers);
	if (pool->broken.code)
		intro__process_pool_drop_queue(pool, &pool->broken);
	manage(pool);
}

void *intro__process_manager(void *arg)
{
	struct process_pool *pool = arg;
	struct handlers handlers;
	char comm[16];
	int err;

	managing = pool;
	pool->spin_ns = MANAGER_SPIN_NS;
	pool->ahead = 1;
	snprintf(comm, sizeof(comm), "%.11s/mgr", pool->base.name);
	pthread_setname_np(pthread_self(), comm);
	err = fork_workers(pool);
	pthread_mutex_lock(&pool->lock);
	pool->born = err ? BIRTH_FAILED : BIRTH_OK;
	pool->birth_error = err;
	pthread_cond_signal(&pool->born_cond);
	pthread_mutex_unlock(&pool->lock);
	pool->handlers = &handlers;
	pthread_cleanup_push(go_on, pool);
	intro__handlers_save(&handlers);
	if (!err)
		manage(pool);
	pthread_cleanup_pop(0);
	intro__segment_trim(&pool->payloads, intro__now(), true);
	return NULL;
}
