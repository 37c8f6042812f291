/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_RENDER_NUMA_H
#define CLI_RENDER_NUMA_H
/* render_numa.h - placement: `introspect numa`, and "numa" in the JSON of others. */
#include "render.h"

void render_numa(const struct render *render, const struct intro_report *report, bool all);
/* The first `top` mappings. */
void render_residency(const struct render *render, const struct intro_residency *residency,
		      const struct intro_topology *topology, size_t top);
/* `introspect.numa/1`: 0 or -ENOMEM. */
int render_json_numa(FILE *out, const struct intro_report *report);
int render_json_residency(FILE *out, const struct intro_residency *residency,
			  const struct intro_topology *topology);

struct json_object;
struct json_object *json_placement(const struct intro_placement *placement);
struct json_object *json_numa(const struct intro_report *report);

#endif
