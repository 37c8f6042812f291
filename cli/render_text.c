// SPDX-License-Identifier: BSD-2-Clause
/* render_text.c - numbers and names as people read them. */
#include <inttypes.h>
#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "render.h"

bool text_utf8(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

/* Decimals that give x, below 1000, three significant digits. */
static int decimals(double x)
{
	if (x < 9.995)
		return 2;
	return x < 99.95 ? 1 : 0;
}

struct unit {
	double ns;
	double below; /* the largest count of it, before the next unit is taken */
	const char *name, *ascii;
};

/* Thousands of seconds are read more easily than fractions of an hour. */
static const struct unit units[] = {
	{1e3, 999.5, "µs", "us"},  {1e6, 999.5, "ms", "ms"},   {1e9, 9999.5, "s", "s"},
	{3600e9, 99.95, "h", "h"}, {86400e9, 999.5, "d", "d"}, {86400e9 * 365.25, 1e9, "y", "y"},
};

static const struct unit *unit_of(uint64_t ns)
{
	const struct unit *unit = units;

	while ((double)ns / unit->ns >= unit->below)
		unit++;
	return unit;
}

struct text text_ns(uint64_t ns)
{
	struct text text;
	const struct unit *unit = unit_of(ns);
	double x = (double)ns / unit->ns;

	if (ns < 1000)
		snprintf(text.s, sizeof(text.s), "%" PRIu64 " ns", ns);
	else
		snprintf(text.s, sizeof(text.s), "%.*f %s", decimals(x), x,
			 text_utf8() ? unit->name : unit->ascii);
	return text;
}

struct text text_ns_or_dot(uint64_t ns, bool utf8)
{
	struct text dot;

	if (ns)
		return text_ns(ns);
	snprintf(dot.s, sizeof(dot.s), "%s", utf8 ? "·" : ".");
	return dot;
}

struct text text_count(uint64_t n)
{
	struct text text = {.s = ""};
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	char *at = text.s;

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*at++ = ' ';
		*at++ = digits[i];
	}
	*at = 0;
	return text;
}

struct text text_short(uint64_t n)
{
	static const char prefixes[] = "kMGTPE";
	struct text text;
	double x = (double)n / 1000;
	int i = 0;

	if (n < 100000)
		return text_count(n);
	while (x >= 999.5) {
		x /= 1000;
		i++;
	}
	snprintf(text.s, sizeof(text.s), "%.*f %c", decimals(x), x, prefixes[i]);
	return text;
}

struct text text_bytes(uint64_t n)
{
	struct text text;
	const char *prefix = "kMGTPE";
	double x = (double)n / 1000;

	if (n < 1000) {
		snprintf(text.s, sizeof(text.s), "%u B", (unsigned)n);
		return text;
	}
	for (; x >= 999.5; x /= 1000)
		prefix++;
	snprintf(text.s, sizeof(text.s), "%.*f %cB", decimals(x), x, *prefix);
	return text;
}

struct text text_rate(double x)
{
	struct text text;

	if (x >= 0 && x < 999.95)
		snprintf(text.s, sizeof(text.s), "%.*f", x < 9.995 ? 2 : 1, x);
	else if (x > 0)
		text = text_short(x < 1e19 ? (uint64_t)x : UINT64_MAX);
	else
		snprintf(text.s, sizeof(text.s), "-");
	return text;
}

struct text text_percent(uint64_t part, uint64_t whole)
{
	struct text text;
	double percent = whole ? 100.0 * (double)part / (double)whole : 0;

	if (!whole)
		snprintf(text.s, sizeof(text.s), "-");
	else if (part && percent < 0.05)
		snprintf(text.s, sizeof(text.s), "<0.1 %%");
	else if (percent < 999.95)
		snprintf(text.s, sizeof(text.s), "%.1f %%", percent);
	else
		snprintf(text.s, sizeof(text.s), ">999 %%");
	return text;
}

struct text text_plural(uint64_t n, const char *one)
{
	struct text text;

	snprintf(text.s, sizeof(text.s), "%.26s %.24s%s", text_count(n).s, one, n == 1 ? "" : "s");
	return text;
}

/* Writes what stands for the character c (of `bytes` bytes at in) to out. */
static int escape_char(char *out, size_t size, const char *in, size_t bytes, wchar_t c)
{
	static const char shorthands[] = "\a\b\t\n\v\f\r", letters[] = "abtnvfr";
	const char *shorthand;

	if (bytes == 1 && *in && (shorthand = strchr(shorthands, *in)))
		return snprintf(out, size, "\\%c", letters[shorthand - shorthands]);
	if (bytes == 1)
		return snprintf(out, size, "\\x%02x", (unsigned char)*in);
	return snprintf(out, size, c > 0xffff ? "\\U%08x" : "\\u%04x", (unsigned)c);
}

