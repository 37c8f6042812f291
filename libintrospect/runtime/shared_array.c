/* SPDX-License-Identifier: BSD-2-Clause */
/* shared_array.c - typed arrays between processes, and their lock. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <introspect/abi.h>
#include <introspect/shared.h>

#include "shared_lock.h"

#define MAGIC 0x7961727261327369ull

/* In shared memory; the elements follow. */
struct head {
	struct shared_lock lock;
	uint64_t magic;
	uint64_t n;
	uint32_t type;
	uint32_t died; /* under the lock: a holder did, and no call of lock has told so */
	char name[INTRO_DEF_BYTES];
} __attribute__((aligned(64)));

struct intro_shared_array {
	struct head *head;
	unsigned char *elements;
	size_t mapped;
	/* copies: what others write is not to be trusted for a size */
	size_t n, element;
	enum intro_shared_type type;
	struct lock_tag tag;
	int fd;
};

static const unsigned char sizes[] = {
	[INTRO_SHARED_INT8] = 1,   [INTRO_SHARED_UINT8] = 1,  [INTRO_SHARED_INT16] = 2,
	[INTRO_SHARED_UINT16] = 2, [INTRO_SHARED_INT32] = 4,  [INTRO_SHARED_UINT32] = 4,
	[INTRO_SHARED_INT64] = 8,  [INTRO_SHARED_UINT64] = 8, [INTRO_SHARED_FLOAT] = 4,
	[INTRO_SHARED_DOUBLE] = 8,
};

static size_t size_of(uint32_t type)
{
	return type < sizeof(sizes) ? sizes[type] : 0;
}

static struct intro_shared_array *fail(struct intro_shared_array *a, int err)
{
	intro_shared_array_free(a);
	errno = -err;
	return NULL;
}

static struct intro_shared_array *new_handle(void)
{
	struct intro_shared_array *a = calloc(1, sizeof(*a));

	if (a)
		a->fd = -1;
	return a;
}

/* fd is open. */
static int map(struct intro_shared_array *a)
{
	void *data;
	int err = intro__shared_map(a->fd, &data, &a->mapped);

	if (err)
		return err;
	a->head = data;
	a->elements = (unsigned char *)data + sizeof(*a->head);
	return a->mapped <= sizeof(*a->head) ? -EINVAL : 0;
}

static int fill(struct intro_shared_array *a, enum intro_shared_type type, size_t n,
		const char *name)
{
	size_t size = size_of(type), all;
	int err;

	if (!size || !n || __builtin_mul_overflow(n, size, &all) ||
	    __builtin_add_overflow(all, sizeof(struct head), &all))
		return -EINVAL;
	a->fd = intro__shared_block("introspect-array", all);
	err = a->fd < 0 ? a->fd : map(a);
	if (!err)
		err = intro__shared_lock_init(&a->head->lock);
	if (err)
		return err;
	a->head->type = type;
	a->head->n = n;
	if (name)
		strncpy(a->head->name, name, sizeof(a->head->name) - 1);
	a->head->magic = MAGIC;
	return 0;
}

/* Takes what the head says for a copy. */
static int check(struct intro_shared_array *a)
{
	char name[sizeof(a->head->name)];
	size_t all;

	a->n = a->head->n;
	a->type = a->head->type;
	a->element = size_of(a->type);
	if (a->head->magic != MAGIC || !a->element || !a->n ||
	    __builtin_mul_overflow(a->n, a->element, &all) || all > a->mapped - sizeof(*a->head))
		return -EINVAL;
	memcpy(name, a->head->name, sizeof(name));
	name[sizeof(name) - 1] = 0;
	intro__tag_init(&a->tag, name);
	return 0;
}

struct intro_shared_array *intro_shared_array_new(enum intro_shared_type type, size_t n,
						  const char *name)
{
	struct intro_shared_array *a = new_handle();
	int err;

	if (!a)
		return NULL;
	err = fill(a, type, n, name);
	if (!err)
		err = check(a);
	return err ? fail(a, err) : a;
}

struct intro_shared_array *intro_shared_array_attach(int fd)
{
	struct intro_shared_array *a = new_handle();
	int err;

	if (!a)
		return NULL;
	a->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	err = a->fd < 0 ? -errno : map(a);
	if (!err)
		err = check(a);
	return err ? fail(a, err) : a;
}

