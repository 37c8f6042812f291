#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The program from outside: help, JSON field by field, exact sums, tables, completion."""
import glob
import json
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
import unicodedata

sys.dont_write_bytecode = True
from tap import INTROSPECT, ROOT, Tap, cannot_trace, run

tap = Tap()
COMMANDS = "run", "record", "report", "tasks", "threads", "numa", "workload", "doctor"
ACCOUNTS = "queued", "running", "runnable", "blocked", "unmounted", "delivered", "unknown"
U64 = 2**64


def width(line):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
               for c in line)


def too_wide(text, limit=100):
    return [line for line in text.splitlines() if width(line) > limit]


def helps():
    for command in COMMANDS:
        status, out, err = run(command, "--help")
        again = run("help", command)
        tap.ok(status == 0 and out.startswith(f"usage: introspect {command}") and not err and
               again == (0, out, "") and not too_wide(out), f"{command} --help", out + err)
        options = set(re.findall(r"--[a-z-]+", out))
        with open(os.path.join(ROOT, "docs", "man", f"introspect-{command}.1"), "rb") as f:
            page = subprocess.run(["mandoc", "-T", "ascii"], stdin=f, capture_output=True,
                                  check=False).stdout.decode()
        page = re.sub(".\b", "", page)
        missing = [o for o in options if o not in page]
        tap.ok(not missing, f"introspect-{command}.1 has every option", missing)
    for args in ("--help",), ("help",), ("-h",):
        status, out, err = run(*args)
        tap.ok(status == 0 and all(f"\n  {c} " in out for c in COMMANDS) and not err,
               f"introspect {args[0]} lists every subcommand", out + err)
    tap.ok(run("--version")[1].startswith("introspect "), "--version")


def is_count(x):
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x < U64


def is_map(x):
    return isinstance(x, dict) and all(isinstance(k, str) and is_count(v) for k, v in x.items())


def wrong(thing, shape):
    """Members that are missing or not of their kind: shape is {name: type, test, or shape}."""
    if not isinstance(thing, dict):
        return [f"not an object: {thing}"]
    found = []
    for name, kind in shape.items():
        if name not in thing:
            found.append(f"no {name}")
        elif isinstance(kind, dict):
            found += [f"{name}.{w}" for w in wrong(thing[name], kind)]
        elif isinstance(kind, type):
            if not isinstance(thing[name], kind):
                found.append(f"{name}: {thing[name]}")
        elif not kind(thing[name]):
            found.append(f"{name}: {thing[name]}")
    return found


LEDGER = {f"{a}_ns": is_count for a in ACCOUNTS}
TASK = {
    "id": is_count, "pool": str, "name": str, "worker_tid": is_count,
    "status": lambda s: s in ("finished", "failed", "cancelled", "lost", "queued", "running",
                              "unseen"),
    "submit_ns": is_count, "start_ns": is_count, "end_ns": is_count, "wall_ns": is_count,
    "ledger": LEDGER, "blocked": is_map, "queued": is_map, "runnable": is_map,
    "cpu_ns": is_count, "switches": is_count, "migrations": is_count,
}
TRACE = {"duration_ns": is_count, "events": is_count, "lost": is_count, "source": str,
         "kernel": str, "cpus": is_count, "nodes": is_count, "command": str}
POOL = {
    "id": is_count, "name": str, "kind": lambda k: k in ("thread", "process", "own", "marked"),
    "workers": list, "submitted": is_count, "finished": is_count, "failed": is_count,
    "cancelled": is_count, "ledger": LEDGER, "cpu_ns": is_count,
    "wall_ns": {q: is_count for q in ("p50", "p90", "p99", "max", "sum")},
}
THREAD = {
    "tid": is_count, "pid": is_count, "ppid": is_count, "name": str, "migrations": is_count,
    "states_ns": {s: is_count for s in ("new", "runnable", "running", "blocked", "dead",
                                        "unknown")},
    "cpu_ns": is_count, "switches": {"voluntary": is_count, "involuntary": is_count},
}


def total(ledger):
    return sum(ledger[f"{a}_ns"] for a in ACCOUNTS)


