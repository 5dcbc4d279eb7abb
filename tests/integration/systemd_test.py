"""echo_coro under a real systemd: started, reloaded, watched, stopped, and replaced by the next version."""

import contextlib
import pathlib
import re
import socket
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ECHO_CORO, HOST, Connection, wait_until
from systemd import Systemd, why_no_systemd

WHY_NOT = why_no_systemd()
STATE = ("ActiveState", "SubState", "Result", "NRestarts")
WATCHDOG_SECONDS = 4  # fed four times as often
GOOD = ["active", "running", "success", "0"]


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Service(unittest.TestCase):
    def setUp(self):
        with contextlib.ExitStack() as stack:
            self.systemd = stack.enter_context(Systemd())
            self.addCleanup(stack.pop_all().close)
        self.port = free_port()
        self.log = self.systemd.folder / "log"

    def service(self, *options, reload="HUP", more=""):
        words = " ".join(map(str, (ECHO_CORO, *options)))
        self.systemd.unit("echo.service", f"""
[Service]
Type=notify
NotifyAccess=main
ExecStart={words}
ExecReload=/bin/kill -{reload} $MAINPID
Restart=on-failure
StandardOutput=append:{self.log}
StandardError=append:{self.log}
{more}""")

    def state(self):
        return self.systemd.shows("echo.service", *STATE)

    def main_pid(self):
        return self.systemd.shows("echo.service", "MainPID")[0]

    def connect(self):
        return Connection(HOST, self.port)

    def test_started_reloaded_and_stopped(self):
        self.service("--port", self.port)
        self.systemd.systemctl("start", "echo.service")
        self.assertEqual(self.state(), GOOD)
        with self.connect() as client:  # start returns when it listens
            client.echoes()
            wait_until(lambda: self.systemd.shows("echo.service", "StatusText") ==
                       [f"serving 1 connection on {HOST}:{self.port}"], "the status")  # fmt: skip
            self.systemd.systemctl("reload", "echo.service")
            wait_until(lambda: "there is no certificate to read again" in self.log.read_text(), "the reload")
            client.echoes()
        self.assertEqual(self.state(), GOOD)
        self.systemd.systemctl("stop", "echo.service")
        self.assertEqual(self.state(), ["inactive", "dead", "success", "0"])
        self.assertIn("echo_coro stopped: 1 connections served", self.log.read_text())

    def test_a_server_that_hangs_is_started_again(self):
        for workers in (1, 2):
            with self.subTest(workers):
                self.service("--port", self.port, "--workers", workers, more="WatchdogSec=4s\nWatchdogSignal=SIGKILL")
                self.systemd.systemctl("start", "echo.service")
                pid = self.main_pid()
                self.systemd.systemctl("kill", "--signal=STOP", "echo.service")
                wait_until(lambda: self.state() == ["active", "running", "success", "1"], "another start")
                self.assertNotEqual(self.main_pid(), pid)
                with self.connect() as client:
                    client.echoes()
                self.systemd.systemctl("stop", "echo.service")
                self.systemd.systemctl("reset-failed", "echo.service", check=False)

    def follow(self, *options, sockets=()):
        """Several versions by systemctl reload: each becomes the watched service and gets the connection at rest."""
        for workers in (1, 2):
            with self.subTest(workers):
                own = (f"--hand-over=unix:{self.systemd.folder}/next", "--workers", workers, "--drain-timeout", "60s")
                self.service(*options, *own, reload="USR2", more=f"WatchdogSec={WATCHDOG_SECONDS}s")
                self.systemd.systemctl("start", *sockets, "echo.service")
                pids = [self.main_pid()]
                with self.connect() as client:
                    for _ in range(3):
                        client.echoes()
                        self.systemd.systemctl("reload", "echo.service")
                        wait_until(lambda: self.main_pid() not in pids, "the next version")
                        pids.append(self.main_pid())
                        with self.connect() as another:
                            another.echoes()
                        wait_until(lambda: re.fullmatch(r"serving \d connections? on .*",
                                                        self.systemd.shows("echo.service", "StatusText")[0]), "its status")
                    client.echoes()
                    for _ in range(0 if sockets else WATCHDOG_SECONDS + 2):
                        moment = self.systemd.shows("echo.service", "WatchdogTimestampMonotonic")
                        wait_until(lambda: self.systemd.shows("echo.service", "WatchdogTimestampMonotonic") != moment,
                                   "it to be alive")  # fmt: skip
                    self.assertEqual(self.state(), GOOD)
                    client.echoes()
                self.systemd.systemctl("stop", *sockets, "echo.service")
                self.assertEqual(self.state(), ["inactive", "dead", "success", "0"])

    def test_a_new_version_is_the_service(self):
        self.follow("--port", self.port)

    def test_a_new_version_has_the_sockets_that_systemd_opened(self):
        self.systemd.unit("echo.socket", f"""
[Socket]
ListenStream={HOST}:{self.port}
FileDescriptorName=web
""")
        for listen in ("--listen=fd:web", "--listen=fd:", ""):
            with self.subTest(listen):
                self.follow(*([listen] if listen else []), sockets=["echo.socket"])


if __name__ == "__main__":
    unittest.main()
