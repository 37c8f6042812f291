// SPDX-License-Identifier: BSD-2-Clause
/*
 * output.c - files that a subcommand makes. Under sudo, introspect is root in directories which
 * belong to somebody else: whatever stands there, root must not be led to create or remove a
 * file that the user behind sudo could not have.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

struct user {
	bool behind_sudo;
	uid_t uid;
	gid_t gid;
};

static struct user find_user(void)
{
	const char *uid_text = getenv("SUDO_UID"), *gid_text = getenv("SUDO_GID");
	uint64_t uid, gid;

	if (geteuid() || !uid_text || !gid_text ||
	    cli_parse_number(uid_text, 1, UINT32_MAX - 1, &uid) ||
	    cli_parse_number(gid_text, 0, UINT32_MAX - 1, &gid))
		return (struct user){.behind_sudo = false};
	return (struct user){true, (uid_t)uid, (gid_t)gid};
}

/*
 * File access with the user's rights from here to leave(). The group first: without fsuid 0 there
 * is no right to change it.
 */
static void enter(const struct user *user)
{
	if (!user->behind_sudo)
		return;
	setfsgid(user->gid);
	setfsuid(user->uid);
}

static void leave(const struct user *user)
{
	if (!user->behind_sudo)
		return;
	setfsuid(geteuid());
	setfsgid(getegid());
}

/* Path into directory and name. False: it names no file. */
static bool split(const char *path, char *dir, size_t dir_size, char *name, size_t name_size)
{
	const char *slash = strrchr(path, '/');
	const char *last = slash ? slash + 1 : path;
	size_t length = slash ? (size_t)(slash - path) : 1;

	if (!*last || !strcmp(last, ".") || !strcmp(last, "..") || strlen(last) >= name_size ||
	    length >= dir_size)
		return false;
	snprintf(name, name_size, "%s", last);
	snprintf(dir, dir_size, "%.*s", (int)length, slash ? path : ".");
	if (slash == path)
		snprintf(dir, dir_size, "/");
	return true;
}

/* As root no link on the way is followed: others may have put it there. */
static int open_dir(const char *dir, bool no_links)
{
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
			       .resolve = no_links ? RESOLVE_NO_SYMLINKS : 0};

	return (int)syscall(SYS_openat2, AT_FDCWD, dir, &how, sizeof(how));
}

static int try_create(struct cli_output *output, const char *dir, unsigned mode, bool no_links)
{
	int error;

	output->dir_fd = open_dir(dir, no_links);
	if (output->dir_fd < 0)
		return -errno;
	output->fd = openat(output->dir_fd, output->name,
			    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (output->fd >= 0)
		return 0;
	error = -errno;
	close(output->dir_fd);
	output->dir_fd = -1;
	return error;
}

/* 0 or -errno. */
static int create(struct cli_output *output, const char *dir, unsigned mode)
{
	struct user user = find_user();
	struct stat st;
	int error;

	enter(&user);
	error = try_create(output, dir, mode, false);
	leave(&user);
	/* Where the user may not write, the one who called sudo may still want it. */
	if (user.behind_sudo && (error == -EACCES || error == -EPERM)) {
		error = try_create(output, dir, mode, true);
		if (!error && fchown(output->fd, user.uid, user.gid))
			error = -errno;
	}
	if (!error && fstat(output->fd, &st))
		error = -errno;
	if (error)
		return error;
	output->device = st.st_dev;
	output->inode = st.st_ino;
	return 0;
}

static void forget(struct cli_output *output)
{
	output->fd = output->dir_fd = -1;
}

static int explain(const char *path, int error)
{
	if (error == -EEXIST)
		cli_error("%s exists already: remove it, or choose another name", path);
	else if (error == -ELOOP)
		cli_error("cannot create %s: as root, introspect follows no symbolic link: give "
			  "the directory's real path",
			  path);
	else
		cli_error("cannot create %s: %s; choose another place with --output", path,
			  strerror(-error));
	return CLI_FAILED;
}

int cli_output_create(struct cli_output *output, const char *path, unsigned mode)
{
	char dir[sizeof(output->path)];
	int error;

	forget(output);
	if (!split(path, dir, sizeof(dir), output->name, sizeof(output->name))) {
		cli_error("cannot create '%s': it is not the name of a file", path);
		return CLI_FAILED;
	}
	snprintf(output->path, sizeof(output->path), "%s", path);
	error = create(output, dir, mode);
	return error ? explain(path, error) : CLI_OK;
}

/* What is safe and handy in the name of a file. */
static void clean(char *out, size_t size, const char *subject)
{
	const char *slash = strrchr(subject, '/');
	size_t n = 0;

	for (const char *at = slash ? slash + 1 : subject; *at && n + 1 < size; at++) {
		bool fine = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
			    (*at >= '0' && *at <= '9') || strchr("._+-", *at);

		out[n++] = fine ? *at : '_';
	}
	out[n] = 0;
	if (!n)
		snprintf(out, size, "trace");
}

int cli_output_create_named(struct cli_output *output, const char *subject, unsigned mode)
{
	time_t now = time(NULL);
	struct tm tm;
	char what[48], when[32];
	int error = -EEXIST;

	forget(output);
	clean(what, sizeof(what), subject);
	localtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y%m%d-%H%M%S", &tm);
	for (int i = 1; i < 100 && error == -EEXIST; i++) {
		char more[8] = "";

		if (i > 1)
			snprintf(more, sizeof(more), "-%d", i);
		snprintf(output->name, sizeof(output->name), "introspect-%s-%s%s.itr", what, when,
			 more);
		snprintf(output->path, sizeof(output->path), "%s", output->name);
		error = create(output, ".", mode);
	}
	return error ? explain(output->path, error) : CLI_OK;
}

void cli_output_remove(struct cli_output *output)
{
	struct user user = find_user();
	struct stat st;

	if (output->dir_fd < 0)
		return;
	if (!fstatat(output->dir_fd, output->name, &st, AT_SYMLINK_NOFOLLOW) &&
	    st.st_dev == output->device && st.st_ino == output->inode) {
		enter(&user);
		/* Root's turn only where it was root who could create it. */
		if (unlinkat(output->dir_fd, output->name, 0) && errno == EACCES) {
			leave(&user);
			unlinkat(output->dir_fd, output->name, 0);
		}
		leave(&user);
	}
	cli_output_close(output);
}

void cli_output_close(struct cli_output *output)
{
	if (output->fd >= 0)
		close(output->fd);
	if (output->dir_fd >= 0)
		close(output->dir_fd);
	forget(output);
}
