/* SPDX-License-Identifier: BSD-2-Clause */
/* segment.c - shared memory for large payloads and results. See segment.h. */
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "futex.h"
#include "shared_lock.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* What was not used for so long is given back. */
#define KEEP_NS (3 * (int64_t)NSEC_PER_SEC)

#define GRANULES_PER_CHUNK (SEGMENT_CHUNK / SEGMENT_GRANULE)

static bool has(const unsigned char *bits, size_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static void set(unsigned char *bits, size_t first, size_t n, bool on)
{
	for (size_t i = first; i < first + n; i++) {
		unsigned char bit = (unsigned char)(1 << i % 8);

		bits[i / 8] = (unsigned char)(on ? bits[i / 8] | bit : bits[i / 8] & ~bit);
	}
}

static bool any(const unsigned char *bits, size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		if (has(bits, i))
			return true;
	return false;
}

static size_t granules_of(size_t size)
{
	return (size + SEGMENT_GRANULE - 1) / SEGMENT_GRANULE;
}

static off_t offset_of(unsigned index, size_t at)
{
	return (off_t)(index * SEGMENT_BYTES + at);
}

/* Reserves addresses only, of which the first belongs to a huge page. NULL. */
static void *reserve(size_t bytes)
{
	size_t all = bytes + SEGMENT_CHUNK, before;
	unsigned char *at =
		mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)at & (SEGMENT_CHUNK - 1);
	if (before)
		munmap(at, before);
	munmap(at + before + bytes, SEGMENT_CHUNK - before);
	return at + before;
}

/* Whether the descriptor still is what it was. */
static bool is_there(const struct segments *all)
{
	struct stat st;

	return all->fd >= 0 && !fstat(all->fd, &st) && st.st_ino == all->ino &&
	       st.st_dev == all->dev;
}

static void punch(const struct segments *all, unsigned index, size_t at, size_t bytes)
{
	if (is_there(all))
		fallocate(all->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_of(index, at),
			  (off_t)bytes);
}

int intro__segments_new(struct segments *all, unsigned n)
{
	int fd = intro__shared_block("introspect-segments", n * SEGMENT_BYTES);

	intro__segments_inherit(all, fd);
	return fd < 0 ? fd : 0;
}

void intro__segments_inherit(struct segments *all, int fd)
{
	struct stat st = {0};

	if (fd >= 0 && !fstat(fd, &st))
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	*all = (struct segments){.fd = fd >= 0 ? fd : -1, .dev = st.st_dev, .ino = st.st_ino};
}

void intro__segments_close(struct segments *all)
{
	if (is_there(all))
		close(all->fd);
	all->fd = -1;
}

void intro__segment_init(struct segment *s, const struct segments *all, unsigned index, size_t most,
			 size_t blocks)
{
	memset(s, 0, sizeof(*s));
	s->all = *all;
	s->index = index;
	s->most = most / SEGMENT_GRANULE;
	s->blocks = blocks;
	pthread_mutex_init(&s->warming, NULL);
	pthread_mutex_init(&s->lock, NULL);
}

void intro__segment_erase(const struct segments *all, unsigned index)
{
	punch(all, index, 0, SEGMENT_BYTES);
}

void intro__segment_fini(struct segment *s)
{
	intro__segment_erase(&s->all, s->index);
	if (s->base)
		munmap(s->base, SEGMENT_BYTES);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->warming);
}

/* --- the owner's ----------------------------------------------------------------------------- */

/*
 * The lowest room there is: what was used last is warm, and what lies high can be given back. Under
 * the lock. false: none.
 */
static bool find_room(const struct segment *s, size_t n, size_t *first)
{
	size_t run = 0;

	if (s->in_use + n > s->most && s->in_use + n > n * s->blocks)
		return false;
	for (size_t i = 0; i < SEGMENT_GRANULES; i++) {
		run = has(s->used, i) ? 0 : run + 1;
		if (run == n) {
			*first = i + 1 - n;
			return true;
		}
	}
	return false;
}

