/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_MEMORY_H
#define INTROSPECT_MEMORY_H
/*
 * memory.h - memory that the kernel writes and the reader maps. It is a file in memory of the
 * kernel's own (shmem): mappings keep that file, not this module, and each page lives as long as
 * somebody has it. Whatever the reader does to the file, the pages that the module has stay.
 */
#include <linux/types.h>

struct file;

struct memory {
	struct page **pages;
	size_t pages_n;
	void *at; /* all of it, one page after the other */
};

/*
 * `parts` times `bytes`, each on the node of the CPU of its number. The file, for a descriptor of
 * the reader's, or an ERR_PTR with nothing to put.
 */
struct file *memory_get(struct memory *memory, u32 parts, size_t bytes);
void memory_put(struct memory *memory); /* of zeroes: nothing */

#endif
