/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker costs before it works: threads made and joined, processes forked and waited for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

struct birth {
	uint64_t ns; /* of all births of the task */
};

static void *thread_main(void *arg)
{
	*(bool *)arg = true;
	return NULL;
}

static uint64_t spawn_threads(uint64_t n)
{
	uint64_t lived = 0;

	for (uint64_t i = 0; i < n; i++) {
		bool ran = false;
		pthread_t thread;

		if (pthread_create(&thread, NULL, thread_main, &ran))
			break;
		pthread_join(thread, NULL);
		lived += ran;
	}
	return lived;
}

static uint64_t spawn_processes(uint64_t n)
{
	uint64_t lived = 0;

	for (uint64_t i = 0; i < n; i++) {
		pid_t pid = fork();
		int status = 0;

		if (pid == 0)
			_exit(42);
		if (pid < 0)
			break;
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		lived += WIFEXITED(status) && WEXITSTATUS(status) == 42;
	}
	return lived;
}

/* job->ns: whose birth this is, in job->shared; job->steps: how many. */
static int spawn(struct intro_call *call, uint64_t (*fn)(uint64_t n))
{
	const struct job *job = job_of(call);
	struct birth *birth = (struct birth *)job->shared + job->ns;
	uint64_t begin, lived;

	truth_begin(job->truth, call);
	begin = workload_now();
	lived = fn(job->steps);
	birth->ns = workload_now() - begin;
	return job_return(call, lived);
}

static int task_thread(struct intro_call *call)
{
	return spawn(call, spawn_threads);
}

static int task_process(struct intro_call *call)
{
	return spawn(call, spawn_processes);
}

static int compare_births(const void *a, const void *b)
{
	const struct birth *x = a, *y = b;

	return (x->ns > y->ns) - (x->ns < y->ns);
}

/* us a birth, the median over tasks */
static double median_us(struct birth *births, size_t n, uint64_t each)
{
	if (!n)
		return 0;
	qsort(births, n, sizeof(*births), compare_births);
	return (double)births[n / 2].ns / (double)each / 1e3;
}

/* In a pool of their own, so that a report has them apart. */
static int spawn_all(struct workload_run *run, const char *pool, const struct task_kind *kind,
		     struct birth *births, uint32_t n, uint64_t each)
{
	struct crew *crew = crew_new(run, INTRO_POOL_THREAD, pool, run->workers, n, births);
	int status = 0;

	if (!crew)
		return 1;
	while (!status && crew->submitted < crew->tasks) {
		struct job *job = crew_job(crew);

		job->steps = job->expect = each;
		job->ns = crew->submitted;
		status = crew_submit(crew, kind);
	}
	status |= crew_wait(crew);
	crew_free(crew);
	return status;
}

int workload_spawn_run(struct workload_run *run)
{
	uint32_t threads = (run->tasks + 1) / 2, processes = run->tasks - threads;
	/* a birth takes 15-200 us: as many as make up about the length */
	uint64_t each = 1 + run->length_ns / (100 * WORKLOAD_US);
	struct birth *births = calloc(run->tasks, sizeof(*births));
	struct task_kind thread = task_kind(task_thread, "thread");
	struct task_kind process = task_kind(task_process, "process");
	int status;

	if (!births)
		return workload_fail("out of memory");
	status = spawn_all(run, "make-threads", &thread, births, threads, each);
	status |= spawn_all(run, "make-processes", &process, births + threads, processes, each);
	snprintf(run->note, sizeof(run->note),
		 "; made and waited for: a thread in %.1f us, a process in %.1f us (medians)",
		 median_us(births, threads, each), median_us(births + threads, processes, each));
	free(births);
	return status;
}
