"""echo_bench --rate with --duration: every request that was due is sent and counted, whatever the server does,
and a coroutine with nothing left to send stays quiet."""

import json
import pathlib
import select
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from json_schema import complaints
from load_client import Client, bench
from programs import ROOT, EchoCoro
from scripted_server import ScriptedServer

SCHEMA = json.loads((ROOT / "docs/guides/echo_bench.schema.json").read_text())


def pause(seconds):
    select.select([], [], [], seconds)


def echo(connection, whole):
    while True:
        connection.sendall(whole())


def slow_echo(connection, whole):
    while True:
        message = whole()
        pause(0.02)
        connection.sendall(message)


class OpenLoop(Client):
    def load(self, port, *arguments):
        """Returns the ended process, and the counts of all clients together."""
        path = pathlib.Path(self.enter(tempfile.TemporaryDirectory())) / "result.json"
        ended = bench(port, *arguments, "--json", path)
        told = json.loads(path.read_text())
        self.assertEqual(list(complaints(told, SCHEMA)), [])
        return ended, told["total"]

    def test_who_has_nothing_left_to_send_opens_no_connection(self):
        """Each coroutine is busy once; most of the second remains."""
        server = self.enter(EchoCoro())
        ended, total = self.load(server.port, "-t", 50, "-e", 1_000_000, "--rate", 50, "--duration", "1s")
        self.ends(ended, 0, errors=0)
        self.assertEqual((total["connections_made"], total["requests"]), (50, 50))
        self.assertGreaterEqual(total["wall_s"], 1)

    def test_who_has_sent_all_on_its_connection_and_nothing_is_left(self):
        with ScriptedServer(echo) as server:
            ended, total = self.load(server.port, "-t", 1, "-e", 8, "--rate", 16, "--duration", "500ms")
        self.ends(ended, 0, errors=0)
        self.assertEqual((total["connections_made"], server.connection_count), (1, 1))
        self.assertEqual((total["requests"], total["never_sent"]), (8, 0))
        self.assertGreaterEqual(total["wall_s"], 0.5)

    def test_what_was_due_during_a_stall_beyond_the_end_is_sent_and_counted(self):
        """50 are answered; the rest are due before the end at 1 s, and are answered after 1.5 s."""
        answers_again_at = None

        def stalls(connection, whole):
            nonlocal answers_again_at
            while True:
                message = whole()
                if len(server.received) > 50:
                    answers_again_at = answers_again_at or time.monotonic() + 1.5
                    pause(max(0, answers_again_at - time.monotonic()))
                connection.sendall(message)

        with ScriptedServer(stalls) as server:
            ended, total = self.load(server.port, "-t", 4, "-e", 1_000_000, "--rate", 200, "--duration", "1s")
        self.ends(ended, 0, errors=0)
        self.assertEqual((total["requests"], total["latency_us"]["samples"]), (200, 200))
        self.assertEqual((total["connections_made"], total["never_sent"]), (4, 0))
        self.assertGreater(total["latency_us"]["p50"], 499_000)
        self.assertGreaterEqual(total["wall_s"], 1.5)
        self.assertLess(total["throughput_per_s"], 134)
        self.assertIn("the rate was not kept", ended.stderr)

    def test_what_a_silent_server_left_unsent_is_told(self):
        def falls_silent(connection, whole):
            while True:
                message = whole()
                if len(server.received) <= 20:
                    connection.sendall(message)

        with ScriptedServer(falls_silent) as server:
            ended, total = self.load(server.port, "-t", 2, "-e", 1_000_000, "--rate", 128, "--duration", "500ms",
                                     "--timeout", "300ms")
        self.assertEqual(total["requests"] + total["errors"], 64)
        self.ends(ended, 1, errors=total["errors"])
        self.assertGreater(total["never_sent"], 0)
        self.assertLess(total["never_sent"], total["errors"])
        self.assertEqual(total["never_sent"], 64 - len(server.received))
        self.assertIn(f"\nNever sent: {total['never_sent']} of 64 requests that were due before the end; they are "
                      "errors\n", ended.stdout)

    def test_server_that_is_too_slow_is_left_when_its_time_is_up(self):
        """40 s of work; everything that is sent gets answered."""
        with ScriptedServer(slow_echo) as server:
            ended, total = self.load(server.port, "-t", 1, "-e", 1_000_000, "--rate", 10_000, "--duration", "200ms",
                                     "--timeout", "1s")
        self.assertEqual(total["requests"] + total["never_sent"], 2000)
        self.ends(ended, 1, errors=total["never_sent"])
        self.assertGreaterEqual(total["wall_s"], 1.2)
        self.assertRegex(ended.stderr, r"errors; the first: a request: it was due before the end, and no connection "
                                       r"was free for it\n\Z")

    def test_server_that_has_gone_is_not_waited_for(self):
        def once(connection, whole):
            server.stop_listening()
            for _ in range(10):
                connection.sendall(whole())

        with ScriptedServer(once) as server:
            began = time.monotonic()
            ended, total = self.load(server.port, "-t", 1, "-e", 1_000_000, "--rate", 100, "--duration", "300ms")
            self.assertLess(time.monotonic() - began, 25)  # 30 s is the timeout
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(total["requests"], 10)
        self.assertGreater(total["never_sent"], 0)

    def test_warm_up_ends_in_time(self):
        """Its requests would take the server 3 s, and its figures are discarded anyway."""
        with ScriptedServer(slow_echo) as server:
            ended, total = self.load(server.port, "-t", 1, "-e", 1_000_000, "--rate", 500, "--warmup", "300ms",
                                     "--duration", "200ms")
        self.ends(ended, 0, errors=0)
        self.assertEqual(total["requests"], 100)
        self.assertLessEqual(len(server.received), 100 + 16)


if __name__ == "__main__":
    unittest.main()
