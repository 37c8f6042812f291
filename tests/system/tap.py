# SPDX-License-Identifier: BSD-2-Clause
"""What the system tests in Python share: TAP, and how to run the program."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# "kmod": record by the kernel module
SOURCE = os.environ.get("TEST_SOURCE", "bpf")
INTROSPECT = (os.path.join(ROOT, "build", "introspect") if SOURCE == "bpf" else
              os.path.join(ROOT, "tests", "vm", "guest", f"introspect-{SOURCE}"))


class Tap:
    def __init__(self):
        self.n = 0
        self.failed = 0

    def ok(self, passed, name, why=""):
        self.n += 1
        print(f"{'ok' if passed else 'not ok'} {self.n} - {name}", flush=True)
        if not passed:
            self.failed += 1
            for line in str(why).splitlines():
                print(f"# {line}", flush=True)
        return bool(passed)

    def skip(self, name, why):
        self.n += 1
        print(f"ok {self.n} - {name} # SKIP {why}", flush=True)

    def done(self):
        print(f"1..{self.n}")
        sys.exit(1 if self.failed else 0)


def run(*args, program=INTROSPECT, timeout=120, stdout=subprocess.PIPE, **more):
    """The program with these arguments: its status, and stdout and stderr as text."""
    result = subprocess.run([program, *map(str, args)], stdin=subprocess.DEVNULL, stdout=stdout,
                            stderr=subprocess.PIPE, timeout=timeout, check=False, **more)
    return (result.returncode, (result.stdout or b"").decode("utf-8", "replace"),
            result.stderr.decode("utf-8", "replace"))


def cannot_trace():
    """Why this machine cannot trace, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if SOURCE == "bpf" and not os.path.exists("/sys/kernel/btf/vmlinux"):
        return "this kernel has no BTF"
    return None
