/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TRACE_RESIDENCY_H
#define TRACE_RESIDENCY_H
/* residency.h - residencies as members of META. */
#include <introspect/residency.h>

#define INTRO__RESIDENCIES_MAX 64

struct json_object;

struct json_object *intro__residency_to_meta(const struct intro_residency *residency);
/* The "residency" of META; up to INTRO__RESIDENCIES_MAX. 0 or -ENOMEM. Distrusts it. */
int intro__residencies_of_meta(const char *json, const struct intro_topology *topology,
			       struct intro_residency ***residencies, size_t *n);

#endif
