// SPDX-License-Identifier: BSD-2-Clause
/* sim.c - see sim.h. */
#include <asm/unistd.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/stat.h>

#include "sim.h"

#define SUBMITTER 50
#define SUBMITTER_CPU SIM_CPUS
#define NOBODY (-1)

enum doing { RUNS, WAITS, SLEEPS };

struct worker {
	enum doing doing;
	unsigned why; /* index into sim_truth.runnable or .blocked */
	int cpu;
	int last_run; /* CPU it ran on last */
	bool moved;
	size_t task;	/* 0 none */
	uint64_t since; /* it wants a CPU */
	uint32_t migrations, voluntary, involuntary;
};

struct machine {
	struct sim *sim;
	struct worker worker[SIM_WORKERS];
	int on[SIM_CPUS]; /* worker or NOBODY */
	uint64_t switched[SIM_CPUS];
	size_t next; /* oldest task not started */
	uint64_t now, random;
	uint64_t gap_until[SIM_CPUS]; /* until then records of a CPU are lost */
	bool losses, mark_losses;
	uint64_t mark_gap_until[SIM_WORKERS +
				1]; /* until then marks are lost; last: the submitter's */
	sim_push_fn push;
	void *ctx;
};

static const enum intro_cause blocked_causes[4] = {INTRO_BLOCKED_LOCK, INTRO_BLOCKED_PIPE,
						   INTRO_BLOCKED_FAULT, INTRO_BLOCKED_SLEEP};
static const enum intro_cause runnable_causes[3] = {INTRO_RUNNABLE_PREEMPTED, INTRO_RUNNABLE_WOKEN,
						    INTRO_RUNNABLE_YIELDED};

enum intro_cause sim_blocked_cause(unsigned index)
{
	return blocked_causes[index];
}

enum intro_cause sim_runnable_cause(unsigned index)
{
	return runnable_causes[index];
}

uint32_t sim_tid(unsigned worker)
{
	return 100 + worker;
}

static unsigned pick(struct machine *machine, unsigned n)
{
	machine->random ^= machine->random << 13;
	machine->random ^= machine->random >> 7;
	machine->random ^= machine->random << 17;
	return (unsigned)(machine->random >> 20) % n;
}

/* --- records -----------------------------------------------------------------------------------
 */

static void emit(struct machine *machine, int cpu, void *record, uint8_t kind, uint8_t rows,
		 uint32_t tid)
{
	struct intro_rec *rec = record;

	rec->ts = machine->now;
	rec->kind = kind;
	rec->rows = rows;
	rec->cpu = cpu == NOBODY ? INTRO_CPU_NONE : (uint16_t)cpu;
	rec->tid = tid;
	if (kind != INTRO_KIND_SNAPSHOT && cpu != NOBODY && cpu < SIM_CPUS &&
	    machine->now < machine->gap_until[cpu])
		return;
	machine->push(machine->ctx, rec);
}

static unsigned ring_of(uint32_t tid)
{
	return tid == SUBMITTER ? SIM_WORKERS : tid - sim_tid(0);
}

static void emit_mark(struct machine *machine, uint8_t kind, uint32_t tid, uint64_t task,
		      uint32_t a, uint32_t b)
{
	struct intro_rec_mark mark = {.task = task, .a = a, .b = b};

	if (machine->now < machine->mark_gap_until[ring_of(tid)]) {
		machine->sim->lost_marks++;
		return;
	}
	emit(machine, NOBODY, &mark, kind, 1, tid);
}

/* What a sleep of each kind says of itself. */
static const struct {
	int16_t sysnr;
	uint8_t arg1;
} calls[4] = {{__NR_futex, FUTEX_WAIT},
	      {__NR_read, S_IFIFO >> 12},
	      {INTRO_SYS_NONE, 0},
	      {__NR_clock_nanosleep, 0}};

static uint32_t tid_on(const struct machine *machine, int cpu)
{
	return machine->on[cpu] == NOBODY ? 0 : sim_tid((unsigned)machine->on[cpu]);
}