def check_task(task, from_middle=False):
    found = wrong(task, TASK)
    if found:
        return found
    if total(task["ledger"]) != task["wall_ns"]:
        found.append(f"{total(task['ledger'])} is not wall_ns {task['wall_ns']}")
    for account in "queued", "runnable", "blocked", "unmounted", "delivered", "unknown":
        if sum(task[account].values()) != task["ledger"][f"{account}_ns"]:
            found.append(f"{account}: {task[account]} is not {task['ledger']}")
    times = [task[t] for t in ("submit_ns", "start_ns", "end_ns") if task[t]]
    if times != sorted(times):
        found.append(f"submit, start, end are not in order: {times}")
    if not from_middle and task["status"] == "finished" and len(times) != 3:
        found.append(f"a time is missing: {times}")
    return [f"task {task['id']}: {f}" for f in found]


def check_report(report, tasks, threads):
    found = wrong(report, {"schema": lambda s: s == "introspect.report/1", "trace": TRACE,
                           "pools": list, "threads": list})
    for pool in report["pools"]:
        own = [t for t in tasks if t["pool_id"] == pool["id"]]
        found += wrong(pool, POOL)
        if not all(is_count(t) for t in pool["workers"]):
            found.append(f"workers: {pool['workers']}")
        if len(own) != pool["submitted"]:
            found.append(f"pool {pool['name']}: {len(own)} tasks, {pool['submitted']} submitted")
        for account in ACCOUNTS:
            total = sum(t["ledger"][f"{account}_ns"] for t in own)
            if total != pool["ledger"][f"{account}_ns"]:
                found.append(f"pool {pool['name']}: {account}: {total} {pool['ledger']}")
        if pool["wall_ns"]["sum"] != sum(t["wall_ns"] for t in own):
            found.append(f"pool {pool['name']}: sum of wall times {pool['wall_ns']}")
        if own and pool["wall_ns"]["max"] != max(t["wall_ns"] for t in own):
            found.append(f"pool {pool['name']}: largest wall time {pool['wall_ns']}")
        for tid in pool["workers"]:
            if tid not in {t["tid"] for t in report["threads"]}:
                found.append(f"pool {pool['name']}: worker {tid} is no thread of the report")
    for thread in report["threads"]:
        found += [f"thread {thread.get('tid')}: {w}" for w in wrong(thread, THREAD)]
    if sorted(map(json.dumps, threads)) != sorted(
            json.dumps(t) for t in report["threads"] if t["target"]):
        found.append("threads --json is not the report's threads")
    return found


def traces(name):
    """Every workload: JSON in shape, ledgers that sum, tables that fit."""
    listed = json.loads(run("workload", "--json")[1])
    names = [w["name"] if isinstance(w, dict) else w
             for w in (listed["workloads"] if isinstance(listed, dict) else listed)]
    tap.ok("mixed" in names, f"{name}: workloads are listed", names)
    with tempfile.TemporaryDirectory() as d:
        for workload in names:
            path = os.path.join(d, f"{workload}.itr")
            status, _, err = run("run", "-o", path, "--report", path + ".txt", "--", INTROSPECT,
                                 "workload", workload, "--tasks", 60)
            if status == 77 and workload in ("migrate", "numa-remote"):
                tap.skip(f"{name}: {workload}", err.splitlines()[0])  # the machine has no room for it
                continue
            with open(path + ".txt", encoding="utf-8") as f:
                text = f.read()
            tap.ok(status == 0 and text.startswith("introspect") and not too_wide(text),
                   f"{name}: {workload}: the report", f"{status} {err} {too_wide(text)}")
            status, out, err = run("tasks", "--json", path)
            tasks = [json.loads(line) for line in out.splitlines()]
            found = [f for t in tasks for f in check_task(t)]
            tap.ok(status == 0 and tasks and not found,
                   f"{name}: {workload}: tasks --json, and every ledger sums",
                   "\n".join(found[:10]) + err)
            threads = [json.loads(line) for line in run("threads", "--json", path)[1].splitlines()]
            status, out, err = run("report", "--json", path)
            found = check_report(json.loads(out), tasks, threads)
            tap.ok(status == 0 and not found, f"{name}: {workload}: report --json",
                   "\n".join(found[:10]) + err)
            wide = sum((too_wide(run(*args, path)[1]) for args in
                        (("report", "--all"), ("tasks",), ("threads",), ("threads", "--tree"), ("numa", "--all"))), [])
            tap.ok(not wide, f"{name}: {workload}: tables of at most 100 columns", "\n".join(wide))
            check_filters(f"{name}: {workload}", path, tasks)
        check_same(name, os.path.join(d, "mixed.itr"))
        check_terminal(name, os.path.join(d, "mixed.itr"))
        check_newest(name, d)


