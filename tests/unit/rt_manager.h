/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_RT_MANAGER_H
#define TESTS_RT_MANAGER_H
/* rt_manager.h - what the tests of managers share. */
#include "rt_support.h"

#include <sys/types.h>

#include <introspect/manager.h>

#define OPTIONS(...)                                                                               \
	(&(struct intro_manager_options){.size = sizeof(struct intro_manager_options), __VA_ARGS__})

/* The one under test. */
extern struct intro_manager *m;

int manager_setup(void **state);
int manager_teardown(void **state);

uint64_t make(enum intro_manager_kind kind, uint64_t capacity);
size_t length(uint64_t object);
int append(uint64_t list, const char *text);
void reap(pid_t pid, int status);

/* err is 0, and data is this text; frees it. */
void is_text(int err, void *data, size_t size, const char *text);
/* Of a call that stores to the caller's `data` and `size`. */
#define expect_text(text, call)                                                                    \
	do {                                                                                       \
		int got = call;                                                                    \
                                                                                                   \
		is_text(got, data, size, text);                                                    \
	} while (0)

/* Of a thread: gets from the queue whose number is at `queue`; returns the error. */
void *manager_waits_for_item(void *queue);
/* A connection by hand; *code: what its first reply says. */
int manager_raw_connect(int *code);
pid_t manager_pid(void);

#define TEST(name) cmocka_unit_test_setup_teardown(name, manager_setup, manager_teardown)

#endif
