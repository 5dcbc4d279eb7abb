"""echo_bench with messages larger than the kernel's buffers: whether a server reads or answers first, it
gets all of them, and an error in one direction ends the other."""

import pathlib
import select
import socket
import struct
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from load_client import Client, bench
from programs import ECHO_BENCH, ECHO_CORO, PATIENCE_SECONDS, EchoCoro, run
from scripted_server import ScriptedServer

MIB = 1 << 20


def whole_first(connection, whole):
    """Reads a whole message before it answers."""
    while True:
        connection.sendall(whole())


class SmallBuffers(Client):
    """The kernel's buffers hold next to nothing: a client that sends everything before it receives would wait
    for ever, because the server does the same."""

    UNDER = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c",
             "ip link set lo up && echo 4096 4096 4096 >/proc/sys/net/ipv4/tcp_wmem && "
             'echo 4096 4096 4096 >/proc/sys/net/ipv4/tcp_rmem && exec "$@"', "sh")

    def setUp(self):
        tried = run(*self.UNDER, "true")
        if tried.returncode:
            self.skipTest(f"no network of our own here: {tried.stderr.strip()}")

    def both(self, *load, server=""):
        """The client and the server, in one network namespace."""
        script = f'{ECHO_CORO} --port 3200 --quiet {server} & while ! ss -Hltn | grep -q :3200; do sleep 0.05; done; "$@"; ' \
            "status=$?; kill $!; wait; exit $status"
        return run(*self.UNDER, "sh", "-c", script, "sh", ECHO_BENCH, "--timeout", "5s", *load)

    def test_messages_of_all_sizes(self):
        for size, pipeline in ((1, 1), (2048, 1), (4096, 1), (10_000, 1), (30_000, 1), (65_536, 1), (300_000, 1),
                               (1000, 60)):
            with self.subTest(size=size, pipeline=pipeline):
                self.ends(self.both("-t", 2, "-c", 1, "-e", 2 * pipeline, "--size", size, "--pipeline", pipeline), 0,
                          errors=0)

    def test_through_tls(self):
        folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        made = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                   "/CN=localhost", "-keyout", folder / "key", "-out", folder / "chain")
        self.assertEqual(made.returncode, 0, made.stderr)
        for size in (64, 4096, 30_000, 65_536, 300_000):
            with self.subTest(size=size):
                self.ends(self.both("-t", 2, "-c", 1, "-e", 2, "--size", size, "--tls", "--insecure",
                                    server=f"--tls-cert {folder}/chain --tls-key {folder}/key"), 0, errors=0)


class Large(Client):
    def ends_soon(self, ended, began):
        """Checks that the run did not end by the timeout of 30 s."""
        self.assertLess(time.monotonic() - began, 25)
        self.assertNotIn("cancel", ended.stderr.lower())

    def test_server_that_reads_all_before_it_answers(self):
        for size in (65_536, 65_537, MIB, 16 * MIB):
            with self.subTest(size=size), ScriptedServer(whole_first, message_bytes=size) as server:
                self.ends(bench(server.port, "-t", 2, "-c", 1, "-e", 2, "--size", size, "--timeout", "15s"), 0,
                          errors=0)
                self.assertEqual(len(server.received), 4)

    def test_server_that_reads_all_of_a_pipeline_before_it_answers(self):
        def all_first(connection, whole):
            while True:
                connection.sendall(b"".join([whole() for _ in range(64)]))

        with ScriptedServer(all_first, message_bytes=32_768) as server:
            ended = bench(server.port, "-t", 1, "-c", 1, "-e", 128, "--pipeline", 64, "--size", 32_768,
                          "--timeout", "15s")
        self.ends(ended, 0, errors=0)

    def test_server_that_answers_in_small_pieces_while_it_reads(self):
        def pieces(connection, _):
            while True:
                piece = connection.recv(1500)
                if not piece:
                    raise EOFError
                connection.sendall(piece)

        with ScriptedServer(pieces) as server:
            self.ends(bench(server.port, "-t", 2, "-c", 1, "-e", 2, "--size", MIB), 0, errors=0)

    def test_server_without_buffers_of_its_own(self):
        server = self.enter(EchoCoro())
        self.ends(bench(server.port, "-t", 3, "-c", 2, "-e", 3, "--size", 3 * MIB + 1), 0, errors=0)

    def test_held_connections(self):
        with ScriptedServer(whole_first, message_bytes=MIB) as server:
            ended = bench(server.port, "--hold", 2, "--hold-time", "1ms", "--size", MIB, "--timeout", "15s")
        self.assertEqual(ended.returncode, 0, ended.stderr)

    def test_slow_reader_is_not_silent(self):
        """It reads for at least 6 s before anything comes back; the timeout is 4 s. Once the last quarter is in
        the kernel's buffers, the client sees no more progress."""
        def slow_reader(connection, _):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            message = bytearray()
            while len(message) < 16 * MIB:
                piece = connection.recv(MIB // 2)
                if not piece:
                    raise EOFError
                message += piece
                if len(message) // (MIB // 2) > (len(message) - len(piece)) // (MIB // 2):
                    select.select([], [], [], 0.2)
            connection.sendall(message)

        with ScriptedServer(slow_reader) as server:
            ended = bench(server.port, "-t", 1, "-c", 1, "-e", 1, "--size", 16 * MIB, "--timeout", "4s")
        self.ends(ended, 0, errors=0)

    def test_wrong_byte_at_the_end(self):
        def flip(connection, whole):
            message = whole()
            connection.sendall(message[:-1] + bytes([message[-1] ^ 1]))

        with ScriptedServer(flip, message_bytes=MIB) as server:
            ended = bench(server.port, "-t", 1, "-c", 1, "-e", 1, "--size", MIB)
        self.ends(ended, 1, errors=1)
        self.assertIn(f"byte {MIB} of {MIB}: expected", ended.stderr)

    def test_end_of_the_answer_ends_the_sending(self):
        """It sends half an answer and does not read: the sending by itself would never end."""
        gone = threading.Event()

        def half(connection, _):
            connection.sendall(connection.recv(1000))
            connection.shutdown(socket.SHUT_WR)
            gone.wait(PATIENCE_SECONDS)

        with ScriptedServer(half) as server:
            began = time.monotonic()
            ended = bench(server.port, "-t", 1, "-c", 1, "-e", 1, "--size", 16 * MIB)
            gone.set()
            self.ends_soon(ended, began)
        self.ends(ended, 1, errors=1)

    def test_reset_ends_both(self):
        def reset(connection, _):
            connection.recv(1000)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        with ScriptedServer(reset) as server:
            began = time.monotonic()
            ended = bench(server.port, "-t", 2, "-c", 2, "-e", 2, "--size", 16 * MIB)
            self.ends_soon(ended, began)
        self.ends(ended, 1, errors=8)

    def test_silent_server_is_not_waited_for_for_ever(self):
        gone = threading.Event()

        def reads_nothing(*_):
            gone.wait(PATIENCE_SECONDS)

        def answers_nothing(_, whole):
            whole()
            whole()

        for script in (reads_nothing, answers_nothing):
            with self.subTest(script=script.__name__), ScriptedServer(script, message_bytes=16 * MIB) as server:
                began = time.monotonic()
                ended = bench(server.port, "-t", 2, "-c", 1, "-e", 1, "--size", 16 * MIB, "--timeout", "1s")
                gone.set()
                self.ends_soon(ended, began)
                self.ends(ended, 1, errors=2)
                self.assertIn("timed out", ended.stderr)


if __name__ == "__main__":
    unittest.main()