def check_filters(name, path, tasks):
    def ids(*args):
        return [json.loads(line)["id"] for line in run("tasks", "--json", *args, path)[1].splitlines()]

    pool = tasks[0]["pool"]
    order = sorted(range(len(tasks)), key=lambda i: (-tasks[i]["ledger"]["queued_ns"], i))
    good = (ids("--pool", pool) == [t["id"] for t in tasks if t["pool"] == pool] and
            ids("--status", "finished") == [t["id"] for t in tasks if t["status"] == "finished"] and
            ids("--status", "lost") == [t["id"] for t in tasks if t["status"] == "lost"] and
            ids("--id", tasks[-1]["id"]) == [tasks[-1]["id"]] and
            ids("--sort", "queued", "--top", "5") == [tasks[i]["id"] for i in order[:5]] and
            ids("--sort", "id") == sorted(t["id"] for t in tasks) and
            ids("--pool", "nobody's") == [])
    tap.ok(good, f"{name}: tasks are filtered and sorted")


def check_same(name, path):
    """The same file gives the same bytes, in any locale where JSON is concerned."""
    for args in ("report", "--json"), ("tasks", "--json"), ("report",), ("threads",):
        tap.ok(run(*args, path) == run(*args, path), f"{name}: {' '.join(args)} says the same twice")
    plain = dict(os.environ, LC_ALL="C")
    tap.ok(run("report", "--json", path)[1] == run("report", "--json", path, env=plain)[1],
           f"{name}: JSON does not depend on the locale")
    out = run("report", path, env=plain)[1] + run("tasks", path, env=plain)[1]
    tap.ok(out.isascii() and "#" in out and not too_wide(out), f"{name}: ASCII in the C locale")
    tap.ok("\033" not in run("report", path)[1], f"{name}: no colour into a pipe")


