"""ringlet's targets, and how each is measured."""

import dataclasses
import functools
import json
import math
import resource
import statistics
import tempfile

import cost
import measuring
from measuring import Failure, Load, Missing
from pairs import FEWEST_PAIRS, measure_pairs, median_interval, paired_ratio

KIBIBYTE, MEBIBYTE = 1024, 1024 * 1024
MEMORY_OF_A_CONNECTION = 12 * KIBIBYTE  # both ends, with a margin
TABLE_SHARE = 0.85  # the kernel spreads connections over workers by a hash, not evenly


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much to measure, and where."""

    pairs: int
    quick: bool
    cpus: tuple
    client_backend: str

    def of(self, count):
        return max(1, count // 10) if self.quick else count

    def load(self, *numbers, options=()):
        return Load(*numbers, options=(*self.client_options, *options))

    @property
    def client_options(self):
        return ("--backend", self.client_backend)


@dataclasses.dataclass(frozen=True)
class Measured:
    judged: float  # the value that is compared with the requirement
    ours: str
    anchor: str = ""
    interval: tuple = ()
    is_ratio: bool = False
    too_little: str = ""  # why this says nothing about the target
    samples: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Target:
    name: str
    what: str
    required: float
    aim: float
    at_least: bool  # or at most
    measure: object  # measure(extent) returns what was Measured
    seconds: float  # that this takes about

    def verdict(self, measured):
        if measured.too_little:
            return f"not measured: {measured.too_little}"
        value = round(measured.judged, 3)
        reached = value >= self.required if self.at_least else value <= self.required
        return "yes" if reached else "no"


# ---- paired ratios ------------------------------------------------------------------------------


def too_few(count):
    return f"{count} pairs are too few" if count < FEWEST_PAIRS else ""


def paired(extent, first, second, measure, show):
    """The ratio first/second; the one that is not ringlet's server is the anchor."""
    pairs = measure_pairs((first, second), extent.pairs, measure, measuring.show_progress)
    median, low, high = paired_ratio(pairs)
    texts = [show(statistics.median(column)) for column in zip(*pairs)]
    ours = 0 if first.startswith("echo_coro") else 1
    anchor = f"{(first, second)[1 - ours]} {texts[1 - ours]}"
    return Measured(median, texts[ours], anchor, (low, high), True, too_few(extent.pairs), pairs)


def cpu(first, second, connections, echoes):
    def measure(extent):
        load = extent.load(connections, 1, extent.of(echoes))
        one = functools.partial(cost.measure_cpu, load=load, cpus=extent.cpus)
        return paired(extent, first, second, one, lambda ns: f"{ns / 1000:.2f} us")

    return measure


def accepts(extent):
    load = extent.load(10, extent.of(1000), 1)
    one = functools.partial(cost.measure_cpu, load=load, cpus=extent.cpus)
    return paired(extent, "epoll_echo", "echo_coro", one, lambda ns: f"{ns / 1000:.1f} us")


def round_trips(*client_options):
    def measure(extent):
        load = extent.load(1, 1, extent.of(10_000), options=client_options)
        one = functools.partial(cost.measure_throughput, load=load, cpus=extent.cpus)
        return paired(extent, "echo_coro --busy-poll 50us", "libev_echo", one, lambda n: f"{n:,.0f}/s")

    return measure


def large_messages(size, echoes):
    def measure(extent):
        load = extent.load(10, 1, extent.of(echoes), size)
        one = functools.partial(cost.measure_throughput, load=load, cpus=extent.cpus)

        def show(echoes_per_second):
            return f"{echoes_per_second * size / MEBIBYTE:,.0f} MiB/s"

        return paired(extent, "echo_coro", "epoll_echo", one, show)

    return measure


# ---- counts -------------------------------------------------------------------------------------


def counted(count, load, anchors, extent):
    ours = cost.per_echo(count, "echo_coro", load, extent.cpus)
    theirs = {name: cost.per_echo(count, name, load, extent.cpus) for name in anchors}
    digits = 3 if ours < 10 else 0
    anchor = ", ".join(f"{name} {value:.{digits}f}" for name, value in theirs.items())
    return Measured(ours, f"{ours:.{digits}f}", anchor, samples=[ours, *theirs.values()])


def system_calls(connections, echoes):
    def measure(extent):
        load = extent.load(connections, 1, extent.of(echoes))
        return counted(cost.system_call_count, load, ("epoll_echo", "uring_echo"), extent)

    return measure


def instructions(extent):
    return counted(
        cost.count_instructions, extent.load(50, 1, extent.of(200)), ("epoll_echo", "uring_echo"), extent
    )


# ---- what the pieces cost -----------------------------------------------------------------------


@functools.lru_cache(None)
def micro_runs(extent):
    """The rows of several runs of the program `micro`: {name: [values]}."""
    runs = {}
    for number in range(1, (1 if extent.quick else 7) + 1):
        measuring.show_progress(f"micro: run {number}")
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            command = [str(measuring.BUILD / "bench/micro/micro"), "--json", file.name]
            ended = measuring.run_to_its_end(command, extent.cpus[0])
            if ended.returncode != 0:
                raise Failure(f"micro ended with status {ended.returncode}: {measuring.last_words(ended)}")
            for row in json.load(file)["results"]:
                runs.setdefault(row["name"], []).append(row["value"])
    return runs


