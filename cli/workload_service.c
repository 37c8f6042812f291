/* SPDX-License-Identifier: BSD-2-Clause */
/* A service of worker processes, one of which is killed: it is replaced, and the work goes on. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <introspect/service.h>

#include "workload.h"

/* Memory that the manager and the workers share. */
struct desk {
	_Atomic uint32_t next, done, wrong, lives;
	uint32_t tasks, workers, name;
	uint64_t seed, steps, expect;
	struct truth *truths; /* NULL: not wanted */
};

struct hooks {
	unsigned born, died;
	char how[64];
};

static void do_one(struct intro_service_worker *worker, struct desk *desk, uint32_t i)
{
	struct truth *truth = desk->truths ? &desk->truths[i] : NULL;
	uint64_t task = intro_mark_task();
	uint32_t done;

	truth_submit(truth, "serve");
	intro_mark_submit(task, worker->pool, desk->name);
	intro_mark_start(task, worker->pool);
	truth_begin_task(truth, task);
	desk->wrong += workload_spin(desk->seed, desk->steps) != desk->expect;
	truth_end(truth);
	intro_mark_end(task, INTRO_STATUS_OK, INTRO_END_RESULT);
	done = ++desk->done;
	/* half of the work is done: who finds it so is the one */
	if (done == desk->tasks / 2 + 1)
		raise(SIGKILL);
}

/* Takes piece after piece; when all is done, and the dead one replaced, tells the manager to end.
 */
static int serve(struct intro_service_worker *worker)
{
	struct desk *desk = worker->arg;
	uint32_t i;

	desk->lives++;
	while (!intro_service_stopping(worker) && (i = desk->next++) < desk->tasks)
		do_one(worker, desk, i);
	while (!intro_service_wait(worker, WORKLOAD_MS))
		if (desk->done == desk->tasks && desk->lives == desk->workers + 1)
			kill(getppid(), SIGTERM);
	return 0;
}

static void worker_born(const struct intro_service_event *event, void *arg)
{
	((struct hooks *)arg)->born++;
}

static void worker_died(const struct intro_service_event *event, void *arg)
{
	struct hooks *hooks = arg;

	if (event->expected)
		return;
	hooks->died++;
	snprintf(hooks->how, sizeof(hooks->how), "%s", event->how);
}

static int run_service(struct desk *desk, struct hooks *hooks)
{
	struct intro_service_manager_options options = {.size = sizeof(options),
							.new_worker = worker_born,
							.dead_worker = worker_died,
							.hook_arg = hooks};
	struct intro_service service = {.size = sizeof(service),
					.name = "service",
					.workers = desk->workers,
					.run = serve,
					.arg = desk};
	struct intro_service_manager *manager = intro_service_manager_new(&options);
	int err;

	if (!manager)
		return -errno;
	err = intro_service_manager_add(manager, &service);
	if (err >= 0)
		err = intro_service_manager_run(manager);
	intro_service_manager_free(manager);
	return err;
}

int workload_service_run(struct workload_run *run)
{
	struct desk *desk = mmap(NULL, sizeof(*desk), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct hooks hooks = {0};
	int err, status = 0;

	if (desk == MAP_FAILED)
		return workload_fail("no memory: %s", strerror(errno));
	desk->truths = run->truth ? truth_new(run->tasks) : NULL;
	if (run->truth && !desk->truths) {
		munmap(desk, sizeof(*desk));
		return workload_fail("no memory: %s", strerror(errno));
	}
	desk->tasks = run->tasks;
	desk->workers = run->workers;
	desk->name = intro_mark_name("serve");
	desk->seed = workload_random(&run->seed);
	desk->steps = (uint64_t)((double)run->length_ns * run->rate);
	desk->expect = workload_spin_expect(desk->seed, desk->steps);
	err = run_service(desk, &hooks);
	if (err)
		status = workload_fail("the service: %s", strerror(-err));
	else if (desk->wrong || hooks.died != 1 || hooks.born != run->workers + 1)
		status = workload_fail("%u of %u results wrong; %u workers born, %u died",
				       desk->wrong, run->tasks, hooks.born, hooks.died);
	snprintf(run->note, sizeof(run->note), "; one worker %s, and was replaced", hooks.how);
	if (desk->truths)
		truth_write(run->truth, "service", desk->truths, run->tasks);
	truth_free(desk->truths, run->tasks);
	munmap(desk, sizeof(*desk));
	return status;
}
