// SPDX-License-Identifier: BSD-2-Clause
/* trace_meta.c - prints a trace's number of records, then what it says of itself, as JSON. */
#include <stdio.h>

#include <introspect/trace.h>

int main(int argc, char **argv)
{
	struct intro_trace *trace;
	uint64_t first, last, records;
	const char *why;

	if (argc != 2) {
		fprintf(stderr, "usage: trace_meta FILE\n");
		return 2;
	}
	trace = intro_trace_open(argv[1], &why);
	if (!trace) {
		fprintf(stderr, "trace_meta: %s: %s\n", argv[1], why);
		return 1;
	}
	intro_trace_range(trace, &first, &last, &records);
	printf("%llu\n%s\n", (unsigned long long)records, intro_trace_meta(trace));
	intro_trace_free(trace);
	return 0;
}
