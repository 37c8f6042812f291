// SPDX-License-Identifier: BSD-2-Clause
/*
 * probe_bpf.c - what the programs can do here, found by having them do it.
 */
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "collect/probe.h"

#define NOT_LOADED "not tried: the programs cannot be loaded"

void intro__probe_programs(struct intro__probe *probe, struct intro_probe_row *row)
{
	struct intro__source_stats stats;

	if (!probe->source) {
		intro__probe_say(row, INTRO_PROBE_MISSING, "%.120s", probe->why.text);
		intro__probe_advise(row, "run with sudo, on Linux 6.1 or later with "
					 "CONFIG_DEBUG_INFO_BTF; marks alone: --no-kernel");
		return;
	}
	probe->source->ops->stats(probe->source, &stats);
	intro__probe_say(row, INTRO_PROBE_OK, "%zu load; rings of %zu KB on %zu CPUs",
			 stats.programs + 1, stats.ring_bytes >> 10,
			 probe->source->ops->cpus(probe->source));
}

void intro__probe_tracepoints(struct intro__probe *probe, struct intro_probe_row *row)
{
	static const char *const names[] = {
		"sched_switch",	      "sched_waking",	    "sched_wakeup_new",
		"sched_migrate_task", "sched_process_fork", "sched_process_exec",
		"sched_process_exit", "task_rename",
	};
	struct btf *btf = btf__load_vmlinux_btf();
	char missing[100] = "";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t used = strlen(missing);
		char type[64];

		snprintf(type, sizeof(type), "btf_trace_%s", names[i]);
		if (!btf || btf__find_by_name_kind(btf, type, BTF_KIND_TYPEDEF) < 0)
			snprintf(missing + used, sizeof(missing) - used, " %s", names[i]);
	}
	btf__free(btf);
	if (!*missing) {
		intro__probe_say(row, INTRO_PROBE_OK, "all 8 are described in BTF");
		return;
	}
	intro__probe_say(row, INTRO_PROBE_MISSING, "not in BTF:%s", missing);
	intro__probe_advise(row, "boot a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_TRACEPOINTS");
}

void intro__probe_attach(struct intro__probe *probe, struct intro_probe_row *row)
{
	if (!probe->source) {
		intro__probe_say(row, INTRO_PROBE_MISSING, NOT_LOADED);
	} else if (probe->source->ops->start(probe->source, &probe->why)) {
		intro__probe_say(row, INTRO_PROBE_MISSING, "%.120s", probe->why.text);
		intro__probe_advise(row, "run with sudo (CAP_PERFMON)");
	} else {
		intro__probe_say(row, INTRO_PROBE_OK, "all attach");
	}
}

/* After they were attached. */
void intro__probe_numa(struct intro__probe *probe, struct intro_probe_row *row)
{
	static const char *const names[] = {"pages", "hinting faults", "moved pages", "decisions"};
	const unsigned int all = (1u << (sizeof(names) / sizeof(names[0]))) - 1;
	struct intro__source_stats stats;
	char what[80] = "";

	if (!probe->source) {
		intro__probe_say(row, INTRO_PROBE_MISSING, NOT_LOADED);
		return;
	}
	probe->source->ops->stats(probe->source, &stats);
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t used = strlen(what);

		if (stats.counts & 1u << i)
			snprintf(what + used, sizeof(what) - used, "%s%s", used ? ", " : "",
				 names[i]);
	}
	/* one node leaves nothing to know */
	intro__probe_say(row,
			 stats.counts == all || probe->nodes == 1 ? INTRO_PROBE_OK
								  : INTRO_PROBE_DEGRADED,
			 "%zu node%s; %s%s", probe->nodes, probe->nodes == 1 ? "" : "s",
			 *what ? "counts " : stats.no_counts, what);
	if (row->verdict != INTRO_PROBE_OK)
		intro__probe_advise(row, stats.counts ? "the rest needs CONFIG_NUMA_BALANCING and "
							"function tracing in the kernel"
						      : "run where memory of all nodes is allowed");
}

/* Looks for one thread in a snapshot. */
struct wanted {
	uint32_t tid;
	uint64_t records;
	bool found;
	struct intro_rec_snapshot snapshot;
};

