#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 of the tracer, of the workload, of one worker, and a full disk: what was recorded can be read."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from tap import INTROSPECT, ROOT, Tap, cannot_trace, run

DUMP = os.path.join(ROOT, "build", "tests", "system", "dump")
DAMAGED = 3
tap = Tap()


def dump(path):
    return json.loads(subprocess.check_output([DUMP, path]))


def workload(*options):
    return [INTROSPECT, "workload", *map(str, options)]


def wait_for(what, seconds=20):
    """What the function finds, once it is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    return None


def children(pid):
    """Of all its threads."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                if int(f.read().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append(int(name))
        except OSError:
            pass
    return found


def cut_off(name, path):
    """A trace without its end is used, and all who read it say so."""
    status, out, err = run("report", path)
    tap.ok(status == DAMAGED and out and err.count("\n") == 1,
           f"{name}: the report uses what is there and says what is missing", f"{status}\n{out}{err}")
    held = dump(path)
    tap.ok(held["truncated"] and "end_ns" not in held["meta"] and not held["disorder"],
           f"{name}: the file is known to be cut", held)
    return held


def killed_tracer():
    with tempfile.TemporaryDirectory() as where:
        path, done = f"{where}/t.itr", f"{where}/done"
        command = ["sh", "-c", f"{' '.join(workload('sleep', '--tasks', 2000))} && touch {done}"]
        with subprocess.Popen([INTROSPECT, "record", "-o", path, "--", *command],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
            # chunks are written out when they are a second old
            time.sleep(2.5)
            tracer.kill()
        tap.ok(not os.path.exists(done), "the tracer is killed while the command runs")
        tap.ok(wait_for(lambda: os.path.exists(done), 60),
               "killed tracer: the command goes on to its end")
        held = cut_off("killed tracer", path)
        tap.ok(held["kinds"].get("SWITCH", 0) > 50 and held["kinds"].get("START", 0) > 5,
               "killed tracer: all but the last moments are there", held["kinds"])


def killed_workload():
    with tempfile.TemporaryDirectory() as where:
        path = f"{where}/t.itr"
        with subprocess.Popen([INTROSPECT, "record", "-o", path, "--",
                               *workload("cpu", "--tasks", 100000)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
            victim = wait_for(lambda: children(tracer.pid))
            time.sleep(1)
            os.kill(victim[0], signal.SIGKILL)
            status = tracer.wait(60)
        tap.ok(status == 128 + signal.SIGKILL, "killed workload: its status is passed on", status)
        held = dump(path)
        tap.ok(not held["truncated"] and held["meta"]["exit_status"] == signal.SIGKILL
               and held["kinds"].get("START"), "killed workload: the trace is whole", held)
        status, out, err = run("tasks", path, "--json", "--all")
        if status == 2:
            status, out, err = run("tasks", path, "--json")
        tasks = [json.loads(line) for line in out.splitlines()]
        tap.ok(status == 0 and tasks and all(sum(t["ledger"].values()) == t["wall_ns"] for t in tasks),
               "killed workload: every task's ledger sums to its wall time", err)
        status, out, err = run("report", path)
        tap.ok(status == 0 and out, "killed workload: reported", f"{status} {err}")


def killed_worker():
    with tempfile.TemporaryDirectory() as where:
        path = f"{where}/t.itr"
        with subprocess.Popen([INTROSPECT, "record", "-o", path, "--",
                               *workload("procs", "--workers", 3, "--tasks", 3000)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracer:
            program = wait_for(lambda: children(tracer.pid))[0]
            workers = wait_for(lambda: len(children(program)) == 3 and children(program))
            time.sleep(0.5)
            os.kill(workers[1] if workers else program, signal.SIGKILL)
            try:
                _, err = tracer.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                os.kill(program, signal.SIGKILL)
                _, err = tracer.communicate()
                err += b"did not end by itself"
        tap.ok(workers and tracer.returncode and b"did not end" not in err,
               "killed worker: the pool breaks and nothing hangs", f"{tracer.returncode} {err}")
        held = dump(path)
        tap.ok(not held["truncated"] and held["kinds"].get("EXIT", 0) >= 4,
               "killed worker: the trace is whole", held)
        status, out, err = run("report", path, "--json")
        pools = json.loads(out)["pools"] if status == 0 else []
        lost = sum(p["submitted"] - p["finished"] for p in pools)
        tap.ok(pools and workers[1] in pools[0]["workers"] and lost > 0,
               "killed worker: the report has the worker, and tasks that never finished",
               f"{status} {err} {pools}")
        threads = {t["tid"]: t for t in json.loads(out)["threads"]} if status == 0 else {}
        tap.ok(threads.get(workers[1], {}).get("states_ns", {}).get("running", 0) > 0,
               "killed worker: its last marks and its run time are there",
               threads.get(workers[1]))


def full_disk():
    with tempfile.TemporaryDirectory() as where:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", where],
                          stderr=subprocess.DEVNULL, check=False).returncode:
            tap.skip("full disk", "cannot mount a tmpfs")
            return
        try:
            path = f"{where}/t.itr"
            status, out, err = run("record", "--no-marks", "--no-compress", "-o", path, "--", "sh", "-c",
                                   "for i in 1 2 3; do sleep 0.5; "
                                   "perf bench sched messaging -g 4 -l 300 >/dev/null; done; "
                                   "echo finished; exit 5")
            tap.ok(out == "finished\n", "full disk: the command goes on to its end", out + err)
            tap.ok(status == 5 and "No space left" in err and err.count("\n") <= 2,
                   "full disk: the failure is told, and the command's status passed on", f"{status} {err}")
            held = cut_off("full disk", path)
            tap.ok(held["kinds"].get("SWITCH", 0) > 50, "full disk: what fitted is there",
                   held["kinds"])
        finally:
            subprocess.run(["umount", where], check=False)


reason = cannot_trace()
if reason:
    tap.skip("crash", reason)
else:
    killed_tracer()
    killed_workload()
    killed_worker()
    full_disk()
tap.done()
