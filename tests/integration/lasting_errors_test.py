"""Lasting errors: no accepting loop spins because of one, and none ends silently."""

import contextlib
import os
import pathlib
import platform
import socket
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import DENY, ECHO_BENCH, ECHO_CORO, PATIENCE_SECONDS, EchoCoro, run, wait_until

WATCHED_SECONDS = 1.0
BUSY_SHARE = 0.25  # of a core; a loop that spins takes all of it


@unittest.skipUnless(DENY.exists(), "tests/deny is not built")
class LastingErrors(unittest.TestCase):
    def test_accepting_is_refused_for_ever(self):
        """On epoll, where the call can be refused: a network error, which affects one client, and an unknown one."""
        for error in ("ECONNABORTED", "EIO"):
            for workers in (1, 2):
                with self.subTest(error, workers=workers), tempfile.TemporaryDirectory() as folder, \
                        contextlib.ExitStack() as stack:
                    places = {option: f"{folder}/{option}" for option in ("metrics", "backdoor", "hand-over")}
                    options = [word for option, path in places.items() for word in (f"--{option}", f"unix:{path}")]
                    server = stack.enter_context(EchoCoro("--backend", "epoll", "--workers", workers, *options,
                                                          under=[DENY, error, "accept4", "--"]))
                    server.expected_errors = r"(echo_coro: (accepting pauses: |clients that waited at ).*\n)*"
                    stack.enter_context(server.connect())
                    for path in places.values():
                        client = stack.enter_context(socket.socket(socket.AF_UNIX))
                        client.settimeout(PATIENCE_SECONDS)
                        client.connect(path)
                    wait_until(lambda: "accepting pauses" in server.said(), "it to say so")
                    time.sleep(0.3)
                    before = server.cpu_seconds()
                    time.sleep(WATCHED_SECONDS)
                    self.assertLess(server.cpu_seconds() - before, BUSY_SHARE * WATCHED_SECONDS)

    def test_the_limit_of_descriptors_is_not_told(self):
        """It is not mistaken for a limit of zero, or of one connection."""
        with EchoCoro(under=[DENY, "EPERM", "prlimit64", "--"]) as server:
            self.assertIn("at most 992 connections (1024 descriptors)", server.first_line)
            measured = run(DENY, "EPERM", "prlimit64", "--", ECHO_BENCH, "-p", server.port, "-t", 20, "-c", 2, "-e", 2)
            self.assertEqual((measured.returncode, measured.stderr), (0, ""))
            self.assertIn("errors: 0", measured.stdout)

    def test_waiting_is_refused_for_ever(self):
        """The server can do nothing more, and cannot tell its clients: it ends at once, and says why."""
        wait_calls = "epoll_pwait2,epoll_pwait" + (",epoll_wait" if platform.machine() == "x86_64" else "")
        ended = run(DENY, "EIO", wait_calls, "--", ECHO_CORO, "--port", 0, "--backend", "epoll",
                    env={**os.environ, "RINGLET_BACKEND": "epoll"})
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("the kernel refuses epoll_wait", ended.stderr)


if __name__ == "__main__":
    unittest.main()
