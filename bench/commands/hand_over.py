"""Ten new versions in a row, under load: what do clients notice, and what does it cost to move a connection?

Many connections are idle, others echo all the time, and some clients connect, echo and leave. Meanwhile a new echo_coro
takes over from the old one, again and again. Then new ones are killed (SIGKILL) at different points of the hand-over, and
the old one must continue to serve. At the end every idle connection echoes once more, in a program that it never
connected to.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HARNESS = pathlib.Path(__file__).resolve().parents[1] / "harness"
sys.path.insert(1, str(HARNESS))

import building
from machine import raise_file_limit
from measuring import Failure, command_line, free_port, positive_number, run_command, say, show_progress
from places import BUILD
from processes import start, stop
from samples import HELP as SAMPLES
from samples import Samples

PATIENCE_SECONDS = 120
PROBE_PAUSE = 0.002
RESERVED = 64  # descriptors of a server that are not connections

EPILOG = """\
Everything runs on this machine, so the programs compete for its CPUs, and pauses show that. Unless RINGLET_BUILD_DIR names
a build directory other than build/release, what is missing is installed and built.
Exit status: 0; 1 a client was refused, reset, or got bytes that it did not send; 64 wrong usage; 69 a program is missing or
failed; 130 interrupted.
"""  # fmt: skip


def read_options(arguments):
    parser = command_line("benchmark.sh hand-over", __doc__, EPILOG)
    for name, default, text in (
        ("--rounds", 10, "new versions"),
        ("--kills", 10, "new versions that are killed while they take over"),
        ("--echoing", 5000, "connections that echo all the time"),
        ("--idle", 100000, "connections that are idle"),
        ("--churn", 8, "clients that connect, echo and leave"),
    ):
        parser.add_argument(name, type=positive_number, default=default, help=f"{text} (%(default)s)")
    parser.add_argument("--pause", type=float, default=2.0, metavar="SECONDS", help="seconds between two versions (%(default)s)")
    parser.add_argument("--backend", default="auto", help="backend of the servers (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help=SAMPLES)
    parser.add_argument("--chart", type=pathlib.Path, metavar="FILE", help="draw each echo of one connection here (SVG)")
    return parser.parse_args(arguments)


# ---- servers ------------------------------------------------------------------------------------


class Servers:
    """A row of echo_coros, each of which takes over from the one before."""

    def __init__(self, options, folder):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED
        connections = options.idle + options.echoing + 2 * options.churn + RESERVED
        # connections are not spread exactly evenly
        workers = max(2, -(-connections * 5 // (limit * 4))) if options.backend != "epoll" else 2
        self.port, self.folder = free_port(), folder
        self.command = [str(BUILD / "src/server/echo_coro"), "--port", str(self.port), "--backend", options.backend,
                        "--hand-over", f"unix:{folder}/next.sock", "--workers", str(workers), "--drain-spread", "0s",
                        "--drain-timeout", "60s", "--max-connections", str(connections)]  # fmt: skip
        if options.backend != "epoll":
            self.command.append("--direct-descriptors")
        self.workers, self.count = workers, 0
        self.serving = self.begin()
        self.line_of(self.serving)

    def begin(self):
        self.count += 1
        errors = open(self.folder / f"{self.count}.errors", "w+")
        process = start(self.command, None, stdout=subprocess.PIPE, stderr=errors, text=True)
        process.errors = errors
        return process

    def line_of(self, process):
        line = process.stdout.readline()
        if "listens on" not in line:
            raise Failure(f"a server did not begin: {line} {self.said(process)}")

    @staticmethod
    def said(process):
        return os.pread(process.errors.fileno(), 1 << 20, 0).decode()

    def has_left(self):
        return "serves; this one drains" in self.said(self.serving)

    def change(self):
        """Starts a new version. Returns when it began, when the old one had left, and what moved."""
        old, began = self.serving, time.monotonic()
        new = self.begin()
        self.line_of(new)
        wait_until(self.has_left, "the old server to leave")
        left = time.monotonic()
        self.serving = new
        told = old.communicate(timeout=PATIENCE_SECONDS)[0]
        ended = time.monotonic()
        if old.returncode != 0:
            raise Failure(f"the old server ended with {old.returncode}: {self.said(old)}")
        moved = re.search(r"(\d+) went to the next one", told)
        cancelled = int(re.search(r"(\d+) cancelled", told[told.index("stopped:"):])[1])
        return {"began": began, "left": left, "ended": ended, "moved": int(moved[1]) if moved else 0,
                "cancelled": cancelled, "rss_kib": rss_of(new.pid)}  # fmt: skip

    def kill_after(self, seconds):
        """Starts a new version and kills it. False if it was too quick, and serves."""
        new = self.begin()
        time.sleep(seconds)
        new.send_signal(signal.SIGSTOP)
        time.sleep(0.05)  # by then its output has been read
        if self.has_left():
            new.send_signal(signal.SIGCONT)
            self.line_of(new)
            self.serving.communicate(timeout=PATIENCE_SECONDS)
            self.serving = new
            return False
        new.kill()
        new.communicate()
        return True


def rss_of(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s*(\d+) kB", text)[1])


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"waited for {what}, for {PATIENCE_SECONDS} s")
        time.sleep(0.005)


# ---- clients ------------------------------------------------------------------------------------


class Probe:
    """One connection that echoes every few milliseconds, and notes each time."""

    def __init__(self, port):
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.settimeout(PATIENCE_SECONDS)
        self.echoes, self.wrong, self.stopping = [], [], False
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        number = 0
        try:
            while not self.stopping:
                number += 1
                message, begin = b"%015d\n" % number, time.monotonic()
                self.connection.sendall(message)
                answer = b""
                while len(answer) < len(message):
                    some = self.connection.recv(64)
                    if not some:
                        raise ConnectionError("the end came")
                    answer += some
                if answer != message:
                    raise ConnectionError(f"{answer} instead of {message}")
                self.echoes.append((begin, time.monotonic() - begin))
                time.sleep(PROBE_PAUSE)
        except OSError as error:
            self.wrong.append(str(error))

    def end(self):
        self.stopping = True
        self.thread.join()
        self.connection.close()


@contextlib.contextmanager
def client(port, folder, name, *arguments):
    result = folder / f"{name}.json"
    command = [str(BUILD / "src/client/echo_bench"), "127.0.0.1", "-p", str(port), "--json", str(result),
               "--timeout", f"{PATIENCE_SECONDS}s", "--no-progress", *map(str, arguments)]  # fmt: skip
    with open(folder / f"{name}.errors", "w+") as errors:
        process = start(command, None, stdout=subprocess.DEVNULL, stderr=errors)
        process.result = result
        process.errors = errors
        try:
            yield process
        finally:
            stop(process)


def result_of(process, seconds):
    process.wait(seconds)
    if not process.result.exists():
        raise Failure(f"echo_bench ended with {process.returncode}: {os.pread(process.errors.fileno(), 4096, 0).decode()}")
    return json.loads(process.result.read_text())


def connections_of_machine():
    text = pathlib.Path("/proc/net/sockstat").read_text()
    return int(re.search(r"TCP: inuse (\d+)", text)[1])


def connections_at(port):
    """How many connections are established at this port; the machine may have others. Takes long if it has many."""
    ours, established = f":{port:04X}", "01"
    with open("/proc/net/tcp") as lines:
        return sum(words[1].endswith(ours) and words[3] == established for words in map(str.split, lines))


# ---- the run ------------------------------------------------------------------------------------


def measure(options, folder):
    servers = Servers(options, folder)
    try:
        return measure_with(servers, options, folder)
    finally:
        stop(servers.serving)


def measure_with(servers, options, folder):
    # A new version takes longer with more connections, so each gets generous time.
    each = options.pause + 1 + (options.idle + options.echoing) / 20000
    duration = int((options.rounds + options.kills) * each + 10)
    with contextlib.ExitStack() as stack:
        before = connections_of_machine()
        hold = stack.enter_context(client(servers.port, folder, "idle", "--hold", options.idle, "--hold-time", f"{duration}s"))
        show_progress(f"{options.idle} idle connections are opened")
        wait_until(lambda: (connections_of_machine() - before >= 2 * options.idle and connections_at(servers.port) >= options.idle)
                   or hold.poll() is not None, "the idle connections")  # fmt: skip
        busy = stack.enter_context(client(servers.port, folder, "echoing", "-t", options.echoing, "-e", 10**9,
                                          "--duration", f"{duration - 5}s"))  # fmt: skip
        churn = stack.enter_context(client(servers.port, folder, "churn", "-t", options.churn, "--churn",
                                           "--duration", f"{duration - 5}s"))  # fmt: skip
        probe = Probe(servers.port)
        stack.callback(probe.end)
        time.sleep(options.pause)
        memory = rss_of(servers.serving.pid)
        changes, killed = [], []
        for number in range(options.rounds):
            show_progress(f"new version {number + 1} of {options.rounds}")
            changes.append(servers.change())
            time.sleep(options.pause)
        until_left = statistics.median(change["left"] - change["began"] for change in changes)
        for number in range(options.kills):
            show_progress(f"new version {number + 1} of {options.kills} that is killed")
            moment = until_left * (number + 0.5) / options.kills
            killed.append({"at": moment, "began": time.monotonic(), "served_on": servers.kill_after(moment)})
            time.sleep(options.pause / 4)
        show_progress("the clients end")
        wait = duration + PATIENCE_SECONDS
        told = {"idle": result_of(hold, wait), "echoing": result_of(busy, wait), "churn": result_of(churn, wait)}
        probe.end()
    return {"workers": servers.workers, "rss_before_kib": memory, "changes": changes, "kills": killed,
            "probe": {"echoes": probe.echoes, "wrong": probe.wrong}, **told}  # fmt: skip


def errors_of(told, options):
    wrong = list(told["probe"]["wrong"])
    for name in ("echoing", "churn"):
        total = told[name]["total"]
        if total["errors"] or total["connections_failed"]:
            wrong.append(f"{name}: {total['errors']} errors ({total['first_error']}), "
                         f"{total['connections_failed']} connections failed")  # fmt: skip
    held = told["idle"]["hold"]
    if held["connections"] != options.idle or held["failed"] or held["first_echo_errors"] or held["last_echo_errors"]:
        wrong.append(f"idle: {held['connections']} of {options.idle} were opened, {held['last_echo_errors']} did not "
                     f"echo at the end ({held['first_error']})")  # fmt: skip
    cancelled = sum(change["cancelled"] for change in told["changes"])
    if cancelled:
        wrong.append(f"{cancelled} connections were cancelled after the drain time")
    return wrong


def report(told, options):
    changes, echoes = told["changes"], told["probe"]["echoes"]
    moving = [change["ended"] - change["left"] for change in changes]
    moved = [change["moved"] for change in changes]

    def quiet(latencies):
        return 1000 * max(latencies, default=float("nan"))

    during = [late for at, late in echoes
              if any(change["began"] - 0.1 <= at <= change["ended"] for change in changes)]  # fmt: skip
    at_kills = [late for at, late in echoes if any(kill["began"] - 0.1 <= at <= kill["began"] + 1 for kill in told["kills"])]
    total, churn = told["echoing"]["total"], told["churn"]["total"]
    per_connection = statistics.median(seconds / max(count, 1) for seconds, count in zip(moving, moved))
    yield f"{len(changes)} new versions, {told['workers']} workers each; {options.idle} idle connections, {options.echoing} that echo"
    yield f"moved each time: {min(moved)} to {max(moved)} connections, in {min(moving):.2f} to {max(moving):.2f} s: {1e6 * per_connection:.1f} us each"
    yield f"memory of the first server {told['rss_before_kib']} KiB, of those that took over {min(c['rss_kib'] for c in changes)} to {max(c['rss_kib'] for c in changes)} KiB"
    yield f"echoes: {total['requests']}, the longest of {options.echoing} connections {total['latency_us']['max'] / 1000:.1f} ms, errors {total['errors']}"
    yield f"connections that came and went: {churn['connections_made']}, failed {churn['connections_failed']}, errors {churn['errors']}"
    yield f"one connection, {len(echoes)} echoes: longest {quiet(during):.1f} ms during a hand-over, {quiet([late for _, late in echoes]):.1f} ms in all"
    if told["kills"]:
        count = sum(kill["served_on"] for kill in told["kills"])
        yield f"killed while they took over: {count} of {len(told['kills'])} (the others were too quick, and serve); longest echo then {quiet(at_kills):.1f} ms"


# ---- the chart ----------------------------------------------------------------------------------


def chart(told):
    """Each echo of one connection as a dot over time, and each hand-over as a band."""
    width, height, left, top = 1000, 320, 70, 30
    echoes = told["probe"]["echoes"]
    first, last = echoes[0][0], echoes[-1][0]
    longest = max(late for _, late in echoes) * 1000

    def x(at):
        return left + (at - first) / (last - first) * (width - left - 20)

    def y(milliseconds):
        return height - 40 - milliseconds / longest * (height - 40 - top)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="{left}" y="18">Each echo of one connection, in ms. Bands: a new version takes over; lines: one is killed</text>']  # fmt: skip
    for change in told["changes"]:
        begin, end = x(change["began"]), x(change["ended"])
        parts.append(f'<rect x="{begin:.1f}" y="{top}" width="{max(end - begin, 1):.1f}" height="{height - 40 - top}" fill="#cde"/>')
    for kill in told["kills"]:
        at = x(kill["began"])
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{height - 40}" stroke="#c66" stroke-dasharray="3"/>')
    for step in range(5):
        value = longest * step / 4
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>')
        parts.append(f'<line x1="{left}" x2="{width - 20}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
    # the longest echo of each pixel: the others would lie below it
    columns = {}
    for at, late in echoes:
        column = round(x(at))
        columns[column] = max(columns.get(column, 0), late * 1000)
    parts += [f'<circle cx="{column}" cy="{y(late):.1f}" r="1.5" fill="#246"/>' for column, late in columns.items()]
    for second in range(0, int(last - first) + 1, max(1, int((last - first) / 10))):
        parts.append(f'<text x="{x(first + second):.1f}" y="{height - 20}" text-anchor="middle">{second} s</text>')
    return "\n".join([*parts, "</svg>", ""])


def run(options):
    file = Samples(options.json)
    building.prepare("echo_coro", groups=["bench"])
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="ringlet-hand-over-") as folder:
        told = measure(options, pathlib.Path(folder))
    show_progress("")
    for line in report(told, options):
        print(line)
    file.write(told)
    if options.chart:
        options.chart.write_text(chart(told))
    wrong = errors_of(told, options)
    for line in wrong:
        say(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    run_command(read_options, run)
