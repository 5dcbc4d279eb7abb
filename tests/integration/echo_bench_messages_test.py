"""echo_bench finds echoes that came back whole but in the wrong place: out of turn, or on another connection.
And --churn measures the cost of a whole connection."""

import json
import pathlib
import re
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from load_client import Client, bench
from programs import EchoCoro
from scripted_server import ScriptedServer


def numbers(message):
    """(connection, message) as encoded in the first 8 bytes, their bytes interleaved."""
    return (int.from_bytes(message[1:8:2], "little"), int.from_bytes(message[0:8:2], "little"))


def swap_two(connection, whole):
    """Echoes two pipelined messages, the second one first."""
    while True:
        first, second = whole(), whole()
        connection.sendall(second + first)


class Misplaced(Client):
    def finds(self, script, *load, size=64, errors, line):
        with ScriptedServer(script, message_bytes=size) as server:
            ended = bench(server.port, *load, "--size", size)
        self.ends(ended, 1, errors=errors)
        self.assertRegex(ended.stderr, line)
        counted = "1 error" if errors == 1 else f"{errors} errors"
        self.assertIn(f"echo_bench: {counted}; the first: an echo: the answer is not what was sent: ",
                      ended.stderr)

    def test_every_message_tells_which_it_is(self):
        def echo(connection, whole):
            while True:
                connection.sendall(whole() + whole() + whole())

        with ScriptedServer(echo, message_bytes=2500) as server:
            self.ends(bench(server.port, "-t", 2, "-c", 2, "-e", 300, "--pipeline", 3, "--size", 2500),
                      0, errors=0)
        expected = [(connection, message) for connection in range(1, 5) for message in range(1, 301)]
        for begin in (0, 1024, 2048):
            self.assertEqual(sorted(numbers(message[begin:]) for message in server.received), expected)
        rest = {message[8:1024] + message[1032:2048] + message[2056:] for message in server.received}
        self.assertEqual(len(rest), 1)

    def test_two_pipelined_echoes_that_are_swapped(self):
        self.finds(swap_two, "-t", 1, "-c", 1, "-e", 4, "--pipeline", 2, errors=4,
                   line=r"connection 1, message 1, byte 1 of 64: expected 0x01, got 0x02 "
                        r"\(it says that it is message 2 of connection 1\)\n\Z")

    def test_two_pipelined_echoes_that_are_swapped_of_any_size(self):
        for size in (1, 2, 3, 4, 7, 8, 9, 1023, 1025, 1031, 5000):
            with self.subTest(size=size):
                self.finds(swap_two, "-t", 1, "-c", 1, "-e", 2, "--pipeline", 2, size=size, errors=2,
                           line=rf"connection 1, message 1, byte 1 of {size}: expected 0x01, got 0x02")

    def test_late_in_the_run(self):
        def swap_the_last(connection, whole):
            for _ in range(299):
                connection.sendall(whole() + whole())
            first, second = whole(), whole()
            connection.sendall(second + first)
            whole()

        self.finds(swap_the_last, "-t", 1, "-c", 1, "-e", 600, "--pipeline", 2, errors=2,
                   line=r"connection 1, message 599, byte 1 of 64: expected 0x57, got 0x58 "
                        r"\(it says that it is message 600 of connection 1\)")

    def test_echo_on_the_wrong_connection(self):
        for size in (2, 3, 64, 2000):
            both, messages = threading.Barrier(2), {}

            def exchange(connection, whole):
                mine = threading.get_ident()
                messages[mine] = whole()
                both.wait(30)
                connection.sendall(next(messages[key] for key in messages if key != mine))
                whole()

            with self.subTest(size=size):
                self.finds(exchange, "-t", 2, "-c", 1, "-e", 3, size=size, errors=6,
                           line=rf"connection ([12]), message 1, byte 2 of {size}: expected 0x0\1, got "
                                r"0x0[12]" + (r" \(it says that it is message 1 of connection [12]\)"
                                              if size > 8 else ""))

    def test_echo_of_the_message_before(self):
        def one_late(connection, whole):
            message = whole()
            connection.sendall(message)
            while True:
                connection.sendall(message)
                message = whole()

        self.finds(one_late, "-t", 1, "-c", 1, "-e", 9, errors=8,
                   line=r"connection 1, message 2, byte 1 of 64: expected 0x02, got 0x01 ")

    def test_pieces_of_a_message_that_are_swapped(self):
        def pieces(connection, whole):
            message = whole()
            connection.sendall(message[1024:2048] + message[:1024] + message[2048:])
            whole()

        self.finds(pieces, "-t", 1, "-c", 1, "-e", 2, size=3000, errors=2,
                   line=r"connection 1, message 1, byte 9 of 3000: expected 0x")

    def test_only_the_second_piece_is_anothers(self):
        def mixed(connection, whole):
            first, second = whole(), whole()
            connection.sendall(first[:1024] + second[1024:] + second[:1024] + first[1024:])

        self.finds(mixed, "-t", 1, "-c", 1, "-e", 2, "--pipeline", 2, size=1500, errors=2,
                   line=r"message 1, byte 1025 of 1500: expected 0x01, got 0x02 \(it says that it is "
                        r"message 2 of connection 1\)")

    def test_one_wrong_byte_is_described(self):
        def flip(connection, whole):
            connection.sendall(whole())
            message = whole()
            connection.sendall(message[:40] + bytes([message[40] ^ 1]) + message[41:])
            whole()

        self.finds(flip, "-t", 1, "-c", 1, "-e", 3, errors=2,
                   line=r"connection 1, message 2, byte 41 of 64: expected 0x.., got 0x..\n\Z")


