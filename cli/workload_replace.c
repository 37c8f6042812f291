/* SPDX-License-Identifier: BSD-2-Clause */
/* A process pool that outlives its workers: each ends after some tasks, and one dies in its task.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/process_pool.h>

#include "workload.h"

#define TASKS_A_WORKER 25

struct replace_item {
	struct truth *truth; /* NULL: not wanted */
	uint64_t seed, steps;
	bool deadly;
};

static int item_run(struct intro_call *call)
{
	const struct replace_item *item = call->arg;
	uint64_t value;

	truth_begin(item->truth, call);
	value = workload_spin(item->seed, item->steps);
	if (item->deadly)
		raise(SIGKILL);
	truth_end(item->truth);
	return intro_call_return(call, &value, sizeof(value));
}

/* How many are lost; -1 after a line on stderr. */
static int check_all(struct intro_imap *it, const struct replace_item *items, uint32_t n)
{
	struct intro_imap_item got;
	uint64_t value;
	int lost = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (intro_imap_next(it, INTRO_FOREVER, &got) != 1)
			return workload_fail("item %u never came", i), -1;
		if (got.error.code == -EOWNERDEAD && items[got.index].deadly) {
			lost++;
			continue;
		}
		if (got.error.code)
			return workload_fail("item %zu: %s", got.index, got.error.text), -1;
		memcpy(&value, got.result.data, sizeof(value));
		if (value != workload_spin_expect(items[got.index].seed, items[got.index].steps))
			return workload_fail("item %zu: wrong result", got.index), -1;
	}
	return lost;
}

static int replace_all(struct workload_run *run, struct replace_item *items)
{
	struct intro_process_pool_options options = {.size = sizeof(options),
						     .name = "replace",
						     .workers = run->workers,
						     .max_tasks_per_worker = TASKS_A_WORKER};
	struct intro_process_pool *pool = intro_process_pool_new(&options);
	struct intro_imap *it;
	int lost = -1;

	if (!pool)
		return workload_fail("cannot make a pool of %u workers: %s", run->workers,
				     strerror(errno));
	it = intro_process_pool_imap_unordered(pool, item_run, items, run->tasks, sizeof(*items),
					       1);
	if (it)
		lost = check_all(it, items, run->tasks);
	else
		workload_fail("the pool takes no items: %s", strerror(errno));
	intro_imap_free(it);
	intro_process_pool_close(pool);
	intro_process_pool_join(pool);
	intro_process_pool_free(pool);
	if (lost < 0)
		return 1;
	if (lost != 1)
		return workload_fail("%d tasks were lost, and not 1", lost);
	snprintf(run->note, sizeof(run->note), "; one task was lost with its worker, as it must");
	return 0;
}

int workload_replace_run(struct workload_run *run)
{
	struct replace_item *items = calloc(run->tasks, sizeof(*items));
	struct truth *truths = run->truth ? truth_new(run->tasks) : NULL;
	int status;

	if (!items || (run->truth && !truths)) {
		free(items);
		truth_free(truths, run->tasks);
		return workload_fail("out of memory");
	}
	for (uint32_t i = 0; i < run->tasks; i++) {
		items[i].truth = truths ? &truths[i] : NULL;
		items[i].seed = workload_random(&run->seed);
		items[i].steps =
			(uint64_t)((double)workload_around(&run->seed, run->length_ns) * run->rate);
		items[i].deadly = i == run->tasks / 2;
	}
	status = replace_all(run, items);
	if (truths)
		truth_write(run->truth, "replace", truths, run->tasks);
	truth_free(truths, run->tasks);
	free(items);
	return status;
}
