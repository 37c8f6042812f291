// SPDX-License-Identifier: BSD-2-Clause
/*
 * source_bpf.c - the scheduler's events through the programs of bpf/.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <introspect/trace.h>

#include "collect/place_bpf.h"
#include "collect/ring.h"
#include "collect/source.h"
#include "introspect.skel.h"

#define TID_LIMIT (1u << 22)
#define PAGE 4096
#define RING_DEFAULT (8u << 20)
#define RING_LEAST 4096
#define RINGS_TOTAL_MOST (256u << 20) /* of the default size, for machines with many CPUs */

struct source_bpf {
	struct intro__source base;
	struct introspect_bpf *skel;
	struct intro__rings rings;
	size_t cpus;
	size_t ring_bytes;
	struct bpf_link *iterator;
	struct intro__place place;
	int stats_fd;
};

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

static bool exit_tells_group_dead(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	const struct btf_type *type;
	bool tells = false;
	int id;

	if (!btf)
		return false;
	id = btf__find_by_name_kind(btf, "btf_trace_sched_process_exit", BTF_KIND_TYPEDEF);
	if (id > 0) {
		type = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
		if (btf_is_ptr(type))
			type = btf__type_by_id(btf, type->type);
		/* the tracepoint's own data comes first: (void *, task, group_dead) */
		tells = btf_is_func_proto(type) && btf_vlen(type) == 3;
	}
	btf__free(btf);
	return tells;
}

static size_t ring_stride(size_t ring_bytes)
{
	return ring_bytes + PAGE; /* header and slack; keeps rings on pages of their own */
}

static int load(struct source_bpf *source, const struct intro__source_options *options,
		bool group_dead)
{
	struct introspect_bpf *skel = introspect_bpf__open();
	int error;

	if (!skel)
		return -errno;
	skel->rodata->ring_mask = source->ring_bytes - 1;
	skel->rodata->whole_system = options->whole_system;
	skel->rodata->exit_tells_group_dead = group_dead;
	intro__place_choose(&source->place, skel, options->topology, source->cpus);
	bpf_map__set_max_entries(skel->maps.rings, source->cpus);
	bpf_map__set_value_size(skel->maps.rings, ring_stride(source->ring_bytes));
	error = introspect_bpf__load(skel);
	if (error) {
		introspect_bpf__destroy(skel);
		return error;
	}
	skel->bss->known_bits[0] = 1; /* tid 0, the idle tasks, need no introduction */
	source->skel = skel;
	return 0;
}

/*
 * Linux before 6.10 has a limit of 4 MB to an array's element, and memory may be short: without an
 * order from the user, take what can be had.
 */
static int load_rings(struct source_bpf *source, const struct intro__source_options *options)
{
	bool group_dead = exit_tells_group_dead();
	int error;

	source->ring_bytes = options->ring_bytes;
	if (source->ring_bytes)
		return load(source, options, group_dead);
	source->ring_bytes = RING_DEFAULT;
	while (source->ring_bytes > RING_LEAST * 16 &&
	       source->ring_bytes * source->cpus > RINGS_TOTAL_MOST)
		source->ring_bytes /= 2;
	for (;;) {
		error = load(source, options, group_dead);
		if ((error != -E2BIG && error != -ENOMEM) || source->ring_bytes <= RING_LEAST * 16)
			return error;
		source->ring_bytes /= 2;
	}
}

/* What only some kernels accept is tried, and left out when it does not load. */
static int load_fitting(struct source_bpf *source, const struct intro__source_options *options)
{
	int error;

	source->place.on = options->numa;
	source->place.optional_n = INTRO__PLACE_OPTIONAL;
	error = load_rings(source, options);
	/* the functions that not every kernel lets programs be attached to come last */
	while (error && source->place.on) {
		if (source->place.optional_n) {
			source->place.optional_n =
				source->place.optional_n > INTRO__PLACE_TRACEPOINTS
					? INTRO__PLACE_TRACEPOINTS
					: 0;
		} else {
			source->place.on = false;
			snprintf(source->place.why_not, sizeof(source->place.why_not),
				 "this kernel does not load the program (%s)", strerror(-error));
		}
		error = load_rings(source, options);
	}
	return error;
}

