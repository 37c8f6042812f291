/* SPDX-License-Identifier: BSD-2-Clause */
/* function.c - functions by name, for workers that were spawned. See spawn.h. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "spawn_private.h"

#define FUNCTIONS 1024
#define OWN "introspect:"

struct function {
	const char *name;
	uint64_t number;
	void (*fn)(void);
};

/* Appended, never changed: read without the lock up to `count`. */
static struct {
	pthread_mutex_t lock;
	_Atomic unsigned count;
	struct function function[FUNCTIONS];
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void lock(void)
{
	pthread_mutex_lock(&known.lock);
}

static void unlock(void)
{
	pthread_mutex_unlock(&known.lock);
}

/*
 * A child forked while another thread registers must not find the lock held. Before main: a handler
 * that comes while a thread forks is not called in that child.
 */
__attribute__((constructor)) static void watch_forks(void)
{
	pthread_atfork(lock, unlock, unlock);
}

/* FNV-1a; never 0. */
static uint64_t number_of(const char *name)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
	return hash ? hash : 1;
}

/* The lock is held. */
static int add(const char *name, void (*fn)(void))
{
	unsigned n = atomic_load_explicit(&known.count, memory_order_relaxed);
	uint64_t number = number_of(name);

	for (unsigned i = 0; i < n; i++) {
		const struct function *f = &known.function[i];

		if (f->number == number)
			return f->fn == fn && !strcmp(f->name, name) ? 0 : -EEXIST;
	}
	if (n == FUNCTIONS)
		return -ENOSPC;
	known.function[n] = (struct function){.name = name, .number = number, .fn = fn};
	atomic_store_explicit(&known.count, n + 1, memory_order_release);
	return 0;
}

static int add_locked(const char *name, void (*fn)(void))
{
	int err;

	lock();
	err = add(name, fn);
	unlock();
	return err;
}

static int add_users(const char *name, void (*fn)(void))
{
	if (!name || !*name || !fn || !strncmp(name, OWN, strlen(OWN)))
		return -EINVAL;
	return add_locked(name, fn);
}

int intro_function_register(const char *name, intro_task_fn fn)
{
	return add_users(name, (void (*)(void))fn);
}

int intro_function_register_star(const char *name, intro_star_fn fn)
{
	return add_users(name, (void (*)(void))fn);
}

static void add_own(void)
{
	add_locked(OWN "chunk", (void (*)(void))intro__map_chunk);
	add_locked(OWN "star", (void (*)(void))intro__star);
}

static const struct function *find(void (*fn)(void), uint64_t number)
{
	unsigned n = atomic_load_explicit(&known.count, memory_order_acquire);

	for (unsigned i = 0; i < n; i++)
		if (fn ? known.function[i].fn == fn : known.function[i].number == number)
			return &known.function[i];
	return NULL;
}

static void learn_own(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, add_own);
}

uint64_t intro__function_wire(const struct intro_executor *executor, void (*fn)(void))
{
	const struct function *function;

	if (!executor->spawns)
		return (uint64_t)(uintptr_t)fn;
	learn_own();
	function = find(fn, 0);
	return function ? function->number : 0;
}

void (*intro__function_of(uint64_t wire, bool spawned))(void)
{
	const struct function *function;

	if (!spawned)
		return (void (*)(void))(uintptr_t)wire;
	learn_own();
	function = find(NULL, wire);
	return function ? function->fn : NULL;
}

int intro__not_registered(struct intro_call *call)
{
	intro_call_error(call, "its function is not registered in the worker");
	return -ENOENT;
}
