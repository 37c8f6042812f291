// SPDX-License-Identifier: BSD-2-Clause
/*
 * cycles MODULE N: loads the module, records the whole system, unloads it, N times, while processes
 * are born and die: each second time under a reader, who waits for its rings to fill. Then the
 * kernel has as much memory as before.
 */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "device_support.h"

/* So many cycles until what the kernel caches for ever is cached. */
#define WARM_UP 5
#define STORMS 1
/* The storm itself and the kernel's caches account for as much; a cycle has 13 MB of its own. */
#define GROWTH_MOST_KB 1024
#define SETTLE_TRIES 20

static void storm(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

/* KB by /proc/meminfo. */
static long memory_of(const char *what)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];
	long kb = -1;
	size_t n = strlen(what);

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, what, n) && line[n] == ':')
			kb = strtol(line + n + 1, NULL, 10);
	if (file)
		fclose(file);
	return kb;
}

static void drop_caches(void)
{
	FILE *file = fopen("/proc/sys/vm/drop_caches", "we");

	if (file) {
		fputs("3", file);
		fclose(file);
	}
}

static int start(struct device *device, int i)
{
	int error = device_open(device);

	device->event = eventfd(0, EFD_CLOEXEC);
	if (!error)
		error = device_setup(device, 1 << 20, i / 2 % 4);
	if (!error)
		error = device_map(device);
	if (!error)
		error = device_ask(device, INTRO_DEVICE_TARGET, getppid());
	return error ? error : device_ask(device, INTRO_DEVICE_START, 0);
}

/* The reader ends its recording, by a call or by closing, and then the module is removed. */
static int in_turn(struct device *device, int i)
{
	int error = device_ask(device, INTRO_DEVICE_SNAPSHOT, INTRO_SNAPSHOT_END);

	if (!error && i % 3)
		error = device_ask(device, INTRO_DEVICE_STOP, 0);
	device_close(device);
	return error ? error : module_unload();
}

/*
 * The module is removed while the reader records, which then finds all that was recorded; each
 * fourth reader is killed at about that moment.
 */
static int under_a_reader(struct device *device, int i)
{
	bool killed = i % 8 == 1;
	pid_t pid = fork();
	int status, error;

	if (pid == 0) {
		struct pollfd wanted = {.fd = device->event, .events = POLLIN};
		uint64_t told;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!device_ended(device) && poll(&wanted, 1, -1) == 1)
			if (read(device->event, &told, sizeof(told)) < 0)
				_exit(1);
		_exit(device_count(device, INTRO_KIND_SWITCH, 0) < 0);
	}
	if (killed) {
		/* the last who has it open: released as the module goes */
		device_close(device);
		kill(pid, SIGKILL);
	}
	error = module_unload();
	if (waitpid(pid, &status, 0) == pid && status && !killed)
		error = error ? error : -EPROTO;
	device_close(device);
	return error;
}

static int cycle(const char *module, int i)
{
	struct timespec pause = {.tv_nsec = (i % 10) * 1000000};
	struct device device;
	int error = module_load(module);

	if (error)
		return error;
	error = start(&device, i);
	nanosleep(&pause, NULL);
	if (error) {
		device_close(&device);
		return error;
	}
	return i % 2 ? under_a_reader(&device, i) : in_turn(&device, i);
}

struct memory {
	long slab, unreclaimable, vmalloc;
};

/* What is freed after a grace period is waited for. */
static struct memory measure(const struct memory *before)
{
	struct memory now;

	for (int i = 0; i < SETTLE_TRIES; i++) {
		drop_caches();
		usleep(200000);
		now = (struct memory){memory_of("Slab"), memory_of("SUnreclaim"),
				      memory_of("VmallocUsed")};
		if (before && now.unreclaimable <= before->unreclaimable &&
		    now.vmalloc <= before->vmalloc)
			break;
	}
	return now;
}

int main(int argc, char **argv)
{
	int n = argc == 3 ? atoi(argv[2]) : 0, done = 0, error = 0;
	struct memory before = {}, after;
	pid_t storms[STORMS];

	if (n <= 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	module_unload();
	for (int i = 0; i < STORMS; i++) {
		storms[i] = fork();
		if (storms[i] == 0)
			storm();
	}
	for (int i = 0; i < WARM_UP && !error; i++)
		error = cycle(argv[1], i);
	before = measure(NULL);
	for (; done < n && !error; done++) {
		error = cycle(argv[1], done);
		if (done % 100 == 99)
			printf("# %d cycles: KB slab %ld, unreclaimable %ld, vmalloc %ld\n",
			       done + 1, memory_of("Slab"), memory_of("SUnreclaim"),
			       memory_of("VmallocUsed"));
	}
	after = measure(&before);
	for (int i = 0; i < STORMS; i++)
		kill(storms[i], SIGKILL);
	printf("%s 1 - %d times loaded, used and unloaded in a storm of forks, %d times under a "
	       "reader\n",
	       error ? "not ok" : "ok", done, done / 2);
	if (error)
		printf("# %s\n", strerror(-error));
	printf("# figure KB before and after %d cycles: slab %ld %ld, of it unreclaimable %ld %ld, "
	       "vmalloc %ld %ld\n",
	       done, before.slab, after.slab, before.unreclaimable, after.unreclaimable,
	       before.vmalloc, after.vmalloc);
	printf("%s 2 - and no memory is gone\n1..2\n",
	       after.unreclaimable - before.unreclaimable <= GROWTH_MOST_KB &&
			       after.vmalloc - before.vmalloc <= GROWTH_MOST_KB
		       ? "ok"
		       : "not ok");
	return 0;
}
