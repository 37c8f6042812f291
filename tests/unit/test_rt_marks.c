/* SPDX-License-Identifier: BSD-2-Clause */
/* Marks: the area, slots, rings, numbers, fork and exec. */
#include "rt_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/marks_private.h"

static const char *self_path;

static void *run_and_return(void *(*fn)(void *), void *arg)
{
	pthread_t thread;
	void *ret;

	assert_int_equal(pthread_create(&thread, NULL, fn, arg), 0);
	pthread_join(thread, &ret);
	return ret;
}

/* The slot whose owner is tid, or -1. */
static int slot_of(const struct intro_area *area, uint32_t tid)
{
	for (int i = 0; i < INTRO_AREA_SLOTS; i++)
		if (area->slot[i].owner == tid)
			return i;
	return -1;
}

/* Ends with the number of the first thing that is not as it should be. */
static int first_use(void)
{
	char line[512];
	bool found = false;
	FILE *maps;

	if (intro_marks_on())
		return 1;
	intro_mark(INTRO_KIND_SUBMIT, 1, 2, 3); /* off: it goes nowhere */
	maps = fopen("/proc/self/maps", "re");
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, INTRO_AREA_NAME))
			return 2;
	fclose(maps);
	if (!intro_mark_task() || !intro__area())
		return 3;
	maps = fopen("/proc/self/maps", "re");
	while (fgets(line, sizeof(line), maps))
		found |= strstr(line, "/memfd:" INTRO_AREA_NAME) != NULL;
	fclose(maps);
	if (!found)
		return 4;
	if (intro__area()->magic != INTRO_AREA_MAGIC ||
	    intro__area()->version != INTRO_AREA_VERSION || intro__area()->enabled)
		return 5;
	return slot_of(intro__area(), intro__tid()) == -1 ? 0 : 6;
}

static int exec_self(const char *mode)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execl(self_path, self_path, mode, NULL);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void first_use_makes_an_area(void **state)
{
	assert_int_equal(exec_self("first-use"), 0);
}

static void *write_all_kinds(void *arg)
{
	uint32_t *tid = arg;

	*tid = intro__tid();
	intro_mark_submit(7, 8, 9);
	intro_mark_take(7, 8, 10);
	intro_mark_start(7, 8);
	intro_mark_end(7, INTRO_STATUS_FAILED, INTRO_END_RESULT | INTRO_END_WAITED);
	intro_mark_result(7, INTRO_STATUS_LOST, 0);
	intro_mark_cancel(7, 8);
	intro_mark_wait(7);
	intro_mark_wake(7);
	intro_mark_read(7);
	intro_mark_reject(8, 9);
	return NULL;
}

static void every_field_of_a_mark(void **state)
{
	static const uint32_t want[][3] = {
		{INTRO_KIND_SUBMIT, 8, 9},
		{INTRO_KIND_TAKE, 8, 10},
		{INTRO_KIND_START, 8, 0},
		{INTRO_KIND_END, INTRO_STATUS_FAILED, INTRO_END_RESULT | INTRO_END_WAITED},
		{INTRO_KIND_RESULT, INTRO_STATUS_LOST, 0},
		{INTRO_KIND_CANCEL, 8, 0},
		{INTRO_KIND_WAIT, 0, 0},
		{INTRO_KIND_WAKE, 0, 0},
		{INTRO_KIND_READ, 0, 0},
		{INTRO_KIND_REJECT, 8, 9},
	};
	int64_t before = now_ns(), last = before;
	struct intro_rec_mark *m;
	uint32_t tid;
	size_t n;

	marks_begin();
	run_and_return(write_all_kinds, &tid);
	m = marks_end(&n);
	assert_int_equal(n, 11);
	assert_int_equal(m[0].rec.kind, INTRO_KIND_THREAD);
	assert_int_equal(m[0].task, getpid());
	assert_int_equal(m[0].a, tid);
	for (size_t i = 0; i < n; i++) {
		assert_true((int64_t)m[i].rec.ts >= last);
		last = (int64_t)m[i].rec.ts;
		assert_int_equal(m[i].rec.rows, 1);
		assert_int_equal(m[i].rec.cpu, INTRO_CPU_NONE);
		assert_int_equal(m[i].rec.tid, tid);
		if (!i)
			continue;
		assert_int_equal(m[i].rec.kind, want[i - 1][0]);
		assert_int_equal(m[i].task, m[i].rec.kind == INTRO_KIND_REJECT ? 0 : 7);
		assert_int_equal(m[i].a, want[i - 1][1]);
		assert_int_equal(m[i].b, want[i - 1][2]);
	}
	assert_true(last <= now_ns());
	free(m);
	assert_int_equal(slot_of(intro__area(), tid), -1);
}

