/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * manager_server.c - a manager's server: its clients, their requests, its end.
 *
 * A client is marked as doomed where it is found out, and let go of at the end of the turn: so
 * no pointer that an event or a list holds goes stale meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "child.h"
#include "futex.h"
#include "manager_private.h"

#define EVENTS 16
#define BACKLOG 64

enum source { FROM_LISTENER, FROM_CONTROL, FROM_PARENT, FROM_PEER, FROM_CLIENT };

/* A process that has connections, or a lock, or something in hand. */
struct peer {
	enum source source; /* first: what an event points to */
	TAILQ_ENTRY(peer) all;
	pid_t pid;
	int pidfd;
	unsigned clients;
	bool dead;
};
TAILQ_HEAD(peer_list, peer);

struct client {
	enum source source;
	TAILQ_ENTRY(client) all;
	struct peer *peer;
	int fd;
	size_t room; /* bytes of a packet that its socket takes */
	bool doomed;
	/* The request: all of it when `waits`. Charged. */
	unsigned char *in;
	size_t in_size, in_have;
	bool skips; /* there was no memory for it: it is received and thrown away */
	/* The rest of the reply. Charged. */
	unsigned char *out;
	size_t out_size, out_sent;
	struct object *waits; /* for this one to change */
	int64_t deadline;
	TAILQ_ENTRY(client) waiting;
};

struct server {
	const struct intro_manager_options *options;
	struct objects objects;
	struct client_list clients;
	struct peer_list peers;
	unsigned clients_n, waiting_n;
	int epoll, listener, control, parent;
	bool listens, ends;
	enum source from_listener, from_control, from_parent;
	unsigned char *in, *out; /* room for one packet each */
};

struct objects *intro__server_objects(struct server *server)
{
	return &server->objects;
}

static int watch(struct server *s, int op, int fd, uint32_t events, void *source)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(s->epoll, op, fd, &event) ? -errno : 0;
}

/* What the client's socket is watched for; its end always is. */
static void watch_client(struct server *s, struct client *c)
{
	uint32_t events = c->out ? EPOLLOUT : c->waits ? 0 : EPOLLIN;

	if (watch(s, EPOLL_CTL_MOD, c->fd, events, c))
		c->doomed = true;
}

/* --- replies ---------------------------------------------------------------------------------- */

static void free_out(struct server *s, struct client *c)
{
	free(c->out);
	intro__discharge(&s->objects, c->out ? c->out_size : 0);
	c->out = NULL;
}

/* Of the message at `out`. 0: all is sent; -EAGAIN; -errno. */
static int send_rest(struct client *c, const unsigned char *out)
{
	while (c->out_sent < c->out_size) {
		struct packet packet = {
			.total = c->out_size, .offset = c->out_sent, .kind = PACKET_MESSAGE};
		size_t left = c->out_size - c->out_sent, n = left < c->room ? left : c->room;
		int err =
			intro__packet_send(c->fd, &packet, out + c->out_sent, n, -1, MSG_DONTWAIT);

		if (err)
			return err;
		c->out_sent += n;
	}
	return 0;
}

int intro__reply_begin(struct call *call, size_t size, unsigned char **to)
{
	struct server *s = call->server;
	struct client *c = call->client;
	size_t total = size + sizeof(struct manager_reply);
	int err;

	if (size > s->objects.message)
		return -EMSGSIZE;
	c->out_size = total;
	c->out_sent = 0;
	if (total > PACKET_BYTES) {
		err = intro__charge(&s->objects, total);
		if (err)
			return err;
		c->out = malloc(total);
		if (!c->out) {
			intro__discharge(&s->objects, total);
			return -ENOMEM;
		}
	}
	*to = (c->out ? c->out : s->out) + sizeof(struct manager_reply);
	return 0;
}

/* The message is in the server's buffer, and the socket did not take all: a client that does not
 * read its replies. It may have one packet beyond the limit. */
