"""Every example is driven by a program that does not use ringlet."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BUILD, HOST, PATIENCE_SECONDS, Program, listening_port, wait_until


def example(name, *arguments):
    return Program(BUILD / f"examples/example_{name}", *arguments)


@contextlib.contextmanager
def server(name, *arguments, says=""):
    """(the program, its port); `says` is what it may write to stderr."""
    with example(name, f"{HOST}:0", *arguments) as program:
        program.expected_errors = says
        yield program, wait_until(lambda: listening_port(program.pid), f"{name} to listen")


@contextlib.contextmanager
def connected(port):
    with socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS) as client:
        yield client


def read_until(client, wanted):
    received = b""
    while wanted not in received:
        chunk = client.recv(65536)
        if not chunk:
            raise AssertionError(f"the end, instead of {wanted!r}, after {received!r}")
        received += chunk
    return received


def read_to_end(client):
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, **options)


class LineServer(unittest.TestCase):
    def test_lines_in_pieces_and_the_last_without_an_end(self):
        with server("line_server") as (_, port), connected(port) as client:
            for piece in (b"on", b"e\ntw", b"o\r\n", b"three"):
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(read_to_end(client), b"ONE\nTWO\nTHREE")


class Chat(unittest.TestCase):
    def enter(self, stack, port, name, room):
        client = stack.enter_context(connected(port))
        read_until(client, b"your name? ")
        client.sendall(name + b"\n")
        read_until(client, b"which room? ")
        client.sendall(room + b"\n")
        return client

    def test_rooms_leaving_and_goodbye(self):
        with contextlib.ExitStack() as stack:
            program, port = stack.enter_context(server("chat"))
            ann = self.enter(stack, port, b"ann", b"blue")
            bob = self.enter(stack, port, b"bob", b"blue")
            read_until(ann, b"bob comes in\n")
            eve = self.enter(stack, port, b"eve", b"red")
            bob.sendall(b"hello\n")
            read_until(ann, b"bob: hello\n")
            bob.close()
            read_until(ann, b"bob has left\n")
            program.process.send_signal(signal.SIGTERM)
            self.assertIn(b"goodbye\n", read_to_end(ann))
            self.assertNotIn(b"hello", read_to_end(eve))
            program.wait()

    def test_who_does_not_read_is_dropped(self):
        with contextlib.ExitStack() as stack:
            _, port = stack.enter_context(server("chat"))
            lazy = self.enter(stack, port, b"lazy", b"blue")
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            busy = self.enter(stack, port, b"busy", b"blue")
            for _ in range(20000):
                busy.sendall(b"x" * 900 + b"\n")
                if b"lazy has left" in read_until(busy, b"x\n"):
                    return
            self.fail("the slow one is still there")


class Resp(unittest.TestCase):
    def test_commands_and_pipelines(self):
        with server("resp_server") as (_, port), connected(port) as client:
            client.sendall(b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
                           b"*2\r\n$4\r\nincr\r\n$1\r\nn\r\n*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n*1\r\n$4\r\nQUIT\r\n")
            self.assertEqual(read_to_end(client), b"+PONG\r\n+OK\r\n$3\r\na\r\n\r\n:1\r\n$-1\r\n+OK\r\n")

    def test_malformed_ends_the_connection(self):
        with server("resp_server", says=r"(ringlet: .*serve_client.*(Bad message|longer than the limit.*)\n)*") as (_, port):
            for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"*99999999\r\n", b"*1\r\n$-5\r\n", b"*1\r\n$3\r\nabcde", b"*" * 100):
                with connected(port) as client:
                    client.sendall(nonsense)
                    self.assertEqual(read_to_end(client), b"")

    @unittest.skipUnless(shutil.which("redis-benchmark"), "redis-tools is not installed")
    def test_redis_benchmark(self):
        with server("resp_server") as (_, port):
            said = run("redis-benchmark", "-h", HOST, "-p", str(port), "-t", "set,get", "-n", "2000", "-P", "16", "-q")
            self.assertEqual(said.returncode, 0, said.stderr)
            self.assertRegex(said.stdout, r"GET: .* requests per second")


class Http(unittest.TestCase):
    def test_curl(self):
        if not shutil.which("curl"):
            self.skipTest("curl is not installed")
        with tempfile.TemporaryDirectory(prefix="ringlet-http-") as folder, \
                server("http_server", folder) as (_, port):
            url = f"http://{HOST}:{port}"
            big = os.urandom(3_000_000)
            pathlib.Path(folder, "big").write_bytes(big)
            got = subprocess.run(["curl", "-sf", f"{url}/big"], capture_output=True, timeout=60, check=True)
            self.assertEqual(got.stdout, big)
            self.assertEqual(run("curl", "-sf", f"{url}/hello").stdout, "Hello, world!\n")
            self.assertEqual(run("curl", "-sfd", "x" * 5000, f"{url}/echo").stdout, "x" * 5000)
            self.assertEqual(run("curl", "-sf", "-H", "Transfer-Encoding: chunked", "-d", "in chunks", f"{url}/echo").stdout,
                             "in chunks")
            self.assertEqual(run("curl", "-sfI", f"{url}/hello").returncode, 0)
            for path, status in (("/none", "404"), ("/../etc/passwd", "404"), ("/%", "404")):
                said = run("curl", "-s", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", f"{url}{path}")
                self.assertEqual(said.stdout, status, path)

    def test_pipelined_requests_are_answered_in_order(self):
        with server("http_server") as (_, port), connected(port) as client:
            client.sendall(b"".join(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d" % i for i in range(10))
                           + b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            bodies = [answer.partition(b"\r\n\r\n")[2] for answer in read_to_end(client).split(b"HTTP/1.1 200 OK\r\n")[1:]]
            self.assertEqual(bodies, [b"%d" % i for i in range(10)] + [b"Hello, world!\n"])

    def test_a_client_that_wants_to_close_among_other_things(self):
        with server("http_server") as (_, port), connected(port) as client:
            client.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n")
            self.assertTrue(read_to_end(client).endswith(b"Connection: close\r\n\r\nHello, world!\n"))

    def test_what_could_be_read_in_two_ways_is_refused(self):
        body = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        cases = {
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n": 400,
            b"Content-Length: 5\r\nContent-Length: 5\r\n": 400,
            b"Content-Length: 5, 5\r\n": 400,
            b"Content-Length: +5\r\n": 400,
            b"Content-Length: 0x5\r\n": 400,
            b"Content-Length : 5\r\n": 400,
            b"Transfer-Encoding: identity\r\n": 501,
            b"Transfer-Encoding: chunked, identity\r\n": 501,
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n": 501,
            b"Transfer-Encoding : chunked\r\n": 400,
            b" folded: x\r\n": 400,
            b"X: a\nContent-Length: 5\r\n": 400,
            b"X: a\rb\r\n": 400,
            b"X: \0\r\n": 400,
            b"no colon\r\n": 400,
            b"Host: y\r\n": 400,
        }
        with server("http_server") as (_, port):
            for headers, status in cases.items():
                with self.subTest(headers), connected(port) as client:
                    client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + body)
                    said = read_to_end(client)
                    self.assertTrue(said.startswith(b"HTTP/1.1 %d " % status), said)
                    self.assertEqual(said.count(b"HTTP/1.1"), 1, "the rest was taken for a request")
            for request, status in ((b"GET /hello HTTP/1.1\r\n\r\n", 400), (b"GET  /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400),
                                    (b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
                                    (b"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 505), (b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
                                    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n", 414),
                                    (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
                                    (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413)):
                with self.subTest(request[:40]), connected(port) as client:
                    client.sendall(request)
                    self.assertTrue(read_to_end(client).startswith(b"HTTP/1.1 %d " % status))


class Proxies(unittest.TestCase):
    def test_a_dead_server_is_passed_over_and_comes_back(self):
        with socket.socket() as gone:
            gone.bind((HOST, 0))
            dead = gone.getsockname()[1]
        with server("line_server") as (_, alive), \
                server("reverse_proxy", f"{HOST}:{dead}", f"localhost:{alive}", says=r".*Connection refused\n") as (_, port):
            for _ in range(3):
                with connected(port) as client:
                    client.sendall(b"through\n")
                    client.shutdown(socket.SHUT_WR)
                    self.assertEqual(read_to_end(client), b"THROUGH\n")
            with example("resp_server", f"{HOST}:{dead}") as back:
                wait_until(lambda: listening_port(back.pid), "the dead one to come back")

                def reaches_it():
                    with connected(port) as client:
                        client.sendall(b"*1\r\n$4\r\nPING\r\n")
                        return read_until(client, b"\n").startswith(b"+PONG")
                wait_until(reaches_it, "an answer of the one that came back")

    def test_socks5_with_curl_by_name_and_by_number(self):
        if not shutil.which("curl"):
            self.skipTest("curl is not installed")
        with server("http_server") as (_, target), server("socks5") as (_, port):
            for option, host in (("--socks5-hostname", "localhost"), ("--socks5", HOST)):
                said = run("curl", "-sf", option, f"{HOST}:{port}", f"http://{host}:{target}/hello")
                self.assertEqual(said.stdout, "Hello, world!\n", option)
            refused = run("curl", "-s", "--socks5", f"{HOST}:{port}", f"http://{HOST}:1/")
            self.assertNotEqual(refused.returncode, 0)

    def test_socks5_that_is_no_socks5(self):
        with server("socks5") as (_, port):
            for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x05\x01\x02", b"\x05\x01\x00\x05\x02\x00\x01", b"\x04"):
                with connected(port) as client:
                    client.sendall(nonsense)
                    with contextlib.suppress(OSError):  # it may have been reset already
                        client.shutdown(socket.SHUT_WR)
                        read_to_end(client)


class Dns(unittest.TestCase):
    @contextlib.contextmanager
    def answerer(self):
        with example("dns_answerer", f"{HOST}:0", "example.test=192.0.2.7") as program:
            line = program.line()
            yield int(line.rpartition(":")[2])

    def ask(self, port, name, kind=1):
        labels = b"".join(bytes([len(label)]) + label for label in name.split(b".")) + b"\0"
        question = struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!2H", kind, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.sendto(question, (HOST, port))
            return client.recvfrom(512)[0]

    def test_an_address_and_no_such_name(self):
        with self.answerer() as port:
            answer = self.ask(port, b"Example.Test")
            self.assertEqual(struct.unpack("!6H", answer[:12]), (0x1234, 0x8500, 1, 1, 0, 0))
            self.assertEqual(answer[-4:], bytes((192, 0, 2, 7)))
            self.assertEqual(struct.unpack("!H", self.ask(port, b"none.test")[2:4])[0] & 0xf, 3)
            self.assertEqual(struct.unpack("!4H", self.ask(port, b"example.test", 28)[4:12]), (1, 0, 0, 0))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                for nonsense in (b"", b"x", b"\xff" * 12, b"\0" * 12, os.urandom(500)):
                    client.sendto(nonsense, (HOST, port))
            self.assertEqual(self.ask(port, b"example.test")[-4:], bytes((192, 0, 2, 7)))

    @unittest.skipUnless(shutil.which("dig"), "dig is not installed")
    def test_dig(self):
        with self.answerer() as port:
            self.assertEqual(run("dig", f"@{HOST}", "-p", str(port), "+short", "example.test").stdout, "192.0.2.7\n")


class Supervisor(unittest.TestCase):
    def test_output_restarts_and_signals(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-supervisor-") as folder:
            count = pathlib.Path(folder, "count")
            with example("supervisor", f"echo again >> {count}; exit 3", "echo stays; exec sleep 1000") as program:
                wait_until(lambda: count.exists() and count.read_text().count("again") >= 3, "three starts")
                lines = [program.line() for _ in range(3)]
                self.assertIn("[2] stays", lines)
                self.assertTrue(any("[1] ended with exit status 3; starts again in" in line for line in lines), lines)
                program.process.send_signal(signal.SIGHUP)
                wait_until(lambda: "[2] stays" in program.line(), "a new start")
                program.process.send_signal(signal.SIGTERM)
                self.assertEqual(program.wait(), 0)



def foreign(name):
    program = BUILD / f"examples/foreign_{name}"
    return unittest.skipUnless(program.exists(), f"{name} is not built: its library is not installed"), program


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(*command, ready, **options):
    """Runs a foreign server inside `with`; `ready` returns whether it is up."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        wait_until(ready, f"{command[0]} to be ready")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def answers_at(port):
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def postgres_program(name):
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