#ifdef __x86_64__
static void *mark_between_two_tsc(void *arg)
{
	uint64_t *tsc = arg;

	tsc[0] = __builtin_ia32_rdtsc();
	intro_mark_read(1);
	tsc[1] = __builtin_ia32_rdtsc();
	return NULL;
}

static void the_tracer_chooses_the_clock(void **state)
{
	struct intro_rec_mark *m;
	uint64_t tsc[2];
	size_t n;

	marks_begin();
	intro__area()->enabled = INTRO_MARKS_TSC;
	run_and_return(mark_between_two_tsc, tsc);
	m = marks_end(&n);
	assert_int_equal(n, 2);
	/* the second is read after the first, both between ours, but for what the CPU reorders */
	assert_true(m[0].rec.ts + 1000 > tsc[0] && m[0].rec.ts <= m[1].rec.ts);
	assert_true(m[1].rec.ts < tsc[1] + 1000);
	free(m);
}
#endif

#define OVER 1000
static void *overflow(void *arg)
{
	struct intro_area *area = intro__area();
	uint64_t capacity = INTRO_AREA_RING_BYTES / INTRO_ROW_BYTES, lost;
	int i;

	intro_mark_worker_start(1, 1); /* a slot, and THREAD and WORKER_START in it */
	i = slot_of(area, intro__tid());
	assert_true(i >= 0);
	lost = area->slot[i].lost;
	for (uint64_t t = 0; t < capacity - 2 + OVER; t++)
		intro_mark_read(t);
	assert_true(area->slot[i].head - area->slot[i].tail == INTRO_AREA_RING_BYTES);
	assert_true(area->slot[i].lost - lost == OVER);
	/* the tracer reads three: there is room for three */
	area->slot[i].tail += 3 * INTRO_ROW_BYTES;
	for (uint64_t t = 0; t < 5; t++)
		intro_mark_read(t);
	assert_true(area->slot[i].lost - lost == OVER + 2);
	assert_true(area->slot[i].head - area->slot[i].tail == INTRO_AREA_RING_BYTES);
	intro_mark_worker_stop(1, 1);
	assert_true(area->slot[i].lost - lost == OVER + 3);
	return NULL;
}

static void a_full_ring_counts_what_it_drops(void **state)
{
	struct intro_rec_mark *m;
	size_t n;

	marks_begin();
	run_and_return(overflow, NULL);
	m = marks_end(&n);
	assert_int_equal(n, INTRO_AREA_RING_BYTES / INTRO_ROW_BYTES);
	assert_int_equal(m[n - 1].task, 2);
	assert_int_equal(m[n - 4].task, INTRO_AREA_RING_BYTES / INTRO_ROW_BYTES - 3);
	free(m);
}

static void *mark_one(void *arg)
{
	intro_mark_read((uint64_t)(uintptr_t)arg);
	return (void *)(uintptr_t)slot_of(intro__area(), intro__tid());
}

static void the_next_owner_goes_on_behind(void **state)
{
	struct intro_rec_mark *m;
	void *first, *second;
	size_t n;

	marks_begin();
	first = run_and_return(mark_one, (void *)1);
	second = run_and_return(mark_one, (void *)2);
	assert_ptr_equal(first, second);
	m = marks_end(&n);
	assert_int_equal(n, 4);
	assert_int_equal(m[0].rec.kind, INTRO_KIND_THREAD);
	assert_int_equal(m[1].task, 1);
	assert_int_equal(m[2].rec.kind, INTRO_KIND_THREAD);
	assert_int_equal(m[3].task, 2);
	assert_true(m[0].a != m[2].a);
	free(m);
}

static void *register_as_worker(void *arg)
{
	struct intro_area *area = intro__area();
	int i;

	intro_mark_worker_start(77, 3);
	i = slot_of(area, intro__tid());
	assert_true(i >= 0);
	assert_int_equal(area->slot[i].pid, getpid());
	assert_int_equal(area->slot[i].pool, 77);
	assert_int_equal(area->slot[i].worker, 3);
	intro_mark_worker_stop(77, 3);
	assert_int_equal(area->slot[i].pool, 0);
	return (void *)(uintptr_t)i;
}

