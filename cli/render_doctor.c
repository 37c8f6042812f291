// SPDX-License-Identifier: BSD-2-Clause
/* render_doctor.c - what this kernel and these privileges allow. */
#include <string.h>

#include "render.h"

/* Prints text from `column` on, broken between words; text is escaped already. */
static void print_wrapped(FILE *out, const char *text, size_t column, bool utf8)
{
	size_t at = column;

	while (*text) {
		size_t length = strcspn(text, " ");
		char word[256];
		size_t width;

		snprintf(word, sizeof(word), "%.*s", (int)length, text);
		width = text_width(word, utf8);
		if (at > column && at + 1 + width > RENDER_COLUMNS) {
			fprintf(out, "\n%*s", (int)column, "");
			at = column;
		}
		at += (size_t)fprintf(out, "%s%s", at > column ? " " : "", word) -
		      (strlen(word) - width);
		text += length;
		text += strspn(text, " ");
	}
	putc('\n', out);
}

static void print_field(const struct render *render, const char *text, size_t column)
{
	char escaped[800];

	text_escape(escaped, sizeof(escaped), text, strlen(text), render->utf8);
	print_wrapped(render->out, escaped, column, render->utf8);
}

void render_doctor(const struct render *render, const struct intro_probe_row *rows, size_t n)
{
	static const char *const verdicts[] = {"ok", "limited", "missing"};
	static const enum render_colour colours[] = {COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD};
	size_t width = 0, count[3] = {0};

	for (size_t i = 0; i < n; i++)
		if (text_width(rows[i].feature, render->utf8) > width)
			width = text_width(rows[i].feature, render->utf8);
	if (width > 32)
		width = 32;
	for (size_t i = 0; i < n; i++) {
		unsigned verdict = rows[i].verdict <= INTRO_PROBE_MISSING ? rows[i].verdict
									  : INTRO_PROBE_MISSING;
		size_t column = 9 + width + 2;
		char feature[128];

		count[verdict]++;
		snprintf(feature, sizeof(feature), "%s", rows[i].feature);
		text_fit(feature, width, render->utf8);
		fprintf(render->out, "%s%-7s%s  %s%*s  ", render_colour(render, colours[verdict]),
			verdicts[verdict], render_colour(render, COLOUR_NONE), feature,
			(int)(width - text_width(feature, render->utf8)), "");
		print_field(render, rows[i].finding, column);
		if (!*rows[i].remedy)
			continue;
		fprintf(render->out, "%*s%s ", (int)column, "", render->utf8 ? "→" : ">");
		print_field(render, rows[i].remedy, column + 2);
	}
	fprintf(render->out, "\n%zu ok, %zu limited, %zu missing\n", count[INTRO_PROBE_OK],
		count[INTRO_PROBE_DEGRADED], count[INTRO_PROBE_MISSING]);
}
