/* SPDX-License-Identifier: BSD-2-Clause */
/* manager_objects.c - what a manager's server holds, and what can be done with it. */
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "manager_objects.h"

/* What an allocation takes beside its bytes, about. */
#define OVERHEAD 48

struct client_list *intro__object_waiters(struct object *object)
{
	return &object->waiters;
}

/* --- memory ----------------------------------------------------------------------------------- */

int intro__charge(struct objects *objects, size_t n)
{
	if (n > objects->limit || objects->used > objects->limit - n)
		return -ENOSPC;
	objects->used += n;
	return 0;
}

void intro__discharge(struct objects *objects, size_t n)
{
	objects->used -= n;
}

void *intro__allocate(struct objects *objects, size_t size, int *err)
{
	void *memory;

	*err = intro__charge(objects, size + OVERHEAD);
	if (*err)
		return NULL;
	memory = calloc(1, size);
	if (!memory) {
		intro__discharge(objects, size + OVERHEAD);
		*err = -ENOMEM;
	}
	return memory;
}

void intro__release(struct objects *objects, void *memory, size_t size)
{
	if (!memory)
		return;
	free(memory);
	intro__discharge(objects, size + OVERHEAD);
}

int intro__item_new(struct objects *objects, const void *data, size_t size, struct item **item)
{
	int err;

	*item = intro__allocate(objects, sizeof(**item) + size, &err);
	if (!*item)
		return err;
	(*item)->size = size;
	memcpy((*item)->data, data, size);
	return 0;
}

void intro__item_free(struct objects *objects, struct item *item)
{
	if (item)
		intro__release(objects, item, sizeof(*item) + item->size);
}

struct objects *intro__objects_of(const struct call *call)
{
	return intro__server_objects(call->server);
}

int intro__item_brought(struct call *call, struct item **item)
{
	return intro__item_new(intro__objects_of(call), call->data, call->data_size, item);
}

int intro__item_reply(struct call *call, const struct item *item)
{
	unsigned char *to;
	size_t size = item ? item->size : 0;
	int err = intro__reply_begin(call, size, &to);

	if (err)
		return err;
	if (size)
		memcpy(to, item->data, size);
	return intro__reply_commit(call, 0);
}

/* --- value ------------------------------------------------------------------------------------ */

static int value_set(struct call *call)
{
	struct item *item;
	int err = intro__item_brought(call, &item);

	if (err)
		return err;
	intro__item_free(intro__objects_of(call), call->object->value);
	call->object->value = item;
	return 0;
}

static int value_get(struct call *call)
{
	return intro__item_reply(call, call->object->value);
}

static int value_add(struct call *call)
{
	struct item **item = &call->object->value;
	int64_t sum = 0;
	int err;

	if (*item && (*item)->size && (*item)->size != sizeof(sum))
		return -EBADMSG;
	if (*item && (*item)->size)
		memcpy(&sum, (*item)->data, sizeof(sum));
	if (__builtin_add_overflow(sum, call->request->number, &sum))
		return -EOVERFLOW;
	if (!*item || !(*item)->size) {
		struct item *made;

		err = intro__item_new(intro__objects_of(call), &sum, sizeof(sum), &made);
		if (err)
			return err;
		intro__item_free(intro__objects_of(call), *item);
		*item = made;
	}
	memcpy((*item)->data, &sum, sizeof(sum));
	call->number = sum;
	return 0;
}

/* --- queue ------------------------------------------------------------------------------------ */

static struct hold *hold_of(const struct queue *q, const struct peer *peer)
{
	struct hold *hold;

	TAILQ_FOREACH(hold, &q->holds, all)
		if (hold->peer == peer)
			break;
	return hold;
}

static void hold_free(struct objects *objects, struct queue *q, struct hold *hold)
{
	TAILQ_REMOVE(&q->holds, hold, all);
	intro__release(objects, hold, sizeof(*hold));
}

static int queue_put(struct call *call)
{
	struct queue *q = &call->object->queue;
	struct item *item;
	int err;

	if (q->capacity && q->n >= q->capacity)
		return CALL_WAITS;
	err = intro__item_brought(call, &item);
	if (err)
		return err;
	STAILQ_INSERT_TAIL(&q->items, item, next);
	q->n++;
	return 0;
}

static int queue_get(struct call *call)
{
	struct queue *q = &call->object->queue;
	struct item *item = STAILQ_FIRST(&q->items);
	struct hold *hold = hold_of(q, call->peer);
	int err;

	if (!item)
		return CALL_WAITS;
	if (!hold) {
		hold = intro__allocate(intro__objects_of(call), sizeof(*hold), &err);
		if (!hold)
			return err;
		hold->peer = call->peer;
		TAILQ_INSERT_TAIL(&q->holds, hold, all);
	}
	err = intro__item_reply(call, item);
	if (err == CALL_REPLIED) {
		STAILQ_REMOVE_HEAD(&q->items, next);
		q->n--;
		hold->n++;
		intro__item_free(intro__objects_of(call), item);
	} else if (!hold->n) {
		hold_free(intro__objects_of(call), q, hold);
	}
	return err;
}