static void workers_are_known_while_marks_are_off(void **state)
{
	struct intro_area *area = intro__area();
	uintptr_t i;
	size_t n;

	marks_begin();
	free(marks_end(&n));
	i = (uintptr_t)run_and_return(register_as_worker, NULL);
	assert_int_equal(area->slot[i].owner, 0);
	assert_true(area->slot[i].head == area->slot[i].tail);
}

static void *claim_while_full(void *arg)
{
	intro_mark_worker_start(1, 0);
	intro_mark_read(1);
	return (void *)(intptr_t)slot_of(intro__area(), intro__tid());
}

static void no_slot_is_counted_and_the_dead_lose_theirs(void **state)
{
	struct intro_area *area = intro__area();
	uint32_t me = intro__tid(), unslotted = area->unslotted;
	pid_t dead;

	for (int i = 0; i < INTRO_AREA_SLOTS; i++) {
		assert_int_equal(area->slot[i].owner, 0);
		area->slot[i].owner = me;
		area->slot[i].pid = (uint32_t)getpid();
	}
	assert_int_equal((intptr_t)run_and_return(claim_while_full, NULL), -1);
	assert_int_equal(area->unslotted, unslotted + 1);
	dead = fork();
	if (!dead)
		_exit(0);
	waitpid(dead, NULL, 0);
	area->slot[500].owner = area->slot[500].pid = (uint32_t)dead;
	assert_int_equal((intptr_t)run_and_return(claim_while_full, NULL), 500);
	assert_int_equal(area->unslotted, unslotted + 1);
	for (int i = 0; i < INTRO_AREA_SLOTS; i++)
		area->slot[i].owner = area->slot[i].pid = 0;
}

struct toggled {
	_Atomic bool stop;
	uint64_t written;
};

static void *mark_until_stopped(void *arg)
{
	struct toggled *t = arg;

	while (!t->stop)
		intro_mark_read(++t->written);
	return NULL;
}

/* Whatever the tracer does meanwhile, records are whole, in order, and none is there twice. */
static void on_and_off_while_marks_are_written(void **state)
{
	struct toggled t = {0};
	struct intro_rec_mark *m;
	pthread_t thread;
	uint64_t last = 0;
	size_t n;

	marks_begin();
	pthread_create(&thread, NULL, mark_until_stopped, &t);
	for (int i = 0; i < 50; i++) {
		intro__area()->enabled = i % 2 ? INTRO_MARKS_MONOTONIC : INTRO_MARKS_OFF;
		sleep_ms(1);
	}
	free(marks_end(&n));
	sleep_ms(5);
	free(marks_end(&n));
	assert_true(n <= 1); /* the one it was at when marks were turned off */
	do {
		marks_begin();
		sleep_ms(2);
		m = marks_end(&n);
		if (n < 2)
			free(m);
	} while (n < 2);
	t.stop = true;
	pthread_join(thread, NULL);
	for (size_t i = 0; i < n; i++) {
		if (m[i].rec.kind == INTRO_KIND_THREAD)
			continue;
		assert_int_equal(m[i].rec.kind, INTRO_KIND_READ);
		assert_true(m[i].task > last);
		last = m[i].task;
	}
	free(m);
}

static void names_and_pools(void **state)
{
	struct intro_area *area = intro__area();
	uint32_t a = intro_mark_name("alpha"), b = intro_mark_name("beta"), p, q;
	const struct intro_area_def *def;

	assert_true(a && b && a != b);
	assert_int_equal(intro_mark_name("alpha"), a);
	assert_int_equal(intro_mark_name(NULL), 0);
	assert_int_equal(intro_mark_name(""), 0);
	assert_int_equal(intro_mark_name("a name of more than thirty-one bytes, one"),
			 intro_mark_name("a name of more than thirty-one bytes, two"));
	p = intro_mark_pool("alpha", 5);
	assert_true(p > 0);
	assert_int_equal(intro_mark_pool("alpha", 5), p);
	q = intro_mark_pool_kind("alpha", 5, INTRO_POOL_PROCESS);
	assert_true(q != p);
	def = &area->def[area->defs - 1];
	assert_int_equal(def->ready, 1);
	assert_int_equal(def->pid, getpid());
	assert_int_equal(def->rec.rec.kind, INTRO_KIND_DEF);
	assert_int_equal(def->rec.rec.rows, 2);
	assert_int_equal(def->rec.id, q);
	assert_int_equal(def->rec.def, INTRO_DEF_POOL);
	assert_int_equal(def->rec.pool_kind, INTRO_POOL_PROCESS);
	assert_int_equal(def->rec.workers, 5);
	assert_string_equal(def->rec.name, "alpha");
}

