"""echo_coro from outside: it echoes, stops as documented, and refuses bad input with one clear line."""

import ctypes
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (ECHO_CORO, HOST, NO_HOST, NO_PERMISSION, PATIENCE_SECONDS, SANITIZED,
                      UNAVAILABLE, USAGE, Connection, EchoCoro, run, socket_of_process, wait_until)

MEGABYTE = random.Random(1).randbytes(1 << 20)


class Echo(unittest.TestCase):
    def test_socat_gets_its_line_back(self):
        if not shutil.which("socat"):
            self.skipTest("socat is missing: install the package socat")
        with EchoCoro() as server:
            try:
                ended = subprocess.run(
                    ["socat", "-t", str(PATIENCE_SECONDS), "-", f"TCP:{HOST}:{server.port}"],
                    input=b"hello\n", capture_output=True, timeout=PATIENCE_SECONDS, check=False)
            except subprocess.TimeoutExpired:
                self.fail("waiting for socat to end after the half-close")
            self.assertEqual((ended.returncode, ended.stdout), (0, b"hello\n"), ended.stderr)

    def test_messages_of_many_sizes(self):
        with EchoCoro() as server, server.connect() as client:
            for size in (1, 2, 63, 64, 65, 1000, 4095, 4096, 4097, 16384, 65535, 65536, 100_000):
                client.echoes(MEGABYTE[:size])

    def test_one_byte_at_a_time(self):
        with EchoCoro() as server, server.connect() as client:
            for byte in range(256):
                client.echoes(bytes([byte]))

    def test_a_hundred_connections_keep_apart(self):
        with EchoCoro() as server:
            clients = [server.connect() for _ in range(100)]
            for number, client in enumerate(clients):
                client.sendall(b"client %03d" % number)
            for number, client in reversed(list(enumerate(clients))):
                self.assertEqual(client.receive_exactly(10), b"client %03d" % number)
            for client in clients:
                client.close()

    def test_half_close_gets_everything_back(self):
        with EchoCoro() as server, server.connect() as client:
            back = converse(self, client, len(MEGABYTE), half_close=True)
            self.assertEqual(back, len(MEGABYTE))

    def test_last_words_before_a_half_close_come_back(self):
        with EchoCoro() as server:
            for _ in range(20):
                with server.connect() as client:
                    client.sendall(b"last words")
                    client.shutdown(socket.SHUT_WR)
                    self.assertEqual(client.receive_to_the_end(), b"last words")

    def test_client_that_does_not_read_is_waited_for(self):
        """The server stops reading instead of growing, serves others, and loses nothing."""
        total = (20 if SANITIZED else 100) * len(MEGABYTE)
        with EchoCoro() as server, server.connect(receive_buffer_bytes=4096) as client:
            before = server.resident_bytes()
            sent = send_until_stuck(client)
            self.assertLess(sent, 64 * len(MEGABYTE), "the server read without being read from")
            if not SANITIZED:
                self.assertLess(server.resident_bytes() - before, 4 * len(MEGABYTE))
            with server.connect() as other:
                other.echoes(MEGABYTE[:1000])
            back = converse(self, client, total, already_sent=sent, half_close=True)
            self.assertEqual(back, total)

    def test_ipv6(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest(f"no IPv6 on the loopback interface: {error}")
        for host in ("::1", "[::1]"):
            with EchoCoro("--host", host) as server, server.connect() as client:
                self.assertEqual(server.host, "::1")
                client.echoes()

    def test_host_by_name(self):
        with EchoCoro("--host", "localhost") as server, server.connect() as client:
            client.echoes()

    def test_sends_without_delay(self):
        """The server's end of the connection has TCP_NODELAY."""
        with EchoCoro() as server, server.connect() as client:
            client.echoes()
            try:
                other_end = socket_of_process(server.pid, client.getsockname())
            except PermissionError as error:
                self.skipTest(f"cannot look into the server: {error}")
            with other_end:
                self.assertEqual(other_end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)


class Limits(unittest.TestCase):
    def test_client_beyond_max_connections_waits_its_turn(self):
        with EchoCoro("--max-connections", "2") as server:
            self.assertIn("at most 2 connections", server.first_line)
            first, second, third = (server.connect() for _ in range(3))
            third.sendall(b"third")
            for _ in range(100):  # the server is awake, but ignores the third
                first.echoes()
                second.echoes()
            self.assertFalse(third.has_something(), "a third client was served beside two")
            first.close()
            self.assertEqual(third.receive_exactly(5, "the turn of the third"), b"third")
            second.echoes()
            second.close()
            third.close()

    def test_idle_connection_ends_and_a_busy_one_stays(self):
        with EchoCoro("--idle-timeout", "4s") as server:
            with server.connect() as idle, server.connect() as busy:
                rounds_after = 0
                for _ in range(20 * PATIENCE_SECONDS):
                    busy.echoes()
                    # Paces the busy one: 20 echoes a second.
                    if rounds_after == 0 and not select.select([idle], [], [], 0.05)[0]:
                        continue
                    if rounds_after == 0:
                        self.assertEqual(idle.receive_to_the_end(), b"")
                    rounds_after += 1
                    select.select([], [], [], 0.05)
                    if rounds_after == 30:  # longer than the server's check interval
                        return
                self.fail("waiting for the idle connection to be ended")

    def test_without_idle_timeout_nothing_ends(self):
        with EchoCoro("--idle-timeout", "0s") as server, server.connect() as client:
            self.assertEqual(select.select([client], [], [], 1.0)[0], [])
            client.echoes()


class Stopping(unittest.TestCase):
    def test_sigterm_without_clients_ends_with_0(self):
        with EchoCoro() as server:
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            self.assertRegex(server.rest(), r"\Aecho_coro stopped: 0 connections served, 0 cancel")

    def test_signal_right_after_the_first_line(self):
        """A reader of the first line may stop the server."""
        for _ in range(20):
            with EchoCoro() as server:
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)

    def test_sigint_does_the_same(self):
        with EchoCoro() as server, server.connect() as client:
            client.echoes()
            client.close()
            self.assertEqual(server.ends_by(signal.SIGINT), 0)
            self.assertIn("stopped: 1 connections served, 0 cancelled", server.rest())

    def test_sigterm_lets_a_connection_finish(self):
        with EchoCoro("--drain-timeout", "1min") as server, server.connect() as client:
            client.echoes()
            server.process.send_signal(signal.SIGTERM)
            wait_until_refused(server)
            for _ in range(10):
                client.echoes(MEGABYTE[:5000])
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.receive_to_the_end(), b"")
            self.assertEqual(server.wait("after its last connection"), 0)
            self.assertRegex(server.rest(), r"\d connections served, 0 cancelled")

    def test_drain_time_ends_a_connection_that_stays(self):
        with EchoCoro("--drain-timeout", "300ms") as server, server.connect() as client:
            client.echoes()
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            self.assertEqual(client.receive_to_the_end(), b"")
            self.assertIn("1 connections served, 1 cancelled", server.rest())

    def test_drain_time_ends_a_connection_that_does_not_read(self):
        with EchoCoro("--drain-timeout", "300ms") as server:
            with server.connect(receive_buffer_bytes=4096) as client:
                send_until_stuck(client)
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                self.assertIn("1 cancelled", server.rest())

    def test_second_signal_ends_at_once(self):
        for second in (signal.SIGTERM, signal.SIGINT):
            with EchoCoro("--drain-timeout", "60min") as server, server.connect() as client:
                client.echoes()
                server.process.send_signal(signal.SIGTERM)
                wait_until_refused(server)
                for _ in range(3):  # enough turns to accept our own probes
                    client.echoes()
                self.assertEqual(server.ends_by(second), 0)
                self.assertRegex(server.rest(), r"\d connections served, 1 cancelled")

    def test_sigterm_while_accepting_waits_for_a_free_place(self):
        with EchoCoro("--max-connections", "1", "--drain-timeout", "300ms") as server:
            with server.connect() as first, server.connect() as waiting:
                waiting.sendall(b"never served")
                first.echoes()
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                self.assertIn("1 connections served, 1 cancelled", server.rest())


