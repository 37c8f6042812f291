/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_TASK_GROUP_H
#define INTROSPECT_TASK_GROUP_H
/*
 * task_group.h - tasks of an executor that are waited for together, without a future for each.
 *
 *	struct intro_task_group *group = intro_task_group_new(executor);
 *
 *	for (size_t i = 0; i < n; i++)
 *		intro_task_group_run(group, square, &numbers[i], sizeof(numbers[i]));
 *	intro_task_group_wait(group, INTRO_FOREVER, NULL);
 *	intro_task_group_free(group);
 *
 * As OpenMP's taskgroup and oneTBB's task_group. A failure does not cancel the other tasks by
 * itself; with intro_task_group_cancel it does, as in asyncio's TaskGroup. What tasks return is not
 * kept: they leave it where their argument says.
 *
 * Where the pool's callers run tasks (caller_runs in executor.h) a task that the caller runs needs
 *no future at all: that is the cheapest way to have a short one done. What is queued takes a future
 *of the group's, which is used again once that task is over. So a group's memory grows with what
 *waits at a time, not with what was run.
 *
 * A group is for one thread at a time. It is freed before its executor. Times are relative
 * nanoseconds, errors negative errno values.
 */
#include <introspect/executor.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct intro_task_group;

/* NULL and errno: ENOMEM. */
struct intro_task_group *intro_task_group_new(struct intro_executor *executor);
/* Cancels what has not begun, waits for the rest, frees. NULL is fine. */
void intro_task_group_free(struct intro_task_group *group);

/*
 * Hands fn to the executor, or runs it on the spot where intro_executor_submit would. 0, also when
 * the task fails; else it will not run: as intro_executor_submit; -EBUSY also in a task that a wait
 * for this group runs.
 */
int intro_task_group_run(struct intro_task_group *group, intro_task_fn fn, const void *arg,
			 size_t size);
/* The same under a name for the task (intro_mark_name), which reports group by. */
int intro_task_group_run_named(struct intro_task_group *group, uint32_t name, intro_task_fn fn,
			       const void *arg, size_t size);

/*
 * Waits for all that were run since the last wait. 0: none has failed. -ETIMEDOUT, -ENOMEM: may be
 * called again; -EDEADLK: in a task that a run or a wait of this group runs; -ESHUTDOWN: in a
 * forked child, where nobody runs what the parent has in it. Else all are over, and one failed: its
 * code when that is negative, -EREMOTEIO when it is not, and what it says in *error (may be NULL),
 * which is of one of them where several have failed; -ECANCELED: none did, some were cancelled. The
 * group is empty then and can be used again. In all other cases error->code is 0, by which a task's
 * own -ETIMEDOUT is told from that of the wait.
 */
int intro_task_group_wait(struct intro_task_group *group, int64_t timeout_ns,
			  struct intro_error *error);

/* Cancels what has not begun. */
void intro_task_group_cancel(struct intro_task_group *group);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
