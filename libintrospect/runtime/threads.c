/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * threads.c - threads as Python's threading has them.
 *
 * One lock guards all handles and the list of the living: threads begin and end seldom. It is never
 * held while anybody's function runs, nor while a name is defined (lock order would matter at
 * fork).
 */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "futex.h"
#include "join.h"
#include "marks_private.h"
#include "options.h"
#include "threads_private.h"

enum thread_state {
	THREAD_NEW,
	THREAD_STARTING, /* pthread_create was called */
	THREAD_RUNNING,	 /* knows its tid */
	THREAD_ENDED,
};

enum reaped { REAPED_NO, REAPED_SOON, REAPED_YES };

struct intro_thread_handle {
	TAILQ_ENTRY(intro_thread_handle) alive;
	unsigned refs;		/* one is the thread's, from start to end */
	_Atomic uint32_t state; /* a futex; changed under the lock */
	/* Of a thread with a pthread of ours; a futex. Who makes it SOON joins the pthread. */
	_Atomic uint32_t reaped;
	_Atomic uint32_t tid;
	unsigned waiting; /* joins that sleep until it ends */
	bool daemon, foreign, worker;
	size_t stack_bytes;
	pthread_t pthread;
	uint64_t ident, task;
	intro_thread_fn fn;
	void *arg, *result;
	struct local_values locals;
	char name[INTRO_THREAD_NAME];
};

TAILQ_HEAD(handles, intro_thread_handle);

static struct {
	pthread_mutex_t lock;
	struct handles alive;
	size_t alive_n;
	uint64_t idents, threads, dummies; /* given so far */
	struct intro_thread_handle *main;
	bool at_exit; /* the handler is registered */
	/* set once */
	uint32_t pool;
	pthread_key_t foreign_key;
	bool has_foreign_key;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER, .alive = TAILQ_HEAD_INITIALIZER(registry.alive)};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread struct intro_thread_handle *current __attribute__((tls_model("initial-exec")));

void intro__threads_lock(void)
{
	pthread_mutex_lock(&registry.lock);
}

void intro__threads_unlock(void)
{
	pthread_mutex_unlock(&registry.lock);
}

static uint32_t state_of(const struct intro_thread_handle *t)
{
	return atomic_load_explicit(&t->state, memory_order_acquire);
}

static bool lives(uint32_t state)
{
	return state == THREAD_STARTING || state == THREAD_RUNNING;
}

/* The lock is held. */
static void set_state(struct intro_thread_handle *t, enum thread_state state)
{
	atomic_store_explicit(&t->state, state, memory_order_release);
}

/* The lock is held. true: nobody has it any more; free it when the lock is released. */
static bool unref(struct intro_thread_handle *t)
{
	return !--t->refs;
}

/* Nobody else has it. Its pthread, if there is one that nobody joined, cleans up by itself. */
static void handle_free(struct intro_thread_handle *t)
{
	bool has_pthread = !t->foreign && state_of(t) == THREAD_ENDED;

	if (has_pthread && atomic_load_explicit(&t->reaped, memory_order_relaxed) == REAPED_NO)
		pthread_detach(t->pthread);
	free(t);
}

/* The lock is held. */
static void live(struct intro_thread_handle *t, enum thread_state state)
{
	t->refs++;
	t->ident = ++registry.idents;
	TAILQ_INSERT_TAIL(&registry.alive, t, alive);
	registry.alive_n++;
	set_state(t, state);
}

/* The lock is held. */
static void die(struct intro_thread_handle *t)
{
	TAILQ_REMOVE(&registry.alive, t, alive);
	registry.alive_n--;
	set_state(t, THREAD_ENDED);
}

static struct intro_thread_handle *handle_new(void)
{
	struct intro_thread_handle *t = calloc(1, sizeof(*t));

	if (t)
		LIST_INIT(&t->locals);
	return t;
}

/* --- those which were not made here ---------------------------------------------------------- */

static void foreign_ends(void *arg)
{
	struct intro_thread_handle *t = arg;
	bool last;

	intro__locals_end(&t->locals);
	intro__threads_lock();
	die(t);
	last = unref(t);
	intro__threads_unlock();
	current = NULL;
	if (last)
		handle_free(t);
}

/*
 * In the child only the thread that forked is left, and it is the main thread. The pthreads of the
 * others do not exist: nobody joins or detaches them.
 */
static void forked_child(void)
{
	struct intro_thread_handle *t, *next, *self = current;

	if (!self)
		self = registry.main;
	for (t = TAILQ_FIRST(&registry.alive); t; t = next) {
		next = TAILQ_NEXT(t, alive);
		if (t == self)
			continue;
		die(t);
		atomic_store_explicit(&t->reaped, REAPED_YES, memory_order_relaxed);
		intro__locals_abandon(&t->locals);
		if (unref(t))
			free(t);
	}
	if (self) {
		atomic_store_explicit(&self->tid, (uint32_t)getpid(), memory_order_relaxed);
		self->pthread = pthread_self();
		self->waiting = 0;
		current = self;
		if (self != registry.main)
			self->refs++; /* as main it stays for good */
		registry.main = self;
	}
	intro__threads_unlock();
}