class Foreign(unittest.TestCase):
    """Third-party libraries in a task, against the servers that they are made for."""

    needs_redis, redis_client = foreign("redis_client")
    needs_ares, ares_lookup = foreign("ares_lookup")
    needs_curl, curl_fetch = foreign("curl_fetch")
    needs_postgres, postgres_client = foreign("postgres_client")

    @needs_redis
    @unittest.skipUnless(shutil.which("redis-server"), "redis-server is not installed")
    def test_hiredis(self):
        port = free_port()
        with running("redis-server", "--port", str(port), "--save", "", ready=lambda: answers_at(port)):
            said = run(self.redis_client, HOST, str(port))
            self.assertEqual((said.returncode, said.stdout), (0, "ten tasks counted to 1000\n"), said.stderr)
        self.assertNotEqual(run(self.redis_client, HOST, str(port)).returncode, 0)

    @needs_redis
    def test_hiredis_against_our_own(self):
        with server("resp_server") as (_, port):
            said = run(self.redis_client, HOST, str(port))
            self.assertEqual((said.returncode, said.stdout), (0, "ten tasks counted to 1000\n"), said.stderr)

    @needs_ares
    def test_c_ares(self):
        with example("dns_answerer", f"{HOST}:0", "example.test=192.0.2.7") as program:
            port = program.line().rpartition(":")[2]
            said = run(self.ares_lookup, f"{HOST}:{port}", "example.test", "none.test")
            self.assertEqual((said.returncode, said.stdout),
                             (0, "example.test: 192.0.2.7\nnone.test: Domain name not found\n"), said.stderr)

    @needs_curl
    def test_libcurl(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-http-") as folder, server("http_server", folder) as (_, port):
            pathlib.Path(folder, "big").write_bytes(bytes(1_000_000))
            url = f"http://{HOST}:{port}"
            said = run(self.curl_fetch, f"{url}/hello", f"{url}/big", f"{url}/none", f"http://{HOST}:1/")
            self.assertEqual((said.returncode, said.stdout), (
                0, f"{url}/hello: status 200, 14 bytes\n{url}/big: status 200, 1000000 bytes\n"
                f"{url}/none: status 404, 0 bytes\nhttp://{HOST}:1/: status 0, 0 bytes\n"), said.stderr)

    @needs_postgres
    @unittest.skipUnless(postgres_program("initdb") and postgres_program("postgres"), "PostgreSQL is not installed")
    def test_libpq(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-pg-") as folder:
            as_somebody = {}
            if os.geteuid() == 0:  # it does not run as root
                os.chmod(folder, 0o777)
                as_somebody = {"user": "postgres", "group": "postgres"}
            data = f"{folder}/data"
            made = run(postgres_program("initdb"), "-D", data, "-A", "trust", "-U", "tester", "--no-sync", **as_somebody)
            self.assertEqual(made.returncode, 0, made.stderr)
            ready = pathlib.Path(folder, ".s.PGSQL.5432")
            with running(postgres_program("postgres"), "-D", data, "-k", folder, "-h", "", "-F", ready=ready.exists,
                         **as_somebody):
                conninfo = f"host={folder} dbname=postgres user=tester"
                said = wait_until(lambda: (one := run(self.postgres_client, conninfo)).returncode == 0 and one,
                                  "PostgreSQL to take connections")
                lines = said.stdout.splitlines()
                self.assertEqual(sorted(lines[:3]), [f"the sum up to {number} is {number * (number + 1) // 2}"
                                                     for number in (10, 100, 1000)])
                self.assertEqual(lines[3:], ["the slow query: Connection timed out", "still connected"])


if __name__ == "__main__":
    unittest.main()
