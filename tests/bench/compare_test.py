"""The comparison of two servers counts and judges correctly.

Run one with   /usr/bin/python3 tests/bench/compare_test.py Verdict.test_verdict
"""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "bench/commands/compare.py"
PATIENCE_SECONDS = 120
USAGE, UNAVAILABLE = 64, 69

sys.dont_write_bytecode = True
sys.path[:0] = [str(PROGRAM.parent), str(ROOT / "bench/harness")]
import cost
import measuring
import compare
from programs import without_waiting


class Verdict(unittest.TestCase):
    def test_verdict(self):
        names = ["old", "new"]
        self.assertIn("No difference", compare.verdict(names, 10, 0.99, 1.02))
        self.assertEqual(compare.verdict(names, 10, 1.01, 1.2), "new needs less CPU per echo.")
        self.assertEqual(compare.verdict(names, 10, 0.8, 0.99), "old needs less CPU per echo.")
        self.assertIn("Too few", compare.verdict(names, 5, 1.01, 1.2))

    def test_a_server_that_others_kept_from_its_cpu_is_told(self):
        self.assertEqual(compare.busy([0.01, 0.9, 0.02]), "")
        self.assertEqual(compare.busy([0.01, 0.9, 0.123]), "; waited for a CPU for 12% of the time")


class Counting(unittest.TestCase):
    def test_cpu_of_a_process_with_threads(self):
        """Two threads that each burn 0.2 s of CPU count as 0.4 s; sleeping counts as nothing."""
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
                while used < 0.35e9 or used != last:  # until both are done and sleep
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
        self.assertEqual(measuring.command_of("libev", 80), [str(measuring.BUILD / "bench/libev_echo"), "80"])
        self.assertEqual(measuring.command_of("gevent3", 80), measuring.command_of("gevent_echo.py", 80))
        self.assertEqual(measuring.command_of("libev_uring", 80)[:2], ["env", "LIBEV_FLAGS=128"])
        self.assertEqual(measuring.command_of("epoll_echo pool", 80)[1:], ["80", "pool"])
        with self.assertRaises(measuring.Failure):
            measuring.command_of("nobody", 80)


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
    """The whole program, with its own slow client and the Python server of bench/peers."""

    def setUp(self):
        # One test at a time: a second measurement on the machine would wait.
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
        return without_waiting(subprocess.run(
            [sys.executable, str(PROGRAM), *map(str, arguments)],
            capture_output=True,
            env={**os.environ, "RINGLET_BUILD_DIR": str(self.build), "PYTHON3": sys.executable},
            text=True,
            timeout=PATIENCE_SECONDS,
        ))

    def test_writes_json_to_stdout(self):
        load = ["--pairs", 2, "--connections", 2, "--echoes", 50, "--client-backend", "epoll"]
        ended = self.run_it("epoll_echo.py", "asyncio_echo.py", *load, "--json", "-")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(len(json.loads(ended.stdout)["comparisons"]), 1)
        self.assertIn("median", ended.stderr)
        self.assertFalse(pathlib.Path("-").exists())

    def test_compares_and_writes_json(self):
        answer = self.build / "answer.json"
        load = ["--pairs", 2, "--connections", 2, "--echoes", 50]
        ended = self.run_it("epoll_echo.py", "asyncio_echo.py", *load, "--json", answer)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(ended.stderr, "")
        self.assertRegex(ended.stdout, r"epoll_echo.py / asyncio_echo.py: median .* 95 % interval")
        both = json.loads(answer.read_text())["comparisons"]
        self.assertEqual([each["client_backend"] for each in both], ["io_uring", "epoll"])
        self.assertIn("the client on epoll\n", ended.stdout)
        written = both[0]
        self.assertEqual(len(written["cpu_nanoseconds_per_echo"]), 2)
        for pair in written["cpu_nanoseconds_per_echo"]:
            for nanoseconds in pair:
                self.assertTrue(100 < nanoseconds < 100e6, nanoseconds)

    @unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
    def test_the_client_speaks_tls_if_that_is_asked_for(self):
        built = pathlib.Path(os.environ["RINGLET_BUILD_DIR"])
        chain, key = self.build / "chain.pem", self.build / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                        key, "-out", chain, "-days", "1", "-subj", "/CN=localhost"], check=True, capture_output=True)  # fmt: skip
        self.build = built
        load = ["--pairs", 1, "--connections", 2, "--echoes", 50, "--client-backend", "io_uring"]
        servers = (f"echo_coro --tls-cert {chain} --tls-key {key}", f"tls_epoll_echo {chain} {key}")
        ended = self.run_it("--tls", *servers, *load)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertRegex(ended.stdout, r"median of the paired ratios \d+\.\d{3}")
        self.assertEqual(self.run_it(*servers, *load).returncode, UNAVAILABLE)

    def test_failures_are_one_clear_line(self):
        no_errors = CLIENT.replace("errors: 0", "errors: 3")
        for what, servers, client, status, line in (
            ("unknown", ("epoll_echo.py", "nobody"), CLIENT, UNAVAILABLE, "'nobody'"),
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
        self.assertRegex(ended.stderr, r"\Acompare: .*echo_bench: No such file or directory\n\Z")


if __name__ == "__main__":
    unittest.main(verbosity=2 if sys.stdout.isatty() else 1)
