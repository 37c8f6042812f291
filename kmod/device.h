/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_KMOD_DEVICE_H
#define INTROSPECT_KMOD_DEVICE_H

int introspect_device_add(void);
void introspect_device_remove(void);

#endif
