/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_PROBE_H
#define INTROSPECT_COLLECT_PROBE_H
/*
 * probe.h - one question to this machine a function. Each tries the thing itself: a version number
 * tells little of what a distribution or a container allows.
 */
#include <introspect/session.h>

#include "collect/source.h"

struct intro__probe {
	struct intro__source *source; /* NULL: the programs cannot be loaded */
	struct intro__reason why;
	size_t nodes;
};

__attribute__((format(printf, 3, 4))) void intro__probe_say(struct intro_probe_row *row,
							    enum intro_probe_verdict verdict,
							    const char *format, ...);
__attribute__((format(printf, 2, 3))) void intro__probe_advise(struct intro_probe_row *row,
							       const char *format, ...);

/* probe_bpf.c: with the programs loaded */
void intro__probe_programs(struct intro__probe *probe, struct intro_probe_row *row);
void intro__probe_tracepoints(struct intro__probe *probe, struct intro_probe_row *row);
void intro__probe_attach(struct intro__probe *probe, struct intro_probe_row *row);
void intro__probe_numa(struct intro__probe *probe, struct intro_probe_row *row);
void intro__probe_snapshot(struct intro__probe *probe, struct intro_probe_row *row);
void intro__probe_futex(struct intro__probe *probe, struct intro_probe_row *row);
void intro__probe_file(struct intro__probe *probe, struct intro_probe_row *row);

#endif
