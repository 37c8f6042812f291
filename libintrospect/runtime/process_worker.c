/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process_worker.c - the worker's side of a process pool.
 *
 * A worker is a fork of the program, or the program executed anew (spawn.c). It runs tasks until it
 * is told that no more will come, and dies at once with its parent. Its signals: child.h.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "child.h"
#include "marks_private.h"
#include "spawn_private.h"
#include "spin.h"

/* A larger payload's memory is given back after its task. */
#define KEEP_BYTES ((size_t)1 << 20)

/* How long a worker looks for a request before it sleeps: less, the less often it helps. */
#define WORKER_SPIN_NS 40000
#define WORKER_SPIN_LEAST_NS 5000

/* What is read or waited for in one go. */
#define PIECE_BYTES ((size_t)64 << 10)

/* The last task's part in what is said of their length: one of so many. */
#define LENGTH_WEIGHT 8

/* Results in the segment that the pool has not copied as yet. */
#define SENT 64

struct sent_result {
	uint32_t place;
	size_t size;
	uint64_t end; /* of its reply, in the ring */
};

struct worker {
	const struct worker_birth *birth;
	char name[INTRO__NAME_BYTES + 16];
	void *initial;
	uint32_t forks; /* of the process that it is */
	struct pipe_end pipe;
	bool may_spin;
	int64_t spin_ns;
	int64_t length_ns; /* of a task, on average, the last ones most */
	int64_t since;	   /* when the last one ended, if there was no wait since; 0 */
	unsigned char *payload;
	size_t capacity;
	struct segment results;
	struct sent_result sent[SENT];
	unsigned sent_first, sent_n;
};

static void quit(struct worker *w, int status) __attribute__((noreturn));

static void quit(struct worker *w, int status)
{
	if (!status)
		intro_mark_worker_stop(w->birth->executor->pool, w->birth->index);
	intro__child_quit(status);
}

/* Whether what is wanted is there, or will never be. */
static bool is_there(struct worker *w, uint32_t wanted, size_t size)
{
	struct pipe_end *pipe = &w->pipe;

	if (wanted == WANTS_ROOM)
		return ring_room(&pipe->out, size) >= size;
	return ring_has(&pipe->in, size) >= size || atomic_load(&pipe->shared->ends);
}

static bool look_a_while(struct worker *w, uint32_t wanted, size_t size)
{
	struct spin spin = {0};
	bool found = false;

	while (w->may_spin && !(found = is_there(w, wanted, size)) && spin_once(&spin, w->spin_ns))
		;
	if (found && w->spin_ns < WORKER_SPIN_NS)
		w->spin_ns *= 2;
	else if (!found && w->spin_ns > WORKER_SPIN_LEAST_NS)
		w->spin_ns /= 2;
	return found;
}

/* Frees the results that the pool has copied. */
static void free_sent(struct worker *w)
{
	uint64_t tail = atomic_load(&w->pipe.out.shared->tail);

	while (w->sent_n && (int64_t)(tail - w->sent[w->sent_first].end) >= 0) {
		struct sent_result *sent = &w->sent[w->sent_first];

		intro__segment_free(&w->results, sent->place, sent->size);
		w->sent_first = (w->sent_first + 1) % SENT;
		w->sent_n--;
	}
}

static int until_trim(struct worker *w)
{
	free_sent(w);
	return intro__segment_trim(&w->results, intro__now(), false);
}

static void wait_until(struct worker *w, uint32_t wanted, size_t size)
{
	bool gone = false;

	w->since = 0;
	while (!is_there(w, wanted, size) && !look_a_while(w, wanted, size)) {
		if (gone)
			quit(w, 1); /* nobody is there to hear it */
		pipe_want(&w->pipe, wanted);
		if (!is_there(w, wanted, size))
			gone = intro__pipe_answer(w->birth->bell, until_trim(w)) == -EPIPE;
		pipe_got(&w->pipe);
	}
}

