#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""CPUs go and come while the module records: nothing is lost, and what comes back is recorded."""
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
from tap import INTROSPECT, ROOT, Tap, run

STORY = os.path.join(ROOT, "build", "tests", "vm", "story")
CPU = 3
ROUNDS = 4
AWAY_S = 0.4
tap = Tap()


def online(on):
    with open(f"/sys/devices/system/cpu/cpu{CPU}/online", "w", encoding="ascii") as file:
        file.write("1" if on else "0")


def switches(path):
    """Times of the CPU's switches."""
    out = subprocess.run([STORY, path], stdout=subprocess.PIPE, check=True, text=True).stdout
    return [int(line.split()[2]) for line in out.splitlines() if line.startswith(f"s {CPU} ")]


with tempfile.TemporaryDirectory() as where:
    path = f"{where}/t.itr"
    away, back = [], []
    with subprocess.Popen([INTROSPECT, "record", "-a", "-o", path, "--", INTROSPECT, "workload",
                           "oversubscribed", "--tasks", "100000"],
                          stdout=subprocess.DEVNULL) as tracer:
        time.sleep(1)
        for _ in range(ROUNDS):
            online(False)
            begin = time.monotonic_ns()
            time.sleep(AWAY_S)
            away.append((begin, time.monotonic_ns()))
            online(True)
            subprocess.run(["taskset", "-c", str(CPU), "sleep", "0.01"], check=True)
            back.append((away[-1][1], time.monotonic_ns()))
        tracer.send_signal(signal.SIGINT)
        status = tracer.wait(60)
    tap.ok(status in (0, 128 + signal.SIGINT), "the recording goes on while a CPU goes and comes", status)
    at = switches(path)
    during = [t for t in at if any(begin < t < end for begin, end in away)]
    after = [any(begin < t < end for t in at) for begin, end in back]
    tap.ok(not during, "nothing switches on a CPU that is away", f"{len(during)} of {len(at)}")
    tap.ok(all(after), "its switches are recorded again once it is back", after)
    status, out, err = run("tasks", path, "--json")
    tasks = [json.loads(line) for line in out.splitlines()]
    tap.ok(status == 0 and tasks and all(sum(task["ledger"].values()) == task["wall_ns"] for task in tasks),
           "every task's ledger sums to its wall time", f"{status} {err}")
    unknown = sum(task["ledger"]["unknown_ns"] for task in tasks)
    wall = sum(task["wall_ns"] for task in tasks)
    tap.ok(unknown < wall / 100, "and next to nothing in it is unknown", f"{unknown} of {wall}")
tap.done()