static void registry_init(void)
{
	registry.pool = intro_mark_pool_kind("threads", 0, INTRO_POOL_OWN);
	registry.has_foreign_key = !pthread_key_create(&registry.foreign_key, foreign_ends);
}

/* Before main: a handler that comes while a thread forks is not called in that child. */
__attribute__((constructor)) static void watch_forks(void)
{
	pthread_atfork(intro__threads_lock, intro__threads_unlock, forked_child);
}

/* A handle for a thread that runs already. */
static struct intro_thread_handle *adopt(bool is_main, uint32_t tid)
{
	struct intro_thread_handle *t = handle_new();

	if (!t)
		return NULL;
	t->foreign = true;
	t->daemon = !is_main;
	atomic_store_explicit(&t->tid, tid, memory_order_relaxed);
	intro__threads_lock();
	if (is_main && registry.main) { /* another thread asked for it at the same time */
		intro__threads_unlock();
		free(t);
		return registry.main;
	}
	if (is_main)
		snprintf(t->name, sizeof(t->name), "MainThread");
	else
		snprintf(t->name, sizeof(t->name), "Dummy-%ju", (uintmax_t)++registry.dummies);
	live(t, THREAD_RUNNING);
	if (is_main)
		registry.main = t;
	intro__threads_unlock();
	return t;
}

struct intro_thread_handle *intro_thread_main(void)
{
	struct intro_thread_handle *t;

	pthread_once(&once, registry_init);
	intro__threads_lock();
	t = registry.main;
	intro__threads_unlock();
	return t ? t : adopt(true, (uint32_t)getpid());
}

struct intro_thread_handle *intro_thread_current(void)
{
	if (current)
		return current;
	pthread_once(&once, registry_init);
	if (intro__tid() == (uint32_t)getpid()) {
		current = intro_thread_main();
		return current;
	}
	current = adopt(false, intro__tid());
	if (current && registry.has_foreign_key)
		pthread_setspecific(registry.foreign_key, current);
	return current;
}

struct local_values *intro__thread_locals(void)
{
	struct intro_thread_handle *t = intro_thread_current();

	return t ? &t->locals : NULL;
}

struct local_values *intro__thread_locals_known(void)
{
	return current ? &current->locals : NULL;
}

/* --- making and starting --------------------------------------------------------------------- */

static int options_take(struct intro_thread_options *options,
			const struct intro_thread_options *given)
{
	int err;

	memset(options, 0, sizeof(*options));
	if (!given)
		return 0;
	err = intro__options_take(options, sizeof(*options), given);
	if (err)
		return err;
	return (unsigned)options->daemon > INTRO_DAEMON_YES ? -EINVAL : 0;
}

struct intro_thread_handle *intro_thread_new(intro_thread_fn fn, void *arg,
					     const struct intro_thread_options *given)
{
	struct intro_thread_handle *t, *maker = intro_thread_current();
	struct intro_thread_options options;
	int err = fn ? options_take(&options, given) : -EINVAL;

	if (err) {
		errno = -err;
		return NULL;
	}
	t = handle_new();
	if (!t || !maker) {
		free(t);
		errno = ENOMEM;
		return NULL;
	}
	t->refs = 1;
	t->fn = fn;
	t->arg = arg;
	t->worker = options.worker;
	t->stack_bytes = options.stack_bytes;
	intro__threads_lock();
	t->daemon = options.daemon == INTRO_DAEMON_INHERIT ? maker->daemon
							   : options.daemon == INTRO_DAEMON_YES;
	if (options.name && *options.name)
		snprintf(t->name, sizeof(t->name), "%s", options.name);
	else
		snprintf(t->name, sizeof(t->name), "Thread-%ju", (uintmax_t)++registry.threads);
	intro__threads_unlock();
	return t;
}

struct intro_thread_handle *intro_thread_ref(struct intro_thread_handle *t)
{
	intro__threads_lock();
	t->refs++;
	intro__threads_unlock();
	return t;
}

void intro_thread_free(struct intro_thread_handle *t)
{
	bool last;

	if (!t)
		return;
	intro__threads_lock();
	last = unref(t);
	intro__threads_unlock();
	if (last)
		handle_free(t);
}

