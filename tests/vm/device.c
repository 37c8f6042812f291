// SPDX-License-Identifier: BSD-2-Clause
/* device.c - the module is loaded: what it grants, what it refuses, and what it survives. */
#include <linux/capability.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "device_support.h"

static int tests, failures;
static cpu_set_t everywhere;

static void ok(bool passed, const char *name, long got)
{
	tests++;
	failures += !passed;
	printf("%s %d - %s\n", passed ? "ok" : "not ok", tests, name);
	if (!passed)
		printf("# got %ld\n", got);
	fflush(stdout);
}

static void is(long got, long wanted, const char *name)
{
	ok(got == wanted, name, got);
}

/* Switches and wake-ups on all CPUs, and rows in every ring. */
static void make_events(int times)
{
	struct timespec pause = {.tv_nsec = 1000000};

	for (int i = 0; i < times; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		nanosleep(&pause, NULL);
		waitpid(pid, NULL, 0);
	}
}

static uint64_t events_of(const struct device *device, uint64_t *lost)
{
	struct intro_device_stats stats = {};

	device_ask(device, INTRO_DEVICE_STATS, (unsigned long)&stats);
	if (lost)
		*lost = stats.lost;
	return stats.bytes;
}

/* As root of a container, who may open what root owns and has none of its rights. */
static int open_without_rights(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
		struct __user_cap_data_struct data[2] = {
			{.effective = 1u << CAP_DAC_OVERRIDE, .permitted = 1u << CAP_DAC_OVERRIDE},
		};
		struct device device;

		_exit(syscall(SYS_capset, &header, data) ? 1 : -device_open(&device));
	}
	waitpid(pid, &status, 0);
	return -WEXITSTATUS(status);
}

static void before_setup(void)
{
	struct intro_device_version version = {};
	struct device device, second;
	struct stat stat_of;

	is(stat(INTRO_DEVICE_PATH, &stat_of) ? -errno : (long)(stat_of.st_mode & 07777), 0600,
	   "the file is root's alone");
	is(open_without_rights(), -EPERM, "and not for a root without rights");
	is(device_open(&device), 0, "it opens");
	is(device_open(&second), -EBUSY, "not for a second reader");
	is(device_ask(&device, INTRO_DEVICE_VERSION, (unsigned long)&version), 0, "version");
	is(version.abi, INTRO_DEVICE_ABI, "of this ABI");
	is(version.missing, 0, "this kernel has all tracepoints");
	is(device_ask(&device, INTRO_DEVICE_VERSION, 0), -EFAULT, "version to nowhere");
	is(device_ask(&device, INTRO_DEVICE_START, 0), -ENODATA, "start before setup");
	is(device_ask(&device, INTRO_DEVICE_STOP, 0), -ENODATA, "stop before setup");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 1), -ENODATA, "target before setup");
	is(device_ask(&device, INTRO_DEVICE_SNAPSHOT, INTRO_SNAPSHOT_BEGIN), -ENODATA,
	   "snapshot before setup");
	device_close(&device);
}

static void arguments_of_setup(void)
{
	struct intro_device_setup bad[] = {
		{.abi = INTRO_DEVICE_ABI, .event = -1, .flags = INTRO_DEVICE_PLACE << 1},
		{.abi = INTRO_DEVICE_ABI, .event = -1, .flags = ~0u},
		{.abi = INTRO_DEVICE_ABI, .event = -1, .ring_bytes = 2048},
		{.abi = INTRO_DEVICE_ABI, .event = -1, .ring_bytes = 12288},
		{.abi = INTRO_DEVICE_ABI, .event = -1, .ring_bytes = 1ull << 63},
		{.abi = INTRO_DEVICE_ABI, .event = -1, .ring_bytes = ~0ull},
		{.abi = INTRO_DEVICE_ABI, .event = -1, .reserved = 1},
	};
	struct intro_device_setup other = {.abi = INTRO_DEVICE_ABI + 1, .event = -1};
	struct device device;
	int refused = 0, n = sizeof(bad) / sizeof(bad[0]);

	device_open(&device);
	is(device_ask(&device, INTRO_DEVICE_SETUP, 0), -EFAULT, "setup from nowhere");
	is(device_ask(&device, INTRO_DEVICE_SETUP, (unsigned long)&other), -EPROTO,
	   "setup for another ABI");
	for (int i = 0; i < n; i++)
		refused +=
			device_ask(&device, INTRO_DEVICE_SETUP, (unsigned long)&bad[i]) == -EINVAL;
	is(refused, n, "setup with what makes no sense");
	device.event = 1 << 20;
	is(device_setup(&device, 0, 0), -EBADF, "with an event that is not open");
	device.event = device.fd;
	is(device_setup(&device, 0, 0), -EINVAL, "with one that is no eventfd");
	device.event = -1;
	is(device_setup(&device, 0, 0), 0, "setup with the default size");
	is(device.setup.cpus, sysconf(_SC_NPROCESSORS_CONF), "a ring for each CPU");
	is(device_setup(&device, 0, 0), -EBUSY, "setup a second time");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 0), -EINVAL, "target 0");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 1 << 22), -EINVAL, "target beyond all tids");
	is(device_ask(&device, INTRO_DEVICE_TARGET, -1ul), -EINVAL, "target -1");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 5), 0, "a target");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 5), 1, "it already is one");
	is(device_ask(&device, INTRO_DEVICE_SNAPSHOT, 0), -EINVAL, "a snapshot of no time");
	is(device_ask(&device, _IO(INTRO_DEVICE_TYPE, 99), 0), -ENOTTY, "no such call");
	device_close(&device);
}

