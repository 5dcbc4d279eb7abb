"""What the comparisons of this folder share: servers, the client, a quiet machine."""

import argparse
import contextlib
import dataclasses
import fcntl
import io
import os
import pathlib
import platform
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

from places import BUILD
from processes import Failure, Missing, end_by_signals, is_listening, signals_held, start, stop
from rows import command_of

CONGESTION_CONTROL = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")

HOST = "127.0.0.1"
START_SECONDS_LIMIT = 20
END_SECONDS_LIMIT = 10
RUN_SECONDS_LIMIT = 600
LOOK_SECONDS = 1  # an idle worker thread of io_uring lives for five: none is missed
WARM_UP_ECHOES = 20  # per connection: page faults and first allocations are not the subject

USAGE, UNAVAILABLE, INTERRUPTED = 64, 69, 130


class TooLong(Failure):
    """Something was stopped at its time limit."""


# ---- servers ------------------------------------------------------------------------------------


def choose_cpus():
    """Two allowed CPUs, of different cores if there are such; two None if only one is allowed."""
    first, *others = sorted(os.sched_getaffinity(0))
    topology = pathlib.Path(f"/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list")
    siblings = set()
    if topology.exists():
        for part in topology.read_text().strip().split(","):
            low, _, high = part.partition("-")
            siblings.update(range(int(low), int(high or low) + 1))
    others.sort(key=lambda cpu: cpu in siblings)
    return (first, others[0]) if others else (None, None)


def describe_machine(cpus, congestion):
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "server_cpu": cpus[0],
        "client_cpu": cpus[1],
        "congestion_control": congestion,
    }


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Server:
    """A running server. Its promises are checked all the time: see `look`, `end`."""

    def __init__(self, name, port, process, printed, errors):
        self.name, self.port, self.process, self.pid = name, port, process, process.pid
        self.files = {"printed": printed, "errors": errors}

    def said(self, which):
        self.files[which].seek(0)
        return self.files[which].read().decode(errors="replace").strip()

    def is_connected_to(self):
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, self.port), timeout=1).close()
            return True
        return False

    def wait_until_it_listens(self):
        deadline = time.monotonic() + START_SECONDS_LIMIT
        while not is_listening(self.port):
            self.must_run()
            if time.monotonic() > deadline:
                raise Failure(
                    f"{self.name} did not listen on port {self.port} within {START_SECONDS_LIMIT} s"
                )
            time.sleep(0.01)
        self.must_run()  # otherwise another program listens there

    def must_run(self):
        if self.process.poll() is not None:
            said = last_line(self.said("errors"))
            raise Failure(f"{self.name} ended with status {self.process.returncode}: {said}")

    def look(self):
        """Checks that it lives, and that the kernel uses no worker thread for it."""
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended with status {self.process.returncode} during a run")
        for thread in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it just ended
                name = (thread / "comm").read_text().strip()
                if name.startswith("iou-wrk"):
                    raise Failure(f"{self.name} has a worker thread of io_uring: {name}")

    def end(self):
        """Ends it by SIGTERM; it must not have crashed or lost completions."""
        self.process.terminate()
        deadline = time.monotonic() + END_SECONDS_LIMIT
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} did not end within {END_SECONDS_LIMIT} s of SIGTERM")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.2)
                break
            self.is_connected_to()  # under valgrind a sleeping server notices a signal only when something arrives
        if self.process.returncode not in (0, -signal.SIGTERM):
            raise Failure(f"{self.name} ended with status {self.process.returncode} by SIGTERM")
        self.last_words = self.said("errors")
        overflows = overflow_count(self.said("printed"))
        if overflows:
            raise Failure(f"{self.name} let its completion queue overflow {overflows} times")


def overflow_count(printed):
    """How often a completion queue overflowed; 0 where a server says nothing about it."""
    told = re.search(r"(\d+) (?:overflows? of the completion queue|completion queue overflows?)", printed)
    return int(told[1]) if told else 0


@contextlib.contextmanager
def running_server(name, cpu, under=()):
    """Yields a Server that accepts connections, and runs under another command if asked for."""
    port = free_port()
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        process = start([*under, *command_of(name, port)], cpu, stdout=printed, stderr=errors)
        try:
            server = Server(name, port, process, printed, errors)
            server.wait_until_it_listens()
            yield server
            server.look()
            server.end()
        finally:
            stop(process)


# ---- the client ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Load:
    """The load that echo_bench makes."""

    connections: int = 50  # at the same time
    in_turn: int = 1  # of each, one after another
    echoes: int = 1000  # on each connection
    size: int = 64  # bytes of a message
    options: tuple = ()

    @property
    def echo_count(self):
        return self.connections * self.in_turn * self.echoes

    def with_echoes(self, echoes):
        return dataclasses.replace(self, echoes=echoes)


