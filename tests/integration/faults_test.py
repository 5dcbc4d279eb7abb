"""The programs when something is missing or fails: no io_uring, no descriptors, clients that reset, a
kernel that returns EAGAIN."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (ECHO_BENCH, ECHO_CORO, PATIENCE_SECONDS, UNAVAILABLE,
                      EchoCoro, descriptor_limit, environment_under_strace, run, strace, wait_until,
                      why_strace_cannot_trace)

# The CPU time that an idle server may use; a full core is 1,000 ms per second.
IDLE_CPU_SHARE = 0.05
OBSERVED_SECONDS = 5


class UnderStrace(unittest.TestCase):
    def setUp(self):
        reason = why_strace_cannot_trace()
        if reason:
            self.skipTest(reason)

    def refused(self, error, *command):
        """The message of a program when the kernel refuses an io_uring."""
        inject = strace("-e", f"inject=io_uring_setup:error={error}")
        ended = run(*inject, *command, "--backend", "io_uring", env=environment_under_strace())
        self.assertEqual((ended.returncode, ended.stdout), (UNAVAILABLE, ""), ended.stderr)
        self.assertRegex(ended.stderr, r"\Aecho_(coro|bench): [^\n]+\n\Z")
        return ended.stderr

    def test_io_uring_forbidden(self):
        said = self.refused("EPERM", ECHO_CORO, "--port", 0)
        self.assertRegex(said, "io_uring.*(seccomp|io_uring_disabled)")

    def test_io_uring_missing(self):
        said = self.refused("ENOSYS", ECHO_CORO, "--port", 0)
        self.assertRegex(said, "io_uring.*ENOSYS.*is needed")

    def test_io_uring_unsupported(self):
        said = self.refused("EOPNOTSUPP", ECHO_CORO, "--port", 0)
        self.assertRegex(said, "io_uring.*EOPNOTSUPP.*(enable|run on)")

    def test_io_uring_without_memory(self):
        said = self.refused("ENOMEM", ECHO_CORO, "--port", 0)
        self.assertRegex(said, "io_uring.*ENOMEM.*ulimit -l")

    def test_io_uring_too_old(self):
        self.assertRegex(self.refused("EINVAL", ECHO_CORO, "--port", 0), "io_uring.*Linux")

    def test_io_uring_forbidden_to_the_client(self):
        said = self.refused("EPERM", ECHO_BENCH, "-t", 1)
        self.assertRegex(said, "io_uring.*(seccomp|io_uring_disabled)")

    def test_epoll_serves_where_io_uring_is_refused(self):
        for error in ("EPERM", "ENOSYS", "ENOMEM", "EMFILE"):
            with self.subTest(error=error):
                inject = strace("-e", f"inject=io_uring_setup:error={error}")
                environment = environment_under_strace(RINGLET_BACKEND="auto")
                with EchoCoro(under=inject, env=environment) as server:
                    self.assertRegex(server.first_line, r"backend epoll \(io_uring is refused: [^)]+\), ")
                    server.expected_errors = r"echo_coro: io_uring is refused, epoll serves: .*\n"
                    with server.connect() as client:
                        client.echoes()
                    self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                    self.assertRegex(server.said(), "io_uring is refused, epoll serves: ")
                    self.assertIn("system calls on epoll", server.rest())

    def test_kernel_that_says_again_loses_nothing(self):
        """io_uring_enter(2): after EINTR, EAGAIN and EBUSY the caller must retry."""
        for error in ("EINTR", "EAGAIN", "EBUSY"):
            with self.subTest(error=error):
                inject = strace("-e", "trace=io_uring_enter",
                                "-e", f"inject=io_uring_enter:error={error}:when=3+3")
                with EchoCoro(under=inject, env=environment_under_strace()) as server:
                    with server.connect() as one, server.connect() as other:
                        for number in range(30):
                            one.echoes(b"one %d" % number)
                            other.echoes(b"other %d" % number)
                    self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                    self.assertIn("2 connections served, 0 cancelled", server.rest())

    def test_start_that_fails_half_way_says_so(self):
        """Whichever call fails first: one line, and a status from sysexits(3)."""
        for call, error in (("listen", "EADDRINUSE"), ("bind", "EADDRNOTAVAIL"),
                            ("socket", "EMFILE"), ("eventfd2", "EMFILE"), ("signalfd4", "EMFILE"),
                            ("io_uring_setup,epoll_create1", "EMFILE")):
            with self.subTest(call=call):
                ended = run(*strace("-e", f"inject={call}:error={error}"), ECHO_CORO, "--port", 0,
                            "--quiet", env=environment_under_strace())
                self.assertIn(ended.returncode, range(64, 79), ended.stderr)
                self.assertRegex(ended.stderr, r"\Aecho_coro: [^\n]+\n\Z")


class LockableMemory(unittest.TestCase):
    def test_a_server_serves_without_any(self):
        """If a ring counts against the limit, epoll is used (docs/guides/deployment.md, limits)."""
        under = ["prlimit", "--memlock=0:0"]
        if os.geteuid() == 0:
            under = ["setpriv", "--bounding-set=-ipc_lock", *under]
        with EchoCoro(under=under) as server:
            server.expected_errors = r"(echo_coro: io_uring is refused, .*memlock.*\n)?"
            self.assertRegex(server.first_line, r"backend (io_uring|epoll)")
            with server.connect() as client:
                client.echoes()
            limits = pathlib.Path(f"/proc/{server.process.pid}/limits").read_text()
            self.assertRegex(limits, r"Max locked memory +0 +0 ")
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)


class Descriptors(unittest.TestCase):
    def is_idle(self, server, why, limit=IDLE_CPU_SHARE):
        before = server.cpu_seconds()
        try:
            server.process.wait(OBSERVED_SECONDS)
            self.fail(f"echo_coro ended: {server.said()}")
        except subprocess.TimeoutExpired:
            pass
        share = (server.cpu_seconds() - before) / OBSERVED_SECONDS
        self.assertLess(share, limit, f"{share:.1%} of a core {why}")

    def serves_in_turn(self, server, clients, expected_at_first):
        """All clients are served, but not at the same time."""
        for number, client in enumerate(clients):
            client.sendall(b"client %03d" % number)
        wait_until(lambda: sum(client.has_something() for client in clients) >= expected_at_first,
                   f"{expected_at_first} clients to be served")
        self.is_idle(server, "with a full descriptor table and clients waiting")
        served = [client for client in clients if client.has_something()]
        self.assertLess(len(served), 64)
        for number, client in enumerate(clients):
            expected = b"client %03d" % number
            self.assertEqual(client.receive_exactly(10, f"the echo of client {number}"), expected)
            client.close()

    def test_running_out_of_descriptors_neither_spins_nor_stops(self):
        with EchoCoro("--max-connections", "1000", preexec_fn=descriptor_limit(64),
                      env={**os.environ, "RINGLET_WITHOUT": "direct_descriptors"}) as server:
            server.expected_errors = (
                r"echo_coro: --max-connections 1000 is more than the 64 descriptors .*ulimit -n.*\n"
                r"echo_coro: accepting pauses: Too many open files .*ulimit -n.*\n")
            self.serves_in_turn(server, [server.connect() for _ in range(200)], 40)
            with server.connect() as late:
                late.echoes()
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            said = server.rest()
            self.assertIn("201 connections served", said)
            # 10 to 320 ms each, so not thousands during this test.
            self.assertLess(int(re.search(r"(\d+) pauses", said)[1]), 20 * PATIENCE_SECONDS)

    def test_default_limit_keeps_descriptors_back(self):
        with EchoCoro(preexec_fn=descriptor_limit(64)) as server:
            self.assertIn("at most 32 connections (64 descriptors)", server.first_line)
            self.serves_in_turn(server, [server.connect() for _ in range(80)], 32)
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            self.assertIn("80 connections served, 0 cancelled", server.rest())

    def test_tiny_descriptor_limits_refuse_or_serve(self):
        """If the start runs out of descriptors it says so, and never reports that it listens."""
        for count in (4, 5, 6, 7, 8, 10):
            with self.subTest(descriptors=count):
                try:
                    server = EchoCoro(preexec_fn=descriptor_limit(count))
                except AssertionError as failure:
                    self.assertRegex(str(failure), r"with (6[4-9]|7\d): echo_coro: [^\n]+\n\Z")
                    continue
                server.expected_errors = r"(echo_coro: accepting pauses: .*\n)?"
                with server:
                    if count >= 10:
                        with server.connect() as client:
                            client.echoes()

    def test_all_descriptors_come_back(self):
        with EchoCoro() as server:
            at_start = descriptor_count_after_a_client(server)
            for _ in range(10):
                clients = [server.connect() for _ in range(50)]
                for client in clients:
                    client.echoes()
                for number, client in enumerate(clients):
                    client.reset() if number % 2 else client.close()
            wait_until(lambda: server.descriptor_count() == at_start,
                       f"the server to have {at_start} descriptors again after 500 connections")

    def test_no_worker_threads_of_io_uring(self):
        with EchoCoro("--drain-timeout", "1min") as server:
            clients = [server.connect() for _ in range(50)]
            for client in clients:
                client.echoes(bytes(10_000))
            for client in clients[::2]:
                client.close()
            self.assertEqual([name for name in server.threads() if name.startswith("iou-wrk")], [])
            server.process.send_signal(signal.SIGTERM)
            clients[1].echoes()
            self.assertEqual([name for name in server.threads() if name.startswith("iou-wrk")], [])
            for client in clients:
                client.close()
            self.assertEqual(server.wait("after its last connection"), 0)

    def test_idle_connections_cost_no_cpu(self):
        with EchoCoro() as server:
            clients = [server.connect() for _ in range(200)]
            for client in clients:
                client.echoes()
            self.is_idle(server, "with 200 silent clients")
            for client in clients:
                client.close()

    def test_polling_stops_when_nobody_sends(self):
        with EchoCoro("--busy-poll", "200us") as server, server.connect() as client:
            for _ in range(1000):
                client.echoes()
            self.is_idle(server, "after a thousand echoes, polling", limit=0.005)
            client.echoes()


class RudeClients(unittest.TestCase):
    def test_resets_hurt_nobody_else(self):
        with EchoCoro() as server, server.connect() as bystander:
            for number in range(50):
                rude = server.connect()
                rude.sendall(bytes(100_000))
                rude.reset()
                bystander.echoes(b"still here %d" % number)
            self.assertEqual(server.said(), "")

    def test_reset_of_a_connection_still_in_the_backlog(self):
        with EchoCoro("--max-connections", "1") as server:
            with server.connect() as first:
                first.echoes()
                for _ in range(20):
                    server.connect().reset()
                first.echoes()
            with server.connect() as next_client:
                next_client.echoes()

    def test_reset_while_the_server_waits_to_send(self):
        with EchoCoro() as server:
            at_start = descriptor_count_after_a_client(server)
            for _ in range(5):
                with server.connect(receive_buffer_bytes=4096) as rude:
                    rude.settimeout(0.2)
                    try:
                        for _ in range(1000):
                            rude.sendall(bytes(1 << 20))
                    except TimeoutError:
                        pass  # the server no longer reads: its own send is stuck
                    rude.reset()
            wait_until(lambda: server.descriptor_count() == at_start, "the connections to end")
            with server.connect() as client:
                client.echoes()


def descriptor_count_after_a_client(server):
    """The descriptors of an idle server that has served: the ring, the listener, the signals."""
    with server.connect() as client:
        client.echoes()
    wait_until(lambda: socket_count(server) == 1, "the first connection to be closed")
    return server.descriptor_count()


def socket_count(server):
    count = 0
    for entry in pathlib.Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:
            pass  # closed meanwhile
    return count


if __name__ == "__main__":
    unittest.main()
