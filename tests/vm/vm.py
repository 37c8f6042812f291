#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The virtual machine of the tests: Debian's kernel under QEMU, by software emulation.

vm.py run [--topology NAME] [--timeout S] COMMAND...   run commands of this tree, print their TAP
vm.py shell [--topology NAME]                          a shell in it

The guest's root is the host's, read-only, with a tmpfs on top: it runs what was just built,
and what it writes is gone afterwards. A line of a kernel log that tells of a bug is a failure.
VM_KERNEL names the directory of build/ with the kernel: vm, or vm-newer.
"""
import argparse
import ctypes
import glob
import gzip
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "tests", "vm")
VM = os.path.join(ROOT, "build", os.environ.get("VM_KERNEL", "vm"))
# in the order of their needs
MODULES = ("virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci netfs "
           "fscache 9pnet 9pnet_virtio 9p overlay").split()

# nodes as (CPUs, MB); threads of a core; distances, of all nodes or none
TOPOLOGIES = {
    "single": {"nodes": [("0", 1024)]},
    "pair": {"nodes": [("0-1", 1024)]},
    "one": {"nodes": [("0-3", 2048)]},
    "two": {"nodes": [("0-1", 1024), ("2-3", 1024)]},
    "four": {"nodes": [("0-1", 640), ("2-3", 640), ("4-5", 640), ("6-7", 640)], "threads": 2,
             "distances": {(0, 1): 15, (2, 3): 15, (0, 2): 31, (0, 3): 31, (1, 2): 31, (1, 3): 31}},
    "no-cpu": {"nodes": [("0-3", 1024), (None, 1024)]},
    "no-memory": {"nodes": [("0-1", 2048), ("2-3", 0)]},
}

# What a kernel says when something is wrong with it.
BAD = re.compile(
    r"WARNING:|BUG:|Oops|kernel BUG at|general protection fault|Kernel panic|unable to handle|"
    r"INFO: task .* blocked|INFO: rcu|rcu:.*(stall|detected)|suspicious RCU|"
    r"possible (circular|recursive) locking|inconsistent lock state|held lock freed|"
    r"bad unlock balance|DEBUG_LOCKS_WARN|KASAN|KCSAN|KFENCE|UBSAN|soft lockup|hard LOCKUP|"
    r"scheduling while atomic|sleeping function called|refcount_t|Call Trace:|"
    r"BUG [\w-]+ \(|(Redzone|Poison|padding) overwritten|"
    r"list_(add|del) corruption|Objects remaining|Bad page state|stack-protector")


class Unavailable(Exception):
    """There is no machine to be had here; says why."""


def cpu_count(cpus):
    first, _, last = cpus.partition("-")
    return int(last or first) - int(first) + 1


def kernel():
    """The release of the unpacked kernel."""
    try:
        with open(os.path.join(VM, "missing"), encoding="utf-8") as reason:
            raise Unavailable(reason.read().strip())
    except FileNotFoundError:
        pass
    # the guest's root is this machine's, and its programs are the guest's; root's are not in everybody's path
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    for program in ("qemu-system-x86_64", "busybox", "insmod"):
        if not shutil.which(program, path=path):
            raise Unavailable(f"{program} is not installed (make deps)")
    try:
        with open(os.path.join(VM, "release"), encoding="utf-8") as release:
            return release.read().strip()
    except FileNotFoundError:
        raise Unavailable("the guest's kernel was not fetched (make deps)") from None


def cpio(entries):
    """An initramfs of (path, mode, content)."""
    out = io.BytesIO()
    for number, (path, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")]):
        name = path.encode() + b"\0"
        fields = (number + 1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        out.write(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        out.write(b"\0" * (-out.tell() % 4) + content)
        out.write(b"\0" * (-out.tell() % 4))
    return out.getvalue()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def initramfs(release, to):
    modules = os.path.join(VM, "kernel", "lib", "modules", release, "kernel")
    found = [name for name in MODULES if glob.glob(f"{modules}/**/{name}.ko", recursive=True)]
    entries = [(name, 0o40755, b"") for name in
               "bin dev lib new over proc root sys".split()]
    entries.append(("bin/busybox", 0o100755, read(shutil.which("busybox"))))
    entries.append(("init", 0o100755, read(os.path.join(HERE, "init"))))
    entries.append(("lib/order", 0o100644, "\n".join(found).encode()))
    for name in found:
        path = glob.glob(f"{modules}/**/{name}.ko", recursive=True)[0]
        entries.append((f"lib/{name}.ko", 0o100644, read(path)))
    with open(to, "wb") as file:
        file.write(gzip.compress(cpio(entries), 1))


def topology_options(topology):
    nodes = topology["nodes"]
    cpus = sum(cpu_count(node[0]) for node in nodes if node[0])
    threads = topology.get("threads", 1)
    sockets = max(1, sum(1 for node in nodes if node[0]))
    options = ["-smp", f"{cpus},sockets={sockets},cores={cpus // sockets // threads},"
                       f"threads={threads}", "-m", f"{sum(node[1] for node in nodes)}M"]
    for number, (on, megabytes) in enumerate(nodes):
        node = f"node,nodeid={number}" + (f",cpus={on}" if on else "")
        if megabytes:
            options += ["-object", f"memory-backend-ram,id=m{number},size={megabytes}M"]
            node += f",memdev=m{number}"
        options += ["-numa", node]
    for (a, b), distance in topology.get("distances", {}).items():
        options += ["-numa", f"dist,src={a},dst={b},val={distance}"]
    return options


def accelerator(counting):
    """
    counting: the guest's clock ticks once an instruction, and jumps where it would wait.

    QEMU before 8.1 may go on executing an instruction that another CPU has replaced while it was being
    translated. Kernels replace them whenever a tracepoint gets its first listener or loses its
    last, and then hang in the breakpoint that is there no more. With one thread for all CPUs
    nothing is translated while another CPU writes.
    """
    if counting:
        return ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
    told = subprocess.run(["qemu-system-x86_64", "--version"], stdout=subprocess.PIPE, check=True,
                          text=True).stdout
    version = re.search(r"version (\d+)\.(\d+)", told)
    safe = version and (int(version[1]), int(version[2])) >= (8, 1)
    return ["-accel", f"tcg,thread={'multi' if safe else 'single'}"]


def tsc_khz(counting):
    """A parameter for the kernel: how fast its time stamp counter runs."""
    if counting:
        return "tsc_early_khz=1000000"
    try:
        told = subprocess.run([os.path.join(ROOT, "build", "tests", "vm", "tsc_khz")],
                              stdout=subprocess.PIPE, check=True, text=True).stdout
        return f"tsc_early_khz={int(told)}"
    except (OSError, ValueError, subprocess.CalledProcessError):
        return ""


def qemu(release, where, options, extra, append):
    initrd = os.path.join(where, "initramfs")
    initramfs(release, initrd)
    share = "local,security_model=none,multidevs=remap"
    return ["qemu-system-x86_64", *accelerator(options.count_instructions), "-cpu",
            "max,la57=off,vendor=GenuineIntel", *topology_options(TOPOLOGIES[options.topology]),
            "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-kernel", os.path.join(VM, "kernel", "boot", f"vmlinuz-{release}"),
            "-initrd", initrd, "-append",
            # emulated time is the host's, so the TSC is good, and as fast as told, whatever the
            # kernel measures; a stall or lockup counts only where a busy host does not explain it
            f"{tsc_khz(options.count_instructions)} "
            "console=ttyS0 panic=-1 oops=panic tsc=reliable no_timer_check mitigations=off "
            f"watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=100 {append} {options.append}",
            "-virtfs", f"{share},path=/,mount_tag=root,readonly=on",
            "-virtfs", f"{share},path={where}/shared,mount_tag=results", *extra, *options.qemu]


def share_settings(where, mode, timeout, commands):
    shared = os.path.join(where, "shared")
    os.mkdir(shared)
    with open(os.path.join(shared, "settings"), "w", encoding="utf-8") as file:
        file.write(f"MODE={mode}\nPROJECT={ROOT}\nCOMMAND_TIMEOUT={timeout}\n"
                   f"TERM={os.environ.get('TERM', 'vt100')}\n")
    with open(os.path.join(shared, "list"), "w", encoding="utf-8") as file:
        file.write("".join(command + "\n" for command in commands))
    return shared


def text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class Results:
    """TAP of all commands as one."""

    def __init__(self):
        self.n = self.failed = 0

    def tell(self, passed, name, directive="", why=""):
        self.n += 1
        self.failed += not passed
        print(f"{'ok' if passed else 'not ok'} {self.n} - {name}{directive}")
        for line in why.splitlines():
            print(f"# {line}")

    def command(self, name, status, output):
        """What one command printed, and how it ended."""
        told = failed = planned = 0
        for line in output.splitlines():
            match = re.match(r"(not )?ok \d+ *-? *(.*?)( # SKIP.*)?$", line)
            if match:
                told += 1
                failed += bool(match[1]) and not match[3]
                self.tell(not match[1] or bool(match[3]), f"{name}: {match[2]}", match[3] or "")
            elif re.match(r"1\.\.\d+$", line):
                planned += int(line[3:])
            else:
                print(line if line.startswith("#") else f"# {line}")
        if status == "77":
            self.tell(True, name, " # SKIP " + (output.strip().splitlines() or ["?"])[-1])
        elif status not in ("0", "") and not failed:
            self.tell(False, f"{name}: exit status {status}")
        elif status == "":
            self.tell(False, f"{name}: it did not end before the machine did")
        elif told != planned:
            self.tell(False, f"{name}: printed {told} results of {planned}")
        elif not told:
            self.tell(True, f"{name}: exit status 0")


def bad_lines(log):
    """The lines that tell of a bug, each with what follows it; but not the commands' names."""
    lines, told = log.splitlines(), set()
    for n, line in enumerate(lines):
        if BAD.search(line) and "] vm: " not in line:
            told.update(range(n, min(n + 40, len(lines))))
    return "\n".join(lines[n] for n in sorted(told))


