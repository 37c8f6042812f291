/* SPDX-License-Identifier: BSD-2-Clause */
/* libgomp's tasks: the submitter is one of the two who run them. */
#include "pools.h"

void pool_run(size_t n, void (*fn)(size_t i))
{
#pragma omp taskgroup
	for (size_t i = 0; i < n; i++) {
		pool_submits(i);
#pragma omp task firstprivate(i)
		fn(i);
	}
}

int main(int argc, char **argv)
{
#pragma omp parallel num_threads(POOL_WORKERS)
#pragma omp single
	pools_measure(argv + 1);
	return 0;
}
