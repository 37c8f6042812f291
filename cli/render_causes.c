// SPDX-License-Identifier: BSD-2-Clause
/* render_causes.c - the causes within an account, in words and by size. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "render.h"
#include "render_causes.h"

/* Where the words of ledger.h say too little to who has not read it. */
static const char *plain_words(unsigned cause)
{
	switch (cause) {
	case INTRO_QUEUED_BUSY:
		return "every worker busy";
	case INTRO_QUEUED_WAKEUP:
		return "woken late";
	case INTRO_QUEUED_STARTING:
		return "no worker yet";
	case INTRO_QUEUED_PREFETCHED:
		return "behind another task";
	case INTRO_QUEUED_DISPATCH:
		return "idle worker not told";
	case INTRO_RUNNABLE_WOKEN:
		return "woken, not yet on a CPU";
	case INTRO_RUNNABLE_NEW:
		return "new, not yet on a CPU";
	case INTRO_RUNNABLE_UNSEEN:
		return "waiting";
	case INTRO_UNMOUNTED_READY:
		return "ready, no thread free";
	case INTRO_DELIVERED_TRANSIT:
		return "result on its way";
	case INTRO_DELIVERED_WAKEUP:
		return "reader woken late";
	case INTRO_UNKNOWN_LOST:
		return "events lost";
	case INTRO_UNKNOWN_BEGIN:
		return "before the trace began";
	case INTRO_UNKNOWN_END:
		return "open when the trace ended";
	case INTRO_UNKNOWN_UNRECORDED:
		return "switches not recorded";
	case INTRO_UNKNOWN_DIED:
		return "worker died";
	}
	return NULL;
}

/* "preempted by", "woken behind": before whoever had the CPU. */
static const char *holder_words(unsigned cause)
{
	switch (cause) {
	case INTRO_RUNNABLE_PREEMPTED:
		return "preempted by";
	case INTRO_RUNNABLE_WOKEN:
		return "woken behind";
	case INTRO_RUNNABLE_YIELDED:
		return "yielded to";
	case INTRO_RUNNABLE_NEW:
		return "new behind";
	}
	return "waiting behind";
}

/* The workers of another pool, "resize/0" and "resize/1", are one: a star for the number. */
static void holder_label(const struct intro_split *split, bool utf8, char *out, size_t size)
{
	char *slash;

	if (!text_escape(out, size, split->holder_name, INTRO_COMM, utf8))
		snprintf(out, size, "various");
	slash = strrchr(out, '/');
	if (slash && slash != out && slash[1] && !slash[1 + strspn(slash + 1, "0123456789")])
		strcpy(slash + 1, "*");
}

static void label_of(const struct intro_split *split, bool utf8, struct cause_sum *sum)
{
	const char *plain = plain_words(split->cause);
	char raw[96];

	memset(sum, 0, sizeof(*sum));
	if (split->holder != INTRO_HELD_NONE)
		snprintf(sum->group, sizeof(sum->group), "%s ", holder_words(split->cause));
	switch (split->holder) {
	case INTRO_HELD_POOL:
		snprintf(sum->label, sizeof(sum->label), "this pool");
		return;
	case INTRO_HELD_PROCESS:
		snprintf(sum->label, sizeof(sum->label), "this process");
		return;
	case INTRO_HELD_OTHER:
		holder_label(split, utf8, sum->label, sizeof(sum->label));
		return;
	}
	if (intro_cause_account(split->cause) == INTRO_BLOCKED && split->holder_name[0]) {
		snprintf(raw, sizeof(raw), "%s %.*s", intro_cause_text(split->cause),
			 INTRO_COMM - 1, split->holder_name);
		plain = raw;
	}
	if (!plain)
		plain = intro_cause_describe(split->cause, split->detail, raw, sizeof(raw));
	text_escape(sum->label, sizeof(sum->label), plain, strlen(plain), utf8);
}

static int by_size(const void *left, const void *right)
{
	const struct cause_sum *a = left, *b = right;
	int group = strcmp(a->group, b->group);

	if (a->ns != b->ns)
		return a->ns > b->ns ? -1 : 1;
	return group ? group : strcmp(a->label, b->label);
}

