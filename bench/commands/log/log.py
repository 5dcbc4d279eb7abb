"""The log: a server's command, a line for each run, an empty line."""

import contextlib
import os
import re
import sys
import tempfile
import time

import cost
import measuring
from measuring import BUILD, HOST, TooLong, free_port, last_line, last_words, out, say, show_progress
from processes import Failure, is_listening, start, stop

ANNOUNCEMENTS = {
    (False, "coroutine"): "The servers above create no coroutine per connection. Those below create one "
    "(or a greenlet) for each.",
    (True, "callback"): "The field: no coroutine per connection.",
    (True, "coroutine"): "The field: one coroutine (or a greenlet) per connection.",
    (True, "thread"): "The field: one light thread with a stack of its own per connection.",
}
RESULT = re.compile(r"Throughput: [0-9]+(?:\.[0-9]+)? \[reqests/sec\], errors: ([0-9]+)")


def write_log(options, cpus, backends):
    """Prints all rows, for each backend of the client; returns whether all of them went well."""
    went_well = True
    for backend in backends:
        if backend != backends[0]:
            out(f"The same servers, with the client on {backend} instead of {backends[0]}.\n")
        went_well &= write_rows(options, cpus, backend)
    return went_well


def write_rows(options, cpus, backend):
    group, went_well = (False, "callback"), True
    for row in options.rows:
        if (row.in_field, row.kind) != group:
            group = row.in_field, row.kind
            if group in ANNOUNCEMENTS:
                out(f"{ANNOUNCEMENTS[group]}\n")
        out(" ".join(row.words()))
        why_not = row.why_not()
        if why_not:
            out(f"skipped: {why_not}")
            say(f"{row.name}: skipped: {why_not}")
        elif not write_row(row, options, cpus, backend):
            went_well = False
        out()
    return went_well


def write_row(row, options, cpus, backend):
    """Prints numbers only if all runs succeeded."""
    begin, lines = time.monotonic(), []
    try:
        error_count = measure(row, options, cpus, backend, lines)
    except (KeyboardInterrupt, SystemExit):  # keeps what has been measured
        out("\n".join([*lines, f"interrupted after {len(lines)} of {options.runs} runs"]) + "\n")
        raise
    except Failure as failure:
        out(f"failed: {failure}")
        say(f"{row.name}: failed: {failure}")
        return False
    out("\n".join(lines))
    say(f"{row.name}: {options.runs} runs in {time.monotonic() - begin:.0f} s")
    if error_count:
        say(f"{row.name}: failed: some requests had errors")
    return error_count == 0


class RefusedLoad(Failure):
    """The client refuses this load, for any row."""


def try_load(options):
    """Asks the client, before any row, whether it takes this load; no server is running yet.

    Returns the backends on which it can run here.
    """
    usable = []
    for backend in options.backends:
        with contextlib.suppress(TooLong):  # it started to run
            ended = measuring.run_to_its_end(client_command(options, free_port(), backend), None, seconds_limit=1)
            if ended.returncode in (os.EX_USAGE, os.EX_NOINPUT):
                raise RefusedLoad(f"the load '{options.load}' is refused: {last_words(ended)}")
            if ended.returncode == os.EX_UNAVAILABLE and "cannot connect to" not in ended.stderr:
                say(f"the client is not measured on {backend}: {last_words(ended)}")
                continue
        usable.append(backend)
    if not usable:
        raise Failure("the client has no backend that runs here")
    return usable


def client_command(options, port, backend):
    return [str(BUILD / "src/client/echo_bench"), *options.client, "-p", str(port), "--backend", backend, HOST]


def measure(row, options, cpus, backend, lines):
    """Adds the client's last line of each run to `lines`; returns the number of errors."""
    error_count = 0
    command = client_command(options, row.port, backend)
    with serving(row, cpus[0]) as server:
        for run in range(1, options.runs + 1):
            show_progress(f"{row.name}: run {run} of {options.runs}")
            waiting = cost.RunDelay(server.pid)
            try:
                ended = run_client(command, cpus[1], server, options.time_limit)
                line, errors = result_of(ended)
            except Failure as failure:
                raise Failure(f"run {run} of {options.runs}: {failure}") from None
            lines.append(line)
            if ended.stderr.strip():
                say(f"{row.name}: run {run}: {last_line(ended.stderr)}")
            error_count += errors
            share = waiting.share()
            if share > cost.WAITED_SHARE:
                say(f"{row.name}: run {run}: the server waited for a CPU for {share:.0%} of the time")
    return error_count


class Server(measuring.Server):
    """A row's server: it has to live, but may have any threads."""

    def must_run(self):
        if self.process.poll() is not None:
            said = last_line(self.said("errors"))
            raise Failure(f"{self.name} ended with status {status_of(self.process)}: {said}")

    look = must_run


@contextlib.contextmanager
def serving(row, cpu):
    """Runs the row's server. If something fails, its last words go to stderr."""
    if is_listening(row.port):
        raise Failure(f"another program listens on port {row.port} (stop it, or use --port-offset)")
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        process = start(row.command(), cpu, cwd=row.directory, stdout=printed, stderr=errors)
        server = Server("the server", row.port, process, printed, errors)
        try:
            server.wait_until_it_listens()
            yield server
        except Failure:
            show_progress("")
            for line in server.said("errors").splitlines()[-20:]:
                print(f"    server: {line}", file=sys.stderr)
            raise
        finally:
            stop(process)


def run_client(command, cpu, server, seconds_limit):
    try:
        return measuring.run_to_its_end(command, cpu, server, seconds_limit)
    except TooLong:
        raise Failure(f"the client did not end within {seconds_limit} s") from None


def status_of(ended):
    """The status as a shell reports it: 128 plus the number for a signal."""
    return ended.returncode if ended.returncode >= 0 else 128 - ended.returncode


def result_of(ended):
    """The client's last line and its error count, if line and status agree."""
    line = ended.stdout.rstrip("\n").rpartition("\n")[2]
    told = RESULT.fullmatch(line)
    if told and ended.returncode == (1 if int(told[1]) else 0):
        return line, int(told[1])
    trouble = last_words(ended) if ended.stderr.strip() else "it gave no result"
    if told and ended.returncode in (0, 1):
        trouble = f"though it reported errors: {told[1]}"
    raise Failure(f"the client ended with status {status_of(ended)}: {trouble}")
