/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_SHARED_H
#define INTROSPECT_SHARED_H
/*
 * shared.h - memory that processes share: blocks of bytes, and typed values and arrays with a lock.
 * Semantics are those of Python's multiprocessing.shared_memory.SharedMemory and of
 * multiprocessing.Value and Array, under C names. Link with -lintrospect-rt.
 *
 * Two ways for another process to get at a block:
 *   fork        a child has what its parent had: the same handle at the same address;
 *   descriptor  the fd goes to the other process (connection.h can send it), which attaches it.
 * A named block is found by its name, too.
 *
 * What is left. Anonymous blocks, values and arrays are gone with the last process that has them,
 * whatever it dies of. A name stays in /dev/shm until it is unlinked, also when every process that
 * used it was killed: POSIX has no other kind. So use a name only where a process must find
 * the memory that nobody can hand it. (Python runs a process which unlinks what others left.)
 *
 * Handles are a process's own and are freed by it; free unmaps, so nobody may use the memory any
 * more. Functions may be called from any thread, but free while others use the handle.
 * Errors are negative errno values and leave the object as it was.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <introspect/future.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* --- blocks: SharedMemory --------------------------------------------------------------------- */

struct intro_shared_memory;

/* Zeroed memory of at least 1 byte without a name. NULL and errno: EINVAL, ENOMEM, EFBIG, EMFILE.
 */
struct intro_shared_memory *intro_shared_memory_new(size_t size);
/* That of a descriptor, which stays the caller's. EINVAL: it could shrink under the caller. */
struct intro_shared_memory *intro_shared_memory_attach(int fd);
/*
 * The same by name: letters, digits, '.', '_', '-', not more than INTRO_SHARED_NAME. create with
 * name NULL makes one up that nobody can guess. Only the user's own processes can open it. EEXIST;
 * open: ENOENT; EACCES: it is somebody else's. Whoever shrinks the file of a named block, with
 * ftruncate, kills those who use it.
 */
#define INTRO_SHARED_NAME 200
struct intro_shared_memory *intro_shared_memory_create(const char *name, size_t size);
struct intro_shared_memory *intro_shared_memory_open(const char *name);
/* Takes the name away; the memory stays to those who have it. 0; -ENOENT; -EINVAL: it has none. */
int intro_shared_memory_unlink(struct intro_shared_memory *memory);
/* Unmaps and frees; the name stays. NULL is fine. */
void intro_shared_memory_free(struct intro_shared_memory *memory);

void *intro_shared_memory_data(const struct intro_shared_memory *memory);
/* As it was asked for. */
size_t intro_shared_memory_size(const struct intro_shared_memory *memory);
/* Of a named one; NULL. */
const char *intro_shared_memory_name(const struct intro_shared_memory *memory);
/* Close-on-exec; the handle's: not to be closed. */
int intro_shared_memory_fd(const struct intro_shared_memory *memory);

/* --- arrays: Array ---------------------------------------------------------------------------- */

enum intro_shared_type {
	INTRO_SHARED_INT8 = 1,
	INTRO_SHARED_UINT8 = 2,
	INTRO_SHARED_INT16 = 3,
	INTRO_SHARED_UINT16 = 4,
	INTRO_SHARED_INT32 = 5,
	INTRO_SHARED_UINT32 = 6,
	INTRO_SHARED_INT64 = 7,
	INTRO_SHARED_UINT64 = 8,
	INTRO_SHARED_FLOAT = 9,
	INTRO_SHARED_DOUBLE = 10,
};

/*
 * n elements of one type, zero at first, and a lock that works between processes. NULL and errno as
 * above. name: of the lock, in reports (locks.h); NULL: none.
 */
struct intro_shared_array;
struct intro_shared_array *intro_shared_array_new(enum intro_shared_type type, size_t n,
						  const char *name);
/* That of a descriptor, which stays the caller's. EINVAL: it is no array. */
struct intro_shared_array *intro_shared_array_attach(int fd);
/* NULL is fine. */
void intro_shared_array_free(struct intro_shared_array *array);

size_t intro_shared_array_length(const struct intro_shared_array *array);
enum intro_shared_type intro_shared_array_type(const struct intro_shared_array *array);
/* The elements; aligned to 64. To be used with the lock held, if others write. */
void *intro_shared_array_data(const struct intro_shared_array *array);
int intro_shared_array_fd(const struct intro_shared_array *array);

/*
 * The lock is recursive, and robust: 0; -ETIMEDOUT; -EAGAIN: held 2^32 - 1 times; or
 * -EOWNERDEAD: the caller *has* the lock, but somebody who had it before, and died with it, may
 * have left the elements half changed. That is told once; the array stays usable.
 * unlock: 0; -EPERM: the calling thread has it not.
 */
int intro_shared_array_lock(struct intro_shared_array *array, int64_t timeout_ns);
int intro_shared_array_unlock(struct intro_shared_array *array);

/*
 * One element under the lock, also when the caller has it already. `size` is that of the element:
 * sizeof the variable. 0; -ERANGE: there is no such element; -EINVAL: another size. They
 * cannot leave anything half done, and leave it to lock to tell of a death.
 */
int intro_shared_array_get(struct intro_shared_array *array, size_t i, void *value, size_t size);
int intro_shared_array_set(struct intro_shared_array *array, size_t i, const void *value,
			   size_t size);
/*
 * Adds, and stores to *now (may be NULL) what it is then. 0; -ERANGE; -EOVERFLOW: the sum does not
 * fit the type, or int64_t; -EINVAL: not of an integer type, or add_real of one.
 */
int intro_shared_array_add(struct intro_shared_array *array, size_t i, int64_t by, int64_t *now);
int intro_shared_array_add_real(struct intro_shared_array *array, size_t i, double by, double *now);

/* --- values: Value: an array of one ----------------------------------------------------------- */

static inline struct intro_shared_array *intro_shared_value_new(enum intro_shared_type type,
								const char *name)
{
	return intro_shared_array_new(type, 1, name);
}

static inline int intro_shared_value_get(struct intro_shared_array *array, void *value, size_t size)
{
	return intro_shared_array_get(array, 0, value, size);
}

static inline int intro_shared_value_set(struct intro_shared_array *array, const void *value,
					 size_t size)
{
	return intro_shared_array_set(array, 0, value, size);
}

static inline int intro_shared_value_add(struct intro_shared_array *array, int64_t by, int64_t *now)
{
	return intro_shared_array_add(array, 0, by, now);
}

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
