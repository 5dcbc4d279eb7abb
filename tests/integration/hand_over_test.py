"""A new echo_coro takes over the listening sockets of the old one, and no client notices."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from hand_over_case import HandOverCase
from programs import ECHO_CORO, HOST, PATIENCE_SECONDS, UNAVAILABLE, Connection, EchoCoro, run, wait_until


class Churn:
    """Clients that connect, echo and leave, all the time."""

    def __init__(self, port):
        self.port, self.count, self.wrong, self.stopping = port, 0, [], False
        self.threads = [threading.Thread(target=self.work) for _ in range(3)]

    def work(self):
        while not self.stopping:
            try:
                with Connection(HOST, self.port) as client:
                    client.echoes(b"hello")
                self.count += 1
            except (OSError, AssertionError) as error:
                self.wrong.append(repr(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()

    def goes_on(self):
        count = self.count
        wait_until(lambda: self.count > count + 10, "clients to be served")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((HOST, port))
            probe.listen()
            return True
    return False


class HandOver(HandOverCase):
    def change(self, *options, rounds=4):
        with contextlib.ExitStack() as stack:
            old = stack.enter_context(self.server(*options))
            port = old.port
            with Churn(port) as churn:
                for number in range(rounds):
                    churn.goes_on()
                    more = ("--workers", number % 3 + 1) if not options else options
                    new = stack.enter_context(self.successor(port, *more))
                    self.assertIn(f"{HOST}:{port}", new.line())
                    self.assertEqual(old.process.wait(PATIENCE_SECONDS), 0)
                    old = new
                churn.goes_on()
            self.assertEqual(churn.wrong, [])

    def test_nobody_is_refused_whatever_the_number_of_workers(self):
        self.change()

    def test_on_epoll(self):
        self.change("--backend", "epoll", rounds=2)

    def test_from_one_backend_to_the_other(self):
        with self.server("--backend", "epoll") as old, Churn(old.port) as churn:
            with self.successor(old.port, "--backend", "io_uring") as new:
                new.line()
                self.assertEqual(old.process.wait(PATIENCE_SECONDS), 0)
                with self.successor(old.port, "--backend", "epoll") as last:
                    last.line()
                    self.assertEqual(new.process.wait(PATIENCE_SECONDS), 0)
                    churn.goes_on()
                    churn.__exit__()
            self.assertEqual(churn.wrong, [])

    def receive_offers(self, asking):
        told = b""  # their number, and a line for each
        while not told.endswith(b"\n") or told.count(b"\n") <= int(told.split()[0]):
            some, descriptors, _, _ = socket.recv_fds(asking, 4096, 20)
            for descriptor in descriptors:
                os.close(descriptor)
            told += some
            if not some:
                self.fail(f"waiting for the offers: they ended after {told!r}")

    def go_along(self, *options, rounds=3, count=40):
        """Connections at rest go to the next program, and the old one ends at once."""
        with contextlib.ExitStack() as stack:
            long_drain = ("--drain-spread", "0s", "--drain-timeout", "60min", *options)
            old = stack.enter_context(self.server(*long_drain))
            port = old.port
            clients = [stack.enter_context(old.connect()) for _ in range(count)]
            for number in range(rounds):
                for client in clients:
                    client.echoes(b"round %d" % number)
                new = stack.enter_context(self.successor(port, *long_drain))
                new.line()
                self.assertEqual(old.process.wait(PATIENCE_SECONDS), 0)
                self.assertIn(f"{count} went to the next one", old.rest())
                old = new
            for client in clients:
                client.echoes(b"at last")
                client.close()

    def test_connections_at_rest_go_along(self):
        self.go_along()

    def test_they_go_along_on_epoll_and_from_several_workers(self):
        self.go_along("--backend", "epoll", "--workers", "3", rounds=2)

    def test_they_go_along_with_direct_descriptors(self):
        self.go_along("--direct-descriptors", "--workers", "2", rounds=2)

    def test_a_client_that_does_not_read_stays_with_the_old_one(self):
        with self.server("--drain-spread", "0s", "--drain-timeout", "60min") as old, old.connect() as client:
            client.settimeout(0.2)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while True:
                    sent += client.send(b"x" * 65536)
            client.settimeout(PATIENCE_SECONDS)
            with self.successor(old.port) as new:
                new.line()
                wait_until(lambda: "drains" in old.said(), "the old one to drain")
                with old.connect() as other:
                    other.echoes(b"with the new one")
                client.shutdown(socket.SHUT_WR)
                received = 0
                while some := client.recv(1 << 20):
                    received += len(some)
                self.assertEqual(received, sent)
                self.assertEqual(old.process.wait(PATIENCE_SECONDS), 0)

    def test_a_client_of_a_proxy_is_known_to_the_next_program(self):
        """It sends its PROXY header once."""
        with self.server("--proxy-from", HOST, "--drain-timeout", "60min") as old, old.connect() as client:
            client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n")
            client.echoes(b"before")
            with self.successor(old.port, "--proxy-from", HOST) as new:
                new.line()
                self.assertEqual(old.process.wait(PATIENCE_SECONDS), 0)
                client.echoes(b"after")

    def test_the_new_one_dies_while_connections_go_along(self):
        """The old one keeps serving connections that were not handed over."""
        with self.server("--drain-spread", "0s", "--drain-timeout", "60min") as old, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(old.connect()) for _ in range(100)]
            for client in clients:
                client.echoes(b"before")
            asking = stack.enter_context(socket.socket(socket.AF_UNIX))
            asking.connect(self.path)
            asking.sendall(b"ringlet 1 take\n")
            self.receive_offers(asking)
            asking.sendall(b"ready\n")
            told, descriptors, _, _ = socket.recv_fds(asking, 100, 5)
            self.assertEqual(told, b"yours\n")
            self.assertEqual(len(descriptors), 1)
            os.close(descriptors[0])  # nothing receives any more
            asking.sendall(b"serving\n")
            wait_until(lambda: "drains" in old.said(), "the old one to drain")
            for client in clients:
                client.echoes(b"still here")
            for client in clients:
                client.close()
            self.assertEqual(old.process.wait(PATIENCE_SECONDS), 0)

    def test_a_new_one_that_is_killed_changes_nothing(self):
        """At each step of its protocol, and after it reported that it is ready."""
        for words in ((), (b"ringlet 1 take\n",), (b"ringlet 1 take\n", b"ready\n"), (b"nonsense\n",),
                      (b"ringlet 1 take\n", b"nonsen")):  # fmt: skip
            for workers in (1, 2):
                with self.subTest(words=words, workers=workers), self.server("--workers", workers) as old:
                    with Churn(old.port) as churn:
                        churn.goes_on()
                        with socket.socket(socket.AF_UNIX) as asking:
                            asking.connect(self.path)
                            for word in words:
                                asking.sendall(word)
                                if word == b"ringlet 1 take\n":
                                    self.receive_offers(asking)
                                if word == b"ready\n":
                                    self.assertIn(b"yours\n", asking.recv(100))
                        churn.goes_on()
                    self.assertEqual(churn.wrong, [])

    def test_killed_at_many_moments(self):
        with self.server() as old, Churn(old.port) as churn:
            for number in range(8):
                command = [ECHO_CORO, "--port", str(old.port), "--hand-over", f"unix:{self.path}", "--quiet"]
                with subprocess.Popen(command, stderr=subprocess.DEVNULL) as new:
                    time.sleep(number * 0.005)
                    new.kill()
                if "drains" in old.said():
                    break  # it was quick and already served, so no program serves now
                churn.goes_on()
            churn.__exit__()
            if "drains" not in old.said():
                self.assertEqual(churn.wrong, [])

    def test_a_third_takes_over_from_the_second_while_the_first_drains(self):
        """It asks the second, although the first has the same socket."""
        for workers in (1, 2):
            own = ("--workers", workers, "--drain-timeout", "60min")
            with self.subTest(workers=workers), self.server(*own) as first, self.stuck_client(first.port):
                with contextlib.ExitStack() as stack:
                    last = first
                    for number in range(8):
                        new = stack.enter_context(self.successor(first.port, *own))
                        self.assertIn(f"{HOST}:{first.port}", new.line(), f"start {number}")
                        wait_until(lambda: "drains" in last.said(), "the one before to drain")
                        last = new
                    command = map(str, (ECHO_CORO, "--port", first.port, "--hand-over", f"unix:{self.path}", *own))
                    with subprocess.Popen(list(command), stdout=subprocess.PIPE) as killed:
                        killed.stdout.readline()
                        self.assertEqual(last.process.wait(PATIENCE_SECONDS), 0)
                        killed.kill()
                    # The kernel releases what an io_uring waited for only shortly after the process ends.
                    wait_until(lambda: is_free(first.port), "the sockets of the one that was killed to close")
                    after = stack.enter_context(self.successor(first.port, *own))
                    self.assertIn(f"{HOST}:{first.port}", after.line(), "a start after one that was killed")
                self.assertIsNone(first.process.poll())

    def test_a_third_while_the_second_takes_over_is_refused(self):
        with self.server() as old, socket.socket(socket.AF_UNIX) as second:
            second.connect(self.path)
            second.sendall(b"ringlet 1 take\n")
            wait_until(lambda: "asked for the listeners" in old.said(), "the second to be heard")
            third = run(ECHO_CORO, "--port", old.port, "--hand-over", f"unix:{self.path}")
            self.assertEqual(third.returncode, UNAVAILABLE)
            self.assertIn("another program is taking over", third.stderr)

    def test_the_socket_is_for_its_user_only(self):
        with self.server():
            self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.assertFalse(pathlib.Path(self.path).exists())

    def test_sigusr2_starts_the_next_one(self):
        with self.server() as old, Churn(old.port) as churn:
            churn.goes_on()
            old.process.send_signal(signal.SIGUSR2)
            self.assertEqual(old.process.wait(PATIENCE_SECONDS), 0)
            pid = int(old.said().split("started anew as process ")[1].split("\n")[0])
            self.addCleanup(lambda: wait_until(lambda: not pathlib.Path(f"/proc/{pid}/exe").exists(), "it to end"))
            self.addCleanup(os.kill, pid, signal.SIGTERM)
            churn.goes_on()
            churn.__exit__()
            self.assertEqual(churn.wrong, [])

    def test_signals_that_have_nothing_to_do(self):
        with EchoCoro() as server:
            server.expected_errors = r"(?s).*"
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "no certificate to read again" in server.said(), "an answer to SIGHUP")
            server.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: "needs --hand-over" in server.said(), "an answer to SIGUSR2")
            with server.connect() as client:
                client.echoes(b"still here")
            server.process.send_signal(signal.SIGQUIT)
            self.assertEqual(server.process.wait(PATIENCE_SECONDS), 0)


if __name__ == "__main__":
    unittest.main()
