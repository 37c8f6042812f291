// SPDX-License-Identifier: BSD-2-Clause
/* test_golden.c - every trace in tests/golden: assembled, replayed, compared with its own words. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden.h"
#include "ledger_check.h"

#define SAID_MAX (4 * GOLDEN_LINE)

struct run {
	char said[GOLDEN_EXPECTED][SAID_MAX];
	size_t n;
};

static char *next_line(struct run *run)
{
	assert_true(run->n < GOLDEN_EXPECTED);
	return run->said[run->n++];
}

static void on_task(void *ctx, const struct intro_task *task)
{
	check_task(task);
	golden_render_task(task, next_line(ctx), SAID_MAX);
}

static void on_thread(void *ctx, const struct intro_thread *thread)
{
	check_thread(thread);
	golden_render_thread(thread, next_line(ctx), SAID_MAX);
}

static void on_pool(void *ctx, const struct intro_pool *pool)
{
	golden_render_pool(pool, next_line(ctx), SAID_MAX);
}

/* "task 7", "thread 10": what a line is about. */
static bool same_subject(const char *a, const char *b)
{
	size_t n = strcspn(a, " ");

	if (a[n])
		n += 1 + strcspn(a + n + 1, " ");
	if (!strncmp(a, "totals", 6))
		n = 6;
	return !strncmp(a, b, n) && (b[n] == ' ' || !b[n]);
}

/* Lines about one subject are compared in order: incarnations of a tid come one after another. */
static void compare(const struct golden *golden, const struct run *run, const char *path)
{
	bool used[GOLDEN_EXPECTED] = {false};
	char why[256];

	for (size_t i = 0; i < golden->expecteds; i++) {
		size_t k = 0;

		while (k < run->n && (used[k] || !same_subject(golden->expected[i], run->said[k])))
			k++;
		if (k == run->n)
			fail_msg("%s: nothing said of: %s", path, golden->expected[i]);
		used[k] = true;
		if (!golden_match(golden->expected[i], run->said[k], why, sizeof(why)))
			fail_msg("%s: %s\nwant %s\nhave %s", path, why, golden->expected[i],
				 run->said[k]);
	}
	for (size_t k = 0; k < run->n; k++)
		if (!used[k] && !strncmp(run->said[k], "totals", 6) &&
		    !golden_match("totals strange:0", run->said[k], why, sizeof(why)))
			fail_msg("%s: %s", path, run->said[k]);
	for (size_t k = 0; k < run->n; k++)
		if (!used[k] &&
		    (!strncmp(run->said[k], "task", 4) || !strncmp(run->said[k], "thread", 6)))
			fail_msg("%s: not expected: %s", path, run->said[k]);
}

static void replay(const struct golden *golden, struct run *run)
{
	struct intro_replay_sink sink = {
		.ctx = run, .task = on_task, .thread = on_thread, .pool = on_pool};
	struct intro_replay *player = intro_replay_new(&golden->options, &sink);
	struct intro_replay_totals totals;

	assert_non_null(player);
	for (size_t i = 0; i < golden->records; i++)
		assert_int_equal(intro_replay_push(player, &golden->record[i].rec), 0);
	assert_int_equal(intro_replay_finish(player, &totals), 0);
	intro_replay_free(player);
	golden_render_totals(&totals, next_line(run), SAID_MAX);
}

static void test_golden(void **state)
{
	struct golden *golden = calloc(1, sizeof(*golden));
	struct run *run = calloc(1, sizeof(*run));

	assert_non_null(golden);
	assert_non_null(run);
	if (!golden_read(golden, *state))
		fail_msg("%s", golden->error);
	replay(golden, run);
	compare(golden, run, *state);
	free(run);
	golden_free(golden);
}

int main(void)
{
	struct CMUnitTest tests[128];
	size_t n = 0;
	glob_t files;

	if (glob("tests/golden/*.txt", 0, NULL, &files)) {
		puts("no tests/golden/*.txt: run from the top of the repository");
		return 1;
	}
	for (; n < files.gl_pathc && n < sizeof(tests) / sizeof(*tests); n++)
		tests[n] = (struct CMUnitTest){.name = files.gl_pathv[n],
					       .test_func = test_golden,
					       .initial_state = files.gl_pathv[n]};
	n = (size_t)_cmocka_run_group_tests("golden", tests, n, NULL, NULL);
	globfree(&files);
	return (int)n;
}