void intro_shared_array_free(struct intro_shared_array *a)
{
	if (!a)
		return;
	if (a->head)
		munmap(a->head, a->mapped);
	if (a->fd >= 0)
		close(a->fd);
	free(a);
}

size_t intro_shared_array_length(const struct intro_shared_array *a)
{
	return a->n;
}

enum intro_shared_type intro_shared_array_type(const struct intro_shared_array *a)
{
	return a->type;
}

void *intro_shared_array_data(const struct intro_shared_array *a)
{
	return a->elements;
}

int intro_shared_array_fd(const struct intro_shared_array *a)
{
	return a->fd;
}

/* --- the lock --------------------------------------------------------------------------------- */

int intro_shared_array_lock(struct intro_shared_array *a, int64_t timeout_ns)
{
	int err = intro__shared_lock_take(&a->head->lock, &a->tag, timeout_ns);

	if (err && err != -EOWNERDEAD)
		return err;
	if (a->head->died)
		err = -EOWNERDEAD;
	a->head->died = 0;
	return err;
}

int intro_shared_array_unlock(struct intro_shared_array *a)
{
	return intro__shared_lock_drop(&a->head->lock);
}

/* For an access to one element: what a dead holder left is none of its business. */
static int enter(struct intro_shared_array *a, size_t i)
{
	int err;

	if (i >= a->n)
		return -ERANGE;
	err = intro__shared_lock_take(&a->head->lock, &a->tag, INTRO_FOREVER);
	if (err != -EOWNERDEAD)
		return err;
	a->head->died = 1;
	return 0;
}

static void leave(struct intro_shared_array *a)
{
	intro__shared_lock_drop(&a->head->lock);
}

/* --- elements --------------------------------------------------------------------------------- */

static void *at(const struct intro_shared_array *a, size_t i)
{
	return a->elements + i * a->element;
}

int intro_shared_array_get(struct intro_shared_array *a, size_t i, void *value, size_t size)
{
	int err = size == a->element ? enter(a, i) : -EINVAL;

	if (err)
		return err;
	memcpy(value, at(a, i), size);
	leave(a);
	return 0;
}

int intro_shared_array_set(struct intro_shared_array *a, size_t i, const void *value, size_t size)
{
	int err = size == a->element ? enter(a, i) : -EINVAL;

	if (err)
		return err;
	memcpy(at(a, i), value, size);
	leave(a);
	return 0;
}

#define ADD(TYPE)                                                                                  \
	do {                                                                                       \
		TYPE next;                                                                         \
                                                                                                   \
		if (__builtin_add_overflow(*(TYPE *)element, by, &next) ||                         \
		    __builtin_add_overflow(next, 0, now))                                          \
			return -EOVERFLOW;                                                         \
		*(TYPE *)element = next;                                                           \
		return 0;                                                                          \
	} while (0)

static int add(enum intro_shared_type type, void *element, int64_t by, int64_t *now)
{
	switch (type) {
	case INTRO_SHARED_INT8:
		ADD(int8_t);
	case INTRO_SHARED_UINT8:
		ADD(uint8_t);
	case INTRO_SHARED_INT16:
		ADD(int16_t);
	case INTRO_SHARED_UINT16:
		ADD(uint16_t);
	case INTRO_SHARED_INT32:
		ADD(int32_t);
	case INTRO_SHARED_UINT32:
		ADD(uint32_t);
	case INTRO_SHARED_INT64:
		ADD(int64_t);
	case INTRO_SHARED_UINT64:
		ADD(uint64_t);
	default:
		return -EINVAL;
	}
}

int intro_shared_array_add(struct intro_shared_array *a, size_t i, int64_t by, int64_t *now)
{
	int64_t sum;
	int err = enter(a, i);

	if (err)
		return err;
	err = add(a->type, at(a, i), by, &sum);
	leave(a);
	if (!err && now)
		*now = sum;
	return err;
}

int intro_shared_array_add_real(struct intro_shared_array *a, size_t i, double by, double *now)
{
	double sum;
	int err;

	if (a->type != INTRO_SHARED_FLOAT && a->type != INTRO_SHARED_DOUBLE)
		return -EINVAL;
	err = enter(a, i);
	if (err)
		return err;
	if (a->type == INTRO_SHARED_FLOAT)
		sum = *(float *)at(a, i) += (float)by;
	else
		sum = *(double *)at(a, i) += by;
	leave(a);
	if (now)
		*now = sum;
	return 0;
}
