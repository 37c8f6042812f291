// SPDX-License-Identifier: GPL-2.0-only
/*
 * tracepoints.c - finds the kernel's tracepoints by name, as they are not exported to modules, and
 * hangs the probes onto them. What no tracepoint tells is watched where its function begins.
 */
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "place.h"
#include "sched.h"
#include "task.h"

static const struct probe {
	const char *name;
	void *function;
	enum intro_device_use use;
} probes[INTRO_TRACEPOINT_COUNT] = {
#define sched_switch_probe on_switch
#define sched_waking_probe on_waking
#define sched_wakeup_new_probe on_wakeup_new
#define sched_migrate_task_probe on_migrate
#define sched_process_fork_probe on_fork
#define sched_process_exec_probe on_exec
#define sched_process_exit_probe on_exit
#define task_rename_probe on_rename
#define mm_page_alloc_probe on_page_alloc
#define mm_migrate_pages_probe on_migrate_pages
#define sched_move_numa_probe on_numa_move
#define sched_stick_numa_probe on_numa_stick
#define sched_swap_numa_probe on_numa_swap
#define PROBE(NAME, bit, use) [bit] = {#NAME, NAME##_probe, INTRO_USE_##use},
	INTRO_TRACEPOINTS(PROBE)
#undef PROBE
};

/* Found when the module is loaded: they are the kernel's own, not another module's, so they stay.
 */
static struct tracepoint *points[INTRO_TRACEPOINT_COUNT];
static u32 missing;

/* Never called: compiles only where this kernel's tracepoints have the probes' arguments. */
static void __maybe_unused check_arguments(void)
{
#define CHECK(NAME, bit, use) check_trace_callback_type_##NAME(NAME##_probe);
	INTRO_TRACEPOINTS(CHECK)
#undef CHECK
}

static void __init look_at(struct tracepoint *point, void *data)
{
	int i;

	for (i = 0; i < INTRO_TRACEPOINT_COUNT; i++)
		if (!strcmp(point->name, probes[i].name))
			points[i] = point;
}

/* A probe that is disabled changes nothing: it asks whether there could be one. */
static bool __init function_is_there(const char *name)
{
	struct kprobe probe = {.symbol_name = name, .flags = KPROBE_FLAG_DISABLED};

	if (register_kprobe(&probe))
		return false;
	unregister_kprobe(&probe);
	return true;
}

void __init tracepoints_find(void)
{
	int i;

	for_each_kernel_tracepoint(look_at, NULL);
	for (i = 0; i < INTRO_TRACEPOINT_COUNT; i++)
		if (!points[i])
			missing |= 1u << i;
	if (!function_is_there(INTRO_FAULT_FUNCTION))
		missing |= 1u << INTRO_FAULT_BIT;
}

u32 tracepoints_missing(void)
{
	return missing;
}

static int attach(struct session *session, int i)
{
	int error;

	if (probes[i].use == INTRO_USE_PLACING && !session->placed)
		return 0;
	if (!points[i])
		return probes[i].use == INTRO_USE_REQUIRED ? -ENXIO : 0;
	error = tracepoint_probe_register(points[i], probes[i].function, session);
	if (!error)
		session->attached |= 1u << i;
	return error;
}

int tracepoints_attach(struct session *session)
{
	int i, error = 0;

	session->attached = 0;
	for (i = 0; !error && i < INTRO_TRACEPOINT_COUNT; i++)
		error = attach(session, i);
	if (error) {
		tracepoints_detach(session);
		session->attached = 0;
		return error;
	}
	session->faults = (struct kprobe){
		.symbol_name = INTRO_FAULT_FUNCTION,
		.pre_handler = on_numa_fault,
	};
	if (session->placed && !register_kprobe(&session->faults))
		session->attached |= 1u << INTRO_FAULT_BIT;
	return 0;
}

void tracepoints_detach(struct session *session)
{
	int i;

	if (session->attached & 1u << INTRO_FAULT_BIT)
		unregister_kprobe(&session->faults);
	for (i = INTRO_TRACEPOINT_COUNT; i--;)
		if (session->attached & 1u << i)
			tracepoint_probe_unregister(points[i], probes[i].function, session);
	tracepoint_synchronize_unregister();
}
