// SPDX-License-Identifier: GPL-2.0-only
/*
 * device.c - /proc/introspect: what the reader may ask, checked (introspect/device.h).
 *
 * A file of /proc and no device node, as it can be taken away while it is open: calls of an open
 * file go by way of the kernel, which lets none begin once the file is being removed, waits for
 * those under way, and then releases it for each who has it open. A device node would keep the
 * module.
 */
#include <linux/capability.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/minmax.h>
#include <linux/proc_fs.h>
#include <linux/uaccess.h>

#include "device.h"
#include "session.h"

/* Bit 0: somebody has it open. */
static unsigned long taken;

/* The mode of the file says nothing in a container, whose root has our /proc and not our rights. */
static int device_open(struct inode *inode, struct file *file)
{
	if (!perfmon_capable())
		return -EPERM;
	if (test_and_set_bit_lock(0, &taken))
		return -EBUSY;
	file->private_data = session_new();
	if (file->private_data)
		return nonseekable_open(inode, file);
	clear_bit_unlock(0, &taken);
	return -ENOMEM;
}

/* By the reader's end, or by the module's: once, and when no other call is under way. */
static int device_release(struct inode *inode, struct file *file)
{
	session_free(file->private_data);
	clear_bit_unlock(0, &taken);
	return 0;
}

static long device_version(void __user *argument)
{
	struct intro_device_version version = {
		.abi = INTRO_DEVICE_ABI,
		.missing = tracepoints_missing(),
	};

	return copy_to_user(argument, &version, sizeof(version)) ? -EFAULT : 0;
}

static long device_setup(struct session *session, void __user *argument)
{
	struct intro_device_setup setup;
	struct file *memory;
	int fd;

	if (copy_from_user(&setup, argument, sizeof(setup)))
		return -EFAULT;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	memory = session_setup(session, &setup);
	if (IS_ERR(memory)) {
		put_unused_fd(fd);
		return PTR_ERR(memory);
	}
	setup.memory = fd;
	if (copy_to_user(argument, &setup, sizeof(setup))) {
		put_unused_fd(fd);
		fput(memory);
		return -EFAULT;
	}
	fd_install(fd, memory);
	return 0;
}

static long device_target(struct session *session, unsigned long tid)
{
	if (!session->ready)
		return -ENODATA;
	if (!tid || tid >= TID_LIMIT)
		return -EINVAL;
	return test_and_set_bit(tid, session->targets);
}

static long device_snapshot(struct session *session, unsigned long when)
{
	if (!session->ready)
		return -ENODATA;
	if (when != INTRO_SNAPSHOT_BEGIN && when != INTRO_SNAPSHOT_END)
		return -EINVAL;
	return snapshot_take(session, when);
}

static long device_stats(struct session *session, void __user *argument)
{
	struct intro_device_stats stats;

	session_stats(session, &stats);
	return copy_to_user(argument, &stats, sizeof(stats)) ? -EFAULT : 0;
}

static long device_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct session *session = file->private_data;
	void __user *pointer = (void __user *)argument;
	long result = -ENOTTY;

	if (mutex_lock_interruptible(&session->mutex))
		return -EINTR;
	switch (command) {
	case INTRO_DEVICE_VERSION:
		result = device_version(pointer);
		break;
	case INTRO_DEVICE_SETUP:
		result = device_setup(session, pointer);
		break;
	case INTRO_DEVICE_TARGET:
		result = device_target(session, argument);
		break;
	case INTRO_DEVICE_START:
		result = session_start(session);
		break;
	case INTRO_DEVICE_STOP:
		session_stop(session);
		result = session->ready ? 0 : -ENODATA;
		break;
	case INTRO_DEVICE_SNAPSHOT:
		result = device_snapshot(session, argument);
		break;
	case INTRO_DEVICE_STATS:
		result = device_stats(session, pointer);
		break;
	}
	mutex_unlock(&session->mutex);
	return result;
}

/* The rest of the snapshot. */
static ssize_t device_read(struct file *file, char __user *to, size_t bytes, loff_t *offset)
{
	struct session *session = file->private_data;
	ssize_t result;

	if (mutex_lock_interruptible(&session->mutex))
		return -EINTR;
	result = min(bytes, session->snapshot_bytes - session->snapshot_read);
	if (copy_to_user(to, session->snapshot + session->snapshot_read, result))
		result = -EFAULT;
	else
		session->snapshot_read += result;
	mutex_unlock(&session->mutex);
	return result;
}

static const struct proc_ops device_operations = {
	.proc_open = device_open,
	.proc_release = device_release,
	.proc_ioctl = device_ioctl,
#ifdef CONFIG_COMPAT
	.proc_compat_ioctl = device_ioctl,
#endif
	.proc_read = device_read,
};

int introspect_device_add(void)
{
	return proc_create(INTRO_DEVICE_NAME, 0600, NULL, &device_operations) ? 0 : -ENOMEM;
}

void introspect_device_remove(void)
{
	remove_proc_entry(INTRO_DEVICE_NAME, NULL);
}
