"""echo_bench --workers: several threads share exactly one load, and produce one result."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hdr_histogram
from json_schema import complaints
from load_client import Client, bench
from programs import (ECHO_BENCH, HOST, PATIENCE_SECONDS, ROOT, UNAVAILABLE, USAGE, EchoCoro, port_of_nobody, run,
                      stderr_on_a_terminal, wait_until)
from scripted_server import ScriptedServer

SCHEMA = json.loads((ROOT / "docs/guides/echo_bench.schema.json").read_text())
SANITIZERS_OWN_THREADS = 1 if "thread" in os.environ.get("RINGLET_SANITIZE", "") else 0


def echo(connection, whole):
    while True:
        connection.sendall(whole())


class Workers(Client):
    def setUp(self):
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        self.result = self.folder / "result.json"

    def told(self):
        told = json.loads(self.result.read_text())
        self.assertEqual(list(complaints(told, SCHEMA)), [])
        return told

    def test_one_load_is_divided(self):
        for coroutines in (3, 10):
            with self.subTest(coroutines=coroutines), ScriptedServer(echo) as server:
                ended = bench(server.port, "--workers", 3, "-t", coroutines, "-c", 2, "-e", 20, "--json", self.result)
                self.ends(ended, 0, errors=0)
                self.assertIn(f"Load: 3 threads, {coroutines} coroutines, 2 connections each, ", ended.stdout)
                told = self.told()
                (one,) = told["runs"]
                self.assertEqual((told["settings"]["workers"], told["settings"]["coroutines"]), (3, coroutines))
                for figures in (told["total"], one):
                    self.assertEqual((figures["requests"], figures["connections_made"], figures["latency_us"]["samples"]),
                                     (40 * coroutines, 2 * coroutines, 40 * coroutines))
                self.assertEqual(sum(hdr_histogram.decode(one["latency_histogram"]).values()), 40 * coroutines)
                self.assertEqual(server.connection_count, 2 * coroutines)
                self.assertEqual(len(set(server.received)), 40 * coroutines)  # no message is sent twice

    def test_it_has_so_many_threads(self):
        server = self.enter(EchoCoro())
        client = subprocess.Popen([str(ECHO_BENCH), "-p", str(server.port), "--workers", "4", "-t", "8", "--duration", "60min"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)

        def threads():
            tasks = pathlib.Path(f"/proc/{client.pid}/task").iterdir()
            return [task for task in tasks if (task / "comm").read_text() == "echo_bench\n"]

        expected = 4 + SANITIZERS_OWN_THREADS
        wait_until(lambda: len(threads()) == expected, f"{expected} threads")

    def test_rate_is_that_of_all(self):
        """Every request of the schedule is sent once, by any worker."""
        for workers, rate in ((2, 1001), (3, 250)):
            with self.subTest(workers=workers, rate=rate), ScriptedServer(echo) as server:
                ended = bench(server.port, "--workers", workers, "-t", 12, "--duration", "2s", "--rate", rate, "--warmup",
                              "100ms", "--json", self.result)
                self.ends(ended, 0, errors=0)
                self.assertEqual(self.told()["total"]["requests"], 2 * rate)

    def test_errors_and_a_server_that_goes(self):
        def dies(connection, whole):
            connection.sendall(whole())
            with contextlib.suppress(OSError):  # the other has already
                server.stop_listening()

        with ScriptedServer(dies) as server:
            ended = bench(server.port, "--workers", 2, "-t", 2, "-e", 3, "-c", 1_000_000, "--give-up", 20, "--json",
                          self.result)
        self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)
        self.assertIn("echo_bench: gave up after ", ended.stderr)
        self.assertTrue(self.told()["total"]["gave_up"])

    def test_nobody_is_there(self):
        port = self.enter(port_of_nobody())
        for load, errors in ((("-c", 2, "-e", 5), 30), (("--warmup", "100ms", "-c", 2), None)):
            ended = bench(port, "--workers", 2, "-t", 3, *load)
            self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)
            self.assertRegex(ended.stderr, rf"\Aecho_bench: cannot connect to {HOST}:{port}: Connection refused\. [^\n]+\n\Z")
            if errors:
                self.ends(ended, UNAVAILABLE, errors)

    def test_interrupted(self):
        for load, has_result in ((("--duration", "60min"), True), (("-c", 1_000_000), True),
                                 (("--duration", "1s", "--warmup", "60min"), False)):
            with self.subTest(load=load):
                answered, lock, happened = [0], threading.Lock(), threading.Event()

                def counts(connection, whole):
                    while True:
                        connection.sendall(whole())
                        with lock:
                            answered[0] += 1
                            if answered[0] > 50:
                                happened.set()

                with ScriptedServer(counts) as server:
                    client = subprocess.Popen(
                        [str(word) for word in (ECHO_BENCH, "-p", server.port, "--workers", 3, "-t", 6, *load, "--json",
                                                self.result)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    self.addCleanup(client.communicate)
                    self.addCleanup(client.kill)
                    self.assertTrue(happened.wait(PATIENCE_SECONDS))
                    client.send_signal(signal.SIGTERM)
                    _, said = client.communicate(timeout=PATIENCE_SECONDS)
                self.assertEqual(client.returncode, -signal.SIGTERM, said)
                self.assertIn("interrupted by SIGTERM", said)
                self.assertEqual(self.result.exists(), has_result)
                if has_result:
                    total = self.told()["total"]
                    self.assertEqual((total["interrupted"], total["errors"]), (True, 0))
                    self.assertLessEqual(total["unfinished"], 6)
                    self.result.unlink()

    def test_progress_is_that_of_all(self):
        server = self.enter(EchoCoro())
        shown = stderr_on_a_terminal(ECHO_BENCH, "-p", server.port, "--workers", 2, "-t", 4, "--duration", "2s")
        self.assertRegex(shown, r"\d %, \d+ echoes a second, \d+ connections, 0 errors")

    def test_through_epoll_and_several_loops_say_one_thing(self):
        server = self.enter(EchoCoro())
        ended = bench(server.port, "--workers", 3, "-t", 3, "-c", 1, "-e", 5, "--backend", "epoll")
        self.ends(ended, 0, errors=0)

    def test_merged_only_with_its_kind(self):
        server = self.enter(EchoCoro())
        files = [self.folder / name for name in ("one", "two", "other")]
        for file, workers in zip(files, (1, 2, 2)):
            self.ends(bench(server.port, "--workers", workers, "-t", 2, "-c", 1, "-e", 5, "--json", file), 0, errors=0)
        for pair in (files[:2], files[1::-1]):
            merged = run(ECHO_BENCH, "merge", *pair)
            self.refuses(merged, 65, "results of different loads: workers: ")
        self.assertEqual(run(ECHO_BENCH, "merge", *files[1:]).returncode, 0)


class Refusals(Client):
    def test_bad_options(self):
        for arguments, named in ((["--workers", 0], "--workers"), (["--workers", 3, "-t", 2], "--workers 3 .*-t 2"),
                                 (["--workers", 1025], "--workers"), (["--hold", 5, "--workers", 2], "--workers")):
            with self.subTest(arguments=arguments):
                self.refuses(run(ECHO_BENCH, *arguments), USAGE, named)

    def test_limit_of_threads(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become a user that has no process yet")
        user = 20000 + os.getpid() % 40000

        def nobody_with_two_threads():
            os.setgid(user)
            resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
            os.setuid(user)

        server = self.enter(EchoCoro())
        with tempfile.TemporaryDirectory() as folder:
            reachable = pathlib.Path(folder) / "echo_bench"
            reachable.write_bytes(ECHO_BENCH.read_bytes())
            reachable.chmod(0o755)
            pathlib.Path(folder).chmod(0o755)
            ended = subprocess.run([reachable, "-p", str(server.port), "--workers", "4", "--backend", "epoll"],
                                   capture_output=True, text=True, preexec_fn=nobody_with_two_threads)
        self.assertEqual((ended.returncode, ended.stdout), (71, ""))
        self.assertRegex(ended.stderr, r"\Aecho_bench: cannot start thread [23] of 4: Resource temporarily unavailable: the "
                         r"limit of threads and processes is reached \(ulimit -u, [^\n]+\n\Z")


if __name__ == "__main__":
    unittest.main()
