/* SPDX-License-Identifier: BSD-2-Clause */
/* child.c - signals and end of forked workers. See child.h. */
#include "child.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "marks_private.h"

static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static bool is_fault(int sig)
{
	for (size_t i = 0; i < FAULTS; i++)
		if (sig == faults[i])
			return true;
	return false;
}

void intro__signals_block(sigset_t *old)
{
	sigset_t blocked;

	sigfillset(&blocked);
	for (size_t i = 0; i < FAULTS; i++)
		sigdelset(&blocked, faults[i]);
	pthread_sigmask(SIG_SETMASK, &blocked, old);
}

void intro__child_signals(const sigset_t *mask)
{
	struct sigaction action;

	for (int sig = 1; sig < NSIG; sig++) {
		if (is_fault(sig) || sigaction(sig, NULL, &action))
			continue;
		if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)
			signal(sig, SIG_DFL);
	}
	signal(SIGINT, SIG_IGN);
	pthread_sigmask(SIG_SETMASK, mask, NULL);
}

void intro__child_vanish(int status)
{
	/*
	 * Not even _exit: a leak checker hooked into that would miss the threads that are not
	 * in this process, and take what they own for lost.
	 */
	syscall(SYS_exit_group, status);
	__builtin_unreachable();
}

void intro__child_quit(int status)
{
	fflush(stdout);
	fflush(stderr);
	intro__slot_release();
	intro__child_vanish(status);
}

int intro__child_wait(int pidfd, char *how, size_t size)
{
	siginfo_t info = {0};
	const char *name;
	int err;

	do
		err = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) ? errno : 0;
	while (err == EINTR);
	if (err) {
		snprintf(how, size, "is gone, its status was taken by other code");
		return -err;
	}
	if (info.si_code == CLD_EXITED) {
		snprintf(how, size, "exited with status %d", info.si_status);
		return info.si_status == 0;
	}
	name = sigabbrev_np(info.si_status);
	snprintf(how, size, "was killed by signal %d (%s%s)%s", info.si_status, name ? "SIG" : "",
		 name ? name : "unknown", info.si_code == CLD_DUMPED ? ", core dumped" : "");
	return 0;
}
