"""ringlet_top from outside: what it shows is true, and it restores the terminal."""

import contextlib
import fcntl
import http.server
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (HOST, NO_HOST, PATIENCE_SECONDS, RINGLET_TOP, UNAVAILABLE, UNWRITTEN, USAGE, EchoCoro,
                      port_of_nobody, run, wait_until)

PROTOCOL = 76  # sysexits(3): EX_PROTOCOL


def first_look(worker, turns, failed=0):
    """The metrics of a server with that many turns, half of them up to 16 us and the rest up to 131 us."""
    return f"""\
ringlet_worker_up{{worker="{worker}"}} 1
ringlet_backend_info{{worker="{worker}",backend="epoll",reason="a \\"reason\\", {{odd}}"}} 1
ringlet_phase{{worker="{worker}",phase="accepting"}} 0
ringlet_phase{{worker="{worker}",phase="draining"}} 1
ringlet_connections{{worker="{worker}"}} 12
ringlet_connections_failed_total{{worker="{worker}"}} {failed}
ringlet_accept_pauses_total{{worker="{worker}",cause="limit"}} {turns}
ringlet_accept_pauses_total{{worker="{worker}",cause="other"}} {turns}
ringlet_turn_duration_seconds_bucket{{worker="{worker}",le="0.000008192"}} 0
ringlet_turn_duration_seconds_bucket{{worker="{worker}",le="0.000016384"}} {turns // 2}
ringlet_turn_duration_seconds_bucket{{worker="{worker}",le="0.000131072"}} {turns}
ringlet_turn_duration_seconds_bucket{{worker="{worker}",le="+Inf"}} {turns}
"""


SERVER = """\
# HELP ringlet_build_info What the server was built from and with.
# TYPE ringlet_build_info gauge
ringlet_build_info{version="7.8.9",compiler="g++"} 1
something_of_a_later_version{worker="x",a="b"} 12 1700000000
process_start_time_seconds 1700000000.5
process_cpu_seconds_total 12.5
"""


@contextlib.contextmanager
def telling(*texts, status=200):
    """An HTTP server that serves these in order, then the last one for ever. Yields its address."""
    left = list(texts)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = (left.pop(0) if len(left) > 1 else left[0]).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class Measured(EchoCoro):
    def __init__(self, *arguments, metrics=f"{HOST}:0"):
        super().__init__("--metrics", metrics, *arguments)
        self.metrics = re.search(r", metrics on (\S+)\Z", self.first_line)[1]


def once(address, *options, status=0):
    """The first line of the table, and each other line as a dictionary."""
    ended = run(RINGLET_TOP, "--once", "--interval", "200ms", *options, address)
    assert (ended.returncode, ended.stderr) == (status, ""), (ended.returncode, ended.stderr)
    title, heads, *rows = ended.stdout.splitlines()
    return title, [dict(zip(heads.split(), row.split(), strict=True)) for row in rows]


