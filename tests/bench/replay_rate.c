// SPDX-License-Identifier: BSD-2-Clause
/*
 * replay_rate.c - records replayed a second on one core, from memory, as "name value" lines in
 * millions: switches  sleeping and waking threads, no tasks tasks     the same threads, each in a
 * task of 10 switches crowd     200 threads a CPU, all in tasks and preempting each other: the cost
 * of knowing who had the CPU The best of 5 runs each.
 */
#include <asm/unistd.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <introspect/replay.h>

#define CPUS 2
#define RECORDS 2000000
#define RUNS 5

union record {
	struct intro_rec rec;
	struct intro_rec_switch sw;
	struct intro_rec_waking waking;
	struct intro_rec_mark mark;
};

struct tape {
	union record *record;
	size_t n;
	uint64_t now, task;
};

static union record *add(struct tape *tape, uint8_t kind, uint16_t cpu, uint32_t tid)
{
	union record *record = &tape->record[tape->n++];

	memset(record, 0, sizeof(*record));
	tape->now += 500;
	record->rec.ts = tape->now;
	record->rec.kind = kind;
	record->rec.rows = 1;
	record->rec.cpu = cpu;
	record->rec.tid = tid;
	return record;
}

static void mark(struct tape *tape, uint8_t kind, uint32_t tid, uint64_t task, uint32_t a)
{
	union record *record = add(tape, kind, INTRO_CPU_NONE, tid);

	record->mark.task = task;
	record->mark.a = a;
	if (kind == INTRO_KIND_END)
		record->mark.b = INTRO_END_RESULT;
}

static void switch_to(struct tape *tape, uint16_t cpu, uint32_t prev, uint32_t next, bool sleeps)
{
	union record *record = add(tape, INTRO_KIND_SWITCH, cpu, prev);

	record->sw.next_tid = next;
	record->sw.state = sleeps ? INTRO_OFF_SLEEP : INTRO_SWITCH_PREEMPT;
	record->sw.sysnr = sleeps ? __NR_futex : INTRO_SYS_NONE;
	record->sw.arg1 = FUTEX_WAIT;
	record->sw.arg0 = 0x7000;
}

/* Threads of one CPU take turns; each is woken before its turn, or was preempted. */
static void fill(struct tape *tape, unsigned threads, bool tasks, bool sleep)
{
	uint64_t inside[CPUS * 256] = {0};
	unsigned turn = 0;

	while (tape->n + 16 < RECORDS) {
		uint16_t cpu = (uint16_t)(turn % CPUS);
		unsigned i = turn / CPUS % threads, next = (i + 1) % threads;
		uint32_t prev_tid = 1000 + i * CPUS + cpu, next_tid = 1000 + next * CPUS + cpu;

		if (tasks && turn / CPUS / threads % 10 == 0) {
			if (inside[next_tid - 1000])
				mark(tape, INTRO_KIND_END, prev_tid, inside[prev_tid - 1000], 0);
			mark(tape, INTRO_KIND_SUBMIT, prev_tid, ++tape->task, 1);
			mark(tape, INTRO_KIND_START, prev_tid, tape->task, 1);
			inside[prev_tid - 1000] = tape->task;
		}
		if (sleep)
			add(tape, INTRO_KIND_WAKING, cpu, next_tid);
		switch_to(tape, cpu, prev_tid, next_tid, sleep);
		turn++;
	}
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double replay_once(const struct tape *tape)
{
	struct intro_replay_options options = {.size = sizeof(options)};
	struct intro_replay *replay = intro_replay_new(&options, NULL);
	double start = seconds();

	for (size_t i = 0; i < tape->n; i++)
		if (intro_replay_push(replay, &tape->record[i].rec))
			exit(1);
	intro_replay_finish(replay, NULL);
	start = seconds() - start;
	intro_replay_free(replay);
	return start;
}

static void measure(const char *name, unsigned threads, bool tasks, bool sleep)
{
	struct tape tape = {.record = malloc(RECORDS * sizeof(union record)), .now = 1000000};
	double best = 1e9;

	if (!tape.record)
		exit(1);
	fill(&tape, threads, tasks, sleep);
	for (int i = 0; i < RUNS; i++) {
		double took = replay_once(&tape);

		if (took < best)
			best = took;
	}
	printf("%s %.2f\n", name, (double)tape.n / best / 1e6);
	free(tape.record);
}

int main(void)
{
	measure("switches", 20, false, true);
	measure("tasks", 20, true, true);
	measure("crowd", 200, true, false);
	return 0;
}
