"""echo_coro on sockets opened by a service manager: by hand, and by systemd-socket-activate."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BACKEND, ECHO_CORO, HOST, PATIENCE_SECONDS, UNAVAILABLE, Program, wait_until
from service_manager import FIRST_DESCRIPTOR, echoes, given, listening, name_of

CLOSE_ON_EXEC = 0o2000000
GIVEN = " (given by the service manager), "


class GivenSockets(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-given-")
        self.addCleanup(folder.cleanup)
        self.path = f"{folder.name}/echo.sock"

    def opened(self, *addresses):
        sockets = [listening(address) for address in addresses or [(HOST, 0)]]
        for one in sockets:
            self.addCleanup(one.close)
        return sockets

    def says_they_are_given(self, server, sockets):
        names = ", ".join(map(name_of, sockets))
        self.assertIn(f"echo_coro listens on {names}{GIVEN}", server.line())

    def is_refused(self, program, text):
        with contextlib.closing(program.process.stdout), program.errors:
            self.assertEqual(program.wait("to refuse"), UNAVAILABLE, program.said())
            self.assertIn(text, program.said())


class ByHand(GivenSockets):
    def test_all_are_used_when_nobody_says_where_to_listen(self):
        sockets = self.opened((HOST, 0), self.path, "\0ringlet-given-%d" % os.getpid())
        with given(sockets) as server:
            self.says_they_are_given(server, sockets)
            for one in sockets:
                self.assertTrue(echoes(one.getsockname()))
        self.assertTrue(pathlib.Path(self.path).is_socket())  # not the server's to remove

    def test_by_name_and_by_number(self):
        sockets = self.opened((HOST, 0), (HOST, 0), (HOST, 0))
        for listen, used in (("fd:web", [0, 2]), ("fd:admin", [1]), ("fd:3", [0]), ("fd:5, fd:admin", [2, 1]),
                             ("fd:", [0, 1, 2])):
            with self.subTest(listen), given(sockets, "--listen", listen, names=("web", "admin", "web")) as server:
                self.says_they_are_given(server, [sockets[index] for index in used])
                for index in used:
                    self.assertTrue(echoes(sockets[index].getsockname()))

    def test_beside_an_address_of_its_own(self):
        one, = self.opened()
        with given([one], "--listen", f"fd:,unix:{self.path}") as server:
            server.line()
            self.assertTrue(echoes(one.getsockname()) and echoes(self.path))
        self.assertFalse(pathlib.Path(self.path).exists())

    def test_several_workers_share_them(self):
        sockets = self.opened((HOST, 0), self.path)
        with given(sockets, "--workers", 3) as server:
            self.says_they_are_given(server, sockets)
            for _ in range(40):
                for one in sockets:
                    self.assertTrue(echoes(one.getsockname()))

    def test_are_not_used_when_an_address_was_given(self):
        one, = self.opened()
        with given([one], "--port", "0") as server:
            self.assertNotIn(GIVEN, server.line())

    def test_are_closed_on_exec(self):
        one, = self.opened()
        with given([one]) as server:
            server.line()
            flags = pathlib.Path(f"/proc/{server.pid}/fdinfo/{FIRST_DESCRIPTOR}").read_text().split("flags:")[1]
            self.assertTrue(int(flags.split()[0], 8) & CLOSE_ON_EXEC)

    def test_refusals_say_what_there_is(self):
        sockets = self.opened((HOST, 0), (HOST, 0))
        self.is_refused(given(sockets, "--listen", "fd:web", names=("http", "admin")),
                        "fd:web: the service manager gave no such socket; it gave: http, admin\n")
        self.is_refused(given(sockets, "--listen", "fd:5", names=("http", "admin")), "it gave: http, admin\n")
        self.is_refused(given(sockets, "--listen", "fd:3,fd:", names=("http", "admin")), "taken it already")

    def test_those_of_another_process_are_not_ours(self):
        sockets = self.opened()
        self.is_refused(given(sockets, "--listen", "fd:", pid="1"), "no service manager gave this process a socket")
        with given(sockets, "--listen", f"{HOST}:0", pid="1") as server:
            self.assertNotIn(GIVEN, server.line())

    def test_what_does_not_listen_is_refused(self):
        connected, other = socket.socketpair()
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with connected, other, datagrams:
            for wrong in (connected, datagrams):
                self.is_refused(given([wrong]), "no stream socket that listens")

    def test_a_restart_refuses_and_loses_nobody(self):
        """systemd keeps the socket, so clients in between wait in its queue."""
        one, = self.opened()
        done, outcomes = threading.Event(), []

        def churn():
            while not done.is_set():
                try:
                    outcomes.append(echoes(one.getsockname()))
                except OSError as error:
                    outcomes.append(error)

        clients = [threading.Thread(target=churn) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for workers in (1, 2, 1):
                with given([one], "--workers", workers, "--drain-timeout", "5s") as server:
                    server.line()
                    served = len(outcomes)
                    wait_until(lambda: len(outcomes) > served + 50, "fifty echoes")
                    self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                    served = len(outcomes)
            with given([one]) as server:  # for the waiting clients
                server.line()
                wait_until(lambda: len(outcomes) > served + 50, "fifty echoes")
                done.set()
                for client in clients:
                    client.join()
        finally:
            done.set()
        self.assertEqual([outcome for outcome in outcomes if outcome is not True], [])


@unittest.skipUnless(shutil.which("systemd-socket-activate"), "systemd-socket-activate is not installed (systemd)")
class BySystemd(GivenSockets):
    @contextlib.contextmanager
    def activated(self, addresses, *arguments, names=()):
        """systemd-socket-activate, which becomes echo_coro with the first client."""
        command = ["systemd-socket-activate", *(f"--listen={address}" for address in addresses)]
        if names:
            command.append(f"--fdname={':'.join(names)}")
        kept = [f"--setenv={name}" for name in ("RINGLET_BACKEND", "RINGLET_WITHOUT", "RINGLET_WITH", "ASAN_OPTIONS",
                                               "TSAN_OPTIONS", "UBSAN_OPTIONS") if name in os.environ]
        with Program(*command, *kept, ECHO_CORO, *arguments) as program:
            program.expected_errors = r"(Listening on .*\n)+(Communication attempt on .*\nExecing .*\n)?"
            wait_until(lambda: program.said().count("Listening on") == len(addresses), "systemd to listen")
            yield program

    @staticmethod
    def address():
        host = f"127.{128 + os.getpid() % 64}.{os.getpid() // 64 % 256}.1"
        with socket.socket() as tried:
            tried.bind((host, 0))
            return tried.getsockname()

    def test_the_first_client_starts_it(self):
        address = self.address()
        with self.activated(["%s:%d" % address]) as program:
            self.assertTrue(echoes(address))
            self.assertIn("echo_coro listens on %s:%d%sbackend %s" % (*address, GIVEN, BACKEND), program.line())
            self.assertTrue(echoes(address))

    def test_several_with_names(self):
        address = self.address()
        with self.activated(["%s:%d" % address, self.path], "--listen", "fd:local,fd:net", "--workers", "2",
                            names=("net", "local")) as program:
            self.assertTrue(echoes(self.path))
            self.assertIn(f"echo_coro listens on unix:{self.path}, %s:%d{GIVEN}" % address, program.line())
            self.assertTrue(echoes(address))
        self.assertTrue(pathlib.Path(self.path).is_socket())

    def test_a_name_that_it_did_not_give(self):
        address = self.address()
        with self.activated(["%s:%d" % address], "--listen", "fd:web", names=("http",)) as program:
            with socket.socket() as client:
                client.settimeout(PATIENCE_SECONDS)
                with contextlib.suppress(ConnectionResetError):  # the server may have ended before this reads the answer
                    client.connect(address)
                self.assertEqual(program.wait("to refuse"), UNAVAILABLE)
            self.assertIn("fd:web: the service manager gave no such socket; it gave: http\n", program.said())
            program.expected_errors = r"(?s).*"
            program.process.returncode = 0  # on purpose


if __name__ == "__main__":
    unittest.main()
