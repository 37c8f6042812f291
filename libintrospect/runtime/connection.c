/* SPDX-License-Identifier: BSD-2-Clause */
/* connection.c - whole messages between two ends. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <introspect/connection.h>
#include <introspect/locks.h>

#include "futex.h"
#include "packet.h"

_Static_assert(PACKET_BYTES == INTRO_CONNECTION_WHOLE, "connection.h");

struct intro_connection {
	/* Who needs both takes them in this order. */
	struct intro_mutex sending, receiving;
	_Atomic int fd; /* -1: closed; changes with both locks held */
	enum intro_connection_way ways;
	size_t room; /* bytes a packet */
	bool broken; /* the rest of a message could not be sent */
	/* The first piece of the next message, once it was received. */
	bool held;
	struct packet first;
	size_t have;
	int passed; /* or -1 */
	unsigned char *bytes;
};

static int fd_of(const struct intro_connection *c)
{
	return atomic_load_explicit(&c->fd, memory_order_relaxed);
}

static void lock(struct intro_mutex *mutex)
{
	intro_mutex_acquire(mutex, INTRO_FOREVER);
}

/* --- life ------------------------------------------------------------------------------------- */

static bool is_seqpacket(int fd)
{
	int type, domain;
	socklen_t n = sizeof(type);

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) && type == SOCK_SEQPACKET &&
	       !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) && domain == AF_UNIX;
}

struct intro_connection *intro_connection_attach(int fd, enum intro_connection_way ways)
{
	struct intro_connection *c;
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0)
		return NULL;
	if (!ways || ways & ~(unsigned)INTRO_CONNECTION_BOTH || !is_seqpacket(fd)) {
		errno = ways && !(ways & ~(unsigned)INTRO_CONNECTION_BOTH) ? EPROTOTYPE : EINVAL;
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
	intro_mutex_init(&c->sending, NULL);
	intro_mutex_init(&c->receiving, NULL);
	c->fd = fd;
	c->ways = ways;
	c->room = intro__packet_room(fd);
	c->passed = -1;
	return c;
}

