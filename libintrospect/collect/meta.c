// SPDX-License-Identifier: BSD-2-Clause
/*
 * meta.c - what a trace says of itself: the machine, the command, and at the end what was lost.
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <json-c/json.h>

#include "collect/machine.h"
#include "collect/procs.h"
#include "collect/session_internal.h"
#include "trace/residency.h"
#include "trace/topology.h"

static void add_text(struct json_object *to, const char *key, const char *value)
{
	json_object_object_add(to, key, json_object_new_string(value));
}

static void add_number(struct json_object *to, const char *key, uint64_t value)
{
	json_object_object_add(to, key, json_object_new_uint64(value));
}

static void add_cgroup(struct json_object *meta)
{
	struct json_object *cgroup = json_object_new_object();
	char cpu[64] = "", memory[64] = "";

	intro__cgroup_limits(cpu, memory, sizeof(cpu));
	if (*cpu)
		add_text(cgroup, "cpu_max", cpu);
	if (*memory)
		add_text(cgroup, "memory_max", memory);
	json_object_object_add(meta, "cgroup", cgroup);
}

static void add_what(struct intro_session *session, struct json_object *meta)
{
	static const char *const modes[] = {"command", "pid", "all"};
	const struct intro_session_options *options = &session->options;
	struct passwd *user = getpwuid(options->argv ? session->launch.uid : getuid());

	add_text(meta, "mode", modes[options->mode]);
	add_text(meta, "source", session->source ? session->source->ops->name : "none");
	add_text(meta, "clock", "CLOCK_MONOTONIC");
	add_text(meta, "marks_clock", session->marks ? intro__marks_clock(session->marks) : "off");
	if (options->argv) {
		struct json_object *argv = json_object_new_array();

		for (char *const *arg = options->argv; *arg; arg++)
			json_object_array_add(argv, json_object_new_string(*arg));
		json_object_object_add(meta, "command", argv);
		add_number(meta, "pid", session->launch.pid);
	} else if (options->pid) {
		add_number(meta, "pid", options->pid);
	}
	if (user)
		add_text(meta, "user", user->pw_name);
}

static int put_meta(struct intro_session *session, struct json_object *meta)
{
	const char *text = json_object_to_json_string_ext(meta, JSON_C_TO_STRING_PLAIN);
	int error = text ? intro_trace_writer_meta(session->writer, text) : -ENOMEM;

	json_object_put(meta);
	return error;
}

int intro__meta_begin(struct intro_session *session)
{
	struct json_object *meta = json_object_new_object();
	struct utsname name;

	if (!meta)
		return -ENOMEM;
	uname(&name);
	add_text(meta, "tool_version", INTROSPECT_VERSION);
	add_number(meta, "abi", INTRO_ABI_VERSION);
	add_text(meta, "kernel", name.release);
	add_text(meta, "host", name.nodename);
	add_text(meta, "arch", name.machine);
	add_number(meta, "cpus", sysconf(_SC_NPROCESSORS_ONLN));
	intro__topology_to_meta(session->topology, meta);
	add_cgroup(meta);
	add_what(session, meta);
	add_number(meta, "start_ns", session->start_ns);
	add_number(meta, "start_unix_ns", session->start_unix_ns);
	if (session->source) {
		struct intro__source_stats stats;

		session->source->ops->stats(session->source, &stats);
		add_number(meta, "ring_bytes", stats.ring_bytes);
	}
	return put_meta(session, meta);
}

static void add_counts(struct intro_session *session, struct json_object *meta)
{
	struct json_object *lost = json_object_new_object(), *lost_cpu = json_object_new_array();
	struct json_object *stored = json_object_new_object(),
			   *stored_cpu = json_object_new_array();
	struct json_object *produced = json_object_new_object(),
			   *produced_cpu = json_object_new_array();
	struct intro__source *source = session->source;
	uint64_t late = 0;

	for (size_t i = 0; source && i < source->ops->cpus(source); i++) {
		struct intro__cpu_stats cpu;

		source->ops->cpu_stats(source, i, &cpu);
		late += cpu.late;
		json_object_array_add(lost_cpu, json_object_new_uint64(cpu.lost));
		json_object_array_add(stored_cpu, json_object_new_uint64(cpu.stored));
		json_object_array_add(produced_cpu, json_object_new_uint64(cpu.stored + cpu.lost));
	}
	json_object_object_add(lost, "cpu", lost_cpu);
	json_object_object_add(stored, "cpu", stored_cpu);
	json_object_object_add(produced, "cpu", produced_cpu);
	if (session->marks) {
		struct intro__marks_stats marks;

		intro__marks_stats(session->marks, &marks);
		add_number(lost, "marks", marks.lost);
		add_number(lost, "malformed_marks", marks.malformed);
		add_number(lost, "threads_without_ring", marks.unslotted);
		add_number(lost, "areas_of_other_tracers", marks.busy);
		add_number(stored, "marks", marks.stored);
	}
	json_object_object_add(meta, "lost", lost);
	json_object_object_add(meta, "stored", stored);
	json_object_object_add(meta, "produced", produced);
	add_number(meta, "late_records", late);
}

static void add_programs(struct intro_session *session, struct json_object *meta)
{
	struct json_object *bpf = json_object_new_object();
	struct intro__source_stats stats;

	session->source->ops->stats(session->source, &stats);
	for (size_t i = 0; i < stats.programs; i++) {
		struct json_object *one = json_object_new_object();
		const char *name = stats.program[i].name;

		add_number(one, "runs", stats.program[i].runs);
		add_number(one, "run_ns", stats.program[i].run_ns);
		add_number(one, "missed", stats.program[i].missed);
		json_object_object_add(bpf, strncmp(name, "on_", 3) ? name : name + 3, one);
	}
	add_number(bpf, "ignored", stats.ignored);
	json_object_object_add(meta, "bpf", bpf);
}

/* What of memory was counted: without it, no pages does not mean none. */
static void add_counted(struct intro_session *session, struct json_object *meta)
{
	static const char *const names[] = {"pages", "hinting_faults", "moved_pages", "decisions"};
	struct json_object *counted = json_object_new_array();
	struct intro__source_stats stats;

	session->source->ops->stats(session->source, &stats);
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (stats.counts & 1u << i)
			json_object_array_add(counted, json_object_new_string(names[i]));
	json_object_object_add(meta, "counted", counted);
	if (*stats.no_counts)
		add_text(meta, "not_counted", stats.no_counts);
	add_number(meta, "pages_lost", stats.pages_lost);
}

