// SPDX-License-Identifier: BSD-2-Clause
/* input.c - the trace that a subcommand reads: which, whether it can be, what is missing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "render.h"

static bool is_newer(const struct stat *a, const char *a_name, const struct stat *b,
		     const char *b_name)
{
	if (a->st_mtim.tv_sec != b->st_mtim.tv_sec)
		return a->st_mtim.tv_sec > b->st_mtim.tv_sec;
	if (a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
		return a->st_mtim.tv_nsec > b->st_mtim.tv_nsec;
	return strcmp(a_name, b_name) > 0;
}

int cli_newest_trace(char *path, size_t size)
{
	DIR *dir = opendir(".");
	struct stat newest = {0};
	struct dirent *entry;

	if (!dir)
		return -errno;
	*path = 0;
	while ((entry = readdir(dir))) {
		struct stat st;

		if (fnmatch("introspect-*.itr", entry->d_name, 0) ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
		    !S_ISREG(st.st_mode))
			continue;
		if (*path && !is_newer(&st, entry->d_name, &newest, path))
			continue;
		newest = st;
		snprintf(path, size, "%s", entry->d_name);
	}
	closedir(dir);
	return *path ? 0 : -ENOENT;
}

bool cli_operand(const char *command, int argc, char **argv, const char **path, int *status)
{
	*path = optind < argc ? argv[optind] : NULL;
	if (argc - optind <= 1)
		return true;
	*status = cli_usage_error(command, "one trace at a time: '%s' is one too many",
				  argv[optind + 1]);
	return false;
}

/* Anything but a regular file could block the open, or never end. */
static int check_kind(const char *path)
{
	struct stat st;

	if (stat(path, &st)) {
		cli_error("%s: %s", path, strerror(errno));
		return CLI_NOT_A_TRACE;
	}
	if (!S_ISREG(st.st_mode)) {
		cli_error("%s is %s, not a trace file", path,
			  S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
		return CLI_NOT_A_TRACE;
	}
	return CLI_OK;
}

static struct intro_trace *open_trace(const char *path, int *status)
{
	const char *why = NULL;
	struct intro_trace *trace;

	*status = check_kind(path);
	if (*status)
		return NULL;
	trace = intro_trace_open(path, &why);
	if (trace)
		return trace;
	*status = errno == ENOMEM ? CLI_FAILED : CLI_NOT_A_TRACE;
	if (errno == EINVAL || errno == ENODATA || errno == EPROTONOSUPPORT)
		cli_error("%s: %s", path, why ? why : "not a trace of introspect");
	else
		cli_error("%s: %s", path, why && errno != EACCES ? why : strerror(errno));
	return NULL;
}

static int say_damage(const char *path, const struct intro_report_trace *trace)
{
	const struct intro_trace_damage *damage = &trace->damage;
	bool bad = damage->bad_chunks || damage->bad_bytes || damage->bad_records;
	char what[320] = "";
	size_t used = 0;

	if (!damage->truncated && !bad && !*trace->cut)
		return CLI_OK;
	if (*trace->cut)
		cli_error("%s was cut short: %s", path, trace->cut);
	if (!damage->truncated && !bad)
		return CLI_DAMAGED;
	if (damage->truncated)
		used += (size_t)snprintf(what, sizeof(what), "its end is missing%s",
					 bad ? ", and " : "");
	if (bad)
		snprintf(what + used, sizeof(what) - used, "%s, %s and %s are damaged",
			 text_plural(damage->bad_chunks, "chunk").s,
			 text_plural(damage->bad_bytes, "byte").s,
			 text_plural(damage->bad_records, "record").s);
	cli_error("%s is incomplete: %s; what could be read is reported, the rest is 'unknown'",
		  path, what);
	return CLI_DAMAGED;
}

/* The caller's options, with the progress in front of its context. */
struct load {
	struct cli_progress progress;
	const struct intro_report_options *options;
};

static void load_step(void *ctx, double done)
{
	cli_progress_step(&((struct load *)ctx)->progress, done);
}

static void load_task(void *ctx, const struct intro_task *task, const char *pool_name)
{
	const struct intro_report_options *options = ((struct load *)ctx)->options;

	options->task(options->ctx, task, pool_name);
}

struct intro_report *cli_report_load(const char *path, const struct intro_report_options *options,
				     char *used, size_t used_size, int *status)
{
	struct intro_report_options own = {.size = sizeof(own), .progress = load_step};
	struct load load = {.options = options};
	struct intro_report *report;
	struct intro_trace *trace;

	if (path) {
		snprintf(used, used_size, "%s", path);
	} else if (cli_newest_trace(used, used_size)) {
		cli_error("no introspect-*.itr in this directory: name a trace file, or record one "
			  "with 'introspect run'");
		*status = CLI_NOT_A_TRACE;
		return NULL;
	}
	trace = open_trace(used, status);
	if (!trace)
		return NULL;
	if (options) {
		own = *options;
		own.size = sizeof(own);
		own.progress = load_step;
		own.task = options->task ? load_task : NULL;
	}
	own.ctx = &load;
	cli_progress_begin(&load.progress, "introspect: reading");
	report = intro_report_new(trace, &own);
	*status = report ? CLI_OK : CLI_FAILED;
	cli_progress_end(&load.progress);
	if (report)
		*status = say_damage(used, &report->trace);
	else
		cli_error("%s: %s", used, strerror(errno));
	intro_trace_free(trace);
	return report;
}