static int keep_rest(struct server *s, struct client *c)
{
	c->out = malloc(c->out_size);
	if (!c->out)
		return -ENOMEM;
	memcpy(c->out, s->out, c->out_size);
	s->objects.used += c->out_size;
	return 0;
}

static int reply(struct call *call, int code)
{
	struct server *s = call->server;
	struct client *c = call->client;
	struct manager_reply head = {.code = code, .number = call->number};
	int err;

	memcpy(c->out ? c->out : s->out, &head, sizeof(head));
	err = send_rest(c, c->out ? c->out : s->out);
	if (err == -EAGAIN)
		err = c->out ? 0 : keep_rest(s, c);
	else
		free_out(s, c);
	if (err)
		c->doomed = true;
	return err;
}

int intro__reply_commit(struct call *call, int code)
{
	int err = reply(call, code);

	return err ? err : CALL_REPLIED;
}

static void reply_code(struct call *call, int code)
{
	call->client->out_size = sizeof(struct manager_reply);
	call->client->out_sent = 0;
	reply(call, code);
}

/* --- requests --------------------------------------------------------------------------------- */

static void free_in(struct server *s, struct client *c)
{
	free(c->in);
	intro__discharge(&s->objects, c->in ? c->in_size : 0);
	c->in = NULL;
}

static void stop_waiting(struct server *s, struct client *c)
{
	TAILQ_REMOVE(intro__object_waiters(c->waits), c, waiting);
	c->waits = NULL;
	s->waiting_n--;
	free_in(s, c);
}

/* The bytes of a request: 0, or -EINVAL. */
static int parse(struct call *call, struct manager_request *request, const unsigned char *bytes,
		 size_t size)
{
	if (size < sizeof(*request))
		return -EINVAL;
	memcpy(request, bytes, sizeof(*request));
	size -= sizeof(*request);
	if (request->key_size > size)
		return -EINVAL;
	call->request = request;
	call->key = bytes + sizeof(*request);
	call->key_size = request->key_size;
	call->data = call->key + call->key_size;
	call->data_size = size - call->key_size;
	return 0;
}

/* Keeps the request, which is at `bytes`, until its object changes. */
static int begin_wait(struct call *call, const unsigned char *bytes, size_t size)
{
	struct server *s = call->server;
	struct client *c = call->client;

	if (call->request->timeout_ns <= 0)
		return -ETIMEDOUT;
	if (bytes != c->in) {
		if (intro__charge(&s->objects, size))
			return -ENOSPC;
		c->in = malloc(size);
		if (!c->in) {
			intro__discharge(&s->objects, size);
			return -ENOMEM;
		}
		memcpy(c->in, bytes, size);
		c->in_size = size;
	}
	c->waits = call->object;
	c->deadline = intro__deadline(call->request->timeout_ns);
	TAILQ_INSERT_TAIL(intro__object_waiters(c->waits), c, waiting);
	s->waiting_n++;
	return 0;
}

/* `bytes` are the server's buffer, or c->in, which is freed unless the request waits. */
static void handle(struct server *s, struct client *c, const unsigned char *bytes, size_t size)
{
	struct manager_request request;
	struct call call = {.server = s, .client = c, .peer = c->peer};
	int result = parse(&call, &request, bytes, size);

	if (!result)
		result = intro__object_call(&call);
	if (result == CALL_WAITS) {
		result = begin_wait(&call, bytes, size);
		if (!result)
			return;
		call.object = NULL;
	}
	if (result != CALL_REPLIED)
		reply_code(&call, result);
	free_in(s, c);
	if (call.object)
		intro__server_retry(s, call.object, false);
}

/* true: it waits no longer. */
static bool try_again(struct server *s, struct client *c, bool gone)
{
	struct manager_request request;
	struct call call = {.server = s, .client = c, .peer = c->peer};
	int result = -ENOENT;

	/* whose process is dead gets nothing more */
	if (c->doomed || c->peer->dead)
		return false;
	parse(&call, &request, c->in, c->in_size);
	if (!gone)
		result = intro__object_call(&call);
	if (result == CALL_WAITS)
		return false;
	if (result != CALL_REPLIED)
		reply_code(&call, result);
	stop_waiting(s, c);
	watch_client(s, c);
	return true;
}

