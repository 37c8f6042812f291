// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - introspect.ko: the scheduler's events as the records of introspect/abi.h, for kernels
 * where BPF is not to be had. Nothing is traced until somebody opens the device and asks.
 */
#include <linux/module.h>

#include "device.h"
#include "session.h"

static int __init introspect_init(void)
{
	tracepoints_find();
	return introspect_device_add();
}

static void __exit introspect_exit(void)
{
	introspect_device_remove();
}

module_init(introspect_init);
module_exit(introspect_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("records what the scheduler does, for introspect(1)");
