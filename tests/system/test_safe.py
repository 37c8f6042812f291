#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The command runs as the user behind sudo; hostile marks hurt nobody; nothing of the tracer leaks."""
import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from tap import INTROSPECT, ROOT, Tap, cannot_trace, run

DUMP = os.path.join(ROOT, "build", "tests", "system", "dump")
HOSTILE = os.path.join(ROOT, "build", "tests", "system", "hostile")
NOBODY = pwd.getpwnam("nobody")
RSS_MOST = 64 << 20
tap = Tap()


def sudo_env(**more):
    """As sudo would call us for nobody."""
    return dict(os.environ, SUDO_UID=str(NOBODY.pw_uid), SUDO_GID=str(NOBODY.pw_gid),
                SUDO_USER="nobody", SUDO_COMMAND="introspect", **more)


def shell(where, script, *options, env=None, **more):
    path = os.path.join(where, "t.itr")
    if os.path.exists(path):
        os.unlink(path)
    return run("record", "-o", path, *options, "--", "sh", "-c", script,
               env=env, cwd=where, **more)


def user_behind_sudo():
    with tempfile.TemporaryDirectory() as where:
        os.chown(where, NOBODY.pw_uid, NOBODY.pw_gid)
        _, out, err = shell(where, "id -u; id -g; echo $HOME $USER $LOGNAME; env | grep -c ^SUDO_; "
                            "touch made; cat /proc/self/status | grep -E '^(Cap(Prm|Eff)|Groups)'",
                            env=sudo_env())
        lines = out.splitlines()
        tap.ok(lines[:2] == [str(NOBODY.pw_uid), str(NOBODY.pw_gid)],
               "the command has the uid and gid of the user behind sudo", out + err)
        tap.ok(lines[2:4] == [f"{NOBODY.pw_dir} nobody nobody", "0"],
               "its environment is that user's, without traces of sudo", out)
        tap.ok("CapPrm:\t0000000000000000" in out and "CapEff:\t0000000000000000" in out,
               "it has no capabilities", out)
        groups = [l for l in lines if l.startswith("Groups:")]
        want = sorted(os.getgrouplist("nobody", NOBODY.pw_gid))
        tap.ok(groups and sorted(map(int, groups[0].split()[1:])) == want,
               "it has that user's groups and no other", groups)
        owners = {name: os.stat(os.path.join(where, name)).st_uid for name in os.listdir(where)}
        tap.ok(owners == {"t.itr": NOBODY.pw_uid, "made": NOBODY.pw_uid},
               "the trace and what the command made belong to that user", owners)
    with tempfile.TemporaryDirectory() as where:
        _, out, err = shell(where, "id -u", "--as-root", env=sudo_env())
        tap.ok(out == "0\n", "--as-root keeps root", out + err)
        status, out, err = shell(where, "id -u", env=dict(sudo_env(), SUDO_UID="-1x"))
        tap.ok(status and not out and err.count("\n") == 1, "a SUDO_UID that is no number is refused",
               f"{status} {out} {err}")


def passed_through():
    with tempfile.TemporaryDirectory() as where:
        result = subprocess.run([INTROSPECT, "record", "-o", f"{where}/first.itr", "--", "sh", "-c",
                                 "cat; exit 7"], input=b"through\n", stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, check=False)
        tap.ok(result.returncode == 7 and result.stdout == b"through\n",
               "stdin, stdout and the exit status pass through", result)
        status, _, _ = shell(where, "kill -SEGV $$")
        tap.ok(status == 128 + signal.SIGSEGV, "a signal's status passes through", status)
        _, out, _ = shell(where, "nice; grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd")
        lines = out.split()
        tap.ok(lines[0] == "0", "the command's priority is left alone", out)
        tap.ok(lines[2] == "0" * 16, "no signal is blocked in the command", out)
        # 0 1 2, the marks' area, and ls's own
        tap.ok(len(lines) - 5 == 5, "no descriptor but the marks' leaks into the command", out)
        _, out, _ = shell(where, "ls /proc/self/fd", "--no-marks")
        tap.ok(len(out.split()) == 4, "none without marks", out)


