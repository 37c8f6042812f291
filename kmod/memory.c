// SPDX-License-Identifier: GPL-2.0-only
#include <linux/err.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "memory.h"

/* Rather no recording than somebody killed for want of memory. */
#define GFP_RINGS (GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

struct part {
	struct address_space *mapping;
	struct page **pages;
	pgoff_t first, end;
};

static long fill(void *data)
{
	struct part *part = data;
	struct page *page;
	pgoff_t i;

	for (i = part->first; i < part->end; i++) {
		page = shmem_read_mapping_page_gfp(part->mapping, i, GFP_RINGS);
		if (IS_ERR(page))
			return PTR_ERR(page);
		/* we write by an address that the file knows nothing of */
		set_page_dirty(page);
		part->pages[i] = page;
		cond_resched();
	}
	return 0;
}

/* Pages come from the node of who asks, so that is a worker on the CPU itself while it is there. */
static long fill_near(u32 cpu, struct part *part)
{
	long error = -ENODEV;

	if (cpu_possible(cpu))
		error = work_on_cpu_safe(cpu, fill, part);
	return error == -ENODEV ? fill(part) : error;
}

static long fill_all(struct memory *memory, struct file *file, u32 parts)
{
	pgoff_t n = memory->pages_n / parts;
	long error = 0;
	u32 i;

	memory->pages = kvcalloc(memory->pages_n, sizeof(*memory->pages), GFP_KERNEL);
	if (!memory->pages)
		return -ENOMEM;
	for (i = 0; i < parts && !error; i++) {
		struct part part = {file->f_mapping, memory->pages, i * n, (i + 1) * n};

		error = fill_near(i, &part);
	}
	if (error)
		return error;
	memory->at = vmap(memory->pages, memory->pages_n, VM_MAP, PAGE_KERNEL);
	return memory->at ? 0 : -ENOMEM;
}

struct file *memory_get(struct memory *memory, u32 parts, size_t bytes)
{
	struct file *file = shmem_file_setup("introspect", parts * bytes, 0);
	long error;

	if (IS_ERR(file))
		return file;
	mapping_set_unevictable(file->f_mapping);
	memory->pages_n = parts * (bytes >> PAGE_SHIFT);
	error = fill_all(memory, file, parts);
	if (!error)
		return file;
	memory_put(memory);
	fput(file);
	return ERR_PTR(error);
}

void memory_put(struct memory *memory)
{
	size_t i;

	vunmap(memory->at);
	for (i = 0; memory->pages && i < memory->pages_n && memory->pages[i]; i++)
		put_page(memory->pages[i]);
	kvfree(memory->pages);
	memset(memory, 0, sizeof(*memory));
}
