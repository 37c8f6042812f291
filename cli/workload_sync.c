/* SPDX-License-Identifier: BSD-2-Clause */
/* Every kind of lock, each with a name: a report tells which one who waited for. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include <introspect/locks.h>

#include "workload.h"

#define SEATS 2

struct court {
	struct intro_event opening;
	struct intro_semaphore seats;
	struct intro_mutex scale;
	struct intro_recursive archive;
	struct intro_condition turn;
	struct intro_mutex calling; /* of turn and next */
	struct intro_barrier verdict;
	uint64_t next;	   /* whose turn it is */
	uint64_t weighed;  /* under scale */
	uint32_t verdicts; /* by the barrier's action */
	_Atomic int wrong;
};

static int pronounce(void *arg)
{
	((struct court *)arg)->verdicts++;
	return 0;
}

static void court_init(struct court *court, uint32_t parties)
{
	memset(court, 0, sizeof(*court));
	intro_event_init(&court->opening, "opening");
	intro_semaphore_init_bounded(&court->seats, SEATS, "seats");
	intro_mutex_init(&court->scale, "scale");
	intro_recursive_init(&court->archive, "archive");
	intro_mutex_init(&court->calling, "calling");
	intro_condition_init(&court->turn, &court->calling, "turn");
	intro_barrier_init(&court->verdict, parties, pronounce, court, "verdict");
}

/* Twice, as a function that locks and calls another that locks. */
static uint64_t look_up(struct court *court, uint64_t x, uint64_t steps)
{
	int err = intro_recursive_acquire(&court->archive, INTRO_FOREVER);

	err |= intro_recursive_acquire(&court->archive, INTRO_FOREVER);
	x = workload_spin(x, steps);
	err |= intro_recursive_release(&court->archive);
	err |= intro_recursive_release(&court->archive);
	court->wrong |= err;
	return x;
}

static uint64_t weigh(struct court *court, uint64_t x, uint64_t steps)
{
	intro_mutex_acquire(&court->scale, INTRO_FOREVER);
	x = workload_spin(x, steps);
	court->weighed++;
	intro_mutex_release(&court->scale);
	return x;
}

/* One after the other, in the order of their numbers. */
static uint64_t plead(struct court *court, uint64_t x, uint64_t steps, uint64_t number)
{
	intro_mutex_acquire(&court->calling, INTRO_FOREVER);
	while (court->next != number)
		intro_condition_wait(&court->turn, INTRO_FOREVER);
	intro_mutex_release(&court->calling);
	x = workload_spin(x, steps);
	intro_mutex_acquire(&court->calling, INTRO_FOREVER);
	court->next++;
	intro_condition_notify_all(&court->turn);
	intro_mutex_release(&court->calling);
	return x;
}

/* job->ns: its number. All parties of a round are tasks at once: as many as workers. */
static int task_case(struct intro_call *call)
{
	const struct job *job = job_of(call);
	struct court *court = job->shared;
	uint64_t x = job->seed, steps = job->steps / 4;

	truth_begin(job->truth, call);
	intro_event_wait(&court->opening, INTRO_FOREVER);
	intro_semaphore_acquire(&court->seats, INTRO_FOREVER);
	x = workload_spin(x, steps);
	intro_semaphore_release(&court->seats, 1);
	x = weigh(court, x, steps);
	x = look_up(court, x, steps);
	x = plead(court, x, steps, job->ns);
	if (intro_barrier_wait(&court->verdict, INTRO_FOREVER) < 0)
		court->wrong = 1;
	return job_return(call, x);
}

int workload_sync_run(struct workload_run *run)
{
	struct court court;
	struct task_kind kind = task_kind(task_case, "case");
	const struct job nobody = {0};
	uint32_t rounds = (run->tasks + run->workers - 1) / run->workers;
	struct crew *crew;
	int status = 0;

	run->tasks = rounds * run->workers;
	court_init(&court, run->workers);
	crew = crew_new(run, INTRO_POOL_THREAD, "court", run->workers, run->tasks, &court);
	if (!crew)
		return 1;
	while (!status && crew->submitted < crew->tasks) {
		struct job *job = crew_job_spin(crew, workload_around(&run->seed, run->length_ns));

		job->steps -= job->steps % 4;
		job->expect = workload_spin_expect(job->seed, job->steps);
		job->ns = crew->submitted;
		status = crew_submit(crew, &kind);
		/* all of the first round stand before the door */
		if (crew->submitted == run->workers) {
			job_sleep(&nobody, 2 * run->length_ns);
			intro_event_set(&court.opening);
		}
	}
	/* nobody is left behind by a failure */
	intro_event_set(&court.opening);
	if (status)
		intro_barrier_abort(&court.verdict);
	status |= crew_wait(crew);
	crew_free(crew);
	if (!status && (court.wrong || court.weighed != run->tasks || court.verdicts != rounds))
		status =
			workload_fail("sync: %ju of %u weighed, %u of %u verdicts",
				      (uintmax_t)court.weighed, run->tasks, court.verdicts, rounds);
	snprintf(run->note, sizeof(run->note),
		 "; %u rounds through an event, a semaphore of %d, two locks, a condition and a "
		 "barrier",
		 rounds, SEATS);
	return status;
}