/* One of its own, if it has any. */
static int queue_done(struct call *call)
{
	struct queue *q = &call->object->queue;
	struct hold *hold = hold_of(q, call->peer);

	if (!hold)
		hold = TAILQ_FIRST(&q->holds);
	if (!hold)
		return -ENODATA;
	if (!--hold->n)
		hold_free(intro__objects_of(call), q, hold);
	return 0;
}

static int queue_join(struct call *call)
{
	const struct queue *q = &call->object->queue;

	return q->n || !TAILQ_EMPTY(&q->holds) ? CALL_WAITS : 0;
}

static void queue_clear(struct objects *objects, struct queue *q)
{
	struct item *item;

	while ((item = STAILQ_FIRST(&q->items))) {
		STAILQ_REMOVE_HEAD(&q->items, next);
		intro__item_free(objects, item);
	}
	q->n = 0;
}

/* --- lock and event --------------------------------------------------------------------------- */

static int lock_acquire(struct call *call)
{
	struct object *o = call->object;
	unsigned char *to;
	int err;

	if (o->lock.owner)
		return CALL_WAITS;
	err = intro__reply_begin(call, 0, &to);
	if (!err)
		err = intro__reply_commit(call, o->lock.died ? -EOWNERDEAD : 0);
	/* a client that is gone never had it */
	if (err == CALL_REPLIED) {
		o->lock.owner = call->peer;
		o->lock.died = false;
	}
	return err;
}

static int lock_release(struct call *call)
{
	struct object *o = call->object;

	if (o->lock.owner != call->peer)
		return -EPERM;
	o->lock.owner = NULL;
	return 0;
}

static int event_set(struct call *call)
{
	call->object->set = true;
	return 0;
}

static int event_clear(struct call *call)
{
	call->object->set = false;
	return 0;
}

static int event_wait(struct call *call)
{
	return call->object->set ? 0 : CALL_WAITS;
}

/* --- all kinds -------------------------------------------------------------------------------- */

