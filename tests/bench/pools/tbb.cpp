/* SPDX-License-Identifier: BSD-2-Clause */
/* oneTBB's task_group: the submitter is one of the two who run tasks. */
#include <tbb/global_control.h>
#include <tbb/task_group.h>

#include "pools.h"

static tbb::task_group *group;

void pool_run(size_t n, void (*fn)(size_t i))
{
	for (size_t i = 0; i < n; i++) {
		pool_submits(i);
		group->run([=] { fn(i); });
	}
	group->wait();
}

int main(int argc, char **argv)
{
	tbb::global_control most(tbb::global_control::max_allowed_parallelism, POOL_WORKERS);
	tbb::task_group all;

	group = &all;
	pools_measure(argv + 1);
	return 0;
}
