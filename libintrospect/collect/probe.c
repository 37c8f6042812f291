// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <introspect/area.h>
#include <introspect/device.h>

#include "collect/clock.h"
#include "collect/machine.h"
#include "collect/probe.h"

/* include/uapi/linux/capability.h */
#define CAP_SYS_PTRACE 19
#define CAP_SYS_ADMIN 21
#define CAP_SYS_NICE 23
#define CAP_PERFMON 38
#define CAP_BPF 39

void intro__probe_say(struct intro_probe_row *row, enum intro_probe_verdict verdict,
		      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	row->verdict = verdict;
	vsnprintf(row->finding, sizeof(row->finding), format, args);
	va_end(args);
}

void intro__probe_advise(struct intro_probe_row *row, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(row->remedy, sizeof(row->remedy), format, args);
	va_end(args);
}

static void probe_kernel(struct intro__probe *probe, struct intro_probe_row *row)
{
	struct utsname name;
	int major = 0, minor = 0;

	uname(&name);
	sscanf(name.release, "%d.%d", &major, &minor);
	if (major > 6 || (major == 6 && minor >= 1)) {
		intro__probe_say(row, INTRO_PROBE_OK, "%.80s", name.release);
		return;
	}
	intro__probe_say(row, INTRO_PROBE_DEGRADED, "%.80s: older than what is tested",
			 name.release);
	intro__probe_advise(row, "Linux 6.1 or later is known to work");
}

static void probe_privileges(struct intro__probe *probe, struct intro_probe_row *row)
{
	static const struct {
		int number;
		const char *name;
		bool vital;
	} wanted[] = {
		{CAP_BPF, "CAP_BPF", true},
		{CAP_PERFMON, "CAP_PERFMON", true},
		{CAP_SYS_PTRACE, "CAP_SYS_PTRACE", false},
		{CAP_SYS_NICE, "CAP_SYS_NICE", false},
	};
	char line[256], missing[100] = "";
	unsigned long long effective = 0;
	FILE *status = fopen("/proc/self/status", "re");
	bool vital = false;

	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "CapEff: %llx", &effective);
	if (status)
		fclose(status);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		size_t used = strlen(missing);
		bool implied = effective & 1ull << CAP_SYS_ADMIN && wanted[i].vital;

		if (effective & 1ull << wanted[i].number || implied)
			continue;
		vital |= wanted[i].vital;
		snprintf(missing + used, sizeof(missing) - used, " %s", wanted[i].name);
	}
	if (!*missing) {
		intro__probe_say(row, INTRO_PROBE_OK, "%s, all capabilities that are used",
				 geteuid() ? "not root" : "root");
		return;
	}
	intro__probe_say(row, vital ? INTRO_PROBE_MISSING : INTRO_PROBE_DEGRADED, "without%s",
			 missing);
	intro__probe_advise(row, "run with sudo");
}

static void probe_btf(struct intro__probe *probe, struct intro_probe_row *row)
{
	if (!access("/sys/kernel/btf/vmlinux", R_OK)) {
		intro__probe_say(row, INTRO_PROBE_OK, "/sys/kernel/btf/vmlinux");
		return;
	}
	intro__probe_say(row, INTRO_PROBE_MISSING, "/sys/kernel/btf/vmlinux: %s", strerror(errno));
	intro__probe_advise(row,
			    "boot a kernel with CONFIG_DEBUG_INFO_BTF (distributions' have it)");
}

static void probe_lockdown(struct intro__probe *probe, struct intro_probe_row *row)
{
	char modes[80];

	if (!intro__read_line("/sys/kernel/security/lockdown", modes, sizeof(modes))) {
		intro__probe_say(row, INTRO_PROBE_OK, "none");
	} else if (strstr(modes, "[confidentiality]")) {
		intro__probe_say(row, INTRO_PROBE_MISSING,
				 "confidentiality: BPF may not read memory");
		intro__probe_advise(row, "boot without lockdown=confidentiality");
	} else {
		intro__probe_say(row, INTRO_PROBE_OK, "%.70s", modes);
	}
}

static void probe_clock(struct intro__probe *probe, struct intro_probe_row *row)
{
	struct intro__clock clock;
	char name[32] = "not known";

	intro__clock_init(&clock);
	intro__read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", name,
			 sizeof(name));
	if (clock.tsc) {
		intro__probe_say(row, INTRO_PROBE_OK, "TSC, converted");
		return;
	}
	intro__probe_say(row, INTRO_PROBE_DEGRADED, "CLOCK_MONOTONIC (clock source: %s)", name);
	intro__probe_advise(row, "none needed: a mark costs about twice as much");
}