static int compare_numbers(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static int make(struct call *call)
{
	struct objects *objects = intro__objects_of(call);
	const struct manager_request *r = call->request;
	struct object *o;
	int err;

	if (r->kind < INTRO_MANAGER_LIST || r->kind > INTRO_MANAGER_EVENT || r->number < 0 ||
	    (r->number && r->kind != INTRO_MANAGER_QUEUE))
		return -EINVAL;
	/* twice: for what the tree has */
	o = intro__allocate(objects, sizeof(*o) + OVERHEAD, &err);
	if (!o)
		return err;
	o->number = ++objects->last;
	o->kind = r->kind;
	TAILQ_INIT(&o->waiters);
	if (o->kind == INTRO_MANAGER_DICT)
		TAILQ_INIT(&o->dict.entries);
	if (o->kind == INTRO_MANAGER_QUEUE) {
		STAILQ_INIT(&o->queue.items);
		TAILQ_INIT(&o->queue.holds);
		o->queue.capacity = (size_t)r->number;
	}
	if (!tsearch(o, &objects->by_number, compare_numbers)) {
		intro__release(objects, o, sizeof(*o) + OVERHEAD);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&objects->all, o, all);
	call->number = (int64_t)o->number;
	return 0;
}

static void empty(struct objects *objects, struct object *o)
{
	switch (o->kind) {
	case INTRO_MANAGER_LIST:
		intro__list_clear(objects, &o->list);
		return;
	case INTRO_MANAGER_DICT:
		intro__dict_clear(objects, &o->dict);
		return;
	case INTRO_MANAGER_VALUE:
		intro__item_free(objects, o->value);
		o->value = NULL;
		return;
	case INTRO_MANAGER_QUEUE:
		queue_clear(objects, &o->queue);
		return;
	case INTRO_MANAGER_LOCK:
	case INTRO_MANAGER_EVENT:
		return;
	}
}

static int drop(struct call *call)
{
	struct objects *objects = intro__objects_of(call);
	struct object *o = call->object;
	struct hold *hold;

	call->object = NULL;
	intro__server_retry(call->server, o, true);
	tdelete(o, &objects->by_number, compare_numbers);
	TAILQ_REMOVE(&objects->all, o, all);
	empty(objects, o);
	if (o->kind == INTRO_MANAGER_QUEUE)
		while ((hold = TAILQ_FIRST(&o->queue.holds)))
			hold_free(objects, &o->queue, hold);
	intro__release(objects, o, sizeof(*o) + OVERHEAD);
	return 0;
}

static int length(struct call *call)
{
	const struct object *o = call->object;

	switch (o->kind) {
	case INTRO_MANAGER_LIST:
		call->number = (int64_t)o->list.n;
		return 0;
	case INTRO_MANAGER_DICT:
		call->number = (int64_t)o->dict.n;
		return 0;
	case INTRO_MANAGER_QUEUE:
		call->number = (int64_t)o->queue.n;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static int clear(struct call *call)
{
	call->number = 0;
	if (call->object->kind >= INTRO_MANAGER_LOCK)
		return -EOPNOTSUPP;
	empty(intro__objects_of(call), call->object);
	return 0;
}

#define ANY_KIND 0

static const struct {
	enum intro_manager_kind kind;
	int (*fn)(struct call *call);
} ops[OP_END] = {
	[OP_DROP] = {ANY_KIND, drop},
	[OP_LENGTH] = {ANY_KIND, length},
	[OP_CLEAR] = {ANY_KIND, clear},
	[OP_LIST_INSERT] = {INTRO_MANAGER_LIST, intro__list_insert},
	[OP_LIST_SET] = {INTRO_MANAGER_LIST, intro__list_set},
	[OP_LIST_GET] = {INTRO_MANAGER_LIST, intro__list_get},
	[OP_LIST_POP] = {INTRO_MANAGER_LIST, intro__list_pop},
	[OP_LIST_ITEMS] = {INTRO_MANAGER_LIST, intro__list_items},
	[OP_DICT_SET] = {INTRO_MANAGER_DICT, intro__dict_set},
	[OP_DICT_GET] = {INTRO_MANAGER_DICT, intro__dict_get},
	[OP_DICT_POP] = {INTRO_MANAGER_DICT, intro__dict_pop},
	[OP_DICT_HAS] = {INTRO_MANAGER_DICT, intro__dict_has},
	[OP_DICT_KEYS] = {INTRO_MANAGER_DICT, intro__dict_keys},
	[OP_VALUE_SET] = {INTRO_MANAGER_VALUE, value_set},
	[OP_VALUE_GET] = {INTRO_MANAGER_VALUE, value_get},
	[OP_VALUE_ADD] = {INTRO_MANAGER_VALUE, value_add},
	[OP_QUEUE_PUT] = {INTRO_MANAGER_QUEUE, queue_put},
	[OP_QUEUE_GET] = {INTRO_MANAGER_QUEUE, queue_get},
	[OP_QUEUE_DONE] = {INTRO_MANAGER_QUEUE, queue_done},
	[OP_QUEUE_JOIN] = {INTRO_MANAGER_QUEUE, queue_join},
	[OP_LOCK_ACQUIRE] = {INTRO_MANAGER_LOCK, lock_acquire},
	[OP_LOCK_RELEASE] = {INTRO_MANAGER_LOCK, lock_release},
	[OP_EVENT_SET] = {INTRO_MANAGER_EVENT, event_set},
	[OP_EVENT_CLEAR] = {INTRO_MANAGER_EVENT, event_clear},
	[OP_EVENT_WAIT] = {INTRO_MANAGER_EVENT, event_wait},
};

int intro__object_call(struct call *call)
{
	struct object wanted = {.number = call->request->object};
	uint32_t op = call->request->op;
	void *found;

	call->object = NULL;
	if (op == OP_MAKE)
		return make(call);
	if (op >= OP_END || !ops[op].fn)
		return -EINVAL;
	found = tfind(&wanted, &intro__objects_of(call)->by_number, compare_numbers);
	if (!found)
		return -ENOENT;
	call->object = *(struct object **)found;
	if (ops[op].kind != ANY_KIND && ops[op].kind != call->object->kind)
		return -EOPNOTSUPP;
	return ops[op].fn(call);
}

/* --- the dead --------------------------------------------------------------------------------- */

bool intro__objects_know(const struct objects *objects, const struct peer *peer)
{
	const struct object *o;

	TAILQ_FOREACH(o, &objects->all, all) {
		if (o->kind == INTRO_MANAGER_LOCK && o->lock.owner == peer)
			return true;
		if (o->kind == INTRO_MANAGER_QUEUE && hold_of(&o->queue, peer))
			return true;
	}
	return false;
}

void intro__objects_bury(struct server *server, const struct peer *peer)
{
	struct objects *objects = intro__server_objects(server);
	struct object *o;
	struct hold *hold;

	TAILQ_FOREACH(o, &objects->all, all) {
		hold = o->kind == INTRO_MANAGER_QUEUE ? hold_of(&o->queue, peer) : NULL;
		if (hold)
			hold_free(objects, &o->queue, hold);
		if (o->kind == INTRO_MANAGER_LOCK && o->lock.owner == peer) {
			o->lock.owner = NULL;
			o->lock.died = true;
		}
		intro__server_retry(server, o, false);
	}
}
