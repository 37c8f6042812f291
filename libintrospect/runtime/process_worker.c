/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process_worker.c - the worker's side of a process pool.
 *
 * A worker is a fork of the program. It runs tasks until its socket ends (the pool shuts
 * down) and dies at once with its parent. Its signals: child.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "child.h"
#include "marks_private.h"
#include "process_private.h"

/* A larger payload's memory is given back after its task. */
#define KEEP_BYTES (1u << 20)

struct worker {
	const struct worker_birth *birth;
	char name[INTRO__NAME_BYTES + 16];
	void *initial;
	/* requests read from the socket and not yet taken: [begin, end) */
	unsigned char in[4096];
	size_t begin, end;
	unsigned char *payload;
	size_t capacity;
};

static ssize_t receive(int fd, void *to, size_t size)
{
	ssize_t n;

	do
		n = recv(fd, to, size, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

/* Whole, or the pool is gone, and so are we. */
static void read_exactly(struct worker *w, void *to, size_t size)
{
	unsigned char *at = to;

	while (size) {
		size_t have = w->end - w->begin, n = have < size ? have : size;
		ssize_t got;

		memcpy(at, w->in + w->begin, n);
		w->begin += n;
		at += n;
		size -= n;
		if (!size)
			return;
		/* what is large goes to its place at once */
		if (size >= sizeof(w->in)) {
			got = receive(w->birth->fd, at, size);
			if (got > 0) {
				at += got;
				size -= (size_t)got;
			}
		} else {
			got = receive(w->birth->fd, w->in, sizeof(w->in));
			w->begin = 0;
			w->end = got > 0 ? (size_t)got : 0;
		}
		if (got <= 0) {
			intro_mark_worker_stop(w->birth->executor->pool, w->birth->index);
			intro__child_quit(0);
		}
	}
}

static void write_reply(struct worker *w, const struct wire_reply *reply, const char *text,
			const void *data)
{
	struct iovec iov[3] = {{(void *)reply, sizeof(*reply)},
			       {(void *)text, reply->text},
			       {(void *)data, reply->size}};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 3};

	while (message.msg_iovlen) {
		ssize_t n = sendmsg(w->birth->fd, &message, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			intro__child_quit(1); /* nobody is there to hear it */
		while (message.msg_iovlen && (size_t)n >= message.msg_iov->iov_len) {
			n -= (ssize_t)message.msg_iov->iov_len;
			message.msg_iov++;
			message.msg_iovlen--;
		}
		if (message.msg_iovlen) {
			message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + n;
			message.msg_iov->iov_len -= (size_t)n;
		}
	}
}

static void run(struct worker *w, intro_task_fn fn, const void *arg, size_t size, uint64_t task)
{
	struct call_state state = {.copies = true};
	struct intro_call call = {.arg = arg,
				  .size = size,
				  .worker = w->name,
				  .index = w->birth->index,
				  .task = task,
				  .initial = w->initial,
				  .runtime = &state};
	struct wire_reply reply = {.task = task};

	if (task)
		intro_mark_start(task, w->birth->executor->pool);
	if (w->birth->executor->timed)
		reply.began = intro__now();
	reply.code = fn(&call);
	if (w->birth->executor->timed)
		reply.ended = intro__now();
	if (task)
		intro_mark_end(task, reply.code ? INTRO_STATUS_FAILED : INTRO_STATUS_OK, 0);
	else
		w->initial = call.initial;
	if (reply.code)
		reply.text = (uint32_t)strlen(state.text);
	else
		reply.size = state.result.size;
	if (task || reply.code)
		write_reply(w, &reply, state.text, state.result.data);
	free(state.result.data);
	if (!task && reply.code)
		intro__child_quit(1);
}

static int no_memory(struct intro_call *call)
{
	intro_call_error(call, "no memory for the task's payload");
	return -ENOMEM;
}

static void skip(struct worker *w, uint64_t size)
{
	unsigned char away[4096];

	while (size) {
		size_t n = size < sizeof(away) ? size : sizeof(away);

		read_exactly(w, away, n);
		size -= n;
	}
}

static void run_next(struct worker *w)
{
	struct wire_request request;

	read_exactly(w, &request, sizeof(request));
	if (request.size > w->capacity) {
		free(w->payload);
		w->payload = malloc(request.size);
		w->capacity = w->payload ? request.size : 0;
	}
	if (request.size > w->capacity) {
		skip(w, request.size);
		run(w, no_memory, NULL, 0, request.task);
		return;
	}
	if (request.size)
		read_exactly(w, w->payload, request.size);
	run(w, request.fn, w->payload, request.size, request.task);
	if (w->capacity > KEEP_BYTES) {
		free(w->payload);
		w->payload = NULL;
		w->capacity = 0;
	}
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
	intro__worker_name(birth->executor, birth->index, w->name, sizeof(w->name));
	intro__worker_name(birth->executor, birth->index, comm, sizeof(comm));
	prctl(PR_SET_NAME, comm);
	intro_mark_worker_start(birth->executor->pool, birth->index);
	if (birth->executor->initializer)
		run(w, birth->executor->initializer, birth->executor->initarg,
		    birth->executor->initarg_size, 0);
	for (;;)
		run_next(w);
}
