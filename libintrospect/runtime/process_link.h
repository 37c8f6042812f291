/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_PROCESS_LINK_H
#define INTRO_RUNTIME_PROCESS_LINK_H
/*
 * process_link.h - the parent's end of one worker: its process, its rings, the tasks that it was
 * handed.
 *
 * Handing out is done under the pool's lock, by the manager thread or by a submitter; all else by
 * the manager alone. A request that does not fit the ring as a whole is sent by the manager, piece
 * by piece and without the lock: while there is such a one, `unsent`, nobody else puts into the
 * ring.
 */
#include <sys/types.h>

#include "process_private.h"
#include "queue.h"

struct link {
	const struct intro_executor *executor;
	unsigned index;
	char name[INTRO__NAME_BYTES + 16];
	bool keeps; /* large payloads until the reply: they may have to be sent to another worker */
	const struct segments *segments; /* the pool's */

	/* under the pool's lock */
	bool open;	      /* may be handed tasks */
	bool retiring;	      /* it was told to end after what it was handed */
	bool held_up;	      /* what was handed ahead was taken back: no more until it answers */
	unsigned ahead;	      /* tasks that it may be handed ahead, by their length; 0: not known */
	unsigned given;	      /* how many tasks this process was handed */
	unsigned handed_ever; /* less `answered`: what it has now */
	struct queue handed;  /* and not yet seen by the manager, as `out` */
	struct future *unsent;
	struct pipe_end pipe; /* `in` is the manager's */

	/* the manager's; `answered` is read by all */
	pid_t pid;
	int bell;  /* the socket; non-blocking; -1: none */
	int pidfd; /* -1: no process, or reaped */
	int64_t born;
	_Atomic unsigned answered;
	unsigned answered_seen; /* since held_since */
	int64_t held_since;
	struct queue out; /* in the order they will be answered; the first is the one that runs */
	struct wire_request request; /* of `unsent`, with what is left of it */
	struct ring_message message;

	struct intro__counts counts;

	struct wire_reply reply; /* valid when `replying`: header taken, the rest still comes */
	bool replying;
	struct wire_times times;
	char text[INTRO_ERROR_TEXT];
	unsigned char *data; /* the result; NULL: no memory for it, its bytes are thrown away */
	size_t taken;	     /* of it */
	_Alignas(16) unsigned char small[INTRO__SMALL_BYTES];
};

enum link_state {
	LINK_OPEN = 0,	 /* nothing more to be had, now */
	LINK_ENDED = 1,	 /* the worker closed its end, or is gone */
	LINK_BROKEN = 2, /* its initializer failed, or it sent nonsense: see the error */
};

/*
 * Forks the worker; of its birth the pool's part is given. 0 or -errno; bell and pidfd are -1 then.
 * Closes `others` in the child.
 */
int intro__link_start(struct link *link, const struct worker_birth *birth, const int *others,
		      size_t n);

/* How many tasks it has been handed and has not answered. */
static inline unsigned link_load(struct link *link)
{
	return link->handed_ever - atomic_load_explicit(&link->answered, memory_order_relaxed);
}

/* Where its payload is in the pool's segment; 0: it is not there. */
static inline uint32_t payload_place(const struct future *f)
{
	return f->work.size >= SEGMENT_PAYLOAD ? f->work.place : 0;
}

/* What of its payload goes through the ring. */
static inline size_t payload_in_ring(const struct future *f)
{
	return payload_place(f) ? 0 : f->work.size;
}

/* Too large for the ring as a whole, with what else may be there. */
static inline bool link_is_large(size_t size)
{
	return size > RING_BYTES / 4;
}

/* Whether a request with so many bytes can be put into the ring at once. Under the lock. */
static inline bool link_fits(struct link *link, size_t size)
{
	size_t bytes = ring_padded(sizeof(struct wire_request) + size);

	return !link_is_large(size) && ring_room(&link->pipe.out, bytes) >= bytes;
}

/* Whether more can be put of `unsent`. */
static inline bool link_has_room(struct link *link)
{
	return link->unsent && ring_room(&link->pipe.out, RING_BYTES / 4) >= RING_BYTES / 4;
}

/*
 * Hands over a future that is RUNNING; under the lock. One that does not fit becomes `unsent`, and
 * there must be none.
 */
void intro__link_hand(struct link *link, struct future *future);
/* `unsent` got a place in the segment: so that is what is to be sent. Nothing was sent as yet. */
void intro__link_hand_place(struct link *link);
/* It ends after what it was handed. Under the lock, nothing unsent. */
void intro__link_end(struct link *link);

/* Puts what there is room for of `unsent`; *any: there was some. true: all of it is sent. */
bool intro__link_send(struct link *link, bool *any);
/* Whether something has come. */
bool intro__link_has(struct link *link);
/*
 * Takes over what was handed: `out`. Under the lock. false: what the worker says of its place in
 * the ring is nonsense.
 */
bool intro__link_accept(struct link *link);
/* LINK_BROKEN, and says why. */
enum link_state intro__link_is_nonsense(struct link *link, struct intro_error *error);
/* After these two: takes what had come then, ends the futures that it answers. */
enum link_state intro__link_receive(struct link *link, struct intro_error *error);
/* After accept: whether the first of `out` may have begun. */
bool intro__link_is_busy(struct link *link);
/*
 * Takes back what the worker has not begun, but for the first, into `to`. Under the lock, so that
 * no request takes another's place in the ring meanwhile.
 */
void intro__link_revoke(struct link *link, struct queue *to);

/* SIGKILL to the worker, if there is one. */
void intro__link_kill(struct link *link);
/* Waits for the end of a worker that ends, and says how: "was killed by signal 9 (SIGKILL)". */
void intro__link_reap(struct link *link, char *how, size_t size);
/* Closes what is open, frees what is allocated. */
void intro__link_close(struct link *link);

/* Frees the payload copy of a future that is not to be sent (any more): process_executor.c. */
void intro__payload_free(struct future *future);

#endif
