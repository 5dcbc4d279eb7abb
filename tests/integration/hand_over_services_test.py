"""Metrics, the backdoor and socket files when a new echo_coro takes over."""

import contextlib
import os
import pathlib
import signal
import socket
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from hand_over_case import HandOverCase
from programs import ECHO_CORO, HOST, PATIENCE_SECONDS, UNAVAILABLE, Program, run, wait_until


class Services(HandOverCase):
    @staticmethod
    def connect_to(address):
        name = address.removeprefix("unix:")
        family, to = (socket.AF_UNIX, name) if name != address else (socket.AF_INET, (HOST, int(address.split(":")[1])))
        with contextlib.ExitStack() as unless_connected:
            connected = unless_connected.enter_context(socket.socket(family))
            connected.settimeout(PATIENCE_SECONDS)
            connected.connect(to)
            unless_connected.pop_all()
        return connected

    def ask_metrics(self, address, path="/metrics"):
        with self.connect_to(address) as asking:
            return self.ask_on(asking, path)

    @staticmethod
    def ask_on(asking, path):
        asking.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        asking.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: asking.recv(65536), b"")).decode()

    def ask_backdoor(self, path):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(PATIENCE_SECONDS)
            asking.connect(path)
            asking.sendall(b"stats\n")
            asking.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: asking.recv(65536), b"")).decode()

    def test_metrics_and_the_backdoor_are_the_new_ones_while_the_old_one_drains(self):
        """Their files stay when the old one ends."""
        folder = pathlib.Path(self.path).parent
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        door = str(folder / "door")
        for workers in (1, 2):
            for metrics in (f"{HOST}:{port}", f"unix:{folder}/metrics"):
                own = ("--metrics", metrics, "--backdoor", f"unix:{door}", "--workers", workers, "--drain-timeout", "60min")
                with self.subTest(workers=workers, metrics=metrics), self.server(*own) as old:
                    with self.stuck_client(old.port), self.successor(old.port, *own) as new:
                        self.assertIn(f"metrics on {metrics}", new.line())
                        wait_until(lambda: "drains" in old.said(), "the old one to drain")
                        for _ in range(20):
                            self.assertIn("ringlet_connections_accepted_total{worker=\"0\"} 0\n", self.ask_metrics(metrics))
                            self.assertIn("accepted=0 ", self.ask_backdoor(door))
                        wait_until(lambda: " 200 " in self.ask_metrics(metrics, "/readyz"), "the new one to be ready")
                        self.assertEqual(old.ends_by(signal.SIGTERM), 0)
                        self.ask_backdoor(door)
                        self.ask_metrics(metrics)
                        self.assertEqual(new.ends_by(signal.SIGTERM), 0)
                        self.assertEqual(os.listdir(folder), [])

    def test_health_checks_find_nothing(self):
        """Neither those that connect meanwhile, nor one that connected before and asks the draining program."""
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            metrics = f"{HOST}:{probe.getsockname()[1]}"
        for workers in (1, 2):
            own = ("--metrics", metrics, "--workers", workers, "--drain-timeout", "60min")
            with self.subTest(workers=workers), contextlib.ExitStack() as stack:
                last = stack.enter_context(self.server(*own))
                port, wrong, counts, over = last.port, [], [0], threading.Event()

                def check():
                    while not over.is_set():
                        try:
                            answer = self.ask_metrics(metrics, "/readyz")
                            counts[0] += 1
                            if not answer.startswith("HTTP/1.1 200 "):
                                wrong.append(answer)
                        except OSError as error:
                            wrong.append(repr(error))

                wait_until(lambda: " 200 OK" in self.ask_metrics(metrics, "/readyz"), "the first one to serve")
                checks = threading.Thread(target=check)
                checks.start()
                stack.callback(checks.join)
                stack.callback(over.set)
                for _ in range(8):
                    early = stack.enter_context(self.connect_to(metrics))
                    wait_until(lambda: self.ask_metrics(metrics, "/readyz"), "a client after it")
                    stack.enter_context(self.stuck_client(port))
                    new = stack.enter_context(self.successor(port, *own))
                    self.assertIn(f"{HOST}:{port}", new.line())
                    wait_until(lambda: "drains" in last.said(), "the old one to drain")
                    self.assertIn(" 200 OK\r\n", self.ask_on(early, "/readyz"))
                    seen = counts[0]
                    wait_until(lambda: counts[0] > seen + 10, "some checks more")
                    last = new
                over.set()
                checks.join()
                self.assertEqual(wrong, [])

    def test_where_nothing_can_be_handed_over(self):
        """The message names that address, not the one that clients connect to."""
        folder = pathlib.Path(self.path).parent
        (folder / "file").touch()
        with socket.socket(socket.AF_UNIX) as mute:
            mute.bind(str(folder / "mute"))
            mute.listen()
            for name, says in (("file", "is no socket"), ("missing/next", "No such file or directory: make its folder"),
                               ("mute", "does not answer as a server that hands over")):
                for workers in (1, 2):
                    with self.subTest(name, workers=workers):
                        at = f"unix:{folder}/{name}"
                        refused = run(ECHO_CORO, "--port", 0, "--workers", workers, "--hand-over", at)
                        self.assertEqual(refused.returncode, UNAVAILABLE)
                        self.assertEqual(refused.stdout, "")
                        self.assertRegex(refused.stderr, f"^echo_coro: hand-over: .*{at}.*\n$")
                        self.assertIn(says, refused.stderr)

    def test_who_does_not_answer_is_asked_again(self):
        """It has just handed over, or ended: in the end there is nobody to take over from."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.bind(self.path)
            asked.listen()
            with Program(ECHO_CORO, "--port", 0, "--hand-over", f"unix:{self.path}") as new:
                for _ in range(2):
                    asked.accept()[0].close()
                os.unlink(self.path)
                asked.close()
                self.assertIn("echo_coro listens on", new.line())

    def test_a_new_one_that_cannot_start_takes_no_file_away(self):
        folder = pathlib.Path(self.path).parent
        listens, door, metrics = (f"unix:{folder}/{name}" for name in ("listens", "door", "metrics"))
        for workers in (1, 2):
            own = ("--backdoor", door, "--hand-over", f"unix:{self.path}", "--workers", workers)
            good = ("--listen", listens, "--metrics", metrics)
            with self.subTest(workers=workers), Program(ECHO_CORO, *own, *good) as old:
                old.expected_errors = r"(?s).*"
                old.line()
                files = sorted(os.listdir(folder))
                self.assertEqual(len(files), 4)
                for wrong in (("--listen", f"{listens},203.0.113.9:1"),
                              ("--listen", listens, "--metrics", "203.0.113.9:1")):
                    refused = run(ECHO_CORO, *own, *wrong)
                    self.assertEqual(refused.returncode, UNAVAILABLE, refused.stderr)
                    self.assertEqual(sorted(os.listdir(folder)), files)
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(listens.removeprefix("unix:"))
                    client.sendall(b"x")
                    self.assertEqual(client.recv(1), b"x")
                self.ask_metrics(metrics)
                self.ask_backdoor(door.removeprefix("unix:"))
                self.assertEqual(old.ends_by(signal.SIGTERM), 0)
                self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main()
