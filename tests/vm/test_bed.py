#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The virtual machine itself: it has the nodes that were asked for, and nothing bad passes."""
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "system"))
from tap import Tap, run
from vm import Unavailable, kernel

VM = os.path.join(HERE, "vm.py")
tap = Tap()


def machine(*arguments):
    status, out, err = run("run", *arguments, program=VM)
    return status, out + err


def each_topology():
    for name in ("one", "two", "four", "no-cpu", "no-memory"):
        status, out = machine("--topology", name, f"tests/vm/guest/topology.py {name}")
        tap.ok(status == 0, f"{name}: the guest has the nodes, CPUs and memory that it was given",
               out)


def what_is_bad_is_told():
    status, out = machine("echo 'WARNING: CPU: 0 at a test' >/dev/kmsg", "exit 3", "sleep 100",
                          "echo ok 1 - fine; echo not ok 2 - wrong; echo 1..2", "echo ok 1 - half; echo 1..2",
                          "--command-timeout", "1")
    for line in ("exit 3: exit status 3", "sleep 100: exit status 124", ": wrong", ": printed 1 results of 2",
                 "the kernel's log tells of no bug"):
        tap.ok(status == 1 and any(has.startswith("not ok") and has.endswith(line)
                                   for has in out.splitlines()), f"a failure: {line}", out)
    tap.ok(": fine" in out and sum(line.startswith("not ok") for line in out.splitlines()) == 5, "and nothing else is one", out)


def machine_that_dies():
    status, out = machine("echo ok 1 - before; echo 1..1", "echo c >/proc/sysrq-trigger", "echo ok 1 - after; echo 1..1")
    tap.ok(status == 1 and "Kernel panic" in out and ": before" in out and ": after" not in out,
           "a panic ends the machine, and is told with what came before it", out)
    status, out = machine("--timeout", "8", "sleep 100")
    tap.ok(status == 1 and "it was ended after 8 s" in out, "a machine that hangs is ended", out)


try:
    kernel()
except Unavailable as why:
    print(f"NO VIRTUAL MACHINE: {why}")
    sys.exit(77)
each_topology()
what_is_bad_is_told()
machine_that_dies()
tap.done()
