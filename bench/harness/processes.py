"""Programs that are started here, and that neither an error nor a signal leaves running."""

import atexit
import contextlib
import os
import re
import signal
import subprocess

STOP_SECONDS_LIMIT = 3  # for each time that a process is asked
ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Failure(Exception):
    """Something that ends a measurement, told in one line."""


class Missing(Failure):
    """Something that is not here, so that nothing could be measured."""


# ---- signals that end us ------------------------------------------------------------------------

held, came = False, None


def end_by_signals():
    """SIGINT and the like end this program in good order; what it has started ends first.

    Also where SIGINT was ignored, as it is in the background of a shell; what nohup ignores stays so.
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
    """Once: nothing disturbs what is then cleaned up."""
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
    with signals_held():  # until it is noted
        try:
            process = subprocess.Popen(command, preexec_fn=pin, env=environment, **options)
        except OSError as error:
            raise Missing(f"{command[0]}: {error.strerror}") from None
        started.add(process)
    return process


def stop(process):
    """Returns when it is gone. Asks twice: a second SIGTERM tells echo_coro to stop at once."""
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
    """What a short program prints, or None where it fails or is missing. It ends before we do."""
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with signals_held(), contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(
            command, stdin=nowhere, stdout=pipe, stderr=nowhere, check=True, text=True, errors="replace"
        ).stdout
    return None


def is_listening(port):
    """Whether anybody accepts on 127.0.0.1 and this port. No server sees a connection by being asked."""
    address = "(?:0+|0100007F|7F000001|0+FFFF00000100007F)"  # any, or the loopback; of IPv6, too
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError), open(table) as file:
            if re.search(rf"(?m)^ *\d+: {address}:{port:04X} \S+ 0A ", file.read()):
                return True
    return False
