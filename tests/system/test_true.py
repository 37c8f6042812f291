#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Is the ledger true? Workloads that know what their tasks did (--truth) are recorded, and what
introspect says of each task and thread is held against the program's own clocks and counters, and
against /proc and getrusage; then they are recorded again with perf watching the same switches.

All observers see the same events, so a busy machine does not excuse a difference. `running` is compared
with perf's switches; the CPU clocks of the kernel pass from one thread to the next a little before, when
the scheduler last looked at its own clock, which a wake-up that is going to preempt does for it
(rq_clock_skip_update). The trace tells by how much, so `cpu_ns` is compared with these clocks, and both
to the microsecond: what is allowed beyond that is for what neither knows. A task's own reading of its CPU
clock takes longer than the error, so it tells how long (reading_ns). What the hypervisor stole is not in
a CPU clock, but is in the time that a thread was on the CPU. And of a switch which no program sees, as
some kernels have (INTRO_SWITCH_LATE), it is not known how early it was charged.
"""

import contextlib
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import truth  # noqa: E402

US = 1000
MS = 1000 * US

WORKLOADS = {
    "cpu": ["--tasks", 100],
    "sleep": ["--tasks", 150, "--length", 10000],
    "lock": ["--tasks", 200],
    "procs": ["--tasks", 100],
    "oversubscribed": ["--tasks", 60],
}


def share(values, good):
    values = list(values)
    return sum(map(good, values)) / len(values) if values else 0.0


def percent(part, whole):
    return 100.0 * part / whole if whole else 0.0


def worst(pairs, n=5):
    """The n pairs (known, said, what) that differ most."""
    pairs = sorted(pairs, key=lambda p: -abs(p[0] - p[1]))[:n]
    return "\n".join(f"{what}: known {known}, said {said}" for known, said, what in pairs)


class Case:
    """One workload, recorded once. `perf`: a truth.Perf to watch as well, or None."""

    def __init__(self, tap, name, options, scratch, perf=None):
        self.tap, self.name, self.perf = tap, name, perf
        stem = scratch.unique(name)
        path, known = stem + ".itr", stem + ".truth"
        command = ["record", "-o", path, "--", truth.INTROSPECT, "workload", name, *options, "--truth", known]
        before = truth.stolen_ticks()
        with perf or contextlib.nullcontext():
            run = truth.introspect(*command, cwd=scratch.path)
        ticks = truth.stolen_ticks() - before
        # /proc tells whole ticks of 10 ms for each CPU
        self.stolen = (ticks + os.cpu_count()) * 10 * MS if ticks else 0
        if ticks:
            self.figure(f"the hypervisor stole about {10 * ticks} ms")
        if run.returncode:
            raise RuntimeError(f"exit status {run.returncode}: {run.stdout}{run.stderr}")
        self.truth = truth.Truth(known)
        self.said = truth.Recording(path, scratch.path)
        self.all = [(t, self.said.tasks[i]) for i, t in self.truth.tasks.items() if i in self.said.tasks]
        # what introspect does not claim to know is not held against it
        self.pairs = [(t, s) for t, s in self.all if truth.account(s, "unknown") == 0]

    def ok(self, good, what, why=""):
        return self.tap.ok(bool(good), f"{self.name}: {what}", why)

    def figure(self, text):
        self.tap.figure(f"{self.name}: {text}")

    # --- tasks -------------------------------------------------------------------------------

    def whole(self):
        """Nothing lost, every task there, every ledger sums to its wall time."""
        lost = self.said.report["trace"]["lost"]
        self.ok(lost == 0, "no record is lost", f"{lost} lost")
        missing = self.truth.tasks.keys() ^ self.said.tasks.keys()
        wrong = [t["id"] for t, s in self.all
                 if (t["worker_tid"], t["pool"], t["name"]) != (s["worker_tid"], pool_name(self, s), s["name"])
                 or s["status"] != "finished"]
        self.ok(self.truth.tasks and not missing and not wrong,
                "every task is there, with its worker, pool and name",
                f"missing {sorted(missing)[:5]}, wrong {wrong[:5]}")
        bad = [s["id"] for s in self.said.tasks.values()
               if sum(s["ledger"].values()) != s["wall_ns"]
               or sum(s["blocked"].values()) != truth.account(s, "blocked")
               or sum(s["queued"].values()) != truth.account(s, "queued")
               or sum(s["runnable"].values()) != truth.account(s, "runnable")]
        self.ok(not bad, "the accounts of every task sum to its wall time, their parts to them", bad[:5])
        bad = [s["id"] for _, s in self.pairs
               if truth.account(s, "queued") != s["start_ns"] - s["submit_ns"]
               or truth.account(s, "delivered") != s["done_ns"] - s["end_ns"]
               or sum(truth.account(s, a) for a in ("running", "runnable", "blocked")) != s["end_ns"] - s["start_ns"]]
        self.ok(not bad, "queued, inside and delivered are the times between submit, start, end and done", bad[:5])
        truth.unknown(self.tap, self.name, list(self.said.tasks.values()))

    def times(self):
        """The marks enclose the task's own clock readings, which they are next to."""
        late = 2 * US  # the conversion of TSC ticks
        order = [(s["submit_ns"], t["submit_ns"], s["start_ns"], t["start_ns"], t["end_ns"], s["end_ns"])
                 for t, s in self.pairs]
        bad = [o for o in order
               if not (o[1] <= o[0] + late and o[2] <= o[3] + late and o[4] <= o[5] + late)]
        self.ok(order and not bad, "submit, start and end are where the program's clock has them",
                "\n".join(map(str, bad[:5])))
        before = sorted(o[3] - o[2] for o in order)
        after = sorted(o[5] - o[4] for o in order)
        self.figure(f"start mark to the task's clock: median {before[len(before) // 2]} ns, "
                    f"its clock to the end mark: {after[len(after) // 2]} ns")

    def apart(self, what):
        """
        By task: how far what(task) is from the task's CPU clock, and that clock. It was read within
        two short times known by the task; what lies between its marks and these is its own, too.
        Then the least and most that the sum can be apart.
        """
        apart, least, most = [], 0, 0
        for t, s in self.pairs:
            more = what(s) - t["cpu_ns"] - (t["start_ns"] - s["start_ns"]) - (s["end_ns"] - t["end_ns"])
            apart.append((min(more, 0) + max(more - t["reading_ns"], 0), t["cpu_ns"], f"task {t['id']}"))
            least, most = least + more - t["reading_ns"], most + more
        return apart, least, most

    def charged(self):
        for name, what in ("running", lambda s: truth.account(s, "running")), ("cpu_ns", lambda s: s["cpu_ns"]):
            apart, least, most = self.apart(what)
            known = sum(k for _, k, _ in apart)
            close = share(apart, lambda a: abs(a[0]) <= 0.01 * a[1] + 20 * US)
            closer = share(apart, lambda a: abs(a[0]) <= 0.01 * a[1] + 2 * US)
            self.figure(f"{name}: of {len(apart)} tasks {100 * close:.1f} % within 1 % + 20 us of the CPU clock, "
                        f"{100 * closer:.1f} % within 1 % + 2 us, largest difference {max(abs(a[0]) for a in apart) / US:.1f} us, "
                        f"total {percent(least, known):+.3f} to {percent(most, known):+.3f} %")
        # what was stolen, as if evenly
        stolen = self.stolen / known
        good = share(apart, lambda a: -0.01 * a[1] - 20 * US <= a[0] <= (0.01 + stolen) * a[1] + 20 * US)
        worst = "\n".join(map(str, sorted(apart, key=lambda a: -abs(a[0]))[:5]))
        self.ok(good >= 0.95, "cpu_ns is what the thread's CPU clock says for 95 % of tasks", worst)
        self.ok(least <= 0.005 * known + self.stolen and most >= -0.005 * known,
                "cpu_ns is what the CPU clock says in total to 0.5 %", f"known {known}, {least} to {most} more\n{worst}")

    def task_switches(self):
        pairs = [(t["voluntary"] + t["involuntary"], s["switches"], f"task {t['id']}") for t, s in self.pairs]
        same = share(pairs, lambda p: p[0] == p[1])
        self.ok(same >= 0.95, "switches inside tasks agree with getrusage", worst(pairs))
        self.figure(f"switches: known {sum(p[0] for p in pairs)}, said {sum(p[1] for p in pairs)}, "
                    f"equal in {100 * same:.1f} % of tasks")

    def slept(self):
        """
        The program's sleep = asleep, then runnable, then the way in and out on the CPU. The kernel's
        sleep alone may be shorter than asked by the way in, between arming the timer and leaving.
        """
        diffs = [t["slept_ns"] - s["blocked"].get("sleep", 0) - s["runnable"].get("woken", 0) for t, s in self.pairs]
        close = share(diffs, lambda d: abs(d) <= 100 * US)
        # preempted on the way in or out
        bad = [d for (t, s), d in zip(self.pairs, diffs)
               if not 0 <= d <= 100 * US + truth.account(s, "running") + s["runnable"].get("preempted", 0)]
        self.ok(close >= 0.99 and not bad, "slept time agrees within 100 us", bad[:5] or sorted(diffs)[-5:])
        short = [(t["sleep_asked_ns"], s["blocked"].get("sleep", 0)) for t, s in self.pairs
                 if s["blocked"].get("sleep", 0) + truth.account(s, "running") + truth.account(s, "runnable") < t["sleep_asked_ns"]]
        self.ok(not short, "no sleep is shorter than was asked for", short[:5])
        self.figure(f"slept: {100 * close:.1f} % within 100 us, differences {min(diffs) / US:.1f} "
                    f"to {max(diffs) / US:.1f} us")

    def locked(self):
        """The program's wait for the lock = asleep on it, then runnable, then the way in and out."""
        low = [(t["lock_wait_ns"], s["blocked"].get("lock", 0), f"task {t['id']}") for t, s in self.pairs]
        over = [p for p in low if p[1] > p[0]]
        self.ok(not over, "no more blocked on the lock than the program waited for it", worst(over))
        bad = [(t["lock_wait_ns"], s["blocked"].get("lock", 0) + truth.account(s, "runnable"), f"task {t['id']}")
               for t, s in self.pairs
               if t["lock_wait_ns"] > s["blocked"].get("lock", 0) + truth.account(s, "runnable")
               + truth.account(s, "running") - 0]
        close = share(self.pairs, lambda p: p[0]["lock_wait_ns"] - p[1]["blocked"].get("lock", 0)
                      - truth.account(p[1], "runnable") <= 100 * US)
        self.ok(not bad and close >= 0.95, "the rest of that wait was spent runnable", worst(bad))
        waited, blocked = sum(p[0] for p in low), sum(p[1] for p in low)
        self.figure(f"waited {waited / MS:.1f} ms for the lock, {blocked / MS:.1f} ms of it asleep; "
                    f"{100 * close:.1f} % of tasks explained within 100 us")

    # --- threads -----------------------------------------------------------------------------

    def threads(self):
        """Against /proc while the worker waited for its end: then only its end is missing."""
        known = {tid: t for tid, t in self.truth.threads.items() if tid in self.said.threads}
        self.ok(known and len(known) == len(self.truth.threads), "every worker is among the threads")
        bad = []
        for tid, t in known.items():
            said = self.said.threads[tid]
            rest = said["cpu_ns"] - t["cpu_ns"]
            more = [said["switches"][k] - t[k] for k in ("voluntary", "involuntary")]
            self.figure(f"thread {tid}: run time {t['cpu_ns']} by schedstat and {rest:+d} ns to its end; "
                        f"switches {t['voluntary']}/{t['involuntary']} and {more[0]:+d}/{more[1]:+d}")
            slack = 0.001 * t["cpu_ns"] + 100 * US
            # a process takes longer to end, because its memory goes with it
            if not -slack <= rest <= slack + 5 * MS + self.stolen:
                bad.append(f"{tid}: run time")
            # it ends by leaving the CPU for the last time, if the recording still saw that; before, it
            # may have to wait for a lock of the kernel or for a CPU
            last = said["states_ns"]["dead"] > 0
            if not last <= more[0] <= last + 3 or not 0 <= more[1] <= 10:
                bad.append(f"{tid}: switches")
        self.ok(not bad, "run time and switches of each worker agree with /proc", "\n".join(bad))

    def children(self):
        known = self.truth.children
        said = [self.said.threads[tid] for tid in self.truth.threads if tid in self.said.threads]
        run = sum(t["cpu_ns"] for t in said)
        switches = [sum(t["switches"][k] for t in said) for k in ("voluntary", "involuntary")]
        self.figure(f"children: CPU {known['cpu_ns']} by getrusage, {run} said; switches "
                    f"{known['voluntary']}/{known['involuntary']}, said {switches[0]}/{switches[1]}")
        slack = 0.001 * known["cpu_ns"] + 100 * US * len(said)
        self.ok(-slack <= run - known["cpu_ns"] <= slack + self.stolen
                # whoever is waited for may yet have to leave the CPU
                and switches[0] - known["voluntary"] in range(len(said) + 1) and switches[1] == known["involuntary"],
                "the workers' run time and switches agree with getrusage")

    def threads_perf(self):
        """Its switches, where perf saw a thread come each time that it left, and what the scheduler charged it."""
        timehist, threads = self.perf.timehist(), self.perf.threads()
        if self.perf.lost:
            self.tap.skip(f"{self.name}: {PERF}", f"perf lost {self.perf.lost} events")
            return
        bad, whole = [], 0
        for tid in self.truth.threads:
            said, perf = self.said.threads[tid], threads[tid]
            run, switches = said["states_ns"]["running"], said["switches"]
            count = switches["voluntary"] + switches["involuntary"]
            # timehist leaves out the run that a thread dies in
            off = {"switches": perf.run_ns - run, "timehist": timehist.get(tid, 0) + perf.last_ns - run,
                   "stat_runtime": perf.runtime_ns - said["cpu_ns"]}
            self.figure(f"thread {tid}: run time {run} ns; perf's " + ", ".join(f"{k} {v:+d}" for k, v in off.items()) +
                        f"{'' if perf.whole else ' (perf missed a switch)'}; switches {switches['voluntary']}/"
                        f"{switches['involuntary']}, perf {perf.voluntary}/{perf.involuntary}")
            whole += perf.whole
            near = 0.001 * run + 5 * US * (1 + count)
            if perf.whole and (abs(off["switches"]) > near or abs(off["timehist"]) > near):
                bad.append(f"{tid}: run time")
            # the scheduler's own sums: what it charges; less what was stolen, though it be below a tick
            slack = 0.001 * run + 100 * US
            if not -slack - 0.01 * run - self.stolen <= off["stat_runtime"] <= slack:
                bad.append(f"{tid}: CPU time by sched_stat_runtime")
            last = said["states_ns"]["dead"] == 0
            if (switches["voluntary"] + last, switches["involuntary"]) != (perf.voluntary, perf.involuntary):
                bad.append(f"{tid}: switches")
        self.ok(not bad, f"{PERF}", "\n".join(bad))
        self.figure(f"perf saw every switch of {whole} of {len(self.truth.threads)} workers")


