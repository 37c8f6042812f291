#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Whatever ends a program with workers, nothing is left: no process, zombie, descriptor or shared memory."""
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
from program import PATIENCE, Program, adopt_orphans, children, living, wait_for
from tap import INTROSPECT, ROOT, Tap

HELPER = os.path.join(ROOT, "build", "tests", "system", "graceful")
WORKERS = 3
tap = Tap()


def descriptors(pid):
    """What a process has open, without the numbers of sockets and pipes."""
    found = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}").split(":[")[0])
    except OSError:
        return None
    return sorted(found)


def is_named(pid):
    """Whether a worker has given itself its name: it has closed what it inherited before."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
            return "/" in f.read()
    except OSError:
        return False


def settled(what, seconds=1):
    """What it gives once that has not changed for a second, however long that takes."""
    end, since, last = time.monotonic() + PATIENCE, time.monotonic(), what()
    while time.monotonic() < end and time.monotonic() - since < seconds:
        time.sleep(0.02)
        now = what()
        if now != last or now is None:
            since, last = time.monotonic(), now
    return last


def named_memory(pid):
    """Shared memory that would outlive the process: POSIX or System V."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as f:
            return [line for line in f if "/dev/shm/" in line or "/SYSV" in line]
    except OSError:
        return []


def workload(name, tasks):
    workers = ["--workers", str(WORKERS)]
    return [INTROSPECT, "workload", name, "--tasks", str(tasks), *workers]


LONG = 900000
KINDS = {  # name: the workload, how many processes it has, how the helper calls it
    "process executor": ("procs", WORKERS, "executor"),
    "process pool": ("replace", WORKERS, "pool"),
    "service": ("service", WORKERS, "service"),
    "periodic worker": ("periodic", 0, "periodic"),
    "shared objects": ("shared", WORKERS + 2, None),  # and a manager, and a consumer
}


def started(kind, tasks=LONG):
    """A program that would run for long, at work; its workers."""
    name, processes, _ = KINDS[kind]
    program = Program(*workload(name, tasks))
    workers = program.workers(processes) if processes else []
    if not processes:
        wait_for(lambda: len(os.listdir(f"/proc/{program.pid}/task")) > 2)
    time.sleep(0.1)
    return program, workers


def normal_end(kind):
    program = Program(*workload(KINDS[kind][0], 60))
    memory = named_memory(program.pid)
    status, left, _, err = program.end()
    tap.ok(status == 0 and not left and not memory, f"{kind}: normal end",
           f"status {status}, left {left}, memory {memory}\n{err}")


def error_in_a_task(kind, word):
    program = Program(HELPER, word, "700")
    status, left, _, err = program.end()
    tap.ok(status == 0 and not left, f"{kind}: errors in tasks",
           f"status {status}, left {left}\n{err}")


def told_to_end(kind, sig):
    program, workers = started(kind)
    memory = sum((named_memory(pid) for pid in [program.pid, *workers]), [])
    if sig == signal.SIGINT:  # a terminal's goes to all
        os.killpg(program.pid, sig)
    else:
        os.kill(program.pid, sig)
    status, left, stay, err = program.end()
    graceful = kind == "service" and sig != signal.SIGKILL
    enough = len(workers) == KINDS[kind][1]
    tap.ok(enough and status is not None and not stay and not memory and not (graceful and left),
           f"{kind}: {sig.name}{' of the parent' if sig == signal.SIGKILL else ''}",
           f"workers {workers}, status {status}, left {left}, stay {stay}, memory {memory}\n{err}")


def killed_worker_breaks(kind):
    """Each in its turn: which one dies makes no difference."""
    for which in range(WORKERS):
        program, workers = started(kind)
        if workers:
            os.kill(workers[which], signal.SIGKILL)
        else:
            program.process.kill()
        status, left, _, err = program.end()
        tap.ok(workers and status == 1 and not left and "SIGKILL" in err,
               f"{kind}: SIGKILL of worker {which}", f"status {status}, left {left}\n{err}")


def comm_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return None


def killed_sharer(which):
    """One that others share objects with, or by: they fail, and end."""
    program, workers = started("shared objects", 300)
    victims = [pid for pid in workers if comm_of(pid) == which]
    if victims:
        os.kill(victims[0], signal.SIGKILL)
    else:
        program.process.kill()
    status, left, _, err = program.end()
    tap.ok(victims and status == 1 and not left and err, f"shared objects: SIGKILL of {which}",
           f"workers {workers}, status {status}, left {left}\n{err}")


def is_replaced(program, victim, before):
    """The same number of workers, without the victim and without a zombie; the same descriptors."""
    def whole():
        now = children(program.pid)
        return (len(now) == WORKERS and all(state != "Z" for _, state in now)
                and victim not in [pid for pid, _ in now]
                and descriptors(program.pid) == before)
    return wait_for(whole)


def killed_workers_are_replaced(kind, command):
    program = Program(*command)
    workers = program.workers(WORKERS)
    wait_for(lambda: all(is_named(pid) for pid in workers))
    before = settled(lambda: descriptors(program.pid))
    of_a_worker = settled(lambda: descriptors(workers[-1])) if workers else None
    replaced = []
    for _ in range(4):
        victim = wait_for(lambda: living(program.pid))
        if not victim:
            break
        os.kill(victim[0], signal.SIGKILL)
        replaced.append(bool(is_replaced(program, victim[0], before)))
    tap.ok(workers and replaced == [True] * 4,
           f"{kind}: killed workers are replaced, no zombie, no descriptor is left",
           f"{replaced}, {before} {descriptors(program.pid)} {children(program.pid)}")
    newest = living(program.pid)
    same = wait_for(lambda: newest and descriptors(newest[-1]) == of_a_worker)
    tap.ok(same, f"{kind}: a worker forked late has no descriptor of the others'",
           f"{of_a_worker} {descriptors(newest[-1]) if newest else None}")
    return program


def pool_goes_on():
    program = killed_workers_are_replaced("process pool", [HELPER, "pool", str(LONG)])
    os.kill(program.pid, signal.SIGUSR1)  # it has worked long enough
    status, left, _, err = program.end()
    tap.ok(status == 0 and not left, "process pool: after that, a normal end",
           f"status {status}, left {left}\n{err}")


def service_goes_on():
    program = killed_workers_are_replaced("service", workload("service", LONG))
    program.process.terminate()
    status, left, _, err = program.end()
    tap.ok(status is not None and not left, "service: after that, a graceful end",
           f"status {status}, left {left}\n{err}")


if not adopt_orphans():
    tap.skip("graceful", "this kernel has no subreapers")
    tap.done()
for a_kind, (_, _, a_word) in KINDS.items():
    normal_end(a_kind)
    if a_word:
        error_in_a_task(a_kind, a_word)
    for a_signal in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        told_to_end(a_kind, a_signal)
killed_worker_breaks("process executor")
for a_sharer in ("manager", "shared/0"):
    killed_sharer(a_sharer)
pool_goes_on()
service_goes_on()
tap.done()
