#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""record -p: a running pool, its threads and children, its marks; until a time, a signal, or its end."""
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from tap import INTROSPECT, ROOT, SOURCE, Tap, cannot_trace, run

DUMP = os.path.join(ROOT, "build", "tests", "system", "dump")
tap = Tap()


def dump(path):
    return json.loads(subprocess.check_output([DUMP, path]))


@contextlib.contextmanager
def start(*command):
    """A session of its own: what is left of it at the end is killed, children and all."""
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          start_new_session=True) as program:
        try:
            time.sleep(0.7)
            yield program
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


def wait_until_recorded(path):
    """A busy machine may take seconds to begin."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        held = subprocess.run([DUMP, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=False)
        if held.returncode == 0 and json.loads(held.stdout)["kinds"].get("SWITCH", 0) > 5:
            return
        time.sleep(0.1)


def threads(pid):
    return set(map(int, os.listdir(f"/proc/{pid}/task")))


def all_threads(pid, n):
    """Once there are as many."""
    deadline = time.monotonic() + 30
    while len(threads(pid)) < n and time.monotonic() < deadline:
        time.sleep(0.05)
    return threads(pid)


def taken(held):
    """Somebody else on this machine records all of it, marks too."""
    return held["meta"]["lost"]["areas_of_other_tracers"] > 0


def pool_seen(name, path, tids):
    held = dump(path)
    kinds = held["kinds"]
    tap.ok(kinds.get("SNAPSHOT", 0) >= 2 * len(tids) and kinds.get("TASK", 0) >= len(tids),
           f"{name}: each thread that was there is named, and where it was", kinds)
    if taken(held):
        tap.skip(f"{name}: marks", "another tracer reads this program's marks")
        return
    tap.ok(kinds.get("WORKER_START") == 3 and kinds.get("DEF", 0) >= 1,
           f"{name}: workers and names from before the recording are known", kinds)
    tap.ok(kinds.get("START", 0) > 3 and kinds.get("END", 0) > 3,
           f"{name}: marks are found and switched on in a program that runs", kinds)
    status, out, err = run("report", path, "--json")
    pools = json.loads(out)["pools"] if status == 0 else []
    tap.ok(len(pools) == 1 and len(pools[0]["workers"]) == 3 and set(pools[0]["workers"]) < tids,
           f"{name}: the report has the pool with its workers", f"{status} {err} {pools}")


def running_pool():
    with tempfile.TemporaryDirectory() as where:
        with start(INTROSPECT, "workload", "cpu", "--workers", 3, "--tasks", 100000) as program:
            tids = all_threads(program.pid, 4)
            for name, seconds in ("first", 1.5), ("again", 1):
                path = f"{where}/{name}.itr"
                begin = time.monotonic()
                status, out, err = run("record", "-p", program.pid, "-d", seconds, "-o", path)
                took = time.monotonic() - begin
                tap.ok(status == 0 and seconds < took < seconds + 15,
                       f"{name}: the recording ends after its time", f"{status} {took} s {out}{err}")
                tap.ok(program.poll() is None and threads(program.pid) == tids,
                       f"{name}: the program goes on")
                if status == 0:
                    pool_seen(name, path, tids)


def tree():
    """The children of one that is traced are traced; others are not."""
    script = "while :; do sleep 0.02; done"
    with tempfile.TemporaryDirectory() as where, start("sh", "-c", script) as other, \
            start("sh", "-c", f"sh -c '{script}'; true") as program:
        path = f"{where}/t.itr"
        status, _, err = run("record", "-p", program.pid, "-d", 2, "-o", path)
        held = dump(path)
        tap.ok(status == 0 and held["kinds"].get("FORK", 0) >= 2
               and held["kinds"].get("EXIT", 0) >= 2,
               "the grandchildren of a traced process are traced from their birth", f"{err}{held}")
        status, out, _ = run("threads", path, "--json")
        text = out.strip()
        rows = (json.loads(text) if text.startswith("[") else
                [json.loads(line) for line in text.splitlines()])
        rows = rows[0].get("threads", rows) if rows and "threads" in rows[0] else rows
        family = [t for t in rows if t.get("pid") == program.pid or t.get("ppid") == program.pid]
        strangers = [t for t in rows if t.get("pid") == other.pid or t.get("ppid") == other.pid]
        tap.ok(len(family) >= 2 and not strangers, "and its neighbours are not",
               f"{family}\n{strangers}")


def ends():
    with tempfile.TemporaryDirectory() as where:
        for name, stop in (("the process ends", lambda p, t: p.kill()),
                           ("Ctrl-C", lambda p, t: t.send_signal(signal.SIGINT)),
                           ("SIGTERM", lambda p, t: t.terminate())):
            path = f"{where}/{stop.__code__.co_firstlineno}.itr"
            with start("sh", "-c", "while :; do sleep 0.02; done") as program:
                with start(INTROSPECT, "record", "-p", program.pid, "-o", path) as tracer:
                    wait_until_recorded(path)
                    stop(program, tracer)
                    status = tracer.wait(30)
            held = dump(path)
            tap.ok(status == 0 and not held["truncated"] and "end_ns" in held["meta"]
                   and held["kinds"].get("SWITCH", 0) > 5,
                   f"{name}: the recording ends and the file is whole", f"{status} {held}")


def two_tracers():
    """The whole system is recorded while a command is: each event is in both, each mark in one."""
    if SOURCE == "kmod":
        tap.skip("two recordings at once", "the kernel module serves one at a time")
        return
    with tempfile.TemporaryDirectory() as where:
        with start(INTROSPECT, "record", "-a", "-o", f"{where}/all.itr") as everything:
            time.sleep(0.5)
            status, _, err = run("record", "-o", f"{where}/one.itr", "--", INTROSPECT, "workload",
                                 "sleep", "--tasks", 100)
            everything.send_signal(signal.SIGINT)
            everything.wait(60)
        one = dump(f"{where}/one.itr")["kinds"]
        tap.ok(status == 0 and one.get("SUBMIT") == 100 and one.get("END") == 100,
               "a command's marks are all its own recording's, whoever else records",
               f"{status} {err} {one}")


reason = cannot_trace()
if reason:
    tap.skip("attach", reason)
else:
    running_pool()
    tree()
    ends()
    two_tracers()
tap.done()