/* How many rings lie on another node than their CPU. */
static int far_rings(const struct device *device)
{
	int far = 0;

	for (uint32_t cpu = 0; cpu < device->setup.cpus; cpu++) {
		unsigned int node = 0;
		cpu_set_t one;
		int of = -1;

		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		getcpu(NULL, &node);
		device_ring(device, cpu)->tail =
			0; /* mapped: a page that is not there has no node */
		syscall(SYS_get_mempolicy, &of, NULL, 0, device_ring(device, cpu),
			MPOL_F_NODE | MPOL_F_ADDR);
		far += of != (int)node;
	}
	sched_setaffinity(0, sizeof(everywhere), &everywhere);
	return far;
}

static void memory(void)
{
	struct device device, next;
	struct intro_ring *ring;
	struct stat stat_of;

	device_open(&device);
	device_setup(&device, 65536, INTRO_DEVICE_WHOLE_SYSTEM);
	is(fstat(device.setup.memory, &stat_of) ? -errno : stat_of.st_size, device_bytes(&device),
	   "the memory is as large as its rings");
	is(fcntl(device.setup.memory, F_GETFD), FD_CLOEXEC, "and no command inherits it");
	is(device_map(&device), 0, "it is mapped");
	is(far_rings(&device), 0, "each ring is near its CPU");
	device_ask(&device, INTRO_DEVICE_START, 0);
	make_events(5);
	ok(!device_ended(&device), "the recording goes on", device_ended(&device));
	close(device.fd);
	device.fd = -1;
	ok(device_ended(&device), "closing the file ends it", 0);
	ok(device_count(&device, INTRO_KIND_EXIT, 0) >= 5, "what was recorded stays",
	   device_count(&device, INTRO_KIND_EXIT, 0));
	is(device_open(&next), 0, "and the next reader is let in");
	is(device_setup(&next, 65536, INTRO_DEVICE_WHOLE_SYSTEM), 0, "with rings of its own");
	device_map(&next);
	device_ask(&next, INTRO_DEVICE_START, 0);
	ring = device_ring(&device, 0);
	ok(ring->ended && !device_ended(&next), "of which the first one has nothing", 0);
	device_close(&device);
	ftruncate(next.setup.memory, 0);
	make_events(20);
	ok(events_of(&next, NULL) > 0, "memory that its reader cuts off: the reader's loss", 0);
	device_close(&next);
}

static void recording(void)
{
	struct pollfd wanted = {.events = POLLIN};
	uint64_t bytes, lost, in_rings = 0;
	struct device device;
	char row[128];

	device_open(&device);
	device.event = eventfd(0, EFD_CLOEXEC);
	device_setup(&device, 1 << 20, 0);
	device_map(&device);
	is(device_ask(&device, INTRO_DEVICE_START, 0), 0, "start");
	is(device_ask(&device, INTRO_DEVICE_START, 0), -EBUSY, "start a second time");
	make_events(20);
	ok(events_of(&device, NULL) == 0, "without a target nothing is recorded",
	   events_of(&device, NULL));
	device_ask(&device, INTRO_DEVICE_TARGET, getpid());
	make_events(20);
	ok(events_of(&device, NULL) >= 20 * 5 * 32, "with one its events and its children's are",
	   events_of(&device, NULL));
	is(device_ask(&device, INTRO_DEVICE_SNAPSHOT, INTRO_SNAPSHOT_BEGIN), 0, "snapshot");
	is(read(device.fd, row, sizeof(row)), sizeof(row), "which has this process");
	is(((struct intro_rec *)row)->tid, getpid(), "by its tid");
	is(read(device.fd, row, sizeof(row)), 0, "and nobody else");
	wanted.fd = device.event;
	is(poll(&wanted, 1, 50), 0, "poll waits while there is little");
	is(device_ask(&device, INTRO_DEVICE_STOP, 0), 0, "stop");
	bytes = events_of(&device, &lost);
	make_events(5);
	ok(events_of(&device, NULL) == bytes && !lost, "then nothing is recorded", lost);
	for (uint32_t cpu = 0; cpu < device.setup.cpus; cpu++)
		in_rings += device_ring(&device, cpu)->head;
	is(in_rings, bytes, "all that was is in the rings");
	is(device_ask(&device, INTRO_DEVICE_START, 0), 0, "start again");
	device_close(&device);
}

