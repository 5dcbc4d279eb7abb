"""The files that echo_bench writes: any tool that knows their format can read them, and they hold what was
measured."""

import json
import os
import pathlib
import platform
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hdr_histogram
from json_schema import complaints
from load_client import Client, bench
from programs import (CANNOT_CREATE, ECHO_BENCH, HOST, PATIENCE_SECONDS, ROOT, UNAVAILABLE, UNWRITTEN, USAGE,
                      EchoCoro, run)
from scripted_server import ScriptedServer

SCHEMA = json.loads((ROOT / "docs/guides/echo_bench.schema.json").read_text())

# Reads a log (its first argument) with a third-party library; prints every histogram as percentiles, and the
# number of samples in the whole log.
READ_BY_JS = """
const hdr = require('hdr-histogram-js'), log = require('fs').readFileSync(process.argv[1], 'utf8');
const reader = new hdr.HistogramLogReader(log);
for (let h; (h = reader.nextIntervalHistogram()) !== null;) {
    process.stdout.write(JSON.stringify({tag: h.tag, text: h.outputPercentileDistribution(5, 1e6)}) + '\\n');
}
"""


class Files(Client):
    def setUp(self):
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        self.files = {name: self.folder / f"result.{name}" for name in ("json", "hgrm", "hlog")}
        self.server = self.enter(EchoCoro())

    def measure(self, *load):
        """Runs a load, and returns the contents of the three files."""
        options = [word for name, path in self.files.items() for word in (f"--{name}", path)]
        self.ends(bench(self.server.port, *load, *options), 0, errors=0)
        told = json.loads(self.files["json"].read_text())
        self.assertEqual(list(complaints(told, SCHEMA)), [])
        return told, self.files["hgrm"].read_text(), self.files["hlog"].read_text()

    def test_json_says_what_was_measured(self):
        began = time.monotonic()
        told, _, _ = self.measure("-t", 4, "-c", 3, "-e", 10, "--size", 100)
        took = time.monotonic() - began
        self.assertEqual(told["settings"], {
            "server": f"{HOST}:{self.server.port}", "coroutines": 4, "connections_each": 3,
            "echoes_each": 10, "pipeline": 1, "message_bytes": 100,
            "message_crc32": told["settings"]["message_crc32"], "messages_numbered": True,
            "churn": False, "duration_s": 0, "warmup_s": 0, "timeout_s": 30, "rate_per_s": 0,
            "busy_poll_us": 0})
        total, (one,) = told["total"], told["runs"]
        for figures in (total, one):
            expected = {"requests": 120, "errors": 0, "first_error": "", "connections_made": 12,
                        "connections_failed": 0, "late_sends": 0}
            self.assertEqual({key: figures[key] for key in expected}, expected)
            self.assertAlmostEqual(figures["throughput_per_s"] * figures["wall_s"], 120, delta=0.01)
            latency = figures["latency_us"]
            self.assertEqual(list(latency), ["samples", "min", "mean", "p50", "p90", "max"])
            self.assertEqual(latency["samples"], 120)
            ordered = [latency[key] for key in ("min", "p50", "p90", "max")]
            self.assertEqual(ordered, sorted(ordered))
            self.assertGreater(latency["min"], 0)
        self.assertEqual(sum(hdr_histogram.decode(one["latency_histogram"]).values()), 120)
        self.assertGreater(one["client_cpu_s"], 0)
        self.assertLess(one["client_cpu_s"] + one["client_cpu_wait_s"], took)

    def test_client_that_has_no_core_knows_that_it_sent_late(self):
        """It is stopped at its first request, for 1.5 s of a run of 2 s. Requests due meanwhile have not been
        sent, so none of them can be waiting for a slow server instead."""
        client, started, once = None, threading.Event(), threading.Semaphore(1)

        def stops_the_client(connection, whole):
            message = whole()
            if once.acquire(blocking=False):
                started.wait(PATIENCE_SECONDS)
                client.send_signal(signal.SIGSTOP)
                select.select([], [], [], 1.5)
                client.send_signal(signal.SIGCONT)
            connection.sendall(message)

        with ScriptedServer(stops_the_client) as server:
            client = subprocess.Popen(
                [ECHO_BENCH, "-p", str(server.port), "-t", "100", "-c", "1", "-e", "1", "--rate", "50",
                 "--json", self.files["json"]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            started.set()
            _, said = client.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual(client.returncode, 0, said)
        total = json.loads(self.files["json"].read_text())["total"]
        self.assertIn("late_sends", total["client_limits"])
        self.assertGreater(total["late_sends"], 40)
        self.assertGreater(total["latest_send_us"], 250_000)
        self.assertRegex(said, r"the client sent \d+ of 100 requests more than 1 ms late, one \d+\.\d ms")

    def test_json_says_who_measured(self):
        told, _, _ = self.measure("-t", 1, "-c", 1, "-e", 1)
        client = told["runs"][0]["client"]
        self.assertEqual(client["command_line"][1:6],
                         ["-p", str(self.server.port), "-t", "1", "-c"])
        self.assertRegex(client["program"], r"\Aecho_bench \d+\.\d+\.\d+\Z")
        self.assertRegex(client["build"]["compiler"], r"\A(GNU|Clang) \d+\.")
        self.assertRegex(client["backend"], r"io_uring|epoll")
        machine = client["machine"]
        self.assertEqual((machine["name"], machine["architecture"]),
                         (platform.node(), platform.machine()))
        self.assertIn(platform.release(), machine["kernel"])
        self.assertEqual(machine["cpus_allowed"], len(os.sched_getaffinity(0)))
        self.assertGreater(machine["memory_bytes"], 1 << 20)
        folder = pathlib.Path("/sys/devices/system/cpu/vulnerabilities")
        self.assertEqual(machine["mitigations"],
                         {path.name: path.read_text().strip() for path in folder.glob("*")})
        control = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
        self.assertEqual(machine["congestion_control"], control.read_text().strip())

    def test_hgrm_and_hlog_hold_the_same_samples(self):
        told, hgrm, hlog = self.measure("-t", 10, "-c", 2, "-e", 200)
        (tag, begin, length, largest, counts), = hdr_histogram.read_log(hlog)
        self.assertEqual((tag, begin, sum(counts.values())), ("", 0, 4000))
        self.assertAlmostEqual(length, told["total"]["wall_s"], delta=0.0006)
        self.assertAlmostEqual(largest, told["total"]["latency_us"]["max"] / 1e3, delta=0.0006)
        self.assertEqual(counts, hdr_histogram.decode(told["runs"][0]["latency_histogram"]))
        self.assertEqual(hgrm, hdr_histogram.percentiles(counts))

    def test_churn_has_a_log_of_connections(self):
        told, hgrm, hlog = self.measure("-t", 2, "-e", 3, "--churn", "--duration", "1s")
        echoes, connections = hdr_histogram.read_log(hlog)
        self.assertEqual((echoes[0], connections[0]), ("", "connections"))
        self.assertEqual(sum(echoes[4].values()), told["total"]["requests"])
        self.assertEqual(sum(connections[4].values()), told["total"]["connections_whole"])
        self.assertEqual(hgrm, hdr_histogram.percentiles(connections[4]))

    def test_hlog_is_read_by_hdr_histogram_js(self):
        why = why_no_hdr_histogram_js()
        if why:
            self.skipTest(why)
        _, hgrm, _ = self.measure("-t", 4, "-c", 2, "-e", 300)
        read, = self.read_by_js()
        self.assertEqual(read["text"], hgrm)
        _, hgrm, _ = self.measure("-t", 2, "--churn", "--duration", "1s")
        _, connections = self.read_by_js()
        self.assertEqual((connections["tag"], connections["text"]), ("connections", hgrm))

    def read_by_js(self):
        ended = run("node", "-e", READ_BY_JS, self.files["hlog"], env=node_environment())
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        return [json.loads(line) for line in ended.stdout.splitlines()]


class Unwritable(Client):
    """Status 73: before the measurement where possible, and never with half a file left."""

    def setUp(self):
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        self.server = self.enter(EchoCoro())

    def measure(self, *arguments, **options):
        return bench(self.server.port, "-t", 4, "-c", 1, "-e", 1000, *arguments, **options)

    def cannot_write(self, ended, path, why):
        self.ends(ended, CANNOT_CREATE, errors=0)
        self.assertRegex(ended.stderr, rf"(?m)^echo_bench: cannot write {path}: {why}\n\Z")

    def test_path_that_leads_nowhere_is_refused_first(self):
        for load in (("-t", 1, "--duration", "60min"), ("--hold", 3)):
            for option in ("--json", "--hgrm", "--hlog") if load[0] == "-t" else ("--json",):
                for path, why in ((self.folder / "missing/result", "No such file"),
                                  (self.folder, "Is a directory")):
                    with self.subTest(load=load, option=option, path=path):
                        ended = bench(self.server.port, *load, option, path)
                        self.refuses(ended, CANNOT_CREATE, f"cannot write {path}: {why}")

    def test_device_without_room(self):
        for option in ("--json", "--hgrm", "--hlog"):
            with self.subTest(option=option):
                self.cannot_write(self.measure(option, "/dev/full"), "/dev/full", "No space left on device")
        held = bench(self.server.port, "--hold", 2, "--hold-time", "1ms", "--json", "/dev/full")
        self.assertEqual(held.returncode, CANNOT_CREATE)

    def test_no_half_of_a_file_is_left(self):
        """A limit on the file size simulates a full disk."""
        new, old = self.folder / "new", self.folder / "old"
        for option in ("--json", "--hgrm", "--hlog"):
            for path in (new, old):
                with self.subTest(option=option, path=path):
                    old.write_text("what was there before")
                    ended = self.measure(option, path, preexec_fn=no_large_files)
                    self.cannot_write(ended, path, "File too large")
                    self.assertFalse(new.exists())
                    self.assertEqual(old.stat().st_size, 0 if path == old else 21)

    def test_without_a_result_files_stay_as_they_were(self):
        new, old = self.folder / "new", self.folder / "old"
        old.write_text("what was there before")
        with socket.create_server((HOST, 0)) as stranger:
            port = stranger.getsockname()[1]
        for load in (("-t", 1, "-c", 1, "-e", 1), ("--hold", 2)):
            for path in (new, old):
                ended = bench(port, *load, "--json", path)
                self.assertEqual(ended.returncode, UNAVAILABLE, ended.stderr)
        self.assertFalse(new.exists())
        self.assertEqual(old.read_text(), "what was there before")

    def test_longer_file_is_replaced_and_a_pipe_is_written(self):
        path = self.folder / "old"
        path.write_text("x" * 100_000)
        self.ends(self.measure("--json", path), 0, errors=0)
        self.assertEqual(json.loads(path.read_text())["total"]["requests"], 4000)
        ended = self.measure("--json", "/dev/stdout")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(json.loads(ended.stdout[ended.stdout.index("\n{"):])["kind"], "load")


def no_large_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))


