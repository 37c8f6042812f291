#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures what processes share next to Python's multiprocessing, and prints a Markdown table.

usage: shared.py [--rounds N]

In each round both run once, so that a slow time of the machine meets both; medians count.
"""
import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OURS = [os.path.join(ROOT, "build/bench/shared_cost")]
ROWS = {"queue_alone": "queue: put and get by one process, a second",
        "queue_small": "queue: messages of 64 bytes from one process to another, a second",
        "queue_large": "queue: messages of 64 KiB, MB/s",
        "pipe_round": "connection: round trips of 64 bytes, a second",
        "pipe_large": "connection: messages of 4 MiB, MB/s",
        "value_add": "value: additions under its lock, a second",
        "list_append": "manager: appends to a list, a second"}
SMALL, LARGE, HUGE = b"x" * 64, b"x" * 65536, b"x" * (4 << 20)


def put_all(queue, item, n):
    for _ in range(n):
        queue.put(item)


def echo(end, n):
    for _ in range(n):
        end.send_bytes(end.recv_bytes())


def send_all(end, item, n):
    for _ in range(n):
        end.send_bytes(item)


def beside(target, args, body):
    """Seconds that `body` takes while another process does `target`."""
    other = multiprocessing.Process(target=target, args=args)
    begin = time.monotonic()
    other.start()
    body()
    other.join()
    return time.monotonic() - begin


def say(name, value):
    print(f"{name} {value:.0f}", flush=True)


def python():
    """The same as shared_cost.c, fewer times."""
    queue = multiprocessing.Queue()
    begin = time.monotonic()
    for _ in range(10000):
        queue.put(SMALL)
        queue.get()
    say("queue_alone", 10000 / (time.monotonic() - begin))
    say("queue_small", 50000 / beside(put_all, (queue, SMALL, 50000), lambda: [queue.get() for _ in range(50000)]))
    say("queue_large", 5000 * 0.065536 / beside(put_all, (queue, LARGE, 5000), lambda: [queue.get() for _ in range(5000)]))
    ours, theirs = multiprocessing.Pipe()

    def rounds():
        for _ in range(10000):
            ours.send_bytes(SMALL)
            ours.recv_bytes()

    def receive():
        for _ in range(100):
            ours.recv_bytes()
    say("pipe_round", 10000 / beside(echo, (theirs, 10000), rounds))
    say("pipe_large", 100 * 4.194304 / beside(send_all, (theirs, HUGE, 100), receive))
    value = multiprocessing.Value("q")
    begin = time.monotonic()
    for _ in range(100000):
        with value.get_lock():
            value.value += 1
    say("value_add", 100000 / (time.monotonic() - begin))
    with multiprocessing.Manager() as manager:
        items = manager.list()
        begin = time.monotonic()
        for _ in range(5000):
            items.append(SMALL)
        say("list_append", 5000 / (time.monotonic() - begin))


def run(argv):
    text = subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=300).stdout.decode()
    return {name: float(value) for name, value in map(str.split, text.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.python:
        python()
        return
    got = [(run(OURS), run([sys.executable, __file__, "--python"])) for _ in range(args.rounds)]
    print("| figure | ours | Python's multiprocessing | ratio |\n|---|---|---|---|")
    for name, title in ROWS.items():
        ours, theirs = (statistics.median(pair[i][name] for pair in got) for i in (0, 1))
        numbers = f"{ours:,.0f} | {theirs:,.0f}".replace(",", " ")
        print(f"| {title} | {numbers} | {ours / theirs:.1f} |")


if __name__ == "__main__":
    main()
