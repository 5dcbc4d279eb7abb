"""What does a coroutine per connection cost on this machine? Measures it, and writes a report."""

import contextlib
import datetime
import hashlib
import json
import pathlib
import platform
import subprocess
import sys
import tempfile

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "harness"))

import measuring
from field import field_rows
from journal import Journal
from measuring import INTERRUPTED, UNAVAILABLE, Failure, Missing
from places import ROOT
from plan import ROUNDS, Plan
from processes import end_by_signals
from results import results
from rounds import NARROW, go_on, take
from samples import Sampler

FAILED = 1
PROGRAMS = ("bench/ladder/ladder", "bench/uring_echo", "bench/epoll_echo", "src/client/echo_bench")
PARTS = ("cpu", "latency", "accept_close", "counts", "scaling", "tls", "field")

EPILOG = """\
The ladder is the same echo again and again, with one thing changed at each step: callbacks in C, a
coroutine per connection, a child task per message, frames from malloc, timeouts, a task group, a
fiber, a thread. The field is the alternatives to ringlet; what is not installed is skipped
(cmake/install_dependencies.sh field).

what is measured:
  cpu           CPU time of the server per echo, all steps in turn, as a ratio to step 0; in rounds, until
                the intervals are narrow or the time is up
  latency       at 50 % and 80 % of the throughput of step 0, in an open loop
  accept_close  CPU time per connection that is opened, echoes once and is closed
  counts        instructions, system calls, allocations, context switches, bytes per idle connection
  scaling       CPU time per echo from 1 to 10,000 connections
  tls           CPU time per echo and handshake through TLS, bytes per idle connection: C on the same OpenSSL, Go,
                and HAProxy and nginx in front of a plain echo server
  field         throughput, CPU time, memory and latency of the other systems

Each sample is written to DIR/journal.jsonl at once. Ctrl-C loses at most the sample being taken: the
same command continues from there. At the end DIR/results.json has all figures, and DIR/report.html
shows them with charts (benchmark.sh report).

A full measurement takes about half an hour. A quick one takes two minutes, and shows that everything
works and roughly what to expect. RINGLET_BUILD_DIR names a build directory other than build/release.

exit status: 0; 1 something failed, and the rest was measured; 64 wrong usage; 69 a program is
missing; 130 interrupted.
"""


def read_options(arguments):
    parser = measuring.command_line("benchmark.sh lab", __doc__, EPILOG)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two minutes: shows that everything works, and roughly what to expect",
    )
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART",
                        help=f"only this part; may be repeated: {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR",
                        help="where the results go (build/lab, with --quick build/lab-quick)")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=10, metavar="N",
                        help="how long the part cpu may take more rounds after the first "
                             f"{ROUNDS}, until the widest corrected interval is at most "
                             f"{NARROW:.0%}% of its ratio (%(default)s)")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    options = parser.parse_args(arguments)
    folder = "lab-quick" if options.quick else "lab"
    if str(options.output) == "-":
        parser.error("--output takes a folder: it cannot be stdout")
    options.output = options.output or ROOT / "build" / folder
    return options


def fingerprint():
    """A hash of the programs, so that samples of different builds are not mixed."""
    digest = hashlib.sha256()
    for name in PROGRAMS:
        path = measuring.BUILD / name
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise Missing(f"{path}: {error.strerror}; build the preset release first") from None
    return digest.hexdigest()[:16]


def open_journal(options):
    path = options.output / "journal.jsonl"
    if options.fresh:
        path.unlink(missing_ok=True)
    header = {"schema": 3, "kind": "ringlet-lab-journal", "quick": options.quick}
    header.update(programs=fingerprint(), kernel=platform.release(), node=platform.node())
    header["started"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Journal(path, header)


def write_report(options, told):
    path = options.output / "results.json"
    path.write_text(json.dumps(told, indent=1) + "\n")
    report = pathlib.Path(__file__).resolve().parents[1] / "report"
    ended = subprocess.run([sys.executable, str(report), str(path), "-o", str(options.output)])
    if ended.returncode != 0:
        raise Failure(f"{path} is there, but the report made no page of it")
    print(f"{path}\n{options.output / 'report.html'}")


def measure(options):
    rows = field_rows()
    plan = Plan(options.quick, [row for row in rows if not row.missing])
    with contextlib.ExitStack() as stack:
        stack.enter_context(measuring.congestion_control())
        journal = open_journal(options)  # the run we waited for may have written to it
        keys = stack.enter_context(tempfile.TemporaryDirectory(prefix="ringlet-lab-"))
        sampler = Sampler(measuring.choose_cpus(), options.quick, keys)
        wanted = ["machine", *(options.only or PARTS)]
        take([sample for part in wanted for sample in plan.parts[part]], sampler, journal)
        if "cpu" in wanted and not options.quick:
            go_on(plan, sampler, journal, options.minutes)
    everything = [sample for part in plan.parts.values() for sample in part]
    finished = all(sample.key in journal for sample in everything)
    write_report(options, results(journal, rows, finished))
    for key, why in journal.failures.items():
        print(f"lab: {' '.join(map(str, key))}: {why}", file=sys.stderr)
    return not journal.failures


def main():
    options = read_options(sys.argv[1:])
    end_by_signals()
    try:
        sys.exit(0 if measure(options) else FAILED)
    except Failure as failure:
        measuring.show_progress("")
        print(f"lab: {failure}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    except KeyboardInterrupt:
        measuring.show_progress("")
        print("lab: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
