#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The example of every page of section 3 is a whole program, builds against what is installed without a warning, says
what it should, and ends with nothing left behind: no process, no file, no shared memory.
"""
import glob
import os
import re
import signal
import socket
import sys
import tempfile

sys.dont_write_bytecode = True
from installed import Installed
from program import PATIENCE, Program, adopt_orphans, wait_for
from tap import ROOT, Tap

# What each says on its standard output; a page that is not here says nothing.
SAYS = {
    "intro_connection": r"hello\n",
    "intro_executor": r"1 ran, 0 rejected, \d+ ns queued on average\n",
    "intro_fiber": r"1\n2\n3\n",
    "intro_future": r"(?=.*1 squared is 1\n)(?=.*2 squared is 4\n)(?=.*3 squared is 9\n).{45}",
    "intro_loop": r"hello: world\n",
    "intro_manager": r"hello\nworld\n",
    "intro_node": r"what all threads read\n",
    "intro_periodic": r"(sweep\n)+\d+ runs\n",
    "intro_process_pool": r"0: 1\n1: 4\n2: 9\n3: 16\n4: 25\n",
    "intro_process_queue": r"(?=.*\d+: first\n)(?=.*\d+: second\n)(\d+: \w+\n){2}",
    "intro_queue": r"first\nsecond\n",
    "intro_service": r"(clock/[01]\n)+",
    "intro_shared": r"42 84\n",
    "intro_spawn": r"144\n",
    "intro_task_group": r"1\n4\n9\n16\n",
    "intro_thread": r"reader-1 works\ndone\n",
}
# These run until they are told to end.
ENDLESS = {"intro_service"}
tap = Tap()


def example(page):
    """The text of the one example of a page, as a reader has it."""
    with open(page, encoding="utf-8") as f:
        source = f.read()
    found = re.findall(r"^\.Sh EXAMPLES?\n(?:[^.].*\n)*\.Bd -literal.*\n((?s:.*?))^\.Ed$", source, re.M)
    return found[0].replace("\\e", "\\") if len(found) == 1 else None


def tell_to_end(listener, program):
    """TERM, once it has said that it is ready."""
    listener.settimeout(PATIENCE)
    try:
        ready = b"READY=1" in listener.recv(4096)
    except socket.timeout:
        ready = False
    program.process.send_signal(signal.SIGTERM if ready else signal.SIGKILL)


def trouble(tree, name, text, static, scratch):
    """Why it is not as it should be, or None."""
    path, empty = os.path.join(scratch, name), os.path.join(scratch, "empty")
    os.mkdir(empty)
    why = tree.build(text, path, "libintrospect-rt", static)
    if why:
        return why
    address = os.path.join(scratch, "notify")
    with open(os.path.join(scratch, "out"), "w+", encoding="utf-8") as out, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        shared = set(os.listdir("/dev/shm"))
        program = Program(path, stdout=out, cwd=empty, env=tree.environment(TMPDIR=empty, NOTIFY_SOCKET=address))
        if name in ENDLESS:
            tell_to_end(listener, program)
        status, left, _, err = program.end()
        out.seek(0)
        said = out.read()
    # others who are at work on this machine take their names away
    wait_for(lambda: not set(os.listdir("/dev/shm")) - shared, 5)
    named = set(os.listdir("/dev/shm")) - shared
    if status or left or err or os.listdir(empty) or named:
        return f"status {status}, left {left} {os.listdir(empty)} {named}\n{err}"
    return None if re.fullmatch(SAYS.get(name, ""), said, re.S) else f"it says {said!r}"


def main():
    pages = sorted(glob.glob(os.path.join(ROOT, "docs", "man", "*.3")))
    if not adopt_orphans():
        tap.skip("examples", "this kernel has no subreapers")
        tap.done()
    with Installed() as tree:
        if tree.made.returncode or not pages:
            tap.ok(False, "make install", tree.made.stderr)
        for page in pages:
            name = os.path.basename(page)[:-2]
            text, found = example(page), []
            for static in (False, True) if text else ():
                with tempfile.TemporaryDirectory() as scratch:
                    found.append(trouble(tree, name, text, static, scratch))
            tap.ok(found == [None, None], f"{name}(3): the example, with the shared library and with the archive",
                   "\n".join(filter(None, found)) or "no example, or several")
    tap.done()


if __name__ == "__main__":
    main()
