/* SPDX-License-Identifier: BSD-2-Clause */
/* thread_local.c - a value for each thread. */
#include <errno.h>
#include <stdlib.h>

#include "threads_private.h"

/* As often as POSIX asks for keys of its own. */
#define ROUNDS 4

struct intro_local {
	intro_local_destructor destructor;
	struct local_values values; /* of all threads, by of_local */
};

struct intro_local *intro_local_new(intro_local_destructor destructor)
{
	struct intro_local *local = calloc(1, sizeof(*local));

	if (!local)
		return NULL;
	local->destructor = destructor;
	LIST_INIT(&local->values);
	return local;
}

/* The lock is held. The value, which is nobody's from here on. */
static void *take(struct local_value *v)
{
	void *value = v->value;

	LIST_REMOVE(v, of_local);
	atomic_store_explicit(&v->local, NULL, memory_order_relaxed);
	v->value = NULL;
	return value;
}

void intro_local_free(struct intro_local *local)
{
	struct local_value *v;
	void *value;

	if (!local)
		return;
	do {
		value = NULL;
		intro__threads_lock();
		v = LIST_FIRST(&local->values);
		if (v)
			value = take(v);
		intro__threads_unlock();
		if (value && local->destructor)
			local->destructor(value);
	} while (v);
	free(local);
}

static struct local_value *find(struct local_values *values, const struct intro_local *local)
{
	struct local_value *v;

	for (v = LIST_FIRST(values); v; v = LIST_NEXT(v, of_thread)) {
		if (atomic_load_explicit(&v->local, memory_order_relaxed) == local)
			return v;
	}
	return NULL;
}

void *intro_local_get(struct intro_local *local)
{
	struct local_values *values = intro__thread_locals_known();
	struct local_value *v = values ? find(values, local) : NULL;

	return v ? v->value : NULL;
}

int intro_local_set(struct intro_local *local, void *value)
{
	struct local_values *values = intro__thread_locals();
	struct local_value *v;

	if (!values)
		return -ENOMEM;
	v = find(values, local);
	if (v) {
		v->value = value;
		return 0;
	}
	v = find(values, NULL);
	if (!v) {
		v = calloc(1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		LIST_INSERT_HEAD(values, v, of_thread);
	}
	v->value = value;
	intro__threads_lock();
	LIST_INSERT_HEAD(&local->values, v, of_local);
	atomic_store_explicit(&v->local, local, memory_order_relaxed);
	intro__threads_unlock();
	return 0;
}

/* true: a destructor was called, and may have set values. */
static bool end_value(struct local_value *v)
{
	intro_local_destructor destructor = NULL;
	struct intro_local *local;
	void *value = NULL;

	intro__threads_lock();
	local = atomic_load_explicit(&v->local, memory_order_relaxed);
	if (local) {
		destructor = local->destructor;
		value = take(v);
	}
	intro__threads_unlock();
	if (!value || !destructor)
		return false;
	destructor(value);
	return true;
}

void intro__locals_end(struct local_values *values)
{
	struct local_value *v;
	bool again = true;

	for (int round = 0; again && round < ROUNDS; round++) {
		again = false;
		for (v = LIST_FIRST(values); v; v = LIST_NEXT(v, of_thread)) {
			again |= end_value(v);
		}
	}
	intro__threads_lock();
	intro__locals_abandon(values);
	intro__threads_unlock();
}

void intro__locals_abandon(struct local_values *values)
{
	struct local_value *v;

	while ((v = LIST_FIRST(values))) {
		LIST_REMOVE(v, of_thread);
		if (atomic_load_explicit(&v->local, memory_order_relaxed))
			take(v);
		free(v);
	}
}
