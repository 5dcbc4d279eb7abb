"""What echo_coro logs: levels, formats, and what an operator must know of a server."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ECHO_CORO, USAGE, EchoCoro, descriptor_limit, run, wait_until

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class Logging(EchoCoro):
    """echo_coro whose log is read as JSON."""

    def __init__(self, *arguments, level="notice", **options):
        super().__init__("--log-format", "json", "--log-level", level, *arguments, **options)
        self.expected_errors = r"(?s).*"

    def lines(self):
        return [json.loads(line) for line in self.said().splitlines()]

    def with_message(self, beginning):
        return [line for line in self.lines() if line["message"].startswith(beginning)]

    def tells(self, beginning):
        return wait_until(lambda: self.with_message(beginning), f"a line of the log: {beginning}")


class Operator(unittest.TestCase):
    def test_begin_and_end(self):
        for workers in (1, 3):
            with self.subTest(workers=workers), Logging("--workers", workers, "--max-connections", 9) as server:
                with server.connect() as client:
                    client.echoes()
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                lines = server.lines()
                self.assertEqual([line["message"] for line in lines],
                                 ["listening", "stopping: accepting ends, connections may finish",
                                  "stopped, every connection had ended"])
                self.assertTrue(all(re.fullmatch(TIME, line["time"]) for line in lines))
                self.assertEqual({line["level"] for line in lines}, {"notice"})
                self.assertEqual(lines[0]["address"], f"127.0.0.1:{server.port}")
                self.assertEqual((lines[0]["workers"], lines[0]["max_connections"]), (workers, 9))
                self.assertEqual((lines[2]["served"], lines[2]["cancelled"]), (1, 0))

    def test_connections_that_are_cancelled(self):
        for workers in (1, 2):
            with self.subTest(workers=workers), Logging(
                    "--workers", workers, "--drain-timeout", "1s", "--drain-spread", "0s") as server:
                with server.connect() as client:
                    client.echoes()
                    self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                self.assertEqual(server.tells("stopped, some connections were cancelled")[0]["cancelled"], 1)

    def test_a_second_signal(self):
        with Logging("--drain-timeout", "1min") as server, server.connect() as client:
            client.echoes()
            server.process.send_signal(signal.SIGTERM)
            server.tells("stopping: ")
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            server.tells("stopping at once")

    def test_the_limit_of_connections_is_told_once_and_when_it_is_over(self):
        for workers in (1, 2):
            with self.subTest(workers=workers), contextlib.ExitStack() as stack:
                server = stack.enter_context(Logging("--workers", workers, "--max-connections", 2))
                first, second = (stack.enter_context(server.connect()) for _ in range(2))
                first.echoes()
                second.echoes()
                late = stack.enter_context(server.connect())
                self.assertEqual(server.tells("at the limit of connections")[0]["limit"], 2)
                self.assertEqual(server.with_message("below the limit"), [])
                first.close()
                late.echoes()
                over = server.tells("below the limit of connections again")
                self.assertGreaterEqual(over[0]["at_limit_ms"], 0)

    def test_a_crowd_at_the_limit_is_no_flood_of_lines(self):
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Logging("--max-connections", 32))
            served = [stack.enter_context(server.connect()) for _ in range(32)]
            for client in served:
                client.echoes()
            waiting = [stack.enter_context(server.connect()) for _ in range(32)]
            server.tells("at the limit of connections")
            for one, other in zip(served, waiting):  # its place is taken again at once
                one.close()
                other.echoes()
            self.assertEqual(server.with_message("below the limit"), [])
            for client in waiting:
                client.close()
            server.tells("below the limit of connections again")
            self.assertEqual(len(server.with_message("at the limit of connections")), 1)

    def test_accepting_pauses_and_goes_on(self):
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Logging(
                "--max-connections", 1000, preexec_fn=descriptor_limit(64),
                env={**os.environ, "RINGLET_WITHOUT": "direct_descriptors"}))
            clients = [stack.enter_context(server.connect()) for _ in range(80)]
            paused = server.tells("accepting pauses: Too many open files (raise 'ulimit -n'")
            self.assertEqual(paused[0]["level"], "warning")
            self.assertEqual(server.with_message("accepting goes on"), [])
            for client in clients[:60]:
                client.close()
            clients[-1].echoes()
            goes_on = server.tells("accepting goes on")
            self.assertEqual(goes_on[0]["level"], "notice")
            self.assertGreaterEqual(goes_on[0]["paused_ms"], 0)
            self.assertEqual(len(server.with_message("accepting pauses")), 1)

    def test_each_connection_for_debugging_only(self):
        for level in ("info", "debug"):
            with self.subTest(level), Logging(level=level) as server:
                peers = []
                for _ in range(12):  # more often than a message may repeat
                    with server.connect() as client:
                        client.echoes()
                        peers.append("%s:%d" % client.getsockname())
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                wanted = sorted(peers) if level == "debug" else []
                for message in ("connection begins", "connection ended"):
                    told = server.with_message(message)
                    self.assertEqual(sorted(line["peer"] for line in told), wanted)
                    self.assertTrue(all(line["level"] == "debug" for line in told))


class Lines(unittest.TestCase):
    def test_the_level_alone_keeps_lines_as_they_are(self):
        with EchoCoro("--log-level", "notice") as server:
            server.expected_errors = (r"echo_coro: listening address=127\.0\.0\.1:\d+ backend=\S+ workers=1 max_connections=\d+\n"
                                      r"echo_coro: stopping: accepting ends, connections may finish\n"
                                      r"echo_coro: stopped, every connection had ended served=0 failed=0 cancelled=0\n")

    def test_text_with_its_time(self):
        with EchoCoro("--log-level", "notice", "--log-format", "text") as server:
            server.expected_errors = rf"(?s){TIME} notice: listening address=.*\n{TIME} notice: stopping: .*\n"

    def test_logfmt_is_read_back(self):
        with EchoCoro("--log-level", "notice", "--log-format", "logfmt") as server:
            server.expected_errors = r"(?s).*"
            first = wait_until(server.said, "a line of the log").splitlines()[0]
            pairs = dict(word.split("=", 1) for word in shlex.split(first))
            self.assertRegex(pairs["time"], rf"\A{TIME}\Z")
            self.assertEqual((pairs["level"], pairs["message"]), ("notice", "listening"))

    def test_priorities_for_the_journal(self):
        """sd-daemon(3): only if stderr is the stream that the journal reads."""
        for is_it in (True, False):
            for form, begin in ((["--log-format", "text"], "listening address="), ([], "echo_coro: listening address="),
                                (["--log-format", "logfmt"], "level=notice message=listening "),
                                (["--log-format", "json"], '{"level":"notice","message":"listening",')):
                with self.subTest(is_it=is_it, form=form), self.journal() as (path, errors):
                    stream = os.fstat(errors)
                    environment = {**os.environ,
                                   "JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino + (not is_it)}"}
                    with EchoCoro("--log-level", "notice", *form, stderr=errors, env=environment):
                        pass
                    lines = path.read_text().splitlines()
                    self.assertEqual(lines[0].startswith("<5>" + begin), is_it, lines[0])
                    self.assertEqual(all(line.startswith("<5>") for line in lines), is_it)

    @contextlib.contextmanager
    def journal(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "journal"
            with open(path, "wb") as errors:
                yield path, errors.fileno()

    def test_bad_options(self):
        for option, value in (("--log-level", "loud"), ("--log-level", ""), ("--log-format", "xml")):
            with self.subTest(option=option, value=value):
                ended = run(ECHO_CORO, option, value)
                self.assertEqual((ended.returncode, ended.stdout), (USAGE, ""))
                self.assertRegex(ended.stderr, rf"\Aecho_coro: {option}.*\n\Z")


if __name__ == "__main__":
    unittest.main()
