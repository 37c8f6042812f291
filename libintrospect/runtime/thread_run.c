/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread_run.c - one task of a thread pool on one thread: a worker's, or that of somebody who waits
 * for it and runs it meanwhile, or who submits it to a full pool.
 *
 * Who may help. A worker, tasks of its own pool; a guest (a thread that is none of the pool's),
 * where the pool's options let it. Either runs only what it waits for without a limit of time: a
 * task that it must see ended anyway, so nothing can come to a standstill by it that would not
 * have without. None helps from a callback, or on a fiber's stack, or HELP_DEPTH deep. Nor does a
 * submit run a task there.
 *
 * Lifetime. A worker's own pool is there. A guest's is, as it may not be freed while somebody
 * waits for one of its futures, or submits. A shutdown waits for guests, too. Either the guest
 * takes its task out of the queue after it said that it is inside, or it looks after that whether
 * the pool is over.
 *
 * What a guest counts is in memory that it alone writes and the pool keeps, so neither coming nor
 * leaving takes an atomic step. It is found again by the address of a variable of that thread,
 * which no other living one has; who has it after that thread's death takes over where it stopped.
 *
 * A thread may end in a task, by pthread_exit or cancelled: then its stack is unwound, and the task
 * has failed as soon as its function's frames are gone; futures below are as good as ever. This
 * file is compiled with -fexceptions, by which a cleanup handler costs nothing but a table.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "marks_private.h"
#include "thread_private.h"

/* Tasks within tasks on one stack. (What a replay follows is 16; the rest it books to unknown.) */
#define HELP_DEPTH 100

/* What has a case, named `quick`, in which much of it is left out. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

static __thread struct {
	struct seat *seat;
	unsigned depth;	 /* of helping */
	unsigned forbid; /* callbacks and fibers that this thread is in */
	/* as whom it was last inside of which pool */
	uint64_t serial;
	struct guest *guest;
} self __attribute__((tls_model("initial-exec")));

void intro__help_forbid(bool begin)
{
	self.forbid += begin ? 1 : -1u;
}

void intro__seat_take(struct seat *seat)
{
	seat->outer = self.seat;
	self.seat = seat;
}

void intro__seats_unwound(void)
{
	self.seat = NULL;
	self.depth = self.forbid = 0;
}

void intro__seats_forked(void)
{
	for (struct seat *seat = self.seat; seat; seat = seat->outer)
		if (seat->handlers)
			((struct thread_worker *)seat)->leaves = true;
}

static struct seat *seat_of(const struct thread_pool *pool)
{
	struct seat *seat = self.seat;

	while (seat && seat->executor != &pool->base)
		seat = seat->outer;
	return seat;
}

bool intro__seat_in(const struct thread_pool *pool)
{
	return seat_of(pool);
}

/* The result and the text are there once it `returned`, `explained`. */
static inline void call_init(struct intro_call *call, struct seat *seat, struct call_state *state)
{
	state->copies = state->spawned = state->returned = state->explained = false;
	*call = (struct intro_call){.worker = seat->name,
				    .index = seat->index,
				    .initial = seat->initial,
				    .runtime = state};
}

int intro__seat_initialize(struct seat *seat, struct intro_error *error)
{
	struct intro_executor *executor = seat->executor;
	struct call_state state;
	struct intro_call call;
	int code;

	if (!executor->initializer)
		return 0;
	call_init(&call, seat, &state);
	call.arg = executor->initarg;
	call.size = executor->initarg_size;
	code = intro__executor_call(executor, executor->initializer, &call);
	seat->initial = call.initial;
	if (code)
		intro__error_set(error, -EPIPE, "initializer of worker %s failed with %d%s%.60s",
				 seat->name, code, state.explained ? ": " : "",
				 state.explained ? state.text : "");
	return code;
}

/* What there is to do, apart from the future, whose memory the result takes. */
struct work {
	intro_task_fn fn;
	const void *arg;
	size_t size;
	int64_t queued_ns; /* of a pool that times its tasks, as `begin` */
	int64_t begin;
};

static void explain(int code, const struct call_state *state, struct intro_error *error)
{
	error->code = code;
	error->text[0] = 0;
	if (state->explained)
		memcpy(error->text, state->text, sizeof(error->text));
}

/*
 * In a child that the task forked, f is a copy: its end is the parent's to tell, to tracers and to
 * whoever listens to it, and its lock may be held by a thread that is not here.
 */
static void leave_to_parent(const struct seat *seat, struct future *f)
{
	if (!intro__executor_is_parents(seat->executor))
		return;
	atomic_store_explicit(&f->task, 0, memory_order_relaxed);
	intro__future_change(f, FUTURE_LOCKED | FUTURE_SLEEPERS | FUTURE_LISTENED, 0);
}

