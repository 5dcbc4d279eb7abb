"""The body of benchmark.sh: options, then the build, then the log."""

import os
import pathlib
import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # while there is nothing to stop
COMMANDS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "harness"))

import building
import machine
import measuring
from log import RefusedLoad, try_load, write_log
from measuring import BUILD, INTERRUPTED, UNAVAILABLE, USAGE, Unwritten, out, say
from options import read_options
from processes import Failure, Missing, end_by_signals, is_listening

FAILED, BUILD_FAILED, CANNOT_WRITE, NOBODY_READS = 1, 70, 74, 141


def list_rows(options):
    out(f"{'row':14} {'port':5} can it run here?")
    for row in options.rows:
        why_not = row.why_not()
        if why_not and row.is_built and building.is_ours():
            answer = f"yes, after the build ({why_not})"
        elif why_not:
            answer = f"no: {why_not}"
        elif is_listening(row.port):
            answer = f"no: another program listens on port {row.port}"
        else:
            answer = "yes"
        out(f"{row.name:14} {row.port:<5} {answer}")


def refuse_taken_ports(rows):
    taken = [f"{row.port} ({row.name})" for row in rows if not row.why_not() and is_listening(row.port)]
    if taken:
        raise Missing(
            f"another program listens on: {' '.join(taken)}; stop it, or choose other rows with --only "
            "or other ports with --port-offset"
        )


def congestion_control_told(before, used):
    if used != before:
        return f"{used}, set for this run; it was {before}"
    if used == "cubic":
        return used
    return f"{used} for all rows (setting cubic needs root and a writable /proc/sys)"


def measure(options, backends):
    with measuring.alone():
        before = measuring.congestion_control_now()
        refuse_taken_ports(options.rows)
        machine.raise_file_limit()
        cpus = measuring.choose_cpus()
        with measuring.chosen_congestion_control() as used:
            print(f"{'client':11} on {', then on '.join(backends)}", file=sys.stderr)
            for what, told in machine.describe(options, cpus, congestion_control_told(before, used)):
                print(f"{what:11} {told}", file=sys.stderr)
            return write_log(options, cpus, backends)


def prepare(options):
    """Everything that can be packaged is built, even the doctor and the table."""
    programs = ["echo_coro", "echo_bench", "ringlet_doctor", "ringlet_top"]
    if options.lab:
        programs += ["ladder", "uring_echo", "epoll_echo"]
    optional = [("libev_echo could not be built: its row is left out", "libev_echo")]
    if options.lab:
        optional.append(("tls_epoll_echo could not be built: the part tls is without C", "tls_epoll_echo"))
    with_field = any(row.in_field for row in options.rows)
    if with_field:
        optional.append(("not all of the field could be built: some of its rows are left out", "field_peers"))
    groups = ["bench", *["field"] * with_field, *["report"] * options.lab]
    building.prepare(*programs, groups=groups, optional=optional)


def run_lab(options):
    """Runs the lab in place of this process, with the programs built for it."""
    os.environ["RINGLET_BUILD_DIR"] = str(BUILD)
    words = ["--quick"] * options.quick if options.lab_words is None else options.lab_words
    os.execv(sys.executable, [sys.executable, str(COMMANDS / "lab"), *words])


def run(options):
    if options.list:
        return list_rows(options)
    prepare(options)
    client = BUILD / "src/client/echo_bench"
    if not os.access(client, os.X_OK):
        raise Missing(f"the client is missing: {client}")
    if options.lab:
        run_lab(options)
    if not measure(options, try_load(options)):
        sys.exit(FAILED)


def read_command(words):
    """The log, or the lab, which reads its own options when everything is built."""
    lab_words = words[1:] if words[:1] == ["lab"] else None
    if lab_words is not None and not {"-h", "--help"}.isdisjoint(lab_words):
        os.execv(sys.executable, [sys.executable, str(COMMANDS / "lab"), "--help"])
    options = read_options(words if lab_words is None else ["--lab"])
    options.lab_words = lab_words
    return options


def main():
    sys.argv[0] = "benchmark.sh"  # the name in our messages
    measuring.drop_what_cannot_be_said()
    sys.stdout.reconfigure(line_buffering=True)  # a person may watch the log
    try:
        options = read_command(sys.argv[1:])
        end_by_signals()
        run(options)
    except Unwritten as failure:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the final flush must not fail
        say(failure)
        sys.exit(CANNOT_WRITE)
    except RefusedLoad as failure:
        say(failure)
        sys.exit(USAGE)
    except building.BuildFailed as failure:
        say(failure)
        sys.exit(BUILD_FAILED)
    except Failure as failure:
        say(failure)
        sys.exit(UNAVAILABLE)
    except KeyboardInterrupt:
        measuring.show_progress("")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the final flush must not fail
        sys.exit(NOBODY_READS)


if __name__ == "__main__":
    main()
