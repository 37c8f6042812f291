/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_SUPPORT_H
#define DEVICE_SUPPORT_H
/* device_support.h - talking to /dev/introspect without the library. */
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
	struct intro_device_setup setup;
	uint8_t *rings; /* NULL: not mapped */
};

/* 0 or -errno. */
static inline int device_open(struct device *device)
{
	*device = (struct device){.fd = open(INTRO_DEVICE_PATH, O_RDWR | O_CLOEXEC)};
	return device->fd < 0 ? -errno : 0;
}

static inline int device_ask(const struct device *device, unsigned long request,
			     unsigned long argument)
{
	int result = ioctl(device->fd, request, argument);

	return result < 0 ? -errno : result;
}

static inline int device_setup(struct device *device, uint64_t ring_bytes, bool whole_system)
{
	device->setup = (struct intro_device_setup){
		.abi = INTRO_ABI_VERSION,
		.flags = whole_system ? INTRO_DEVICE_WHOLE_SYSTEM : 0,
		.ring_bytes = ring_bytes,
	};
	return device_ask(device, INTRO_DEVICE_SETUP, (unsigned long)&device->setup);
}

static inline size_t device_bytes(const struct device *device)
{
	return device->setup.stride * device->setup.cpus;
}

static inline int device_map(struct device *device)
{
	void *memory =
		mmap(NULL, device_bytes(device), PROT_READ | PROT_WRITE, MAP_SHARED, device->fd, 0);

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
	if (device->fd >= 0)
		close(device->fd);
	device->fd = -1;
}

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