/* Whole, or the pool wants no more of us. */
static void read_exactly(struct worker *w, unsigned char *to, size_t size)
{
	struct ring_end *in = &w->pipe.in;

	while (size) {
		size_t n = size < PIECE_BYTES ? size : PIECE_BYTES;

		if (ring_has(in, n) < n) {
			wait_until(w, WANTS_DATA, n);
			/* the last request came before it was said that there are no more */
			if (ring_has(in, n) < n)
				quit(w, 0);
		}
		intro__ring_take(in, to, n);
		if (n == PIECE_BYTES)
			ring_release(in);
		to = to ? to + n : NULL;
		size -= n;
	}
}

/* Waits until the pool has copied the oldest of the results that it has not. */
static void wait_until_copied(struct worker *w)
{
	struct ring_end *out = &w->pipe.out;
	size_t behind = (size_t)(out->at - w->sent[w->sent_first].end);

	wait_until(w, WANTS_ROOM, RING_BYTES - behind);
	free_sent(w);
}

/*
 * A large result that is not in the segment gets there, if there is room: now or when the pool has
 * copied what is there.
 */
static void place_result(struct worker *w, struct call_state *state, size_t size)
{
	free_sent(w);
	while (w->sent_n == SENT)
		wait_until_copied(w);
	while (!state->place && state->segment && size >= SEGMENT_RESULT) {
		state->place = intro__segment_put(&w->results, state->result.data, size);
		if (state->place || !w->sent_n)
			return;
		wait_until_copied(w);
	}
}

static void write_reply(struct worker *w, struct wire_reply *reply, const struct wire_times *times,
			struct call_state *state)
{
	struct ring_message message = {0};

	if (reply->size >= SEGMENT_RESULT)
		place_result(w, state, reply->size);
	reply->place = reply->size ? state->place : 0;
	intro__message_add(&message, reply, sizeof(*reply));
	intro__message_add(&message, times, times ? sizeof(*times) : 0);
	intro__message_add(&message, state->text, reply->text);
	intro__message_add(&message, state->result.data, reply->place ? 0 : reply->size);
	while (!intro__message_put(&w->pipe.out, &message))
		wait_until(w, WANTS_ROOM,
			   message.left < PIECE_BYTES ? ring_padded(message.left) + RING_ALIGN
						      : PIECE_BYTES + RING_ALIGN);
	if (reply->place)
		w->sent[(w->sent_first + w->sent_n++) % SENT] = (struct sent_result){
			.place = reply->place, .size = reply->size, .end = w->pipe.out.at};
	else if (state->place)
		intro__segment_free(&w->results, state->place, state->result.size);
}

/* How long tasks take, for who decides how many to hand out ahead. */
static void tell_length(struct worker *w, int64_t began, int64_t ended)
{
	if (!w->length_ns)
		w->length_ns = ended - began;
	w->length_ns += (ended - began - w->length_ns) / LENGTH_WEIGHT;
	atomic_store_explicit(&w->pipe.shared->length_ns,
			      w->length_ns < UINT32_MAX ? (uint32_t)w->length_ns : UINT32_MAX,
			      memory_order_relaxed);
}

static void run(struct worker *w, intro_task_fn fn, const void *arg, size_t size, uint64_t task)
{
	struct call_state state = {
		.copies = true, .spawned = w->birth->spawned, .segment = task ? &w->results : NULL};
	struct intro_call call = {.arg = arg,
				  .size = size,
				  .worker = w->name,
				  .index = w->birth->index,
				  .task = task,
				  .initial = w->initial,
				  .runtime = &state};
	struct wire_reply reply = {.task = task};
	bool timed = w->birth->executor->timed && task;
	struct wire_times times;

	times.began = timed || !w->since ? intro__now() : w->since;
	if (task)
		intro_mark_start(task, w->birth->executor->pool);
	reply.code = fn(&call);
	/* a child of the task's own, which has no business with the pool */
	if (intro__forks() != w->forks)
		intro__child_vanish(0);
	times.ended = intro__now();
	if (task)
		intro_mark_end(task, reply.code ? INTRO_STATUS_FAILED : INTRO_STATUS_OK, 0);
	else
		w->initial = call.initial;
	if (reply.code)
		reply.text = (uint32_t)strlen(state.text);
	else
		reply.size = state.result.size;
	w->since = times.ended;
	if (task)
		tell_length(w, times.began, times.ended);
	if (task || reply.code)
		write_reply(w, &reply, timed ? &times : NULL, &state);
	intro__call_free(&state);
	if (!task && reply.code)
		quit(w, 1);
}