static void probe_marks(struct intro__probe *probe, struct intro_probe_row *row)
{
	int fd = memfd_create(INTRO_AREA_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int denied = access("/proc/1/map_files", X_OK | R_OK) ? errno : 0;

	if (fd < 0) {
		intro__probe_say(row, INTRO_PROBE_MISSING, "memfd_create: %s", strerror(errno));
		intro__probe_advise(row, "only kernel events can be recorded: --no-marks");
		return;
	}
	close(fd);
	if (!denied) {
		intro__probe_say(row, INTRO_PROBE_OK, "of commands and of running programs");
		return;
	}
	intro__probe_say(row, INTRO_PROBE_DEGRADED, "of commands; not of running programs: %s",
			 strerror(denied));
	intro__probe_advise(row, "run with sudo to read the marks of programs that run already");
}

static void probe_cgroup(struct intro__probe *probe, struct intro_probe_row *row)
{
	char cpu[64] = "", memory[64] = "";

	intro__cgroup_limits(cpu, memory, sizeof(cpu));
	intro__probe_say(row, INTRO_PROBE_OK, "cpu %s, memory %s", *cpu ? cpu : "unlimited",
			 *memory ? memory : "unlimited");
}

/* What the module looked for and did not find; of one node's memory there is nothing to know. */
static void module_lacks(uint32_t bits, bool one_node, char *text, size_t size)
{
	static const struct {
		const char *name;
		enum intro_device_use use;
	} points[] = {
#define POINT(NAME, bit, use) [bit] = {#NAME, INTRO_USE_##use},
		INTRO_TRACEPOINTS(POINT)
#undef POINT
			[INTRO_FAULT_BIT] = {INTRO_FAULT_FUNCTION, INTRO_USE_PLACING},
	};
	size_t used = 0;

	*text = 0;
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]) && used < size; i++)
		if (bits & 1u << i && !(one_node && points[i].use == INTRO_USE_PLACING))
			used += (size_t)snprintf(text + used, size - used, " %s", points[i].name);
}

/* The module stands in where BPF is not to be had; that it is absent is no fault. */
static void probe_module(struct intro__probe *probe, struct intro_probe_row *row)
{
	char disabled[16], missing[100] = "";
	struct intro_device_version version;
	int error = intro__kmod_version(&version);

	if (!error)
		module_lacks(version.missing, probe->nodes == 1, missing, sizeof(missing));
	if (!error && version.abi != INTRO_DEVICE_ABI) {
		intro__probe_say(row, INTRO_PROBE_DEGRADED, "loaded, but of another version");
		intro__probe_advise(row,
				    "make kmod; rmmod introspect; insmod the new introspect.ko");
	} else if (!error && *missing) {
		intro__probe_say(row, INTRO_PROBE_DEGRADED, "loaded; this kernel lacks%s", missing);
		intro__probe_advise(row, "none: what these would tell is not in the trace");
	} else if (!error) {
		intro__probe_say(row, INTRO_PROBE_OK, "loaded, finds all tracepoints");
	} else if (error == -EBUSY) {
		intro__probe_say(row, INTRO_PROBE_OK, "loaded; another recording uses it");
	} else if (error != -ENOENT) {
		intro__probe_say(row, INTRO_PROBE_DEGRADED, "loaded, but " INTRO_DEVICE_PATH ": %s",
				 strerror(-error));
		intro__probe_advise(row, "run with sudo");
	} else if (access("/proc/modules", F_OK)) {
		intro__probe_say(row, INTRO_PROBE_OK,
				 "this kernel loads none (only needed without BPF)");
	} else if (intro__read_line("/proc/sys/kernel/modules_disabled", disabled,
				    sizeof(disabled)) &&
		   *disabled == '1') {
		intro__probe_say(row, INTRO_PROBE_OK,
				 "loading is switched off (only needed without BPF)");
	} else {
		intro__probe_say(row, INTRO_PROBE_OK, "not loaded (only needed without BPF)");
	}
}

size_t intro_probe(struct intro_probe_row *rows, size_t n)
{
	static const struct {
		const char *feature;
		void (*ask)(struct intro__probe *probe, struct intro_probe_row *row);
	} questions[] = {
		{"kernel", probe_kernel},
		{"privileges", probe_privileges},
		{"kernel BTF", probe_btf},
		{"lockdown", probe_lockdown},
		{"BPF programs", intro__probe_programs},
		{"tracepoints", intro__probe_tracepoints},
		{"attaching", intro__probe_attach},
		{"memory by node", intro__probe_numa},
		{"snapshot of threads", intro__probe_snapshot},
		{"registers of a sleeper", intro__probe_futex},
		{"files of a sleeper", intro__probe_file},
		{"marks", probe_marks},
		{"clock of marks", probe_clock},
		{"cgroup limits", probe_cgroup},
		{"kernel module", probe_module},
	};
	struct intro_topology *topology = n ? intro_topology_of_machine("/sys") : NULL;
	struct intro__source_options options = {.numa = true, .topology = topology};
	struct intro__probe probe = {.nodes = topology ? topology->nodes_n : 0};
	size_t count = sizeof(questions) / sizeof(questions[0]);

	if (topology)
		intro__source_bpf.open(&probe.source, &options, &probe.why);
	for (size_t i = 0; i < count && i < n; i++) {
		memset(&rows[i], 0, sizeof(rows[i]));
		rows[i].feature = questions[i].feature;
		questions[i].ask(&probe, &rows[i]);
	}
	if (probe.source) {
		probe.source->ops->stop(probe.source);
		probe.source->ops->close(probe.source);
	}
	intro_topology_free(topology);
	return count;
}