static size_t first_chunk(size_t granule)
{
	return granule / GRANULES_PER_CHUNK;
}

/* Behind the last one that has a part of the block. */
static size_t end_chunk(size_t granule, size_t n)
{
	return (granule + n + GRANULES_PER_CHUNK - 1) / GRANULES_PER_CHUNK;
}

static bool is_warm(struct segment *s, size_t chunk)
{
	bool warm;

	pthread_mutex_lock(&s->lock);
	warm = has(s->warm, chunk);
	pthread_mutex_unlock(&s->lock);
	return warm;
}

/*
 * Memory for these chunks, which have none. A huge page comes of one small one, and so costs a
 * tenth of what 512 small ones would. Where there are none small ones do; but none may be missing,
 * or who writes there would be killed by SIGBUS.
 */
static bool give_memory(struct segment *s, size_t chunk, size_t n)
{
	unsigned char *at = s->base + chunk * SEGMENT_CHUNK;
	off_t offset = offset_of(s->index, chunk * SEGMENT_CHUNK);
	size_t bytes = n * SEGMENT_CHUNK;
	int fd = s->all.fd;
	bool whole = true;

	if (!is_there(&s->all) || mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				       fd, offset) == MAP_FAILED)
		return false;
	madvise(at, bytes, MADV_DONTFORK);
	for (size_t i = 0; whole && i < n; i++)
		whole = !fallocate(fd, 0, offset + (off_t)(i * SEGMENT_CHUNK), 1);
	if (whole && madvise(at, bytes, MADV_COLLAPSE))
		whole = !fallocate(fd, 0, offset, (off_t)bytes);
	if (!whole)
		punch(&s->all, s->index, chunk * SEGMENT_CHUNK, bytes);
	return whole;
}

static void became_warm(struct segment *s, size_t chunk, size_t n)
{
	pthread_mutex_lock(&s->lock);
	set(s->warm, chunk, n, true);
	if (!s->trim)
		s->trim = intro__now() + KEEP_NS;
	pthread_mutex_unlock(&s->lock);
}

/* Gives memory to what has none of these chunks, in all of which the caller has a part. */
static bool warm_up(struct segment *s, size_t chunk, size_t end)
{
	bool all;

	pthread_mutex_lock(&s->warming);
	if (!s->base)
		s->base = reserve(SEGMENT_BYTES);
	all = s->base;
	while (all && chunk < end) {
		size_t n = 0;

		while (chunk + n < end && !is_warm(s, chunk + n))
			n++;
		all = !n || give_memory(s, chunk, n);
		if (all && n)
			became_warm(s, chunk, n);
		chunk += n + 1;
	}
	pthread_mutex_unlock(&s->warming);
	return all;
}

uint32_t intro__segment_put(struct segment *s, const void *data, size_t size)
{
	size_t n = granules_of(size), first, chunk, end;
	bool room, cold = false;

	if (s->all.fd < 0 || !n || n > SEGMENT_GRANULES)
		return 0;
	pthread_mutex_lock(&s->lock);
	room = find_room(s, n, &first);
	if (room) {
		chunk = first_chunk(first);
		end = end_chunk(first, n);
		set(s->used, first, n, true);
		s->in_use += n;
		if (s->top < end)
			s->top = (unsigned)end;
		for (size_t i = chunk; !cold && i < end; i++)
			cold = !has(s->warm, i);
	}
	pthread_mutex_unlock(&s->lock);
	if (!room)
		return 0;
	if (cold && !warm_up(s, chunk, end)) {
		intro__segment_free(s, (uint32_t)first + 1, size);
		return 0;
	}
	memcpy(s->base + first * SEGMENT_GRANULE, data, size);
	return (uint32_t)first + 1;
}

void intro__segment_free(struct segment *s, uint32_t place, size_t size)
{
	size_t n = granules_of(size);

	pthread_mutex_lock(&s->lock);
	set(s->used, place - 1, n, false);
	s->in_use -= n;
	pthread_mutex_unlock(&s->lock);
}

