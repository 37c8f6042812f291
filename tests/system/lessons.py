# SPDX-License-Identifier: BSD-2-Clause
"""
What each bundled workload is to show: its lesson, as checks on what introspect reports of a run.

LESSONS maps a workload's name to a generator of (text, good, values), or of (text, None, reason) for a check
that this run cannot decide. They hold on a machine that others use, too: what a pool did is
not looked at by the clock on the wall, but by what its tasks did with their time. Two measures:

  wanted    time inside tasks that a CPU was had or wanted, by the time the pool took: how many CPUs it could use
  occupied  time inside tasks that they had or wanted a CPU or were blocked: how many it had under way at once
"""

import collections
import functools
import os
import re
import statistics
import threading
import time

import truth

MS = 1000000
CPUS = len(os.sched_getaffinity(0))
LESSONS = {}
# What only some machines have room for, and what these say where there is none; tests/vm traces these where there is.
PLACED = {"numa-remote": "needs memory of two nodes", "migrate": "needs two CPUs"}
# What introspect is to be told besides: on a machine with one node it counts no pages unless it is asked to.
OPTIONS = {name: ["--numa"] for name in ("numa-local", "numa-remote", "numa-interleave", "migrate")}
# What they show is the pages that they are given.
PAGES = {"numa-local", "numa-remote", "numa-interleave"}
# Options that make runs shorter, and teach the same.
SHORT = {"cpu": ["--tasks", 80], "oversubscribed": ["--tasks", 60], "lock": ["--tasks", 100], "map": ["--tasks", 2000],
         "procs": ["--tasks", 80], "gil": ["--tasks", 20], "spawn": ["--tasks", 60], "sums": ["--length", 30000],
         "mixed": ["--tasks", 400]}


def lesson(*names):
    def keep(function):
        LESSONS.update({name: function for name in names})
        return function
    return keep


class Pool:
    """A pool of the report."""

    def __init__(self, pool):
        self.said, self.name = pool, pool["name"]
        self.ledger = collections.Counter({k[:-3]: v for k, v in pool["ledger"].items()})
        self.blocked, self.queued = collections.Counter(pool["blocked"]), collections.Counter(pool["queued"])
        self.span = pool["last_ns"] - pool["first_ns"]
        self.inside = sum(self.ledger.values()) - self.ledger["queued"] - self.ledger["delivered"]
        self.wanted = (self.ledger["running"] + self.ledger["runnable"]) / self.span
        self.occupied = self.wanted + self.ledger["blocked"] / self.span

    def __getattr__(self, name):
        return self.said[name]

    def share(self, account):
        return self.ledger[account] / self.inside

    def most(self):
        return self.blocked.most_common(1)[0][0] if self.blocked else None

    def names(self, cause=None):
        """The named locks that its tasks waited for."""
        return {s["lock"] for s in self.splits if "lock" in s and cause in (None, s["cause"])}

    def __str__(self):
        return (f"{self.name}: parallelism {self.parallelism:.2f}, wanted {self.wanted:.2f}, occupied {self.occupied:.2f} "
                f"in {self.span / MS:.1f} ms; {dict(self.ledger)}; blocked {dict(self.blocked)}")


def inside(task):
    return task["end_ns"] - task["start_ns"]


def most_at_once(intervals):
    """The most of the (begin, end) that overlap."""
    most = now = 0
    for _, step in sorted([(end, -1) for _, end in intervals] + [(begin, 1) for begin, _ in intervals]):
        now += step
        most = max(most, now)
    return most


def side_by_side(pool, workers):
    """It used the CPUs that there were, as far as others left them. Few tasks do not end all at once."""
    most = min(workers, pool.submitted)
    part = 0.7 if pool.submitted >= 4 * most else 0.45
    yield (f"{pool.name}: {most} tasks want a CPU at once", pool.wanted > part * most, str(pool))
    text = f"{pool.name}: effective parallelism near the number of CPUs"
    want = min(most, CPUS)
    if most > CPUS or pool.share("runnable") > 0.15:
        yield (text, None, f"its tasks were runnable for {100 * pool.share('runnable'):.0f} % of their time")
    else:
        yield (text, pool.parallelism > part * want, str(pool))


