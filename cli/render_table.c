// SPDX-License-Identifier: BSD-2-Clause
/* render_table.c - rows of cells in columns that fit RENDER_COLUMNS. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "render.h"

#define COLUMNS_MAX 16
#define CELL_BYTES 512
/* Enough of a name to be known by. */
#define TEXT_COLUMNS 20

struct row {
	uint64_t key, order;
	char *cells; /* NUL-terminated strings, one behind the other */
};

/* What was decided for one print. */
struct layout {
	size_t width[COLUMNS_MAX]; /* 0: the column is left out */
	unsigned gap;
};

struct table {
	const struct table_column *columns;
	size_t columns_n;
	struct row *rows;
	size_t rows_n, rows_max;
	uint64_t order;
	struct layout last;
	bool printed;
};

struct table *table_new(const struct table_column *columns, size_t columns_n)
{
	struct table *table;

	if (columns_n > COLUMNS_MAX) {
		errno = EINVAL;
		return NULL;
	}
	table = calloc(1, sizeof(*table));
	if (!table)
		return NULL;
	table->columns = columns;
	table->columns_n = columns_n;
	return table;
}

static void forget_rows(struct table *table, size_t from)
{
	for (size_t i = from; i < table->rows_n; i++)
		free(table->rows[i].cells);
	if (from < table->rows_n)
		table->rows_n = from;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	forget_rows(table, 0);
	free(table->rows);
	free(table);
}

size_t table_rows(const struct table *table)
{
	return table->rows_n;
}

int table_add(struct table *table, uint64_t key, const char *const *cells)
{
	size_t bytes = 0;
	char *copy, *at;

	if (table->rows_n == table->rows_max) {
		size_t max = table->rows_max ? 2 * table->rows_max : 64;
		struct row *rows = realloc(table->rows, max * sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		table->rows = rows;
		table->rows_max = max;
	}
	for (size_t i = 0; i < table->columns_n; i++)
		bytes += strlen(cells[i]) + 1;
	copy = at = malloc(bytes);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < table->columns_n; i++)
		at = stpcpy(at, cells[i]) + 1;
	table->rows[table->rows_n++] = (struct row){key, table->order++, copy};
	return 0;
}