/* META is not the place for each mapping of a large process. */
#define MAPPINGS_KEPT 32

/* Of what is still alive: a process that has ended has no memory to look at. */
static void add_residency(struct intro_session *session, struct json_object *meta)
{
	struct json_object *array = json_object_new_array();
	pid_t root = session->options.argv ? session->launch.pid : session->options.pid,
	      *pids = NULL;
	long n = session->ended || !root || !session->numa ? 0 : intro__procs_tree(root, &pids);

	for (long i = 0; i < n && i < INTRO__RESIDENCIES_MAX; i++) {
		struct intro_residency *residency = intro_residency_of(pids[i], session->topology);

		if (!residency)
			continue;
		intro_residency_keep(residency, MAPPINGS_KEPT);
		json_object_array_add(array, intro__residency_to_meta(residency));
		intro_residency_free(residency);
	}
	free(pids);
	json_object_object_add(meta, "residency", array);
}

int intro__meta_end(struct intro_session *session)
{
	struct json_object *meta = json_object_new_object(), *tracer = json_object_new_object();
	struct rusage usage = {};

	if (!meta || !tracer)
		return -ENOMEM;
	getrusage(RUSAGE_SELF, &usage);
	session->tracer_cpu_s = intro__cpu_s() - session->cpu_before_s;
	add_number(meta, "end_ns", session->end_ns);
	if (session->options.argv)
		json_object_object_add(meta, "exit_status",
				       json_object_new_int(session->exit_status));
	if (*session->cut.text)
		add_text(meta, "cut", session->cut.text);
	add_counts(session, meta);
	if (session->source)
		add_counted(session, meta);
	add_residency(session, meta);
	if (session->source && session->options.bpf_stats)
		add_programs(session, meta);
	add_number(tracer, "cpu_ns", session->tracer_cpu_s * 1e9);
	add_number(tracer, "max_rss_bytes", (uint64_t)usage.ru_maxrss * 1024);
	add_number(tracer, "drains", session->drains);
	json_object_object_add(meta, "tracer", tracer);
	return put_meta(session, meta);
}