static __attribute__((noinline)) void end(const struct seat *seat, struct future *f, int code,
					  const struct call_state *state)
{
	struct future_end how = {.mark = INTRO_KIND_END, .status = INTRO_STATUS_OK};
	struct intro_error error;

	leave_to_parent(seat, f);
	if (code) {
		explain(code, state, &error);
		how.status = INTRO_STATUS_FAILED;
		how.error = &error;
	} else if (state->returned) {
		how.result = state->result;
	}
	intro__future_end(f, &how);
}

/* A task that its thread ends in; each alone, so that none is in memory unless that happens. */
struct unfinished {
	struct seat *seat;
	struct future *f;
	int64_t queued_ns, begin; /* as in struct work */
	const struct call_state *state;
};

static void explain_unfinished(const struct seat *seat, const struct call_state *state,
			       struct intro_error *error)
{
	if (state->explained)
		intro__error_set(error, -EOWNERDEAD, "%s", state->text);
	else
		intro__error_set(
			error, -EOWNERDEAD,
			"the thread of %s ended in the task (pthread_exit, pthread_cancel)",
			seat->name);
}

static __attribute__((noinline, cold)) void end_unfinished(struct seat *seat, struct future *f,
							   int64_t queued_ns, int64_t begin,
							   const struct call_state *state)
{
	struct future_end how = {.mark = INTRO_KIND_END, .status = INTRO_STATUS_FAILED};
	struct intro_error error;

	leave_to_parent(seat, f);
	/* a callback may end the thread once more */
	if (!self.depth && seat->handlers)
		intro__handlers_restore(seat->handlers);
	if (seat->executor->timed)
		intro__count_times(&seat->counts, queued_ns, intro__now() - begin);
	intro__count_task(&seat->counts, true);
	explain_unfinished(seat, state, &error);
	how.error = &error;
	intro__future_end(f, &how);
}

static ALWAYS_INLINE void thread_ends(void *arg)
{
	const struct unfinished *u = arg;

	end_unfinished(u->seat, u->f, u->queued_ns, u->begin, u->state);
}

/*
 * f is RUNNING. `quick`: nobody listens to marks, the pool does not time its tasks, and the result
 * is as intro_future_init left it.
 */
static ALWAYS_INLINE void run(struct seat *seat, struct future *f, const struct work *work,
			      bool quick)
{
	struct intro_executor *executor = seat->executor;
	uint64_t task = atomic_load_explicit(&f->task, memory_order_relaxed);
	struct call_state state;
	struct unfinished unfinished = {.seat = seat,
					.f = f,
					.queued_ns = quick ? 0 : work->queued_ns,
					.begin = quick ? 0 : work->begin,
					.state = &state};
	struct intro_call call;
	int code;

	call_init(&call, seat, &state);
	call.arg = work->arg;
	call.size = work->size;
	call.task = task;
	if (!quick)
		intro_mark_start(task, executor->pool);
	pthread_cleanup_push(thread_ends, &unfinished);
	code = intro__executor_call(executor, work->fn, &call);
	pthread_cleanup_pop(0);
	if (!quick && executor->timed)
		intro__count_times(&seat->counts, work->queued_ns, intro__now() - work->begin);
	intro__count_task(&seat->counts, code);
	if (!code && intro__future_ends_at_once(f)) {
		if (state.returned)
			f->result = state.result;
		else if (!quick)
			f->result = (struct intro_result){0};
		if (intro__future_end_at_once(f))
			return;
	}
	end(seat, f, code, &state);
}

void intro__seat_run(struct seat *seat, struct future *f)
{
	struct intro_executor *executor = seat->executor;
	struct work work;

	if (!intro__future_begin(f)) {
		intro_future_set_running_or_notify_cancel(intro__public(f));
		intro__count_cancelled(executor);
		return;
	}
	work = (struct work){.fn = f->work.fn, .arg = f->work.arg, .size = f->work.size};
	if (executor->timed) {
		work.begin = intro__now();
		work.queued_ns = work.begin - f->work.submitted;
	}
	run(seat, f, &work, false);
}

/* --- guests -------------------------------------------------------------------------------------
 */

/* NULL: no memory. */
static __attribute__((noinline)) struct guest *find_guest(struct thread_pool *pool)
{
	struct guest *g;

	for (g = atomic_load_explicit(&pool->guests, memory_order_acquire); g; g = g->next)
		if (g->owner == &self)
			break;
	if (!g) {
		g = aligned_alloc(_Alignof(struct guest), sizeof(*g));
		if (!g)
			return NULL;
		memset(g, 0, sizeof(*g));
		g->owner = &self;
		g->seat.executor = &pool->base;
		g->seat.name = pool->guest;
		g->seat.index = pool->base.workers;
		g->next = atomic_load_explicit(&pool->guests, memory_order_relaxed);
		while (!atomic_compare_exchange_weak(&pool->guests, &g->next, g))
			;
	}
	self.serial = pool->serial;
	self.guest = g;
	return g;
}

