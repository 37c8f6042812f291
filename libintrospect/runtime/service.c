/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service.c - the manager's side of services. See service.h.
 *
 * One loop in the thread that runs the manager: take what was asked for, make the workers what
 * they shall be, sleep until something ends, is asked for, or is due. Only that thread touches
 * slots, `alive` apart. A worker is watched by its pidfd, so SIGCHLD stays the program's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "executor_private.h"
#include "futex.h"
#include "handlers.h"
#include "marks_private.h"
#include "options.h"
#include "service_private.h"

#define WORKERS_MAX 4096
#define GRACEFUL_NS (60ll * NSEC_PER_SEC)
#define BACKOFF_MIN_NS (NSEC_PER_SEC / 10)
#define BACKOFF_MAX_NS (30ll * NSEC_PER_SEC)
/* When to look again where there was no memory. */
#define NO_MEMORY_NS (NSEC_PER_SEC / 100)

enum slot_state { SLOT_EMPTY, SLOT_RUNS, SLOT_ENDING };

struct slot {
	enum slot_state state;
	pid_t pid;
	int pidfd;
	int64_t born;
	int64_t due; /* EMPTY: to be forked; ENDING: to be killed (INTRO_FOREVER: it was) */
	unsigned short_lives; /* in a row */
	bool reloads;	      /* it was told HUP, which may end it */
};

struct service {
	struct intro_service config;
	char name[INTRO__NAME_BYTES];
	uint32_t pool;
	unsigned wanted; /* under the lock */
	_Atomic int alive;
	struct slot *slots;
	unsigned n; /* slots */
};

enum life { LIFE_NEW, LIFE_RUNS, LIFE_OVER };

#define HANDLED 3 /* signals */

