/* SPDX-License-Identifier: BSD-2-Clause */
/* area.c - finds or makes the shared memory that marks are written to; names in it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "marks_private.h"
#include "shared_lock.h"

static const uint32_t marks_off = INTRO_MARKS_OFF;
const uint32_t *intro_marks_enabled = &marks_off;

static pthread_once_t area_once = PTHREAD_ONCE_INIT;
static struct intro_area *area_in_use;
static int area_fd = -1; /* ours, unless the program has closed it */

/* A name or pool that this process asked for. */
struct local_def {
	struct local_def *next;
	enum intro_def def;
	enum intro_pool_kind kind;
	uint32_t workers;
	uint32_t id;
	uint32_t claimer; /* pid; 0: not an executor's */
	bool claimed;	  /* by a live executor of that process */
	char name[INTRO_DEF_BYTES];
};

static struct {
	pthread_mutex_t lock;
	struct local_def *list;
	/* for a program that has no area: numbers must differ all the same */
	_Atomic uint32_t next_name;
	_Atomic uint32_t next_pool;
} defs = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct intro_area *area_map(int fd)
{
	struct intro_area *area = mmap(NULL, sizeof(*area), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (area == MAP_FAILED)
		return NULL;
	/* half a gigabyte of mostly holes has no place in a core dump */
	madvise(area, sizeof(*area), MADV_DONTDUMP);
	return area;
}

/* The program may have closed it, and opened something else in its place. */
static bool is_area(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	return seals >= 0 && (seals & F_SEAL_SHRINK) && !fstat(fd, &st) &&
	       st.st_size == sizeof(struct intro_area);
}

int intro__area_fd(void)
{
	return intro__area() && is_area(area_fd) ? area_fd : -1;
}

/* The tracer's, which some ancestor was started with. The descriptor stays for exec'ed children. */
static struct intro_area *area_inherit(void)
{
	const char *text = secure_getenv(INTRO_AREA_ENV);
	struct intro_area *area;
	char *end;
	long fd;

	if (!text || !*text)
		return NULL;
	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno || *end || fd < 0 || fd > INT_MAX)
		return NULL;
	if (!is_area((int)fd))
		return NULL;
	area = area_map((int)fd);
	if (area && (area->magic != INTRO_AREA_MAGIC || area->version != INTRO_AREA_VERSION)) {
		munmap(area, sizeof(*area));
		return NULL;
	}
	/* the program may close it */
	if (area)
		area_fd = fcntl((int)fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return area;
}

static struct intro_area *area_create(void)
{
	int fd = intro__shared_block(INTRO_AREA_NAME, sizeof(struct intro_area));
	struct intro_area *area;

	if (fd < 0)
		return NULL;
	area = area_map(fd);
	if (area) {
		area->version = INTRO_AREA_VERSION;
		__atomic_store_n(&area->magic, INTRO_AREA_MAGIC, __ATOMIC_RELEASE);
	}
	/* for programs that this one executes as its workers */
	if (area)
		area_fd = fd;
	else
		close(fd);
	return area;
}

static void defs_lock(void)
{
	pthread_mutex_lock(&defs.lock);
}

static void defs_unlock(void)
{
	pthread_mutex_unlock(&defs.lock);
}

static void area_init(void)
{
	int saved = errno;
	struct intro_area *area = area_inherit();

	if (!area)
		area = area_create();
	area_in_use = area;
	if (area)
		__atomic_store_n(&intro_marks_enabled, (const uint32_t *)&area->enabled,
				 __ATOMIC_RELEASE);
	errno = saved;
}

struct intro_area *intro__area(void)
{
	pthread_once(&area_once, area_init);
	return area_in_use;
}

/*
 * A child forked while another thread defines a name must not find the lock held. Told before main:
 * handlers that come while a thread forks are not called in that child. And a program under a
 * tracer attaches before main, so that its first mark is not late.
 */
__attribute__((constructor)) static void area_attach_early(void)
{
	pthread_atfork(defs_lock, defs_unlock, defs_unlock);
	if (secure_getenv(INTRO_AREA_ENV))
		intro__area();
}

static uint64_t def_time(const struct intro_area *area)
{
	struct timespec now;

	switch (atomic_load_explicit(&area->enabled, memory_order_relaxed)) {
	case INTRO_MARKS_OFF:
		return 0;
#ifdef __x86_64__
	case INTRO_MARKS_TSC:
		return __builtin_ia32_rdtsc();
#endif
	default:
		clock_gettime(CLOCK_MONOTONIC, &now);
		return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	}
}

static void def_publish(struct intro_area *area, const struct intro_rec_def *rec)
{
	struct intro_area_def *def;
	uint32_t index;

	/* once full it stays just above the limit: the count cannot wrap */
	if (atomic_load_explicit(&area->defs, memory_order_relaxed) > INTRO_AREA_DEFS)
		return;
	index = atomic_fetch_add_explicit(&area->defs, 1, memory_order_relaxed);
	if (index >= INTRO_AREA_DEFS)
		return;
	def = &area->def[index];
	def->rec = *rec;
	def->rec.rec = (struct intro_rec){
		.ts = def_time(area),
		.kind = INTRO_KIND_DEF,
		.rows = sizeof(def->rec) / INTRO_ROW_BYTES,
		.cpu = INTRO_CPU_NONE,
		.tid = (uint32_t)getpid(),
	};
	def->pid = def->rec.rec.tid;
	atomic_store_explicit(&def->ready, 1, memory_order_release);
}

static void def_publish_local(struct intro_area *area, const struct local_def *local)
{
	struct intro_rec_def rec = {
		.id = local->id,
		.def = (uint8_t)local->def,
		.pool_kind = (uint8_t)local->kind,
		.workers = local->workers,
	};

	memcpy(rec.name, local->name, sizeof(rec.name));
	def_publish(area, &rec);
}

/* A name that another process of the tree has defined already, so that a thousand of them share
 * one. */
static uint32_t def_find_shared(struct intro_area *area, const struct local_def *want)
{
	uint32_t n = atomic_load_explicit(&area->defs, memory_order_relaxed);

	for (uint32_t i = 0; i < n && i < INTRO_AREA_DEFS; i++) {
		struct intro_area_def *def = &area->def[i];

		if (atomic_load_explicit(&def->ready, memory_order_acquire) == 1 &&
		    def->rec.def == want->def &&
		    !memcmp(def->rec.name, want->name, sizeof(want->name)))
			return def->rec.id;
	}
	return 0;
}

static uint32_t def_next_id(struct intro_area *area, enum intro_def def)
{
	_Atomic uint32_t *next;

	if (def == INTRO_DEF_NAME)
		next = area ? &area->next_name : &defs.next_name;
	else
		next = area ? &area->next_pool : &defs.next_pool;
	return atomic_fetch_add_explicit(next, 1, memory_order_relaxed) + 1;
}

/* Is the lock written down already, by this name? */
static bool lock_is_known(struct intro_area *area, const struct intro_rec_def *want)
{
	uint32_t n = atomic_load_explicit(&area->defs, memory_order_relaxed);

	for (uint32_t i = 0; i < n && i < INTRO_AREA_DEFS; i++) {
		struct intro_area_def *def = &area->def[i];

		if (atomic_load_explicit(&def->ready, memory_order_acquire) == 1 &&
		    def->rec.def == INTRO_DEF_LOCK && def->pid == want->rec.tid &&
		    def->rec.id == want->id && def->rec.workers == want->workers &&
		    def->rec.address_high == want->address_high)
			return true;
	}
	return false;
}

void intro_mark_lock(const void *address, uint32_t name)
{
	struct intro_area *area = intro__area();
	struct intro_rec_def def = {
		.rec.tid = (uint32_t)getpid(),
		.id = name,
		.def = INTRO_DEF_LOCK,
		.workers = (uint32_t)(uintptr_t)address,
		.address_high = (uint32_t)((uint64_t)(uintptr_t)address >> 32),
	};

	if (!area || !name)
		return;
	/* the lock keeps threads of this process from writing it twice */
	defs_lock();
	if (!lock_is_known(area, &def))
		def_publish(area, &def);
	defs_unlock();
}

/* defs.lock is held. Gives a number, tells the tracer, remembers. */
static uint32_t def_add(const struct local_def *want)
{
	struct intro_area *area = intro__area();
	struct local_def *local = malloc(sizeof(*local)), def = *want;

	if (def.def == INTRO_DEF_NAME && area)
		def.id = def_find_shared(area, &def);
	if (!def.id) {
		def.id = def_next_id(area, def.def);
		if (area)
			def_publish_local(area, &def);
	}
	if (local) {
		*local = def;
		local->next = defs.list;
		defs.list = local;
	}
	return def.id;
}

/* defs.lock is held. */
static struct local_def *def_find(const struct local_def *want)
{
	for (struct local_def *d = defs.list; d; d = d->next) {
		if (d->def != want->def || d->kind != want->kind || d->claimer != want->claimer ||
		    strcmp(d->name, want->name) != 0)
			continue;
		if (!d->claimer || (!d->claimed && d->workers == want->workers))
			return d;
	}
	return NULL;
}

static uint32_t def_id(const char *name, struct local_def want)
{
	struct local_def *known;
	uint32_t id;

	intro__area(); /* its once must not be run under the lock: it registers that at fork */
	strncpy(want.name, name, sizeof(want.name) - 1);
	defs_lock();
	known = def_find(&want);
	if (known) {
		known->claimed = want.claimed;
		id = known->id;
	} else {
		id = def_add(&want);
	}
	defs_unlock();
	return id;
}

uint32_t intro_mark_name(const char *name)
{
	if (!name || !*name)
		return 0;
	return def_id(name, (struct local_def){.def = INTRO_DEF_NAME});
}

uint32_t intro_mark_pool_kind(const char *name, uint32_t workers, enum intro_pool_kind kind)
{
	return def_id(name && *name ? name : "pool",
		      (struct local_def){.def = INTRO_DEF_POOL, .kind = kind, .workers = workers});
}

uint32_t intro_mark_pool(const char *name, uint32_t workers)
{
	return intro_mark_pool_kind(name, workers, INTRO_POOL_MARKED);
}

uint32_t intro__pool_claim(const char *name, uint32_t workers, enum intro_pool_kind kind)
{
	return def_id(name, (struct local_def){.def = INTRO_DEF_POOL,
					       .kind = kind,
					       .workers = workers,
					       .claimer = (uint32_t)getpid(),
					       .claimed = true});
}

void intro__pool_release(uint32_t pool)
{
	defs_lock();
	for (struct local_def *d = defs.list; d; d = d->next)
		if (d->def == INTRO_DEF_POOL && d->id == pool && d->claimer == (uint32_t)getpid())
			d->claimed = false;
	defs_unlock();
}
