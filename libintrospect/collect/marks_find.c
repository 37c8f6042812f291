// SPDX-License-Identifier: BSD-2-Clause
/*
 * marks_find.c - getting at areas: one made here for a command, others found in the memory maps of
 * running programs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "collect/marks_internal.h"
#include "collect/procs.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
/* One search does not go on for longer: a program may have many thousand maps. */
#define FIND_MOST_NS 5000000
#define MAPS_LINES_MOST 20000

static bool same(const struct file_id *a, const struct file_id *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

static bool is_known(const struct intro__marks *marks, const struct file_id *id)
{
	for (unsigned int i = 0; i < marks->areas; i++)
		if (same(&marks->area[i]->id, id))
			return true;
	for (unsigned int i = 0; i < marks->refusals && i < REFUSED_MAX; i++)
		if (same(&marks->refused[i], id))
			return true;
	return false;
}

/* Size and seals of the file itself: no later change of them can hurt who maps it. */
static int check_file(int fd, struct file_id *id)
{
	struct stat st;
	int seals;

	if (fstat(fd, &st))
		return -errno;
	*id = (struct file_id){st.st_dev, st.st_ino};
	seals = fcntl(fd, F_GET_SEALS);
	if (!S_ISREG(st.st_mode) || st.st_size != sizeof(struct intro_area) || seals < 0 ||
	    (seals & SEALS) != SEALS)
		return -EINVAL;
	return 0;
}

/* What stood in a slot before we came: who works for what is still true, older marks are not ours.
 */
static void skip_the_past(struct intro__marks *marks, struct area *area)
{
	uint64_t now = intro__clock_sample(&marks->clock);

	for (unsigned int i = 0; i < INTRO_AREA_SLOTS; i++) {
		struct intro_area_slot *slot = &area->shared->slot[i];
		struct mark_ring *ring = &area->ring[i];

		ring->tail = atomic_load_explicit(&slot->head, memory_order_acquire) &
			     ~(uint64_t)(INTRO_ROW_BYTES - 1);
		ring->lost = atomic_load_explicit(&slot->lost, memory_order_relaxed);
		ring->last_ts = now;
		atomic_store_explicit(&slot->tail, ring->tail, memory_order_release);
	}
}

/* -EBUSY: another tracer reads it. One that was killed does no more. */
static int become_tracer(struct intro_area *shared)
{
	uint32_t self = getpid(), other = 0;

	/* A compare that fails leaves in `other` what it found. Not for ever: it may be a game. */
	for (int tries = 0; tries < 4; tries++) {
		if (atomic_compare_exchange_strong(&shared->tracer, &other, self))
			return 0;
		if (other > INT_MAX || !kill(other, 0) || errno != ESRCH)
			break;
	}
	return -EBUSY;
}

int intro__area_open(struct intro__marks *marks, int fd, uid_t uid)
{
	struct area *area;
	int error;

	if (marks->areas == AREAS_MAX)
		return -ENOSPC;
	area = calloc(1, sizeof(*area));
	if (!area)
		return -ENOMEM;
	error = check_file(fd, &area->id);
	if (!error) {
		area->shared = mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (area->shared == MAP_FAILED)
			error = -errno;
		else if (area->shared->magic != INTRO_AREA_MAGIC ||
			 area->shared->version != INTRO_AREA_VERSION)
			error = -EPROTONOSUPPORT;
		else
			error = become_tracer(area->shared);
	}
	if (error) {
		if (area->shared && area->shared != MAP_FAILED)
			munmap(area->shared, MAPPED_BYTES);
		free(area);
		return error;
	}
	area->fd = fd;
	area->uid = uid;
	skip_the_past(marks, area);
	marks->area[marks->areas++] = area;
	atomic_store_explicit(&area->shared->enabled,
			      marks->clock.tsc ? INTRO_MARKS_TSC : INTRO_MARKS_MONOTONIC,
			      memory_order_release);
	return 0;
}

int intro__marks_create(struct intro__marks *marks, uid_t uid)
{
	struct intro_area *start;
	int fd = memfd_create(INTRO_AREA_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(*start)))
		error = -errno;
	start = error ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!error && start == MAP_FAILED)
		error = -errno;
	if (!error) {
		start->magic = INTRO_AREA_MAGIC;
		start->version = INTRO_AREA_VERSION;
		munmap(start, 4096);
		if (fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL))
			error = -errno;
	}
	if (!error)
		error = intro__area_open(marks, fd, uid);
	if (error)
		close(fd);
	return error ? error : fd;
}

static void open_found(struct intro__marks *marks, pid_t pid, const char *range,
		       const struct file_id *id)
{
	char path[96];
	struct stat st;
	int fd, error;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (stat(path, &st))
		return;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%s", pid, range);
	fd = open(path, O_RDWR | O_CLOEXEC);
	error = fd < 0 ? -errno : intro__area_open(marks, fd, st.st_uid);
	if (!error)
		return;
	if (fd >= 0)
		close(fd);
	/* whoever reads it now may have ended when we look again */
	if (error == -EBUSY) {
		marks->busy++;
		return;
	}
	marks->refused[marks->refusals++ % REFUSED_MAX] = *id;
}

static void search(struct intro__marks *marks, pid_t pid)
{
	static const char name[] = "/memfd:" INTRO_AREA_NAME " (deleted)";
	char path[40], *line = NULL;
	size_t room = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	for (int i = 0; maps && i < MAPS_LINES_MOST && getline(&line, &room, maps) > 0; i++) {
		unsigned int major, minor;
		unsigned long inode;
		char range[64];
		struct file_id id;

		if (!strstr(line, name) ||
		    sscanf(line, "%63s %*s %*s %x:%x %lu", range, &major, &minor, &inode) != 4)
			continue;
		id = (struct file_id){makedev(major, minor), inode};
		if (!is_known(marks, &id))
			open_found(marks, pid, range, &id);
	}
	free(line);
	if (maps)
		fclose(maps);
}

int intro__marks_find(struct intro__marks *marks, pid_t root)
{
	pid_t *pids;
	long n = intro__procs_tree(root, &pids), i;
	uint64_t begin = intro__now();

	if (n < 0)
		return n;
	for (i = 0; i < n; i++) {
		/* in the order of their numbers, as /proc lists them */
		if (pids[i] < marks->find_next || pids[i] == getpid())
			continue;
		search(marks, pids[i]);
		marks->find_next = pids[i] + 1;
		if (intro__now() - begin > FIND_MOST_NS)
			break;
	}
	if (marks->busy > marks->stats.busy)
		marks->stats.busy = marks->busy;
	if (i >= n - 1) {
		marks->find_next = 0;
		marks->busy = 0;
	}
	free(pids);
	return 0;
}
