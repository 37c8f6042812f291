/* SPDX-License-Identifier: BSD-2-Clause */
/* process_ring.c - the memory and the bell between a pool and a worker. See process_ring.h. */
#include "process_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is put or taken in one go: the other side can begin with it. */
#define PIECE_BYTES ((size_t)64 << 10)

static struct pipe_shared *map(size_t bytes, int memory)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			memory < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, memory, 0);

	return at == MAP_FAILED ? NULL : at;
}

struct pipe_shared *intro__pipe_map(size_t more, int *memory)
{
	size_t bytes = sizeof(struct pipe_shared) + more;
	struct pipe_shared *pipe = NULL;
	int err;

	if (!memory)
		return map(bytes, -1);
	*memory = memfd_create("introspect-worker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*memory < 0)
		return NULL;
	/* sealed: a worker that cut it short would kill the pool's process */
	if (!ftruncate(*memory, (off_t)bytes) &&
	    !fcntl(*memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		pipe = map(bytes, *memory);
	if (pipe)
		return pipe;
	err = errno;
	close(*memory);
	errno = err;
	return NULL;
}

struct pipe_shared *intro__pipe_map_inherited(int memory, size_t *more)
{
	struct stat st;

	if (fstat(memory, &st) || (size_t)st.st_size < sizeof(struct pipe_shared))
		return NULL;
	*more = (size_t)st.st_size - sizeof(struct pipe_shared);
	return map((size_t)st.st_size, memory);
}

void intro__pipe_unmap(struct pipe_end *end)
{
	if (end->shared)
		munmap(end->shared, end->bytes);
	end->shared = NULL;
}

void intro__pipe_open(struct pipe_end *end, struct pipe_shared *shared, size_t more, bool is_worker,
		      int bell)
{
	struct ring_end requests = {.shared = &shared->to_worker, .bytes = shared->requests},
			replies = {.shared = &shared->to_pool, .bytes = shared->replies};

	end->shared = shared;
	end->bytes = sizeof(*shared) + more;
	end->wants = is_worker ? &shared->worker_wants : &shared->pool_wants;
	end->out = is_worker ? replies : requests;
	end->in = is_worker ? requests : replies;
	end->out.other_wants = is_worker ? &shared->pool_wants : &shared->worker_wants;
	end->in.other_wants = end->out.other_wants;
	end->out.bell = end->in.bell = bell;
}

void intro__pipe_ring(struct ring_end *ring)
{
	int saved = errno;

	/* once for each sleep; if the socket is full it has been rung, if it is gone so is who
	 * slept */
	if (atomic_exchange(ring->other_wants, 0))
		(void)!send(ring->bell, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	errno = saved;
}

int intro__pipe_answer(int bell, int timeout_ms)
{
	struct pollfd rings = {.fd = bell, .events = POLLIN};
	char rung[64];
	ssize_t n;

	if (timeout_ms > 0 && poll(&rings, 1, timeout_ms) <= 0)
		return -EAGAIN;
	do
		n = recv(bell, rung, sizeof(rung), timeout_ms < 0 ? 0 : MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	return n > 0 ? 0 : -EPIPE;
}

void intro__message_add(struct ring_message *message, const void *data, size_t size)
{
	for (unsigned i = 0; i < MESSAGE_PARTS; i++) {
		if (message->part[i].size)
			continue;
		message->part[i].data = data;
		message->part[i].size = size;
		message->left += size;
		return;
	}
}

static void put_bytes(struct ring_end *ring, const void *data, size_t size)
{
	size_t at = ring->at & (RING_BYTES - 1), first = RING_BYTES - at;

	first = first < size ? first : size;
	memcpy(ring->bytes + at, data, first);
	memcpy(ring->bytes, (const unsigned char *)data + first, size - first);
	ring->at += size;
}

/* `n` bytes of the parts that are left. */
static void put_parts(struct ring_end *ring, struct ring_message *m, size_t n)
{
	m->left -= n;
	while (n) {
		size_t size = m->part[m->at].size - m->put;

		size = size < n ? size : n;
		put_bytes(ring, (const unsigned char *)m->part[m->at].data + m->put, size);
		n -= size;
		m->put += size;
		if (m->put == m->part[m->at].size) {
			m->at++;
			m->put = 0;
		}
	}
}

bool intro__message_put(struct ring_end *ring, struct ring_message *m)
{
	while (m->left) {
		/* with its end comes the padding, or the reader would have to wait for that */
		size_t padded = ring_padded(ring->at + m->left) - ring->at;
		bool last = padded <= PIECE_BYTES + RING_ALIGN;
		size_t want = last ? padded : PIECE_BYTES;

		/* the reader makes room in pieces: small ones are not worth a look */
		if (ring_room(ring, want) < want)
			return false;
		put_parts(ring, m, last ? m->left : want);
		if (!m->left)
			ring->at = ring_padded(ring->at);
		atomic_store(&ring->shared->head, ring->at);
		if (atomic_load(ring->other_wants) & WANTS_DATA)
			intro__pipe_ring(ring);
	}
	return true;
}

void intro__ring_take(struct ring_end *ring, void *to, size_t size)
{
	size_t at = ring->at & (RING_BYTES - 1), first = RING_BYTES - at;

	ring->at += size;
	if (!to)
		return;
	first = first < size ? first : size;
	memcpy(to, ring->bytes + at, first);
	memcpy((unsigned char *)to + first, ring->bytes, size - first);
}
