/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_MEMBARRIER_H
#define INTRO_RUNTIME_MEMBARRIER_H
/*
 * membarrier.h - a fence between two threads for which one of them pays, in membarrier(2). The
 * other, which comes by often, needs only keep its compiler from changing the order.
 */
#include <linux/membarrier.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether there is such a thing here: to be asked before. In a process with threads it may take
 * some ms, once. */
static inline bool intro__membarrier_register(void)
{
	return !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

/* A sequentially consistent fence in each thread of this process. */
static inline void intro__membarrier(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

#endif
