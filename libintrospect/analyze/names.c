// SPDX-License-Identifier: BSD-2-Clause
/* names.c - the names that a trace defines, by number. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

void intro__define_name(struct intro_replay *replay, const struct intro_rec_def *def)
{
	char *name;

	if (intro__map_get(&replay->names, def->id))
		return; /* names never change */
	if (replay->names_n >= NAMES_MAX) {
		intro__strange(replay);
		return;
	}
	name = strndup(def->name, INTRO_DEF_BYTES - 1);
	if (!name || intro__map_set(&replay->names, def->id, name)) {
		replay->error = -ENOMEM;
		free(name);
		return;
	}
	replay->names_n++;
}

const char *intro__name(struct intro_replay *replay, uint32_t id)
{
	const char *name = id ? intro__map_get(&replay->names, id) : NULL;

	return name ? name : "";
}

void intro__names_free(struct intro_replay *replay)
{
	struct intro__map *map = &replay->names;

	for (size_t i = 0; map->slots && i <= map->mask; i++)
		free(map->slots[i].value);
	intro__map_free(map);
}
