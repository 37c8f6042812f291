/* SPDX-License-Identifier: BSD-2-Clause */
/* shared_lock.c - locks, sleeps and blocks of memory between processes. See shared_lock.h. */
#include "shared_lock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "futex.h"
#include "marks_private.h"
#include "spin.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* As a mutex's waiter: about 2 us. */
#define SPINS 40

int intro__shared_lock_init(struct shared_lock *lock)
{
	pthread_mutexattr_t attr;
	int err = pthread_mutexattr_init(&attr);

	if (err)
		return -err;
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	err = pthread_mutex_init(&lock->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	return -err;
}

static int timed(pthread_mutex_t *mutex, int64_t deadline)
{
	struct timespec until;

#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer knows of no other clock, and would not see that the lock was taken */
	clock_gettime(CLOCK_REALTIME, &until);
	deadline += (int64_t)until.tv_sec * NSEC_PER_SEC + until.tv_nsec - intro__now();
#endif
	until.tv_sec = deadline / NSEC_PER_SEC;
	until.tv_nsec = deadline % NSEC_PER_SEC;
#ifdef __SANITIZE_THREAD__
	return pthread_mutex_timedlock(mutex, &until);
#else
	return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
#endif
}

static int sleep_for_lock(struct shared_lock *lock, struct lock_tag *tag, int64_t deadline)
{
	bool tells = tag->name && !atomic_load_explicit(&tag->told, memory_order_relaxed);
	int64_t soon = tells ? intro__now() + INTRO_LOCK_TOLD_NS : deadline;
	int err;

	if (soon < deadline) {
		err = timed(&lock->mutex, soon);
		if (err != ETIMEDOUT)
			return err;
		if (!atomic_exchange_explicit(&tag->told, 1, memory_order_relaxed))
			intro_mark_lock(lock, tag->name);
	}
	/* the plain one, where it will do: a tracer knows that wait for one on a lock */
	return deadline == INTRO_FOREVER ? pthread_mutex_lock(&lock->mutex)
					 : timed(&lock->mutex, deadline);
}

static __attribute__((noinline)) int take_slowly(struct shared_lock *lock, struct lock_tag *tag,
						 int64_t timeout_ns)
{
	int err = EBUSY;

	if (timeout_ns <= 0)
		return ETIMEDOUT;
	for (int i = 0; i < SPINS && err == EBUSY; i++) {
		pause_cpu();
		err = pthread_mutex_trylock(&lock->mutex);
	}
	return err == EBUSY ? sleep_for_lock(lock, tag, intro__deadline(timeout_ns)) : err;
}

int intro__shared_lock_take(struct shared_lock *lock, struct lock_tag *tag, int64_t timeout_ns)
{
	int err = pthread_mutex_trylock(&lock->mutex);

	if (err == EBUSY)
		err = take_slowly(lock, tag, timeout_ns);
	if (err && err != EOWNERDEAD)
		return -err;
	if (err == EOWNERDEAD) {
		pthread_mutex_consistent(&lock->mutex);
		lock->count = 0;
	}
	lock->count++;
	atomic_store_explicit(&lock->owner, intro__tid(), memory_order_relaxed);
	return -err;
}

int intro__shared_lock_drop(struct shared_lock *lock)
{
	/* the C library would find it out as well; sanitizers call that a bug of the program's */
	if (atomic_load_explicit(&lock->owner, memory_order_relaxed) != intro__tid())
		return -EPERM;
	if (!--lock->count)
		atomic_store_explicit(&lock->owner, 0, memory_order_relaxed);
	return -pthread_mutex_unlock(&lock->mutex);
}

static int sleep_until(_Atomic uint32_t *word, uint32_t value, int64_t deadline)
{
	struct timespec until = {.tv_sec = deadline / NSEC_PER_SEC,
				 .tv_nsec = deadline % NSEC_PER_SEC};
	int saved = errno, err = 0;

	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, &until, NULL,
		    FUTEX_BITSET_MATCH_ANY))
		err = errno == ETIMEDOUT ? -ETIMEDOUT : 0;
	errno = saved;
	return err;
}

int intro__shared_sleep(struct lock_tag *tag, _Atomic uint32_t *word, uint32_t value,
			int64_t deadline)
{
	bool tells = tag->name && !atomic_load_explicit(&tag->told, memory_order_relaxed);
	int64_t end = intro__now() + (tells ? INTRO_LOCK_TOLD_NS : SHARED_SLICE_NS);

	if (deadline <= end)
		return sleep_until(word, value, deadline);
	if (sleep_until(word, value, end) == -ETIMEDOUT && tells &&
	    !atomic_exchange_explicit(&tag->told, 1, memory_order_relaxed))
		intro_mark_lock(word, tag->name);
	return 0;
}

void intro__shared_wake(_Atomic uint32_t *word, uint32_t n)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAKE, n < INT_MAX ? n : INT_MAX, NULL, NULL, 0);
	errno = saved;
}

/* --- blocks ---------------------------------------------------------------------------------- */

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

int intro__shared_block(const char *name, size_t size)
{
	const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	struct rlimit limit;
	int fd, err = 0;

	if (!size || size > INT64_MAX)
		return -EINVAL;
	/* beyond the limit ftruncate does not fail only: it sends SIGXFSZ */
	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur < size)
		return -EFBIG;
	fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* Linux before 6.3 */
		fd = memfd_create(name, flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) || fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL))
		err = -errno;
	if (err)
		close(fd);
	return err ? err : fd;
}

int intro__shared_map(int fd, void **data, size_t *size)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *at;

	if (seals < 0)
		return errno == EBADF ? -EBADF : -EINVAL;
	if ((seals & SEALS) != SEALS || fstat(fd, &st) || st.st_size <= 0)
		return -EINVAL;
	at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*data = at;
	*size = (size_t)st.st_size;
	return 0;
}
