/* SPDX-License-Identifier: BSD-2-Clause */
/* process_link.c - the parent's end of one worker process. See process_link.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "futex.h"
#include "process_link.h"
#include "spawn_private.h"

/* A worker that closed its socket is about to end. One that does not (it exec'ed) is killed. */
#define END_GRACE_MS 1000

/* What is taken of a reply in one go. */
#define PIECE_BYTES ((size_t)64 << 10)

/* After so much the worker is told that there is room again, and readers are woken. */
#define RELEASE_BYTES ((size_t)4 << 10)

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void forget_last(struct link *link)
{
	link->bell = link->pidfd = -1;
	link->replying = link->retiring = link->held_up = false;
	link->given = link->handed_ever = link->answered_seen = 0;
	link->held_since = 0;
	atomic_store_explicit(&link->answered, 0, memory_order_relaxed);
	link->unsent = NULL;
	link->ahead = 0;
	link->born = intro__now();
	intro__worker_name(link->executor, link->index, link->name, sizeof(link->name));
}

/* Our end of its bell is `ours`. */
static pid_t fork_worker(const struct worker_birth *birth, int ours, const int *others, size_t n)
{
	pid_t pid = fork();

	if (pid)
		return pid < 0 ? -errno : pid;
	/* or our siblings would never see the end of their sockets */
	for (size_t i = 0; i < n; i++)
		if (others[i] >= 0)
			close(others[i]);
	close(ours);
	intro__process_worker(birth);
}

/* Makes the process of a link that has all else. */
static int make_process(struct link *link, const struct worker_birth *birth, int memory,
			const int *others, size_t n)
{
	int err;

	link->pid = memory >= 0 ? intro__spawn(birth, memory)
				: fork_worker(birth, link->bell, others, n);
	if (link->pid < 0)
		return (int)link->pid;
	/* no other child can spoil it: neither another worker nor one that the program forks */
	madvise(link->pipe.shared, link->pipe.bytes, MADV_DONTFORK);
	link->pidfd = pidfd_open(link->pid, 0);
	if (link->pidfd >= 0)
		return 0;
	err = -errno;
	kill(link->pid, SIGKILL);
	waitpid(link->pid, NULL, 0);
	return err;
}

int intro__link_start(struct link *link, const struct worker_birth *given, const int *others,
		      size_t n)
{
	struct worker_birth birth = *given;
	bool spawns = link->executor->spawns;
	int pair[2], err = 0, memory = -1;

	forget_last(link);
	birth.executor = link->executor;
	birth.index = link->index;
	birth.segments = link->segments;
	birth.more = spawns ? intro__spawn_bytes(birth.executor) : 0;
	birth.pipe = intro__pipe_map(birth.more, spawns ? &memory : NULL);
	if (!birth.pipe)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		err = -errno;
		pair[0] = pair[1] = -1;
	}
	link->bell = pair[0];
	birth.bell = pair[1];
	intro__pipe_open(&link->pipe, birth.pipe, birth.more, false, link->bell);
	if (!err)
		err = make_process(link, &birth, memory, others, n);
	close_fd(&pair[1]);
	close_fd(&memory);
	if (err)
		intro__link_close(link);
	return err;
}

/* What is to be put into the ring for it. */
static void compose(struct link *link, struct future *f)
{
	link->request = (struct wire_request){
		.task = intro_future_id(intro__public(f)),
		.fn = intro__function_wire(link->executor, (void (*)(void))f->work.fn),
		.size = f->work.size,
		.place = payload_place(f)};
	link->message = (struct ring_message){0};
	intro__message_add(&link->message, &link->request, sizeof(link->request));
	intro__message_add(&link->message, f->work.arg, payload_in_ring(f));
}

void intro__link_hand(struct link *link, struct future *f)
{
	bool fits = link_fits(link, payload_in_ring(f));

	intro_mark_take(intro_future_id(intro__public(f)), link->executor->pool,
			(uint32_t)link->pid);
	f->work.position = link->pipe.out.at;
	queue_push(&link->handed, f);
	link->given++;
	link->handed_ever++;
	compose(link, f);
	if (!fits) {
		link->unsent = f;
		return;
	}
	/* the payload stays until the reply: it may have to be handed to another worker */
	intro__message_put(&link->pipe.out, &link->message);
}

