// SPDX-License-Identifier: BSD-2-Clause
/* classify.c - the cause of a sleep, from what a switch record says of the sleeper. */
#include <asm/unistd.h>
#include <linux/futex.h>
#include <sys/stat.h>

#include "analyze/ledger_impl.h"

static struct intro__sleep sleep_of(enum intro_cause cause, uint64_t detail)
{
	return (struct intro__sleep){.cause = cause, .detail = detail};
}

static struct intro__sleep classify_futex(uint8_t operation, uint64_t address, uint64_t waiting)
{
	if (waiting)
		return sleep_of(INTRO_BLOCKED_FUTURE, waiting);
	switch (operation) {
	case FUTEX_WAIT:
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		return sleep_of(INTRO_BLOCKED_LOCK, address);
	default:
		/* glibc's condition variable has its waiters sleep on two words, in turn */
		return sleep_of(INTRO_BLOCKED_CONDITION, address & ~(uint64_t)7);
	}
}

/* Of a call on a descriptor: by the type of its file. */
static struct intro__sleep classify_file(uint8_t type, int nr)
{
	switch (type << 12) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFBLK:
		return sleep_of(INTRO_BLOCKED_FILE, (uint64_t)nr);
	case S_IFSOCK:
		return sleep_of(INTRO_BLOCKED_SOCKET, (uint64_t)nr);
	case S_IFIFO:
		return sleep_of(INTRO_BLOCKED_PIPE, (uint64_t)nr);
	case S_IFCHR:
		return sleep_of(INTRO_BLOCKED_TTY, (uint64_t)nr);
	default: /* no file's type: eventfd, timerfd, io_uring …, or not recorded */
		return sleep_of(INTRO_BLOCKED_SYSCALL, (uint64_t)nr);
	}
}

/* Calls that sleep for the file behind their first argument. */
static bool is_file_call(int nr)
{
	switch (nr) {
	case __NR_read:
	case __NR_write:
	case __NR_pread64:
	case __NR_pwrite64:
	case __NR_readv:
	case __NR_writev:
	case __NR_preadv:
	case __NR_pwritev:
	case __NR_preadv2:
	case __NR_pwritev2:
	case __NR_fsync:
	case __NR_fdatasync:
	case __NR_ftruncate:
	case __NR_fallocate:
	case __NR_sync_file_range:
	case __NR_sendfile:
	case __NR_copy_file_range:
	case __NR_splice:
	case __NR_vmsplice:
	case __NR_tee:
	case __NR_flock:
	case __NR_ioctl:
	case __NR_fcntl:
	case __NR_recvfrom:
	case __NR_sendto:
	case __NR_recvmsg:
	case __NR_sendmsg:
	case __NR_recvmmsg:
	case __NR_sendmmsg:
	case __NR_accept:
	case __NR_accept4:
	case __NR_connect:
		return true;
	default:
		return false;
	}
}

static bool is_poll_call(int nr)
{
	switch (nr) {
#ifdef __NR_poll
	case __NR_poll:
	case __NR_select:
	case __NR_epoll_wait:
#endif
	case __NR_ppoll:
	case __NR_pselect6:
	case __NR_epoll_pwait:
	case __NR_epoll_pwait2:
		return true;
	default:
		return false;
	}
}

struct intro__sleep intro__classify(uint8_t state, uint8_t arg1, int16_t sysnr, uint64_t arg0,
				    uint64_t waiting)
{
	if ((state & INTRO_OFF_MASK) == INTRO_OFF_STOPPED)
		return sleep_of(INTRO_BLOCKED_STOPPED, 0);
	if (state & INTRO_SWITCH_KTHREAD)
		return sleep_of(INTRO_BLOCKED_UNSEEN, 0);
	if (sysnr < 0)
		return sleep_of(INTRO_BLOCKED_FAULT, 0);
	if (state & INTRO_SWITCH_COMPAT)
		return sleep_of(INTRO_BLOCKED_SYSCALL, CLASSIFY_COMPAT + (uint64_t)sysnr);
	if (sysnr == __NR_futex)
		return classify_futex(arg1, arg0, waiting);
	if (is_poll_call(sysnr))
		return sleep_of(INTRO_BLOCKED_POLL, 0);
	if (is_file_call(sysnr))
		return classify_file(arg1, sysnr);
	switch (sysnr) {
	case __NR_nanosleep:
	case __NR_clock_nanosleep:
		return sleep_of(INTRO_BLOCKED_SLEEP, 0);
	case __NR_wait4:
	case __NR_waitid:
		return sleep_of(INTRO_BLOCKED_CHILD, 0);
	default:
		return sleep_of(INTRO_BLOCKED_SYSCALL, (uint64_t)sysnr);
	}
}
