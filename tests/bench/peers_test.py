"""The peers of the benchmark really echo: whole, in order, even to slow and half-closed clients.

Every test runs with all peers available here (in tests/run.sh without --full, those of the log); Availability skips
once for each of the others.
Run one with   /usr/bin/python3 tests/bench/peers_test.py Peers.test_echoes
Compiled peers come from RINGLET_BUILD_DIR (default: build/release), those of the field from its target
field_peers; PYTHON3 and PYTHON2 name interpreters other than /usr/bin/python3 and the python2 on
PATH.
"""

import contextlib
import functools
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import listening_port, socket_of_process

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench" / "peers"
BUILD = pathlib.Path(os.environ.get("RINGLET_BUILD_DIR", ROOT / "build/release")).resolve()
PYTHON3 = os.environ.get("PYTHON3", "/usr/bin/python3")
PYTHON2 = os.environ.get("PYTHON2") or shutil.which("python2") or "python2"

JAVA = ["java", "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true"]

HOST = "127.0.0.1"
PATIENCE_SECONDS = 120
USAGE, UNAVAILABLE = 64, 69
MEGABYTE = bytes(range(256)) * 4096
# Peers of the field are for tests/run.sh --full; without ctest all are tested.
EVERYBODY = os.environ.get("RINGLET_FULL", "1") != ""


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def environment():
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


