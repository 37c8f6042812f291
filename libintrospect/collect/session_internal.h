/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_SESSION_INTERNAL_H
#define INTROSPECT_COLLECT_SESSION_INTERNAL_H
/*
 * session_internal.h - the session's state, shared by session.c (its life), loop.c (recording) and
 * meta.c (what the trace says of itself).
 */
#include <stdint.h>

#include <introspect/session.h>
#include <introspect/topology.h>
#include <introspect/trace.h>

#include "collect/clock.h"
#include "collect/launch.h"
#include "collect/marks.h"
#include "collect/source.h"

struct intro_session {
	struct intro_session_options options;
	struct intro__source *source; /* NULL: no kernel events */
	struct intro__marks *marks;   /* NULL: no marks */
	struct intro_trace_writer *writer;
	struct intro__launch launch;
	struct intro__sink sink;
	struct intro_topology *topology;
	bool numa;     /* memory is looked at */
	int stop_fd;   /* an eventfd: intro_session_stop writes to it */
	int target_fd; /* PID mode: readable when the process has ended */
	uint64_t start_ns, end_ns, start_unix_ns;
	uint64_t drains;
	bool launched, ended; /* the command runs; it has been waited for */
	int exit_status;      /* as waitpid gives it */
	struct intro_trace_writer_stats written;
	double cpu_before_s, tracer_cpu_s; /* of the thread: when run began; in run */
	struct intro__reason why;
	struct intro__reason cut; /* why the source went away before its time; "": it did not */
};

int intro__meta_begin(struct intro_session *session);
int intro__meta_end(struct intro_session *session);
/* CPU time of the calling thread. */
double intro__cpu_s(void);

#endif
