// SPDX-License-Identifier: BSD-2-Clause
/* progress.c - one line on stderr, rewritten; only on a terminal. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define PATIENCE_NS 1000000000ull
#define STEP_NS 100000000ull

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

void cli_progress_begin(struct cli_progress *progress, const char *what)
{
	*progress = (struct cli_progress){
		.what = what, .begin_ns = now_ns(), .terminal = isatty(STDERR_FILENO)};
}

void cli_progress_step(struct cli_progress *progress, double done)
{
	uint64_t now;

	if (!progress->terminal)
		return;
	now = now_ns();
	if (now - progress->begin_ns < PATIENCE_NS || now - progress->last_ns < STEP_NS)
		return;
	progress->last_ns = now;
	progress->shown = true;
	fprintf(stderr, "\r%s %3.0f %%", progress->what, 100 * done);
	fflush(stderr);
}

void cli_progress_end(struct cli_progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	progress->shown = false;
}