def hardly_blocked(pool):
    yield (f"{pool.name}: hardly blocked", pool.share("blocked") < 0.05, str(pool))


@functools.lru_cache
def wait_cost():
    """CPU time, ns, of falling asleep for a lock and waking up at a timeout. In an emulator that is a lot."""
    costs, lock = [], threading.Lock()
    lock.acquire()
    for _ in range(5):
        begin = time.thread_time_ns()
        for _ in range(20):
            lock.acquire(timeout=0.001)
        costs.append((time.thread_time_ns() - begin) / 20)
    return min(costs)


def under_one_lock(t, pool):
    """
    One has the lock and runs. The others wake up now and then to ask for it, which is running, too: 3 times as long as
    such a wait alone, as seen in an emulator. Without the lock it would be as many as there are CPUs.
    """
    waits = sum(task["switches"] for task in t.tasks if task["pool"] == pool.name)
    most = min(1.05 + 4 * waits * wait_cost() / pool.span, 1.5)
    yield (f"{pool.name}: effective parallelism is at most 1, but for the waiting itself", pool.parallelism <= most,
           f"{most:.2f}, with {waits} waits of {wait_cost() / 1000:.1f} us; {pool}")
    t.figure(f"{pool.name}: parallelism {pool.parallelism:.3f}, at most {most:.3f}: {waits} waits of {wait_cost() / 1000:.1f} us")
    yield (f"{pool.name}: the interpreter's lock, by its name, is what tasks wait for",
           pool.most() == "condition" and "interpreter lock" in pool.names("condition"), f"{pool} {pool.names()}")


# --- threads -----------------------------------------------------------------------------------


@lesson("cpu")
def cpu(t):
    yield from hardly_blocked(t.pool("spin"))
    yield from side_by_side(t.pool("spin"), CPUS)


@lesson("oversubscribed")
def oversubscribed(t):
    pool = t.pool("spin")
    yield ("mostly runnable", pool.share("runnable") > 0.6, str(pool))
    yield from hardly_blocked(pool)


@lesson("heartbeat")
def heartbeat(t):
    heart, = t.named("heartbeat")
    work, = t.named("foreground")
    beats = int(re.search(r"beat (\d+) times", t.stdout).group(1))
    yield ("the foreground ends, the daemon is lost with its process",
           (work["status"], heart["status"]) == ("finished", "lost"), (work["status"], heart["status"]))
    yield ("the daemon outlives the foreground", heart["done_ns"] >= work["end_ns"], (heart, work))
    if truth.emulated():
        yield ("it was there before the foreground, and beats in time", None, truth.emulated())
    else:
        yield ("it was there before the foreground", heart["start_ns"] < work["start_ns"], (heart, work))
        yield ("it beats while the foreground computes: it sleeps as often as it beats, and hardly does else",
               beats >= 5 and abs(heart["voluntary"] - beats) <= 5 and
               heart["blocked"].get("sleep", 0) > 0.8 * (inside(heart) - heart["ledger"]["runnable_ns"]),
               f"{beats} beats in {inside(work) / MS:.0f} ms, {heart['voluntary']} sleeps: {heart['blocked']}")
    yield ("the foreground waits for nobody", work["ledger"]["blocked_ns"] < 0.05 * inside(work), work["ledger"])


# --- locks -------------------------------------------------------------------------------------


@lesson("lock")
def lock(t):
    pool = t.pool("lock")
    yield ("the lock is what tasks wait for, and it has a name", pool.most() == "lock" and "account" in pool.names("lock"),
           f"{pool} {pool.names()}")


@lesson("race")
def race(t):
    pool = t.pool("race")
    yield ("nobody waits for anybody, which is why updates are lost", pool.share("blocked") < 0.02, str(pool))
    yield from side_by_side(pool, 2)


@lesson("sync")
def sync(t):
    pool = t.pool("court")
    kinds = {"opening", "seats", "scale", "archive", "calling", "turn", "verdict"}
    yield ("every named lock that was waited for is told by its name",
           {"opening", "turn", "verdict"} <= pool.names() <= kinds, pool.names())
    yield ("the event, the condition and the barrier are conditions",
           {"opening", "turn", "verdict"} <= pool.names("condition"), pool.names("condition"))


