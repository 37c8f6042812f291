/* SPDX-License-Identifier: BSD-2-Clause */
/* Workers that only work, or only wait: cpu, oversubscribed, sleep. */
#include <stdlib.h>
#include <string.h>

#include "workload.h"

static int spin_run(struct workload_run *run, enum intro_pool_kind kind, const char *pool)
{
	struct crew *crew = crew_new(run, kind, pool, run->workers, run->tasks, NULL);
	struct task_kind spin = task_kind(task_spin, "spin");
	int status = 0;

	if (!crew)
		return 1;
	while (!status && crew->submitted < crew->tasks) {
		crew_job_spin(crew, workload_around(&run->seed, run->length_ns));
		status = crew_submit(crew, &spin);
	}
	status |= crew_wait(crew);
	crew_free(crew);
	return status;
}

int workload_cpu_run(struct workload_run *run)
{
	return spin_run(run, INTRO_POOL_THREAD, "spin");
}

int workload_sleep_run(struct workload_run *run)
{
	struct crew *crew =
		crew_new(run, INTRO_POOL_THREAD, "sleep", run->workers, run->tasks, NULL);
	struct task_kind kind = task_kind(task_sleep, "sleep");
	uint64_t asked = 0;
	int status = 0;

	if (!crew)
		return 1;
	while (!status && crew->submitted < crew->tasks) {
		struct job *job = crew_job(crew);

		job->ns = job->expect = workload_around(&run->seed, run->length_ns);
		asked += job->ns;
		status = crew_submit(crew, &kind);
	}
	status |= crew_wait(crew);
	crew_free(crew);
	snprintf(run->note, sizeof(run->note), "; %.2f s of sleep", (double)asked / 1e9);
	return status;
}
