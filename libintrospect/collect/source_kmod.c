// SPDX-License-Identifier: BSD-2-Clause
/*
 * source_kmod.c - the scheduler's events through the kernel module, /proc/introspect.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <introspect/device.h>
#include <introspect/trace.h>

#include "collect/ring.h"
#include "collect/source.h"

struct source_kmod {
	struct intro__source base;
	struct intro__rings rings;
	size_t ring_bytes;
	bool numa;	     /* pages are to be counted */
	unsigned int counts; /* INTRO__COUNTS_*, from start on */
	int fd;
};

static int explain(struct intro__reason *why, int error)
{
	switch (-error) {
	case ENOENT:
		return intro__fail(why, EOPNOTSUPP,
				   "the kernel module is not loaded (no " INTRO_DEVICE_PATH
				   "): make kmod, then insmod introspect.ko");
	case EBUSY:
		return intro__fail(why, EBUSY,
				   "the kernel module serves another recording (" INTRO_DEVICE_PATH
				   " is open)");
	case EPERM:
	case EACCES:
		return intro__fail(why, EPERM,
				   "no permission to open " INTRO_DEVICE_PATH ": run with sudo");
	case ENOTTY: /* it does not know the call */
	case EPROTO:
		return intro__fail(why, EPROTO,
				   "the kernel module is of another version: unload it, then build "
				   "and load the one that belongs to this introspect");
	case ENOMEM:
		return intro__fail(why, ENOMEM,
				   "no memory for the rings: choose a smaller ring size");
	}
	return intro__fail(why, -error, "cannot use " INTRO_DEVICE_PATH ": %s", strerror(-error));
}

/* ioctl(2) as the rest of the library has it: -errno. */
static int ask(const struct source_kmod *source, unsigned long request, unsigned long argument)
{
	int result = ioctl(source->fd, request, argument);

	return result < 0 ? -errno : result;
}

int intro__kmod_version(struct intro_device_version *version)
{
	struct source_kmod source = {.fd = open(INTRO_DEVICE_PATH, O_RDWR | O_CLOEXEC)};
	int error;

	if (source.fd < 0)
		return -errno;
	error = ask(&source, INTRO_DEVICE_VERSION, (unsigned long)version);
	close(source.fd);
	return error;
}

static int set_up(struct source_kmod *source, const struct intro__source_options *options)
{
	struct intro_device_setup setup = {
		.abi = INTRO_DEVICE_ABI,
		.flags = (options->whole_system ? INTRO_DEVICE_WHOLE_SYSTEM : 0) |
			 (options->numa ? INTRO_DEVICE_PLACE : 0),
		.ring_bytes = options->ring_bytes,
		.event = -1, /* the session comes often enough */
	};
	struct intro_device_version version;
	int error;

	source->fd = open(INTRO_DEVICE_PATH, O_RDWR | O_CLOEXEC);
	if (source->fd < 0)
		return -errno;
	error = ask(source, INTRO_DEVICE_VERSION, (unsigned long)&version);
	if (!error && version.abi != INTRO_DEVICE_ABI)
		error = -EPROTO;
	if (!error)
		error = ask(source, INTRO_DEVICE_SETUP, (unsigned long)&setup);
	if (error)
		return error;
	source->ring_bytes = setup.ring_bytes;
	source->numa = options->numa;
	error = intro__rings_map(&source->rings, setup.memory, setup.cpus, setup.stride,
				 setup.ring_bytes);
	close(setup.memory);
	return error;
}

static void source_close(struct intro__source *base)
{
	struct source_kmod *source = (struct source_kmod *)base;

	if (!source)
		return;
	intro__rings_free(&source->rings);
	if (source->fd >= 0)
		close(source->fd);
	free(source);
}

static int source_open(struct intro__source **out, const struct intro__source_options *options,
		       struct intro__reason *why)
{
	struct source_kmod *source;
	int error;

	if (options->ring_bytes && (options->ring_bytes < INTRO_DEVICE_RING_LEAST ||
				    options->ring_bytes > INTRO_DEVICE_RING_MOST ||
				    options->ring_bytes & (options->ring_bytes - 1)))
		return intro__fail(why, EINVAL, "a ring's size must be a power of two, %d to %d MB",
				   INTRO_DEVICE_RING_LEAST, INTRO_DEVICE_RING_MOST >> 20);
	source = calloc(1, sizeof(*source));
	if (!source)
		return intro__fail(why, ENOMEM, "out of memory");
	source->base.ops = &intro__source_kmod;
	error = set_up(source, options);
	if (error) {
		source_close(&source->base);
		return explain(why, error);
	}
	*out = &source->base;
	return 0;
}

