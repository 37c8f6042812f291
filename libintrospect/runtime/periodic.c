/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * periodic.c - runs tasks when they are due. See periodic.h.
 *
 * The scheduler thread alone submits; the thread that ends a run (the future's callback) decides
 * when it is due next. An entry's future is the scheduler's while the entry is IDLE, and the
 * executor's while it is HANDED.
 *
 * Lock order: none; the worker's lock is never held around a call of an executor or a future,
 * nor of the program.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <introspect/periodic.h>

#include "child.h"
#include "executor_private.h"
#include "futex.h"
#include "join.h"
#include "options.h"

#define SPACING_MAX ((int64_t)100 * 366 * 86400 * NSEC_PER_SEC)

enum entry_state { ENTRY_IDLE, ENTRY_HANDED, ENTRY_OVER };
enum life { LIFE_NEW, LIFE_RUNS, LIFE_STOPPED };

/* What a run in another process is given, followed by the argument; and what it gives back. */
struct wire_run {
	intro_task_fn fn;
};
struct wire_times {
	int64_t started, finished;
	bool never_again;
};

struct entry {
	struct intro_periodic *worker;
	unsigned index;
	char name[32]; /* as long as a mark's */
	uint32_t mark;
	intro_task_fn fn;
	const void *arg;
	size_t arg_size;
	int64_t spacing;
	bool run_immediately;
	/* process executors: a wire_run and the argument */
	unsigned char *wire;
	size_t wire_size;

	/* of the run: by the thread that runs it, read when it has ended */
	int64_t started;
	bool again_no_more;
	struct intro_done_callback done;
	struct intro_future future;

	/* under the worker's lock */
	enum entry_state state;
	int64_t due;
	struct intro_periodic_watch watch;
};

struct intro_periodic {
	char name[INTRO__NAME_BYTES];
	uint32_t forks; /* of the process that made it */
	struct intro_executor *executor;
	bool owns_executor;
	enum intro_periodic_schedule schedule;
	unsigned jitter_percent;
	void (*failed)(unsigned task, const char *name, const struct intro_error *error, void *arg);
	void *failed_arg;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t change;
	enum life life;
	bool stopping;
	bool stop_if_empty;
	bool joinable;
	int error; /* why it stopped by itself */
	pthread_t scheduler;
	uint64_t random;
	struct entry **entries;
	unsigned n, room;
};

/* Whose task this thread is in. */
static __thread struct intro_periodic *inside __attribute__((tls_model("initial-exec")));

/* In a forked child nobody schedules, and the lock may be held by a thread that is not there. */
static bool is_parents(const struct intro_periodic *p)
{
	return p->forks != intro__forks();
}

static uint64_t next_random(struct intro_periodic *p)
{
	/* xorshift64: spreads due times, no more is asked of it */
	p->random ^= p->random << 13;
	p->random ^= p->random >> 7;
	p->random ^= p->random << 17;
	return p->random;
}

/* p is locked. */
static int64_t next_due(struct intro_periodic *p, const struct entry *e, int64_t started,
			int64_t finished)
{
	int64_t due, most;

	switch (p->schedule) {
	case INTRO_PERIODIC_LAST_FINISHED:
		due = finished + e->spacing;
		break;
	case INTRO_PERIODIC_ALIGNED_LAST_FINISHED:
		due = finished - finished % e->spacing + e->spacing;
		break;
	default:
		due = started + e->spacing;
	}
	most = e->spacing / 100 * p->jitter_percent;
	return most ? due + (int64_t)(next_random(p) % (uint64_t)most) : due;
}

static void first_due(struct intro_periodic *p, struct entry *e)
{
	int64_t now = intro__now();

	e->state = ENTRY_IDLE;
	e->due = e->run_immediately ? now : next_due(p, e, now, now);
}

/* Also when the thread ends there: it may go on. */
static void leave(void *before)
{
	inside = before;
}

/* --- a run, where it runs -------------------------------------------------------------------- */

static int run_shared(struct intro_call *outer)
{
	struct entry *e = (struct entry *)outer->arg;
	struct intro_call call = *outer;
	int code;

	call.arg = e->arg;
	call.size = e->arg_size;
	e->started = intro__now();
	pthread_cleanup_push(leave, inside);
	inside = e->worker;
	code = e->fn(&call);
	pthread_cleanup_pop(1);
	e->again_no_more = code == INTRO_NEVER_AGAIN;
	return e->again_no_more ? 0 : code;
}

static int run_copied(struct intro_call *outer)
{
	struct call_state state = {.copies = true};
	struct wire_times times = {.started = intro__now()};
	struct intro_call call = *outer;
	struct wire_run run;
	int code;

	memcpy(&run, outer->arg, sizeof(run));
	call.arg = (const unsigned char *)outer->arg + sizeof(run);
	call.size = outer->size - sizeof(run);
	call.runtime = &state;
	code = run.fn(&call);
	times.finished = intro__now();
	times.never_again = code == INTRO_NEVER_AGAIN;
	free(state.result.data);
	if (!code || times.never_again)
		return intro_call_return(outer, &times, sizeof(times));
	if (state.explained)
		intro_call_error(outer, "%s", state.text);
	return code;
}

/* --- its end --------------------------------------------------------------------------------- */

/* How a run was. */
struct end {
	struct entry *entry;
	int64_t started, finished;
	bool cancelled;
	int refused; /* by the executor: why */
	struct intro_error error;
};

/* The run is over, and when the next is due is known. The entry may be freed from then on. */
static void account(void *arg)
{
	const struct end *end = arg;
	struct entry *e = end->entry;
	struct intro_periodic *p = e->worker;
	struct intro_periodic_watch *w = &e->watch;

	pthread_mutex_lock(&p->lock);
	/* a refusal may pass, but for these */
	if (end->refused == -EPIPE || end->refused == -ESHUTDOWN)
		p->error = end->refused;
	e->state = e->again_no_more ? ENTRY_OVER : ENTRY_IDLE;
	if (!end->cancelled) {
		w->runs++;
		w->failures += end->error.code != 0;
		w->successes += end->error.code == 0;
		w->overruns += end->finished - end->started > e->spacing;
		w->elapsed_ns += end->finished - end->started;
		w->waited_ns += end->started > e->due ? end->started - e->due : 0;
		w->never_again = e->again_no_more;
		e->due = next_due(p, e, end->started, end->finished);
	}
	pthread_cond_broadcast(&p->change);
	pthread_mutex_unlock(&p->lock);
}

static void finish(struct end *end)
{
	const struct entry *e = end->entry;
	struct intro_periodic *p = e->worker;

	/* also when the thread ends in the program's function */
	pthread_cleanup_push(account, end);
	if (p->failed && end->error.code) {
		pthread_cleanup_push(leave, inside);
		inside = p;
		p->failed(e->index, e->name, &end->error, p->failed_arg);
		pthread_cleanup_pop(1);
	}
	pthread_cleanup_pop(1);
}

/* The callback of an entry's future. */
static void run_ended(struct intro_future *future, void *arg)
{
	struct entry *e = arg;
	struct end end = {.entry = e, .started = e->started, .finished = intro__now()};
	struct intro_result result = {0};
	struct wire_times times;

	end.cancelled = intro_future_error(future, 0, &end.error) == -ECANCELED;
	if (!end.cancelled && !e->worker->executor->ops->shares_memory) {
		end.started = e->due;
		if (!intro_future_result(future, 0, &result) && result.size == sizeof(times)) {
			memcpy(&times, result.data, sizeof(times));
			end.started = times.started;
			end.finished = times.finished;
			e->again_no_more = times.never_again;
		}
	} else if (!end.started) {
		end.started = end.finished; /* the pool lost it before it ran */
	}
	finish(&end);
}

/* --- the scheduler --------------------------------------------------------------------------- */

/* Hands the entry, which is HANDED already, to the executor. */
static void launch(struct intro_periodic *p, struct entry *e)
{
	bool shared = p->executor->ops->shares_memory;
	struct end end = {.entry = e};

	/* waits for the last callback to be out of it */
	intro_future_destroy(&e->future);
	intro_future_init(&e->future);
	e->started = 0;
	e->again_no_more = false;
	e->done = (struct intro_done_callback){.fn = run_ended, .arg = e};
	intro_future_add_done_callback(&e->future, &e->done);
	end.refused = intro_executor_submit_named(
		p->executor, &e->future, e->mark, shared ? run_shared : run_copied,
		shared ? (const void *)e : e->wire, shared ? sizeof(*e) : e->wire_size);
	if (!end.refused)
		return;
	intro__error_set(&end.error, end.refused, "the executor refused it: %s",
			 strerrordesc_np(-end.refused));
	end.started = end.finished = intro__now();
	finish(&end);
}

static struct entry *earliest(const struct intro_periodic *p)
{
	struct entry *best = NULL;

	for (unsigned i = 0; i < p->n; i++) {
		struct entry *e = p->entries[i];

		if (e->state == ENTRY_IDLE && (!best || e->due < best->due))
			best = e;
	}
	return best;
}

static bool any(const struct intro_periodic *p, enum entry_state state)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->entries[i]->state == state)
			return true;
	return false;
}

