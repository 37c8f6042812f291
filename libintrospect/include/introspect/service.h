/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_SERVICE_H
#define INTROSPECT_SERVICE_H
/*
 * service.h - services: worker processes that are kept alive until they are told to end.
 * Semantics are those of cotyledon (Python), under C names.
 *
 *	struct intro_service_manager *manager = intro_service_manager_new(
 *		&(struct intro_service_manager_options){.size = sizeof(
 *			struct intro_service_manager_options)});
 *	intro_service_manager_add(manager, &(struct intro_service){
 *		.size = sizeof(struct intro_service), .name = "mailer", .workers = 2, .run = mail});
 *	status = intro_service_manager_run(manager);
 *	intro_service_manager_free(manager);
 *
 * The thread that calls run is the manager: it forks the workers, forks new ones for those that
 * end, and returns when all have been told to end and have. It takes
 *   TERM  as a graceful end: TERM to each worker; KILL to those that are not gone after their
 *         time-out;
 *   HUP   as a reload: HUP to each worker;
 *   INT   as a fast end: KILL to each worker.
 * These signals must be blocked in all other threads of the program (best: call new, or block
 * them, before there are others); a thread that does not block them gets them instead, and dies
 * of them. When NOTIFY_SOCKET is set, systemd is told READY=1, RELOADING=1 and STOPPING=1.
 *
 * A worker is a fork of the program, named "<service>/<index>", killed after its time-out once its
 * end was asked for, whoever asked. It is told to end when the manager dies, too, whatever the
 * manager dies of. In a worker
 *   TERM  asks for its end: intro_service_stopping turns true, `terminate` is called; when `run`
 *         and `terminate` have returned it exits with status 0;
 *   HUP   calls `reload`; without one it is as TERM, and a new worker comes at once;
 *   INT   is ignored: a terminal sends it to the manager too.
 * TERM and HUP are blocked in what `run` executes (exec inherits that). Handlers of the program's
 * are reset to the default, those of faults excepted.
 *
 * A worker that ends without being told is replaced: at once if it lived longer than backoff_max,
 * or for the first time; then after backoff_min, and twice that each time, up to backoff_max.
 *
 * Differences from cotyledon: `run` is the worker's main thread, the other two functions are
 * called from a second one; a worker that was told to end waits for `run`.
 *
 * Thread-safety: stop, reload, reconfigure and workers may be called from any thread, and from
 * hooks; all else from the one that calls run. In a worker, as in any forked child, the manager is
 * there no more: its functions give -ESHUTDOWN, or do nothing.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct intro_service_manager;

/* A worker, as its functions see it; valid as long as it lives. */
struct intro_service_worker {
	const char *service;
	unsigned index; /* 0 .. workers - 1; a new worker has that of the one it replaces */
	uint32_t pool;	/* for marks (mark.h): the service's. The worker is marked as its worker */
	void *arg;	/* of the service */
	void *runtime;	/* the runtime's own */
};

/* Zero a struct, set size = sizeof, then what you need. Copied by add, the name too. */
struct intro_service {
	size_t size;
	const char *name;
	unsigned workers; /* 0: 1 */
	/*
	 * The work. 0: it has nothing more to do by itself, and the worker waits for its end; else
	 * the worker exits with that status (its low 8 bits, or 1), and is replaced. May be NULL.
	 */
	int (*run)(struct intro_service_worker *worker);
	void (*terminate)(struct intro_service_worker *worker); /* may be NULL */
	void (*reload)(struct intro_service_worker *worker);	/* may be NULL */
	void *arg;
	int64_t graceful_timeout_ns; /* 0: the manager's */
};

/* What hooks are told. Valid within the hook. */
struct intro_service_event {
	unsigned service; /* its number */
	const char *name;
	unsigned index;
	pid_t pid;
	const char *how;    /* dead_worker: "was killed by signal 9 (SIGKILL)" */
	bool expected;	    /* dead_worker: it had been told to end */
	int64_t restart_ns; /* dead_worker: in so long a new one comes; -1: none does */
};

/* All hooks are called in the manager's thread; they may be NULL. */
struct intro_service_manager_options {
	size_t size;
	int64_t graceful_timeout_ns; /* 0: 60 s */
	int64_t backoff_min_ns;	     /* 0: 100 ms */
	int64_t backoff_max_ns;	     /* 0: 30 s */
	bool no_signals; /* the program has its own way: stop and reload are functions, too */
	void (*new_worker)(const struct intro_service_event *event, void *arg);
	void (*dead_worker)(const struct intro_service_event *event, void *arg);
	void (*reload)(void *arg);    /* before workers are told */
	void (*terminate)(void *arg); /* before workers are told, at a graceful end */
	void *hook_arg;
};

/* NULL and errno: EINVAL, E2BIG (options from a newer header), ENOMEM, EMFILE. */
struct intro_service_manager *
intro_service_manager_new(const struct intro_service_manager_options *options);
/* Not while it runs. NULL is fine. */
void intro_service_manager_free(struct intro_service_manager *manager);

/* The service's number (0, 1, ...); -EINVAL: no name, too many workers; -EBUSY: it runs. */
int intro_service_manager_add(struct intro_service_manager *manager,
			      const struct intro_service *service);
/*
 * Runs the services until their end; no worker is left then. 0: a graceful end; -EINTR: a fast
 * one; -EINVAL: no service; -EALREADY: it runs, or has run; other errors: it could not begin.
 */
int intro_service_manager_run(struct intro_service_manager *manager);

/* As TERM, or (fast) as INT. Before run: that returns at once. */
void intro_service_manager_stop(struct intro_service_manager *manager, bool fast);
/* As HUP. */
void intro_service_manager_reload(struct intro_service_manager *manager);
/*
 * So many workers from now on: new ones are forked, or those of the highest index told to end. 0
 * is possible. 0; -ENOENT: no such service; -EINVAL: too many.
 */
int intro_service_manager_reconfigure(struct intro_service_manager *manager, unsigned service,
				      unsigned workers);
/* How many live now; -ENOENT. */
int intro_service_manager_workers(struct intro_service_manager *manager, unsigned service);

/* --- in a worker ------------------------------------------------------------------------------ */

bool intro_service_stopping(const struct intro_service_worker *worker);
/* Sleeps. true: it is told to end; false: the time is over. */
bool intro_service_wait(const struct intro_service_worker *worker, int64_t timeout_ns);
/* Readable, and stays so, when the worker is told to end; for poll. */
int intro_service_stop_fd(const struct intro_service_worker *worker);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
