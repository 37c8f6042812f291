/* SPDX-License-Identifier: BSD-2-Clause */
/* packet.c - the packets of connections and managers. See packet.h. */
#include "packet.h"

#include "join.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define SEND_BUFFER (4 * PACKET_BYTES)

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

size_t intro__packet_room(int fd)
{
	int bytes = SEND_BUFFER;
	socklen_t n = sizeof(bytes);

	/* the kernel may grant less, and says twice what it grants */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &n) || bytes >= 2 * PACKET_BYTES)
		return PACKET_BYTES;
	return (size_t)bytes / 2;
}

int intro__packet_send(int fd, const struct packet *packet, const void *bytes, size_t n, int passed,
		       int flags)
{
	struct iovec iov[2] = {{(void *)packet, sizeof(*packet)}, {(void *)bytes, n}};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = n ? 2 : 1};
	union control control;
	ssize_t sent;
	int was;

	if (passed >= 0) {
		memset(&control, 0, sizeof(control));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &passed, sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	was = intro__cancel_forbid();
	do
		sent = sendmsg(fd, &message, flags | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	intro__cancel_allow(was);
	if (sent < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

/* The descriptor of a message that was received, or -1. */
static int take_passed(struct msghdr *message)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(message);
	int fd;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

static ssize_t receive(int fd, struct msghdr *message, int flags)
{
	/* who is cancelled here has a lock, and may be in the middle of a message */
	int was = intro__cancel_forbid();
	ssize_t n;

	/* RESET tells once that the other end had not received all; what it sent is there */
	do
		n = recvmsg(fd, message, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	intro__cancel_allow(was);
	return n;
}

int64_t intro__packet_recv(int fd, struct packet *packet, void *bytes, size_t room, int *passed,
			   int flags)
{
	struct iovec iov[2] = {{packet, sizeof(*packet)}, {bytes, room}};
	union control control;
	struct msghdr message = {.msg_iov = iov,
				 .msg_iovlen = 2,
				 .msg_control = passed ? &control : NULL,
				 .msg_controllen = passed ? sizeof(control) : 0};
	ssize_t n = receive(fd, &message, flags);
	uint64_t have;

	if (passed)
		*passed = -1;
	if (n <= 0)
		return n ? -errno : -EPIPE;
	if (passed)
		*passed = take_passed(&message);
	have = (uint64_t)n - sizeof(*packet);
	if ((size_t)n >= sizeof(*packet) && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
	    packet->offset <= packet->total && have <= packet->total - packet->offset &&
	    (have || !packet->total))
		return (int64_t)have;
	if (passed && *passed >= 0) {
		close(*passed);
		*passed = -1;
	}
	return -EBADMSG;
}
