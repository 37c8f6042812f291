/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_PACKET_H
#define INTRO_RUNTIME_PACKET_H
/*
 * packet.h - messages in pieces over a SOCK_SEQPACKET socket, whose packets the kernel keeps whole.
 * Both ends are on one machine: plain structs.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most of a message that is in one packet. */
#define PACKET_BYTES 65536

enum packet_kind {
	PACKET_MESSAGE = 0x6d7367,
	PACKET_FD = 0x6d7366, /* no bytes, one descriptor */
};

/* The begin of each packet. */
struct packet {
	uint64_t total;	 /* bytes of the message */
	uint64_t offset; /* of this piece in it */
	uint32_t kind;
	uint32_t zero;
};

/* How many bytes a packet may have so that this socket sends it. Enlarges the socket's buffer. */
size_t intro__packet_room(int fd);

/*
 * One packet. flags: MSG_DONTWAIT, or 0; passed: a descriptor to go with it, or -1. Not interrupted
 * by signals. 0; -EPIPE; -EAGAIN; -errno.
 */
int intro__packet_send(int fd, const struct packet *packet, const void *bytes, size_t n, int passed,
		       int flags);
/*
 * One packet: its bytes go to `bytes`; how many; -EPIPE: the other end is closed; -EBADMSG: it is
 * none, or has more than `room`; -EAGAIN; -errno. *passed: -1, or the caller's; NULL: none is
 * wanted, as of a first piece that is refused so.
 */
int64_t intro__packet_recv(int fd, struct packet *packet, void *bytes, size_t room, int *passed,
			   int flags);

#endif
