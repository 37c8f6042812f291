#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""make install into an empty tree, programs built against it, make uninstall."""
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from tap import ROOT, Tap

tap = Tap()
PREFIX = "/opt/introspect"

RUNTIME = r"""
#include <introspect/executor.h>
#include <introspect/mark.h>

static int twice(struct intro_call *call)
{
	int n = 2 * *(const int *)call->arg;

	return intro_call_return(call, (void *)(long)n, sizeof(n));
}

int main(void)
{
	struct intro_executor_options options = {.size = sizeof(options), .name = "p", .workers = 2};
	struct intro_executor *pool = intro_thread_executor_new(&options);
	struct intro_future future;
	struct intro_result result;
	int n = 21, rc;

	if (!pool)
		return 2;
	intro_mark_submit(intro_mark_task(), intro_mark_pool("mine", 1), intro_mark_name("task"));
	intro_future_init(&future);
	if (intro_executor_submit(pool, &future, twice, &n, sizeof(n)))
		return 3;
	rc = intro_future_result(&future, INTRO_FOREVER, &result);
	if (rc || (long)result.data != 42)
		return 4;
	intro_future_destroy(&future);
	intro_executor_free(pool);
	return 0;
}
"""

LIBRARY = r"""
#include <errno.h>
#include <introspect/abi.h>
#include <introspect/area.h>
#include <introspect/ledger.h>
#include <introspect/replay.h>
#include <introspect/report.h>
#include <introspect/session.h>
#include <introspect/trace.h>

int main(void)
{
	const char *why = NULL;
	struct intro_trace *trace = intro_trace_open("/dev/null", &why);
	struct intro_ledger ledger = {0};

	intro_ledger_book(&ledger, INTRO_BLOCKED_LOCK, 1, 42);
	return trace || !why || intro_ledger_total(&ledger) != 42;
}
"""


def make(*args):
    return subprocess.run(["make", "-C", ROOT, "--no-print-directory", *args], capture_output=True,
                          text=True, check=False)


def files(top):
    return sorted(os.path.relpath(os.path.join(d, f), top) for d, _, fs in os.walk(top) for f in fs)


def pkg_config(dest, *args):
    env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=dest,
               PKG_CONFIG_PATH=f"{dest}{PREFIX}/lib/pkgconfig")
    return subprocess.run(["pkg-config", *args], env=env, capture_output=True, text=True,
                          check=False)


def compiles(dest, name, package, source, static):
    """Compiles against the installed tree with what pkg-config says, and runs it."""
    with tempfile.TemporaryDirectory() as d:
        path, program = os.path.join(d, "x.c"), os.path.join(d, "x")
        with open(path, "w", encoding="ascii") as f:
            f.write(source)
        flags = pkg_config(dest, "--cflags", "--libs", *(["--static"] if static else []), package)
        words = flags.stdout.split()
        if static:
            # this library from its archive; those below as the system has them
            words = [f"-l:{package}.a" if w == f"-l{package[3:]}" else w for w in words]
        built = subprocess.run(["gcc", "-Wall", "-Werror", "-pedantic", "-std=gnu11", path, "-o",
                                program, *words], capture_output=True, text=True, check=False)
        if not tap.ok(flags.returncode == 0 and built.returncode == 0, f"{name}: builds",
                      flags.stderr + built.stderr):
            return
        libs = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        done = subprocess.run([program], check=False, timeout=60,
                              env=dict(os.environ, LD_LIBRARY_PATH=f"{dest}{PREFIX}/lib"))
        tap.ok(done.returncode == 0 and (f"{package}.so" in libs) != static, f"{name}: runs",
               f"status {done.returncode}\n{libs}")


def exports(dest, package):
    """Nothing but the public names."""
    so = f"{dest}{PREFIX}/lib/{package}.so"
    out = subprocess.run(["nm", "-D", "--defined-only", so], capture_output=True, text=True,
                         check=False).stdout
    names = [line.split()[-1].split("@")[0] for line in out.splitlines()]
    strange = [n for n in names if not n.startswith("intro_") or n.startswith("intro__")]
    strange = [n for n in strange if not n.startswith("INTROSPECT_")]
    tap.ok(len(names) > 10 and not strange, f"{package}.so exports its public names alone", strange)


with tempfile.TemporaryDirectory() as dest:
    done = make("install", f"DESTDIR={dest}", f"PREFIX={PREFIX}")
    there = files(dest)
    tap.ok(done.returncode == 0, "make install", done.stderr)
    inside = PREFIX[1:]
    for want in ("bin/introspect", "lib/libintrospect.a", "lib/libintrospect.so",
                 "lib/libintrospect-rt.a", "lib/libintrospect-rt.so",
                 "lib/pkgconfig/libintrospect.pc", "lib/pkgconfig/libintrospect-rt.pc",
                 "include/introspect/abi.h", "include/introspect/mark.h",
                 "share/man/man1/introspect.1", "share/man/man1/introspect-run.1",
                 "share/man/man5/introspect-trace.5",
                 "share/bash-completion/completions/introspect"):
        tap.ok(f"{inside}/{want}" in there, f"installed: {want}", there)
    tap.ok(all(f.startswith(inside) for f in there), "nothing outside of PREFIX", there)
    version = subprocess.run([f"{dest}{PREFIX}/bin/introspect", "--version"], capture_output=True,
                             text=True, check=False).stdout.split()[-1]
    for lib, program in ("libintrospect-rt", RUNTIME), ("libintrospect", LIBRARY):
        tap.ok(pkg_config(dest, "--modversion", lib).stdout.strip() == version,
               f"{lib}.pc has the program's version")
        compiles(dest, f"{lib}, shared", lib, program, False)
        compiles(dest, f"{lib}, static", lib, program, True)
        exports(dest, lib)
    done = make("uninstall", f"DESTDIR={dest}", f"PREFIX={PREFIX}")
    tap.ok(done.returncode == 0 and not files(dest), "make uninstall leaves nothing",
           done.stderr + str(files(dest)))
tap.done()