static void sleep_until(struct intro_periodic *p, int64_t due)
{
	struct timespec until = {.tv_sec = due / NSEC_PER_SEC, .tv_nsec = due % NSEC_PER_SEC};

	pthread_cond_timedwait(&p->change, &p->lock, &until);
}

/* p is locked, and is so on return, when it is to stop. */
static void schedule_until_stop(struct intro_periodic *p)
{
	while (!p->stopping && !p->error) {
		struct entry *e = earliest(p);

		if (!e && p->stop_if_empty && !any(p, ENTRY_HANDED))
			return;
		if (!e) {
			pthread_cond_wait(&p->change, &p->lock);
		} else if (e->due > intro__now()) {
			sleep_until(p, e->due);
		} else {
			e->state = ENTRY_HANDED;
			pthread_mutex_unlock(&p->lock);
			launch(p, e);
			pthread_mutex_lock(&p->lock);
		}
	}
}

/* p is locked, and is not on return: waits for what was handed out. */
static void stop(struct intro_periodic *p)
{
	p->stopping = true;
	for (unsigned i = 0; i < p->n; i++) {
		struct entry *e = p->entries[i];

		if (e->state != ENTRY_HANDED)
			continue;
		pthread_mutex_unlock(&p->lock);
		intro_future_cancel(&e->future);
		pthread_mutex_lock(&p->lock);
	}
	while (any(p, ENTRY_HANDED))
		pthread_cond_wait(&p->change, &p->lock);
	p->life = LIFE_STOPPED;
	pthread_cond_broadcast(&p->change);
	pthread_mutex_unlock(&p->lock);
}

