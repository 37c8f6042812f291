/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef ANALYZE_LEDGER_IMPL_H
#define ANALYZE_LEDGER_IMPL_H
/* ledger_impl.h - what replay needs of the ledger beyond its public face. */
#include <stdbool.h>

#include <introspect/abi.h>
#include <introspect/ledger.h>

/* Added to the number of a system call of the 32-bit table, which numbers differently. */
#define CLASSIFY_COMPAT 0x10000u

/* Books split->ns under the split's whole key, holder included. */
void intro__ledger_book_split(struct intro_ledger *ledger, const struct intro_split *split);

/* Why somebody sleeps. */
struct intro__sleep {
	enum intro_cause cause;
	uint64_t detail;
};
/* `waiting`: the task whose result the sleeper said it waits for; 0 none. */
struct intro__sleep intro__classify(uint8_t state, uint8_t arg1, int16_t sysnr, uint64_t arg0,
				    uint64_t waiting);

#endif
