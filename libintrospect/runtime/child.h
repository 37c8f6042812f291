/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_CHILD_H
#define INTRO_RUNTIME_CHILD_H
/* child.h - what every forked worker does about signals and its end, and every thread of the
 * runtime about signals. */
#include <signal.h>
#include <stddef.h>

/*
 * Blocks all signals but those of faults, for a thread that is to be made: the program's signals
 * are for the program's threads. `old` is to be restored after.
 */
void intro__signals_block(sigset_t *old);

/*
 * In a forked worker: the program's handlers are not its own, what was handled is back at its
 * default; SIGINT is ignored, since a terminal sends it to the parent as well, and the parent
 * decides. Handlers of faults stay: they are a sanitizer's or a crash reporter's. Sets `mask`.
 */
void intro__child_signals(const sigset_t *mask);

/* Ends a forked worker: flushes the standard streams, runs nothing of the program's. */
void intro__child_quit(int status) __attribute__((noreturn));
/* The same for one that came back to what is its parent's: it flushes and releases nothing of that.
 */
void intro__child_vanish(int status) __attribute__((noreturn));

/*
 * Waits for the end of the child, and says how: "was killed by signal 9 (SIGKILL)". 1: it exited
 * with status 0; 0: not so; -errno: its status is not to be had, which `how` says too.
 */
int intro__child_wait(int pidfd, char *how, size_t size);

#endif
