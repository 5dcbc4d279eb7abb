"""echo_bench from outside: it counts exactly, against correct and incorrect servers, and its last line
has the classic form."""

import json
import os
import pathlib
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (ECHO_BENCH, HOST, NO_HOST, NO_INPUT, PATIENCE_SECONDS, UNAVAILABLE, UNWRITTEN,
                      USAGE, EchoCoro, descriptor_limit, port_of_nobody, run, stderr_on_a_terminal)
from load_client import Client, bench
from scripted_server import MESSAGE_BYTES, ScriptedServer

class AgainstEchoCoro(Client):
    def setUp(self):
        self.server = self.enter(EchoCoro())
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))

    def test_last_line_and_status(self):
        ended = bench(self.server.port, "-t", 10, "-c", 2, "-e", 20, HOST)
        self.ends(ended, 0, errors=0)
        # On a busy machine a run may take long enough to warn that the client was the limit.
        self.assertRegex(ended.stderr, r"\A(echo_bench: the client used [^\n]+\n)?\Z")
        self.assertIn("20 made, 0 failed", ended.stdout)

    def test_quiet_prints_the_last_line_alone(self):
        ended = bench(self.server.port, "--quiet", "-t", 2, "-c", 2, "-e", 20, HOST)
        self.ends(ended, 0, errors=0)
        self.assertEqual(ended.stdout.count("\n"), 1, ended.stdout)

    def test_classic_letters(self):
        message = self.folder / "data.json"
        message.write_text('{"a": 1}\n')
        self.ends(bench(self.server.port, "-t3", "-c2", "-e4", f"-f{message}", HOST), 0, errors=0)

    def test_many_coroutines(self):
        ended = bench(self.server.port, "-t", 500, "-c", 2, "-e", 5)
        self.ends(ended, 0, errors=0)
        self.assertIn("1000 made", ended.stdout)

    def test_message_larger_than_all_buffers(self):
        self.ends(bench(self.server.port, "-t", 2, "-c", 1, "-e", 2, "--size", 5_000_000), 0,
                  errors=0)

    def test_pipeline(self):
        self.ends(bench(self.server.port, "-t", 3, "-c", 2, "-e", 50, "--pipeline", 16), 0,
                  errors=0)

    def test_host_by_name_and_ipv6(self):
        self.ends(bench(self.server.port, "-t", 1, "-c", 1, "-e", 1, "localhost"), 0, errors=0)
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest(f"no IPv6 on the loopback interface: {error}")
        with EchoCoro("--host", "::1") as server:
            self.ends(bench(server.port, "-t", 1, "-c", 1, "-e", 1, "::1"), 0, errors=0)

    def test_nobody_reads(self):
        reading, closed = os.pipe()
        os.close(reading)
        self.addCleanup(os.close, closed)
        command = [ECHO_BENCH, "-p", str(self.server.port), "-t", "2", "-c", "1", "-e", "1"]
        with open("/dev/full", "wb") as full:
            for nowhere in (full, closed):
                with self.subTest(nowhere):
                    ended = subprocess.run(command, stdout=nowhere, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS)
                    said = b"echo_bench: the output could not be written\n"
                    self.assertEqual((ended.returncode, ended.stderr), (UNWRITTEN, said))
                    for options, status in ((["-t", "none"], USAGE), (["-f", "/missing"], NO_INPUT)):
                        ended = subprocess.run([ECHO_BENCH, *options], stderr=nowhere, timeout=PATIENCE_SECONDS)
                        self.assertEqual(ended.returncode, status)

    def test_duration_ends_in_time(self):
        path = self.folder / "result.json"
        ended = bench(self.server.port, "-t", 5, "--duration", "2s", "--warmup", "1s",
                      "--json", path)
        self.ends(ended, 0, errors=0)
        told = json.loads(path.read_text())
        self.assertGreaterEqual(told["total"]["wall_s"], 2)
        self.assertLess(told["total"]["wall_s"], 10)
        self.assertGreater(told["total"]["requests"], 100)
        self.assertEqual((told["settings"]["duration_s"], told["settings"]["warmup_s"]), (2, 1))

    def test_progress_only_on_a_terminal(self):
        arguments = ("-p", self.server.port, "-t", 2, "--duration", "2s")
        piped = run(ECHO_BENCH, *arguments, "--progress")
        self.assertNotIn("echoes a second", piped.stderr)
        quiet = stderr_on_a_terminal(ECHO_BENCH, *arguments, "--no-progress")
        self.assertNotIn("echoes a second", quiet)
        shown = stderr_on_a_terminal(ECHO_BENCH, *arguments)
        self.assertRegex(shown, r"\d %, \d+ echoes a second, \d+ connections, 0 errors")


