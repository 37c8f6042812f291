/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_COLLECT_MARKS_INTERNAL_H
#define INTROSPECT_COLLECT_MARKS_INTERNAL_H
/*
 * marks_internal.h - what marks.c (reading rings) and marks_find.c (getting at areas) share.
 *
 * Only the head of an area (what comes before the rings) is mapped. The rings are read with pread:
 * what a hostile program does to its memory then costs this process neither memory nor a signal.
 */
#include <introspect/area.h>

#include "collect/clock.h"
#include "collect/marks.h"

#define AREAS_MAX 32   /* numbers of tasks, pools and names have room for this many */
#define REFUSED_MAX 64 /* files that looked like areas and were not; the oldest are forgotten */
#define MAPPED_BYTES offsetof(struct intro_area, ring)

struct mark_ring {
	uint64_t tail;
	uint64_t lost; /* of the slot's count, how many have been told */
	uint64_t last_ts;
	uint32_t tid; /* of whom the marks are; 0: of nobody who could be checked */
	uint32_t pid;
};

struct file_id {
	uint64_t dev, ino;
};

struct area {
	struct intro_area *shared;
	int fd;
	uid_t uid; /* whose threads may write to it */
	struct file_id id;
	unsigned int slots; /* above this none has been used so far */
	unsigned int drains;
	unsigned int defs;		   /* below this all are told */
	uint8_t told[INTRO_AREA_DEFS / 8]; /* by number: a bit each */
	struct mark_ring ring[INTRO_AREA_SLOTS];
};

struct intro__marks {
	struct intro__clock clock;
	struct area *area[AREAS_MAX];
	unsigned int areas;
	unsigned int turn; /* which area the next drain begins with */
	struct file_id refused[REFUSED_MAX];
	unsigned int refusals;
	unsigned int busy;   /* of the search under way */
	pid_t find_next;     /* where the next search goes on; 0: at the start */
	uint64_t began;	     /* the time of all definitions, see INTRO_STREAM_DEFS */
	uint64_t now;	     /* of the drain under way */
	unsigned int checks; /* of thread numbers, in this drain */
	struct intro__marks_stats stats;
};

/* A file that holds an area by all that can be checked, else -errno. Owns fd then. */
int intro__area_open(struct intro__marks *marks, int fd, uid_t uid);

#endif
