// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect/machine.h"

bool intro__read_line(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "re");
	bool got = file && fgets(text, size, file);

	if (file)
		fclose(file);
	if (got)
		text[strcspn(text, "\n")] = 0;
	return got;
}

/*
 * The directory of our cgroup in the hierarchy of `controller` ("" for version 2) under its usual
 * mount point.
 */
static bool cgroup_directory(const char *controller, char *path, size_t size)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[4096];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		char *names = strchr(line, ':'), *where = names ? strchr(names + 1, ':') : NULL;

		if (!where)
			continue;
		*names++ = 0;
		*where++ = 0;
		where[strcspn(where, "\n")] = 0;
		if (strcmp(names, controller))
			continue;
		snprintf(path, size, "/sys/fs/cgroup%s%s%.3000s", *controller ? "/" : "",
			 controller, where);
		found = true;
	}
	if (file)
		fclose(file);
	return found;
}

static bool limit(char *text, size_t size, const char *controller, const char *file)
{
	char path[4096], full[4200];

	if (!cgroup_directory(controller, path, sizeof(path)))
		return false;
	snprintf(full, sizeof(full), "%s/%s", path, file);
	return intro__read_line(full, text, size);
}

/* Version 1 has two files for what is "QUOTA PERIOD" in version 2, and -1 for "max". */
static bool limit_cpu_v1(char *text, size_t size, const char *controller)
{
	char quota[24], period[24];

	if (!limit(quota, sizeof(quota), controller, "cpu.cfs_quota_us") ||
	    !limit(period, sizeof(period), controller, "cpu.cfs_period_us"))
		return false;
	snprintf(text, size, "%s %s", *quota == '-' ? "max" : quota, period);
	return true;
}

/* Version 1 has the largest number of pages for "max". */
static bool limit_memory_v1(char *text, size_t size)
{
	if (!limit(text, size, "memory", "memory.limit_in_bytes"))
		return false;
	if (strtoull(text, NULL, 10) >= 1ull << 62)
		snprintf(text, size, "max");
	return true;
}

void intro__cgroup_limits(char *cpu, char *memory, size_t size)
{
	if (!limit(cpu, size, "", "cpu.max") && !limit_cpu_v1(cpu, size, "cpu") &&
	    !limit_cpu_v1(cpu, size, "cpu,cpuacct"))
		*cpu = 0;
	if (!limit(memory, size, "", "memory.max") && !limit_memory_v1(memory, size))
		*memory = 0;
}
