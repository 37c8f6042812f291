#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Each bundled workload under `introspect run --json`: what is said of it is what it was made to show (lessons.py), and
agrees with what the workload knows itself.
"""

import collections
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lessons  # noqa: E402
import truth  # noqa: E402


class NoRoom(Exception):
    """This machine has not what the workload needs, and the workload said so."""


class Traced:
    """A workload under `run --json`: what it printed, the report, and the ledger of every task."""

    def __init__(self, name, to, scratch):
        self.name, self.to = name, to
        trace, report, known = (scratch.unique(name + suffix) for suffix in (".itr", ".json", ".truth"))
        ticks = truth.stolen_ticks()
        run = truth.introspect("run", "--json", "--report", report, "-o", trace, *lessons.OPTIONS.get(name, []), "--",
                               truth.INTROSPECT, "workload", name, *lessons.SHORT.get(name, []), "--truth", known, cwd=scratch.path)
        ticks = truth.stolen_ticks() - ticks
        self.stolen = (ticks + os.cpu_count()) * 10000000 if ticks else 0
        if run.returncode == 77 and name in lessons.PLACED and lessons.PLACED[name] in run.stderr:
            raise NoRoom(run.stderr.splitlines()[0])
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
    """Every task that the program knows is there, by its worker, within its marks; and was charged what its CPU clock says."""
    late = 2000  # ns: the conversion of TSC ticks
    said = {s["id"]: s for s in t.tasks}
    bad = [(k, said.get(k["id"])) for k in t.truth.tasks.values()
           if k["id"] not in said or (k["worker_tid"] != said[k["id"]]["worker_tid"] and k["pool"] not in ("one", "many"))
           or not said[k["id"]]["start_ns"] <= k["start_ns"] + late <= k["end_ns"] + 2 * late <= said[k["id"]]["end_ns"] + 3 * late]
    to.ok(t.truth.tasks and not bad, f"{t.name}: its tasks are those that it knows of", bad[:3])
    pairs = [(k, said[k["id"]]) for k in t.truth.tasks.values() if k["id"] in said and not said[k["id"]]["ledger"]["unknown_ns"]]
    knows, says = sum(k["cpu_ns"] for k, _ in pairs), sum(s["cpu_ns"] for _, s in pairs)
    # of a task of parts what it does between them is not known; a truth's calls are the task's, too
    slack, calls = 0.01 * knows + 100000, sum(10000 * k["parts"] for k, s in pairs)
    if truth.emulated():
        to.skip(f"{t.name}: cpu_ns is their CPU time", truth.emulated())
    else:
        to.ok(-slack <= says - knows <= slack + calls + t.stolen, f"{t.name}: cpu_ns is their CPU time",
              f"known {knows}, said {says}, {slack:.0f} and {calls} allowed, {t.stolen} stolen")
    t.figure(f"{len(pairs)} tasks ran {sum(s['ledger']['running_ns'] for _, s in pairs) / 1e6:.2f} ms, are charged {says / 1e6:.2f} ms, "
             f"by their CPU clocks {knows / 1e6:.2f} ms")


def traced_one(tap, name, scratch):
    try:
        t = Traced(name, tap, scratch)
    except NoRoom as reason:
        tap.ok(True, f"{name}: says that it cannot show it here: {reason}")
        return
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
    uncounted = name in lessons.PAGES and t.report["numa"].get("not_counted")
    if uncounted:
        tap.skip(f"{name}: whose memory it got", uncounted)
    for text, good, values in () if uncounted else lessons.LESSONS.get(name, lambda _: ())(t):
        if good is None:
            tap.skip(f"{name}: {text}", values)
        else:
            tap.ok(good, f"{name}: {text}", values)
    for pool in map(lessons.Pool, t.report["pools"]):
        t.figure(f"{pool.name}: parallelism {pool.parallelism:.2f}, wanted {pool.wanted:.2f}, occupied {pool.occupied:.2f}; " +
                 ", ".join(f"{a} {100 * pool.share(a):.1f} %" for a in ("running", "runnable", "blocked")) + "; " +
                 ", ".join(f"{c} {100 * ns / pool.inside:.1f} %" for c, ns in pool.blocked.most_common(3)))


def main():
    truth.need_tracing()
    tap = truth.Tap()
    listed = [w["name"] for w in json.loads(truth.introspect("workload", "--json").stdout)]
    untaught = sorted(set(listed) - set(lessons.LESSONS))
    tap.ok(not untaught, "each workload has a lesson", untaught)
    with truth.Scratch() as scratch:
        for name in sys.argv[1:] or listed:
            truth.attempts(tap, lambda trial: traced_one(trial, name, scratch))
    tap.done()


if __name__ == "__main__":
    main()