/* By how much whom the CPU goes to is charged early, at the cost of `prev`; it is counted. */
static uint64_t charge(struct machine *machine, int cpu, int prev)
{
	struct sim *sim = machine->sim;
	int next = machine->on[cpu];
	uint64_t early = machine->now - machine->switched[cpu], run;

	if (next != NOBODY && machine->now - machine->worker[next].since < early)
		early = machine->now - machine->worker[next].since;
	early = machine->now * 0x9e3779b97f4a7c15ull % (early + 1);
	if (prev != NOBODY) {
		struct sim_truth *truth = &sim->truth[machine->worker[prev].task];

		run = machine->now - truth->start;
		sim->worker[prev].early -= (int64_t)early;
		truth->early -= (int64_t)(run < early ? run : early);
	}
	if (next != NOBODY) {
		sim->worker[next].early += (int64_t)early;
		sim->truth[machine->worker[next].task].early += (int64_t)early;
	}
	return early;
}

static void emit_switch(struct machine *machine, int cpu, uint32_t prev, uint8_t state,
			unsigned why)
{
	struct intro_rec_switch sw = {.next_tid = tid_on(machine, cpu), .state = state};
	bool sleeps = (state & INTRO_OFF_MASK) == INTRO_OFF_SLEEP;

	sw.sysnr = INTRO_SYS_NONE;
	if (sleeps) {
		sw.sysnr = calls[why].sysnr;
		sw.arg1 = calls[why].arg1;
		sw.arg0 = 0x1000 + why;
	} else {
		sw.sysnr = why == 2 ? __NR_sched_yield : INTRO_SYS_NONE;
		sw.arg0 = charge(machine, cpu, prev ? (int)(prev - sim_tid(0)) : NOBODY);
	}
	machine->switched[cpu] = machine->now;
	emit(machine, cpu, &sw, INTRO_KIND_SWITCH, 1, prev);
}

static void emit_waking(struct machine *machine, int cpu, unsigned i)
{
	struct intro_rec_waking waking = {.target_cpu = (uint16_t)machine->worker[i].cpu};

	emit(machine, cpu, &waking, INTRO_KIND_WAKING, 1, sim_tid(i));
}

static void snap(struct machine *machine, int cpu, uint32_t tid, uint8_t when, enum doing doing,
		 unsigned why)
{
	struct intro_rec_snapshot snapshot = {.when = when, .start_time = 1};

	if (doing == RUNS)
		snapshot.when |= INTRO_SNAPSHOT_ON_CPU;
	else if (doing == SLEEPS)
		snapshot.state = INTRO_OFF_SLEEP;
	snapshot.sysnr = doing == SLEEPS ? calls[why].sysnr : INTRO_SYS_NONE;
	snapshot.arg1 = doing == SLEEPS ? calls[why].arg1 : 0;
	snapshot.arg0 = 0x1000 + why;
	emit(machine, cpu, &snapshot, INTRO_KIND_SNAPSHOT, 2, tid);
}

static void introduce(struct machine *machine, int cpu, uint32_t tid, enum doing doing)
{
	struct intro_rec_task task = {
		.tgid = SUBMITTER, .start_time = 1, .flags = INTRO_TASK_TARGET};

	emit(machine, cpu, &task, INTRO_KIND_TASK, 2, tid);
	snap(machine, cpu, tid, INTRO_SNAPSHOT_BEGIN, doing, 3);
}

/* --- what happens ------------------------------------------------------------------------------
 */

/* Puts a random waiting worker, or nobody, on the CPU. */
static void choose(struct machine *machine, int cpu)
{
	unsigned from = pick(machine, SIM_WORKERS);
	struct worker *worker;

	machine->on[cpu] = NOBODY;
	for (unsigned k = 0; k < SIM_WORKERS; k++) {
		unsigned i = (from + k) % SIM_WORKERS;

		worker = &machine->worker[i];
		if (worker->doing != WAITS || worker->cpu != cpu)
			continue;
		worker->doing = RUNS;
		if (worker->last_run != cpu && !worker->moved)
			worker->migrations++;
		worker->last_run = cpu;
		worker->moved = false;
		machine->on[cpu] = (int)i;
		return;
	}
}

