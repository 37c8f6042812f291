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

static void fill(unsigned char *data, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t x = workload_random(&seed);

		memcpy(data + i, &x, 8);
	}
}

static uint64_t checksum(const unsigned char *data, size_t bytes)
{
	uint64_t sum = bytes;

	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t x;

		memcpy(&x, data + i, 8);
		sum = sum * 31 + x;
	}
	return sum;
}

static bool write_all(int fd, const void *data, size_t bytes)
{
	const char *p = data;

	while (bytes) {
		ssize_t n = write(fd, p, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		bytes -= (size_t)n;
	}
	return true;
}

/* How much came before the end of the file. */
static size_t read_all(int fd, void *data, size_t bytes)
{
	size_t got = 0;

	while (got < bytes) {
		ssize_t n = read(fd, (char *)data + got, bytes - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	return got;
}

static void *device_main(void *arg)
{
	struct device *device = arg;
	unsigned char data[ANSWER_BYTES];
	const struct job nobody = {0};
	struct request request;

	pthread_setname_np(pthread_self(), "device");
	while (read_all(device->read_fd, &request, sizeof(request)) == sizeof(request) &&
	       request.answer >= 0) {
		job_sleep(&nobody, request.delay_ns);
		fill(data, sizeof(data), request.seed);
		write_all(request.answer, data, sizeof(data));
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
	write_all(device->write_fd, &last, sizeof(last));
	pthread_join(device->thread, NULL);
	close(device->read_fd);
	close(device->write_fd);
	free(device);
}

static int failed(struct intro_call *call, const char *what)
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
		return failed(call, "pipe");
	request.answer = fd[1];
	if (!write_all(device->write_fd, &request, sizeof(request))) {
		close(fd[0]);
		close(fd[1]);
		return failed(call, "device");
	}
	got = read_all(fd[0], data, sizeof(data));
	close(fd[0]);
	return job_return(call, checksum(data, got));
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
		return failed(call, device->dir);
	for (uint64_t i = 0; i < job->steps; i++) {
		fill(data, sizeof(data), job->seed + i);
		ok = ok && write_all(fd, data, sizeof(data));
	}
	ok = ok && fdatasync(fd) == 0 && lseek(fd, 0, SEEK_SET) == 0;
	/* out of the cache, so that reading has to wait for the disk, too */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	for (uint64_t i = 0; i < job->steps && ok; i++)
		sum += checksum(data, read_all(fd, data, sizeof(data)));
	close(fd);
	return ok ? job_return(call, sum) : failed(call, "temporary file");
}

/* The blocks of job->steps that task_file will write and read. */
static uint64_t file_expect(const struct job *job, unsigned char *data)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < job->steps; i++) {
		fill(data, BLOCK_BYTES, job->seed + i);
		sum += checksum(data, BLOCK_BYTES);
	}
	return sum;
}

void job_expect_pipe(struct job *job, uint64_t delay_ns)
{
	unsigned char data[ANSWER_BYTES];

	fill(data, sizeof(data), job->seed);
	job->ns = delay_ns;
	job->expect = checksum(data, sizeof(data));
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
