// SPDX-License-Identifier: BSD-2-Clause
/* test_ledger.c - booking, bounded splits, texts, the classes of sleeps, histograms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "analyze/histogram.h"
#include "analyze/ledger_impl.h"
#include "analyze/map.h"
#include "ledger_check.h"

static const enum intro_cause causes[] = {
#define CAUSE(NAME, value, account, text) INTRO_##NAME,
	INTRO_CAUSES(CAUSE)
#undef CAUSE
};
#define CAUSES (sizeof(causes) / sizeof(*causes))

static void test_book(void **state)
{
	struct intro_ledger ledger = {0};

	intro_ledger_book(&ledger, INTRO_BLOCKED_LOCK, 0x10, 5);
	intro_ledger_book(&ledger, INTRO_BLOCKED_LOCK, 0x20, 7);
	intro_ledger_book(&ledger, INTRO_BLOCKED_LOCK, 0x10, 3);
	intro_ledger_book(&ledger, INTRO_QUEUED_BUSY, 0, 11);
	intro_ledger_book(&ledger, INTRO_QUEUED_BUSY, 0, 0);
	intro_ledger_book_running(&ledger, 13);
	check_ledger(&ledger);
	assert_int_equal(ledger.splits, 3);
	assert_int_equal(ledger.account[INTRO_BLOCKED], 15);
	assert_int_equal(ledger.account[INTRO_QUEUED], 11);
	assert_int_equal(intro_ledger_cause(&ledger, INTRO_BLOCKED_LOCK), 15);
	assert_int_equal(intro_ledger_total(&ledger), 39);
}

/* Every cause, many details: bounded, exact by cause, and the big ones keep their detail. */
static void test_fold(void **state)
{
	struct intro_ledger ledger = {0}, sum = {0};
	uint64_t by_cause[CAUSES] = {0};
	bool found = false;

	srand(1);
	for (int i = 0; i < 20000; i++) {
		size_t k = (size_t)rand() % CAUSES;
		struct intro_split split = {.cause = (uint16_t)causes[k],
					    .detail = (uint64_t)rand() % 50,
					    .ns = (uint64_t)rand() % 1000};

		if (intro_cause_account(causes[k]) == INTRO_RUNNABLE) {
			split.holder = (uint16_t)(rand() % 4);
			if (split.holder == INTRO_HELD_OTHER)
				snprintf(split.holder_name, INTRO_COMM, "p%d", rand() % 30);
		}
		by_cause[k] += split.ns;
		intro__ledger_book_split(&ledger, &split);
		if (i % 100 == 0)
			check_ledger(&ledger);
	}
	intro_ledger_book(&ledger, INTRO_BLOCKED_LOCK, 0xbeef, 1u << 30);
	intro_ledger_book(&ledger, INTRO_BLOCKED_LOCK, 0xbef0, 1);
	intro_ledger_add(&sum, &ledger);
	intro_ledger_add(&sum, &ledger);
	check_ledger(&ledger);
	check_ledger(&sum);
	for (size_t k = 0; k < CAUSES; k++) {
		uint64_t more = causes[k] == INTRO_BLOCKED_LOCK ? (1u << 30) + 1 : 0;

		assert_int_equal(intro_ledger_cause(&ledger, causes[k]), by_cause[k] + more);
		assert_int_equal(intro_ledger_cause(&sum, causes[k]), 2 * (by_cause[k] + more));
	}
	for (uint32_t i = 0; i < ledger.splits; i++)
		found |= ledger.split[i].detail == 0xbeef && ledger.split[i].ns == 1u << 30;
	assert_true(found);
}

static void assert_described(enum intro_cause cause, uint64_t detail, const char *text)
{
	char buf[64];

	assert_string_equal(intro_cause_describe(cause, detail, buf, sizeof(buf)), text);
}

static void test_texts(void **state)
{
	char tiny[5];

	assert_string_equal(intro_account_text(INTRO_QUEUED), "queued");
	assert_string_equal(intro_account_text((enum intro_account)99), "?");
	assert_string_equal(intro_cause_text(INTRO_BLOCKED_FAULT), "page fault");
	assert_string_equal(intro_cause_text((enum intro_cause)7777), "?");
	assert_int_equal(intro_cause_account(INTRO_DELIVERED_TRANSIT), INTRO_DELIVERED);
	assert_null(intro_syscall_text(-1));
	assert_null(intro_syscall_text(100000));
#ifdef __x86_64__
	assert_string_equal(intro_syscall_text(0), "read");
	assert_string_equal(intro_syscall_text(217), "getdents64");
	assert_described(INTRO_BLOCKED_SYSCALL, 217, "getdents64");
	assert_described(INTRO_BLOCKED_FILE, 0, "read(file)");
	assert_described(INTRO_BLOCKED_PIPE, 1, "write(pipe)");
#endif
	assert_described(INTRO_BLOCKED_LOCK, 0x55c0, "lock 0x55c0");
	assert_described(INTRO_BLOCKED_LOCK, INTRO_DETAIL_MANY, "other lock");
	assert_described(INTRO_BLOCKED_SYSCALL, CLASSIFY_COMPAT + 3, "32-bit syscall 3");
	assert_described(INTRO_BLOCKED_SYSCALL, 9999, "syscall 9999");
	assert_described(INTRO_BLOCKED_SLEEP, 0, "sleep");
	assert_string_equal(intro_cause_describe(INTRO_BLOCKED_LOCK, 0x55c0, tiny, sizeof(tiny)),
			    "lock");
}

