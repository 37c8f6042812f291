/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * manager.c - the client's side of a manager, and its start and end.
 *
 * A call takes a connection that nobody uses, or makes one. They are kept in a table of single
 * words, without a lock: a fork may come at any moment, and its child finds none held. A connection
 * that another process made is that one's, and only closed here.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/connection.h>

#include "child.h"
#include "futex.h"
#include "manager_private.h"
#include "options.h"

#define IDLE 16
#define DEFAULT_LIMIT ((size_t)256 << 20)
#define DEFAULT_MESSAGE ((size_t)16 << 20)
#define DEFAULT_CLIENTS 256
/* How long a server may take to end before it is killed. */
#define END_MS 2000
/* A request of no more is put together on the stack. */
#define SMALL 4096

struct link {
	struct intro_connection *connection;
	pid_t pid; /* who made it */
};

struct intro_manager {
	char address[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* with its '@' */
	_Atomic size_t message; /* bytes of the largest item; 0: not known yet */
	struct link *_Atomic idle[IDLE];
	/* Of its maker's: */
	pid_t maker; /* 0: it was connected to */
	int control, pidfd;
};

/* --- connections ------------------------------------------------------------------------------ */

static void link_free(struct link *link)
{
	intro_connection_free(link->connection);
	free(link);
}

/* Connected, to a server of our own user; or -errno. */
static int connect_to(const char *address)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	size_t n = strlen(address) - 1;
	struct ucred who;
	socklen_t size = sizeof(who);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), err = 0;

	if (fd < 0)
		return -errno;
	memcpy(name.sun_path + 1, address + 1, n);
	size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
	while (connect(fd, (struct sockaddr *)&name, size) && !err)
		err = errno == EINTR ? 0 : errno == ECONNREFUSED ? -EPIPE : -errno;
	/* the address of a dead server may be anybody's */
	size = sizeof(who);
	if (!err && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size))
		err = -errno;
	if (!err && who.uid != geteuid())
		err = -EACCES;
	if (err)
		close(fd);
	return err ? err : fd;
}

/* What the server says first. */
static int hear(struct intro_manager *m, struct intro_connection *connection)
{
	struct manager_reply hello;
	size_t size;
	int err = intro_connection_recv_into(connection, &hello, sizeof(hello), &size);

	if (err || size != sizeof(hello))
		return err == -ENOMEM ? err : -EPIPE;
	if (!hello.code)
		atomic_store_explicit(&m->message, (size_t)hello.number, memory_order_relaxed);
	return hello.code;
}

static int link_new(struct intro_manager *m, struct link **made)
{
	struct link *link = calloc(1, sizeof(*link));
	int fd, err;

	if (!link)
		return -ENOMEM;
	fd = connect_to(m->address);
	if (fd < 0) {
		free(link);
		return fd;
	}
	link->pid = getpid();
	link->connection = intro_connection_attach(fd, INTRO_CONNECTION_BOTH);
	err = link->connection ? hear(m, link->connection) : -errno;
	if (!link->connection)
		close(fd);
	if (err)
		link_free(link);
	else
		*made = link;
	return err;
}

static int link_take(struct intro_manager *m, struct link **taken)
{
	for (int i = 0; i < IDLE; i++) {
		struct link *link =
			atomic_exchange_explicit(&m->idle[i], NULL, memory_order_acquire);

		if (link && link->pid == getpid()) {
			*taken = link;
			return 0;
		}
		if (link)
			link_free(link);
	}
	return link_new(m, taken);
}

static void link_give_back(struct intro_manager *m, struct link *link)
{
	for (int i = 0; i < IDLE; i++) {
		struct link *none = NULL;

		if (atomic_compare_exchange_strong_explicit(
			    &m->idle[i], &none, link, memory_order_release, memory_order_relaxed))
			return;
	}
	link_free(link);
}

/* --- calls ------------------------------------------------------------------------------------ */

struct bytes {
	const void *data;
	size_t size;
};

/* The reply's item, if any, goes to *data, *size; NULL: none is wanted. */
struct answer {
	int64_t number;
	void **data;
	size_t *size;
};

/* *lost: nothing more can be sent on this connection. */
static int send_request(struct intro_connection *connection, const struct manager_request *request,
			struct bytes key, struct bytes item, bool *lost)
{
	size_t size = sizeof(*request) + key.size + item.size;
	unsigned char small[SMALL], *all = size <= SMALL ? small : malloc(size), *at = all;
	int err;

	if (!all)
		return -ENOMEM;
	memcpy(at, request, sizeof(*request));
	at += sizeof(*request);
	if (key.size)
		memcpy(at, key.data, key.size);
	if (item.size)
		memcpy(at + key.size, item.data, item.size);
	err = intro_connection_send(connection, all, size);
	*lost = err != 0;
	if (all != small)
		free(all);
	return err;
}

