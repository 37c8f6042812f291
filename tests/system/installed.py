# SPDX-License-Identifier: BSD-2-Clause
"""The project installed into an empty tree, and programs built against that as a user would."""
import os
import shlex
import subprocess
import tempfile

from tap import ROOT

PREFIX = "/opt/introspect"


def make(*args):
    return subprocess.run(["make", "-C", ROOT, "--no-print-directory", *args], capture_output=True,
                          text=True, check=False)


class Installed:
    """What `make install` puts into a directory; with pkg-config's words for it."""

    def __init__(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.dest = self.scratch.name
        self.made = make("install", f"DESTDIR={self.dest}", f"PREFIX={PREFIX}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.scratch.cleanup()

    def pkg_config(self, *args):
        env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=self.dest,
                   PKG_CONFIG_PATH=f"{self.dest}{PREFIX}/lib/pkgconfig")
        return subprocess.run(["pkg-config", *args], env=env, capture_output=True, text=True,
                              check=False)

    def build(self, source, program, package, static):
        """Why it cannot be built from this text, or None."""
        flags = self.pkg_config("--cflags", "--libs", *(["--static"] if static else []), package)
        words = shlex.split(flags.stdout)
        if static:
            # this library from its archive; those below as the system has them
            words = [f"-l:{package}.a" if w == f"-l{package[3:]}" else w for w in words]
        with open(program + ".c", "w", encoding="ascii") as f:
            f.write(source)
        built = subprocess.run(["gcc", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-pedantic",
                                "-std=gnu11", program + ".c", "-o", program, *words],
                               capture_output=True, text=True, check=False)
        os.unlink(program + ".c")
        failed = flags.returncode or built.returncode
        return flags.stderr + built.stderr or f"status {failed}" if failed else None

    def environment(self, **more):
        return dict(os.environ, LD_LIBRARY_PATH=f"{self.dest}{PREFIX}/lib", **more)
