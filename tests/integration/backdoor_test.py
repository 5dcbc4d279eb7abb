"""The backdoor of echo_coro: an operator queries and controls a running server through a Unix socket."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import stat
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import PATIENCE_SECONDS, EchoCoro, wait_until


class Backdoor(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "door"
        self.both = [("--workers", 1), ("--workers", 2)]

    def server(self, *options):
        server = EchoCoro("--backdoor", f"unix:{self.path}", *options)
        server.expected_errors = r"(?s).*"
        return server

    @contextlib.contextmanager
    def opened(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.connect(str(self.path))
            with client.makefile("rw", encoding="utf-8", newline="\n") as door:
                yield door

    def ask(self, *questions):
        """Sends commands and returns the last answer; each answer ends with an empty line."""
        with self.opened() as door:
            for question in questions:
                door.write(question + "\n")
                door.flush()
                lines = list(iter(door.readline, "\n"))
                self.assertTrue(all(line.endswith("\n") for line in lines), lines)
        return "".join(lines)

    def test_only_its_own_user_gets_in_and_it_goes_with_the_server(self):
        for workers in self.both:
            with self.subTest(workers), self.server(*workers) as server:
                mode = os.stat(self.path).st_mode
                self.assertTrue(stat.S_ISSOCK(mode))
                self.assertEqual(stat.S_IMODE(mode), 0o600)
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                self.assertFalse(self.path.exists())

    def test_help_and_what_it_does_not_know(self):
        with self.server():
            for question in ("help", ""):
                self.assertRegex(self.ask(question), r"(?s)tasks all.*cancel N.*log LEVEL")
            self.assertIn("write help", self.ask("open sesame"))
            self.assertIn("wants a number", self.ask("cancel me"))
            self.assertIn("no task has that number", self.ask("cancel 12345"))
            self.assertIn("tasks all", self.ask("nonsense", "help"))  # one by one

    def test_tasks(self):
        for workers in self.both:
            with self.subTest(workers), contextlib.ExitStack() as stack:
                server = stack.enter_context(self.server(*workers))
                clients = [stack.enter_context(server.connect()) for _ in range(40)]
                for client in clients:
                    client.echoes()
                self.assertRegex(self.ask("tasks"), r'(?m)^\d+ times task "echo" \(echo_coro\.cpp:\d+\) waits for ')

                def all_are_told():
                    told = self.ask("tasks all")
                    return all(re.search(r'(?m)^\d+ +task "echo" .* peer %s:%d, for ' % client.getsockname(), told)
                               for client in clients)

                wait_until(all_are_told, "a list that names every client")

    def test_stats(self):
        for workers in self.both:
            with self.subTest(workers), self.server(*workers) as server, server.connect() as client:
                client.echoes()
                told = self.ask("stats")
                self.assertEqual(sum(map(int, re.findall(r"\bconnections=(\d+) ", told))), 1)
                self.assertEqual(sum(map(int, re.findall(r"\baccepted=(\d+) ", told))), 1)
                self.assertEqual(re.findall(r"(?m)^worker (\d+):$", told), ["0", "1"] if workers[1] == 2 else [])

    def test_cancel_ends_one_connection_and_no_other(self):
        for workers in self.both:
            with self.subTest(workers), self.server(*workers) as server, server.connect() as one, \
                    server.connect() as other:
                one.echoes()
                other.echoes()
                line = r'(?m)^(\d+) +task "echo" .* peer %s:%d, for ' % one.getsockname()
                number = wait_until(lambda: re.search(line, self.ask("tasks all")), "the task of a client")[1]
                self.assertRegex(self.ask(f"cancel {number}"), r'cancelled: task "echo" \(echo_coro\.cpp:\d+\)\n\Z')
                self.assertEqual(one.receive_to_the_end(), b"")
                other.echoes()
                self.assertIn("no task has that number", self.ask(f"cancel {number}"))

    def test_the_level_of_the_log(self):
        with self.server() as server:
            with server.connect() as client:
                client.echoes()
            self.assertIn("write error, warning", self.ask("log loud"))
            self.assertEqual(server.said(), "")
            self.assertIn("debug from now on", self.ask("log debug"))
            with server.connect() as client:
                client.echoes()
                wait_until(lambda: "connection begins" in server.said(), "a line about a connection")

    def test_who_holds_it_open_holds_no_stop(self):
        for workers in self.both:
            with self.subTest(workers), self.server(*workers) as server, self.opened():
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)

    def test_a_line_without_end_ends_its_connection(self):
        with self.server() as server, self.opened() as door:
            door.write("x" * 5000)
            door.flush()
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(door.readline(), "")
            with server.connect() as client:
                client.echoes()
            self.assertIn("tasks all", self.ask("help"))

    def test_where_none_can_be_made_the_server_goes_without(self):
        with EchoCoro("--backdoor", f"unix:{self.path}/is/no/folder") as server, server.connect() as client:
            server.expected_errors = r"echo_coro: there is no backdoor: cannot listen on unix:.*\n"
            client.echoes()


if __name__ == "__main__":
    unittest.main()
