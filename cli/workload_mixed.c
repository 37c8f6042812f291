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

/* Requests come in bursts; the other two pools get all their work at once. */
static int mix_submit(struct mix *mix)
{
	const struct task_kind kinds[5] = {
		task_kind(task_spin, "render"), task_kind(task_lock, "query"),
		task_kind(task_file, "store"), task_kind(task_sleep, "backend"),
		task_kind(task_pipe, "stream")};
	struct task_kind picture = task_kind(task_spin, "picture");
	struct task_kind script = task_kind(task_gil, "script");
	uint64_t *seed = &mix->run->seed, length = mix->run->length_ns;
	const struct job nobody = {0};

	while (mix->resize->submitted < mix->resize->tasks) {
		crew_job_spin(mix->resize, workload_around(seed, 4 * length));
		if (crew_submit(mix->resize, &picture))
			return 1;
	}
	while (mix->scripts->submitted < mix->scripts->tasks) {
		crew_job_spin(mix->scripts, workload_around(seed, 8 * length));
		if (crew_submit(mix->scripts, &script))
			return 1;
	}
	while (mix->web->submitted < mix->web->tasks) {
		if (mix_request(mix, kinds))
			return 1;
		if (mix->web->submitted % 40 == 0)
			job_sleep(&nobody, workload_around(seed, 10 * length));
	}
	return 0;
}

/* The processes first: a fork is cheaper and safer before there are threads. */
static int mix_open(struct mix *mix)
{
	struct workload_run *run = mix->run;
	uint32_t pictures = run->tasks / 6, scripts = run->tasks / 24;

	mix->resize = crew_new(run, INTRO_POOL_PROCESS, "resize", run->cpus, pictures, NULL);
	if (!mix->resize)
		return 1;
	account_init(&mix->database);
	mix->gil = gil_new(run->rate);
	mix->device = device_new();
	if (!mix->gil || !mix->device)
		return workload_fail("mixed: %s", strerror(errno));
	mix->scripts = crew_new(run, INTRO_POOL_THREAD, "scripts", 3, scripts, mix->gil);
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
