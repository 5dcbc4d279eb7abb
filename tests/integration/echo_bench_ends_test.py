"""How a run of echo_bench ends early: by a signal or because the server is gone, with a report of what was
measured until then."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from json_schema import complaints
from load_client import LAST_LINE, Client, bench
from programs import (ECHO_BENCH, HOST, PATIENCE_SECONDS, ROOT, UNAVAILABLE, EchoCoro, port_of_nobody, run,
                      wait_until)
from scripted_server import ScriptedServer

SCHEMA = json.loads((ROOT / "docs/guides/echo_bench.schema.json").read_text())


class Ends(Client):
    def setUp(self):
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        self.result = self.folder / "result.json"

    def start(self, port, *arguments, under=(), **options):
        """A client that keeps running, with a result file."""
        command = [*under, ECHO_BENCH, "-p", port, "--json", self.result, *arguments]
        client = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, **options)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        return client

    def waits_for(self, happened, client):
        wait_until(lambda: happened.is_set() or client.poll() is not None, "what the script says")
        self.assertTrue(happened.is_set(), client.poll() and client.stderr.read())

    def said(self, client):
        """Stdout and stderr of a client that ends."""
        return client.communicate(timeout=PATIENCE_SECONDS)

    def told(self):
        told = json.loads(self.result.read_text())
        self.assertEqual(list(complaints(told, SCHEMA)), [])
        return told


def echoes_until(happened, count):
    """A script that echoes, and signals when it has answered that many times."""
    answered = iter(range(count))

    def echo(connection, whole):
        while True:
            connection.sendall(whole())
            if next(answered, None) is None:
                happened.set()

    return echo


class Interrupted(Ends):
    def interrupts(self, signal_number, *load, rate=None):
        load = (*load, "--rate", rate) if rate else load
        happened = threading.Event()
        with ScriptedServer(echoes_until(happened, 30)) as server:
            client = self.start(server.port, "-t", 2, *load)
            self.waits_for(happened, client)
            client.send_signal(signal_number)
            stdout, stderr = self.said(client)
        self.assertEqual(client.returncode, -signal_number, stderr)
        self.assertRegex(stderr, rf"(?m)^echo_bench: interrupted by SIG{signal.Signals(signal_number).name[3:]} "
                         r"after \d+\.\d\d s: what is told was measured until then")
        self.assertRegex(stdout.splitlines()[-1], LAST_LINE)
        told = self.told()
        unfinished = told["total"]["unfinished"]
        self.assertRegex(stdout, rf"(?m)^Interrupted: after \d+\.\d\d s, {unfinished} request{'s' * (unfinished != 1)} "
                         r"unfinished, neither right nor errors$")
        for figures in (told["total"], *told["runs"]):
            self.assertIs(figures["interrupted"], True)
            self.assertGreaterEqual(figures["requests"], 28)
            self.assertEqual(figures["latency_us"]["samples"], figures["requests"])
            self.assertEqual((figures["errors"], figures["first_error"]), (0, ""))
            # With a rate, also requests that were due (the first at once) but not yet sent on a slow machine.
            due = figures["wall_s"] * rate + 1 - figures["requests"] if rate else 2
            self.assertLessEqual(figures["unfinished"], due)
        return told

    def test_by_either_signal_and_in_every_kind_of_run(self):
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            for load in (("--duration", "60min"), ("-c", 1, "-e", 1_000_000_000), ("-c", 1_000_000, "-e", 7),
                         ("--duration", "60min", "--churn")):
                with self.subTest(signal_number=signal_number, load=load):
                    self.interrupts(signal_number, *load)
            with self.subTest(signal_number=signal_number, rate=500):
                self.interrupts(signal_number, "--duration", "60min", rate=500)

    def test_what_a_silent_server_has_not_answered_is_told(self):
        """At 1,000 a second more and more requests are due, although both connections wait."""
        silent, gone = threading.Event(), threading.Event()

        def three(connection, whole):
            for _ in range(3):
                connection.sendall(whole())
            whole()
            silent.set()
            gone.wait(PATIENCE_SECONDS)

        for load, least in ((("--duration", "60min"), 1), (("--duration", "60min", "--rate", 1000), 100),
                            (("-c", 2, "-e", 500_000, "--rate", 1000), 100)):
            with self.subTest(load=load), ScriptedServer(three) as server:
                silent.clear(), gone.clear()
                client = self.start(server.port, "-t", 2, *load)
                self.waits_for(silent, client)
                gone.wait(0.3)
                client.send_signal(signal.SIGINT)
                self.said(client)
                gone.set()
                total = self.told()["total"]
                self.assertEqual((total["errors"], total["never_sent"]), (0, 0))
                self.assertGreaterEqual(total["unfinished"], least)

    def test_errors_before_it_stay_errors(self):
        """A connection that broke after one echo of three: only its missing echoes count as errors."""
        happened, first = threading.Event(), threading.Semaphore(1)

        def first_breaks(connection, whole):
            connection.sendall(whole())
            if first.acquire(blocking=False):
                return
            while True:
                connection.sendall(whole())
                happened.set()
                whole()

        with ScriptedServer(first_breaks) as server:
            client = self.start(server.port, "-t", 1, "-c", 1000, "-e", 3)
            self.waits_for(happened, client)
            wait_until(lambda: len(server.received) >= 4, "the next message")
            client.send_signal(signal.SIGTERM)
            _, stderr = self.said(client)
        self.assertEqual(client.returncode, -signal.SIGTERM)
        total = self.told()["total"]
        self.assertEqual((total["requests"], total["errors"], total["unfinished"]), (3, 2, 1))
        self.assertIn("echo_bench: 2 errors; the first: an echo: ", stderr)

    def test_during_the_warm_up(self):
        happened = threading.Event()
        self.result.write_text("what was there before")
        with ScriptedServer(echoes_until(happened, 30)) as server:
            client = self.start(server.port, "-t", 2, "--duration", "1s", "--warmup", "60min")
            self.waits_for(happened, client)
            client.send_signal(signal.SIGTERM)
            stdout, stderr = self.said(client)
        self.assertEqual((client.returncode, stdout), (-signal.SIGTERM, ""), stderr)
        self.assertEqual(stderr, "echo_bench: interrupted by SIGTERM before anything was measured\n")
        self.assertEqual(self.result.read_text(), "what was there before")

    def test_quiet(self):
        happened = threading.Event()
        with ScriptedServer(echoes_until(happened, 30)) as server:
            client = self.start(server.port, "-t", 2, "--duration", "60min", "--quiet")
            self.waits_for(happened, client)
            client.send_signal(signal.SIGINT)
            stdout, stderr = self.said(client)
        self.assertRegex(stdout, LAST_LINE.replace(r"\Z", r"\n\Z"))
        self.assertIn("interrupted by SIGINT", stderr)

    def test_signal_that_is_ignored_stays_ignored(self):
        """Like a background job of a shell without job control."""
        happened = threading.Event()
        with ScriptedServer(echoes_until(happened, 30)) as server:
            client = self.start(server.port, "-t", 1, "-c", 1, "-e", 1000,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
            self.waits_for(happened, client)
            client.send_signal(signal.SIGINT)
            _, stderr = self.said(client)
        self.assertEqual(client.returncode, 0, stderr)
        self.assertEqual((self.told()["total"]["requests"], self.told()["total"]["interrupted"]), (1000, False))

    def test_merged_results_say_so(self):
        whole = self.folder / "whole.json"
        happened = threading.Event()
        with ScriptedServer(echoes_until(threading.Event(), 1)) as server:
            self.ends(bench(server.port, "-t", 1, "--duration", "100ms", "--json", whole), 0, errors=0)
        load = json.loads(whole.read_text())["settings"]
        with ScriptedServer(echoes_until(happened, 30)) as server:
            client = self.start(server.port, "-t", 1, "--duration", "60min")
            self.waits_for(happened, client)
            client.send_signal(signal.SIGINT)
            self.said(client)
        told = self.told()
        told["settings"] = load
        self.result.write_text(json.dumps(told))
        both = self.folder / "both.json"
        merged = run(ECHO_BENCH, "merge", whole, self.result, "--json", both)
        self.assertEqual(merged.returncode, 0, merged.stderr)
        self.assertIn("Interrupted: 1 of 2 clients", merged.stdout)
        self.result.write_text(both.read_text())
        told = self.told()
        self.assertEqual([told["total"]["interrupted"], *(one["interrupted"] for one in told["runs"])],
                         [True, False, True])
        for one in told["runs"]:  # like an older echo_bench
            del one["interrupted"], one["gave_up"], one["unfinished"]
        self.result.write_text(json.dumps(told))
        merged = run(ECHO_BENCH, "merge", self.result)
        self.assertEqual((merged.returncode, "Interrupted" in merged.stdout), (0, False), merged.stderr)


class GivesUp(Ends):
    def test_nobody_is_there(self):
        """10^8 connections were planned."""
        port = self.enter(port_of_nobody())
        ended = bench(port, "-t", 100, "-c", 1_000_000, "-e", 3, "--give-up", 5, "--json", self.result)
        self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)
        self.assertRegex(ended.stderr, rf"\Aecho_bench: cannot connect to {HOST}:{port}: [^\n]+\n\Z")
        self.assertIn("Connections: 0 made, 500 failed\n", ended.stdout)
        self.assertRegex(ended.stdout.splitlines()[-1], r"errors: 1500\Z")
        self.assertFalse(self.result.exists())
        by_itself = bench(port, "-t", 1, "-c", 1_000_000)
        self.assertIn("Connections: 0 made, 1000 failed\n", by_itself.stdout)

    def test_server_that_dies(self):
        for load in (("-c", 1_000_000), ("--duration", "60min"), ("--duration", "60min", "--churn")):
            def dies(connection, whole):
                connection.sendall(whole())
                connection.sendall(whole())
                server.stop_listening()

            with self.subTest(load=load):
                server = ScriptedServer(dies)
                with server:
                    ended = bench(server.port, "-t", 1, "-e", 3, *load, "--give-up", 20, "--json", self.result)
                self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)
                self.assertRegex(ended.stderr, r"(?m)^echo_bench: gave up after \d+\.\d\d s: 20 connections of each "
                                 rf"coroutine in a row brought no echo from {HOST}:{server.port}; the last: connecting: "
                                 "Connection refused$")
                self.assertRegex(ended.stdout, r"(?m)^Gave up: after \d+\.\d\d s, 0 requests unfinished, neither right "
                                 "nor errors$")
                total = self.told()["total"]
                self.assertEqual((total["requests"], total["gave_up"], total["interrupted"]), (2, True, False))
                self.assertEqual((total["connections_made"], total["connections_failed"]), (1, 20))

    def test_server_that_accepts_and_does_nothing(self):
        """Like a proxy whose servers are gone."""
        with ScriptedServer(lambda connection, whole: None) as server:
            ended = bench(server.port, "-t", 2, "-c", 1_000_000, "--give-up", 10, "--json", self.result)
        self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)
        self.assertLessEqual(server.connection_count, 22)
        self.assertIn("the last: an echo: ", ended.stderr)

    def test_one_echo_is_hope(self):
        """One echo is a reason to continue: every fifth connection answers once."""
        def fifth(connection, whole):
            if server.connection_count % 5 == 0:
                connection.sendall(whole())

        with ScriptedServer(fifth) as server:
            ended = bench(server.port, "-t", 1, "-c", 50, "-e", 2, "--give-up", 5)
        self.ends(ended, 1, errors=90)

    def test_never(self):
        ended = bench(self.enter(port_of_nobody()), "-t", 1, "-c", 2500, "-e", 1, "--give-up", 0)
        self.assertIn("Connections: 0 made, 2500 failed\n", ended.stdout)


class FirstProcess(Ends):
    """The kernel discards a signal with default action to the first process of a container."""

    UNDER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")

    def setUp(self):
        super().setUp()
        tried = run(*self.UNDER, "true")
        if tried.returncode:
            self.skipTest(f"no namespace of our own here: {tried.stderr.strip()}")

    def first_process(self, client):
        """The first process there, as soon as it is echo_bench."""
        def find():
            children = pathlib.Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split()
            names = {int(pid): pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
            return next((pid for pid, name in names.items() if name == "echo_bench"), None)

        return wait_until(find, "unshare to start echo_bench")

    def test_ends_with_a_report(self):
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            happened = threading.Event()
            with self.subTest(signal_number), ScriptedServer(echoes_until(happened, 30)) as server:
                client = self.start(server.port, "-t", 2, "--duration", "60min", under=self.UNDER)
                self.waits_for(happened, client)
                os.kill(self.first_process(client), signal_number)
                stdout, stderr = self.said(client)
                self.assertEqual(client.returncode, 128 + signal_number, stderr)
                self.assertIn("interrupted by", stderr)
                self.assertTrue(self.told()["total"]["interrupted"])

    def test_ends_before_anything_runs(self):
        """It waits for a pipe to be opened at the other end."""
        os.mkfifo(self.result)
        client = self.start(1, "--duration", "60min", under=self.UNDER)
        first = self.first_process(client)
        handled = 1 << (signal.SIGTERM - 1)
        status = pathlib.Path(f"/proc/{first}/status")
        wait_until(lambda: int(re.search(r"SigCgt:\s(\w+)", status.read_text())[1], 16) & handled,
                   "the program to begin")
        os.kill(first, signal.SIGTERM)
        self.said(client)
        self.assertEqual(client.returncode, 128 + signal.SIGTERM)

    def test_held_connections(self):
        server = self.enter(EchoCoro())
        before = server.descriptor_count()
        client = self.start(server.port, "--hold", 50, "--hold-time", "60min", under=self.UNDER)
        wait_until(lambda: server.descriptor_count() >= before + 50, "50 connections to be held")
        os.kill(self.first_process(client), signal.SIGTERM)
        _, stderr = self.said(client)
        self.assertEqual(client.returncode, 128 + signal.SIGTERM, stderr)
        self.assertTrue(json.loads(self.result.read_text())["hold"]["interrupted"])


if __name__ == "__main__":
    unittest.main()