static void test_classify_void(void **state)
{
	/* a kernel thread has no system call, whatever the record says; nor a stopped one a cause
	 */
	assert_int_equal(intro__classify(INTRO_OFF_SLEEP | INTRO_SWITCH_KTHREAD, 0, 0, 0, 0).cause,
			 INTRO_BLOCKED_UNSEEN);
	assert_int_equal(intro__classify(INTRO_OFF_STOPPED, 0, 0, 0, 0).cause,
			 INTRO_BLOCKED_STOPPED);
	assert_int_equal(intro__classify(INTRO_OFF_SLEEP | INTRO_SWITCH_COMPAT, 0, 3, 0, 0).detail,
			 CLASSIFY_COMPAT + 3);
	assert_int_equal(intro__classify(INTRO_OFF_DISK, 0, -7, 0, 0).cause, INTRO_BLOCKED_FAULT);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void assert_close(uint64_t got, uint64_t want)
{
	uint64_t off = got > want ? got - want : want - got;

	assert_true(off * 1000 <= want);
}

static void test_histogram(void **state)
{
	static uint64_t values[10007];
	size_t n = sizeof(values) / sizeof(*values);
	struct intro__histogram histogram = {0};
	struct intro_quantiles quantiles;
	uint64_t sum = 0;

	srand(2);
	for (size_t i = 0; i < n; i++) {
		values[i] = ((uint64_t)rand() << 16 | (uint64_t)rand()) >> (rand() % 47);
		sum += values[i];
		assert_int_equal(intro__histogram_add(&histogram, values[i]), 0);
	}
	qsort(values, n, sizeof(*values), compare);
	intro__histogram_quantiles(&histogram, &quantiles);
	assert_close(quantiles.p50, values[(n * 50 + 99) / 100 - 1]);
	assert_close(quantiles.p90, values[(n * 90 + 99) / 100 - 1]);
	assert_close(quantiles.p99, values[(n * 99 + 99) / 100 - 1]);
	assert_int_equal(quantiles.max, values[n - 1]);
	assert_int_equal(quantiles.sum, sum);
	intro__histogram_free(&histogram);
}

static void test_histogram_edges(void **state)
{
	struct intro__histogram histogram = {0};
	struct intro_quantiles quantiles;

	intro__histogram_quantiles(&histogram, &quantiles);
	assert_int_equal(quantiles.p50, 0);
	for (uint64_t value = 1020; value < 1030; value++) {
		intro__histogram_add(&histogram, value);
		intro__histogram_quantiles(&histogram, &quantiles);
		assert_close(quantiles.p99, value);
		intro__histogram_free(&histogram);
	}
	intro__histogram_add(&histogram, 0);
	intro__histogram_add(&histogram, 511);
	intro__histogram_add(&histogram, 512);
	intro__histogram_add(&histogram, UINT64_MAX);
	intro__histogram_quantiles(&histogram, &quantiles);
	assert_int_equal(quantiles.p50, 511);
	assert_int_equal(quantiles.max, UINT64_MAX);
	assert_close(quantiles.p99, UINT64_MAX);
	intro__histogram_free(&histogram);
}

/* Against an array: what is set is found, what is removed is not, whatever the order. */
static void test_map(void **state)
{
	static uint64_t have[4096];
	struct intro__map map;

	intro__map_init(&map);
	srand(3);
	for (int i = 0; i < 100000; i++) {
		uint64_t key = (uint64_t)rand() % 4096;

		if (rand() % 2) {
			have[key] = (uint64_t)i + 1;
			assert_int_equal(intro__map_set(&map, key, &have[key]), 0);
		} else {
			have[key] = 0;
			intro__map_remove(&map, key);
		}
		key = (uint64_t)rand() % 4096;
		assert_ptr_equal(intro__map_get(&map, key), have[key] ? &have[key] : NULL);
	}
	intro__map_free(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_book),	  cmocka_unit_test(test_fold),
		cmocka_unit_test(test_texts),	  cmocka_unit_test(test_classify_void),
		cmocka_unit_test(test_histogram), cmocka_unit_test(test_histogram_edges),
		cmocka_unit_test(test_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