struct intro_service_manager {
	struct intro_service_manager_options options;
	uint32_t forks; /* of the process that made it */
	struct service *services;
	unsigned n;
	int event;   /* eventfd: look at what is asked for */
	int signals; /* signalfd; -1: none */
	int life[2]; /* a pipe whose write end only this process has */
	/* systemd's socket; "": none; one too long stays so, and is refused */
	char notify[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
	sigset_t mask; /* of the thread that runs, before it did */
	struct sigaction actions[HANDLED];
	struct handlers handlers; /* of that thread */
	struct pollfd *polled;
	size_t room;
	bool stopping;
	bool ready; /* told so */

	pthread_mutex_t lock; /* guards what follows, and `wanted` */
	enum life state;
	bool ask_stop, ask_fast, ask_reload;
};

/* In a worker: the manager's descriptors are closed there, and their numbers those of others. */
static bool is_parents(const struct intro_service_manager *m)
{
	return m->forks != intro__forks();
}

static void wake(struct intro_service_manager *m)
{
	uint64_t one = 1;
	int saved = errno;

	while (write(m->event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	errno = saved;
}

static void notify(struct intro_service_manager *m, const char *state)
{
	/* nobody may be listening: no reason not to serve */
	(void)intro__notify(m->notify, state);
}

/* --- one worker ------------------------------------------------------------------------------ */

static struct intro_service_event event_of(struct intro_service_manager *m, struct service *s,
					   const struct slot *slot)
{
	return (struct intro_service_event){.service = (unsigned)(s - m->services),
					    .name = s->name,
					    .index = (unsigned)(slot - s->slots),
					    .pid = slot->pid,
					    .restart_ns = -1};
}

/* How long to wait before the next try, after a life too short. */
static int64_t back_off(const struct intro_service_manager *m, struct slot *slot)
{
	int64_t wait = m->options.backoff_min_ns;

	if (intro__now() - slot->born >= m->options.backoff_max_ns) {
		slot->short_lives = 0;
		return 0;
	}
	if (!slot->short_lives++)
		return 0;
	for (unsigned i = 2; i < slot->short_lives && wait < m->options.backoff_max_ns; i++)
		wait *= 2;
	return wait < m->options.backoff_max_ns ? wait : m->options.backoff_max_ns;
}

/* In the child: what is the manager's alone. */
static void close_manager(const struct intro_service_manager *m)
{
	close(m->event);
	close(m->life[1]);
	if (m->signals >= 0)
		close(m->signals);
	for (unsigned i = 0; i < m->n; i++)
		for (unsigned k = 0; k < m->services[i].n; k++)
			if (m->services[i].slots[k].state != SLOT_EMPTY)
				close(m->services[i].slots[k].pidfd);
}

/* 0 or -errno. */
static int slot_fork(struct intro_service_manager *m, struct service *s, struct slot *slot)
{
	struct service_birth birth = {.service = &s->config,
				      .name = s->name,
				      .index = (unsigned)(slot - s->slots),
				      .pool = s->pool,
				      .parent = getpid(),
				      .life = m->life[0],
				      .signals = m->mask};
	sigset_t before;
	int err;

	intro__signals_block(&before);
	slot->pid = fork();
	if (!slot->pid) {
		close_manager(m);
		intro__service_worker(&birth);
	}
	err = slot->pid < 0 ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return err;
	slot->pidfd = pidfd_open(slot->pid, 0);
	if (slot->pidfd >= 0)
		return 0;
	err = -errno;
	kill(slot->pid, SIGKILL);
	while (waitpid(slot->pid, NULL, 0) < 0 && errno == EINTR)
		;
	return err;
}

static void slot_start(struct intro_service_manager *m, struct service *s, struct slot *slot)
{
	struct intro_service_event event;

	slot->born = intro__now();
	slot->reloads = false;
	if (slot_fork(m, s, slot)) {
		slot->due = intro__now() + back_off(m, slot);
		return;
	}
	slot->state = SLOT_RUNS;
	s->alive++;
	event = event_of(m, s, slot);
	if (m->options.new_worker)
		m->options.new_worker(&event, m->options.hook_arg);
}

static void slot_end(struct service *s, struct slot *slot)
{
	pidfd_send_signal(slot->pidfd, SIGTERM, NULL, 0);
	slot->state = SLOT_ENDING;
	slot->due = intro__deadline(s->config.graceful_timeout_ns);
}

static void slot_reload(struct slot *slot)
{
	if (slot->state != SLOT_RUNS)
		return;
	slot->reloads = true;
	pidfd_send_signal(slot->pidfd, SIGHUP, NULL, 0);
}

static void slot_kill(struct slot *slot)
{
	pidfd_send_signal(slot->pidfd, SIGKILL, NULL, 0);
	slot->state = SLOT_ENDING;
	slot->due = INTRO_FOREVER;
}

/* Its process has ended, or is about to (it was killed). */
static void slot_reap(struct intro_service_manager *m, struct service *s, struct slot *slot)
{
	struct intro_service_event event = event_of(m, s, slot);
	char how[64];
	bool well = intro__child_wait(slot->pidfd, how, sizeof(how)) > 0;
	int64_t wait;

	close(slot->pidfd);
	s->alive--;
	event.how = how;
	/* status 0 is what a TERM from somebody else ends with, but also exit(0) at once each time
	 */
	event.expected = slot->state == SLOT_ENDING || well;
	wait = slot->state == SLOT_ENDING || (well && slot->reloads) ? 0 : back_off(m, slot);
	pthread_mutex_lock(&m->lock);
	if (!m->stopping && event.index < s->wanted)
		event.restart_ns = wait;
	pthread_mutex_unlock(&m->lock);
	slot->state = SLOT_EMPTY;
	slot->due = intro__now() + wait;
	if (m->options.dead_worker)
		m->options.dead_worker(&event, m->options.hook_arg);
}

/* --- all of them ----------------------------------------------------------------------------- */

static bool any_alive(const struct intro_service_manager *m)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->services[i].alive)
			return true;
	return false;
}

/* 0 or -ENOMEM. */
static int slots_grow(struct service *s, unsigned n)
{
	struct slot *slots;

	if (n <= s->n)
		return 0;
	slots = realloc(s->slots, n * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots + s->n, 0, (n - s->n) * sizeof(*slots));
	s->slots = slots;
	s->n = n;
	return 0;
}

/* Makes each worker what it shall be at this moment. */
static void adjust(struct intro_service_manager *m, struct service *s)
{
	unsigned wanted;

	pthread_mutex_lock(&m->lock);
	wanted = m->stopping ? 0 : s->wanted;
	pthread_mutex_unlock(&m->lock);
	/* without memory there are as many as there were, until next_due */
	if (slots_grow(s, wanted))
		wanted = s->n;
	for (unsigned i = 0; i < s->n; i++) {
		struct slot *slot = &s->slots[i];
		int64_t now = intro__now();

		if (slot->state == SLOT_EMPTY && i < wanted && slot->due <= now)
			slot_start(m, s, slot);
		else if (slot->state == SLOT_RUNS && i >= wanted)
			slot_end(s, slot);
		else if (slot->state == SLOT_ENDING && slot->due <= now)
			slot_kill(slot);
	}
}

/* When the next slot is due: a fork, or a kill. */
static int64_t next_due(struct intro_service_manager *m)
{
	int64_t due = INTRO_FOREVER;

	for (unsigned i = 0; i < m->n; i++) {
		struct service *s = &m->services[i];
		unsigned wanted;

		pthread_mutex_lock(&m->lock);
		wanted = m->stopping ? 0 : s->wanted;
		pthread_mutex_unlock(&m->lock);
		/* there was no memory for them */
		if (wanted > s->n && intro__now() + NO_MEMORY_NS < due)
			due = intro__now() + NO_MEMORY_NS;
		for (unsigned k = 0; k < s->n; k++) {
			const struct slot *slot = &s->slots[k];
			bool waits = slot->state == SLOT_ENDING ||
				     (slot->state == SLOT_EMPTY && k < wanted);

			if (waits && slot->due < due)
				due = slot->due;
		}
	}
	return due;
}

static void reload_all(struct intro_service_manager *m)
{
	char state[64];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)intro__now() / 1000);
	notify(m, state);
	if (m->options.reload)
		m->options.reload(m->options.hook_arg);
	for (unsigned i = 0; i < m->n; i++)
		for (unsigned k = 0; k < m->services[i].n; k++)
			slot_reload(&m->services[i].slots[k]);
	notify(m, "READY=1");
}

