/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_PROCESS_LINK_H
#define INTRO_RUNTIME_PROCESS_LINK_H
/*
 * process_link.h - the parent's end of one worker: its process, its socket, the tasks that it
 * was handed. Only the pool's manager thread touches a link.
 */
#include <sys/types.h>

#include "process_private.h"
#include "queue.h"

struct link {
	const struct intro_executor *executor;
	unsigned index;
	pid_t pid;
	int fd;	   /* non-blocking; -1: none */
	int pidfd; /* -1: no process, or reaped */
	char name[INTRO__NAME_BYTES + 16];
	bool keeps;	/* payloads until the reply: they may have to be sent to another worker */
	bool retiring;	/* it was told to end after what it was handed */
	bool answered;	/* any task */
	unsigned given; /* how many tasks this process was handed */
	int64_t born;

	struct queue
		handed; /* in the order they will be answered; the first is the one that runs */
	struct future *unsent; /* the first of `handed` that is not sent whole; NULL: none */
	size_t sent;	       /* bytes of its request */

	struct intro__counts counts;

	unsigned char in[4096]; /* replies received and not yet taken: [begin, end) */
	size_t begin, end;
	struct wire_reply reply; /* valid when `replying`: header taken, the rest still comes */
	bool replying;
	char text[INTRO_ERROR_TEXT];
	unsigned char
		*data; /* the result; NULL: there was no memory for it, its bytes are thrown away */
	size_t taken;  /* of text, then of data */
};

enum link_state {
	LINK_OPEN = 0,
	LINK_ENDED = 1,	 /* the worker closed its end, or is gone */
	LINK_BROKEN = 2, /* its initializer failed, or it sent nonsense: see the error */
};

/* Forks the worker. 0 or -errno; fd and pidfd are -1 then. Closes `others` in the child. */
int intro__link_start(struct link *link, pid_t parent, const sigset_t *signals, const int *others,
		      size_t n);

/* Hands over a future that is RUNNING. */
void intro__link_hand(struct link *link, struct future *future);
/* Sends what the socket takes. */
void intro__link_send(struct link *link);
/* Takes what has come, ends the futures that it answers. */
enum link_state intro__link_receive(struct link *link, struct intro_error *error);

/* SIGKILL to the worker, if there is one. */
void intro__link_kill(struct link *link);
/* Waits for the end of a worker that ends, and says how: "was killed by signal 9 (SIGKILL)". */
void intro__link_reap(struct link *link, char *how, size_t size);
/* Fails what the worker was handed. */
void intro__link_drop(struct link *link, const struct intro_error *error);
/* Closes what is open, frees what is allocated. */
void intro__link_close(struct link *link);

/* Frees the payload copy of a future that is not to be sent (any more). */
void intro__payload_free(struct future *future);

#endif
