// SPDX-License-Identifier: GPL-2.0-only
/*
 * device.c - /dev/introspect: what the reader may ask, checked (introspect/device.h).
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "device.h"
#include "session.h"

/* Bit 0: somebody has it open. */
static unsigned long taken;

static int device_open(struct inode *inode, struct file *file)
{
	if (test_and_set_bit_lock(0, &taken))
		return -EBUSY;
	file->private_data = session_new();
	if (file->private_data)
		return nonseekable_open(inode, file);
	clear_bit_unlock(0, &taken);
	return -ENOMEM;
}

/* A mapping keeps the file, so the last of descriptor and mappings is gone. */
static int device_release(struct inode *inode, struct file *file)
{
	session_free(file->private_data);
	clear_bit_unlock(0, &taken);
	return 0;
}

static long device_version(void __user *argument)
{
	struct intro_device_version version = {
		.abi = INTRO_ABI_VERSION,
		.missing = tracepoints_missing(),
	};

	return copy_to_user(argument, &version, sizeof(version)) ? -EFAULT : 0;
}

static long device_setup(struct session *session, void __user *argument)
{
	struct intro_device_setup setup;
	int error;

	if (copy_from_user(&setup, argument, sizeof(setup)))
		return -EFAULT;
	error = session_setup(session, &setup);
	if (!error && copy_to_user(argument, &setup, sizeof(setup)))
		error = -EFAULT;
	return error;
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

static __poll_t device_poll(struct file *file, poll_table *wait)
{
	struct session *session = file->private_data;

	poll_wait(file, &session->readable, wait);
	if (session_is_readable(session))
		return EPOLLIN | EPOLLRDNORM;
	schedule_delayed_work(&session->look, 1);
	return 0;
}

/* Rings do not move, and live as long as the file, which the mapping keeps. */
static vm_fault_t device_fault(struct vm_fault *fault)
{
	struct session *session = fault->vma->vm_private_data;
	u64 offset = (u64)fault->pgoff << PAGE_SHIFT;
	u64 cpu = div64_u64(offset, session->stride);
	struct page *page;

	if (cpu >= nr_cpu_ids || !session->rings[cpu])
		return VM_FAULT_SIGBUS;
	page = vmalloc_to_page(session->rings[cpu] + (offset - cpu * session->stride));
	if (!page)
		return VM_FAULT_SIGBUS;
	get_page(page);
	fault->page = page;
	return 0;
}

static const struct vm_operations_struct device_vm_ops = {
	.fault = device_fault,
};

static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct session *session = file->private_data;

	/* pairs with session_setup: the rings are there when it says so */
	if (!smp_load_acquire(&session->ready))
		return -ENODATA;
	if (!(vma->vm_flags & VM_SHARED) || vma->vm_flags & VM_EXEC)
		return -EINVAL;
	if (vma->vm_pgoff + vma_pages(vma) > (session->stride >> PAGE_SHIFT) * nr_cpu_ids)
		return -EINVAL;
	vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	vma->vm_private_data = session;
	vma->vm_ops = &device_vm_ops;
	return 0;
}

static const struct file_operations device_operations = {
	.owner = THIS_MODULE, /* the module stays while the device is open or mapped */
	.open = device_open,
	.release = device_release,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = device_read,
	.poll = device_poll,
	.mmap = device_mmap,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "introspect",
	.mode = 0600,
	.fops = &device_operations,
};

int introspect_device_add(void)
{
	return misc_register(&device);
}

void introspect_device_remove(void)
{
	misc_deregister(&device);
}