static void executors_of_one_name_are_told_apart(void **state)
{
	uint32_t a = intro__pool_claim("same", 2, INTRO_POOL_THREAD), defs;
	uint32_t b = intro__pool_claim("same", 2, INTRO_POOL_THREAD);

	assert_int_not_equal(a, b);
	intro__pool_release(a);
	defs = intro__area()->defs;
	assert_int_equal(intro__pool_claim("same", 2, INTRO_POOL_THREAD), a);
	assert_int_equal(intro__area()->defs, defs);
	assert_int_not_equal(intro__pool_claim("same", 2, INTRO_POOL_THREAD), b);
	assert_int_not_equal(intro_mark_pool_kind("same", 2, INTRO_POOL_THREAD), a);
}

#define NUMBERS 10000
static void *take_numbers(void *arg)
{
	uint64_t *numbers = arg;

	for (int i = 0; i < NUMBERS; i++)
		numbers[i] = intro_mark_task();
	return NULL;
}

static int compare_numbers(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void task_numbers_are_unique_and_rise(void **state)
{
	static uint64_t numbers[4][NUMBERS];
	uint64_t *all = numbers[0];
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, take_numbers, numbers[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < 4; i++)
		for (int k = 1; k < NUMBERS; k++)
			assert_true(numbers[i][k] > numbers[i][k - 1]);
	qsort(all, 4 * NUMBERS, sizeof(*all), compare_numbers);
	for (int k = 1; k < 4 * NUMBERS; k++)
		assert_true(all[k] != all[k - 1]);
}

static void a_forked_child_takes_a_slot_of_its_own(void **state)
{
	struct intro_area *area = intro__area();
	uint64_t mine = intro_mark_task(), *shared;
	struct intro_rec_mark *m;
	int slot, status;
	pid_t pid;
	size_t n;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	marks_begin();
	intro_mark_read(1);
	slot = slot_of(area, intro__tid());
	assert_true(slot >= 0);
	pid = fork();
	if (!pid) {
		intro_mark_read(2);
		shared[0] = intro_mark_task();
		shared[1] = (uint64_t)slot_of(area, (uint32_t)getpid());
		raise(SIGKILL); /* its marks stay */
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	intro_mark_read(3);
	m = marks_end(&n);
	assert_int_equal(slot_of(area, intro__tid()), slot);
	assert_int_not_equal(shared[1], slot);
	assert_int_equal(shared[1], slot_of(area, (uint32_t)pid));
	/* the child does not go on with the parent's block of numbers */
	assert_true(shared[0] > mine && shared[0] != intro_mark_task());
	assert_int_equal(n, 5);
	assert_int_equal(m[0].rec.tid, getpid());
	assert_int_equal(m[2].rec.kind, INTRO_KIND_THREAD);
	assert_int_equal(m[2].task, pid);
	assert_int_equal(m[3].rec.tid, pid);
	assert_int_equal(m[3].task, 2);
	assert_int_equal(m[4].rec.tid, getpid());
	assert_int_equal(m[4].task, 3);
	area->slot[shared[1]].owner = area->slot[shared[1]].pid = 0;
	intro__slot_release();
	munmap(shared, 4096);
	free(m);
}

/* What the exec'ed program does: see main. */
static int exec_child(void)
{
	uint32_t pool = intro_mark_pool("child", 1), name = intro_mark_name("work");

	intro_mark_submit(42, pool, name);
	return intro__area() ? 0 : 1;
}

/* Runs this program again with the descriptor in its environment. Returns its exit status. */
static int exec_with(int fd)
{
	char number[16];
	int ret;

	snprintf(number, sizeof(number), "%d", fd);
	setenv(INTRO_AREA_ENV, number, 1);
	ret = exec_self("child");
	unsetenv(INTRO_AREA_ENV);
	return ret;
}

static struct intro_area *area_for_child(int *fd, size_t size, unsigned seals)
{
	struct intro_area *area;

	*fd = memfd_create(INTRO_AREA_NAME, MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(*fd, (off_t)size), 0);
	area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	assert_true(area != MAP_FAILED);
	area->magic = INTRO_AREA_MAGIC;
	area->version = INTRO_AREA_VERSION;
	area->enabled = INTRO_MARKS_MONOTONIC;
	assert_int_equal(fcntl(*fd, F_ADD_SEALS, seals), 0);
	return area;
}

static void an_execed_program_marks_into_its_tracers_area(void **state)
{
	const struct intro_rec_mark *m;
	struct intro_area *area;
	int fd;

	area = area_for_child(&fd, sizeof(*area), F_SEAL_SHRINK | F_SEAL_GROW);
	assert_int_equal(exec_with(fd), 0);
	assert_true(area->slot[0].head == 2 * INTRO_ROW_BYTES);
	assert_int_equal(area->slot[0].owner, 0);
	m = (void *)area->ring[0].data;
	assert_int_equal(m[0].rec.kind, INTRO_KIND_THREAD);
	assert_int_equal(m[1].rec.kind, INTRO_KIND_SUBMIT);
	assert_int_equal(m[1].task, 42);
	assert_int_equal(area->defs, 2);
	assert_string_equal(area->def[0].rec.name, "child");
	assert_string_equal(area->def[1].rec.name, "work");
	/* the next process of the tree shares the name, and has a pool of its own */
	assert_int_equal(exec_with(fd), 0);
	assert_int_equal(area->defs, 3);
	assert_int_equal(area->def[2].rec.def, INTRO_DEF_POOL);
	munmap(area, sizeof(*area));
	close(fd);
}

static void an_area_that_is_none_is_not_used(void **state)
{
	const size_t size = sizeof(struct intro_area);
	struct intro_area *area;
	int fd;

	area = area_for_child(&fd, size, F_SEAL_GROW); /* it might shrink under us */
	assert_int_equal(exec_with(fd), 0);
	assert_true(!area->slot[0].head && !area->defs);
	munmap(area, size);
	close(fd);
	area = area_for_child(&fd, size - 4096, F_SEAL_SHRINK);
	assert_int_equal(exec_with(fd), 0);
	assert_true(!area->slot[0].head && !area->defs);
	munmap(area, size - 4096);
	close(fd);
	area = area_for_child(&fd, size, F_SEAL_SHRINK);
	area->version++;
	assert_int_equal(exec_with(fd), 0);
	assert_true(!area->slot[0].head && !area->defs);
	munmap(area, size);
	close(fd);
	assert_int_equal(exec_with(fd), 0); /* closed */
	assert_int_equal(exec_with(-1), 0);
	assert_int_equal(exec_with(0), 0); /* some file */
}

/* Too small a limit of file size would kill who makes an area (SIGXFSZ): it goes without. */
static void a_program_without_area_goes_on(void **state)
{
	const struct rlimit small = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
	int status;
	pid_t pid = fork();

	if (!pid) {
		setrlimit(RLIMIT_FSIZE, &small);
		_exit(exec_self("child"));
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_use_makes_an_area),
		cmocka_unit_test(every_field_of_a_mark),
#ifdef __x86_64__
		cmocka_unit_test(the_tracer_chooses_the_clock),
#endif
		cmocka_unit_test(a_full_ring_counts_what_it_drops),
		cmocka_unit_test(the_next_owner_goes_on_behind),
		cmocka_unit_test(workers_are_known_while_marks_are_off),
		cmocka_unit_test(no_slot_is_counted_and_the_dead_lose_theirs),
		cmocka_unit_test(on_and_off_while_marks_are_written),
		cmocka_unit_test(names_and_pools),
		cmocka_unit_test(executors_of_one_name_are_told_apart),
		cmocka_unit_test(task_numbers_are_unique_and_rise),
		cmocka_unit_test(a_forked_child_takes_a_slot_of_its_own),
		cmocka_unit_test(an_execed_program_marks_into_its_tracers_area),
		cmocka_unit_test(an_area_that_is_none_is_not_used),
		cmocka_unit_test(a_program_without_area_goes_on),
	};

	if (argc > 1 && !strcmp(argv[1], "child"))
		return exec_child();
	if (argc > 1 && !strcmp(argv[1], "first-use"))
		return first_use();
	self_path = "/proc/self/exe";
	unsetenv(INTRO_AREA_ENV);
	private_area();
	watchdog(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
