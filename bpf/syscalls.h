/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_SYSCALLS_H
#define INTROSPECT_SYSCALLS_H
/*
 * syscalls.h - what numbers mean to those who tell why a thread sleeps: the programs of bpf/
 * and the module of kmod/. Task states are the includer's.
 */

#define SYS(nr) (1ull << ((nr)&63))
#define FD_SYSCALLS 512
/* The system calls that may sleep and whose first argument is a descriptor, by number. */
static const __u64 fd_syscalls[FD_SYSCALLS / 64] = {
#if defined(__TARGET_ARCH_x86)
#define SYS_READ 0
#define SYS_FUTEX 202
#define SYS_FUTEX_COMPAT 240
#define SYS_SCHED_YIELD 24
	/* read write ioctl pread64 pwrite64 readv writev sendfile connect accept sendto recvfrom */
	[0] = SYS(0) | SYS(1) | SYS(16) | SYS(17) | SYS(18) | SYS(19) | SYS(20) | SYS(40) |
	      SYS(42) | SYS(43) | SYS(44) | SYS(45) | SYS(46) | SYS(47),
	/* (sendmsg recvmsg) fcntl flock fsync fdatasync ftruncate getdents */
	[1] = SYS(72) | SYS(73) | SYS(74) | SYS(75) | SYS(77) | SYS(78),
	[3] = SYS(217), /* getdents64 */
	/* splice sync_file_range vmsplice fallocate accept4 preadv pwritev */
	/* recvmmsg syncfs sendmmsg */
	[4] = SYS(275) | SYS(277) | SYS(278) | SYS(285) | SYS(288) | SYS(295) | SYS(296) |
	      SYS(299) | SYS(306) | SYS(307),
	[5] = SYS(326) | SYS(327) | SYS(328), /* copy_file_range preadv2 pwritev2 */
#elif defined(__TARGET_ARCH_arm64)
#define SYS_READ 63
#define SYS_FUTEX 98
#define SYS_SCHED_YIELD 124
	/* fcntl ioctl flock ftruncate fallocate getdents64 read */
	[0] = SYS(25) | SYS(29) | SYS(32) | SYS(46) | SYS(47) | SYS(61) | SYS(63),
	/* write readv writev pread64 pwrite64 preadv pwritev sendfile */
	/* vmsplice splice fsync fdatasync */
	[1] = SYS(64) | SYS(65) | SYS(66) | SYS(67) | SYS(68) | SYS(69) | SYS(70) | SYS(71) |
	      SYS(75) | SYS(76) | SYS(82) | SYS(83) | SYS(84),
	/* accept connect sendto recvfrom sendmsg recvmsg accept4 recvmmsg syncfs sendmmsg */
	[3] = SYS(202) | SYS(203) | SYS(206) | SYS(207) | SYS(211) | SYS(212) | SYS(242) | SYS(243),
	[4] = SYS(267) | SYS(269) | SYS(285) | SYS(286) | SYS(287),
#endif
};

static __always_inline bool takes_descriptor(__u64 nr)
{
	/* read, and write which follows it, are the most frequent: no look at the table */
	return nr - SYS_READ <= 1 || (nr < FD_SYSCALLS && fd_syscalls[nr >> 6] & SYS(nr));
}

/* enum intro_off of a task state that is not 0. */
static __always_inline __u8 asleep_state(__u32 state)
{
	if (likely(state & TASK_INTERRUPTIBLE))
		return INTRO_OFF_SLEEP;
	if (state & TASK_DEAD)
		return INTRO_OFF_DEAD;
	if (state & TASK_UNINTERRUPTIBLE)
		return state & TASK_NOLOAD ? INTRO_OFF_IDLE : INTRO_OFF_DISK;
	if (state & (TASK_STOPPED_OR_TRACED | TASK_FROZEN))
		return INTRO_OFF_STOPPED;
	if (state & TASK_PARKED)
		return INTRO_OFF_IDLE;
	return state & TASK_RTLOCK_WAIT ? INTRO_OFF_DISK : INTRO_OFF_SLEEP;
}

#endif
