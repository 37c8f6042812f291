// SPDX-License-Identifier: BSD-2-Clause
/* record.c - what run and record share: options, the file, the session. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "render.h"

static const char *const sources[] = {"auto", "bpf", "kmod", NULL};

int cli_recording_option(struct cli_recording *recording, const char *command, int option)
{
	struct intro_session_options *options = &recording->options;
	uint64_t number;

	switch (option) {
	case 'o':
		recording->path = optarg;
		break;
	case CLI_OPT_AS_ROOT:
		options->as_root = true;
		break;
	case CLI_OPT_NO_COMPRESS:
		options->no_compress = true;
		break;
	case CLI_OPT_NO_KERNEL:
		options->no_kernel = true;
		break;
	case CLI_OPT_NO_MARKS:
		options->no_marks = true;
		break;
	case CLI_OPT_NUMA:
		options->numa = INTRO_SESSION_NUMA_ON;
		break;
	case CLI_OPT_NO_NUMA:
		options->numa = INTRO_SESSION_NUMA_OFF;
		break;
	case CLI_OPT_BPF_STATS:
		options->bpf_stats = true;
		break;
	case CLI_OPT_SOURCE:
		if (cli_parse_choice(optarg, sources) < 0)
			return cli_usage_error(
				command, "there is no source '%s': auto, bpf or kmod", optarg);
		options->source = optarg;
		break;
	case CLI_OPT_LEVEL:
		if (cli_parse_number(optarg, 1, 19, &number))
			return cli_usage_error(command, "--level '%s' is not within 1 to 19",
					       optarg);
		options->level = (int)number;
		break;
	case CLI_OPT_RING:
		if (cli_parse_bytes(optarg, &number) || number & (number - 1) || number < 4096 ||
		    number > 1u << 30)
			return cli_usage_error(
				command, "--ring-bytes '%s' is not a power of two from 4k to 1G",
				optarg);
		options->ring_bytes = number;
		break;
	}
	return CLI_OK;
}

int cli_recording_check(const struct cli_recording *recording, const char *command)
{
	if (recording->options.no_kernel && recording->options.no_marks)
		return cli_usage_error(command,
				       "--no-kernel and --no-marks leave nothing to record");
	if (recording->options.no_kernel && recording->options.mode == INTRO_SESSION_ALL)
		return cli_usage_error(command, "--all records the kernel's events: not with "
						"--no-kernel");
	return CLI_OK;
}

int cli_recording_open(struct cli_recording *recording, const char *subject)
{
	/* Names and times of what others run are not for everybody. */
	const unsigned mode = 0600;

	if (recording->path)
		return cli_output_create(&recording->output, recording->path, mode);
	return cli_output_create_named(&recording->output, subject, mode);
}

/* --- a line about the time and the size, while nothing else uses the terminal -------------------
 */

struct ticker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool end, started;
	const struct cli_output *output;
};

static void *tick(void *arg)
{
	struct ticker *ticker = arg;
	struct timespec next;
	unsigned seconds = 0;

	clock_gettime(CLOCK_MONOTONIC, &next);
	pthread_mutex_lock(&ticker->lock);
	while (!ticker->end) {
		struct stat st = {0};

		next.tv_sec++;
		pthread_cond_clockwait(&ticker->ended, &ticker->lock, CLOCK_MONOTONIC, &next);
		if (ticker->end)
			break;
		fstatat(ticker->output->dir_fd, ticker->output->name, &st, AT_SYMLINK_NOFOLLOW);
		fprintf(stderr, "\rintrospect: recording: %u s, %s (Ctrl-C ends it) ", ++seconds,
			text_bytes((uint64_t)st.st_size).s);
		fflush(stderr);
	}
	pthread_mutex_unlock(&ticker->lock);
	if (seconds)
		fputs("\r\033[K", stderr);
	return NULL;
}

static void ticker_start(struct ticker *ticker, const struct cli_recording *recording)
{
	sigset_t all, before;

	*ticker = (struct ticker){.lock = PTHREAD_MUTEX_INITIALIZER,
				  .ended = PTHREAD_COND_INITIALIZER,
				  .output = &recording->output};
	if (recording->options.argv || !isatty(STDERR_FILENO))
		return;
	/* The session waits for signals: this thread must not be who takes them. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	ticker->started = !pthread_create(&ticker->thread, NULL, tick, ticker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void ticker_stop(struct ticker *ticker)
{
	if (!ticker->started)
		return;
	pthread_mutex_lock(&ticker->lock);
	ticker->end = true;
	pthread_cond_signal(&ticker->ended);
	pthread_mutex_unlock(&ticker->lock);
	pthread_join(ticker->thread, NULL);
}

/* --------------------------------------------------------------------------------------------- */

/* The exit status for what kept a recording from beginning. */
static int status_of(int error, bool running_command)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return running_command ? CLI_NOT_FOUND : CLI_FAILED;
	case EPERM:
	case EACCES:
		return running_command ? CLI_NOT_EXECUTABLE : CLI_NOT_ALLOWED;
	case ENOEXEC:
	case EISDIR:
	case ETXTBSY:
	case ELOOP:
	case E2BIG:
		return running_command ? CLI_NOT_EXECUTABLE : CLI_FAILED;
	case EOPNOTSUPP:
	case ENOSYS:
		return CLI_NOT_ALLOWED;
	}
	return CLI_FAILED;
}

/*
 * Failures of the disk, and a module that was taken away, leave a file that is worth keeping;
 * others happened before the first event.
 */
static bool is_worth_keeping(int error, const struct intro_session_stats *stats)
{
	return (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO ||
		error == ENODEV) &&
	       stats->events + stats->marks > 0;
}

int cli_recording_run(struct cli_recording *recording)
{
	struct cli_output *output = &recording->output;
	struct intro_session *session;
	struct ticker ticker;
	char why[512] = "";
	int error;

	recording->options.size = sizeof(recording->options);
	session = intro_session_new(&recording->options, output->fd, why, sizeof(why));
	/* The session has closed it, or will. */
	output->fd = -1;
	if (!session) {
		error = errno;
		cli_error("%s", *why ? why : strerror(error));
		cli_output_remove(output);
		return status_of(error, false);
	}
	ticker_start(&ticker, recording);
	error = -intro_session_run(session);
	ticker_stop(&ticker);
	intro_session_stats(session, &recording->stats);
	if (error) {
		snprintf(why, sizeof(why), "%s", intro_session_error(session));
		cli_error("%s", *why ? why : strerror(error));
	}
	intro_session_free(session);
	if (!error)
		return CLI_OK;
	if (is_worth_keeping(error, &recording->stats))
		return CLI_DAMAGED;
	cli_output_remove(output);
	return status_of(error, recording->options.argv != NULL);
}

int cli_recording_status(const struct cli_recording *recording, int status)
{
	int ended = recording->stats.exit_status;

	if (!recording->options.argv || (status != CLI_OK && status != CLI_DAMAGED) || !ended)
		return status;
	return WIFSIGNALED(ended) ? 128 + WTERMSIG(ended) : WEXITSTATUS(ended);
}