/* In a function of the program's: the executor runs tasks here, or `failed` was called. */
static void scheduler_ends(void *arg)
{
	struct intro_periodic *p = arg;

	pthread_mutex_lock(&p->lock);
	if (!p->error)
		p->error = -EOWNERDEAD;
	stop(p);
}

static void *scheduler_main(void *arg)
{
	struct intro_periodic *p = arg;
	char comm[16];

	snprintf(comm, sizeof(comm), "%.9s/sched", p->name);
	pthread_setname_np(pthread_self(), comm);
	intro__cancel_forbid();
	pthread_cleanup_push(scheduler_ends, p);
	pthread_mutex_lock(&p->lock);
	schedule_until_stop(p);
	pthread_cleanup_pop(0);
	stop(p);
	return NULL;
}

/* --- the worker ------------------------------------------------------------------------------ */

static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

struct intro_periodic *intro_periodic_new(const struct intro_periodic_options *given)
{
	struct intro_periodic_options options;
	struct intro_periodic *p;
	int err;

	err = intro__options_take(&options, sizeof(options), given);
	if (!err && (options.jitter_percent > 100 ||
		     options.schedule > INTRO_PERIODIC_ALIGNED_LAST_FINISHED))
		err = -EINVAL;
	if (err) {
		errno = -err;
		return NULL;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->forks = intro__forks();
	snprintf(p->name, sizeof(p->name), "%s",
		 options.name && *options.name ? options.name : "periodic");
	p->schedule = options.schedule;
	p->jitter_percent = options.jitter_percent;
	p->failed = options.failed;
	p->failed_arg = options.failed_arg;
	if (getrandom(&p->random, sizeof(p->random), GRND_NONBLOCK) < 0 || !p->random)
		p->random = (uint64_t)intro__now() | 1;
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->change);
	p->owns_executor = !options.executor;
	p->executor = options.executor;
	if (p->owns_executor)
		p->executor = intro_thread_executor_new(&(struct intro_executor_options){
			.size = sizeof(options), .name = p->name, .workers = 1});
	if (!p->executor) {
		err = errno;
		intro_periodic_free(p);
		errno = err;
		return NULL;
	}
	return p;
}

