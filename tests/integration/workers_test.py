"""echo_coro with several workers from outside: they share the work and the port, and end together."""

import os
import pathlib
import re
import signal
import socket
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (BACKEND, DENY, ECHO_BENCH, ECHO_CORO, HOST, NO_PERMISSION, UNAVAILABLE, USAGE,
                      EchoCoro, run, wait_until)
from doctor_test import locking
from echo_coro_test import wait_until_refused

# The probability that all of them go to one of two workers is 2 / 2^40.
ENOUGH = 40


def connect_many(server):
    clients = [server.connect() for _ in range(ENOUGH)]
    for client in clients:
        client.echoes()
    return clients


def worker_threads(server):
    """The thread ids of the workers, in order."""
    names = {}
    for folder in pathlib.Path(f"/proc/{server.pid}/task").iterdir():
        try:
            names[(folder / "comm").read_text().strip()] = int(folder.name)
        except OSError:  # it just ended
            pass
    return [names[name] for name in sorted(names) if name.startswith("worker ")]


def close_all(clients):
    for client in clients:
        client.close()


class Workers(unittest.TestCase):
    def test_every_echo_of_a_load_is_right_and_the_sums_add_up(self):
        with EchoCoro("--workers", 2) as server:
            self.assertRegex(server.first_line, rf", backend {BACKEND}[^,]*, 2 workers, at most \d+ ")
            ended = run(ECHO_BENCH, "-p", server.port, "-t", ENOUGH, "-c", 2, "-e", 50, HOST)
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
            self.assertRegex(ended.stdout, r"errors: 0\n\Z")
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            self.assertEqual(server.said(), "")
            lines = server.rest().splitlines()
        line = rf"worker %d: (\d+) connections served, 0 cancelled, (\d+) system calls on {BACKEND}, (\d+) completions"
        counts = [[int(number) for number in re.fullmatch(line % index, lines[index]).groups()]
                  for index in range(2)]
        served, calls, completions = (sum(column) for column in zip(*counts))
        self.assertEqual(
            lines[2],
            f"echo_coro stopped: {served} connections served, 0 cancelled after the drain time")
        self.assertRegex(
            lines[3],
            rf"\A{calls} system calls, {completions} completions, 0 pauses of accepting, "
            r"\d+ waits for a buffer, 0 overflows of the completion queue\Z")
        self.assertEqual(len(lines), 4)
        self.assertEqual(served, 2 * ENOUGH)
        for connections, _, _ in counts:
            self.assertGreater(connections, 0)

    def test_auto_takes_the_cpus_that_it_may_run_on(self):
        cpus = os.sched_getaffinity(0)
        only = {min(cpus)}
        for allowed in (cpus, only):
            with self.subTest(allowed), \
                    EchoCoro("--workers", "auto", "--max-connections", 10_000,
                             preexec_fn=lambda cpus=allowed: os.sched_setaffinity(0, cpus)) as server:
                count = len(allowed)
                plural = "" if count == 1 else "s"
                self.assertIn(f", {count} worker{plural}, at most 10000 ", server.first_line)
                # One worker runs on the main thread.
                self.assertEqual(len(worker_threads(server)), 0 if count == 1 else count)

    def test_pinned_workers_have_a_cpu_each(self):
        cpus = sorted(os.sched_getaffinity(0))
        with EchoCoro("--workers", 3, "--pin") as server:
            self.assertIn(", 3 pinned workers, ", server.first_line)
            self.assertEqual(os.sched_getaffinity(server.pid), set(cpus))
            self.assertEqual([os.sched_getaffinity(thread) for thread in worker_threads(server)],
                             [{cpus[index % len(cpus)]} for index in range(3)])

    def test_one_connection_at_a_time_each(self):
        with EchoCoro("--workers", 8, "--max-connections", 2) as server:
            self.assertIn(", 2 workers, at most 2 connections ", server.first_line)
            for _ in range(20):
                with server.connect() as client:
                    client.echoes()

    def test_sigusr1_lists_the_tasks_of_all(self):
        with EchoCoro("--workers", 2, "--all-tasks") as server:
            server.expected_errors = r"(?s).*"
            clients = connect_many(server)

            def are_listed():
                """Some tasks may not be back in their recv when the first signal arrives."""
                server.process.send_signal(signal.SIGUSR1)
                said = server.said()
                counts = re.findall(r"^worker (\d): (\d+) connections accepted, (\d+) live$", said, re.M)
                accepted = {worker: int(count) for worker, count, live in counts if live == count}
                return sum(accepted.values()) == ENOUGH and all(
                    re.search(rf"waits for recv on .*peer {HOST}:{client.getsockname()[1]},", said)
                    for client in clients)

            wait_until(are_listed, "a dump of both workers that names every peer")
            self.assertGreater(server.said().count('task "accept"'), 1)
            close_all(clients)

    def test_bad_options(self):
        for value in ("0", "-1", "1025", "2x", "many", ""):
            with self.subTest(value):
                ended = run(ECHO_CORO, "--workers", value)
                self.assertEqual((ended.returncode, ended.stdout), (USAGE, ""))
                self.assertRegex(ended.stderr, r"\Aecho_coro: --workers.*\n\Z")


