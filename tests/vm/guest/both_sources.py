#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""both_sources.py [balancing]: the module and the BPF programs record at once, and tell the same story."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "..", "system"))
from tap import ROOT, Tap, run
from balancing import numa_balancing

INTROSPECT = os.path.join(ROOT, "build", "introspect")
STORY = os.path.join(ROOT, "build", "tests", "vm", "story")
HINTS = os.path.join(ROOT, "build", "tests", "vm", "hints")
# to find where one recording begins within the other
OVERLAP = 24
NEAR = 50
MARGIN_NS = 5_000_000
# of an account; or, where that is next to nothing, of all tasks' time
ACCOUNTS_WITHIN = 0.01
NEXT_TO_NOTHING = 0.0005
# what the scheduler charges both have from its own clock
CHARGED_WITHIN = 0.001
PAGES = {1: "given", 2: "hinted", 3: "balanced", 4: "moved"} # abi.h: enum intro_pages
tap = Tap()


def story(path):
    """By CPU: [(time, what)], of switches; and wake-ups [(time, what)]; and placement()'s."""
    switches, wakings, lives, placed = {}, [], {"f": set(), "x": set()}, []
    out = subprocess.run([STORY, path], stdout=subprocess.PIPE, check=True, text=True).stdout
    for line in out.splitlines():
        kind, cpu, when, *what = line.split()
        if kind == "s":
            switches.setdefault(int(cpu), []).append((int(when), tuple(what)))
        elif kind == "w":
            wakings.append((int(when), (cpu, *what)))
        elif kind in lives:
            lives[kind].add(what[0])
        else:
            placed.append((kind, *what))
    return switches, wakings, (lives["f"] & lives["x"], placed)


def overlap(longer, shorter):
    """The same stretch of both. What repeats itself is told apart by its time."""
    until = shorter[-1][0] - MARGIN_NS
    shorter = [event for event in shorter if event[0] < until][1:]
    begin = [what for _, what in shorter[:OVERLAP]]
    for at in sorted(range(len(longer)), key=lambda n: abs(longer[n][0] - shorter[0][0]))[:NEAR]:
        if [what for _, what in longer[at:at + OVERLAP]] == begin:
            return longer[at:at + len(shorter)], shorter
    return [], shorter


def same_switches(title, kmod, bpf):
    total, apart = 0, []
    for cpu in sorted(bpf):
        ours, theirs = overlap(kmod.get(cpu, []), bpf[cpu])
        same = bool(theirs) and [what for _, what in ours] == [what for _, what in theirs]
        first = next(((o, t) for o, t in zip(ours, theirs) if o[1] != t[1]), (len(ours), len(theirs)))
        tap.ok(same, f"{title}: CPU {cpu}: the same switches, for the same reasons",
               f"{len(ours)} and {len(theirs)}; {first}")
        total += len(theirs)
        apart += [abs(o[0] - t[0]) for o, t in zip(ours, theirs)]
    if apart:
        apart.sort()
        print(f"# figure {title}: {total} switches in both; their times differ by {apart[len(apart) // 2]} ns "
              f"(median), {apart[len(apart) * 99 // 100]} ns (99 %)")


def same_wakings(kmod, bpf):
    """Each wake-up of a while in the middle is in both, however their times differ."""
    begin, end = bpf[0][0] + MARGIN_NS, bpf[-1][0] - MARGIN_NS
    theirs = sorted(what for when, what in bpf if begin < when < end)
    ours = {}
    for when, what in kmod:
        if begin - MARGIN_NS < when < end + MARGIN_NS:
            ours[what] = ours.get(what, 0) + 1
    missing = []
    for what in theirs:
        ours[what] = ours.get(what, 0) - 1
        if ours[what] < 0:
            missing.append(what)
    tap.ok(theirs and not missing, "the same wake-ups, by the same wakers",
           f"{len(theirs)}, missing {missing[:10]}")


def placement(tids, placed):
    """Of these threads: pages by thread, what happened to them and node; and decisions, in order."""
    pages, decisions = {}, []
    for kind, tid, *what in placed:
        if tid in tids and kind == "p":
            key = (tid, PAGES[int(what[0])], int(what[1]))
            pages[key] = pages.get(key, 0) + int(what[2])
        elif tid in tids:
            decisions.append((tid, *what))
    return pages, decisions


