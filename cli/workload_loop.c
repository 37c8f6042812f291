/* SPDX-License-Identifier: BSD-2-Clause */
/* One event loop: requests that come through a pipe, their handlers, and one that takes long. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <introspect/loop.h>

#include "workload.h"

#define LONG_EVERY 10 /* one request of so many takes so much longer */
#define LONG_FACTOR 8
#define PERIOD_FACTOR 2 /* a request comes in so many times the length of one */

struct service {
	struct workload_run *run;
	struct intro_loop *loop;
	int pipe[2];
	uint32_t answered, logged, wrong, ticks;
	struct truth *truths; /* of the answers; NULL: not wanted */
};

static void answer(const char *event, void *data, void *arg)
{
	struct service *service = arg;
	uint64_t i = service->answered++, seed = i + 1;
	uint64_t ns = service->run->length_ns * (i % LONG_EVERY ? 1 : LONG_FACTOR);
	uint64_t steps = (uint64_t)((double)ns * service->run->rate);
	struct truth *truth = service->truths ? &service->truths[i] : NULL;

	truth_begin_task(truth, intro_loop_task(service->loop));
	service->wrong += workload_spin(seed, steps) != workload_spin_expect(seed, steps);
	truth_end(truth);
	if (truth)
		truth->name = "request";
}

static void record(const char *event, void *data, void *arg)
{
	struct service *service = arg;

	if (++service->logged == service->run->tasks)
		intro_loop_stop(service->loop);
}

static void tick(void *arg)
{
	struct service *service = arg;

	service->ticks++;
	intro_loop_call_later(service->loop, 10 * WORKLOAD_MS, tick, service, NULL);
}

static void receive(int fd, uint32_t events, void *arg)
{
	struct service *service = arg;
	char requests[64];
	ssize_t n = read(fd, requests, sizeof(requests));

	for (ssize_t i = 0; i < n; i++)
		intro_loop_emit(service->loop, "request", NULL);
}

static void *send_requests(void *arg)
{
	struct service *service = arg;
	uint64_t ns = service->run->length_ns * PERIOD_FACTOR;
	const struct timespec period = {.tv_sec = (time_t)(ns / 1000000000),
					.tv_nsec = (long)(ns % 1000000000)};

	for (uint32_t i = 0; i < service->run->tasks; i++) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
		if (write(service->pipe[1], "r", 1) != 1)
			intro_loop_stop(service->loop);
	}
	return NULL;
}

static int serve(struct service *service)
{
	struct intro_loop *loop = service->loop;
	pthread_t client;
	int err = intro_loop_on(loop, "request", answer, service);

	if (!err)
		err = intro_loop_on(loop, "request", record, service);
	if (!err)
		err = intro_loop_add(loop, service->pipe[0], EPOLLIN, receive, service);
	if (!err)
		err = intro_loop_call_soon(loop, tick, service);
	if (!err)
		err = -pthread_create(&client, NULL, send_requests, service);
	if (err)
		return err;
	err = intro_loop_run(loop);
	pthread_join(client, NULL);
	return err;
}

int workload_loop_run(struct workload_run *run)
{
	struct service service = {.run = run};
	int err;

	run->workers = 1;
	service.truths = run->truth ? truth_new(run->tasks) : NULL;
	if ((run->truth && !service.truths) || pipe2(service.pipe, O_CLOEXEC))
		return workload_fail("loop: %s", strerror(errno));
	service.loop = intro_loop_new("loop");
	err = service.loop ? serve(&service) : -errno;
	intro_loop_free(service.loop);
	close(service.pipe[0]);
	close(service.pipe[1]);
	if (service.truths)
		truth_write(run->truth, "loop", service.truths, run->tasks);
	truth_free(service.truths, run->tasks);
	if (err)
		return workload_fail("loop: %s", strerror(-err));
	if (service.wrong || service.answered != run->tasks || service.logged != run->tasks)
		return workload_fail("loop: %u of %u requests answered, %u wrong", service.answered,
				     run->tasks, service.wrong);
	snprintf(run->note, sizeof(run->note),
		 "; one request in %d takes %d times as long: all others wait; %u ticks of a timer",
		 LONG_EVERY, LONG_FACTOR, service.ticks);
	return 0;
}
