/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread_run.c - one task of a thread pool on one thread: a worker's, or that of somebody who waits
 * for it and runs it meanwhile.
 *
 * Who may help. A worker, tasks of its own pool; a guest (a thread that is none of the pool's),
 * where the pool's options let it. Either runs only what it waits for without a limit of time: a
 * task that it must see ended anyway, so nothing can come to a standstill by it that would not
 * have without. None helps from a callback, or on a fiber's stack, or HELP_DEPTH deep.
 *
 * Lifetime. A worker's own pool is there. A guest's is, as it may not be freed while somebody
 * waits for one of its futures. A shutdown waits for guests, too: see thread_pool.gone.
 */
#include <string.h>

#include "marks_private.h"
#include "thread_private.h"

/* Tasks within tasks on one stack. (What a replay follows is 16; the rest it books to unknown.) */
#define HELP_DEPTH 100

static __thread struct {
	struct seat *seat;
	unsigned depth;	 /* of helping */
	unsigned forbid; /* callbacks and fibers that this thread is in */
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

void intro__seat_leave(struct seat *seat)
{
	self.seat = seat->outer;
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

static void call_init(struct intro_call *call, struct seat *seat, struct call_state *state)
{
	state->copies = state->returned = state->explained = false;
	state->result = (struct intro_result){0};
	state->text[0] = 0;
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
				 seat->name, code, state.text[0] ? ": " : "", state.text);
	return code;
}

void intro__seat_run(struct seat *seat, struct future *f)
{
	struct intro_executor *executor = seat->executor;
	struct future_end end;
	struct intro_error error;
	struct call_state state;
	struct intro_call call;
	uint64_t task = atomic_load_explicit(&f->task, memory_order_relaxed);
	int64_t begin = 0, queued = 0;

	if (!intro__future_leave_pending(f, INTRO_FUTURE_RUNNING)) {
		intro_future_set_running_or_notify_cancel(intro__public(f));
		intro__count_cancelled(executor);
		return;
	}
	call_init(&call, seat, &state);
	if (executor->timed) {
		begin = intro__now();
		queued = begin - f->work.submitted;
	}
	call.arg = f->work.arg;
	call.size = f->work.size;
	call.task = task;
	intro_mark_start(task, executor->pool);
	error.code = intro__executor_call(executor, f->work.fn, &call);
	if (executor->timed)
		intro__count_times(&seat->counts, queued, intro__now() - begin);
	intro__count_task(&seat->counts, error.code);
	end = (struct future_end){.mark = INTRO_KIND_END, .status = INTRO_STATUS_OK};
	if (error.code) {
		memcpy(error.text, state.text, sizeof(error.text));
		end.status = INTRO_STATUS_FAILED;
		end.error = &error;
	} else {
		end.result = state.result;
	}
	intro__future_end(f, &end);
}

/* --- helping ------------------------------------------------------------------------------------
 */

struct guest {
	struct seat seat; /* executor NULL: not inside */
	uint64_t took;
	bool announced; /* to a tracer, as a worker */
};

static void guest_enter(struct guest *guest, struct thread_pool *pool)
{
	/* one by one: a compiler that clears the whole at once does it with a slow instruction */
	guest->seat.executor = &pool->base;
	guest->seat.name = pool->guest;
	guest->seat.index = pool->base.workers;
	guest->seat.initial = NULL;
	memset(&guest->seat.counts, 0, sizeof(guest->seat.counts));
	guest->took = 0;
	guest->announced = false;
	if (intro_marks_on())
		guest->announced = intro__mark_guest_start(pool->base.pool, pool->base.workers);
	intro__seat_take(&guest->seat);
}

static void add(_Atomic uint64_t *to, const _Atomic uint64_t *what)
{
	uint64_t n = atomic_load_explicit(what, memory_order_relaxed);

	if (n)
		atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static void guest_leave(struct guest *guest)
{
	struct thread_pool *pool = intro__thread_pool(guest->seat.executor);
	struct intro__counts *counts = &guest->seat.counts;
	uint64_t executed = atomic_load_explicit(&counts->executed, memory_order_relaxed);

	intro__seat_leave(&guest->seat);
	if (guest->announced)
		intro_mark_worker_stop(pool->base.pool, guest->seat.index);
	if (guest->took != executed)
		atomic_fetch_add_explicit(&pool->helped_cancelled, guest->took - executed,
					  memory_order_relaxed);
	add(&pool->guest_counts.failures, &counts->failures);
	add(&pool->guest_counts.timed, &counts->timed);
	add(&pool->guest_counts.queued_ns, &counts->queued_ns);
	add(&pool->guest_counts.run_ns, &counts->run_ns);
	/* the last: a shutdown goes on after it */
	atomic_fetch_add(&pool->helped, guest->took);
	if (atomic_load(&pool->over)) {
		atomic_fetch_add(&pool->guests_left, 1);
		intro__futex_wake(&pool->guests_left);
	}
	guest->seat.executor = NULL;
}

static bool may_help(void)
{
	return !self.forbid && self.depth < HELP_DEPTH;
}

static void help_with(struct future *f, struct guest *guest)
{
	uint32_t word = atomic_load_explicit(&f->word, memory_order_acquire);
	struct thread_pool *pool;
	struct seat *seat;

	if ((word & (FUTURE_STATE | FUTURE_HELPS)) != (INTRO_FUTURE_PENDING | FUTURE_HELPS) ||
	    !atomic_load_explicit(&f->place, memory_order_acquire))
		return;
	pool = intro__thread_pool(f->executor);
	seat = seat_of(pool);
	if (!seat && !(word & FUTURE_GUESTS))
		return;
	if (!seat) {
		if (guest->seat.executor)
			guest_leave(guest);
		guest_enter(guest, pool);
		seat = &guest->seat;
	}
	if (!intro__task_ring_take_back(f))
		return;
	if (seat == &guest->seat)
		guest->took++;
	else
		atomic_fetch_add_explicit(&pool->gone, 1, memory_order_relaxed);
	self.depth++;
	intro__seat_run(seat, f);
	self.depth--;
}

__attribute__((flatten)) void intro__help(struct intro_future *const *futures, size_t n)
{
	struct guest guest;

	if (!may_help())
		return;
	guest.seat.executor = NULL;
	/* workers take the oldest first: the last ones are where nobody is in the way */
	while (n-- > 0)
		help_with(intro__future(futures[n]), &guest);
	if (guest.seat.executor)
		guest_leave(&guest);
}
