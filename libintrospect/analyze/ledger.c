// SPDX-License-Identifier: BSD-2-Clause
/* ledger.c - accounts of a task's time, and the texts of their causes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <introspect/ledger.h>

#include "analyze/ledger_impl.h"

#include "syscalls.h" /* generated: { [number] = "name" } */

#define CAUSES_MAX 128

static const char *const account_texts[INTRO_ACCOUNTS] = {
	[INTRO_QUEUED] = "queued",	 [INTRO_RUNNING] = "running",
	[INTRO_RUNNABLE] = "runnable",	 [INTRO_BLOCKED] = "blocked",
	[INTRO_UNMOUNTED] = "unmounted", [INTRO_DELIVERED] = "delivered",
	[INTRO_UNKNOWN] = "unknown",
};

const char *intro_account_text(enum intro_account account)
{
	return (unsigned)account < INTRO_ACCOUNTS ? account_texts[account] : "?";
}

const char *intro_cause_text(enum intro_cause cause)
{
	switch (cause) {
#define CAUSE_TEXT(NAME, value, account, text)                                                     \
	case INTRO_##NAME:                                                                         \
		return text;
		INTRO_CAUSES(CAUSE_TEXT)
#undef CAUSE_TEXT
	}
	return "?";
}

enum intro_account intro_cause_account(enum intro_cause cause)
{
	switch (cause) {
#define CAUSE_ACCOUNT(NAME, value, account, text)                                                  \
	case INTRO_##NAME:                                                                         \
		return INTRO_##account;
		INTRO_CAUSES(CAUSE_ACCOUNT)
#undef CAUSE_ACCOUNT
	}
	return INTRO_UNKNOWN;
}

const char *intro_syscall_text(int number)
{
	if (number < 0 || (size_t)number >= sizeof(syscall_names) / sizeof(*syscall_names))
		return NULL;
	return syscall_names[number];
}

static const char *describe_syscall(enum intro_cause cause, uint64_t detail, char *buf, size_t size)
{
	const char *name = detail < CLASSIFY_COMPAT ? intro_syscall_text((int)detail) : NULL;

	if (cause != INTRO_BLOCKED_SYSCALL) {
		if (name)
			snprintf(buf, size, "%s(%s)", name, intro_cause_text(cause));
		else
			snprintf(buf, size, "%s", intro_cause_text(cause));
	} else if (name) {
		snprintf(buf, size, "%s", name);
	} else if (detail >= CLASSIFY_COMPAT) {
		snprintf(buf, size, "32-bit syscall %" PRIu64, detail - CLASSIFY_COMPAT);
	} else {
		snprintf(buf, size, "syscall %" PRIu64, detail);
	}
	return buf;
}

const char *intro_cause_describe(enum intro_cause cause, uint64_t detail, char *buf, size_t size)
{
	if (detail == INTRO_DETAIL_MANY) {
		snprintf(buf, size, "other %s", intro_cause_text(cause));
		return buf;
	}
	switch (cause) {
	case INTRO_BLOCKED_SYSCALL:
		return describe_syscall(cause, detail, buf, size);
	case INTRO_BLOCKED_FILE:
	case INTRO_BLOCKED_SOCKET:
	case INTRO_BLOCKED_PIPE:
	case INTRO_BLOCKED_TTY:
		return describe_syscall(cause, detail, buf, size);
	case INTRO_BLOCKED_LOCK:
	case INTRO_BLOCKED_CONDITION:
		if (detail & INTRO_DETAIL_NAMED)
			break;
		if (detail) {
			snprintf(buf, size, "%s 0x%" PRIx64, intro_cause_text(cause), detail);
			return buf;
		}
		break;
	case INTRO_BLOCKED_FUTURE:
		if (detail) {
			snprintf(buf, size, "future of task %" PRIu64, detail);
			return buf;
		}
		break;
	default:
		break;
	}
	snprintf(buf, size, "%s", intro_cause_text(cause));
	return buf;
}

static bool same_key(const struct intro_split *a, const struct intro_split *b)
{
	return a->cause == b->cause && a->detail == b->detail && a->holder == b->holder &&
	       !memcmp(a->holder_name, b->holder_name, INTRO_COMM);
}

