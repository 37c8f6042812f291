/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_WORKLOAD_H
#define CLI_WORKLOAD_H
/*
 * workload.h - what the bundled workloads share. A workload is a small program on the pools of
 * libintrospect-rt whose behaviour is known: it checks its own results, and can write down what
 * it knows about each task (the truth), to be compared with what a tracer says.
 *
 * A workload makes one or more crews. A crew is a pool with its tasks: a job (what a task shall
 * do), a future and a truth record for each, all allocated before the first task is submitted,
 * so that nothing but the task itself runs between its start and its end.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <introspect/executor.h>
#include <introspect/interpreter.h>
#include <introspect/mark.h>

/* --- time, numbers, work (workload_spin.c) ----------------------------------------------------*/

#define WORKLOAD_US 1000ull
#define WORKLOAD_MS 1000000ull

uint64_t workload_now(void); /* ns, CLOCK_MONOTONIC */
uint64_t workload_cpu(void); /* ns, this thread's CPU clock */

/* splitmix64: the same seed gives the same numbers everywhere. */
uint64_t workload_random(uint64_t *state);
/* Uniform in mean/2 .. mean*3/2. */
uint64_t workload_around(uint64_t *state, uint64_t mean);

/*
 * `steps` dependent steps of a linear congruential generator from x: work whose CPU time is
 * proportional to its steps, and whose result workload_spin_expect finds in O(log steps).
 */
uint64_t workload_spin(uint64_t x, uint64_t steps);
uint64_t workload_spin_expect(uint64_t x, uint64_t steps);
/* Steps a nanosecond of CPU time, measured by the calling thread's CPU clock. */
double workload_spin_rate(void);

/* --- bytes (workload_bytes.c) ---------------------------------------------------------------- */

void bytes_fill(unsigned char *data, size_t bytes, uint64_t seed);
uint64_t bytes_sum(const unsigned char *data, size_t bytes);
bool bytes_write(int fd, const void *data, size_t bytes);
/* How much came before the end of the file. */
size_t bytes_read(int fd, void *data, size_t bytes);

/* --- one run --------------------------------------------------------------------------------- */

struct workload_run {
	unsigned workers;
	uint32_t tasks;
	uint64_t length_ns; /* of a task, on average */
	uint32_t chunk;	    /* map: items a task */
	uint64_t seed;	    /* state of workload_random */
	unsigned cpus;	    /* this process may use */
	double rate;	    /* workload_spin_rate() */
	FILE *truth;	    /* NULL: not wanted */
	char note[192];	    /* what the workload adds to its summary; may stay empty */
};

/* What a workload is to show; the list is in this order. */
enum workload_group {
	GROUP_THREADS,
	GROUP_LOCKS,
	GROUP_QUEUES,
	GROUP_EXECUTORS,
	GROUP_PROCESSES,
	GROUP_SHARED,
	GROUP_SERVICES,
	GROUP_INTERPRETER,
	GROUP_FIBERS_LOOPS,
	GROUP_PLACEMENT,
	GROUP_COMPARED,
	GROUP_TOGETHER,
	GROUPS,
};

struct workload {
	enum workload_group group;
	const char *name;
	const char *text; /* one line: at most 80 columns */
	/* defaults: workers = max(workers, per_cpu * CPUs) */
	unsigned workers, per_cpu;
	uint32_t tasks;
	uint64_t length_ns;
	/* 0, or an exit status after a line on stderr. */
	int (*run)(struct workload_run *run);
};

