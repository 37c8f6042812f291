/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers that wait for bytes: from a pipe, whose other end is a slow "device" (a thread that
 * answers requests one by one, each after its delay), and from a file that must reach the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workload.h"

#define ANSWER_BYTES 4096u /* at most PIPE_BUF: written whole */
#define BLOCK_BYTES (64u << 10)

struct request {
	uint64_t seed;
	uint64_t delay_ns;
	int answer; /* pipe to write to and close; -1: the device ends */
};

struct device {
	pthread_t thread;
	int read_fd, write_fd; /* requests */
	char dir[256];	       /* for files */
};

static void *device_main(void *arg)
{
	struct device *device = arg;
	unsigned char data[ANSWER_BYTES];
	const struct job nobody = {0};
	struct request request;

	pthread_setname_np(pthread_self(), "device");
	while (bytes_read(device->read_fd, &request, sizeof(request)) == sizeof(request) &&
	       request.answer >= 0) {
		job_sleep(&nobody, request.delay_ns);
		bytes_fill(data, sizeof(data), request.seed);
		bytes_write(request.answer, data, sizeof(data));
		close(request.answer);
	}
	return NULL;
}

/* Where a file is likely to be on a disk; the first that takes one. */
static bool find_directory(char *dir, size_t size)
{
	const char *places[] = {getenv("TMPDIR"), "/var/tmp", "/tmp", "."};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!places[i] || access(places[i], W_OK | X_OK))
			continue;
		if ((size_t)snprintf(dir, size, "%s", places[i]) < size)
			return true;
	}
	return false;
}

struct device *device_new(void)
{
	struct device *device = calloc(1, sizeof(*device));
	int fd[2], err;

	if (!device)
		return NULL;
	if (!find_directory(device->dir, sizeof(device->dir)) || pipe2(fd, O_CLOEXEC))
		goto fail;
	device->read_fd = fd[0];
	device->write_fd = fd[1];
	err = pthread_create(&device->thread, NULL, device_main, device);
	if (!err)
		return device;
	errno = err;
	close(fd[0]);
	close(fd[1]);
fail:
	free(device);
	return NULL;
}

void device_free(struct device *device)
{
	const struct request last = {.answer = -1};

	if (!device)
		return;
	bytes_write(device->write_fd, &last, sizeof(last));
	pthread_join(device->thread, NULL);
	close(device->read_fd);
	close(device->write_fd);
	free(device);
}

int job_fail(struct intro_call *call, const char *what)
{
	int err = errno ? errno : EIO;

	truth_end(job_of(call)->truth);
	intro_call_error(call, "%s: %s", what, strerror(err));
	return -err;
}

int task_pipe(struct intro_call *call)
{
	const struct job *job = job_of(call);
	struct device *device = job->shared;
	unsigned char data[ANSWER_BYTES];
	struct request request = {.seed = job->seed, .delay_ns = job->ns};
	size_t got;
	int fd[2];

	truth_begin(job->truth, call);
	if (pipe2(fd, O_CLOEXEC))
		return job_fail(call, "pipe");
	request.answer = fd[1];
	if (!bytes_write(device->write_fd, &request, sizeof(request))) {
		close(fd[0]);
		close(fd[1]);
		return job_fail(call, "device");
	}
	got = bytes_read(fd[0], data, sizeof(data));
	close(fd[0]);
	return job_return(call, bytes_sum(data, got));
}

static int file_open(const char *dir)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/introspect-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

int task_file(struct intro_call *call)
{
	const struct job *job = job_of(call);
	struct device *device = job->shared;
	unsigned char data[BLOCK_BYTES];
	uint64_t sum = 0;
	bool ok = true;
	int fd;

	truth_begin(job->truth, call);
	fd = file_open(device->dir);
	if (fd < 0)
		return job_fail(call, device->dir);
	for (uint64_t i = 0; i < job->steps; i++) {
		bytes_fill(data, sizeof(data), job->seed + i);
		ok = ok && bytes_write(fd, data, sizeof(data));
	}
	ok = ok && fdatasync(fd) == 0 && lseek(fd, 0, SEEK_SET) == 0;
	/* out of the cache, so that reading has to wait for the disk, too */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	for (uint64_t i = 0; i < job->steps && ok; i++)
		sum += bytes_sum(data, bytes_read(fd, data, sizeof(data)));
	close(fd);
	return ok ? job_return(call, sum) : job_fail(call, "temporary file");
}

/* The blocks of job->steps that task_file will write and read. */
static uint64_t file_expect(const struct job *job, unsigned char *data)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < job->steps; i++) {
		bytes_fill(data, BLOCK_BYTES, job->seed + i);
		sum += bytes_sum(data, BLOCK_BYTES);
	}
	return sum;
}

void job_expect_pipe(struct job *job, uint64_t delay_ns)
{
	unsigned char data[ANSWER_BYTES];

	bytes_fill(data, sizeof(data), job->seed);
	job->ns = delay_ns;
	job->expect = bytes_sum(data, sizeof(data));
}

void job_expect_file(struct job *job, uint64_t blocks)
{
	unsigned char data[BLOCK_BYTES];

	job->steps = blocks;
	job->expect = file_expect(job, data);
}

static int io_submit(struct workload_run *run, struct crew *crew)
{
	struct task_kind pipes = task_kind(task_pipe, "pipe");
	struct task_kind files = task_kind(task_file, "file");

	while (crew->submitted < crew->tasks) {
		struct job *job = crew_job(crew);
		bool file = crew->submitted % 2;

		if (file)
			job_expect_file(job, 4);
		else
			job_expect_pipe(job, workload_around(&run->seed, run->length_ns));
		if (crew_submit(crew, file ? &files : &pipes))
			return 1;
	}
	return 0;
}

int workload_io_run(struct workload_run *run)
{
	struct device *device = device_new();
	struct crew *crew;
	int status = 1;

	if (!device)
		return workload_fail("io: %s", strerror(errno));
	crew = crew_new(run, INTRO_POOL_THREAD, "io", run->workers, run->tasks, device);
	if (crew) {
		status = io_submit(run, crew);
		status |= crew_wait(crew);
		crew_free(crew);
	}
	snprintf(run->note, sizeof(run->note), "; %u answers from a pipe, %u files in %.100s",
		 (run->tasks + 1) / 2, run->tasks / 2, device->dir);
	device_free(device);
	return status;
}
