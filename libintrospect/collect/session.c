// SPDX-License-Identifier: BSD-2-Clause
/*
 * session.c - a recording's life: everything is acquired in intro_session_new, so that what can
 * fail fails before the command runs; intro_session_run is in loop.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <introspect/area.h>

#include "collect/session_internal.h"

double intro__cpu_s(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return used.tv_sec + used.tv_nsec / 1e9;
}

static int put(void *ctx, uint32_t stream, const void *records, size_t bytes)
{
	struct intro_session *session = ctx;

	if (!bytes)
		return 0;
	return intro_trace_writer_append(session->writer, stream, records, bytes);
}

/* In the order in which "auto" tries them. */
static const struct intro__source_ops *const sources[] = {&intro__source_bpf, &intro__source_kmod};

static int open_source(struct intro_session *session)
{
	const struct intro_session_options *options = &session->options;
	const char *name = options->source ? options->source : "auto";
	struct intro__source_options how = {
		.ring_bytes = options->ring_bytes,
		.whole_system = options->mode == INTRO_SESSION_ALL,
		.stats = options->bpf_stats,
		.topology = session->topology,
		.numa = session->numa,
	};
	int error, first = 0; /* the first one's reason is told */

	if (options->no_kernel)
		return 0;
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		struct intro__reason why;

		if (strcmp(name, "auto") && strcmp(name, sources[i]->name))
			continue;
		error = sources[i]->open(&session->source, &how, &why);
		if (!error)
			return 0;
		if (!first)
			session->why = why;
		first = first ? first : error;
	}
	if (!first)
		return intro__fail(&session->why, EINVAL, "no such source: %s", name);
	return first;
}

static int open_marks(struct intro_session *session, int *area_fd)
{
	*area_fd = -1;
	if (session->options.no_marks)
		return 0;
	session->marks = intro__marks_new();
	if (!session->marks)
		return intro__fail(&session->why, errno, "out of memory");
	if (!session->options.argv)
		return 0;
	*area_fd = intro__marks_create(session->marks, intro__launch_uid(session->options.as_root));
	if (*area_fd < 0)
		return intro__fail(&session->why, -*area_fd, "cannot make the marks' memory: %s",
				   strerror(-*area_fd));
	return 0;
}

static int open_target(struct intro_session *session, int area_fd)
{
	const struct intro_session_options *options = &session->options;

	if (options->argv)
		return intro__launch_prepare(&session->launch, options->argv, options->as_root,
					     area_fd, INTRO_AREA_ENV, &session->why);
	if (options->mode == INTRO_SESSION_ALL)
		return 0;
	session->target_fd = syscall(SYS_pidfd_open, options->pid, 0);
	if (session->target_fd >= 0)
		return 0;
	if (errno == EINVAL && options->pid > 0)
		errno = kill(options->pid, 0) ? ESRCH : EINVAL;
	if (errno == ESRCH)
		return intro__fail(&session->why, ESRCH, "no process has the number %d",
				   options->pid);
	return intro__fail(&session->why, errno, "cannot watch process %d: %s", options->pid,
			   strerror(errno));
}

static int check_options(struct intro_session *session)
{
	const struct intro_session_options *options = &session->options;

	if (options->mode == INTRO_SESSION_COMMAND && (!options->argv || !options->argv[0]))
		return intro__fail(&session->why, EINVAL, "no command given");
	if (options->mode == INTRO_SESSION_PID && options->argv)
		return intro__fail(&session->why, EINVAL, "both a process and a command are given");
	if (options->mode == INTRO_SESSION_PID && options->pid <= 0)
		return intro__fail(&session->why, EINVAL, "not a process number: %d", options->pid);
	if (options->no_kernel && options->no_marks)
		return intro__fail(&session->why, EINVAL, "neither kernel events nor marks wanted");
	return 0;
}