static void entry_free(struct entry *e)
{
	if (!e)
		return;
	intro_future_destroy(&e->future);
	free(e->wire);
	free(e);
}

static struct entry *entry_new(struct intro_periodic *p, const struct intro_periodic_task *task)
{
	struct wire_run run = {.fn = task->fn};
	struct entry *e = aligned_alloc(_Alignof(struct entry), sizeof(*e));

	if (!e)
		return NULL;
	memset(e, 0, sizeof(*e));
	intro_future_init(&e->future);
	e->worker = p;
	snprintf(e->name, sizeof(e->name), "%s",
		 task->name && *task->name ? task->name : "periodic");
	e->mark = intro_mark_name(e->name);
	e->fn = task->fn;
	e->arg = task->arg;
	e->arg_size = task->arg_size;
	e->spacing = task->spacing_ns;
	e->run_immediately = task->run_immediately;
	if (p->executor->ops->shares_memory)
		return e;
	e->wire_size = sizeof(run) + task->arg_size;
	e->wire = malloc(e->wire_size);
	if (!e->wire) {
		entry_free(e);
		return NULL;
	}
	memcpy(e->wire, &run, sizeof(run));
	if (task->arg_size)
		memcpy(e->wire + sizeof(run), task->arg, task->arg_size);
	return e;
}

/* p is locked. */
static int entries_add(struct intro_periodic *p, struct entry *e)
{
	if (p->n == p->room) {
		unsigned room = p->room ? 2 * p->room : 8;
		struct entry **entries = realloc(p->entries, room * sizeof(struct entry *));

		if (!entries)
			return -ENOMEM;
		p->entries = entries;
		p->room = room;
	}
	e->index = p->n;
	p->entries[p->n++] = e;
	first_due(p, e);
	pthread_cond_broadcast(&p->change);
	return (int)e->index;
}

int intro_periodic_add(struct intro_periodic *p, const struct intro_periodic_task *given)
{
	struct intro_periodic_task task;
	struct entry *e;
	int ret;

	if (is_parents(p))
		return -ESHUTDOWN;
	ret = intro__options_take(&task, sizeof(task), given);
	if (ret)
		return ret;
	if (!task.fn || task.spacing_ns <= 0 || task.spacing_ns > SPACING_MAX ||
	    (task.arg_size && !task.arg))
		return -EINVAL;
	e = entry_new(p, &task);
	if (!e)
		return -ENOMEM;
	pthread_mutex_lock(&p->lock);
	ret = entries_add(p, e);
	pthread_mutex_unlock(&p->lock);
	if (ret < 0)
		entry_free(e);
	return ret;
}

