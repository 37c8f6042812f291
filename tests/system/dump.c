// SPDX-License-Identifier: BSD-2-Clause
/*
 * dump FILE: what a trace holds, as one JSON object: META, records by kind and by stream, what LOST
 * records say, and what is damaged.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <introspect/trace.h>

#define CPUS 256

static const char *name_of(uint8_t kind)
{
	switch (kind) {
#define NAME(NAME, value, rows, payload, text)                                                     \
	case value:                                                                                \
		return #NAME;
		INTRO_KINDS(NAME)
#undef NAME
	}
	return "UNKNOWN";
}

struct counts {
	uint64_t kinds[256], stored[CPUS], lost[CPUS], lost_marks, late, disorder;
};

static void count(struct counts *counts, const struct intro_rec *rec, uint32_t stream)
{
	if (stream >= INTRO_STREAM_LATE(0) && stream < INTRO_STREAM_LATE(CPUS)) {
		counts->late++;
		return;
	}
	counts->kinds[rec->kind]++;
	if (rec->kind == INTRO_KIND_LOST && stream < CPUS)
		counts->lost[stream] += ((const struct intro_rec_lost *)rec)->count;
	else if (rec->kind == INTRO_KIND_LOST)
		counts->lost_marks += ((const struct intro_rec_lost *)rec)->count;
	else if (stream < CPUS && rec->kind != INTRO_KIND_TASK)
		counts->stored[stream]++;
}

static void print_array(const char *name, const uint64_t *values, size_t n)
{
	printf("\"%s\":[", name);
	for (size_t i = 0; i < n; i++)
		printf("%s%" PRIu64, i ? "," : "", values[i]);
	printf("],");
}

static void print(struct intro_trace *trace, const struct counts *counts)
{
	struct intro_trace_damage damage;
	const char *comma = "";

	intro_trace_damage(trace, &damage);
	printf("{\"meta\":%s,\"kinds\":{", intro_trace_meta(trace));
	for (int i = 0; i < 256; i++) {
		if (!counts->kinds[i])
			continue;
		printf("%s\"%s\":%" PRIu64, comma, name_of(i), counts->kinds[i]);
		comma = ",";
	}
	printf("},");
	print_array("stored", counts->stored, CPUS);
	print_array("lost", counts->lost, CPUS);
	printf("\"lost_marks\":%" PRIu64 ",\"late\":%" PRIu64 ",\"disorder\":%" PRIu64
	       ",\"truncated\":%s,"
	       "\"bad_chunks\":%" PRIu64 ",\"bad_records\":%" PRIu64 "}\n",
	       counts->lost_marks, counts->late, counts->disorder,
	       damage.truncated ? "true" : "false", damage.bad_chunks, damage.bad_records);
}

int main(int argc, char **argv)
{
	static struct counts counts;
	const struct intro_rec *rec;
	struct intro_cursor *cursor;
	struct intro_trace *trace;
	uint64_t last = 0;
	uint32_t stream;
	const char *why;

	trace = argc == 2 ? intro_trace_open(argv[1], &why) : NULL;
	cursor = trace ? intro_cursor_new(trace) : NULL;
	if (!cursor)
		return 1;
	while (intro_cursor_next(cursor, &rec, &stream) == 1) {
		counts.disorder += rec->ts < last;
		last = rec->ts;
		count(&counts, rec, stream);
	}
	print(trace, &counts);
	intro_cursor_free(cursor);
	intro_trace_free(trace);
	return 0;
}
