// SPDX-License-Identifier: BSD-2-Clause
/*
 * loop.c - recording: one thread that drains every few milliseconds until the end.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collect/procs.h"
#include "collect/session_internal.h"

#define MS 1000000ull
#define DRAIN_LEAST_MS 1
#define DRAIN_MOST_MS 20
/* A ring this full in percent at a drain: come sooner; and below this: later. */
#define FILL_HIGH 25
#define FILL_LOW 5
/* Chunks are written out after this, so that a killed tracer leaves all but the last second. */
#define FLUSH_NS (1000 * MS)
/* Looking for marks' areas takes at most this part of the time. */
#define FIND_SHARE 200
#define FIND_EVERY_NS (50 * MS)
/* The command's end is seen before its last switch is. */
#define LAST_SWITCH_NS (2 * MS)

enum wanted { GO_ON = 0, FINISH = 1 };

struct loop {
	struct intro_session *session;
	sigset_t before; /* the signals blocked before run */
	int signal_fd;
	unsigned int interval_ms;
	uint64_t deadline; /* 0: none */
	uint64_t flushed, found, find_cost;
	int interrupts;
};

/* The threads of a tree that were not targets before. */
struct newly {
	struct intro__source *source;
	size_t found;
};

static int target_thread(void *ctx, pid_t tid)
{
	struct newly *newly = ctx;

	newly->found += newly->source->ops->target(newly->source, tid) == 0;
	return 0;
}

/*
 * The fork program runs already and sees to the children of targets. A thread that was not a
 * target yet may have had a child while we looked: look until a pass finds nothing new.
 */
static int target_tree(struct intro_session *session)
{
	struct newly newly = {session->source, 1};

	for (int pass = 0; newly.found && pass < 20; pass++) {
		pid_t *pids;
		long n = intro__procs_tree(session->options.pid, &pids);

		if (n <= 0) {
			free(pids);
			return intro__fail(&session->why, n ? -n : ESRCH, "process %d is gone",
					   session->options.pid);
		}
		newly.found = 0;
		for (long i = 0; i < n; i++)
			intro__procs_threads(pids[i], target_thread, &newly);
		free(pids);
	}
	return 0;
}

static int failed_to_write(struct intro_session *session, int error)
{
	if (error == -EPROTO)
		return intro__fail(&session->why, EPROTO, "a ring held no records: please report");
	return intro__fail(&session->why, -error, "cannot write the trace: %s", strerror(-error));
}

static bool is_gone(struct intro_session *session)
{
	struct intro__source *source = session->source;

	return source && source->ops->gone && source->ops->gone(source, &session->cut);
}

static int begin_kernel(struct intro_session *session)
{
	struct intro__source *source = session->source;
	int error;

	if (!source)
		return 0;
	error = source->ops->start(source, &session->why);
	if (!error && session->options.mode == INTRO_SESSION_PID)
		error = target_tree(session);
	if (!error && session->options.mode == INTRO_SESSION_COMMAND)
		source->ops->target(source, session->launch.pid);
	if (error)
		return error;
	error = source->ops->snapshot(source, INTRO_SNAPSHOT_BEGIN, &session->sink);
	return error ? failed_to_write(session, error) : 0;
}

/* Before the command runs: then there is nothing to keep. */
static int gone_at_once(struct intro_session *session, int error)
{
	if (is_gone(session))
		session->why = session->cut;
	return error;
}

static int begin(struct intro_session *session)
{
	struct timespec wall;
	int error;

	session->start_ns = intro__now();
	clock_gettime(CLOCK_REALTIME, &wall);
	session->start_unix_ns = wall.tv_sec * 1000000000ull + wall.tv_nsec;
	error = intro__meta_begin(session);
	if (error)
		return failed_to_write(session, error);
	error = begin_kernel(session);
	if (error)
		return gone_at_once(session, error);
	if (!session->options.argv)
		return 0;
	error = intro__launch_go(&session->launch, session->options.argv[0], &session->why);
	if (error)
		session->exit_status = (error == -ENOENT ? 127 : 126) << 8;
	else
		session->launched = true;
	return error;
}

/* Areas turn up when programs start, or when one first uses the runtime. */
static void find_areas(struct loop *loop, uint64_t now)
{
	struct intro_session *session = loop->session;
	pid_t root = session->options.argv ? session->launch.pid : session->options.pid;

	if (now - loop->found < FIND_EVERY_NS + FIND_SHARE * loop->find_cost)
		return;
	intro__marks_find(session->marks, session->options.mode == INTRO_SESSION_ALL ? 0 : root);
	loop->found = intro__now();
	loop->find_cost = loop->found - now;
}

static int drain(struct loop *loop, bool last)
{
	struct intro_session *session = loop->session;
	unsigned int fill = 0, marks_fill = 0;
	uint64_t now = intro__now();
	int error = 0;

	if (session->source)
		error = session->source->ops->drain(session->source, &session->sink, last, &fill);
	if (!error && session->marks) {
		find_areas(loop, now);
		error = intro__marks_drain(session->marks, &session->sink, last, &marks_fill);
	}
	if (!error && now - loop->flushed > FLUSH_NS / 4) {
		error = intro_trace_writer_flush(session->writer, FLUSH_NS);
		loop->flushed = now;
	}
	if (marks_fill > fill)
		fill = marks_fill;
	if (fill >= FILL_HIGH)
		loop->interval_ms = loop->interval_ms / 2 > DRAIN_LEAST_MS ? loop->interval_ms / 2
									   : DRAIN_LEAST_MS;
	else if (fill < FILL_LOW && loop->interval_ms < DRAIN_MOST_MS)
		loop->interval_ms++;
	session->drains++;
	return error ? failed_to_write(session, error) : 0;
}

