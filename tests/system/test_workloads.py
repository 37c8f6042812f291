#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The bundled workloads: each runs to its end, alone and traced, and what introspect says of it
is what the workload was made to show.
"""

import collections
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lessons  # noqa: E402
import truth  # noqa: E402
from tap import ROOT  # noqa: E402

COMPLETION = os.path.join(ROOT, "cli", "completion.bash")
PAGE = os.path.join(ROOT, "docs", "man", "introspect-workload.1")


def usage(tap):
    run = truth.introspect("workload")
    groups, wide = {}, [line for line in run.stdout.splitlines() if len(line) > 100]
    for line in filter(None, run.stdout.splitlines()):
        if line.startswith("  "):
            groups[list(groups)[-1]].append(line.split()[0])
        elif line in groups:
            wide.append(f"a second '{line}'")
        else:
            groups[line] = []
    names = sum(groups.values(), [])
    tap.ok(run.returncode == 0 and not wide and all(groups.values()) and set(lessons.LESSONS) <= set(names)
           and len(names) == len(set(names)), "without a name all are listed, by group", f"{wide}{run.stdout}{run.stderr}")
    listed = truth.introspect("workload", "--list")
    tap.ok(listed.returncode == 0 and listed.stdout == run.stdout, "--list does so too", listed.stdout + listed.stderr)
    listed = truth.introspect("workload", "--json")
    tap.ok(listed.returncode == 0 and [(w["group"], w["name"]) for w in json.loads(listed.stdout)] ==
           [(group, name) for group in groups for name in groups[group]], "and as JSON")
    completed = subprocess.run(["bash", "--norc", "-c", f"source '{COMPLETION}'; COMP_WORDS=('{truth.INTROSPECT}' workload ''); "
                                "COMP_CWORD=2; _introspect; echo \"${COMPREPLY[@]}\""],
                               stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    tap.ok(sorted(completed) == sorted(names), "completion offers each of them", completed)
    with open(PAGE, encoding="utf-8") as f:
        told = f.read().splitlines()
    untold = [name for name in lessons.LESSONS if f".It Cm {name}" not in told]
    tap.ok(not untold, "the manual page tells of each", untold)
    for what, args in {"an unknown workload": ["nosuch"], "an unknown option": ["cpu", "--nosuch"],
                       "two workloads": ["cpu", "sleep"], "a workload and --list": ["cpu", "--list"], "no workers": ["cpu", "--workers", "0"],
                       "tasks that are no number": ["cpu", "--tasks", "1x"],
                       "an option without its value": ["cpu", "--seed"]}.items():
        run = truth.introspect("workload", *args)
        tap.ok(run.returncode == 2 and not run.stdout and len(run.stderr.splitlines()) == 1,
               f"{what}: one line, exit status 2", f"{run.returncode}: {run.stdout}{run.stderr}")
    run = truth.introspect("workload", "cpu", "--truth", "/nonexistent/truth")
    tap.ok(run.returncode == 1 and not run.stdout and len(run.stderr.splitlines()) == 1,
           "a truth that cannot be written is found out first", f"{run.returncode}: {run.stdout}{run.stderr}")
    return names


def alone(tap, scratch, names):
    for name in names:
        known = scratch(name + ".truth")
        run = truth.introspect("workload", name, "--truth", known, cwd=scratch.path)
        good = run.returncode == 0 and "every result right" in run.stdout.splitlines()[-1]
        if not tap.ok(good and not run.stderr, f"{name}: runs alone", f"{run.returncode}: {run.stdout}{run.stderr}"):
            continue
        tap.figure(run.stdout.splitlines()[-1])
        tasks = truth.Truth(known).tasks
        bad = [t for t in tasks.values() if not t["submit_ns"] <= t["start_ns"] <= t["end_ns"]
               or t["cpu_ns"] > t["end_ns"] - t["start_ns"] or not t["worker_tid"]]
        tap.ok(tasks and not bad, f"{name}: writes its truth", bad[:3])
    lengths = []
    for seed in (5, 5, 6):
        truth.introspect("workload", "sleep", "--tasks", 20, "--length", 100, "--seed", seed, "--truth", scratch("seed"))
        tasks = truth.Truth(scratch("seed")).tasks
        lengths.append([tasks[i]["sleep_asked_ns"] for i in sorted(tasks)])
    tap.ok(lengths[0] == lengths[1] != lengths[2], "the same seed asks for the same", lengths)


class Traced:
    """A workload under `run --json`: what it printed, the report, and the ledger of every task."""

    def __init__(self, name, to, scratch):
        self.name, self.to = name, to
        trace, report, known = (scratch.unique(name + suffix) for suffix in (".itr", ".json", ".truth"))
        ticks = truth.stolen_ticks()
        run = truth.introspect("run", "--json", "--report", report, "-o", trace, "--", truth.INTROSPECT, "workload", name,
                               "--truth", known, cwd=scratch.path)
        ticks = truth.stolen_ticks() - ticks
        self.stolen = (ticks + os.cpu_count()) * 10000000 if ticks else 0
        if run.returncode == 77:
            print(run.stderr.strip())
            sys.exit(77)
        if run.returncode or "every result right" not in run.stdout:
            raise RuntimeError(f"{run.returncode}: {run.stdout}{run.stderr}")
        self.stdout = run.stdout
        with open(report) as f:
            self.report = json.load(f)
        run = truth.introspect("tasks", "--json", trace)
        if run.returncode:
            raise RuntimeError(f"tasks: {run.returncode}: {run.stderr}")
        self.tasks = truth.json_lines(run.stdout)
        self.truth = truth.Truth(known)
        os.unlink(trace)

    def pool(self, name):
        return lessons.Pool(next(p for p in self.report["pools"] if p["name"] == name))

    def named(self, name):
        return [t for t in self.tasks if t["name"] == name]

    def cause(self, name, cause):
        return sum(t["blocked"].get(cause, 0) for t in self.named(name))

    def causes(self):
        return sum((collections.Counter(p["blocked"]) for p in self.report["pools"]), collections.Counter())

    def figure(self, text):
        self.to.figure(f"{self.name}: {text}")


# Tasks that are to end in another way.
LOSING = {"heartbeat", "replace", "shutdown"}


def known(to, t):
    """Every task that the program knows is there, by its worker, within its marks; and ran as long as its CPU clock says."""
    late = 2000  # ns: the conversion of TSC ticks
    said = {s["id"]: s for s in t.tasks}
    bad = [(k, said.get(k["id"])) for k in t.truth.tasks.values()
           if k["id"] not in said or (k["worker_tid"] != said[k["id"]]["worker_tid"] and k["pool"] not in ("one", "many"))
           or not said[k["id"]]["start_ns"] <= k["start_ns"] + late <= k["end_ns"] + 2 * late <= said[k["id"]]["end_ns"] + 3 * late]
    to.ok(t.truth.tasks and not bad, f"{t.name}: its tasks are those that it knows of", bad[:3])
    pairs = [(k, said[k["id"]]) for k in t.truth.tasks.values() if k["id"] in said and not said[k["id"]]["ledger"]["unknown_ns"]]
    knows, says = sum(k["cpu_ns"] for k, _ in pairs), sum(s["ledger"]["running_ns"] for _, s in pairs)
    # what test_true.py explains: the CPU clock and the tracepoints differ at switches; a truth's calls are the task's, too
    slack = 0.02 * knows + sum(15000 * s["switches"] + 10000 * k["parts"] for k, s in pairs)
    woken = sum(s["runnable"].get("woken", 0) for _, s in pairs)
    to.ok(-slack - woken <= says - knows <= slack + t.stolen, f"{t.name}: running is their CPU time",
          f"known {knows}, said {says}, {slack:.0f} allowed, and {woken} woken, {t.stolen} stolen")
    t.figure(f"{len(pairs)} tasks ran {says / 1e6:.2f} ms, by their CPU clocks {knows / 1e6:.2f} ms")


def traced_one(tap, name, scratch):
    try:
        t = Traced(name, tap, scratch)
    except RuntimeError as error:
        tap.ok(False, f"{name}: runs traced", error)
        return
    ended = [s for s in t.tasks if s["status"] in ("finished", "cancelled", "lost")]
    wrong = [s["id"] for s in t.tasks if s["status"] != "finished"] if name not in LOSING else []
    tap.ok(t.tasks and len(ended) == len(t.tasks) and not wrong, f"{name}: runs traced, every task ends", wrong[:5])
    tap.ok(t.report["trace"]["lost"] == 0, f"{name}: nothing is lost", f"{t.report['trace']['lost']} lost")
    if name not in LOSING:
        truth.unknown(tap, name, t.tasks)
    known(tap, t)
    for text, good, values in lessons.LESSONS.get(name, lambda _: ())(t):
        if good is None:
            tap.skip(f"{name}: {text}", values)
        else:
            tap.ok(good, f"{name}: {text}", values)
    for pool in map(lessons.Pool, t.report["pools"]):
        t.figure(f"{pool.name}: parallelism {pool.parallelism:.2f}, wanted {pool.wanted:.2f}, occupied {pool.occupied:.2f}; " +
                 ", ".join(f"{a} {100 * pool.share(a):.1f} %" for a in ("running", "runnable", "blocked")) + "; " +
                 ", ".join(f"{c} {100 * ns / pool.inside:.1f} %" for c, ns in pool.blocked.most_common(3)))


def traced(tap, scratch, names):
    for name in names:
        truth.attempts(tap, lambda trial: traced_one(trial, name, scratch))


def main():
    truth.need_tracing()
    tap = truth.Tap()
    with truth.Scratch() as scratch:
        names = [name for name in usage(tap) if not sys.argv[1:] or name in sys.argv[1:]]
        alone(tap, scratch, names)
        traced(tap, scratch, names)
    tap.done()


if __name__ == "__main__":
    main()