void intro__link_hand_place(struct link *link)
{
	compose(link, link->unsent);
}

void intro__link_end(struct link *link)
{
	link->retiring = true;
	atomic_store(&link->pipe.shared->ends, 1);
	if (atomic_load(link->pipe.out.other_wants) & WANTS_DATA)
		intro__pipe_ring(&link->pipe.out);
}

bool intro__link_send(struct link *link, bool *any)
{
	size_t left = link->message.left;
	bool sent = intro__message_put(&link->pipe.out, &link->message);

	*any |= link->message.left != left;
	return sent;
}

bool intro__link_accept(struct link *link)
{
	queue_splice(&link->out, &link->handed);
	return link->pipe.out.at - atomic_load(&link->pipe.out.shared->tail) <= RING_BYTES;
}

static struct wire_request *request_of(struct link *link, struct future *f)
{
	return ring_place(&link->pipe.out, f->work.position);
}

/* Whether the worker has got so far in the ring that the request may have been written over. */
static bool is_consumed(struct link *link, struct future *f)
{
	uint64_t tail = atomic_load(&link->pipe.out.shared->tail);

	return (int64_t)(tail - f->work.position) > 0;
}

bool intro__link_is_busy(struct link *link)
{
	struct future *f = link->out.first;

	return f && f != link->unsent &&
	       (is_consumed(link, f) || atomic_load(&request_of(link, f)->claim) == CLAIM_BEGUN);
}

void intro__link_revoke(struct link *link, struct queue *to)
{
	struct future *f = link->out.first, *next;

	for (f = f ? f->work.next : NULL; f; f = next) {
		uint32_t claim = CLAIM_PENDING;

		next = f->work.next;
		if (f == link->unsent || is_consumed(link, f) ||
		    !atomic_compare_exchange_strong(&request_of(link, f)->claim, &claim,
						    CLAIM_REVOKED))
			continue;
		queue_remove(&link->out, f);
		queue_push(to, f);
		link->handed_ever--;
	}
	link->held_up = true;
}

static void finish_reply(struct link *link, struct wakes *later)
{
	struct future *f = queue_pop(&link->out);
	struct future_end end = {
		.mark = INTRO_KIND_RESULT, .status = INTRO_STATUS_OK, .later = later};
	struct intro_error error;

	atomic_store_explicit(&link->answered, link->answered + 1, memory_order_relaxed);
	intro__payload_free(f);
	intro__count_task(&link->counts, link->reply.code);
	if (link->executor->timed)
		intro__count_times(&link->counts, link->times.began - f->work.submitted,
				   link->times.ended - link->times.began);
	if (link->reply.code) {
		error.code = link->reply.code;
		memcpy(error.text, link->text, sizeof(error.text));
		end.error = &error;
		end.status = INTRO_STATUS_FAILED;
	} else if (link->reply.size && !link->data) {
		intro__error_set(&error, -ENOMEM, "no memory for a result of %llu bytes",
				 (unsigned long long)link->reply.size);
		end.error = &error;
		end.status = INTRO_STATUS_FAILED;
	} else {
		end.result.data = link->data;
		end.result.size = link->reply.size;
		end.owns_bytes = link->data && link->data != link->small;
		end.copies = link->data == link->small;
	}
	link->data = NULL;
	link->replying = false;
	if (intro__future_end(f, &end) && end.owns_bytes)
		free(end.result.data);
}

enum link_state intro__link_is_nonsense(struct link *link, struct intro_error *error)
{
	intro__error_set(error, -EPIPE, "worker %s (tid %d) sent an invalid reply", link->name,
			 (int)link->pid);
	return LINK_BROKEN;
}

/* Takes all but the result: it comes with the header. `has` bytes are there. */
static enum link_state begin_reply(struct link *link, size_t has, struct intro_error *error)
{
	struct wire_reply *reply = &link->reply;
	struct future *first = link->out.first;
	size_t times = link->executor->timed ? sizeof(link->times) : 0;

