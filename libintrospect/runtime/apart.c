/* SPDX-License-Identifier: BSD-2-Clause */
/* apart.c - see apart.h. */
#include <errno.h>
#include <string.h>

#include "apart.h"

/* false: there is no other CPU for it, or too many to tell. */
static bool find_others(struct apart *apart, cpu_set_t *others)
{
	int here = sched_getcpu();

	if (here < 0 || sched_getaffinity(0, sizeof(apart->creators), &apart->creators))
		return false;
	*others = apart->creators;
	CPU_CLR(here, others);
	return CPU_COUNT(others) > 0;
}

int intro__apart_create(struct apart *apart, pthread_t *thread, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	cpu_set_t others;
	int err;

	apart->is = find_others(apart, &others) && !pthread_attr_init(&attr);
	if (!apart->is)
		return pthread_create(thread, NULL, fn, arg);
	err = pthread_attr_setaffinity_np(&attr, sizeof(others), &others);
	if (!err)
		err = pthread_create(thread, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	if (!err || err == EAGAIN)
		return err;
	/* the CPUs were taken from us meanwhile, or we may not say where a thread is to run */
	apart->is = false;
	return pthread_create(thread, NULL, fn, arg);
}

void intro__apart_end(const struct apart *apart)
{
	cpu_set_t all, now;

	if (!apart->is)
		return;
	/*
	 * Where its creator may run on all CPUs that it is given, now and later, this does: an
	 * affinity that names those of now would keep it from what the cpuset gets.
	 */
	memset(&all, 0xff, sizeof(all));
	if (sched_setaffinity(0, sizeof(all), &all) || sched_getaffinity(0, sizeof(now), &now) ||
	    !CPU_EQUAL(&now, &apart->creators))
		sched_setaffinity(0, sizeof(apart->creators), &apart->creators);
}
