#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures what introspect costs, next to named peers, and prints Markdown tables.

usage: run.py [--quick] [--only SECTION,...] [--output FILE]

Every ratio comes from runs that take turns: in each round each side runs once, and the fastest
run of each side counts (the machine may be slow for seconds at a time, never too fast). The row
"nothing, again" is the untraced program once more: its ratio is the noise floor.
"""
import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INTROSPECT = os.path.join(ROOT, "build/introspect")
PROGRAMS = os.path.join(ROOT, "build/bench")
TRACEFS = "/sys/kernel/tracing"
EVENTS = ["sched_switch", "sched_waking", "sched_wakeup_new", "sched_migrate_task",
          "sched_process_fork"]


class Unavailable(Exception):
    """A peer that cannot run here, and why."""


class Child:
    """A finished program: its status and its output."""

    def __init__(self, argv, check=True):
        with tempfile.TemporaryFile() as out:
            self.status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                         check=False).returncode
            out.seek(0)
            self.text = out.read().decode(errors="replace")
        if check and self.status:
            lines = self.text.strip().splitlines()
            raise Unavailable(f"{' '.join(argv[:2])}: {lines[-1].strip() if lines else 'failed'}")

    def number(self, pattern):
        found = re.search(pattern, self.text)
        if not found:
            raise Unavailable(f"no figure in its output: {self.text.strip()[-200:]}")
        return float(found[1].replace(" ", "").replace(",", ""))


def cost_of(argv):
    """(seconds of CPU, bytes of memory at most) of a program whose output is thrown away."""
    words = Child([f"{PROGRAMS}/cost_of", *argv]).text.split()
    return float(words[0]), int(words[1])


# --- what is run, and under what --------------------------------------------------------------

def pipe(loops):
    return ["taskset", "-c", "1", "perf", "bench", "sched", "pipe", "-l", str(loops)]


def messaging(loops):
    return ["perf", "bench", "sched", "messaging", "-g", "10", "-l", str(loops)]


SECONDS = r"Total time:\s*([\d.]+)"


class Bare:
    name = "nothing"

    def __init__(self, directory):
        self.directory = directory

    def wrap(self, argv):
        return argv

    def run(self, argv):
        self.remove()
        return Child(self.wrap(argv)).number(SECONDS)

    def path(self):
        return os.path.join(self.directory, type(self).__name__)

    def remove(self):
        for name in os.listdir(self.directory):
            if name.startswith(type(self).__name__):
                os.unlink(os.path.join(self.directory, name))

    def close(self):
        self.remove()


class Again(Bare):
    name = "nothing, again"


class Introspect(Bare):
    name = "introspect record -a"

    def wrap(self, argv):
        return [INTROSPECT, "record", "-a", "-o", self.path(), "--", *argv]


class PerfSched(Bare):
    name = "perf sched record"

    def wrap(self, argv):
        return ["perf", "sched", "record", "-o", self.path(), "--", *argv]


class TraceCmd(Bare):
    name = "trace-cmd record"

    def wrap(self, argv):
        if not shutil.which("trace-cmd"):
            raise Unavailable("trace-cmd is not installed")
        events = [word for event in EVENTS for word in ("-e", f"sched:{event}")]
        return [f"{ROOT}/tests/bench/trace_cmd.sh", "record", "-o", self.path(), *events, *argv]


class Ftrace(Bare):
    """An instance of our own, so that nobody else's tracing is touched. Nobody reads it."""
    name = "raw ftrace, no reader"

    def __init__(self, directory):
        super().__init__(directory)
        self.instance = None
        if not os.path.isdir(f"{TRACEFS}/events"):
            subprocess.run(["mount", "-t", "tracefs", "nodev", TRACEFS], check=False,
                           stderr=subprocess.DEVNULL)
        instance = f"{TRACEFS}/instances/introspect-bench-{os.getpid()}"
        try:
            os.mkdir(instance)
        except OSError as error:
            raise Unavailable(f"tracefs: {error.strerror}") from error
        self.instance = instance

    def switch(self, on):
        for event in EVENTS:
            with open(f"{self.instance}/events/sched/{event}/enable", "w") as file:
                file.write("1" if on else "0")

    def run(self, argv):
        self.switch(True)
        try:
            return super().run(argv)
        finally:
            self.switch(False)

    def close(self):
        if self.instance:
            os.rmdir(self.instance)
            self.instance = None


class EmptyProgram(Bare):
    name = "an empty eBPF program"

    def run(self, argv):
        with OnSwitch("empty"):
            return super().run(argv)


