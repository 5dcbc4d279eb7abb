"""What benchmark.sh does when something is wrong: streams, loads, packages, Ctrl-C.

Run one with   /usr/bin/python3 tests/bench/benchmark_faults_test.py Streams.test_closed
"""

import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from benchmark_test import CLIENT, GOOD_LINE, HANGING, PATIENCE_SECONDS, ROOT, UNAVAILABLE, USAGE, Fixture

UNWRITTEN = 74


class Streams(Fixture):
    def with_stream(self, redirection, *options):
        command = ["sh", "-c", f'"$@" {redirection}', "sh", *self.command("--only", "libev", "--runs=1", *options)]
        return self.run_it(command=command)

    def test_closed(self):
        ended = self.with_stream("2>&-")
        self.assertEqual(ended.returncode, 0)
        self.assertEqual(ended.stdout.splitlines()[1:], [GOOD_LINE, ""], "the machine is in the log")
        ended = self.with_stream(">&-")
        self.assertEqual((ended.returncode, len(ended.stderr.splitlines())), (UNWRITTEN, 1), ended.stderr)
        self.assertEqual(self.with_stream("<&-").returncode, 0)

    def test_full(self):
        for options in ((), ("--list",)):
            ended = self.with_stream(">/dev/full", *options)
            self.assertEqual(ended.returncode, UNWRITTEN, ended.stderr)
            self.assertIn("benchmark: the output could not be written: No space left", ended.stderr)
            self.assertNotIn("Traceback", ended.stderr)
        ended = self.with_stream("2>/dev/full")
        self.assertEqual((ended.returncode, ended.stdout.count(GOOD_LINE)), (0, 1))


class Start(Fixture):
    def test_through_a_symbolic_link(self):
        link = self.build / "link"
        link.symlink_to(ROOT / "benchmark.sh")
        ended = self.run_it(command=["sh", str(link), "--list"])
        self.assertEqual(ended.returncode, 0, ended.stderr)

    def test_commands(self):
        for word, says in (("log", "usage: ./benchmark.sh"), ("field", "usage: ./benchmark.sh"), ("lab", "The ladder"),
                           ("compare", "two echo servers"), ("targets", "anchor"), ("report", "RESULTS.json")):  # fmt: skip
            with self.subTest(word):
                ended = self.run_it(command=["sh", str(ROOT / "benchmark.sh"), word, "--help"])
                self.assertEqual(ended.returncode, 0, ended.stderr)
                self.assertIn(says, ended.stdout)
        ended = self.run_it(command=self.command()[:2] + ["field", "--list"])
        self.assertIn("erlang", ended.stdout)


class Loads(Fixture):
    def test_bad_load_is_refused_before_the_first_row(self):
        refuses = "import sys; sys.stderr.write('echo_bench: -t: many is no number\\n'); sys.exit(64)"
        self.program("src/client/echo_bench", refuses)
        ended = self.run_it("--only", "libev,echo_coro", "--client-options", "-t many")
        self.assertEqual((ended.returncode, ended.stdout), (USAGE, ""))
        self.assertIn("the load '-t many' is refused: echo_bench: -t: many is no number", ended.stderr)
        self.assertFalse(pathlib.Path(f"{self.server}.seen").exists())

    def test_quotes_of_a_load_are_read(self):
        ended = self.run_it("--only", "libev", "--client-options", "-t 'open")
        self.assertEqual((ended.returncode, ended.stdout), (USAGE, ""))

    def test_message(self):
        mine = self.build / "my message.json"
        mine.write_text("{}")
        for options, message in (
            (["--message", str(mine)], mine),
            (["--client-options", f"-t 3 -f '{mine}'"], mine),
            (["--classic"], ROOT / "bench/classic_message.json"),
        ):
            with self.subTest(options):
                ended = self.run_it("--only", "libev", "--runs", "1", *options)
                self.assertEqual(ended.returncode, 0, ended.stderr)
                arguments = self.seen(self.client)["arguments"]
                self.assertEqual(arguments.count("-f"), 1)
                self.assertEqual(arguments[arguments.index("-f") + 1], str(message))

    def test_classic_load(self):
        self.run_it("--only", "libev", "--runs", "1", "--classic")
        self.assertEqual(self.seen(self.client)["arguments"][:6], "-t 5 -c 5 -e 1000".split())
        message = (ROOT / "bench/classic_message.json").read_bytes()
        self.assertEqual((len(message), message.count(b"\n")), (2954, 1))