def signals():
    with tempfile.TemporaryDirectory() as where:
        path = f"{where}/t.itr"
        command = [INTROSPECT, "record", "-o", path, "--", "sh", "-c",
                   "trap 'sleep 0.3; echo ended; exit 3' INT TERM; echo ready; "
                   "while :; do sleep 0.05; done"]
        for name, send in (("Ctrl-C in the terminal's group", lambda p: os.killpg(p.pid, 2)),
                           ("SIGTERM to the tracer alone", lambda p: os.kill(p.pid, 15))):
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  start_new_session=True) as tracer:
                tracer.stdout.readline()
                send(tracer)
                rest = tracer.stdout.read()
                status = tracer.wait(30)
            held = json.loads(subprocess.check_output([DUMP, path]))
            tap.ok(status == 3 and rest == b"ended\n" and not held["truncated"]
                   and held["kinds"].get("EXIT"),
                   f"{name}: the command ends in its own way and the file is whole",
                   f"{status} {rest} {held}")
            os.unlink(path)


def timed(*args, **more):
    start = time.monotonic()
    result = run(*args, timeout=120, **more)
    return result, time.monotonic() - start


def check_hostile(name, path, result, seconds):
    status, _, err = result
    held = json.loads(subprocess.check_output([DUMP, path])) if status == 0 else {}
    tracer = held.get("meta", {}).get("tracer", {})
    tap.ok(status == 0 and not held["truncated"] and not held["bad_records"]
           and not held["disorder"] and seconds < 30,
           f"{name}: recorded to the end, in order", f"{status} {seconds:.1f} s {err}\n{held}")
    tap.ok(tracer.get("max_rss_bytes", RSS_MOST) < RSS_MOST,
           f"{name}: the tracer stays below {RSS_MOST >> 20} MB", tracer)
    print(f"# figure hostile {name}: {tracer.get('max_rss_bytes', 0) / 1e6:.0f} MB, "
          f"{tracer.get('cpu_ns', 0) / 1e9:.2f} s of CPU, file {os.path.getsize(path)} bytes, "
          f"{held.get('meta', {}).get('lost', {}).get('malformed_marks')} malformed")
    (status, _, err), seconds = timed("report", path)
    tap.ok(status == 0 and seconds < 30, f"{name}: reported", f"{status} {seconds:.1f} s {err}")
    return held


def hostile_commands():
    """In the area that the tracer made."""
    for how in "wild", "holes", "tasks", "impostor":
        with tempfile.TemporaryDirectory() as where:
            os.chown(where, NOBODY.pw_uid, NOBODY.pw_gid)
            path, program = f"{where}/t.itr", shutil.copy(HOSTILE, where)
            held = check_hostile(how, path, *timed("record", "-o", path, "--", program, how, 1.5,
                                                   env=sudo_env()))
            if how == "impostor":
                tap.ok(held["kinds"].get("START", 0) == 0 and held["kinds"].get("THREAD", 0) == 0,
                       "impostor: no mark in another's name is taken", held["kinds"])
            if how == "tasks":
                tap.ok(held["kinds"].get("SUBMIT") == 500000, "tasks: every one is in the file",
                       held["kinds"])


def hostile_programs():
    """In areas that a running program made, which the tracer finds."""
    for how in "wild", "holes", "truncated", "sizes", "many":
        with tempfile.TemporaryDirectory() as where:
            path = f"{where}/t.itr"
            with subprocess.Popen([HOSTILE, how, "30"]) as program:
                time.sleep(0.3)
                result = timed("record", "-p", program.pid, "-d", 1.5, "-o", path)
                tap.ok(program.poll() is None, f"{how}, attached: the program goes on",
                       program.returncode)
                program.kill()
            check_hostile(f"{how}, attached", path, *result)


reason = cannot_trace()
if reason:
    tap.skip("safe", reason)
else:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    user_behind_sudo()
    passed_through()
    signals()
    hostile_commands()
    hostile_programs()
tap.done()
