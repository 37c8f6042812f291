/* SPDX-License-Identifier: BSD-2-Clause */
/* Services: workers that are kept alive, told to end, and never left behind. */
#include "rt_support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <introspect/service.h>

#define OPTIONS(...)                                                                               \
	(&(struct intro_service_manager_options){                                                  \
		.size = sizeof(struct intro_service_manager_options), __VA_ARGS__})
#define SERVICE(...)                                                                               \
	(&(struct intro_service){                                                                  \
		.size = sizeof(struct intro_service), .name = "serve", __VA_ARGS__})

/* Shared by the test, managers and workers. */
static struct shared {
	_Atomic int running, births, deaths, terminated, reloaded, runs_ended, expected,
		told_reload, told_terminate;
	_Atomic int64_t born[64];
	_Atomic int64_t restart[64];
	_Atomic pid_t pid[64];
	_Atomic int result;
	char how[64];
} * shared;

static struct intro_service_manager *manager; /* of the hooks */

static int setup(void **state)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return shared == MAP_FAILED;
}

static int teardown(void **state)
{
	munmap(shared, sizeof(*shared));
	return count_children() != 0;
}

static void until(const _Atomic int *count, int n)
{
	while (*count < n)
		sleep_ms(1);
}

static void on_new(const struct intro_service_event *event, void *arg)
{
	int n = shared->births % 64;

	assert_string_equal(event->name, "serve");
	shared->born[n] = now_ns();
	shared->pid[n] = event->pid;
	shared->births++;
}

static void on_dead(const struct intro_service_event *event, void *arg)
{
	snprintf(shared->how, sizeof(shared->how), "%s", event->how);
	shared->expected += event->expected;
	shared->restart[shared->deaths % 64] = event->restart_ns;
	shared->deaths++;
}

static void on_reload(void *arg)
{
	shared->told_reload++;
}

static void on_terminate(void *arg)
{
	shared->told_terminate++;
}

static struct intro_service_manager *new_manager(struct intro_service_manager_options *options)
{
	struct intro_service_manager *m;

	if (!options->new_worker)
		options->new_worker = on_new;
	if (!options->dead_worker)
		options->dead_worker = on_dead;
	options->reload = on_reload;
	options->terminate = on_terminate;
	m = intro_service_manager_new(options);
	assert_non_null(m);
	manager = m;
	return m;
}

static int serves(struct intro_service_worker *worker)
{
	shared->running++;
	while (!intro_service_wait(worker, 3600 * SEC))
		;
	shared->runs_ended++;
	return 0;
}

static int never_ends(struct intro_service_worker *worker)
{
	shared->running++;
	sleep_ms(1000000);
	return 0;
}

static void is_terminated(struct intro_service_worker *worker)
{
	shared->terminated++;
}

static void is_reloaded(struct intro_service_worker *worker)
{
	shared->reloaded++;
}

/* A process of its own that runs the manager, so that it can be sent signals. */
static pid_t manage(struct intro_service_manager_options *options,
		    const struct intro_service *service)
{
	pid_t pid = fork();

	if (!pid) {
		struct intro_service_manager *m = new_manager(options);

		if (intro_service_manager_add(m, service) != 0)
			abort();
		shared->result = intro_service_manager_run(m);
		intro_service_manager_free(m);
		_exit(count_children() ? 2 : 0);
	}
	return pid;
}

