// SPDX-License-Identifier: BSD-2-Clause
/* render_recorded.c - the line at the end of a recording. */
#include <string.h>

#include "render.h"

static void print_path(const struct render *render, const char *path)
{
	char text[8192];

	text_escape(text, sizeof(text), path, strlen(path), render->utf8);
	fputs(text, render->out);
}

void render_recorded(const struct render *render, const char *path,
		     const struct intro_session_stats *stats)
{
	fputs("Saved to ", render->out);
	print_path(render, path);
	fprintf(render->out, ": %s, %s%s lost%s, %s, %s. `introspect report` reads it.\n",
		text_plural(stats->events, "event").s,
		stats->lost ? render_colour(render, COLOUR_BAD) : "", text_count(stats->lost).s,
		stats->lost ? render_colour(render, COLOUR_NONE) : "",
		text_ns(stats->duration_ns).s, text_bytes(stats->file_bytes).s);
}

void render_saved(const struct render *render, const char *path, const char *report_path)
{
	fputs(report_path ? "Report in " : "Saved to ", render->out);
	if (report_path) {
		print_path(render, report_path);
		fputs(", trace in ", render->out);
	}
	print_path(render, path);
	fputs(": `introspect report`, `tasks`, `threads` read it.\n", render->out);
}
