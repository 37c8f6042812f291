/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tasks themselves know, kept in memory until all is over. A task costs six system
 * calls more (four clocks, two getrusage), inside its own time, so a tracer sees them as its work.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "workload.h"

struct truth *truth_new(size_t n)
{
	void *p = mmap(NULL, (n ? n : 1) * sizeof(struct truth), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void truth_free(struct truth *truths, size_t n)
{
	if (truths)
		munmap(truths, (n ? n : 1) * sizeof(*truths));
}

void truth_submit(struct truth *truth, const char *name)
{
	if (!truth)
		return;
	truth->name = name;
	truth->submit_ns = workload_now();
}

/*
 * Reading the CPU clock takes longer than what is to be found out by it. So it is told how long:
 * the clock had its value at some moment of that time, which the first reading makes short.
 */
static uint64_t read_cpu(struct truth *truth, uint64_t *before, uint64_t *after)
{
	uint64_t cpu;

	workload_cpu();
	*before = workload_now();
	cpu = workload_cpu();
	*after = workload_now();
	truth->reading_ns += *after - *before;
	return cpu;
}

/*
 * begin leaves "minus what was", end adds "what is": the sum over all parts is what was used.
 * The CPU clock is read innermost, next to the work.
 */
void truth_begin_task(struct truth *truth, uint64_t task)
{
	struct rusage usage;
	uint64_t before, after;

	if (!truth)
		return;
	getrusage(RUSAGE_THREAD, &usage);
	truth->voluntary -= (uint64_t)usage.ru_nvcsw;
	truth->involuntary -= (uint64_t)usage.ru_nivcsw;
	truth->minor_faults -= (uint64_t)usage.ru_minflt;
	truth->major_faults -= (uint64_t)usage.ru_majflt;
	if (!truth->parts) {
		truth->id = task;
		truth->tid = (uint32_t)gettid();
	}
	truth->cpu_ns -= read_cpu(truth, &before, &after);
	if (!truth->parts++)
		truth->start_ns = before;
}

void truth_end(struct truth *truth)
{
	struct rusage usage;
	uint64_t before;

	if (!truth)
		return;
	truth->cpu_ns += read_cpu(truth, &before, &truth->end_ns);
	getrusage(RUSAGE_THREAD, &usage);
	truth->voluntary += (uint64_t)usage.ru_nvcsw;
	truth->involuntary += (uint64_t)usage.ru_nivcsw;
	truth->minor_faults += (uint64_t)usage.ru_minflt;
	truth->major_faults += (uint64_t)usage.ru_majflt;
}

void truth_write(FILE *file, const char *pool, const struct truth *truths, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct truth *t = &truths[i];

		if (!t->end_ns) /* it did not run, or its worker died in it */
			continue;
		fprintf(file,
			"{\"id\":%ju,\"pool\":\"%s\",\"name\":\"%s\",\"worker_tid\":%u,\"parts\":%"
			"u,"
			"\"submit_ns\":%ju,\"start_ns\":%ju,\"end_ns\":%ju,\"cpu_ns\":%ju,"
			"\"reading_ns\":%ju,\"slept_ns\":%ju,\"sleep_asked_ns\":%ju,\"lock_wait_"
			"ns\":%ju,"
			"\"voluntary\":%ju,\"involuntary\":%ju,\"minor_faults\":%ju,"
			"\"major_faults\":%ju}\n",
			(uintmax_t)t->id, pool, t->name ? t->name : "", t->tid, t->parts,
			(uintmax_t)t->submit_ns, (uintmax_t)t->start_ns, (uintmax_t)t->end_ns,
			(uintmax_t)t->cpu_ns, (uintmax_t)t->reading_ns, (uintmax_t)t->slept_ns,
			(uintmax_t)t->sleep_asked_ns, (uintmax_t)t->lock_wait_ns,
			(uintmax_t)t->voluntary, (uintmax_t)t->involuntary,
			(uintmax_t)t->minor_faults, (uintmax_t)t->major_faults);
	}
}

static bool schedstat_read(uint32_t tid, uint64_t *cpu_ns, uint64_t *wait_ns)
{
	char path[64];
	FILE *f;
	bool ok;

	/* a thread's own number is good in /proc, too, though it is not listed there */
	snprintf(path, sizeof(path), "/proc/%u/schedstat", tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fscanf(f, "%" SCNu64 " %" SCNu64, cpu_ns, wait_ns) == 2;
	fclose(f);
	return ok;
}

static bool switches_read(uint32_t tid, uint64_t *voluntary, uint64_t *involuntary)
{
	char line[128], path[64];
	int found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/status", tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		found += sscanf(line, "voluntary_ctxt_switches: %" SCNu64, voluntary) == 1;
		found += sscanf(line, "nonvoluntary_ctxt_switches: %" SCNu64, involuntary) == 1;
	}
	fclose(f);
	return found == 2;
}

static bool seen_before(const struct truth *truths, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (truths[k].tid == truths[i].tid)
			return true;
	}
	return false;
}

void truth_write_threads(FILE *file, const char *pool, const struct truth *truths, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t cpu_ns, wait_ns, voluntary, involuntary;
		uint32_t tid = truths[i].tid;

		if (!truths[i].parts || seen_before(truths, i))
			continue;
		if (!schedstat_read(tid, &cpu_ns, &wait_ns) ||
		    !switches_read(tid, &voluntary, &involuntary))
			continue;
		fprintf(file,
			"{\"thread\":%u,\"pool\":\"%s\",\"at_ns\":%ju,\"cpu_ns\":%ju,"
			"\"runnable_ns\":%ju,\"voluntary\":%ju,\"involuntary\":%ju}\n",
			tid, pool, (uintmax_t)workload_now(), (uintmax_t)cpu_ns, (uintmax_t)wait_ns,
			(uintmax_t)voluntary, (uintmax_t)involuntary);
	}
}

static uint64_t time_ns(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_usec * 1000;
}

void truth_write_children(FILE *file)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	fprintf(file, "{\"children\":true,\"cpu_ns\":%ju,\"voluntary\":%ju,\"involuntary\":%ju}\n",
		(uintmax_t)(time_ns(&usage.ru_utime) + time_ns(&usage.ru_stime)),
		(uintmax_t)usage.ru_nvcsw, (uintmax_t)usage.ru_nivcsw);
}
