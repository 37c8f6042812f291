// SPDX-License-Identifier: BSD-2-Clause
/* cmd_doctor.c - introspect doctor */
#include "cli.h"
#include "render.h"

static const char usage[] =
	"usage: introspect doctor [OPTIONS]\n"
	"Says what this kernel and these privileges allow, and what to do about the rest.\n"
	"Exit status: 0 all can be traced, 77 something needed is missing.\n\n"
	"      --json       one JSON document, schema introspect.doctor/1\n"
	"  -h, --help       this text\n";

enum { OPT_JSON = 256, ROWS_MAX = 64 };

static const struct option options[] = {
	{"help", no_argument, NULL, 'h'},
	{"json", no_argument, NULL, OPT_JSON},
	{NULL, 0, NULL, 0},
};

static int doctor(bool json)
{
	struct intro_probe_row rows[ROWS_MAX];
	struct render render = render_to(stdout);
	size_t n = intro_probe(rows, ROWS_MAX);
	int status = CLI_OK;

	if (n > ROWS_MAX)
		n = ROWS_MAX;
	for (size_t i = 0; i < n; i++)
		if (rows[i].verdict == INTRO_PROBE_MISSING)
			status = CLI_NOT_ALLOWED;
	if (!json) {
		render_doctor(&render, rows, n);
	} else if (render_json_doctor(stdout, rows, n)) {
		cli_error("not enough memory");
		status = CLI_FAILED;
	}
	return status;
}

static int take_option(void *ctx, int option)
{
	bool *json = ctx;

	*json = option == OPT_JSON;
	return CLI_OK;
}

static const struct cli_syntax syntax = {
	.command = "doctor",
	.usage = usage,
	.letters = ":h",
	.options = options,
	.take = take_option,
};

int cmd_doctor(int argc, char **argv)
{
	bool json = false;
	int status = cli_parse(&syntax, &json, argc, argv);

	if (status)
		return status < 0 ? CLI_OK : status;
	if (optind < argc)
		return cli_usage_error("doctor", "'%s' is one word too many", argv[optind]);
	return doctor(json);
}
