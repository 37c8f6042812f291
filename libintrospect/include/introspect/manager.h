/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_MANAGER_H
#define INTROSPECT_MANAGER_H
/*
 * manager.h - a server process that holds lists, dicts, values, queues, locks and events for other
 * processes. Semantics are those of Python's multiprocessing.Manager, under C names. Link with
 * -lintrospect-rt.
 *
 *	struct intro_manager *manager = intro_manager_new(NULL);
 *	uint64_t results;
 *	intro_manager_make(manager, INTRO_MANAGER_LIST, 0, &results);
 *	if (fork() == 0) {
 *		intro_manager_list_append(manager, results, "done", 4);
 *		_exit(0);
 *	}
 *	...
 *	intro_manager_free(manager);
 *
 * An object is a number, the same in every process. A forked child uses its parent's handle as it
 *is; another process of the user's connects by the address, and gets numbers as it gets any others.
 *Each process has connections of its own, as many as it has calls under way. Items are bytes,
 *copied; each call is one change, done whole or not at all, in the order in which calls come to the
 *server.
 *
 * Who may talk to it: processes of the user who made it, in its network namespace (the address is
 *an abstract one, which nobody can guess); the kernel says who they are. What a client can make it
 * hold is bounded by the options, and what it sends is checked.
 *
 * The dead. When the server dies every call returns -EPIPE; none hangs. When its maker dies, the
 * server ends; INT, TERM and HUP, which its maker's group may get, it ignores. When a client dies
 *its call is forgotten: what it waits for goes to somebody else, the locks that it has are
 *released, and the next who acquires one is told (-EOWNERDEAD); what it got from a queue and was
 *not done with counts as done. An item that was on its way to it is lost.
 *
 * Differences from Python, on purpose. An object lives until it is dropped: nobody counts
 *references. A lock belongs to the process that acquired it. Items are bytes and not objects, so an
 *item which is changed is to be set again. There is no key to be shown: the kernel knows the user.
 *
 * Times are relative nanoseconds; INTRO_FOREVER waits without limit, 0 does not wait. Functions may
 * be called from any thread, but shutdown and free. Errors are negative errno values, and leave the
 *object as it was. All calls on objects can return -ENOENT       there is no such object (any
 *more); -EOPNOTSUPP   it is of another kind; -EPIPE        the server has ended; -EMSGSIZE     an
 *item, or what is asked for, is larger than a message may be; -ENOSPC       the server has no room
 *for it; -EUSERS       the server has too many connections; -EACCES       the server is another
 *user's; -EINVAL       no data, yet a size; -ENOMEM, -EMFILE.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_manager_options {
	size_t size;
	const char *name; /* of the server process; NULL: "manager" */
	size_t limit;	  /* bytes that it holds for its clients; 0: 256 MiB */
	size_t message;	  /* bytes of the largest item; 0: 16 MiB */
	unsigned clients; /* connections at once; 0: 256 */
};

struct intro_manager;
/*
 * Forks the server. options NULL: none. NULL and errno: EINVAL, E2BIG (options from a newer
 * header), ENOMEM, EMFILE, or fork's.
 */
struct intro_manager *intro_manager_new(const struct intro_manager_options *options);
/* To one that another process made. NULL and errno: EINVAL, EPIPE, EACCES, EUSERS, ENOMEM. */
struct intro_manager *intro_manager_connect(const char *address);
/* "@introspect-...": for intro_manager_connect; valid as long as the handle. */
const char *intro_manager_address(const struct intro_manager *manager);
/*
 * Ends the server and waits for its end: all objects are gone. 0, also when it has ended already;
 * -EPERM: it was made by another process.
 */
int intro_manager_shutdown(struct intro_manager *manager);
/* Closes; of its maker's handle: shuts down. NULL is fine. */
void intro_manager_free(struct intro_manager *manager);

enum intro_manager_kind {
	INTRO_MANAGER_LIST = 1,
	INTRO_MANAGER_DICT = 2,
	INTRO_MANAGER_VALUE = 3,
	INTRO_MANAGER_QUEUE = 4,
	INTRO_MANAGER_LOCK = 5,
	INTRO_MANAGER_EVENT = 6,
};

/* capacity: of a queue, 0 for none; 0 for all others. 0; -EINVAL. */
int intro_manager_make(struct intro_manager *manager, enum intro_manager_kind kind,
		       uint64_t capacity, uint64_t *object);