class Ends(unittest.TestCase):
    def test_sigterm_lets_the_connections_of_all_finish(self):
        with EchoCoro("--workers", 2, "--drain-timeout", "1min") as server:
            clients = connect_many(server)
            server.process.send_signal(signal.SIGTERM)
            wait_until_refused(server)
            for client in clients:
                client.echoes(b"while it drains")
            close_all(clients)
            self.assertEqual(server.wait("after its last connection"), 0)
            self.assertIn(" connections served, 0 cancelled after the drain time\n", server.rest())

    def test_second_signal_ends_all_at_once(self):
        for second in (signal.SIGTERM, signal.SIGINT):
            with EchoCoro("--workers", 2, "--drain-timeout", "60min") as server:
                clients = connect_many(server)
                server.process.send_signal(signal.SIGTERM)
                wait_until_refused(server)
                for client in 3 * clients:  # enough turns to accept our own probes
                    client.echoes()
                self.assertEqual(server.ends_by(second), 0)
                self.assertIn(f" {ENOUGH} cancelled after the drain time\n", server.rest())
                close_all(clients)

    def test_second_signal_ends_the_one_that_still_has_connections(self):
        with EchoCoro("--workers", 2, "--drain-timeout", "60min") as server, server.connect() as client:
            client.echoes()
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: len(worker_threads(server)) == 1, "the worker without a connection to end")
            client.echoes()
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            self.assertIn("1 cancelled after the drain time\n", server.rest())

    def test_signal_right_after_the_first_line(self):
        for _ in range(20):
            with EchoCoro("--workers", 3) as server:
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)


class Refusals(unittest.TestCase):
    def is_refused(self, port, *arguments):
        ended = run(ECHO_CORO, "--port", port, *arguments)
        self.assertEqual((ended.returncode, ended.stdout), (UNAVAILABLE, ""), ended.stderr)
        self.assertRegex(ended.stderr, r"\Aecho_coro: .*the port is in use.*\n\Z")

    def test_a_port_is_not_shared_with_another_echo_coro(self):
        with EchoCoro("--workers", 2) as server:
            self.is_refused(server.port, "--workers", 2)
            self.is_refused(server.port)
            with server.connect() as client:
                client.echoes()
        with EchoCoro() as server:
            self.is_refused(server.port, "--workers", 2)

    def test_a_port_is_not_shared_with_a_stranger_who_would(self):
        with socket.create_server((HOST, 0), reuse_port=True) as stranger:
            self.is_refused(stranger.getsockname()[1], "--workers", 2)

    def test_pinning_where_it_is_forbidden(self):
        ended = run(DENY, "EPERM", "sched_setaffinity", "--", ECHO_CORO, "--port", 0, "--workers", 2, "--pin")
        self.assertEqual((ended.returncode, ended.stdout), (NO_PERMISSION, ""), ended.stderr)
        self.assertRegex(ended.stderr, r"\Aecho_coro: Operation not permitted: .*sched_setaffinity\n\Z")

    def test_too_little_lockable_memory_for_all_rings(self):
        """A ring locks about 200 KiB: enough is left for one worker, but not for four."""
        version = tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups()))
        if (5, 12) <= version < (6, 14):
            self.skipTest("this kernel does not count rings as locked memory")
        ended = run(*locking(300), ECHO_CORO, "--port", 0, "--workers", 4, "--backend", "io_uring")
        self.assertEqual((ended.returncode, ended.stdout), (UNAVAILABLE, ""), ended.stderr)
        self.assertRegex(ended.stderr, r"\Aecho_coro: not enough lockable memory.*\n\Z")


if __name__ == "__main__":
    unittest.main()
