"""Starts programs; neither an error nor a signal leaves them running."""

import atexit
import contextlib
import os
import re
import signal
import subprocess

STOP_SECONDS_LIMIT = 3  # for each request to a process
ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Failure(Exception):
    """An error that ends a measurement, described in one line."""


class Missing(Failure):
    """Something is missing, so that nothing could be measured."""


# ---- signals that end us ------------------------------------------------------------------------

held, came = False, None


def end_by_signals():
    """Makes SIGINT and the like end this program in good order, after the programs that it has started.

    Even if SIGINT was ignored, as in the background of a shell; what nohup ignores stays ignored.
    """
    for number in ENDING_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_signal)
    atexit.register(stop_all)


def on_signal(number, _):
    global came
    came = number
    if not held:
        end()


def end():
    """Acts once: nothing may disturb the clean-up."""
    global came
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    number, came = came, None
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


@contextlib.contextmanager
def signals_held():
    """A signal that comes meanwhile ends us afterwards."""
    global held
    held = True
    try:
        yield
    finally:
        held = False
        if came:
            end()


# ---- processes ----------------------------------------------------------------------------------

started = set()  # and not yet stopped


def start(command, cpu, **options):
    """Starts a program, on this CPU if one is named."""

    def pin():
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    options = {"stdin": subprocess.DEVNULL, **options}
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with signals_held():  # until the process is recorded
        try:
            process = subprocess.Popen(command, preexec_fn=pin, env=environment, **options)
        except OSError as error:
            raise Missing(f"{command[0]}: {error.strerror}") from None
        started.add(process)
    return process


def stop(process):
    """Returns when the process is gone. Sends SIGTERM twice: the second tells echo_coro to stop at once."""
    with signals_held():
        for ask in (process.terminate, process.terminate, process.kill):
            ask()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS_LIMIT)
                break
        started.discard(process)


def stop_all():
    for process in list(started):
        stop(process)


def ask(*command):
    """What a short program prints, or None if it fails or is missing. It ends before we do."""
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with signals_held(), contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(
            command, stdin=nowhere, stdout=pipe, stderr=nowhere, check=True, text=True, errors="replace"
        ).stdout
    return None


def is_listening(port):
    """Whether a program listens on 127.0.0.1 and this port. Makes no connection that a server could see."""
    address = "(?:0+|0100007F|7F000001|0+FFFF00000100007F)"  # any address, or the loopback, including IPv6's
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError), open(table) as file:
            if re.search(rf"(?m)^ *\d+: {address}:{port:04X} \S+ 0A ", file.read()):
                return True
    return False