class Server:
    """One running peer; `with` ends it and checks that it is gone."""

    def __init__(self, peer, port=None):
        self.peer = peer
        self.port_is_given = port is not None
        self.start(port or free_port())

    def start(self, port):
        self.port = port
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*self.peer.command, str(self.port), *self.peer.after_port],
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            env=environment(),
        )

    def __enter__(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            if self.process.poll() == UNAVAILABLE and not self.port_is_given and time.monotonic() < deadline:
                self.errors.close()
                self.start(free_port())  # another process took the last one
            elif self.process.poll() is not None:
                status, said = self.process.returncode, self.said()
                raise AssertionError(f"the peer ended with {status}: {said}")
            # An answer on the port would prove nothing: another program may have taken it meanwhile.
            if listening_port(self.process.pid) == self.port:
                return self
            if time.monotonic() > deadline:
                self.__exit__()
                raise AssertionError(f"waiting for the peer to listen on {self.port}")
            time.sleep(0.01)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.errors.close()

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode()

    def ends_by(self, signal_number):
        self.process.send_signal(signal_number)
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"waiting for the peer to end by signal {signal_number}") from None

    def connect(self):
        connection = socket.create_connection((HOST, self.port), timeout=PATIENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def receive_exactly(connection, count, what):
    received = bytearray()
    while len(received) < count:
        try:
            chunk = connection.recv(min(65536, count - len(received)))
        except socket.timeout:
            so_far = f"{len(received)} of {count} bytes came"
            raise AssertionError(f"waiting for {what}: {so_far}") from None
        if not chunk:
            raise AssertionError(f"{what}: the peer closed after {len(received)} of {count} bytes")
        received += chunk
    return bytes(received)


def receive_until_end(connection, what):
    received = bytearray()
    while True:
        try:
            chunk = connection.recv(65536)
        except socket.timeout:
            so_far = f"{len(received)} bytes came, no end"
            raise AssertionError(f"waiting for {what}: {so_far}") from None
        if not chunk:
            return bytes(received)
        received += chunk


def closes_at_the_end(peer):
    """Whether it loses unwritten data when it reads the end (tornado 6.2, iostream.py, _read_to_buffer)."""
    return peer.name.startswith("tornado")


def receive_rest(peer, connection, count, what):
    """Half-closes and receives the rest; without the half-close if the peer would lose data."""
    if closes_at_the_end(peer):
        return receive_exactly(connection, count, what)
    connection.shutdown(socket.SHUT_WR)
    return receive_until_end(connection, what)


@functools.lru_cache(None)
def python_can(interpreter, line):
    try:
        ended = subprocess.run(
            [interpreter, "-c", line], capture_output=True, timeout=PATIENCE_SECONDS
        )
    except OSError:
        return False
    return ended.returncode == 0


class BuiltPeer:
    """A program of the build; `package` is the Debian package that it needs."""

    is_in_the_log = True

    def __init__(self, name, way=None, package=None, settings=()):
        self.name = name
        self.title = " ".join([*settings, name, *([way] if way else [])])
        self.package = package
        self.program = BUILD / "bench" / name
        self.command = [*(["env", *settings] if settings else []), str(self.program)]
        self.after_port = [way] if way else []

    def why_not(self):
        """What is missing for this peer to run here, or nothing."""
        if self.program.exists():
            return None
        hint = f": install the package {self.package}" if self.package else ""
        return f"{self.program} is not built{hint}"


class FieldPeer(BuiltPeer):
    """A program that only the target field_peers builds."""

    is_in_the_log = False

    def why_not(self):
        why_not = super().why_not()
        return why_not and f"{why_not} and build the target field_peers"


class SourcePeer:
    """A source that an interpreter, or a compiler used like one, runs directly."""

    is_in_the_log = False

    def __init__(self, source, command, package, needs=None):
        self.name, self.package, self.needs = source.split(".")[0], package, needs or command[0]
        self.title = f"{source} by {command[0]}"
        self.command = [*command, str(PEERS / source)]
        self.after_port = []

    def why_not(self):
        if not shutil.which(self.needs):
            return f"{self.needs} is missing: install the package {self.package}"
        return None


class PythonPeer:
    is_in_the_log = True

    def __init__(self, version, name, package=None):
        self.name, self.version, self.package = name, version, package
        self.title = f"{name}.py on Python {version}"
        self.interpreter = PYTHON3 if version == 3 else PYTHON2
        self.command = [self.interpreter, str(PEERS / f"{name}.py")]
        self.after_port = []

    def why_not(self):
        right_version = f"import sys; sys.exit(sys.version_info[0] != {self.version})"
        if not python_can(self.interpreter, right_version):
            return f"{self.interpreter} is no Python {self.version}: install python{self.version}"
        if self.package and not python_can(self.interpreter, f"import {self.package}"):
            prefix = "python3-" if self.version == 3 else "python-"
            return f"{self.package} is missing: install the package {prefix}{self.package}"
        return None


ALL_PEERS = {
    "libev": BuiltPeer("libev_echo", package="libev-dev"),
    "epoll": BuiltPeer("epoll_echo"),
    "uring_plain": BuiltPeer("uring_echo", "plain"),
    "uring_pool": BuiltPeer("uring_echo", "pool"),
    "uring_multishot": BuiltPeer("uring_echo", "multishot"),
    "epoll2": PythonPeer(2, "epoll_echo"),
    "epoll3": PythonPeer(3, "epoll_echo"),
    "gevent2": PythonPeer(2, "gevent_echo", "gevent"),
    "gevent3": PythonPeer(3, "gevent_echo", "gevent"),
    "tornado2": PythonPeer(2, "tornado_echo", "tornado"),
    "tornado3": PythonPeer(3, "tornado_echo", "tornado"),
    "twisted2": PythonPeer(2, "twisted_echo", "twisted"),
    "twisted3": PythonPeer(3, "twisted_echo", "twisted"),
    "tornado_async3": PythonPeer(3, "tornado_native_echo", "tornado"),
    "asyncio3": PythonPeer(3, "asyncio_echo"),
    "asyncio_proto3": PythonPeer(3, "asyncio_protocol_echo"),
    # The field.
    "libev_uring": BuiltPeer("libev_echo", package="libev-dev", settings=["LIBEV_FLAGS=128"]),
    "libuv": FieldPeer("libuv_echo", package="libuv1-dev"),
    "node": SourcePeer("node_echo.js", ["node"], "nodejs"),
    "java": SourcePeer("java_echo.java", JAVA, "default-jdk-headless", needs="javac"),
    "pypy_epoll": SourcePeer("epoll_echo.py", ["pypy3"], "pypy3"),
    "asio_epoll": FieldPeer("asio_epoll_echo", package="libasio-dev"),
    "asio_uring": FieldPeer("asio_uring_echo", package="libasio-dev"),
    "tokio": FieldPeer("tokio_echo", package="librust-tokio-dev"),
    "uvloop": PythonPeer(3, "uvloop_echo", "uvloop"),
    "trio": PythonPeer(3, "trio_echo", "trio"),
    "eventlet": PythonPeer(3, "eventlet_echo", "eventlet"),
    "pypy_asyncio": SourcePeer("asyncio_echo.py", ["pypy3"], "pypy3"),
    "st": FieldPeer("st_echo", package="libst-dev"),
    "fiber": FieldPeer("fiber_echo", package="libboost-fiber-dev"),
    "go": FieldPeer("go_echo", package="golang-go"),
    "erlang": SourcePeer("erlang_echo.escript", ["escript"], "erlang-base"),
}


class Availability(unittest.TestCase):
    """A peer that cannot run here is a counted skip, with what to install."""

    def test_libev(self):
        self.check("libev")

    def test_epoll(self):
        self.check("epoll")

    def test_uring_plain(self):
        self.check("uring_plain")

    def test_uring_pool(self):
        self.check("uring_pool")

    def test_uring_multishot(self):
        self.check("uring_multishot")

    def test_epoll2(self):
        self.check("epoll2")

    def test_epoll3(self):
        self.check("epoll3")

    def test_gevent2(self):
        self.check("gevent2")

    def test_gevent3(self):
        self.check("gevent3")

    def test_tornado2(self):
        self.check("tornado2")

    def test_tornado3(self):
        self.check("tornado3")

    def test_twisted2(self):
        self.check("twisted2")

    def test_twisted3(self):
        self.check("twisted3")

    def test_tornado_async3(self):
        self.check("tornado_async3")

    def test_asyncio_proto3(self):
        self.check("asyncio_proto3")

    def test_asyncio3(self):
        self.check("asyncio3")

    def test_libev_uring(self):
        self.check("libev_uring")

    def test_libuv(self):
        self.check("libuv")

    def test_node(self):
        self.check("node")

    def test_java(self):
        self.check("java")

    def test_pypy_epoll(self):
        self.check("pypy_epoll")

    def test_asio_epoll(self):
        self.check("asio_epoll")

    def test_asio_uring(self):
        self.check("asio_uring")

    def test_tokio(self):
        self.check("tokio")

    def test_uvloop(self):
        self.check("uvloop")

    def test_trio(self):
        self.check("trio")

    def test_eventlet(self):
        self.check("eventlet")

    def test_pypy_asyncio(self):
        self.check("pypy_asyncio")

    def test_st(self):
        self.check("st")

    def test_fiber(self):
        self.check("fiber")

    def test_go(self):
        self.check("go")

    def test_erlang(self):
        self.check("erlang")

    def check(self, name):
        why_not = ALL_PEERS[name].why_not()
        if why_not:
            self.skipTest(why_not)
        with Server(ALL_PEERS[name]) as server, server.connect() as connection:
            connection.sendall(b"hello")
            receive_exactly(connection, 5, "the echo")


def run_to_its_end(command, *arguments):
    try:
        return subprocess.run(
            [*command, *arguments],
            capture_output=True,
            env=environment(),
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        words = " ".join([*command, *arguments])
        raise AssertionError(f"waiting for {words} to refuse") from None


shared = {} # running servers by peer


def running(peer):
    """A context with the server shared by all tests of this peer that do not end it."""
    if peer not in shared:
        shared[peer] = Server(peer).__enter__()
    server = shared[peer]
    if server.process.poll() is not None:
        status, said = server.process.returncode, server.said()
        shared.pop(peer).__exit__()
        raise AssertionError(f"the peer ended with {status} after an earlier test: {said}")
    return contextlib.nullcontext(server)


def for_each_peer(test):
    """Runs a test with every peer that can run here, each as a subtest."""

    @functools.wraps(test)
    def run_all(self):
        peers = [peer for peer in ALL_PEERS.values() if (EVERYBODY or peer.is_in_the_log) and not peer.why_not()]
        self.assertTrue(peers, "no peer can run here")
        for peer in peers:
            with self.subTest(peer.title):
                test(self, peer)

    return run_all


class Peers(unittest.TestCase):
    """What every peer has to do."""

    @classmethod
    def tearDownClass(cls):
        while shared:
            shared.popitem()[1].__exit__()

    @for_each_peer
    def test_echoes(self, peer):
        with running(peer) as server, server.connect() as connection:
            for message in (b"hello", b"\0" * 1000, bytes(range(256)) * 60):
                connection.sendall(message)
                self.assertEqual(receive_exactly(connection, len(message), "the echo"), message)

    @for_each_peer
    def test_echoes_one_byte_at_a_time(self, peer):
        with running(peer) as server, server.connect() as connection:
            for byte in b"one byte at a time":
                connection.sendall(bytes([byte]))
                self.assertEqual(receive_exactly(connection, 1, "one byte"), bytes([byte]))

    @for_each_peer
    def test_serves_many_connections_at_once(self, peer):
        with running(peer) as server:
            connections = [server.connect() for _ in range(100)]
            for index, connection in enumerate(connections):
                connection.sendall(b"connection %03d" % index)
            for index, connection in reversed(list(enumerate(connections))):
                expected = b"connection %03d" % index
                echo = receive_exactly(connection, len(expected), f"the echo of connection {index}")
                self.assertEqual(echo, expected)
            for connection in connections:
                connection.close()

    @for_each_peer
    def test_answers_a_half_closed_client_fully(self, peer):
        if closes_at_the_end(peer):
            self.skipTest("tornado's IOStream closes when it reads the end, with what it has not written")
        with running(peer) as server, server.connect() as connection:
            connection.setblocking(False)
            unsent, received, open_ = memoryview(MEGABYTE), bytearray(), True
            while open_:
                readable, writable, _ = select.select(
                    [connection], [connection] if unsent else [], [], PATIENCE_SECONDS
                )
                if not readable and not writable:
                    self.fail(f"waiting for the whole echo: {len(received)} bytes came")
                if writable:
                    unsent = unsent[connection.send(unsent[:65536]) :]
                    if not unsent:
                        connection.shutdown(socket.SHUT_WR)
                if readable:
                    chunk = connection.recv(65536)
                    received += chunk
                    open_ = bool(chunk)
            self.assertEqual(bytes(received), MEGABYTE)

    @for_each_peer
    def test_last_words_of_a_half_closed_client_come_back(self, peer):
        with running(peer) as server:
            for _ in range(20):
                with server.connect() as connection:
                    connection.sendall(b"last words")
                    connection.shutdown(socket.SHUT_WR)
                    self.assertEqual(receive_until_end(connection, "the last words"), b"last words")

    @for_each_peer
    def test_waits_for_a_client_that_reads_late(self, peer):
        """The echo is larger than all buffers in between: the peer must wait, then continue."""
        with running(peer) as server, socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((HOST, server.port))
            connection.settimeout(0.5)
            sent = 0
            try:
                while sent < 64 * len(MEGABYTE):
                    sent += connection.send(MEGABYTE[sent % 256 :])
                self.fail(f"{peer.name} took {sent} bytes from a client that reads nothing")
            except socket.timeout:
                pass  # the peer has stopped reading

            with server.connect() as other:  # no other client waits for the late reader
                other.sendall(b"meanwhile")
                receive_exactly(other, 9, "an echo beside a late reader")

            connection.settimeout(PATIENCE_SECONDS)
            received = receive_rest(peer, connection, sent, "the rest of a late reader's echo")
            self.assertEqual(len(received), sent)
            self.assertTrue(received == (MEGABYTE * (sent // len(MEGABYTE) + 1))[:sent])

    @for_each_peer
    def test_many_late_readers_get_everything(self, peer):
        """They hold the peer's buffers: a buffer pool runs empty before the last of them."""
        with running(peer) as server, contextlib.ExitStack() as stack:
            late = [stack.enter_context(server.connect()) for _ in range(200)]
            sent = dict.fromkeys(late, 0)
            for connection in late:
                connection.setblocking(False)
            quiet_since = time.monotonic()
            while time.monotonic() < quiet_since + 0.5:  # until the peer takes no more
                for connection in select.select([], late, [], 0.1)[1]:
                    sent[connection] += connection.send(MEGABYTE[sent[connection] :][:65536])
                    quiet_since = time.monotonic()
                late = [connection for connection in late if sent[connection] < len(MEGABYTE)]
            for connection, count in sent.items():
                connection.settimeout(PATIENCE_SECONDS)
                received = receive_rest(peer, connection, count, "all of a late reader's echo")
                self.assertTrue(received == MEGABYTE[:count], f"{len(received)} of {count} bytes")

    @for_each_peer
    def test_survives_a_client_that_resets(self, peer):
        with running(peer) as server:
            for _ in range(20):
                connection = server.connect()
                connection.sendall(MEGABYTE[:100_000])
                linger_zero = b"\1\0\0\0\0\0\0\0"  # makes close reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
                connection.close()
            with server.connect() as connection:
                connection.sendall(b"still here?")
                receive_exactly(connection, 11, "an echo after resets")
            self.assertEqual(server.said(), "")

    @for_each_peer
    def test_sends_without_delay(self, peer):
        """The connection at the server's end has TCP_NODELAY."""
        with running(peer) as server, server.connect() as connection:
            connection.sendall(b"x")
            receive_exactly(connection, 1, "the echo")
            try:
                other_end = socket_of_process(server.process.pid, connection.getsockname())
            except PermissionError as error:
                self.skipTest(f"cannot look into the server: {error}")
            with other_end:
                nodelay = other_end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            self.assertEqual(nodelay, 1)

    @for_each_peer
    def test_has_room_for_4096_waiting_clients(self, peer):
        if not shutil.which("ss"):
            self.skipTest("ss is missing: install the package iproute2")
        limit = int(pathlib.Path("/proc/sys/net/core/somaxconn").read_text())
        with running(peer) as server:
            self.assertEqual(listening_backlog(server.port), min(4096, limit))

    @for_each_peer
    def test_taken_port_is_one_clear_line(self, peer):
        with socket.socket() as stranger:
            stranger.bind((HOST, 0))
            stranger.listen()
            port = stranger.getsockname()[1]
            ended = run_to_its_end(peer.command, str(port), *peer.after_port)
        self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)
        self.assertRegex(
            ended.stderr, rf"\A{peer.name}: 127\.0\.0\.1:{port}: [Aa]ddress already in use \(.+\)\n\Z"
        )

    @for_each_peer
    def test_bad_port_is_a_usage_error(self, peer):
        for arguments in ((), ("",), ("0",), ("65536",), ("-1",), ("http",), ("80x",), ("1", "2")):
            with self.subTest(arguments=arguments):
                ended = run_to_its_end(peer.command, *arguments)
                self.assertEqual(ended.returncode, USAGE, ended.stderr)
                self.assertRegex(ended.stderr, rf"\Ausage: {peer.name} PORT.*\n\Z")

    @for_each_peer
    def test_listens_on_a_port_used_a_moment_ago(self, peer):
        """SO_REUSEADDR: the connections of the last run do not keep the port."""
        with Server(peer) as first:
            connection = first.connect()
            connection.sendall(b"x")
            receive_exactly(connection, 1, "the echo")
            first.ends_by(signal.SIGTERM)  # the server closes first: its side is in TIME_WAIT
            connection.close()
            port = first.port
        with Server(peer, port) as second, second.connect() as connection:
            connection.sendall(b"x")
            receive_exactly(connection, 1, "the echo of the second server")

    @for_each_peer
    def test_ends_quietly(self, peer):
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=signal_number), Server(peer) as server:
                with server.connect() as connection:
                    connection.sendall(b"x")
                    receive_exactly(connection, 1, "the echo")
                    status = server.ends_by(signal_number)
                self.assertIn(status, (0, -signal_number))
                self.assertEqual(server.said(), "")


def listening_backlog(port):
    """The Send-Q of a listening socket, which is its backlog."""
    shown = subprocess.run(
        ["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True
    )
    return int(shown.stdout.split()[2])


class MissingPackage(unittest.TestCase):
    """A missing package gives one line that says what to install."""

    def test_names_the_debian_package(self):
        for package in ("gevent", "tornado", "twisted", "uvloop", "trio", "eventlet"):
            program = f"{package}_echo"
            with self.subTest(program=program):
                ended = subprocess.run(  # -S: without site-packages no package is found
                    [PYTHON3, "-S", str(PEERS / f"{program}.py"), str(free_port())],
                    capture_output=True,
                    env=environment(),
                    text=True,
                    timeout=PATIENCE_SECONDS,
                )
                self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)
                self.assertRegex(
                    ended.stderr, rf"\A{program}: .*{package}.*python3-{package}\)\n\Z"
                )


if __name__ == "__main__":
    unittest.main(verbosity=2 if sys.stdout.isatty() else 1)
