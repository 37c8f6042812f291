// SPDX-License-Identifier: BSD-2-Clause
/*
 * hostile HOW SECONDS: a program that does to its marks' memory what no program should, for so
 * long, and ends with status 0. The tracer must not mind.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <introspect/area.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static uint64_t seed = 88172645463325252ull;

static uint64_t noise(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct intro_area *map(int fd)
{
	struct intro_area *area = mmap(NULL, sizeof(*area), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_NORESERVE, fd, 0);

	return area == MAP_FAILED ? NULL : area;
}

/* Looks like one that the runtime made, but for its size or its seals. */
static int make(size_t size, int seals, struct intro_area **area)
{
	int fd = memfd_create(INTRO_AREA_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, size))
		return -1;
	*area = mmap(NULL, size < sizeof(**area) ? size : sizeof(**area), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (*area == MAP_FAILED)
		return -1;
	(*area)->magic = INTRO_AREA_MAGIC;
	(*area)->version = INTRO_AREA_VERSION;
	if (seals && fcntl(fd, F_ADD_SEALS, seals))
		return -1;
	return fd;
}

/* The tracer's own area if it gave us one, else one of ours that it may find. */
static int inherit(struct intro_area **area)
{
	const char *number = getenv(INTRO_AREA_ENV);

	if (!number)
		return make(sizeof(**area), SEALS, area);
	*area = map(atoi(number));
	return *area ? atoi(number) : -1;
}

static void rest(void)
{
	struct timespec pause = {.tv_nsec = 1000000};

	nanosleep(&pause, NULL);
}

/* Noise in every counter, index, record and name. */
static int wild(double until)
{
	struct intro_area *area;

	if (inherit(&area) < 0)
		return 1;
	while (now() < until) {
		for (int i = 0; i < 64; i++) {
			unsigned int slot = noise() % INTRO_AREA_SLOTS;
			struct intro_area_slot *s = &area->slot[slot];
			uint64_t *data = (uint64_t *)area->ring[slot].data;

			for (size_t k = 0; k < 4096 / 8; k++)
				data[noise() % (INTRO_AREA_RING_BYTES / 8)] = noise();
			atomic_store(&s->owner, noise());
			atomic_store(&s->pid, noise());
			atomic_store(&s->pool, noise());
			atomic_store(&s->worker, noise());
			atomic_store(&s->lost, noise() & 1 ? noise() : noise() % 1000);
			atomic_store(&s->head, noise() & 1 ? noise() : noise() % (2u << 20));
		}
		for (int i = 0; i < 64; i++) {
			struct intro_area_def *def = &area->def[noise() % INTRO_AREA_DEFS];
			uint64_t *words = (uint64_t *)&def->rec;

			for (size_t k = 0; k < sizeof(def->rec) / 8; k++)
				words[k] = noise();
			def->rec.rec.kind = INTRO_KIND_DEF;
			def->rec.rec.rows = 2;
			def->rec.def = INTRO_DEF_NAME;
			def->rec.pool_kind = 0;
			atomic_store(&def->ready, 1);
		}
		atomic_store(&area->defs, noise());
		rest();
	}
	return 0;
}

static void put(struct intro_area *area, unsigned int slot, uint8_t kind, uint64_t task, uint32_t a,
		uint32_t b)
{
	struct intro_area_slot *s = &area->slot[slot];
	uint64_t head = atomic_load(&s->head);
	struct timespec t;
	struct intro_rec_mark mark = {
		.rec.kind = kind, .rec.rows = 1, .task = task, .a = a, .b = b};

	while (head - atomic_load(&s->tail) > INTRO_AREA_RING_BYTES - sizeof(mark))
		rest();
	clock_gettime(CLOCK_MONOTONIC, &t);
#ifdef __x86_64__
	if (atomic_load(&area->enabled) == INTRO_MARKS_TSC)
		mark.rec.ts = __builtin_ia32_rdtsc();
	else
#endif
		mark.rec.ts = t.tv_sec * 1000000000ull + t.tv_nsec;
	memcpy(area->ring[slot].data + head % INTRO_AREA_RING_BYTES, &mark, sizeof(mark));
	atomic_store(&s->head, head + sizeof(mark));
}

/* A million tasks that start and never end, by the rules of the ring. */
static int tasks(double until)
{
	struct intro_area *area;

	if (inherit(&area) < 0)
		return 1;
	put(area, 0, INTRO_KIND_THREAD, getpid(), syscall(SYS_gettid), 0);
	for (uint64_t task = 1; task <= 1000000; task++)
		put(area, 0, task & 1 ? INTRO_KIND_SUBMIT : INTRO_KIND_START, task, 1, 0);
	while (now() < until)
		rest();
	return 0;
}

/* Marks in the name of somebody else. */
static int impostor(double until)
{
	struct intro_area *area;

	if (inherit(&area) < 0)
		return 1;
	while (now() < until) {
		put(area, 0, INTRO_KIND_THREAD, 1, 1, 0);
		put(area, 0, INTRO_KIND_START, 1, 1, 0);
		put(area, 0, INTRO_KIND_THREAD, getpid(), 1, 0);
		put(area, 0, INTRO_KIND_START, 2, 1, 0);
		rest();
	}
	return 0;
}

/* The right size at first, no seals, and then nothing. */
static int truncated(double until)
{
	struct intro_area *area;
	int fd = make(sizeof(*area), 0, &area);

	while (fd >= 0 && now() < until) {
		if (ftruncate(fd, 0) || ftruncate(fd, sizeof(*area)))
			return 1;
		rest();
	}
	return fd < 0;
}

/* Sealed, but too small; and a terabyte. */
static int sizes(double until)
{
	struct intro_area *area;
	int fd = make(4096, SEALS, &area);

	if (fd < 0 || make(1ull << 40, SEALS, &area) < 0)
		return 1;
	while (now() < until)
		rest();
	return 0;
}

/* More areas than anybody needs, each with something in all rings. */
static int many(double until)
{
	struct intro_area *area;

	for (int i = 0; i < 100; i++) {
		if (make(sizeof(*area), SEALS, &area) < 0)
			return 1;
		for (int slot = 0; slot < INTRO_AREA_SLOTS; slot++) {
			atomic_store(&area->slot[slot].owner, getpid());
			atomic_store(&area->slot[slot].pid, getpid());
		}
	}
	while (now() < until)
		rest();
	return 0;
}

/* Takes the memory away under what was promised to be there. */
static int holes(double until)
{
	struct intro_area *area;
	int fd = inherit(&area);

	while (fd >= 0 && now() < until) {
		for (int slot = 0; slot < INTRO_AREA_SLOTS; slot++)
			atomic_store(&area->slot[slot].head, noise() % (2u << 20) & ~31ull);
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, sizeof(*area)))
			return 1;
		rest();
	}
	return fd < 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*act)(double until);
	} acts[] = {
		{"wild", wild},		  {"tasks", tasks}, {"impostor", impostor},
		{"truncated", truncated}, {"sizes", sizes}, {"many", many},
		{"holes", holes},
	};

	for (size_t i = 0; argc == 3 && i < sizeof(acts) / sizeof(acts[0]); i++)
		if (!strcmp(argv[1], acts[i].name))
			return acts[i].act(now() + atof(argv[2]));
	return 2;
}
