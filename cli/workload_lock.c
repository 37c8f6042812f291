/* SPDX-License-Identifier: BSD-2-Clause */
/* Workers that stand in each other's way: one mutex, one interpreter lock, one bare counter. */
#include <stdatomic.h>
#include <stdlib.h>

#include "workload.h"

/* --- lock ------------------------------------------------------------------------------------ */

void account_init(struct account *account)
{
	pthread_mutex_init(&account->mutex, NULL);
	account->balance = 0;
	intro_mark_lock(&account->mutex, intro_mark_name("account"));
}

int task_lock(struct intro_call *call)
{
	const struct job *job = job_of(call);
	struct account *account = job->shared;
	uint64_t inside = job->steps / ACCOUNT_ROUNDS * 3 / 4, x = job->seed;

	truth_begin(job->truth, call);
	for (int i = 0; i < ACCOUNT_ROUNDS; i++) {
		x = workload_spin(x, job->steps / ACCOUNT_ROUNDS - inside);
		job_lock(job, &account->mutex);
		x = workload_spin(x, inside);
		account->balance++;
		pthread_mutex_unlock(&account->mutex);
	}
	return job_return(call, x);
}

int workload_lock_run(struct workload_run *run)
{
	struct account account;
	struct task_kind kind = task_kind(task_lock, "deposit");
	struct crew *crew;
	int status = 0;

	account_init(&account);
	crew = crew_new(run, INTRO_POOL_THREAD, "lock", run->workers, run->tasks, &account);
	if (!crew)
		return 1;
	while (!status && crew->submitted < crew->tasks) {
		struct job *job = crew_job_spin(crew, workload_around(&run->seed, run->length_ns));

		job->steps -= job->steps % ACCOUNT_ROUNDS;
		job->expect = workload_spin_expect(job->seed, job->steps);
		status = crew_submit(crew, &kind);
	}
	status |= crew_wait(crew);
	if (!status && account.balance != (uint64_t)run->tasks * ACCOUNT_ROUNDS)
		status = workload_fail("lock: the account says %ju, %ju were paid in",
				       (uintmax_t)account.balance,
				       (uintmax_t)run->tasks * ACCOUNT_ROUNDS);
	snprintf(run->note, sizeof(run->note), "; one account, %ju deposits under one mutex",
		 (uintmax_t)account.balance);
	crew_free(crew);
	return status;
}

/* --- gil ------------------------------------------------------------------------------------- */

#define GIL_CHECK (20 * WORKLOAD_US) /* how often the holder looks whether it was asked */

struct gil {
	struct intro_interpreter *interpreter;
	uint64_t check_steps;
};

struct gil *gil_new(double rate)
{
	struct gil *gil = calloc(1, sizeof(*gil));

	if (!gil)
		return NULL;
	gil->interpreter = intro_interpreter_new(0);
	if (!gil->interpreter) {
		free(gil);
		return NULL;
	}
	gil->check_steps = 1 + (uint64_t)((double)GIL_CHECK * rate);
	return gil;
}

void gil_free(struct gil *gil)
{
	if (gil)
		intro_interpreter_free(gil->interpreter);
	free(gil);
}

void gil_begin_allow(struct gil *gil)
{
	intro_interpreter_begin_allow(gil->interpreter);
}

void gil_end_allow(struct gil *gil)
{
	intro_interpreter_end_allow(gil->interpreter);
}

static void job_check(const struct job *job, struct gil *gil)
{
	uint64_t begin = job->truth ? workload_now() : 0;

	if (intro_interpreter_check(gil->interpreter) == 1 && job->truth)
		job->truth->lock_wait_ns += workload_now() - begin;
}

int task_gil(struct intro_call *call)
{
	const struct job *job = job_of(call);
	struct gil *gil = job->shared;
	uint64_t x = job->seed, left = job->steps;

	truth_begin(job->truth, call);
	while (left) {
		uint64_t steps = left < gil->check_steps ? left : gil->check_steps;

		x = workload_spin(x, steps);
		left -= steps;
		if (left)
			job_check(job, gil);
	}
	return job_return(call, x);
}

