// SPDX-License-Identifier: BSD-2-Clause
/* meta.c - see meta.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "analyze/meta.h"

static struct json_object *member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}

static char *text(struct json_object *object, const char *key)
{
	struct json_object *value = member(object, key);

	return strdup(json_object_is_type(value, json_type_string) ? json_object_get_string(value)
								   : "");
}

static uint64_t number(struct json_object *value)
{
	int64_t n = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : 0;

	return n > 0 ? (uint64_t)n : 0;
}

static unsigned small_number(struct json_object *value)
{
	uint64_t n = number(value);

	return n < 1u << 20 ? (unsigned)n : 0;
}

/* argv in one line. */
static char *join(struct json_object *argv)
{
	size_t n = json_object_is_type(argv, json_type_array) ? json_object_array_length(argv) : 0;
	size_t size = 1;
	char *line, *at;

	for (size_t i = 0; i < n; i++)
		size += (size_t)json_object_get_string_len(json_object_array_get_idx(argv, i)) + 1;
	at = line = calloc(1, size);
	for (size_t i = 0; line && i < n; i++) {
		struct json_object *arg = json_object_array_get_idx(argv, i);

		if (!json_object_is_type(arg, json_type_string))
			continue;
		if (at != line)
			*at++ = ' ';
		at = stpcpy(at, json_object_get_string(arg));
	}
	return line;
}

static uint64_t lost_sum(struct json_object *lost)
{
	struct json_object *cpus = member(lost, "cpu");
	uint64_t sum = number(member(lost, "marks"));

	if (json_object_is_type(cpus, json_type_array))
		for (size_t i = 0; i < json_object_array_length(cpus); i++)
			sum += number(json_object_array_get_idx(cpus, i));
	return sum;
}

int intro__meta_read(const char *json, struct intro__meta *meta)
{
	struct json_object *root = json_tokener_parse(json);
	struct json_object *cpu_ns = member(member(root, "tracer"), "cpu_ns");

	*meta = (struct intro__meta){
		.source = text(root, "source"),
		.kernel = text(root, "kernel"),
		.command = join(member(root, "command")),
		.cut = text(root, "cut"),
		.cpus = small_number(member(root, "cpus")),
		.nodes = small_number(member(root, "nodes")),
		.start_ns = number(member(root, "start_ns")),
		.end_ns = number(member(root, "end_ns")),
		.lost = lost_sum(member(root, "lost")),
		.tracer_cpu_s = cpu_ns ? (double)number(cpu_ns) / 1e9 : -1,
	};
	json_object_put(root);
	if (!meta->source || !meta->kernel || !meta->command || !meta->cut)
		return -ENOMEM;
	return 0;
}