static int explain(struct intro__reason *why, int error)
{
	switch (-error) {
	case EPERM:
	case EACCES:
		return intro__fail(why, EPERM,
				   "the kernel refused to load BPF programs: run with sudo "
				   "(CAP_BPF, CAP_PERFMON), see `introspect doctor`");
	case ENOENT:
	case ESRCH:
	case EINVAL:
		if (access("/sys/kernel/btf/vmlinux", R_OK))
			return intro__fail(
				why, ENOTSUP,
				"this kernel has no BTF (/sys/kernel/btf/vmlinux): it needs "
				"CONFIG_DEBUG_INFO_BTF");
		break;
	case E2BIG:
	case ENOMEM:
		return intro__fail(why, -error,
				   "no memory for the rings: choose a smaller ring size");
	}
	return intro__fail(why, -error,
			   "cannot load the BPF programs (%s): see `introspect doctor`",
			   strerror(-error));
}

static void source_close(struct intro__source *base);

static int source_open(struct intro__source **out, const struct intro__source_options *options,
		       struct intro__reason *why)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	struct source_bpf *source;
	libbpf_print_fn_t print;
	int cpus, error;

	if (options->ring_bytes &&
	    (options->ring_bytes < RING_LEAST || options->ring_bytes & (options->ring_bytes - 1)))
		return intro__fail(why, EINVAL,
				   "a ring's size must be a power of two, 4096 at least");
	source = calloc(1, sizeof(*source));
	if (!source)
		return intro__fail(why, ENOMEM, "out of memory");
	source->base.ops = &intro__source_bpf;
	source->stats_fd = -1;
	/* Only old kernels charge BPF memory to this limit: failing to raise it is no failure. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	print = libbpf_set_print(silent);
	cpus = libbpf_num_possible_cpus();
	source->cpus = cpus > 0 ? cpus : 0;
	error = cpus > 0 ? load_fitting(source, options) : cpus;
	if (!error)
		error = intro__rings_map(&source->rings, bpf_map__fd(source->skel->maps.rings),
					 source->cpus, ring_stride(source->ring_bytes),
					 source->ring_bytes);
	if (!error) {
		source->iterator = bpf_program__attach(source->skel->progs.on_snapshot);
		error = source->iterator ? 0 : -errno;
	}
	if (!error)
		intro__place_calibrate(&source->place, source->skel, options->topology);
	libbpf_set_print(print);
	if (!error && options->stats) {
		source->stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
		error = source->stats_fd < 0 ? -errno : 0;
	}
	if (error) {
		source_close(&source->base);
		return explain(why, error);
	}
	*out = &source->base;
	return 0;
}

static int source_target(struct intro__source *base, pid_t tid)
{
	struct source_bpf *source = (struct source_bpf *)base;
	uint64_t bit = 1ull << (tid & 63), before;

	if (tid <= 0 || (uint32_t)tid >= TID_LIMIT)
		return -EINVAL;
	before =
		__atomic_fetch_or(&source->skel->bss->target_bits[tid >> 6], bit, __ATOMIC_SEQ_CST);
	return !!(before & bit);
}

static int source_start(struct intro__source *base, struct intro__reason *why)
{
	struct source_bpf *source = (struct source_bpf *)base;
	libbpf_print_fn_t print = libbpf_set_print(silent);
	int error;

	bpf_program__set_autoattach(source->skel->progs.on_snapshot, false);
	bpf_program__set_autoattach(source->skel->progs.on_page_alloc, source->place.on);
	error = introspect_bpf__attach(source->skel);
	if (!error)
		intro__place_attach(&source->place, source->skel);
	libbpf_set_print(print);
	if (error)
		return intro__fail(why, -error,
				   "cannot attach to the scheduler's tracepoints (%s): see "
				   "`introspect doctor`",
				   strerror(-error));
	return 0;
}

static int read_snapshot(struct intro__source *base, enum intro_snapshot_when when,
			 const struct intro__sink *sink)
{
	struct source_bpf *source = (struct source_bpf *)base;
	int fd = bpf_iter_create(bpf_link__fd(source->iterator));
	char records[16 << 10];
	size_t held = 0;
	ssize_t got;
	int error = 0;

	if (fd < 0)
		return -errno;
	source->skel->bss->snapshot_when = when;
	while (!error && (got = read(fd, records + held, sizeof(records) - held)) != 0) {
		size_t whole;

		if (got < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			error = -errno;
			break;
		}
		/* every record of a snapshot has the same size */
		held += got;
		whole = held - held % sizeof(struct intro_rec_snapshot);
		error = sink->put(sink->ctx, INTRO_STREAM_CONTROL, records, whole);
		memmove(records, records + whole, held - whole);
		held -= whole;
	}
	close(fd);
	return error;
}

