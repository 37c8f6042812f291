/* SPDX-License-Identifier: BSD-2-Clause */
/* introspect workload: the bundled programs whose behaviour is known. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "workload.h"

#define WORKERS_MAX 512
#define TASKS_MAX 1000000

static const char *const groups[GROUPS] = {
	[GROUP_THREADS] = "threads",
	[GROUP_LOCKS] = "locks",
	[GROUP_QUEUES] = "queues",
	[GROUP_EXECUTORS] = "executors and futures",
	[GROUP_PROCESSES] = "processes",
	[GROUP_SHARED] = "shared objects",
	[GROUP_SERVICES] = "services",
	[GROUP_INTERPRETER] = "interpreter lock",
	[GROUP_FIBERS_LOOPS] = "fibers and loops",
	[GROUP_PLACEMENT] = "placement on nodes",
	[GROUP_COMPARED] = "one job, several ways",
	[GROUP_TOGETHER] = "all together",
};

/* In any order: the list sorts by group. */
static const struct workload workloads[] = {
	{GROUP_THREADS, "cpu", "threads that spin: as many as CPUs, nobody waits", 0, 1, 200,
	 10 * WORKLOAD_MS, workload_cpu_run},
	{GROUP_THREADS, "heartbeat", "a daemon thread that beats beside a foreground thread", 1, 0,
	 20, 10 * WORKLOAD_MS, workload_heartbeat_run},
	{GROUP_THREADS, "oversubscribed", "threads that spin: eight for each CPU", 0, 8, 100,
	 20 * WORKLOAD_MS, workload_cpu_run},
	{GROUP_LOCKS, "lock", "threads that spin, most of the time inside one mutex", 4, 0, 200,
	 8 * WORKLOAD_MS, workload_lock_run},
	{GROUP_LOCKS, "race", "two threads on one counter, up and down: the updates they lose", 2,
	 0, 40, 40 * WORKLOAD_MS, workload_race_run},
	{GROUP_LOCKS, "sync",
	 "one lock of each kind, by name: event, semaphore, condition, barrier ...", 4, 0, 40,
	 4 * WORKLOAD_MS, workload_sync_run},
	{GROUP_QUEUES, "producers", "two producers and the consumers of a bounded queue", 2, 0, 200,
	 2 * WORKLOAD_MS, workload_producers_run},
	{GROUP_EXECUTORS, "dynamic", "a pool with as many threads as it needs: few, all, few", 6, 0,
	 120, 5 * WORKLOAD_MS, workload_dynamic_run},
	{GROUP_EXECUTORS, "fetch",
	 "pages of ten slow servers: one after the other, then by ten threads", 10, 0, 10,
	 60 * WORKLOAD_MS, workload_fetch_run},
	{GROUP_EXECUTORS, "futures",
	 "tasks that wait for the futures of others, and callbacks that go on", 2, 0, 64,
	 4 * WORKLOAD_MS, workload_futures_run},
	{GROUP_EXECUTORS, "group",
	 "a task group too large for its pool: queued, then with callers that run some", 1, 0, 60,
	 5 * WORKLOAD_MS, workload_group_run},
	{GROUP_EXECUTORS, "io", "threads that wait for a pipe and for files", 4, 0, 400,
	 4 * WORKLOAD_MS, workload_io_run},
	{GROUP_EXECUTORS, "rejected",
	 "an executor's statistics, and a backlog that turns work away", 2, 0, 100, 5 * WORKLOAD_MS,
	 workload_rejected_run},
	{GROUP_EXECUTORS, "shutdown",
	 "four ways for a pool to end: drained, cancelled, terminated, broken", 2, 0, 24,
	 10 * WORKLOAD_MS, workload_shutdown_run},
	{GROUP_EXECUTORS, "sleep", "threads that sleep", 4, 0, 200, 20 * WORKLOAD_MS,
	 workload_sleep_run},
	{GROUP_PROCESSES, "map", "a process pool's map over many small items, in chunks", 0, 1,
	 4000, 500 * WORKLOAD_US, workload_map_run},
	{GROUP_PROCESSES, "procs", "processes that spin: as many as CPUs", 0, 1, 200,
	 10 * WORKLOAD_MS, workload_procs_run},
	{GROUP_PROCESSES, "replace",
	 "a process pool whose workers end, and one of which dies in a task", 0, 1, 200,
	 2 * WORKLOAD_MS, workload_replace_run},
	{GROUP_PROCESSES, "spawned",
	 "processes that are copies of the program, against new ones of it", 0, 1, 40,
	 5 * WORKLOAD_MS, workload_spawned_run},
	{GROUP_PROCESSES, "squares",
	 "a process pool's map over ranges: 10 000 001 and more squares each", 0, 1, 6,
	 40 * WORKLOAD_MS, workload_squares_run},
	{GROUP_SHARED, "shared",
	 "processes with a manager's list, an array and its lock, and a queue in common", 3, 1, 80,
	 4 * WORKLOAD_MS, workload_shared_run},
	{GROUP_SERVICES, "periodic", "a periodic worker beside a printer of its statistics", 2, 0,
	 100, 1 * WORKLOAD_MS, workload_periodic_run},
	{GROUP_SERVICES, "service",
	 "worker processes that are kept alive; one is killed, and replaced", 2, 0, 100,
	 4 * WORKLOAD_MS, workload_service_run},
	{GROUP_INTERPRETER, "gil",
	 "threads that spin under one interpreter lock, handed over every 5 ms", 4, 0, 40,
	 40 * WORKLOAD_MS, workload_gil_run},
	{GROUP_FIBERS_LOOPS, "fibers",
	 "fibers on one kernel thread, then on several; one makes a blocking call", 0, 1, 40,
	 4 * WORKLOAD_MS, workload_fibers_run},
	{GROUP_FIBERS_LOOPS, "loop",
	 "one event loop: requests, their handlers, a timer; one in ten takes long", 1, 0, 100,
	 2 * WORKLOAD_MS, workload_loop_run},
	{GROUP_PLACEMENT, "migrate", "one thread that is moved from CPU to CPU, 100 times", 1, 0, 1,
	 100 * WORKLOAD_MS, workload_migrate_run},
	{GROUP_PLACEMENT, "numa-interleave", "tasks whose memory is on all nodes in turn", 2, 0, 40,
	 1 * WORKLOAD_MS, workload_numa_interleave_run},
	{GROUP_PLACEMENT, "numa-local", "tasks whose memory is on the node that they run on", 2, 0,
	 40, 1 * WORKLOAD_MS, workload_numa_local_run},
	{GROUP_PLACEMENT, "numa-remote", "tasks whose memory is on another node", 2, 0, 40,
	 1 * WORKLOAD_MS, workload_numa_remote_run},
	{GROUP_COMPARED, "cpu-bound",
	 "jobs that compute: sequential, interpreter lock, threads, processes", 2, 1, 16,
	 20 * WORKLOAD_MS, workload_cpu_bound_run},
	{GROUP_COMPARED, "io-bound",
	 "jobs that wait: sequential, interpreter lock, threads, processes", 8, 0, 24,
	 20 * WORKLOAD_MS, workload_io_bound_run},
	{GROUP_COMPARED, "spawn", "making threads against making processes", 2, 0, 200,
	 5 * WORKLOAD_MS, workload_spawn_run},
	{GROUP_COMPARED, "sums", "five threads that sum random integers, against eight processes",
	 5, 0, 13, 60 * WORKLOAD_MS, workload_sums_run},
	{GROUP_TOGETHER, "mixed", "three pools with a bit of all: the demo", 8, 4, 800,
	 5 * WORKLOAD_MS, workload_mixed_run},
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

static const char usage[] =
	"usage: introspect workload [NAME] [OPTIONS]\n"
	"Runs a bundled program whose behaviour is known; without NAME lists them.\n\n"
	"      --list        the workloads, by group\n"
	"      --workers N   of the pool (of `mixed`: of its request threads)\n"
	"      --tasks N     how many tasks (of `map`: items)\n"
	"      --length US   average length of a task, microseconds\n"
	"      --chunk N     `map`: items a task (default 50)\n"
	"      --seed S      of all lengths and data (default 1)\n"
	"      --truth FILE  write what the program itself knows of each task, as JSON lines\n"
	"      --json        the list as JSON\n"
	"  -h, --help        this text\n";

enum {
	OPT_WORKERS = 256,
	OPT_TASKS,
	OPT_LENGTH,
	OPT_CHUNK,
	OPT_SEED,
	OPT_TRUTH,
	OPT_JSON,
	OPT_LIST
};

static const struct option options[] = {
	{"workers", required_argument, NULL, OPT_WORKERS},
	{"tasks", required_argument, NULL, OPT_TASKS},
	{"length", required_argument, NULL, OPT_LENGTH},
	{"chunk", required_argument, NULL, OPT_CHUNK},
	{"seed", required_argument, NULL, OPT_SEED},
	{"truth", required_argument, NULL, OPT_TRUTH},
	{"json", no_argument, NULL, OPT_JSON},
	{"list", no_argument, NULL, OPT_LIST},
	{"help", no_argument, NULL, 'h'},
	{0},
};

struct wish {
	uint64_t workers, tasks, length_us, chunk, seed; /* 0: not given, but the seed */
	const char *truth;
	bool json, list;
};

int workload_fail(const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	cli_error("workload: %s", text);
	return CLI_FAILED;
}

static int number_option(int option, struct wish *wish)
{
	switch (option) {
	case OPT_WORKERS:
		return cli_parse_number(optarg, 1, WORKERS_MAX, &wish->workers);
	case OPT_TASKS:
		return cli_parse_number(optarg, 1, TASKS_MAX, &wish->tasks);
	case OPT_LENGTH:
		return cli_parse_number(optarg, 1, 60000000, &wish->length_us);
	case OPT_CHUNK:
		return cli_parse_number(optarg, 1, TASKS_MAX, &wish->chunk);
	default:
		return cli_parse_number(optarg, 0, UINT64_MAX, &wish->seed);
	}
}

static const char *name_of(int option)
{
	const struct option *o = options;

	while (o->val != option)
		o++;
	return o->name;
}

static int take_option(void *ctx, int option)
{
	struct wish *wish = ctx;

	switch (option) {
	case OPT_JSON:
		wish->json = true;
		return CLI_OK;
	case OPT_LIST:
		wish->list = true;
		return CLI_OK;
	case OPT_TRUTH:
		wish->truth = optarg;
		return CLI_OK;
	default:
		if (number_option(option, wish))
			return cli_usage_error("workload",
					       "--%s: '%s' is not a number that it can be",
					       name_of(option), optarg);
		return CLI_OK;
	}
}

static const struct cli_syntax syntax = {
	.command = "workload",
	.usage = usage,
	.letters = ":h",
	.options = options,
	.take = take_option,
};

static void list_one(const struct workload *w, bool json, bool first_of_group, bool first)
{
	const char *group = groups[w->group];

	if (json)
		printf("%s  {\"name\":\"%s\",\"group\":\"%s\",\"text\":\"%s\",\"tasks\":%u}",
		       first ? "" : ",\n", w->name, group, w->text, w->tasks);
	else
		printf("%s%s%s  %-15s %s\n", first_of_group && !first ? "\n" : "",
		       first_of_group ? group : "", first_of_group ? "\n" : "", w->name, w->text);
}

static int list(bool json)
{
	bool first = true;

	if (json)
		printf("[\n");
	for (int group = 0; group < GROUPS; group++) {
		bool first_of_group = true;

		for (size_t i = 0; i < WORKLOADS; i++) {
			if ((int)workloads[i].group != group)
				continue;
			list_one(&workloads[i], json, first_of_group, first);
			first_of_group = first = false;
		}
	}
	if (json)
		printf("\n]\n");
	return CLI_OK;
}

static unsigned usable_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

static void prepare(const struct workload *workload, const struct wish *wish,
		    struct workload_run *run)
{
	unsigned workers;

	*run = (struct workload_run){.cpus = usable_cpus(), .seed = wish->seed};
	workers = workload->per_cpu * run->cpus;
	if (workers < workload->workers)
		workers = workload->workers;
	run->workers = wish->workers ? (unsigned)wish->workers : workers;
	run->tasks = wish->tasks ? (uint32_t)wish->tasks : workload->tasks;
	run->length_ns = wish->length_us ? wish->length_us * WORKLOAD_US : workload->length_ns;
	run->chunk = wish->chunk ? (uint32_t)wish->chunk : 50;
	run->rate = workload_spin_rate();
}

static int run_workload(const struct workload *workload, const struct wish *wish)
{
	struct workload_run run;
	uint64_t begin;
	int status;

	prepare(workload, wish, &run);
	if (wish->truth) {
		run.truth = fopen(wish->truth, "we");
		if (!run.truth)
			return workload_fail("%s: %s", wish->truth, strerror(errno));
	}
	begin = workload_now();
	status = workload->run(&run);
	if (!status)
		printf("%s: %u tasks, %u workers, %.2f s, every result right%s\n", workload->name,
		       run.tasks, run.workers, (double)(workload_now() - begin) / 1e9, run.note);
	if (run.truth) {
		bool bad;

		truth_write_children(run.truth);
		bad = ferror(run.truth);
		if ((fclose(run.truth) || bad) && !status)
			status = workload_fail("%s: cannot be written", wish->truth);
	}
	if (status == CLI_NOT_ALLOWED)
		return status;
	return status ? CLI_FAILED : CLI_OK;
}

int cmd_workload(int argc, char **argv)
{
	struct wish wish = {.seed = 1};
	int status = cli_parse(&syntax, &wish, argc, argv);

	if (status)
		return status < 0 ? CLI_OK : status;
	if (optind == argc)
		return list(wish.json);
	if (wish.list)
		return cli_usage_error("workload", "--list goes without a workload");
	if (argc - optind > 1)
		return cli_usage_error("workload", "one workload at a time");
	for (size_t i = 0; i < WORKLOADS; i++) {
		if (!strcmp(workloads[i].name, argv[optind]))
			return run_workload(&workloads[i], &wish);
	}
	return cli_usage_error("workload", "there is no workload '%s'", argv[optind]);
}