# --- queues ------------------------------------------------------------------------------------


@lesson("producers")
def producers(t):
    orders, threads = t.pool("orders"), t.pool("threads")
    full = sum(s["ns"] for s in threads.splits if s.get("lock") == "orders not full")
    yield ("orders wait as all consumers are busy", orders.queued["busy"] > 0.5 * orders.wall_ns["sum"], str(orders))
    yield ("consumers wait for nothing inside an order", orders.share("blocked") < 0.05, str(orders))
    yield ("the producers are blocked as the queue is full", full > 0.9 * threads.ledger["blocked"] > 0, str(threads))
    waiting = [(o["submit_ns"], o["start_ns"]) for o in t.tasks if o["pool"] == "orders"]
    # an order is submitted before it is in the queue, by each of two producers, and starts after it left it
    yield ("the queue holds no more than it may", most_at_once(waiting) <= 8 + 2 + 2, most_at_once(waiting))


# --- executors ---------------------------------------------------------------------------------


@lesson("sleep")
def sleep(t):
    pool = t.pool("sleep")
    yield ("asleep 90 % of the time that they do not wait for a CPU",
           pool.blocked["sleep"] > 0.9 * (pool.inside - pool.ledger["runnable"]), str(pool))


@lesson("io")
def io(t):
    others = sum(t.cause("pipe", cause) for cause in t.causes() if cause != "pipe")
    yield ("the pipe is what its tasks wait for", t.cause("pipe", "pipe") > 10 * others, t.causes())
    yield ("no pipe in the file tasks", t.cause("file", "pipe") == 0, t.causes())


@lesson("dynamic")
def dynamic(t):
    tasks = sorted(t.tasks, key=lambda task: task["submit_ns"])
    third = len(tasks) // 3
    few, all_, last = ([(s["start_ns"], s["end_ns"]) for s in part]
                       for part in (tasks[:third], tasks[third:-third], tasks[-third:]))
    yield ("one task at a time, then many, then one at a time",
           most_at_once(few) == most_at_once(last) == 1 < most_at_once(all_) <= 6,
           [most_at_once(part) for part in (few, all_, last)])
    pool = t.pool("dynamic")
    alive = [(s["first_ns"], s["last_ns"]) for s in t.report["threads"] if s["tid"] in pool.workers]
    gone = [s for s in t.report["threads"] if s["tid"] in pool.workers and s["last_ns"] < tasks[-1]["end_ns"]]
    yield ("workers came and went", most_at_once(alive) >= 2 and gone,
           f"{most_at_once(alive)} at once, {len(gone)} gone")


@lesson("rejected")
def rejected(t):
    pool = t.pool("bounded")
    told = int(re.search(r"(\d+) submits rejected", t.stdout).group(1))
    queued, ran = map(float, re.search(r"queued ([\d.]+) ms and run ([\d.]+) ms", t.stdout).groups())
    yield ("what was rejected is told as rejected", pool.rejected == told > 0, f"{pool.rejected}, the program says {told}")
    yield ("and is no task", pool.submitted == pool.finished == len(t.tasks), str(pool.said["submitted"]))
    waiting = most_at_once([(s["submit_ns"], s["start_ns"]) for s in t.tasks])
    yield ("the backlog stays at its bound", waiting <= 2 * 2 + 1, waiting)
    said = [sum(s["ledger"]["queued_ns"] for s in t.tasks) / len(t.tasks) / MS, sum(map(inside, t.tasks)) / len(t.tasks) / MS]
    yield ("queue time and run time are those of the executor's statistics",
           abs(said[0] - queued) < 0.1 * queued + 0.3 and abs(said[1] - ran) < 0.1 * ran + 0.3,
           f"said {said}, the program {queued} {ran}")


