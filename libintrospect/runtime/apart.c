/* SPDX-License-Identifier: BSD-2-Clause */
/* apart.c - see apart.h. */
#include <errno.h>
#include <string.h>

#include "apart.h"
#include "join.h"

/* Of the thread, 0: of the caller's. false: there is no other CPU for it, or too many to tell. */
static bool find_others(struct apart *apart, pid_t tid, int from)
{
	if (from < 0 || sched_getaffinity(tid, sizeof(apart->before), &apart->before))
		return false;
	apart->others = apart->before;
	CPU_CLR(from, &apart->others);
	return CPU_ISSET(from, &apart->before) && CPU_COUNT(&apart->others);
}

/* Where the affinity is refused, glibc waits for the end of a thread that it has made already. */
static int create(const struct apart *apart, pthread_attr_t *attr, pthread_t *thread,
		  void *(*fn)(void *), void *arg)
{
	int was = intro__cancel_forbid();
	int err = pthread_attr_setaffinity_np(attr, sizeof(apart->others), &apart->others);

	if (!err)
		err = pthread_create(thread, attr, fn, arg);
	intro__cancel_allow(was);
	pthread_attr_destroy(attr);
	return err;
}

int intro__apart_create(struct apart *apart, pthread_t *thread, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	int saved = errno, err = EPERM;

	apart->is = find_others(apart, 0, sched_getcpu()) && !pthread_getattr_default_np(&attr);
	if (apart->is)
		err = create(apart, &attr, thread, fn, arg);
	if (err) /* else *apart is the thread's */
		apart->is = false;
	/* the CPUs were taken from us meanwhile, or it is not for us to choose */
	if (err && err != EAGAIN)
		err = pthread_create(thread, NULL, fn, arg);
	errno = saved;
	return err;
}

void intro__apart_move(struct apart *apart, pid_t tid, int from)
{
	int saved = errno;

	apart->is = find_others(apart, tid, from) &&
		    !sched_setaffinity(tid, sizeof(apart->others), &apart->others);
	errno = saved;
}

/* Whether it may run on these, and no others. */
static bool is_affinity(const cpu_set_t *set)
{
	cpu_set_t now;

	return !sched_getaffinity(0, sizeof(now), &now) && CPU_EQUAL(&now, set);
}

void intro__apart_end(struct apart *apart)
{
	cpu_set_t all;

	if (!apart->is)
		return;
	apart->is = false;
	/* somebody may have given it another one meanwhile */
	if (!is_affinity(&apart->others))
		return;
	/*
	 * Where it might run on all CPUs that it is given, now and later, it still may: an affinity
	 * that names those of now would keep it from what the cpuset gets.
	 */
	memset(&all, 0xff, sizeof(all));
	if (sched_setaffinity(0, sizeof(all), &all) || !is_affinity(&apart->before))
		sched_setaffinity(0, sizeof(apart->before), &apart->before);
}
