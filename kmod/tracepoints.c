// SPDX-License-Identifier: GPL-2.0-only
/*
 * tracepoints.c - finds the kernel's tracepoints by name, as they are not exported to modules, and
 * hangs the probes onto them.
 */
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "sched.h"
#include "task.h"

static const struct probe {
	const char *name;
	void *function;
	bool required;
} probes[INTRO_TRACEPOINT_COUNT] = {
#define sched_switch_probe on_switch
#define sched_waking_probe on_waking
#define sched_wakeup_new_probe on_wakeup_new
#define sched_migrate_task_probe on_migrate
#define sched_process_fork_probe on_fork
#define sched_process_exec_probe on_exec
#define sched_process_exit_probe on_exit
#define task_rename_probe on_rename
#define PROBE(NAME, bit, required) [bit] = {#NAME, NAME##_probe, required},
	INTRO_TRACEPOINTS(PROBE)
#undef PROBE
};

struct found {
	struct tracepoint *point[INTRO_TRACEPOINT_COUNT];
};

/* Never called: compiles only where this kernel's tracepoints have the probes' arguments. */
static void __maybe_unused check_arguments(void)
{
#define CHECK(NAME, bit, required) check_trace_callback_type_##NAME(NAME##_probe);
	INTRO_TRACEPOINTS(CHECK)
#undef CHECK
}

static void look_at(struct tracepoint *point, void *data)
{
	struct found *found = data;
	int i;

	for (i = 0; i < INTRO_TRACEPOINT_COUNT; i++)
		if (!strcmp(point->name, probes[i].name))
			found->point[i] = point;
}

/* They are the kernel's own, not another module's, so they stay. */
static u32 find(struct found *found)
{
	u32 missing = 0;
	int i;

	memset(found, 0, sizeof(*found));
	for_each_kernel_tracepoint(look_at, found);
	for (i = 0; i < INTRO_TRACEPOINT_COUNT; i++)
		if (!found->point[i])
			missing |= 1u << i;
	return missing;
}

u32 tracepoints_missing(void)
{
	struct found found;

	return find(&found);
}

static void detach(const struct found *found, int n, struct session *session)
{
	while (n--)
		if (found->point[n])
			tracepoint_probe_unregister(found->point[n], probes[n].function, session);
	tracepoint_synchronize_unregister();
}

int tracepoints_attach(struct session *session)
{
	struct found found;
	int i, error;

	find(&found);
	for (i = 0; i < INTRO_TRACEPOINT_COUNT; i++) {
		if (found.point[i])
			error = tracepoint_probe_register(found.point[i], probes[i].function,
							  session);
		else
			error = probes[i].required ? -ENXIO : 0;
		if (error) {
			detach(&found, i, session);
			return error;
		}
	}
	return 0;
}

void tracepoints_detach(struct session *session)
{
	struct found found;

	find(&found);
	detach(&found, INTRO_TRACEPOINT_COUNT, session);
}
