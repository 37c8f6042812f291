// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collect/launch.h"

#define GROUPS_MOST 256
extern char **environ;

/* Whom the command becomes, and its environment: all worked out before fork. */
struct identity {
	bool change;
	uid_t uid;
	gid_t gid;
	gid_t groups[GROUPS_MOST];
	int groups_n;
	char **environment;
	size_t used;
	char *owned[8];
	size_t owned_n;
};

static bool number_of(const char *text, unsigned long *value)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoul(text, &end, 10);
	return !*end && !errno && *value < UINT32_MAX;
}

static int env_set(struct identity *who, const char *name, const char *value)
{
	size_t length = strlen(name);
	char *text;

	if (asprintf(&text, "%s=%s", name, value) < 0)
		return -ENOMEM;
	who->owned[who->owned_n++] = text;
	for (size_t i = 0; i < who->used; i++) {
		if (!strncmp(who->environment[i], name, length) &&
		    who->environment[i][length] == '=') {
			who->environment[i] = text;
			return 0;
		}
	}
	who->environment[who->used++] = text;
	return 0;
}

static int env_copy(struct identity *who)
{
	size_t n = 0;

	while (environ && environ[n])
		n++;
	who->environment = calloc(n + 8, sizeof(*who->environment));
	if (!who->environment)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		/* the command was not called by sudo */
		if (!who->change || strncmp(environ[i], "SUDO_", 5))
			who->environment[who->used++] = environ[i];
	}
	return 0;
}

static void identity_free(struct identity *who)
{
	for (size_t i = 0; i < who->owned_n; i++)
		free(who->owned[i]);
	free(who->environment);
}

uid_t intro__launch_uid(bool as_root)
{
	const char *sudo_uid = getenv("SUDO_UID");
	unsigned long uid;

	return as_root || geteuid() != 0 || !number_of(sudo_uid, &uid) ? geteuid() : uid;
}

static int become_behind_sudo(struct identity *who, struct intro__reason *why)
{
	const char *sudo_uid = getenv("SUDO_UID");
	struct passwd entry, *found = NULL;
	unsigned long uid, gid;
	char buffer[4096];
	int error;

	if (geteuid() != 0 || !sudo_uid)
		return env_copy(who);
	if (!number_of(sudo_uid, &uid) || !number_of(getenv("SUDO_GID"), &gid))
		return intro__fail(why, EINVAL,
				   "SUDO_UID or SUDO_GID is not a number: cannot tell "
				   "whom to run the command as");
	if (uid == 0)
		return env_copy(who);
	who->change = true;
	who->uid = uid;
	who->gid = gid;
	who->groups[0] = gid;
	who->groups_n = 1;
	error = env_copy(who);
	getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found);
	if (error || !found)
		return error;
	who->groups_n = GROUPS_MOST;
	if (getgrouplist(found->pw_name, gid, who->groups, &who->groups_n) < 0)
		who->groups_n = GROUPS_MOST;
	error = env_set(who, "HOME", found->pw_dir);
	if (!error)
		error = env_set(who, "USER", found->pw_name);
	if (!error)
		error = env_set(who, "LOGNAME", found->pw_name);
	return error;
}

/* In the child. Tells the parent errno and ends if the command cannot be run. */
static void __attribute__((noreturn))
child(const struct identity *who, char *const argv[], int go, int failed, int keep_fd)
{
	char byte;
	int error;

	if (TEMP_FAILURE_RETRY(read(go, &byte, 1)) != 1)
		_exit(0);
	if (keep_fd >= 0)
		fcntl(keep_fd, F_SETFD, 0);
	if (who->change &&
	    (setgroups(who->groups_n, who->groups) || setresgid(who->gid, who->gid, who->gid) ||
	     setresuid(who->uid, who->uid, who->uid)))
		goto fail;
	execvpe(argv[0], argv, who->environment);
fail:
	error = errno;
	if (write(failed, &error, sizeof(error)) != sizeof(error))
		_exit(126);
	_exit(error == ENOENT ? 127 : 126);
}

static int fork_child(struct intro__launch *launch, const struct identity *who, char *const argv[],
		      int keep_fd)
{
	int go[2] = {-1, -1}, failed[2] = {-1, -1};
	pid_t pid = -1;

	if (!pipe2(go, O_CLOEXEC) && !pipe2(failed, O_CLOEXEC))
		pid = fork();
	if (pid == 0) {
		close(go[1]);
		child(who, argv, go[0], failed[1], keep_fd);
	}
	if (pid > 0) {
		launch->pid = pid;
		launch->pidfd = syscall(SYS_pidfd_open, pid, 0);
		launch->go = go[1];
		launch->failed = failed[0];
		go[1] = failed[0] = -1;
	}
	for (int i = 0; i < 2; i++) {
		int error = errno;

		if (go[i] >= 0)
			close(go[i]);
		if (failed[i] >= 0)
			close(failed[i]);
		errno = error;
	}
	return pid < 0 || launch->pidfd < 0 ? -errno : 0;
}

int intro__launch_prepare(struct intro__launch *launch, char *const argv[], bool as_root,
			  int keep_fd, const char *keep_name, struct intro__reason *why)
{
	struct identity who = {};
	char number[16];
	int error;

	*launch = (struct intro__launch){.pidfd = -1, .go = -1, .failed = -1, .uid = geteuid()};
	error = as_root ? env_copy(&who) : become_behind_sudo(&who, why);
	if (!error && keep_fd >= 0) {
		snprintf(number, sizeof(number), "%d", keep_fd);
		error = env_set(&who, keep_name, number);
	}
	if (!error) {
		if (who.change)
			launch->uid = who.uid;
		error = fork_child(launch, &who, argv, keep_fd);
		if (error)
			intro__fail(why, -error, "cannot fork: %s", strerror(-error));
	}
	identity_free(&who);
	return error;
}

int intro__launch_go(struct intro__launch *launch, const char *name, struct intro__reason *why)
{
	int error = 0;
	ssize_t got;

	if (write(launch->go, "g", 1) != 1)
		error = errno;
	close(launch->go);
	launch->go = -1;
	/* end of file: exec closed the other end */
	got = TEMP_FAILURE_RETRY(read(launch->failed, &error, sizeof(error)));
	close(launch->failed);
	launch->failed = -1;
	if (got == 0 && !error)
		return 0;
	if (!error)
		error = EIO;
	waitpid(launch->pid, NULL, 0);
	launch->pid = 0;
	return intro__fail(why, error, "cannot run %s: %s", name, strerror(error));
}

void intro__launch_free(struct intro__launch *launch)
{
	if (launch->go >= 0) {
		close(launch->go);
		if (launch->pid > 0)
			waitpid(launch->pid, NULL, 0);
	}
	if (launch->failed >= 0)
		close(launch->failed);
	if (launch->pidfd >= 0)
		close(launch->pidfd);
}
