// SPDX-License-Identifier: BSD-2-Clause
/* device.c - the module is loaded: what the device grants, what it refuses, and what it survives.
 */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "device_support.h"

static int tests, failures;

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

static void before_setup(void)
{
	struct intro_device_version version = {};
	struct device device, second;
	struct stat stat_of;

	is(stat(INTRO_DEVICE_PATH, &stat_of) ? -errno : (long)(stat_of.st_mode & 07777), 0600,
	   "the device is root's alone");
	is(device_open(&device), 0, "it opens");
	is(device_open(&second), -EBUSY, "not for a second reader");
	is(device_ask(&device, INTRO_DEVICE_VERSION, (unsigned long)&version), 0, "version");
	is(version.abi, INTRO_ABI_VERSION, "of this ABI");
	is(version.missing, 0, "this kernel has all tracepoints");
	is(device_ask(&device, INTRO_DEVICE_VERSION, 0), -EFAULT, "version to nowhere");
	is(device_ask(&device, INTRO_DEVICE_START, 0), -ENODATA, "start before setup");
	is(device_ask(&device, INTRO_DEVICE_STOP, 0), -ENODATA, "stop before setup");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 1), -ENODATA, "target before setup");
	is(device_ask(&device, INTRO_DEVICE_SNAPSHOT, INTRO_SNAPSHOT_BEGIN), -ENODATA,
	   "snapshot before setup");
	device.setup.stride = 4096;
	device.setup.cpus = 1;
	is(device_map(&device), -ENODATA, "mmap before setup");
	device_close(&device);
}

static void arguments_of_setup(void)
{
	struct intro_device_setup bad[] = {
		{.abi = INTRO_ABI_VERSION, .flags = 2},
		{.abi = INTRO_ABI_VERSION, .flags = ~0u},
		{.abi = INTRO_ABI_VERSION, .ring_bytes = 2048},
		{.abi = INTRO_ABI_VERSION, .ring_bytes = 12288},
		{.abi = INTRO_ABI_VERSION, .ring_bytes = 1ull << 63},
		{.abi = INTRO_ABI_VERSION, .ring_bytes = ~0ull},
		{.abi = INTRO_ABI_VERSION, .reserved = 1},
	};
	struct intro_device_setup other = {.abi = INTRO_ABI_VERSION + 1};
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
	is(device_setup(&device, 0, false), 0, "setup with the default size");
	is(device.setup.cpus, sysconf(_SC_NPROCESSORS_CONF), "a ring for each CPU");
	is(device_setup(&device, 0, false), -EBUSY, "setup a second time");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 0), -EINVAL, "target 0");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 1 << 22), -EINVAL, "target beyond all tids");
	is(device_ask(&device, INTRO_DEVICE_TARGET, -1ul), -EINVAL, "target -1");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 5), 0, "a target");
	is(device_ask(&device, INTRO_DEVICE_TARGET, 5), 1, "it already is one");
	is(device_ask(&device, INTRO_DEVICE_SNAPSHOT, 0), -EINVAL, "a snapshot of no time");
	is(device_ask(&device, _IO(INTRO_DEVICE_TYPE, 99), 0), -ENOTTY, "no such call");
	device_close(&device);
}

static void mappings(void)
{
	struct device device;
	void *memory;
	size_t bytes;

	device_open(&device);
	device_setup(&device, 4096, false);
	bytes = device_bytes(&device);
	memory = mmap(NULL, bytes + 4096, PROT_READ, MAP_SHARED, device.fd, 0);
	ok(memory == MAP_FAILED && errno == EINVAL, "no mapping beyond the rings", errno);
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, device.fd, bytes);
	ok(memory == MAP_FAILED && errno == EINVAL, "nor behind them", errno);
	memory = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, device.fd, 0);
	ok(memory == MAP_FAILED && errno == EINVAL, "no private mapping", errno);
	memory = mmap(NULL, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, device.fd, 0);
	ok(memory == MAP_FAILED && errno == EINVAL, "none to execute", errno);
	is(device_map(&device), 0, "the rings are mapped");
	is(mprotect(device.rings, bytes, PROT_READ | PROT_EXEC) ? -errno : 0, -EACCES,
	   "and stay unexecutable");
	close(device.fd);
	is(device_open(&(struct device){}), -EBUSY, "a mapping alone keeps the device");
	is(module_unload(), -EAGAIN, "and the module");
	ok(device_ring(&device, 0)->head == 0, "and its memory", 0);
	device.fd = -1;
	device_close(&device);
	is(device_open(&device), 0, "and its end frees the device");
	is(module_unload(), -EAGAIN, "the module stays while the device is open");
	device_close(&device);
}

static void recording(void)
{
	struct pollfd wanted = {.events = POLLIN};
	uint64_t bytes, lost, in_rings = 0;
	struct device device;
	char row[128];

	device_open(&device);
	device_setup(&device, 1 << 20, false);
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
	wanted.fd = device.fd;
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
	device_setup(&device, 4096, true);
	device_map(&device);
	device_ask(&device, INTRO_DEVICE_START, 0);
	make_events(100);
	wanted.fd = device.fd;
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

/* A reader that is killed at some moment of its life leaves the device free for the next. */
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
			if (device_open(&device) || device_setup(&device, 1 << 18, true) ||
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
	is(opened, rounds, "whenever its reader is killed, the device is free again");
}

int main(void)
{
	before_setup();
	arguments_of_setup();
	mappings();
	recording();
	full_rings();
	killed_readers();
	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}