def node_environment():
    """Finds packages installed with -g, too."""
    folders = [os.environ.get("NODE_PATH", "")]
    if shutil.which("npm"):
        folders.append(run("npm", "root", "-g").stdout.strip())
    return {**os.environ, "NODE_PATH": os.pathsep.join(filter(None, folders))}


def why_no_hdr_histogram_js():
    if not shutil.which("node"):
        return "node is missing: install nodejs and npm, and then npm install -g hdr-histogram-js"
    found = run("node", "-e", "require.resolve('hdr-histogram-js')", env=node_environment())
    return "hdr-histogram-js is missing: npm install -g hdr-histogram-js" if found.returncode else None


class ClosedStreams(Client):
    def test_a_result_is_not_printed_into(self):
        """The next file opened would get the number of the closed stream."""
        folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        server = self.enter(EchoCoro())
        result = folder / "result.json"
        for closed, status in ((">&-", UNWRITTEN), ("2>&-", 0), ("<&-", 0), ("<&- >&- 2>&-", UNWRITTEN)):
            with self.subTest(closed):
                ended = run("sh", "-c", f'"$@" {closed}', "sh", ECHO_BENCH, "-p", server.port, "-t", 2, "-c", 1,
                            "-e", 10, "--json", result)  # fmt: skip
                self.assertEqual(ended.returncode, status, ended.stderr)
                self.assertEqual(json.loads(result.read_text())["total"]["requests"], 20)


