// SPDX-License-Identifier: BSD-2-Clause
/* residency.c - see introspect/residency.h; and its form in META. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "trace/residency.h"

#define PAGE_BYTES_MAX (1ull << 40)
#define PAGES_MAX (1ull << 52)

static struct intro_residency *new_residency(const struct intro_topology *topology)
{
	struct intro_residency *residency = calloc(1, sizeof(*residency));

	if (!residency)
		return NULL;
	residency->nodes = (uint32_t)topology->nodes_n;
	residency->bytes = calloc(residency->nodes, sizeof(*residency->bytes));
	if (residency->bytes)
		return residency;
	free(residency);
	return NULL;
}

void intro_residency_free(struct intro_residency *residency)
{
	if (!residency)
		return;
	free(residency->mappings);
	free(residency->pages);
	free(residency->bytes);
	free(residency);
}

/* Room for one more mapping and its row. */
static bool grow(struct intro_residency *residency)
{
	size_t n = residency->mappings_n, room = n ? 2 * n : 16;
	struct intro_mapping *mappings;
	uint64_t *pages;

	if (n && (n < 16 || n & (n - 1)))
		return true;
	mappings = realloc(residency->mappings, room * sizeof(*mappings));
	if (!mappings)
		return false;
	residency->mappings = mappings;
	pages = realloc(residency->pages, room * residency->nodes * sizeof(*pages));
	if (!pages)
		return false;
	residency->pages = pages;
	return true;
}

/* A mapping with its pages by place: to the list while that has room, and to the sums. */
static int add(struct intro_residency *residency, const struct intro_mapping *mapping,
	       const uint64_t *pages)
{
	for (uint32_t i = 0; i < residency->nodes; i++)
		residency->bytes[i] += pages[i] * mapping->page_bytes;
	if (residency->mappings_n == INTRO_MAPPINGS_MAX) {
		residency->left_out++;
		return 0;
	}
	if (!grow(residency))
		return -ENOMEM;
	residency->mappings[residency->mappings_n] = *mapping;
	memcpy(residency->pages + residency->mappings_n * residency->nodes, pages,
	       residency->nodes * sizeof(*pages));
	residency->mappings_n++;
	return 0;
}

uint64_t intro_residency_bytes(const struct intro_residency *residency, size_t mapping)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < residency->nodes; i++)
		pages += intro_residency_pages(residency, mapping, i);
	return pages * residency->mappings[mapping].page_bytes;
}

struct rank {
	uint64_t bytes;
	size_t mapping;
};

static int most_first(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return x->mapping < y->mapping ? -1 : 1;
}

void intro_residency_keep(struct intro_residency *residency, size_t n)
{
	struct intro_residency kept = *residency;
	struct rank *ranks = calloc(residency->mappings_n + 1, sizeof(*ranks));

	kept.mappings = NULL;
	kept.pages = NULL;
	kept.mappings_n = 0;
	for (size_t i = 0; ranks && i < residency->mappings_n; i++)
		ranks[i] = (struct rank){intro_residency_bytes(residency, i), i};
	if (ranks)
		qsort(ranks, residency->mappings_n, sizeof(*ranks), most_first);
	for (size_t i = 0; ranks && i < n && i < residency->mappings_n; i++) {
		if (!grow(&kept))
			break;
		kept.mappings[i] = residency->mappings[ranks[i].mapping];
		memcpy(kept.pages + i * kept.nodes,
		       residency->pages + ranks[i].mapping * kept.nodes,
		       kept.nodes * sizeof(*kept.pages));
		kept.mappings_n++;
	}
	kept.left_out += residency->mappings_n - kept.mappings_n;
	free(ranks);
	free(residency->mappings);
	free(residency->pages);
	*residency = kept;
}

/* --- numa_maps ---------------------------------------------------------------------------------
 */

static void copy_word(char *to, size_t size, const char *word, size_t n)
{
	if (n >= size)
		n = size - 1;
	memcpy(to, word, n);
	to[n] = 0;
}