def run_to_its_end(command, cpu, server=None, seconds_limit=RUN_SECONDS_LIMIT):
    """Runs a program, and looks at the server meanwhile. Returns a subprocess.CompletedProcess."""
    pipe = subprocess.PIPE
    process = start(command, cpu, stdout=pipe, stderr=pipe, text=True, errors="replace")
    deadline = time.monotonic() + seconds_limit
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                printed, said = process.communicate(timeout=LOOK_SECONDS)
                break
            if server:
                server.look()
            if time.monotonic() > deadline:
                raise TooLong(f"{command[0]} did not end within {seconds_limit} s")
    finally:
        stop(process)
    if server:
        server.look()
    return subprocess.CompletedProcess(command, process.returncode, printed, said)


def last_words(ended):
    return last_line(ended.stderr or ended.stdout)


def last_line(text):
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def run_client(load, server, cpu):
    """One run of echo_bench, all of whose echoes must be right. Returns the echoes per second."""
    command = [str(BUILD / "src/client/echo_bench"), "-t", str(load.connections), "-c", str(load.in_turn)]
    command += ["-e", str(load.echoes), "--size", str(load.size), "-p", str(server.port)]
    ended = run_to_its_end([*command, *load.options, HOST], cpu, server)
    told = re.search(r"^Throughput: ([\d.]+) .*, errors: 0\n\Z", ended.stdout, re.MULTILINE)
    if ended.returncode != 0 or not told:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(1)  # the server's end is the better reason, and the client may see it first
            server.look()
        raise Failure(f"the client ended with status {ended.returncode}: {last_words(ended)}")
    return float(told[1])


def warm_up(load, server, cpu):
    run_client(dataclasses.replace(load, in_turn=1, echoes=WARM_UP_ECHOES), server, cpu)


# ---- measuring alone ----------------------------------------------------------------------------


@contextlib.contextmanager
def congestion_control():
    """Yields the congestion control in use: cubic or reno where we may choose it."""
    with alone(), chosen_congestion_control() as used:
        yield used


@contextlib.contextmanager
def alone():
    """Waits until no other measurement runs: they would spoil each other, and share this setting."""
    readable = os.access(CONGESTION_CONTROL, os.R_OK)
    with open(CONGESTION_CONTROL if readable else __file__) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another measurement on this machine to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def congestion_control_now():
    try:
        return CONGESTION_CONTROL.read_text().strip()
    except OSError:
        return "unknown"


@contextlib.contextmanager
def chosen_congestion_control():
    before = congestion_control_now()
    try:
        for wanted in ("cubic", "reno"):
            with contextlib.suppress(OSError):
                CONGESTION_CONTROL.write_text(wanted)
                break
        yield congestion_control_now()
    finally:
        with signals_held(), contextlib.suppress(OSError):
            if congestion_control_now() != before:
                CONGESTION_CONTROL.write_text(before)


class Unwritten(Failure):
    """The output, which is the purpose of the run, could not be written."""


def out(text=""):
    """Prints to stdout, at once."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unwritten(f"the output could not be written: {error.strerror}") from None


class _Stderr(io.RawIOBase):
    """What cannot be written here is dropped: a full disk for progress does not end a measurement."""

    def writable(self):
        return True

    def fileno(self):
        return 2

    def isatty(self):
        return os.isatty(2)

    def write(self, data):
        with contextlib.suppress(OSError):
            return os.write(2, data)
        return len(data)


def drop_what_cannot_be_said():
    sys.stderr = io.TextIOWrapper(_Stderr(), errors="backslashreplace", write_through=True)


def say(text):
    """One line for people who watch, after our own name."""
    show_progress("")
    name = pathlib.Path(sys.argv[0]).stem.replace("_", "-")
    print(f"{name}: {text}", file=sys.stderr, flush=True)


progress_prefix = ""


def show_progress(text):
    """One line that is written over, for people who watch; an empty one takes it away."""
    if sys.stderr.isatty():
        line = f"{progress_prefix}{text}" if text else ""
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


class TimeLeft:
    """Estimates the time left from how long the pieces usually take, and how long the finished ones took."""

    def __init__(self, piece, guesses):
        self.piece, self.guesses = piece, guesses
        self.begin, self.done = time.monotonic(), 0

    def step(self):
        self.done += 1

    def __str__(self):
        done, left = sum(self.guesses[: self.done]), sum(self.guesses[self.done :])
        seconds = left * (time.monotonic() - self.begin) / done if done else left
        place = f"{self.piece} {self.done + 1} of {len(self.guesses)}"
        return f"[{place}, about {seconds / 60:.0f} min left] "


# ---- the command line ---------------------------------------------------------------------------


def command_line(program, description, epilog):
    """A parser of options that reports an error in one line."""

    class Parser(argparse.ArgumentParser):
        def error(self, message):
            name = pathlib.Path(program).stem
            self.exit(USAGE, f"{name}: {message}; --help explains the options\n")

    return Parser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def positive_number(text):
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)


def run_command(read_options, run):
    """A command from its arguments to its exit status, which `run` returns (None: 0)."""
    options = read_options(sys.argv[1:])
    end_by_signals()
    try:
        sys.exit(run(options))
    except (Failure, OSError, subprocess.TimeoutExpired) as error:
        say(str(error))
        sys.exit(UNAVAILABLE)
    except KeyboardInterrupt:
        show_progress("")
        sys.exit(INTERRUPTED)
