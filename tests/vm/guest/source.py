#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The module is loaded: which source is taken, and what doctor says."""
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "..", "system"))
from tap import ROOT, Tap, run

INTROSPECT = os.path.join(ROOT, "build", "introspect")
DUMP = os.path.join(ROOT, "build", "tests", "system", "dump")
NO_BTF = "mount -t tmpfs none /sys/kernel/btf && "
tap = Tap()


def source(*options, before=""):
    """Which one a recording names as its own."""
    with tempfile.TemporaryDirectory() as where:
        path = f"{where}/t.itr"
        command = f"{before} exec {INTROSPECT} record {' '.join(options)} -o {path} -- true"
        status, _, err = run("-m", "sh", "-c", command, program="unshare")
        if status:
            return f"{status} {err}"
        held = json.loads(subprocess.check_output([DUMP, path]))
        return held["meta"]["source"] if held["kinds"].get("SWITCH") else "nothing"


def doctor():
    status, out, err = run("doctor", "--json", program=INTROSPECT)
    rows = {row["feature"]: row for row in json.loads(out)["features"]}
    row = rows.get("kernel module", {})
    tap.ok(status == 0 and row.get("verdict") == "ok" and "finds all tracepoints" in row["finding"],
           "doctor finds the module, and that it finds its tracepoints", f"{status} {err} {row}")


for got, wanted, what in ((source("--source", "kmod"), "kmod", "the module when it is asked for"),
                          (source("--source", "bpf"), "bpf", "BPF when it is asked for"),
                          (source(), "bpf", "BPF when nothing is"),
                          (source(before=NO_BTF), "kmod", "the module where BPF cannot be used")):
    tap.ok(got == wanted, what, got)
doctor()
tap.done()