int workload_cpu_run(struct workload_run *run);
int workload_sleep_run(struct workload_run *run);
int workload_procs_run(struct workload_run *run);
int workload_map_run(struct workload_run *run);
int workload_lock_run(struct workload_run *run);
int workload_gil_run(struct workload_run *run);
int workload_loop_run(struct workload_run *run);
int workload_fibers_run(struct workload_run *run);
int workload_race_run(struct workload_run *run);
int workload_io_run(struct workload_run *run);
int workload_spawn_run(struct workload_run *run);
int workload_spawned_run(struct workload_run *run);
/* Before intro_process_main. 0 or -errno. */
int workload_spawned_register(void);
int workload_squares_run(struct workload_run *run);
int workload_fetch_run(struct workload_run *run);
int workload_cpu_bound_run(struct workload_run *run);
int workload_io_bound_run(struct workload_run *run);
int workload_futures_run(struct workload_run *run);
int workload_sync_run(struct workload_run *run);
int workload_shutdown_run(struct workload_run *run);
int workload_mixed_run(struct workload_run *run);
int workload_rejected_run(struct workload_run *run);
int workload_dynamic_run(struct workload_run *run);
int workload_group_run(struct workload_run *run);
int workload_periodic_run(struct workload_run *run);
int workload_sums_run(struct workload_run *run);
int workload_heartbeat_run(struct workload_run *run);
int workload_producers_run(struct workload_run *run);
int workload_replace_run(struct workload_run *run);
int workload_shared_run(struct workload_run *run);
int workload_service_run(struct workload_run *run);
int workload_numa_local_run(struct workload_run *run);
int workload_numa_remote_run(struct workload_run *run);
int workload_numa_interleave_run(struct workload_run *run);
int workload_migrate_run(struct workload_run *run);

/* One line on stderr; returns the exit status. */
int workload_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- truth (workload_truth.c) ---------------------------------------------------------------- */

/* What a task knows about itself. In memory shared with forked workers. */
struct truth {
	/* by the submitter; of map and others, which submit by themselves: none and 0 */
	const char *name;
	uint64_t submit_ns;
	/* by the worker */
	uint64_t id; /* as in its marks */
	uint32_t tid;
	uint32_t parts; /* calls that make up the task: items of a chunk; 0: it did not run */
	uint64_t start_ns, end_ns;
	uint64_t cpu_ns;
	/* The CPU clock was read at moments of the first and last parts of [start_ns, end_ns]
	 * which are this long together. */
	uint64_t reading_ns;
	uint64_t slept_ns, sleep_asked_ns;
	uint64_t lock_wait_ns;
	uint64_t voluntary, involuntary, minor_faults, major_faults;
};

/* n zeroed records which forked children share; NULL and errno. */
struct truth *truth_new(size_t n);
void truth_free(struct truth *truths, size_t n);

/* Now it is submitted, under that name. NULL: nothing. */
void truth_submit(struct truth *truth, const char *name);
/*
 * The first and the last thing a task does. With NULL they do nothing. A record's parts (the
 * items of a chunk) are added up.
 */
void truth_begin_task(struct truth *truth, uint64_t task);
static inline void truth_begin(struct truth *truth, const struct intro_call *call)
{
	truth_begin_task(truth, call->task);
}
void truth_end(struct truth *truth);

void truth_write(FILE *file, const char *pool, const struct truth *truths, size_t n);
/* What the kernel has counted until now for each thread that ran one of the tasks. */
void truth_write_threads(FILE *file, const char *pool, const struct truth *truths, size_t n);
/* The same for the whole life of all children that this process has waited for; a final line. */
void truth_write_children(FILE *file);

/* --- crews (workload_crew.c) ----------------------------------------------------------------- */

/* What one task shall do. A process pool copies it to the worker. */
struct job {
	struct truth *truth; /* NULL: not wanted */
	uint64_t seed;	     /* workload_spin(seed, steps) */
	uint64_t steps;
	uint64_t ns;	 /* to sleep, say */
	uint64_t expect; /* the result which is right */
	void *shared;	 /* what the tasks of the crew have in common; thread pools */
	bool bytes;	 /* result by value: a process pool's */
};

struct crew {
	struct workload_run *run;
	const char *name;
	struct intro_executor *executor;
	struct intro_future *futures;
	struct job *jobs;
	struct truth *truths; /* NULL: not wanted */
	size_t tasks, submitted;
	/* At most so many wait or run: a caller that keeps a backlog, not one that drops all at
	 * once. */
	size_t window;
	bool process;
	bool broken; /* and said so */
};

/* Makes the pool and room for its tasks; NULL after a line on stderr. */
struct crew *crew_new(struct workload_run *run, enum intro_pool_kind kind, const char *name,
		      unsigned workers, size_t tasks, void *shared);