static int no_memory(struct intro_call *call)
{
	intro_call_error(call, "no memory for the task's payload");
	return -ENOMEM;
}

static intro_task_fn function_of(struct worker *w, uint64_t wire)
{
	intro_task_fn fn = (intro_task_fn)intro__function_of(wire, w->birth->spawned);

	return fn ? fn : intro__not_registered;
}

static bool make_room(struct worker *w, size_t size)
{
	if (size <= w->capacity)
		return true;
	free(w->payload);
	w->payload = intro__bytes_alloc(size);
	w->capacity = w->payload ? size : 0;
	return w->payload;
}

/* false: the pool has taken it back. */
static bool claim(struct wire_request *request)
{
	uint32_t is = CLAIM_PENDING;

	return atomic_compare_exchange_strong(&request->claim, &is, CLAIM_BEGUN);
}

/* Where the payload is now; it is out of the ring. NULL: no memory. */
static void *take_payload(struct worker *w, const struct wire_request *request, bool ours,
			  struct segment_view *view)
{
	if (!request->place) {
		bool fits = ours && make_room(w, request->size);

		read_exactly(w, fits ? w->payload : NULL, request->size);
		return fits ? w->payload : NULL;
	}
	return ours ? intro__segment_view(view, w->birth->segments, SEGMENT_OF_PAYLOADS,
					  request->place, request->size)
		    : NULL;
}

static void run_next(struct worker *w)
{
	struct ring_end *in = &w->pipe.in;
	struct segment_view view = {0};
	struct wire_request request;
	const void *payload;
	bool ours;

	if (ring_has(in, sizeof(request)) < sizeof(request))
		wait_until(w, WANTS_DATA, sizeof(request));
	if (ring_has(in, sizeof(request)) < sizeof(request))
		quit(w, 0);
	ours = claim(ring_place(in, in->at));
	read_exactly(w, (unsigned char *)&request, sizeof(request));
	payload = take_payload(w, &request, ours, &view);
	ring_next_message(in);
	ring_release(in);
	if (!ours)
		return;
	if (payload || !request.size)
		run(w, function_of(w, request.fn), payload, request.size, request.task);
	else
		run(w, no_memory, NULL, 0, request.task);
	intro__segment_view_end(&view);
	if (w->capacity > KEEP_BYTES) {
		free(w->payload);
		w->payload = NULL;
		w->capacity = 0;
	}
}

/* A task has ended its thread: a process of which only other threads of tasks are left runs none.
 */
static void thread_ends(void *w)
{
	quit(w, 1);
}

void intro__process_worker(const struct worker_birth *birth)
{
	struct worker *w;
	char comm[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != birth->parent)
		_exit(1);
	intro__child_signals(birth->signals);
	/* what waits in their buffers is the parent's to write */
	__fpurge(stdout);
	__fpurge(stderr);
	w = calloc(1, sizeof(*w));
	if (!w)
		_exit(1);
	w->birth = birth;
	w->forks = intro__forks();
	w->may_spin = birth->may_spin;
	w->spin_ns = WORKER_SPIN_NS;
	intro__segment_init(&w->results, birth->segments, SEGMENT_OF_RESULTS(birth->index),
			    RESULTS_MOST, RESULTS_BLOCKS);
	intro__pipe_open(&w->pipe, birth->pipe, birth->more, true, birth->bell);
	intro__worker_name(birth->executor, birth->index, w->name, sizeof(w->name));
	intro__worker_name(birth->executor, birth->index, comm, sizeof(comm));
	prctl(PR_SET_NAME, comm);
	intro_mark_worker_start(birth->executor->pool, birth->index);
	pthread_cleanup_push(thread_ends, w);
	if (birth->executor->initializer)
		run(w, birth->executor->initializer, birth->executor->initarg,
		    birth->executor->initarg_size, 0);
	for (;;)
		run_next(w);
	pthread_cleanup_pop(0);
}
