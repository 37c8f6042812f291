#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures the worker pools next to named peers, two workers each, and prints Markdown tables.

usage: pools.py [--rounds N] [--tries N]

In each round each program runs once, in an order drawn anew: a slow time of the machine meets all of
them, and none always comes after one that leaves the CPUs slow, or fast. Pools of threads run for each row
of the table apart, a quarter or half a second: for seconds on end, a line may take three times as long from one
CPU of a virtual machine to the other. The median of a program's rounds counts. In brackets: how many times
better (above 1) or worse than that peer ours is. tests/bench/pools/ holds the programs, and pools.h what
they measure.
"""
import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build/bench/pools")
PYTHON = [sys.executable, os.path.join(ROOT, "tests/bench/pools/python.py")]
HELPING = "introspect, waiters help"
CALLERS = "introspect, a task group, and callers run"
THREADS = {"introspect": [f"{BUILD}/introspect"],
           HELPING: [f"{BUILD}/introspect", "-w1", "-h"],
           CALLERS: [f"{BUILD}/introspect", "-w1", "-h", "-g"], "GThreadPool": [f"{BUILD}/glib"],
           "libuv": [f"{BUILD}/uv"], "oneTBB": [f"{BUILD}/tbb"], "libgomp": [f"{BUILD}/omp"]}
# of these the submitter runs tasks too, and tasks have no futures
COMPARED_WITH = {"oneTBB": CALLERS, "libgomp": CALLERS}
PROCESSES = {"introspect": [f"{BUILD}/processes"], "Python": PYTHON}
# name in the output, title, whether less is better
THREAD_ROWS = [("batch", "empty tasks/s, 50 000 at once", False),
               ("single", "empty tasks/s, one at a time", False),
               ("start", "submit to start, one at a time, ns", True),
               ("start_batch", "submit to start, 500 at once, ns", True),
               ("fan", "fan-outs of 16 short tasks/s", False),
               ("burst", "500 short tasks after a sleep of 3 ms, us", True),
               ("skewed", "tasks/s, 1 of 64 256 times as long", False)]
# the same pool with as many workers as there are, or should be, CPUs; and with more
CROWDS = {"introspect": [f"{BUILD}/introspect"], "8 workers": [f"{BUILD}/introspect", "-w8"]}
CROWD_ROWS = THREAD_ROWS + [("idle", "CPU time of an idle second, us", True)]
PROCESS_ROWS = [("process_batch", "tasks/s of 8 bytes, all at once", False),
                ("process_start", "submit to start, ns, p50", True),
                ("map_1", "map, chunks of 1, items/s", False),
                ("map_1000", "map, chunks of 1000, items/s", False),
                ("large", "payloads of 64 MiB, MB/s", False),
                ("large_results", "results of 64 MiB, MB/s", False),
                ("medium", "payloads of 1 MiB, MB/s", False),
                ("medium_results", "results of 1 MiB, MB/s", False),
                ("copy", "a copy of 64 MiB and nothing else, MB/s", False)]


def run(argv):
    """{name: value} of what the program prints; {} when it is not there."""
    if not os.path.exists(argv[0]):
        return {}
    text = subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=300).stdout.decode()
    return {name: float(value) for name, value in map(str.split, text.splitlines())}


def cpu_seconds():
    """CPU time that this machine has used, and what its finished children have of this process."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, soft, steal = map(int, stat.readline().split()[1:9])
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ((user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK"),
            children.ru_utime + children.ru_stime)


def run_undisturbed(argv, tries):
    """Of some runs the first during which others used less than a tenth of a CPU, or the best."""
    best, least = {}, None
    for _ in range(tries):
        begin, (all_before, ours_before) = time.monotonic(), cpu_seconds()
        got = run(argv)
        all_after, ours_after = cpu_seconds()
        others = (all_after - all_before) - (ours_after - ours_before)
        share = others / (time.monotonic() - begin)
        if least is None or share < least:
            best, least = got, share
        if least < 0.1:
            break
    disturbed.append(least)
    return best


disturbed = []  # by how much of a CPU, each run that counts


def medians(programs, rounds, tries, only=()):
    """{program: {figure: median}}; `only`: what each run is to measure."""
    got = {name: [] for name in programs}
    for _ in range(rounds):
        for name in random.sample(list(programs), len(programs)):
            got[name].append(run_undisturbed([*programs[name], *only], tries))
    return {name: {key: statistics.median(r[key] for r in results) for key in results[0]}
            for name, results in got.items()}


def medians_by_row(programs, rows, rounds, tries):
    figures = {name: {} for name in programs}
    for key, _, _ in rows:
        for name, got in medians(programs, rounds, tries, [key]).items():
            figures[name].update(got)
    return figures


def table(figures, rows):
    names = list(figures)
    print(f"| median | {' | '.join(names)} |")
    print(f"|---|{'---:|' * len(names)}")
    for key, title, less in rows:
        cells = []
        for name in names:
            value = figures[name].get(key)
            ours = figures[COMPARED_WITH.get(name, "introspect")].get(key)
            cell = "" if value is None else f"{value:,.0f}".replace(",", " ")
            if value and ours and not name.startswith("introspect"):
                cell += f" ({value / ours if less else ours / value:.3g}×)"
            cells.append(cell)
        print(f"| {title} | {' | '.join(cells)} |")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=15,
                        help="of pools of threads; of processes, a third as many")
    parser.add_argument("--tries", type=int, default=1,
                        help="repeat a run that others disturb so often; the least disturbed counts")
    args = parser.parse_args()
    rounds, few, tries = args.rounds, (args.rounds + 2) // 3, args.tries
    processes = medians(PROCESSES, few, tries)
    print("## Worker pools\n\nTwo workers. Of oneTBB, libgomp and ours whose waiters help the submitter "
          "is one of them. Tasks of oneTBB's task_group and of libgomp have no future each: both are "
          "compared with a task group, whose callers run tasks as well once 128 wait, as libgomp's. "
          f"{rounds} rounds, in turns; {few} of Python and of processes.\n")
    threads = medians_by_row(THREADS, THREAD_ROWS, rounds, tries)
    table({**threads, "Python": processes["Python"]}, THREAD_ROWS)
    print("### More workers than CPUs\n")
    table(medians_by_row(CROWDS, CROWD_ROWS, rounds, tries), CROWD_ROWS)
    marks = statistics.median(run([f"{BUILD}/marks"])["marks"] for _ in range(few))
    print(f"Marks on, tasks of 10 us: {100 * (marks - 1):+.1f} % time (target: at most 5)\n")
    table(processes, PROCESS_ROWS)
    print(f"Other programs used {statistics.median(disturbed):.2f} CPUs meanwhile (median).")


if __name__ == "__main__":
    main()
