// SPDX-License-Identifier: BSD-2-Clause
/* replay.c - records in, in order of time; where the replay begins and ends. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

#define DEFAULT_MAX (256u * 1024)

struct intro_replay *intro_replay_new(const struct intro_replay_options *options,
				      const struct intro_replay_sink *sink)
{
	struct intro_replay *replay = calloc(1, sizeof(*replay));

	if (!replay)
		return NULL;
	if (options)
		memcpy(&replay->options, options,
		       options->size < sizeof(*options) ? options->size : sizeof(*options));
	if (sink)
		replay->sink = *sink;
	if (!replay->options.max_tasks)
		replay->options.max_tasks = DEFAULT_MAX;
	if (!replay->options.max_threads)
		replay->options.max_threads = DEFAULT_MAX;
	intro__map_init(&replay->threads);
	intro__map_init(&replay->tasks);
	intro__map_init(&replay->pools);
	intro__map_init(&replay->names);
	intro__map_init(&replay->locks);
	TAILQ_INIT(&replay->all_threads);
	TAILQ_INIT(&replay->certain);
	TAILQ_INIT(&replay->uncertain);
	TAILQ_INIT(&replay->all_tasks);
	TAILQ_INIT(&replay->ended);
	TAILQ_INIT(&replay->unmounted);
	TAILQ_INIT(&replay->all_pools);
	replay->begin = replay->now = replay->options.begin_ns;
	replay->begun = replay->begin != 0;
	return replay;
}

/* Time never goes back, and stays within the tracing where that is known. */
static void advance(struct intro_replay *replay, const struct intro_rec *rec)
{
	uint64_t ts = rec->ts;

	if (!replay->begun && rec->kind != INTRO_KIND_DEF) {
		replay->begin = replay->now = ts;
		replay->begun = true;
	}
	if (replay->options.end_ns)
		ts = min_u64(ts, max_u64(replay->options.end_ns, replay->begin));
	if (ts > replay->now)
		replay->now = ts;
	else if (ts < replay->now && ts >= replay->begin && rec->kind != INTRO_KIND_DEF)
		intro__strange(replay);
}

static uint8_t rows_needed(uint8_t kind)
{
	switch (kind) {
#define KIND_ROWS(NAME, value, rows, payload, text)                                                \
	case value:                                                                                \
		return rows;
		INTRO_KINDS(KIND_ROWS)
#undef KIND_ROWS
	default:
		return 0;
	}
}

static void on_lost(struct intro_replay *replay, const struct intro_rec_lost *lost)
{
	replay->totals.lost += lost->count;
	if (lost->rec.cpu == INTRO_CPU_NONE)
		intro__mark_lost(replay, lost);
	else
		intro__cpu_gap(replay, lost->rec.cpu, lost->until_ts);
}

static void on_def(struct intro_replay *replay, const struct intro_rec_def *def)
{
	switch (def->def) {
	case INTRO_DEF_NAME:
		intro__define_name(replay, def);
		break;
	case INTRO_DEF_POOL:
		intro__define_pool(replay, def);
		break;
	case INTRO_DEF_LOCK:
		intro__define_lock(replay, def);
		break;
	default:
		intro__strange(replay);
	}
}

int intro_replay_push(struct intro_replay *replay, const struct intro_rec *record)
{
	uint8_t rows = rows_needed(record->kind);

	if (replay->error)
		return replay->error;
	replay->totals.records++;
	if (!rows)
		return 0; /* of a newer version: not ours to judge */
	if (record->rows < rows) {
		intro__strange(replay);
		return 0;
	}
	advance(replay, record);
	if (intro__kernel_record(replay, record))
		return replay->error;
	if (replay->ended_n)
		intro__tasks_expire(replay);
	if (record->kind == INTRO_KIND_LOST)
		on_lost(replay, (const struct intro_rec_lost *)record);
	else if (record->kind == INTRO_KIND_DEF)
		on_def(replay, (const struct intro_rec_def *)record);
	else
		intro__mark_record(replay, record);
	return replay->error;
}

/* Those whose last switch comes after the trace's end: they run no more of their tasks. */
static void end_exiting(struct intro_replay *replay)
{
	struct thread *thread, *next;

	for (thread = TAILQ_FIRST(&replay->all_threads); thread; thread = next) {
		next = TAILQ_NEXT(thread, all);
		if (thread->exiting)
			intro__thread_end(replay, thread, false);
	}
}

int intro_replay_finish(struct intro_replay *replay, struct intro_replay_totals *totals)
{
	struct thread *thread;

	if (replay->options.end_ns > replay->now)
		replay->now = replay->options.end_ns;
	TAILQ_FOREACH(thread, &replay->all_threads, all)
		intro__book_end(replay, thread);
	end_exiting(replay);
	intro__tasks_finish(replay);
	while ((thread = TAILQ_FIRST(&replay->all_threads)))
		intro__thread_end(replay, thread, thread->state != INTRO_STATE_DEAD);
	intro__pools_finish(replay);
	replay->totals.begin_ns = replay->begin;
	replay->totals.end_ns = replay->now;
	if (totals)
		*totals = replay->totals;
	return replay->error;
}

void intro_replay_free(struct intro_replay *replay)
{
	struct thread *thread;
	struct pool *pool;
	struct task *task;

	if (!replay)
		return;
	/* not finished: nobody is told what is left */
	replay->sink = (struct intro_replay_sink){0};
	while ((thread = TAILQ_FIRST(&replay->all_threads)))
		intro__thread_end(replay, thread, false);
	while ((task = TAILQ_FIRST(&replay->all_tasks)))
		intro__task_free(replay, task);
	while ((pool = TAILQ_FIRST(&replay->all_pools))) {
		TAILQ_REMOVE(&replay->all_pools, pool, all);
		free(pool);
	}
	intro__cpus_free(replay);
	intro__names_free(replay);
	intro__locks_free(replay);
	intro__map_free(&replay->threads);
	intro__map_free(&replay->tasks);
	intro__map_free(&replay->pools);
	free(replay);
}
