"""Measures ringlet against its targets, and prints one table.

Where a row compares with another server, runs of both take turns, in random order within each pair, on
the same two CPUs; the row has the median of the paired ratios and its 95 % bootstrap interval.
Throughput is compared too, but never alone: on a shared machine it swings threefold.
"""

import pathlib
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "harness"))

import building
import measuring
from measuring import INTERRUPTED, Failure, Missing
from pairs import FEWEST_PAIRS
from processes import end_by_signals
from samples import HELP as SAMPLES
from samples import Samples
from table import HEADINGS, as_json, cells, layout
from targets import TARGETS, Extent

FAILED = 1
QUICK_PAIRS = 2

EPILOG = f"""\
how to read the table:
  anchor      what ours is compared with: a server of bench/peers, and its median. epoll_echo and
              uring_echo are the least that C can do, without and with io_uring
  ratio       in the direction that the target names: "C epoll / ours" is above 1 where ringlet
              needs less
  reached     judged by the median: yes, no, or why it was not measured

how it is measured:
  CPU         of the server's process (its CPU clock), after a warm-up, a fresh server a run
  calls       strace -c -f, the difference of a run and one three times as long. strace slows the
              server, so that it may find more in one batch
  instructions  valgrind --tool=callgrind, by the same difference; what the kernel does is not in it
  tasks       build/release/bench/micro/micro, the median of seven runs
  growth      VmRSS of the server after 100,000 connections and after a million

In every run each byte of the echoes must be right, the server must have no worker thread of io_uring
(iou-wrk-*), must end by SIGTERM and, if it reports that, must not have overflowed its completion queue.
A row that breaks one of these is "not measured", the others continue, and the exit status is 1.

The machine should be quiet: a second measurement waits for the first. Unless RINGLET_BUILD_DIR names a build
directory other than build/release, what is missing is installed and built. A full run takes about {sum(t.seconds for t in TARGETS) // 60:.0f} minutes.

exit status: 0 everything was measured, or needs something that is missing; 1 a run failed; 64 wrong
usage; 130 interrupted. Targets that are not reached do not change it.
"""


def read_options(arguments):
    parser = measuring.command_line("benchmark.sh targets", __doc__, EPILOG)
    parser.add_argument("--pairs", type=measuring.positive_number, help="pairs of runs (10)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this row; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and exit")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a tenth of the load and 2 pairs: shows that everything works, and measures nothing",
    )
    parser.add_argument("--client-backend", choices=("io_uring", "epoll"), default="io_uring",
                        help="what the client runs on (io_uring)")  # fmt: skip
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help=SAMPLES)
    options = parser.parse_args(arguments)
    options.pairs = options.pairs or (QUICK_PAIRS if options.quick else 10)
    names = [target.name for target in TARGETS]
    for name in options.only or ():
        if name not in names:
            parser.error(f"no row is called '{name}'; the rows are: {' '.join(names)}")
    return options


# ---- measuring ----------------------------------------------------------------------------------


def measure_all(targets, extent):
    """(rows, failures, congestion control): for each target, what was measured, or why nothing was."""
    rows, failures, congestion = [], [], ""
    share = 0.1 if extent.quick else 1
    left = measuring.TimeLeft("row", [target.seconds * share for target in targets])
    measuring.progress_prefix = left
    for target in targets:
        measured = None
        try:
            with measuring.congestion_control() as congestion:
                measured = target.measure(extent)
            reached = target.verdict(measured)
        except (Failure, OSError) as failure:
            reached = f"not measured: {failure}"
            if not isinstance(failure, Missing):
                failures.append(f"{target.name}: {failure}")
        rows.append((target, measured, reached))
        left.step()
    measuring.show_progress("")
    return rows, failures, congestion


def measure(options):
    """Prints the table; returns whether every run succeeded."""
    samples = Samples(options.json)
    wanted = options.only or [target.name for target in TARGETS]
    targets = [target for target in TARGETS if target.name in wanted]
    extent = Extent(options.pairs, options.quick, measuring.choose_cpus(), options.client_backend)
    rows, failures, congestion = measure_all(targets, extent)

    machine = measuring.describe_machine(extent.cpus, congestion)
    pinned = "not pinned" if extent.cpus[0] is None else "server on CPU {}, client on {}".format(*extent.cpus)
    print(
        f"Linux {machine['kernel']}, {machine['cpus']} CPUs; {congestion}; {pinned}; "
        f"the client on {options.client_backend}; {options.pairs} pairs"
    )
    if options.quick or options.pairs < FEWEST_PAIRS:
        print(f"Too little to say anything: fewer than {FEWEST_PAIRS} pairs, or short runs.")
    print()
    for line in layout([HEADINGS, *(cells(*row) for row in rows)]):
        print(line)
    told = {"machine": machine, "client_backend": options.client_backend}
    told |= {"pairs": options.pairs, "quick": options.quick}
    told["targets"] = [as_json(*row) for row in rows]
    told["failures"] = failures
    samples.write(told)
    for failure in failures:
        print(f"targets: {failure}", file=sys.stderr)
    return not failures


def main():
    options = read_options(sys.argv[1:])
    end_by_signals()
    if options.list:
        for target in TARGETS:
            print(f"{target.name:20}{target.what}")
        return
    try:
        building.prepare("echo_coro", "echo_bench", "micro", "epoll_echo", "uring_echo", groups=["bench"],
                         optional=[("libev_echo could not be built: its rows are left out", "libev_echo")])
        sys.exit(0 if measure(options) else FAILED)
    except Failure as failure:
        measuring.say(failure)
        sys.exit(measuring.UNAVAILABLE)
    except KeyboardInterrupt:
        measuring.show_progress("")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
