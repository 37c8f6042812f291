#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Bad input gets one clear line on stderr, a documented exit status, and leaves nothing behind."""
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from tap import INTROSPECT, Tap, cannot_trace, run

NOBODY = 65534
tap = Tap()
NO_TRACING = cannot_trace()


def one_line(err):
    return err.startswith("introspect: ") and err.count("\n") == 1 and err.endswith("\n")


def bad(name, status, *args, where=None, left=(), **more):
    """Runs it in an empty directory: status, one line, and only `left` is there afterwards."""
    with tempfile.TemporaryDirectory() as own:
        cwd = where or own
        os.chmod(cwd, 0o777)
        got, out, err = run(*args, cwd=cwd, **more)
        there = sorted(os.listdir(cwd))
        tap.ok(got == status and one_line(err) and not out and there == sorted(left), name,
               f"status {got} (want {status})\nstdout: {out[:500]}\nstderr: {err}\nleft: {there}")


def needs_tracing(name, function, *args, **more):
    if NO_TRACING:
        tap.skip(name, NO_TRACING)
    else:
        function(name, *args, **more)


def usage():
    status, out, err = run()
    tap.ok(status == 2 and not out and "usage: introspect" in err, "no subcommand shows the usage",
           err)
    bad("unknown subcommand", 2, "frobnicate")
    bad("unknown option before the subcommand", 2, "--frobnicate")
    bad("help for an unknown subcommand", 2, "help", "frobnicate")
    bad("a subcommand with control characters is printed escaped", 2, "evil\n\033[2J")
    for command in "run", "record", "report", "tasks", "threads", "doctor", "workload":
        bad(f"{command}: unknown long option", 2, command, "--frobnicate")
        bad(f"{command}: unknown short option", 2, command, "-Z")
    bad("option without its value", 2, "report", "--top")
    bad("option with a value it does not take", 2, "report", "--json=yes")
    bad("ambiguous option", 2, "record", "--no", "true")
    bad("run without a command", 2, "run")
    bad("run -- without a command", 2, "run", "--")
    bad("record without anything", 2, "record")
    bad("record -p with a command", 2, "record", "-p", "1", "--", "true")
    bad("record -p with -a", 2, "record", "-p", "1", "-a")
    for text in "x", "", "0", "-1", "+1", " 1", "1x", "99999999999999999999":
        bad(f"record -p '{text}'", 2, "record", "-p", text)
    for text in "x", "", "0", "-1", "nan", "inf", "1e3", "1.2.3", "1s":
        bad(f"record -d '{text}'", 2, "record", "-a", "-d", text)
    for text in "x", "0", "5000", "-4096", "3k", "4kk", "16G", "4096T":
        bad(f"--ring-bytes '{text}'", 2, "record", "--ring-bytes", text, "--", "true")
    for text in "x", "0", "99":
        bad(f"--level '{text}'", 2, "run", "--level", text, "--", "true")
    bad("--source", 2, "run", "--source", "crystal", "--", "true")
    bad("neither kernel nor marks", 2, "run", "--no-kernel", "--no-marks", "--", "true")
    bad("-a without the kernel", 2, "record", "-a", "--no-kernel", "-d", "1")
    bad("tasks --sort", 2, "tasks", "--sort", "colour")
    bad("tasks --status", 2, "tasks", "--status", "happy")
    bad("tasks --top 0", 2, "tasks", "--top", "0")
    bad("tasks --id", 2, "tasks", "--id", "one")
    bad("threads --sort", 2, "threads", "--sort", "colour")
    bad("threads --pid", 2, "threads", "--pid", "self")
    bad("report -n", 2, "report", "-n", "many")
    bad("doctor with an operand", 2, "doctor", "now")
    bad("unknown workload", 2, "workload", "frobnicate")
    bad("two traces", 2, "report", "a.itr", "b.itr")