/* Of threads whose tasks hold the lock of an interpreter. */
struct crew *crew_new_locked(struct workload_run *run, struct intro_interpreter *lock,
			     const char *name, unsigned workers, size_t tasks, void *shared);
/* The next job, with its seed filled in; crew_submit hands it out. */
struct job *crew_job(struct crew *crew);
/* A job to spin for about `ns` of CPU time, its right result worked out. */
struct job *crew_job_spin(struct crew *crew, uint64_t ns);
/* Whether crew_submit would not have to wait for an earlier task. */
bool crew_has_room(struct crew *crew);
/* What to do with a job, under the name by which reports group. */
struct task_kind {
	intro_task_fn fn;
	const char *name;
	uint32_t mark;
};
static inline struct task_kind task_kind(intro_task_fn fn, const char *name)
{
	return (struct task_kind){.fn = fn, .name = name, .mark = intro_mark_name(name)};
}
/* 0, or 1 after a line on stderr. */
int crew_submit(struct crew *crew, const struct task_kind *kind);
/* Waits for what was submitted and compares each result; 0, or 1 after a line on stderr. */
int crew_wait(struct crew *crew);
/* Writes the truth, if wanted, shuts down and frees. NULL is fine. */
void crew_free(struct crew *crew);

static inline const struct job *job_of(const struct intro_call *call)
{
	return call->arg;
}
/* Ends the truth and gives the result; what a task function returns. */
int job_return(struct intro_call *call, uint64_t value);

/* Tasks which more than one workload uses. */
int task_spin(struct intro_call *call);	 /* steps from seed */
int task_sleep(struct intro_call *call); /* ns; returns ns */

/* Sleeps, and adds the time it took to the truth. */
void job_sleep(const struct job *job, uint64_t ns);
/* Locks, and adds the time it took to the truth. */
void job_lock(const struct job *job, pthread_mutex_t *mutex);

/* --- tasks of `lock`, `gil`, `io`, which `mixed` has too -------------------------------------- */

struct account {
	pthread_mutex_t mutex;
	uint64_t balance; /* how often it was changed; under the mutex */
};
void account_init(struct account *account);
/* ACCOUNT_ROUNDS times: a quarter of a round's steps outside the mutex, the rest inside. */
#define ACCOUNT_ROUNDS 4
int task_lock(struct intro_call *call); /* job->shared is the account */

struct gil;
struct gil *gil_new(double rate);
void gil_free(struct gil *gil);
/* Around what may block, in a task that holds the lock. */
void gil_begin_allow(struct gil *gil);
void gil_end_allow(struct gil *gil);
/* Its tasks hold the lock. */
struct crew *gil_crew_new(struct workload_run *run, struct gil *gil, const char *name,
			  unsigned workers, size_t tasks);
int task_gil(struct intro_call *call); /* job->shared is the gil */

struct device;
struct device *device_new(void); /* a thread that answers on pipes, and a directory for files */
void device_free(struct device *device);
/* job->shared is the device. */
int task_pipe(struct intro_call *call); /* as job_expect_pipe filled it in */
int task_file(struct intro_call *call); /* as job_expect_file did */
void job_expect_pipe(struct job *job, uint64_t delay_ns);
void job_expect_file(struct job *job, uint64_t blocks); /* of 64 KiB */

/* A task of `what` that failed with errno: ends its truth; what its function returns. */
int job_fail(struct intro_call *call, const char *what);

/*
 * A thread that is n slow servers: each sends a page to whoever connects, after its own delay,
 * around `delay_ns`. On the loopback, or on UNIX sockets where there is none.
 */
struct servers;
struct servers *servers_new(unsigned n, uint64_t delay_ns, uint64_t *seed); /* NULL and errno */
void servers_free(struct servers *servers);
const char *servers_where(const struct servers *servers); /* "TCP", "UNIX sockets" */
uint64_t servers_slowest(const struct servers *servers);  /* ns */
/* The job: to fetch a page, job->shared being the servers. */
void job_expect_page(struct job *job, const struct servers *servers, unsigned server);
int task_fetch(struct intro_call *call);
/* What task_fetch fetches: the sum of the page. 0 or -errno. */
int fetch_page(const struct servers *servers, unsigned server, uint64_t *sum);

#endif
