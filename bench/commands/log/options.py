"""The options of benchmark.sh."""

import argparse
import dataclasses
import pathlib
import re
import shlex

import measuring
from places import ROOT
from rows import all_rows

HELP = """\
usage: ./benchmark.sh [COMMAND] [options] > benchmark.log

commands; each explains its own options with --help:
  log        the log below; this is what runs without a command
  field      the log with the rows of the field, as --field
  compare    two servers by their CPU time per echo, in pairs of runs that take turns
  accept     how soon a crowd is served that connects at once
  spread     how evenly connections are spread over workers
  hand-over  what clients notice of ten new versions in a row, and what a connection costs that moves
  targets    what ringlet wants to reach, as one table
  lab        what a coroutine per connection costs, as --lab
  report     a page with pictures of what the lab has measured

Installs what is missing, builds ringlet, starts one echo server after another, runs the load
client echo_bench against each, and writes the log to stdout: the server's command, a line per
run, an empty line. Everything else (the machine, progress, trouble) goes to stderr. First come
the servers that create no coroutine per connection, then those that do.

  ./echo_coro --port 3200
  Throughput: 90512.77 [reqests/sec], errors: 0
  ...

what to run:
  --field              the rows of the field too: what a user would take instead of ringlet
                       (docs/guides/benchmarks.md). Installs and builds more, for Go, Rust, Java and others
  --lab                not the log: what a coroutine per connection costs here, step by step, and the
                       field, as a page with pictures (lab --help). Half an hour the first time;
                       after Ctrl-C the same command goes on
  --quick              the same, roughly, in two minutes
  --classic            what the client of the classic logs really did: -t 5 -c 5 -e 1000, one line of
                       2,954 bytes. A missing break let its -c set the number of threads as well, so
                       that -t2000 -c5 -e1000 ran 5 threads, 25 connections and 25,000 echoes
  --only ROW,ROW...    only these rows, of the field too; --list --field shows their names
  --runs N             N runs of the client per row (5)
  --full               2,000 connections: -t 2000 -c 5 -e 1000 instead of -t 100 -c 5 -e 200. Ten million echoes a run: a row takes many minutes
  --message FILE       the message (bench/message.json; with --classic bench/classic_message.json)
  --client-backend io_uring|epoll|both
                       what the client runs on (both, one after the other). How a client groups its
                       messages decides how a server can group its answers: a comparison that holds for
                       one of them only says little. echo_coro itself is on io_uring, the others on epoll
  --client-options 'OPTIONS'
                       the load in echo_bench's own words, instead of the above
  --time-limit SECONDS a run that takes longer has failed (60; with --full 3600)
  --port-offset N      add N to every port, where the usual ones are taken
  --list               print the rows, their ports and whether each can run here; run nothing
  --help               print this

environment:
  RINGLET_BUILD_DIR    take the programs from this build directory as they are; nothing is
                       installed or built then
  PYTHON3, PYTHON2     the interpreters (/usr/bin/python3, which sees the system's packages, and
                       python2 on PATH)

What it does to be fair: every server gets the same client, the same message (bench/message.json),
the same TCP congestion control (cubic, or reno), TCP_NODELAY and a backlog of 4096. Server and
client each have a CPU of their own where two are allowed. Setting the congestion control needs
root; the old value is put back at the end. Throughput on a shared machine can differ by a factor
of three between two runs: the command compare looks at two servers by their CPU time per echo.
Of two measurements on one machine, the second waits until the first has ended.

A row that cannot run here says what to install, and the run goes on. A row that failed says why
instead of giving numbers; a run with errors shows them in its line. Ctrl-C stops the servers too.

exit status:
  0  every row ran, or could not run here       69  a port is taken, or the client is missing
  1  at least one row failed or had errors      70  the build failed
  64 wrong usage, or a load that echo_bench refuses
  74 the log could not be written               130, 143  stopped by Ctrl-C, by SIGTERM
"""
USUAL_LOAD, FULL_LOAD = "-t 100 -c 5 -e 200", "-t 2000 -c 5 -e 1000"
CLASSIC_LOAD = "-t 5 -c 5 -e 1000"
USUAL_SECONDS, FULL_SECONDS = 60, 3600


def number(smallest, largest):
    def convert(text):
        if not re.fullmatch("0|[1-9][0-9]{0,5}", text) or not smallest <= int(text) <= largest:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {smallest} to {largest}")
        return int(text)

    return convert


def read_options(arguments):
    """The options; `rows` has the chosen rows, on their actual ports."""
    parser = measuring.command_line("benchmark.sh", None, None)
    parser.format_help = lambda: HELP
    for name in ("--list", "--field", "--lab", "--quick", "--full", "--classic"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--only", action="append")
    parser.add_argument("--runs", type=number(1, 1000), default=5)
    parser.add_argument("--time-limit", type=number(1, 100_000))
    parser.add_argument("--port-offset", type=number(0, 61_535), default=0)
    parser.add_argument("--client-options", dest="load")
    parser.add_argument("--client-backend", choices=("io_uring", "epoll", "both"), default="both")
    parser.add_argument("--message", type=pathlib.Path)
    options = parser.parse_args(with_values(arguments))
    if options.load is None:
        options.load = CLASSIC_LOAD if options.classic else FULL_LOAD if options.full else USUAL_LOAD
    options.time_limit = options.time_limit or (FULL_SECONDS if options.full else USUAL_SECONDS)
    options.backends = ["io_uring", "epoll"] if options.client_backend == "both" else [options.client_backend]
    options.lab = options.lab or options.quick
    try:
        options.client = load_words(options)
    except ValueError as error:
        parser.error(f"--client-options: {error}")
    options.rows = selected(options, parser)
    return options


def load_words(options):
    """The client's options, with the message, unless the load names another one."""
    words = shlex.split(options.load)
    if options.message is None and any(re.match("-f|--size", word) for word in words):
        return words
    usual = ROOT / "bench" / ("classic_message.json" if options.classic else "message.json")
    return [*words, "-f", str((options.message or usual).resolve())]


def with_values(arguments):
    """--option VALUE as --option=VALUE: a value may begin with a dash, as the client's options do."""
    arguments = list(arguments)
    options = ("--only", "--runs", "--time-limit", "--port-offset", "--client-options", "--message", "--client-backend")
    while arguments:
        word = arguments.pop(0)
        yield f"{word}={arguments.pop(0)}" if word in options and arguments else word


def selected(options, parser):
    rows = {row.name: row for row in all_rows()}
    names = " ".join(options.only or ()).replace(",", " ").split()
    for name in names:
        if name not in rows:
            parser.error(f"no row is called '{name}'; the rows are: {' '.join(rows)}")
    with_field = options.field or options.lab
    return [
        dataclasses.replace(row, port=row.port + options.port_offset)
        for row in rows.values()
        if (row.name in names if names else with_field or not row.in_field)
    ]