static int compare_rows(const void *left, const void *right)
{
	const struct row *a = left, *b = right;

	if (a->key != b->key)
		return a->key > b->key ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

void table_keep(struct table *table, size_t n)
{
	if (table->rows_n)
		qsort(table->rows, table->rows_n, sizeof(*table->rows), compare_rows);
	forget_rows(table, n);
}

/* Columns as wide as their content; optional ones without content have none. */
static void measure(const struct table *table, bool utf8, struct layout *layout)
{
	bool used[COLUMNS_MAX] = {false};

	for (size_t i = 0; i < table->columns_n; i++)
		layout->width[i] = text_width(table->columns[i].title, utf8);
	for (size_t r = 0; r < table->rows_n; r++) {
		const char *cell = table->rows[r].cells;

		for (size_t i = 0; i < table->columns_n; i++, cell += strlen(cell) + 1) {
			size_t width = text_width(cell, utf8);

			used[i] |= width > 0;
			if (width > layout->width[i])
				layout->width[i] = width;
		}
	}
	for (size_t i = 0; i < table->columns_n; i++) {
		if (table->columns[i].optional && !used[i])
			layout->width[i] = 0;
		if (table->printed && table->last.width[i] > layout->width[i])
			layout->width[i] = table->last.width[i];
	}
}

static size_t total(const struct table *table, const struct layout *layout)
{
	size_t sum = 0, columns = 0;

	for (size_t i = 0; i < table->columns_n; i++) {
		sum += layout->width[i];
		columns += layout->width[i] > 0;
	}
	return sum + (columns ? columns - 1 : 0) * layout->gap;
}

/* Takes one column of width from the widest above `least` that can give; false: none can. */
static bool shrink(const struct table *table, struct layout *layout, size_t least)
{
	size_t *widest = NULL;

	for (size_t i = 0; i < table->columns_n; i++)
		if (table->columns[i].flex && layout->width[i] > least &&
		    layout->width[i] > table->columns[i].flex &&
		    (!widest || layout->width[i] > *widest))
			widest = &layout->width[i];
	if (widest)
		--*widest;
	return widest != NULL;
}

static bool drop(const struct table *table, struct layout *layout)
{
	size_t worst = table->columns_n;

	for (size_t i = 0; i < table->columns_n; i++)
		if (layout->width[i] && table->columns[i].drop &&
		    (worst == table->columns_n ||
		     table->columns[i].drop > table->columns[worst].drop))
			worst = i;
	if (worst == table->columns_n)
		return false;
	layout->width[worst] = 0;
	return true;
}

/* What hurts least first: very long texts, the space between columns, texts, whole columns. */
static void fit(const struct table *table, struct layout *layout, size_t room)
{
	layout->gap = 2;
	while (total(table, layout) > room) {
		if (shrink(table, layout, TEXT_COLUMNS))
			continue;
		if (layout->gap == 2)
			layout->gap = 1;
		else if (!shrink(table, layout, 0) && !drop(table, layout))
			return;
	}
}

/* Trailing space is not printed. */
static size_t last_column(const struct table *table, const struct layout *layout)
{
	size_t last = table->columns_n;

	for (size_t i = 0; i < table->columns_n; i++)
		if (layout->width[i])
			last = i;
	return last;
}

static void print_cell(const struct table *table, const struct layout *layout, size_t i,
		       const char *cell, const struct render *render)
{
	char text[CELL_BYTES];
	size_t width;
	int pad;

	snprintf(text, sizeof(text), "%s", cell);
	text_fit(text, layout->width[i], render->utf8);
	width = text_width(text, render->utf8);
	pad = layout->width[i] > width ? (int)(layout->width[i] - width) : 0;
	if (table->columns[i].right)
		fprintf(render->out, "%*s%s", pad, "", text);
	else
		fprintf(render->out, "%s%*s", text, i == last_column(table, layout) ? 0 : pad, "");
}

static void print_header(const struct table *table, const struct layout *layout,
			 const struct render *render, unsigned indent)
{
	bool first = true;

	fprintf(render->out, "%s%*s", render_colour(render, COLOUR_BOLD), (int)indent, "");
	for (size_t i = 0; i < table->columns_n; i++) {
		if (!layout->width[i])
			continue;
		fprintf(render->out, "%*s", first ? 0 : (int)layout->gap, "");
		print_cell(table, layout, i, table->columns[i].title, render);
		first = false;
	}
	fprintf(render->out, "%s\n", render_colour(render, COLOUR_NONE));
}

static void print_row(const struct table *table, const struct layout *layout, const char *cell,
		      const struct render *render, unsigned indent)
{
	bool first = true;

	fprintf(render->out, "%*s", (int)indent, "");
	for (size_t i = 0; i < table->columns_n; i++, cell += strlen(cell) + 1) {
		if (!layout->width[i])
			continue;
		fprintf(render->out, "%*s", first ? 0 : (int)layout->gap, "");
		print_cell(table, layout, i, cell, render);
		first = false;
	}
	putc('\n', render->out);
}

void table_print(struct table *table, const struct render *render, unsigned indent)
{
	struct layout layout;

	memset(&layout, 0, sizeof(layout));
	measure(table, render->utf8, &layout);
	fit(table, &layout, RENDER_COLUMNS - indent);
	if (!table->printed || memcmp(&layout, &table->last, sizeof(layout)) != 0)
		print_header(table, &layout, render, indent);
	for (size_t r = 0; r < table->rows_n; r++)
		print_row(table, &layout, table->rows[r].cells, render, indent);
	table->last = layout;
	table->printed = true;
	forget_rows(table, 0);
}

void table_print_lines(struct table *table, FILE *out)
{
	for (size_t r = 0; r < table->rows_n; r++) {
		fputs(table->rows[r].cells, out);
		putc('\n', out);
	}
	forget_rows(table, 0);
}