/*
 * Ctrl-C reaches the command by itself, being of the terminal's foreground group; what somebody
 * sends to this process alone is passed on. The command decides when to end.
 */
static enum wanted on_signal(struct loop *loop)
{
	struct intro_session *session = loop->session;
	struct signalfd_siginfo info;

	if (read(loop->signal_fd, &info, sizeof(info)) != sizeof(info))
		return GO_ON;
	if (!session->options.argv)
		return FINISH;
	if (info.ssi_code != SI_KERNEL && session->launched && !session->ended)
		kill(session->launch.pid, info.ssi_signo);
	return ++loop->interrupts >= 3 ? FINISH : GO_ON;
}

static void reap(struct intro_session *session)
{
	if (TEMP_FAILURE_RETRY(waitpid(session->launch.pid, &session->exit_status, 0)) ==
	    session->launch.pid)
		session->ended = true;
}

/* Waits for one interval or for what ends the recording. */
static enum wanted wait_a_while(struct loop *loop)
{
	struct intro_session *session = loop->session;
	struct pollfd fds[] = {
		{.fd = session->stop_fd, .events = POLLIN},
		{.fd = loop->signal_fd, .events = POLLIN},
		{.fd = session->options.argv ? session->launch.pidfd : session->target_fd,
		 .events = POLLIN},
	};
	uint64_t now = intro__now();
	int timeout = loop->interval_ms;

	if (loop->deadline && now >= loop->deadline)
		return FINISH;
	if (loop->deadline && loop->deadline - now < timeout * MS)
		timeout = (loop->deadline - now + MS - 1) / MS;
	if (poll(fds, 3, timeout) <= 0)
		return GO_ON;
	if (fds[2].revents) {
		if (session->options.argv)
			reap(session);
		return FINISH;
	}
	if (fds[0].revents)
		return FINISH;
	return fds[1].revents ? on_signal(loop) : GO_ON;
}

static int finish(struct loop *loop)
{
	struct intro_session *session = loop->session;
	struct timespec last_switch = {.tv_nsec = LAST_SWITCH_NS};
	int error;

	if (session->ended || session->target_fd >= 0)
		nanosleep(&last_switch, NULL);
	if (session->marks)
		intro__marks_stop(session->marks);
	error = drain(loop, false);
	if (!error && session->source && !is_gone(session)) {
		error = session->source->ops->snapshot(session->source, INTRO_SNAPSHOT_END,
						       &session->sink);
		if (error)
			error = is_gone(session) ? 0 : failed_to_write(session, error);
	}
	if (session->source)
		session->source->ops->stop(session->source);
	session->end_ns = intro__now();
	if (!error)
		error = drain(loop, true);
	return error;
}

static int record(struct loop *loop)
{
	struct intro_session *session = loop->session;
	int error = begin(session);

	if (error)
		return error;
	if (session->options.duration_ns)
		loop->deadline = intro__now() + session->options.duration_ns;
	do {
		error = drain(loop, false);
	} while (!error && !is_gone(session) && wait_a_while(loop) == GO_ON);
	if (!error)
		return finish(loop);
	if (session->source)
		session->source->ops->stop(session->source);
	session->end_ns = intro__now();
	return error;
}

static int close_file(struct intro_session *session, int error)
{
	struct intro_trace_writer *writer = session->writer;
	int result;

	if (!error && (error = intro__meta_end(session)))
		failed_to_write(session, error);
	if (!error && (error = intro_trace_writer_flush(writer, 0)))
		failed_to_write(session, error);
	intro_trace_writer_stats(writer, &session->written);
	session->writer = NULL;
	result = intro_trace_writer_close(writer);
	if (!error && result)
		error = failed_to_write(session, result);
	return error;
}

static int signals_taken(struct loop *loop)
{
	sigset_t taken;

	sigemptyset(&taken);
	sigaddset(&taken, SIGINT);
	sigaddset(&taken, SIGTERM);
	sigaddset(&taken, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &taken, &loop->before);
	loop->signal_fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	return loop->signal_fd < 0 ? -errno : 0;
}

int intro_session_run(struct intro_session *session)
{
	struct loop loop = {.session = session, .interval_ms = 10};
	int priority = getpriority(PRIO_PROCESS, 0);
	int error = signals_taken(&loop);

	session->cpu_before_s = intro__cpu_s();
	if (error)
		return intro__fail(&session->why, -error, "signalfd: %s", strerror(-error));
	/* The rings fill while others run: come before them. Where that is not allowed, do without.
	 */
	setpriority(PRIO_PROCESS, 0, -20);
	error = record(&loop);
	error = close_file(session, error);
	setpriority(PRIO_PROCESS, 0, priority);
	/* Recording is over, by its own choice or by a failure: the command is not. */
	while (session->launched && !session->ended) {
		struct pollfd fds[] = {{.fd = session->stop_fd, .events = POLLIN},
				       {.fd = loop.signal_fd, .events = POLLIN},
				       {.fd = session->launch.pidfd, .events = POLLIN}};

		poll(fds, 3, -1);
		if (fds[2].revents)
			reap(session);
		else if (fds[0].revents || (fds[1].revents && on_signal(&loop) == FINISH))
			break;
	}
	close(loop.signal_fd);
	pthread_sigmask(SIG_SETMASK, &loop.before, NULL);
	if (!error && *session->cut.text) {
		session->why = session->cut;
		error = -ENODEV;
	}
	return error;
}
