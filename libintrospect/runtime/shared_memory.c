/* SPDX-License-Identifier: BSD-2-Clause */
/* shared_memory.c - blocks of bytes that processes share, with a name or without. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <introspect/shared.h>

#include "shared_lock.h"

struct intro_shared_memory {
	void *data;
	size_t size;
	int fd;
	char name[INTRO_SHARED_NAME + 2]; /* with a '/'; empty: none */
};

static struct intro_shared_memory *fail(struct intro_shared_memory *m, int err)
{
	intro_shared_memory_free(m);
	errno = -err;
	return NULL;
}

static struct intro_shared_memory *new_handle(void)
{
	struct intro_shared_memory *m = calloc(1, sizeof(*m));

	if (m)
		m->fd = -1;
	return m;
}

struct intro_shared_memory *intro_shared_memory_new(size_t size)
{
	struct intro_shared_memory *m = new_handle();
	int err;

	if (!m)
		return NULL;
	m->fd = intro__shared_block("introspect-shared", size);
	err = m->fd < 0 ? m->fd : intro__shared_map(m->fd, &m->data, &m->size);
	return err ? fail(m, err) : m;
}

struct intro_shared_memory *intro_shared_memory_attach(int fd)
{
	struct intro_shared_memory *m = new_handle();
	int err;

	if (!m)
		return NULL;
	m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	err = m->fd < 0 ? -errno : intro__shared_map(m->fd, &m->data, &m->size);
	return err ? fail(m, err) : m;
}

/* --- with a name ------------------------------------------------------------------------------ */

static int set_name(struct intro_shared_memory *m, const char *name)
{
	size_t n = strlen(name);

	/* "." and ".." among others */
	if (!n || n > INTRO_SHARED_NAME || name[0] == '.')
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (!isascii(name[i]) || (!isalnum(name[i]) && !strchr("._-", name[i])))
			return -EINVAL;
	m->name[0] = '/';
	memcpy(m->name + 1, name, n + 1);
	return 0;
}

/* 128 bits of chance: nobody can have made it before us. */
static int make_up_name(struct intro_shared_memory *m)
{
	uint64_t random[2];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -EAGAIN;
	snprintf(m->name, sizeof(m->name), "/introspect-%016llx%016llx",
		 (unsigned long long)random[0], (unsigned long long)random[1]);
	return 0;
}

static int map_named(struct intro_shared_memory *m)
{
	struct stat st;

	if (fstat(m->fd, &st))
		return -errno;
	/* what somebody else made he can shrink, and so kill us */
	if (st.st_uid != geteuid())
		return -EACCES;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return -EINVAL;
	m->data = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (m->data == MAP_FAILED) {
		m->data = NULL;
		return -errno;
	}
	m->size = (size_t)st.st_size;
	return 0;
}

static int create(struct intro_shared_memory *m, size_t size)
{
	struct rlimit limit;
	int err;

	if (!size || size > INT64_MAX)
		return -EINVAL;
	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur < size)
		return -EFBIG;
	m->fd = shm_open(m->name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (m->fd < 0)
		return -errno;
	err = ftruncate(m->fd, (off_t)size) ? -errno : map_named(m);
	if (err)
		shm_unlink(m->name);
	return err;
}

struct intro_shared_memory *intro_shared_memory_create(const char *name, size_t size)
{
	struct intro_shared_memory *m = new_handle();
	int err;

	if (!m)
		return NULL;
	err = name ? set_name(m, name) : make_up_name(m);
	if (!err)
		err = create(m, size);
	return err ? fail(m, err) : m;
}

struct intro_shared_memory *intro_shared_memory_open(const char *name)
{
	struct intro_shared_memory *m = new_handle();
	int err;

	if (!m)
		return NULL;
	err = name ? set_name(m, name) : -EINVAL;
	if (!err) {
		m->fd = shm_open(m->name, O_RDWR, 0);
		err = m->fd < 0 ? -errno : map_named(m);
	}
	return err ? fail(m, err) : m;
}

int intro_shared_memory_unlink(struct intro_shared_memory *m)
{
	if (!m->name[0])
		return -EINVAL;
	return shm_unlink(m->name) ? -errno : 0;
}

void intro_shared_memory_free(struct intro_shared_memory *m)
{
	if (!m)
		return;
	if (m->data)
		munmap(m->data, m->size);
	if (m->fd >= 0)
		close(m->fd);
	free(m);
}

void *intro_shared_memory_data(const struct intro_shared_memory *m)
{
	return m->data;
}

size_t intro_shared_memory_size(const struct intro_shared_memory *m)
{
	return m->size;
}

const char *intro_shared_memory_name(const struct intro_shared_memory *m)
{
	return m->name[0] ? m->name + 1 : NULL;
}

int intro_shared_memory_fd(const struct intro_shared_memory *m)
{
	return m->fd;
}
