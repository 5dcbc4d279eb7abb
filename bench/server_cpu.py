#!/usr/bin/env python3
"""Compares the CPU time that two echo servers need per echo.

Throughput on a shared machine can swing threefold from one minute to the next; CPU time per echo
swings by a tenth. Runs of both servers alternate, so that what the machine does meanwhile meets
both, and each pair gives one ratio. The result is the median of the ratios with an interval.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import platform
import random
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PEERS = ROOT / "bench" / "peers"
BUILD = pathlib.Path(os.environ.get("RINGLET_BUILD_DIR", ROOT / "build/release")).resolve()
CONGESTION_CONTROL = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")

HOST = "127.0.0.1"
START_SECONDS_LIMIT = 20
STOP_SECONDS_LIMIT = 5
RUN_SECONDS_LIMIT = 600
WARM_UP_ECHOES = 20  # per connection: page faults and first allocations are not the subject
RESAMPLES = 10_000
FEWEST_PAIRS = 6  # of fewer, all on one side happens by chance more often than 5 times in 100
USAGE, UNAVAILABLE, INTERRUPTED = 64, 69, 130

EPILOG = """\
A server is one of these names, or any command with {port} in it:
  echo_coro                ringlet's server, from the build directory
  epoll_echo, libev_echo   the C servers, from the build directory
  NAME_echo.py             a Python server of bench/peers, run by PYTHON3 (/usr/bin/python3)

examples:
  bench/server_cpu.py epoll_echo echo_coro
  bench/server_cpu.py epoll_echo epoll_echo            # how much is noise: the ratio should be 1
  bench/server_cpu.py --syscalls --connections 1 epoll_echo echo_coro
  bench/server_cpu.py echo_coro '/tmp/before/echo_coro --port {port}'