void intro__server_retry(struct server *s, struct object *object, bool gone)
{
	struct client_list *waiters = intro__object_waiters(object);
	struct client *c, *next;
	bool again;

	/* one that goes on may let one go on that came before */
	do {
		again = false;
		for (c = TAILQ_FIRST(waiters); c; c = next) {
			next = TAILQ_NEXT(c, waiting);
			again |= try_again(s, c, gone);
		}
	} while (again && !gone);
}

/* --- receiving -------------------------------------------------------------------------------- */

static void reply_no_room(struct server *s, struct client *c)
{
	struct call call = {.server = s, .client = c};

	c->skips = false;
	reply_code(&call, -ENOSPC);
}

static void doom(struct client *c)
{
	c->doomed = true;
}

static void receive_first(struct server *s, struct client *c)
{
	struct packet packet = {0};
	int64_t n = intro__packet_recv(c->fd, &packet, s->in, PACKET_BYTES, NULL, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return;
	/* a client of ours looks at the length before it sends */
	if (n < 0 || packet.kind != PACKET_MESSAGE || packet.offset ||
	    packet.total > s->objects.message + sizeof(struct manager_request)) {
		doom(c);
		return;
	}
	if ((uint64_t)n == packet.total) {
		handle(s, c, s->in, (size_t)n);
		return;
	}
	c->in_size = packet.total;
	c->in_have = (size_t)n;
	c->skips = true;
	if (intro__charge(&s->objects, c->in_size))
		return;
	c->in = malloc(c->in_size);
	if (!c->in) {
		intro__discharge(&s->objects, c->in_size);
		return;
	}
	memcpy(c->in, s->in, (size_t)n);
	c->skips = false;
}

static void receive_more(struct server *s, struct client *c)
{
	size_t left = c->in_size - c->in_have;
	struct packet packet = {0};
	int64_t n;

	if (left > PACKET_BYTES)
		left = PACKET_BYTES;
	n = intro__packet_recv(c->fd, &packet, c->skips ? s->in : c->in + c->in_have, left, NULL,
			       MSG_DONTWAIT);
	if (n == -EAGAIN)
		return;
	if (n < 0 || packet.kind != PACKET_MESSAGE || packet.total != c->in_size ||
	    packet.offset != c->in_have) {
		doom(c);
		return;
	}
	c->in_have += (size_t)n;
	if (c->in_have < c->in_size)
		return;
	if (c->skips)
		reply_no_room(s, c);
	else
		handle(s, c, c->in, c->in_size);
}

static void client_event(struct server *s, struct client *c, uint32_t events)
{
	if (c->doomed)
		return;
	if (events & (EPOLLHUP | EPOLLERR) && !(events & EPOLLIN)) {
		doom(c);
		return;
	}
	if (c->out) {
		int err = send_rest(c, c->out);

		if (!err)
			free_out(s, c);
		else if (err != -EAGAIN)
			doom(c);
	} else if (!c->waits && (c->in || c->skips)) {
		receive_more(s, c);
	} else if (!c->waits) {
		receive_first(s, c);
	}
	if (!c->doomed)
		watch_client(s, c);
}

/* --- clients and peers ------------------------------------------------------------------------ */

static void set_listening(struct server *s, bool listens)
{
	if (s->listens == listens)
		return;
	s->listens = listens;
	watch(s, EPOLL_CTL_MOD, s->listener, listens ? EPOLLIN : 0, &s->from_listener);
}

static void peer_free(struct server *s, struct peer *p)
{
	TAILQ_REMOVE(&s->peers, p, all);
	close(p->pidfd);
	free(p);
	set_listening(s, true);
}

/* NULL and errno. */
static struct peer *peer_of(struct server *s, pid_t pid)
{
	struct peer *p;

	TAILQ_FOREACH(p, &s->peers, all) {
		struct pollfd ended = {.fd = p->pidfd, .events = POLLIN};

		/* its number may have been given to another process since */
		if (p->pid == pid && poll(&ended, 1, 0) == 0)
			return p;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	*p = (struct peer){.source = FROM_PEER, .pid = pid, .pidfd = pidfd_open(pid, 0)};
	if (p->pidfd < 0 || watch(s, EPOLL_CTL_ADD, p->pidfd, EPOLLIN, p)) {
		if (p->pidfd >= 0)
			close(p->pidfd);
		free(p);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&s->peers, p, all);
	return p;
}

/* What its first reply says; 0: it is let in. */
static int admit(struct server *s, int fd, struct peer **peer)
{
	struct ucred who;
	socklen_t n = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) || who.uid != geteuid())
		return -EACCES;
	if (s->clients_n >= s->options->clients)
		return -EUSERS;
	*peer = peer_of(s, who.pid);
	return *peer ? 0 : -ENOMEM;
}