static void kill_all(struct intro_service_manager *m)
{
	for (unsigned i = 0; i < m->n; i++)
		for (unsigned k = 0; k < m->services[i].n; k++)
			if (m->services[i].slots[k].state != SLOT_EMPTY)
				slot_kill(&m->services[i].slots[k]);
	for (unsigned i = 0; i < m->n; i++)
		for (unsigned k = 0; k < m->services[i].n; k++)
			if (m->services[i].slots[k].state != SLOT_EMPTY)
				slot_reap(m, &m->services[i], &m->services[i].slots[k]);
}

static void begin_stop(struct intro_service_manager *m)
{
	if (m->stopping)
		return;
	m->stopping = true;
	notify(m, "STOPPING=1");
	if (m->options.terminate)
		m->options.terminate(m->options.hook_arg);
}

/* --- the loop -------------------------------------------------------------------------------- */

/* true: end fast. */
static bool take_requests(struct intro_service_manager *m)
{
	bool stop, fast, reload;

	pthread_mutex_lock(&m->lock);
	stop = m->ask_stop;
	fast = m->ask_fast;
	reload = m->ask_reload;
	m->ask_reload = false;
	pthread_mutex_unlock(&m->lock);
	if (fast) {
		m->stopping = true;
		notify(m, "STOPPING=1");
		return true;
	}
	if (stop)
		begin_stop(m);
	else if (reload)
		reload_all(m);
	return false;
}