static int source_target(struct intro__source *base, pid_t tid)
{
	return ask((struct source_kmod *)base, INTRO_DEVICE_TARGET, tid);
}

static unsigned int counts_of(uint32_t attached)
{
	static const struct {
		unsigned int bit, counts;
	} what[] = {
		{INTRO_POINT_mm_page_alloc, INTRO__COUNTS_PAGES},
		{INTRO_POINT_mm_migrate_pages, INTRO__COUNTS_MOVES},
		{INTRO_POINT_sched_move_numa, INTRO__COUNTS_DECISIONS},
		{INTRO_POINT_sched_stick_numa, INTRO__COUNTS_DECISIONS},
		{INTRO_POINT_sched_swap_numa, INTRO__COUNTS_DECISIONS},
		{INTRO_FAULT_BIT, INTRO__COUNTS_HINTS},
	};
	unsigned int counts = 0;

	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++)
		if (attached & 1u << what[i].bit)
			counts |= what[i].counts;
	return counts;
}

static int source_start(struct intro__source *base, struct intro__reason *why)
{
	struct source_kmod *source = (struct source_kmod *)base;
	int error = ask(source, INTRO_DEVICE_START, 0);
	struct intro_device_stats device;

	if (error)
		return intro__fail(why, -error,
				   "the kernel module cannot attach to the scheduler's "
				   "tracepoints: %s",
				   strerror(-error));
	if (!ask(source, INTRO_DEVICE_STATS, (unsigned long)&device))
		source->counts = counts_of(device.attached);
	return 0;
}

static int source_snapshot(struct intro__source *base, enum intro_snapshot_when when,
			   const struct intro__sink *sink)
{
	struct source_kmod *source = (struct source_kmod *)base;
	char records[16 << 10]; /* a whole number of records, as is what the module has */
	int error = ask(source, INTRO_DEVICE_SNAPSHOT, when);
	ssize_t got;

	while (!error && (got = read(source->fd, records, sizeof(records))) != 0) {
		if (got > 0)
			error = sink->put(sink->ctx, INTRO_STREAM_CONTROL, records, got);
		else if (errno != EINTR)
			error = -errno;
	}
	return error;
}

static int source_drain(struct intro__source *base, const struct intro__sink *sink, bool last,
			unsigned int *fill)
{
	return intro__rings_drain(&((struct source_kmod *)base)->rings, sink, last, fill);
}

static void source_stop(struct intro__source *base)
{
	ask((struct source_kmod *)base, INTRO_DEVICE_STOP, 0);
}

static uint64_t source_gone(const struct intro__source *base, struct intro__reason *why)
{
	uint64_t ended = intro__rings_ended(&((const struct source_kmod *)base)->rings);

	if (ended)
		intro__fail(why, ENODEV,
			    "the module introspect was removed; the recording ends here");
	return ended;
}

static uint64_t source_generation(const struct intro__source *base)
{
	return intro__rings_lives(&((const struct source_kmod *)base)->rings);
}

static size_t source_cpus(const struct intro__source *base)
{
	return ((const struct source_kmod *)base)->rings.n;
}

static void source_cpu_stats(const struct intro__source *base, size_t cpu,
			     struct intro__cpu_stats *stats)
{
	intro__rings_stats(&((const struct source_kmod *)base)->rings, cpu, stats);
}

/* The module does not time its probes. */
static void source_stats(const struct intro__source *base, struct intro__source_stats *stats)
{
	const struct source_kmod *source = (const struct source_kmod *)base;
	struct intro_device_stats device;

	memset(stats, 0, sizeof(*stats));
	stats->ring_bytes = source->ring_bytes;
	stats->counts = source->counts;
	stats->no_counts = source->numa && !(source->counts & INTRO__COUNTS_PAGES)
				   ? "this kernel has no tracepoint mm_page_alloc"
				   : "";
	if (!ask(source, INTRO_DEVICE_STATS, (unsigned long)&device)) {
		stats->ignored = device.ignored;
		stats->pages_lost = device.pages_lost;
	}
}

const struct intro__source_ops intro__source_kmod = {
	.name = "kmod",
	.open = source_open,
	.target = source_target,
	.start = source_start,
	.snapshot = source_snapshot,
	.drain = source_drain,
	.stop = source_stop,
	.gone = source_gone,
	.generation = source_generation,
	.cpus = source_cpus,
	.cpu_stats = source_cpu_stats,
	.stats = source_stats,
	.close = source_close,
};