/* Runs when the function returns, and when the thread ends by pthread_exit or cancellation. */
static void thread_ends(void *arg)
{
	struct intro_thread_handle *t = arg;
	uint32_t flags = INTRO_END_RESULT;
	bool last;

	intro__locals_end(&t->locals);
	intro__threads_lock();
	if (t->waiting)
		flags |= INTRO_END_WAITED;
	if (t->task) {
		intro_mark_end(t->task, INTRO_STATUS_OK, flags);
		intro_mark_worker_stop(registry.pool, (uint32_t)t->ident);
	}
	die(t);
	last = unref(t);
	/* woken under the lock: the handle is not gone */
	if (t->waiting)
		intro__futex_wake(&t->state);
	intro__threads_unlock();
	current = NULL;
	if (last)
		handle_free(t);
}

static void *thread_main(void *arg)
{
	struct intro_thread_handle *t = arg;
	char comm[16];

	current = t;
	intro__threads_lock();
	atomic_store_explicit(&t->tid, intro__tid(), memory_order_relaxed);
	t->pthread = pthread_self();
	snprintf(comm, sizeof(comm), "%.15s", t->name);
	set_state(t, THREAD_RUNNING);
	intro__threads_unlock();
	intro__futex_wake(&t->state);
	pthread_setname_np(pthread_self(), comm);
	pthread_cleanup_push(thread_ends, t);
	if (t->task) {
		intro_mark_worker_start(registry.pool, (uint32_t)t->ident);
		intro_mark_start(t->task, registry.pool);
	}
	t->result = t->fn(t->arg);
	pthread_cleanup_pop(1);
	return NULL;
}

/* "reader-7" and "reader-8" are tasks of one name; the table of names has an end. */
static uint32_t task_name(const struct intro_thread_handle *t)
{
	char name[INTRO_THREAD_NAME];
	size_t n;

	intro_thread_name(t, name, sizeof(name));
	n = strlen(name);
	while (n && (isdigit((unsigned char)name[n - 1]) || strchr("-_/# ", name[n - 1])))
		n--;
	name[n] = 0;
	return intro_mark_name(name);
}

static int create(struct intro_thread_handle *t)
{
	pthread_attr_t attr;
	pthread_t pthread;
	int err;

	pthread_attr_init(&attr);
	if (t->stack_bytes && pthread_attr_setstacksize(&attr, t->stack_bytes))
		err = EINVAL;
	else
		err = pthread_create(&pthread, &attr, thread_main, t);
	pthread_attr_destroy(&attr);
	return -err;
}

static void join_all_at_exit(void)
{
	struct intro_thread_handle *self = current;

	/* who joins main must not be waited for by it */
	intro__threads_lock();
	if (self && self == registry.main && state_of(self) == THREAD_RUNNING) {
		die(self);
		if (self->waiting)
			intro__futex_wake(&self->state);
	}
	intro__threads_unlock();
	intro_thread_join_all(INTRO_FOREVER);
}

/* The lock is held: to NEW again. */
static void unstart(struct intro_thread_handle *t)
{
	TAILQ_REMOVE(&registry.alive, t, alive);
	registry.alive_n--;
	t->refs--;
	t->ident = 0;
	set_state(t, THREAD_NEW);
	intro__futex_wake(&t->state);
}

int intro_thread_start(struct intro_thread_handle *t)
{
	uint32_t name = t->worker ? 0 : task_name(t);
	bool first;
	int err;

	intro__threads_lock();
	if (state_of(t) != THREAD_NEW) {
		intro__threads_unlock();
		return -EALREADY;
	}
	first = !registry.at_exit;
	registry.at_exit = true;
	live(t, THREAD_STARTING);
	t->task = t->worker ? 0 : intro_mark_task();
	intro__threads_unlock();
	if (first)
		atexit(join_all_at_exit);
	if (t->task)
		intro_mark_submit(t->task, registry.pool, name);
	err = create(t);
	if (!err)
		return 0;
	intro__threads_lock();
	if (t->task)
		intro_mark_cancel(t->task, registry.pool);
	unstart(t);
	intro__threads_unlock();
	return err;
}

/* --- joining --------------------------------------------------------------------------------- */

/* The pthread's own end, once: its memory is given back. */
static void reap(struct intro_thread_handle *t)
{
	uint32_t reaped = REAPED_NO;

	if (t->foreign)
		return;
	if (atomic_compare_exchange_strong(&t->reaped, &reaped, REAPED_SOON)) {
		intro__join(t->pthread);
		atomic_store_explicit(&t->reaped, REAPED_YES, memory_order_release);
		intro__futex_wake(&t->reaped);
		return;
	}
	while (atomic_load_explicit(&t->reaped, memory_order_acquire) != REAPED_YES)
		intro__futex_wait(&t->reaped, REAPED_SOON, INTRO_FOREVER);
}

