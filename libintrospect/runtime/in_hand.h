/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_IN_HAND_H
#define INTRO_RUNTIME_IN_HAND_H
/* in_hand.h - the marked items that a thread got from queues and is not done with. */
#include <stdint.h>

/* The calling thread begins with an item of the queue whose pool this is. */
void intro__hand_start(uint32_t pool, uint64_t task);
/* It is done with that, if it has one. */
void intro__hand_end(uint32_t pool);
/* The task of that item; 0: it has none. */
uint64_t intro__hand_task(uint32_t pool);

#endif
