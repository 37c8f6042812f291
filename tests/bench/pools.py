#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures the worker pools next to named peers, two workers each, and prints Markdown tables.

usage: pools.py [--rounds N]

In each round each program runs once, so that a slow time of the machine meets all of them; the median
of a program's rounds counts. In brackets: how many times better (above 1) or worse than that peer
ours is. tests/bench/pools/ holds the programs, and pools.h what they measure.
"""
import argparse
import os
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build/bench/pools")
PYTHON = [sys.executable, os.path.join(ROOT, "tests/bench/pools/python.py")]
HELPING = "introspect, waiters help"
THREADS = {"introspect": [f"{BUILD}/introspect"],
           HELPING: [f"{BUILD}/introspect", "1", "help"], "GThreadPool": [f"{BUILD}/glib"],
           "libuv": [f"{BUILD}/uv"], "oneTBB": [f"{BUILD}/tbb"], "libgomp": [f"{BUILD}/omp"],
           "Python": PYTHON}
# of these the submitter runs tasks too, so they are compared with ours that lets it
SHARING = ["oneTBB", "libgomp"]
PROCESSES = {"introspect": [f"{BUILD}/processes"], "Python": PYTHON}
# name in the output, title, whether less is better
THREAD_ROWS = [("batch", "empty tasks/s, 50 000 at once", False),
               ("single", "empty tasks/s, one at a time", False),
               ("start", "submit to start, one at a time, ns", True),
               ("fan", "fan-outs of 16 short tasks/s", False),
               ("skewed", "tasks/s, 1 of 64 256 times as long", False)]
# the same pool with as many workers as there are, or should be, CPUs; and with more
CROWDS = {"introspect": [f"{BUILD}/introspect"], "8 workers": [f"{BUILD}/introspect", "8"]}
CROWD_ROWS = THREAD_ROWS + [("idle", "CPU time of an idle second, us", True)]
PROCESS_ROWS = [("process_batch", "tasks/s of 8 bytes, all at once", False),
                ("process_start", "submit to start, ns, p50", True),
                ("map_1", "map, chunks of 1, items/s", False),
                ("map_1000", "map, chunks of 1000, items/s", False),
                ("large", "payloads of 64 MiB, MB/s", False),
                ("large_results", "results of 64 MiB, MB/s", False)]


def run(argv):
    """{name: value} of what the program prints; {} when it is not there."""
    if not os.path.exists(argv[0]):
        return {}
    text = subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=300).stdout.decode()
    return {name: float(value) for name, value in map(str.split, text.splitlines())}


def medians(programs, rounds):
    got = {name: [] for name in programs}
    for _ in range(rounds):
        for name, argv in programs.items():
            got[name].append(run(argv))
    return {name: {key: statistics.median(r[key] for r in results) for key in results[0]}
            for name, results in got.items()}


def table(figures, rows):
    names = list(figures)
    print(f"| median | {' | '.join(names)} |")
    print(f"|---|{'---:|' * len(names)}")
    for key, title, less in rows:
        cells = []
        for name in names:
            value = figures[name].get(key)
            ours = figures[HELPING if name in SHARING else "introspect"].get(key)
            cell = "" if value is None else f"{value:,.0f}".replace(",", " ")
            if value and ours and not name.startswith("introspect"):
                cell += f" ({value / ours if less else ours / value:.2g}×)"
            cells.append(cell)
        print(f"| {title} | {' | '.join(cells)} |")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print("## Worker pools\n\nTwo workers. Of oneTBB, libgomp and ours whose waiters help the submitter "
          f"is one of them; these are compared with each other. {rounds} rounds, in turns.\n")
    table(medians(THREADS, rounds), THREAD_ROWS)
    print("### More workers than CPUs\n")
    table(medians(CROWDS, rounds), CROWD_ROWS)
    marks = statistics.median(run([f"{BUILD}/marks"])["marks"] for _ in range(rounds))
    print(f"Marks on, tasks of 10 us: {100 * (marks - 1):+.1f} % time (target: at most 5)\n")
    table(medians(PROCESSES, rounds), PROCESS_ROWS)


if __name__ == "__main__":
    main()