static int open_all(struct intro_session *session)
{
	int area_fd, error;

	session->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (session->stop_fd < 0)
		return intro__fail(&session->why, errno, "eventfd: %s", strerror(errno));
	session->topology = intro_topology_of_machine("/sys");
	if (!session->topology)
		return intro__fail(&session->why, ENOMEM, "out of memory");
	session->numa = session->options.numa == INTRO_SESSION_NUMA_ON ||
			(session->options.numa == INTRO_SESSION_NUMA_AUTO &&
			 session->topology->nodes_n > 1);
	error = check_options(session);
	if (!error)
		error = open_source(session);
	if (!error)
		error = open_marks(session, &area_fd);
	if (!error)
		error = open_target(session, area_fd);
	return error;
}

struct intro_session *intro_session_new(const struct intro_session_options *options, int fd,
					char *error_text, size_t error_size)
{
	struct intro_session *session = calloc(1, sizeof(*session));
	size_t size = options->size;
	int error;

	if (!session) {
		close(fd);
		errno = ENOMEM;
		return NULL;
	}
	if (size > sizeof(session->options))
		size = sizeof(session->options);
	memcpy(&session->options, options, size);
	session->stop_fd = session->target_fd = -1;
	session->launch = (struct intro__launch){.pidfd = -1, .go = -1, .failed = -1};
	session->sink = (struct intro__sink){put, session};
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	error = open_all(session);
	if (!error) {
		struct intro_trace_options how = {
			.size = sizeof(how),
			.level = session->options.level,
			.no_compress = session->options.no_compress,
		};

		session->writer = intro_trace_writer_new(fd, &how);
		if (session->writer)
			return session;
		error = intro__fail(&session->why, errno, "cannot begin the trace file: %s",
				    strerror(errno));
	}
	close(fd);
	if (error_text && error_size)
		snprintf(error_text, error_size, "%s", session->why.text);
	intro_session_free(session);
	errno = -error;
	return NULL;
}

void intro_session_stop(struct intro_session *session)
{
	int error = errno;
	uint64_t one = 1;

	if (write(session->stop_fd, &one, sizeof(one)) < 0)
		errno = 0; /* it is full: it was stopped often */
	errno = error;
}

const char *intro_session_error(const struct intro_session *session)
{
	return session->why.text;
}

void intro_session_stats(const struct intro_session *session, struct intro_session_stats *stats)
{
	struct intro__source_stats source = {};
	struct intro__marks_stats marks = {};

	memset(stats, 0, sizeof(*stats));
	for (size_t i = 0; session->source && i < session->source->ops->cpus(session->source);
	     i++) {
		struct intro__cpu_stats cpu;

		session->source->ops->cpu_stats(session->source, i, &cpu);
		stats->lost += cpu.lost;
	}
	if (session->source)
		session->source->ops->stats(session->source, &source);
	if (session->marks)
		intro__marks_stats(session->marks, &marks);
	stats->lost += marks.lost;
	stats->marks = marks.stored;
	stats->events = session->written.records;
	stats->file_bytes = session->written.file_bytes;
	stats->duration_ns = session->end_ns - session->start_ns;
	stats->tracer_cpu_s = session->tracer_cpu_s;
	stats->exit_status = session->exit_status;
	for (size_t i = 0; i < source.programs; i++) {
		if (!strcmp(source.program[i].name, "on_switch")) {
			stats->bpf_run_ns = source.program[i].run_ns;
			stats->bpf_runs = source.program[i].runs;
		}
	}
}

void intro_session_free(struct intro_session *session)
{
	if (!session)
		return;
	intro__launch_free(&session->launch);
	if (session->source)
		session->source->ops->close(session->source);
	intro__marks_free(session->marks);
	intro_trace_writer_free(session->writer);
	intro_topology_free(session->topology);
	if (session->target_fd >= 0)
		close(session->target_fd);
	if (session->stop_fd >= 0)
		close(session->stop_fd);
	free(session);
}
