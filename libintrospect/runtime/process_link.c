/* SPDX-License-Identifier: BSD-2-Clause */
/* process_link.c - the parent's end of one worker process. See process_link.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "futex.h"
#include "process_link.h"

/* A worker that closed its socket is about to end. One that does not (it exec'ed) is killed. */
#define END_GRACE_MS 1000

void intro__payload_free(struct future *f)
{
	if (f->work.size > INTRO__INLINE_BYTES)
		free((void *)f->work.arg);
	f->work.size = 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int intro__link_start(struct link *link, pid_t parent, const sigset_t *signals, const int *others,
		      size_t n)
{
	struct worker_birth birth = {.executor = link->executor,
				     .index = link->index,
				     .parent = parent,
				     .signals = signals};
	int pair[2], err = 0;

	link->fd = link->pidfd = -1;
	link->begin = link->end = 0;
	link->replying = link->retiring = link->answered = false;
	link->given = 0;
	link->born = intro__now();
	intro__worker_name(link->executor, link->index, link->name, sizeof(link->name));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	birth.fd = pair[1];
	link->pid = fork();
	if (!link->pid) {
		/* or our siblings would never see the end of their sockets */
		for (size_t i = 0; i < n; i++)
			if (others[i] >= 0)
				close(others[i]);
		close(pair[0]);
		intro__process_worker(&birth);
	}
	if (link->pid < 0)
		err = -errno;
	close(pair[1]);
	link->fd = pair[0];
	if (!err && (link->pidfd = pidfd_open(link->pid, 0)) < 0) {
		err = -errno;
		kill(link->pid, SIGKILL);
		waitpid(link->pid, NULL, 0);
	}
	if (err)
		close_fd(&link->fd);
	return err;
}

void intro__link_hand(struct link *link, struct future *f)
{
	intro_mark_take(intro_future_id(intro__public(f)), link->executor->pool,
			(uint32_t)link->pid);
	queue_push(&link->handed, f);
	link->given++;
	if (!link->unsent) {
		link->unsent = f;
		link->sent = 0;
	}
}

/* Sends more of the first unsent request. 0: go on; -errno. */
static int send_more(struct link *link)
{
	struct future *f = link->unsent;
	struct wire_request request = {
		.task = intro_future_id(intro__public(f)), .fn = f->work.fn, .size = f->work.size};
	struct iovec iov[2] = {{&request, sizeof(request)}, {(void *)f->work.arg, f->work.size}};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
	size_t past = link->sent < sizeof(request) ? link->sent : sizeof(request);
	ssize_t n;

	iov[0].iov_base = (char *)&request + past;
	iov[0].iov_len -= past;
	if (f->work.size) {
		iov[1].iov_base = (char *)f->work.arg + (link->sent - past);
		iov[1].iov_len -= link->sent - past;
	}
	n = sendmsg(link->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	link->sent += (size_t)n;
	if (link->sent == sizeof(request) + f->work.size) {
		if (!link->keeps)
			intro__payload_free(f);
		link->unsent = f->work.next;
		link->sent = 0;
	}
	return 0;
}

void intro__link_send(struct link *link)
{
	/* a worker that cannot be sent to is found dead by its pidfd */
	while (link->fd >= 0 && link->unsent)
		if (send_more(link))
			return;
}

static void finish_reply(struct link *link)
{
	struct future *f = queue_pop(&link->handed);
	struct future_end end = {.mark = INTRO_KIND_RESULT, .status = INTRO_STATUS_OK};
	struct intro_error error;

	link->answered = true;
	intro__payload_free(f);
	intro__count_task(&link->counts, link->reply.code);
	if (link->executor->timed)
		intro__count_times(&link->counts, link->reply.began - f->work.submitted,
				   link->reply.ended - link->reply.began);
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
		end.owns_bytes = true;
	}
	link->data = NULL;
	link->replying = false;
	if (intro__future_end(f, &end) && end.owns_bytes)
		free(end.result.data);
}

/* The header is complete. */
static enum link_state begin_reply(struct link *link, struct intro_error *error)
{
	struct future *first = link->handed.first;

	link->taken = 0;
	link->replying = true;
	memset(link->text, 0, sizeof(link->text));
	/* a worker whose memory is spoilt may say anything */
	if (link->reply.text >= sizeof(link->text) || (!link->reply.task && link->reply.size) ||
	    (link->reply.task && (!first || first == link->unsent ||
				  intro_future_id(intro__public(first)) != link->reply.task))) {
		intro__error_set(error, -EPIPE, "worker %s (tid %d) sent an invalid reply",
				 link->name, (int)link->pid);
		return LINK_BROKEN;
	}
	link->data = link->reply.size ? malloc(link->reply.size) : NULL;
	return LINK_OPEN;
}

/* Where the next bytes of the reply go, and how many; 0: it is complete. */
static size_t reply_wants(struct link *link, unsigned char **to, unsigned char *away, size_t room)
{
	size_t text = link->reply.text, total = text + link->reply.size, left;

	if (link->taken < text) {
		*to = (unsigned char *)link->text + link->taken;
		return text - link->taken;
	}
	left = total - link->taken;
	if (link->data) {
		*to = link->data + (link->taken - text);
		return left;
	}
	*to = away;
	return left < room ? left : room;
}

/* Takes from the buffer. LINK_OPEN: it holds no whole part any more. */
static enum link_state take_replies(struct link *link, struct intro_error *error)
{
	unsigned char *to, away[256];
	enum link_state state;
	size_t want, n;

	for (;;) {
		if (!link->replying) {
			if (link->end - link->begin < sizeof(link->reply))
				return LINK_OPEN;
			memcpy(&link->reply, link->in + link->begin, sizeof(link->reply));
			link->begin += sizeof(link->reply);
			state = begin_reply(link, error);
			if (state)
				return state;
		}
		while ((want = reply_wants(link, &to, away, sizeof(away)))) {
			n = link->end - link->begin;
			n = n < want ? n : want;
			if (!n)
				return LINK_OPEN;
			memcpy(to, link->in + link->begin, n);
			link->begin += n;
			link->taken += n;
		}
		if (!link->reply.task) {
			intro__error_set(error, -EPIPE,
					 "initializer of worker %s failed with %d%s%.60s",
					 link->name, link->reply.code, link->text[0] ? ": " : "",
					 link->text);
			return LINK_BROKEN;
		}
		finish_reply(link);
	}
}

/* One recv: a large result goes to its place at once, all else through the buffer. */
static ssize_t receive(struct link *link)
{
	unsigned char *to;
	ssize_t n;
	size_t left;

	if (link->replying && link->data && link->taken >= link->reply.text) {
		left = reply_wants(link, &to, NULL, 0);
		if (left >= sizeof(link->in)) {
			n = recv(link->fd, to, left, MSG_DONTWAIT);
			if (n > 0)
				link->taken += (size_t)n;
			return n;
		}
	}
	memmove(link->in, link->in + link->begin, link->end - link->begin);
	link->end -= link->begin;
	link->begin = 0;
	n = recv(link->fd, link->in + link->end, sizeof(link->in) - link->end, MSG_DONTWAIT);
	if (n > 0)
		link->end += (size_t)n;
	return n;
}

enum link_state intro__link_receive(struct link *link, struct intro_error *error)
{
	enum link_state state;
	ssize_t n;

	while (link->fd >= 0) {
		n = receive(link);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return LINK_OPEN;
		if (n <= 0)
			return LINK_ENDED;
		state = take_replies(link, error);
		if (state)
			return state;
	}
	return LINK_ENDED;
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

void intro__link_drop(struct link *link, const struct intro_error *error)
{
	struct future *f;

	link->unsent = NULL;
	while ((f = queue_pop(&link->handed))) {
		intro__payload_free(f);
		intro__future_drop(f, error);
	}
}

void intro__link_close(struct link *link)
{
	close_fd(&link->fd);
	close_fd(&link->pidfd);
	free(link->data);
	link->data = NULL;
}