PERF = "run time and switches of each worker agree with perf"


def pool_name(case, task):
    pools = {p["id"]: p["name"] for p in case.said.report["pools"]}
    return pools.get(task["pool"], task["pool"])


def own_clocks(tap, name, scratch):
    """What the program itself and /proc know."""
    try:
        case = Case(tap, name, WORKLOADS[name], scratch)
    except RuntimeError as error:
        tap.ok(False, f"{name}: is recorded", error)
        return
    case.whole()
    case.times()
    case.charged()
    case.task_switches()
    if name == "sleep":
        case.slept()
    if name == "lock":
        case.locked()
    case.threads()
    if name == "procs":
        case.children()


def by_perf(tap, name, scratch, blind):
    try:
        perf = truth.Perf(scratch.unique(name + ".perf"), blind)
        Case(tap, name, WORKLOADS[name], scratch, perf).threads_perf()
    except RuntimeError as error:
        tap.ok(False, f"{name}: is recorded beside perf", error)


def main():
    truth.need_tracing()
    tap = truth.Tap()
    missing = truth.perf_missing()
    blind = None if missing else truth.perf_blind_cpus()
    if blind:
        tap.figure(f"perf does not see the idle task of CPUs {blind}: they are kept awake")
    with truth.Scratch() as scratch:
        for name in sys.argv[1:] or WORKLOADS:
            truth.attempts(tap, lambda trial: own_clocks(trial, name, scratch))
            if missing:
                tap.skip(f"{name}: {PERF}", missing)
            else:
                truth.attempts(tap, lambda trial: by_perf(trial, name, scratch, blind))
    tap.done()


if __name__ == "__main__":
    main()