static bool is_folded(const struct intro_split *split)
{
	return split->detail == INTRO_DETAIL_MANY;
}

/* Entries that fold into one another: those of a cause and holder. */
static unsigned fold_class(const struct intro_split *split)
{
	return (split->cause % CAUSES_MAX) * 4 + split->holder % 4;
}

static void merge_into(struct intro_split *to, const struct intro_split *from)
{
	to->ns += from->ns;
	to->detail = INTRO_DETAIL_MANY;
	memset(to->holder_name, 0, sizeof(to->holder_name));
	to->holder_tid = 0;
}

/*
 * The smallest entry that is not folded yet and is not the only one of its class. There are more
 * entries than classes, so a full ledger always has one.
 */
static struct intro_split *smallest(struct intro_ledger *ledger)
{
	uint8_t members[CAUSES_MAX * 4] = {0};
	struct intro_split *small = NULL;

	for (uint32_t i = 0; i < ledger->splits; i++)
		members[fold_class(&ledger->split[i])]++;
	for (uint32_t i = 0; i < ledger->splits; i++) {
		struct intro_split *split = &ledger->split[i];

		if (members[fold_class(split)] < 2 || is_folded(split))
			continue;
		if (!small || split->ns < small->ns)
			small = split;
	}
	return small;
}

/* What `split` would fold into: the folded entry of its class, or the smallest other. */
static struct intro_split *fold_target(struct intro_ledger *ledger, const struct intro_split *split)
{
	struct intro_split *to = NULL;

	for (uint32_t i = 0; i < ledger->splits; i++) {
		struct intro_split *other = &ledger->split[i];

		if (other == split || fold_class(other) != fold_class(split))
			continue;
		if (is_folded(other))
			return other;
		if (!to || other->ns < to->ns)
			to = other;
	}
	return to;
}

/* Into a full ledger: the smaller of the new and the smallest of the old is folded. */
static void insert_full(struct intro_ledger *ledger, const struct intro_split *key)
{
	struct intro_split *small = smallest(ledger);
	struct intro_split *to = fold_target(ledger, key);

	if (to && is_folded(to) && key->ns <= small->ns) {
		to->ns += key->ns;
		return;
	}
	merge_into(fold_target(ledger, small), small);
	*small = *key;
}

void intro__ledger_book_split(struct intro_ledger *ledger, const struct intro_split *key)
{
	struct intro_split *split;

	if (!key->ns)
		return;
	ledger->account[intro_cause_account(key->cause)] += key->ns;
	for (uint32_t i = 0; i < ledger->splits; i++) {
		split = &ledger->split[i];
		if (!same_key(split, key))
			continue;
		split->ns += key->ns;
		if (split->holder_tid != key->holder_tid)
			split->holder_tid = 0;
		return;
	}
	if (ledger->splits == INTRO_LEDGER_SPLITS)
		insert_full(ledger, key);
	else
		ledger->split[ledger->splits++] = *key;
}

void intro_ledger_book(struct intro_ledger *ledger, enum intro_cause cause, uint64_t detail,
		       uint64_t ns)
{
	struct intro_split key = {.cause = (uint16_t)cause, .detail = detail, .ns = ns};

	intro__ledger_book_split(ledger, &key);
}

void intro_ledger_book_running(struct intro_ledger *ledger, uint64_t ns)
{
	ledger->account[INTRO_RUNNING] += ns;
}

void intro_ledger_add(struct intro_ledger *sum, const struct intro_ledger *ledger)
{
	sum->account[INTRO_RUNNING] += ledger->account[INTRO_RUNNING];
	for (uint32_t i = 0; i < ledger->splits; i++)
		intro__ledger_book_split(sum, &ledger->split[i]);
}

uint64_t intro_ledger_total(const struct intro_ledger *ledger)
{
	uint64_t total = 0;

	for (int i = 0; i < INTRO_ACCOUNTS; i++)
		total += ledger->account[i];
	return total;
}

uint64_t intro_ledger_cause(const struct intro_ledger *ledger, enum intro_cause cause)
{
	uint64_t ns = 0;

	for (uint32_t i = 0; i < ledger->splits; i++)
		if (ledger->split[i].cause == cause)
			ns += ledger->split[i].ns;
	return ns;
}
