"""If nobody reads the messages of echo_coro, neither its clients nor its shutdown wait."""

import contextlib
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ECHO_CORO, PATIENCE_SECONDS, USAGE, EchoCoro, wait_until

# Each takes about 100 bytes in the full list of tasks: more than a pipe holds (64 KiB, pipe(7)).
CONNECTIONS = 2000


@contextlib.contextmanager
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(end)


@contextlib.contextmanager
def socket_pair():
    reading, writing = socket.socketpair()
    with reading, writing:
        yield reading.fileno(), writing.fileno()


@contextlib.contextmanager
def terminal():
    reading, writing = pty.openpty()
    yield reading, writing
    os.close(reading)
    os.close(writing)


@contextlib.contextmanager
def stopped_terminal():
    """Stops the terminal, as Ctrl-S does."""
    with terminal() as (reading, writing):
        termios.tcflow(writing, termios.TCOOFF)
        yield reading, writing


def fill(pipe_end):
    os.set_blocking(pipe_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe_end, bytes(4096))
    os.set_blocking(pipe_end, True)


def read_what_is_there(pipe_end):
    return os.read(pipe_end, 1 << 20) if select.select([pipe_end], [], [], 0)[0] else b""


class Stuck(unittest.TestCase):
    """A stderr that is open but not read."""

    def serves_on(self, server, clients):
        for number, client in enumerate(clients):
            client.echoes(b"still there, %d" % number)
        with server.connect() as late:
            late.echoes(b"also a new one")

    def is_asked_and_serves_on(self, stderr, *options, signals=3):
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(EchoCoro("--all-tasks", *options, stderr=stderr))
            clients = [stack.enter_context(server.connect()) for _ in range(CONNECTIONS)]
            for client in clients:
                client.sendall(b"1")
            for client in clients:
                client.receive_exactly(1)
            for _ in range(signals):
                server.process.send_signal(signal.SIGUSR1)
                self.serves_on(server, clients[:20])
            for client in clients:
                client.close()
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)

    def test_a_pipe_that_nobody_reads(self):
        for workers in (1, 2):
            with self.subTest(workers=workers), pipe() as (_, stderr):
                self.is_asked_and_serves_on(stderr, "--workers", workers)

    def test_a_socket_that_nobody_reads(self):
        for workers in (1, 2):
            with self.subTest(workers=workers), socket_pair() as (_, stderr):
                self.is_asked_and_serves_on(stderr, "--workers", workers)

    def test_a_stopped_terminal(self):
        for workers in (1, 2):
            with self.subTest(workers=workers), stopped_terminal() as (_, stderr):
                self.is_asked_and_serves_on(stderr, "--workers", workers)

    def test_a_terminal_that_nobody_reads(self):
        with terminal() as (_, stderr):
            self.is_asked_and_serves_on(stderr)

    def test_a_pipe_whose_reader_has_gone(self):
        with pipe() as (reading, stderr):
            os.close(reading)
            self.is_asked_and_serves_on(stderr)


class Lines(unittest.TestCase):
    """Unsolicited messages, and what happens to lost ones."""

    def test_a_warning_at_the_start(self):
        with pipe() as (_, stderr):
            fill(stderr)
            with EchoCoro("--max-connections", 9_000_000, stderr=stderr) as server, server.connect() as client:
                client.echoes()
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)

    def test_a_mistake_on_the_command_line(self):
        with pipe() as (_, stderr):
            fill(stderr)
            ended = subprocess.run([ECHO_CORO, "--port"], stderr=stderr, timeout=PATIENCE_SECONDS, check=False)
            self.assertEqual(ended.returncode, USAGE)

    def test_what_was_lost_is_counted_once_somebody_reads(self):
        with pipe() as (reading, stderr), EchoCoro(stderr=stderr) as server, server.connect() as client:
            fill(stderr)
            said = b""

            def is_told():
                nonlocal said
                server.process.send_signal(signal.SIGUSR1)
                client.echoes(b"and on")
                said += read_what_is_there(reading).replace(b"\0", b"")
                return b" bytes were dropped here: nobody read stderr]\n" in said

            server.process.send_signal(signal.SIGUSR1)
            client.echoes(b"its list is lost")
            client.echoes(b"surely")
            wait_until(is_told, "a line that tells what was dropped")
            self.assertIn(b"live tasks", said)


if __name__ == "__main__":
    unittest.main()
