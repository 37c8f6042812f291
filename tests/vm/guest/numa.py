#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""numa.py NAME: in the virtual machine NAME of vm.py, what introspect says of nodes is true."""
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(HERE, "..", "..", "system")]
from tap import INTROSPECT, ROOT, Tap, run
from vm import TOPOLOGIES
from balancing import numa_balancing

PAGES = os.path.join(ROOT, "build", "tests", "system", "pages")
HINTS = os.path.join(ROOT, "build", "tests", "vm", "hints")
# of 100 moves from CPU to CPU in turn: (core, node, cross)
MOVES = {"one": (0, 100, 0), "two": (0, 50, 50), "four": (50, 0, 50), "no-cpu": (0, 100, 0),
         "no-memory": (0, 50, 50)}
# how many pages a thread may touch between its look at the kernel's counts and its end
LAST_FAULTS = 64
# where the workloads run, and which other node has memory
NEAR, FAR = 0, 1
tap = Tap()
name = sys.argv[1]
nodes = TOPOLOGIES[name]["nodes"]
os.chdir("/tmp")


def trace(*command, options=(), prefix=()):
    """Runs the command under introspect; its output and the report."""
    for path in ("t.itr", "t.json"):
        if os.path.exists(path):
            os.unlink(path)
    status, out, err = run(*prefix[1:], *([INTROSPECT] if prefix else []), "run", "--json", "--report", "t.json",
                           "-o", "t.itr", *options, "--", *command,
                           program=prefix[0] if prefix else INTROSPECT)
    if status:
        return status, out + err, None
    with open("t.json", encoding="utf-8") as file:
        return status, out, json.load(file)


def pages_on(numa, node):
    return next(n["pages"] for n in numa["nodes"] if n["node"] == node)


def share(numa, what):
    return numa[what] / max(1, numa["local_pages"] + numa["remote_pages"])


def the_machine(numa):
    """The trace has the machine's nodes, as many of them as it has."""
    says = [(n["node"], len(n["cpus"]), n["memory_bytes"] > 0) for n in numa["machine"]]
    wants = []
    for number, (cpus, megabytes) in enumerate(nodes):
        first, _, last = (cpus or "1-0").partition("-")
        wants.append((number, int(last or first) - int(first) + 1, megabytes > 0))
    tap.ok(says == wants, "the trace has the machine's nodes", f"{says} {wants}")


def remote():
    status, out, report = trace(INTROSPECT, "workload", "numa-remote")
    with_memory = [n for n, (_, megabytes) in enumerate(nodes) if megabytes]
    if len(with_memory) < 2:
        tap.ok(status == 77 and "two nodes" in out, "numa-remote: not on a machine with memory on one node", out)
        return
    if not tap.ok(report, "numa-remote runs", out):
        return
    the_machine(report["numa"])
    numa = report["pools"][0]["numa"]
    tap.ok(share(numa, "remote_pages") > 0.95, "numa-remote: over 95 % remote", numa)
    tap.ok(numa["home_node"] == FAR, f"its home is node {FAR}", numa)
    tap.ok(f"node {FAR}: {pages_on(numa, FAR)} pages" in out,
           "as many pages of it as the kernel says are there", f"{out}{numa}")
    tap.ok(report["numa"]["pages"][NEAR][FAR] >= pages_on(numa, FAR), "they are in the matrix", report["numa"])
    paid = report["numa"]["paid"]
    tap.ok(paid and all(t["pool"] == "remote" and t["numa"]["home_node"] == FAR for t in paid),
           "its tasks paid most", paid)
    status, text, err = run("numa", "t.itr")
    tap.ok(status == 0 and f"remote  node {FAR}" in text, "introspect numa names the node", text + err)
    status, text, err = run("numa", "--json", "t.itr")
    tap.ok(status == 0 and json.loads(text)["numa"] == report["numa"], "and says the same as the report", text + err)


def local():
    _, out, report = trace(INTROSPECT, "workload", "numa-local", options=["--numa"])
    if not tap.ok(report, "numa-local runs", out):
        return
    numa = report["pools"][0]["numa"]
    tap.ok(share(numa, "local_pages") > 0.95 and numa["home_node"] == NEAR, "numa-local: over 95 % local", numa)
    tap.ok(numa["apart_ns"] <= 0.05 * report["pools"][0]["ledger"]["running_ns"], "it hardly ran apart from its memory", numa)


def interleave():
    _, out, report = trace(INTROSPECT, "workload", "numa-interleave", options=["--numa"])
    if not tap.ok(report, "numa-interleave runs", out):
        return
    numa = report["pools"][0]["numa"]
    with_memory = [n for n, (_, megabytes) in enumerate(nodes) if megabytes]
    even = 40 * 256 / len(with_memory)
    tap.ok(all(even - 40 <= pages_on(numa, n) <= even + 80 for n in with_memory), "its pages are on all nodes alike", numa)


def moves():
    status, out, report = trace(INTROSPECT, "workload", "migrate")
    if not tap.ok(report, "migrate runs", f"{status} {out}"):
        return
    task = report["slowest"][0]["numa"]["moves"]
    tap.ok((task["core"], task["node"], task["cross"], task["unknown"]) == (*MOVES[name], 0),
           f"migrate: 100 moves, of their kinds: {MOVES[name]}", task)


