/* SPDX-License-Identifier: BSD-2-Clause */
/* libgomp's tasks: the submitter is one of the two who run them. */
#include "pools.h"

void pool_run(size_t n, void (*fn)(size_t i))
{
#pragma omp taskgroup
	for (size_t i = 0; i < n; i++) {
#pragma omp task firstprivate(i)
		fn(i);
	}
}

int main(void)
{
#pragma omp parallel num_threads(POOL_WORKERS)
#pragma omp single
	pools_measure();
	return 0;
}
