# SPDX-License-Identifier: BSD-2-Clause
"""Programs that make processes, and what they leave when they end."""
import ctypes
import os
import signal
import subprocess
import time

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
PATIENCE = 30


def adopt_orphans():
    """What programs started from here leave behind becomes our children. False: this kernel cannot do that."""
    return not ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0)


def stat_of(pid):
    """State and parent of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return fields[0], int(fields[1])
    except (OSError, IndexError):
        return None


def children(pid):
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        stat = stat_of(name)
        if stat and stat[1] == pid:
            found.append((int(name), stat[0]))
    return sorted(found)


def living(pid):
    return [child for child, state in children(pid) if state not in "ZX"]


def wait_for(what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    return None


class Program:
    """A command in a session of its own; its orphans become our children."""

    def __init__(self, *command, stdout=subprocess.DEVNULL, **more):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout,
                                        stderr=subprocess.PIPE, start_new_session=True, **more)
        self.pid = self.process.pid

    def workers(self, n):
        """Once there are so many, their pids."""
        def enough():
            pids = living(self.pid)
            return pids if len(pids) == n else None
        return wait_for(enough) or []

    def end(self):
        """Its status; the children it left us at its very end; those that stay."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
            self.process.kill()
            self.process.wait()
        left = [child for child, _ in children(os.getpid())]
        err = self.process.stderr.read().decode("utf-8", "replace") if status is not None else "hangs"
        self.process.stderr.close()
        stay = left
        if left:
            wait_for(self.reaped_all)
            stay = children(os.getpid())
            for child, _ in stay:
                os.kill(child, signal.SIGKILL)
        self.reaped_all()
        return status, left, stay, err

    @staticmethod
    def reaped_all():
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            return False
        except ChildProcessError:
            return True
