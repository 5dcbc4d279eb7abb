"""Compares the CPU time that two echo servers need per echo.

Throughput on a shared machine can swing threefold from one minute to the next; CPU time per echo
swings by a tenth. Runs of both servers alternate, so that whatever else the machine does affects
both, and each pair gives one ratio. The result is the median of the ratios with an interval.
"""

import pathlib
import statistics
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "harness"))

import building
from cost import WAITED_SHARE, count_system_calls, measure_run, needs
from measuring import Load
from measuring import choose_cpus, command_line, congestion_control, describe_machine
from measuring import positive_number, run_command, show_progress
from pairs import FEWEST_PAIRS, measure_pairs, paired_ratio
from rows import command_of, refuse_missing
from samples import HELP as SAMPLES
from samples import Samples

EPILOG = """\
A server is one of these names, or any command with {port} in it:
  echo_coro, libev, gevent3 and the other rows of the log and the field
                           ./benchmark.sh field --list shows them
  epoll_echo, libev_echo, uring_echo, tls_epoll_echo, ladder
                           programs of the build directory, by their own names
  NAME_echo.py             a Python server of bench/peers, run by PYTHON3 (/usr/bin/python3)
Options may follow a name: 'echo_coro --busy-poll 50us', 'uring_echo pool'. Unless RINGLET_BUILD_DIR names a build
directory other than build/release, what is missing is installed, and echo_coro and the C servers are built.

examples:
  ./benchmark.sh compare libev echo_coro
  ./benchmark.sh compare epoll_echo epoll_echo            # how much is noise: the ratio should be 1
  ./benchmark.sh compare --syscalls --connections 1 epoll_echo echo_coro
  ./benchmark.sh compare echo_coro '/tmp/before/echo_coro --port {port}'
  ./benchmark.sh compare --tls 'echo_coro --tls-cert F.pem --tls-key F.key' 'tls_epoll_echo F.pem F.key'

Processes that a server forks are not counted; its threads are. The server runs on one CPU, the
client on another, with cubic or reno as congestion control if run as root.
Exit status: 0; 64 wrong usage; 69 a server or the client is missing or failed; 130 interrupted.
"""


C_PEERS = [(f"{name} could not be built", name) for name in ("epoll_echo", "uring_echo", "libev_echo", "tls_epoll_echo")]


def verdict(names, pair_count, low, high):
    if pair_count < FEWEST_PAIRS:
        return f"Too few pairs to say which is cheaper: that takes {FEWEST_PAIRS}, better 10."
    if low <= 1 <= high:
        return "No difference shown: the interval contains 1."
    cheaper = names[1] if low > 1 else names[0]
    return f"{cheaper} needs less CPU per echo."


def read_options(arguments):
    parser = command_line("benchmark.sh compare", __doc__, EPILOG)
    parser.add_argument("servers", nargs=2, metavar="SERVER", help="the two servers, in this order")
    for name, default, text in (
        ("--pairs", 10, "pairs of runs"),
        ("--connections", 100, "connections at the same time"),
        ("--in-turn", 1, "connections of each, one after another: with --echoes 1 what accepting costs"),
        ("--echoes", 1000, "echoes on each connection in a run"),
        ("--size", 64, "bytes of a message"),
    ):
        parser.add_argument(name, type=positive_number, default=default, help=f"{text} (%(default)s)")
    parser.add_argument("--client-backend", choices=("io_uring", "epoll", "both"), default="both",
                        help="what the client runs on: it decides how a server can group its answers (both)")  # fmt: skip
    parser.add_argument("--tls", action="store_true", help="the client speaks TLS, and accepts any certificate")
    parser.add_argument("--syscalls", action="store_true", help="count system calls too (strace)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help=SAMPLES)
    return parser.parse_args(arguments)


def system_calls_per_echo(server, load, cpus):
    return {
        name: count / load.echo_count for name, count in count_system_calls(server, load, cpus).items()
    }


def busy(shares):
    """A note about a server that other programs kept from its CPU."""
    share = statistics.median(shares)
    return f"; waited for a CPU for {share:.0%} of the time" if share > WAITED_SHARE else ""


def compare(options, backend):
    """Measures, prints the result and returns all of it, ready for JSON."""
    servers = options.servers
    for server in servers:
        refuse_missing(server)
    if options.syscalls:
        needs("strace")

    cpus = choose_cpus()
    load = Load(options.connections, options.in_turn, options.echoes, options.size,
                ("--backend", backend, *(("--tls", "--insecure") if options.tls else ())))  # fmt: skip
    with congestion_control() as congestion:
        waited = {server: [] for server in servers}

        def measure(server):
            run = measure_run(server, load, cpus)
            waited[server].append(run.waited_share)
            return run.cpu_nanoseconds_per_echo

        pairs = measure_pairs(servers, options.pairs, measure, show_progress)
        traced = servers if options.syscalls else []
        calls = [system_calls_per_echo(server, load, cpus) for server in traced]
    show_progress("")

    median, low, high = paired_ratio(pairs)
    columns = list(zip(*pairs))
    width = max(map(len, servers))
    pinning = "not pinned" if cpus[0] is None else f"server on CPU {cpus[0]}, client on {cpus[1]}"
    print(
        f"{options.pairs} pairs; {options.connections} connections, {options.in_turn} in turn, "
        f"{options.echoes} echoes of "
        f"{options.size} bytes on each; {congestion}; {pinning}; the client on {backend}\n\nserver CPU per echo [us]"
    )
    for server, samples in zip(servers, columns):
        print(
            f"  {server:{width}}  median {statistics.median(samples) / 1000:.3f}"
            f"  ({min(samples) / 1000:.3f} to {max(samples) / 1000:.3f}){busy(waited[server])}"
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
        "client_backend": backend,
        "load": {
            name: getattr(options, name) for name in ("pairs", "connections", "in_turn", "echoes", "size")
        },
        "machine": describe_machine(cpus, congestion),
        "cpu_nanoseconds_per_echo": pairs,
        "waited_shares": [waited[server] for server in servers],
        "ratio": {"median": median, "low": low, "high": high},
        "system_calls_per_echo": calls,
    }


def run(options):
    samples = Samples(options.json)
    for server in options.servers:
        command_of(server, 1)  # an unknown name is reported before anything runs
    building.prepare("echo_coro", "echo_bench", "ringlet_doctor", "ringlet_top", groups=["bench"], optional=C_PEERS)
    both = ("io_uring", "epoll")
    result = []
    for backend in both if options.client_backend == "both" else (options.client_backend,):
        if result:
            print()
        result.append(compare(options, backend))
    samples.write({"comparisons": result})


if __name__ == "__main__":
    run_command(read_options, run)
