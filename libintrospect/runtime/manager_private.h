/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_MANAGER_PRIVATE_H
#define INTRO_RUNTIME_MANAGER_PRIVATE_H
/*
 * manager_private.h - what goes between a manager's server and its clients, and what the server is
 * made of.
 *
 * A client sends one request and waits for its reply, over packets (packet.h). The server is one
 * thread with one loop. A request that has to wait is kept, and tried again, in the order of
 * coming, whenever its object has changed.
 */
#include <signal.h>
#include <sys/queue.h>
#include <sys/types.h>

#include <introspect/manager.h>

#include "packet.h"

/* --- the wire --------------------------------------------------------------------------------- */

enum manager_op {
	OP_MAKE = 1,
	OP_DROP,
	OP_LENGTH,
	OP_CLEAR,
	OP_LIST_INSERT,
	OP_LIST_SET,
	OP_LIST_GET,
	OP_LIST_POP,
	OP_LIST_ITEMS,
	OP_DICT_SET,
	OP_DICT_GET,
	OP_DICT_POP,
	OP_DICT_HAS,
	OP_DICT_KEYS,
	OP_VALUE_SET,
	OP_VALUE_GET,
	OP_VALUE_ADD,
	OP_QUEUE_PUT,
	OP_QUEUE_GET,
	OP_QUEUE_DONE,
	OP_QUEUE_JOIN,
	OP_LOCK_ACQUIRE,
	OP_LOCK_RELEASE,
	OP_EVENT_SET,
	OP_EVENT_CLEAR,
	OP_EVENT_WAIT,
	OP_END,
};

/* Followed by the key, then by the item. */
struct manager_request {
	uint32_t op;
	uint32_t kind; /* make */
	uint64_t object;
	int64_t number; /* index, capacity, what to add */
	int64_t timeout_ns;
	uint64_t key_size;
};

/* Followed by the item. The first reply on a connection comes by itself; number: the largest item.
 */
struct manager_reply {
	int32_t code;
	uint32_t zero;
	int64_t number;
};

/* --- the server ------------------------------------------------------------------------------- */

struct manager_birth {
	struct intro_manager_options options; /* complete */
	const char *address;		      /* without its '@' */
	pid_t parent;
	int control; /* its end: says 0 or -errno when it serves, and ends when told anything */
	const sigset_t *signals;
};
/* The life of the server, from fork on. */
void intro__manager_server(const struct manager_birth *birth) __attribute__((noreturn));

struct object;
struct objects;
struct server;
struct client;
struct peer; /* a process that has connections */
TAILQ_HEAD(object_list, object);
TAILQ_HEAD(client_list, client);

/* What a request says, as an operation sees it. */
struct call {
	struct server *server;
	struct client *client;
	struct peer *peer;
	struct object *object;
	const struct manager_request *request;
	const unsigned char *key, *data;
	size_t key_size, data_size;
	int64_t number; /* of the reply */
};

/* What an operation returns beside 0 and -errno. */
#define CALL_WAITS 1   /* nothing has changed; try it again later */
#define CALL_REPLIED 2 /* its item is on its way */

/* Does what the request asks for. Sets call->object if there is one (any more). */
int intro__object_call(struct call *call);
/* The process is dead: locks are released, what it had in hand is done. */
void intro__objects_bury(struct server *server, const struct peer *peer);
/* Whether it has a lock, or something in hand. */
bool intro__objects_know(const struct objects *objects, const struct peer *peer);

/* What objects need of the server. */
struct objects {
	struct object_list all;
	void *by_number; /* tsearch */
	uint64_t last;	 /* number given */
	size_t used, limit, message;
};
struct objects *intro__server_objects(struct server *server);

/* Takes n bytes of the limit: 0, or -ENOSPC. */
int intro__charge(struct objects *objects, size_t n);
void intro__discharge(struct objects *objects, size_t n);

/*
 * Gives an item as the reply, before it is taken out of anything: begin returns 0 and where `size`
 * bytes are to be written, or -errno; commit CALL_REPLIED, or -errno: the client does not get it.
 * With another code than 0 there are no bytes.
 */
int intro__reply_begin(struct call *call, size_t size, unsigned char **to);
int intro__reply_commit(struct call *call, int code);

/* The requests that wait for this object are tried again; gone: they fail with -ENOENT. */
void intro__server_retry(struct server *server, struct object *object, bool gone);
/* Those that wait for it, in the order of their coming. */
struct client_list *intro__object_waiters(struct object *object);

#endif
