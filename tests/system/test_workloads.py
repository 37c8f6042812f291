#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The bundled workloads: they are listed, completed, documented, and each runs to its end and writes its truth.
What introspect says of them is for test_lessons.py.
"""

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
        run = truth.introspect("workload", name, *lessons.SHORT.get(name, []), "--truth", known, cwd=scratch.path)
        if name in lessons.PLACED and run.returncode == 77:
            tap.skip(f"{name}: runs alone", run.stderr.strip())
            continue
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


def main():
    tap = truth.Tap()
    with truth.Scratch() as scratch:
        names = [name for name in usage(tap) if not sys.argv[1:] or name in sys.argv[1:]]
        alone(tap, scratch, names)
    tap.done()


if __name__ == "__main__":
    main()
