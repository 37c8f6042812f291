/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_SESSION_H
#define INTROSPECT_SESSION_H
/*
 * session.h - recording: start or attach to what is traced, drain the sources into a trace file
 * until it ends. Needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE); see intro_probe.
 *
 * Errors are -errno with one line of reason in intro_session_error: what failed and what
 * to do about it. Nothing is printed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum intro_session_mode {
	INTRO_SESSION_COMMAND = 0, /* start argv, trace it and its descendants */
	INTRO_SESSION_PID = 1,	   /* a running process, its threads and descendants */
	INTRO_SESSION_ALL = 2,	   /* the whole system */
};

/* Whether to count which node's memory each thread gets. */
enum intro_session_numa {
	INTRO_SESSION_NUMA_AUTO = 0, /* on a machine with several nodes */
	INTRO_SESSION_NUMA_ON = 1,
	INTRO_SESSION_NUMA_OFF = 2,
};

/* Zero a struct, set size = sizeof, then what you need. */
struct intro_session_options {
	size_t size;
	enum intro_session_mode mode;
	char *const *argv;    /* COMMAND (with ALL: optional, the recording then ends with it) */
	pid_t pid;	      /* PID */
	bool as_root;	      /* COMMAND: keep root instead of becoming the user behind sudo */
	uint64_t duration_ns; /* 0: until the command ends, the process dies, or stop */
	size_t ring_bytes;    /* per CPU, a power of two; 0: the default */
	const char *source;   /* "bpf", "kmod", "auto": whichever works; NULL: auto */
	bool no_marks, no_kernel;
	enum intro_session_numa numa;
	/* of the trace file */
	int level;
	bool no_compress;
	bool bpf_stats; /* let the kernel time the programs (costs a little) */
	void (*log)(void *ctx, const char *line);
	void *ctx;
};

struct intro_session_stats {
	uint64_t events, lost; /* kernel records and marks stored; not stored */
	uint64_t marks;
	uint64_t duration_ns;
	uint64_t file_bytes;
	double tracer_cpu_s;
	uint64_t bpf_run_ns, bpf_runs; /* of the switch program, with bpf_stats */
	int exit_status;	       /* COMMAND: as waitpid(2) gives it */
};

struct intro_session;
/*
 * Takes over fd, an empty file that the trace goes to. On failure NULL and errno, and
 * `error` (may be NULL) of error_size bytes holds the reason.
 */
struct intro_session *intro_session_new(const struct intro_session_options *options, int fd,
					char *error, size_t error_size);
/*
 * Records until the end. Returns 0 or -errno. One thread, which for that time has the highest
 * ordinary priority and takes SIGINT, SIGTERM and SIGHUP: they end a recording without a command;
 * with one, what was sent to this process alone is passed on to it (the terminal tells it of Ctrl-C
 * itself), it ends as it likes, and the recording with it; the third signal ends the recording
 * alone.
 *
 * A command outlives whatever ends the recording before it (duration_ns, a full disk, the removal
 * of the kernel module): the file is closed at once, and run then waits for the command, for
 * exit_status. Not after stop. -ENODEV: what records was taken away; the file is whole up to there.
 */
int intro_session_run(struct intro_session *session);
/* Makes run come to its end; safe from a signal handler and from other threads. */
void intro_session_stop(struct intro_session *session);
const char *intro_session_error(const struct intro_session *session);
void intro_session_stats(const struct intro_session *session, struct intro_session_stats *stats);
void intro_session_free(struct intro_session *session);

/* What this kernel and these privileges allow: one row a feature, for `introspect doctor`. */
enum intro_probe_verdict { INTRO_PROBE_OK = 0, INTRO_PROBE_DEGRADED = 1, INTRO_PROBE_MISSING = 2 };
struct intro_probe_row {
	const char *feature; /* "BPF programs", "kernel BTF", "pt_regs of a sleeper" */
	enum intro_probe_verdict verdict;
	char finding[128]; /* what was found */
	char remedy[160];  /* what to do; "" when nothing */
};
/* Fills up to n rows, returns how many there are. */
size_t intro_probe(struct intro_probe_row *rows, size_t n);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
