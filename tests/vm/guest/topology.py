#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""topology.py NAME: in the virtual machine, is it the one that NAME stands for in vm.py?"""
import glob
import os
import re
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(HERE, "..", "..", "system")]
from tap import Tap
from vm import TOPOLOGIES, cpu_count

NODES = "/sys/devices/system/node"
# of a node's memory the firmware and the kernel's image take some
MOST_TAKEN_MB = 300
tap = Tap()
wanted = TOPOLOGIES[sys.argv[1]]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


numbers = sorted(int(re.search(r"\d+$", path)[0]) for path in glob.glob(f"{NODES}/node[0-9]*"))
tap.ok(numbers == list(range(len(wanted["nodes"]))), f"{len(wanted['nodes'])} nodes", numbers)
for node, (cpus, megabytes) in zip(numbers, wanted["nodes"]):
    has = read(f"{NODES}/node{node}/cpulist")
    tap.ok(has == (cpus or ""), f"node {node} has CPUs {cpus or 'none'}", has)
    kb = int(re.search(r"MemTotal: +(\d+)", read(f"{NODES}/node{node}/meminfo"))[1])
    tap.ok(max(0, megabytes - MOST_TAKEN_MB) <= kb >> 10 <= megabytes,
           f"node {node} has {megabytes} MB", f"{kb} KB")
for (a, b), distance in wanted.get("distances", {}).items():
    is_at = read(f"{NODES}/node{a}/distance").split()[b]
    tap.ok(is_at == str(distance), f"{distance} from node {a} to {b}", is_at)
total = sum(cpu_count(node[0]) for node in wanted["nodes"] if node[0])
tap.ok(os.cpu_count() == total, f"{total} CPUs", os.cpu_count())
pairs = read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
tap.ok(cpu_count(pairs) == wanted.get("threads", 1), "threads of a core", pairs)
tap.done()