def same_placement(title, kmod, bpf, *wanted):
    """Of all threads that lived and died while BPF recorded, to the page."""
    ours, theirs = placement(bpf[0], kmod[1]), placement(bpf[0], bpf[1])
    apart = {key: (ours[0].get(key), theirs[0].get(key)) for key in ours[0].keys() | theirs[0].keys()
             if ours[0].get(key) != theirs[0].get(key)}
    total = {what: sum(n for key, n in theirs[0].items() if key[1] == what) for what in PAGES.values()}
    tap.ok(all(total[what] for what in wanted) and not apart, f"{title}: the same pages of each thread, by node",
           f"{total} {apart}")
    tap.ok(ours[1] == theirs[1], f"{title}: the same decisions of NUMA balancing", f"{ours[1]} {theirs[1]}")
    print(f"# figure {title}: pages in both: {total}; decisions: {len(theirs[1])}")


def ledgers(path):
    status, out, err = run("tasks", path, "--json", program=INTROSPECT)
    tap.ok(status == 0, f"tasks of {os.path.basename(path)}", err)
    tasks = [json.loads(line) for line in out.splitlines()]
    return {task["id"]: task for task in tasks}


def same_ledgers(kmod, bpf):
    tap.ok(bpf and kmod.keys() == bpf.keys(), "the same tasks", f"{len(kmod)} and {len(bpf)}")
    wall = sum(task["wall_ns"] for task in bpf.values())
    kmod, bpf = ([{**task["ledger"], "cpu_ns": task["cpu_ns"]} for task in tasks.values()] for tasks in (kmod, bpf))
    accounts = sorted({name for task in bpf for name in task})
    print(f"# figure of {wall / 1e6:.1f} ms in {len(bpf)} tasks, by kmod and by bpf:")
    for name in accounts:
        ours = sum(task.get(name, 0) for task in kmod)
        theirs = sum(task.get(name, 0) for task in bpf)
        print(f"# figure {name:10} {ours / 1e6:9.1f} {theirs / 1e6:9.1f} ms")
        within = CHARGED_WITHIN if name == "cpu_ns" else ACCOUNTS_WITHIN
        least = 0 if name == "cpu_ns" else wall * NEXT_TO_NOTHING
        tap.ok(abs(ours - theirs) <= max(theirs * within, least),
               f"{name}: the same within {within:.1%}", f"{ours} and {theirs}")


def record(paths, ours, *theirs):
    """Both at once: the module the longer one, so that the other's time lies within."""
    with subprocess.Popen([INTROSPECT, "record", "--no-marks", "--source", "kmod", "-o", paths[0],
                           *ours], stdout=subprocess.DEVNULL) as first:
        time.sleep(1)
        status, _, err = run("record", "--source", "bpf", "-o", paths[1], *theirs,
                             program=INTROSPECT)
        time.sleep(0.5)
        first.send_signal(signal.SIGINT)
        code = first.wait(60)
    tap.ok(status == 0 and code == 0, f"both record at once: {' '.join(ours)}",
           f"bpf {status} {err}, kmod {code}")


def whole_system(where):
    paths = [f"{where}/{name}.itr" for name in ("kmod", "bpf", "joined")]
    record(paths, ["-a"], "-a", "--", INTROSPECT, "workload", "mixed")
    subprocess.run([STORY, *paths], check=True)
    kmod, bpf = story(paths[0]), story(paths[1])
    same_switches("whole system", kmod[0], bpf[0])
    same_wakings(kmod[1], bpf[1])
    same_placement("whole system", kmod[2], bpf[2], "given")
    same_ledgers(ledgers(paths[2]), ledgers(paths[1]))


def balancing(where):
    """Memory that one node's threads use and another node has."""
    numa_balancing(1)
    paths = [f"{where}/{name}-hints.itr" for name in ("kmod", "bpf")]
    record(paths, ["-a"], "-a", "--", "sh", "-c", f"{HINTS} follow 700; {HINTS} stay 700")
    same_placement("balancing", *(story(path)[2] for path in paths), "given", "hinted", "balanced")


def one_process(where):
    """A process that runs already, and who takes the CPU from it."""
    paths = [f"{where}/{name}-one.itr" for name in ("kmod", "bpf")]
    with subprocess.Popen([INTROSPECT, "workload", "oversubscribed", "--workers", "6", "--tasks",
                           "100000"], stdout=subprocess.DEVNULL) as program:
        time.sleep(0.5)
        process = ["-p", str(program.pid)]
        record(paths, process, *process, "--no-marks", "-d", 1.5)
        program.kill()
    same_switches("one process", story(paths[0])[0], story(paths[1])[0])


with tempfile.TemporaryDirectory() as directory:
    if sys.argv[1:] == ["balancing"]:
        balancing(directory)
    else:
        whole_system(directory)
        one_process(directory)
tap.done()
