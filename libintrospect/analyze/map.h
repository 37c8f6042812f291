/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef ANALYZE_MAP_H
#define ANALYZE_MAP_H
/*
 * map.h - a hash map from numbers to pointers. Keys come from untrusted records, so the hash is
 * keyed with a random seed; nothing may depend on the order of the slots.
 */
#include <stddef.h>
#include <stdint.h>

struct intro__map_slot {
	uint64_t key;
	void *value; /* NULL: free */
};

struct intro__map {
	struct intro__map_slot *slots;
	size_t mask; /* slots - 1, slots a power of two; meaningless while slots is NULL */
	size_t used;
	uint64_t seed;
};

/* Zeroed memory is an empty map too, with a seed that is not random. */
void intro__map_init(struct intro__map *map);
void *intro__map_get(const struct intro__map *map, uint64_t key);
/* Sets or replaces; value is not NULL. 0 or -ENOMEM. */
int intro__map_set(struct intro__map *map, uint64_t key, void *value);
void intro__map_remove(struct intro__map *map, uint64_t key);
void intro__map_free(struct intro__map *map);

#endif