class Churn(Client):
    def setUp(self):
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))

    def churn(self, port, *arguments):
        path = self.folder / "result.json"
        ended = bench(port, "--churn", "--duration", "1s", *arguments, "--json", path)
        return ended, json.loads(path.read_text())

    def test_connections_are_counted_and_measured(self):
        server = self.enter(EchoCoro())
        ended, told = self.churn(server.port, "-t", 3, "-e", 5)
        self.ends(ended, 0, errors=0)
        total = told["total"]
        whole = total["connections_whole"]
        self.assertGreater(whole, 0)
        self.assertLessEqual(total["connections_made"] - whole, 3)  # cut off at the end of the run
        self.assertGreaterEqual(total["requests"], 5 * whole)
        self.assertLess(total["requests"], 5 * whole + 15)
        latency = total["connection_latency_us"]
        self.assertEqual(latency["samples"], whole)
        self.assertGreater(latency["mean"], 5 * total["latency_us"]["min"])
        self.assertAlmostEqual(total["connections_per_s"] * total["wall_s"], whole, delta=0.01)
        self.assertRegex(ended.stdout, r"\nConnect, echo and close \[us\]: min \d")
        printed = re.search(r"\nChurn: ([\d.]+) connections a second, (\d+) whole\n", ended.stdout)
        self.assertEqual(int(printed[2]), whole)
        self.assertAlmostEqual(float(printed[1]), total["connections_per_s"], delta=0.01)

    def test_one_echo_on_each_by_default(self):
        after_the_echo = []

        def once(connection, whole):
            connection.sendall(whole())
            after_the_echo.append(connection.recv(1))

        with ScriptedServer(once) as server:
            ended, told = self.churn(server.port, "-t", 2)
        self.ends(ended, 0, errors=0)
        self.assertEqual(told["settings"]["echoes_each"], 1)
        self.assertEqual(told["total"]["requests"], told["total"]["connections_whole"])
        self.assertEqual(told["total"]["requests"], len(server.received))
        self.assertGreater(len(server.received), 1)
        self.assertEqual(set(after_the_echo), {b""})  # the client closes

    def test_a_connection_that_fails_is_not_whole(self):
        with ScriptedServer(lambda connection, whole: whole()) as server:
            ended, told = self.churn(server.port, "-t", 2)
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(told["total"]["connections_whole"], 0)
        self.assertGreater(told["total"]["errors"], 0)
        self.assertEqual(told["total"]["connection_latency_us"], {"samples": 0})
        self.assertIn("Churn: 0.00 connections a second, 0 whole", ended.stdout)


if __name__ == "__main__":
    unittest.main()