static void ended_well(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- signals --------------------------------------------------------------------------------- */

static void term_is_graceful(void **state)
{
	pid_t pid = manage(OPTIONS(0),
			   SERVICE(.workers = 2, .run = serves, .terminate = is_terminated));

	until(&shared->births, 2);
	kill(pid, SIGTERM);
	ended_well(pid);
	assert_int_equal(shared->result, 0);
	assert_int_equal(shared->told_terminate, 1);
	assert_int_equal(shared->terminated, 2);
	assert_int_equal(shared->runs_ended, 2);
	assert_int_equal(shared->expected, 2);
	assert_int_equal(shared->births, 2);
	assert_string_equal(shared->how, "exited with status 0");
}

static void int_is_fast(void **state)
{
	pid_t pid = manage(OPTIONS(0),
			   SERVICE(.workers = 2, .run = never_ends, .terminate = is_terminated));

	until(&shared->births, 2);
	kill(pid, SIGINT);
	ended_well(pid);
	assert_int_equal(shared->result, -EINTR);
	assert_int_equal(shared->terminated, 0);
	assert_int_equal(shared->told_terminate, 0);
	assert_int_equal(shared->deaths, 2);
}

/* Those that do not end in time are killed; INT does not wait for that. */
static void term_then_kill(void **state)
{
	for (int interrupted = 0; interrupted < 2; interrupted++) {
		int64_t timeout = interrupted ? 3600 * SEC : 150 * MSEC, begin;
		pid_t pid;

		memset(shared, 0, sizeof(*shared));
		pid = manage(OPTIONS(.graceful_timeout_ns = timeout),
			     SERVICE(.workers = 1, .run = never_ends, .terminate = is_terminated));
		until(&shared->births, 1);
		begin = now_ns();
		kill(pid, SIGTERM);
		until(&shared->terminated, 1);
		if (interrupted)
			kill(pid, SIGINT);
		ended_well(pid);
		if (!interrupted)
			assert_true(now_ns() - begin >= timeout);
		assert_int_equal(shared->result, interrupted ? -EINTR : 0);
		assert_string_equal(shared->how, "was killed by signal 9 (SIGKILL)");
		assert_int_equal(shared->expected, 1);
	}
}

static void hup_reloads(void **state)
{
	pid_t pid = manage(OPTIONS(0), SERVICE(.workers = 2, .run = serves, .reload = is_reloaded));

	until(&shared->births, 2);
	kill(pid, SIGHUP);
	until(&shared->reloaded, 2);
	assert_int_equal(shared->told_reload, 1);
	kill(pid, SIGTERM);
	ended_well(pid);
	assert_int_equal(shared->births, 2);
}

static void hup_without_a_reload_replaces(void **state)
{
	pid_t pid = manage(OPTIONS(.backoff_min_ns = 3600 * SEC, .backoff_max_ns = 3600 * SEC),
			   SERVICE(.workers = 2, .run = serves));

	until(&shared->births, 2);
	for (int i = 2; i <= 4; i++) {
		kill(pid, SIGHUP);
		until(&shared->births, 2 * i); /* no back-off: they were told */
	}
	kill(pid, SIGTERM);
	ended_well(pid);
	assert_int_equal(shared->expected, 8);
}

static void nohup_does_not_matter(void **state)
{
	pid_t pid;

	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	pid = manage(OPTIONS(0), SERVICE(.run = serves, .reload = is_reloaded));
	until(&shared->births, 1);
	kill(pid, SIGHUP);
	until(&shared->reloaded, 1);
	kill(pid, SIGTERM);
	ended_well(pid);
	signal(SIGHUP, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
}

/* Told by somebody else it ends, is killed when it does not, and is replaced. */
static void a_worker_told_alone(void **state)
{
	pid_t pid = manage(OPTIONS(.graceful_timeout_ns = 50 * MSEC),
			   SERVICE(.run = never_ends, .terminate = is_terminated));

	until(&shared->births, 1);
	kill(shared->pid[0], SIGINT); /* is the manager's affair */
	kill(shared->pid[0], SIGTERM);
	until(&shared->births, 2);
	assert_int_equal(shared->terminated, 1);
	assert_string_equal(shared->how, "was killed by signal 9 (SIGKILL)");
	assert_int_equal(shared->expected, 0);
	kill(pid, SIGINT);
	ended_well(pid);
}

/* --- the manager dies ------------------------------------------------------------------------ */

static void workers_do_not_outlive_the_manager(void **state)
{
	for (int stubborn = 0; stubborn < 2; stubborn++) {
		pid_t pid;
		int status;

		memset(shared, 0, sizeof(*shared));
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		pid = manage(OPTIONS(.graceful_timeout_ns = 50 * MSEC),
			     SERVICE(.workers = 3, .run = stubborn ? never_ends : serves,
				     .terminate = is_terminated));
		until(&shared->running, 3);
		kill(pid, SIGKILL);
		for (int i = 0; i < 4; i++) {
			pid_t gone = wait(&status);

			assert_true(gone > 0);
			if (gone != pid && !stubborn)
				assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
		}
		assert_int_equal(shared->terminated, 3);
		assert_int_equal(shared->runs_ended, stubborn ? 0 : 3);
		prctl(PR_SET_CHILD_SUBREAPER, 0);
	}
}

/* --- restarts, in this process --------------------------------------------------------------- */

static void stop_after_five(const struct intro_service_event *event, void *arg)
{
	on_dead(event, arg);
	if (shared->deaths == 5)
		intro_service_manager_stop(manager, false);
}

static int fails(struct intro_service_worker *worker)
{
	return 3;
}

static int fails_with_256(struct intro_service_worker *worker)
{
	return 256;
}

static int exits_at_once(struct intro_service_worker *worker)
{
	_exit(0);
}

static void check_back_off(void)
{
	assert_int_equal(shared->births, 5);
	assert_int_equal(shared->restart[0], 0);
	for (int i = 1; i < 4; i++) {
		assert_int_equal(shared->restart[i], (20 * MSEC) << (i - 1));
		assert_true(shared->born[i + 1] - shared->born[i] >= (20 * MSEC) << (i - 1));
	}
}

/* With a status that is as good as can be, and as often as they can. */
static void exiting_workers_back_off(void **state)
{
	struct intro_service_manager *m =
		new_manager(OPTIONS(.no_signals = true, .dead_worker = stop_after_five,
				    .backoff_min_ns = 20 * MSEC, .backoff_max_ns = 3600 * SEC));

	assert_int_equal(intro_service_manager_add(m, SERVICE(.run = exits_at_once)), 0);
	assert_int_equal(intro_service_manager_run(m), 0);
	assert_string_equal(shared->how, "exited with status 0");
	check_back_off();
	intro_service_manager_free(m);
}

static void failing_workers_back_off(void **state)
{
	struct intro_service_manager *m =
		new_manager(OPTIONS(.no_signals = true, .dead_worker = stop_after_five,
				    .backoff_min_ns = 20 * MSEC, .backoff_max_ns = 3600 * SEC));

	assert_int_equal(intro_service_manager_add(m, SERVICE(.run = fails)), 0);
	assert_int_equal(intro_service_manager_run(m), 0);
	assert_string_equal(shared->how, "exited with status 3");
	assert_int_equal(shared->expected, 0);
	check_back_off();
	assert_int_equal(intro_service_manager_run(m), -EALREADY);
	assert_int_equal(intro_service_manager_add(m, SERVICE(.run = fails)), -EBUSY);
	intro_service_manager_free(m);
}

static void a_long_life_is_forgiven(void **state)
{
	struct intro_service_manager *m =
		new_manager(OPTIONS(.no_signals = true, .dead_worker = stop_after_five,
				    .backoff_min_ns = 1, .backoff_max_ns = 1));

	assert_int_equal(intro_service_manager_add(m, SERVICE(.run = fails_with_256)), 0);
	assert_int_equal(intro_service_manager_run(m), 0);
	assert_string_equal(shared->how, "exited with status 1");
	for (int i = 0; i < 5; i++)
		assert_true(shared->restart[i] <= 0);
	intro_service_manager_free(m);
}

static int dies_once(struct intro_service_worker *worker)
{
	if (!shared->runs_ended++)
		raise(SIGKILL);
	return serves(worker);
}

static void stop_when_born_again(const struct intro_service_event *event, void *arg)
{
	on_new(event, arg);
	if (shared->births == 2)
		intro_service_manager_stop(manager, false);
}

static void a_killed_worker_is_replaced(void **state)
{
	struct intro_service_manager *m =
		new_manager(OPTIONS(.no_signals = true, .new_worker = stop_when_born_again));
	unsigned fds = count_fds();
	struct intro_rec_mark *mark;
	unsigned starts;
	size_t n;

	marks_begin();
	assert_int_equal(intro_service_manager_add(m, SERVICE(.run = dies_once)), 0);
	assert_int_equal(intro_service_manager_run(m), 0);
	mark = marks_end(&n);
	starts = marks_count(mark, n, INTRO_KIND_WORKER_START, 0);
	assert_int_equal(starts, 2);
	assert_int_equal(marks_count(mark, n, INTRO_KIND_WORKER_STOP, 0), 1);
	free(mark);
	assert_int_equal(shared->deaths, 2);
	assert_int_equal(shared->expected, 1);
	assert_int_equal(count_fds(), fds);
	intro_service_manager_free(m);
}

static void resize(const struct intro_service_event *event, void *arg)
{
	on_new(event, arg);
	if (shared->births == 2)
		assert_int_equal(intro_service_manager_reconfigure(manager, 0, 5), 0);
	if (shared->births == 5)
		assert_int_equal(intro_service_manager_reconfigure(manager, 0, 1), 0);
}

static void stop_when_one_is_left(const struct intro_service_event *event, void *arg)
{
	on_dead(event, arg);
	if (shared->deaths <= 4)
		assert_true(event->index >= 1);
	if (shared->deaths == 4) {
		assert_int_equal(intro_service_manager_workers(manager, 0), 1);
		intro_service_manager_stop(manager, false);
	}
}

static void reconfigured_while_it_runs(void **state)
{
	struct intro_service_manager *m =
		new_manager(OPTIONS(.no_signals = true, .new_worker = resize,
				    .dead_worker = stop_when_one_is_left));

	intro_service_manager_add(m, SERVICE(.workers = 2, .run = serves));
	assert_int_equal(intro_service_manager_run(m), 0);
	assert_int_equal(shared->births, 5);
	assert_int_equal(shared->deaths, 5);
	assert_int_equal(shared->expected, 5);
	intro_service_manager_free(m);
}

static int polls(struct intro_service_worker *worker)
{
	struct pollfd p = {.fd = intro_service_stop_fd(worker), .events = POLLIN};

	if (strcmp(worker->service, "serve") || worker->index || worker->arg != &shared ||
	    intro_service_stopping(worker) || intro_service_wait(worker, MSEC))
		return 9;
	shared->reloaded = 1;
	if (poll(&p, 1, -1) != 1 || !intro_service_stopping(worker))
		return 8;
	shared->runs_ended = 1;
	return 0;
}

static void a_worker_knows(void **state)
{
	pid_t pid = manage(OPTIONS(0), SERVICE(.run = polls, .arg = &shared));

	until(&shared->reloaded, 1);
	kill(pid, SIGTERM);
	ended_well(pid);
	assert_int_equal(shared->runs_ended, 1);
	assert_int_equal(shared->deaths, 1);
}

/* Where the descriptors of the manager were there may be others of the worker's. */
static int uses_the_manager(struct intro_service_worker *worker)
{
	int fds[16], left = 0;
	char c;

	for (int i = 0; i < 16; i += 2)
		if (pipe(&fds[i]) || fcntl(fds[i], F_SETFL, O_NONBLOCK))
			return 1;
	intro_service_manager_stop(manager, false);
	intro_service_manager_reload(manager);
	shared->result = intro_service_manager_reconfigure(manager, 0, 9) == -ESHUTDOWN &&
			 intro_service_manager_workers(manager, 0) == -ESHUTDOWN &&
			 intro_service_manager_add(manager, SERVICE(0)) == -ESHUTDOWN &&
			 intro_service_manager_run(manager) == -ESHUTDOWN;
	intro_service_manager_free(manager);
	for (int i = 0; i < 16; i += 2)
		left += read(fds[i], &c, 1) >= 0 || errno != EAGAIN;
	shared->result -= left;
	shared->running++;
	intro_service_wait(worker, INTRO_FOREVER);
	return 0;
}

static void the_manager_is_not_in_its_workers(void **state)
{
	pid_t pid = manage(OPTIONS(0), SERVICE(.run = uses_the_manager));

	until(&shared->running, 1);
	assert_int_equal(shared->result, 1);
	kill(pid, SIGTERM);
	ended_well(pid);
	assert_int_equal(shared->births, 1);
}

static int returns(struct intro_service_worker *worker)
{
	shared->runs_ended++;
	return 0;
}

static void one_with_nothing_to_do_waits(void **state)
{
	pid_t pid = manage(OPTIONS(0), SERVICE(.run = returns));

	until(&shared->runs_ended, 1);
	sleep_ms(20);
	assert_int_equal(shared->deaths, 0);
	kill(pid, SIGTERM);
	ended_well(pid);
	assert_int_equal(shared->births, 1);
}

/* --- systemd --------------------------------------------------------------------------------- */

static void expect(int fd, const char *text)
{
	char got[200] = "";

	assert_true(recv(fd, got, sizeof(got) - 1, 0) > 0);
	assert_int_equal(strncmp(got, text, strlen(text)), 0);
}

static void tells_systemd(void **state)
{
	for (int abstract = 0; abstract < 2; abstract++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		char name[64];
		pid_t pid;

		memset(shared, 0, sizeof(*shared));
		snprintf(name, sizeof(name), "%s/notify-%d", abstract ? "@introspect" : "/tmp",
			 getpid());
		memcpy(address.sun_path, name, strlen(name));
		if (abstract)
			address.sun_path[0] = 0;
		assert_int_equal(
			bind(fd, (struct sockaddr *)&address,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
			0);
		setenv("NOTIFY_SOCKET", name, 1);
		pid = manage(OPTIONS(0), SERVICE(.run = serves, .reload = is_reloaded));
		unsetenv("NOTIFY_SOCKET");
		expect(fd, "READY=1");
		kill(pid, SIGHUP);
		expect(fd, "RELOADING=1\nMONOTONIC_USEC=");
		expect(fd, "READY=1");
		kill(pid, SIGTERM);
		expect(fd, "STOPPING=1");
		ended_well(pid);
		close(fd);
		if (!abstract)
			unlink(name);
	}
}

/* --- misuse ---------------------------------------------------------------------------------- */

static void misuse(void **state)
{
	struct intro_service_manager *m;

	assert_null(intro_service_manager_new(NULL));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_service_manager_new(OPTIONS(.graceful_timeout_ns = -1)));
	assert_int_equal(errno, EINVAL);
	assert_null(intro_service_manager_new(
		OPTIONS(.backoff_min_ns = 2 * SEC, .backoff_max_ns = SEC)));
	m = new_manager(OPTIONS(.no_signals = true));
	assert_int_equal(intro_service_manager_run(m), -EINVAL);
	assert_int_equal(intro_service_manager_add(m, NULL), -EINVAL);
	assert_int_equal(intro_service_manager_add(m, SERVICE(.workers = 5000)), -EINVAL);
	assert_int_equal(intro_service_manager_add(
				 m, &(struct intro_service){.size = sizeof(struct intro_service)}),
			 -EINVAL);
	assert_int_equal(intro_service_manager_reconfigure(m, 0, 1), -ENOENT);
	assert_int_equal(intro_service_manager_workers(m, 0), -ENOENT);
	assert_int_equal(intro_service_manager_add(m, SERVICE(.run = serves)), 0);
	assert_int_equal(intro_service_manager_reconfigure(m, 0, 5000), -EINVAL);
	assert_int_equal(intro_service_manager_workers(m, 0), 0);
	intro_service_manager_stop(m, false);
	assert_int_equal(intro_service_manager_run(m), 0);
	assert_int_equal(shared->births, 0);
	intro_service_manager_free(m);
	intro_service_manager_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(term_is_graceful),
		TEST(int_is_fast),
		TEST(term_then_kill),
		TEST(hup_reloads),
		TEST(hup_without_a_reload_replaces),
		TEST(nohup_does_not_matter),
		TEST(a_worker_told_alone),
		TEST(workers_do_not_outlive_the_manager),
		TEST(failing_workers_back_off),
		TEST(exiting_workers_back_off),
		TEST(a_long_life_is_forgiven),
		TEST(a_killed_worker_is_replaced),
		TEST(reconfigured_while_it_runs),
		TEST(a_worker_knows),
		TEST(the_manager_is_not_in_its_workers),
		TEST(one_with_nothing_to_do_waits),
		TEST(tells_systemd),
		TEST(misuse),
	};

	private_area();
	watchdog(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
