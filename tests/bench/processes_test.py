"""Processes started by a measurement end with it, whatever signal comes, and whenever.

Run one with   /usr/bin/python3 tests/bench/processes_test.py Signals.test_while_a_process_is_started
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60

sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "bench/harness"), str(ROOT / "tests" / "support")]
import processes
from programs import is_running

# A program that starts another and prints its pid; a signal arrives at PLACE.
PROGRAM = f"""\
import os, signal, sys, time
sys.path.insert(0, {str(ROOT / "bench/harness")!r})
import processes
processes.STOP_SECONDS_LIMIT = 0.5

def strike():
    os.kill(PARENT, signal.NUMBER)
PARENT = os.getpid()
SLEEPER = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"]
processes.end_by_signals()
"""
WHILE_STARTING = """\
os.sched_setaffinity = lambda *_: strike()  # runs in the child, before it becomes the sleeper
processes.start(SLEEPER, 0)
print("went on")
"""
WHILE_STOPPING = """\
sleeper = processes.start(SLEEPER, None)
sleeper.terminate = strike  # instead of what asks it to end
try:
    time.sleep(0.5)
finally:
    processes.stop(sleeper)
    print("went on")
"""
WHILE_CLEANING_UP = """\
processes.start(SLEEPER, None)
try:
    strike()
    time.sleep(1000)
finally:
    strike()
    print("cleaned up")
"""


class Signals(unittest.TestCase):
    def strike(self, place, name, prepare=None):
        """Runs the program and returns its exit status; the sleeper must be gone."""
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM.replace("NUMBER", name) + place],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=prepare,
            text=True,
        ) as program:
            self.printed, self.said = program.communicate(timeout=PATIENCE_SECONDS)  # the sleeper's output too
        self.assertNotIn("went on", self.printed)
        for pid in filter(str.isdigit, self.printed.split()):
            self.assertFalse(is_running(pid), self.said)
        return program.returncode

    def test_while_a_process_is_started(self):
        self.assertEqual(self.strike(WHILE_STARTING, "SIGTERM"), 128 + signal.SIGTERM)
        self.assertEqual(self.strike(WHILE_STARTING, "SIGHUP"), 128 + signal.SIGHUP)

    def test_while_a_process_is_stopped(self):
        self.assertEqual(self.strike(WHILE_STOPPING, "SIGTERM"), 128 + signal.SIGTERM)

    def test_a_second_one_does_not_disturb_the_end(self):
        self.assertEqual(self.strike(WHILE_CLEANING_UP, "SIGTERM"), 128 + signal.SIGTERM)
        self.assertIn("cleaned up", self.printed)

    def test_interrupt_that_was_ignored_at_the_start(self):
        """As in a background job of a shell."""
        self.strike(WHILE_STARTING, "SIGINT", lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        self.assertIn("KeyboardInterrupt", self.said)

    def test_hangup_that_was_ignored_at_the_start_stays_so(self):
        program = PROGRAM.replace("NUMBER", "SIGHUP") + "strike()\n"
        ended = subprocess.run(["nohup", sys.executable, "-c", program], capture_output=True)
        self.assertEqual(ended.returncode, 0, ended.stderr)


class Stop(unittest.TestCase):
    def test_asks_twice_then_insists(self):
        """A process counts the requests to end, and ignores them."""
        count = """if True:
            import signal, time
            signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
            print("ready", flush=True)
            while True: time.sleep(1000)
        """
        process = processes.start([sys.executable, "-c", count], None, stdout=subprocess.PIPE, text=True)
        with process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            with unittest.mock.patch("processes.STOP_SECONDS_LIMIT", 0.5):
                processes.stop(process)
            self.assertEqual(process.stdout.read(), "asked\nasked\n")
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertNotIn(process, processes.started)

    def test_missing_program_is_one_line(self):
        with self.assertRaisesRegex(processes.Missing, r"^/nowhere: No such file or directory$"):
            processes.start(["/nowhere"], None)


class Listening(unittest.TestCase):
    def test_is_seen_without_a_connection(self):
        for address in ("127.0.0.1", "0.0.0.0"):
            with self.subTest(address), socket.create_server((address, 0)) as server:
                self.assertTrue(processes.is_listening(server.getsockname()[1]))
                server.setblocking(False)
                self.assertRaises(BlockingIOError, server.accept)

    def test_who_only_has_the_port_does_not_listen(self):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            self.assertFalse(processes.is_listening(bound.getsockname()[1]))

    def test_another_address_is_another_server(self):
        with socket.create_server(("127.0.0.2", 0)) as server:
            self.assertFalse(processes.is_listening(server.getsockname()[1]))


if __name__ == "__main__":
    unittest.main(verbosity=2 if sys.stdout.isatty() else 1)
