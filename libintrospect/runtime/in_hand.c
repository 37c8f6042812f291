/* SPDX-License-Identifier: BSD-2-Clause */
/* in_hand.c - which items a thread has in hand. See in_hand.h. */
#include "in_hand.h"

#include <introspect/mark.h>

#include "marks_private.h"

/* initial-exec: see marks.c. tid: a forked child has its parent's items in its memory, not in hand.
 */
#define IN_HAND 4
static __thread struct {
	uint32_t pool, tid;
	uint64_t task;
} in_hand[IN_HAND] __attribute__((tls_model("initial-exec")));

void intro__hand_end(uint32_t pool)
{
	for (int i = 0; i < IN_HAND; i++) {
		if (!in_hand[i].task || in_hand[i].pool != pool)
			continue;
		if (in_hand[i].tid == intro__tid())
			intro_mark_end(in_hand[i].task, INTRO_STATUS_OK, INTRO_END_RESULT);
		in_hand[i].task = 0;
		return;
	}
}

void intro__hand_start(uint32_t pool, uint64_t task)
{
	uint32_t tid = intro__tid();

	intro_mark_start(task, pool);
	for (int i = 0; i < IN_HAND; i++) {
		if (!in_hand[i].task || in_hand[i].tid != tid) {
			in_hand[i].pool = pool;
			in_hand[i].tid = tid;
			in_hand[i].task = task;
			return;
		}
	}
	intro_mark_end(task, INTRO_STATUS_OK, INTRO_END_RESULT);
}

uint64_t intro__hand_task(uint32_t pool)
{
	uint32_t tid = intro__tid();

	for (int i = 0; i < IN_HAND; i++) {
		if (in_hand[i].task && in_hand[i].pool == pool && in_hand[i].tid == tid)
			return in_hand[i].task;
	}
	return 0;
}
