// SPDX-License-Identifier: BSD-2-Clause
/*
 * Placement that is known: numa-local, numa-remote and numa-interleave run on the CPUs of one node
 * and ask for memory of that node, of another, of all; migrate moves from CPU to CPU.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <introspect/node.h>
#include <introspect/topology.h>

#include "cli.h"
#include "workload.h"

#define NODES_MAX 64
/* What a task asks for: 1 MiB. */
#define TASK_BYTES (1u << 20)

/* Of a crew: where its tasks' memory is. */
struct placing {
	size_t page;
	bool interleave;
	uint32_t memory;	/* the node */
	uint64_t on[NODES_MAX]; /* pages of all tasks, by node as the kernel tells afterwards */
	uint32_t nodes[NODES_MAX];
	int nodes_n;
};

static void count_pages(struct placing *placing, const char *memory)
{
	for (size_t at = 0; at < TASK_BYTES; at += placing->page) {
		int node = intro_node_of(memory + at);

		for (int i = 0; i < placing->nodes_n; i++)
			if (node == (int)placing->nodes[i])
				__atomic_add_fetch(&placing->on[i], 1, __ATOMIC_RELAXED);
	}
}

/* Asks for memory, uses each page of it several times, and looks where it was. */
static int task_place(struct intro_call *call)
{
	const struct job *job = job_of(call);
	struct placing *placing = job->shared;
	uint64_t sum = 0, words = placing->page / sizeof(uint64_t);
	uint64_t *memory;

	truth_begin(job->truth, call);
	memory = placing->interleave ? intro_node_alloc_interleaved(TASK_BYTES)
				     : intro_node_alloc(TASK_BYTES, placing->memory, true);
	if (!memory) {
		intro_call_error(call, "no memory of node %u: %s", placing->memory,
				 strerror(errno));
		return ENOMEM;
	}
	for (uint64_t i = 0; i < TASK_BYTES / sizeof(uint64_t); i++)
		memory[i] = job->seed + i;
	for (int round = 0; round < 4; round++)
		for (uint64_t i = 0; i < TASK_BYTES / sizeof(uint64_t); i += words / 8)
			sum += memory[i];
	count_pages(placing, (const char *)memory);
	intro_node_free(memory, TASK_BYTES);
	return job_return(call, sum);
}

static uint64_t sum_expected(uint64_t seed, size_t page)
{
	uint64_t words = page / sizeof(uint64_t), sum = 0;

	for (uint64_t i = 0; i < TASK_BYTES / sizeof(uint64_t); i += words / 8)
		sum += seed + i;
	return 4 * sum;
}

static void say_where(struct workload_run *run, const struct placing *placing, uint32_t ran)
{
	size_t used =
		(size_t)snprintf(run->note, sizeof(run->note), "; on the CPUs of node %u;", ran);

	for (int i = 0; i < placing->nodes_n && used < sizeof(run->note); i++)
		if (placing->on[i])
			used += (size_t)snprintf(run->note + used, sizeof(run->note) - used,
						 " node %u: %" PRIu64 " pages;", placing->nodes[i],
						 placing->on[i]);
	run->note[strlen(run->note) - 1] = 0;
}

static int place_run(struct workload_run *run, const char *name, struct placing *placing,
		     uint32_t ran)
{
	struct task_kind kind = task_kind(task_place, "place");
	struct crew *crew;
	int status = 0;

	if (intro_node_bind(ran))
		return workload_fail("cannot bind to node %u", ran);
	crew = crew_new(run, INTRO_POOL_THREAD, name, run->workers, run->tasks, placing);
	if (!crew)
		return 1;
	while (!status && crew->submitted < crew->tasks) {
		struct job *job = crew_job(crew);

		job->expect = sum_expected(job->seed, placing->page);
		status = crew_submit(crew, &kind);
	}
	status |= crew_wait(crew);
	crew_free(crew);
	say_where(run, placing, ran);
	return status;
}

/* The first node with CPUs and memory, or with CPUs; -1. */
static int first_with_cpus(const struct intro_node *nodes, int n)
{
	int cpus = -1;

	for (int i = n - 1; i >= 0; i--)
		if (CPU_COUNT(&nodes[i].cpus) && (nodes[i].memory || cpus < 0))
			cpus = i;
	return cpus;
}

