// SPDX-License-Identifier: BSD-2-Clause
/* locks.c - which lock an address is, as its program said. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

#define LOCKS_MAX 65536

void intro__define_lock(struct intro_replay *replay, const struct intro_rec_def *def)
{
	uint64_t address = (uint64_t)def->address_high << 32 | def->workers;
	struct named_lock *first = intro__map_get(&replay->locks, address), *lock = first;

	while (lock && lock->pid != def->rec.tid)
		lock = lock->next;
	if (lock) {
		/* memory was used again: who sleeps on which of the two is not known */
		if (lock->name != def->id)
			lock->name = 0;
		return;
	}
	if (replay->locks_n >= LOCKS_MAX) {
		intro__strange(replay);
		return;
	}
	lock = intro__calloc(replay, sizeof(*lock));
	if (!lock)
		return;
	*lock = (struct named_lock){.next = first, .pid = def->rec.tid, .name = def->id};
	if (intro__map_set(&replay->locks, address, lock)) {
		replay->error = -ENOMEM;
		free(lock);
		return;
	}
	replay->locks_n++;
}

/* What the process says; if it says nothing (a forked one has its parent's locks), what all say. */
static uint32_t number_of(const struct named_lock *first, uint32_t pid)
{
	uint32_t name = first->name;

	for (const struct named_lock *lock = first; lock; lock = lock->next) {
		if (lock->pid == pid)
			return lock->name;
		if (lock->name != name)
			name = 0;
	}
	return name;
}

void intro__lock_number(const struct intro_replay *replay, uint32_t pid, struct intro__sleep *sleep)
{
	const struct named_lock *first;
	uint32_t name;

	if (sleep->cause != INTRO_BLOCKED_LOCK && sleep->cause != INTRO_BLOCKED_CONDITION)
		return;
	first = intro__map_get(&replay->locks, sleep->detail);
	name = first ? number_of(first, pid) : 0;
	if (name)
		sleep->detail = INTRO_DETAIL_NAMED | name;
}

void intro__locks_name(struct intro_replay *replay, struct intro_ledger *ledger)
{
	for (uint32_t i = 0; i < ledger->splits; i++) {
		struct intro_split *split = &ledger->split[i];
		size_t n;

		if ((split->cause != INTRO_BLOCKED_LOCK &&
		     split->cause != INTRO_BLOCKED_CONDITION) ||
		    split->detail == INTRO_DETAIL_MANY || !(split->detail & INTRO_DETAIL_NAMED))
			continue;
		n = strnlen(intro__name(replay, (uint32_t)split->detail), INTRO_COMM - 1);
		memcpy(split->holder_name, intro__name(replay, (uint32_t)split->detail), n);
	}
}

void intro__locks_free(struct intro_replay *replay)
{
	for (size_t i = 0; replay->locks.slots && i <= replay->locks.mask; i++) {
		struct named_lock *lock = replay->locks.slots[i].value, *next;

		for (; lock; lock = next) {
			next = lock->next;
			free(lock);
		}
	}
	intro__map_free(&replay->locks);
}