/* With a socket and a pipe open from which the programs learn what all others have in common. */
static int source_snapshot(struct intro__source *base, enum intro_snapshot_when when,
			   const struct intro__sink *sink)
{
	struct source_bpf *source = (struct source_bpf *)base;
	int error, pipes[2] = {-1, -1}, own = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (pipe2(pipes, O_CLOEXEC))
		pipes[0] = pipes[1] = -1;
	source->skel->bss->own_socket = own;
	source->skel->bss->own_pipe = pipes[0];
	error = read_snapshot(base, when, sink);
	close(own);
	close(pipes[0]);
	close(pipes[1]);
	return error;
}

static int source_drain(struct intro__source *base, const struct intro__sink *sink, bool last,
			unsigned int *fill)
{
	struct source_bpf *source = (struct source_bpf *)base;
	int error = intro__rings_drain(&source->rings, sink, last, fill);

	if (last && !error)
		error = intro__place_finish(&source->place, source->skel, source->cpus, sink);
	return error;
}

static void source_stop(struct intro__source *base)
{
	struct source_bpf *source = (struct source_bpf *)base;

	intro__place_detach(&source->place);
	introspect_bpf__detach(source->skel);
	/* A program that was running on another CPU when it was detached ends within microseconds.
	 */
	usleep(2000);
}

static uint64_t source_generation(const struct intro__source *base)
{
	return intro__rings_lives(&((const struct source_bpf *)base)->rings);
}

static size_t source_cpus(const struct intro__source *base)
{
	return ((const struct source_bpf *)base)->cpus;
}

static void source_cpu_stats(const struct intro__source *base, size_t cpu,
			     struct intro__cpu_stats *stats)
{
	intro__rings_stats(&((const struct source_bpf *)base)->rings, cpu, stats);
}

static void source_stats(const struct intro__source *base, struct intro__source_stats *stats)
{
	const struct source_bpf *source = (const struct source_bpf *)base;
	struct bpf_program *program;

	memset(stats, 0, sizeof(*stats));
	stats->ring_bytes = source->ring_bytes;
	stats->ignored = source->skel->bss->self_wakings;
	stats->counts = source->place.counted;
	stats->no_counts = source->place.why_not;
	stats->pages_lost = source->skel->bss->placed_lost;
	bpf_object__for_each_program(program, source->skel->obj)
	{
		struct intro__program_stats *of = &stats->program[stats->programs];
		struct bpf_prog_info info = {};
		__u32 size = sizeof(info);

		if (program == source->skel->progs.on_snapshot ||
		    stats->programs == INTRO__PROGRAMS_MAX || bpf_program__fd(program) < 0 ||
		    bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size))
			continue;
		of->name = bpf_program__name(program);
		of->runs = info.run_cnt;
		of->run_ns = info.run_time_ns;
		of->missed = info.recursion_misses;
		stats->programs++;
	}
}

static void source_close(struct intro__source *base)
{
	struct source_bpf *source = (struct source_bpf *)base;

	if (!source)
		return;
	intro__place_detach(&source->place);
	bpf_link__destroy(source->iterator);
	intro__rings_free(&source->rings);
	introspect_bpf__destroy(source->skel);
	if (source->stats_fd >= 0)
		close(source->stats_fd);
	free(source);
}

const struct intro__source_ops intro__source_bpf = {
	.name = "bpf",
	.open = source_open,
	.target = source_target,
	.start = source_start,
	.snapshot = source_snapshot,
	.drain = source_drain,
	.stop = source_stop,
	.generation = source_generation,
	.cpus = source_cpus,
	.cpu_stats = source_cpu_stats,
	.stats = source_stats,
	.close = source_close,
};
