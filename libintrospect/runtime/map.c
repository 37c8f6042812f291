/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map.c - a function over many items, in chunks, on any executor.
 *
 * A chunk is one task. Its function runs the items one after the other, each as a call of its
 * own, so that one item's error does not take its neighbours along. Threads put the items' results
 * into memory that map keeps; processes pack them into the chunk's result.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "futex.h"
#include "map_private.h"
#include "spawn_private.h"

/* An item of a chunk run by a thread. */
struct item {
	struct intro_result result;
	int code;
	char *text; /* malloc'ed; NULL: none */
};

/* What the task of a chunk is given, by threads. */
struct chunk {
	intro_task_fn fn;
	const unsigned char *items;
	size_t item_size;
	size_t n;
	struct item *item;
};

/* What a process is sent for a chunk: this, then the items' bytes. */
struct chunk_request {
	uint64_t fn; /* as in a request */
	uint64_t item_size;
	uint64_t n;
};

/* What comes back, for each item: this, then `text` and `size` bytes, padded to 16. */
struct item_reply {
	int32_t code;
	uint32_t text;
	uint64_t size;
};
#define PAD(bytes) (((bytes) + 15) & ~(size_t)15)

static int call_item(struct intro_call *outer, intro_task_fn fn, const void *arg, size_t size,
		     struct call_state *state)
{
	struct intro_call call = *outer;

	call.arg = arg;
	call.size = size;
	call.runtime = state;
	return fn(&call);
}

static int run_chunk_shared(struct intro_call *call)
{
	const struct chunk *chunk = call->arg;

	for (size_t i = 0; i < chunk->n; i++) {
		struct call_state state = {.copies = false};
		struct item *item = &chunk->item[i];

		item->code = call_item(call, chunk->fn, chunk->items + i * chunk->item_size,
				       chunk->item_size, &state);
		item->result = state.result;
		if (item->code && state.text[0])
			item->text = strdup(state.text);
	}
	return 0;
}

/* Appends an item's reply to the chunk's. */
static int pack(struct intro_result *all, const struct call_state *state, int code)
{
	struct item_reply reply = {.code = code};
	size_t bytes;
	char *at;

	if (code)
		reply.text = (uint32_t)strlen(state->text);
	else
		reply.size = state->result.size;
	bytes = PAD(sizeof(reply) + reply.text + reply.size);
	at = realloc(all->data, all->size + bytes);
	if (!at)
		return -ENOMEM;
	all->data = at;
	at += all->size;
	all->size += bytes;
	memset(at + bytes - 16, 0, 16);
	memcpy(at, &reply, sizeof(reply));
	memcpy(at + sizeof(reply), state->text, reply.text);
	if (reply.size)
		memcpy(at + sizeof(reply) + reply.text, state->result.data, reply.size);
	return 0;
}

int intro__map_chunk(struct intro_call *call)
{
	const struct chunk_request *request = call->arg;
	const unsigned char *items = (const unsigned char *)(request + 1);
	struct call_state *outer = call->runtime;
	struct intro_result all = {0};
	intro_task_fn fn = (intro_task_fn)intro__function_of(request->fn, outer->spawned);
	int err = 0;

	if (!fn)
		return intro__not_registered(call);
	for (size_t i = 0; !err && i < request->n; i++) {
		struct call_state state = {.copies = true, .spawned = outer->spawned};
		int code = call_item(call, fn, items + i * request->item_size, request->item_size,
				     &state);

		err = pack(&all, &state, code);
		intro__call_free(&state);
	}
	if (err) {
		free(all.data);
		intro_call_error(call, "no memory for the results of a chunk");
		return err;
	}
	outer->returned = true;
	outer->result = all;
	return 0;
}

static int submit_chunk(struct map *m, size_t c)
{
	struct chunk *chunk = &m->chunk[c];
	struct chunk_request *request = (void *)m->request;
	size_t bytes = chunk->n * m->item_size;
	uint64_t fn;

	if (m->executor->ops->shares_memory)
		return intro_executor_submit(m->executor, &m->future[c], run_chunk_shared, chunk,
					     sizeof(*chunk));
	fn = intro__function_wire(m->executor, (void (*)(void))chunk->fn);
	if (!fn)
		return -ENOENT;
	*request = (struct chunk_request){.fn = fn, .item_size = m->item_size, .n = chunk->n};
	memcpy(request + 1, chunk->items, bytes);
	return intro_executor_submit(m->executor, &m->future[c], intro__map_chunk, request,
				     sizeof(*request) + bytes);
}

/* An item that has not run or whose chunk failed as a whole. */
static int give_error(struct map *m, size_t index, const struct intro_error *error)
{
	return m->done(index, NULL, error, m->ctx);
}

static int give_shared(struct map *m, size_t index)
{
	struct item *item = &m->item[index];
	struct intro_error error = {.code = item->code};

	if (!item->code)
		return m->done(index, &item->result, NULL, m->ctx);
	if (item->text)
		strncpy(error.text, item->text, sizeof(error.text) - 1);
	intro__error_explain(&error);
	return give_error(m, index, &error);
}

