# SPDX-License-Identifier: BSD-2-Clause
"""What test_true.py and test_workloads.py share: reading what introspect and the workloads say, and
perf as a second observer of the same events."""

import collections
import functools
import json
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import tap
from tap import INTROSPECT


class Tap(tap.Tap):
    @staticmethod
    def figure(text):
        print(f"# figure {text}", flush=True)


class Trial:
    """The results of one attempt, held back until it is known whether they count."""

    def __init__(self):
        self.calls, self.failed = [], []

    def ok(self, passed, name, why=""):
        self.calls.append(("ok", passed, name, why))
        if not passed:
            self.failed.append(f"{name} ({' '.join(str(why).split())[:300]})")
        return bool(passed)

    def skip(self, name, why):
        self.calls.append(("skip", name, why))

    def figure(self, text):
        self.calls.append(("figure", text))

    def report(self, to):
        for method, *args in self.calls:
            getattr(to, method)(*args)


def attempts(to, measure, most=3):
    """
    Two observers of one run disagree when a third (the hypervisor, a machine with other things to do) comes
    between their readings. That does not happen each time; an error of the program does. So `measure` may
    fail, but not `most` times in a row, and every failure is told.
    """
    for n in range(1, most + 1):
        trial = Trial()
        measure(trial)
        if not trial.failed or n == most:
            break
        to.figure(f"attempt {n} is repeated, it failed in: {'; '.join(trial.failed)}")
    trial.report(to)


def need_tracing():
    reason = tap.cannot_trace()
    if reason:
        print(reason)
        sys.exit(77)


