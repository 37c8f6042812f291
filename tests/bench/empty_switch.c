// SPDX-License-Identifier: BSD-2-Clause
/*
 * empty_switch.c - hangs an empty program on sched_switch, with the kernel's statistics on, until
 * its standard input ends; then prints "run_ns runs" of it. empty_switch OBJECT
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <unistd.h>

static int no_message(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

int main(int argc, char **argv)
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);
	struct bpf_program *program;
	struct bpf_object *object;
	struct bpf_link *link;
	char byte;
	int stats;

	if (argc != 2) {
		fprintf(stderr, "usage: empty_switch OBJECT\n");
		return 2;
	}
	libbpf_set_print(no_message);
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	object = bpf_object__open_file(argv[1], NULL);
	if (stats < 0 || !object || bpf_object__load(object)) {
		fprintf(stderr, "empty_switch: cannot load (needs CAP_BPF and CAP_PERFMON)\n");
		return 1;
	}
	program = bpf_object__find_program_by_name(object, "empty_switch");
	link = bpf_program__attach(program);
	if (!link) {
		fprintf(stderr, "empty_switch: cannot attach\n");
		return 1;
	}
	printf("attached\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	bpf_link__destroy(link);
	if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size))
		return 1;
	printf("%llu %llu\n", (unsigned long long)info.run_time_ns,
	       (unsigned long long)info.run_cnt);
	bpf_object__close(object);
	close(stats);
	return 0;
}
