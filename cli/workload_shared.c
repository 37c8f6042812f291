/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What processes share: each task of a pool adds to an array under its lock, appends to a manager's
 * list, and puts an item into a queue, from which another process gets it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/manager.h>
#include <introspect/process_queue.h>
#include <introspect/shared.h>

#include "workload.h"

#define CAPACITY 4

/* What the array adds up; of values their low halves, so that no sum overflows. */
enum { TASKS, VALUES, ITEMS, RESULTS, TOTALS };

/* All of it is made before any process is forked, and so the same in each. */
struct desk {
	struct intro_manager *manager;
	uint64_t list;
	struct intro_shared_array *totals;
	struct intro_process_queue *queue;
	struct truth *items; /* NULL: not wanted */
	pid_t maker, consumer;
};

struct item {
	uint64_t index, value, steps;
};

static int64_t low(uint64_t value)
{
	return (int64_t)(value & UINT32_MAX);
}

/* The lock is held for half of a task's work. */
static uint64_t work_with_totals(const struct job *job, struct desk *desk)
{
	uint64_t value = workload_spin(job->seed, job->steps / 2), begin = workload_now();
	int64_t *total = intro_shared_array_data(desk->totals);

	if (intro_shared_array_lock(desk->totals, INTRO_FOREVER))
		return 0;
	if (job->truth)
		job->truth->lock_wait_ns += workload_now() - begin;
	value = workload_spin(value, job->steps - job->steps / 2);
	total[TASKS]++;
	total[VALUES] += low(value);
	intro_shared_array_unlock(desk->totals);
	return value;
}

/* job->ns is its index. */
static int task_share(struct intro_call *call)
{
	const struct job *job = job_of(call);
	struct desk *desk = job->shared;
	struct item item = {.index = job->ns, .steps = job->steps / 4 * 3};
	int err;

	truth_begin(job->truth, call);
	item.value = work_with_totals(job, desk);
	err = intro_manager_list_append(desk->manager, desk->list, &item.value, sizeof(item.value));
	truth_submit(desk->items ? &desk->items[item.index] : NULL, NULL);
	if (!err)
		err = intro_process_queue_put(desk->queue, &item, sizeof(item), INTRO_FOREVER);
	if (err) {
		truth_end(job->truth);
		intro_call_error(call, "%s", strerror(-err));
		return err;
	}
	return job_return(call, item.value);
}

static void consume(struct desk *desk)
{
	uint32_t pool = intro_process_queue_pool(desk->queue);
	struct item item;
	uint64_t result;
	size_t size;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != desk->maker)
		_exit(1);
	prctl(PR_SET_NAME, "items/0");
	intro_mark_worker_start(pool, 0);
	while (!intro_process_queue_get(desk->queue, &item, sizeof(item), &size, INTRO_FOREVER)) {
		struct truth *truth = desk->items ? &desk->items[item.index] : NULL;

		truth_begin_task(truth, intro_process_queue_task(desk->queue));
		result = workload_spin(item.value, item.steps);
		intro_shared_array_add(desk->totals, ITEMS, 1, NULL);
		intro_shared_array_add(desk->totals, RESULTS, low(result), NULL);
		truth_end(truth);
		intro_process_queue_task_done(desk->queue);
	}
	intro_mark_worker_stop(pool, 0);
	_exit(0);
}

/* 0, or 1 after a line on stderr. */
static int desk_open(struct desk *desk, const struct workload_run *run)
{
	struct intro_process_queue_options options = {
		.size = sizeof(options), .name = "items", .marked = true, .capacity = CAPACITY};

	desk->maker = getpid();
	desk->items = run->truth ? truth_new(run->tasks) : NULL;
	desk->totals = intro_shared_array_new(INTRO_SHARED_INT64, TOTALS, "totals");
	desk->queue = intro_process_queue_new(&options);
	desk->manager = intro_manager_new(NULL);
	if (!desk->totals || !desk->queue || !desk->manager || (run->truth && !desk->items))
		return workload_fail("nothing to be shared: %s", strerror(errno));
	errno = -intro_manager_make(desk->manager, INTRO_MANAGER_LIST, 0, &desk->list);
	if (!errno)
		desk->consumer = fork();
	if (errno || desk->consumer < 0)
		return workload_fail("nobody to share with: %s", strerror(errno));
	if (!desk->consumer)
		consume(desk);
	return 0;
}

