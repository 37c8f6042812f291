// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
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

static void limit(char *text, size_t size, const char *controller, const char *file)
{
	char path[4096], full[4200];

	if (*text || !cgroup_directory(controller, path, sizeof(path)))
		return;
	snprintf(full, sizeof(full), "%s/%s", path, file);
	if (!intro__read_line(full, text, size))
		*text = 0;
}

void intro__cgroup_limits(char *cpu, char *memory, size_t size)
{
	*cpu = *memory = 0;
	limit(cpu, size, "", "cpu.max");
	limit(memory, size, "", "memory.max");
	/* version 1 */
	limit(cpu, size, "cpu", "cpu.cfs_quota_us");
	limit(cpu, size, "cpu,cpuacct", "cpu.cfs_quota_us");
	limit(memory, size, "memory", "memory.limit_in_bytes");
}
