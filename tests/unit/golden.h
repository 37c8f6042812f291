/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_GOLDEN_H
#define TESTS_UNIT_GOLDEN_H
/*
 * golden.h - traces written as text (tests/golden/README tells the language): assembling one, and
 * rendering what a replay says in the same words, so that the two can be compared.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/replay.h>

#include "trace/topology.h"

#define GOLDEN_LINE 512
#define GOLDEN_RECORDS 1024
#define GOLDEN_EXPECTED 128

/* Room for any record. */
union golden_record {
	struct intro_rec rec;
	struct intro_rec_switch sw;
	struct intro_rec_waking waking;
	struct intro_rec_migrate migrate;
	struct intro_rec_pages pages;
	struct intro_rec_numa numa;
	struct intro_rec_task task;
	struct intro_rec_exit exit;
	struct intro_rec_snapshot snapshot;
	struct intro_rec_lost lost;
	struct intro_rec_mark mark;
	struct intro_rec_def def;
};

struct golden {
	struct intro_replay_options options;
	union golden_record record[GOLDEN_RECORDS];
	size_t records;
	char expected[GOLDEN_EXPECTED][GOLDEN_LINE]; /* "task 7 finished ..." */
	size_t expecteds;
	struct intro_topology *topology;
	char error[GOLDEN_LINE]; /* why it could not be read; "" */
};

/* False, and golden->error, when the file is not understood. */
bool golden_read(struct golden *golden, const char *path);
void golden_free(struct golden *golden);

/* "task 7 finished submit=1 ..." with every account and split that is not 0, in words. */
void golden_render_task(const struct intro_task *task, char *line, size_t size);
void golden_render_thread(const struct intro_thread *thread, char *line, size_t size);
void golden_render_pool(const struct intro_pool *pool, char *line, size_t size);
void golden_render_totals(const struct intro_replay_totals *totals, char *line, size_t size);
/* Has `said` the same head, and every word of `expected`? Of sums, it may have no other. */
bool golden_match(const char *expected, const char *said, char *why, size_t size);

#endif