@lesson("group")
def group(t):
    one, two = t.pool("queued"), t.pool("callers")
    for pool, most in (one, len(t.tasks)), (two, 2 + 1):
        waiting = most_at_once([(s["submit_ns"], s["start_ns"]) for s in t.tasks if s["pool"] == pool.name])
        yield (f"{pool.name}: no more tasks wait than may", waiting <= most, waiting)
    queued = [statistics.mean(s["ledger"]["queued_ns"] for s in t.tasks if s["pool"] == pool.name) for pool in (one, two)]
    yield ("queued: tasks spend most of their time in the queue", one.ledger["queued"] > 0.8 * (one.ledger["queued"] + one.inside),
           str(one))
    yield ("callers: they wait far less", queued[1] < queued[0] / 3, queued)
    by = {pool.name: {s["worker_tid"] for s in t.tasks if s["pool"] == pool.name} for pool in (one, two)}
    yield ("queued: one worker runs all", len(by["queued"]) == 1, by)
    yield ("callers: so does who submits", len(by["callers"]) == 2, by)
    yield ("callers: two tasks want a CPU at once", two.wanted > 1.4 and one.wanted < 1.1, f"{one}; {two}")


@lesson("fetch")
def fetch(t):
    one, ten = t.pool("sequential"), t.pool("fetch")
    longest = max(inside(s) for s in t.tasks if s["pool"] == "fetch")
    for pool in one, ten:
        yield (f"{pool.name}: sockets are what tasks wait for",
               pool.most() == "socket" and pool.blocked["socket"] > 0.9 * pool.ledger["blocked"], str(pool))
    yield ("one by one they take the sum of all", one.occupied <= 1.01 and one.span >= 0.99 * sum(
        inside(s) for s in t.tasks if s["pool"] == "sequential"), str(one))
    yield ("ten threads take about as long as the slowest server", ten.span < 1.5 * longest + 30 * MS,
           f"{ten.span / MS:.1f} ms, the slowest {longest / MS:.1f} ms")
    t.figure(f"one by one {one.span / MS:.0f} ms, ten threads {ten.span / MS:.0f} ms, the slowest {longest / MS:.0f} ms")


@lesson("futures")
def futures(t):
    parts, totals, receipts = map(t.pool, ("parts", "totals", "receipts"))
    ids = {s["id"] for s in t.named("part")}
    waited = {s["detail"] for s in totals.splits if s["cause"] == "future" and "detail" in s}
    if truth.emulated() and not totals.ledger["blocked"]:
        yield ("totals wait for futures of parts", None, f"all parts were done before: {truth.emulated()}")
    else:
        yield ("totals wait for futures, and for nothing else",
               totals.blocked["future"] > 0 and totals.most() == "future" and
               totals.blocked["future"] > 0.9 * totals.ledger["blocked"], str(totals))
        yield ("and these are those of parts", waited and waited <= ids, f"{waited - ids} of {waited}")
    yield from hardly_blocked(parts)
    yield ("a receipt comes after its total, from a callback", receipts.submitted == totals.submitted and all(
        r["submit_ns"] >= s["end_ns"] for r, s in zip(*(sorted(t.named(n), key=lambda x: x["submit_ns"])
                                                        for n in ("receipt", "total")))), str(receipts))


@lesson("shutdown")
def shutdown(t):
    told = list(map(int, re.findall(r"(\d+) (?:drained|finished|cancelled|terminated|broken)", t.stdout)))
    said = [(p.finished, p.submitted - p.finished) for p in map(t.pool, ("drained", "cancelled", "terminated", "broken"))]
    yield ("what became of each task, by pool", [n for pair in said for n in pair] == [told[0], 0, *told[1:]],
           f"said {said}, the program {told}")
    yield ("cancelled is not lost", (t.pool("cancelled").cancelled, t.pool("cancelled").lost) == (told[2], 0), told)
    broken = t.pool("broken")
    yield ("the tasks of a broken pool are lost with their worker", broken.lost == told[6] > 0, str(broken.said["lost"]))
    yield ("none is left open", all(p["open"] == 0 for p in t.report["pools"]), said)


# --- processes ---------------------------------------------------------------------------------


@lesson("procs")
def procs(t):
    pool = t.pool("procs")
    yield from hardly_blocked(pool)
    yield from side_by_side(pool, CPUS)
    yield ("items handed to a worker ahead are shown so", pool.queued["prefetched"] > 0.2 * pool.ledger["queued"],
           pool.queued)


@lesson("map")
def map_(t):
    yield from hardly_blocked(t.pool("map"))
    yield from side_by_side(t.pool("map"), CPUS)
    yield ("2 000 items are 40 tasks", len(t.tasks) == 40, len(t.tasks))


