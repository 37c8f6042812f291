/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_RENDER_H
#define CLI_RENDER_H
/*
 * render.h - how results are printed: text for people, at most RENDER_COLUMNS wide whatever the
 * numbers, and JSON. Text that comes from a trace (names, command lines) is hostile: it passes
 * through text_escape before it reaches a terminal.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <introspect/report.h>
#include <introspect/session.h>

#define RENDER_COLUMNS 100

/* --- text.c: numbers and names as people read them ------------------------------------------ */

/* Whether the locale can show more than ASCII. */
bool text_utf8(void);

/* Returned by value so that several fit one printf. */
struct text {
	char s[64];
};

/* "61.2 ms": 3 significant digits, at most 7 columns. */
struct text text_ns(uint64_t ns);
/* A dot for nothing: "0 ns" would be louder than what it says. */
struct text text_ns_or_dot(uint64_t ns, bool utf8);
/* "212 408": exact, whatever the length. */
struct text text_count(uint64_t n);
/* "99 999", then "1.23 M": at most 6 columns. */
struct text text_short(uint64_t n);
/* "207.9", "1.91", "12 345", "1.23 M": at most 6 columns. "-": not a number. */
struct text text_rate(double x);
/* "48.3 %"; "<0.1 %" for what is not nothing. At most 7 columns; of a whole of 0: "-". */
struct text text_percent(uint64_t part, uint64_t whole);
/* "3.41 MB" */
struct text text_bytes(uint64_t n);
/* "1 task", "212 408 tasks". */
struct text text_plural(uint64_t n, const char *one);

/*
 * Copies n bytes (or up to a NUL) so that a terminal shows them and does nothing else: control
 * characters, bytes that are no text in this locale, and characters that take no column become
 * \n, \x1b, \u202e. Cuts at a whole character when out is full. Returns the bytes written.
 */
size_t text_escape(char *out, size_t size, const char *in, size_t n, bool utf8);
/* Columns of text that was escaped. */
size_t text_width(const char *text, bool utf8);
/* Cuts text to at most `columns`, the last being an ellipsis. */
void text_fit(char *text, size_t columns, bool utf8);
/* A bar of part/whole of `cells` columns; eighths of a block in UTF-8. Not padded. */
void text_bar(char *out, size_t size, uint64_t part, uint64_t whole, unsigned cells, bool utf8);

/* --- where text goes ------------------------------------------------------------------------ */

struct render {
	FILE *out;
	bool colour; /* a terminal, and NO_COLOR is not set */
	bool utf8;
};
struct render render_to(FILE *out);

enum render_colour { COLOUR_NONE, COLOUR_BOLD, COLOUR_DIM, COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD };
/* The escape sequence, "" where there is no colour; COLOUR_NONE ends the others. */
const char *render_colour(const struct render *render, enum render_colour colour);
const char *render_dot(const struct render *render);

/* --- table.c -------------------------------------------------------------------------------- */

struct table_column {
	const char *title;
	bool right; /* aligned to the right: numbers */
	/* Not 0: may be cut down to this many columns, the widest first. */
	unsigned flex;
	/* Not 0: left out when nothing else makes the table fit, the highest first. */
	unsigned drop;
	bool optional; /* left out when every cell is "" */
};

/* Rows are kept until printed, so that columns fit what is in them. */
struct table;
struct table *table_new(const struct table_column *columns, size_t columns_n);
/* One string a column, copied. 0 or -ENOMEM. key: see table_keep. */
int table_add(struct table *table, uint64_t key, const char *const *cells);
/* Sorts by key, highest first (equal ones as they came), and keeps the first n. */
void table_keep(struct table *table, size_t n);
size_t table_rows(const struct table *table);
/*
 * Prints the rows, indented, then forgets them; columns stay at least as wide as printed
 * before. The header is printed when the layout is not that of the time before.
 */
void table_print(struct table *table, const struct render *render, unsigned indent);
/* Each row as a line: a table of one column without layout. Forgets the rows. */
void table_print_lines(struct table *table, FILE *out);
void table_free(struct table *table);

/* --- results -------------------------------------------------------------------------------- */

struct render_report_options {
	bool all;	  /* every pool and worker, not just the first of many */
	size_t others;	  /* how many threads that are no workers */
	bool want_others; /* others is set */
};
/* The first lines: what was traced, by what, how far to trust it. */
void render_trace(const struct render *render, const struct intro_report_trace *trace);
void render_report(const struct render *render, const struct intro_report *report,
		   const struct render_report_options *options);

/* Rows of `introspect tasks`: text, or one JSON object a row. */
struct table *render_tasks_new(bool json);
int render_tasks_add(struct table *table, bool json, uint64_t key, const struct intro_task *task,
		     const char *pool_name);
void render_tasks_print(struct table *table, bool json, const struct render *render);

enum render_threads_order {
	THREADS_BY_RUNNING = 0,
	THREADS_BY_RUNNABLE,
	THREADS_BY_BLOCKED,
	THREADS_BY_SWITCHES,
	THREADS_BY_MIGRATIONS,
	THREADS_BY_TID,
	THREADS_BY_NAME,
};
extern const char *const render_threads_orders[];

struct render_threads_options {
	bool json, tree;
	bool all;	  /* also threads which were only seen beside the traced ones */
	const char *pool; /* NULL, or a pool's name or number */
	uint32_t pid;	  /* 0: any */
	enum render_threads_order order;
	size_t top; /* 0: all */
};
/* 0 or -ENOMEM. */
int render_threads(const struct render *render, const struct intro_report *report,
		   const struct render_threads_options *options);

/* The last line of record, and of run; report_path may be NULL. */
void render_recorded(const struct render *render, const char *path,
		     const struct intro_session_stats *stats);
void render_saved(const struct render *render, const char *path, const char *report_path);

void render_doctor(const struct render *render, const struct intro_probe_row *rows, size_t n);

/* --- json.c --------------------------------------------------------------------------------- */

struct json_object;
/* A JSON string of any bytes: what is not UTF-8 becomes U+FFFD. */
struct json_object *json_text(const char *text);
/* `introspect.report/1`, and the objects it is made of. NULL: no memory. */
struct json_object *json_report(const struct intro_report *report);
struct json_object *json_task(const struct intro_task *task, const char *pool_name);
struct json_object *json_thread(const struct intro_thread *thread);
/* 0 or -ENOMEM */
/* Prints and frees it; NULL is out of memory. 0 or -ENOMEM. */
int json_print(FILE *out, struct json_object *object);
int render_json_report(FILE *out, const struct intro_report *report);
int render_json_doctor(FILE *out, const struct intro_probe_row *rows, size_t n);

#endif
