// SPDX-License-Identifier: BSD-2-Clause
/*
 * fuzz_device SECONDS [SEED]: random calls and arguments, random bytes in all that can be mapped,
 * random deaths, random removals of the module. The kernel's log says how it was.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "device_support.h"

#define LIFE_MS 200 /* of one reader, at most */
#define TOUCHED (512 << 10)

static struct device shared; /* of the two threads of a reader */

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Small, a power of two, a pointer, or anything. */
static uint64_t number(uint64_t *state)
{
	static uint64_t somewhere[8];

	switch (next(state) % 6) {
	case 0:
		return next(state) % 8;
	case 1:
		return 1ull << next(state) % 64;
	case 2:
		return (uintptr_t)somewhere;
	case 3:
		return -(next(state) % 4096);
	case 4:
		return next(state) % (1 << 22);
	}
	return next(state);
}

/* Writes to the rings as long as the process lives. */
static void *scribble(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	for (;;) {
		uint8_t *rings = __atomic_load_n(&shared.rings, __ATOMIC_ACQUIRE);
		uint64_t cpu = next(&state) % shared.setup.cpus, where = next(&state);

		/* mostly the head of a ring, which the kernel reads */
		where = where % 8 ? where / 8 % sizeof(struct intro_ring)
				  : where / 8 % shared.setup.stride;
		rings[cpu * shared.setup.stride + where] = next(&state);
		if (next(&state) % 64 == 0)
			device_ring(&shared, cpu)->tail = number(&state);
		if (next(&state) % 4096 == 0)
			sched_yield();
	}
	return NULL;
}

static void touch_pages(void)
{
	void *memory =
		mmap(NULL, TOUCHED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return;
	memset(memory, 1, TOUCHED);
	munmap(memory, TOUCHED);
}

static void some_call(uint64_t *state)
{
	struct intro_device_setup setup = {number(state), number(state), number(state),
					   number(state), number(state), number(state),
					   number(state), number(state)};
	struct pollfd wanted[] = {{.fd = shared.fd, .events = POLLIN},
				  {.fd = shared.event, .events = POLLIN}};
	char bytes[512];
	void *memory;

	switch (next(state) % 10) {
	case 0:
		device_ask(&shared, next(state), number(state));
		break;
	case 1:
		device_ask(&shared,
			   _IOC(next(state) % 4, INTRO_DEVICE_TYPE, next(state) % 10,
				next(state) % 64),
			   number(state));
		break;
	case 2:
		if (next(state) % 2)
			setup.abi = INTRO_DEVICE_ABI;
		device_ask(&shared, INTRO_DEVICE_SETUP, (unsigned long)&setup);
		break;
	case 3:
		device_ask(&shared, next(state) % 2 ? INTRO_DEVICE_START : INTRO_DEVICE_STOP, 0);
		break;
	case 4:
		device_ask(&shared, INTRO_DEVICE_SNAPSHOT, next(state) % 4);
		if (read(shared.fd, bytes, next(state) % sizeof(bytes)) < 0)
			read(shared.fd, (void *)number(state), number(state));
		break;
	case 5:
		poll(wanted, 2, next(state) % 3);
		break;
	case 6:
		memory = mmap(NULL, number(state) % (1 << 20), next(state) % 8,
			      next(state) % 2 ? MAP_SHARED : MAP_PRIVATE,
			      next(state) % 4 ? shared.setup.memory : shared.fd,
			      number(state) & ~4095ull);
		if (memory != MAP_FAILED)
			munmap(memory, 4096);
		break;
	case 7:
		device_ask(&shared, INTRO_DEVICE_TARGET,
			   next(state) % 2 ? (uint64_t)getppid() : number(state));
		break;
	case 8:
		touch_pages();
		break;
	case 9: /* who cuts off what it writes to dies of it */
		if (next(state) % 64 == 0)
			ftruncate(shared.setup.memory, number(state) & ~4095ull);
		else if (next(state) % 8 == 0)
			fallocate(shared.setup.memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  number(state), number(state));
	}
}

static void reader(uint64_t seed)
{
	uint64_t state = seed;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (device_open(&shared))
		_exit(0);
	shared.event = next(&state) % 2 ? eventfd(0, EFD_CLOEXEC) : -1;
	if (next(&state) % 4) {
		if (device_setup(&shared, 4096ull << next(&state) % 8, next(&state) % 4))
			_exit(0);
		if (!device_map(&shared))
			pthread_create(&thread, NULL, scribble, (void *)(uintptr_t)(state | 1));
		device_ask(&shared, INTRO_DEVICE_START, 0);
	}
	for (;;)
		some_call(&state);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL) << 20 | 1;
	uint64_t state = seed | 1;
	long readers = 0, removals = 0, refused = 0;
	time_t end;

	if (argc < 2)
		return 2;
	printf("# seed %#llx\n", (unsigned long long)seed);
	fflush(stdout);
	for (end = time(NULL) + atoi(argv[1]); time(NULL) < end; readers++) {
		uint64_t ms = 1 + next(&state) % LIFE_MS;
		pid_t pid = fork();

		if (pid == 0)
			reader(next(&state) ^ ms);
		usleep(ms * 1000);
		if (next(&state) % 4 == 0) {
			removals++;
			refused += module_unload() || module_load(MODULE_PATH);
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	printf("%s 1 - the module is removed under each of %ld of them\n",
	       refused || !removals ? "not ok" : "ok", removals);
	printf("%s 2 - and is there for the next after %ld readers that did anything\n1..2\n",
	       device_open(&shared) ? "not ok" : "ok", readers);
	device_close(&shared);
	return 0;
}
