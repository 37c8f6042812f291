/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_REASON_H
#define INTROSPECT_COLLECT_REASON_H
/*
 * reason.h - one line that says what failed and what to do about it, filled in by whoever knows.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct intro__reason {
	char text[256];
};

/* Returns -error, so that "return intro__fail(why, EPERM, ...)" reads as one step. */
__attribute__((format(printf, 3, 4))) static inline int
intro__fail(struct intro__reason *why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return -error;
}

#endif