class Outputs(Client):
    """Which files may be written together."""

    def setUp(self):
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        self.server = self.enter(EchoCoro())

    def measure(self, *arguments):
        return bench(self.server.port, "-t", 2, "-c", 1, "-e", 10, *arguments)

    def in_a_shell(self, redirections, *arguments):
        return run("sh", "-c", f'cd {self.folder} && "$@" {redirections}', "sh", ECHO_BENCH, "-p", self.server.port,
                   "-t", 2, "-c", 1, "-e", 10, *arguments)  # fmt: skip

    def test_stdout(self):
        plain = self.measure("--json", "-")
        self.assertEqual(plain.returncode, 0, plain.stderr)
        self.assertEqual(json.loads(plain.stdout)["total"]["requests"], 20)
        self.assertIn("Throughput: ", plain.stderr)
        self.assertRegex(self.measure("--hgrm", "-").stdout, r"\A +Value +Percentile")
        held = bench(self.server.port, "--hold", 3, "--hold-time", "1ms", "--json", "-")
        self.assertEqual(json.loads(held.stdout)["hold"]["connections"], 3)
        file = self.folder / "a.json"
        file.write_text(plain.stdout)
        merged = run(ECHO_BENCH, "merge", file, "--json", "-")
        self.assertEqual(json.loads(merged.stdout)["total"]["requests"], 20)

    def test_stdout_that_is_a_file(self):
        ended = self.in_a_shell(">>out", "--json", "-")
        ended = self.in_a_shell(">>out", "--json", "-")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        both = (self.folder / "out").read_text()
        self.assertEqual(len(re.findall(r"^{$", both, re.MULTILINE)), 2)

    def test_stdout_that_cannot_be_written(self):
        ended = self.in_a_shell(">&-", "--json", "-")
        self.assertEqual((ended.returncode, ended.stderr), (CANNOT_CREATE, "echo_bench: cannot write -: Bad file descriptor\n"))
        self.assertEqual(self.in_a_shell(">/dev/full", "--json", "-").returncode, CANNOT_CREATE)

    def test_stderr_that_is_closed(self):
        ended = self.in_a_shell("2>&-", "--json", "-")
        self.assertEqual((ended.returncode, json.loads(ended.stdout)["total"]["requests"]), (0, 20))

    def test_two_results_for_one_file(self):
        new, old, link = (self.folder / name for name in ("new", "old", "link"))
        old.write_text("what was there before")
        link.symlink_to(old)
        for one, other in ((new, new), (old, link), (old, self.folder / "." / ".." / self.folder.name / "old"), ("-", "-")):
            for options in (("--json", one, "--hgrm", other), ("--hgrm", one, "--hlog", other)):
                with self.subTest(options=options):
                    self.refuses(self.measure(*options), USAGE, f"{one} and {other} are one file")
        self.assertFalse(new.exists())
        self.assertEqual(old.read_text(), "what was there before")
        self.assertEqual(self.measure("--json", "/dev/null", "--hgrm", "/dev/null").returncode, 0)

    def test_file_that_is_printed_into(self):
        for redirections, says in ((">out", True), ("2>out", False), (">out 2>&1", False)):
            with self.subTest(redirections):
                ended = self.in_a_shell(redirections, "--json", "out")
                self.assertEqual(ended.returncode, USAGE)
                said = ended.stderr if says else (self.folder / "out").read_text()
                self.assertRegex(said, r"\Aecho_bench: out is where stdout or stderr goes as well: [^\n]+\n\Z")


