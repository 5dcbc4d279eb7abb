"""TLS against other implementations: openssl, curl, Python's ssl, Go's crypto/tls, wrk, h2load, sslscan, nmap."""

import contextlib
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BUILD, ECHO_BENCH, ECHO_CORO, HOST, NO_INPUT, PATIENCE_SECONDS, UNAVAILABLE, USAGE, Program
from programs import listening_port, wait_until


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, **options)


def needs(program):
    return unittest.skipUnless(shutil.which(program), f"{program} is not installed")


FILES = tempfile.TemporaryDirectory(prefix="ringlet-tls-")


def path(name):
    return str(pathlib.Path(FILES.name, name))


def make_certificate(name, subject, names=None, signed_by="ca", days=30):
    """Makes NAME.pem and NAME.key, signed by an authority or self-signed."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", path(f"{name}.key"), "-out", path(f"{name}.pem"), "-days", str(days), "-subj", f"/CN={subject}"]
    command += ["-addext", "keyUsage=critical,keyCertSign"] if name == "ca" else []
    if names:
        command += ["-addext", f"subjectAltName={names}"]
    if signed_by:
        command += ["-CA", path(f"{signed_by}.pem"), "-CAkey", path(f"{signed_by}.key"), "-addext", "basicConstraints=CA:FALSE"]
    made = run(*command)
    if made.returncode != 0:
        raise AssertionError(made.stderr)


def setUpModule():
    if not shutil.which("openssl"):
        raise unittest.SkipTest("openssl is not installed")
    make_certificate("ca", "authority", signed_by=None)
    make_certificate("server", "localhost", "DNS:localhost,IP:127.0.0.1")
    make_certificate("client", "somebody", "DNS:somebody")
    make_certificate("self", "localhost", "DNS:localhost", signed_by=None)
    make_certificate("other", "other", "DNS:other.example")


def tearDownModule():
    FILES.cleanup()


@contextlib.contextmanager
def echo_coro(*options, certificate="server", says=r"(?s).*"):
    with Program(ECHO_CORO, "--port", 0, "--tls-cert", path(f"{certificate}.pem"), "--tls-key", path(f"{certificate}.key"),
                 *options) as program:
        program.expected_errors = says
        yield wait_until(lambda: listening_port(program.pid), "echo_coro to listen")


@contextlib.contextmanager
def https(certificate="server"):
    with Program(BUILD / "examples/example_http_hello", f"{HOST}:0", path(f"{certificate}.pem"), path(f"{certificate}.key")) as program:
        program.expected_errors = r"(?s).*"
        yield wait_until(lambda: listening_port(program.pid), "http_hello to listen")


class SClient:
    """openssl s_client, whose input is written piece by piece."""

    def __init__(self, port, *options):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"{HOST}:{port}", "-CAfile", path("ca.pem"), "-verify_return_error",
             "-servername", "localhost", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)  # fmt: skip
        self.said = b""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        while chunk := self.process.stdout.read(65536):
            self.said += chunk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()

    def write(self, text):
        self.process.stdin.write(text)

    def wait_for(self, text, count=1):
        wait_until(lambda: self.said.count(text) >= count, f"{text!r} from s_client; it said {self.said[-600:]!r}")


class OpensslClient(unittest.TestCase):
    def test_both_versions_and_names(self):
        with echo_coro() as port:
            for version, told in (("-tls1_2", b"TLSv1.2"), ("-tls1_3", b"TLSv1.3")):
                with SClient(port, version) as client:
                    client.wait_for(b"New, " + told)
                    client.wait_for(b"Verify return code: 0 (ok)")
                    client.write(b"hello\n")
                    client.wait_for(b"hello\n")
            refused = run("openssl", "s_client", "-connect", f"{HOST}:{port}", "-tls1_1", stdin=subprocess.DEVNULL)
            # Some clients do not even try.
            self.assertRegex(refused.stderr + refused.stdout, "alert protocol version|no protocols available")

    def test_new_keys_in_both_directions(self):
        with echo_coro() as port, SClient(port, "-tls1_3") as client:
            client.wait_for(b"Verify return code: 0 (ok)")
            for number, command in enumerate((b"K\n", b"k\n", b"K\n")):  # K: the server updates its keys too
                client.write(command)
                client.wait_for(b"KEYUPDATE", number + 1)
                client.write(b"after change %d\n" % number)
                client.wait_for(b"after change %d\n" % number)

    def test_records_of_all_sizes(self):
        with echo_coro() as port:
            for options in ((), ("-max_send_frag", "512"), ("-split_send_frag", "600", "-max_pipelines", "1")):
                with SClient(port, "-quiet", *options) as client:
                    sent = b"".join(b"line %d\n" % number for number in range(20_000))
                    threading.Thread(target=client.write, args=(sent,)).start()
                    wait_until(lambda: len(client.said) >= len(sent), "an echo of many records")
                    self.assertEqual(client.said[-len(sent):], sent)

    def test_resumption(self):
        with echo_coro() as port:
            for version in ("-tls1_2", "-tls1_3"):
                with SClient(port, version, "-sess_out", path("session")) as client:
                    client.wait_for(b"Verify return code: 0 (ok)")
                    client.write(b"hello\n")  # the TLS 1.3 ticket comes with the first answer
                    client.wait_for(b"hello\n")
                    wait_until(lambda: pathlib.Path(path("session")).exists(), "a session")
                with SClient(port, version, "-sess_in", path("session")) as client:
                    client.wait_for(b"Reused, ")
                    client.write(b"again\n")
                    client.wait_for(b"again\n")
                pathlib.Path(path("session")).unlink()

    def test_client_certificates(self):
        with echo_coro("--tls-client-ca", path("ca.pem")) as port:
            with SClient(port, "-cert", path("client.pem"), "-key", path("client.key")) as client:
                client.write(b"hello\n")
                client.wait_for(b"hello\n")
            with SClient(port) as client:
                client.write(b"hello\n")
                client.wait_for(b"alert certificate required")

    def test_renegotiation_is_refused(self):
        with echo_coro() as port, SClient(port, "-tls1_2") as client:
            client.wait_for(b"Verify return code: 0 (ok)")
            client.write(b"R\n")
            client.wait_for(b"no renegotiation")


@contextlib.contextmanager
def s_server(*options):
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(["openssl", "s_server", "-accept", str(port), "-cert", path("server.pem"), "-key", path("server.key"),
                               "-quiet", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)  # fmt: skip
    try:
        yield port, server
    finally:
        server.kill()
        server.communicate()


class OpensslServer(unittest.TestCase):
    def get(self, port):
        """The output of https_get, run as soon as the server listens."""
        def page():
            got = run(BUILD / "examples/example_https_get", f"localhost:{port}", "/", path("ca.pem"))
            return None if "Connection refused" in got.stderr else got

        return wait_until(page, "openssl s_server")

    def test_pages_of_both_versions(self):
        for version in ("-tls1_2", "-tls1_3"):
            with s_server(version, "-www") as (port, _):
                got = self.get(port)
                self.assertIn("HTTP/1.0 200 ok", got.stdout, got.stderr)
                self.assertIn("Protocol  : TLSv" + version[-3:].replace("_", "."), got.stdout)

    def test_an_end_without_a_goodbye_is_none(self):
        """The server is killed in the middle of its answer."""
        for version in ("-tls1_2", "-tls1_3"):
            with s_server(version) as (port, server):

                def kill_after_the_request(server=server):
                    while server.stdout.readline() not in (b"\r\n", b""):
                        pass
                    server.stdin.write(b"HTTP/1.1 200 OK\n")
                    time.sleep(0.2)  # it has to send that
                    server.kill()

                killing = threading.Thread(target=kill_after_the_request)
                killing.start()
                got = self.get(port)
                killing.join()
            self.assertEqual((got.stdout, got.returncode), ("HTTP/1.1 200 OK\n", 71))
            self.assertIn("closed the connection without close_notify", got.stderr)


class Curl(unittest.TestCase):
    @needs("curl")
    def test_what_curl_accepts_and_refuses(self):
        with https() as port:
            for options in ((), ("--tls-max", "1.2"), ("--http1.1", "--tlsv1.3")):
                got = run("curl", "-sS", "--cacert", path("ca.pem"), *options, f"https://localhost:{port}/")
                self.assertEqual((got.stdout, got.stderr), ("hello\n", ""))
            for options, told in (((), "unable to get local issuer certificate"), (("--tls-max", "1.1"), "")):
                got = run("curl", "-sS", *options, f"https://localhost:{port}/")
                self.assertNotEqual(got.returncode, 0)
                self.assertIn(told, got.stderr)
            got = run("curl", "-sS", "--cacert", path("ca.pem"), "--connect-to", f"wrong.example:{port}:{HOST}:{port}",
                      f"https://wrong.example:{port}/")  # fmt: skip
            self.assertIn("no alternative certificate subject name matches", got.stderr)

    @needs("wrk")
    def test_wrk(self):
        with https() as port:
            said = run("wrk", "-t1", "-c10", "-d1", f"https://{HOST}:{port}/").stdout
            self.assertNotIn("Socket errors", said)
            self.assertNotIn("Non-2xx", said)

    @needs("h2load")
    def test_h2load(self):
        with https() as port:
            said = run("h2load", "--h1", "-n", 200, "-c", 5, f"https://{HOST}:{port}/").stdout
            self.assertIn("Application protocol: http/1.1", said)
            self.assertIn("200 succeeded, 0 failed", said)


class Scanners(unittest.TestCase):
    @needs("sslscan")
    def test_sslscan(self):
        with echo_coro() as port:
            said = run("sslscan", "--no-colour", f"{HOST}:{port}").stdout
            for line in ("SSLv2     disabled", "SSLv3     disabled", "TLSv1.0   disabled", "TLSv1.1   disabled",
                         "TLSv1.2   enabled", "TLSv1.3   enabled", "Session renegotiation not supported",
                         "TLSv1.2 not vulnerable to heartbleed"):  # fmt: skip
                self.assertIn(line, said)
            self.assertNotRegex(said, r"Accepted .*(RC4|3DES|DES-|NULL|EXP|anon|MD5)")

    @needs("nmap")
    def test_nmap(self):
        with echo_coro() as port:
            said = run("nmap", "-Pn", "-p", port, "--script", "ssl-enum-ciphers", HOST).stdout
            self.assertIn("TLSv1.3", said)
            self.assertNotIn("TLSv1.1", said)
            self.assertIn("least strength: A", said)


def trusting():
    return ssl.create_default_context(cafile=path("ca.pem"))


class Python(unittest.TestCase):
    def test_client(self):
        with echo_coro() as port:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = trusting()
                context.maximum_version = version
                with socket.create_connection((HOST, port), PATIENCE_SECONDS) as below:
                    with context.wrap_socket(below, server_hostname="localhost", suppress_ragged_eofs=False) as client:
                        # In turn: two threads may not use one SSL object.
                        for size in (1, 16_384, 16_385, 50_000):
                            sent = os.urandom(size)
                            client.sendall(sent)
                            got = b""
                            while len(got) < len(sent):
                                got += client.recv(65536)
                            self.assertEqual(got, sent)
                        client.unwrap().close()  # both send close_notify

    def test_a_client_that_vanishes_and_one_that_only_writes(self):
        with echo_coro() as port:
            for _ in range(10):
                with socket.create_connection((HOST, port), PATIENCE_SECONDS) as below:
                    client = trusting().wrap_socket(below, server_hostname="localhost")
                    client.sendall(b"and away")
                    client.detach() if _ % 2 else client.close()
            with socket.create_connection((HOST, port), PATIENCE_SECONDS) as below:
                with trusting().wrap_socket(below, server_hostname="localhost") as client:
                    client.sendall(b"still there")
                    self.assertEqual(client.recv(100), b"still there")

    def test_server(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path("server.pem"), path("server.key"))
        with socket.create_server((HOST, 0)) as listener:
            def serve():
                for _ in range(4):
                    below, _ = listener.accept()
                    with contextlib.suppress(ssl.SSLError, ConnectionError), context.wrap_socket(below, server_side=True) as client:
                        while chunk := client.recv(65536):
                            client.sendall(chunk)
            thread = threading.Thread(target=serve)
            thread.start()
            port = listener.getsockname()[1]
            load = run(ECHO_BENCH, "--tls", "--ca", path("ca.pem"), "-t", 1, "-c", 4, "-e", 50, "--size", 20_000, "-p", port, "localhost")
            thread.join()
        self.assertIn("Throughput: ", load.stdout, load.stderr)
        self.assertRegex(load.stdout, r"(?s)Handshakes: \d full, \d resumed.*errors: 0")


class Go(unittest.TestCase):
    @needs("go")
    def test_client(self):
        source = pathlib.Path(__file__).parents[1] / "support/tls_client.go"
        environment = {**os.environ, "GOCACHE": path("gocache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
        built = subprocess.run(["go", "build", "-o", path("go_client"), str(source)], env=environment, capture_output=True,
                               text=True, timeout=600, check=False)  # fmt: skip
        self.assertEqual(built.returncode, 0, built.stderr)
        with echo_coro() as port:
            said = run(path("go_client"), f"{HOST}:{port}", path("ca.pem"))
            self.assertEqual((said.stdout, said.returncode), ("true false\ntrue true\n", 0), said.stderr)


class OurPrograms(unittest.TestCase):
    def bench(self, port, *options):
        return run(ECHO_BENCH, "--tls", "-t", 4, "-c", 5, "-e", 3, "-p", port, *options)

    def test_load_through_tls_on_several_workers(self):
        with echo_coro("--workers", 2) as port:
            load = self.bench(port, "--ca", path("ca.pem"), "localhost")
            self.assertRegex(load.stdout, r"(?s)Handshakes: 4 full, 16 resumed.*errors: 0", load.stderr)
            load = self.bench(port, "--ca", path("ca.pem"), "--full-handshakes", "localhost")
            self.assertRegex(load.stdout, r"(?s)Handshakes: 20 full, 0 resumed.*errors: 0", load.stderr)
            churn = run(ECHO_BENCH, "--tls", "--insecure", "--churn", "--duration", "300ms", "-t", 4, "-p", port)
            self.assertRegex(churn.stdout, r"(?s)Churn: .*errors: 0", churn.stderr)
            held = run(ECHO_BENCH, "--tls", "--insecure", "--hold", 20, "--hold-time", "100ms", "-p", port)
            self.assertIn("20 held, 0 failed", held.stdout, held.stderr)
            large = run(ECHO_BENCH, "--tls", "--insecure", "-t", 2, "-c", 1, "-e", 2, "--size", 3_000_000, "-p", port)
            self.assertIn("errors: 0", large.stdout, large.stderr)

    def test_refusals_say_what_to_do(self):
        with echo_coro(certificate="other") as port:
            for options, told in ((("--ca", path("ca.pem"), "localhost"), "the certificate is for other.example, not for localhost"),
                                  (("localhost",), "is not signed by an authority trusted here"),
                                  (("--ca", path("ca.pem"), "--sni", "other.example", "localhost"), None)):  # fmt: skip
                load = self.bench(port, *options)
                self.assertEqual(load.returncode, UNAVAILABLE if told else 0)
                self.assertIn(told or "", load.stderr)
        with echo_coro("--tls-client-ca", path("ca.pem")) as port:
            load = self.bench(port, "--ca", path("ca.pem"), "localhost")
            self.assertIn("the server wants a certificate of the client", load.stderr)
            load = self.bench(port, "--ca", path("ca.pem"), "--tls-cert", path("client.pem"), "--tls-key", path("client.key"), "localhost")
            self.assertIn("errors: 0", load.stdout, load.stderr)

    def test_options_that_are_wrong(self):
        for command, status, told in (
            ([ECHO_CORO, "--tls-cert", path("server.pem")], USAGE, "--tls-cert requires --tls-key"),
            ([ECHO_CORO, "--tls-client-ca", path("ca.pem")], USAGE, "requires --tls-cert"),
            ([ECHO_CORO, "--port", 0, "--tls-cert", path("none"), "--tls-key", path("none")], NO_INPUT, "No such file"),
            ([ECHO_CORO, "--port", 0, "--tls-cert", path("server.pem"), "--tls-key", path("client.key")], NO_INPUT,
             "does not fit the certificate of localhost"),
            ([ECHO_BENCH, "--ca", path("ca.pem")], USAGE, "requires --tls"),
            ([ECHO_BENCH, "--tls", "--insecure", "--ca", path("ca.pem")], USAGE, "excludes"),
            ([ECHO_BENCH, "--tls", "--ca", path("none")], NO_INPUT, "authorities cannot be read"),
        ):  # fmt: skip
            refused = run(*command)
            self.assertEqual(refused.returncode, status, refused.stderr)
            self.assertIn(told, refused.stderr)

    def test_what_is_no_tls_is_answered(self):
        with echo_coro() as port:
            for nonsense in (b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01" + os.urandom(200), b"\x80" * 50, os.urandom(5000)):
                with socket.create_connection((HOST, port), PATIENCE_SECONDS) as client:
                    client.sendall(nonsense)
                    with contextlib.suppress(OSError):
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(65536):
                            pass
            self.assertIn("errors: 0", self.bench(port, "--insecure").stdout)


if __name__ == "__main__":
    unittest.main()