size_t causes_of(const struct intro_ledger *ledger, enum intro_account account, bool utf8,
		 struct cause_sum sums[INTRO_LEDGER_SPLITS])
{
	size_t n = 0;

	for (uint32_t i = 0; i < ledger->splits && i < INTRO_LEDGER_SPLITS; i++) {
		const struct intro_split *split = &ledger->split[i];
		struct cause_sum one;
		size_t at = 0;

		if (intro_cause_account(split->cause) != account || !split->ns)
			continue;
		label_of(split, utf8, &one);
		while (at < n && (strcmp(sums[at].label, one.label) != 0 ||
				  strcmp(sums[at].group, one.group) != 0))
			at++;
		if (at == n)
			sums[n++] = one;
		sums[at].ns += split->ns;
	}
	if (n)
		qsort(sums, n, sizeof(*sums), by_size);
	return n;
}

static unsigned permille(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned)(1000.0 * (double)part / (double)whole + 0.5) : 0;
}

/* "preempted by this pool 24.9"; the words of a group not twice in a row. */
static size_t cause_piece(const struct cause_sum *sums, size_t i, unsigned part, bool utf8,
			  char *out, size_t size)
{
	bool again = i && *sums[i].group && !strcmp(sums[i].group, sums[i - 1].group);

	snprintf(out, size, "%.*s%.*s %u.%u", again ? 0 : CAUSE_GROUP_BYTES - 1, sums[i].group,
		 CAUSE_BYTES - 1, sums[i].label, part / 10, part % 10);
	return text_width(out, utf8);
}

void causes_text(const struct intro_ledger *ledger, enum intro_account account, uint64_t whole,
		 struct causes_room room, bool utf8, char *out, size_t size)
{
	/* Room that is kept for what does not fit: ", other 99.9" */
	enum { OTHER = 12 };
	struct cause_sum sums[INTRO_LEDGER_SPLITS];
	size_t n = causes_of(ledger, account, utf8, sums), used = 0, width = 0;
	uint64_t rest = ledger->account[account];

	*out = 0;
	for (size_t i = 0; i < n; i++) {
		unsigned part = permille(sums[i].ns, whole);
		uint64_t after = rest > sums[i].ns ? rest - sums[i].ns : 0;
		char one[CAUSE_BYTES + CAUSE_GROUP_BYTES + 32];
		size_t step = cause_piece(sums, i, part, utf8, one, sizeof(one)) + 2;
		size_t kept = room.lines > 1 || !permille(after, whole) ? 0 : OTHER;

		if (!part || used + strlen(one) + 4 >= size)
			break;
		if (width + step + kept > room.columns && width && room.lines > 1) {
			used += (size_t)snprintf(out + used, size - used, ",\n");
			width = 0;
			room.lines--;
			kept = permille(after, whole) ? OTHER : 0;
		}
		if (width + step + kept > room.columns)
			break;
		used += (size_t)snprintf(out + used, size - used, "%s%s", width ? ", " : "", one);
		width += step;
		rest = after;
	}
	if (used && permille(rest, whole))
		/* a first line has kept no room for it */
		snprintf(out + used, size - used, "%sother %u.%u",
			 !width						  ? ""
			 : room.lines > 1 && width + OTHER > room.columns ? ",\n"
									  : ", ",
			 permille(rest, whole) / 10, permille(rest, whole) % 10);
}

void causes_most(const struct intro_ledger *ledger, enum intro_account account, bool utf8,
		 struct cause_sum *most)
{
	struct intro_ledger plain = *ledger;
	struct cause_sum sums[INTRO_LEDGER_SPLITS];

	/* Which address, which task, behind whom: too long for a cell, and seldom twice the same.
	 */
	for (uint32_t i = 0; i < plain.splits && i < INTRO_LEDGER_SPLITS; i++) {
		unsigned cause = plain.split[i].cause;

		plain.split[i].holder = INTRO_HELD_NONE;
		if (((cause == INTRO_BLOCKED_LOCK || cause == INTRO_BLOCKED_CONDITION) &&
		     !plain.split[i].holder_name[0]) ||
		    cause == INTRO_BLOCKED_FUTURE)
			plain.split[i].detail = 0;
	}
	*most = (struct cause_sum){.label = ""};
	if (causes_of(&plain, account, utf8, sums))
		*most = sums[0];
}
