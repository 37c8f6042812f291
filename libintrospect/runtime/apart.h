/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_APART_H
#define INTRO_RUNTIME_APART_H
/*
 * apart.h - threads that run on another CPU than who started or woke them.
 *
 * Who starts or wakes a worker may go on running: where waiters help, it runs tasks itself. The
 * kernel may all the same put the worker behind it, on the same CPU, until its slice is over or
 * another CPU looks for work. In a virtual machine an idle CPU is one that its host has taken
 * away, and so none that a waker prefers. On one of two CPUs (Linux 6.18 under KVM), a thread
 * whose creator had slept 5 ms before began after 2.8 ms in 198 of 200 cases, and now and then
 * after 10, while the other CPU had nothing to do. Apart it begins there after 0.1 ms.
 *
 * That takes an affinity without that CPU, which the worker gives back as its first act.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

/* Of a worker; for one at a time who starts or wakes it, and then for the worker. */
struct apart {
	bool is; /* it has `others`, and is to have `before` again */
	cpu_set_t before, others;
};

/* As pthread_create, with the attributes that are the default. */
int intro__apart_create(struct apart *apart, pthread_t *thread, void *(*fn)(void *), void *arg);
/* The thread was woken on CPU `from` and has not begun to run: not there, if there is another. */
void intro__apart_move(struct apart *apart, pid_t tid, int from);
/* The calling thread was started, or woken and moved: it may run wherever it might before. */
void intro__apart_end(struct apart *apart);

#endif
