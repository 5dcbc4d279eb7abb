"""Which server echo_bench loads: names with several addresses, addresses with ports, Unix sockets; and its message
if no server is there."""

import os
import pathlib
import re
import resource
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from load_client import Client
from programs import (ECHO_BENCH, ECHO_CORO, HOST, UNAVAILABLE, USAGE, EchoCoro, Program, environment_under_strace,
                      port_of_nobody, run)
from scripted_server import ScriptedServer

FEW = ("-t", 2, "-c", 1, "-e", 5)


def load(*arguments, **options):
    return run(ECHO_BENCH, *FEW, *arguments, **options)


def why_no_v6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        return f"no IPv6 on the loopback interface: {error}"
    return None


class Targets(Client):
    def under_hosts(self, text):
        """A command prefix under which /etc/hosts has this content."""
        file = self.enter(tempfile.NamedTemporaryFile("w"))
        print(text, file=file, flush=True)
        under = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                 f'mount --bind {file.name} /etc/hosts && exec "$@"', "sh")
        tried = run(*under, "true")
        if tried.returncode:
            self.skipTest(f"no namespace of our own here: {tried.stderr.strip()}")
        return under

    def loads(self, ended, address):
        self.ends(ended, 0, errors=0)
        self.assertIn(f", to {address}\n", ended.stdout)

    def test_name_with_several_addresses(self):
        """The server is at the second address, whichever that is."""
        for hosts in ("::1 many.test\n127.0.0.1 many.test", "127.9.9.9 many.test\n127.0.0.1 many.test"):
            under = self.under_hosts(hosts)
            with self.subTest(hosts), ScriptedServer(lambda connection, whole: self.echo(connection, whole)) as server:
                for target in (("-p", server.port, "many.test"), (f"many.test:{server.port}",)):
                    self.loads(run(*under, ECHO_BENCH, *FEW, *target), f"{HOST}:{server.port}")
                held = run(*under, ECHO_BENCH, "--hold", 3, "--hold-time", "1ms", f"many.test:{server.port}")
                self.assertEqual(held.returncode, 0, held.stderr)

    def echo(self, connection, whole):
        while True:
            connection.sendall(whole())

    def test_name_with_several_addresses_of_which_none_answers(self):
        port = self.enter(port_of_nobody())
        under = self.under_hosts("127.9.9.9 many.test\n127.9.9.8 many.test")
        ended = run(*under, ECHO_BENCH, *FEW, f"many.test:{port}")
        self.assertEqual(ended.returncode, UNAVAILABLE)
        for address in ("127.9.9.9", "127.9.9.8"):
            self.assertIn(f"{address}:{port}: Connection refused", ended.stderr)
        self.assertRegex(ended.stderr, rf"\Aecho_bench: cannot connect to any address of many.test:{port}: [^\n]+ Is the "
                         r"server running\?[^\n]+\n\Z")

    def test_name_with_one_address_is_not_tried_before(self):
        with ScriptedServer(self.echo) as server:
            self.loads(load(f"{HOST}:{server.port}"), f"{HOST}:{server.port}")
        self.assertEqual(server.connection_count, 2)

    def test_written_in_every_way(self):
        server = self.enter(EchoCoro())
        for target in ((f"{HOST}:{server.port}",), ("-p", server.port, f"{HOST}:{server.port}"),
                       ("-p", server.port, HOST), (f"localhost:{server.port}",)):
            with self.subTest(target=target):
                self.loads(load(*target), f"{HOST}:{server.port}")

    def test_ipv6_written_in_every_way(self):
        if why_no_v6():
            self.skipTest(why_no_v6())
        server = self.enter(EchoCoro("--host", "::1"))
        for target in ((f"[::1]:{server.port}",), ("-p", server.port, "[::1]"), ("-p", server.port, "::1")):
            with self.subTest(target=target):
                self.loads(load(*target), f"[::1]:{server.port}")

    def test_unix_socket(self):
        path = pathlib.Path(self.enter(tempfile.TemporaryDirectory())) / "echo.sock"
        with Program(ECHO_CORO, "--listen", f"unix:{path}") as server:
            server.line()
            self.loads(load(f"unix:{path}"), f"unix:{path}")
        ended = load(f"unix:{path}")
        self.assertEqual(ended.returncode, UNAVAILABLE)
        self.assertRegex(ended.stderr, rf"unix:{path}: .*Start one with 'echo_coro --listen unix:{path}'")

    def test_no_target(self):
        for target in ("[::1", "[::1]3200", "[::1]:", "[::1]:0", "[::1]:70000", "[localhost]:3200", "localhost:", ":3200",
                       "localhost:x", ""):
            with self.subTest(target=target):
                self.refuses(load(target), USAGE, rf"'{re.escape(target)}' is no HOST: write localhost")
        self.refuses(load("-p", 3201, "localhost:3200"), USAGE, "localhost:3200 and -p 3201 name two ports")

    def test_address_of_one_link(self):
        for target in ("fe80::1", "[fe80::1]:3200"):
            with self.subTest(target=target):
                self.refuses(load(target), USAGE, r"fe80::1: an address of one link needs its interface: write fe80::1%eth0")


def without_leak_check():
    """It needs a process of its own."""
    return environment_under_strace()


class Hints(Client):
    def test_no_route(self):
        under = ("unshare", "--user", "--map-root-user", "--net")
        tried = run(*under, "true")
        if tried.returncode:
            self.skipTest(f"no network of our own here: {tried.stderr.strip()}")
        for options in (FEW, ("--hold", 2)):
            ended = run(*under, ECHO_BENCH, *options, "192.0.2.1")
            self.assertEqual(ended.returncode, UNAVAILABLE)
            self.assertRegex(ended.stderr, r"192\.0\.2\.1:3200: (connecting: )?Network is unreachable\. Is the address right\?")
            self.assertNotIn("echo_coro", ended.stderr)

    def test_limit_of_processes(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become a user that has no process yet")
        server = self.enter(EchoCoro())

        def nobody_with_one_process():
            os.setgid(20000 + os.getpid() % 40000)
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            os.setuid(20000 + os.getpid() % 40000)

        with tempfile.TemporaryDirectory() as folder:
            reachable = pathlib.Path(folder) / "echo_bench"
            reachable.write_bytes(ECHO_BENCH.read_bytes())
            reachable.chmod(0o755)
            pathlib.Path(folder).chmod(0o755)
            ended = subprocess.run([reachable, "-p", str(server.port), "--hold", "2"], capture_output=True, text=True,
                                   preexec_fn=nobody_with_one_process, env=without_leak_check())
        self.assertEqual((ended.returncode, ended.stdout), (71, ""))
        self.assertRegex(ended.stderr, r"\Aecho_bench: cannot start process 1 of those that hold connections: Resource "
                         r"temporarily unavailable: the limit of processes is reached \(ulimit -u, [^\n]+\n\Z")


if __name__ == "__main__":
    unittest.main()
