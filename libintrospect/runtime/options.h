/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_OPTIONS_H
#define INTRO_RUNTIME_OPTIONS_H
/* options.h - option structs whose first member is their size, from older and newer callers. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * What the caller gave, with zeroes for members that it does not know of. -EINVAL without a size;
 * -E2BIG when it asks for something that this library does not know of.
 */
static inline int intro__options_take(void *options, size_t size, const void *given)
{
	const unsigned char *bytes = given;
	size_t have;

	if (!given)
		return -EINVAL;
	memcpy(&have, given, sizeof(have));
	if (have < sizeof(have))
		return -EINVAL;
	for (size_t i = size; i < have; i++)
		if (bytes[i])
			return -E2BIG;
	memset(options, 0, size);
	memcpy(options, given, have < size ? have : size);
	return 0;
}

#endif
