/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes that follow from a seed, and the way in and out of a descriptor. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "workload.h"

void bytes_fill(unsigned char *data, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t x = workload_random(&seed);

		memcpy(data + i, &x, 8);
	}
}

uint64_t bytes_sum(const unsigned char *data, size_t bytes)
{
	uint64_t sum = bytes;

	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t x;

		memcpy(&x, data + i, 8);
		sum = sum * 31 + x;
	}
	return sum;
}

bool bytes_write(int fd, const void *data, size_t bytes)
{
	const char *p = data;

	while (bytes) {
		ssize_t n = write(fd, p, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		bytes -= (size_t)n;
	}
	return true;
}

size_t bytes_read(int fd, void *data, size_t bytes)
{
	size_t got = 0;

	while (got < bytes) {
		ssize_t n = read(fd, (char *)data + got, bytes - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	return got;
}
