// SPDX-License-Identifier: BSD-2-Clause
/* util.c - errors in one line, and numbers from the command line. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "render.h"

static void print_line(const char *command, const char *format, va_list args, const char *tail)
{
	char raw[2048], line[4 * sizeof(raw)];

	vsnprintf(raw, sizeof(raw), format, args);
	text_escape(line, sizeof(line), raw, strlen(raw), text_utf8());
	fflush(stdout);
	fprintf(stderr, "introspect: %s%s%s%s\n", command ? command : "", command ? ": " : "", line,
		tail);
}

void cli_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_line(NULL, format, args, "");
	va_end(args);
}

int cli_usage_error(const char *command, const char *format, ...)
{
	char tail[128];
	va_list args;

	snprintf(tail, sizeof(tail), " (see 'introspect %s%s')", command ? command : "--help",
		 command ? " --help" : "");
	va_start(args, format);
	print_line(command, format, args, tail);
	va_end(args);
	return CLI_USAGE;
}

/* What getopt_long returned as ':' or '?', said in one line. */
static int option_error(const char *command, int result, char **argv)
{
	const char *option = argv[optind - 1];
	bool is_long = option && !strncmp(option, "--", 2);

	if (result == ':') {
		if (is_long)
			return cli_usage_error(command, "option '%s' needs a value", option);
		return cli_usage_error(command, "option '-%c' needs a value", optopt);
	}
	if (optopt && optopt < 256)
		return cli_usage_error(command, "unknown option '-%c'", optopt);
	if (is_long && strchr(option, '=') && optopt)
		return cli_usage_error(command, "option '%.*s' takes no value",
				       (int)(strchr(option, '=') - option), option);
	return cli_usage_error(command, "unknown or ambiguous option '%s'", option ? option : "");
}

int cli_parse(const struct cli_syntax *syntax, void *ctx, int argc, char **argv)
{
	int option, status;

	optind = 0; /* GNU: start afresh, whatever was parsed before */
	opterr = 0;
	while ((option = getopt_long(argc, argv, syntax->letters, syntax->options, NULL)) != -1) {
		if (option == 'h') {
			fputs(syntax->usage, stdout);
			return -1;
		}
		if (option == '?' || option == ':')
			return option_error(syntax->command, option, argv);
		status = syntax->take(ctx, option);
		if (status)
			return status;
	}
	return CLI_OK;
}

int cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	char *end;
	unsigned long long n;

	/* strtoull takes blanks and signs */
	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || n < min || n > max)
		return -EINVAL;
	*value = n;
	return 0;
}

int cli_parse_seconds(const char *text, uint64_t *ns)
{
	char *end;
	double seconds;

	if (strspn(text, "0123456789.") != strlen(text))
		return -EINVAL;
	seconds = strtod(text, &end);
	if (end == text || *end || !isfinite(seconds) || seconds * 1e9 < 1 || seconds > 1e9)
		return -EINVAL;
	*ns = (uint64_t)(seconds * 1e9);
	return 0;
}

int cli_parse_bytes(const char *text, uint64_t *bytes)
{
	static const char units[] = "kMG";
	size_t length = strlen(text);
	const char *unit = length ? strchr(units, text[length - 1]) : NULL;
	char digits[24];
	unsigned shift = unit && *unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (length >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, length + 1);
	if (shift)
		digits[length - 1] = 0;
	if (cli_parse_number(digits, 1, UINT64_MAX >> shift, bytes))
		return -EINVAL;
	*bytes <<= shift;
	return 0;
}

int cli_parse_choice(const char *text, const char *const *choices)
{
	for (int i = 0; choices[i]; i++)
		if (!strcmp(text, choices[i]))
			return i;
	return -1;
}

int cli_flush(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	cli_error("standard output: %s; the output is not complete", strerror(errno));
	return CLI_FAILED;
}