def piece(name):
    def measure(extent):
        runs = micro_runs(extent)
        if name not in runs:
            raise Missing(f"micro has no row '{name}'")
        median, low, high = median_interval(runs[name])
        too_little = "one run is too few" if extent.quick else ""
        return Measured(median, f"{median:.2f} ns", interval=(low, high), too_little=too_little,
                        samples=runs[name])  # fmt: skip

    return measure


# ---- memory -------------------------------------------------------------------------------------


def growth(extent):
    """How much more memory is resident after a million connections than after the first 100,000."""
    at_once = 100
    total = 20_000 if extent.quick else 1_000_000
    with measuring.running_server("echo_coro", extent.cpus[0]) as server:
        resident = []
        for count in (total // 10, total - total // 10):
            measuring.show_progress(f"{count:,} connections, one after another")
            measuring.run_client(extent.load(at_once, count // at_once, 1), server, extent.cpus[1])
            resident.append(cost.resident_bytes(server.pid))
    grown = resident[1] - resident[0]
    too_little = f"{total:,} connections are too few" if extent.quick else ""
    text = f"{grown / KIBIBYTE:,.0f} KiB"
    return Measured(grown / MEBIBYTE, text, too_little=too_little, samples=resident)


def idle_bytes(extent):
    told = cost.hold("echo_coro", extent.of(10_000), extent.cpus, extent.quick, extent.client_options)
    told = told.get("server_user_bytes_per_connection")
    if told is None:
        raise Missing("echo_bench could not tell the server's memory")
    return Measured(told, f"{told:.0f} bytes")


def idle_connections(extent):
    """As many connections as there is memory for, at most a million: each worker's table has RLIMIT_NOFILE slots."""
    wanted = min(extent.of(1_000_000), cost.available_bytes() // MEMORY_OF_A_CONNECTION)
    table, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    workers = math.ceil(wanted / (TABLE_SHARE * table))
    server = f"echo_coro --direct-descriptors --workers {workers}"
    told = cost.hold(server, wanted, extent.cpus, extent.quick, extent.client_options)
    held = told["connections"] - told.get("last_echo_errors", 0)
    return Measured(held, f"{held:,}", too_little="only a tenth was tried" if extent.quick else "")


# ---- the list -----------------------------------------------------------------------------------

AT_LEAST, AT_MOST = True, False
TARGETS = (
    Target("cpu_epoll_50", "CPU per echo, C epoll / ours, 50 connections", 1.05, 1.20, AT_LEAST,
           cpu("epoll_echo", "echo_coro", 50, 1000), 30),
    Target("cpu_epoll_500", "CPU per echo, C epoll / ours, 500 connections", 1.05, 1.20, AT_LEAST,
           cpu("epoll_echo", "echo_coro", 500, 200), 60),
    Target("cpu_uring_50", "CPU per echo, ours / C io_uring, 50 connections", 1.03, 1.01, AT_MOST,
           cpu("echo_coro", "uring_echo", 50, 1000), 30),
    Target("cpu_uring_500", "CPU per echo, ours / C io_uring, 500 connections", 1.03, 1.01, AT_MOST,
           cpu("echo_coro", "uring_echo", 500, 200), 60),
    Target("calls_1", "system calls per echo, 1 connection", 2.0, 1.0, AT_MOST,
           system_calls(1, 2000), 20),
    Target("calls_50", "system calls per echo, 50 connections", 0.25, 0.15, AT_MOST,
           system_calls(50, 1000), 20),
    Target("calls_500", "system calls per echo, 500 connections", 0.08, 0.04, AT_MOST,
           system_calls(500, 200), 30),
    Target("instructions", "user instructions per echo, 50 connections", 250, 150, AT_MOST,
           instructions, 30),
    Target("round_trips", "round trips, polling server / libev", 3, 4, AT_LEAST,
           round_trips(), 20),
    Target("round_trips_polled", "the same, the client polls too", 3, 4, AT_LEAST,
           round_trips("--busy-poll", "50us"), 20),
    Target("spawn", "spawn, run and finish a task", 15, 6, AT_MOST,
           piece("spawn, run and finish an empty task"), 30),
    Target("switch", "switch between two ready tasks", 6, 3, AT_MOST,
           piece("switch between two ready tasks"), 1),
    Target("accepts", "CPU per accept, echo and close, C epoll / ours", 1.0, 1.2, AT_LEAST,
           accepts, 30),
    Target("large_64k", "throughput, 64 KiB messages, ours / C epoll", 1.0, None, AT_LEAST,
           large_messages(64 * KIBIBYTE, 1000), 30),
    Target("large_1m", "throughput, 1 MiB messages, ours / C epoll", 1.0, None, AT_LEAST,
           large_messages(MEBIBYTE, 60), 30),
    Target("growth", "MiB that 900,000 connections leave behind", 1, None, AT_MOST,
           growth, 100),
    Target("idle_bytes", "user bytes per idle connection", 320, 192, AT_MOST,
           idle_bytes, 10),
    Target("idle_connections", "idle connections held", 100_000, 1_000_000, AT_LEAST,
           idle_connections, 100),
)  # fmt: skip
