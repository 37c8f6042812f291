/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_MANAGER_OBJECTS_H
#define INTRO_RUNTIME_MANAGER_OBJECTS_H
/* manager_objects.h - what the objects of a manager's server are made of. All memory is charged. */
#include "manager_private.h"

struct item {
	STAILQ_ENTRY(item) next; /* in a queue */
	size_t size;
	unsigned char data[];
};

/* As a key of the tree; the bytes are those of `item`, or of a request. */
struct key {
	const void *data;
	size_t size;
};

struct dict_entry {
	struct key key; /* first: the tree compares these */
	TAILQ_ENTRY(dict_entry) all;
	struct item *name, *value;
};

/* What a process got from a queue and is not done with; n > 0. */
struct hold {
	TAILQ_ENTRY(hold) all;
	const struct peer *peer;
	uint64_t n;
};

struct list {
	struct item **at;
	size_t n, room;
};

struct dict {
	void *tree;
	TAILQ_HEAD(dict_entries, dict_entry)
	entries; /* in the order in which they were first set */
	size_t n;
};

struct queue {
	STAILQ_HEAD(item_list, item) items;
	size_t n, capacity;
	TAILQ_HEAD(hold_list, hold) holds;
};

struct object {
	uint64_t number; /* first: the tree compares these */
	enum intro_manager_kind kind;
	TAILQ_ENTRY(object) all;
	struct client_list waiters;
	union {
		struct list list;
		struct dict dict;
		struct item *value; /* NULL: no bytes */
		struct queue queue;
		struct {
			const struct peer *owner;
			bool died; /* with it, and nobody was told */
		} lock;
		bool set;
	};
};

/* Zeroed memory; NULL and *err: -ENOSPC, -ENOMEM. */
void *intro__allocate(struct objects *objects, size_t size, int *err);
void intro__release(struct objects *objects, void *memory, size_t size);
int intro__item_new(struct objects *objects, const void *data, size_t size, struct item **item);
/* NULL is fine. */
void intro__item_free(struct objects *objects, struct item *item);
/* An item of what the request brought. */
int intro__item_brought(struct call *call, struct item **item);
/* Gives a copy as the reply; NULL: no bytes. As intro__reply_commit. */
int intro__item_reply(struct call *call, const struct item *item);
struct objects *intro__objects_of(const struct call *call);

/* Operations (manager_items.c). */
int intro__list_insert(struct call *call);
int intro__list_set(struct call *call);
int intro__list_get(struct call *call);
int intro__list_pop(struct call *call);
int intro__list_items(struct call *call);
void intro__list_clear(struct objects *objects, struct list *list);
int intro__dict_set(struct call *call);
int intro__dict_get(struct call *call);
int intro__dict_pop(struct call *call);
int intro__dict_has(struct call *call);
int intro__dict_keys(struct call *call);
void intro__dict_clear(struct objects *objects, struct dict *dict);

#endif