/* The reply's code; -EPIPE, and *lost: the server is gone, or there was no memory for what it said.
 */
static int receive_reply(struct intro_connection *connection, struct answer *answer, bool *lost)
{
	struct manager_reply head;
	unsigned char *reply;
	void *whole;
	size_t size;
	int err = intro_connection_recv(connection, 0, &whole, &size);

	if (err || size < sizeof(head)) {
		*lost = true;
		if (!err)
			free(whole);
		return err == -ENOMEM ? err : -EPIPE;
	}
	reply = whole;
	memcpy(&head, reply, sizeof(head));
	answer->number = head.number;
	size -= sizeof(head);
	if (head.code || !answer->data) {
		free(whole);
		return head.code;
	}
	memmove(reply, reply + sizeof(head), size);
	*answer->data = whole;
	*answer->size = size;
	return 0;
}

static int call(struct intro_manager *m, struct manager_request *request, struct bytes key,
		struct bytes item, struct answer *answer)
{
	struct link *link;
	bool lost = false;
	int err;

	if ((key.size && !key.data) || (item.size && !item.data))
		return -EINVAL;
	err = link_take(m, &link);
	if (err)
		return err;
	request->key_size = key.size;
	if (key.size > m->message || item.size > m->message - key.size) {
		link_give_back(m, link);
		return -EMSGSIZE;
	}
	err = send_request(link->connection, request, key, item, &lost);
	if (!err)
		err = receive_reply(link->connection, answer, &lost);
	if (lost)
		link_free(link);
	else
		link_give_back(m, link);
	return err;
}

static const struct bytes nothing;

static int call_simply(struct intro_manager *m, enum manager_op op, uint64_t object, int64_t number,
		       int64_t *result)
{
	struct manager_request request = {.op = op, .object = object, .number = number};
	struct answer answer = {0};
	int err = call(m, &request, nothing, nothing, &answer);

	if (!err && result)
		*result = answer.number;
	return err;
}

/* One that may wait in the server. */
static int call_timed(struct intro_manager *m, enum manager_op op, uint64_t object,
		      int64_t timeout_ns)
{
	struct manager_request request = {.op = op, .object = object, .timeout_ns = timeout_ns};
	struct answer answer = {0};

	return call(m, &request, nothing, nothing, &answer);
}

static int call_with(struct intro_manager *m, struct manager_request request, struct bytes key,
		     const void *data, size_t size)
{
	struct answer answer = {0};

	return call(m, &request, key, (struct bytes){data, size}, &answer);
}

static int call_for(struct intro_manager *m, struct manager_request request, struct bytes key,
		    void **data, size_t *size)
{
	struct answer answer = {.data = data, .size = size};

	return call(m, &request, key, nothing, &answer);
}

/* --- life ------------------------------------------------------------------------------------- */