/* Whoever waits for it gets -ENOENT. */
int intro_manager_drop(struct intro_manager *manager, uint64_t object);
/* Items of a list, dict or queue. */
int intro_manager_length(struct intro_manager *manager, uint64_t object, size_t *n);
int intro_manager_clear(struct intro_manager *manager, uint64_t object);

/* What is got, *data, is the caller's, to be given to free(); never NULL. */

/* --- list: an index below 0 counts from the end; -ERANGE: there is no such item --------------- */

int intro_manager_list_append(struct intro_manager *manager, uint64_t list, const void *data,
			      size_t size);
/* Before the item of that index; beyond the ends it becomes the first or the last, as in Python. */
int intro_manager_list_insert(struct intro_manager *manager, uint64_t list, int64_t index,
			      const void *data, size_t size);
int intro_manager_list_set(struct intro_manager *manager, uint64_t list, int64_t index,
			   const void *data, size_t size);
int intro_manager_list_get(struct intro_manager *manager, uint64_t list, int64_t index, void **data,
			   size_t *size);
/* Gets, and takes it out; -1 is the last. */
int intro_manager_list_pop(struct intro_manager *manager, uint64_t list, int64_t index, void **data,
			   size_t *size);
/* All items at once, packed. */
int intro_manager_list_items(struct intro_manager *manager, uint64_t list, void **packed,
			     size_t *size);
/*
 * Steps through what is packed: *at and *left, at first the memory and its size, are moved on.
 * false: there is no more.
 */
bool intro_manager_unpack(const void **at, size_t *left, const void **data, size_t *size);

/* --- dict: -ENOKEY: there is no such key ------------------------------------------------------ */

int intro_manager_dict_set(struct intro_manager *manager, uint64_t dict, const void *key,
			   size_t key_size, const void *data, size_t size);
int intro_manager_dict_get(struct intro_manager *manager, uint64_t dict, const void *key,
			   size_t key_size, void **data, size_t *size);
int intro_manager_dict_pop(struct intro_manager *manager, uint64_t dict, const void *key,
			   size_t key_size, void **data, size_t *size);
/* 0, or -ENOKEY. */
int intro_manager_dict_has(struct intro_manager *manager, uint64_t dict, const void *key,
			   size_t key_size);
/* Packed, in the order in which they were first set. */
int intro_manager_dict_keys(struct intro_manager *manager, uint64_t dict, void **packed,
			    size_t *size);

/* --- value: no bytes at first ----------------------------------------------------------------- */

int intro_manager_value_set(struct intro_manager *manager, uint64_t value, const void *data,
			    size_t size);
int intro_manager_value_get(struct intro_manager *manager, uint64_t value, void **data,
			    size_t *size);
/*
 * Adds to a value that is an int64_t, or (no bytes) becomes one; *now may be NULL. -EOVERFLOW;
 * -EBADMSG: it is something else.
 */
int intro_manager_value_add(struct intro_manager *manager, uint64_t value, int64_t by,
			    int64_t *now);

/* --- queue: first in, first out; waiters too -------------------------------------------------- */

/* -ETIMEDOUT: full, or empty, all the time. */
int intro_manager_queue_put(struct intro_manager *manager, uint64_t queue, const void *data,
			    size_t size, int64_t timeout_ns);
int intro_manager_queue_get(struct intro_manager *manager, uint64_t queue, void **data,
			    size_t *size, int64_t timeout_ns);
/* -ENODATA: more are done than were got. */
int intro_manager_queue_task_done(struct intro_manager *manager, uint64_t queue);
int intro_manager_queue_join(struct intro_manager *manager, uint64_t queue, int64_t timeout_ns);

/* --- lock: a process's, and not recursive ----------------------------------------------------- */

/* 0; -EOWNERDEAD: the caller has it; who had it before died with it; -ETIMEDOUT. */
int intro_manager_lock_acquire(struct intro_manager *manager, uint64_t lock, int64_t timeout_ns);
/* Any thread of the process may. -EPERM: it has it not. */
int intro_manager_lock_release(struct intro_manager *manager, uint64_t lock);

/* --- event ------------------------------------------------------------------------------------ */

int intro_manager_event_set(struct intro_manager *manager, uint64_t event);
int intro_manager_event_clear(struct intro_manager *manager, uint64_t event);
/* 0; with timeout 0 it asks. -ETIMEDOUT. */
int intro_manager_event_wait(struct intro_manager *manager, uint64_t event, int64_t timeout_ns);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