def without_memory_near():
    """Threads on a node that has no memory: all of it is far, and nothing is divided by it."""
    _, out, report = trace(INTROSPECT, "workload", "numa-local", prefix=["/usr/bin/taskset", "-c", nodes[1][0]])
    if not tap.ok(report, "numa-local on a node without memory", out):
        return
    numa = report["pools"][0]["numa"]
    tap.ok(share(numa, "remote_pages") > 0.95 and numa["home_node"] == 0, "all its memory is remote", numa)
    tap.ok(report["numa"]["pages"][1][1] == 0 and report["numa"]["cpu_ns"][1][1] == 0, "none is of that node", report["numa"])


def to_the_page():
    """As numa_maps and vmstat count where they count the same."""
    far = len([n for n in nodes if n[1]]) - 1
    _, out, report = trace(PAGES, far, 500, 6, options=["--numa"])
    if not tap.ok(report, "pages runs", out):
        return
    rounds = [json.loads(line) for line in out.splitlines()]
    _, lines, _ = run("tasks", "--json", "t.itr")
    tasks = {t["id"]: t["numa"] for t in map(json.loads, lines.splitlines())}
    counted = [[pages_on(tasks[r["task"]], n) for n in range(len(nodes))] for r in rounds]
    maps = [r["numa_maps"][:len(nodes)] for r in rounds]
    wanted = [500 if n == far else 0 for n in range(len(nodes))]
    # the first round is also the first to use what writes its marks and prints
    tap.ok(counted[1:] == maps[1:] == [wanted] * 5, "each task's pages are those of numa_maps", f"{counted} {maps}")
    # others of this machine may need a page meanwhile
    same = sum(c == r["vmstat"][:len(nodes)] for c, r in zip(counted, rounds))
    tap.ok(same >= 3, "and what /sys/devices/system/node/node*/vmstat gained", f"{counted} {rounds}")


def residency():
    """Of a process that lives, and of one that lived when its recording ended."""
    far = len([n for n in nodes if n[1]]) - 1
    with subprocess.Popen([PAGES, str(far), "700", "1", "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        told = json.loads(process.stdout.readline())
        status, text, err = run("numa", "--json", "-p", process.pid)
        tap.ok(status == 0, "introspect numa -p", err)
        found = [m for m in json.loads(text)["residency"]["mappings"] if m["address"] == told["address"]]
        tap.ok(found and found[0]["pages"] == told["numa_maps"][:len(nodes)] and sum(found[0]["pages"]) == 700,
               "the mapping's pages are those of numa_maps", f"{found} {told}")
        if os.path.exists("p.itr"):
            os.unlink("p.itr")
        run("record", "--numa", "-p", process.pid, "-d", 0.2, "-o", "p.itr")
        status, text, err = run("numa", "--json", "p.itr")
        kept = [m for r in json.loads(text)["numa"]["residency"] if r["pid"] == process.pid for m in r["mappings"]
                if m["address"] == told["address"]]
        tap.ok(kept and kept[0]["pages"] == told["numa_maps"][:len(nodes)], "and are in the trace of a running process", text + err)
        process.stdin.close()


def moved_pages():
    """How many pages the kernel says were moved, but for those that balancing moved."""
    with open("/proc/vmstat", encoding="utf-8") as file:
        vmstat = dict(line.split() for line in file)
    return int(vmstat["pgmigrate_success"]) - int(vmstat["numa_pages_migrated"])


def moved_by_request():
    """Pages that a program moves itself, against the kernel's count of the machine."""
    script = ("import ctypes,mmap,sys\n"
              "m=mmap.mmap(-1,300*4096);m.write(b'x'*300*4096)\n"
              "a=ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
              "n=ctypes.c_ulong(2)\n"
              "r=ctypes.CDLL(None,use_errno=True).syscall(237,ctypes.c_ulong(a),ctypes.c_ulong(300*4096),2,"
              "ctypes.byref(n),ctypes.c_ulong(64),2)\n"
              "sys.exit(r!=0)\n")
    before = moved_pages()
    _, out, report = trace("/usr/bin/taskset", "-c", "0", "/usr/bin/python3", "-c", script)
    if not tap.ok(report, "a program that moves its pages", out):
        return
    moved = moved_pages() - before
    tap.ok(report["numa"]["moved_pages"] >= 300 and report["numa"]["moved_pages"] == moved,
           "as many as vmstat says were migrated", f"{report['numa']['moved_pages']} {moved}")


def hints():
    """Memory that a thread of one node uses and another node has, when balancing looks for that."""
    numa_balancing(1)
    for how in ("follow", "stay"):
        _, out, report = trace(HINTS, how, 1000, options=["--numa"])
        if not tap.ok(report, f"hints {how} runs", out):
            continue
        told = json.loads(out)
        _, text, _ = run("numa", "--json", "t.itr")
        numa = json.loads(text)["workers"][0]["numa"]
        seen = numa["hinted_local_pages"] + numa["hinted_remote_pages"]
        # nearly all are this thread's, and a few of its last moments come after it has looked
        tap.ok(told["faults"] / 2 < seen <= told["faults"] + LAST_FAULTS,
               f"hints {how}: the hinting faults that the kernel counts", f"{told} {numa}")
        tap.ok(0 <= numa["balanced_pages"] - told["brought"] <= LAST_FAULTS,
               f"hints {how}: as many brought over as /proc/PID/sched says", f"{told} {numa}")
        print(f"# figure hints {how}: of {told['faults']} faults {seen} are told; pages brought over: {told['brought']} by the "
              f"kernel's count, {numa['balanced_pages']} by ours; {numa['decisions']}")
    numa_balancing(0)


numa_balancing(0)  # but where it is asked for: it moves pages of anybody, at any time
remote()
moves()
local()
interleave()
if name != "four":
    to_the_page()
    residency()
if name == "no-memory":
    without_memory_near()
if name == "two":
    moved_by_request()
    hints()
tap.done()