static int look(void *ctx, uint32_t stream, const void *records, size_t bytes)
{
	struct wanted *wanted = ctx;

	for (size_t at = 0; at + sizeof(wanted->snapshot) <= bytes;
	     at += sizeof(wanted->snapshot)) {
		const struct intro_rec *rec = (const void *)((const uint8_t *)records + at);

		wanted->records++;
		if (rec->kind == INTRO_KIND_SNAPSHOT && rec->tid == wanted->tid) {
			memcpy(&wanted->snapshot, rec, sizeof(wanted->snapshot));
			wanted->found = true;
		}
	}
	return 0;
}

static int snapshot_of(struct intro__probe *probe, struct wanted *wanted)
{
	struct intro__sink sink = {look, wanted};
	struct intro__source *source = probe->source;

	source->ops->target(source, wanted->tid);
	return source->ops->snapshot(source, INTRO_SNAPSHOT_BEGIN, &sink);
}

void intro__probe_snapshot(struct intro__probe *probe, struct intro_probe_row *row)
{
	struct wanted wanted = {.tid = getpid()};
	int error;

	if (!probe->source) {
		intro__probe_say(row, INTRO_PROBE_MISSING, NOT_LOADED);
		return;
	}
	error = snapshot_of(probe, &wanted);
	if (error || !wanted.found) {
		intro__probe_say(row, INTRO_PROBE_DEGRADED, "does not find this process: %s",
				 error ? strerror(-error) : "not in the list");
		intro__probe_advise(row, "in a container: share the host's pid namespace");
		return;
	}
	intro__probe_say(row, INTRO_PROBE_OK, "finds this process");
}

static uint32_t sleep_word;

static void __attribute__((noreturn)) sleeper(int pipe_read)
{
	char byte;

	if (pipe_read < 0)
		syscall(SYS_futex, &sleep_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	else if (read(pipe_read, &byte, 1) < 0)
		_exit(1);
	_exit(0);
}

/* A child's record once it sleeps in a system call; gives up after a second. */
static bool watch_sleeper(struct intro__probe *probe, int pipe_read, struct wanted *wanted)
{
	struct timespec pause = {.tv_nsec = 10000000};
	pid_t pid = fork();

	if (pid == 0)
		sleeper(pipe_read);
	if (pid < 0)
		return false;
	wanted->tid = pid;
	for (int i = 0; i < 100; i++) {
		nanosleep(&pause, NULL);
		wanted->found = false;
		if (snapshot_of(probe, wanted) ||
		    (wanted->found && (wanted->snapshot.state & INTRO_OFF_MASK) == INTRO_OFF_SLEEP))
			break;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return wanted->found;
}

void intro__probe_futex(struct intro__probe *probe, struct intro_probe_row *row)
{
	struct wanted wanted = {};

	if (!probe->source) {
		intro__probe_say(row, INTRO_PROBE_MISSING, NOT_LOADED);
	} else if (watch_sleeper(probe, -1, &wanted) && wanted.snapshot.sysnr == SYS_futex &&
		   wanted.snapshot.arg0 == (uintptr_t)&sleep_word &&
		   wanted.snapshot.arg1 == FUTEX_WAIT) {
		intro__probe_say(row, INTRO_PROBE_OK, "tell its system call, futex and operation");
	} else {
		intro__probe_say(row, INTRO_PROBE_DEGRADED,
				 "system call %d, argument %#llx instead of futex %p",
				 wanted.snapshot.sysnr, wanted.snapshot.arg0, (void *)&sleep_word);
		intro__probe_advise(row, "sleeps cannot be told apart: blocked time has no cause");
	}
}

void intro__probe_file(struct intro__probe *probe, struct intro_probe_row *row)
{
	struct wanted wanted = {};
	int fd[2];

	if (!probe->source) {
		intro__probe_say(row, INTRO_PROBE_MISSING, NOT_LOADED);
		return;
	}
	if (pipe(fd)) {
		intro__probe_say(row, INTRO_PROBE_DEGRADED, "no pipe to try with: %m");
		return;
	}
	if (watch_sleeper(probe, fd[0], &wanted) && wanted.snapshot.arg1 == S_IFIFO >> 12) {
		intro__probe_say(row, INTRO_PROBE_OK, "tell a pipe from a socket from a file");
	} else {
		intro__probe_say(row, INTRO_PROBE_DEGRADED, "system call %d, type %d: not a pipe",
				 wanted.snapshot.sysnr, wanted.snapshot.arg1);
		intro__probe_advise(row, "reads and writes are reported by name only");
	}
	close(fd[0]);
	close(fd[1]);
}