int intro_periodic_start(struct intro_periodic *p, unsigned flags)
{
	sigset_t signals;
	int err = 0;

	if (flags & ~(unsigned)(INTRO_PERIODIC_ALLOW_EMPTY | INTRO_PERIODIC_STOP_IF_EMPTY))
		return -EINVAL;
	if (is_parents(p))
		return -ESHUTDOWN;
	pthread_mutex_lock(&p->lock);
	if (p->life != LIFE_NEW)
		err = -EALREADY;
	else if (!p->n && !(flags & INTRO_PERIODIC_ALLOW_EMPTY))
		err = -ENOENT;
	if (!err) {
		for (unsigned i = 0; i < p->n; i++)
			first_due(p, p->entries[i]);
		p->stop_if_empty = flags & INTRO_PERIODIC_STOP_IF_EMPTY;
		intro__signals_block(&signals);
		err = -pthread_create(&p->scheduler, NULL, scheduler_main, p);
		pthread_sigmask(SIG_SETMASK, &signals, NULL);
		if (!err) {
			p->life = LIFE_RUNS;
			p->joinable = true;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

int intro_periodic_stop(struct intro_periodic *p)
{
	int err;

	if (is_parents(p))
		return -ESHUTDOWN;
	pthread_mutex_lock(&p->lock);
	err = p->life == LIFE_NEW ? -EINVAL : 0;
	if (!err)
		p->stopping = true;
	pthread_cond_broadcast(&p->change);
	pthread_mutex_unlock(&p->lock);
	return err;
}

int intro_periodic_wait(struct intro_periodic *p, int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	int err = 0, was;

	if (is_parents(p))
		return -ESHUTDOWN;
	was = intro__cancel_forbid();
	pthread_mutex_lock(&p->lock);
	if (p->life == LIFE_NEW)
		err = -EINVAL;
	else if (inside == p)
		err = -EDEADLK;
	while (!err && p->life != LIFE_STOPPED) {
		if (deadline == INTRO_FOREVER)
			pthread_cond_wait(&p->change, &p->lock);
		else if (intro__now() >= deadline)
			err = -ETIMEDOUT;
		else
			sleep_until(p, deadline);
	}
	if (!err)
		err = p->error;
	pthread_mutex_unlock(&p->lock);
	intro__cancel_allow(was);
	return err;
}

/* The scheduler has nothing left to do but to return. */
static void join(struct intro_periodic *p)
{
	bool joinable;

	pthread_mutex_lock(&p->lock);
	joinable = p->joinable;
	p->joinable = false;
	pthread_mutex_unlock(&p->lock);
	if (joinable)
		intro__join(p->scheduler);
}

int intro_periodic_reset(struct intro_periodic *p)
{
	int err;

	if (is_parents(p))
		return -ESHUTDOWN;
	pthread_mutex_lock(&p->lock);
	err = p->life == LIFE_RUNS ? -EBUSY : 0;
	pthread_mutex_unlock(&p->lock);
	if (err)
		return err;
	join(p);
	pthread_mutex_lock(&p->lock);
	p->life = LIFE_NEW;
	p->stopping = false;
	p->error = 0;
	for (unsigned i = 0; i < p->n; i++) {
		memset(&p->entries[i]->watch, 0, sizeof(p->entries[i]->watch));
		first_due(p, p->entries[i]);
	}
	pthread_mutex_unlock(&p->lock);
	return 0;
}

void intro_periodic_free(struct intro_periodic *p)
{
	if (!p || is_parents(p))
		return;
	intro_periodic_stop(p);
	intro_periodic_wait(p, INTRO_FOREVER);
	join(p);
	for (unsigned i = 0; i < p->n; i++)
		entry_free(p->entries[i]);
	if (p->owns_executor)
		intro_executor_free(p->executor);
	pthread_cond_destroy(&p->change);
	pthread_mutex_destroy(&p->lock);
	free(p->entries);
	free(p);
}

unsigned intro_periodic_count(struct intro_periodic *p)
{
	unsigned n;

	if (is_parents(p))
		return 0;
	pthread_mutex_lock(&p->lock);
	n = p->n;
	pthread_mutex_unlock(&p->lock);
	return n;
}

int intro_periodic_watch(struct intro_periodic *p, unsigned task,
			 struct intro_periodic_watch *watch)
{
	int err = -ENOENT;

	if (is_parents(p))
		return -ESHUTDOWN;
	pthread_mutex_lock(&p->lock);
	if (task < p->n) {
		const struct entry *e = p->entries[task];
		int64_t left = e->due - intro__now();

		*watch = e->watch;
		watch->running = e->state == ENTRY_HANDED;
		watch->due_in_ns = e->state == ENTRY_IDLE && left > 0 ? left : 0;
		err = 0;
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}