class Once(unittest.TestCase):
    def test_a_server_with_one_worker_and_with_several(self):
        for workers in (1, 2):
            with self.subTest(workers), Measured("--workers", workers) as server, contextlib.ExitStack() as stack:
                for _ in range(10):
                    stack.enter_context(server.connect()).echoes()
                title, rows = once(server.metrics)
                self.assertRegex(title, rf"\A{server.metrics}  ringlet \d+\.\d+\.\d+, up 00:00:\d\d, {workers} worker"
                                        r"s?, 10 of \d+ connections, CPU \d+ %\Z")
                self.assertEqual([row["worker"] for row in rows], ["0"] if workers == 1 else ["0", "1", "all"])
                for row in rows:
                    self.assertEqual(row["state"], "ready")
                    self.assertEqual(row["overfl"], "0")
                self.assertEqual(sum(int(row["conns"]) for row in rows if row["worker"] != "all"), 10)
                self.assertEqual(rows[-1]["conns"], "10")
                self.assertGreaterEqual(int(rows[-1]["flight"]), 10)

    def test_rates_are_those_of_the_interval(self):
        with Measured() as server:
            def come_and_go():
                while not is_over.is_set():
                    with server.connect() as client:
                        client.echoes(b"x" * 1000)
            is_over = threading.Event()
            thread = threading.Thread(target=come_and_go)
            thread.start()
            try:
                row = once(server.metrics)[1][0]
            finally:
                is_over.set()
                thread.join()
            self.assertNotEqual(row["accept/s"], "0")
            self.assertNotEqual(row["turns/s"], "0")
            self.assertRegex(row["wait99"], r"\A[\d.]+(us|ms|s)\Z")

    def test_a_unix_socket(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-top-") as folder:
            with Measured(metrics=f"unix:{folder}/metrics") as server:
                self.assertEqual(once(server.metrics)[1][0]["state"], "ready")

    def test_what_is_told_is_what_is_shown(self):
        before = SERVER + first_look(0, 1000) + first_look(3, 0)
        now = SERVER + first_look(0, 3000, failed=5) + first_look(3, 0)
        with telling(before, now) as address:
            title, rows = once(address)
            self.assertRegex(title, r"  ringlet 7\.8\.9, up \d+d [\d:]+, 2 workers, 24 connections, CPU 0 %\Z")
            first, other, both = rows
            self.assertEqual((first["worker"], first["state"], first["backend"]), ("0", "draining", "epoll"))
            self.assertEqual(first["turn50"], "16us")
            self.assertEqual(first["turn99"], "129us")  # 98 % of the way from 16.4 to 131.1
            self.assertRegex(first["pause/s"], r"\A\d+(\.\dk)?\Z")
            self.assertNotEqual(first["fail/s"], "0")
            self.assertEqual((other["worker"], other["turn50"], other["fail/s"]), ("3", "-", "0"))
            self.assertEqual((both["conns"], both["turn50"]), ("24", "16us"))
            self.assertEqual(both["tasks"], "-")  # not reported

    def test_a_worker_that_does_not_answer(self):
        stuck = SERVER + first_look(0, 1000) + 'ringlet_worker_up{worker="1"} 0\n'
        with telling(stuck) as address:
            rows = once(address)[1]
            self.assertEqual([row["state"] for row in rows], ["draining", "stuck", "draining"])
            self.assertEqual(rows[1]["conns"], "-")

    def test_another_process_between_two_looks(self):
        later = SERVER.replace("1700000000.5", "1700000009.5")
        with telling(SERVER + first_look(0, 1000), later + first_look(0, 10)) as address:
            row = once(address)[1][0]
            self.assertEqual((row["pause/s"], row["turn50"], row["conns"]), ("-", "-", "12"))


class Refused(unittest.TestCase):
    def fails(self, status, said, *words):
        began = time.monotonic()
        ended = run(RINGLET_TOP, *words)
        self.assertEqual((ended.returncode, ended.stdout), (status, ""), ended.stderr)
        self.assertRegex(ended.stderr, rf"\Aringlet_top: [^\n]*{said}[^\n]*\n\Z")
        return time.monotonic() - began

    def test_nobody_listens(self):
        with port_of_nobody() as port:
            self.fails(UNAVAILABLE, "nobody listens", "--once", f"{HOST}:{port}")
        self.fails(UNAVAILABLE, "nobody listens", "--once", "unix:/tmp/ringlet-nobody-is-here")

    def test_not_the_metrics_of_a_ringlet_server(self):
        with Measured() as server:
            self.fails(PROTOCOL, "not .* a ringlet server", "--once", f"{HOST}:{server.port}")
        with telling("node_load1 0.5\n") as address:
            self.fails(PROTOCOL, "not .* a ringlet server", "--once", address)
        with telling("<html>\n") as address:
            self.fails(PROTOCOL, "not .* a ringlet server", "--once", address)
        with telling("no", status=404) as address:
            self.fails(PROTOCOL, "HTTP 404", "--once", address)

    def test_who_does_not_answer(self):
        with socket.create_server((HOST, 0)) as silent:
            self.fails(UNAVAILABLE, "no answer within 5 seconds", "--once", f"{HOST}:{silent.getsockname()[1]}")

    def test_bad_options(self):
        for words in ([], ["--once"], ["--interval", "5", "x:1"], ["--interval", "1ms", "x:1"], ["a:1", "b:1"]):
            self.fails(USAGE, "see --help", *words)
        self.fails(USAGE, "not an address", "--once", "nonsense")
        self.fails(USAGE, "no terminal", f"{HOST}:1")
        self.fails(NO_HOST, "", "--once", "nobody.invalid:1")

    def test_help_and_version(self):
        self.assertRegex(run(RINGLET_TOP, "--version").stdout, r"\Aringlet_top \d+\.\d+\.\d+\n\Z")
        ended = run(RINGLET_TOP, "--help")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertRegex(ended.stdout, r"(?s)Exit status: 0 .* 64 .* 69 .* 76 ")
        self.assertEqual([line for line in ended.stdout.splitlines() if len(line) > 100], [])

    def test_output_that_cannot_be_written(self):
        with Measured() as server, open("/dev/full", "w", encoding="utf-8") as full:
            ended = subprocess.run([RINGLET_TOP, "--once", "--interval", "100ms", server.metrics], stdout=full,
                                   stderr=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS, check=False)
            self.assertEqual(ended.returncode, UNWRITTEN)


class Page:
    """ringlet_top on its own terminal."""

    def __init__(self, address, lines=30, columns=200):
        self.terminal, self.inside = pty.openpty()
        self.resize(lines, columns)
        self.modes = termios.tcgetattr(self.inside)
        self.text = ""
        self.process = subprocess.Popen([RINGLET_TOP, "--interval", "100ms", address], stdin=self.inside,
                                        stdout=self.inside, stderr=self.inside, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)
        os.close(self.inside)

    def resize(self, lines, columns):
        fcntl.ioctl(self.inside, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self):
        while select.select([self.terminal], [], [], 0)[0]:
            self.text += os.read(self.terminal, 65536).decode()
        return self.text

    def shows(self, pattern, since_now=True):
        """Waits for this in what is drawn, from now on or since the last call."""
        self.read()
        if since_now:
            self.text = ""
        wait_until(lambda: re.search(pattern, self.read()), f"{pattern} in {self.text[-2000:]!r}")

    def ended(self):
        status = self.process.wait(PATIENCE_SECONDS)
        return status, termios.tcgetattr(self.inside) == self.modes, self.read().endswith("\033[?25h\033[?1049l")


class OnATerminal(unittest.TestCase):
    def test_q_and_signals_end_it_and_the_terminal_is_as_before(self):
        with Measured() as server:
            for end in (b"q", b"Q", b"\x03", signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                with self.subTest(end), Page(server.metrics) as page:
                    page.shows(r"(?s)\033\[H.*ringlet .*\r\n *worker .*ready")
                    self.assertFalse(termios.tcgetattr(page.inside)[3] & termios.ECHO)
                    if end == b"\x03":
                        # Without its own session no signal comes from the key, and the byte is not a `q`.
                        os.write(page.terminal, b"x" + end)
                        page.shows("ready")
                        page.process.send_signal(signal.SIGINT)
                    elif isinstance(end, bytes):
                        os.write(page.terminal, end)
                    else:
                        page.process.send_signal(end)
                    self.assertEqual(page.ended(), (0, True, True))

    def test_a_server_that_goes_and_comes_back(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-top-") as folder:
            address = f"unix:{folder}/metrics"
            with contextlib.ExitStack() as stack:
                with Measured(metrics=address):
                    page = stack.enter_context(Page(address))
                    page.shows("ready")
                page.shows(r"(?s)nobody listens there; asked again.*numbers of \d+ s ago")
                with Measured(metrics=address):
                    page.shows(r"Another process answers")
                    page.shows(r"ready")
                    os.write(page.terminal, b"q")
                    self.assertEqual(page.ended(), (0, True, True))

    def test_it_fits_the_terminal(self):
        with Measured("--workers", 2) as server, Page(server.metrics, lines=4, columns=60) as page:
            page.shows(r"\033\[H[^\n]*\n[^\n]*worker[^\n]*conns[^\n]*\n")
            for frame in page.text.split("\033[H")[1:-1]:
                lines = [re.sub(r"\033\[\??\w+?[a-zA-Z]|\033\[[A-Z]", "", line) for line in frame.split("\r\n")]
                self.assertLessEqual(len(lines), 4)
                self.assertLessEqual(max(map(len, lines)), 60, lines)
            page.resize(30, 200)
            page.process.send_signal(signal.SIGWINCH)
            page.shows("overfl")

    def test_a_terminal_that_was_stopped(self):
        with Measured() as server, Page(server.metrics) as page:
            page.shows("ready")
            termios.tcflow(page.inside, termios.TCOOFF)
            time.sleep(0.3)
            page.process.send_signal(signal.SIGTERM)
            self.assertEqual(page.process.wait(PATIENCE_SECONDS), 0)
            self.assertEqual(termios.tcgetattr(page.inside), page.modes)

    def test_a_terminal_that_nobody_reads(self):
        with Measured("--workers", 8) as server, Page(server.metrics) as page:
            page.shows("ready")
            time.sleep(3)
            os.write(page.terminal, b"q")
            self.assertEqual(page.process.wait(PATIENCE_SECONDS), 0)

    def test_stopped_and_continued(self):
        with Measured() as server, Page(server.metrics) as page:
            page.shows("ready")
            page.process.send_signal(signal.SIGTSTP)
            stat = pathlib.Path(f"/proc/{page.process.pid}/stat")
            wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it to stop")
            self.assertEqual(termios.tcgetattr(page.inside), page.modes)
            page.read()
            page.text = ""
            page.process.send_signal(signal.SIGCONT)
            page.shows(r"(?s)\033\[\?1049h.*ready", since_now=False)
            os.write(page.terminal, b"q")
            self.assertEqual(page.ended(), (0, True, True))


if __name__ == "__main__":
    unittest.main()