@lesson("spawned")
def spawned(t):
    for name in ("forked", "spawned"):
        pool = t.pool(name)
        yield (f"{name}: twenty tasks, a process for each CPU",
               (pool.finished, len(pool.workers), pool.kind) == (20, CPUS, "process"), str(pool))
        yield from hardly_blocked(pool)
    yield ("no worker is of both", not set(t.pool("forked").workers) & set(t.pool("spawned").workers), "")


@lesson("squares")
def squares(t):
    pool = t.pool("squares")
    yield ("six ranges, a process for each CPU", (pool.finished, len(pool.workers), pool.kind) == (6, CPUS, "process"), str(pool))
    yield from hardly_blocked(pool)
    yield from side_by_side(pool, CPUS)


@lesson("replace")
def replace(t):
    pool = t.pool("replace")
    threads = {s["tid"]: s for s in t.report["threads"]}
    killed = [tid for tid in pool.workers if threads[tid].get("exit_code") == 9]
    did = collections.Counter(s["worker_tid"] for s in t.tasks)
    yield ("the task whose worker was killed is lost, no other", (pool.lost, pool.finished) == (1, 199) and len(killed) == 1,
           f"{pool.said['lost']} lost, {killed} killed")
    yield ("it was that worker's", [s["worker_tid"] for s in t.tasks if s["status"] == "lost"] == killed, killed)
    yield ("each worker ends after 25 tasks, and others take over", len(pool.workers) >= 8 and max(did.values()) == 25, did)


# --- shared objects ------------------------------------------------------------------------------


@lesson("shared")
def shared(t):
    pool, items = t.pool("shared"), t.pool("items")
    yield ("the array's lock is waited for, by its name", "totals" in pool.names("lock"), f"{pool} {pool.names()}")
    yield ("the queue is full now and then, and has a name, too", "items not full" in pool.names("condition"),
           f"{pool} {pool.names()}")
    yield ("the manager answers through a socket", pool.blocked["socket"] > 0, str(pool))
    yield ("an item for each task, one after the other, by one process",
           (items.finished, len(items.workers)) == (pool.finished, 1) and most_at_once(
               [(s["start_ns"], s["end_ns"]) for s in t.tasks if s["pool"] == "items"]) == 1, f"{pool} {items}")
    yield ("items wait as their consumer is busy", items.queued["busy"] > 0.5 * items.ledger["queued"], str(items.queued))


# --- services ----------------------------------------------------------------------------------


@lesson("periodic")
def periodic(t):
    beats = sorted(t.named("beat"), key=lambda s: s["start_ns"])
    gaps = [b["start_ns"] - a["start_ns"] for a, b in zip(beats, beats[1:])]
    if truth.emulated():
        yield ("beats come in time", None, truth.emulated())
    else:
        yield ("all beats came, and a line of statistics for every ten or so",
               len(beats) == 100 and 9 <= len(t.named("print")) <= 15, f"{len(beats)} {len(t.named('print'))}")
        yield ("beats are never early, and mostly on time",
               min(gaps) > 0 and 7.5 * MS < statistics.median(gaps) < 12 * MS, f"median {statistics.median(gaps)}, least {min(gaps)}")
    yield ("a beat never overlaps itself", most_at_once([(s["start_ns"], s["end_ns"]) for s in beats]) == 1, "")
    yield ("the pool is idle for the rest", t.pool("periodic").parallelism < 0.5, str(t.pool("periodic")))


@lesson("service")
def service(t):
    pool = t.pool("service")
    workers = [s for s in t.report["threads"] if s["tid"] in pool.workers]
    killed = [s for s in workers if s.get("exit_code") == 9]
    late = [s for s in workers if killed and s["first_ns"] >= killed[0]["last_ns"]]
    yield ("of two workers one was killed by SIGKILL", len(workers) == 3 and len(killed) == 1, workers)
    yield ("and replaced: a third began after its end, as the same worker of the pool",
           len(late) == 1 and late[0]["worker"] == killed[0]["worker"], workers)
    yield ("no piece of work was lost", pool.finished == pool.submitted == 100, str(pool))


