/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The same jobs four ways: one after the other, by threads under an interpreter's lock, by threads,
 * by processes. Jobs that need a CPU, and jobs that wait for a server.
 */
#include <errno.h>
#include <string.h>

#include "workload.h"

enum { SEQUENTIAL, INTERPRETER, THREADS, PROCESSES, WAYS };

static const char *const ways[WAYS] = {"sequential", "interpreter", "threads", "processes"};

/* Made before any process is forked: its tasks find it where it was. */
struct ground {
	struct servers *servers; /* NULL: the jobs need a CPU */
	struct gil *gil;
};

static int task_wait(struct intro_call *call)
{
	const struct job *job = job_of(call);
	const struct ground *ground = job->shared;
	bool locked = job->ns == INTERPRETER;
	uint64_t sum;
	int err;

	truth_begin(job->truth, call);
	if (locked)
		gil_begin_allow(ground->gil);
	err = fetch_page(ground->servers, (unsigned)job->steps, &sum);
	if (locked)
		gil_end_allow(ground->gil);
	if (!err)
		return job_return(call, sum);
	errno = -err;
	return job_fail(call, "server");
}

static struct crew *way_crew(struct workload_run *run, struct ground *ground, int way)
{
	if (way == INTERPRETER)
		return gil_crew_new(run, ground->gil, ways[way], run->workers, run->tasks);
	return crew_new(run, way == PROCESSES ? INTRO_POOL_PROCESS : INTRO_POOL_THREAD, ways[way],
			way == SEQUENTIAL ? 1 : run->workers, run->tasks, ground);
}

static int way_submit(struct workload_run *run, struct ground *ground, struct crew *crew, int way)
{
	const struct task_kind kind =
		ground->servers ? task_kind(task_wait, "wait")
				: task_kind(way == INTERPRETER ? task_gil : task_spin, "compute");

	while (crew->submitted < crew->tasks) {
		struct job *job = crew_job(crew);

		if (ground->servers) {
			job_expect_page(job, ground->servers,
					(unsigned)(crew->submitted % run->workers));
			job->shared = ground;
			job->ns = (uint64_t)way;
		} else {
			crew_job_spin(crew, workload_around(&run->seed, run->length_ns));
		}
		if (crew_submit(crew, &kind))
			return 1;
	}
	return 0;
}

/* Nanoseconds that it took, in *took. */
static int one_way(struct workload_run *run, struct ground *ground, int way, uint64_t *took)
{
	struct crew *crew = way_crew(run, ground, way);
	uint64_t begin = workload_now();
	int status;

	if (!crew)
		return 1;
	status = way_submit(run, ground, crew, way);
	status |= crew_wait(crew);
	*took = workload_now() - begin;
	crew_free(crew);
	return status;
}

static int all_ways(struct workload_run *run, struct ground *ground)
{
	uint64_t seed = run->seed, took[WAYS] = {0};
	int status = 0;

	ground->gil = gil_new(run->rate);
	if (!ground->gil)
		return workload_fail("out of memory");
	for (int way = 0; way < WAYS && !status; way++) {
		run->seed = seed; /* the same jobs */
		status = one_way(run, ground, way, &took[way]);
	}
	gil_free(ground->gil);
	snprintf(run->note, sizeof(run->note),
		 "; one by one %.0f ms, threads under one interpreter lock %.0f ms, threads %.0f "
		 "ms, processes %.0f ms",
		 (double)took[SEQUENTIAL] / 1e6, (double)took[INTERPRETER] / 1e6,
		 (double)took[THREADS] / 1e6, (double)took[PROCESSES] / 1e6);
	return status;
}

int workload_cpu_bound_run(struct workload_run *run)
{
	struct ground ground = {0};

	return all_ways(run, &ground);
}

int workload_io_bound_run(struct workload_run *run)
{
	struct ground ground = {.servers = servers_new(run->workers, run->length_ns, &run->seed)};
	int status;

	if (!ground.servers)
		return workload_fail("io-bound: no servers: %s", strerror(errno));
	status = all_ways(run, &ground);
	servers_free(ground.servers);
	return status;
}
