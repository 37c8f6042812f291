/* SPDX-License-Identifier: BSD-2-Clause */
/* Workers that only work, or only wait: cpu, oversubscribed, sleep; procs and map in processes. */
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

int workload_procs_run(struct workload_run *run)
{
	return spin_run(run, INTRO_POOL_PROCESS, "procs");
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

/* --- map ------------------------------------------------------------------------------------- */

struct item {
	struct truth *truth; /* of its chunk; NULL: not wanted */
	uint64_t seed, steps;
};

static int item_spin(struct intro_call *call)
{
	const struct item *item = call->arg;
	uint64_t value;

	truth_begin(item->truth, call);
	value = workload_spin(item->seed, item->steps);
	truth_end(item->truth);
	return intro_call_return(call, &value, sizeof(value));
}

struct map_check {
	const struct item *items;
	size_t right;
};

static int item_done(size_t index, const struct intro_result *result,
		     const struct intro_error *error, void *ctx)
{
	struct map_check *check = ctx;
	const struct item *item = &check->items[index];
	uint64_t value;

	if (!result || result->size != sizeof(value))
		return workload_fail("map, item %zu: %s", index, error ? error->text : "no result");
	memcpy(&value, result->data, sizeof(value));
	if (value != workload_spin_expect(item->seed, item->steps))
		return workload_fail("map, item %zu: wrong result", index);
	check->right++;
	return 0;
}

static void map_fill(struct workload_run *run, struct item *items, struct truth *truths)
{
	for (size_t i = 0; i < run->tasks; i++) {
		uint64_t ns = workload_around(&run->seed, run->length_ns);

		items[i] = (struct item){
			.truth = truths ? &truths[i / run->chunk] : NULL,
			.seed = workload_random(&run->seed),
			.steps = (uint64_t)((double)ns * run->rate),
		};
	}
}

static int map_all(struct workload_run *run, struct item *items, size_t chunks)
{
	struct intro_executor_options options = {
		.size = sizeof(options), .name = "map", .workers = run->workers};
	struct map_check check = {.items = items};
	struct intro_executor *pool = intro_process_executor_new(&options);
	int status;

	if (!pool)
		return workload_fail("cannot make a pool of %u processes", run->workers);
	status = intro_executor_map(pool, item_spin, items, run->tasks, sizeof(*items), run->chunk,
				    INTRO_FOREVER, item_done, &check);
	if (status < 0)
		status = workload_fail("map: %s", strerror(-status));
	if (!status && check.right != run->tasks)
		status = workload_fail("map: %zu of %u items came back", check.right, run->tasks);
	if (run->truth) {
		truth_write(run->truth, "map", items[0].truth, chunks);
		truth_write_threads(run->truth, "map", items[0].truth, chunks);
	}
	intro_executor_free(pool);
	return status;
}

int workload_map_run(struct workload_run *run)
{
	struct item *items = calloc(run->tasks, sizeof(*items));
	struct truth *truths = NULL;
	size_t chunks = (run->tasks + run->chunk - 1) / run->chunk;
	int status;

	if (items && run->truth)
		truths = truth_new(chunks);
	if (!items || (run->truth && !truths)) {
		free(items);
		return workload_fail("out of memory");
	}
	map_fill(run, items, truths);
	status = map_all(run, items, chunks);
	snprintf(run->note, sizeof(run->note), "; %u items in %zu chunks", run->tasks, chunks);
	truth_free(truths, chunks);
	free(items);
	return status;
}
