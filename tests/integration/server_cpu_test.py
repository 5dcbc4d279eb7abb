"""The comparison of two servers counts and judges rightly.

Run one with   /usr/bin/python3 tests/integration/server_cpu_test.py Statistics.test_known_ratio
"""

import fcntl
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "bench" / "server_cpu.py"
PATIENCE_SECONDS = 120
USAGE, UNAVAILABLE = 64, 69

sys.dont_write_bytecode = True
sys.path.insert(0, str(PROGRAM.parent))
import cost
import measuring
import server_cpu


def noisy_pairs(ratio, count, seed, noise=0.05):
    """Pairs whose first is `ratio` times the second, both disturbed; the level drifts threefold."""
    disturb = random.Random(seed)
    pairs = []
    for index in range(count):
        level = 5000 * (1 + 2 * index / count)
        pairs.append((level * ratio * disturb.gauss(1, noise), level * disturb.gauss(1, noise)))
    return pairs


class Statistics(unittest.TestCase):
    def test_known_ratio(self):
        median, low, high = measuring.paired_ratio([(2.0, 1.0), (6.0, 3.0), (10.0, 5.0)])
        self.assertEqual((median, low, high), (2.0, 2.0, 2.0))

    def test_median_of_ratios_not_ratio_of_medians(self):
        pairs = [(1.0, 1.0), (30.0, 10.0), (100.0, 50.0)]  # ratios 1, 3, 2; medians 30 and 10
        self.assertEqual(measuring.paired_ratio(pairs)[0], 2.0)

    def test_one_outlier_moves_nothing(self):
        pairs = [(1.1, 1.0)] * 9 + [(900.0, 1.0)]
        median, low, high = measuring.paired_ratio(pairs)
        self.assertEqual((median, low, high), (1.1, 1.1, 1.1))

    def test_same_samples_give_the_same_interval(self):
        pairs = noisy_pairs(1.05, 10, seed=7)
        self.assertEqual(measuring.paired_ratio(pairs), measuring.paired_ratio(pairs))

    def test_interval_holds_the_median_and_lies_within_the_samples(self):
        for seed in range(20):
            pairs = noisy_pairs(1.05, 10, seed)
            ratios = [first / second for first, second in pairs]
            median, low, high = measuring.paired_ratio(pairs)
            self.assertEqual(median, statistics.median(ratios))
            self.assertLessEqual(min(ratios), low)
            self.assertLess(low, high)
            self.assertLessEqual(low, median)
            self.assertLessEqual(median, high)
            self.assertLessEqual(high, max(ratios))

    def test_swapping_the_servers_inverts_the_interval(self):
        pairs = noisy_pairs(1.2, 11, seed=3)  # odd: the median is one of the ratios
        median, low, high = measuring.paired_ratio(pairs)
        inverted = measuring.paired_ratio([(second, first) for first, second in pairs])
        self.assertAlmostEqual(inverted[0], 1 / median)
        self.assertAlmostEqual(inverted[1], 1 / high, delta=0.01)
        self.assertAlmostEqual(inverted[2], 1 / low, delta=0.01)

    def test_interval_narrows_with_more_pairs(self):
        def width(count):
            _, low, high = measuring.paired_ratio(noisy_pairs(1.05, count, seed=1))
            return high - low

        self.assertLess(width(100), width(10) / 2)

    def test_interval_covers_the_truth_nearly_always(self):
        """95 % in theory; ten pairs and a bootstrap come close."""
        with_fewer_resamples(self, 500)
        covered = 0
        for seed in range(200):
            _, low, high = measuring.paired_ratio(noisy_pairs(1.05, 10, seed))
            covered += low <= 1.05 <= high
        self.assertGreaterEqual(covered, 0.88 * 200)
        self.assertLess(covered, 200)  # an interval that never misses is too wide to say anything

    def test_verdict(self):
        names = ["old", "new"]
        self.assertIn("No difference", server_cpu.verdict(names, 10, 0.99, 1.02))
        self.assertEqual(server_cpu.verdict(names, 10, 1.01, 1.2), "new needs less CPU per echo.")
        self.assertEqual(server_cpu.verdict(names, 10, 0.8, 0.99), "old needs less CPU per echo.")
        self.assertIn("Too few", server_cpu.verdict(names, 5, 1.01, 1.2))


def with_fewer_resamples(test, count):
    resamples = measuring.RESAMPLES
    measuring.RESAMPLES = count
    test.addCleanup(setattr, measuring, "RESAMPLES", resamples)


