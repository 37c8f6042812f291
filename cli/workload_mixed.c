/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bit of all, as a small service would have it: a pool of request threads which think, wait
 * for a database behind one lock, for a disk and for a backend; threads of an interpreter; and
 * processes which resize pictures. More of them want a CPU than there are CPUs.
 */
#include <errno.h>
#include <string.h>

#include "workload.h"

struct mix {
	struct workload_run *run;
	struct crew *web, *scripts, *resize;
	struct account database;
	struct gil *gil;
	struct device *device;
};

static int mix_request(struct mix *mix, const struct task_kind kinds[5])
{
	struct crew *crew = mix->web;
	struct job *job = crew_job(crew);
	uint64_t *seed = &mix->run->seed, length = mix->run->length_ns;
	size_t kind = crew->submitted % 5;

	job->shared = kind == 1 ? (void *)&mix->database : (void *)mix->device;
	switch (kind) {
	case 0:
		crew_job_spin(crew, workload_around(seed, length));
		break;
	case 1:
		crew_job_spin(crew, workload_around(seed, length));
		job->steps -= job->steps % ACCOUNT_ROUNDS;
		job->expect = workload_spin_expect(job->seed, job->steps);
		break;
	case 2:
		job_expect_file(job, 4);
		break;
	case 3:
		job->ns = job->expect = workload_around(seed, 4 * length);
		break;
	default:
		job_expect_pipe(job, workload_around(seed, length / 2));
	}
	return crew_submit(crew, &kinds[kind]);
}

/* One more for the pool, unless it has enough. 1: submitted; 0: not now; -1: failed. */
static int mix_offer(struct mix *mix, struct crew *crew, const struct task_kind kinds[7])
{
	uint64_t *seed = &mix->run->seed, length = mix->run->length_ns;
	int status;

	if (crew->submitted == crew->tasks || !crew_has_room(crew))
		return 0;
	if (crew == mix->web) {
		status = mix_request(mix, kinds);
	} else {
		crew_job_spin(crew, workload_around(seed, (crew == mix->resize ? 4 : 8) * length));
		status = crew_submit(crew, crew == mix->resize ? &kinds[5] : &kinds[6]);
	}
	return status ? -1 : 1;
}

/* Keeps the three pools supplied; when all have enough, looks again in a moment. */
static int mix_submit(struct mix *mix)
{
	const struct task_kind kinds[7] = {
		task_kind(task_spin, "render"), task_kind(task_lock, "query"),
		task_kind(task_file, "store"),	task_kind(task_sleep, "backend"),
		task_kind(task_pipe, "stream"), task_kind(task_spin, "picture"),
		task_kind(task_gil, "script"),
	};
	struct crew *const crews[] = {mix->resize, mix->scripts, mix->web};
	const struct job nobody = {0};
	size_t left = mix->run->tasks;

	while (left) {
		size_t offered = 0;

		for (size_t i = 0; i < sizeof(crews) / sizeof(crews[0]); i++) {
			int n = mix_offer(mix, crews[i], kinds);

			if (n < 0)
				return 1;
			offered += (size_t)n;
		}
		left -= offered;
		if (!offered)
			job_sleep(&nobody, 1000000);
	}
	return 0;
}

/* The processes first: a fork is cheaper and safer before there are threads. */
static int mix_open(struct mix *mix)
{
	struct workload_run *run = mix->run;
	uint32_t pictures = run->tasks / 8, scripts = run->tasks / 32;

	mix->resize = crew_new(run, INTRO_POOL_PROCESS, "resize", run->cpus, pictures, NULL);
	if (!mix->resize)
		return 1;
	account_init(&mix->database);
	mix->gil = gil_new(run->rate);
	mix->device = device_new();
	if (!mix->gil || !mix->device)
		return workload_fail("mixed: %s", strerror(errno));
	mix->scripts = gil_crew_new(run, mix->gil, "scripts", 3, scripts);
	if (!mix->scripts)
		return 1;
	mix->web = crew_new(run, INTRO_POOL_THREAD, "web", run->workers,
			    run->tasks - pictures - scripts, NULL);
	return mix->web ? 0 : 1;
}

int workload_mixed_run(struct workload_run *run)
{
	struct mix mix = {.run = run};
	int status = mix_open(&mix);

	if (!status)
		status = mix_submit(&mix);
	/* all must have ended before the first truth is written, which would disturb the rest */
	if (mix.web)
		status |= crew_wait(mix.web);
	if (mix.scripts)
		status |= crew_wait(mix.scripts);
	if (mix.resize)
		status |= crew_wait(mix.resize);
	crew_free(mix.web);
	crew_free(mix.scripts);
	crew_free(mix.resize);
	device_free(mix.device);
	gil_free(mix.gil);
	snprintf(run->note, sizeof(run->note), "; pools web, scripts and resize");
	return status;
}