/* A full ring makes it readable; its reader reads nothing, or writes nonsense. */
static void full_rings(void)
{
	struct pollfd wanted = {.events = POLLIN};
	struct intro_ring *ring;
	uint64_t lost, before;
	struct device device;

	device_open(&device);
	device.event = eventfd(0, EFD_CLOEXEC);
	device_setup(&device, 4096, INTRO_DEVICE_WHOLE_SYSTEM);
	device_map(&device);
	device_ask(&device, INTRO_DEVICE_START, 0);
	make_events(100);
	wanted.fd = device.event;
	is(poll(&wanted, 1, 5000), 1, "poll tells of a ring with much in it");
	events_of(&device, &lost);
	ok(lost > 0, "what does not fit is counted", lost);
	for (uint32_t cpu = 0; cpu < device.setup.cpus; cpu++) {
		ring = device_ring(&device, cpu);
		memset(ring, 0xa5, sizeof(*ring)); /* a tail before, or beyond, all there is */
	}
	before = events_of(&device, NULL);
	make_events(50);
	is(events_of(&device, NULL), before, "a tail that makes no sense: no room, and no harm");
	for (uint32_t cpu = 0; cpu < device.setup.cpus; cpu++) {
		ring = device_ring(&device, cpu);
		__atomic_store_n(&ring->tail, __atomic_load_n(&ring->head, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
	}
	device_ask(&device, INTRO_DEVICE_STOP, 0);
	device_close(&device);
}

#define TOUCHED 100

/* Pages that nobody had before; with the device's rings full, or not. */
static void touch_pages(const struct device *device, bool full)
{
	size_t size = TOUCHED * 4096;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	madvise(memory, size, MADV_NOHUGEPAGE);
	device_ask(device, INTRO_DEVICE_TARGET, getpid());
	for (uint32_t cpu = 0; full && cpu < device->setup.cpus; cpu++)
		device_ring(device, cpu)->tail = 1ull << 62;
	device_ask(device, INTRO_DEVICE_START, 0);
	for (size_t at = 0; at < size; at += 4096)
		memory[at] = 1;
	device_ask(device, INTRO_DEVICE_STOP, 0);
	munmap(memory, size);
}

/* What the records of one CPU say that this process was given. */
static long pages_in(const struct device *device, uint32_t cpu)
{
	const struct intro_ring *ring = device_ring(device, cpu);
	long pages = 0;

	for (uint64_t at = 0; at < ring->head;) {
		const struct intro_rec_pages *rec =
			(const void *)((const uint8_t *)(ring + 1) + at);

		if (rec->rec.kind == INTRO_KIND_PAGES && rec->rec.tid == (uint32_t)getpid() &&
		    rec->what == INTRO_PAGES_GIVEN)
			pages += rec->pages;
		at += rec->rec.rows * INTRO_ROW_BYTES;
	}
	return pages;
}

static void placing(void)
{
	struct intro_device_stats stats = {};
	struct device device;
	long pages = 0;

	device_open(&device);
	device_setup(&device, 1 << 20, INTRO_DEVICE_PLACE);
	device_map(&device);
	touch_pages(&device, false);
	device_ask(&device, INTRO_DEVICE_STATS, (unsigned long)&stats);
	ok(stats.attached & 1u << INTRO_POINT_mm_page_alloc, "pages are counted", stats.attached);
	ok(stats.attached & 1u << INTRO_FAULT_BIT, "and hinting faults", stats.attached);
	for (uint32_t cpu = 0; cpu < device.setup.cpus; cpu++)
		pages += pages_in(&device, cpu);
	ok(pages >= TOUCHED && pages < TOUCHED + 50, "as many as were touched", pages);
	is(stats.pages_lost, 0, "none is lost while there is room");
	device_close(&device);
	device_open(&device);
	device_setup(&device, 4096, INTRO_DEVICE_PLACE);
	device_map(&device);
	touch_pages(&device, true);
	device_ask(&device, INTRO_DEVICE_STATS, (unsigned long)&stats);
	ok(stats.pages_lost >= TOUCHED, "what finds no room is counted", stats.pages_lost);
	device_close(&device);
	device_open(&device);
	device_setup(&device, 1 << 20, 0);
	device_map(&device);
	touch_pages(&device, false);
	device_ask(&device, INTRO_DEVICE_STATS, (unsigned long)&stats);
	is(stats.attached & 1u << INTRO_POINT_mm_page_alloc, 0, "not unless it is asked for");
	device_close(&device);
}

/* A reader that is killed at some moment of its life leaves the file free for the next. */
static void killed_readers(void)
{
	int opened = 0, rounds = 12;

	for (int i = 0; i < rounds; i++) {
		struct timespec pause = {.tv_nsec = i * 1500000};
		struct device device;
		pid_t pid = fork();
		int error = -EBUSY;

		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (device_open(&device) ||
			    device_setup(&device, 1 << 18, INTRO_DEVICE_WHOLE_SYSTEM) ||
			    device_map(&device))
				_exit(1);
			device_ask(&device, INTRO_DEVICE_START, 0);
			for (;;)
				device_ask(&device, INTRO_DEVICE_SNAPSHOT, INTRO_SNAPSHOT_END);
		}
		nanosleep(&pause, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		/* the last reference may be dropped a moment after the death is told */
		for (int wait = 0; error && wait < 200; wait++) {
			usleep(1000);
			error = device_open(&device);
		}
		opened += !error;
		device_close(&device);
	}
	is(opened, rounds, "whenever its reader is killed, the file is free again");
}

/* A child that waits as a reader does, and is told of the end. */
static pid_t waiter(const struct device *device)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct pollfd wanted = {.fd = device->event, .events = POLLIN};

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(poll(&wanted, 1, 60000) == 1 && device_ended(device) ? 0 : 1);
	}
	return pid;
}