Processes that a server forks are not counted; its threads are. The server runs on one CPU, the
client on another, with the congestion control cubic or reno where root may set it.
RINGLET_BUILD_DIR names another build directory than build/release.
Exit status: 0; 64 wrong usage; 69 a server or the client is missing or failed; 130 interrupted.
"""


class Failure(Exception):
    """Something that ends the comparison, told in one line."""


# ---- statistics ---------------------------------------------------------------------------------


def paired_ratio(pairs, seed=1):
    """Median of first/second over the pairs, and its 95 % bootstrap interval: (median, low, high).

    The seed is fixed: the same samples give the same interval.
    """
    ratios = [first / second for first, second in pairs]
    resample = random.Random(seed)
    medians = sorted(
        statistics.median(resample.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES)
    )
    tail = round(0.025 * RESAMPLES)
    return statistics.median(ratios), medians[tail], medians[-1 - tail]


def verdict(names, pair_count, low, high):
    if pair_count < FEWEST_PAIRS:
        return f"Too few pairs to say which is cheaper: that takes {FEWEST_PAIRS}, better 10."
    if low <= 1 <= high:
        return "No difference shown: the interval contains 1."
    cheaper = names[1] if low > 1 else names[0]
    return f"{cheaper} needs less CPU per echo."


# ---- servers and clients ------------------------------------------------------------------------


def command_of(server, port):
    """The words that start a server which was named on the command line."""
    if "{port}" in server:
        return shlex.split(server.replace("{port}", str(port)))
    if server == "echo_coro":
        return [str(BUILD / "src/server/echo_coro"), "--port", str(port)]
    if server in ("epoll_echo", "libev_echo"):
        return [str(BUILD / "bench" / server), str(port)]
    if server.endswith(".py") and (PEERS / server).exists():
        python = os.environ.get("PYTHON3", "/usr/bin/python3")
        return [python, str(PEERS / server), str(port)]
    raise Failure(f"'{server}' is neither a known server nor a command with {{port}}; see --help")


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


def start(command, cpu, **options):
    def pin():
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, preexec_fn=pin, env=environment, **options
        )
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from None


def stop(process):
    process.terminate()
    try:
        process.wait(STOP_SECONDS_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_server(server, cpu):
    """Yields (process, port) of a server that accepts connections."""
    port = free_port()
    with tempfile.TemporaryFile() as errors:
        process = start(command_of(server, port), cpu, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            deadline = time.monotonic() + START_SECONDS_LIMIT
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection((HOST, port), timeout=1).close()
                    break
                if process.poll() is not None:
                    errors.seek(0)
                    said = errors.read().decode(errors="replace").strip().splitlines()
                    last = said[-1] if said else "it said nothing"
                    raise Failure(f"{server} ended with status {process.returncode}: {last}")
                if time.monotonic() > deadline:
                    raise Failure(f"{server} did not listen on {port} in {START_SECONDS_LIMIT} s")
                time.sleep(0.01)
            yield process, port
            if process.poll() is not None:
                raise Failure(f"{server} ended with status {process.returncode} during a run")
        finally:
            stop(process)


def run_client(load, in_turn, echoes, port, cpu):
    """One run of echo_bench: all connections at once, each so often anew, so many echoes on each."""
    command = [str(BUILD / "src/client/echo_bench"), "-t", str(load.connections), "-c", str(in_turn)]
    command += ["-e", str(echoes), "--size", str(load.size), "-p", str(port), HOST]
    process = start(command, cpu, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        printed, said = process.communicate(timeout=RUN_SECONDS_LIMIT)
    except subprocess.TimeoutExpired:
        raise Failure(f"the client did not end within {RUN_SECONDS_LIMIT} s") from None
    finally:
        stop(process)
    last = printed.splitlines()[-1] if printed else ""
    if process.returncode != 0 or not re.fullmatch(r"Throughput: .*, errors: 0", last):
        what = (said.strip().splitlines() or [last])[-1]
        raise Failure(f"the client ended with status {process.returncode}: {what}")


def cpu_nanoseconds(pid):
    """CPU time of all threads of a process, as its scheduler counts it."""
    total = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that just ended
            total += int((thread / "schedstat").read_text().split()[0])
    if total == 0:
        raise Failure("the kernel counts no CPU time in /proc/PID/schedstat (CONFIG_SCHED_INFO)")
    return total


@contextlib.contextmanager
def congestion_control():
    """Yields the congestion control in use: cubic or reno where we may choose it.

    Waits until no other measurement runs: they would spoil each other, and share this setting.
    """
    with CONGESTION_CONTROL.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("server_cpu: waiting for another measurement to end", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        with chosen_congestion_control() as used:
            yield used


@contextlib.contextmanager
def chosen_congestion_control():
    before = CONGESTION_CONTROL.read_text().strip()
    used = before
    for wanted in ("cubic", "reno"):
        with contextlib.suppress(OSError):
            CONGESTION_CONTROL.write_text(wanted)
            used = wanted
            break
    try:
        yield used
    finally:
        if used != before:
            CONGESTION_CONTROL.write_text(before)


# ---- measuring ----------------------------------------------------------------------------------


def measure_cpu(server, load, cpus):
    """CPU nanoseconds per echo of one fresh server under one run of the client."""
    with running_server(server, cpus[0]) as (process, port):
        run_client(load, 1, WARM_UP_ECHOES, port, cpus[1])
        before = cpu_nanoseconds(process.pid)
        run_client(load, load.in_turn, load.echoes, port, cpus[1])
        used = cpu_nanoseconds(process.pid) - before
    return used / (load.connections * load.in_turn * load.echoes)


def measure_pairs(servers, load, cpus):
    """CPU nanoseconds per echo, (first, second) for each pair; who begins is left to chance."""
    pairs = []
    for number in range(1, load.pairs + 1):
        pair = [0.0, 0.0]
        for which in random.sample((0, 1), 2):
            show_progress(f"pair {number} of {load.pairs}: {servers[which]}")
            pair[which] = measure_cpu(servers[which], load, cpus)
        pairs.append(tuple(pair))
    return pairs


def measure_system_calls(server, load, cpus):
    """System calls per echo by name, counted by strace."""
    show_progress(f"system calls: {server}")
    with contextlib.ExitStack() as stack:
        process, port = stack.enter_context(running_server(server, cpus[0]))
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run_client(load, 1, WARM_UP_ECHOES, port, cpus[1])
        summary = folder / "summary"
        command = ["strace", "-c", "-f", "-U", "calls,name", "-o", str(summary)]
        command += ["-p", str(process.pid)]
        with tempfile.TemporaryFile() as said:
            strace = start(command, None, stdout=subprocess.DEVNULL, stderr=said)
            try:
                wait_until_traced(process.pid, strace)
                run_client(load, load.in_turn, load.echoes, port, cpus[1])
                strace.send_signal(signal.SIGINT)  # lets go of the server and writes the summary
                strace.wait(STOP_SECONDS_LIMIT)
            finally:
                stop(strace)
        counts = read_strace_summary(summary.read_text())
    echoes = load.connections * load.in_turn * load.echoes
    return {name: count / echoes for name, count in counts.items()}


def wait_until_traced(pid, strace):
    deadline = time.monotonic() + START_SECONDS_LIMIT
    while "TracerPid:\t0\n" in pathlib.Path(f"/proc/{pid}/status").read_text():
        if strace.poll() is not None or time.monotonic() > deadline:
            raise Failure("strace could not attach to the server (is tracing allowed here?)")
        time.sleep(0.01)


def read_strace_summary(text):
    """Calls by name, most frequent first, from lines of a count and a name."""
    found = re.findall(r"(?m)^ *(\d+) +(\w+)$", text)
    counts = {name: int(count) for count, name in found if name != "total"}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


# ---- the program --------------------------------------------------------------------------------


def show_progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def read_options(arguments):
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            self.exit(USAGE, f"server_cpu: {message}; --help explains the options\n")

    def positive(text):
        if not text.isascii() or not text.isdigit() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
        return int(text)

    parser = Parser(
        prog="server_cpu.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("servers", nargs=2, metavar="SERVER", help="the two servers, in this order")
    for name, default, text in (
        ("--pairs", 10, "pairs of runs"),
        ("--connections", 100, "connections at the same time"),
        ("--in-turn", 1, "connections of each, one after another: with --echoes 1 what accepting costs"),
        ("--echoes", 1000, "echoes on each connection in a run"),
        ("--size", 64, "bytes of a message"),
    ):
        parser.add_argument(name, type=positive, default=default, help=f"{text} (%(default)s)")
    parser.add_argument("--syscalls", action="store_true", help="count system calls too (strace)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all samples here")
    return parser.parse_args(arguments)


def compare(options):
    """Measures, prints the result and returns all of it, ready for JSON."""
    servers = options.servers
    for server in servers:
        command_of(server, 1)  # an unknown name is told before anything runs
    if options.syscalls and not shutil.which("strace"):
        raise Failure("strace is missing: install the package strace, or leave out --syscalls")

    cpus = choose_cpus()
    with congestion_control() as congestion:
        pairs = measure_pairs(servers, options, cpus)
        traced = servers if options.syscalls else []
        calls = [measure_system_calls(server, options, cpus) for server in traced]
    show_progress("")

    median, low, high = paired_ratio(pairs)
    columns = list(zip(*pairs))
    width = max(map(len, servers))
    pinning = "not pinned" if cpus[0] is None else f"server on CPU {cpus[0]}, client on {cpus[1]}"
    print(
        f"{options.pairs} pairs; {options.connections} connections, {options.in_turn} in turn, "
        f"{options.echoes} echoes of "
        f"{options.size} bytes on each; {congestion}; {pinning}\n\nserver CPU per echo [us]"
    )
    for server, samples in zip(servers, columns):
        print(
            f"  {server:{width}}  median {statistics.median(samples) / 1000:.3f}"
            f"  ({min(samples) / 1000:.3f} to {max(samples) / 1000:.3f})"
        )
    print(
        f"\n{servers[0]} / {servers[1]}: median of the paired ratios {median:.3f},"
        f" 95 % interval {low:.3f} to {high:.3f}\n{verdict(servers, options.pairs, low, high)}"
    )
    if calls:
        print("\nsystem calls per echo (strace slows the server, so that it may batch more)")
    for server, counts in zip(servers, calls):
        most = ", ".join(f"{name} {count:.3f}" for name, count in list(counts.items())[:5])
        print(f"  {server:{width}}  {sum(counts.values()):.3f}  ({most})")

    return {
        "servers": servers,
        "load": {
            name: getattr(options, name) for name in ("pairs", "connections", "in_turn", "echoes", "size")
        },
        "machine": {
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
            "server_cpu": cpus[0],
            "client_cpu": cpus[1],
            "congestion_control": congestion,
        },
        "cpu_nanoseconds_per_echo": pairs,
        "ratio": {"median": median, "low": low, "high": high},
        "system_calls_per_echo": calls,
    }


def main():
    options = read_options(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # stops the server too
    try:
        result = compare(options)
        if options.json:
            options.json.write_text(json.dumps(result, indent=2) + "\n")
    except (Failure, OSError) as error:
        show_progress("")
        print(f"server_cpu: {error}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    except KeyboardInterrupt:
        show_progress("")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
