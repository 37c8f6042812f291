# SPDX-License-Identifier: BSD-2-Clause
"""NUMA balancing in the guest, in a hurry."""
import os

HURRY = {"scan_delay_ms": 1, "scan_period_min_ms": 20, "scan_period_max_ms": 50}


def numa_balancing(on):
    """Switched on, it looks at all memory of who runs many times a second; off, nobody moves pages."""
    for name, value in HURRY.items() if on else ():
        write(os.path.join("/sys/kernel/debug/sched/numa_balancing", name), value)
    write("/proc/sys/kernel/numa_balancing", int(on))


def write(path, value):
    with open(path, "w", encoding="utf-8") as file:
        file.write(str(value))
