/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_RT_SUPPORT_H
#define TESTS_RT_SUPPORT_H
/* rt_support.h - what the tests of the runtime share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#include <introspect/executor.h>
#include <introspect/mark.h>

#define MSEC 1000000ll
#define SEC 1000000000ll

#define POOL_OPTIONS(...)                                                                          \
	(&(struct intro_executor_options){.size = sizeof(struct intro_executor_options),           \
					  __VA_ARGS__})

/* Ends the test program with a failure when it is not done after `seconds`. */
void watchdog(unsigned seconds);

/* How long a stress test is to last: INTRO_STRESS_SECONDS, or `unless`. */
unsigned stress_seconds(unsigned unless);

/*
 * Gives this program an area of marks that no tracer finds by its name: one that traces the
 * whole machine at the same time would read the rings under our hands. To be called first.
 */
void private_area(void);

int64_t now_ns(void);
int64_t cpu_ns(void); /* of the whole process */
void sleep_ms(unsigned ms);

/* Throws away what the rings hold, and turns marks on. */
void marks_begin(void);
/* Turns marks off; all of this process tree since marks_begin, by time. The caller frees. */
struct intro_rec_mark *marks_end(size_t *n);
/* The first of that kind for that task (any task: 0), from index `from` on; or -1. */
int marks_find(const struct intro_rec_mark *m, size_t n, size_t from, uint8_t kind, uint64_t task);
unsigned marks_count(const struct intro_rec_mark *m, size_t n, uint8_t kind, uint64_t task);

/* How many definitions say that this address (NULL: any) is a lock of that name. */
unsigned locks_told(const void *address, const char *name);
/* So long that it is told, also of one who is preempted on its way to sleep. */
#define LONG_WAIT (100 * MSEC)

/* Until the thread sleeps in a futex, as far as that can be seen. */
void until_asleep(uint32_t tid);

/* Threads of this process whose name begins so; children (zombies too) of this process; open fds.
 */
unsigned count_threads(const char *prefix);
/* The same once the joined are gone: the kernel shows them a moment longer. */
unsigned count_threads_left(const char *prefix);
unsigned count_children(void);
unsigned count_fds(void);

/* Initialises the future and submits it, which must succeed. */
void submit_new(struct intro_executor *e, struct intro_future *f, intro_task_fn fn, const void *arg,
		size_t size);
/* Runs fn, whose result is `size` bytes, and copies that. */
void result_of(struct intro_executor *e, intro_task_fn fn, void *result, size_t size);

/* For a test that stands in for syscall: the C library's, with the six arguments that it was given.
 */
long real_syscall(long number, va_list args);

/* A task. */
int nothing(struct intro_call *call);

/*
 * Ends the thread, with a handler that is never popped: the C library's list of them leads into the
 * dead stack.
 */
void end_thread(void);
/* A task that does that. */
int exits(struct intro_call *call);

/* A gate that tasks wait at; also in other processes, when it is in shared memory. */
struct gate {
	_Atomic uint32_t open;
	_Atomic uint32_t waiting;
};
struct gate *gate_new_shared(void); /* never freed */
void gate_wait(struct gate *gate);
void gate_open(struct gate *gate);
/* Until n wait at it. */
void gate_expect(struct gate *gate, unsigned n);
/* A task: waits at the gate that is its argument. */
int wait_at(struct intro_call *call);

/* Who ran a task, and how often. */
struct seen {
	pthread_t thread;
	unsigned index;
	char worker[32];
	_Atomic int ran;
};
/* A task: fills in the struct seen that is its argument; its first 5 bytes are the result. */
int look(struct intro_call *call);

#endif
