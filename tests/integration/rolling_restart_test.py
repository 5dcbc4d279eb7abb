"""Three servers behind HAProxy, with deploy/haproxy.cfg, are restarted one after the other while clients come and go:
nobody notices."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ECHO_BENCH, ECHO_CORO, PATIENCE_SECONDS, ROOT, Program, wait_until

NET = f"127.{192 + os.getpid() % 32}.{os.getpid() // 32 % 256}"  # where nobody else takes a port meanwhile
SERVERS = {"one": f"{NET}.11", "two": f"{NET}.12", "three": f"{NET}.13"}


def free_port():
    with socket.socket() as tried:
        tried.bind((f"{NET}.1", 0))
        return tried.getsockname()[1]


def configuration(folder, port):
    """deploy/haproxy.cfg for servers here, which have no metrics: a connection with a header is the health check."""
    text = (ROOT / "deploy/haproxy.cfg").read_text()
    for old, new in (("10.0.0", NET), (":3200", f":{port}"), ("bind :", f"bind {NET}.1:"),
                     ("    option httpchk GET /readyz\n", ""), ("check port 9320 inter 1s", "check inter 200ms check-send-proxy"),
                     ("global\n", f"global\n    stats socket {folder}/stats\n")):
        assert old in text, f"deploy/haproxy.cfg has no {old!r}"
        text = text.replace(old, new)
    return text


@unittest.skipUnless(shutil.which("haproxy"), "haproxy is not installed")
class RollingRestart(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-rolling-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.port = free_port()

    @contextlib.contextmanager
    def haproxy(self):
        file = self.folder / "haproxy.cfg"
        file.write_text(configuration(self.folder, self.port))
        with Program(shutil.which("haproxy"), "-q", "-db", "-f", file) as program:
            program.expected_errors = r"(?s).*"  # it says when a server goes and comes
            wait_until(lambda: self.state() == dict.fromkeys(SERVERS, "UP"), "HAProxy to find its servers")
            yield program
            program.ends_by(signal.SIGUSR1)  # SIGTERM ends it as one that was killed

    def state(self):
        """What HAProxy thinks of each server."""
        try:
            with socket.socket(socket.AF_UNIX) as stats:
                stats.settimeout(PATIENCE_SECONDS)
                stats.connect(f"{self.folder}/stats")
                stats.sendall(b"show stat\n")
                with stats.makefile() as answer:
                    rows = [line.split(",") for line in answer if line.startswith("servers,")]
        except OSError:
            return {}
        return {row[1]: row[17].split()[0] for row in rows if row[1] in SERVERS}

    def start(self, name):
        server = Program(ECHO_CORO, "--listen", f"{SERVERS[name]}:{self.port}", "--proxy-from", f"{NET}.0/24,127.0.0.1",
                         "--drain-timeout", "10s", "--quiet")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.listens(name), f"{name} to listen")
        return server

    def listens(self, name):
        with socket.socket() as tried:
            return tried.connect_ex((SERVERS[name], self.port)) == 0

    def test_nobody_notices(self):
        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(self.start(name)) for name in SERVERS}
            stack.enter_context(self.haproxy())
            result = self.folder / "result.json"
            load = subprocess.Popen(
                [ECHO_BENCH, "-t", "8", "--churn", "-e", "20", "--duration", "8s", "--json", result, "--no-progress",
                 f"{NET}.1:{self.port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            stack.callback(load.kill)
            for name in SERVERS:
                self.assertEqual(load.poll(), None, "the load ended before the restarts")
                self.assertEqual(servers[name].ends_by(signal.SIGTERM), 0, servers[name].said())
                wait_until(lambda: self.state().get(name) == "DOWN", f"HAProxy to miss {name}")
                servers[name] = stack.enter_context(self.start(name))
                wait_until(lambda: self.state().get(name) == "UP", f"HAProxy to find {name} again")
            said, _ = load.communicate(timeout=PATIENCE_SECONDS)
            self.assertEqual(load.returncode, 0, said)
            self.assertRegex(said, r"errors: 0\s*\Z")
            total = json.loads(result.read_text())["total"]
            self.assertGreater(total["connections"] if "connections" in total else 1, 0)
            stack.pop_all().close()


if __name__ == "__main__":
    unittest.main()
