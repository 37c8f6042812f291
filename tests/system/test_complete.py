#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every event is stored or counted as lost, whatever the size of the rings."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from tap import ROOT, Tap, cannot_trace, run

DUMP = os.path.join(ROOT, "build", "tests", "system", "dump")
# what each program writes when it does not lose the record; TASK comes on top
PROGRAMS = {"switch": "SWITCH", "waking": "WAKING", "wakeup_new": "WAKEUP_NEW", "migrate": "MIGRATE",
            "fork": "FORK", "exec": "EXEC", "exit": "EXIT", "rename": "RENAME"}
tap = Tap()


def dump(path):
    return json.loads(subprocess.run([DUMP, path], stdout=subprocess.PIPE, check=True).stdout)


def record(*options, loops):
    """A trace of the whole system while messaging runs, and what it holds."""
    with tempfile.TemporaryDirectory() as where:
        path = os.path.join(where, "t.itr")
        status, out, err = run("record", "-a", "--bpf-stats", "-o", path, *options, "--", "perf",
                               "bench", "sched", "messaging", "-g", 10, "-l", loops)
        tap.ok(status == 0, f"messaging is recorded {' '.join(options) or 'with default rings'}",
               f"status {status}\n{out}{err}")
        return dump(path) if status == 0 else None


def produced_is_stored_and_lost(held, what):
    meta = held["meta"]
    cpus = len(meta["lost"]["cpu"])
    tap.ok(held["lost"][:cpus] == meta["lost"]["cpu"] and not any(held["lost"][cpus:]),
           f"{what}: LOST records sum to what each CPU lost",
           f"in records {held['lost'][:cpus]}, counted {meta['lost']['cpu']}")
    tap.ok(held["stored"][:cpus] == meta["stored"]["cpu"] and not any(held["stored"][cpus:]),
           f"{what}: each CPU's records are in the file",
           f"in file {held['stored'][:cpus]}, counted {meta['stored']['cpu']}")
    # the kernel's own count of the programs' runs knows nothing of rings
    bpf = meta["bpf"]
    runs = sum(bpf[name]["runs"] for name in PROGRAMS)
    missed = sum(bpf[name]["missed"] for name in PROGRAMS)
    stored, lost = sum(meta["stored"]["cpu"]), sum(meta["lost"]["cpu"])
    tap.ok(runs == stored + lost + bpf["ignored"] and not missed,
           f"{what}: the kernel ran the programs as often as records were stored and lost",
           f"{runs} runs, {stored} stored, {lost} lost, {bpf['ignored']} ignored, {missed} missed")
    tap.ok(held["late"] == meta["late_records"],
           f"{what}: the records told late are in the file, and counted apart",
           f"{held['late']} in the file, {meta['late_records']} counted")
    tap.ok(not held["disorder"] and not held["truncated"] and not held["bad_records"],
           f"{what}: the file is whole and in order", held)
    print(f"# figure {what}: {runs} events, {lost} lost, switch program "
          f"{bpf['switch']['run_ns'] / max(1, bpf['switch']['runs']):.0f} ns a run")
    return lost


def default_rings():
    held = record(loops=1000)
    if not held:
        return
    lost = produced_is_stored_and_lost(held, "default rings")
    tap.ok(lost == 0, "default rings: nothing is lost on messaging", f"{lost} lost")
    per_kind = {name: held["kinds"].get(kind, 0) for name, kind in PROGRAMS.items()}
    runs = {name: held["meta"]["bpf"][name]["runs"] for name in PROGRAMS}
    runs["waking"] -= held["meta"]["bpf"]["ignored"]
    tap.ok(per_kind == runs, "default rings: each program's runs are its kind's records",
           f"records {per_kind}\nruns    {runs}")


def tiny_rings():
    held = record("--ring-bytes", "4k", loops=100)
    if not held:
        return
    lost = produced_is_stored_and_lost(held, "tiny rings")
    tap.ok(lost > 0 and held["kinds"].get("LOST", 0) > 1, "tiny rings: something is lost, in gaps",
           f"{lost} lost in {held['kinds'].get('LOST', 0)} gaps")


reason = cannot_trace() or (None if shutil.which("perf") else "perf is not installed")
if reason:
    tap.skip("complete", reason)
else:
    default_rings()
    tiny_rings()
tap.done()