	if (has < sizeof(*reply))
		return intro__link_is_nonsense(link, error);
	intro__ring_take(&link->pipe.in, reply, sizeof(*reply));
	/* a worker whose memory is spoilt may say anything */
	if (reply->text >= sizeof(link->text) || has < sizeof(*reply) + times + reply->text ||
	    (reply->task && (!first || first == link->unsent ||
			     intro_future_id(intro__public(first)) != reply->task)))
		return intro__link_is_nonsense(link, error);
	if (times)
		intro__ring_take(&link->pipe.in, &link->times, times);
	if (reply->code)
		memset(link->text, 0, sizeof(link->text));
	intro__ring_take(&link->pipe.in, link->text, reply->text);
	if (!reply->task) {
		intro__error_set(error, -EPIPE, "initializer of worker %s failed with %d%s%.60s",
				 link->name, reply->code, link->text[0] ? ": " : "", link->text);
		return LINK_BROKEN;
	}
	link->replying = true;
	link->taken = 0;
	if (reply->size)
		link->data = reply->size <= sizeof(link->small) ? link->small
								: intro__bytes_alloc(reply->size);
	return LINK_OPEN;
}

/* Copies a result out of the worker's segment. false: it cannot be there. */
static bool copy_result(struct link *link)
{
	return !link->data || !intro__segment_copy(link->segments, SEGMENT_OF_RESULTS(link->index),
						   link->reply.place, link->reply.size, link->data);
}

/* Takes what is there of the result. true: it is whole. */
static bool take_result(struct link *link, size_t has)
{
	size_t left = link->reply.place ? 0 : link->reply.size - link->taken;

	left = left < has ? left : has;
	left = left < PIECE_BYTES ? left : PIECE_BYTES;
	intro__ring_take(&link->pipe.in, link->data ? link->data + link->taken : NULL, left);
	link->taken += left;
	if (!link->reply.place && link->taken < link->reply.size)
		return false;
	ring_next_message(&link->pipe.in);
	return true;
}

bool intro__link_has(struct link *link)
{
	struct ring_end *in = &link->pipe.in;

	in->other = atomic_load(&in->shared->head);
	return in->other != in->at;
}

/* Takes the next message, or what there is of it. */
static enum link_state take_some(struct link *link, struct wakes *later, struct intro_error *error)
{
	struct ring_end *in = &link->pipe.in;
	size_t has = (size_t)(in->other - in->at);
	enum link_state state;

	if (has > RING_BYTES)
		return intro__link_is_nonsense(link, error);
	if (!link->replying) {
		state = begin_reply(link, has, error);
		if (state)
			return state;
		has = (size_t)(in->other - in->at);
		if (link->reply.place && !copy_result(link))
			return intro__link_is_nonsense(link, error);
	}
	if (take_result(link, has))
		finish_reply(link, later);
	return LINK_OPEN;
}

enum link_state intro__link_receive(struct link *link, struct intro_error *error)
{
	struct ring_end *in = &link->pipe.in;
	enum link_state state = LINK_OPEN;
	uint64_t released = in->at;
	struct wakes later = {0};

	/* what came after link_has may answer what was handed after link_accept */
	while (!state && in->other != in->at) {
		state = take_some(link, &later, error);
		/* the worker may wait for the room of a large result */
		if (in->at - released >= RELEASE_BYTES || link->reply.place) {
			intro__wake(&later);
			ring_release(in);
			released = in->at;
		}
	}
	intro__wake(&later);
	if (!state)
		ring_release(in);
	return state;
}

void intro__link_kill(struct link *link)
{
	if (link->pidfd >= 0)
		pidfd_send_signal(link->pidfd, SIGKILL, NULL, 0);
}

void intro__link_reap(struct link *link, char *how, size_t size)
{
	struct pollfd ended = {.fd = link->pidfd, .events = POLLIN};
	bool lingers = poll(&ended, 1, END_GRACE_MS) == 0;
	int err;

	if (lingers)
		intro__link_kill(link);
	err = intro__child_wait(link->pidfd, how, size);
	close_fd(&link->pidfd);
	if (lingers && err >= 0)
		snprintf(how, size, "left its pool without ending");
}

void intro__link_close(struct link *link)
{
	close_fd(&link->bell);
	close_fd(&link->pidfd);
	intro__pipe_unmap(&link->pipe);
	intro__segment_erase(link->segments, SEGMENT_OF_RESULTS(link->index));
	if (link->data != link->small)
		free(link->data);
	link->data = NULL;
}
