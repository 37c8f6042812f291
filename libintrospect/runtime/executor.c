/* SPDX-License-Identifier: BSD-2-Clause */
/* executor.c - what all executors share: checks, dispatch, the call's own functions. */
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "executor_private.h"
#include "futex.h"
#include "join.h"
#include "marks_private.h"
#include "options.h"
#include "segment.h"

/* A huge page's size, on x86-64 and on arm64 with 4 KiB pages. */
#define HUGE_BYTES ((size_t)2 << 20)

/* More than this is a mistake; a worker is a thread or a process. */
#define WORKERS_MAX 4096

static uint32_t forks; /* that led to this process, since main; changed by the child alone */

static void forked_child(void)
{
	forks++;
	intro__seats_forked();
}

/* Before main: a handler that comes while a thread forks is not called in that child. */
__attribute__((constructor)) static void count_forks(void)
{
	pthread_atfork(NULL, NULL, forked_child);
}

/*
 * In a forked child a pool of its parent's is a memory of it: no thread of it is there, and any of
 * its locks may be held by one that is not.
 */
bool intro__executor_is_parents(const struct intro_executor *executor)
{
	return executor->forks != forks;
}

uint32_t intro__forks(void)
{
	return forks;
}

unsigned intro__usable_cpus(void)
{
	cpu_set_t set;
	long online;

	if (!sched_getaffinity(0, sizeof(set), &set))
		return (unsigned)CPU_COUNT(&set);
	online = sysconf(_SC_NPROCESSORS_ONLN);
	return online > 0 ? (unsigned)online : 1;
}

int intro__executor_options(struct intro_executor_options *options,
			    const struct intro_executor_options *given)
{
	return intro__options_take(options, sizeof(*options), given);
}

int intro__executor_init_in(struct intro_executor *executor, const struct intro_executor_ops *ops,
			    const struct intro_executor_options *options, uint32_t pool)
{
	const char *name = options->name && *options->name ? options->name : "pool";

	if (options->workers > WORKERS_MAX ||
	    ((options->waiters_help || options->caller_runs) && options->initializer) ||
	    (options->caller_runs && !ops->run_or_queue))
		return -EINVAL;
	if ((unsigned)options->binding > INTRO_BIND_CORES || (options->binding && !ops->binds))
		return -EINVAL;
	executor->ops = ops;
	executor->forks = forks;
	executor->workers = options->workers ? options->workers : intro__usable_cpus();
	executor->initializer = options->initializer;
	executor->initarg = options->initarg;
	executor->initarg_size = options->initarg_size;
	executor->reject = options->check_and_reject;
	executor->timed = options->timed;
	executor->caller_runs = options->caller_runs;
	executor->spawns = options->start_method == INTRO_START_SPAWN;
	executor->leaves = options->waiters_help ? FUTURE_GUESTS : 0;
	snprintf(executor->name, sizeof(executor->name), "%s", name);
	executor->pool = pool;
	return 0;
}

int intro__executor_init(struct intro_executor *executor, const struct intro_executor_ops *ops,
			 const struct intro_executor_options *options, enum intro_pool_kind kind)
{
	int err = intro__executor_init_in(executor, ops, options, 0);

	if (!err)
		executor->pool = intro__pool_claim(executor->name, executor->workers, kind);
	return err;
}

void intro__executor_fini_in(struct intro_executor *executor)
{
	/* acquire: what a visitor did is done */
	while (atomic_load_explicit(&executor->visitors, memory_order_acquire))
		sched_yield();
}

void intro__executor_fini(struct intro_executor *executor)
{
	intro__executor_fini_in(executor);
	intro__pool_release(executor->pool);
}

void intro__numbered_name(const char *pool, unsigned index, char *name, size_t size)
{
	char number[16];
	int digits = snprintf(number, sizeof(number), "/%u", index);

	snprintf(name, size, "%.*s%s", (int)size - 1 - digits, pool, number);
}

void intro__worker_name(const struct intro_executor *executor, unsigned index, char *name,
			size_t size)
{
	intro__numbered_name(executor->name, index, name, size);
}

void intro__error_set(struct intro_error *error, int code, const char *format, ...)
{
	va_list args;

	error->code = code;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
}

void intro__error_explain(struct intro_error *error)
{
	const char *why = error->code < 0 ? strerrordesc_np(-error->code) : NULL;

	if (error->text[0])
		return;
	if (why)
		snprintf(error->text, sizeof(error->text), "%s", why);
	else
		snprintf(error->text, sizeof(error->text), "failed with %d", error->code);
}