static void leave_cpu(struct machine *machine, int cpu)
{
	unsigned i = (unsigned)machine->on[cpu];
	struct worker *worker = &machine->worker[i];
	unsigned how = pick(machine, 8);

	if (how < 3) { /* preempted, gives way */
		worker->why = how == 2 ? 2 : 0;
		worker->involuntary++;
		worker->since = machine->now;
		choose(machine, cpu);
		worker->doing = WAITS;
		emit_switch(machine, cpu, sim_tid(i), how ? 0 : INTRO_SWITCH_PREEMPT, worker->why);
		return;
	}
	worker->voluntary++;
	if (how == 3 && !machine->losses) { /* woken before it left: it never sleeps */
		emit_waking(machine, SUBMITTER_CPU, i);
		worker->why = 1;
		worker->since = machine->now;
		choose(machine, cpu);
		worker->doing = WAITS;
		emit_switch(machine, cpu, sim_tid(i), INTRO_OFF_SLEEP, pick(machine, 4));
		return;
	}
	worker->why = pick(machine, 4);
	worker->doing = SLEEPS;
	choose(machine, cpu);
	emit_switch(machine, cpu, sim_tid(i), INTRO_OFF_SLEEP, worker->why);
}

static void fill_cpu(struct machine *machine, int cpu)
{
	choose(machine, cpu);
	if (machine->on[cpu] != NOBODY)
		emit_switch(machine, cpu, 0, 0, 0);
}

static void wake(struct machine *machine, unsigned i)
{
	struct worker *worker = &machine->worker[i];
	struct intro_rec_migrate migrate = {.from_cpu = (uint16_t)worker->cpu};

	emit_waking(machine, (int)pick(machine, SIM_CPUS), i);
	worker->doing = WAITS;
	worker->since = machine->now;
	worker->why = 1;
	if (pick(machine, 3))
		return;
	worker->cpu = (worker->cpu + 1) % SIM_CPUS;
	migrate.to_cpu = (uint16_t)worker->cpu;
	worker->migrations++;
	worker->moved = true;
	emit(machine, SUBMITTER_CPU, &migrate, INTRO_KIND_MIGRATE, 1, sim_tid(i));
}

static void work(struct machine *machine, unsigned i)
{
	struct worker *worker = &machine->worker[i];
	struct sim *sim = machine->sim;
	struct sim_truth *truth;

	if (worker->task) {
		truth = &sim->truth[worker->task];
		truth->end = machine->now;
		truth->migrations = worker->migrations - truth->migrations;
		truth->voluntary = worker->voluntary - truth->voluntary;
		truth->involuntary = worker->involuntary - truth->involuntary;
		sim->ended++;
		emit_mark(machine, INTRO_KIND_END, sim_tid(i), worker->task, INTRO_STATUS_OK,
			  INTRO_END_RESULT);
		worker->task = 0;
	} else if (machine->next <= sim->tasks) {
		worker->task = machine->next++;
		truth = &sim->truth[worker->task];
		truth->start = machine->now;
		truth->migrations = worker->migrations;
		truth->voluntary = worker->voluntary;
		truth->involuntary = worker->involuntary;
		emit_mark(machine, INTRO_KIND_START, sim_tid(i), worker->task, SIM_POOL, 0);
	}
}

static void submit(struct machine *machine)
{
	struct sim *sim = machine->sim;

	if (sim->tasks == SIM_TASKS || sim->tasks > machine->next + 20)
		return;
	sim->truth[++sim->tasks].submit = machine->now;
	emit_mark(machine, INTRO_KIND_SUBMIT, SUBMITTER, sim->tasks, SIM_POOL, 0);
}

static void lose(struct machine *machine, int cpu)
{
	struct intro_rec_lost lost = {.count = 1};

	if (machine->now < machine->gap_until[cpu])
		return;
	lost.until_ts = machine->now + 1 + pick(machine, 3000);
	emit(machine, cpu, &lost, INTRO_KIND_LOST, 1, 0);
	machine->gap_until[cpu] = lost.until_ts;
	machine->sim->lost++;
}

static void lose_marks(struct machine *machine, unsigned ring)
{
	struct intro_rec_lost lost = {.count = 1};

	if (machine->now < machine->mark_gap_until[ring])
		return;
	lost.until_ts = machine->now + 1 + pick(machine, 8000);
	emit(machine, NOBODY, &lost, INTRO_KIND_LOST, 1,
	     ring < SIM_WORKERS ? sim_tid(ring) : SUBMITTER);
	machine->mark_gap_until[ring] = lost.until_ts;
	machine->sim->lost++;
}

