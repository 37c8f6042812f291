/* SPDX-License-Identifier: BSD-2-Clause */
/* A process pool's map over ranges: the sums of 10 000 001, 10 000 002, ... squares. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/process_pool.h>

#include "workload.h"

/* Sums are taken modulo this, so that none overflows, and each square needs the sum before. */
#define MODULUS 1000000007ull
#define SQUARE_NS 4

struct range {
	struct truth *truth; /* NULL: not wanted */
	uint64_t n;	     /* 0 .. n - 1 */
};

static uint64_t sum_squares(uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum = (sum + i * i) % MODULUS;
	return sum;
}

static uint64_t sum_expected(uint64_t n)
{
	return (uint64_t)((unsigned __int128)n * (n - 1) * (2 * n - 1) / 6 % MODULUS);
}

static int range_run(struct intro_call *call)
{
	const struct range *range = call->arg;
	uint64_t sum;

	truth_begin(range->truth, call);
	sum = sum_squares(range->n);
	truth_end(range->truth);
	return intro_call_return(call, &sum, sizeof(sum));
}

struct squares_check {
	const struct range *ranges;
	uint32_t right;
};

static int range_done(size_t index, const struct intro_result *result,
		      const struct intro_error *error, void *ctx)
{
	struct squares_check *check = ctx;
	uint64_t sum;

	if (!result || result->size != sizeof(sum))
		return workload_fail("squares, range %zu: %s", index, error ? error->text : "?");
	memcpy(&sum, result->data, sizeof(sum));
	if (sum != sum_expected(check->ranges[index].n))
		return workload_fail("squares, range %zu: wrong sum", index);
	check->right++;
	return 0;
}

/* Nanoseconds that the map took, in *took. */
static int map_ranges(struct workload_run *run, const struct range *ranges, uint64_t *took)
{
	struct intro_process_pool_options options = {
		.size = sizeof(options), .name = "squares", .workers = run->workers};
	struct squares_check check = {.ranges = ranges};
	uint64_t begin = workload_now();
	struct intro_process_pool *pool = intro_process_pool_new(&options);
	int err;

	if (!pool)
		return workload_fail("cannot make a pool of %u processes: %s", run->workers,
				     strerror(errno));
	err = intro_process_pool_map(pool, range_run, ranges, run->tasks, sizeof(*ranges), 1,
				     INTRO_FOREVER, range_done, &check);
	*took = workload_now() - begin;
	if (err < 0)
		err = workload_fail("squares: %s", strerror(-err));
	if (!err && check.right != run->tasks)
		err = workload_fail("squares: %u of %u sums came back", check.right, run->tasks);
	if (run->truth) {
		truth_write(run->truth, "squares", ranges[0].truth, run->tasks);
		truth_write_threads(run->truth, "squares", ranges[0].truth, run->tasks);
	}
	intro_process_pool_free(pool);
	return err;
}

int workload_squares_run(struct workload_run *run)
{
	struct range *ranges = calloc(run->tasks, sizeof(*ranges));
	struct truth *truths = NULL;
	uint64_t begin, alone, took = 0;
	int status;

	if (ranges && run->truth)
		truths = truth_new(run->tasks);
	if (!ranges || (run->truth && !truths)) {
		free(ranges);
		return workload_fail("out of memory");
	}
	for (uint32_t i = 0; i < run->tasks; i++)
		ranges[i] = (struct range){.truth = truths ? &truths[i] : NULL,
					   .n = run->length_ns / SQUARE_NS + 1 + i};
	begin = workload_now();
	status = sum_squares(ranges[0].n) == sum_expected(ranges[0].n)
			 ? map_ranges(run, ranges, &took)
			 : workload_fail("squares: wrong sum");
	alone = workload_now() - begin - took;
	snprintf(run->note, sizeof(run->note),
		 "; %ju to %ju squares: one sum alone %.0f ms, the map of all %.0f ms",
		 (uintmax_t)ranges[0].n, (uintmax_t)ranges[run->tasks - 1].n, (double)alone / 1e6,
		 (double)took / 1e6);
	truth_free(truths, run->tasks);
	free(ranges);
	return status;
}
