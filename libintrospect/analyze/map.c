// SPDX-License-Identifier: BSD-2-Clause
/* map.c - open addressing with linear probing; removal shifts back, so there are no tombstones. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "analyze/map.h"

#define MAP_FIRST_SLOTS 64

static size_t slot_of(const struct intro__map *map, uint64_t key)
{
	uint64_t h = key ^ map->seed;

	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdull;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ull;
	h ^= h >> 33;
	return (size_t)h & map->mask;
}

void intro__map_init(struct intro__map *map)
{
	memset(map, 0, sizeof(*map));
	/* without randomness the map still works */
	if (getrandom(&map->seed, sizeof(map->seed), GRND_NONBLOCK) < 0)
		map->seed = 0;
}

void *intro__map_get(const struct intro__map *map, uint64_t key)
{
	if (!map->slots)
		return NULL;
	for (size_t i = slot_of(map, key); map->slots[i].value; i = (i + 1) & map->mask)
		if (map->slots[i].key == key)
			return map->slots[i].value;
	return NULL;
}

static void place(struct intro__map *map, uint64_t key, void *value)
{
	size_t i = slot_of(map, key);

	while (map->slots[i].value && map->slots[i].key != key)
		i = (i + 1) & map->mask;
	if (!map->slots[i].value)
		map->used++;
	map->slots[i] = (struct intro__map_slot){.key = key, .value = value};
}

static int grow(struct intro__map *map)
{
	struct intro__map old = *map;
	size_t slots = old.slots ? (old.mask + 1) * 2 : MAP_FIRST_SLOTS;

	map->slots = calloc(slots, sizeof(*map->slots));
	if (!map->slots) {
		*map = old;
		return -ENOMEM;
	}
	map->mask = slots - 1;
	map->used = 0;
	for (size_t i = 0; old.slots && i <= old.mask; i++)
		if (old.slots[i].value)
			place(map, old.slots[i].key, old.slots[i].value);
	free(old.slots);
	return 0;
}

int intro__map_set(struct intro__map *map, uint64_t key, void *value)
{
	if (!map->slots || (map->used + 1) * 2 > map->mask + 1) {
		int err = grow(map);

		if (err)
			return err;
	}
	place(map, key, value);
	return 0;
}

void intro__map_remove(struct intro__map *map, uint64_t key)
{
	size_t hole, i;

	if (!map->slots)
		return;
	for (hole = slot_of(map, key); map->slots[hole].value; hole = (hole + 1) & map->mask)
		if (map->slots[hole].key == key)
			break;
	if (!map->slots[hole].value)
		return;
	map->used--;
	for (i = (hole + 1) & map->mask; map->slots[i].value; i = (i + 1) & map->mask) {
		size_t home = slot_of(map, map->slots[i].key);

		/* it may move into the hole unless its home lies between the hole and it */
		if (((i - home) & map->mask) < ((i - hole) & map->mask))
			continue;
		map->slots[hole] = map->slots[i];
		hole = i;
	}
	map->slots[hole] = (struct intro__map_slot){0};
}

void intro__map_free(struct intro__map *map)
{
	free(map->slots);
	memset(map, 0, sizeof(*map));
}