class Refusals(unittest.TestCase):
    """Each is one line on stderr, nothing on stdout, and an exit status of sysexits(3)."""

    def refuses(self, ended, status, line):
        self.assertEqual((ended.returncode, ended.stdout), (status, ""), ended.stderr)
        self.assertRegex(ended.stderr, r"\Aecho_coro: [^\n]+\n\Z")
        self.assertRegex(ended.stderr, line)

    def test_bad_options(self):
        table = (
            (["--port", "65536"], "--port"), (["--port", "-1"], "--port"),
            (["--port", "http"], "--port"), (["--port", "80x"], "--port"),
            (["--port", ""], "--port"), (["--port"], "--port"),
            (["--max-connections", "-1"], "--max-connections"),
            (["--max-connections", "10000001"], "--max-connections"),
            (["--max-connections", "many"], "--max-connections"),
            (["--drain-timeout", "5"], "--drain-timeout"),
            (["--drain-timeout", "-5s"], "--drain-timeout"),
            (["--drain-timeout", "5 parsecs"], "--drain-timeout"),
            (["--idle-timeout", "99999999999999999999s"], "--idle-timeout"),
            (["--busy-poll", "50"], "'50' is no time: write auto, 0, or one up to 10000us"),
            (["--busy-poll", "1s"], "--busy-poll"),
            (["--busy-poll", "10001us"], "--busy-poll"),
            (["--busy-poll", "-1us"], "--busy-poll"),
            (["--busy-poll", ""], "--busy-poll"),
            (["--no-such-option"], "--no-such-option"), (["stray"], "stray"),
        )
        for arguments, named in table:
            with self.subTest(arguments=arguments):
                self.refuses(run(ECHO_CORO, *arguments), USAGE, re.escape(named))

    def test_duration_without_a_number(self):
        for option in ("--idle-timeout", "--drain-timeout"):
            with self.subTest(option=option):
                # A port in use, so that a server that accepts the option ends too.
                with socket.create_server((HOST, 0)) as stranger:
                    ended = run(ECHO_CORO, "--port", stranger.getsockname()[1], option, "s")
                self.refuses(ended, USAGE, option)

    def test_port_in_use(self):
        with socket.create_server((HOST, 0)) as stranger:
            port = stranger.getsockname()[1]
            ended = run(ECHO_CORO, "--port", port)
        self.refuses(ended, UNAVAILABLE, rf"{HOST}:{port}: .*in use.*another port")

    def test_two_servers_do_not_share_a_port(self):
        with EchoCoro() as server:
            self.refuses(run(ECHO_CORO, "--port", server.port), UNAVAILABLE, "in use")

    def test_unknown_host(self):
        self.refuses(run(ECHO_CORO, "--host", "no-such-host.invalid"), NO_HOST, "unknown host")

    def test_addresses_beside_that_of_the_clients(self):
        for option, address, named in (("--metrics", "nonsense", "not an address"), ("--metrics", "1.2.3.4:x", "not an address"),
                                       ("--backdoor", "nonsense", "write unix:/PATH"),
                                       ("--backdoor", f"{HOST}:9320", "write unix:/PATH"),
                                       ("--backdoor", f"unix:/{'x' * 108}", "write unix:/PATH"),
                                       ("--hand-over", "nonsense", "write unix:/PATH"),
                                       ("--hand-over", f"{HOST}:9320", "write unix:/PATH")):
            for workers in ("1", "2"):
                with self.subTest(option=option, address=address, workers=workers):
                    ended = run(ECHO_CORO, "--port", 0, "--workers", workers, option, address)
                    self.refuses(ended, USAGE, rf"{option} {re.escape(address)}: .*{named}")
        self.refuses(run(ECHO_CORO, "--port", 0, "--metrics", "no-such-host.invalid:1"), NO_HOST, "--metrics.*unknown host")
        for option in ("--metrics", "--hand-over"):
            ended = run(ECHO_CORO, "--port", 0, option, "unix:/no/such/folder/socket")
            self.refuses(ended, UNAVAILABLE, f"{option.lstrip('-')}: cannot listen on unix:/no/such/folder/socket: .*make its folder")

    def test_address_of_another_machine(self):
        self.refuses(run(ECHO_CORO, "--host", "192.0.2.1"), UNAVAILABLE, "192.0.2.1:3200.*address")

    def test_privileged_port(self):
        first_free = pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
        if int(first_free) <= 1:
            self.skipTest("every port is free for all (net.ipv4.ip_unprivileged_port_start)")
        prctl, drop_from_bounding_set, bind_service = ctypes.CDLL(None).prctl, 24, 10

        def give_up_the_privilege():  # fails for users who never had it
            prctl(drop_from_bounding_set, bind_service, 0, 0, 0)

        ended = run(ECHO_CORO, "--port", 1, preexec_fn=give_up_the_privilege)
        self.refuses(ended, NO_PERMISSION, r":1: ports below 1024 need a privilege.*another port")