class Runs(Fixture):
    def test_warnings_of_every_run_are_shown(self):
        warns = """\
count = pathlib.Path(__file__ + ".count")
count.write_text(count.read_text() + "x" if count.exists() else "x")
if count.read_text() != "xx":
    print("echo_bench: too busy,", len(count.read_text()), file=sys.stderr)
sys.exit(errors)"""
        self.program("src/client/echo_bench", CLIENT.replace("sys.exit(errors)", warns))
        ended = self.run_it("--only", "libev", "--runs", "3")
        self.assertIn("libev: run 1: echo_bench: too busy, 1", ended.stderr)
        self.assertIn("libev: run 3: echo_bench: too busy, 3", ended.stderr)

    def test_ctrl_c_keeps_the_finished_runs(self):
        waits = f"""\
count = pathlib.Path(__file__ + ".count")
count.write_text(count.read_text() + "x" if count.exists() else "x")
if count.read_text() == "xxx":
    pathlib.Path(__file__ + ".waits").write_text("now")
    import time
    time.sleep(1000)
sys.exit(errors)"""
        self.program("src/client/echo_bench", CLIENT.replace("sys.exit(errors)", waits))
        running = subprocess.Popen(self.command("--only", "libev,echo_coro"), env=self.environment, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        self.addCleanup(running.kill)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not pathlib.Path(f"{self.client}.waits").exists():
            self.assertLess(time.monotonic(), deadline, "waiting for the third run")
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        printed, _ = running.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual(running.returncode, 130)
        self.assertEqual(printed.splitlines()[1:], [GOOD_LINE, GOOD_LINE, "interrupted after 2 of 5 runs", ""])


class Backends(Fixture):
    def test_both_backends_of_the_client_by_default(self):
        command = [word for word in self.command("--only", "libev", "--runs", "1") if "backend" not in word]
        ended = self.run_it(command=command)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        first, second = ended.stdout.split("The same servers, with the client on epoll instead of io_uring.\n\n")
        self.assertEqual(first, second)
        self.assertEqual(self.seen(self.client)["arguments"][-2:], ["epoll", "127.0.0.1"])
        self.assertRegex(ended.stderr, r"(?m)^client +on io_uring, then on epoll")

    def test_backend_that_is_refused_is_left_out(self):
        refuses = "import sys\nif 'io_uring' in sys.argv: sys.exit('echo_bench: io_uring is refused') or sys.exit(69)\n"
        refuses = refuses.replace("sys.exit('echo_bench: io_uring is refused') or sys.exit(69)",
                                  "print('echo_bench: io_uring is refused', file=sys.stderr); sys.exit(69)")  # fmt: skip
        self.program("src/client/echo_bench", refuses + CLIENT)
        command = [word for word in self.command("--only", "libev", "--runs", "1") if "backend" not in word]
        ended = self.run_it(command=command)
        self.assertEqual((ended.returncode, ended.stdout.count(GOOD_LINE)), (0, 1), ended.stderr)
        self.assertIn("the client is not measured on io_uring: echo_bench: io_uring is refused", ended.stderr)

    def test_server_that_waits_for_a_cpu_is_told(self):
        sys.path.insert(0, str(ROOT / "bench/harness"))
        import cost

        burn = [sys.executable, "-c", "while True: pass"]
        cpu = min(os.sched_getaffinity(0))
        both = [subprocess.Popen(["taskset", "-c", str(cpu), *burn]) for _ in range(2)]
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while cost.run_delay_nanoseconds(both[0].pid) < 0.1e9:
                self.assertLess(time.monotonic(), deadline, "waiting for a process that waits for its CPU")
                time.sleep(0.05)
        finally:
            for process in both:
                process.kill()
                process.wait()


class Packages(Fixture):
    def test_package_that_is_there_by_half_is_skipped(self):
        half = self.build / "packages/gevent"
        half.mkdir(parents=True)
        (half / "__init__.py").write_text("")
        self.environment["PYTHONPATH"] = str(half.parent)
        ended = self.run_it("--only", "gevent3", "--runs", "1")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertRegex(ended.stdout, r"(?m)^skipped: Python 3 has no whole gevent .*python3-gevent\)$")

    def test_python2(self):
        old = "import os, sys\nos.execv('/bin/sh', ['sh', '-c', 'case $2 in *version_info*) exit 0;; esac; exit 1', 'x', *sys.argv[1:]])"
        self.environment["PYTHON2"] = str(self.program("python2", old))
        ended = self.run_it("--only", "gevent2,tornado2,twisted2", "--runs", "1")
        for package in ("gevent<23", "tornado<6", "Twisted<21"):
            self.assertIn(f"-m pip install '{package}')", ended.stdout)


if __name__ == "__main__":
    unittest.main()