def not_traces():
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        path = os.path.join(d, "x.itr")

        def content(name, data):
            with open(path, "wb") as f:
                f.write(data)
            for command in "report", "tasks", "threads":
                bad(f"{command}: {name}", 4, command, path)
            os.unlink(path)

        bad("report without a trace in the directory", 4, "report")
        bad("report: no such file", 4, "report", path)
        bad("report: a directory", 4, "report", d)
        content("an empty file", b"")
        content("one byte", b"I")
        content("a text file", b"# not a trace\n" * 1000)
        content("zeros", bytes(100000))
        content("noise", random.Random(1).randbytes(100000))
        with open(INTROSPECT, "rb") as f:
            content("an ELF file", f.read(100000))
        os.mkfifo(path)
        bad("report: a pipe that nobody writes to", 4, "report", path)
        os.unlink(path)
        if os.geteuid() == 0:
            shutil.copy(INTROSPECT, os.path.join(d, "introspect"))
            with open(path, "wb") as f:
                f.write(b"secret")
            os.chmod(path, 0)
            bad("report: a file without the right to read it", 4, "report", path,
                program=os.path.join(d, "introspect"), user=NOBODY)
        else:
            tap.skip("report: a file without the right to read it", "needs root")


def outputs():
    """Found out before the command starts: the command would leave a file."""
    mark = "touch ran"
    with tempfile.TemporaryDirectory() as d:
        existing = os.path.join(d, "existing")
        with open(existing, "w", encoding="ascii") as f:
            f.write("keep")
        dangling = os.path.join(d, "dangling")
        os.symlink(os.path.join(d, "elsewhere"), dangling)
        for command in "run", "record":
            for name, path in (("in no directory", "/nonexistent/x.itr"), ("in /proc", "/proc/x"),
                               ("that exists", existing), ("that is a directory", d),
                               ("that ends in /", d + "/"), ("that is a dangling link", dangling),
                               ("without a name", "")):
                bad(f"{command}: output {name}", 1, command, "-o", path, "--", "sh", "-c", mark)
        for name, path in ("in no directory", "/nonexistent/x"), ("that exists", existing):
            bad(f"run: report {name}", 1, "run", "--report", path, "--", "sh", "-c", mark)
        with open(existing, encoding="ascii") as f:
            tap.ok(f.read() == "keep" and not os.path.exists(os.path.join(d, "elsewhere")),
                   "what existed is untouched")
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full:
            bad("standard output is full", 1, "--help", stdout=full)


def targets():
    needs_tracing("run: no such command", bad, 127, "run", "--", "/nonexistent/command")
    needs_tracing("run: no such command in PATH", bad, 127, "run", "frobnicate-nowhere")
    needs_tracing("record: no such command", bad, 127, "record", "--", "/nonexistent/command")
    needs_tracing("run: not executable", bad, 126, "run", "--", "/etc/passwd")
    needs_tracing("run: a directory", bad, 126, "run", "--", "/etc")
    gone = subprocess.Popen(["true"])
    gone.wait()
    needs_tracing("record: no such pid", bad, 1, "record", "-p", gone.pid)
    needs_tracing("record: a pid beyond all", bad, 1, "record", "-p", 2**31 - 1)


def privileges():
    if os.geteuid() != 0:
        bad("run without privileges", 77, "run", "--", "true")
        return
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        program = os.path.join(d, "introspect")
        shutil.copy(INTROSPECT, program)
        bad("run without privileges", 77, "run", "--", "true", program=program, user=NOBODY)
        bad("record without privileges", 77, "record", "-a", "-d", "1", program=program,
            user=NOBODY)
    if not os.path.exists("/proc/introspect"):
        bad("the kernel module is not loaded", 77, "run", "--source", "kmod", "--", "true")
    hide = subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tmpfs none /sys/kernel/btf"],
                          capture_output=True, check=False)
    if NO_TRACING or hide.returncode:
        tap.skip("run on a kernel without BTF", NO_TRACING or "cannot mount")
        return
    script = f"mount -t tmpfs none /sys/kernel/btf && exec {INTROSPECT} run -- true"
    bad("run on a kernel without BTF", 77, "-m", "sh", "-c", script, program="unshare")


def record_one(d):
    path = os.path.join(d, "good.itr")
    status, _, err = run("record", "-o", path, "--", INTROSPECT, "workload", "lock", "--tasks",
                         "100")
    tap.ok(status == 0 and os.path.getsize(path) > 1000, "a trace to be damaged", err)
    return path


def is_damaged(path):
    """None; or what is wrong with how a damaged trace is reported."""
    for command in "report", "tasks", "threads":
        status, out, err = run(command, path)
        if status not in (3, 4) or not one_line(err) or bool(out) != (status == 3):
            return f"{command}: status {status}, {len(out)} bytes out, stderr: {err}"
    return None


