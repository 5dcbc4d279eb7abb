"""What echo_coro reports to a service manager (sd_notify), and how it ends as the first process of a container."""

import os
import pathlib
import re
import signal
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ECHO_CORO, HOST, RINGLET_DOCTOR, EchoCoro, Program, run, wait_until
from service_manager import Manager, given, listening, name_of


class Notified(unittest.TestCase):
    def manager(self, name):
        manager = Manager(name)
        self.addCleanup(manager.close)
        return manager

    def names(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-notify-")
        self.addCleanup(folder.cleanup)
        return f"@ringlet-notify-{os.getpid()}", f"{folder.name}/notify"

    def test_ready_status_and_stopping(self):
        for name, workers in zip(self.names(), (1, 2)):
            manager = self.manager(name)
            with self.subTest(name), EchoCoro("--workers", workers, env={**os.environ, "NOTIFY_SOCKET": name}) as server:
                where = f"on {HOST}:{server.port}"
                self.assertEqual(manager.until("READY=1"), ["READY=1", f"STATUS=serving 0 connections {where}"])
                with server.connect() as client:
                    client.sendall(b"hello")
                    self.assertEqual(client.receive_exactly(5), b"hello")
                    self.assertEqual(manager.until("STATUS="), [f"STATUS=serving 1 connection {where}"])
                    server.process.send_signal(signal.SIGTERM)
                    self.assertEqual(manager.until("STOPPING=1"), ["STOPPING=1", f"STATUS=draining 1 connection {where}"])
                self.assertEqual(server.wait("the drain"), 0)

    def test_a_reload_is_told_before_and_after(self):
        for name, workers in zip(self.names(), (1, 2)):
            manager = self.manager(name)
            with self.subTest(name), EchoCoro("--workers", workers, env={**os.environ, "NOTIFY_SOCKET": name}) as server:
                server.expected_errors = r"(echo_coro: SIGHUP: there is no certificate to read again\n)+"
                manager.until("READY=1")
                for _ in range(3):
                    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                    server.process.send_signal(signal.SIGHUP)
                    reloading, moment = manager.until("RELOADING=1")
                    self.assertRegex(moment, r"\AMONOTONIC_USEC=\d+\Z")
                    self.assertGreaterEqual(int(moment.partition("=")[2]), before)
                    self.assertEqual(manager.until("READY=1"), ["READY=1"])
                with server.connect() as client:
                    client.echoes()
                    server.process.send_signal(signal.SIGTERM)
                    manager.until("STOPPING=1")
                    server.process.send_signal(signal.SIGHUP)
                    wait_until(lambda: server.said().count("SIGHUP") == 4, "the reload of one that stops")
                self.assertEqual(server.wait("the drain"), 0)
                self.assertTrue(manager.is_silent_of("RELOADING"))

    def test_the_watchdog_is_fed(self):
        """Unit tests cover a stuck loop."""
        name = self.names()[0]
        manager = self.manager(name)
        one = listening()
        with one, given([one], "--workers", "2", NOTIFY_SOCKET=name, WATCHDOG_USEC="200000") as server:
            self.assertEqual(manager.until("READY=1")[1], f"STATUS=serving 0 connections on {name_of(one)}")
            for _ in range(5):
                manager.until("WATCHDOG=1")
            server.line()
        other = {**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
        manager.seen.clear()
        with EchoCoro(env=other) as server:
            manager.until("READY=1")
            manager.seen.clear()
            with server.connect() as client:
                client.sendall(b"hello")
                manager.until("STATUS=")  # at least two seconds later
        self.assertEqual([said for said in manager.seen if "WATCHDOG" in said], [])

    def test_a_manager_that_is_not_there_harms_nobody(self):
        for name in ("/nowhere/notify", "@ringlet-nobody", "nonsense", ""):
            with self.subTest(name), EchoCoro(env={**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1"}) as server:
                with server.connect() as client:
                    client.sendall(b"hello")
                    self.assertEqual(client.receive_exactly(5), b"hello")


class FirstProcess(unittest.TestCase):
    """The kernel discards a signal with default action to the first process of a container. echo_bench_ends_test.py
    has the same for echo_bench."""

    UNDER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")

    def setUp(self):
        tried = run(*self.UNDER, "true")
        if tried.returncode:
            self.skipTest(f"no namespace of our own here: {tried.stderr.strip()}")

    def first_process(self, program, name):
        def find():
            children = pathlib.Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
            names = {int(pid): pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
            return next((pid for pid, called in names.items() if called == name), None)

        return wait_until(find, f"unshare to start {name}")

    def until_it_handles(self, pid):
        status = pathlib.Path(f"/proc/{pid}/status")
        wait_until(lambda: int(re.search(r"SigCgt:\s(\w+)", status.read_text())[1], 16) >> (signal.SIGTERM - 1) & 1,
                   "the program to begin")

    def ends_with(self, program, status):
        self.assertEqual(program.wait("the signal"), status, program.said())
        program.process.returncode = 0  # on purpose

    def test_echo_coro_drains(self):
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal_number), EchoCoro(under=self.UNDER) as server:
                os.kill(self.first_process(server, "echo_coro"), signal_number)
                self.ends_with(server, 0)
                self.assertIn("echo_coro stopped: 0 connections served", server.rest())

    def test_echo_coro_ends_before_it_serves(self):
        """Its certificate is a pipe that nobody has opened for writing."""
        with tempfile.TemporaryDirectory(prefix="ringlet-first-") as folder:
            os.mkfifo(f"{folder}/pipe")
            for signal_number in (signal.SIGINT, signal.SIGTERM):
                with self.subTest(signal_number), Program(*self.UNDER, ECHO_CORO, "--port", 0, "--tls-cert",
                                                          f"{folder}/pipe", "--tls-key", f"{folder}/pipe") as server:
                    first = self.first_process(server, "echo_coro")
                    self.until_it_handles(first)
                    os.kill(first, signal_number)
                    self.ends_with(server, 128 + signal_number)

    def test_ringlet_doctor_ends(self):
        """Its output blocks because nobody reads it."""
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            reading, writing = os.pipe()
            os.set_blocking(writing, False)
            try:
                while True:
                    os.write(writing, b"x" * 4096)
            except BlockingIOError:
                os.set_blocking(writing, True)
            # Its stdout is that full pipe; Program's own is not used.
            script = f'exec "$@" >&{writing}'
            with self.subTest(signal_number), Program(*self.UNDER, "sh", "-c", script, "sh", RINGLET_DOCTOR,
                                                      pass_fds=[writing]) as doctor:
                first = self.first_process(doctor, "ringlet_doctor")
                self.until_it_handles(first)
                os.kill(first, signal_number)
                self.ends_with(doctor, 128 + signal_number)
            os.close(reading)
            os.close(writing)


if __name__ == "__main__":
    unittest.main()
