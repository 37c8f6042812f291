/* SPDX-License-Identifier: BSD-2-Clause */
/* manager_items.c - the lists and dicts of a manager's server. */
#include <errno.h>
#include <search.h>
#include <string.h>

#include "manager_objects.h"

#define FIRST_ROOM 16

static unsigned char *pack(unsigned char *to, const void *data, size_t size)
{
	uint64_t wide = size;

	memcpy(to, &wide, sizeof(wide));
	memcpy(to + sizeof(wide), data, size);
	return to + sizeof(wide) + size;
}

/* --- list ------------------------------------------------------------------------------------- */

static int list_make_room(struct objects *objects, struct list *list)
{
	size_t room = list->room ? 2 * list->room : FIRST_ROOM;
	struct item **at;
	int err;

	if (list->n < list->room)
		return 0;
	at = intro__allocate(objects, room * sizeof(struct item *), &err);
	if (!at)
		return err;
	if (list->n)
		memcpy(at, list->at, list->n * sizeof(struct item *));
	intro__release(objects, list->at, list->room * sizeof(struct item *));
	list->at = at;
	list->room = room;
	return 0;
}

/* Where the item of that index is; NULL: there is none. */
static struct item **list_at(const struct call *call)
{
	const struct list *list = &call->object->list;
	int64_t index = call->request->number;

	if (index < 0)
		index += (int64_t)list->n;
	return index < 0 || (uint64_t)index >= list->n ? NULL : &list->at[index];
}

int intro__list_insert(struct call *call)
{
	struct list *list = &call->object->list;
	int64_t index = call->request->number;
	struct item *item;
	int err = list_make_room(intro__objects_of(call), list);

	if (!err)
		err = intro__item_brought(call, &item);
	if (err)
		return err;
	if (index < 0)
		index = index < -(int64_t)list->n ? 0 : index + (int64_t)list->n;
	if ((uint64_t)index > list->n)
		index = (int64_t)list->n;
	memmove(&list->at[index + 1], &list->at[index],
		(list->n - (size_t)index) * sizeof(struct item *));
	list->at[index] = item;
	list->n++;
	return 0;
}

int intro__list_set(struct call *call)
{
	struct item **at = list_at(call), *item;
	int err = at ? intro__item_brought(call, &item) : -ERANGE;

	if (err)
		return err;
	intro__item_free(intro__objects_of(call), *at);
	*at = item;
	return 0;
}

int intro__list_get(struct call *call)
{
	struct item **at = list_at(call);

	return at ? intro__item_reply(call, *at) : -ERANGE;
}

int intro__list_pop(struct call *call)
{
	struct list *list = &call->object->list;
	struct item **at = list_at(call);
	int err = at ? intro__item_reply(call, *at) : -ERANGE;

	if (err != CALL_REPLIED)
		return err;
	intro__item_free(intro__objects_of(call), *at);
	list->n--;
	memmove(at, at + 1, (size_t)(&list->at[list->n] - at) * sizeof(struct item *));
	return err;
}

int intro__list_items(struct call *call)
{
	const struct list *list = &call->object->list;
	unsigned char *to;
	size_t size = 0;
	int err;

	for (size_t i = 0; i < list->n; i++)
		size += sizeof(uint64_t) + list->at[i]->size;
	err = intro__reply_begin(call, size, &to);
	if (err)
		return err;
	for (size_t i = 0; i < list->n; i++)
		to = pack(to, list->at[i]->data, list->at[i]->size);
	return intro__reply_commit(call, 0);
}

void intro__list_clear(struct objects *objects, struct list *list)
{
	for (size_t i = 0; i < list->n; i++)
		intro__item_free(objects, list->at[i]);
	intro__release(objects, list->at, list->room * sizeof(struct item *));
	*list = (struct list){0};
}

/* --- dict ------------------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->size != y->size)
		return x->size < y->size ? -1 : 1;
	return x->size ? memcmp(x->data, y->data, x->size) : 0;
}

static struct dict_entry *dict_find(const struct call *call)
{
	struct key key = {call->key, call->key_size};
	void *found = tfind(&key, &call->object->dict.tree, compare_keys);

	return found ? *(struct dict_entry **)found : NULL;
}

static void entry_free(struct objects *objects, struct dict_entry *entry)
{
	intro__item_free(objects, entry->name);
	intro__item_free(objects, entry->value);
	intro__release(objects, entry, sizeof(*entry));
}

static int dict_add(struct call *call, struct item *value)
{
	struct dict *dict = &call->object->dict;
	struct dict_entry *entry;
	int err;

	entry = intro__allocate(intro__objects_of(call), sizeof(*entry), &err);
	if (!entry)
		return err;
	err = intro__item_new(intro__objects_of(call), call->key, call->key_size, &entry->name);
	if (!err) {
		entry->key = (struct key){entry->name->data, entry->name->size};
		err = tsearch(entry, &dict->tree, compare_keys) ? 0 : -ENOMEM;
	}
	if (err) {
		entry_free(intro__objects_of(call), entry);
		return err;
	}
	entry->value = value;
	TAILQ_INSERT_TAIL(&dict->entries, entry, all);
	dict->n++;
	return 0;
}

int intro__dict_set(struct call *call)
{
	struct dict_entry *entry = dict_find(call);
	struct item *value;
	int err = intro__item_brought(call, &value);

	if (err)
		return err;
	if (entry) {
		intro__item_free(intro__objects_of(call), entry->value);
		entry->value = value;
		return 0;
	}
	err = dict_add(call, value);
	if (err)
		intro__item_free(intro__objects_of(call), value);
	return err;
}

int intro__dict_get(struct call *call)
{
	const struct dict_entry *entry = dict_find(call);

	return entry ? intro__item_reply(call, entry->value) : -ENOKEY;
}

int intro__dict_pop(struct call *call)
{
	struct dict *dict = &call->object->dict;
	struct dict_entry *entry = dict_find(call);
	int err = entry ? intro__item_reply(call, entry->value) : -ENOKEY;

	if (err != CALL_REPLIED)
		return err;
	tdelete(entry, &dict->tree, compare_keys);
	TAILQ_REMOVE(&dict->entries, entry, all);
	dict->n--;
	entry_free(intro__objects_of(call), entry);
	return err;
}

int intro__dict_has(struct call *call)
{
	return dict_find(call) ? 0 : -ENOKEY;
}

int intro__dict_keys(struct call *call)
{
	const struct dict_entry *entry;
	unsigned char *to;
	size_t size = 0;
	int err;

	TAILQ_FOREACH(entry, &call->object->dict.entries, all)
		size += sizeof(uint64_t) + entry->key.size;
	err = intro__reply_begin(call, size, &to);
	if (err)
		return err;
	TAILQ_FOREACH(entry, &call->object->dict.entries, all)
		to = pack(to, entry->key.data, entry->key.size);
	return intro__reply_commit(call, 0);
}

static void no_free(void *entry)
{
}

void intro__dict_clear(struct objects *objects, struct dict *dict)
{
	struct dict_entry *entry;

	tdestroy(dict->tree, no_free);
	dict->tree = NULL;
	while ((entry = TAILQ_FIRST(&dict->entries))) {
		TAILQ_REMOVE(&dict->entries, entry, all);
		entry_free(objects, entry);
	}
	dict->n = 0;
}