class OnSwitch:
    """Programs of on_switch.bpf.c, attached while this lives. Then: .ns[name] a run."""

    def __init__(self, *names):
        self.names = names
        self.ns = {}

    def __enter__(self):
        self.process = subprocess.Popen(
            [f"{PROGRAMS}/on_switch", f"{PROGRAMS}/on_switch.bpf.o", *self.names],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = self.process.stdout.readline().strip()
        if line != "attached":
            self.process.communicate()
            raise Unavailable(line)
        return self

    def __exit__(self, *_):
        text, _ = self.process.communicate()
        for name, run_ns, runs in re.findall(r"^(\w+) (\d+) (\d+)$", text, re.M):
            self.ns[name] = int(run_ns) / max(int(runs), 1)


def take_turns(sides, argv, rounds):
    """{name: fastest seconds or an Unavailable}, in the order of sides."""
    best = {}
    for number in range(rounds):
        # every other round backwards: nobody always comes after the same one
        for side in sides if number % 2 == 0 else sides[::-1]:
            if isinstance(best.get(side.name), Unavailable):
                continue
            try:
                took = side.run(argv)
                best[side.name] = min(best.get(side.name, took), took)
            except Unavailable as reason:
                best[side.name] = reason
    return best


# --- the sections -----------------------------------------------------------------------------

class Bench:
    def __init__(self, quick, directory):
        self.quick = quick
        self.directory = directory
        self.pipe_loops = 100000 if quick else 300000
        self.messaging_loops = 300 if quick else 1000
        self.lines = []

    def say(self, text=""):
        self.lines.append(text)
        print(text, flush=True)

    def title(self, text, command):
        self.say(f"\n### {text}\n")
        self.say(f"`{command}`\n")

    def rows(self, head, rows):
        self.say("| " + " | ".join(head) + " |")
        self.say("|" + "---|" * len(head))
        for row in rows:
            self.say("| " + " | ".join(str(cell) for cell in row) + " |")

    def path(self, name):
        return os.path.join(self.directory, name)

    def sides(self, *classes):
        sides, missing = [], {}
        for one in classes:
            try:
                sides.append(one(self.directory))
            except Unavailable as reason:
                missing[one.name] = reason
        return sides, missing

    def slowdown_of(self, argv, rounds, target):
        sides, missing = self.sides(Bare, Again, Introspect, PerfSched, Ftrace, TraceCmd,
                                    EmptyProgram)
        try:
            best = take_turns(sides, argv, rounds)
        finally:
            for side in sides:
                side.close()
        base = best["nothing"]
        rows = []
        for name, seconds in {**best, **missing}.items():
            mark = ""
            if name == Introspect.name and target and not isinstance(seconds, Unavailable):
                mark = f"≤ {target}: {verdict(seconds / base <= target)}"
            if isinstance(seconds, Unavailable):
                rows.append([name, "", f"skipped: {seconds}", ""])
            else:
                rows.append([name, f"{seconds:.3f}", f"{seconds / base:.2f}", mark])
        self.rows(["traced by", "s, fastest", "ratio", "target"], rows)

    def pipe(self):
        rounds = 3 if self.quick else 8
        argv = pipe(self.pipe_loops)
        self.title("Slowdown of a pipe, both ends on one CPU", " ".join(argv))
        self.slowdown_of(argv, rounds, 1.15)

    def messaging(self):
        rounds = 2 if self.quick else 4
        argv = messaging(self.messaging_loops)
        self.title("Slowdown of messaging", " ".join(argv))
        self.slowdown_of(argv, rounds, None)

    def record(self, name, argv, *options):
        """Records argv with introspect: (path, number of events, what the trace says of itself)."""
        path = self.path(name)
        if os.path.exists(path):
            os.unlink(path)
        # without the marks of whatever else runs on this machine
        Child([INTROSPECT, "record", "-a", "--no-marks", *options, "-o", path, "--", *argv])
        return path, *meta_of(path)

    def program(self):
        self.title("The switch program, ns a run",
                   "bpf_enable_stats(2); all programs on the same switches, whoever came first "
                   "hanging on the tracepoint first. The run with the smallest ratio, and the median "
                   "ratio of all runs")
        rows = []
        for label, argv in (("pipe", pipe(self.pipe_loops)),
                            ("messaging", messaging(self.messaging_loops))):
            runs = [self.program_run(argv, number % 2 == 0)
                    for number in range(6 if self.quick else 12)]
            for first, order in enumerate(("last", "first")):
                sides = runs[first::2]
                ratios = [run[0] / run[1] for run in sides]
                ours, empty, clock = sides[ratios.index(min(ratios))]
                rows.append([label, order, f"{ours:.0f}", f"{empty:.0f}", f"{clock:.0f}",
                             f"{clock / empty:.2f}", f"{ours / empty:.2f}",
                             f"{statistics.median(ratios):.2f}",
                             f"≤ 1.7: {verdict(ours / empty <= 1.7)}" if label == "messaging"
                             else ""])
        self.rows(["on", "introspect's came", "introspect's", "an empty one",
                   "one that reads the clock", "clock / empty", "introspect / empty",
                   "median", "target"],
                  rows)

    def program_run(self, argv, ours_last):
        """(ours, empty, clock) in ns a run. Who comes first pays for cold caches."""
        path = self.path("program.itr")
        if os.path.exists(path):
            os.unlink(path)
        command = [INTROSPECT, "record", "-a", "--bpf-stats", "-o", path]
        if ours_last:
            with OnSwitch("empty", "clock") as others:
                Child([*command, "--", *argv])
        else:
            recorder = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1)
            with OnSwitch("empty", "clock") as others:
                Child(argv)
            recorder.send_signal(signal.SIGINT)
            recorder.wait()
        stats = meta_of(path)[1]["bpf"]["switch"]
        return stats["run_ns"] / stats["runs"], others.ns["empty"], others.ns["clock"]

    def disk(self):
        argv = messaging(self.messaging_loops)
        self.title("Bytes an event on disk, events lost, the tracer's own CPU time",
                   " ".join(argv))
        rows = []
        for options in ([], ["--no-compress"]):
            path, events, meta = self.record("disk.itr", argv, *options)
            size, lost = os.path.getsize(path), sum(meta["lost"]["cpu"])
            tracer, length = meta["tracer"]["cpu_ns"], meta["end_ns"] - meta["start_ns"]
            own = (f"{tracer / 1e6:.0f} ms, {tracer / events:.0f} ns an event, "
                   f"{tracer / length / meta['cpus']:.2%}")
            target = "" if options else (f"≤ 8: {verdict(size / events <= 8)}; 0 lost: "
                                         f"{verdict(lost == 0)}")
            rows.append([" ".join([Introspect.name, *options]), events, f"{size / 1e6:.2f} MB",
                         f"{size / events:.1f}", lost, own, target])
        for side in (PerfSched, TraceCmd):
            rows.append(self.disk_of(side(self.directory), argv))
        self.rows(["recorded by", "events", "file", "bytes an event", "lost",
                   "CPU time of the tracer (of all CPUs)", "target"], rows)

    def disk_of(self, side, argv):
        try:
            child = Child(side.wrap(argv))
            size = os.path.getsize(side.path())
            lost = ""
            if isinstance(side, PerfSched):
                events = perf_samples(side.path())
            else:
                events = trace_cmd_events(side.path())
                lost = sum(int(n) for n in re.findall(r"CPU \d+: (\d+) events lost", child.text))
            return [side.name, events, f"{size / 1e6:.2f} MB", f"{size / events:.1f}", lost, "",
                    ""]
        except Unavailable as reason:
            return [side.name, f"skipped: {reason}", "", "", "", "", ""]
        finally:
            side.close()

    def analysis(self):
        self.title("Events analysed a second, CPU time, one core",
                   "introspect report FILE; perf sched timehist -i FILE; perf sched latency -i FILE")
        rows = []
        for label, argv in (("pipe", pipe(200000 if self.quick else 600000)),
                            ("messaging", messaging(500 if self.quick else 3000))):
            rows += self.analysis_of(label, argv)
        self.rows(["trace of", "analysed by", "events", "s of CPU", "million a second", "memory",
                   "target"], rows)

    def analysis_of(self, label, argv):
        path, events, _ = self.record("analysis.itr", argv)
        perf = PerfSched(self.directory)
        try:
            Child(perf.wrap(argv))
            samples = perf_samples(perf.path())
            commands = {
                "introspect report": ([INTROSPECT, "report", path], events),
                "introspect report --json": ([INTROSPECT, "report", "--json", path], events),
                "perf sched timehist": (["perf", "sched", "timehist", "-i", perf.path()], samples),
                "perf sched latency": (["perf", "sched", "latency", "-i", perf.path()], samples),
            }
            best = {}
            for _ in range(2 if self.quick else 5):
                for name, (command, _) in commands.items():
                    cost = cost_of(command)
                    best[name] = min(best.get(name, cost), cost)
        finally:
            perf.close()
        rows = []
        for name, (_, count) in commands.items():
            cpu, memory = best[name]
            rate = count / cpu / 1e6
            rows.append([label, name, count, f"{cpu:.3f}", f"{rate:.2f}", f"{memory / 1e6:.1f} MB",
                         f"≥ 5: {verdict(rate >= 5)}" if name == "introspect report" else ""])
        return rows

    def memory(self):
        short, long = (20000, 200000) if self.quick else (100000, 1000000)
        self.title("Memory of the replay against the length of the trace",
                   " ".join(pipe(long)))
        rows = []
        for loops in (short, long):
            path, events, _ = self.record("memory.itr", pipe(loops))
            _, rss = cost_of([INTROSPECT, "report", path])
            rows.append([events, f"{os.path.getsize(path) / 1e6:.2f} MB", rss])
        grown = (rows[1][2] - rows[0][2]) / (rows[1][0] - rows[0][0])
        for row in rows:
            row[2] = f"{row[2] / 1e6:.2f} MB"
        rows[0].append("")
        rows[1].append(f"does not grow: {verdict(grown < 0.5)} ({grown:+.3f} bytes an event)")
        self.rows(["events", "file", "largest memory of introspect report", "target"], rows)

    def marks(self):
        self.title("A mark, ns", "build/bench/mark_cost")
        figures = numbers(Child([f"{PROGRAMS}/mark_cost"]).text)
        off = figures["mark_off"] - figures["loop"]
        rows = [["off", f"{off:.2f}", "an empty loop", f"{figures['loop']:.2f}", "",
                 f"≤ 1: {verdict(off <= 1)}"]]
        for mark, clock in (("mark_tsc", "rdtsc"), ("mark_tsc_fenced", "rdtsc_fenced"),
                            ("mark_monotonic", "clock_gettime")):
            if mark in figures:
                ratio = figures[mark] / figures[clock]
                rows.append([f"on, {clock}", f"{figures[mark]:.2f}", clock,
                             f"{figures[clock]:.2f}", f"{ratio:.2f}",
                             f"≤ 1.3: {verdict(ratio <= 1.3)}"])
        self.rows(["mark", "ns", "next to", "ns", "ratio", "target"], rows)

    def pool(self):
        self.title("The thread pool next to GLib's GThreadPool, 2 workers", "build/bench/pool_cost")
        rows = []
        for label, prefix in (("2 CPUs", []), ("1 CPU", ["taskset", "-c", "1"])):
            figures = numbers(Child([*prefix, f"{PROGRAMS}/pool_cost"]).text)
            rows.append([label, "empty tasks a second, one batch",
                         f"{figures['ours_per_s'] / 1e6:.2f} M",
                         f"{figures['glib_per_s'] / 1e6:.2f} M",
                         f"{figures['ours_per_s'] / figures['glib_per_s']:.2f}"])
            rows.append([label, "submit → start, p50", f"{figures['ours_start_ns'] / 1e3:.1f} µs",
                         f"{figures['glib_start_ns'] / 1e3:.1f} µs",
                         f"{figures['ours_start_ns'] / figures['glib_start_ns']:.2f}"])
        self.rows(["on", "figure", "ours", "GLib", "ratio"], rows)


