"""Real proxies send their clients' addresses to examples/proxied_echo.cpp: HAProxy with both versions of the
protocol, nginx with the first."""

import contextlib
import csv
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BUILD, HOST, PATIENCE_SECONDS, USAGE, Program, listening_port, run, wait_until

PROXIED_ECHO = BUILD / "examples/example_proxied_echo"
STREAM_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")  # Debian: libnginx-mod-stream

HAPROXY = """
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend clients
    bind {bind}
    unique-id-format %ci-%cp
    default_backend application
backend application
    server one {backend} {options}
"""
NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
load_module {module};
events {{ }}
stream {{
    server {{ listen {bind}; proxy_pass {backend}; proxy_protocol on; }}
}}
"""

needs_haproxy = unittest.skipUnless(shutil.which("haproxy"), "haproxy is not installed")
needs_nginx = unittest.skipUnless(shutil.which("nginx") and STREAM_MODULE.exists(),
                                  "nginx with its stream module (libnginx-mod-stream) is not installed")


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as tried:
        tried.bind(("::1", 0))
        return True
    return False


def free_port(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.bind((host, 0))
        return tried.getsockname()[1]


def own_address():
    """A loopback address on which no other process takes our port between two uses."""
    return f"127.{64 + os.getpid() % 64}.{os.getpid() // 64 % 256}.1"


@contextlib.contextmanager
def server(*trusted, listen=f"{HOST}:0"):
    """(the program, its port): proxied_echo."""
    with Program(PROXIED_ECHO, listen, *trusted) as program:
        if listen.startswith("unix:"):
            path = pathlib.Path(listen.removeprefix("unix:"))
            yield program, wait_until(path.exists, "proxied_echo to listen")
        else:
            yield program, wait_until(lambda: listening_port(program.pid), "proxied_echo to listen")


@contextlib.contextmanager
def proxy(name, template, host=None, **names):
    """(host, port) of a running proxy. `name` and the options are its command."""
    host = host or own_address()
    with tempfile.TemporaryDirectory(prefix="ringlet-proxy-") as folder:
        port = free_port(host)
        bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        file = pathlib.Path(folder) / "proxy.conf"
        file.write_text(template.format(folder=folder, bind=bind, **names))
        command = ["nginx", "-p", folder, "-c", file] if name == "nginx" else ["haproxy", "-q", "-db", "-f", file]
        with Program(shutil.which(command[0]), *command[1:]) as program:
            program.expected_errors = r"(?s).*"  # its warnings do not matter here
            wait_until(lambda: listening_port(program.pid), f"{name} to listen")
            yield host, port
            if name == "haproxy":
                program.ends_by(signal.SIGUSR1)  # after SIGTERM its status is that of a killed process


def haproxy(backend, options, **names):
    return proxy("haproxy", HAPROXY, backend=backend, options=options, **names)


def nginx(backend, **names):
    return proxy("nginx", NGINX, backend=backend, module=STREAM_MODULE, **names)


def name_of(address):
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


class Proxied(unittest.TestCase):
    def is_greeted_by_name(self, address, source=None):
        """A client sees its own address, and gets back what it sends at first and later."""
        bound = (source, 0) if source else None
        with socket.create_connection(address, PATIENCE_SECONDS, source_address=bound) as client:
            with client.makefile("rwb", buffering=0) as wire:
                wire.write(b"one\n")
                self.assertEqual(wire.readline().decode(), f"hello, {name_of(client.getsockname())}\n")
                self.assertEqual(wire.readline(), b"one\n")
                wire.write(b"two\n")
                self.assertEqual(wire.readline(), b"two\n")
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(wire.read(), b"")


class HaProxy(Proxied):
    OPTIONS = ("send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c",
               "send-proxy-v2 proxy-v2-options crc32c,unique-id")

    @needs_haproxy
    def test_the_server_sees_the_client(self):
        with server() as (_, port):
            for options in self.OPTIONS:
                with self.subTest(options), haproxy(f"{HOST}:{port}", options) as address:
                    for source in (None, "127.1.2.3", "127.255.255.254"):
                        self.is_greeted_by_name(address, source)

    @needs_haproxy
    @unittest.skipUnless(has_ipv6(), "there is no IPv6 here")
    def test_the_server_sees_a_client_of_the_other_family(self):
        with server() as (_, port):
            for options in self.OPTIONS:
                with self.subTest(options), haproxy(f"{HOST}:{port}", options, host="::1") as address:
                    self.is_greeted_by_name(address)

    @needs_haproxy
    def test_through_a_unix_socket(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-proxied-") as folder:
            with server(listen=f"unix:{folder}/app.sock"):
                for options in self.OPTIONS:
                    with self.subTest(options), haproxy(f"unix@{folder}/app.sock", options) as address:
                        self.is_greeted_by_name(address)

    @needs_haproxy
    def test_its_own_connections_are_its_own(self):
        """Health checks use LOCAL. HAProxy expects its own address in the greeting."""
        expected = f"option tcp-check\n    tcp-check expect string hello,\\ {HOST}:"
        template = HAPROXY.replace("    server one", f"    {expected}\n    server one")
        with server() as (_, port), tempfile.TemporaryDirectory(prefix="ringlet-stats-") as folder:
            template = f"global\n    stats socket {folder}/stats\n{template}"
            options = "send-proxy-v2 check check-send-proxy inter 20ms"
            with proxy("haproxy", template, backend=f"{HOST}:{port}", options=options) as address:
                wait_until(lambda: self.check_status(f"{folder}/stats") == "L7OK", "a check to end well")
                self.is_greeted_by_name(address)

    @staticmethod
    def check_status(path):
        with socket.socket(socket.AF_UNIX) as stats:
            stats.connect(path)
            stats.sendall(b"show stat\n")
            with stats.makefile() as answer:
                rows = list(csv.DictReader(answer))
        return next(row["check_status"] for row in rows if row["svname"] == "one").removeprefix("* ")

    @needs_haproxy
    def test_a_proxy_that_sends_no_header_is_told(self):
        with server() as (program, port), haproxy(f"{HOST}:{port}", "") as address:
            with socket.create_connection(address, PATIENCE_SECONDS) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(client.recv(100), b"")
            wait_until(lambda: "does the proxy send one" in program.said(), "the report")
            program.expected_errors = r"(PROXY header of 127\.0\.0\.1:\d+: what came is no PROXY header: .*\n)+"

    @needs_haproxy
    def test_a_proxy_that_is_not_trusted_is_refused(self):
        with server("10.0.0.0/8") as (program, port), haproxy(f"{HOST}:{port}", "send-proxy-v2") as address:
            with socket.create_connection(address, PATIENCE_SECONDS) as client:
                client.sendall(b"hello")
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(client.recv(100), b"")
            wait_until(program.said, "the report")
            program.expected_errors = r"(PROXY header of 127\.0\.0\.1:\d+: .* no trusted proxy\n)+"  # it tries again


class Nginx(Proxied):
    @needs_nginx
    def test_the_server_sees_the_client(self):
        with server() as (_, port), nginx(f"{HOST}:{port}") as address:
            for source in (None, "127.1.2.3", "127.255.255.254"):
                self.is_greeted_by_name(address, source)

    @needs_nginx
    @unittest.skipUnless(has_ipv6(), "there is no IPv6 here")
    def test_the_server_sees_a_client_of_the_other_family(self):
        with server() as (_, port), nginx(f"{HOST}:{port}", host="::1") as address:
            self.is_greeted_by_name(address)

    @needs_nginx
    def test_through_a_unix_socket(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-proxied-") as folder:
            with server(listen=f"unix:{folder}/app.sock"), nginx(f"unix:{folder}/app.sock") as address:
                self.is_greeted_by_name(address)


class Options(unittest.TestCase):
    def test_a_range_that_is_none_is_explained(self):
        ended = run(PROXIED_ECHO, f"{HOST}:0", "10.0.0.1/8")
        self.assertEqual(ended.returncode, USAGE)
        self.assertIn("10.0.0.1/8: not a range of addresses: write an address", ended.stderr)


if __name__ == "__main__":
    unittest.main()
