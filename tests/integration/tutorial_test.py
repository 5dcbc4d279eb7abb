"""Every program in docs/tutorial.md compiles, starts, and does what the page says."""

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BUILD, ROOT, Connection, HOST, Program, listening_port, wait_until

CXX = os.environ.get("RINGLET_CXX", "g++")
SANITIZE = os.environ.get("RINGLET_SANITIZE")


def steps():
    """{the heading of a step: its program}"""
    text = (ROOT / "docs/tutorial.md").read_text()
    return {heading: program for heading, program in re.findall(
        r"^## \d+\. (.*?)$.*?^```cpp\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)}


class Tutorial(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-tutorial-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def compile(self, heading):
        source, program = self.folder / "server.cpp", self.folder / "server"
        source.write_text(steps()[heading].replace(":3200", ":0"))
        sanitize = [f"-fsanitize={SANITIZE}"] if SANITIZE else []
        subprocess.run([CXX, "-std=c++20", "-Wall", "-Wextra", "-Werror", *sanitize, source,
                        "-I", ROOT / "src/runtime/include", BUILD / "src/runtime/libringlet.a", "-luring",
                        "-o", program], check=True, timeout=600)
        return program

    @contextlib.contextmanager
    def client_of(self, heading):
        """A connection to the server of that step."""
        with Program(self.compile(heading)) as server:
            port = wait_until(lambda: listening_port(server.pid), "a listening socket")
            with Connection(HOST, port) as client:
                yield client

    def receive(self, client, count):
        received = b""
        while len(received) < count:
            chunk = client.recv(count - len(received))
            self.assertTrue(chunk, f"only {received!r} came")
            received += chunk
        return received

    def assert_echoes(self, client):
        client.sendall(b"hello\n")
        self.assertEqual(self.receive(client, 6), b"hello\n")

    def test_there_are_five_steps(self):
        self.assertEqual(list(steps()), ["Echo", "A timeout", "A group", "A test", "A deployment"])

    def test_echo(self):
        with self.client_of("Echo") as client:
            self.assert_echoes(client)

    def test_timeout(self):
        with self.client_of("A timeout") as client:
            self.assert_echoes(client)
            begun = time.monotonic()
            self.assertEqual(self.receive(client, 9), b"too slow\n")
            self.assertGreater(time.monotonic() - begun, 2.9)
            self.assertEqual(client.recv(1), b"")

    def test_group(self):
        with self.client_of("A group") as client:
            client.sendall(b"hello\n")
            received = self.receive(client, 16) # the echo and two ticks, in any order
            self.assertEqual(sorted(received.splitlines()), [b"hello", b"tick", b"tick"])
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096): # late ticks, then the end
                pass

    def test_simulation(self):
        ended = subprocess.run([self.compile("A test")], capture_output=True, text=True, timeout=600,
                               check=False)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertTrue(ended.stdout.strip().endswith("all is well"), ended.stdout)

    def test_simulation_finds_the_mistake_that_the_page_names(self):
        right = steps()["A test"]
        wrong = right.replace("auto sent = co_await stream.send_all(*chunk);", "Result<void> sent;", 1)
        self.assertNotEqual(wrong, right)
        original, globals()["steps"] = steps, lambda: {"A test": wrong}
        self.addCleanup(globals().__setitem__, "steps", original)
        ended = subprocess.run([self.compile("A test")], capture_output=True, text=True, timeout=600,
                               check=False)
        self.assertEqual(ended.returncode, 1, ended.stdout + ended.stderr)
        self.assertRegex(ended.stdout, r"^seed \d+: bytes are missing")

    def test_deployment(self):
        with self.client_of("A deployment") as client:
            self.assert_echoes(client)


if __name__ == "__main__":
    unittest.main()