static ALWAYS_INLINE void come_in(struct guest *g, bool quick)
{
	const struct intro_executor *executor = g->seat.executor;

	/* acquire: whoever had this address before has left */
	atomic_load_explicit(&g->inside, memory_order_acquire);
	atomic_store_explicit(&g->inside, true, memory_order_relaxed);
	if (!quick && intro_marks_on())
		g->announced = intro__mark_guest_start(executor->pool, executor->workers);
	intro__seat_take(&g->seat);
}

/* NULL: as find_guest. */
static struct guest *come_into(struct thread_pool *pool)
{
	struct guest *g = self.serial == pool->serial ? self.guest : find_guest(pool);

	if (g)
		come_in(g, false);
	return g;
}

static ALWAYS_INLINE void leave(struct guest *g, bool quick)
{
	struct thread_pool *pool = intro__thread_pool(g->seat.executor);

	self.seat = g->seat.outer;
	if (!quick && g->announced) {
		intro_mark_worker_stop(pool->base.pool, g->seat.index);
		g->announced = false;
	}
	/* release: who finds that it has left may rely on all that it did */
	atomic_store_explicit(&g->inside, false, memory_order_release);
	if (atomic_load_explicit(&pool->over, memory_order_relaxed)) {
		atomic_fetch_add(&pool->guests_left, 1);
		intro__futex_wake(&pool->guests_left);
	}
}

static ALWAYS_INLINE void leave_if_inside(void *guest)
{
	struct guest *in = *(struct guest **)guest;

	if (in)
		leave(in, false);
}

static ALWAYS_INLINE void leave_quickly(void *guest)
{
	leave(guest, true);
}

static bool may_run(void)
{
	return !self.forbid && self.depth < HELP_DEPTH;
}

/* --- helping ------------------------------------------------------------------------------------
 */

/* f waits in a queue. `in`: the guest that this thread is inside as, to be changed; NULL: none. */
static void help_with(struct future *f, struct guest **in)
{
	struct thread_pool *pool =
		intro__thread_pool(atomic_load_explicit(&f->executor, memory_order_relaxed));
	struct seat *seat = seat_of(pool);
	enum taken taken;

	if (!seat && !(atomic_load_explicit(&f->leaves, memory_order_relaxed) & FUTURE_GUESTS))
		return;
	if (!seat) {
		if (*in)
			leave(*in, false);
		*in = come_into(pool);
		if (!*in)
			return;
		seat = &(*in)->seat;
	}
	taken = intro__thread_take(pool, f);
	if (!taken)
		return;
	if (taken == TAKEN_FROM_SLOT)
		intro__count(&seat->counts.beside, 1);
	else if (*in && seat == &(*in)->seat)
		intro__count(&(*in)->emptied, 1);
	else
		atomic_fetch_add_explicit(&pool->gone, 1, memory_order_relaxed);
	intro__thread_fetch(pool);
	self.depth++;
	intro__seat_run(seat, f);
	self.depth--;
}

/* Whether f is, or was a moment ago, in the queue of a pool that is helped. */
static bool waits(const struct future *f)
{
	return intro__future_state(f) == INTRO_FUTURE_PENDING &&
	       atomic_load_explicit(&f->place, memory_order_acquire) &&
	       (atomic_load_explicit(&f->leaves, memory_order_relaxed) & FUTURE_HELPS);
}

__attribute__((flatten)) size_t intro__help(struct intro_future *const *futures, size_t n)
{
	struct guest *in = NULL;
	size_t left = n;
	struct future *f;

	if (!may_run())
		return n;
	pthread_cleanup_push(leave_if_inside, &in);
	/* workers take the oldest first: the last ones are where nobody is in the way */
	while (n-- > 0) {
		f = intro__future(futures[n]);
		if (n >= 8)
			__builtin_prefetch(futures[n - 8], 1);
		if (waits(f))
			help_with(f, &in);
		if (left == n + 1 && intro__future_state(f) >= INTRO_FUTURE_CANCELLED_AND_NOTIFIED)
			left = n;
	}
	if (in)
		intro__thread_relieved(intro__thread_pool(in->seat.executor));
	pthread_cleanup_pop(1);
	return left;
}

/* --- a submit that runs its task ----------------------------------------------------------------
 */

