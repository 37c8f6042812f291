/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_MARKS_PRIVATE_H
#define INTRO_RUNTIME_MARKS_PRIVATE_H
/* marks_private.h - what the executors use of the marks besides mark.h. */
#include <introspect/area.h>
#include <introspect/mark.h>

/* The area in use, attached or created at the first call; NULL: there is none. */
struct intro_area *intro__area(void);
/* A descriptor of it, closed on exec; -1: none (any more). */
int intro__area_fd(void);

/*
 * A number for an executor's pool, which no other live executor of this process tree has, whatever
 * their names. A released number is used again for a pool of the same name, kind and
 * size, so that a program which makes a pool for each request does not fill the table of
 * definitions.
 */
uint32_t intro__pool_claim(const char *name, uint32_t workers, enum intro_pool_kind kind);
void intro__pool_release(uint32_t pool);

/* The calling thread's slot becomes free, as at its end: for a process that ends by _exit. */
void intro__slot_release(void);

/* intro_mark_task, for whoever has no time for a call. */
struct mark_numbers {
	uint64_t next, end; /* of the calling thread's block */
};
extern __thread struct mark_numbers intro__mark_numbers __attribute__((tls_model("initial-exec")));
uint64_t intro__mark_task_slowly(void);

static inline uint64_t intro__mark_task(void)
{
	struct mark_numbers *numbers = &intro__mark_numbers;

	return __builtin_expect(numbers->next != numbers->end, 1) ? numbers->next++
								  : intro__mark_task_slowly();
}

/* The calling thread's tid without a system call. */
uint32_t intro__tid(void);

/*
 * The calling thread helps the pool: it is a worker from now on, until intro_mark_worker_stop.
 * false: nobody listens, or it is a worker of something already, and stays that.
 */
bool intro__mark_guest_start(uint32_t pool, uint32_t index);

#endif