/* Ends the consumer; 0, or 1 after a line on stderr. */
static int desk_end(struct desk *desk)
{
	int status = 0;

	if (desk->consumer <= 0)
		return 0;
	intro_process_queue_shutdown(desk->queue, false);
	if (waitpid(desk->consumer, &status, 0) != desk->consumer || status)
		return workload_fail("the consumer ended with status %d", status);
	return 0;
}

static void desk_close(struct desk *desk, uint32_t tasks)
{
	intro_manager_free(desk->manager);
	intro_process_queue_free(desk->queue);
	intro_shared_array_free(desk->totals);
	truth_free(desk->items, desk->items ? tasks : 0);
}

/* Adds what is in the list, and how many there are. */
static int sum_list(const struct desk *desk, int64_t *n, int64_t *sum)
{
	const void *at, *data;
	size_t left, size;
	uint64_t value;
	void *packed;
	int err = intro_manager_list_items(desk->manager, desk->list, &packed, &left);

	if (err)
		return workload_fail("the list: %s", strerror(-err));
	for (at = packed; intro_manager_unpack(&at, &left, &data, &size); ++*n) {
		memcpy(&value, data, size < sizeof(value) ? size : sizeof(value));
		*sum += low(value);
	}
	free(packed);
	return 0;
}

static int check(const struct desk *desk, const struct crew *crew)
{
	int64_t want[TOTALS] = {[TASKS] = (int64_t)crew->tasks, [ITEMS] = (int64_t)crew->tasks};
	int64_t got, n = 0, sum = 0;

	for (size_t i = 0; i < crew->tasks; i++) {
		const struct job *job = &crew->jobs[i];

		want[VALUES] += low(job->expect);
		want[RESULTS] += low(workload_spin_expect(job->expect, job->steps / 4 * 3));
	}
	for (int i = 0; i < TOTALS; i++)
		if (intro_shared_array_get(desk->totals, (size_t)i, &got, sizeof(got)) ||
		    got != want[i])
			return workload_fail("total %d is wrong", i);
	if (sum_list(desk, &n, &sum))
		return 1;
	return n == want[TASKS] && sum == want[VALUES] ? 0 : workload_fail("the list is wrong");
}

static int share_all(struct workload_run *run, struct desk *desk)
{
	struct task_kind kind = task_kind(task_share, "share");
	struct crew *crew =
		crew_new(run, INTRO_POOL_PROCESS, "shared", run->workers, run->tasks, desk);
	int status = !crew;

	for (uint32_t i = 0; i < run->tasks && !status; i++) {
		crew_job_spin(crew, workload_around(&run->seed, run->length_ns))->ns = i;
		status = crew_submit(crew, &kind);
	}
	if (crew)
		status |= crew_wait(crew);
	if (!status)
		intro_process_queue_join(desk->queue, INTRO_FOREVER);
	status |= desk_end(desk);
	if (!status)
		status = check(desk, crew);
	if (desk->items)
		truth_write(run->truth, "items", desk->items, run->tasks);
	crew_free(crew);
	return status;
}

int workload_shared_run(struct workload_run *run)
{
	struct desk desk = {0};
	int status = desk_open(&desk, run);

	if (!status)
		status = share_all(run, &desk);
	snprintf(run->note, sizeof(run->note), "; a manager's list, an array, a queue of %d",
		 CAPACITY);
	desk_close(&desk, run->tasks);
	return status;
}
