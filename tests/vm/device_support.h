/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_SUPPORT_H
#define DEVICE_SUPPORT_H
/* device_support.h - talking to /proc/introspect without the library. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <introspect/device.h>

struct device {
	int fd;
	int event; /* an eventfd, or -1 */
	struct intro_device_setup setup;
	uint8_t *rings; /* NULL: not mapped */
};

/* 0 or -errno. */
static inline int device_open(struct device *device)
{
	*device = (struct device){
		.fd = open(INTRO_DEVICE_PATH, O_RDWR | O_CLOEXEC),
		.event = -1,
		.setup.memory = -1,
	};
	return device->fd < 0 ? -errno : 0;
}

static inline int device_ask(const struct device *device, unsigned long request,
			     unsigned long argument)
{
	int result = ioctl(device->fd, request, argument);

	return result < 0 ? -errno : result;
}

static inline int device_setup(struct device *device, uint64_t ring_bytes, uint32_t flags)
{
	struct intro_device_setup setup = {
		.abi = INTRO_DEVICE_ABI,
		.flags = flags,
		.ring_bytes = ring_bytes,
		.event = device->event,
	};
	int error = device_ask(device, INTRO_DEVICE_SETUP, (unsigned long)&setup);

	if (!error)
		device->setup = setup;
	return error;
}

static inline size_t device_bytes(const struct device *device)
{
	return device->setup.stride * device->setup.cpus;
}

static inline int device_map(struct device *device)
{
	void *memory = mmap(NULL, device_bytes(device), PROT_READ | PROT_WRITE, MAP_SHARED,
			    device->setup.memory, 0);

	if (memory == MAP_FAILED)
		return -errno;
	device->rings = memory;
	return 0;
}

static inline struct intro_ring *device_ring(const struct device *device, uint32_t cpu)
{
	return (struct intro_ring *)(device->rings + cpu * device->setup.stride);
}

static inline void device_unmap(struct device *device)
{
	if (device->rings)
		munmap(device->rings, device_bytes(device));
	device->rings = NULL;
}

static inline void device_close(struct device *device)
{
	device_unmap(device);
	if (device->setup.memory >= 0)
		close(device->setup.memory);
	if (device->event >= 0)
		close(device->event);
	if (device->fd >= 0)
		close(device->fd);
	*device = (struct device){.fd = -1, .event = -1, .setup.memory = -1};
}

/* When the module took leave; 0: it is there. */
static inline uint64_t device_ended(const struct device *device)
{
	uint64_t least = UINT64_MAX;

	for (uint32_t cpu = 0; cpu < device->setup.cpus; cpu++) {
		uint64_t ended =
			__atomic_load_n(&device_ring(device, cpu)->ended, __ATOMIC_ACQUIRE);

		least = ended < least ? ended : least;
	}
	return least;
}

/*
 * Walks all that is in the rings, of which nothing was read yet and no record was lost. How many
 * records of `kind` and `tid` (0: of anybody) there are; -1 when something makes no sense.
 */
static inline long device_count(const struct device *device, uint8_t kind, uint32_t tid)
{
	long n = 0;

	for (uint32_t cpu = 0; cpu < device->setup.cpus; cpu++) {
		const struct intro_ring *ring = device_ring(device, cpu);
		uint64_t at = 0, head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
		const struct intro_rec *rec;

		for (; at < head; at += rec->rows * INTRO_ROW_BYTES) {
			rec = (const struct intro_rec *)((const uint8_t *)(ring + 1) + at);
			if (!rec->rows || rec->rows > INTRO_ROWS_MAX || rec->cpu != cpu ||
			    (ring->ended && rec->ts > ring->ended))
				return -1;
			n += rec->kind == kind && (!tid || rec->tid == tid);
		}
		if (at != head || head > device->setup.ring_bytes)
			return -1;
	}
	return n;
}

#define MODULE_PATH getenv("VM_MODULE") /* guest/with-module.sh */

static inline int module_unload(void)
{
	return syscall(SYS_delete_module, "introspect", O_NONBLOCK) ? -errno : 0;
}

static inline int module_load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int result = fd < 0 || syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return result;
}

#endif
