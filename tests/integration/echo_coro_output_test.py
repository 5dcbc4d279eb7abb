"""What echo_coro prints, and what happens if its output is not read."""

import fcntl
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (BACKEND, ECHO_CORO, HOST, PATIENCE_SECONDS, UNAVAILABLE, UNWRITTEN, USAGE,
                      EchoCoro, listening_port, run, wait_until)

F_SETPIPE_SZ = 1031


class Words(unittest.TestCase):
    def test_version(self):
        ended = run(ECHO_CORO, "--version")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertRegex(ended.stdout, r"\Aecho_coro \d+\.\d+\.\d+\n\Z")

    def test_help_names_every_option(self):
        ended = run(ECHO_CORO, "--help")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        for word in ("--port", "--host", "--backend", "--workers", "--pin", "--max-connections", "--drain-timeout",
                     "--idle-timeout", "--busy-poll", "--quiet", "--help", "--version", "SIGTERM", "exit status"):
            self.assertIn(word, ended.stdout)

    def test_a_server_that_polls_serves(self):
        for value in ("auto", "0", "0us", "50us"):
            with self.subTest(value), EchoCoro("--busy-poll", value) as server:
                with server.connect() as one, server.connect() as other:
                    for number in range(100):
                        one.echoes(b"one %d" % number)
                        other.echoes(b"other %d" % number)
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)

    def test_first_line_tells_address_backend_and_limits(self):
        with EchoCoro("--max-connections", "7") as server:
            self.assertRegex(
                server.first_line,
                rf"\Aecho_coro listens on 127\.0\.0\.1:{server.port}, backend {BACKEND}[^,]*, 1 worker, "
                r"at most 7 connections \(\d+ descriptors\)\Z")

    def test_results_go_to_stdout_and_nothing_to_stderr(self):
        with EchoCoro() as server:
            with server.connect() as client:
                client.echoes()
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            self.assertEqual(server.said(), "")
            self.assertRegex(server.rest(),
                             r"\Aecho_coro stopped: 1 connections served, 0 cancelled.*\n"
                             rf"\d+ system calls on {BACKEND}, \d+ completions, 0 pauses.*\n\Z")

    def test_quiet_prints_nothing(self):
        with socket.create_server((HOST, 0)) as stranger:
            port = stranger.getsockname()[1]
            ended = run(ECHO_CORO, "--quiet", "--port", port)  # errors are still printed
            self.assertEqual((ended.returncode, ended.stdout), (UNAVAILABLE, ""))
            self.assertIn("in use", ended.stderr)
        server = subprocess.Popen([ECHO_CORO, "--quiet", "--port", "0"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_until(lambda: listening_port(server.pid), "a quiet echo_coro to listen")
            server.send_signal(signal.SIGTERM)
            self.assertEqual(server.communicate(timeout=PATIENCE_SECONDS), (b"", b""))
            self.assertEqual(server.returncode, 0)
        finally:
            server.kill()
            server.wait()


class Nobody(unittest.TestCase):
    """Its output is not read, or only later."""

    def start(self, *options, **streams):
        server = subprocess.Popen([ECHO_CORO, "--port", "0", *options],
                                  **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams})
        self.addCleanup(server.__exit__, None, None, None)
        self.addCleanup(server.kill)
        return server

    def port_of(self, server):
        return int(re.match(rb"echo_coro listens on [^ ]*:(\d+), ", server.stdout.readline())[1])

    def check_it_serves(self, port):
        with socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS) as client:
            client.sendall(b"still there")
            self.assertEqual(client.recv(100), b"still there")

    def test_stderr_is_full_or_closed(self):
        reading, closed = os.pipe()
        os.close(reading)
        self.addCleanup(os.close, closed)
        with open("/dev/full", "wb") as full:
            for stderr in (full, closed):
                with self.subTest(stderr):
                    server = self.start("--max-connections", "9000000", stderr=stderr)
                    self.check_it_serves(self.port_of(server))
                    server.send_signal(signal.SIGTERM)
                    server.communicate(timeout=PATIENCE_SECONDS)
                    self.assertEqual(server.returncode, 0)
                    ended = subprocess.run([ECHO_CORO, "--port"], stderr=stderr, timeout=PATIENCE_SECONDS)
                    self.assertEqual(ended.returncode, USAGE)

    def test_stdout_is_full(self):
        with open("/dev/full", "wb") as full:
            server = self.start(stdout=full)
            _, said = server.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual((server.returncode, said), (UNWRITTEN, b"echo_coro: the output could not be written\n"))

    def test_reader_of_stdout_has_gone(self):
        server = self.start()
        port = self.port_of(server)
        server.stdout.close()
        self.check_it_serves(port)
        server.send_signal(signal.SIGTERM)
        said = server.stderr.read()
        server.wait(PATIENCE_SECONDS)
        self.assertEqual((server.returncode, said), (UNWRITTEN, b"echo_coro: the output could not be written\n"))

    def test_signals_while_it_prints_its_end(self):
        server = self.start()
        self.port_of(server)  # it has been printed
        with open(f"/proc/{server.pid}/fd/1", "wb", buffering=0) as pipe:
            size = fcntl.fcntl(pipe, F_SETPIPE_SZ, 4096)
            pipe.write(bytes(size))  # so that printing has to wait
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: self.writes(server), "echo_coro to print")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            server.send_signal(number)
        printed, _ = server.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual(server.returncode, 0)
        self.assertIn(b"echo_coro stopped", printed)

    def writes(self, server):
        return "pipe_write" in pathlib.Path(f"/proc/{server.pid}/wchan").read_text()


if __name__ == "__main__":
    unittest.main()
