"""Programs started without stdin, stdout or stderr must not open anything else with those numbers: a report would
go to a client, to a server or into a file."""

import json
import os
import pathlib
import signal
import socket
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (ECHO_BENCH, ECHO_CORO, HOST, PATIENCE_SECONDS, RINGLET_DOCTOR, RINGLET_TOP, UNWRITTEN, EchoCoro,
                      Program, run, wait_until)

CLOSED = ("<&-", ">&-", "2>&-", "<&- >&- 2>&-")
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: ringlet\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
ANSWER = b'HTTP/1.1 200 OK\r\n\r\nringlet_build_info{version="1.2.3"} 1\nringlet_worker_up{worker="0"} 1\n'


def without(closed, *command):
    return ["sh", "-c", f'exec "$@" {closed}', "sh", *map(str, command)]


class ClosedStreams(unittest.TestCase):
    def test_echo_coro(self):
        for closed in CLOSED:
            with self.subTest(closed), tempfile.TemporaryDirectory() as folder:
                path = f"{folder}/socket"
                server = Program(*without(closed, ECHO_CORO, "--quiet", "--listen", f"unix:{path}", "--metrics",
                                          f"unix:{folder}/metrics", "--backdoor", f"unix:{folder}/door"))
                with server, socket.socket(socket.AF_UNIX) as client:
                    server.expected_errors = r"(?s).*" # its list of tasks, if stderr is open
                    client.settimeout(PATIENCE_SECONDS)
                    wait_until(lambda: client.connect_ex(path) == 0, "the server to listen")
                    for _ in range(3):
                        server.process.send_signal(signal.SIGUSR1)
                        client.sendall(b"hello")
                        self.assertEqual(client.recv(1000), b"hello")
                    for number in (0, 1, 2):
                        kind = os.readlink(f"/proc/{server.pid}/fd/{number}").partition(":")[0]
                        self.assertNotIn(kind, ("socket", "anon_inode"), number)

    def test_echo_bench(self):
        with EchoCoro() as server, tempfile.TemporaryDirectory() as folder:
            files = {option: pathlib.Path(folder, option) for option in ("json", "hgrm", "hlog")}
            options = [word for option, path in files.items() for word in (f"--{option}", path)]
            for closed in CLOSED:
                with self.subTest(closed):
                    ended = run(*without(closed, ECHO_BENCH, "-p", server.port, "-t", 2, "-c", 1, "-e", 10, *options))
                    self.assertEqual(ended.returncode, UNWRITTEN if ">&-" in closed.replace("2>&-", "") else 0)
                    self.assertEqual(json.loads(files["json"].read_text())["total"]["requests"], 20)
                    for name, beginning in (("hgrm", " "), ("hlog", "#")):
                        text = files[name].read_text()
                        self.assertTrue(text.startswith(beginning), text[:80])
                        self.assertNotIn("Throughput", text)

    def test_ringlet_doctor(self):
        usual = run(RINGLET_DOCTOR, "--json").returncode
        for closed in CLOSED:
            with self.subTest(closed):
                ended = run(*without(closed, RINGLET_DOCTOR, "--json"))
                self.assertEqual(ended.returncode, UNWRITTEN if ">&-" in closed.replace("2>&-", "") else usual)

    def test_ringlet_top(self):
        for closed in CLOSED:
            asked = []
            with self.subTest(closed), socket.create_server((HOST, 0)) as metrics:
                def answer():
                    for _ in range(2):
                        with metrics.accept()[0] as client:
                            asked.append(client.recv(4096))
                            client.sendall(ANSWER)
                            client.shutdown(socket.SHUT_WR)
                            while more := client.recv(4096):
                                asked.append(more)

                metrics.settimeout(PATIENCE_SECONDS)
                thread = threading.Thread(target=answer)
                thread.start()
                address = f"{HOST}:{metrics.getsockname()[1]}"
                ended = run(*without(closed, RINGLET_TOP, "--once", "--interval", "100ms", address))
                thread.join()
                self.assertEqual(ended.returncode, UNWRITTEN if ">&-" in closed.replace("2>&-", "") else 0)
                self.assertEqual(asked, [REQUEST, REQUEST])


if __name__ == "__main__":
    unittest.main()