static void removed_while_recording(void)
{
	struct device device, second;
	pid_t waiting, last;
	int status = -1;
	char byte;

	device_open(&device);
	device.event = eventfd(0, EFD_CLOEXEC);
	device_setup(&device, 1 << 20, 0);
	device_map(&device);
	device_ask(&device, INTRO_DEVICE_START, 0);
	device_ask(&device, INTRO_DEVICE_TARGET, getpid());
	waiting = waiter(&device);
	make_events(20);
	last = fork();
	if (last == 0)
		_exit(0);
	waitpid(last, NULL, 0);
	is(module_unload(), 0, "the module is removed while a reader records");
	waitpid(waiting, &status, 0);
	is(status, 0, "one that waits is told");
	ok(device_ended(&device), "the rings say that it is over", 0);
	is(device_count(&device, INTRO_KIND_EXIT, last), 1, "and have all until then, to the last");
	is(device_ask(&device, INTRO_DEVICE_STOP, 0), -ENOTTY, "of the open file no call is left");
	is(read(device.fd, &byte, 1) < 0 ? -errno : 0, -EIO, "and nothing to read");
	is(device_open(&second), -ENOENT, "nor can it be opened");
	is(module_load(MODULE_PATH), 0, "the module is loaded again");
	is(device_open(&second), 0, "and open to the next reader, whatever the first one has open");
	is(device_ask(&device, INTRO_DEVICE_STOP, 0), -ENOTTY, "which stays without calls");
	device_close(&device);
	is(device_open(&device), -EBUSY, "and takes nothing away by closing");
	device_close(&second);
}

/* Whoever has the file open, for whatever. */
static void removed_otherwise(void)
{
	int removed = 0, rounds = 20;
	struct device device;

	device_open(&device);
	is(module_unload(), 0, "the module is removed while the file is open");
	device_close(&device);
	module_load(MODULE_PATH);
	device_open(&device);
	device_setup(&device, 0, INTRO_DEVICE_WHOLE_SYSTEM);
	is(module_unload(), 0, "and after setup");
	device_close(&device);
	for (int i = 0; i < rounds; i++) {
		struct timespec pause = {.tv_nsec = i * 1500000};
		pid_t pid;

		module_load(MODULE_PATH);
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;) {
				device_open(&device);
				device_setup(&device, 65536, INTRO_DEVICE_WHOLE_SYSTEM);
				device_ask(&device, INTRO_DEVICE_START, 0);
				device_ask(&device, INTRO_DEVICE_SNAPSHOT, INTRO_SNAPSHOT_END);
				device_close(&device);
			}
		}
		nanosleep(&pause, NULL);
		if (i % 2)
			kill(pid, SIGKILL); /* and its reader at that moment */
		removed += !module_unload();
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	is(removed, rounds, "and at any moment, whatever its reader does");
	is(module_load(MODULE_PATH), 0, "it is loaded again");
}

int main(void)
{
	sched_getaffinity(0, sizeof(everywhere), &everywhere);
	before_setup();
	arguments_of_setup();
	memory();
	recording();
	full_rings();
	placing();
	killed_readers();
	removed_while_recording();
	removed_otherwise();
	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}