/* The first other one with memory; -1. */
static int other_with_memory(const struct intro_node *nodes, int n, int not )
{
	for (int i = 0; i < n; i++)
		if (i != not &&nodes[i].memory)
			return i;
	return -1;
}

static int needs_nodes(void)
{
	workload_fail("needs memory of two nodes, and may have that of one");
	return CLI_NOT_ALLOWED;
}

static int numa_run(struct workload_run *run, const char *name, bool interleave, bool remote)
{
	struct intro_node nodes[NODES_MAX];
	struct placing placing = {.page = (size_t)sysconf(_SC_PAGESIZE), .interleave = interleave};
	int n = intro_node_list(nodes, NODES_MAX), ran, memory;

	if (n < 0)
		return workload_fail("nodes: %s", strerror(-n));
	n = n < NODES_MAX ? n : NODES_MAX;
	ran = first_with_cpus(nodes, n);
	if (ran < 0)
		return workload_fail("no node has a CPU that we may use");
	memory = remote || !nodes[ran].memory ? other_with_memory(nodes, n, ran) : ran;
	if (memory < 0)
		return needs_nodes();
	placing.memory = nodes[memory].node;
	for (int i = 0; i < n; i++)
		placing.nodes[placing.nodes_n++] = nodes[i].node;
	return place_run(run, name, &placing, nodes[ran].node);
}

int workload_numa_local_run(struct workload_run *run)
{
	return numa_run(run, "local", false, false);
}

int workload_numa_remote_run(struct workload_run *run)
{
	return numa_run(run, "remote", false, true);
}

int workload_numa_interleave_run(struct workload_run *run)
{
	return numa_run(run, "interleave", true, false);
}

/* --- migrate --------------------------------------------------------------------------------- */

#define MOVES 100

struct moving {
	int cpus[CPU_SETSIZE];
	unsigned n;
};

static bool move_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set) && sched_getcpu() == cpu;
}

/* From the first CPU, where it was made to start, round and round. */
static int task_move(struct intro_call *call)
{
	const struct job *job = job_of(call);
	const struct moving *moving = job->shared;
	uint64_t moved = 0;

	truth_begin(job->truth, call);
	for (unsigned i = 1; i <= MOVES; i++) {
		moved += move_to(moving->cpus[i % moving->n]);
		workload_spin(job->seed, job->steps);
	}
	return job_return(call, moved);
}

static void say_moves(struct workload_run *run, const struct moving *moving)
{
	struct intro_topology *topology = intro_topology_of_machine("/sys");
	unsigned moves[INTRO_MOVES] = {0};

	for (unsigned i = 0; topology && i < MOVES; i++)
		moves[intro_topology_move(topology, (uint32_t)moving->cpus[i % moving->n],
					  (uint32_t)moving->cpus[(i + 1) % moving->n])]++;
	intro_topology_free(topology);
	snprintf(run->note, sizeof(run->note), "; moves: %u core, %u node, %u cross",
		 moves[INTRO_MOVE_CORE], moves[INTRO_MOVE_NODE], moves[INTRO_MOVE_CROSS]);
}

int workload_migrate_run(struct workload_run *run)
{
	struct task_kind kind = task_kind(task_move, "move");
	struct moving moving = {.n = 0};
	struct crew *crew;
	struct job *job;
	cpu_set_t mine;
	int status;

	if (sched_getaffinity(0, sizeof(mine), &mine))
		return workload_fail("CPUs: %s", strerror(errno));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &mine))
			moving.cpus[moving.n++] = cpu;
	if (moving.n < 2) {
		workload_fail("needs two CPUs, and may use one");
		return CLI_NOT_ALLOWED;
	}
	if (!move_to(moving.cpus[0]))
		return workload_fail("cannot move to CPU %d", moving.cpus[0]);
	run->workers = run->tasks = 1;
	crew = crew_new(run, INTRO_POOL_THREAD, "migrate", 1, 1, &moving);
	if (!crew)
		return 1;
	job = crew_job_spin(crew, run->length_ns / MOVES);
	job->expect = MOVES;
	status = crew_submit(crew, &kind);
	status |= crew_wait(crew);
	crew_free(crew);
	say_moves(run, &moving);
	return status;
}