def boot(options):
    """Runs the commands in a machine. Returns [(status, output)], the kernel's log, what is bad in
    it, and trouble."""
    release = kernel()
    with tempfile.TemporaryDirectory(prefix="introspect-vm-") as where:
        shared = share_settings(where, "run", options.command_timeout, options.commands)
        console = os.path.join(where, "console")
        arguments = qemu(release, where, options, ["-serial", f"file:{console}"], "loglevel=5")
        trouble = ""
        try:
            done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=options.timeout, check=False,
                                  preexec_fn=die_with_parent)
            if done.returncode:
                trouble = f"QEMU: exit status {done.returncode}\n{done.stdout.decode()}"
        except subprocess.TimeoutExpired:
            trouble = f"it was ended after {options.timeout} s"
        if not trouble and not os.path.exists(os.path.join(shared, "done")):
            trouble = "it stopped before the list was worked off\n" + text(f"{shared}/guest.log")
        results = [(text(f"{shared}/{n}.status").strip(), text(f"{shared}/{n}.out"))
                   for n in range(len(options.commands))]
        log = text(f"{shared}/dmesg") or text(console)
        said = bad_lines(log) or bad_lines(text(console))
        if trouble and not text(f"{shared}/dmesg"):
            trouble += "\n" + "\n".join(text(console).splitlines()[-40:])
        return results, log, said, trouble