class Scratch:
    """A directory of its own, also the commands' current directory; gone at the end."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="introspect-test-")
        self.numbers = itertools.count()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def __call__(self, name):
        return os.path.join(self.path, name)

    def unique(self, name):
        """No trace is written twice: a recording replaces no file."""
        return self(f"{next(self.numbers)}-{name}")


def environment():
    # a test run by sudo is root all the way: the scratch directory is root's
    return {k: v for k, v in os.environ.items() if not k.startswith("SUDO_")}


def introspect(*args, cwd=None, timeout=120):
    return subprocess.run([INTROSPECT, *map(str, args)], cwd=cwd, env=environment(), timeout=timeout,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)


def stolen_ticks():
    with open("/proc/stat") as f:
        return int(f.readline().split()[8])


@functools.lru_cache
def emulated():
    """
    Why clocks cannot be compared here, or None: an emulator stops a CPU between any two instructions, for as long as the
    others have their turn, so two readings of one moment may lie tens of ms apart.
    """
    with open("/proc/cpuinfo") as f:
        return "an emulator stops CPUs in turn, between any two readings of a clock" if "QEMU TCG" in f.read() else None


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.strip()]


class Truth:
    """What a workload wrote with --truth."""

    def __init__(self, path):
        with open(path) as f:
            objects = json_lines(f.read())
        self.tasks = {o["id"]: o for o in objects if "id" in o}
        self.threads = {o["thread"]: o for o in objects if "thread" in o}
        self.children = next((o for o in objects if "children" in o), None)


class Recording:
    """A trace and everything introspect says about it."""

    def __init__(self, trace, cwd):
        self.trace = trace
        report = introspect("report", trace, "--json", cwd=cwd)
        tasks = introspect("tasks", trace, "--json", cwd=cwd)
        if report.returncode or tasks.returncode:
            raise RuntimeError(f"report {report.returncode}: {report.stderr}\n"
                               f"tasks {tasks.returncode}: {tasks.stderr}")
        self.report = json.loads(report.stdout)
        self.tasks = {t["id"]: t for t in json_lines(tasks.stdout)}
        self.threads = {t["tid"]: t for t in self.report["threads"]}
        self.pools = {p["name"]: p for p in self.report["pools"]}


def account(task, name):
    return task["ledger"][name + "_ns"]


def unknown(to, name, tasks):
    """
    Nothing is unknown, but where the kernel records nothing: some kernels run no tracing program while a
    protected process is current (nor do perf and ftrace see it).
    """
    causes = collections.Counter()
    for task in tasks:
        causes.update(task["unknown"])
    silent = causes.pop("not recorded", 0)
    inside = sum(t["end_ns"] - t["start_ns"] for t in tasks)
    to.ok(not causes and silent <= 0.02 * inside, f"{name}: nothing is unknown that the kernel tells of",
          f"{causes}, not recorded {silent} of {inside}")
    if silent:
        to.figure(f"{name}: {100 * silent / inside:.3f} % of the tasks' time was not recorded by the kernel")


# --- perf ------------------------------------------------------------------------------------

SWITCH = re.compile(r"\[(\d+)\]\s+(\d+)\.(\d{9}):\s+sched:sched_switch:.* prev_pid=(\d+) prev_prio=\d+ "
                    r"prev_state=(\S+) ==> .* next_pid=(\d+) ")
RUNTIME = re.compile(r"sched:sched_stat_runtime:.* pid=(\d+) runtime=(\d+) ")


class Perf:
    """`perf sched record` of the whole system around whatever runs inside the with statement."""

    def __init__(self, path, blind=()):
        self.path, self.blind = path, blind
        self.keep_awake = []

    def __enter__(self):
        for cpu in self.blind:
            self.keep_awake.append(subprocess.Popen(
                ["chrt", "-i", "0", "taskset", "-c", str(cpu), "sh", "-c", "while :; do :; done"]))
        control, ack = os.pipe(), os.pipe()
        # an mmap of 16 MB a CPU; the events' clock is introspect's
        self.process = subprocess.Popen(
            ["perf", "sched", "record", "-k", "CLOCK_MONOTONIC", "-m", "4096", "-D", "-1",
             "--control", f"fd:{control[0]},{ack[1]}", "-o", self.path],
            pass_fds=(control[0], ack[1]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        os.close(control[0])
        os.close(ack[1])
        self.control, self.ack = control[1], ack[0]
        self._say("enable")
        return self

    def _say(self, word):
        try:
            os.write(self.control, word.encode() + b"\n")
            if word != "stop" and not os.read(self.ack, 64).startswith(b"ack"):
                raise OSError("no answer")
        except OSError as error:
            self.process.kill()
            raise RuntimeError(f"perf: {word}: {error}: {self.process.communicate()[0]}") from error

    def __exit__(self, *_):
        self._say("disable")
        self._say("stop")
        self.output = self.process.communicate(timeout=60)[0]
        os.close(self.control)
        os.close(self.ack)
        for process in self.keep_awake:
            process.kill()
            process.wait()

    def script(self):
        run = subprocess.run(["perf", "script", "-i", self.path, "--ns"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
        lost = re.findall(r"lost (\d+)", run.stderr) + re.findall(r"LOST (\d+)", run.stdout)
        return run.stdout.splitlines(), sum(map(int, lost))

    def threads(self):
        """By tid: CPU time by its switches, by the scheduler's own sums, and how often it left."""
        threads = collections.defaultdict(PerfThread)
        lines, self.lost = self.script()
        for line in lines:
            match = SWITCH.search(line)
            if match:
                cpu, sec, ns, prev, state, following = match.groups()
                now = int(sec) * 1000000000 + int(ns)
                threads[int(prev)].leaves(now, int(cpu), state)
                threads[int(following)].comes(now, int(cpu))
                continue
            match = RUNTIME.search(line)
            if match:
                threads[int(match.group(1))].runtime_ns += int(match.group(2))
        return threads

    def timehist(self):
        """By tid: the run time of `perf sched timehist --summary`, in ns (it prints us)."""
        run = subprocess.run(["perf", "sched", "timehist", "-i", self.path, "--summary"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, check=True)
        times = {}
        for line in run.stdout.splitlines():
            match = re.match(r"\s*.*\[(\d+)(?:/\d+)?\]\s+-?\d+\s+\d+\s+(\d+\.\d+)\s", line)
            if match:
                times[int(match.group(1))] = round(float(match.group(2)) * 1e6)
        return times


class PerfThread:
    def __init__(self):
        self.run_ns = self.runtime_ns = self.voluntary = self.involuntary = 0
        self.last_ns = 0  # of run_ns: the run that it died in
        self.since = None
        self.whole = True  # every time it left a CPU, it had been seen to come

    def comes(self, now, cpu):
        self.since = (now, cpu)

    def leaves(self, now, cpu, state):
        if self.since is None or self.since[1] != cpu:
            self.whole = False
        else:
            self.run_ns += now - self.since[0]
            if state[0] in "XZ":
                self.last_ns = now - self.since[0]
        self.since = None
        if state.startswith("R"):
            self.involuntary += 1
        else:
            self.voluntary += 1


def perf_missing():
    """Why perf cannot be used here, or None."""
    if not shutil.which("perf"):
        return "perf is not installed"
    with Scratch() as scratch:
        try:
            with Perf(scratch("probe.data")):
                time.sleep(0.05)
        except (RuntimeError, subprocess.SubprocessError) as error:
            return " ".join(str(error).split())[:150]
    return None


def perf_blind_cpus():
    """
    CPUs on which perf does not see the idle task give way. (Seen on a 6.18 guest: the idle task of one
    CPU had a stale recursion mark, so that perf and ftrace, but not BPF, passed over its events.)
    There perf takes idle time for the run time of who came next. A spinning SCHED_IDLE thread, which
    makes way for anybody, keeps the idle task away.
    """
    from_idle, to_idle = collections.Counter(), collections.Counter()
    with Scratch() as scratch:
        with Perf(scratch("probe.data")) as perf:
            for cpu in os.sched_getaffinity(0):
                subprocess.run(["taskset", "-c", str(cpu), "sh", "-c",
                                "for i in 1 2 3 4 5; do sleep 0.01; done"], check=True)
        for line in perf.script()[0]:
            match = SWITCH.search(line)
            if match:
                from_idle[int(match.group(1))] += match.group(4) == "0"
                to_idle[int(match.group(1))] += match.group(6) == "0"
    return [cpu for cpu in to_idle if to_idle[cpu] >= 3 and not from_idle[cpu]]
