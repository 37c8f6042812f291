/* SPDX-License-Identifier: BSD-2-Clause */
#include "rt_support.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/marks_private.h"

static void bite(int sig)
{
	static const char text[] = "not ok 1 - the watchdog found the test hanging\n";

	(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

void watchdog(unsigned seconds)
{
	signal(SIGALRM, bite);
	alarm(seconds);
}

unsigned stress_seconds(unsigned unless)
{
	const char *given = getenv("INTRO_STRESS_SECONDS");

	return given ? (unsigned)atoi(given) : unless;
}

void private_area(void)
{
	struct intro_area *area;
	char number[16];
	int fd = memfd_create("test-marks", MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, sizeof(*area)))
		abort();
	area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED)
		abort();
	area->magic = INTRO_AREA_MAGIC;
	area->version = INTRO_AREA_VERSION;
	munmap(area, 4096);
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	snprintf(number, sizeof(number), "%d", fd);
	setenv(INTRO_AREA_ENV, number, 1);
	intro__area();
	unsetenv(INTRO_AREA_ENV);
	close(fd);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * SEC + t.tv_nsec;
}

int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void sleep_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * MSEC};

	while (nanosleep(&t, &t))
		;
}

void marks_begin(void)
{
	struct intro_area *area = intro__area();

	assert_non_null(area);
	for (unsigned i = 0; i < INTRO_AREA_SLOTS; i++)
		area->slot[i].tail = area->slot[i].head;
	area->enabled = INTRO_MARKS_MONOTONIC;
}

static int by_time(const void *a, const void *b)
{
	const struct intro_rec_mark *x = a, *y = b;

	if (x->rec.ts != y->rec.ts)
		return x->rec.ts < y->rec.ts ? -1 : 1;
	return 0;
}

struct intro_rec_mark *marks_end(size_t *n)
{
	struct intro_area *area = intro__area();
	struct intro_rec_mark *all = NULL;
	size_t have = 0;

	area->enabled = INTRO_MARKS_OFF;
	for (unsigned i = 0; i < INTRO_AREA_SLOTS; i++) {
		struct intro_area_slot *slot = &area->slot[i];
		uint64_t head = slot->head, tail = slot->tail;

		assert_true(head - tail <= INTRO_AREA_RING_BYTES);
		all = realloc(all, have * sizeof(*all) + (size_t)(head - tail) + 1);
		for (; tail != head; tail += sizeof(*all))
			memcpy(&all[have++],
			       &area->ring[i].data[tail & (INTRO_AREA_RING_BYTES - 1)],
			       sizeof(*all));
		slot->tail = head;
	}
	qsort(all, have, sizeof(*all), by_time);
	*n = have;
	return all;
}

int marks_find(const struct intro_rec_mark *m, size_t n, size_t from, uint8_t kind, uint64_t task)
{
	for (size_t i = from; i < n; i++)
		if (m[i].rec.kind == kind && (!task || m[i].task == task))
			return (int)i;
	return -1;
}

unsigned marks_count(const struct intro_rec_mark *m, size_t n, uint8_t kind, uint64_t task)
{
	unsigned count = 0;

	for (size_t i = 0; i < n; i++)
		count += m[i].rec.kind == kind && (!task || m[i].task == task);
	return count;
}

unsigned locks_told(const void *address, const char *name)
{
	struct intro_area *area = intro__area();
	uint32_t id = intro_mark_name(name);
	unsigned n = 0;

	for (uint32_t i = 0; i < area->defs; i++) {
		const struct intro_rec_def *def = &area->def[i].rec;
		uint64_t at = (uint64_t)def->address_high << 32 | def->workers;

		n += def->def == INTRO_DEF_LOCK &&
		     (!address || at == (uint64_t)(uintptr_t)address) && def->id == id;
	}
	return n;
}

void submit_new(struct intro_executor *e, struct intro_future *f, intro_task_fn fn, const void *arg,
		size_t size)
{
	intro_future_init(f);
	assert_int_equal(intro_executor_submit(e, f, fn, arg, size), 0);
}

void result_of(struct intro_executor *e, intro_task_fn fn, void *result, size_t size)
{
	struct intro_result got;
	struct intro_future f;

	submit_new(e, &f, fn, NULL, 0);
	assert_int_equal(intro_future_result(&f, INTRO_FOREVER, &got), 0);
	assert_int_equal(got.size, size);
	memcpy(result, got.data, size);
	intro_future_destroy(&f);
}

unsigned count_threads(const char *prefix)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		char path[300], comm[32] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(comm, sizeof(comm), file) && !strncmp(comm, prefix, strlen(prefix)))
			count++;
		fclose(file);
	}
	closedir(dir);
	return count;
}

unsigned count_threads_left(const char *prefix)
{
	unsigned n, tries = 2000;

	while ((n = count_threads(prefix)) && tries--)
		sleep_ms(1);
	return n;
}

void until_asleep(uint32_t tid)
{
	char path[64], line[64];
	bool asleep = false;

	snprintf(path, sizeof(path), "/proc/self/task/%u/syscall", tid);
	for (int tries = 0; tries < 2000 && !asleep; tries++) {
		FILE *file = fopen(path, "re");

		sleep_ms(file ? 1 : 50);
		if (!file)
			return;
		if (fgets(line, sizeof(line), file))
			asleep = atol(line) == SYS_futex && line[0] != 'r';
		fclose(file);
	}
}

unsigned count_children(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		char path[300], line[512] = "", *end;
		FILE *file;
		int ppid;

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(line, sizeof(line), file) && (end = strrchr(line, ')')) &&
		    sscanf(end + 1, " %*c %d", &ppid) == 1 && ppid == getpid())
			count++;
		fclose(file);
	}
	closedir(dir);
	return count;
}

unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

struct gate *gate_new_shared(void)
{
	struct gate *gate = mmap(NULL, sizeof(*gate), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(gate != MAP_FAILED);
	return gate;
}

void gate_wait(struct gate *gate)
{
	gate->waiting++;
	while (!gate->open)
		sleep_ms(1);
}

void gate_open(struct gate *gate)
{
	gate->open = 1;
}

void gate_expect(struct gate *gate, unsigned n)
{
	while (gate->waiting < n)
		sleep_ms(1);
}

long real_syscall(long number, va_list args)
{
	static _Atomic(long (*)(long, ...)) real;
	long a[6];

	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int nothing(struct intro_call *call)
{
	return 0;
}

static void does_nothing(void *arg)
{
}

void end_thread(void)
{
	pthread_cleanup_push(does_nothing, NULL);
	pthread_exit(NULL);
	pthread_cleanup_pop(0);
}

int exits(struct intro_call *call)
{
	end_thread();
	return 0;
}

int wait_at(struct intro_call *call)
{
	gate_wait((struct gate *)call->arg);
	return 0;
}

int look(struct intro_call *call)
{
	struct seen *seen = (struct seen *)call->arg;

	seen->thread = pthread_self();
	seen->index = call->index;
	snprintf(seen->worker, sizeof(seen->worker), "%s", call->worker);
	seen->ran++;
	return intro_call_return(call, seen, 5);
}