/* The lock is held, and is so on return. The handle is referenced by the caller. */
static int wait_for_end(struct intro_thread_handle *t, int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	uint32_t state;
	int err = 0;

	if (state_of(t) == THREAD_ENDED) {
		if (t->task)
			intro_mark_read(t->task);
		return 0;
	}
	if (timeout_ns <= 0)
		return -ETIMEDOUT;
	if (t->task)
		intro_mark_wait(t->task);
	t->waiting++;
	intro__threads_unlock();
	while (lives(state = state_of(t)) && !err)
		err = intro__futex_wait(&t->state, state, deadline);
	intro__threads_lock();
	t->waiting--;
	if (t->task)
		intro_mark_wake(t->task);
	if (state_of(t) == THREAD_ENDED)
		return 0;
	return err ? err : -EINVAL; /* it could not be started */
}

int intro_thread_join(struct intro_thread_handle *t, int64_t timeout_ns, void **result)
{
	int err;

	if (t == current)
		return -EDEADLK;
	intro__threads_lock();
	if (state_of(t) == THREAD_NEW || (t->foreign && t != registry.main)) {
		intro__threads_unlock();
		return -EINVAL;
	}
	err = wait_for_end(t, timeout_ns);
	intro__threads_unlock();
	if (err)
		return err;
	reap(t);
	if (result)
		*result = t->result;
	return 0;
}

/* The lock is held. One that is to be waited for, with a reference. */
static struct intro_thread_handle *next_to_join(void)
{
	struct intro_thread_handle *t;

	for (t = TAILQ_FIRST(&registry.alive); t; t = TAILQ_NEXT(t, alive)) {
		if (!t->daemon && t != current && t != registry.main) {
			t->refs++;
			return t;
		}
	}
	return NULL;
}

int intro_thread_join_all(int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	struct intro_thread_handle *t;
	int err = 0;

	do {
		intro__threads_lock();
		t = next_to_join();
		intro__threads_unlock();
		if (!t)
			break;
		err = intro_thread_join(
			t, deadline == INTRO_FOREVER ? INTRO_FOREVER : deadline - intro__now(),
			NULL);
		intro_thread_free(t);
	} while (!err);
	return err;
}

/* --- what is known of a thread --------------------------------------------------------------- */

bool intro_thread_alive(const struct intro_thread_handle *t)
{
	return lives(state_of(t));
}

uint64_t intro_thread_task(const struct intro_thread_handle *t)
{
	uint64_t task;

	intro__threads_lock();
	task = t->task;
	intro__threads_unlock();
	return task;
}

uint64_t intro_thread_ident(const struct intro_thread_handle *t)
{
	uint64_t ident;

	intro__threads_lock();
	ident = t->ident;
	intro__threads_unlock();
	return ident;
}

uint32_t intro_thread_native_id(struct intro_thread_handle *t)
{
	while (state_of(t) == THREAD_STARTING)
		intro__futex_wait(&t->state, THREAD_STARTING, INTRO_FOREVER);
	return atomic_load_explicit(&t->tid, memory_order_relaxed);
}

int intro_thread_set_name(struct intro_thread_handle *t, const char *name)
{
	char comm[16];

	if (!name)
		return -EINVAL;
	intro__threads_lock();
	snprintf(t->name, sizeof(t->name), "%s", name);
	snprintf(comm, sizeof(comm), "%.15s", name);
	/* under the lock: the thread cannot end, and so its pthread exists */
	if (!t->foreign && state_of(t) == THREAD_RUNNING)
		pthread_setname_np(t->pthread, comm);
	intro__threads_unlock();
	return 0;
}

void intro_thread_name(const struct intro_thread_handle *t, char *name, size_t size)
{
	intro__threads_lock();
	snprintf(name, size, "%s", t->name);
	intro__threads_unlock();
}

int intro_thread_set_daemon(struct intro_thread_handle *t, bool daemon)
{
	int err = 0;

	intro__threads_lock();
	if (state_of(t) == THREAD_NEW)
		t->daemon = daemon;
	else
		err = -EBUSY;
	intro__threads_unlock();
	return err;
}

bool intro_thread_daemon(const struct intro_thread_handle *t)
{
	bool daemon;

	intro__threads_lock();
	daemon = t->daemon;
	intro__threads_unlock();
	return daemon;
}

size_t intro_thread_enumerate(struct intro_thread_handle **threads, size_t room)
{
	struct intro_thread_handle *t;
	size_t n = 0;

	intro_thread_main(); /* it lives, whoever asked first */
	intro__threads_lock();
	for (t = TAILQ_FIRST(&registry.alive); t; t = TAILQ_NEXT(t, alive)) {
		if (n < room) {
			t->refs++;
			threads[n] = t;
		}
		n++;
	}
	intro__threads_unlock();
	return n;
}

size_t intro_thread_active_count(void)
{
	size_t n;

	intro_thread_main();
	intro__threads_lock();
	n = registry.alive_n;
	intro__threads_unlock();
	return n;
}
