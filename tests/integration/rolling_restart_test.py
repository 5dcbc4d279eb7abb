"""Three servers behind HAProxy, with deploy/haproxy.cfg, are restarted one by one while clients come and go: no
client notices."""

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
from machines import Machines, why_no_machines
from programs import ECHO_BENCH, ECHO_CORO, PATIENCE_SECONDS, ROOT, Program, wait_until

NET = f"127.{192 + os.getpid() % 32}.{os.getpid() // 32 % 256}"  # where no other process takes a port meanwhile
WHY_NO_MACHINES = why_no_machines()
SERVERS = {"one": f"{NET}.11", "two": f"{NET}.12", "three": f"{NET}.13"}


def free_port():
    with socket.socket() as tried:
        tried.bind((f"{NET}.1", 0))
        return tried.getsockname()[1]


def configuration(folder, port):
    """deploy/haproxy.cfg for local servers without metrics: the health check is a connection with a header."""
    text = (ROOT / "deploy/haproxy.cfg").read_text()
    for old, new in (("10.0.0", NET), (":3200", f":{port}"), ("bind :", f"bind {NET}.1:"),
                     ("    option httpchk GET /readyz\n", ""), ("check port 9320 inter 1s", "check inter 200ms check-send-proxy"),
                     ("global\n", f"global\n    stats socket {folder}/stats\n")):
        assert old in text, f"deploy/haproxy.cfg has no {old!r}"
        text = text.replace(old, new)
    return text


def state_in(folder):
    """The state of each server in HAProxy's view."""
    try:
        with socket.socket(socket.AF_UNIX) as stats:
            stats.settimeout(PATIENCE_SECONDS)
            stats.connect(f"{folder}/stats")
            stats.sendall(b"show stat\n")
            with stats.makefile() as answer:
                rows = [line.split(",") for line in answer if line.startswith("servers,")]
    except OSError:
        return {}
    return {row[1]: row[17].split()[0] for row in rows if row[1] in SERVERS}


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
            program.expected_errors = r"(?s).*"  # it reports servers that go down and up
            wait_until(lambda: self.state() == dict.fromkeys(SERVERS, "UP"), "HAProxy to find its servers")
            yield program
            program.ends_by(signal.SIGUSR1)  # after SIGTERM its status is that of a killed process

    def state(self):
        return state_in(self.folder)

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


@unittest.skipUnless(shutil.which("haproxy"), "haproxy is not installed")
@unittest.skipIf(WHY_NO_MACHINES, WHY_NO_MACHINES)
class OnMachines(unittest.TestCase):
    """HAProxy, its clients and each server have their own network namespaces. deploy/haproxy.cfg is used with its own
    ports and health check; only the addresses differ."""

    def start(self, stack, machine, proxy):
        server = Program(*machine.on(ECHO_CORO, "--host", machine.address, "--port", 3200, "--proxy-from", proxy.address,
                                     "--metrics", f"{machine.address}:9320", "--drain-timeout", "10s"))
        stack.enter_context(server)
        server.line()
        return server

    def test_nobody_notices(self):
        with contextlib.ExitStack() as stack:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringlet-rolling-")))
            proxy, clients, *rest = stack.enter_context(Machines(2 + len(SERVERS)))
            machines = dict(zip(SERVERS, rest))
            text = (ROOT / "deploy/haproxy.cfg").read_text().replace("global\n", f"global\n    stats socket {folder}/stats\n")
            for number, machine in enumerate(rest, 11):
                self.assertIn(f"10.0.0.{number}:3200", text)
                text = text.replace(f"10.0.0.{number}:", f"{machine.address}:")
            (folder / "haproxy.cfg").write_text(text)
            servers = {name: self.start(stack, machine, proxy) for name, machine in machines.items()}
            haproxy = stack.enter_context(Program(*proxy.on(shutil.which("haproxy"), "-q", "-db", "-f", folder / "haproxy.cfg")))
            haproxy.expected_errors = r"(?s).*"
            wait_until(lambda: state_in(folder) == dict.fromkeys(SERVERS, "UP"), "HAProxy to find its servers")
            result = folder / "result.json"
            load = subprocess.Popen(
                clients.on(ECHO_BENCH, "-t", "8", "--churn", "-e", "20", "--duration", "10min", "--json", result,
                           "--no-progress", f"{proxy.address}:3200"),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
            stack.callback(load.kill)
            for name, machine in machines.items():
                self.assertEqual(servers[name].ends_by(signal.SIGTERM), 0, servers[name].said())
                wait_until(lambda: state_in(folder).get(name) == "DOWN", f"HAProxy to miss {name}")
                servers[name] = self.start(stack, machine, proxy)
                wait_until(lambda: state_in(folder).get(name) == "UP", f"HAProxy to find {name} again")
            self.assertEqual(load.poll(), None, "the load ended before the restarts")
            load.send_signal(signal.SIGINT)
            said, _ = load.communicate(timeout=PATIENCE_SECONDS)
            total = json.loads(result.read_text())["total"]
            self.assertEqual((total["errors"], total["connections_failed"], total["first_error"]), (0, 0, ""), said)
            self.assertGreater(total["connections_made"], 100)
            haproxy.ends_by(signal.SIGUSR1)


if __name__ == "__main__":
    unittest.main()