class Schema(unittest.TestCase):
    """Checks that the schema check finds violations."""

    def test_what_is_missing_too_much_or_of_another_type(self):
        schema = {"type": "object", "required": ["a"], "additionalProperties": False,
                  "properties": {"a": {"type": "integer", "minimum": 0},
                                 "b": {"type": ["array", "null"], "items": {"enum": ["x"]}}}}
        for value, wrong in (({"a": 1, "b": ["x"]}, []), ({"a": 1, "b": None}, []),
                             ({}, ["$: has no a"]), ({"a": True}, ["$.a: True is no integer"]),
                             ({"a": -1}, ["$.a: -1 is less than 0"]),
                             ({"a": 1, "b": ["y"]}, ["$.b[0]: 'y' is not ['x']"]),
                             ({"a": 1, "c": 1}, ["$: has a key c that nobody described"])):
            with self.subTest(value=value):
                self.assertEqual(list(complaints(value, schema)), wrong)

    def test_one_of_several_kinds(self):
        schema = {"oneOf": [{"$ref": "#/$defs/a"}, {"type": "object", "required": ["kind", "b"]}],
                  "$defs": {"a": {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "a"}}}}}
        for value, wrong in (({"kind": "a"}, []), ({"kind": "b", "b": 1}, []), ({"kind": "b"}, ["$.kind: 'b' is not 'a'"]),
                             ({"kind": "a", "b": 1}, ["$: is of several kinds"])):
            with self.subTest(value=value):
                self.assertEqual(list(complaints(value, schema)), wrong)

    def test_every_kind_of_result_is_described(self):
        self.assertEqual([one["$ref"] for one in SCHEMA["oneOf"]], ["#/$defs/load", "#/$defs/held"])
        for result in ({"schema_version": 2, "kind": "hold"}, {"schema_version": 2, "kind": "load"}, {}):
            self.assertNotEqual(list(complaints(result, SCHEMA)), [])


if __name__ == "__main__":
    unittest.main()
