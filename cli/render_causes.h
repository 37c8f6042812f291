/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_RENDER_CAUSES_H
#define CLI_RENDER_CAUSES_H
/* render_causes.h - the causes within an account of a ledger, in words and by size. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/ledger.h>

#define CAUSE_BYTES 128
#define CAUSE_GROUP_BYTES 24
struct cause_sum {
	char group[CAUSE_GROUP_BYTES]; /* "preempted by ", or "" */
	char label[CAUSE_BYTES];       /* "this pool"; escaped */
	uint64_t ns;
};

/* Largest first; entries that read the same are one. Returns how many. */
size_t causes_of(const struct intro_ledger *ledger, enum intro_account account, bool utf8,
		 struct cause_sum sums[INTRO_LEDGER_SPLITS]);
struct causes_room {
	size_t columns; /* of each line */
	unsigned lines;
};
/*
 * "every worker busy 46.1, woken late 2.2", "preempted by this pool 24.9, kworker/1:2 1.1": in
 * percent of `whole`, as many as fit, then what is left as "other". "" when none is worth a
 * tenth of a percent.
 */
void causes_text(const struct intro_ledger *ledger, enum intro_account account, uint64_t whole,
		 struct causes_room room, bool utf8, char *out, size_t size);
/* The largest kind, all locks being one; ns 0 when there is none. */
void causes_most(const struct intro_ledger *ledger, enum intro_account account, bool utf8,
		 struct cause_sum *most);

#endif
