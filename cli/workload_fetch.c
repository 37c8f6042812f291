/* SPDX-License-Identifier: BSD-2-Clause */
/* Slow servers, and fetching a page from each: one after the other, then all at once. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "workload.h"

#define PAGE_BYTES 4096u
#define VISITORS 1024 /* who are waiting for their page; more wait to be accepted */

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_un un;
};

struct server {
	int fd;
	socklen_t size;
	union address address;
	uint64_t seed, delay_ns;
};

struct visitor {
	int fd;
	unsigned server;
	uint64_t due;
};

struct servers {
	pthread_t thread;
	int end[2]; /* a pipe: closed at its end */
	bool local; /* UNIX sockets */
	unsigned n, visitors;
	struct server *server;
	struct pollfd *polled; /* end, then each server */
	struct visitor visitor[VISITORS];
};

/* --- the servers ----------------------------------------------------------------------------- */

/* A socket that listens at an address which the kernel chose; -1 and errno. */
static int server_open(struct server *server, bool local)
{
	union address wanted = {.un = {.sun_family = AF_UNIX}};
	socklen_t size = sizeof(sa_family_t);
	int fd;

	if (!local) {
		wanted.in = (struct sockaddr_in){.sin_family = AF_INET,
						 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		size = sizeof(wanted.in);
	}
	server->size = sizeof(server->address);
	fd = socket(wanted.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && !bind(fd, &wanted.any, size) && !listen(fd, SOMAXCONN) &&
	    !getsockname(fd, &server->address.any, &server->size))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int server_connect(const struct server *server)
{
	int fd = socket(server->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, &server->address.any, server->size)) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static bool loopback_works(void)
{
	struct server probe;
	int fd;

	probe.fd = server_open(&probe, false);
	if (probe.fd < 0)
		return false;
	fd = server_connect(&probe);
	if (fd >= 0)
		close(fd);
	close(probe.fd);
	return fd >= 0;
}

/* Sends the pages that are due. Milliseconds until the next one is; -1: none is waited for. */
static int servers_send(struct servers *servers)
{
	uint64_t now = workload_now(), next = UINT64_MAX;
	unsigned kept = 0;

	for (unsigned i = 0; i < servers->visitors; i++) {
		struct visitor *visitor = &servers->visitor[i];
		unsigned char page[PAGE_BYTES];

		if (visitor->due > now) {
			next = visitor->due < next ? visitor->due : next;
			servers->visitor[kept++] = *visitor;
			continue;
		}
		bytes_fill(page, sizeof(page), servers->server[visitor->server].seed);
		/* it fits into the socket; who has gone has gone */
		send(visitor->fd, page, sizeof(page), MSG_NOSIGNAL);
		close(visitor->fd);
	}
	servers->visitors = kept;
	return next == UINT64_MAX ? -1 : (int)((next - now + WORKLOAD_MS - 1) / WORKLOAD_MS);
}

static void servers_accept(struct servers *servers, unsigned i)
{
	const struct server *server = &servers->server[i];
	int fd;

	while (servers->visitors < VISITORS &&
	       (fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		servers->visitor[servers->visitors++] = (struct visitor){
			.fd = fd, .server = i, .due = workload_now() + server->delay_ns};
}

static void *servers_main(void *arg)
{
	struct servers *servers = arg;

	pthread_setname_np(pthread_self(), "servers");
	for (;;) {
		int timeout = servers_send(servers);
		nfds_t n = servers->visitors < VISITORS ? 1 + servers->n : 1;

		if (poll(servers->polled, n, timeout) < 0 && errno != EINTR)
			return NULL;
		if (servers->polled[0].revents)
			return NULL;
		for (unsigned i = 0; n > 1 && i < servers->n; i++)
			if (servers->polled[1 + i].revents)
				servers_accept(servers, i);
	}
}

static void servers_close(struct servers *servers)
{
	for (unsigned i = 0; servers->server && i < servers->n; i++)
		if (servers->server[i].fd >= 0)
			close(servers->server[i].fd);
	if (servers->end[0] >= 0)
		close(servers->end[0]);
	if (servers->end[1] >= 0)
		close(servers->end[1]);
	free(servers->polled);
	free(servers->server);
	free(servers);
}

static int servers_open(struct servers *servers, uint64_t delay_ns, uint64_t *seed)
{
	if (!servers->server || !servers->polled)
		return -1;
	for (unsigned i = 0; i < servers->n; i++)
		servers->server[i].fd = -1;
	if (pipe2(servers->end, O_CLOEXEC))
		return -1;
	servers->polled[0] = (struct pollfd){.fd = servers->end[0], .events = POLLIN};
	for (unsigned i = 0; i < servers->n; i++) {
		struct server *server = &servers->server[i];

		server->seed = workload_random(seed);
		server->delay_ns = workload_around(seed, delay_ns);
		server->fd = server_open(server, servers->local);
		if (server->fd < 0)
			return -1;
		servers->polled[1 + i] = (struct pollfd){.fd = server->fd, .events = POLLIN};
	}
	errno = pthread_create(&servers->thread, NULL, servers_main, servers);
	return errno ? -1 : 0;
}

struct servers *servers_new(unsigned n, uint64_t delay_ns, uint64_t *seed)
{
	struct servers *servers = calloc(1, sizeof(*servers));

	if (!servers)
		return NULL;
	servers->n = n;
	servers->end[0] = servers->end[1] = -1;
	servers->local = !loopback_works();
	servers->server = calloc(n, sizeof(*servers->server));
	servers->polled = calloc(1 + n, sizeof(*servers->polled));
	if (servers_open(servers, delay_ns, seed)) {
		int saved = errno;

		servers_close(servers);
		errno = saved;
		return NULL;
	}
	return servers;
}

void servers_free(struct servers *servers)
{
	if (!servers)
		return;
	close(servers->end[1]);
	servers->end[1] = -1;
	pthread_join(servers->thread, NULL);
	for (unsigned i = 0; i < servers->visitors; i++)
		close(servers->visitor[i].fd);
	servers_close(servers);
}

const char *servers_where(const struct servers *servers)
{
	return servers->local ? "UNIX sockets" : "TCP";
}

uint64_t servers_slowest(const struct servers *servers)
{
	uint64_t slowest = 0;

	for (unsigned i = 0; i < servers->n; i++)
		if (servers->server[i].delay_ns > slowest)
			slowest = servers->server[i].delay_ns;
	return slowest;
}

/* --- who fetches ----------------------------------------------------------------------------- */

int fetch_page(const struct servers *servers, unsigned server, uint64_t *sum)
{
	unsigned char page[PAGE_BYTES];
	int fd = server_connect(&servers->server[server]);
	size_t got;

	if (fd < 0)
		return -errno;
	got = bytes_read(fd, page, sizeof(page));
	close(fd);
	*sum = bytes_sum(page, got);
	return got == sizeof(page) ? 0 : -EIO;
}

void job_expect_page(struct job *job, const struct servers *servers, unsigned server)
{
	unsigned char page[PAGE_BYTES];

	bytes_fill(page, sizeof(page), servers->server[server].seed);
	job->steps = server;
	job->expect = bytes_sum(page, sizeof(page));
}

int task_fetch(struct intro_call *call)
{
	const struct job *job = job_of(call);
	uint64_t sum;
	int err;

	truth_begin(job->truth, call);
	err = fetch_page(job->shared, (unsigned)job->steps, &sum);
	if (!err)
		return job_return(call, sum);
	errno = -err;
	return job_fail(call, "server");
}

/* All pages, by so many threads. Nanoseconds that it took, in *took. */
static int fetch_all(struct workload_run *run, struct servers *servers, const char *name,
		     unsigned threads, uint64_t *took)
{
	struct crew *crew = crew_new(run, INTRO_POOL_THREAD, name, threads, run->tasks, servers);
	struct task_kind kind = task_kind(task_fetch, "fetch");
	uint64_t begin = workload_now();
	int status = 0;

	if (!crew)
		return 1;
	while (!status && crew->submitted < crew->tasks) {
		job_expect_page(crew_job(crew), servers, (unsigned)crew->submitted);
		status = crew_submit(crew, &kind);
	}
	status |= crew_wait(crew);
	*took = workload_now() - begin;
	crew_free(crew);
	return status;
}

int workload_fetch_run(struct workload_run *run)
{
	struct servers *servers = servers_new(run->tasks, run->length_ns, &run->seed);
	uint64_t one = 0, all = 0;
	int status;

	if (!servers)
		return workload_fail("fetch: no servers: %s", strerror(errno));
	status = fetch_all(run, servers, "sequential", 1, &one);
	if (!status)
		status = fetch_all(run, servers, "fetch", run->workers, &all);
	snprintf(run->note, sizeof(run->note),
		 "; %u servers on %s, the slowest takes %.0f ms: one by one %.0f ms, %u threads "
		 "%.0f ms",
		 run->tasks, servers_where(servers), (double)servers_slowest(servers) / 1e6,
		 (double)one / 1e6, run->workers, (double)all / 1e6);
	servers_free(servers);
	return status;
}
