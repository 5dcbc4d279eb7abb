"""benchmark.sh tells the truth: no number without a whole run, nothing left behind.

Most tests give it a build directory of stand-ins, in which servers die and clients hang on demand.
Run one with   /usr/bin/python3 tests/bench/benchmark_test.py Rows.test_good_row
"""

import contextlib
import fcntl
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from programs import is_running, without_waiting

REAL_BUILD = pathlib.Path(os.environ.get("RINGLET_BUILD_DIR", ROOT / "build/release")).resolve()
CONGESTION_CONTROL = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
PORTS = {"libev": 3100, "echo_coro": 3200, "gevent2": 3250, "gevent3": 3300, "epoll3": 4000}
ROWS = (
    "libev epoll2 epoll3 twisted2 twisted3 asyncio_proto3 "  # no coroutine per connection
    "echo_coro gevent2 gevent3 tornado2 tornado3 tornado_async3 asyncio3"
).split()
FIELD_PORTS = {"libev_uring": 3015, "node": 3025, "st": 3075, "go": 3085}
FIELD = (
    "epoll uring libev_uring libuv node java pypy_epoll "  # no coroutine per connection
    "asio_epoll asio_uring tokio uvloop trio eventlet pypy_asyncio "  # coroutines
    "st fiber go erlang"  # light threads
).split()
PATIENCE_SECONDS = 60
USAGE, UNAVAILABLE = 64, 69

# A server that records its arguments, and echoes.
SERVER = f"""\
import os, pathlib, runpy, socket, sys
sys.argv[1:] = sys.argv[-1:]  # --port PORT, or PORT
probe = socket.socket()
pathlib.Path(__file__ + ".seen").write_text(repr(dict(
    pid=os.getpid(), cpus=sorted(os.sched_getaffinity(0)), flags=os.environ.get("LIBEV_FLAGS"),
    congestion=probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).strip(b"\\0"),
)))
sys.path.insert(0, {str(ROOT / "bench/peers")!r})
runpy.run_path({str(ROOT / "bench/peers/epoll_echo.py")!r})
"""

# A client that records its arguments, and sends the message once.
CLIENT = """\
import os, pathlib, socket, sys
arguments = sys.argv[1:]
pathlib.Path(__file__ + ".seen").write_text(repr(dict(
    pid=os.getpid(), cpus=sorted(os.sched_getaffinity(0)), arguments=arguments)))
port = int(arguments[arguments.index("-p") + 1])
message = pathlib.Path(arguments[arguments.index("-f") + 1]).read_bytes()
with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
    connection.sendall(message)
    received = b""
    while len(received) < len(message):
        chunk = connection.recv(65536)
        if not chunk:
            break
        received += chunk
errors = int(received != message)
print("latency: made up")
print(f"Throughput: 12345.67 [reqests/sec], errors: {errors}")
sys.exit(errors)
"""

GOOD_LINE = "Throughput: 12345.67 [reqests/sec], errors: 0"