static ALWAYS_INLINE int run_at_once(struct seat *seat, struct future *f, uint32_t name,
				     const struct work *work, bool quick)
{
	struct intro_executor *executor = seat->executor;
	struct thread_pool *pool = intro__thread_pool(executor);
	int err = intro__future_hold_running(f, executor, executor->leaves, executor->pool, name);

	if (err)
		return err;
	/* only now: a shutdown that we do not see sees us inside */
	intro__fence_after_atomic();
	if (atomic_load(&pool->over)) {
		intro__future_change(f, FUTURE_STATE, INTRO_FUTURE_PENDING);
		intro__future_unhold(f);
		return intro__thread_refuses(pool);
	}
	if (!quick)
		intro_mark_submit(atomic_load_explicit(&f->task, memory_order_relaxed),
				  executor->pool, name);
	intro__count(&seat->counts.beside, 1);
	intro__thread_fetch(pool);
	run(seat, f, work, quick);
	return 0;
}

/* The same by whoever may be inside, and of any pool. */
static __attribute__((noinline)) int run_or_queue(struct intro_executor *executor, struct future *f,
						  uint32_t name, intro_task_fn fn, const void *arg,
						  size_t size)
{
	struct thread_pool *pool = intro__thread_pool(executor);
	struct work work = {.fn = fn, .arg = arg, .size = size};
	bool runs = may_run() && intro__thread_is_full(pool);
	struct seat *seat = runs ? seat_of(pool) : NULL;
	struct guest *in = runs && !seat ? come_into(pool) : NULL;
	int err;

	if (in)
		seat = &in->seat;
	if (!seat)
		return intro__executor_queue(executor, f, name, fn, arg, size);
	if (pool->placement)
		intro__placement_near(-1); /* not of what the task submits */
	if (executor->timed)
		work.begin = intro__now();
	self.depth++;
	pthread_cleanup_push(leave_if_inside, &in);
	err = run_at_once(seat, f, name, &work, false);
	pthread_cleanup_pop(1);
	self.depth--;
	return err;
}

/* The common case: a thread of nobody's, which has run a task here before. */
static bool may_run_quickly(const struct thread_pool *pool)
{
	return !self.seat && !self.forbid && self.serial == pool->serial && !pool->base.timed &&
	       !intro_marks_on();
}

int intro__thread_run_or_queue(struct intro_executor *executor, struct future *f, uint32_t name,
			       intro_task_fn fn, const void *arg, size_t size)
{
	struct thread_pool *pool = intro__thread_pool(executor);
	struct guest *in = self.guest;
	int err;

	if (!may_run_quickly(pool) || !intro__thread_is_still_full(pool))
		return run_or_queue(executor, f, name, fn, arg, size);
	come_in(in, true);
	pthread_cleanup_push(leave_quickly, in);
	err = run_at_once(&in->seat, f, name, &(struct work){.fn = fn, .arg = arg, .size = size},
			  true);
	pthread_cleanup_pop(1);
	return err;
}

struct here {
	struct guest *in;
	const struct call_state *state;
	struct intro_error *error;
};

static __attribute__((noinline, cold)) void
leave_unfinished(struct guest *in, const struct call_state *state, struct intro_error *error)
{
	intro__count_task(&in->seat.counts, true);
	if (!error->code)
		explain_unfinished(&in->seat, state, error);
	leave(in, true);
}

static ALWAYS_INLINE void thread_ends_here(void *arg)
{
	const struct here *here = arg;

	leave_unfinished(here->in, here->state, here->error);
}

static enum run_now run_now(struct thread_pool *pool, intro_task_fn fn, const void *arg,
			    size_t size, struct intro_error *error)
{
	struct guest *in = self.guest;
	struct call_state state;
	struct intro_call call;
	struct here here = {.in = in, .state = &state, .error = error};
	int code;

	come_in(in, true);
	/* as in run_at_once */
	if (pool->barriers)
		atomic_signal_fence(memory_order_seq_cst);
	else
		atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&pool->over)) {
		leave(in, true);
		return RUN_SUBMIT;
	}
	call_init(&call, &in->seat, &state);
	call.arg = arg;
	call.size = size;
	call.task = intro__mark_task();
	intro__count(&in->seat.counts.beside, 1);
	intro__thread_fetch(pool);
	pthread_cleanup_push(thread_ends_here, &here);
	code = intro__executor_call(&pool->base, fn, &call);
	pthread_cleanup_pop(0);
	intro__count_task(&in->seat.counts, code);
	if (code && !error->code)
		explain(code, &state, error);
	leave(in, true);
	return RUN_DONE;
}

enum run_now intro__thread_run_now(struct intro_executor *executor, intro_task_fn fn,
				   const void *arg, size_t size, struct intro_error *error)
{
	struct thread_pool *pool = intro__thread_pool(executor);

	if (!may_run_quickly(pool) || pool->placement)
		return RUN_SUBMIT;
	if (!intro__thread_is_full(pool))
		return RUN_QUEUE;
	return run_now(pool, fn, arg, size, error);
}
