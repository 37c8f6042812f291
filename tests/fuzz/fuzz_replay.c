// SPDX-License-Identifier: BSD-2-Clause
/*
 * fuzz_replay.c - any bytes as records: the replay survives them, and every task that comes out
 * has a ledger that sums to its wall time.
 *
 * The first byte gives the options. Then every record is its rows, whose first 8 bytes are the time
 * since the record before (so that times mostly stay small, as in a trace) and whose kind is
 * mapped to one that exists three times out of four.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <introspect/replay.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ledger(const struct intro_ledger *ledger)
{
	uint64_t split[INTRO_ACCOUNTS] = {0};

	if (ledger->splits > INTRO_LEDGER_SPLITS)
		abort();
	for (uint32_t i = 0; i < ledger->splits; i++)
		split[intro_cause_account(ledger->split[i].cause)] += ledger->split[i].ns;
	for (int account = 0; account < INTRO_ACCOUNTS; account++)
		if (account != INTRO_RUNNING && split[account] != ledger->account[account])
			abort();
}

static void on_task(void *ctx, const struct intro_task *task)
{
	if (intro_ledger_total(&task->ledger) != task->done_ns - task->submit_ns)
		abort();
	check_ledger(&task->ledger);
}

static void on_thread(void *ctx, const struct intro_thread *thread)
{
	uint64_t sum = 0;

	for (int state = 0; state < INTRO_STATES; state++)
		sum += thread->states_ns[state];
	if (thread->last_ns < thread->first_ns || sum > thread->last_ns - thread->first_ns)
		abort();
	if (thread->in_tasks)
		check_ledger(thread->in_tasks);
}

static void on_pool(void *ctx, const struct intro_pool *pool)
{
	if (!pool->name)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t kinds[] = {
#define KIND_VALUE(NAME, value, rows, payload, text) value,
		INTRO_KINDS(KIND_VALUE)
#undef KIND_VALUE
	};
	static const struct intro_replay_sink sink = {
		.task = on_task,
		.thread = on_thread,
		.pool = on_pool,
	};
	struct intro_replay_options options = {.size = sizeof(options)};
	struct intro_replay_totals totals;
	struct intro_replay *replay;
	uint64_t now = 1000;

	if (size < 1)
		return 0;
	if (data[0] & 2)
		options.max_tasks = options.max_threads = 8;
	if (data[0] & 4)
		options.end_ns = 1u << 20;
	replay = intro_replay_new(&options, &sink);
	if (!replay)
		abort();
	for (size_t at = 1; at + INTRO_ROW_BYTES <= size;) {
		size_t left = size - at,
		       rows = 1 + (data[at + offsetof(struct intro_rec, rows)] & 1);
		size_t bytes = rows * INTRO_ROW_BYTES;
		/* exactly its size, so that ASan sees who looks behind it */
		struct intro_rec *record = calloc(rows, INTRO_ROW_BYTES);

		if (!record)
			abort();
		memcpy(record, data + at, left < bytes ? left : bytes);
		record->rows = (uint8_t)rows;
		if (record->kind & 0xc0)
			record->kind = kinds[record->kind % sizeof(kinds)];
		/* a quarter of them leap, if need be to the end of time */
		if ((record->ts >> 56 & 3) != 3)
			record->ts &= 0xffff;
		record->ts = record->ts > UINT64_MAX - now ? UINT64_MAX : now + record->ts;
		now = record->ts;
		if (intro_replay_push(replay, record))
			abort();
		free(record);
		at += bytes;
	}
	if (intro_replay_finish(replay, &totals))
		abort();
	intro_replay_free(replay);
	return 0;
}
