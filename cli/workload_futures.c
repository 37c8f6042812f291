/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tasks that wait for tasks: a total waits for its parts, which another pool works out. What comes
 * next is submitted by the callback of what came before, and waits for nobody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workload.h"

#define PARTS 8u /* of a total */

struct sheet {
	struct crew *parts, *totals, *receipts;
	pthread_mutex_t receipt; /* callbacks come from several workers */
	struct intro_done_callback *done;
	bool failed; /* under the mutex */
};

static int task_total(struct intro_call *call)
{
	const struct job *job = job_of(call);
	const struct sheet *sheet = job->shared;
	uint64_t sum = 0;

	truth_begin(job->truth, call);
	for (uint64_t i = 0; i < PARTS; i++) {
		struct intro_future *part = &sheet->parts->futures[job->steps * PARTS + i];
		struct intro_result result = {0};

		intro_future_result(part, INTRO_FOREVER, &result);
		sum += (uint64_t)(uintptr_t)result.data;
	}
	return job_return(call, sum);
}

static void write_receipt(struct intro_future *total, void *arg)
{
	struct sheet *sheet = arg;
	struct task_kind kind = task_kind(task_spin, "receipt");

	pthread_mutex_lock(&sheet->receipt);
	crew_job_spin(sheet->receipts, sheet->receipts->run->length_ns / 4);
	sheet->failed |= crew_submit(sheet->receipts, &kind) != 0;
	pthread_mutex_unlock(&sheet->receipt);
}

static int submit_total(struct workload_run *run, struct sheet *sheet, size_t n)
{
	const struct task_kind part = task_kind(task_spin, "part"),
			       total = task_kind(task_total, "total");
	uint64_t expect = 0;
	struct job *job;

	for (unsigned i = 0; i < PARTS; i++) {
		job = crew_job_spin(sheet->parts, workload_around(&run->seed, run->length_ns));
		expect += job->expect;
		if (crew_submit(sheet->parts, &part))
			return 1;
	}
	job = crew_job(sheet->totals);
	job->steps = n;
	job->expect = expect;
	sheet->done[n] = (struct intro_done_callback){.fn = write_receipt, .arg = sheet};
	intro_future_add_done_callback(&sheet->totals->futures[n], &sheet->done[n]);
	return crew_submit(sheet->totals, &total);
}

/* Takes the totals as they come: each once. */
static int take_totals(struct sheet *sheet)
{
	size_t n = sheet->totals->submitted, index, taken = 0;
	struct intro_future **futures = calloc(n ? n : 1, sizeof(struct intro_future *));
	struct intro_as_completed *it;

	for (size_t i = 0; futures && i < n; i++)
		futures[i] = &sheet->totals->futures[i];
	it = futures ? intro_as_completed_new(futures, n) : NULL;
	while (it && intro_as_completed_next(it, INTRO_FOREVER, &index) == 1)
		taken++;
	intro_as_completed_free(it);
	free(futures);
	return taken == n ? 0 : workload_fail("futures: %zu of %zu totals came", taken, n);
}

static int run_sheet(struct workload_run *run, struct sheet *sheet, size_t totals)
{
	int status = 0;

	sheet->done = calloc(totals, sizeof(*sheet->done));
	if (!sheet->done)
		return workload_fail("out of memory");
	sheet->parts =
		crew_new(run, INTRO_POOL_THREAD, "parts", run->workers, totals * PARTS, NULL);
	if (sheet->parts)
		sheet->totals =
			crew_new(run, INTRO_POOL_THREAD, "totals", run->workers, totals, sheet);
	if (sheet->totals)
		sheet->receipts = crew_new(run, INTRO_POOL_THREAD, "receipts", 1, totals, NULL);
	if (!sheet->receipts)
		return 1;
	for (size_t i = 0; i < totals && !status; i++)
		status = submit_total(run, sheet, i);
	status |= take_totals(sheet);
	status |= crew_wait(sheet->parts);
	status |= crew_wait(sheet->totals);
	return status;
}

int workload_futures_run(struct workload_run *run)
{
	struct sheet sheet = {.receipt = PTHREAD_MUTEX_INITIALIZER};
	size_t totals = (run->tasks + PARTS - 1) / PARTS;
	int status = run_sheet(run, &sheet, totals);

	/* whose workers run the callbacks must be gone before the receipts are counted */
	crew_free(sheet.totals);
	if (sheet.receipts) {
		status |= crew_wait(sheet.receipts) | sheet.failed;
		if (!status && sheet.receipts->submitted != totals)
			status = workload_fail("futures: %zu receipts for %zu totals",
					       sheet.receipts->submitted, totals);
	}
	crew_free(sheet.receipts);
	crew_free(sheet.parts);
	free(sheet.done);
	run->tasks = (uint32_t)(totals * PARTS);
	snprintf(run->note, sizeof(run->note),
		 "; %zu totals waited for %u parts each, and had a receipt each", totals, PARTS);
	return status;
}