def perf_samples(path):
    text = Child(["perf", "report", "-i", path, "--stats"]).text
    found = re.findall(r"SAMPLE events:\s*(\d+)", text)
    if not found:
        raise Unavailable(f"perf report --stats: {text.strip()[-200:]}")
    return max(int(number) for number in found)


def trace_cmd_events(path):
    report = subprocess.Popen(["trace-cmd", "report", "-q", "-i", path], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    events = sum(": sched_" in line for line in report.stdout)
    if report.wait() or not events:
        raise Unavailable("trace-cmd report: failed")
    return events


def meta_of(path):
    """(number of records, what the trace says of itself)."""
    records, meta = Child([f"{PROGRAMS}/trace_meta", path]).text.split("\n", 1)
    return int(records), json.loads(meta)


def numbers(text):
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.strip()}


def verdict(good):
    return "met" if good else "**missed**"


SECTIONS = ["pipe", "messaging", "program", "disk", "analysis", "memory", "marks", "pool"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", default=",".join(SECTIONS), help=", ".join(SECTIONS))
    parser.add_argument("--output", help="write the tables to this file too")
    options = parser.parse_args()
    unknown = set(options.only.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        print("skipped: tracing needs root")
        return 77
    begin = time.monotonic()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="introspect-bench-") as directory:
        bench = Bench(options.quick, directory)
        bench.say(f"{time.strftime('%Y-%m-%d')}, Linux {platform.release()}, {os.cpu_count()} CPUs, "
                  f"load {os.getloadavg()[0]:.1f} at the start"
                  + (", --quick" if options.quick else ""))
        for section in options.only.split(","):
            try:
                getattr(bench, section)()
            except (Unavailable, KeyError, ValueError, OSError) as reason:
                failed += 1
                bench.say(f"\nfailed: {section}: {type(reason).__name__}: {reason}")
        bench.say(f"\nThe whole took {time.monotonic() - begin:.0f} s.")
    if options.output:
        with open(options.output, "w") as file:
            file.write("\n".join(bench.lines) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
