/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_H
#define CLI_H
/*
 * cli.h - what the subcommands share. A subcommand is `int cmd_name(int argc, char **argv)`,
 * argv[0] being its own name; it returns the exit status of the program. It turns options into
 * calls of the library and hands the answer to render.h; only render_*.c print results.
 *
 * Errors are one line on stderr, through cli_error or cli_usage_error.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <introspect/report.h>
#include <introspect/session.h>
#include <introspect/trace.h>

/* Exit statuses; introspect(1) documents them. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,	      /* failed while working */
	CLI_USAGE = 2,	      /* wrong usage */
	CLI_DAMAGED = 3,      /* reported, but the trace is damaged or cut */
	CLI_NOT_A_TRACE = 4,  /* the file cannot be read, or is not a trace */
	CLI_NOT_ALLOWED = 77, /* a privilege or a kernel feature is missing */
	CLI_NOT_EXECUTABLE = 126,
	CLI_NOT_FOUND = 127,
};

int cmd_doctor(int argc, char **argv);
int cmd_numa(int argc, char **argv);
int cmd_record(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_tasks(int argc, char **argv);
int cmd_threads(int argc, char **argv);
int cmd_workload(int argc, char **argv);

/* util.c */

/* Prints "introspect: ...\n" on stderr as one line; control characters are escaped. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, then where help is found. Returns CLI_USAGE. `command` may be NULL. */
int cli_usage_error(const char *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* What a subcommand understands. */
struct cli_syntax {
	const char *command, *usage;
	const char *letters; /* of getopt_long, with ':' first (after '+'), 'h' among them */
	const struct option *options;
	/* One option, its value in optarg: CLI_OK, or an exit status after one line. */
	int (*take)(void *ctx, int option);
};
/*
 * Takes the options in argv; optind is then the first operand. CLI_OK; -1: --help was printed; or
 * an exit status after one line.
 */
int cli_parse(const struct cli_syntax *syntax, void *ctx, int argc, char **argv);
/* All of text is a decimal number in min..max: 0, else -EINVAL. */
int cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);
/* "10", "0.5": seconds above 0, to ns. 0 or -EINVAL. */
int cli_parse_seconds(const char *text, uint64_t *ns);
/* "4096", "64k", "4M", "1G": bytes. 0 or -EINVAL. */
int cli_parse_bytes(const char *text, uint64_t *bytes);
/* The index of text in the NULL-ended list, or -1. */
int cli_parse_choice(const char *text, const char *const *choices);
/* status, unless stdout could not be written: then one line and CLI_FAILED. */
int cli_flush(int status);

/* output.c: files that a subcommand makes */

struct cli_output {
	int fd;	    /* -1: none */
	int dir_fd; /* where it is, so that a directory that is moved cannot mislead the removal */
	uint64_t device, inode;
	char name[256];	 /* within dir_fd */
	char path[4096]; /* as people know it */
};

/*
 * Creates a new file (never an existing one, never through a link at its end) for writing. When
 * sudo runs us it is made with the rights of the user behind sudo, else as root, and belongs to
 * that user. 0; or CLI_FAILED after one line on stderr.
 */
int cli_output_create(struct cli_output *output, const char *path, unsigned mode);
/* The same in the current directory, named introspect-<subject>-YYYYmmdd-HHMMSS.itr. */
int cli_output_create_named(struct cli_output *output, const char *subject, unsigned mode);
/* Removes the file if it is still the one that was made; closes. */
void cli_output_remove(struct cli_output *output);
/* Closes what is still open; keeps the file. */
void cli_output_close(struct cli_output *output);

/* input.c: traces that a subcommand reads */

/* The newest introspect-*.itr of the current directory into path. 0 or -ENOENT, -errno. */
int cli_newest_trace(char *path, size_t size);

/*
 * Opens argv[optind], or the newest trace when there is none, and makes the report. `options` may
 * be NULL; its progress and size are set here. NULL: one line was printed and *status is the exit
 * status. Otherwise *status is CLI_OK, or CLI_DAMAGED after one line said what is missing.
 */
struct intro_report *cli_report_load(const char *path, const struct intro_report_options *options,
				     char *used, size_t used_size, int *status);
/* The only operand, or NULL; more than one is a usage error: false, with *status. */
bool cli_operand(const char *command, int argc, char **argv, const char **path, int *status);

/* progress.c: on a terminal, and only for what takes over a second */

struct cli_progress {
	const char *what;
	uint64_t begin_ns, last_ns;
	bool terminal, shown;
};
void cli_progress_begin(struct cli_progress *progress, const char *what);
/* done: 0..1 */
void cli_progress_step(struct cli_progress *progress, double done);
void cli_progress_end(struct cli_progress *progress);

/* record.c: what run and record share */

struct cli_recording {
	struct intro_session_options options;
	const char *path; /* -o; NULL: named after the subject */
	struct cli_output output;
	struct intro_session_stats stats;
};

/* Option values above the characters: shared by run and record. */
enum cli_record_option {
	CLI_OPT_AS_ROOT = 256,
	CLI_OPT_NO_COMPRESS,
	CLI_OPT_NO_KERNEL,
	CLI_OPT_NO_MARKS,
	CLI_OPT_NUMA,
	CLI_OPT_NO_NUMA,
	CLI_OPT_BPF_STATS,
	CLI_OPT_LEVEL,
	CLI_OPT_SOURCE,
	CLI_OPT_RING,
	CLI_OPT_REPORT,
	CLI_OPT_JSON,
};
#define CLI_RECORD_OPTIONS                                                                         \
	{"as-root", no_argument, NULL, CLI_OPT_AS_ROOT},                                           \
		{"bpf-stats", no_argument, NULL, CLI_OPT_BPF_STATS},                               \
		{"help", no_argument, NULL, 'h'},                                                  \
		{"level", required_argument, NULL, CLI_OPT_LEVEL},                                 \
		{"no-compress", no_argument, NULL, CLI_OPT_NO_COMPRESS},                           \
		{"no-kernel", no_argument, NULL, CLI_OPT_NO_KERNEL},                               \
		{"no-marks", no_argument, NULL, CLI_OPT_NO_MARKS},                                 \
		{"numa", no_argument, NULL, CLI_OPT_NUMA},                                         \
		{"no-numa", no_argument, NULL, CLI_OPT_NO_NUMA},                                   \
		{"output", required_argument, NULL, 'o'},                                          \
		{"ring-bytes", required_argument, NULL, CLI_OPT_RING},                             \
	{                                                                                          \
		"source", required_argument, NULL, CLI_OPT_SOURCE                                  \
	}
#define CLI_RECORD_HELP                                                                            \
	"  -o, --output FILE      the trace file (default introspect-NAME-DATE-TIME.itr here)\n"   \
	"      --as-root          keep root for COMMAND, instead of the user behind sudo\n"        \
	"      --ring-bytes SIZE  kernel ring of each CPU, a power of two (64k, 8M)\n"             \
	"      --level N          zstd level of the trace file\n"                                  \
	"      --no-compress      store records as they are\n"                                     \
	"      --no-marks         leave out what the program's pools say\n"                        \
	"      --no-kernel        leave out what the kernel says (needs no privilege)\n"           \
	"      --numa, --no-numa  count which node's memory threads get, or not (default: where\n" \
	"                         there are several nodes)\n"                                      \
	"      --source NAME      where kernel records come from: auto, bpf\n"                     \
	"      --bpf-stats        let the kernel time introspect's own programs\n"                 \
	"  -h, --help             this text\n"

/* Applies one of the shared options (not 'h'). CLI_OK, or CLI_USAGE after one line. */
int cli_recording_option(struct cli_recording *recording, const char *command, int option);
/* Whether the options go together. CLI_OK, or CLI_USAGE after one line. */
int cli_recording_check(const struct cli_recording *recording, const char *command);
/* Makes the file: before anything is started. CLI_OK, or CLI_FAILED after one line. */
int cli_recording_open(struct cli_recording *recording, const char *subject);
/*
 * Records until the end. CLI_OK; CLI_DAMAGED after one line: the file was kept, but is cut; or
 * another exit status after one line, and the file is removed.
 */
int cli_recording_run(struct cli_recording *recording);
/*
 * The exit status of the program after cli_recording_run gave `status`: how the command ended, if
 * there was one and it did not end well; else status.
 */
int cli_recording_status(const struct cli_recording *recording, int status);

#endif
