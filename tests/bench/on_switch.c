// SPDX-License-Identifier: BSD-2-Clause
/*
 * on_switch.c - hangs the named programs of on_switch.bpf.c on sched_switch, with the kernel's
 * statistics on, until its standard input ends; then prints "name run_ns runs" of each.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <unistd.h>

static int no_message(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

static int fail(const char *what)
{
	fprintf(stderr, "on_switch: cannot %s (needs CAP_BPF and CAP_PERFMON)\n", what);
	return 1;
}

static int print_cost(struct bpf_object *object, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size))
		return fail("ask for statistics");
	printf("%s %llu %llu\n", name, (unsigned long long)info.run_time_ns,
	       (unsigned long long)info.run_cnt);
	return 0;
}

int main(int argc, char **argv)
{
	int stats = bpf_enable_stats(BPF_STATS_RUN_TIME), err = 0;
	struct bpf_object *object;
	char byte;

	if (argc < 3) {
		fprintf(stderr, "usage: on_switch OBJECT PROGRAM...\n");
		return 2;
	}
	libbpf_set_print(no_message);
	object = bpf_object__open_file(argv[1], NULL);
	if (stats < 0 || !object || bpf_object__load(object))
		return fail("load");
	for (int i = 2; i < argc; i++) {
		struct bpf_program *program = bpf_object__find_program_by_name(object, argv[i]);

		/* attached until this process ends */
		if (!program || !bpf_program__attach(program))
			return fail("attach");
	}
	printf("attached\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	for (int i = 2; i < argc && !err; i++)
		err = print_cost(object, argv[i]);
	return err;
}
