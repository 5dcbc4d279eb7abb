"""echo_coro --metrics from outside: what it reports to Prometheus, and that scrapes do not disturb clients."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (BACKEND, DENY, ECHO_BENCH, ECHO_CORO, HOST, PATIENCE_SECONDS, ROOT, UNAVAILABLE, Connection,
                      EchoCoro, run, wait_until)
from echo_coro_test import wait_until_refused
from prometheus import Scrape, names_in

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
HEAD_BYTES_LIMIT, CONNECTIONS_LIMIT = 8192, 16  # MetricsService


class Measured(EchoCoro):
    """echo_coro with metrics on a free port."""

    def __init__(self, *arguments, **options):
        super().__init__("--metrics", f"{HOST}:0", *arguments, **options)
        self.metrics_port = int(re.search(rf", metrics on {HOST}:(\d+)\Z", self.first_line)[1])
        self.url = f"http://{HOST}:{self.metrics_port}"
        wait_until(lambda: self.get("/readyz")[0] == 200, "the server to be ready")

    def get(self, path="/metrics", accept="*/*", method="GET"):
        """The status, content type and text of a response."""
        request = urllib.request.Request(self.url + path, headers={"Accept": accept}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.headers["Content-Type"], refused.read().decode()

    def scrape(self, openmetrics=False):
        status, kind, text = self.get(accept=OPENMETRICS if openmetrics else "*/*")
        assert status == 200 and kind.startswith(OPENMETRICS if openmetrics else "text/plain; version=0.0.4"), kind
        scrape = Scrape(text, openmetrics)
        assert not scrape.complaints, scrape.complaints
        return scrape

    def raw(self, request, finish=False):
        """Sends bytes that need not be HTTP, and returns everything up to the end."""
        with Connection(HOST, self.metrics_port) as client:
            client.sendall(request)
            if finish:
                client.shutdown(socket.SHUT_WR)
            return client.receive_to_the_end("an answer of the metrics")


class Metrics(unittest.TestCase):
    def test_both_forms_are_right_and_say_the_same(self):
        for workers in (1, 2):
            with self.subTest(workers), Measured("--workers", workers) as server:
                plain, openly = server.scrape(), server.scrape(openmetrics=True)
                self.assertEqual(plain.samples.keys(), openly.samples.keys())
                self.assertGreater(len(plain.types), 25)
                for index in range(workers):
                    self.assertEqual(plain.value("ringlet_worker_up", worker=str(index)), 1)
                    self.assertEqual(plain.value("ringlet_phase", worker=str(index), phase="accepting"), 1)
                backends = {dict(labels)["backend"] for name, labels in plain.samples if name == "ringlet_backend_info"}
                self.assertEqual(backends, {BACKEND})

    @unittest.skipUnless(shutil.which("promtool"), "promtool is missing: install the package prometheus")
    def test_promtool_finds_nothing(self):
        with Measured() as server:
            checked = subprocess.run(["promtool", "check", "metrics"], input=server.get()[2], text=True,
                                     capture_output=True, timeout=60, check=False)
            self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))

    def test_counts_are_those_of_the_clients(self):
        for workers in (1, 2):
            with self.subTest(workers), Measured("--workers", workers) as server:
                with contextlib.ExitStack() as stack:
                    clients = [stack.enter_context(server.connect()) for _ in range(10)]
                    for client in clients:
                        client.echoes()
                    wait_until(lambda: self.in_flight(server.scrape(), "recv") == 10, "each handler to receive again")
                    scrape = server.scrape()
                    self.assertEqual(scrape.total("ringlet_connections"), 10)
                    self.assertEqual(scrape.total("ringlet_connections_accepted_total"), 10)
                    self.assertEqual(self.in_flight(scrape, "send"), 0)
                    self.assertEqual(self.in_flight(scrape, "accept"), workers)
                wait_until(lambda: server.scrape().total("ringlet_connections") == 0, "all to be gone")
                self.assertEqual(server.scrape().total("ringlet_connections_accepted_total"), 10)

    def in_flight(self, scrape, kind):
        return sum(value for (name, labels), value in scrape.samples.items()
                   if name == "ringlet_operations_in_flight" and dict(labels)["kind"] == kind)

    def test_bytes_are_those_of_the_clients(self):
        with Measured("--workers", 2) as server, contextlib.ExitStack() as stack:
            for size in (1, 10, 1000, 100_000):
                client = stack.enter_context(server.connect())
                for _ in range(3):
                    client.echoes(b"x" * size)
            scrape = server.scrape()  # not served by the workers
            self.assertEqual(scrape.total("ringlet_received_bytes_total"), 3 * 101_011)
            self.assertEqual(scrape.total("ringlet_sent_bytes_total"), 3 * 101_011)

    def test_the_process_says_when_it_began(self):
        before = time.time()
        with Measured() as server:
            first = server.scrape().value("process_start_time_seconds")
            self.assertLess(abs(first - before), PATIENCE_SECONDS)
            self.assertEqual(server.scrape().value("process_start_time_seconds"), first)

    def test_scrapes_while_load_runs(self):
        for workers in (1, 2):
            with self.subTest(workers), Measured("--workers", workers) as server:
                load = subprocess.Popen([ECHO_BENCH, "-p", str(server.port), "-t", "40", "-c", "5", "-e", "300", HOST],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                before = server.scrape()
                scrapes = 0
                while load.poll() is None:
                    now = server.scrape(openmetrics=scrapes % 2 == 1)
                    scrapes += 1
                    for name, labels in before.samples:
                        if name.endswith(("_total", "_count", "_sum", "_bucket")):
                            self.assertGreaterEqual(now.samples[name, labels], before.samples[name, labels], name)
                    before = now
                said = load.communicate()[0]
                self.assertEqual(load.returncode, 0, said)
                self.assertRegex(said, r"errors: 0\n\Z")
                self.assertGreater(scrapes, 1)
                last = server.scrape()
                self.assertEqual(last.total("ringlet_connections_accepted_total"), 200)
                self.assertGreater(last.total("ringlet_turn_duration_seconds_count"), 100)
                # Every resumption of a measured turn; the current turn is not measured yet.
                self.assertLessEqual(last.total("ringlet_ready_wait_seconds_count"),
                                     last.total("ringlet_resumptions_total"))
                self.assertGreater(last.total("ringlet_ready_wait_seconds_count"), 1000)

    def test_curl_gets_it_on_a_unix_socket(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-metrics-") as folder:
            path = pathlib.Path(folder, "metrics.sock")
            with EchoCoro("--metrics", f"unix:{path}") as server:
                self.assertTrue(server.first_line.endswith(f", metrics on unix:{path}"))
                got = run("curl", "-sS", "--unix-socket", path, "http://echo/metrics")
                self.assertEqual((got.returncode, got.stderr), (0, ""))
                self.assertEqual(Scrape(got.stdout).complaints, [])
            self.assertFalse(path.exists())

    def test_a_refused_io_uring_says_why(self):
        if not DENY.exists():
            self.skipTest("tests/deny is not built")
        environment = {key: value for key, value in os.environ.items() if key != "RINGLET_BACKEND"}
        under = [DENY, "EPERM", "io_uring_setup", "--"]
        with Measured(under=under, env=environment) as server:
            server.expected_errors = r"(?s).*"
            scrape = server.scrape()
            labels = next(dict(labels) for name, labels in scrape.samples if name == "ringlet_backend_info")
            self.assertEqual(labels["backend"], "epoll")
            self.assertIn("seccomp", labels["reason"])

    def test_the_limit_and_the_idle_timeout_are_counted(self):
        with Measured("--max-connections", 2, "--idle-timeout", "50ms") as server:
            first, second, third = (server.connect() for _ in range(3))
            for client in (first, second, third):  # the third is served when the others have timed out
                client.receive_to_the_end()
                client.close()
            scrape = server.scrape()
            self.assertEqual(scrape.value("ringlet_connections_limit"), 2)
            self.assertGreater(scrape.value("ringlet_accept_pauses_total", worker="0", cause="limit"), 0)
            self.assertEqual(scrape.value("ringlet_timeouts_total", worker="0", kind="idle"), 3)

    def test_an_address_in_use_is_named_in_one_line(self):
        with socket.create_server((HOST, 0)) as other:
            address = f"{HOST}:{other.getsockname()[1]}"
            for workers in (1, 2):
                ended = run(ECHO_CORO, "--port", 0, "--workers", workers, "--metrics", address)
                self.assertEqual((ended.returncode, ended.stdout), (UNAVAILABLE, ""))
                self.assertRegex(ended.stderr, rf"\Aecho_coro: metrics: cannot listen on {address}: [^\n]*\n\Z")


class Requests(unittest.TestCase):
    def test_what_is_not_there_and_what_is_not_allowed(self):
        with Measured() as server:
            for path in ("/", "/metric", "/metrics/", "/metrics/x", "//metrics", "/healthz%20"):
                self.assertEqual(server.get(path)[0], 404, path)
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
                self.assertEqual(server.get(method=method)[0], 405, method)
            self.assertEqual(server.get("/metrics?format=x")[0], 200)
            status, kind, text = server.get(method="HEAD")
            self.assertEqual((status, text), (200, ""))
            self.assertTrue(kind.startswith("text/plain"))

    def test_garbage_is_refused_and_the_connection_ends(self):
        with Measured() as server:
            for request in (b"\r\n\r\n", b"hello\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET /metrics HTTP/2\r\n\r\n",
                            b"\x16\x03\x01\x00\xff" * 20 + b"\r\n\r\n", b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
                            b"GET " + b"/" * (HEAD_BYTES_LIMIT + 10), bytes(range(256)) * 40):
                answer = server.raw(request)
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), (request[:40], answer))
            # More than the server reads: the end is still no reset, which would discard the answer.
            answer = server.raw(b"x" * (8 << 20))
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
            self.assertTrue(server.raw(b"GET /met", finish=True).startswith(b"HTTP/1.1 400 "))
            self.assertEqual(server.raw(b"", finish=True), b"")
            self.assertEqual(server.scrape().total("ringlet_worker_up"), 1)

    def test_a_head_in_pieces_and_a_second_request(self):
        with Measured() as server, Connection(HOST, server.metrics_port) as client:
            for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
                client.sendall(bytes([byte]))
            client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")  # not answered: one request per connection
            answer = client.receive_to_the_end()
            self.assertEqual(answer.count(b"HTTP/1.1"), 1)
            self.assertTrue(answer.endswith(b"\r\n\r\nok\n"), answer)

    def test_who_asks_slowly_or_never_disturbs_nobody(self):
        for workers in (1, 2):
            with self.subTest(workers), Measured("--workers", workers) as server, contextlib.ExitStack() as stack:
                descriptors = server.descriptor_count()
                for count in range(CONNECTIONS_LIMIT + 4):
                    silent = stack.enter_context(Connection(HOST, server.metrics_port, receive_buffer_bytes=2048))
                    # Some send nothing; some send a request and do not read.
                    silent.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" if count % 2 else b"GET")
                with server.connect() as client:
                    for _ in range(200):
                        client.echoes(b"x" * 1000)
                    self.assertLessEqual(server.descriptor_count(), descriptors + CONNECTIONS_LIMIT + 2)
                # Their time is limited, so waiting clients are served.
                self.assertEqual(server.get("/healthz")[0], 200)

    def test_who_vanishes_disturbs_nobody(self):
        with Measured() as server:
            for _ in range(200):
                client = Connection(HOST, server.metrics_port)
                client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                client.reset()
            self.assertEqual(server.get("/readyz")[0], 200)


class Health(unittest.TestCase):
    def test_ready_until_it_drains_and_healthy_to_the_end(self):
        for workers in (1, 2):
            with self.subTest(workers), Measured("--workers", workers, "--drain-timeout", "10min") as server:
                clients = [server.connect() for _ in range(20)]
                for client in clients:
                    client.echoes()
                self.assertEqual(server.get("/readyz"), (200, "text/plain; charset=utf-8", "ok\n"))
                self.assertEqual(server.get("/healthz")[0], 200)
                server.process.send_signal(signal.SIGTERM)
                wait_until_refused(server)
                self.assertEqual(server.get("/readyz"), (503, "text/plain; charset=utf-8", "draining\n"))
                for client in clients[1:]:  # some workers may end before others
                    client.close()
                wait_until(lambda: server.scrape().total("ringlet_connections") == 1, "one to be left")
                self.assertEqual(server.get("/healthz")[0], 200)
                self.assertEqual(server.get("/readyz")[0], 503)
                clients[0].echoes()
                clients[0].close()
                self.assertEqual(server.wait("after its last connection"), 0)


class Deploy(unittest.TestCase):
    """The dashboard and the alerts use existing metrics."""

    @classmethod
    def setUpClass(cls):
        with Measured() as server:
            cls.names = server.scrape().names()

    def check(self, expression, where):
        used = names_in(re.sub(r"\$__rate_interval", "5m", expression))
        self.assertTrue(used, where)
        self.assertEqual(used - self.names, set(), f"{where} uses what no server tells: {expression}")
        self.assertEqual(expression.count("("), expression.count(")"), where)
        return used

    def test_the_dashboard_is_whole(self):
        dashboard = json.loads((ROOT / "deploy/grafana_dashboard.json").read_text())
        used = set()
        taken = set()
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                used |= self.check(target["expr"], panel["title"])
                self.assertIn("$instance", target["expr"])
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, f"{panel['title']} lies on another panel")
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
        self.assertEqual(len({panel["id"] for panel in dashboard["panels"]}), len(dashboard["panels"]))
        queries = [variable["query"]["query"] for variable in dashboard["templating"]["list"]
                   if variable["type"] == "query"]
        for query in queries:
            self.assertIn(re.match(r"label_values\((\w+), \w+\)", query)[1], self.names)
        self.assertGreater(len(used), 20)

    def test_the_alerts_are_rules_and_say_what_to_do(self):
        try:
            import yaml  # not in the standard library: only here
        except ImportError:
            self.skipTest("PyYAML is missing: install the package python3-yaml")
        path = ROOT / "deploy/prometheus_alerts.yaml"
        page = (ROOT / "docs/guides/operations.md").read_text()
        rules = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
        self.assertEqual(len({rule["alert"] for rule in rules}), len(rules))
        self.assertGreater(len(rules), 5)
        for rule in rules:
            self.assertLessEqual(set(rule), {"alert", "expr", "for", "labels", "annotations"})
            self.check(rule["expr"], rule["alert"])
            self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
            self.assertEqual(set(rule["annotations"]), {"summary", "description"})
            self.assertIn(f"`{rule['alert']}`", page)
        if shutil.which("promtool"):
            checked = run("promtool", "check", "rules", path)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_the_page_lists_every_metric_and_no_other(self):
        page = (ROOT / "docs/guides/operations.md").read_text()
        section = page[page.index("### What is told"):page.index("### What to watch")]
        listed = set(re.findall(r"^\| `([a-z_]+)(?:\{[^`]*\})?` \|", section, re.M))
        told = {re.sub(r"(?<=_seconds)_(bucket|sum|count)\Z", "", name) for name in self.names}
        self.assertEqual(listed, told)


if __name__ == "__main__":
    unittest.main()