/* The end of a path says more than its begin. */
static void copy_path(char *to, size_t size, const char *word, size_t n)
{
	size_t skip = n >= size ? n - (size - 1) : 0;

	copy_word(to, size, word + skip, n - skip);
}

/* "N3=17": pages by node. */
static bool take_node(const char *word, const struct intro_topology *topology, uint64_t *pages,
		      uint64_t *other)
{
	unsigned long node;
	uint64_t n;
	char *end;
	int place;

	if (word[0] != 'N' || word[1] < '0' || word[1] > '9')
		return false;
	node = strtoul(word + 1, &end, 10);
	if (*end != '=' || end[1] < '0' || end[1] > '9')
		return false;
	n = strtoull(end + 1, NULL, 10);
	if (n > PAGES_MAX)
		return true;
	place = node <= UINT16_MAX ? intro_topology_place(topology, (uint32_t)node)
				   : INTRO_NODE_NONE;
	if (place >= 0)
		pages[place] += n;
	else
		*other += n;
	return true;
}

static void take_word(const char *word, size_t n, struct intro_mapping *mapping)
{
	static const char *const sorts[] = {"heap", "stack"};
	uint64_t kb;

	for (size_t i = 0; i < sizeof(sorts) / sizeof(sorts[0]); i++)
		if (n == strlen(sorts[i]) && !strncmp(word, sorts[i], n))
			copy_word(mapping->name, sizeof(mapping->name), word, n);
	if (n > 5 && !strncmp(word, "file=", 5))
		copy_path(mapping->name, sizeof(mapping->name), word + 5, n - 5);
	if (!strncmp(word, "kernelpagesize_kB=", 18)) {
		kb = strtoull(word + 18, NULL, 10);
		if (kb && kb < PAGE_BYTES_MAX / 1024)
			mapping->page_bytes = kb * 1024;
	}
}

/* 0, also for what is no line of numa_maps; -ENOMEM. */
static int take_line(struct intro_residency *residency, const char *line,
		     const struct intro_topology *topology)
{
	struct intro_mapping mapping = {.page_bytes = 4096, .name = "anonymous"};
	uint64_t pages[INTRO_NODES_MAX] = {0}, other = 0, any = 0;
	size_t n, words = 0;
	char *end;

	mapping.address = strtoull(line, &end, 16);
	if (end == line || *end != ' ')
		return 0;
	for (const char *word = end + 1; *word && *word != '\n'; word += n + (word[n] == ' ')) {
		n = strcspn(word, " \n");
		if (!words++)
			copy_word(mapping.policy, sizeof(mapping.policy), word, n);
		else if (!take_node(word, topology, pages, &other))
			take_word(word, n, &mapping);
	}
	for (uint32_t i = 0; i < residency->nodes; i++)
		any += pages[i];
	residency->other_bytes += other * mapping.page_bytes;
	return any ? add(residency, &mapping, pages) : 0;
}

struct intro_residency *intro_residency_parse(const char *text,
					      const struct intro_topology *topology)
{
	struct intro_residency *residency = new_residency(topology);

	while (residency && *text) {
		const char *end = strchr(text, '\n');

		if (take_line(residency, text, topology)) {
			intro_residency_free(residency);
			residency = NULL;
		}
		text = end ? end + 1 : text + strlen(text);
	}
	if (!residency)
		errno = ENOMEM;
	return residency;
}

/* --- META --------------------------------------------------------------------------------------
 */

struct json_object *intro__residency_to_meta(const struct intro_residency *residency)
{
	struct json_object *object = json_object_new_object(), *bytes = json_object_new_array(),
			   *mappings = json_object_new_array();