int intro_connection_pair(bool duplex, struct intro_connection *ends[2])
{
	int pair[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	if (!duplex)
		shutdown(pair[0], SHUT_WR);
	ends[0] = intro_connection_attach(pair[0],
					  duplex ? INTRO_CONNECTION_BOTH : INTRO_CONNECTION_READS);
	ends[1] = intro_connection_attach(pair[1],
					  duplex ? INTRO_CONNECTION_BOTH : INTRO_CONNECTION_WRITES);
	if (ends[0] && ends[1])
		return 0;
	err = -errno;
	for (int i = 0; i < 2; i++) {
		if (!ends[i])
			close(pair[i]);
		intro_connection_free(ends[i]);
	}
	return err;
}

static void let_go(struct intro_connection *c)
{
	if (c->passed >= 0)
		close(c->passed);
	c->passed = -1;
	c->held = false;
}

/* Ends the connection; its descriptor is the caller's then. */
static int leave(struct intro_connection *c, bool loses)
{
	int fd = -EBUSY;

	if (intro_mutex_acquire(&c->sending, 0))
		return -EBUSY;
	if (!intro_mutex_acquire(&c->receiving, 0)) {
		if (loses || !c->held) {
			fd = atomic_exchange_explicit(&c->fd, -1, memory_order_relaxed);
			let_go(c);
		}
		intro_mutex_release(&c->receiving);
	}
	intro_mutex_release(&c->sending);
	return fd == -1 ? -EBADF : fd;
}

int intro_connection_detach(struct intro_connection *c)
{
	return leave(c, false);
}

int intro_connection_close(struct intro_connection *c)
{
	int fd = leave(c, true);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

void intro_connection_free(struct intro_connection *c)
{
	if (!c)
		return;
	/* not by close: after a fork a lock may be held by a thread that is not in this process */
	if (fd_of(c) >= 0)
		close(fd_of(c));
	let_go(c);
	free(c->bytes);
	free(c);
}

int intro_connection_fd(const struct intro_connection *c)
{
	return fd_of(c) >= 0 ? fd_of(c) : -EBADF;
}

bool intro_connection_closed(const struct intro_connection *c)
{
	return fd_of(c) < 0;
}

bool intro_connection_readable(const struct intro_connection *c)
{
	return c->ways & INTRO_CONNECTION_READS;
}

bool intro_connection_writable(const struct intro_connection *c)
{
	return c->ways & INTRO_CONNECTION_WRITES;
}

/* --- sending ---------------------------------------------------------------------------------- */

/* The lock is held. */
static int check_sends(const struct intro_connection *c)
{
	if (fd_of(c) < 0)
		return -EBADF;
	if (!intro_connection_writable(c))
		return -EOPNOTSUPP;
	return c->broken ? -EPIPE : 0;
}

/* The lock is held. */
static int send_pieces(struct intro_connection *c, const unsigned char *data, size_t size)
{
	struct packet packet = {.total = size, .kind = PACKET_MESSAGE};
	int err;

	do {
		size_t left = size - packet.offset, n = left < c->room ? left : c->room;

		err = intro__packet_send(fd_of(c), &packet, n ? data + packet.offset : NULL, n, -1,
					 0);
		if (!err)
			packet.offset += n;
	} while (!err && packet.offset < size);
	if (err && packet.offset) {
		/* so the other end does not wait for the rest */
		shutdown(fd_of(c), SHUT_WR);
		c->broken = true;
	}
	return err;
}

int intro_connection_send(struct intro_connection *c, const void *data, size_t size)
{
	int err;

	if (size && !data)
		return -EINVAL;
	lock(&c->sending);
	err = check_sends(c);
	if (!err)
		err = send_pieces(c, data, size);
	intro_mutex_release(&c->sending);
	return err;
}

int intro_connection_send_fd(struct intro_connection *c, int fd)
{
	const struct packet packet = {.kind = PACKET_FD};
	int err;

	if (fd < 0)
		return -EBADF;
	lock(&c->sending);
	err = check_sends(c);
	if (!err)
		err = intro__packet_send(fd_of(c), &packet, NULL, 0, fd, 0);
	intro_mutex_release(&c->sending);
	return err;
}

/* --- receiving -------------------------------------------------------------------------------- */

static int check_receives(const struct intro_connection *c)
{
	if (fd_of(c) < 0)
		return -EBADF;
	return intro_connection_readable(c) ? 0 : -EOPNOTSUPP;
}

/* Has the first piece of the next message. The lock is held. */
static int receive_first(struct intro_connection *c)
{
	int64_t n;
	int err = check_receives(c);

	if (err || c->held)
		return err;
	if (!c->bytes)
		c->bytes = malloc(PACKET_BYTES);
	if (!c->bytes)
		return -ENOMEM;
	n = intro__packet_recv(fd_of(c), &c->first, c->bytes, PACKET_BYTES, &c->passed, 0);
	if (n < 0)
		return (int)n;
	if (c->first.offset || c->first.kind != (c->passed < 0 ? PACKET_MESSAGE : PACKET_FD) ||
	    (c->passed >= 0 && n)) {
		let_go(c);
		return -EBADMSG;
	}
	c->have = (size_t)n;
	c->held = true;
	return 0;
}

/* Of the message that is held: all of it to `to`, or (NULL) away. The lock is held. */
static int receive_rest(struct intro_connection *c, unsigned char *to)
{
	struct packet packet;
	size_t got = c->have;

	if (to && got)
		memcpy(to, c->bytes, got);
	c->held = false;
	while (got < c->first.total) {
		size_t left = c->first.total - got;
		int64_t n;

		if (left > PACKET_BYTES)
			left = PACKET_BYTES;
		n = intro__packet_recv(fd_of(c), &packet, to ? to + got : c->bytes, left, NULL, 0);
		if (n < 0)
			return n == -EPIPE ? -ECONNRESET : (int)n;
		if (packet.kind != PACKET_MESSAGE || packet.total != c->first.total ||
		    packet.offset != got)
			return -EBADMSG;
		got += (size_t)n;
	}
	return 0;
}

/* The next one is a message of no more than `limit`. The lock is held. */
static int expect_message(struct intro_connection *c, size_t limit, size_t *size)
{
	int err = receive_first(c);

	if (err)
		return err;
	if (c->first.kind != PACKET_MESSAGE)
		return -ENOMSG;
	*size = c->first.total;
	return c->first.total > limit ? -EMSGSIZE : 0;
}

int intro_connection_recv(struct intro_connection *c, size_t limit, void **data, size_t *size)
{
	void *room = NULL;
	int err;

	lock(&c->receiving);
	err = expect_message(c, limit ? limit : SIZE_MAX, size);
	if (!err) {
		room = malloc(*size ? *size : 1);
		err = room ? receive_rest(c, room) : -ENOMEM;
	}
	intro_mutex_release(&c->receiving);
	if (!err)
		*data = room;
	else
		free(room);
	return err;
}

int intro_connection_recv_into(struct intro_connection *c, void *buffer, size_t room, size_t *size)
{
	int err;

	lock(&c->receiving);
	err = expect_message(c, room, size);
	if (!err)
		err = receive_rest(c, buffer);
	intro_mutex_release(&c->receiving);
	return err;
}

int intro_connection_skip(struct intro_connection *c)
{
	int err;

	lock(&c->receiving);
	err = receive_first(c);
	if (!err)
		err = receive_rest(c, NULL);
	let_go(c);
	intro_mutex_release(&c->receiving);
	return err;
}

int intro_connection_recv_fd(struct intro_connection *c)
{
	int err;

	lock(&c->receiving);
	err = receive_first(c);
	if (!err && c->first.kind != PACKET_FD)
		err = -ENOMSG;
	if (!err) {
		err = c->passed;
		c->passed = -1;
		c->held = false;
	}
	intro_mutex_release(&c->receiving);
	return err;
}

static int poll_until(int fd, int64_t deadline)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	int n;

	do {
		int64_t left = deadline == INTRO_FOREVER ? 0 : deadline - intro__now();
		struct timespec time;

		left = left > 0 ? left : 0;
		time.tv_sec = left / NSEC_PER_SEC;
		time.tv_nsec = left % NSEC_PER_SEC;
		n = ppoll(&polled, 1, deadline == INTRO_FOREVER ? NULL : &time, NULL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int intro_connection_poll(struct intro_connection *c, int64_t timeout_ns)
{
	int64_t deadline = intro__deadline(timeout_ns);
	int err;

	/* while another thread receives, what comes is not for us */
	if (intro_mutex_acquire(&c->receiving, timeout_ns))
		return 0;
	err = check_receives(c);
	if (!err)
		err = c->held ? 1 : poll_until(fd_of(c), deadline);
	intro_mutex_release(&c->receiving);
	return err;
}
