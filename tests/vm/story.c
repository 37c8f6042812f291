// SPDX-License-Identifier: BSD-2-Clause
/*
 * story FILE: of a trace, a line each: switches: s cpu ts prev next state system-call arg0 arg1 (of
 * sleepers: else arg0 is a time);
 * wake-ups: w cpu ts woken waker; births and deaths: f, x cpu ts tid; pages: p cpu ts tid what node
 * pages; what NUMA balancing decided: n cpu ts tid decision from to other. story KERNEL MARKS OUT:
 * a trace with the kernel's records of one and the marks of the other.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <introspect/trace.h>

#define FIRST_MARK 64 /* abi.h: kinds below are the kernel's */

static void print(const struct intro_rec *rec)
{
	const struct intro_rec_switch *s = (const void *)rec;
	const struct intro_rec_waking *w = (const void *)rec;
	const struct intro_rec_pages *p = (const void *)rec;
	const struct intro_rec_numa *n = (const void *)rec;

	if (rec->kind == INTRO_KIND_SWITCH)
		printf("s %u %llu %u %u %#x %d %#llx %#x\n", rec->cpu, rec->ts, rec->tid,
		       s->next_tid, s->state, s->sysnr, s->state & INTRO_OFF_MASK ? s->arg0 : 0,
		       s->arg1);
	else if (rec->kind == INTRO_KIND_WAKING || rec->kind == INTRO_KIND_WAKEUP_NEW)
		printf("w %u %llu %u %u\n", rec->cpu, rec->ts, rec->tid, w->waker_tid);
	else if (rec->kind == INTRO_KIND_FORK || rec->kind == INTRO_KIND_EXIT)
		printf("%c %u %llu %u\n", rec->kind == INTRO_KIND_FORK ? 'f' : 'x', rec->cpu,
		       rec->ts, rec->tid);
	else if (rec->kind == INTRO_KIND_PAGES)
		printf("p %u %llu %u %u %u %u\n", rec->cpu, rec->ts, rec->tid, p->what, p->node,
		       p->pages);
	else if (rec->kind == INTRO_KIND_NUMA)
		printf("n %u %llu %u %u %u %u %u\n", rec->cpu, rec->ts, rec->tid, n->decision,
		       n->from_cpu, n->to_cpu, n->other_tid);
}

/* What `keep` says of marks and of the kernel's records goes to the writer, or is printed. */
static int walk(const char *path, struct intro_trace_writer *writer, bool marks)
{
	const char *why = "out of memory";
	struct intro_trace *trace = intro_trace_open(path, &why);
	struct intro_cursor *cursor = trace ? intro_cursor_new(trace) : NULL;
	const struct intro_rec *rec;
	uint32_t stream;
	int error = cursor ? 0 : -1;

	if (!cursor)
		fprintf(stderr, "story: %s: %s\n", path, why);
	if (cursor && writer && marks)
		error = intro_trace_writer_meta(writer, intro_trace_meta(trace));
	while (!error && (error = intro_cursor_next(cursor, &rec, &stream)) == 1) {
		error = 0;
		if (!writer)
			print(rec);
		else if ((rec->kind >= FIRST_MARK) == marks)
			error = intro_trace_writer_append(writer, stream, rec,
							  rec->rows * INTRO_ROW_BYTES);
	}
	intro_cursor_free(cursor);
	intro_trace_free(trace);
	return error;
}

int main(int argc, char **argv)
{
	struct intro_trace_options options = {.size = sizeof(options)};
	struct intro_trace_writer *writer;
	int fd;

	if (argc == 2)
		return walk(argv[1], NULL, false) ? 1 : 0;
	if (argc != 4)
		return 2;
	fd = open(argv[3], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	writer = fd < 0 ? NULL : intro_trace_writer_new(fd, &options);
	if (!writer || walk(argv[1], writer, false) || walk(argv[2], writer, true)) {
		intro_trace_writer_free(writer);
		return 1;
	}
	return intro_trace_writer_close(writer) ? 1 : 0;
}