def can_listen(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port_offset():
    for _ in range(1000):
        offset = random.randrange(3000, 25000)
        if all(can_listen(port + offset) for port in (PORTS | FIELD_PORTS).values()):
            return offset
    raise AssertionError("no free range of ports found")


def measure_alone(test):
    """One test at a time: a second measurement on the machine would wait."""
    lock = open(ROOT / "benchmark.sh")
    test.addCleanup(lock.close)
    fcntl.flock(lock, fcntl.LOCK_EX)


@contextlib.contextmanager
def no_measurement():
    """Waits until no measurement holds the lock that all of them take, and holds it: other tests measure, too."""
    with CONGESTION_CONTROL.open() as lock:
        deadline = time.monotonic() + 10 * PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AssertionError("waiting for the lock of the measurements") from None
                time.sleep(0.1)
        yield


def congestion_control():
    with no_measurement():
        return CONGESTION_CONTROL.read_text()


class Fixture(unittest.TestCase):
    def setUp(self):
        measure_alone(self)
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.build = pathlib.Path(scratch.name) / "build directory"  # the space is on purpose
        self.temporary = pathlib.Path(scratch.name) / "tmp"
        self.temporary.mkdir()
        self.offset = free_port_offset()
        self.environment = {
            **os.environ,
            "RINGLET_BUILD_DIR": str(self.build),
            "TMPDIR": str(self.temporary),
            "PYTHON2": "/bin/false",
        }
        self.server = self.program("bench/libev_echo", SERVER)
        self.coroutine_server = self.program("src/server/echo_coro", SERVER)
        self.client = self.program("src/client/echo_bench", CLIENT)

    def program(self, name, source):
        path = self.build / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/usr/bin/python3\n" + source)
        path.chmod(0o755)
        return path

    def seen(self, program):
        """Waits for what a stand-in recorded."""
        path = pathlib.Path(f"{program}.seen")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (path.exists() and path.read_text()):
            self.assertLess(time.monotonic(), deadline, f"waiting for {program.name} to start")
            time.sleep(0.01)
        return eval(path.read_text())  # our own repr

    def command(self, *options):
        return ["sh", str(ROOT / "benchmark.sh"), "--port-offset", str(self.offset),
                "--client-backend=io_uring", *options]  # fmt: skip

    def run_it(self, *options, command=None):
        with subprocess.Popen(
            command or self.command(*options),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            try:
                printed, said = running.communicate(timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                running.terminate()  # it stops its servers then
                self.fail(f"waiting for benchmark.sh {' '.join(options)} to end")
        ended = without_waiting(subprocess.CompletedProcess(running.args, running.returncode, printed, said))
        self.assertEqual(list(self.temporary.iterdir()), [], "temporary files were left")
        return ended

    def assert_row_failed(self, ended, why):
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertNotIn("Throughput", ended.stdout)
        self.assertRegex(ended.stdout, rf"(?m)^failed: .*{why}")


class Options(Fixture):
    def test_list_shows_every_row_in_order(self):
        self.offset = 0
        ended = self.run_it("--list")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        lines = [line.split(maxsplit=2) for line in ended.stdout.splitlines()[1:]]
        self.assertEqual([line[0] for line in lines], ROWS)
        shown = {name: int(port) for name, port, _ in lines}
        self.assertEqual({name: shown[name] for name in PORTS}, PORTS)

    def test_list_shows_the_field_after_the_others_when_asked(self):
        self.offset = 0
        lines = [line.split(maxsplit=2) for line in self.run_it("--list", "--field").stdout.splitlines()]
        self.assertEqual([line[0] for line in lines[1:]], [*ROWS, *FIELD])
        ports = [int(line[1]) for line in lines[1:]]
        self.assertEqual(len(ports), len(set(ports)), "two rows have one port")
        shown = dict(zip([*ROWS, *FIELD], ports))
        self.assertEqual({name: shown[name] for name in FIELD_PORTS}, FIELD_PORTS)

    def test_list_says_why_a_row_cannot_run(self):
        self.environment["PYTHON3"] = str(self.program("python3", NO_PACKAGES))
        self.server.unlink()
        with socket.create_server(("127.0.0.1", PORTS["echo_coro"] + self.offset)):
            lines = self.run_it("--list").stdout.splitlines()
        said = {line.split()[0]: line for line in lines}
        self.assertRegex(said["libev"], r" no: .*libev-dev")
        self.assertRegex(said["gevent2"], r" no: PYTHON2=/bin/false is no Python 2")
        self.assertRegex(said["gevent3"], r" no: .*python3-gevent")
        self.assertRegex(said["epoll3"], r" yes$")
        self.assertRegex(said["echo_coro"], r" no: another program listens on port \d+")

    def test_help_names_every_option(self):
        ended = self.run_it("--help")
        self.assertEqual(ended.returncode, 0)
        for option in (
            "--field --only --runs --full --client-options --time-limit --port-offset --list --help "
            "RINGLET_BUILD_DIR PYTHON2 PYTHON3"
        ).split():
            self.assertIn(option, ended.stdout)

    def test_unknown_row_is_a_usage_error(self):
        ended = self.run_it("--only", "libev,cobol")
        self.assertEqual(ended.returncode, USAGE)
        self.assertEqual(ended.stdout, "")
        self.assertIn("'cobol'", ended.stderr)
        self.assertIn("echo_coro", ended.stderr)

    def test_wrong_options_are_usage_errors(self):
        for options in (
            ["--quickly"],
            ["libev"],
            ["--only"],
            ["--runs", "0"],
            ["--runs", "many"],
            ["--runs="],
            ["--time-limit", "-1"],
            ["--port-offset", "99999"],
        ):
            with self.subTest(options=options):
                ended = self.run_it(*options)
                self.assertEqual(ended.returncode, USAGE, ended.stderr)
                self.assertEqual(ended.stdout, "")
                self.assertEqual(len(ended.stderr.splitlines()), 1)

    def test_missing_client_is_one_clear_line(self):
        self.client.unlink()
        ended = self.run_it("--only", "libev")
        self.assertEqual(ended.returncode, UNAVAILABLE)
        self.assertEqual(ended.stdout, "")
        self.assertIn("echo_bench", ended.stderr)


NO_PACKAGES = """\
import os, sys
os.execv("/usr/bin/python3", ["python3", "-S", *sys.argv[1:]])  # without site-packages
"""


class Rows(Fixture):
    def test_good_row(self):
        ended = self.run_it("--only", "libev", "--runs", "3")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        heading = f"./libev_echo {PORTS['libev'] + self.offset}\n"
        self.assertEqual(ended.stdout, heading + 3 * (GOOD_LINE + "\n") + "\n")

    def test_five_runs_by_default(self):
        ended = self.run_it("--only=libev")
        self.assertEqual(ended.stdout.count(GOOD_LINE), 5)

    def test_a_line_parts_callbacks_from_coroutines(self):
        ended = self.run_it("--only", "echo_coro,libev", "--runs=1")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertRegex(
            ended.stdout,
            r"\A\./libev_echo \d+\nThroughput: .*\n\n"
            r"The servers above create no coroutine .*\n\n"
            r"\./echo_coro --port \d+\nThroughput: .*\n\n\Z",
        )

    def test_a_server_is_gone_before_the_next_row(self):
        look = f"""\
pid = eval(pathlib.Path({f"{self.server}.seen"!r}).read_text())["pid"]
pathlib.Path(__file__ + ".running").write_text(str(os.path.exists(f"/proc/{{pid}}")))
sys.exit(errors)"""
        self.program("src/client/echo_bench", CLIENT.replace("sys.exit(errors)", look))
        for rows, running in (("libev", "True"), ("libev,echo_coro", "False")):
            self.run_it("--only", rows, "--runs", "1")
            self.assertEqual(pathlib.Path(f"{self.client}.running").read_text(), running)

    def test_python_row(self):
        ended = self.run_it("--only", "epoll3", "--runs", "1")
        port = PORTS["epoll3"] + self.offset
        self.assertEqual(ended.stdout, f"python3 epoll_echo.py {port}\n{GOOD_LINE}\n\n")

    def test_client_gets_the_load_that_was_asked_for(self):
        for options, load in (
            ([], "-t 100 -c 5 -e 200"),
            (["--full"], "-t 2000 -c 5 -e 1000"),
            (["--client-options", "-t 3 -e 7"], "-t 3 -e 7"),
        ):
            with self.subTest(options=options):
                self.run_it("--only", "libev", "--runs", "1", *options)
                port, message = str(PORTS["libev"] + self.offset), str(ROOT / "bench/message.json")
                self.assertEqual(
                    self.seen(self.client)["arguments"],
                    [*load.split(), "-f", message, "-p", port, "--backend", "io_uring", "127.0.0.1"],
                )

    def test_missing_package_is_said_and_the_run_goes_on(self):
        self.environment["PYTHON3"] = str(self.program("python3", NO_PACKAGES))
        ended = self.run_it("--only", "gevent2,gevent3,echo_coro", "--runs", "1")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertRegex(ended.stdout, r"(?m)^python2 gevent_echo.py \d+\nskipped: PYTHON2=/bin/false is no Python 2\n\n")
        self.assertRegex(ended.stdout, r"(?m)^python3 gevent_echo.py \d+\nskipped: .*python3-gev")
        self.assertEqual(ended.stdout.count(GOOD_LINE), 1)

    def test_rows_of_the_field_come_last_and_say_their_kind(self):
        self.program("bench/go_echo", SERVER)
        ended = self.run_it("--only", "go,libev_uring,echo_coro", "--runs", "1")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertRegex(
            ended.stdout,
            r"\AThe servers above create .*\n\n\./echo_coro --port \d+\nThroughput: .*\n\n"
            r"The field: no coroutine .*\n\nLIBEV_FLAGS=128 \./libev_echo \d+\nThroughput: .*\n\n"
            r"The field: one light thread .*\n\n\./go_echo \d+\nThroughput: .*\n\n\Z",
        )
        self.assertEqual(self.seen(self.server)["flags"], "128")

    def test_missing_package_of_the_field_is_said(self):
        tools = self.temporary.parent / "tools"  # all of the system's except Node
        tools.mkdir()
        for tool in pathlib.Path("/usr/bin").iterdir():
            if tool.name not in ("node", "nodejs"):
                (tools / tool.name).symlink_to(tool)
        self.environment["PATH"] = str(tools)
        ended = self.run_it("--only", "node,st", "--runs", "1")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertRegex(ended.stdout, r"(?m)^node node_echo.js \d+\nskipped: .*package nodejs\)\n\n")
        self.assertRegex(ended.stdout, r"(?m)^\./st_echo \d+\nskipped: .*package libst-dev\)\n\n")

    def test_runs_with_errors_are_shown_and_counted(self):
        nine = CLIENT.replace("errors: {errors}", "errors: 9").replace("exit(errors)", "exit(1)")
        self.program("src/client/echo_bench", nine)
        ended = self.run_it("--only", "libev,echo_coro", "--runs", "2")
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stdout.count("errors: 9\n"), 4)

    def test_server_that_dies_at_the_start_gives_no_number(self):
        self.program("bench/libev_echo", "import sys; sys.exit('no rings today')")
        ended = self.run_it("--only", "libev", "--runs", "1")
        self.assert_row_failed(ended, "the server ended with status 1: no rings today")

    def test_server_that_dies_midway_gives_no_number(self):
        """Its first run is good; the second kills it, although the client reports success."""
        kill_in_second_run = f"""\
import signal
runs = pathlib.Path(__file__ + ".runs")
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
if runs.read_text() == "xx":
    server = eval(pathlib.Path({f"{self.server}.seen"!r}).read_text())
    os.kill(server["pid"], signal.SIGKILL)
sys.exit(errors)"""
        killer = CLIENT.replace("sys.exit(errors)", kill_in_second_run)
        self.program("src/client/echo_bench", killer)
        ended = self.run_it("--only", "libev,echo_coro", "--runs", "3")
        self.assertEqual(ended.returncode, 1)
        libev, coroutine = re.split(r"(?m)^The servers above.*$", ended.stdout)
        self.assertNotIn("Throughput", libev)
        self.assertRegex(libev, r"(?m)^failed: run 2 of 3: the server ended with status 137")
        self.assertEqual(coroutine.count(GOOD_LINE), 3)  # the next row still ran

    def test_client_that_fails_gives_no_number(self):
        for what, source, why in (
            ("status", f"print('{GOOD_LINE}'); raise SystemExit(71)", "71"),
            ("message", "import sys; sys.exit('cannot connect')", "cannot connect"),
            ("no line", "print('done')", "no result"),
            ("not last", f"print('{GOOD_LINE}'); print('more')", "no result"),
            ("garbled", "print('Throughput: fast [reqests/sec], errors: 0')", "no result"),
            ("nothing", "", "no result"),
            ("hides errors", f"print('{GOOD_LINE[:-1]}7')", "status 0: .*errors: 7"),
            ("invents", f"print('{GOOD_LINE}'); raise SystemExit(1)", "status 1: .*errors: 0"),
            ("killed", "import os; os.kill(os.getpid(), 11)", "139"),
        ):
            with self.subTest(what):
                self.program("src/client/echo_bench", source)
                ended = self.run_it("--only", "libev", "--runs", "2")
                self.assertEqual(ended.returncode, 1, ended.stderr)
                self.assertNotRegex(ended.stdout, r"Throughput: \d")
                self.assertRegex(ended.stdout, rf"(?m)^failed: run 1 of 2: the client .*{why}")

    def test_client_that_hangs_is_stopped_at_the_time_limit(self):
        self.program("src/client/echo_bench", HANGING)
        ended = self.run_it("--only", "libev", "--runs", "1", "--time-limit", "5")
        self.assert_row_failed(ended, "did not end within 5 s")
        self.assertFalse(is_running(self.seen(self.client)["pid"]))


HANGING = """\
import os, pathlib, time
pathlib.Path(__file__ + ".seen").write_text(repr(dict(pid=os.getpid())))
time.sleep(1000)
"""


class Surroundings(Fixture):
    def test_stranger_on_the_port_is_refused(self):
        for address in ("127.0.0.1", "0.0.0.0"):
            with self.subTest(address=address):
                port = PORTS["libev"] + self.offset
                with socket.create_server((address, port)):
                    ended = self.run_it("--only", "libev,echo_coro", "--runs", "1")
                self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)
                self.assertEqual(ended.stdout, "")
                self.assertIn(f"{port} (libev)", ended.stderr)

    def test_stranger_on_an_ipv6_wildcard_is_refused(self):
        try:
            stranger = socket.create_server(
                ("::", PORTS["libev"] + self.offset), family=socket.AF_INET6, dualstack_ipv6=True
            )
        except (OSError, ValueError) as error:
            self.skipTest(f"no dual-stack IPv6 here: {error}")
        with stranger:
            ended = self.run_it("--only", "libev", "--runs", "1")
        self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)

    def test_stranger_that_comes_later_fails_the_row(self):
        """At its end, libev's client leaves another server on the port of echo_coro."""
        port = PORTS["echo_coro"] + self.offset
        stay = f"""\
port_free = str({port}) not in arguments
if port_free and os.fork() == 0:
    os.setsid()
    stranger = socket.create_server(("127.0.0.1", {port}))
    pathlib.Path(__file__ + ".stranger").write_text(str(os.getpid()))
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    import time
    time.sleep(1000)
while not pathlib.Path(__file__ + ".stranger").exists():
    pass
sys.exit(errors)"""
        self.program("src/client/echo_bench", CLIENT.replace("sys.exit(errors)", stay))
        try:
            ended = self.run_it("--only", "libev,echo_coro", "--runs", "1")
        finally:
            stranger = int(pathlib.Path(f"{self.client}.stranger").read_text())
            survived = is_running(stranger)
            os.kill(stranger, signal.SIGKILL)
        self.assertTrue(survived, "benchmark.sh ended a process that is not its own")
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertEqual(ended.stdout.count(GOOD_LINE), 1)
        self.assertRegex(ended.stdout, rf"(?m)^failed: another program listens on port {port}")

    def test_server_and_client_have_a_cpu_each(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("only one CPU is allowed here")
        self.run_it("--only", "libev", "--runs", "1")
        server, client = self.seen(self.server)["cpus"], self.seen(self.client)["cpus"]
        self.assertEqual((len(server), len(client)), (1, 1))
        self.assertNotEqual(server, client)
        self.assertLessEqual({*server, *client}, os.sched_getaffinity(0))

    def test_one_allowed_cpu_is_enough(self):
        cpu = max(os.sched_getaffinity(0))
        command = ["taskset", "-c", str(cpu), *self.command("--only", "libev", "--runs", "1")]
        ended = self.run_it(command=command)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(self.seen(self.server)["cpus"], [cpu])
        self.assertIn("not pinned", ended.stderr)

    def test_congestion_control_is_set_and_put_back(self):
        before = congestion_control()
        ended = self.run_it("--only", "libev", "--runs", "1")
        self.assertEqual(congestion_control(), before)
        used = self.seen(self.server)["congestion"].decode()
        self.assertRegex(ended.stderr, rf"(?m)^congestion +{used}\b")
        if os.access(CONGESTION_CONTROL, os.W_OK) and os.geteuid() == 0:
            self.assertIn(used, ("cubic", "reno"))

    def test_second_measurement_waits_for_the_first(self):
        with CONGESTION_CONTROL.open() as first:
            fcntl.flock(first, fcntl.LOCK_EX)
            second = subprocess.Popen(
                self.command("--only", "libev", "--runs", "1"),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.addCleanup(second.terminate)
            said = second.stderr.readline()
            self.assertIn("waiting for another measurement", said)
            time.sleep(1)  # time for a server that must not start
            self.assertFalse(pathlib.Path(f"{self.server}.seen").exists())
        printed, _ = second.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual(printed.count(GOOD_LINE), 1)

    def test_servers_do_not_keep_others_waiting(self):
        """A process that a measurement leaves running, here a server's daemon, does not hold the lock."""
        daemon = """\
import os, pathlib, time
child = os.fork()
if child == 0:
    time.sleep(1000)
pathlib.Path(__file__ + ".daemon").write_text(str(child))
"""
        self.program("bench/libev_echo", daemon + SERVER)
        self.run_it("--only", "libev", "--runs", "1")
        child = int(pathlib.Path(f"{self.server}.daemon").read_text())
        self.addCleanup(os.kill, child, signal.SIGKILL)
        self.assertTrue(is_running(child))
        with no_measurement():
            pass

    def test_interrupt_leaves_nothing_behind(self):
        before = congestion_control()
        self.program("src/client/echo_bench", HANGING)
        for send, signal_number, status in (
            (os.kill, signal.SIGINT, 130),
            (os.killpg, signal.SIGINT, 130),  # as a terminal does on Ctrl-C
            (os.kill, signal.SIGTERM, 143),
        ):
            with self.subTest(send=send.__name__, signal=signal_number):
                for program in (self.server, self.client):
                    pathlib.Path(f"{program}.seen").unlink(missing_ok=True)
                running = subprocess.Popen(
                    self.command("--only", "libev", "--runs", "1"),
                    env=self.environment,
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                with running:
                    pids = self.seen(self.server)["pid"], self.seen(self.client)["pid"]
                    send(running.pid, signal_number)
                    try:
                        printed, _ = running.communicate(timeout=PATIENCE_SECONDS)
                    except subprocess.TimeoutExpired:
                        os.killpg(running.pid, signal.SIGKILL)
                        self.fail("waiting for benchmark.sh to stop")
                self.assertEqual(running.returncode, status)
                self.assertEqual([pid for pid in pids if is_running(pid)], [])
                self.assertNotIn("Throughput", printed)
                self.assertEqual(list(self.temporary.iterdir()), [])
                self.assertEqual(congestion_control(), before)

    def test_server_that_ignores_sigterm_is_stopped_all_the_same(self):
        ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        self.program("bench/libev_echo", ignore + SERVER)
        ended = self.run_it("--only", "libev", "--runs", "1")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertFalse(is_running(self.seen(self.server)["pid"]))


class RealPrograms(unittest.TestCase):
    def test_libev_and_echo_coro(self):
        for program in ("src/client/echo_bench", "src/server/echo_coro", "bench/libev_echo"):
            if not (REAL_BUILD / program).exists():
                self.skipTest(f"{REAL_BUILD / program} is not built")
        measure_alone(self)
        offset = free_port_offset()
        ended = subprocess.run(
            ["sh", str(ROOT / "benchmark.sh"), f"--port-offset={offset}", "--only=libev,echo_coro"]
            + ["--runs=2", "--client-backend=io_uring", "--client-options=-t 10 -c 2 -e 10"],
            capture_output=True,
            env={**os.environ, "RINGLET_BUILD_DIR": str(REAL_BUILD)},
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        lines = re.findall(r"(?m)^Throughput: [0-9.]+ \[reqests/sec\], errors: 0$", ended.stdout)
        self.assertEqual(len(lines), 4, ended.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2 if sys.stdout.isatty() else 1)