# --- interpreter lock, fibers, loops -------------------------------------------------------------


@lesson("gil")
def gil(t):
    yield from under_one_lock(t, t.pool("gil"))


@lesson("fibers")
def fibers(t):
    one, many = t.pool("one"), t.pool("many")
    blocking = [s for s in t.named("blocking") if s["pool"] == "one"]
    asleep = blocking[0]["blocked"].get("sleep", 0)
    ready = min(s["unmounted"].get("ready", 0) for s in t.named("strand") if s["pool"] == "one")
    yield ("the call that blocks is seen in its fiber", len(blocking) == 1 and asleep >= 39 * MS, blocking)
    yield ("on one kernel thread it stops its siblings: each was ready for all that time", ready >= 0.9 * asleep,
           f"{ready / MS:.1f} ms of {asleep / MS:.1f} ms")
    yield ("one kernel thread has one fiber under way at a time", one.occupied <= 1.01, str(one))
    if len(many.workers) > 1:
        yield ("several have several", many.occupied > 1.05, str(many))
    t.figure(f"many-to-one {one.span / MS:.0f} ms, many-to-many {many.span / MS:.0f} ms")


@lesson("loop")
def loop(t):
    pool = t.pool("loop")
    long = max(map(inside, t.tasks))
    behind = [s for s in t.tasks if s["ledger"]["queued_ns"] > 0.25 * long]
    yield ("one callback at a time", pool.occupied <= 1.01 and most_at_once(
        [(s["start_ns"], s["end_ns"]) for s in t.tasks]) == 1, str(pool))
    yield ("what takes long holds up the others: they are queued as the loop is busy",
           len(behind) >= 5 and pool.queued["busy"] > 0.8 * pool.ledger["queued"], f"{len(behind)}: {pool.queued}")
    yield from hardly_blocked(pool)


# --- placement on nodes --------------------------------------------------------------------------


def placed(t, name):
    """What the report says of where the pool's memory is, and the node and the pages a node that the workload tells of."""
    told = re.search(r"on the CPUs of node (\d+);((?: node \d+: \d+ pages;?)*)", t.stdout)
    pages = {int(node): int(n) for node, n in re.findall(r"node (\d+): (\d+) pages", told.group(2))}
    numa = t.pool(name).numa
    said = {n["node"]: n["pages"] for n in numa["nodes"]}
    # 1 MiB a task; a task's own stack and what writes its truth are a page or two more, and tables of memory policies
    yield ("as many pages of each node as the kernel says are there", t.report["numa"]["counted"] and all(
        n <= said[node] <= n + 2 * len(t.tasks) + 20 for node, n in pages.items()), f"said {said}, the program {pages}")
    yield ("and no other node's to speak of", sum(said.values()) <= 1.01 * sum(pages.values()) + 20, f"{said} {pages}")
    yield ("its tasks ran on that node alone", all(n["ran_ns"] == 0 for n in numa["nodes"] if n["node"] != int(told.group(1))) and
           numa["elsewhere_ns"] == 0, numa)
    return int(told.group(1)), numa, said


def part(numa, what):
    return numa[what] / max(1, numa["local_pages"] + numa["remote_pages"])


@lesson("numa-local")
def numa_local(t):
    node, numa, _ = yield from placed(t, "local")
    one = len(t.report["numa"]["machine"]) == 1
    yield ("all its memory is local, or on several nodes almost all", numa["local_pages"] > 0 and
           (numa["remote_pages"] == 0 if one else part(numa, "local_pages") > 0.95), numa)
    yield ("at home on the node that it runs on, hardly apart from its memory",
           numa["home_node"] == node and numa["apart_ns"] <= 0.05 * t.pool("local").ledger["running"], numa)


@lesson("numa-remote")
def numa_remote(t):
    node, numa, said = yield from placed(t, "remote")
    yield ("its memory is remote", part(numa, "remote_pages") > 0.95, numa)
    yield ("at home where its memory is, apart from it all the time",
           numa["home_node"] == max(said, key=said.get) != node and numa["apart_ns"] > 0.95 * t.pool("remote").ledger["running"], numa)


