"""How soon is a crowd of clients served that connects at once, and what do established clients notice?

Some clients echo in a closed loop for a second. Then many more connect at once, and each echoes as soon as it is served:
a server that accepts one client per turn, and serves all others in between, makes the last of them wait for a long time.
Measured are the time from the first connect until the last of the crowd has its first echo; how many echoes the crowd had
by then (a fair server: few each); and the echo rate and p99 of the established clients, in the second before and
meanwhile. All servers take turns, in random order within each round.
"""

import contextlib
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time

HARNESS = pathlib.Path(__file__).resolve().parents[1] / "harness"
sys.path.insert(1, str(HARNESS))

import building
import crowd
import measuring
from machine import raise_file_limit
from measuring import choose_cpus, command_line, congestion_control, describe_machine
from measuring import positive_number, run_command, running_server, show_progress
from pairs import FEWEST_PAIRS, paired_ratio
from places import PYTHON3
from processes import Failure, start, stop
from rows import command_of, refuse_missing
from samples import HELP as SAMPLES
from samples import Samples

SERVERS = ["echo_coro", "echo_coro --backend epoll", "libev_echo", "asyncio_echo.py"]
BEFORE_SECONDS = 1

EPILOG = """\
A server is a name as for "benchmark.sh compare", or any command with {port} in it. The four defaults are
""" + ", ".join(f"'{name}'" for name in SERVERS) + """.

The server runs on one CPU, both kinds of clients on another, as two processes. The clients are in Python: they are the
same for all servers, but their rates do not show what a server can do. Unless RINGLET_BUILD_DIR names a build directory
other than build/release, what is missing is installed and built.
Exit status: 0; 64 wrong usage; 69 a server or a client is missing or failed; 130 interrupted.
"""  # fmt: skip


def read_options(arguments):
    parser = command_line("benchmark.sh accept", __doc__, EPILOG)
    parser.add_argument("servers", nargs="*", metavar="SERVER", default=SERVERS, help="what takes turns")
    for name, default, text in (
        ("--rounds", 10, "runs of each server"),
        ("--clients", 2000, "clients that connect at once"),
        ("--established", 50, "clients that are connected before"),
        ("--limit", 30, "seconds after which clients without an echo are counted as missing"),
    ):
        parser.add_argument(name, type=positive_number, default=default, help=f"{text} (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help=SAMPLES)
    return parser.parse_args(arguments)


# ---- one run ------------------------------------------------------------------------------------


@contextlib.contextmanager
def clients(what, cpu, *numbers):
    pipe = subprocess.PIPE
    command = [PYTHON3, str(HARNESS / "crowd.py"), what, *map(str, numbers)]
    process = start(command, cpu, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        stop(process)


def answer_of(process):
    said, errors = process.communicate(timeout=measuring.RUN_SECONDS_LIMIT)
    if process.returncode != 0:
        raise Failure(measuring.last_line(errors))
    return json.loads(said)


def measure(server, options, cpus):
    """Measures one fresh server under a crowd."""
    with running_server(server, cpus[0]) as running:
        with clients("established", cpus[1], running.port, options.established) as those_before:
            if those_before.stdout.readline() != "established\n":
                answer_of(those_before)
                raise Failure(f"{server} served nobody")
            time.sleep(0.2 + BEFORE_SECONDS)
            with clients("crowd", cpus[1], running.port, options.clients, options.limit) as many:
                told = answer_of(many)
            slices = answer_of(those_before)
    return {**told, "before": rate_and_p99(slices, told["began"] - BEFORE_SECONDS, told["began"]),
            "meanwhile": rate_and_p99(slices, told["began"], told["ended"])}  # fmt: skip


def rate_and_p99(slices, begin, end):
    """Echoes a second, and p99 in seconds, of the slices that lie wholly or partly between these times."""
    counts, width = {}, 1 / crowd.SLICES
    for at, latencies in slices:
        if begin - width < at < end:
            for step, count in latencies.items():
                counts[int(step)] = counts.get(int(step), 0) + count
    covered = sum(min(at + width, end) - max(at, begin) for at, _ in slices if begin - width < at < end)
    # there are no slices for times without an echo, but that time counts, too
    return {"rate": sum(counts.values()) / max(end - begin, covered, width),
            "p99": crowd.percentile(counts, 0.99) if counts else None}  # fmt: skip


def measure_rounds(options, cpus):
    samples = {server: [] for server in options.servers}
    for number in range(1, options.rounds + 1):
        for server in random.sample(options.servers, len(options.servers)):
            show_progress(f"round {number} of {options.rounds}: {server}")
            samples[server].append(measure(server, options, cpus))
    show_progress("")
    return samples


# ---- the table ----------------------------------------------------------------------------------

HEADINGS = ("server", "last served [s]", "from, to", "ratio", "interval", "half served [s]", "echoes each",
            "served before: rate", "p99 [ms]", "meanwhile: rate", "p99 [ms]")  # fmt: skip


def cells(server, runs, first, options):
    def median(of):
        values = [value for value in map(of, runs) if value is not None]
        return statistics.median(values) if values else float("nan")

    seconds = [run["seconds"] for run in runs]
    ratio, low, high = paired_ratio([(run["seconds"], other["seconds"]) for run, other in zip(runs, first)])
    missing = max(run["missing"] for run in runs)
    return (server + (f" ({missing} not served)" if missing else ""),
            f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f}, {max(seconds):.2f}",
            f"{ratio:.3f}", f"{low:.3f} to {high:.3f}",
            f"{median(lambda run: run['median_first']):.2f}",
            f"{median(lambda run: run['echoes'] / options.clients):.1f}",
            f"{median(lambda run: run['before']['rate']):,.0f}",
            f"{1000 * median(lambda run: run['before']['p99']):.1f}",
            f"{median(lambda run: run['meanwhile']['rate']):,.0f}",
            f"{1000 * median(lambda run: run['meanwhile']['p99']):.1f}")  # fmt: skip


def table(samples, options):
    rows = [HEADINGS, *(cells(server, runs, samples[options.servers[0]], options) for server, runs in samples.items())]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()


def run(options):
    file = Samples(options.json)
    for server in options.servers:
        command_of(server, 1)  # an unknown name is reported before anything runs
    building.prepare("echo_coro", groups=["bench"], optional=[
        (f"{name} could not be built", name) for name in ("libev_echo", "epoll_echo", "uring_echo")])  # fmt: skip
    for server in options.servers:
        refuse_missing(server)
    raise_file_limit()
    cpus = choose_cpus()
    with congestion_control() as congestion:
        samples = measure_rounds(options, cpus)
    print(f"{options.rounds} rounds; {options.clients} clients at once, {options.established} served before; {congestion}; "
          + ("not pinned" if cpus[0] is None else f"server on CPU {cpus[0]}, clients on CPU {cpus[1]}"))  # fmt: skip
    if options.rounds < FEWEST_PAIRS:
        print(f"Too few rounds to say anything: that takes {FEWEST_PAIRS}.")
    print(f"Medians. The ratio is of the times until the last is served, to that of {options.servers[0]} in the same round, with its\n"
          "95 % interval; rates are echoes a second of all that were served before.\n")  # fmt: skip
    for line in table(samples, options):
        print(line)
    file.write({"machine": describe_machine(cpus, congestion), "clients": options.clients,
                "established": options.established, "runs": samples})  # fmt: skip


if __name__ == "__main__":
    run_command(read_options, run)