class Polling(unittest.TestCase):
    def test_by_itself_it_does_not_poll_on_the_only_cpu(self):
        one = str(min(os.sched_getaffinity(0)))
        with EchoCoro("--busy-poll", "auto", under=("taskset", "-c", one)) as server:
            with server.connect() as client:
                for _ in range(200):
                    client.echoes(b"x")
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            calls = int(re.search(r"(\d+) system calls", server.rest())[1])
        self.assertLess(calls, 200 * 6)


def converse(test, client, total, already_sent=0, half_close=False):
    """Sends MEGABYTE repeatedly, up to `total` bytes, while it receives and compares.
    Returns the number of bytes that came back."""
    client.setblocking(False)
    twice = memoryview(MEGABYTE + MEGABYTE)
    sent, received = already_sent, 0
    while received < total or half_close:
        readable, writable, _ = select.select(
            [client], [client] if sent < total else [], [], PATIENCE_SECONDS)
        if not readable and not writable:
            test.fail(f"waiting for the rest of the echo: {received} of {sent} bytes came")
        if readable:
            chunk = client.recv(1 << 18)
            if not chunk:
                break
            begin = received % len(MEGABYTE)
            test.assertTrue(chunk == twice[begin:begin + len(chunk)], f"wrong near {received}")
            received += len(chunk)
        if writable:
            begin = sent % len(MEGABYTE)
            sent += client.send(twice[begin:begin + min(1 << 18, total - sent)])
            if sent == total and half_close:
                client.shutdown(socket.SHUT_WR)
    client.settimeout(PATIENCE_SECONDS)
    return received


def send_until_stuck(client):
    """Sends without reading, until nothing has been accepted for a while. Returns the bytes sent."""
    sent = 0
    client.setblocking(False)
    while select.select([], [client], [], 0.5)[1] and sent < 128 * len(MEGABYTE):
        begin = sent % len(MEGABYTE)
        sent += client.send(MEGABYTE[begin:])
    client.settimeout(PATIENCE_SECONDS)
    return sent


def is_refused(host, port):
    try:
        Connection(host, port).close()
        return False
    except ConnectionError:
        return True


def wait_until_refused(server):
    """Waits until the server has seen the signal, that is, no longer listens."""
    wait_until(lambda: is_refused(server.host, server.port), "echo_coro to stop listening")


if __name__ == "__main__":
    unittest.main()