struct crew *gil_crew_new(struct workload_run *run, struct gil *gil, const char *name,
			  unsigned workers, size_t tasks)
{
	return crew_new_locked(run, gil->interpreter, name, workers, tasks, gil);
}

int workload_gil_run(struct workload_run *run)
{
	struct gil *gil = gil_new(run->rate);
	struct task_kind kind = task_kind(task_gil, "bytecode");
	struct intro_interpreter_statistics n;
	struct crew *crew;
	int status = 0;

	if (!gil)
		return workload_fail("out of memory");
	crew = gil_crew_new(run, gil, "gil", run->workers, run->tasks);
	if (!crew) {
		gil_free(gil);
		return 1;
	}
	while (!status && crew->submitted < crew->tasks) {
		crew_job_spin(crew, workload_around(&run->seed, run->length_ns));
		status = crew_submit(crew, &kind);
	}
	status |= crew_wait(crew);
	crew_free(crew);
	intro_interpreter_statistics(gil->interpreter, &n);
	snprintf(run->note, sizeof(run->note), "; one lock, taken %ju times, %ju on request",
		 (uintmax_t)n.taken, (uintmax_t)n.forced);
	gil_free(gil);
	return status;
}

/* --- race ------------------------------------------------------------------------------------ */

struct counters {
	_Alignas(64) _Atomic int64_t bare;  /* changed by a load and a store */
	_Alignas(64) _Atomic int64_t whole; /* changed by one atomic addition */
};

static int task_bare(struct intro_call *call)
{
	const struct job *job = job_of(call);
	struct counters *counters = job->shared;
	int64_t by = (int64_t)job->ns;

	truth_begin(job->truth, call);
	for (uint64_t i = 0; i < job->steps; i++) {
		int64_t was = atomic_load_explicit(&counters->bare, memory_order_relaxed);

		atomic_store_explicit(&counters->bare, was + by, memory_order_relaxed);
	}
	return job_return(call, job->steps);
}

static int task_whole(struct intro_call *call)
{
	const struct job *job = job_of(call);
	struct counters *counters = job->shared;
	int64_t by = (int64_t)job->ns;

	truth_begin(job->truth, call);
	for (uint64_t i = 0; i < job->steps; i++)
		atomic_fetch_add_explicit(&counters->whole, by, memory_order_relaxed);
	return job_return(call, job->steps);
}

/* Tasks come in pairs, up and down by as much; every second pair does it right. */
static int race_submit(struct workload_run *run, struct crew *crew)
{
	const struct task_kind kinds[] = {task_kind(task_bare, "up"), task_kind(task_bare, "down"),
					  task_kind(task_whole, "atomic up"),
					  task_kind(task_whole, "atomic down")};
	/* an atomic addition to a contended line takes about 8 ns */
	uint64_t steps = run->length_ns / 8;

	while (crew->submitted < crew->tasks) {
		struct job *job = crew_job(crew);
		size_t i = crew->submitted;

		job->steps = job->expect = steps;
		job->ns = (uint64_t)(i % 2 ? -1 : 1);
		if (crew_submit(crew, &kinds[i % 4]))
			return 1;
	}
	return 0;
}

int workload_race_run(struct workload_run *run)
{
	struct counters counters = {0};
	struct crew *crew;
	int64_t bare, whole;
	int status;

	run->tasks += run->tasks % 2;
	crew = crew_new(run, INTRO_POOL_THREAD, "race", run->workers, run->tasks, &counters);
	if (!crew)
		return 1;
	status = race_submit(run, crew);
	status |= crew_wait(crew);
	crew_free(crew);
	bare = atomic_load(&counters.bare);
	whole = atomic_load(&counters.whole);
	if (!status && whole != 0)
		status = workload_fail("race: atomic additions ended at %jd, not 0",
				       (intmax_t)whole);
	snprintf(
		run->note, sizeof(run->note),
		"; as often up as down: the bare counter ended at %jd (at least %jd updates lost), "
		"the atomic one at %jd",
		(intmax_t)bare, (intmax_t)(bare < 0 ? -bare : bare), (intmax_t)whole);
	return status;
}