static struct client *client_new(struct server *s, int fd, struct peer *peer)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct client){.source = FROM_CLIENT, .fd = fd, .peer = peer};
	if (watch(s, EPOLL_CTL_ADD, fd, EPOLLIN, c)) {
		free(c);
		return NULL;
	}
	c->room = intro__packet_room(fd);
	TAILQ_INSERT_TAIL(&s->clients, c, all);
	peer->clients++;
	s->clients_n++;
	return c;
}

static void accept_one(struct server *s)
{
	struct manager_reply hello = {.number = (int64_t)s->objects.message};
	const struct packet packet = {.total = sizeof(hello), .kind = PACKET_MESSAGE};
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct peer *peer = NULL;
	struct client *c = NULL;

	if (fd < 0) {
		/* no descriptor is to be had until somebody goes */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			set_listening(s, false);
		return;
	}
	hello.code = admit(s, fd, &peer);
	if (!hello.code) {
		c = client_new(s, fd, peer);
		hello.code = c ? 0 : -ENOMEM;
	}
	if (intro__packet_send(fd, &packet, &hello, sizeof(hello), -1, MSG_DONTWAIT) && c)
		doom(c);
	if (!c)
		close(fd);
}

static void client_free(struct server *s, struct client *c)
{
	if (c->waits)
		stop_waiting(s, c);
	free_in(s, c);
	free_out(s, c);
	close(c->fd);
	c->peer->clients--;
	s->clients_n--;
	TAILQ_REMOVE(&s->clients, c, all);
	free(c);
	set_listening(s, true);
}