class AgainstScripts(Client):
    """Errors are exactly the requests whose echo was not whole and correct."""

    LOAD = ("-t", 4, "-c", 2, "-e", 5)  # 40 requests on 8 connections

    def test_counts_connections_and_bytes_exactly(self):
        def echo(connection, whole):
            while True:
                connection.sendall(whole())

        with ScriptedServer(echo, message_bytes=77) as server:
            with tempfile.NamedTemporaryFile() as file:
                message = bytes(range(77))
                file.write(message)
                file.flush()
                self.ends(bench(server.port, *self.LOAD, "-f", file.name), 0, errors=0)
        self.assertEqual(server.connection_count, 8)
        self.assertEqual(server.received, [message] * 40)

    def test_connections_of_a_coroutine_come_one_after_another(self):
        lock, now, most = threading.Lock(), 0, 0

        def echo(connection, whole):
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            try:
                for _ in range(5):
                    message = whole()
                    if len(server.received) % 5 == 0:
                        with lock:
                            now -= 1  # before the client can know and connect again
                    connection.sendall(message)
                whole()
            except EOFError:
                pass

        with ScriptedServer(echo) as server:
            self.ends(bench(server.port, "-t", 1, "-c", 10, "-e", 5), 0, errors=0)
        self.assertEqual((server.connection_count, most), (10, 1))

    def test_reply_in_pieces_is_a_success(self):
        def in_pieces(connection, whole):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                message = whole()
                for begin in range(0, MESSAGE_BYTES, 10):
                    connection.sendall(message[begin:begin + 10])

        with ScriptedServer(in_pieces) as server:
            self.ends(bench(server.port, *self.LOAD), 0, errors=0)

    def test_server_that_closes_early(self):
        def two_and_close(connection, whole):
            connection.sendall(whole())
            connection.sendall(whole())

        with ScriptedServer(two_and_close) as server:
            ended = bench(server.port, *self.LOAD)
        self.ends(ended, 1, errors=40 - 2 * 8)
        self.assertRegex(ended.stderr, r"\Aecho_bench: 24 errors; the first: an echo: .+\n\Z")

    def test_server_that_closes_at_once(self):
        with ScriptedServer(lambda connection, whole: None) as server:
            self.ends(bench(server.port, *self.LOAD), 1, errors=40)

    def test_server_that_resets(self):
        def reset(connection, whole):
            whole()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        with ScriptedServer(reset) as server:
            self.ends(bench(server.port, *self.LOAD), 1, errors=40)

    def test_wrong_bytes_of_the_right_length(self):
        """One wrong bit in the last byte of the third echo of each connection."""
        def third_is_wrong(connection, whole):
            connection.sendall(whole())
            connection.sendall(whole())
            message = whole()
            connection.sendall(message[:-1] + bytes([message[-1] ^ 1]))
            whole()

        with ScriptedServer(third_is_wrong) as server:
            ended = bench(server.port, *self.LOAD)
        self.ends(ended, 1, errors=40 - 2 * 8)
        self.assertIn("not what was sent", ended.stderr)

    def test_too_few_bytes_then_close(self):
        def short(connection, whole):
            connection.sendall(whole())
            connection.sendall(whole()[:-1])

        with ScriptedServer(short) as server:
            self.ends(bench(server.port, *self.LOAD), 1, errors=40 - 8)

    def test_too_many_bytes(self):
        """One extra byte shifts the next echo."""
        def long(connection, whole):
            connection.sendall(whole() + b"+")
            while True:
                connection.sendall(whole())

        with ScriptedServer(long) as server:
            self.ends(bench(server.port, *self.LOAD), 1, errors=40 - 8)

    def test_silent_server_is_not_waited_for_for_ever(self):
        def silent(connection, whole):
            connection.sendall(whole())
            while True:
                whole()

        with ScriptedServer(silent) as server:
            began = time.monotonic()
            ended = bench(server.port, *self.LOAD, "--timeout", "3s")
            self.assertLess(time.monotonic() - began, 30)
        self.ends(ended, 1, errors=40 - 8)

    def test_connect_without_an_answer_is_not_waited_for_for_ever(self):
        """A full backlog: the kernel drops SYNs, and the client's kernel retries."""
        with socket.create_server((HOST, 0), backlog=0) as listener:
            port = listener.getsockname()[1]
            for _ in range(5):
                waiting = self.enter(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((HOST, port))
            began = time.monotonic()
            ended = bench(port, "-t", 1, "-c", 1, "-e", 3, "--timeout", "300ms")
            self.assertLess(time.monotonic() - began, 15)
        self.ends(ended, UNAVAILABLE, errors=3)

    def test_duration_ends_in_time_beside_a_silent_server(self):
        def silent(_, whole):
            whole()
            whole()

        with ScriptedServer(silent) as server:
            began = time.monotonic()
            ended = bench(server.port, "-t", 2, "--duration", "2s", "--timeout", "3s")
            self.assertLess(time.monotonic() - began, 15)
        self.ends(ended, 1, errors=2)

    def test_server_that_refuses_after_some_connections(self):
        def once(connection, whole):
            server.stop_listening()
            for _ in range(5):
                connection.sendall(whole())

        with ScriptedServer(once) as server:
            ended = bench(server.port, "-t", 1, "-c", 4, "-e", 5)
        self.ends(ended, 1, errors=15)
        self.assertIn("1 made, 3 failed", ended.stdout)

    def test_nobody_listens(self):
        port = self.enter(port_of_nobody())
        ended = bench(port, *self.LOAD)
        self.ends(ended, UNAVAILABLE, errors=40)
        self.assertRegex(ended.stderr, rf"\Aecho_bench: .*{HOST}:{port}: .*echo_coro --port.*\n\Z")
        timed = bench(port, "-t", 2, "--duration", "1s")
        self.assertEqual(timed.returncode, UNAVAILABLE)
        self.assertRegex(timed.stdout.splitlines()[-1], r"\AThroughput: 0\.00 .*errors: [1-9]")

    def test_pipeline_really_has_that_many_in_flight(self):
        def eight_at_once(connection, whole):
            while True:
                connection.sendall(b"".join([whole() for _ in range(8)]))

        with ScriptedServer(eight_at_once) as server:
            self.ends(bench(server.port, "-t", 2, "-c", 1, "-e", 16, "--pipeline", 8), 0, errors=0)

    def test_rate_is_kept_and_a_stall_counts_for_all_that_were_due(self):
        """Half a second of silence at 100 requests a second: all 50 that were due are late, not just one."""
        def stalls_once(connection, whole):
            for number in range(100):
                message = whole()
                if number == 10:
                    select.select([], [], [], 0.5)
                connection.sendall(message)

        with ScriptedServer(stalls_once) as server, tempfile.NamedTemporaryFile() as file:
            ended = bench(server.port, "-t", 1, "-c", 1, "-e", 100, "--rate", 100,
                          "--json", file.name)
            told = json.load(file)["total"]
        self.ends(ended, 0, errors=0)
        self.assertGreaterEqual(told["wall_s"], 0.98)
        self.assertGreater(told["latency_us"]["p90"], 200_000)

    def test_rate_that_is_not_kept_is_told(self):
        def slow(connection, whole):
            for _ in range(10):
                message = whole()
                select.select([], [], [], 0.02)
                connection.sendall(message)

        with ScriptedServer(slow) as server:
            ended = bench(server.port, "-t", 1, "-c", 1, "-e", 10, "--rate", 10_000)
        self.ends(ended, 0, errors=0)
        self.assertRegex(ended.stderr, r"the rate was not kept: \d\d?\.\d\d of 10000\.00 a second")


class Refusals(Client):
    def test_bad_options(self):
        table = (
            (["-t", 0], "-t"), (["-t", -1], "-t"), (["-t", 1_000_001], "-t"), (["-t", "x"], "-t"),
            (["-t"], "-t"), (["-c", 0], "-c"), (["-e", 0], "-e"), (["-p", 0], "-p"),
            (["-p", 65536], "-p"), (["--size", 0], "--size"), (["--size", 1 << 40], "--size"),
            (["--size", 5, "-f", "x"], "--size"), (["--duration", "5"], "--duration"),
            (["--duration", "0s"], "--duration"), (["--duration", "1 week"], "--duration"),
            (["--timeout", "0s"], "--timeout"), (["--warmup", "-1s"], "--warmup"),
            (["--rate", -1], "--rate"), (["--rate", "fast"], "--rate"),
            (["--rate", "nan"], "--rate"), (["--rate", "-nan"], "--rate"), (["--rate", "inf"], "--rate"),
            (["--rate", 1e10], "--rate"),
            (["--pipeline", 0], "--pipeline"), (["--pipeline", 10_001], "--pipeline"),
            (["--pipeline", 10_000, "--size", 60_000_000], "--pipeline"),
            (["--churn"], "--duration"), (["--churn", "--duration", "1s", "--rate", 5], "--rate"),
            (["--churn", "--duration", "1s", "-c", 5], "-c"), (["--hold", 5, "--churn"], "--churn"),
            (["--hold", 5, "--hlog", "x"], "--hlog"),
            (["--no-such-option"], "--no-such-option"), ([HOST, "stray"], "stray"),
        )
        for arguments, named in table:
            with self.subTest(arguments=arguments):
                self.refuses(run(ECHO_BENCH, *arguments), USAGE, re.escape(named))

    def test_duration_without_a_number(self):
        port = self.enter(port_of_nobody())  # any run would end at once
        for option in ("--duration", "--timeout", "--warmup"):
            with self.subTest(option=option):
                ended = run(ECHO_BENCH, "-t", 1, "-c", 1, "-p", port, option, "s")
                self.refuses(ended, USAGE, option)

    def test_more_coroutines_than_descriptors(self):
        ended = run(ECHO_BENCH, "-t", 100, preexec_fn=descriptor_limit(64))
        self.refuses(ended, USAGE, "-t 100 .*64.*ulimit -n")

    def test_message_file(self):
        with tempfile.TemporaryDirectory() as folder:
            missing = pathlib.Path(folder) / "missing"
            self.refuses(run(ECHO_BENCH, "-f", missing), NO_INPUT, f"{missing}.*No such file")
            self.refuses(run(ECHO_BENCH, "-f", folder), NO_INPUT, folder)
            empty = pathlib.Path(folder) / "empty"
            empty.touch()
            self.refuses(run(ECHO_BENCH, "-f", empty), NO_INPUT, f"{empty} is empty")

    def test_unknown_host(self):
        self.refuses(run(ECHO_BENCH, "no-such-host.invalid"), NO_HOST, "unknown host")


class Words(unittest.TestCase):
    def test_version(self):
        ended = run(ECHO_BENCH, "--version")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertRegex(ended.stdout, r"\Aecho_bench \d+\.\d+\.\d+\n\Z")

    def test_help_names_every_option(self):
        ended = run(ECHO_BENCH, "--help")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        for word in ("-t", "-c", "-e", "-p", "-f", "--size", "--duration", "--rate", "--pipeline",
                     "--warmup", "--timeout", "--json", "--hgrm", "--hlog", "--churn",
                     "echo_bench merge", "--progress", "host", "--version",
                     "--hold", "--sources", "--hold-time", "--server-pid", "--give-up", "--workers",
                     "Throughput: N [reqests/sec], errors: N", "exit status"):
            self.assertIn(word, " ".join(ended.stdout.split()))
        for words, default in (("-t N", "100"), ("-p N", "3200"), ("--size N", "64"), ("--rate N", "0"),
                               ("host HOST", "127.0.0.1")):
            # CLI11 2.3 prints =100, and 2.4 [100].
            self.assertRegex(ended.stdout, rf"  {words}(={default}| \[{default}\]) ")
        for words in ("--json FILE ", "--hold N "):
            self.assertIn(f"  {words}", ended.stdout)
        self.assertNotRegex(ended.stdout, r"UINT|INT in|FLOAT|TEXT")

    def test_one_of_a_kind_has_no_plural(self):
        with ScriptedServer(lambda connection, whole: connection.sendall(whole())) as server:
            one = bench(server.port, "-t", 1, "-c", 1, "-e", 1, "--size", 64)
            two = bench(server.port, "-t", 1, "-c", 1, "-e", 2)
            timed = bench(server.port, "-t", 2, "-e", 1, "--duration", "50ms")
        self.assertIn("Load: 1 coroutine, 1 connection each, 1 echo of 64 bytes on each, to ", one.stdout)
        self.assertIn("; 1 sample, p50 needs 20\n", one.stdout)
        self.assertRegex(two.stderr, r"\Aecho_bench: 1 error; the first: ")
        self.assertIn("Load: 2 coroutines, as many connections as fit, 1 echo of 64 ", timed.stdout)


if __name__ == "__main__":
    unittest.main()
