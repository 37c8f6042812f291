/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTROSPECT_DRIFT_H
#define INTROSPECT_DRIFT_H
/*
 * drift.h - how far the scheduler's clock of a CPU is from CLOCK_MONOTONIC, for the programs of
 * bpf/ and the module of kmod/. They tick alongside, apart by what the latter is slewed.
 */

/*
 * For so long, by the scheduler's clock, a distance holds: twice as long as the last time when that
 * one was found to be near, the least time when not. To measure it costs as much as ten switches.
 */
#define CLOCK_HOLDS_LEAST_NS 1000000
#define CLOCK_HOLDS_MOST_NS 16000000
#define CLOCK_NEAR_NS 2000
/*
 * CLOCK_MONOTONIC is slewed by at most 500 ppm against the hardware, 1 part in 2 048; seldom by
 * more than 1 part in 16 384.
 */
#define CLOCK_SLEW_SHIFT 11
#define CLOCK_SLEW_SELDOM_SHIFT 14

/*
 * The distance from now on, after `measured` at `clock` by the scheduler's clock; `offset` at
 * `synced` was the last, 0 and 0 before the first. What is measured is too long by the time since
 * schedule() read its clock, most often a fifth of a microsecond, but long when the hypervisor ran
 * somebody else in between. So a shorter one is taken at once, a longer one as far as the clocks
 * seem to have drifted apart, and never further than they can have.
 */
static __always_inline __u64 clock_offset_next(__u64 offset, __u64 synced, __u64 measured,
					       __u64 clock)
{
	__u64 elapsed = clock - synced, longer = measured - offset;
	__u64 seldom = (elapsed >> CLOCK_SLEW_SELDOM_SHIFT) + (longer >> 3);
	__u64 most = elapsed >> CLOCK_SLEW_SHIFT;

	if (!synced || (__s64)longer <= 0)
		return measured;
	most = seldom < most ? seldom : most;
	return offset + (longer < most ? longer : most);
}

/* How long that distance holds; `held` so long did the last. */
static __always_inline __u64 clock_holds_next(__u64 held, __u64 offset, __u64 measured)
{
	if (measured - offset + CLOCK_NEAR_NS > 2 * CLOCK_NEAR_NS)
		return CLOCK_HOLDS_LEAST_NS;
	return 2 * held < CLOCK_HOLDS_MOST_NS ? 2 * held : CLOCK_HOLDS_MOST_NS;
}

#endif