/* At the end of a turn: nobody points to them any more. */
static void let_go(struct server *s)
{
	struct client *c, *next;
	struct peer *p, *next_peer;

	for (p = TAILQ_FIRST(&s->peers); p; p = TAILQ_NEXT(p, all))
		if (p->dead)
			intro__objects_bury(s, p);
	for (c = TAILQ_FIRST(&s->clients); c; c = next) {
		next = TAILQ_NEXT(c, all);
		if (c->doomed || c->peer->dead)
			client_free(s, c);
	}
	for (p = TAILQ_FIRST(&s->peers); p; p = next_peer) {
		next_peer = TAILQ_NEXT(p, all);
		if (p->dead || (!p->clients && !intro__objects_know(&s->objects, p)))
			peer_free(s, p);
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

/* What is left until the first of those that wait gives up, for epoll; -1: nobody does. */
static int next_timeout(struct server *s)
{
	int64_t first = INTRO_FOREVER, left;
	const struct client *c;

	if (!s->waiting_n)
		return -1;
	TAILQ_FOREACH(c, &s->clients, all)
		if (c->waits && c->deadline < first)
			first = c->deadline;
	if (first == INTRO_FOREVER)
		return -1;
	left = first - intro__now();
	if (left <= 0)
		return 0;
	/* not before it is over */
	left = left / 1000000 + 1;
	return left > INT_MAX ? INT_MAX : (int)left;
}

static void give_up_waits(struct server *s)
{
	int64_t now = s->waiting_n ? intro__now() : 0;
	struct client *c;

	if (!s->waiting_n)
		return;
	TAILQ_FOREACH(c, &s->clients, all) {
		struct call call = {.server = s, .client = c};

		if (!c->waits || c->deadline > now || c->doomed)
			continue;
		stop_waiting(s, c);
		reply_code(&call, -ETIMEDOUT);
		watch_client(s, c);
	}
}

static void take_event(struct server *s, const struct epoll_event *event)
{
	switch (*(enum source *)event->data.ptr) {
	case FROM_LISTENER:
		if (s->listens)
			accept_one(s);
		return;
	case FROM_CONTROL:
	case FROM_PARENT:
		s->ends = true;
		return;
	case FROM_PEER:
		((struct peer *)event->data.ptr)->dead = true;
		return;
	case FROM_CLIENT:
		client_event(s, event->data.ptr, event->events);
		return;
	}
}

static void serve(struct server *s)
{
	struct epoll_event events[EVENTS];

	while (!s->ends) {
		int n = epoll_wait(s->epoll, events, EVENTS, next_timeout(s));

		for (int i = 0; i < n; i++)
			take_event(s, &events[i]);
		give_up_waits(s);
		let_go(s);
	}
}

/* --- begin ------------------------------------------------------------------------------------ */

static int listen_at(struct server *s, const char *address)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	size_t n = strlen(address);

	/* abstract: there is no file that could be left */
	memcpy(name.sun_path + 1, address, n);
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0 ||
	    bind(s->listener, (struct sockaddr *)&name,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) ||
	    listen(s->listener, BACKLOG))
		return -errno;
	return 0;
}

static void raise_descriptors(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int set_up(struct server *s, const struct manager_birth *birth)
{
	int err;

	s->options = &birth->options;
	s->objects.limit = birth->options.limit;
	s->objects.message = birth->options.message;
	s->control = birth->control;
	s->from_listener = FROM_LISTENER;
	s->from_control = FROM_CONTROL;
	s->from_parent = FROM_PARENT;
	s->listens = true;
	TAILQ_INIT(&s->objects.all);
	TAILQ_INIT(&s->clients);
	TAILQ_INIT(&s->peers);
	raise_descriptors();
	s->in = malloc(PACKET_BYTES);
	s->out = malloc(PACKET_BYTES);
	if (!s->in || !s->out)
		return -ENOMEM;
	err = listen_at(s, birth->address);
	if (err)
		return err;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	/* and not a parent-death signal, which is bound to the thread that forked */
	s->parent = pidfd_open(birth->parent, 0);
	if (s->epoll < 0 || s->parent < 0)
		return -errno;
	err = watch(s, EPOLL_CTL_ADD, s->listener, EPOLLIN, &s->from_listener);
	if (!err)
		err = watch(s, EPOLL_CTL_ADD, s->control, EPOLLIN, &s->from_control);
	if (!err)
		err = watch(s, EPOLL_CTL_ADD, s->parent, EPOLLIN, &s->from_parent);
	/* or the pid may be somebody else's by now */
	return !err && getppid() != birth->parent ? -ESRCH : err;
}

/* The program's descriptors: as long as we had them, nobody would see the end of its pipes. */
static void close_others(int control)
{
	if (control > 3)
		close_range(3, (unsigned)control - 1, 0);
	close_range(control < 3 ? 3 : (unsigned)control + 1, ~0u, 0);
}

void intro__manager_server(const struct manager_birth *birth)
{
	struct server server = {.epoll = -1};
	int err;

	/* what tells a group to end tells the maker, and whoever still works for it needs us */
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	intro__child_signals(birth->signals);
	__fpurge(stdout);
	__fpurge(stderr);
	prctl(PR_SET_NAME, birth->options.name);
	close_others(birth->control);
	err = set_up(&server, birth);
	if (send(birth->control, &err, sizeof(err), MSG_NOSIGNAL) == (ssize_t)sizeof(err) && !err)
		serve(&server);
	intro__child_quit(err ? 1 : 0);
}