class Counting(unittest.TestCase):
    def test_cpu_of_a_process_with_threads(self):
        """Two threads that each burn 0.2 s of CPU count as 0.4 s; sleeping counts nothing."""
        burn = """if True:
            import threading, time
            def burn():
                while time.thread_time() < 0.2:
                    pass
                time.sleep(1000)
            threads = [threading.Thread(target=burn) for _ in range(2)]
            print("ready", flush=True); input()
            for thread in threads: thread.start()
            time.sleep(1000)
        """
        with subprocess.Popen(
            [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            try:
                process.stdout.readline()
                before = cost.cpu_nanoseconds(process.pid)
                process.stdin.write(b"\n")
                process.stdin.flush()
                deadline = time.monotonic() + PATIENCE_SECONDS
                used, last = 0, -1
                while used < 0.35e9 or used != last:  # until both have burnt and sleep
                    self.assertLess(time.monotonic(), deadline, "waiting for 0.4 s of CPU")
                    time.sleep(0.1)
                    last, used = used, cost.cpu_nanoseconds(process.pid) - before
            finally:
                process.kill()
        self.assertAlmostEqual(used / 1e9, 0.4, delta=0.1)

    def test_system_calls_of_an_strace_summary(self):
        summary = "    calls syscall\n------ ------\n  7 close\n 1200 sendto\n 1207 total\n"
        self.assertEqual(cost.read_strace_summary(summary), {"sendto": 1200, "close": 7})

    def test_commands(self):
        self.assertEqual(
            measuring.command_of("./mine --at '{port} x'", 80), ["./mine", "--at", "80 x"]
        )
        self.assertEqual(measuring.command_of("echo_coro", 80)[1:], ["--port", "80"])
        self.assertEqual(measuring.command_of("gevent_echo.py", 80)[2:], ["80"])
        with self.assertRaises(measuring.Failure):
            measuring.command_of("erlang", 80)


CLIENT = f"""\
#!{sys.executable}
import socket, sys
def option(name): return int(sys.argv[sys.argv.index(name) + 1])
assert (option("-c"), option("--size")) == (1, 64)
for _ in range(option("-t")):
    with socket.create_connection(("127.0.0.1", option("-p")), timeout=30) as connection:
        for _ in range(option("-e")):
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
print("Throughput: 1.00 [reqests/sec], errors: 0")
"""


class Program(unittest.TestCase):
    """The whole program, with a slow client of its own and the Python server of bench/peers."""

    def setUp(self):
        # One test at a time: of two measurements on a machine, the second waits.
        lock = open(ROOT / "benchmark.sh")
        self.addCleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.build = pathlib.Path(folder.name)
        self.client = self.build / "src/client/echo_bench"
        self.client.parent.mkdir(parents=True)
        self.client.write_text(CLIENT)
        self.client.chmod(0o755)

    def run_it(self, *arguments):
        return subprocess.run(
            [sys.executable, str(PROGRAM), *map(str, arguments)],
            capture_output=True,
            env={**os.environ, "RINGLET_BUILD_DIR": str(self.build), "PYTHON3": sys.executable},
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    def test_compares_and_writes_json(self):
        answer = self.build / "answer.json"
        load = ["--pairs", 2, "--connections", 2, "--echoes", 50]
        ended = self.run_it("epoll_echo.py", "asyncio_echo.py", *load, "--json", answer)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(ended.stderr, "")
        self.assertRegex(ended.stdout, r"epoll_echo.py / asyncio_echo.py: median .* 95 % interval")
        written = json.loads(answer.read_text())
        self.assertEqual(len(written["cpu_nanoseconds_per_echo"]), 2)
        for pair in written["cpu_nanoseconds_per_echo"]:
            for nanoseconds in pair:
                self.assertTrue(100 < nanoseconds < 100e6, nanoseconds)

    def test_failures_are_one_clear_line(self):
        no_errors = CLIENT.replace("errors: 0", "errors: 3")
        for what, servers, client, status, line in (
            ("unknown", ("epoll_echo.py", "erlang"), CLIENT, UNAVAILABLE, "'erlang'"),
            ("not built", ("epoll_echo", "epoll_echo"), CLIENT, UNAVAILABLE, "bench/epoll_echo"),
            ("dies", ("false {port}", "epoll_echo.py"), CLIENT, UNAVAILABLE, "status 1"),
            ("errors", ("epoll_echo.py",) * 2, no_errors, UNAVAILABLE, "errors: 3"),
            ("one server", ("epoll_echo.py",), CLIENT, USAGE, "SERVER"),
        ):
            with self.subTest(what):
                self.client.write_text(client)
                ended = self.run_it(*servers, "--pairs", 1, "--connections", 1, "--echoes", 1)
                self.assertEqual(ended.returncode, status, ended.stderr)
                self.assertEqual(ended.stdout, "")
                self.assertEqual(len(ended.stderr.splitlines()), 1, ended.stderr)
                self.assertIn(line, ended.stderr)

    def test_missing_client_is_one_clear_line(self):
        self.client.unlink()
        ended = self.run_it("epoll_echo.py", "epoll_echo.py")
        self.assertEqual(ended.returncode, UNAVAILABLE)
        self.assertRegex(ended.stderr, r"\Aserver_cpu: .*echo_bench: No such file or directory\n\Z")


if __name__ == "__main__":
    unittest.main(verbosity=2 if sys.stdout.isatty() else 1)