def die_with_parent():
    """However this program ends, no machine is left running."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def name_of(command):
    return os.path.basename(command.split()[0]) + command[len(command.split()[0]):]


def run(options):
    results, log, said, trouble = boot(options)
    tap = Results()
    for command, (status, output) in zip(options.commands, results):
        tap.command(f"{options.topology}: {name_of(command)}", status, output)
    tap.tell(not trouble, f"{options.topology}: the machine worked off its list", why=trouble)
    tap.tell(not said, f"{options.topology}: the kernel's log tells of no bug",
             why=said)
    print(f"1..{tap.n}")
    if options.log:
        with open(options.log, "w", encoding="utf-8") as file:
            file.write(log)
    return 1 if tap.failed else 0


def shell(options):
    release = kernel()
    with tempfile.TemporaryDirectory(prefix="introspect-vm-") as where:
        share_settings(where, "shell", 0, [])
        print("booting; exit or Ctrl-D ends the machine, Ctrl-A X kills it", flush=True)
        return subprocess.run(qemu(release, where, options, ["-serial", "mon:stdio"], "quiet"),
                              check=False).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "shell"))
    parser.add_argument("commands", nargs="*", metavar="COMMAND")
    parser.add_argument("--topology", choices=TOPOLOGIES, default="two")
    parser.add_argument("--timeout", type=int, default=240, help="seconds for all of it")
    parser.add_argument("--command-timeout", type=int, default=100, help="seconds for a command")
    parser.add_argument("--count-instructions", action="store_true",
                        help="the guest's clock counts instructions (slow)")
    parser.add_argument("--append", default="", help="more for the kernel's command line")
    parser.add_argument("--qemu", action="append", default=[], help="one more argument for QEMU")
    parser.add_argument("--log", help="keep the kernel's log here")
    options = parser.parse_intermixed_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return run(options) if options.what == "run" else shell(options)
    except Unavailable as why:
        print(f"NO VIRTUAL MACHINE: {why}")
        return 77


if __name__ == "__main__":
    sys.exit(main())
