// SPDX-License-Identifier: BSD-2-Clause
/* seeds.c - seeds FUZZER DIRECTORY: fills it with inputs for the fuzzer to start from. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <introspect/trace.h>

static int write_records(struct intro_trace_writer *writer)
{
	int err = intro_trace_writer_meta(writer, "{\"cpus\":2,\"command\":[\"a\",\"b\"]}");

	for (uint32_t i = 0; !err && i < 40; i++) {
		struct intro_rec_switch sw = {
			.rec = {.ts = 1000 + i * 7, .kind = INTRO_KIND_SWITCH, .rows = 1, .tid = i},
			.next_tid = i + 1,
		};
		struct intro_rec_task task = {
			.rec = {.ts = 1001 + i * 7, .kind = INTRO_KIND_TASK, .rows = 2, .tid = i},
		};

		err = intro_trace_writer_append(writer, i % 3, &sw, sizeof(sw));
		if (!err)
			err = intro_trace_writer_append(writer, i % 3, &task, sizeof(task));
	}
	return err;
}

static int write_seed(const char *path, const struct intro_trace_options *options, char mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct intro_trace_writer *writer;
	int err;

	/* the fuzzer's own first byte */
	if (fd < 0 || write(fd, &mode, 1) != 1)
		return -1;
	writer = intro_trace_writer_new(fd, options);
	if (!writer)
		return -1;
	err = write_records(writer);
	return intro_trace_writer_close(writer) || err;
}

static int trace_seeds(const char *directory)
{
	for (int i = 0; i < 8; i++) {
		struct intro_trace_options options = {
			.size = sizeof(options),
			.no_compress = i & 1,
			.chunk_bytes = i & 2 ? 64 : 512,
		};
		char path[4096];

		snprintf(path, sizeof(path), "%s/seed-%d", directory, i);
		if (write_seed(path, &options, i & 4 ? '1' : '0'))
			return 1;
	}
	return 0;
}

static void put_switch(FILE *file, uint32_t prev, uint32_t next, uint8_t state, uint8_t operation)
{
	struct intro_rec_switch sw = {
		.rec = {.ts = 50, .kind = INTRO_KIND_SWITCH, .rows = 1, .tid = prev},
		.next_tid = next,
		.state = state,
		.arg1 = operation,
		.sysnr = state == INTRO_OFF_SLEEP ? 202 : INTRO_SYS_NONE,
		.arg0 = 0x5000,
	};

	fwrite(&sw, sizeof(sw), 1, file);
}

static void put_task(FILE *file, uint8_t kind, uint32_t tid, uint32_t other_tid)
{
	struct intro_rec_task task = {
		.rec = {.ts = 10, .kind = kind, .rows = 2, .tid = tid},
		.tgid = 7,
		.ppid = 1,
		.other_tid = other_tid,
		.start_time = 900,
		.comm = "worker",
	};

	fwrite(&task, sizeof(task), 1, file);
}

static void put_waking(FILE *file, uint8_t kind, uint32_t tid, uint32_t waker)
{
	struct intro_rec_waking waking = {
		.rec = {.ts = 5, .kind = kind, .rows = 1, .tid = tid},
		.waker_tid = waker,
	};

	fwrite(&waking, sizeof(waking), 1, file);
}

static void put_mark(FILE *file, uint8_t kind, uint32_t tid, uint64_t task, uint32_t a, uint32_t b)
{
	struct intro_rec_mark mark = {
		.rec = {.ts = 3, .kind = kind, .rows = 1, .cpu = INTRO_CPU_NONE, .tid = tid},
		.task = task,
		.a = a,
		.b = b,
	};

	fwrite(&mark, sizeof(mark), 1, file);
}

/* Two workers, tasks that run, sleep, are waited for; a thread that dies; lost records. */
static void put_story(FILE *file)
{
	put_task(file, INTRO_KIND_TASK, 7, 0);
	for (uint32_t worker = 8; worker < 10; worker++) {
		put_task(file, INTRO_KIND_FORK, worker, 7);
		put_waking(file, INTRO_KIND_WAKEUP_NEW, worker, 7);
		put_switch(file, 7, worker, INTRO_OFF_RUNNABLE, 0);
		put_mark(file, INTRO_KIND_WORKER_START, worker, 0, 1, worker - 8);
		put_switch(file, worker, 7, INTRO_OFF_SLEEP, 137);
	}
	for (uint64_t task = 1; task < 5; task++) {
		uint32_t worker = 8 + task % 2;

		put_mark(file, INTRO_KIND_SUBMIT, 7, task, 1, 0);
		put_waking(file, INTRO_KIND_WAKING, worker, 7);
		put_mark(file, INTRO_KIND_WAIT, 7, task, 0, 0);
		put_switch(file, 7, worker, INTRO_OFF_SLEEP, 137);
		put_mark(file, INTRO_KIND_TAKE, worker, task, 1, worker);
		put_mark(file, INTRO_KIND_START, worker, task, 1, 0);
		put_switch(file, worker, 0, INTRO_OFF_SLEEP, 128);
		put_waking(file, INTRO_KIND_WAKING, worker, 0);
		put_switch(file, 0, worker, INTRO_OFF_RUNNABLE, 0);
		put_switch(file, worker, 7, INTRO_OFF_RUNNABLE | INTRO_SWITCH_PREEMPT, 0);
		put_switch(file, 7, worker, INTRO_OFF_DISK, 0);
		put_mark(file, INTRO_KIND_END, worker, task, task == 3,
			 INTRO_END_RESULT | INTRO_END_WAITED);
		put_waking(file, INTRO_KIND_WAKING, 7, worker);
		put_switch(file, worker, 7, INTRO_OFF_SLEEP, 137);
		put_mark(file, INTRO_KIND_WAKE, 7, task, 0, 0);
	}
	put_mark(file, INTRO_KIND_LOST, 8, 60, 2, 0);
	put_mark(file, INTRO_KIND_SUBMIT, 7, 9, 1, 0);
	put_mark(file, INTRO_KIND_CANCEL, 7, 9, 1, 0);
	put_mark(file, INTRO_KIND_REJECT, 7, 0, 1, 0);
	put_mark(file, INTRO_KIND_SUBMIT, 7, 10, 1, 0);
	put_mark(file, INTRO_KIND_START, 8, 10, 1, 0);
	put_mark(file, INTRO_KIND_EXIT, 8, 9, 1, 0);
	put_switch(file, 8, 7, INTRO_OFF_DEAD, 0);
}

static int replay_seeds(const char *directory)
{
	for (int i = 0; i < 8; i++) {
		char path[4096];
		FILE *file;

		snprintf(path, sizeof(path), "%s/seed-%d", directory, i);
		file = fopen(path, "w");
		if (!file)
			return 1;
		fputc(i, file);
		put_story(file);
		if (fclose(file))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	return strcmp(argv[1], "fuzz_trace") ? replay_seeds(argv[2]) : trace_seeds(argv[2]);
}