@lesson("numa-interleave")
def numa_interleave(t):
    _, _, said = yield from placed(t, "interleave")
    with_memory = [n["node"] for n in t.report["numa"]["machine"] if n["memory_bytes"]]
    even = 256 * len(t.tasks) / len(with_memory)
    yield ("its pages are on all nodes with memory alike",
           all(even - len(t.tasks) <= said[n] <= even + 2 * len(t.tasks) + 20 for n in with_memory), said)


@lesson("migrate")
def migrate(t):
    told = {kind: int(n) for n, kind in re.findall(r"(\d+) (core|node|cross)", t.stdout)}
    task, = t.tasks
    numa = t.pool("migrate").numa
    for whose, moves in ("the task's", task["numa"]["moves"]), ("the pool's", numa["moves"]):
        yield (f"{whose} moves are the 100 that it made, by how far they went",
               sum(told.values()) == 100 and moves == {**told, "unknown": 0}, f"{moves}, the program {told}")
    yield ("between the nodes that there are", len(t.report["numa"]["machine"]) > 1 or moves["cross"] == 0, moves)
    t.figure(f"runnable until it ran again, us a move: {sum(numa['move_wait_ns'].values()) / 100000:.1f}")


# --- one job, several ways -----------------------------------------------------------------------


@lesson("sums")
def sums(t):
    threads, processes = t.pool("threads"), t.pool("processes")
    yield ("five threads and eight processes, a sum each",
           [(p.finished, len(p.workers)) for p in (threads, processes)] == [(5, 5), (8, 8)], f"{threads} {processes}")
    for pool, n in (threads, 5), (processes, 8):
        yield from hardly_blocked(pool)
        # they start one after the other, and the last ones run alone
        yield (f"{pool.name}: more than the CPUs can have at once", pool.wanted > 0.5 * n, str(pool))
        yield (f"{pool.name}: the rest is runnable", pool.share("runnable") > 0.8 * (1 - CPUS / (0.5 * n)), str(pool))


@lesson("spawn")
def spawn(t):
    threads, processes = t.pool("make-threads"), t.pool("make-processes")
    cost = {p.name: p.inside / p.finished / 51 / 1000 for p in (threads, processes)}
    yield ("processes are waited for as children, threads are not",
           processes.most() == "child" and not threads.blocked["child"], f"{threads} {processes}")
    yield ("a process costs more than a thread", cost["make-processes"] > 1.2 * cost["make-threads"], cost)
    t.figure(f"made and waited for, us: {cost}")


@lesson("cpu-bound")
def cpu_bound(t):
    sequential, interpreter, threads, processes = map(t.pool, ("sequential", "interpreter", "threads", "processes"))
    yield ("sequential: one at a time", sequential.occupied <= 1.01, str(sequential))
    yield from under_one_lock(t, interpreter)
    for pool in threads, processes:
        yield from hardly_blocked(pool)
        yield from side_by_side(pool, len(pool.workers))


@lesson("io-bound")
def io_bound(t):
    pools = list(map(t.pool, ("sequential", "interpreter", "threads", "processes")))
    for pool in pools:
        yield (f"{pool.name}: sockets are what tasks wait for",
               pool.most() == "socket" and pool.blocked["socket"] > 0.8 * pool.ledger["blocked"], str(pool))
    yield ("sequential: one at a time", pools[0].occupied <= 1.01, str(pools[0]))
    for pool in pools[1:]:
        yield (f"{pool.name}: waiting goes on side by side, with or without an interpreter's lock",
               pool.occupied > 2, str(pool))
    t.figure(", ".join(f"{pool.name} {pool.span / MS:.0f} ms" for pool in pools))


@lesson("mixed")
def mixed(t):
    total = sum(map(sum, ([v for v in p["ledger"].values()] for p in t.report["pools"])))
    accounts = {a: sum(p["ledger"][a + "_ns"] for p in t.report["pools"]) for a in ("queued", "runnable", "running", "blocked")}
    yield ("three pools", {p["name"] for p in t.report["pools"]} == {"web", "scripts", "resize"}, "")
    yield ("queued, runnable, running and blocked are all there", min(accounts.values()) > 0.02 * total, accounts)
    yield ("lock, condition, sleep and pipe are told apart", {"lock", "condition", "sleep", "pipe"} <= set(t.causes()), t.causes())