static void happen(struct machine *machine)
{
	unsigned i = pick(machine, SIM_WORKERS);
	int cpu = (int)pick(machine, SIM_CPUS);

	switch (pick(machine, 6)) {
	case 0:
		submit(machine);
		break;
	case 1:
	case 2:
		if (machine->worker[i].doing == RUNS)
			work(machine, i);
		break;
	case 3:
		if (machine->worker[i].doing == SLEEPS)
			wake(machine, i);
		break;
	default:
		if (machine->on[cpu] == NOBODY)
			fill_cpu(machine, cpu);
		else if (pick(machine, 2))
			leave_cpu(machine, cpu);
		break;
	}
	if (machine->losses && !pick(machine, 60))
		lose(machine, cpu);
	if (machine->mark_losses && !pick(machine, 150))
		lose_marks(machine, pick(machine, SIM_WORKERS + 1));
}

/* --- the account -------------------------------------------------------------------------------
 */

static void account_worker(struct machine *machine, unsigned i, uint64_t ns)
{
	static const enum intro_state states[] = {INTRO_STATE_RUNNING, INTRO_STATE_RUNNABLE,
						  INTRO_STATE_BLOCKED};
	struct worker *worker = &machine->worker[i];
	struct sim_truth *truth = &machine->sim->truth[worker->task];

	machine->sim->worker[i].states[states[worker->doing]] += ns;
	if (!worker->task)
		return;
	switch (worker->doing) {
	case RUNS:
		truth->running += ns;
		break;
	case WAITS:
		truth->runnable[worker->why] += ns;
		truth->held[machine->on[worker->cpu] != NOBODY] += ns;
		break;
	case SLEEPS:
		truth->blocked[worker->why] += ns;
		break;
	}
}

static void pass(struct machine *machine, uint64_t ns)
{
	bool busy = true;

	for (unsigned i = 0; i < SIM_WORKERS; i++) {
		busy &= machine->worker[i].task != 0;
		account_worker(machine, i, ns);
	}
	for (size_t id = machine->next; id <= machine->sim->tasks; id++)
		machine->sim->truth[id].queued[!busy] += ns;
	machine->now += ns;
}

static void begin(struct machine *machine)
{
	introduce(machine, SUBMITTER_CPU, SUBMITTER, RUNS);
	for (unsigned i = 0; i < SIM_WORKERS; i++) {
		struct worker *worker = &machine->worker[i];

		worker->cpu = worker->last_run = (int)(i % SIM_CPUS);
		worker->doing = i < SIM_CPUS ? RUNS : SLEEPS;
		worker->why = 3;
		if (i < SIM_CPUS)
			machine->on[i] = (int)i;
		introduce(machine, worker->cpu, sim_tid(i), worker->doing);
		emit_mark(machine, INTRO_KIND_WORKER_START, sim_tid(i), 0, SIM_POOL, i);
	}
}

void sim_run(struct sim *sim, const struct sim_options *options, sim_push_fn push, void *ctx)
{
	struct machine machine = {.sim = sim,
				  .next = 1,
				  .now = 1000000,
				  .random = 0x9e3779b97f4a7c15ull * (options->seed + 1),
				  .losses = options->losses,
				  .mark_losses = options->mark_losses,
				  .push = push,
				  .ctx = ctx};

	memset(sim, 0, sizeof(*sim));
	sim->begin = machine.now;
	for (int cpu = 0; cpu < SIM_CPUS; cpu++)
		machine.switched[cpu] = machine.now;
	begin(&machine);
	for (unsigned i = 0; i < options->steps; i++) {
		pass(&machine, 1 + pick(&machine, 500));
		happen(&machine);
	}
	pass(&machine, 1 + pick(&machine, 500));
	sim->end = machine.now;
	for (unsigned i = 0; i < SIM_WORKERS; i++)
		snap(&machine, machine.worker[i].cpu, sim_tid(i), INTRO_SNAPSHOT_END,
		     machine.worker[i].doing, machine.worker[i].why);
}