static void take_signals(struct intro_service_manager *m)
{
	struct signalfd_siginfo info;

	while (m->signals >= 0 && read(m->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			intro_service_manager_reload(m);
		else
			intro_service_manager_stop(m, info.ssi_signo == SIGINT);
	}
}

/* The descriptors to sleep on: event, signals, then the workers' in the order of slots. */
static size_t fill_polled(struct intro_service_manager *m)
{
	size_t n = 2;

	for (unsigned i = 0; i < m->n; i++)
		n += m->services[i].n;
	if (n > m->room) {
		struct pollfd *polled = realloc(m->polled, n * sizeof(*polled));

		if (!polled)
			return 0;
		m->polled = polled;
		m->room = n;
	}
	m->polled[0] = (struct pollfd){.fd = m->event, .events = POLLIN};
	m->polled[1] = (struct pollfd){.fd = m->signals, .events = POLLIN};
	n = 2;
	for (unsigned i = 0; i < m->n; i++)
		for (unsigned k = 0; k < m->services[i].n; k++) {
			const struct slot *slot = &m->services[i].slots[k];
			int fd = slot->state == SLOT_EMPTY ? -1 : slot->pidfd;

			m->polled[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
		}
	return n;
}

static void sleep_and_reap(struct intro_service_manager *m)
{
	struct timespec left = {.tv_nsec = NO_MEMORY_NS};
	int64_t due = next_due(m), now = intro__now();
	size_t n = fill_polled(m);
	uint64_t count;

	if (!n) { /* no memory: look again soon */
		nanosleep(&left, NULL);
		return;
	}
	due = due > now ? due - now : 0;
	left = (struct timespec){.tv_sec = due / NSEC_PER_SEC, .tv_nsec = due % NSEC_PER_SEC};
	if (ppoll(m->polled, n, &left, NULL) < 0)
		return;
	if (m->polled[0].revents)
		(void)!read(m->event, &count, sizeof(count));
	if (m->polled[1].revents)
		take_signals(m);
	n = 2;
	for (unsigned i = 0; i < m->n; i++)
		for (unsigned k = 0; k < m->services[i].n; k++)
			if (m->polled[n++].revents)
				slot_reap(m, &m->services[i], &m->services[i].slots[k]);
}

static int serve(struct intro_service_manager *m)
{
	while (!take_requests(m)) {
		for (unsigned i = 0; i < m->n; i++)
			adjust(m, &m->services[i]);
		if (m->stopping && !any_alive(m))
			return 0;
		if (!m->ready && !m->stopping) {
			m->ready = true;
			notify(m, "READY=1");
		}
		sleep_and_reap(m);
	}
	kill_all(m);
	return -EINTR;
}

static const int handled[HANDLED] = {SIGTERM, SIGHUP, SIGINT};

/* Leads the signals into a descriptor. 0 or -errno. */
static int take_over_signals(struct intro_service_manager *m)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < HANDLED; i++)
		sigaddset(&set, handled[i]);
	m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signals < 0)
		return -errno;
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* what is ignored never reaches the descriptor */
	for (size_t i = 0; i < HANDLED; i++)
		sigaction(handled[i], &action, &m->actions[i]);
	return 0;
}

static void give_back_signals(struct intro_service_manager *m)
{
	if (m->signals < 0)
		return;
	/* one that came too late has been obeyed already, or is of no use any more */
	take_signals(m);
	for (size_t i = 0; i < HANDLED; i++)
		sigaction(handled[i], &m->actions[i], NULL);
	close(m->signals);
	m->signals = -1;
}

static void run_ends(struct intro_service_manager *m)
{
	give_back_signals(m);
	pthread_sigmask(SIG_SETMASK, &m->mask, NULL);
	pthread_mutex_lock(&m->lock);
	m->state = LIFE_OVER;
	pthread_mutex_unlock(&m->lock);
}

/* In a hook, or cancelled: workers do not outlive the thread that forked them. */
static void thread_ends(void *arg)
{
	struct intro_service_manager *m = arg;

	intro__handlers_restore(&m->handlers);
	pthread_mutex_lock(&m->lock);
	m->stopping = true;
	pthread_mutex_unlock(&m->lock);
	kill_all(m);
	run_ends(m);
}

int intro_service_manager_run(struct intro_service_manager *m)
{
	int err = 0;

	if (is_parents(m))
		return -ESHUTDOWN;
	pthread_mutex_lock(&m->lock);
	if (!m->n)
		err = -EINVAL;
	else if (m->state != LIFE_NEW)
		err = -EALREADY;
	else
		m->state = LIFE_RUNS;
	pthread_mutex_unlock(&m->lock);
	if (err)
		return err;
	pthread_sigmask(SIG_SETMASK, NULL, &m->mask);
	pthread_cleanup_push(thread_ends, m);
	intro__handlers_save(&m->handlers);
	err = m->options.no_signals ? 0 : take_over_signals(m);
	if (!err)
		err = serve(m);
	pthread_cleanup_pop(0);
	run_ends(m);
	return err;
}

/* --- the manager as an object ---------------------------------------------------------------- */

