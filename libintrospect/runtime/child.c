/* SPDX-License-Identifier: BSD-2-Clause */
/* child.c - signals and end of forked workers. See child.h. */
#include "child.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
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

void intro__child_quit(int status)
{
	fflush(stdout);
	fflush(stderr);
	intro__slot_release();
	/*
	 * Not even _exit: a leak checker hooked into that would miss the threads that are not
	 * in this process, and take what they own for lost.
	 */
	syscall(SYS_exit_group, status);
	__builtin_unreachable();
}