def on_terminal(*args, **env):
    """What the program writes to a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen([INTROSPECT, *args], stdin=subprocess.DEVNULL, stdout=slave,
                          stderr=slave, env=dict(os.environ, TERM="xterm", **env)) as child:
        os.close(slave)
        out, end = b"", time.monotonic() + 60
        while time.monotonic() < end:
            if not select.select([master], [], [], 1)[0]:
                continue
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            out += part
        child.wait(timeout=10)
    os.close(master)
    return out.decode("utf-8", "replace")


def check_terminal(name, path):
    tap.ok("\033[1m" in on_terminal("report", path), f"{name}: colour on a terminal")
    tap.ok("\033" not in on_terminal("report", path, NO_COLOR="1"), f"{name}: NO_COLOR")


def check_newest(name, d):
    """Without a file the newest introspect-*.itr is read."""
    for i, workload in enumerate(("cpu", "sleep")):
        link = os.path.join(d, f"introspect-{workload}-20200101-00000{i}.itr")
        os.link(os.path.join(d, f"{workload}.itr"), link)
        os.utime(link, (2**31 - 10 + i, 2**31 - 10 + i))
    tap.ok("workload sleep" in run("report", cwd=d)[1], f"{name}: the newest trace is the default")


def record_modes(name):
    with tempfile.TemporaryDirectory() as d:
        status, _, err = run("record", "-a", "-d", "0.3", cwd=d)
        made = glob.glob(os.path.join(d, "introspect-all-????????-??????.itr"))
        tap.ok(status == 0 and len(made) == 1 and err.startswith("Saved to introspect-all-"),
               f"{name}: the whole system", f"{status} {err} {os.listdir(d)}")
        status, _, err = run("record", "-o", "x.itr", "-a", "--", "sh", "-c", "exit 3", cwd=d)
        tap.ok(status == 3 and os.path.exists(os.path.join(d, "x.itr")),
               f"{name}: the whole system while a command runs", f"{status} {err}")
        with subprocess.Popen([INTROSPECT, "workload", "cpu", "--tasks", "3000"],
                              stdout=subprocess.DEVNULL) as target:
            time.sleep(0.3)
            status, _, err = run("record", "-p", target.pid, "-d", "0.5", cwd=d)
            target.kill()
        made = glob.glob(os.path.join(d, f"introspect-pid{target.pid}-*.itr"))
        tasks = run("tasks", "--json", made[0])[1].splitlines() if made else []
        found = [f for t in tasks for f in check_task(json.loads(t), from_middle=True)]
        tap.ok(status == 0 and len(tasks) > 1 and not found, f"{name}: a running process",
               f"{status} {err} {len(tasks)} tasks\n" + "\n".join(found[:10]))
        status, out, err = run("run", "--no-kernel", "-o", "m.itr", "--", INTROSPECT, "workload",
                               "cpu", "--tasks", "20", cwd=d)
        tap.ok(status == 0 and "no kernel records" in err and "20 tasks" in err,
               f"{name}: marks alone", f"{status} {err}")
        status, out, err = run("run", "--json", "--report", "-", "-o", "j.itr", "--", "true", cwd=d)
        tap.ok(status == 0 and json.loads(out)["schema"] == "introspect.report/1",
               f"{name}: run --json on standard output", f"{status} {out} {err}")


def completion():
    script = os.path.join(ROOT, "cli", "completion.bash")
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(os.path.join(d, "dir"))
        for name in "a.itr", "b c.itr", "other.txt":
            with open(os.path.join(d, name), "w", encoding="ascii"):
                pass

        def complete(*words):
            code = (f"source '{script}'; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); "
                    "_introspect; printf '%s\\n' \"${COMPREPLY[@]}\"")
            done = subprocess.run(["bash", "--norc", "-c", code, "bash", INTROSPECT, *words], cwd=d,
                                  capture_output=True, check=False, text=True)
            return set(done.stdout.split("\n")) - {""} if not done.returncode else done.stderr

        for words, want in ((("",), set(COMMANDS) | {"help", "--help", "--version"}),
                            (("re",), {"record", "report"}),
                            (("workload", "mi"), {"migrate", "mixed"}),
                            (("report", ""), {"a.itr", "b c.itr", "dir"}),
                            (("tasks", "--sort", "que"), {"queued"}),
                            (("tasks", "--st"), {"--status"}),
                            (("threads", "--tr"), {"--tree"}),
                            (("record", "--dur"), {"--duration"}),
                            (("run", "--", "tru"), {"true", "truncate"}),
                            (("help", "doc"), {"doctor"})):
            got = complete(*words)
            tap.ok(got == want or words[-1] == "tru" and want <= got,
                   f"completion of '{' '.join(words)}'", f"{got} is not {want}")
        for command in COMMANDS:
            options = set(re.findall(r"--[a-z-]+", run(command, "--help")[1])) - {"--"}
            got = complete(command, "--")
            tap.ok(options <= set(got), f"completion of every option of {command}",
                   options - set(got))


def doctor():
    status, out, err = run("doctor")
    tap.ok(status in (0, 77) and out and not err and not too_wide(out), "doctor", out + err)
    again, text, _ = run("doctor", "--json")
    features = json.loads(text)["features"]
    missing = [f for f in features if f["verdict"] == "missing"]
    tap.ok(again == status and features and bool(missing) == (status == 77) and
           all(f["remedy"] for f in missing), "doctor --json", text)


helps()
completion()
for title, test in ("traced", traces), ("record", record_modes):
    if cannot_trace():
        tap.skip(title, cannot_trace())
    else:
        test(title)
doctor()
tap.done()
