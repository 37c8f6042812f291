#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The module is removed while introspect records by it: the recording ends there, and nothing else does."""
import json
import os
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "..", "system"))
from tap import ROOT, Tap, run

INTROSPECT = os.path.join(ROOT, "build", "introspect")
MODULE = os.environ["VM_MODULE"]  # with-module.sh
LINE = "the module introspect was removed; the recording ends here"
TASKS = 600  # of some seconds
MOMENTS_S = (0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
tap = Tap()


def load():
    subprocess.run(["insmod", MODULE], check=True)


def wait_for_records(path, tracer):
    """They are written out now and then; what is there at first is only what the trace says of itself."""
    sizes = {0}
    while len(sizes) < 3 and tracer.poll() is None:
        time.sleep(0.05)
        if os.path.exists(path):
            sizes.add(os.path.getsize(path))


def removed_under(path, *arguments, after=None):
    """Records, and removes the module. What record said, the tid of the last that ended before, and rmmod's status."""
    with subprocess.Popen([INTROSPECT, "record", "--source", "kmod", "-o", path, *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tracer:
        if after is None:
            wait_for_records(path, tracer)
        else:
            time.sleep(after)
        with subprocess.Popen(["true"]) as last:
            pass
        rmmod = subprocess.run(["rmmod", "introspect"], check=False).returncode
        out, err = tracer.communicate(timeout=100)
    load()
    return tracer.returncode, out, err, last.pid, rmmod


def reads(path, what):
    """It opens, says where it ended, and each task's time is whole. The report."""
    status, out, err = run("report", path, program=INTROSPECT)
    tap.ok(status == 3 and f"Cut short: {LINE}." in out and err.count(LINE) == 1,
           f"{what}: the report says that it ends there, and exits with 3", f"{status}\n{out}\n{err}")
    status, out, _ = run("report", "--json", "--all", path, program=INTROSPECT)
    report = json.loads(out)
    tap.ok(status == 3 and report["trace"]["cut"] == LINE and not report["trace"]["damage"]["truncated"]
           and not report["trace"]["lost"], f"{what}: so does its JSON; the file is whole, and nothing lost", report["trace"])
    status, out, _ = run("tasks", "--json", path, program=INTROSPECT)
    tasks = [json.loads(line) for line in out.splitlines()]
    tap.ok(status == 3 and all(sum(task["ledger"].values()) == task["wall_ns"] for task in tasks),
           f"{what}: every task's ledger sums to its wall time", status)
    return report


def whole_system(where):
    path = f"{where}/all.itr"
    status, _, err, last, rmmod = removed_under(path, "-a")
    tap.ok(rmmod == 0, "the module is removed while the whole system is recorded", rmmod)
    tap.ok(status == 3 and err.count(LINE) == 1 and "Saved to" in err, "the recording ends, in a line, with 3", f"{status} {err}")
    reads(path, "whole system")
    _, out, _ = run("threads", "--json", "--all", path, program=INTROSPECT)
    ended = [thread for thread in map(json.loads, out.splitlines()) if thread["tid"] == last and not thread["alive"]]
    tap.ok(ended, "who ended just before has its end in the file", last)


def command(where):
    path = f"{where}/command.itr"
    status, out, err, _, rmmod = removed_under(path, "--", INTROSPECT, "workload", "sleep", "--tasks", str(TASKS))
    tap.ok(rmmod == 0 and status == 3 and err.count(LINE) == 1, "under a command: the same", f"{rmmod} {status} {err}")
    tap.ok("every result right" in out, "the command goes on to its end", out)
    report = reads(path, "command")
    pool = report["pools"][0]
    tap.ok(0 < pool["finished"] < TASKS, "of its tasks those until then are reported", pool["finished"])
    status, _, err, _, _ = removed_under(f"{where}/status.itr", "--", "sh", "-c", "sleep 4; exit 5")
    tap.ok(status == 5 and LINE in err, "its exit status is passed on", f"{status} {err}")


def process(where):
    path = f"{where}/process.itr"
    with subprocess.Popen([INTROSPECT, "workload", "sleep", "--tasks", "10000"], stdout=subprocess.DEVNULL) as program:
        time.sleep(0.3)
        status, _, err, _, rmmod = removed_under(path, "-p", str(program.pid))
        tap.ok(rmmod == 0 and status == 3 and LINE in err, "under a process: the same", f"{rmmod} {status} {err}")
        tap.ok(program.poll() is None, "which goes on", program.returncode)
        program.kill()
    reads(path, "process")


def at_any_moment(where):
    """While the recording begins, too: it either never was, or ends in good order."""
    for after in MOMENTS_S:
        path = f"{where}/moment.itr"
        status, _, err, _, rmmod = removed_under(path, "-a", after=after)
        begun = status == 3 and LINE in err
        never = status in (1, 77) and len(err.splitlines()) == 1 and not os.path.exists(path)
        tap.ok(rmmod == 0 and (begun or never), f"removed {after} s after the start", f"{rmmod} {status} {err}")
        if os.path.exists(path):
            tap.ok(run("report", path, program=INTROSPECT)[0] == 3, f"removed {after} s after the start: the file opens")
            os.unlink(path)


with tempfile.TemporaryDirectory() as directory:
    whole_system(directory)
    command(directory)
    process(directory)
    at_any_moment(directory)
tap.done()
