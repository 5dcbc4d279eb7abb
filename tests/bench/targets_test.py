"""The table of targets reports what was measured, and nothing more.

Run one with   /usr/bin/python3 tests/bench/targets_test.py Verdicts.test_at_least
"""

import fcntl
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "bench/commands/targets"
PATIENCE_SECONDS = 120
FAILED, USAGE = 1, 64

sys.dont_write_bytecode = True
sys.path[:0] = [str(PROGRAM), str(ROOT / "bench/harness"), str(ROOT / "tests" / "support")]
import cost
import measuring
import table
import targets
from programs import stderr_on_a_terminal, without_waiting
from targets import Extent, Load, Measured, Target


class Pairs(unittest.TestCase):
    def test_difference_of_two_runs_has_no_connecting_in_it(self):
        def count(name, load, cpus):
            return 5000 + 17 * load.connections + 2 * load.echo_count

        per_echo = cost.per_echo(count, "echo_coro", Load(50, 1, 100), (None, None))
        self.assertEqual(per_echo, 2)

    def test_ratio_has_the_direction_of_its_name(self):
        costs = {"epoll_echo": 12.0, "echo_coro": 10.0, "uring_echo": 8.0}
        extent = Extent(10, False, (None, None), "io_uring")
        for first, second, ratio, anchor, ours in (
            ("epoll_echo", "echo_coro", 1.2, "epoll_echo 12", "10"),
            ("echo_coro", "uring_echo", 1.25, "uring_echo 8", "10"),
        ):
            told = targets.paired(extent, first, second, costs.get, lambda cost: f"{cost:.0f}")
            self.assertEqual((told.judged, told.anchor, told.ours), (ratio, anchor, ours))
            self.assertEqual((len(told.samples), told.too_little), (10, ""))


class Parsing(unittest.TestCase):
    def test_allocations(self):
        told = "==7==   total heap usage: 1,234,567 allocs, 12 frees, 99 bytes allocated\n"
        self.assertEqual(cost.read_memcheck(told), 1_234_567)
        with self.assertRaisesRegex(measuring.Failure, "counted nothing: killed"):
            cost.read_memcheck("hello\nkilled")

    def test_overflows(self):
        last = "echo_coro stopped\n9 system calls on io_uring, 8 completions, {}\n"
        for text, count in (
            ("7 overflows of the completion queue", 7),
            ("1 overflow of the completion queue", 1),
            ("12 completion queue overflows", 12),
            ("0 overflows of the completion queue", 0),
            ("0 pauses of accepting", 0),
        ):
            self.assertEqual(measuring.overflow_count(last.format(text)), count, text)

    def test_callgrind(self):
        told = "==7== \n==7== Events    : Ir\n==7== Collected : 123456\n==7== \n"
        self.assertEqual(targets.cost.read_callgrind(told), 123456)
        with self.assertRaisesRegex(measuring.Failure, "no such tool"):
            targets.cost.read_callgrind("valgrind: no such tool")

    def test_commands_with_options(self):
        polling = measuring.command_of("echo_coro --busy-poll 50us", 80)
        self.assertEqual(polling[1:], ["--port", "80", "--busy-poll", "50us"])
        self.assertEqual(measuring.command_of("uring_echo pool", 80)[1:], ["80", "pool"])


def target(required, at_least):
    return Target("name", "what", required, None, at_least, None, 1)