/* *at: the item's reply in the chunk's result; moved on to the next. */
static int give_copied(struct map *m, size_t index, unsigned char **at)
{
	struct intro_error error = {0};
	struct intro_result result;
	struct item_reply reply;

	memcpy(&reply, *at, sizeof(reply));
	result.data = *at + sizeof(reply);
	result.size = reply.size;
	*at += PAD(sizeof(reply) + reply.text + reply.size);
	if (!reply.code)
		return m->done(index, &result, NULL, m->ctx);
	error.code = reply.code;
	memcpy(error.text, result.data, reply.text);
	intro__error_explain(&error);
	return give_error(m, index, &error);
}

int intro__map_give(struct map *m, size_t c, int64_t deadline)
{
	size_t first = c * m->per_chunk, n = m->chunk[c].n;
	int64_t left = deadline == INTRO_FOREVER ? INTRO_FOREVER : deadline - intro__now();
	struct intro_error error = {0};
	struct intro_result result;
	unsigned char *at;
	int err, stop = 0;

	err = intro_future_result(&m->future[c], left, &result);
	if (err == -ETIMEDOUT &&
	    !intro_future_done(&m->future[c])) /* else it is the chunk's error */
		return err;
	if (err && intro_future_error(&m->future[c], 0, &error))
		intro__error_set(&error, -ECANCELED, "cancelled");
	at = err ? NULL : result.data;
	for (size_t i = 0; !stop && i < n; i++) {
		if (err)
			stop = give_error(m, first + i, &error);
		else if (m->item)
			stop = give_shared(m, first + i);
		else
			stop = give_copied(m, first + i, &at);
	}
	return stop;
}

static int map_alloc(struct map *m, intro_task_fn fn, const void *items)
{
	size_t request;

	if (__builtin_mul_overflow(m->per_chunk < m->n ? m->per_chunk : m->n, m->item_size,
				   &request) ||
	    __builtin_add_overflow(request, sizeof(struct chunk_request), &request) ||
	    m->chunks > SIZE_MAX / 2 / sizeof(*m->future))
		return -EINVAL;
	m->future = aligned_alloc(_Alignof(struct intro_future), m->chunks * sizeof(*m->future));
	m->chunk = calloc(m->chunks, sizeof(*m->chunk));
	if (m->executor->ops->shares_memory)
		m->item = calloc(m->n, sizeof(*m->item));
	else
		m->request = malloc(request);
	if (!m->future || !m->chunk || (!m->item && !m->request))
		return -ENOMEM;
	for (size_t c = 0; c < m->chunks; c++) {
		size_t first = c * m->per_chunk, left = m->n - first;

		m->chunk[c] =
			(struct chunk){.fn = fn,
				       .items = (const unsigned char *)items + first * m->item_size,
				       .item_size = m->item_size,
				       .n = left < m->per_chunk ? left : m->per_chunk,
				       .item = m->item ? m->item + first : NULL};
	}
	return 0;
}

void intro__map_end(struct map *m)
{
	for (size_t c = m->submitted; c-- > 0;)
		intro_future_cancel(&m->future[c]);
	for (size_t c = 0; c < m->submitted; c++)
		intro_future_destroy(&m->future[c]);
	for (size_t i = 0; m->item && i < m->n; i++)
		free(m->item[i].text);
	free(m->request);
	free(m->item);
	free(m->chunk);
	free(m->future);
}

int intro__map_begin(struct map *m, intro_task_fn fn, const void *items)
{
	int err;

	if (!fn || !m->done || (m->n && m->item_size && !items))
		return -EINVAL;
	if (!m->n)
		return 0;
	m->chunks = m->n / m->per_chunk + (m->n % m->per_chunk != 0);
	err = map_alloc(m, fn, items);
	for (size_t c = 0; !err && c < m->chunks; c++) {
		intro_future_init(&m->future[c]);
		err = submit_chunk(m, c);
		m->submitted = c + 1;
	}
	return err;
}

static int map(struct map *m, intro_task_fn fn, const void *items, int64_t deadline)
{
	int err = intro__map_begin(m, fn, items);

	for (size_t c = 0; !err && c < m->chunks; c++)
		err = intro__map_give(m, c, deadline);
	return err;
}

static void end_map(void *m)
{
	intro__map_end(m);
}

int intro_executor_map(struct intro_executor *executor, intro_task_fn fn, const void *items,
		       size_t n, size_t item_size, size_t chunk, int64_t timeout_ns,
		       intro_map_done_fn done, void *ctx)
{
	struct map m = {.executor = executor,
			.n = n,
			.per_chunk = chunk ? chunk : 1,
			.item_size = item_size,
			.done = done,
			.ctx = ctx};
	int err;

	/* also when done, or a chunk that the submitter runs, ends the thread */
	pthread_cleanup_push(end_map, &m);
	err = map(&m, fn, items, intro__deadline(timeout_ns));
	pthread_cleanup_pop(1);
	return err;
}