static bool take_options(struct intro_service_manager_options *o)
{
	if (!o->graceful_timeout_ns)
		o->graceful_timeout_ns = GRACEFUL_NS;
	if (!o->backoff_min_ns)
		o->backoff_min_ns = BACKOFF_MIN_NS;
	if (!o->backoff_max_ns)
		o->backoff_max_ns = BACKOFF_MAX_NS;
	return o->graceful_timeout_ns > 0 && o->graceful_timeout_ns < INT64_MAX / 4 &&
	       o->backoff_min_ns > 0 && o->backoff_max_ns >= o->backoff_min_ns &&
	       o->backoff_max_ns < INT64_MAX / 4;
}

struct intro_service_manager *
intro_service_manager_new(const struct intro_service_manager_options *given)
{
	struct intro_service_manager_options options;
	struct intro_service_manager *m;
	const char *path = getenv("NOTIFY_SOCKET");
	int err;

	err = intro__options_take(&options, sizeof(options), given);
	if (!err && !take_options(&options))
		err = -EINVAL;
	if (err) {
		errno = -err;
		return NULL;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->options = options;
	m->forks = intro__forks();
	snprintf(m->notify, sizeof(m->notify), "%s", path ? path : "");
	m->signals = m->life[0] = m->life[1] = -1;
	pthread_mutex_init(&m->lock, NULL);
	m->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->event < 0 || pipe2(m->life, O_CLOEXEC)) {
		err = errno;
		intro_service_manager_free(m);
		errno = err;
		return NULL;
	}
	return m;
}

void intro_service_manager_free(struct intro_service_manager *m)
{
	int fds[3];

	if (!m || is_parents(m))
		return;
	for (unsigned i = 0; i < m->n; i++) {
		intro__pool_release(m->services[i].pool);
		free(m->services[i].slots);
	}
	fds[0] = m->event;
	fds[1] = m->life[0];
	fds[2] = m->life[1];
	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	pthread_mutex_destroy(&m->lock);
	free(m->services);
	free(m->polled);
	free(m);
}

int intro_service_manager_add(struct intro_service_manager *m, const struct intro_service *given)
{
	struct intro_service config;
	struct service *services, *s;
	bool runs;
	int err;

	if (is_parents(m))
		return -ESHUTDOWN;
	err = intro__options_take(&config, sizeof(config), given);
	if (err)
		return err;
	if (!config.name || !*config.name || config.workers > WORKERS_MAX ||
	    config.graceful_timeout_ns < 0 || config.graceful_timeout_ns > INT64_MAX / 4)
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	runs = m->state != LIFE_NEW;
	pthread_mutex_unlock(&m->lock);
	if (runs)
		return -EBUSY;
	services = realloc(m->services, (m->n + 1) * sizeof(*services));
	if (!services)
		return -ENOMEM;
	m->services = services;
	s = &services[m->n];
	memset(s, 0, sizeof(*s));
	snprintf(s->name, sizeof(s->name), "%s", config.name);
	s->config = config;
	s->config.name = NULL; /* the caller's */
	if (!config.graceful_timeout_ns)
		s->config.graceful_timeout_ns = m->options.graceful_timeout_ns;
	s->wanted = config.workers ? config.workers : 1;
	s->pool = intro__pool_claim(s->name, s->wanted, INTRO_POOL_PROCESS);
	return (int)m->n++;
}

void intro_service_manager_stop(struct intro_service_manager *m, bool fast)
{
	if (is_parents(m))
		return;
	pthread_mutex_lock(&m->lock);
	m->ask_stop = true;
	m->ask_fast |= fast;
	pthread_mutex_unlock(&m->lock);
	wake(m);
}

void intro_service_manager_reload(struct intro_service_manager *m)
{
	if (is_parents(m))
		return;
	pthread_mutex_lock(&m->lock);
	m->ask_reload = true;
	pthread_mutex_unlock(&m->lock);
	wake(m);
}

int intro_service_manager_reconfigure(struct intro_service_manager *m, unsigned service,
				      unsigned workers)
{
	if (is_parents(m))
		return -ESHUTDOWN;
	if (service >= m->n)
		return -ENOENT;
	if (workers > WORKERS_MAX)
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	m->services[service].wanted = workers;
	pthread_mutex_unlock(&m->lock);
	wake(m);
	return 0;
}

int intro_service_manager_workers(struct intro_service_manager *m, unsigned service)
{
	if (is_parents(m))
		return -ESHUTDOWN;
	return service < m->n ? m->services[service].alive : -ENOENT;
}