void intro__future_drop(struct future *f, const struct intro_error *error)
{
	struct future_end end = {
		.mark = INTRO_KIND_RESULT, .status = INTRO_STATUS_LOST, .error = error};

	struct intro_executor *executor = atomic_load_explicit(&f->executor, memory_order_relaxed);

	/* before: a callback may end the thread */
	atomic_fetch_add_explicit(&executor->lost, 1, memory_order_relaxed);
	if (intro__future_end(f, &end)) {
		intro_future_set_running_or_notify_cancel(intro__public(f));
		intro__count_cancelled(executor);
		atomic_fetch_sub_explicit(&executor->lost, 1, memory_order_relaxed);
	}
}

void intro__future_drop_cancelled(struct future *f)
{
	intro__count_cancelled(atomic_load_explicit(&f->executor, memory_order_relaxed));
	/* also where a callback ends the thread */
	pthread_cleanup_push(intro__future_notify_cancel, intro__public(f));
	intro__future_cancel(f);
	pthread_cleanup_pop(1);
}

void *intro__bytes_alloc(size_t size)
{
	/* the end gets one, too, if it fills half of it */
	size_t huge = (size + HUGE_BYTES / 2) & ~(HUGE_BYTES - 1);
	void *bytes;

	if (!huge)
		return malloc(size ? size : 1);
	if (posix_memalign(&bytes, HUGE_BYTES, huge > size ? huge : size))
		return NULL;
	/* where there are none small ones do */
	madvise(bytes, huge, MADV_HUGEPAGE);
	return bytes;
}

int intro_call_return(struct intro_call *call, void *data, size_t size)
{
	struct call_state *state = call->runtime;

	if (state->returned)
		return -EALREADY;
	/* a thread's has no segment, and says so by nothing else */
	if (state->copies && size >= SEGMENT_RESULT && state->segment &&
	    (state->place = intro__segment_put(state->segment, data, size))) {
		data = NULL;
	} else if (state->copies) {
		void *copy = size <= sizeof(state->small) ? state->small : intro__bytes_alloc(size);

		if (!copy)
			return -ENOMEM;
		if (size)
			memcpy(copy, data, size);
		data = copy;
	}
	state->result = (struct intro_result){.data = data, .size = size};
	state->returned = true;
	return 0;
}

void intro_call_error(struct intro_call *call, const char *format, ...)
{
	struct call_state *state = call->runtime;
	va_list args;

	if (state->explained)
		return;
	state->explained = true;
	va_start(args, format);
	vsnprintf(state->text, sizeof(state->text), format, args);
	va_end(args);
	/* one line */
	for (char *at = state->text; *at; at++)
		if (iscntrl((unsigned char)*at))
			*at = ' ';
}

static int check_and_reject(struct intro_executor *executor, uint32_t name)
{
	int err = executor->reject.fn(executor, executor->ops->backlog(executor),
				      executor->reject.arg);

	if (err) {
		atomic_fetch_add_explicit(&executor->rejected, 1, memory_order_relaxed);
		intro_mark_reject(executor->pool, name);
	}
	return err > 0 ? -EBUSY : err;
}

static int reject_when_reached(struct intro_executor *executor, uint64_t backlog, void *arg)
{
	return backlog >= (uintptr_t)arg ? -EBUSY : 0;
}

struct intro_check_and_reject intro_reject_when_reached(uint64_t max_backlog)
{
	uintptr_t most = max_backlog < UINTPTR_MAX ? (uintptr_t)max_backlog : UINTPTR_MAX;

	return (struct intro_check_and_reject){.fn = reject_when_reached, .arg = (void *)most};
}

int intro__executor_queue(struct intro_executor *executor, struct future *f, uint32_t name,
			  intro_task_fn fn, const void *arg, size_t size)
{
	int err = intro__future_hold(f, executor, executor->leaves, executor->pool, name);

	if (err)
		return err;
	f->work.fn = fn;
	f->work.arg = arg;
	f->work.size = size;
	if (executor->timed)
		f->work.submitted = intro__now();
	err = executor->ops->submit(executor, f);
	if (err)
		intro__future_unhold(f);
	return err;
}

static inline int submit_unchecked(struct intro_executor *executor, struct intro_future *future,
				   uint32_t name, intro_task_fn fn, const void *arg, size_t size)
{
	struct future *f = intro__future(future);

	if (executor->caller_runs)
		return executor->ops->run_or_queue(executor, f, name, fn, arg, size);
	return intro__executor_queue(executor, f, name, fn, arg, size);
}

