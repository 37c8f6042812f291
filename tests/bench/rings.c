// SPDX-License-Identifier: BSD-2-Clause
/*
 * rings OBJECT ROUNDS COMMAND [ARG...]: each program of rings.bpf.c in turn while the command runs,
 * ROUNDS times over; prints the least ns a run of each, by the kernel's own statistics.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <introspect/abi.h>

#define RING_BYTES (4ul << 20)
#define STRIDE (sizeof(struct intro_ring) + RING_BYTES + INTRO_RING_SLACK)
#define BUFFER_BYTES (4u << 20)
#define CPUS 64

struct rings {
	int cpus;
	char *array;
	struct ring_buffer *buffers;
};

static int ignore(void *ctx, void *data, size_t size)
{
	return 0;
}

static int open_rings(struct rings *rings, struct bpf_object *object)
{
	struct bpf_map *outer = bpf_object__find_map_by_name(object, "buffers");
	struct bpf_map *array = bpf_object__find_map_by_name(object, "rings");

	for (int cpu = 0; cpu < rings->cpus; cpu++) {
		int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, NULL, 0, 0, BUFFER_BYTES, NULL);

		if (fd < 0 || bpf_map__update_elem(outer, &cpu, sizeof(cpu), &fd, sizeof(fd), 0))
			return -1;
		if (!rings->buffers)
			rings->buffers = ring_buffer__new(fd, ignore, NULL, NULL);
		else if (ring_buffer__add(rings->buffers, fd, ignore, NULL))
			return -1;
	}
	rings->array = mmap(NULL, STRIDE * rings->cpus, PROT_READ | PROT_WRITE, MAP_SHARED,
			    bpf_map__fd(array), 0);
	return rings->array == MAP_FAILED || !rings->buffers ? -1 : 0;
}

/* Before the object is loaded: ring_mask is all there is in its constants. */
static int size_rings(struct bpf_object *object, int cpus)
{
	struct bpf_map *array = bpf_object__find_map_by_name(object, "rings");
	struct bpf_map *constants = bpf_object__find_map_by_name(object, ".rodata");
	__u64 mask = RING_BYTES - 1;

	return bpf_map__set_max_entries(array, cpus) || bpf_map__set_value_size(array, STRIDE) ||
	       bpf_map__set_initial_value(constants, &mask, sizeof(mask));
}

static void empty_rings(struct rings *rings)
{
	ring_buffer__consume(rings->buffers);
	for (int cpu = 0; cpu < rings->cpus; cpu++) {
		struct intro_ring *ring = (struct intro_ring *)(rings->array + cpu * STRIDE);

		__atomic_store_n(&ring->tail, __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE),
				 __ATOMIC_RELEASE);
	}
}

/* ns a run of the program while the command runs; < 0: it could not be measured. */
static double measure(struct bpf_program *program, struct rings *rings, char **command)
{
	struct bpf_prog_info before = {0}, after = {0};
	__u32 size = sizeof(before);
	struct bpf_link *link;
	pid_t pid;

	bpf_obj_get_info_by_fd(bpf_program__fd(program), &before, &size);
	link = bpf_program__attach(program);
	pid = link ? fork() : -1;
	if (pid == 0) {
		dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
		execvp(command[0], command);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, WNOHANG) == 0) {
		empty_rings(rings);
		usleep(5000);
	}
	bpf_link__destroy(link);
	bpf_obj_get_info_by_fd(bpf_program__fd(program), &after, &size);
	if (pid < 0 || after.run_cnt == before.run_cnt)
		return -1;
	return (double)(after.run_time_ns - before.run_time_ns) / (after.run_cnt - before.run_cnt);
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"empty", "array", "ringbuf"};
	struct rings rings = {.cpus = libbpf_num_possible_cpus()};
	double least[3] = {1e9, 1e9, 1e9};
	struct bpf_object *object;

	if (argc < 4 || rings.cpus > CPUS) {
		fprintf(stderr,
			"usage: rings OBJECT ROUNDS COMMAND [ARG...], on 64 CPUs at most\n");
		return 2;
	}
	object = bpf_object__open_file(argv[1], NULL);
	if (!object || size_rings(object, rings.cpus) || bpf_object__load(object) ||
	    open_rings(&rings, object) || bpf_enable_stats(BPF_STATS_RUN_TIME) < 0) {
		fprintf(stderr, "rings: cannot load (needs root)\n");
		return 1;
	}
	for (int round = 0; round < atoi(argv[2]); round++) {
		for (int i = 0; i < 3; i++) {
			double ns = measure(bpf_object__find_program_by_name(object, names[i]),
					    &rings, argv + 3);

			if (ns > 0 && ns < least[i])
				least[i] = ns;
		}
	}
	for (int i = 0; i < 3; i++)
		printf("%-8s %6.1f ns a run\n", names[i], least[i]);
	return 0;
}
