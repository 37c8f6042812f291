/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_CONNECTION_H
#define INTROSPECT_CONNECTION_H
/*
 * connection.h - pipes that carry whole messages between processes. Semantics are those of Python's
 * multiprocessing.Pipe and Connection (send_bytes, recv_bytes), under C names. Link with
 * -lintrospect-rt.
 *
 *	struct intro_connection *ends[2];
 *	intro_connection_pair(true, ends);
 *	if (fork() == 0) {
 *		intro_connection_close(ends[0]);
 *		intro_connection_send(ends[1], "hello", 6);
 *		...
 *	}
 *	intro_connection_close(ends[1]);
 *	intro_connection_recv(ends[0], 0, &data, &size);
 *
 * A message is any number of bytes; it arrives whole, in order, or not at all. A child has the ends
 * that its parent had; each process closes the end that is not its own, or the other end would
 * never see that it has ended. Another process gets an end as a descriptor (fd, send_fd, attach).
 *
 * Who may use an end. Any thread of a process, one message at a time. Any number of processes at
 * once, as long as messages have no more than INTRO_CONNECTION_WHOLE bytes; longer ones go in
 * pieces, so an end at which they arrive or leave is to be used by one process. (In Python two
 * processes spoil each other's messages whatever their size; what shares work among many is
 * process_queue.h.)
 *
 * Errors are negative errno values; a function that fails leaves the connection as it was unless
 * a line says otherwise. No function raises SIGPIPE. Not between fork and exec of a program with
 * threads that use the same end: the child's copy of the end may be locked.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct intro_connection;

#define INTRO_CONNECTION_WHOLE 65536

enum intro_connection_way {
	INTRO_CONNECTION_READS = 1,
	INTRO_CONNECTION_WRITES = 2,
	INTRO_CONNECTION_BOTH = 3,
};

/*
 * Two ends. duplex: each sends and receives; else ends[0] receives what ends[1] sends. 0; -EMFILE;
 * -ENFILE; -ENOMEM.
 */
int intro_connection_pair(bool duplex, struct intro_connection *ends[2]);
/*
 * An end from its descriptor, which is the connection's from now on, and is made close-on-exec.
 * NULL and errno, and the descriptor stays the caller's: EBADF, EPROTOTYPE: not that of an end;
 * EINVAL; ENOMEM.
 */
struct intro_connection *intro_connection_attach(int fd, enum intro_connection_way ways);
/*
 * The other way: the descriptor is the caller's, and the connection is closed. -EBADF; -EBUSY:
 * somebody is inside, or a message was begun that is larger than its receiver wanted.
 */
int intro_connection_detach(struct intro_connection *connection);
/* It stays the connection's; close-on-exec. -EBADF: closed. */
int intro_connection_fd(const struct intro_connection *connection);

bool intro_connection_readable(const struct intro_connection *connection);
bool intro_connection_writable(const struct intro_connection *connection);
bool intro_connection_closed(const struct intro_connection *connection);

/*
 * Waits while there is no room for it. 0; -EPIPE: the other end is closed; -EOPNOTSUPP: this end
 * only receives; -EBADF: closed; -EINVAL: no data, yet a size; -ENOBUFS, -ENOMEM: of the kernel. An
 * error in the midst of a long message ends the sending side of the connection.
 */
int intro_connection_send(struct intro_connection *connection, const void *data, size_t size);

/*
 * Waits for the next message: 0, and *data is the caller's, to be given to free(); never NULL.
 *   -EMSGSIZE    it is larger than `limit` (0: none); *size says how large. It stays the next one:
 *                receive it with a larger limit, or skip it. (In Python it is gone, and so is the
 *                connection.)
 *   -ENOMSG      the next one is a descriptor; it stays.
 *   -EPIPE       the other end is closed, and all that it sent was received.
 *   -ECONNRESET  the other end was closed, or died, in the midst of this message.
 *   -EBADMSG     something else than a connection, or several, sent at the other end.
 *   -EOPNOTSUPP  this end only sends.
 *   -EBADF       closed.
 *   -ENOMEM      it stays.
 */
int intro_connection_recv(struct intro_connection *connection, size_t limit, void **data,
			  size_t *size);
/* To memory of the caller's; -EMSGSIZE when it is more than `room`, and *size says how much. */
int intro_connection_recv_into(struct intro_connection *connection, void *buffer, size_t room,
			       size_t *size);
/* Receives the next message, or descriptor, and throws it away. Errors as of recv. */
int intro_connection_skip(struct intro_connection *connection);
/*
 * Is there something to be received: a message, a descriptor, or the end? 1; 0: not within the
 * time; -EOPNOTSUPP; -EBADF.
 */
int intro_connection_poll(struct intro_connection *connection, int64_t timeout_ns);

/* A copy of any descriptor, in the order of the messages. As send; -EBADF, also when fd is bad. */
int intro_connection_send_fd(struct intro_connection *connection, int fd);
/* A descriptor of the caller's, close-on-exec; or as recv: -ENOMSG: the next one is a message. */
int intro_connection_recv_fd(struct intro_connection *connection);

/*
 * The end is closed for this process, what it has not received is lost. 0; -EBADF: it was already;
 * -EBUSY: a thread is inside.
 */
int intro_connection_close(struct intro_connection *connection);
/* Closes and frees; nobody is inside. NULL is fine. */
void intro_connection_free(struct intro_connection *connection);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