/* The bytes of the printable character at `in`; 0 when it is not one, with *bytes to skip. */
static size_t printable(const char *in, size_t n, bool utf8, size_t *bytes, wchar_t *c)
{
	mbstate_t state = {0};
	size_t length;

	*bytes = 1;
	*c = (unsigned char)*in;
	if ((unsigned char)*in < 0x80)
		return *in >= 0x20 && *in != 0x7f;
	if (!utf8)
		return 0;
	length = mbrtowc(c, in, n, &state);
	if (length == (size_t)-1 || length == (size_t)-2 || !length)
		return 0;
	*bytes = length;
	return iswprint((wint_t)*c) && wcwidth(*c) > 0 ? length : 0;
}

size_t text_escape(char *out, size_t size, const char *in, size_t n, bool utf8)
{
	size_t used = 0;

	for (size_t i = 0, bytes; i < n && in[i]; i += bytes) {
		char one[16];
		wchar_t c;
		size_t length = printable(in + i, n - i, utf8, &bytes, &c);

		if (length)
			memcpy(one, in + i, length);
		else
			length = (size_t)escape_char(one, sizeof(one), in + i, bytes, c);
		if (used + length + 1 > size)
			break;
		memcpy(out + used, one, length);
		used += length;
	}
	if (size)
		out[used] = 0;
	return used;
}

/* Columns of the character at text, and its bytes. */
static size_t char_width(const char *text, bool utf8, size_t *bytes)
{
	wchar_t c;
	mbstate_t state = {0};
	size_t length;
	int width;

	*bytes = 1;
	if (!utf8 || (unsigned char)*text < 0x80)
		return 1;
	length = mbrtowc(&c, text, strlen(text), &state);
	if (length == (size_t)-1 || length == (size_t)-2 || !length)
		return 1;
	*bytes = length;
	width = wcwidth(c);
	return width > 0 ? (size_t)width : 0;
}

size_t text_width(const char *text, bool utf8)
{
	size_t width = 0;

	for (size_t bytes; *text; text += bytes)
		width += char_width(text, utf8, &bytes);
	return width;
}

void text_fit(char *text, size_t columns, bool utf8)
{
	const char *ellipsis = utf8 ? "…" : "~";
	size_t width = 0, bytes;
	char *at = text;

	if (text_width(text, utf8) <= columns)
		return;
	if (!columns) {
		*text = 0;
		return;
	}
	for (;;) {
		size_t step = char_width(at, utf8, &bytes);

		if (width + step > columns - 1)
			break;
		width += step;
		at += bytes;
	}
	/* The rest is at least one column, hence of at least one byte; "…" is three. */
	if (strlen(at) < strlen(ellipsis))
		ellipsis = "~";
	memcpy(at, ellipsis, strlen(ellipsis) + 1);
}

void text_bar(char *out, size_t size, uint64_t part, uint64_t whole, unsigned cells, bool utf8)
{
	static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
	double x = whole ? (double)part / (double)whole * cells : 0;
	unsigned steps = utf8 ? 8 : 1, n;
	size_t used = 0;

	if (x > cells)
		x = cells;
	n = (unsigned)(x * steps + 0.5);
	/* Something must not look like nothing. */
	if (!n && part && utf8)
		n = 1;
	for (unsigned i = 0; i < n / steps && used + 4 < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%s", utf8 ? "█" : "#");
	snprintf(out + used, size - used, "%s", utf8 ? eighths[n % 8] : "");
}

struct render render_to(FILE *out)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return (struct render){
		.out = out,
		.colour = isatty(fileno(out)) && !(no_color && *no_color) && term &&
			  strcmp(term, "dumb") != 0,
		.utf8 = text_utf8(),
	};
}

const char *render_colour(const struct render *render, enum render_colour colour)
{
	static const char *const sequences[] = {
		[COLOUR_NONE] = "\033[0m",  [COLOUR_BOLD] = "\033[1m",	[COLOUR_DIM] = "\033[2m",
		[COLOUR_GOOD] = "\033[32m", [COLOUR_WARN] = "\033[33m", [COLOUR_BAD] = "\033[31m",
	};

	return render->colour ? sequences[colour] : "";
}

const char *render_dot(const struct render *render)
{
	return render->utf8 ? "·" : "-";
}
