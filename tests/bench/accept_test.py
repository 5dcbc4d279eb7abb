"""How a crowd is accepted and spread over workers: the counting, and a short run of both commands.

Run one with   /usr/bin/python3 tests/bench/accept_test.py Crowd.test_percentile
"""

import json
import math
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 300  # a second measurement on the machine waits
UNAVAILABLE = 69

sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "bench/commands"), str(ROOT / "bench/harness")]
import accept
import crowd
import spread


def benchmark(*arguments, **environment):
    return subprocess.run([str(ROOT / "benchmark.sh"), *map(str, arguments)], capture_output=True, text=True,
                          timeout=PATIENCE_SECONDS, env={**os.environ, **environment})  # fmt: skip


class Crowd(unittest.TestCase):
    def test_percentile(self):
        counts = {}
        for milliseconds in range(1, 101):
            step = crowd.step_of(milliseconds / 1000)
            counts[step] = counts.get(step, 0) + 1
        for share in (0.5, 0.99, 1):
            self.assertAlmostEqual(crowd.percentile(counts, share) / (share / 10), 1, delta=0.02)
        self.assertTrue(math.isnan(crowd.percentile({}, 0.99)))

    def serve(self, answer):
        """A server for one connection that answers each message with answer(message)."""
        listener = socket.create_server((crowd.HOST, 0))
        self.addCleanup(listener.close)

        def run():
            connection = listener.accept()[0]
            with connection:
                while message := connection.recv(4096):
                    connection.sendall(answer(message))

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        client = crowd.Client(7)
        self.addCleanup(client.socket.close)
        client.socket.settimeout(PATIENCE_SECONDS)
        client.socket.connect(listener.getsockname())
        client.send()
        return client

    def test_a_client_takes_its_own_echo_only(self):
        client = self.serve(lambda message: message)
        while client.take() is None:
            pass
        self.assertEqual(client.echoes, 1)
        client.socket.close()
        client = self.serve(lambda message: message[:4] + b"\1" + message[5:])
        with self.assertRaisesRegex(crowd.Astray, "client 7 got another echo"):
            client.take()

    def test_a_client_that_is_left_says_so(self):
        client = self.serve(lambda message: b"")
        client.socket.shutdown(socket.SHUT_WR)
        with self.assertRaisesRegex(crowd.Astray, "ended the connection of client 7 after 0 echoes"):
            client.take()


class Rates(unittest.TestCase):
    def test_only_what_lies_between_counts(self):
        slow, fast = str(crowd.step_of(0.1)), str(crowd.step_of(0.001))
        slices = [[9.97, {slow: 50}], [10.00, {fast: 10}], [10.01, {fast: 20}], [10.5, {slow: 50}]]
        told = accept.rate_and_p99(slices, 10.0, 10.1)
        self.assertAlmostEqual(told["rate"], 300)
        self.assertAlmostEqual(told["p99"], 0.001, delta=0.0001)
        self.assertEqual(accept.rate_and_p99(slices, 20, 21), {"rate": 0, "p99": None})

    def test_shares(self):
        runs = [[50, 50], [75, 25], [100, 0]]
        self.assertEqual(spread.shares(runs, max), [1, 1.5, 2])
        self.assertEqual(spread.shares(runs, min), [1, 0.5, 0])


class Commands(unittest.TestCase):
    def test_a_small_crowd(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-accept-") as folder:
            file = pathlib.Path(folder, "out.json")
            ran = benchmark("accept", "--rounds", 1, "--clients", 20, "--established", 3, "--json", file,
                            "echo_coro", "echo_coro --backend epoll", "asyncio_echo.py")  # fmt: skip
            self.assertEqual(ran.returncode, 0, ran.stderr)
            self.assertIn("Too few rounds to say anything", ran.stdout)
            self.assertRegex(ran.stdout, r"(?m)^echo_coro  +\d+\.\d\d  .*  1\.000  +1\.000 to 1\.000 ")
            told = json.loads(file.read_text())
        self.assertEqual(list(told["runs"]), ["echo_coro", "echo_coro --backend epoll", "asyncio_echo.py"])
        for (run,) in told["runs"].values():
            self.assertEqual(run["missing"], 0)
            self.assertGreaterEqual(run["echoes"], 20)
            self.assertLessEqual(run["median_first"], run["seconds"])
            self.assertGreater(run["before"]["rate"], 0)

    def test_a_small_spread(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-spread-") as folder:
            file = pathlib.Path(folder, "out.json")
            ran = benchmark("spread", "--rounds", 1, "--workers", 2, "--connections", 20, "--json", file)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            self.assertRegex(ran.stdout, r"(?m)^2 +20  SO_REUSEPORT alone +\d\.\d{3} \(")
            (row,) = json.loads(file.read_text())["rows"]
        for (counts,) in row["counts"].values():
            self.assertEqual((len(counts), sum(counts)), (2, 20))
        (counts,) = row["counts"]["echo_coro, one after another"]
        self.assertGreater(min(counts), 0)

    def test_what_is_missing_is_told_in_one_line(self):
        with tempfile.TemporaryDirectory() as empty:
            for command in ("accept", "spread"):
                ran = benchmark(command, "--rounds", 1, RINGLET_BUILD_DIR=empty)
                self.assertEqual((ran.returncode, ran.stdout), (UNAVAILABLE, ""))
                self.assertRegex(ran.stderr, rf"{command}: .*echo_coro(: No such file| is not built)")


if __name__ == "__main__":
    unittest.main()
