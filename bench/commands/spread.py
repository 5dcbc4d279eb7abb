"""How evenly are connections spread over the workers of a server?

Each row has a number of connections, which arrive one after another or all at once, and stay. After each has had an echo,
the metrics of echo_coro show how many each worker has. Beside it is what the kernel does alone: as many listening sockets
share a port by SO_REUSEPORT, and a hash of its addresses chooses the one for each connection. A share is a worker's part
of all connections divided by an even part: 1 is even, and 0 is a worker without connections.
"""

import contextlib
import pathlib
import re
import select
import socket
import statistics
import sys
import time
import urllib.request

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "harness"))

import building
import measuring
from machine import raise_file_limit
from measuring import HOST, Failure, choose_cpus, command_line, free_port
from measuring import positive_number, run_command, running_server, show_progress
from places import BUILD
from samples import HELP as SAMPLES
from samples import Samples

KERNEL, COUNTS_SECONDS_LIMIT, ECHO_SECONDS_LIMIT = "SO_REUSEPORT alone", 20, 60

EPILOG = """\
Server and clients share the machine, because no time is measured. Unless RINGLET_BUILD_DIR names a build directory other
than build/release, what is missing is installed and built.
Exit status: 0; 64 wrong usage; 69 the server is missing or failed; 130 interrupted.
"""


def read_options(arguments):
    parser = command_line("benchmark.sh spread", __doc__, EPILOG)
    parser.add_argument("--rounds", type=positive_number, default=10, help="runs of each row (%(default)s)")
    for name, default in (("--workers", [2, 4]), ("--connections", [8, 100, 10_000])):
        parser.add_argument(name, type=positive_number, nargs="+", default=default, metavar="N",
                            help=f"numbers to try ({' '.join(map(str, default))})")  # fmt: skip
    parser.add_argument("--backend", choices=("io_uring", "epoll"), default="io_uring", help="backend of echo_coro (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help=SAMPLES)
    return parser.parse_args(arguments)


# ---- clients ------------------------------------------------------------------------------------


def connect(stack, port):
    client = stack.enter_context(socket.socket())
    client.settimeout(ECHO_SECONDS_LIMIT)
    client.connect((HOST, port))
    return client


def echo(clients):
    for client in clients:
        client.sendall(b"x")
    for client in clients:
        if client.recv(1) != b"x":
            raise Failure("the server ended a connection instead of answering")


def hold(stack, port, count, at_once):
    """Opens `count` connections, each with an echo."""
    clients = []
    for _ in range(count):
        clients.append(connect(stack, port))
        if not at_once:
            echo(clients[-1:])
    if at_once:
        echo(clients)


# ---- what they are spread by --------------------------------------------------------------------


def counts_of_workers(address, workers, count):
    """The counts in the metrics, once they add up: a connection that another worker takes moves a moment later."""
    deadline = time.monotonic() + COUNTS_SECONDS_LIMIT
    while True:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=COUNTS_SECONDS_LIMIT) as answer:
            told = answer.read().decode()
        counts = [int(number) for number in re.findall(r'^ringlet_connections\{worker="\d+"\} (\d+)$', told, re.M)]
        if len(counts) == workers and sum(counts) == count:
            return counts
        if time.monotonic() > deadline:
            raise Failure(f"the workers tell of {counts} connections, not of {count}")
        time.sleep(0.02)


def by_ringlet(workers, count, at_once, backend):
    address = f"{HOST}:{free_port()}"
    command = f"{BUILD}/src/server/echo_coro --port {{port}} --workers {workers} --backend {backend} --metrics {address}"
    with running_server(command, None) as server, contextlib.ExitStack() as stack:
        hold(stack, server.port, count, at_once)
        return counts_of_workers(address, workers, count)


def by_the_kernel(workers, count):
    """The kernel chooses the listener when a connection arrives: how fast they come makes no difference."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(workers)]
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((HOST, listeners[0].getsockname()[1]))
            listener.listen(4096)
        counts = [0] * workers
        for _ in range(count):
            connect(stack, listeners[0].getsockname()[1])  # and stays, so that its port is not taken again
            (chosen, *others), _, _ = select.select(listeners, [], [], ECHO_SECONDS_LIMIT)
            if others:
                raise Failure("one connection is with two listeners")
            chosen.accept()[0].close()
            counts[listeners.index(chosen)] += 1
        return counts


# ---- rows ---------------------------------------------------------------------------------------


def measure(options):
    """{(workers, connections): {name: [counts of each run]}}; the names take turns."""
    ways = {
        "echo_coro, one after another": lambda w, n: by_ringlet(w, n, False, options.backend),
        "echo_coro, all at once": lambda w, n: by_ringlet(w, n, True, options.backend),
        KERNEL: by_the_kernel,
    }
    rows = {}
    for number in range(1, options.rounds + 1):
        for workers in options.workers:
            for count in options.connections:
                for name, measure_one in ways.items():
                    show_progress(f"round {number} of {options.rounds}: {workers} workers, {count:,} connections, {name}")
                    runs = rows.setdefault((workers, count), {}).setdefault(name, [])
                    runs.append(measure_one(workers, count))
    show_progress("")
    return rows


def shares(runs, choose):
    """The largest or the smallest share of each run."""
    return [choose(counts) * len(counts) / sum(counts) for counts in runs]


def lines(rows):
    yield f"{'workers':8}{'connections':>11}  {'':30}{'largest share':26}smallest share"
    for (workers, count), ways in rows.items():
        for name, runs in ways.items():
            most, least = (f"{statistics.median(of):.3f} ({min(of):.3f} to {max(of):.3f})" for of in (shares(runs, max), shares(runs, min)))
            yield f"{workers:<8}{count:>11,}  {name:30}{most:26}{least}"


def run(options):
    file = Samples(options.json)
    building.prepare("echo_coro")
    raise_file_limit()
    rows = measure(options)
    print(f"{options.rounds} rounds; echo_coro on {options.backend}; median, and from the smallest to the largest of all rounds\n")
    for line in lines(rows):
        print(line)
    told = [{"workers": workers, "connections": count, "counts": ways} for (workers, count), ways in rows.items()]
    machine = measuring.describe_machine(choose_cpus(), measuring.congestion_control_now())
    file.write({"machine": machine, "backend": options.backend, "rows": told})


if __name__ == "__main__":
    run_command(read_options, run)