	json_object_object_add(object, "pid", json_object_new_int(residency->pid));
	json_object_object_add(object, "comm", json_object_new_string(residency->comm));
	for (uint32_t i = 0; i < residency->nodes; i++)
		json_object_array_add(bytes, json_object_new_uint64(residency->bytes[i]));
	json_object_object_add(object, "bytes", bytes);
	for (size_t i = 0; i < residency->mappings_n; i++) {
		const struct intro_mapping *mapping = &residency->mappings[i];
		struct json_object *one = json_object_new_object(),
				   *pages = json_object_new_array();

		json_object_object_add(one, "address", json_object_new_uint64(mapping->address));
		json_object_object_add(one, "name", json_object_new_string(mapping->name));
		json_object_object_add(one, "policy", json_object_new_string(mapping->policy));
		json_object_object_add(one, "page_bytes",
				       json_object_new_uint64(mapping->page_bytes));
		for (uint32_t k = 0; k < residency->nodes; k++)
			json_object_array_add(pages, json_object_new_uint64(intro_residency_pages(
							     residency, i, k)));
		json_object_object_add(one, "pages", pages);
		json_object_array_add(mappings, one);
	}
	json_object_object_add(object, "mappings", mappings);
	json_object_object_add(object, "left_out", json_object_new_uint64(residency->left_out));
	return object;
}

static struct json_object *member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}

static uint64_t number(struct json_object *value, uint64_t max)
{
	uint64_t n = json_object_is_type(value, json_type_int) && json_object_get_int64(value) > 0
			     ? json_object_get_uint64(value)
			     : 0;

	return n <= max ? n : 0;
}

static size_t elements(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static void read_row(struct json_object *array, uint64_t max, uint32_t nodes, uint64_t *row)
{
	for (size_t i = 0; i < nodes; i++)
		row[i] = i < elements(array) ? number(json_object_array_get_idx(array, i), max) : 0;
}

static void read_text(struct json_object *value, char *to, size_t size)
{
	if (json_object_is_type(value, json_type_string))
		copy_word(to, size, json_object_get_string(value),
			  strlen(json_object_get_string(value)));
}

static struct intro_residency *read_one(struct json_object *object,
					const struct intro_topology *topology)
{
	struct intro_residency *residency = new_residency(topology);
	struct json_object *mappings = member(object, "mappings");
	uint64_t row[INTRO_NODES_MAX];
	int error = 0;

	if (!residency)
		return NULL;
	residency->pid = (pid_t)number(member(object, "pid"), INT32_MAX);
	for (size_t i = 0; !error && i < elements(mappings) && i < INTRO_MAPPINGS_MAX; i++) {
		struct json_object *one = json_object_array_get_idx(mappings, i);
		struct intro_mapping mapping = {
			.address = number(member(one, "address"), UINT64_MAX),
			.page_bytes = number(member(one, "page_bytes"), PAGE_BYTES_MAX),
		};

		read_text(member(one, "name"), mapping.name, sizeof(mapping.name));
		read_text(member(one, "policy"), mapping.policy, sizeof(mapping.policy));
		read_row(member(one, "pages"), PAGES_MAX, residency->nodes, row);
		error = add(residency, &mapping, row);
	}
	/* the sums are of all mappings, the list may be of the largest */
	read_text(member(object, "comm"), residency->comm, sizeof(residency->comm));
	read_row(member(object, "bytes"), PAGES_MAX, residency->nodes, residency->bytes);
	residency->left_out = number(member(object, "left_out"), UINT32_MAX);
	if (!error)
		return residency;
	intro_residency_free(residency);
	return NULL;
}

int intro__residencies_of_meta(const char *json, const struct intro_topology *topology,
			       struct intro_residency ***residencies, size_t *n)
{
	struct json_object *root = json_tokener_parse(json), *array = member(root, "residency");
	int error = 0;

	*n = 0;
	*residencies = calloc(INTRO__RESIDENCIES_MAX, sizeof(**residencies));
	if (!*residencies)
		error = -ENOMEM;
	for (size_t i = 0; !error && i < elements(array) && i < INTRO__RESIDENCIES_MAX; i++) {
		struct intro_residency *one =
			read_one(json_object_array_get_idx(array, i), topology);

		if (one)
			(*residencies)[(*n)++] = one;
		else
			error = -ENOMEM;
	}
	json_object_put(root);
	return error;
}
