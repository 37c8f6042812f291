#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""make install into an empty tree, programs built against it, make uninstall."""
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from installed import PREFIX, Installed, make
from tap import Tap

tap = Tap()

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


def files(top):
    return sorted(os.path.relpath(os.path.join(d, f), top) for d, _, fs in os.walk(top) for f in fs)


def compiles(tree, name, package, source, static):
    """Compiles against the installed tree with what pkg-config says, and runs it."""
    with tempfile.TemporaryDirectory() as d:
        program = os.path.join(d, "x")
        why = tree.build(source, program, package, static)
        if not tap.ok(why is None, f"{name}: builds", why):
            return
        libs = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        done = subprocess.run([program], check=False, timeout=60, env=tree.environment())
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


with Installed() as tree:
    dest = tree.dest
    there = files(dest)
    tap.ok(tree.made.returncode == 0, "make install", tree.made.stderr)
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
        tap.ok(tree.pkg_config("--modversion", lib).stdout.strip() == version,
               f"{lib}.pc has the program's version")
        compiles(tree, f"{lib}, shared", lib, program, False)
        compiles(tree, f"{lib}, static", lib, program, True)
        exports(dest, lib)
    done = make("uninstall", f"DESTDIR={dest}", f"PREFIX={PREFIX}")
    tap.ok(done.returncode == 0 and not files(dest), "make uninstall leaves nothing",
           done.stderr + str(files(dest)))
tap.done()