/* Its control says whether it serves, or it ends. */
static int hear_birth(const struct intro_manager *m)
{
	struct pollfd polled[2] = {{.fd = m->control, .events = POLLIN},
				   {.fd = m->pidfd, .events = POLLIN}};
	int said;

	while (poll(polled, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	if (recv(m->control, &said, sizeof(said), MSG_DONTWAIT) != (ssize_t)sizeof(said))
		return -EPIPE;
	return said;
}

static int start_server(struct intro_manager *m, const struct intro_manager_options *options)
{
	struct manager_birth birth = {
		.options = *options, .address = m->address + 1, .parent = getpid()};
	sigset_t signals;
	int pair[2], err = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	birth.control = pair[1];
	birth.signals = &signals;
	/* none of the program's handlers runs in the child */
	intro__signals_block(&signals);
	pid = fork();
	if (!pid)
		intro__manager_server(&birth);
	if (pid < 0)
		err = -errno;
	pthread_sigmask(SIG_SETMASK, &signals, NULL);
	close(pair[1]);
	m->control = pair[0];
	if (err)
		return err;
	m->pidfd = pidfd_open(pid, 0);
	if (m->pidfd < 0) {
		err = -errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return err;
	}
	return hear_birth(m);
}

static struct intro_manager *manager_new(void)
{
	struct intro_manager *m = calloc(1, sizeof(*m));

	if (m)
		m->control = m->pidfd = -1;
	return m;
}

static struct intro_manager *fail(struct intro_manager *m, int err)
{
	intro_manager_free(m);
	errno = -err;
	return NULL;
}

static int complete(struct intro_manager_options *options)
{
	if (!options->name || !*options->name)
		options->name = "manager";
	if (!options->limit)
		options->limit = DEFAULT_LIMIT;
	if (!options->message)
		options->message = DEFAULT_MESSAGE;
	if (!options->clients)
		options->clients = DEFAULT_CLIENTS;
	return options->message > SIZE_MAX / 4 || options->limit > SIZE_MAX / 4 ? -EINVAL : 0;
}

struct intro_manager *intro_manager_new(const struct intro_manager_options *given)
{
	struct intro_manager_options options = {.size = sizeof(options)};
	int err = given ? intro__options_take(&options, sizeof(options), given) : 0;
	struct intro_manager *m;
	uint64_t chance[2];

	if (!err)
		err = complete(&options);
	if (!err && getrandom(chance, sizeof(chance), 0) != (ssize_t)sizeof(chance))
		err = -EAGAIN;
	if (err) {
		errno = -err;
		return NULL;
	}
	m = manager_new();
	if (!m)
		return NULL;
	snprintf(m->address, sizeof(m->address), "@introspect-%016llx%016llx",
		 (unsigned long long)chance[0], (unsigned long long)chance[1]);
	m->maker = getpid();
	err = start_server(m, &options);
	if (!err)
		m->message = options.message;
	return err ? fail(m, err) : m;
}

struct intro_manager *intro_manager_connect(const char *address)
{
	struct intro_manager *m;
	struct link *link;
	int err;

	if (!address || address[0] != '@' || !address[1] || strlen(address) >= sizeof(m->address)) {
		errno = EINVAL;
		return NULL;
	}
	m = manager_new();
	if (!m)
		return NULL;
	strcpy(m->address, address);
	err = link_new(m, &link);
	if (err)
		return fail(m, err);
	link_give_back(m, link);
	return m;
}

const char *intro_manager_address(const struct intro_manager *m)
{
	return m->address;
}

int intro_manager_shutdown(struct intro_manager *m)
{
	struct pollfd ended = {.fd = m->pidfd, .events = POLLIN};
	char how[64];
	int n;

	if (m->maker != getpid())
		return -EPERM;
	if (m->pidfd < 0)
		return 0;
	(void)!send(m->control, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	do
		n = poll(&ended, 1, END_MS);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		pidfd_send_signal(m->pidfd, SIGKILL, NULL, 0);
	intro__child_wait(m->pidfd, how, sizeof(how));
	close(m->pidfd);
	m->pidfd = -1;
	return 0;
}

void intro_manager_free(struct intro_manager *m)
{
	if (!m)
		return;
	if (m->maker == getpid())
		intro_manager_shutdown(m);
	for (int i = 0; i < IDLE; i++)
		if (m->idle[i])
			link_free(m->idle[i]);
	if (m->control >= 0)
		close(m->control);
	if (m->pidfd >= 0)
		close(m->pidfd);
	free(m);
}

/* --- any object ------------------------------------------------------------------------------- */

int intro_manager_make(struct intro_manager *m, enum intro_manager_kind kind, uint64_t capacity,
		       uint64_t *object)
{
	struct manager_request request = {.op = OP_MAKE, .kind = kind, .number = (int64_t)capacity};
	struct answer answer = {0};
	int err = call(m, &request, nothing, nothing, &answer);

	if (!err)
		*object = (uint64_t)answer.number;
	return err;
}

int intro_manager_drop(struct intro_manager *m, uint64_t object)
{
	return call_simply(m, OP_DROP, object, 0, NULL);
}

int intro_manager_length(struct intro_manager *m, uint64_t object, size_t *n)
{
	int64_t length;
	int err = call_simply(m, OP_LENGTH, object, 0, &length);

	if (!err)
		*n = (size_t)length;
	return err;
}

int intro_manager_clear(struct intro_manager *m, uint64_t object)
{
	return call_simply(m, OP_CLEAR, object, 0, NULL);
}

bool intro_manager_unpack(const void **at, size_t *left, const void **data, size_t *size)
{
	uint64_t n;

	if (*left < sizeof(n))
		return false;
	memcpy(&n, *at, sizeof(n));
	if (n > *left - sizeof(n))
		return false;
	*data = (const unsigned char *)*at + sizeof(n);
	*size = n;
	*at = (const unsigned char *)*data + n;
	*left -= sizeof(n) + n;
	return true;
}

/* --- list ------------------------------------------------------------------------------------- */

#define REQUEST(OP, OBJECT, ...)                                                                   \
	((struct manager_request){.op = (OP), .object = (OBJECT), __VA_ARGS__})

int intro_manager_list_append(struct intro_manager *m, uint64_t list, const void *data, size_t size)
{
	return intro_manager_list_insert(m, list, INT64_MAX, data, size);
}

int intro_manager_list_insert(struct intro_manager *m, uint64_t list, int64_t index,
			      const void *data, size_t size)
{
	return call_with(m, REQUEST(OP_LIST_INSERT, list, .number = index), nothing, data, size);
}

int intro_manager_list_set(struct intro_manager *m, uint64_t list, int64_t index, const void *data,
			   size_t size)
{
	return call_with(m, REQUEST(OP_LIST_SET, list, .number = index), nothing, data, size);
}

int intro_manager_list_get(struct intro_manager *m, uint64_t list, int64_t index, void **data,
			   size_t *size)
{
	return call_for(m, REQUEST(OP_LIST_GET, list, .number = index), nothing, data, size);
}

int intro_manager_list_pop(struct intro_manager *m, uint64_t list, int64_t index, void **data,
			   size_t *size)
{
	return call_for(m, REQUEST(OP_LIST_POP, list, .number = index), nothing, data, size);
}

int intro_manager_list_items(struct intro_manager *m, uint64_t list, void **packed, size_t *size)
{
	return call_for(m, REQUEST(OP_LIST_ITEMS, list), nothing, packed, size);
}

/* --- dict ------------------------------------------------------------------------------------- */

int intro_manager_dict_set(struct intro_manager *m, uint64_t dict, const void *key, size_t key_size,
			   const void *data, size_t size)
{
	return call_with(m, REQUEST(OP_DICT_SET, dict), (struct bytes){key, key_size}, data, size);
}

int intro_manager_dict_get(struct intro_manager *m, uint64_t dict, const void *key, size_t key_size,
			   void **data, size_t *size)
{
	return call_for(m, REQUEST(OP_DICT_GET, dict), (struct bytes){key, key_size}, data, size);
}

int intro_manager_dict_pop(struct intro_manager *m, uint64_t dict, const void *key, size_t key_size,
			   void **data, size_t *size)
{
	return call_for(m, REQUEST(OP_DICT_POP, dict), (struct bytes){key, key_size}, data, size);
}

int intro_manager_dict_has(struct intro_manager *m, uint64_t dict, const void *key, size_t key_size)
{
	return call_with(m, REQUEST(OP_DICT_HAS, dict), (struct bytes){key, key_size}, NULL, 0);
}

int intro_manager_dict_keys(struct intro_manager *m, uint64_t dict, void **packed, size_t *size)
{
	return call_for(m, REQUEST(OP_DICT_KEYS, dict), nothing, packed, size);
}

/* --- value ------------------------------------------------------------------------------------ */

int intro_manager_value_set(struct intro_manager *m, uint64_t value, const void *data, size_t size)
{
	return call_with(m, REQUEST(OP_VALUE_SET, value), nothing, data, size);
}

int intro_manager_value_get(struct intro_manager *m, uint64_t value, void **data, size_t *size)
{
	return call_for(m, REQUEST(OP_VALUE_GET, value), nothing, data, size);
}

int intro_manager_value_add(struct intro_manager *m, uint64_t value, int64_t by, int64_t *now)
{
	return call_simply(m, OP_VALUE_ADD, value, by, now);
}

/* --- queue ------------------------------------------------------------------------------------ */

int intro_manager_queue_put(struct intro_manager *m, uint64_t queue, const void *data, size_t size,
			    int64_t timeout_ns)
{
	return call_with(m, REQUEST(OP_QUEUE_PUT, queue, .timeout_ns = timeout_ns), nothing, data,
			 size);
}

int intro_manager_queue_get(struct intro_manager *m, uint64_t queue, void **data, size_t *size,
			    int64_t timeout_ns)
{
	return call_for(m, REQUEST(OP_QUEUE_GET, queue, .timeout_ns = timeout_ns), nothing, data,
			size);
}

int intro_manager_queue_task_done(struct intro_manager *m, uint64_t queue)
{
	return call_simply(m, OP_QUEUE_DONE, queue, 0, NULL);
}

int intro_manager_queue_join(struct intro_manager *m, uint64_t queue, int64_t timeout_ns)
{
	return call_timed(m, OP_QUEUE_JOIN, queue, timeout_ns);
}

/* --- lock and event --------------------------------------------------------------------------- */

int intro_manager_lock_acquire(struct intro_manager *m, uint64_t lock, int64_t timeout_ns)
{
	return call_timed(m, OP_LOCK_ACQUIRE, lock, timeout_ns);
}

int intro_manager_lock_release(struct intro_manager *m, uint64_t lock)
{
	return call_simply(m, OP_LOCK_RELEASE, lock, 0, NULL);
}

int intro_manager_event_set(struct intro_manager *m, uint64_t event)
{
	return call_simply(m, OP_EVENT_SET, event, 0, NULL);
}

int intro_manager_event_clear(struct intro_manager *m, uint64_t event)
{
	return call_simply(m, OP_EVENT_CLEAR, event, 0, NULL);
}

int intro_manager_event_wait(struct intro_manager *m, uint64_t event, int64_t timeout_ns)
{
	return call_timed(m, OP_EVENT_WAIT, event, timeout_ns);
}