static bool in_use(const struct segment *s, size_t chunk)
{
	return any(s->used, chunk * GRANULES_PER_CHUNK, GRANULES_PER_CHUNK);
}

static bool is_idle(const struct segment *s, size_t chunk)
{
	return has(s->warm, chunk) && !in_use(s, chunk);
}

/* How many chunks in a row, the next ones from *chunk on, have memory that nobody uses. */
static size_t next_idle(const struct segment *s, size_t *chunk)
{
	size_t n = 0;

	while (*chunk < SEGMENT_CHUNKS && !is_idle(s, *chunk))
		++*chunk;
	while (*chunk + n < SEGMENT_CHUNKS && is_idle(s, *chunk + n))
		n++;
	return n;
}

/* Gives back what is idle, from that chunk on. Under the lock, which it lets go of meanwhile. */
static void give_back(struct segment *s, size_t chunk)
{
	for (size_t n; (n = next_idle(s, &chunk)); chunk += n) {
		size_t first = chunk * GRANULES_PER_CHUNK, granules = n * GRANULES_PER_CHUNK;

		/* nobody gets them while they lose their memory */
		set(s->used, first, granules, true);
		pthread_mutex_unlock(&s->lock);
		punch(&s->all, s->index, chunk * SEGMENT_CHUNK, n * SEGMENT_CHUNK);
		pthread_mutex_lock(&s->lock);
		set(s->used, first, granules, false);
		set(s->warm, chunk, n, false);
	}
}

int intro__segment_trim(struct segment *s, int64_t now, bool all)
{
	int64_t left;

	pthread_mutex_lock(&s->lock);
	if (s->trim && (all || now >= s->trim)) {
		give_back(s, all ? 0 : s->top);
		s->top = 0;
		s->trim = 0;
		for (unsigned i = 0; i < SEGMENT_CHUNKS; i++) {
			if (in_use(s, i))
				s->top = i + 1;
			if (has(s->warm, i))
				s->trim = now + KEEP_NS;
		}
	}
	left = s->trim ? s->trim - now : -1;
	pthread_mutex_unlock(&s->lock);
	return left < 0 ? -1 : 1 + (int)(left / 1000000);
}

/* --- the reader's ---------------------------------------------------------------------------- */

/* A worker whose memory is spoilt may say anything. */
static bool is_block(uint32_t place, size_t size)
{
	return place && place <= SEGMENT_GRANULES && size && size <= SEGMENT_BYTES &&
	       place - 1 + granules_of(size) <= SEGMENT_GRANULES;
}

int intro__segment_copy(const struct segments *all, unsigned index, uint32_t place, size_t size,
			void *to)
{
	off_t at = offset_of(index, (place - 1) * SEGMENT_GRANULE);
	unsigned char *bytes = to;

	if (!is_block(place, size) || !is_there(all))
		return -EINVAL;
	while (size) {
		ssize_t n = pread(all->fd, bytes, size, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EINVAL;
		bytes += n;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

void *intro__segment_view(struct segment_view *view, const struct segments *all, unsigned index,
			  uint32_t place, size_t size)
{
	size_t at = (place - 1) * SEGMENT_GRANULE, from = at & ~(SEGMENT_CHUNK - 1), bytes;
	unsigned char *map;

	if (!is_block(place, size) || !is_there(all))
		return NULL;
	/* whole chunks: a part of a huge page would be mapped as small ones */
	bytes = ((at + size + SEGMENT_CHUNK - 1) & ~(SEGMENT_CHUNK - 1)) - from;
	map = reserve(bytes);
	if (!map)
		return NULL;
	view->map = map;
	view->bytes = bytes;
	if (mmap(map, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
		 all->fd, offset_of(index, from)) != MAP_FAILED)
		return map + (at - from);
	intro__segment_view_end(view);
	return NULL;
}

void intro__segment_view_end(struct segment_view *view)
{
	if (view->map)
		munmap(view->map, view->bytes);
	view->map = NULL;
}