class Verdicts(unittest.TestCase):
    def test_at_least(self):
        for value, reached in ((1.06, "yes"), (1.05, "yes"), (1.0496, "yes"), (1.049, "no")):
            self.assertEqual(target(1.05, True).verdict(Measured(value, "")), reached, value)

    def test_at_most(self):
        for value, reached in ((0.07, "yes"), (0.08, "yes"), (0.0804, "yes"), (0.081, "no")):
            self.assertEqual(target(0.08, False).verdict(Measured(value, "")), reached, value)

    def test_too_little_is_no_measurement(self):
        few = Measured(5.0, "", too_little=targets.too_few(5))
        self.assertEqual(target(1, True).verdict(few), "not measured: 5 pairs are too few")
        self.assertEqual(targets.too_few(6), "")

    def test_table(self):
        measured = Measured(1.0234, "2.00 us", "c 2.05 us", (1.01, 1.03), is_ratio=True)
        whole = table.cells(target(1, True), measured, "yes")
        self.assertEqual(
            whole, ("what", "c 2.05 us", "2.00 us", "1.023", "1.010 to 1.030", ">= 1", "-", "yes")
        )
        nothing = table.cells(target(1_000_000, False), None, "not measured: why")
        self.assertEqual(
            nothing, ("what", "-", "-", "-", "-", "<= 1,000,000", "-", "not measured: why")
        )
        self.assertEqual(list(table.layout([("a", "bcd", "e"), ("fg", "h", "i")])), ["a   bcd  e", "fg  h    i"])

    def test_names_are_unique(self):
        names = [known.name for known in targets.TARGETS]
        self.assertEqual(len(set(names)), len(names))

    def test_idle_connections_are_held_until_receives_are_parked_and_counters_added_up(self):
        commands = []

        def client(command, *_):
            commands.append(command)
            return subprocess.CompletedProcess(command, 0, "--hold", "no result")

        with unittest.mock.patch.multiple(
            measuring, run_to_its_end=client, running_server=unittest.mock.MagicMock()
        ):
            for quick in (False, True):
                with self.assertRaisesRegex(measuring.Missing, "no result"):
                    cost.hold("echo_coro", 1000, (None, None), quick)
        times = [command[command.index("--hold-time") + 1] for command in commands if "--hold-time" in command]
        self.assertEqual(times, ["3s", "1s"])

    def test_time_left(self):
        left = measuring.TimeLeft("row", [60, 120, 240])
        self.assertIn("row 1 of 3, about 7 min", str(left))
        left.step()
        left.begin = time.monotonic() - 2 * 60  # it took twice as long as planned
        self.assertIn("row 2 of 3, about 12 min", str(left))


# A server that echoes and ends on SIGTERM; {wrong} is replaced by its fault.
SERVER = f"""\
#!{sys.executable}
import asyncio, os, pathlib, signal, sys
port = next(int(word) for word in sys.argv if word.isdigit())
async def serve():
    seen = 0
    async def echo(reader, writer):
        nonlocal seen
        seen += 1
        {{wrong}}
        while chunk := await reader.read(4096):
            writer.write(chunk)
        writer.close()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await asyncio.start_server(echo, "127.0.0.1", port)
    await over.wait()
asyncio.run(serve())
print("stopped\\n9 system calls, {{overflows}} overflows of the completion queue")
sys.exit({{status}})
"""

# A client that always makes five echoes, and fails unless it is given a backend.
CLIENT = f"""\
#!{sys.executable}
import socket, sys
backend = sys.argv[sys.argv.index("--backend") + 1]
errors = 0
for _ in range(5):
    with socket.create_connection(("127.0.0.1", int(sys.argv[sys.argv.index("-p") + 1]))) as connection:
        connection.settimeout(30)
        connection.sendall(b"x")
        try:
            errors += connection.recv(1) != b"x"
        except OSError:
            errors += 1
print(f"Throughput: 12.50 [reqests/sec], errors: {{errors}}")
sys.exit(errors > 0)
"""


