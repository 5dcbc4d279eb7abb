"""echo_coro and echo_bench on Unix sockets."""

import errno
import os
import pathlib
import re
import socket
import stat
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ECHO_BENCH, ECHO_CORO, PATIENCE_SECONDS, Program, UNAVAILABLE, USAGE, run, wait_until


def echo_bench(*arguments):
    return subprocess.run([ECHO_BENCH, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


class UnixSockets(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-unix-")
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name, "echo.sock")

    def serve(self, address, *arguments):
        server = Program(ECHO_CORO, "--listen", address, "--drain-timeout", "2s", *arguments)
        self.assertIn(f"echo_coro listens on {address}, ", server.line())
        return server

    def talk(self, address):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.connect(address)
            client.sendall(b"hello")
            self.assertEqual(client.recv(100), b"hello")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(100), b"")

    def is_refused(self):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.path)) == errno.ECONNREFUSED

    def test_a_path_serves_and_is_gone_afterwards(self):
        with self.serve(f"unix:{self.path}") as server:
            self.assertTrue(stat.S_ISSOCK(self.path.stat().st_mode))
            self.talk(str(self.path))
            self.assertEqual(server.process.poll(), None)
        self.assertFalse(self.path.exists())

    def test_an_abstract_name_and_several_workers(self):
        name = f"ringlet-{os.getpid()}"
        with self.serve(f"unix:@{name}", "--workers", "2"):
            for _ in range(20):
                self.talk(f"\0{name}")

    def test_echo_bench_measures_it(self):
        with self.serve(f"unix:{self.path}", "--workers", "2") as server:
            said = echo_bench("-t", 20, "-c", 3, "-e", 50, f"unix:{self.path}")
            self.assertEqual(said.returncode, 0, said.stderr)
            self.assertRegex(said.stdout, r"Throughput: [\d.]+ \[reqests/sec\], errors: 0\n\Z")
            self.assertEqual(server.ends_by(15), 0)
            self.assertRegex(server.rest(), r"echo_coro stopped: 60 connections served")

    def test_what_a_killed_server_left_is_replaced_and_a_living_one_is_not(self):
        with self.serve(f"unix:{self.path}") as first:
            second = run(ECHO_CORO, "--listen", f"unix:{self.path}")
            self.assertEqual(second.returncode, UNAVAILABLE)
            self.assertRegex(second.stderr, r"cannot listen on unix:.*another server listens there")
            self.talk(str(self.path))
            first.process.kill()
            first.wait()
            self.assertTrue(self.path.exists())
            # The kernel takes a while to release what a ring held, which includes the listening socket.
            wait_until(self.is_refused, "the kernel to close what the killed server had")
            with self.serve(f"unix:{self.path}"):
                self.talk(str(self.path))
            first.process.returncode = 0  # on purpose

    def test_refusals_say_what_to_do(self):
        for address, status, text in ((f"unix:{self.path.parent}/none/x", None, "make its folder"),
                                      ("unix:", USAGE, "unix:PATH"), ("nonsense", USAGE, "unix:PATH"),
                                      (f"unix:{'x' * 200}", None, "File name too long")):
            said = run(ECHO_CORO, "--listen", address)
            self.assertNotEqual(said.returncode, 0)
            if status:
                self.assertEqual(said.returncode, status, said.stderr)
            self.assertIn(text, said.stderr)
        both = run(ECHO_CORO, "--listen", "127.0.0.1:0", "--port", "1")
        self.assertEqual(both.returncode, USAGE)
        nobody = echo_bench("-t", 1, f"unix:{self.path}")
        self.assertEqual(nobody.returncode, UNAVAILABLE)
        self.assertTrue(re.search(r"cannot connect to unix:.*No such file", nobody.stderr), nobody.stderr)


if __name__ == "__main__":
    unittest.main()
