/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef ANALYZE_META_H
#define ANALYZE_META_H
/* meta.h - what a trace says about itself, out of its JSON. */
#include <stdbool.h>

#include <introspect/report.h>

struct intro__meta {
	char *source, *kernel, *command, *cut; /* the caller's to free; "" when not said */
	unsigned cpus, nodes;
	double tracer_cpu_s; /* below 0: not said */
	uint64_t start_ns, end_ns, lost;
};

/* 0 or -ENOMEM. JSON that is not an object, or members of wrong types, count as not said. */
int intro__meta_read(const char *json, struct intro__meta *meta);

#endif