class Program(unittest.TestCase):
    """The whole program, with its own small server and client."""

    def setUp(self):
        # One test at a time: a second measurement on the machine would wait.
        lock = open(ROOT / "benchmark.sh")
        self.addCleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.build = pathlib.Path(folder.name)
        self.plant("src/client/echo_bench", CLIENT)
        self.plant("bench/epoll_echo", self.server())
        self.plant("src/server/echo_coro", self.server())

    def server(self, wrong="pass", overflows=0, status=0):
        return SERVER.format(wrong=wrong, overflows=overflows, status=status)

    def plant(self, name, text):
        path = self.build / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run_it(self, *arguments):
        return without_waiting(subprocess.run(
            [sys.executable, "-B", str(PROGRAM), *map(str, arguments)],
            capture_output=True,
            env={**os.environ, "RINGLET_BUILD_DIR": str(self.build)},
            text=True,
            timeout=PATIENCE_SECONDS,
        ))

    def row(self, ended, what):
        rows = [line for line in ended.stdout.splitlines() if line.startswith(what)]
        self.assertEqual(len(rows), 1, ended.stdout + ended.stderr)
        return rows[0]

    def test_whole_row(self):
        answer = self.build / "answer.json"
        ended = self.run_it("--pairs", 6, "--only", "cpu_epoll_50", "--client-backend", "epoll", "--json", answer)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        row = self.row(ended, "CPU per echo, C epoll / ours, 50")
        self.assertRegex(row, r"epoll_echo [\d.]+ us +[\d.]+ us +[\d.]+ +[\d.]+ to [\d.]+ .*(yes|no)$")
        self.assertNotIn("Too little", ended.stdout)
        self.assertIn("; the client on epoll; 6 pairs", ended.stdout)
        told = json.loads(answer.read_text())
        self.assertEqual(told["client_backend"], "epoll")
        self.assertEqual([row["name"] for row in told["targets"]], ["cpu_epoll_50"])
        self.assertEqual(len(told["targets"][0]["samples"]), 6)

    def test_quick_says_that_it_is_too_little(self):
        ended = self.run_it("--quick", "--only", "round_trips", "--only", "cpu_epoll_500")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("Too little to say anything", ended.stdout)
        self.assertTrue(self.row(ended, "CPU per echo").endswith("not measured: 2 pairs are too few"))
        self.assertRegex(self.row(ended, "round trips"), r"not measured: .*/libev_echo: No such file")

    def test_broken_promises_fail_the_run_and_not_the_other_rows(self):
        worker = "pathlib.Path('/proc/self/comm').write_text('iou-wrk-123')"
        for what, server, line in (
            ("worker", self.server(worker), "echo_coro has a worker thread of io_uring: iou-wrk-123"),
            ("overflow", self.server(overflows=3), "completion queue overflow 3 times"),
            ("crash", self.server("seen > 3 and os.kill(os.getpid(), 11)"), "status -11 during a run"),
            ("bad end", self.server(status=7), "ended with status 7 by SIGTERM"),
            ("wrong echo", self.server("writer.write(b'y')"), "errors: 5"),
        ):
            with self.subTest(what):
                self.plant("src/server/echo_coro", server)
                ended = self.run_it("--quick", "--only", "cpu_epoll_50", "--only", "idle_bytes")
                self.assertEqual(ended.returncode, FAILED, ended.stdout)
                self.assertEqual(len(ended.stderr.splitlines()), 1, ended.stderr)
                self.assertIn(line, ended.stderr)
                self.assertIn("not measured", self.row(ended, "CPU per echo"))
                self.assertIn("no option --hold", self.row(ended, "user bytes per idle"))

    def test_idle_connections_are_asked_of_the_client(self):
        held = {"connections": 10_000, "last_echo_errors": 7, "server_user_bytes_per_connection": 300.4}
        holds = f"""\
import json, os, pathlib, sys
if "--help" in sys.argv:
    sys.exit(print("--hold N"))
if "--hold" in sys.argv:
    assert sys.argv[sys.argv.index("--sources") + 1] == "127.0.0.0/8"
    os.kill(int(sys.argv[sys.argv.index("--server-pid") + 1]), 0)
    path = pathlib.Path(sys.argv[sys.argv.index("--json") + 1])
    sys.exit(path.write_text(json.dumps({{"hold": {held!r}}})) and 0)
"""
        self.plant("src/client/echo_bench", CLIENT.replace("import socket, sys\n", holds + "import socket\n"))
        ended = self.run_it("--only", "idle_bytes", "--only", "idle_connections")
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertRegex(self.row(ended, "user bytes per idle"), r" 300 bytes .* yes$")
        self.assertRegex(self.row(ended, "idle connections held"), r" 9,993 .* no$")

    def test_a_terminal_sees_how_far_it_is(self):
        only = ["--only", "cpu_epoll_50", "--only", "cpu_epoll_500"]
        build = f"RINGLET_BUILD_DIR={self.build}"
        seen = stderr_on_a_terminal("env", build, sys.executable, "-B", PROGRAM, "--quick", *only)
        for words in (r"row 1 of 2, about \d+ min left\] pair 1 of 2: ", r"row 2 of 2, .* pair 2 of 2"):
            self.assertRegex(seen, words)
        self.assertTrue(seen.endswith("\r\033[K"), seen)

    def test_wrong_usage_is_one_clear_line(self):
        for arguments, line in ((("--only", "speed"), "no row is called 'speed'"), (("--pairs", "0"), "'0'")):
            ended = self.run_it(*arguments)
            self.assertEqual((ended.returncode, ended.stdout), (USAGE, ""))
            self.assertEqual(len(ended.stderr.splitlines()), 1, ended.stderr)
            self.assertIn(line, ended.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2 if sys.stdout.isatty() else 1)
