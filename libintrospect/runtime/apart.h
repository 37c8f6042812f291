/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_APART_H
#define INTRO_RUNTIME_APART_H
/*
 * apart.h - a thread that begins on another CPU than its creator's.
 *
 * Whoever starts a worker goes on running: it submits more, or runs tasks itself. The kernel may
 * all the same put the new thread behind it, on the same CPU, until its slice is over or another
 * CPU looks for work. On a virtual machine of two CPUs (Linux 6.18 under KVM), where the creator
 * had slept 5 ms before, that was so 198 times of 200: the thread began after 2.8 ms, and now and
 * then after 10, while the other CPU had nothing to do. Apart it begins there after 0.1 ms.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

struct apart {
	bool is; /* it has not the affinity of its creator yet */
	cpu_set_t creators;
};

/*
 * As pthread_create, with the attributes that are the default. `apart` stays until the new thread
 * has called intro__apart_end, which is to be the first thing that it does.
 */
int intro__apart_create(struct apart *apart, pthread_t *thread, void *(*fn)(void *), void *arg);
/* From here on the calling thread may run wherever its creator might. */
void intro__apart_end(const struct apart *apart);

#endif