def damaged(name):
    with tempfile.TemporaryDirectory() as d:
        good = record_one(d)
        with open(good, "rb") as f:
            data = f.read()
        path = os.path.join(d, "bad.itr")
        chance = random.Random(20)
        wrong, statuses = [], set()
        for at in sorted(chance.sample(range(1, len(data)), 25)) + [len(data) - 1]:
            with open(path, "wb") as f:
                f.write(data[:at])
            why = is_damaged(path)
            statuses.add(run("report", path)[0])
            if why:
                wrong.append(f"cut at {at} of {len(data)}: {why}")
        tap.ok(not wrong and 3 in statuses, f"{name}: cut anywhere", "\n".join(wrong))
        wrong, statuses = [], set()
        for at in chance.sample(range(len(data)), 40):
            flipped = bytearray(data)
            flipped[at] ^= 1 << chance.randrange(8)
            with open(path, "wb") as f:
                f.write(flipped)
            why = is_damaged(path)
            statuses.add(run("report", path)[0])
            if why:
                wrong.append(f"bit flipped at {at} of {len(data)}: {why}")
        tap.ok(not wrong and 3 in statuses, f"{name}: one bit flipped anywhere", "\n".join(wrong))


def behind_sudo(name):
    """Files of root in a directory of the user behind sudo."""
    env = dict(os.environ, SUDO_UID=str(NOBODY), SUDO_GID=str(NOBODY), SUDO_USER="nobody")
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        d, secret = os.path.join(top, "theirs"), os.path.join(top, "secret")
        os.mkdir(d)
        os.chown(d, NOBODY, NOBODY)
        os.mkdir(secret, 0o700)
        os.symlink(os.path.join(secret, "x"), os.path.join(d, "x.itr"))
        os.symlink(secret, os.path.join(d, "way"))
        status, out, err = run("run", "--report", "r.txt", "--", "id", "-u", cwd=d, env=env)
        mine = [f for f in os.listdir(d) if f.startswith("introspect-id-")] + ["r.txt"]
        owners = {os.stat(os.path.join(d, f)).st_uid for f in mine if not f.startswith("x")}
        tap.ok(status == 0 and out.strip() == str(NOBODY) and len(mine) == 2 and
               owners == {NOBODY}, f"{name}: the command and the files are the user's",
               f"{status} {out} {err} {mine} {owners}")
        for what, path in ("a link as the file", "x.itr"), ("a link on the way", "way/x.itr"):
            status, _, err = run("run", "-o", path, "--", "true", cwd=d, env=env)
            tap.ok(status == 1 and one_line(err) and not os.listdir(secret),
                   f"{name}: root is not led astray by {what}", f"{status} {err}")
        status, _, err = run("run", "-o", os.path.join(secret, "x.itr"), "--", "true", cwd=d,
                             env=env)
        tap.ok(status == 0 and os.stat(os.path.join(secret, "x.itr")).st_uid == NOBODY,
               f"{name}: a real path where only root may write", f"{status} {err}")


def statuses(name):
    with tempfile.TemporaryDirectory() as d:
        for command in "run", "record":
            for script, want in ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137):
                status, _, err = run(command, "--", "sh", "-c", script, cwd=d)
                tap.ok(status == want, f"{name}: {command} sh -c '{script}'", f"{status} {err}")


def closed_streams(name):
    """A file must not take the place of a closed stream, and errors land in it."""
    with tempfile.TemporaryDirectory() as d:
        script = f"exec {INTROSPECT} run -o x.itr -- sh -c 'exit 5' <&- >&- 2>&-"
        status, _, _ = run("-c", script, program="sh", cwd=d)
        again, out, err = run("report", "x.itr", cwd=d)
        tap.ok(status == 5 and again == 0 and out and not err, name, f"{status} {again} {err}")


def marks_alone(name):
    """Needs no privilege."""
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o777)
        program = os.path.join(d, "introspect")
        shutil.copy(INTROSPECT, program)
        more = {"user": NOBODY} if os.geteuid() == 0 else {}
        status, _, err = run("run", "--no-kernel", "-o", "x.itr", "--", program, "workload", "cpu",
                             "--tasks", "20", program=program, cwd=d, **more)
        tap.ok(status == 0 and "no kernel records" in err and "20 tasks: 20 finished" in err, name,
               f"{status} {err}")


usage()
not_traces()
outputs()
targets()
privileges()
marks_alone("marks without the kernel, without privileges")
for title, test in (("damaged trace", damaged), ("behind sudo", behind_sudo),
                    ("the command's status", statuses), ("closed streams", closed_streams)):
    needs_tracing(title, test)
tap.done()
