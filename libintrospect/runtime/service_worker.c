/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_worker.c - the worker's side of a service.
 *
 * The main thread is the service's; a second one takes signals and watches the manager's life. Once
 * an end was asked for a timer kills the process when the time-out is over: nothing that the
 * service's functions do can hold it up, and it needs no manager for that.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "futex.h"
#include "marks_private.h"
#include "service_private.h"

/* The manager's KILL, which comes after the time-out, shall find it alive. */
#define LATER_NS (NSEC_PER_SEC / 2)

struct service_worker {
	struct intro_service_worker public;
	const struct service_birth *birth;
	int signals;		     /* signalfd */
	int stop;		     /* eventfd */
	_Atomic uint32_t stopping;   /* the futex */
	_Atomic uint32_t terminated; /* `terminate` has returned; a futex */
};

static struct service_worker *worker_of(const struct intro_service_worker *w)
{
	return w->runtime;
}

bool intro_service_stopping(const struct intro_service_worker *w)
{
	return atomic_load_explicit(&worker_of(w)->stopping, memory_order_acquire);
}

bool intro_service_wait(const struct intro_service_worker *w, int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	int err = 0;

	while (!intro_service_stopping(w) && err != -ETIMEDOUT)
		err = intro__futex_wait(&worker_of(w)->stopping, 0, deadline);
	return intro_service_stopping(w);
}

int intro_service_stop_fd(const struct intro_service_worker *w)
{
	return worker_of(w)->stop;
}

static void raise_flag(_Atomic uint32_t *word)
{
	atomic_store_explicit(word, 1, memory_order_release);
	intro__futex_wake(word);
}

static void kill_after(int64_t ns)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
	struct itimerspec when = {
		.it_value = {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC}};
	timer_t timer;

	/* without a timer the manager's KILL is left */
	if (!timer_create(CLOCK_MONOTONIC, &event, &timer))
		timer_settime(timer, 0, &when, NULL);
}

static void begin_end(struct service_worker *w)
{
	const struct intro_service *service = w->birth->service;
	uint64_t one = 1;

	if (intro_service_stopping(&w->public))
		return;
	kill_after(service->graceful_timeout_ns + LATER_NS);
	raise_flag(&w->stopping);
	(void)!write(w->stop, &one, sizeof(one));
	if (service->terminate)
		service->terminate(&w->public);
	raise_flag(&w->terminated);
}

static void take_signal(struct service_worker *w)
{
	const struct intro_service *service = w->birth->service;
	struct signalfd_siginfo info;

	if (read(w->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP && service->reload)
		service->reload(&w->public);
	else
		begin_end(w);
}

/* One of the service's functions has ended its thread, which the worker cannot do without. */
static void thread_ends(void *arg)
{
	intro__child_quit(1);
}

static void *control_main(void *arg)
{
	struct service_worker *w = arg;
	struct pollfd polled[2] = {{.fd = w->signals, .events = POLLIN}, {.fd = w->birth->life}};

	prctl(PR_SET_NAME, "control");
	pthread_cleanup_push(thread_ends, NULL);
	for (;;) {
		if (poll(polled, 2, -1) < 0)
			continue;
		if (polled[0].revents)
			take_signal(w);
		if (polled[1].revents) {
			polled[1].fd = -1;
			begin_end(w);
		}
	}
	pthread_cleanup_pop(0);
	return NULL;
}

/* Signals are for the control thread; what the service's own thread blocks is as the manager was.
 */
static int start_control(struct service_worker *w)
{
	sigset_t taken, mask = w->birth->signals;
	pthread_t control;
	int err;

	sigemptyset(&taken);
	sigaddset(&taken, SIGTERM);
	sigaddset(&taken, SIGHUP);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	/* an ignored signal never reaches the descriptor */
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	w->signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	w->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->signals < 0 || w->stop < 0)
		return -errno;
	err = -pthread_create(&control, NULL, control_main, w);
	intro__child_signals(&mask);
	return err;
}

static int run(struct service_worker *w)
{
	const struct intro_service *service = w->birth->service;
	int code;

	if (!service->run)
		return 0;
	pthread_cleanup_push(thread_ends, NULL);
	code = service->run(&w->public);
	pthread_cleanup_pop(0);
	return code;
}

void intro__service_worker(const struct service_birth *birth)
{
	struct service_worker worker = {
		.birth = birth,
		.public = {.service = birth->name,
			   .index = birth->index,
			   .pool = birth->pool,
			   .arg = birth->service->arg},
	};
	struct service_worker *w = &worker;
	uint32_t forks;
	char comm[16];
	int code;

	/* the pipe tells as well; but not of a manager whose pipe something else has inherited */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != birth->parent)
		_exit(1);
	__fpurge(stdout);
	__fpurge(stderr);
	w->public.runtime = w;
	intro__numbered_name(birth->name, birth->index, comm, sizeof(comm));
	prctl(PR_SET_NAME, comm);
	if (start_control(w))
		intro__child_quit(1);
	intro_mark_worker_start(birth->pool, birth->index);
	forks = intro__forks();
	code = run(w);
	/* a child of its own, in which nobody takes signals, and which is not the manager's */
	if (intro__forks() != forks)
		intro__child_vanish(code & 0xff);
	if (!code) {
		intro_service_wait(&w->public, INTRO_FOREVER);
		while (!atomic_load_explicit(&w->terminated, memory_order_acquire))
			intro__futex_wait(&w->terminated, 0, INTRO_FOREVER);
	}
	intro_mark_worker_stop(birth->pool, birth->index);
	intro__child_quit(!code ? 0 : code & 0xff ? code & 0xff : 1);
}