static __attribute__((noinline)) int submit_checked(struct intro_executor *executor,
						    struct intro_future *future, uint32_t name,
						    intro_task_fn fn, const void *arg, size_t size)
{
	int err = check_and_reject(executor, name);

	return err ? err : submit_unchecked(executor, future, name, fn, arg, size);
}

static inline int submit(struct intro_executor *executor, struct intro_future *future,
			 uint32_t name, intro_task_fn fn, const void *arg, size_t size)
{
	if (!fn)
		return -EINVAL;
	if (intro__executor_is_parents(executor))
		return -ESHUTDOWN;
	if (executor->reject.fn)
		return submit_checked(executor, future, name, fn, arg, size);
	return submit_unchecked(executor, future, name, fn, arg, size);
}

int intro_executor_submit_named(struct intro_executor *executor, struct intro_future *future,
				uint32_t name, intro_task_fn fn, const void *arg, size_t size)
{
	return submit(executor, future, name, fn, arg, size);
}

int intro_executor_submit(struct intro_executor *executor, struct intro_future *future,
			  intro_task_fn fn, const void *arg, size_t size)
{
	return submit(executor, future, 0, fn, arg, size);
}

void intro_executor_shutdown(struct intro_executor *executor, unsigned flags)
{
	int was = intro__cancel_forbid();

	if (!intro__executor_is_parents(executor))
		executor->ops->shutdown(executor, flags);
	intro__cancel_allow(was);
}

int intro_executor_maintain(struct intro_executor *executor)
{
	if (!executor->ops->maintain)
		return -EOPNOTSUPP;
	return intro__executor_is_parents(executor) ? -ESHUTDOWN
						    : executor->ops->maintain(executor);
}

static uint64_t count_of(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void intro__counts_add(struct intro_executor_statistics *to, const struct intro__counts *counts)
{
	to->executed += count_of(&counts->executed);
	to->failures += count_of(&counts->failures);
	to->timed += count_of(&counts->timed);
	to->queued_ns += count_of(&counts->queued_ns);
	to->run_ns += count_of(&counts->run_ns);
}

int intro_executor_statistics(struct intro_executor *executor,
			      struct intro_executor_statistics *statistics)
{
	struct intro_executor_statistics all = {0};
	size_t size = statistics->size;

	if (size < sizeof(size))
		return -EINVAL;
	if (intro__executor_is_parents(executor))
		return -ESHUTDOWN;
	/* those that ended first, or more might have ended than were submitted */
	all.size = size;
	all.cancelled = count_of(&executor->cancelled);
	all.lost = count_of(&executor->lost);
	all.rejected = count_of(&executor->rejected);
	executor->ops->statistics(executor, &all);
	all.backlog = executor->ops->backlog(executor);
	if (all.timed) {
		all.average_queued_ns = (double)all.queued_ns / (double)all.timed;
		all.average_run_ns = (double)all.run_ns / (double)all.timed;
	}
	if (size > sizeof(all))
		memset((char *)statistics + sizeof(all), 0, size - sizeof(all));
	memcpy(statistics, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}

void intro_executor_free(struct intro_executor *executor)
{
	int was;

	if (!executor || intro__executor_is_parents(executor))
		return;
	was = intro__cancel_forbid();
	executor->ops->shutdown(executor, INTRO_SHUTDOWN_WAIT);
	executor->ops->free(executor);
	intro__cancel_allow(was);
}

int intro__executor_broken(pthread_mutex_t *lock, const struct intro_error *broken,
			   struct intro_error *error)
{
	int code;

	pthread_mutex_lock(lock);
	code = broken->code;
	if (error)
		*error = *broken;
	pthread_mutex_unlock(lock);
	return code;
}

int intro_executor_broken(struct intro_executor *executor, struct intro_error *error)
{
	struct intro_error gone;

	if (!intro__executor_is_parents(executor))
		return executor->ops->broken(executor, error);
	intro__error_set(&gone, -ESHUTDOWN, "pool %.60s is the parent process's", executor->name);
	if (error)
		*error = gone;
	return gone.code;
}

unsigned intro_executor_workers(const struct intro_executor *executor)
{
	return executor->workers;
}

uint32_t intro_executor_pool_id(const struct intro_executor *executor)
{
	return executor->pool;
}
