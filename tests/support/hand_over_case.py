"""Base class for tests in which programs take over from one another."""

import contextlib
import pathlib
import tempfile
import unittest

from programs import ECHO_CORO, HOST, Connection, EchoCoro, Program


class HandOverCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-hand-over-")
        self.addCleanup(folder.cleanup)
        self.path = str(pathlib.Path(folder.name, "next.sock"))

    def server(self, *options, port=0):
        """Only the first server chooses its port; later ones get it, because the last --port counts."""
        address = ("--port", port) if port else ()
        server = EchoCoro("--hand-over", f"unix:{self.path}", *address, *options)
        server.expected_errors = r"(?s).*"
        return server

    def successor(self, port, *options):
        program = Program(ECHO_CORO, "--port", port, "--hand-over", f"unix:{self.path}", *options)
        program.expected_errors = r"(?s).*"
        return program

    @contextlib.contextmanager
    def stuck_client(self, port):
        """A client that does not read, so that its server drains for long."""
        with Connection(HOST, port) as client:
            client.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while True:
                    client.send(b"x" * 65536)
            yield
