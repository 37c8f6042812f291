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
import truth  # noqa: E402

COMPLETION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "cli", "completion.bash")
NAMES = ["cpu", "gil", "io", "lock", "map", "mixed", "oversubscribed", "procs", "race", "sleep", "spawn"]


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
    tap.ok(run.returncode == 0 and not wide and all(groups.values()) and set(NAMES) <= set(names)
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


def alone(tap, scratch):
    for name in NAMES:
        known = scratch(name + ".truth")
        run = truth.introspect("workload", name, "--truth", known, cwd=scratch.path)
        good = run.returncode == 0 and "every result right" in run.stdout and len(run.stdout.splitlines()) == 1
        if not tap.ok(good and not run.stderr, f"{name}: runs alone", f"{run.returncode}: {run.stdout}{run.stderr}"):
            continue
        tap.figure(run.stdout.strip())
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
    """A workload under `record`, with sums over its tasks."""

    def __init__(self, name, scratch):
        self.name, trace = name, scratch.unique(name + ".itr")
        run = truth.introspect("record", "-o", trace, "--", truth.INTROSPECT, "workload", name, cwd=scratch.path)
        if run.returncode == 77:
            print(run.stderr.strip())
            sys.exit(77)
        if run.returncode or "every result right" not in run.stdout:
            raise RuntimeError(f"{run.returncode}: {run.stdout}{run.stderr}")
        said = truth.Recording(trace, scratch.path)
        self.pools, self.report = said.pools, said.report
        self.tasks = list(said.tasks.values())
        self.accounts, self.blocked = collections.Counter(), collections.Counter()
        for task in self.tasks:
            self.accounts.update({k[:-3]: v for k, v in task["ledger"].items()})
            self.blocked.update(task["blocked"])

    def inside(self, tasks=None):
        """ns between start and end"""
        return sum(t["end_ns"] - t["start_ns"] for t in tasks or self.tasks)

    def span(self):
        return max(t["end_ns"] for t in self.tasks) - min(t["start_ns"] for t in self.tasks)

    def parallelism(self):
        return self.accounts["running"] / self.span()

    def named(self, name):
        return [t for t in self.tasks if t["name"] == name]

    def cause(self, name, cause):
        return sum(t["blocked"].get(cause, 0) for t in self.named(name))


def lesson(t):
    """name -> what must be true, as (text, condition, values)."""
    share = {k: v / t.inside() for k, v in t.accounts.items()}
    top = t.blocked.most_common(1)[0][0] if t.blocked else None
    if t.name in ("cpu", "procs", "map"):
        return [("hardly blocked", share["blocked"] < 0.05, share)]
    if t.name == "gil":
        return [("effective parallelism is at most 1", t.parallelism() <= 1.05, t.parallelism()),
                ("the lock's condition is what tasks wait for", top == "condition", t.blocked)]
    if t.name == "oversubscribed":
        return [("mostly runnable", share["runnable"] > 0.6, share),
                ("hardly blocked", share["blocked"] < 0.05, share)]
    if t.name == "lock":
        return [("the lock is what tasks wait for", top == "lock", t.blocked)]
    if t.name == "sleep":
        return [("asleep 90 % of the time that they do not wait for a CPU",
                 t.blocked["sleep"] > 0.9 * (t.inside() - t.accounts["runnable"]), t.blocked)]
    if t.name == "io":
        others = sum(t.cause("pipe", cause) for cause in t.blocked if cause != "pipe")
        return [("the pipe is what its tasks wait for", t.cause("pipe", "pipe") > 10 * others, t.blocked),
                ("no pipe in the file tasks", t.cause("file", "pipe") == 0, t.blocked)]
    if t.name == "spawn":
        return [("processes are waited for", t.cause("process", "child") > 0, t.blocked),
                ("no child in the thread tasks", t.cause("thread", "child") == 0, t.blocked)]
    if t.name == "mixed":
        causes = {"lock", "condition", "sleep", "pipe"}
        return [("three pools", set(t.pools) == {"web", "scripts", "resize"}, list(t.pools)),
                ("queued, runnable, running and blocked are all there",
                 all(t.accounts[a] > 0.02 * sum(t.accounts.values()) for a in ("queued", "runnable", "running", "blocked")),
                 t.accounts),
                ("lock, condition, sleep and pipe are told apart", causes <= set(t.blocked), t.blocked)]
    return []


def traced_one(tap, name, scratch, last):
    """One run of a workload; its Traced goes to last[name]."""
    try:
        t = last[name] = Traced(name, scratch)
    except RuntimeError as error:
        tap.ok(False, f"{name}: runs traced", error)
        return
    open_tasks = [s["id"] for s in t.tasks if s["status"] != "finished"]
    tap.ok(t.tasks and not open_tasks, f"{name}: runs traced, every task finishes", open_tasks[:5])
    tap.ok(t.report["trace"]["lost"] == 0, f"{name}: nothing is lost", f"{t.report['trace']['lost']} lost")
    truth.unknown(tap, name, t.tasks)
    for text, good, values in lesson(t):
        tap.ok(good, f"{name}: {text}", values)
    inside = t.inside()
    tap.figure(f"{name}: parallelism {t.parallelism():.2f}; of start to end: " +
               ", ".join(f"{a} {100 * t.accounts[a] / inside:.1f} %" for a in ("running", "runnable", "blocked")) +
               "; " + ", ".join(f"{c} {100 * ns / inside:.1f} %" for c, ns in t.blocked.most_common(4)))


def traced(tap, scratch):
    last = {}
    for name in NAMES:
        truth.attempts(tap, lambda trial: traced_one(trial, name, scratch, last))
    if not {"procs", "gil"} <= last.keys():
        return
    busy = max(last[name].accounts["runnable"] / last[name].inside() for name in ("procs", "gil"))
    parallelism = {name: t.parallelism() for name, t in last.items()}
    what = "processes run side by side, threads under one interpreter lock do not"
    if len(os.sched_getaffinity(0)) == 1:
        tap.skip(what, "there is one CPU")
    elif busy > 0.25:
        tap.skip(what, f"others use the CPUs: these tasks were runnable for {100 * busy:.0f} % of their time")
    else:
        tap.ok(parallelism["procs"] > parallelism["gil"], what, parallelism)


def main():
    truth.need_tracing()
    tap = truth.Tap()
    with truth.Scratch() as scratch:
        usage(tap)
        alone(tap, scratch)
        traced(tap, scratch)
    tap.done()


if __name__ == "__main__":
    main()
