/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_PLACE_BPF_H
#define INTROSPECT_COLLECT_PLACE_BPF_H
/*
 * place_bpf.h - the part of the BPF source that counts whose node's memory a thread gets: which of
 * bpf/place.bpf.h's programs there can be, and how a page's node is told.
 *
 * Order of calls: choose before the programs are loaded, calibrate after, attach with the others,
 * finish after they are detached, free at last.
 */
#include <introspect/topology.h>

#include "collect/reason.h"
#include "collect/source.h"

struct introspect_bpf;
struct bpf_link;

/* Programs that not every kernel can run: those of tracepoints first. */
#define INTRO__PLACE_OPTIONAL 5
#define INTRO__PLACE_TRACEPOINTS 4

struct intro__place {
	bool on;
	int optional_n;	   /* of the optional programs, the first so many */
	char why_not[128]; /* pages are not counted, though wanted; "" */
	struct bpf_link *optional[INTRO__PLACE_OPTIONAL];
	unsigned int counted; /* INTRO__COUNTS_* */
};

void intro__place_choose(struct intro__place *place, struct introspect_bpf *skel,
			 const struct intro_topology *topology, size_t cpus);
/* Finds where in a page's flags its node is, by getting pages of each; place->on is false if not.
 */
void intro__place_calibrate(struct intro__place *place, struct introspect_bpf *skel,
			    const struct intro_topology *topology);
/* What is optional and fails is left out. */
void intro__place_attach(struct intro__place *place, struct introspect_bpf *skel);
/* Hands over what was counted and never told of. */
int intro__place_finish(struct intro__place *place, struct introspect_bpf *skel, size_t cpus,
			const struct intro__sink *sink);
void intro__place_detach(struct intro__place *place);

#endif
