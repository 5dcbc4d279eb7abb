"""echo_bench merge: the result is what one client would have counted, and results that do not belong together
are refused. As results can be written by hand, it also tests what the report says about any result."""

import copy
import json
import pathlib
import random
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hdr_histogram
from json_schema import complaints
from load_client import Client, bench
from programs import (CANNOT_CREATE, ECHO_BENCH, HOST, NO_INPUT, ROOT, USAGE, EchoCoro, run)

SCHEMA = json.loads((ROOT / "docs/guides/echo_bench.schema.json").read_text())
NOT_A_RESULT = 65  # EX_DATAERR of sysexits(3)

SETTINGS = {
    "server": f"{HOST}:3200", "coroutines": 5, "connections_each": 2, "echoes_each": 10, "pipeline": 1,
    "message_bytes": 64, "message_crc32": 1, "messages_numbered": True, "churn": False, "duration_s": 0.0,
    "warmup_s": 0.0, "timeout_s": 30.0, "rate_per_s": 0.0, "busy_poll_us": 0}
CLIENT = {
    "program": "echo_bench 0.1.0", "command_line": ["echo_bench"], "backend": "io_uring",
    "build": {"compiler": "GNU 12.2.0", "flags": ""},
    "machine": {"name": "one", "cpu": None, "cpus_online": 1, "cpus_allowed": 1, "memory_bytes": 1,
                "architecture": "x86_64", "kernel": "Linux", "mitigations": {},
                "congestion_control": "cubic"}}


def result(counts, settings=(), **run):
    """The result of a client with these counts."""
    total = sum(counts.values())
    return {"schema_version": 2, "kind": "load", "settings": {**SETTINGS, **dict(settings)}, "total": {},
            "runs": [{"client": CLIENT, "began_unix_s": 1000.0, "wall_s": 1.0, "requests": total,
                      "errors": 0, "first_error": "", "connections_made": 10, "connections_failed": 0,
                      "client_cpu_s": 0.5, "client_cpu_wait_s": 0.0, "late_sends": 0,
                      "latest_send_us": 0.0, "latency_histogram": hdr_histogram.encode(counts), **run}]}


def later(one, seconds):
    """The same for a client that began later."""
    one = copy.deepcopy(one)
    one["runs"][0]["began_unix_s"] += seconds
    return one


def sum_of(*all_counts):
    total = {}
    for counts in all_counts:
        for index, count in counts.items():
            total[index] = total.get(index, 0) + count
    return total


class Merge(Client):
    def setUp(self):
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        self.random = random.Random(7)

    def write(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def merge(self, *results, status=0):
        """Returns the ended process, and the contents of the three files."""
        paths = [self.write(f"{number}.json", one) if isinstance(one, dict) else one
                 for number, one in enumerate(results)]
        out = [self.folder / name for name in ("out.json", "out.hgrm", "out.hlog")]
        ended = run(ECHO_BENCH, "merge", *paths, "--json", out[0], "--hgrm", out[1], "--hlog", out[2])
        self.assertEqual(ended.returncode, status, ended.stderr)
        told = json.loads(out[0].read_text())
        self.assertEqual(list(complaints(told, SCHEMA)), [])
        return ended, told, out[1].read_text(), hdr_histogram.read_log(out[2].read_text())

    def some_counts(self, buckets):
        return {self.random.randrange(hdr_histogram.BUCKETS): self.random.randrange(1, 1000)
                for _ in range(buckets)}


class Sums(Merge):
    def test_counts_throughput_and_histograms_are_added_up(self):
        a, b = {5000: 30, 6000: 40, 8000: 1}, {4000: 5, 6000: 15}
        ended, told, hgrm, log = self.merge(
            result(a, wall_s=2.0, connections_failed=1),
            result(b, wall_s=4.0, began_unix_s=1000.25, errors=2, first_error="an echo: no"), status=1)
        total = told["total"]
        expected = {"wall_s": 4.0, "throughput_per_s": 71 / 2 + 20 / 4, "requests": 91, "errors": 2,
                    "first_error": "an echo: no", "connections_made": 20, "connections_failed": 1,
                    "client_cpu_s": 1.0, "client_limits": []}
        self.assertEqual({key: total[key] for key in expected}, expected)
        self.assertEqual(hgrm, hdr_histogram.percentiles(sum_of(a, b)))
        self.assertEqual([line[1:3] for line in log], [(0, 2), (0.25, 4)])
        self.assertEqual([line[4] for line in log], [a, b])
        self.assertEqual([one["requests"] for one in told["runs"]], [71, 20])
        self.ends(ended, 1, errors=2)
        self.assertIn("2 clients, each of them:\nLoad: 5 coroutines, 2 connections each, 10 echoes of "
                      f"64 bytes on each, to {HOST}:3200\nConnections: 20 made, 1 failed\n", ended.stdout)
        self.assertIn("\nThroughput: 40.50 [reqests/sec], errors: 2\n", ended.stdout)
        self.assertEqual(ended.stderr, "echo_bench: 2 errors; the first: an echo: no\n")

    def test_any_histogram_comes_through(self):
        for counts in ({0: 1}, {0: 3, 1: 1, 3: 1, 6: 1}, {hdr_histogram.BUCKETS - 1: 1}, {1: 1 << 62},
                       {2047: 1, 2048: 1, 3071: 1, 3072: 1}, dict.fromkeys(range(hdr_histogram.BUCKETS), 1),
                       *({i: 1 << 7 * i for i in range(first, 8)} for first in range(2)),
                       *(self.some_counts(buckets) for buckets in (10, 1000, 20_000))):
            with self.subTest(buckets=len(counts), first=min(counts), last=max(counts)):
                _, told, hgrm, log = self.merge(result(counts))
                self.assertEqual(log[0][4], counts)
                self.assertEqual(hgrm, hdr_histogram.percentiles(counts))
                values = told["total"]["latency_us"]
                self.assertEqual(round(values["min"] * 1000), hdr_histogram.bounds(min(counts))[0])
                self.assertEqual(round(values["max"] * 1000), hdr_histogram.bounds(max(counts))[1])

    def test_percentiles_are_the_largest_value_that_so_many_do_not_exceed(self):
        counts = {1000 + i: 1 for i in range(100)}
        values = self.merge(result(counts))[1]["total"]["latency_us"]
        self.assertEqual((values["p50"], values["p90"]), (1.049, 1.089))
        self.assertAlmostEqual(values["mean"], 1.0495)

    def test_it_does_not_matter_in_which_order_they_are_merged(self):
        parts = [result(self.some_counts(500)) for _ in range(3)]
        _, together, hgrm, _ = self.merge(*parts)
        first_two = self.folder / "first_two.json"
        self.merge(*parts[:2])
        (self.folder / "out.json").rename(first_two)
        _, in_turn, again, _ = self.merge(first_two, parts[2])
        self.assertEqual((in_turn, again), (together, hgrm))

    def test_results_of_real_runs(self):
        server = self.enter(EchoCoro())
        paths = [self.folder / f"run{number}.json" for number in range(2)]
        for path in paths:
            self.ends(bench(server.port, "-t", 3, "--churn", "--duration", "1s", "--json", path), 0,
                      errors=0)
        each = [json.loads(path.read_text())["total"] for path in paths]
        ended, told, hgrm, log = self.merge(*paths)
        for key in ("requests", "connections_made", "connections_whole"):
            self.assertEqual(told["total"][key], each[0][key] + each[1][key], key)
        for key in ("throughput_per_s", "connections_per_s"):
            self.assertAlmostEqual(told["total"][key] / (each[0][key] + each[1][key]), 1)  # times in ns
        self.assertEqual([line[0] for line in log], ["", "connections"] * 2)
        self.assertEqual(hgrm, hdr_histogram.percentiles(sum_of(log[1][4], log[3][4])))
        self.assertRegex(ended.stdout, r"\nChurn: [\d.]+ connections a second, \d+ whole\n")


class Refused(Merge):
    def refuses_these(self, results, line, status=NOT_A_RESULT):
        paths = [self.write(f"{number}.json", one) for number, one in enumerate(results)]
        self.refuses(run(ECHO_BENCH, "merge", *paths), status, line)

    def test_different_loads(self):
        for key, other in (("server", f"{HOST}:3201"), ("pipeline", 4), ("rate_per_s", 5.0),
                           ("connections_each", None), ("message_crc32", 2)):
            with self.subTest(key=key):
                self.refuses_these(
                    [result({1: 1}), result({1: 1}, {key: other})],
                    rf"0\.json and \S+1\.json are results of different loads: {key}: \S+ and "
                    + re.escape(json.dumps(other)))

    def test_the_same_run_twice(self):
        one = result({1: 1}, began_unix_s=1795710242.1234567)
        self.refuses_these([one, one], r"\S+0\.json and \S+1\.json hold the same run")
        other = result({2: 1}, began_unix_s=1795710242.2345678)
        self.merge(one, other)
        (self.folder / "out.json").rename(self.folder / "both.json")
        for again in (one, other):
            self.refuses_these([json.loads((self.folder / "both.json").read_text()), again],
                               "hold the same run")

    def test_the_same_run_of_a_real_client_twice(self):
        server = self.enter(EchoCoro())
        a, b = self.folder / "a.json", self.folder / "b.json"
        for path in (a, b):
            self.ends(bench(server.port, "-t", 1, "-c", 1, "-e", 5, "--json", path), 0, errors=0)
        self.refuses(run(ECHO_BENCH, "merge", a, b, a), NOT_A_RESULT, "a.json and [^ ]*a.json hold the same run")
        self.merge(a, b)
        self.refuses(run(ECHO_BENCH, "merge", self.folder / "out.json", b), NOT_A_RESULT, "hold the same run")

    def test_another_schema_version(self):
        self.refuses_these([{**result({1: 1}), "schema_version": 1}],
                           r"0\.json has the schema version 1, and this echo_bench reads 2")

    def test_what_is_no_result(self):
        held = {"schema_version": 2, "kind": "hold", "hold": {}}
        wrong_type = result({1: 1}, wall_s="long")
        without_run = {**result({1: 1}), "runs": []}
        without_key = copy.deepcopy(result({1: 1}))
        del without_key["runs"][0]["errors"]
        for content, line in (("", "is no result"), ("{", "is no result"), ("[]", "is no result"),
                              ("{}", "is no result"), (held, "is the result of --hold"),
                              (wrong_type, "is no result.*string"), (without_run, "has no run"),
                              (without_key, "is no result.*errors"),
                              (result({1: 1}, {"pipeline": "1"}), 'has "1" as the setting pipeline'),
                              (result({1: 1}, {"server": None}), "has null as the setting server"),
                              ({**result({1: 1}), "settings": {}}, "is no result.*server"),
                              (result({1: 1}, wall_s=0.0), "has figures that contradict"),
                              (result({1: 1}, requests=2), "has figures that contradict")):
            with self.subTest(content=content):
                self.refuses_these([content], r"0\.json " + line)

    def test_histograms_that_cannot_be_read(self):
        good = hdr_histogram.encode({1: 1})
        for histogram in ("", "HIST", good[:-4], good[:-1] + "!", good.replace("A", "?"), good + "AAAA",
                          hdr_histogram.encode({1: 1}, digits=2),
                          hdr_histogram.encode({1: 1}, cookie=hdr_histogram.PLAIN + 16),
                          hdr_histogram.encode({1: 1}, claimed=1), hdr_histogram.encode({1: 1}, claimed=-1),
                          hdr_histogram.encode({hdr_histogram.BUCKETS: 1}),
                          hdr_histogram.encode({}, payload=b"\x80"),  # an unfinished number
                          hdr_histogram.encode({}, payload=hdr_histogram.leb128(-(1 << 63))),
                          hdr_histogram.encode({}, payload=b"\x02" * (hdr_histogram.BUCKETS + 1))):
            with self.subTest(histogram=histogram[:60]):
                self.refuses_these([result({1: 1}, latency_histogram=histogram)],
                                   r"0\.json has a histogram that cannot be read")

    def test_files(self):
        good = self.write("good.json", result({1: 1}))
        missing = self.folder / "missing"
        self.refuses(run(ECHO_BENCH, "merge", good, missing), NO_INPUT, f"{missing}: No such file")
        self.refuses(run(ECHO_BENCH, "merge", self.folder), NO_INPUT, f"{self.folder}: Is a directory")
        for option in ("--json", "--hgrm", "--hlog"):
            self.refuses(run(ECHO_BENCH, "merge", good, option, missing / "file"), CANNOT_CREATE,
                         f"cannot write {missing}/file: No such file")
            self.ends(run(ECHO_BENCH, "merge", good, option, "/dev/full"), CANNOT_CREATE, errors=0)
        into_itself = run(ECHO_BENCH, "merge", good, "--json", good)
        self.ends(into_itself, 0, errors=0)
        self.assertEqual(json.loads(good.read_text())["total"]["requests"], 1)
        ended = run(ECHO_BENCH, "merge")
        self.assertEqual((ended.returncode, ended.stdout), (USAGE, ""))
        self.assertRegex(ended.stderr, r"\Aecho_bench merge: results is required[^\n]*\n\Z")

    def test_help(self):
        ended = run(ECHO_BENCH, "merge", "--help")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        for word in ("--json", "--hgrm", "--hlog", "exit status"):
            self.assertIn(word, " ".join(ended.stdout.split()))


class Judged(Merge):
    def test_no_percentile_of_fewer_than_ten_samples_beyond_it(self):
        names = ["p50", "p90", "p99", "p99.9", "p99.99"]
        for told_count, samples in enumerate((20, 100, 1000, 10_000, 100_000), 1):
            for count, known in ((samples - 1, told_count - 1), (samples, told_count)):
                with self.subTest(samples=count):
                    ended, told, _, _ = self.merge(result({5000: count}))
                    self.assertEqual([key for key in told["total"]["latency_us"] if key in names],
                                     names[:known])
                    latency, = re.findall(r"^Latency.*$", ended.stdout, re.MULTILINE)
                    self.assertEqual(re.findall(r"p[\d.]+(?= \d[\d.]*,)", latency), names[:known])
                    needed = re.search(r"; (\d+) samples?, (p[\d.]+) needs (\d+)\Z", latency)
                    if known == len(names):
                        self.assertIsNone(needed)
                    else:
                        self.assertEqual((int(needed[1]), needed[2], int(needed[3])),
                                         (count, names[known], 20 * 5 ** (known > 0) *
                                          10 ** max(known - 1, 0)))

    def judge(self, settings=(), **figures):
        ended, told, _, _ = self.merge(result({5000: 100}, settings, **figures))
        self.assertEqual(told["runs"][0]["client_limits"], told["total"]["client_limits"])
        return told["total"]["client_limits"], ended.stderr

    def test_client_without_a_core_left(self):
        self.assertEqual(self.judge(client_cpu_s=0.85, client_cpu_wait_s=0.04), ([], ""))
        limits, said = self.judge(client_cpu_s=0.95)
        self.assertEqual(limits, ["cpu"])
        self.assertEqual(said, "echo_bench: the client used 95 % of a core and waited for one for 0 % of the "
                               "time: it, not the server, may have been the limit\n")
        limits, said = self.judge(client_cpu_s=0.5, client_cpu_wait_s=0.45)
        self.assertEqual(limits, ["cpu"])
        self.assertIn("used 50 % of a core and waited for one for 45 %", said)

    def test_what_cannot_be_judged(self):
        self.assertEqual(self.judge(wall_s=0.19, client_cpu_s=0.19), (None, ""))
        self.assertEqual(self.judge({"busy_poll_us": 50}, client_cpu_s=1.0), (None, ""))

    def test_requests_that_went_out_late(self):
        rate = {"rate_per_s": 100.0}
        self.assertEqual(self.judge(rate, late_sends=1, latest_send_us=2000.0), ([], ""))
        limits, said = self.judge(rate, late_sends=2, latest_send_us=7500.0)
        self.assertEqual(limits, ["late_sends"])
        self.assertEqual(said, "echo_bench: the client sent 2 of 100 requests more than 1 ms late, one 7.5 "
                               "ms: it was too busy for this rate\n")
        self.assertEqual(self.judge({**rate, "busy_poll_us": 50}, late_sends=2)[0], ["late_sends"])

    def test_which_client_was_the_limit(self):
        busy, idle, short = (result({5000: 100}, client_cpu_s=cpu, wall_s=wall)
                             for cpu, wall in ((1.0, 1.0), (0.1, 1.0), (0.1, 0.1)))
        ended, told, _, _ = self.merge(idle, busy)
        self.assertEqual(told["total"]["client_limits"], ["cpu"])
        self.assertRegex(ended.stderr, r"\Aecho_bench: client 2 used 100 % of a core[^\n]*\n\Z")
        self.assertEqual(self.merge(idle, short)[1]["total"]["client_limits"], None)
        self.assertEqual(self.merge(busy, short)[1]["total"]["client_limits"], ["cpu"])

    def test_clients_that_did_not_measure_at_the_same_time(self):
        one = result({1: 1})
        for others, together in (((0.9,), True), ((1.1,), False), ((-1.1,), False), ((0.4, 0.8), True),
                                 ((0.6, 1.2), False)):
            with self.subTest(began=others):
                ended = self.merge(one, *(later(one, seconds) for seconds in others))[0]
                self.assertEqual("there was no moment in which all clients measured" in ended.stderr,
                                 not together)

    def test_rate_of_all_clients(self):
        kept, not_kept = (result({5000: 100}, {"rate_per_s": rate}) for rate in (101.0, 110.0))
        self.assertEqual(self.merge(kept, later(kept, 0.5))[0].stderr, "")
        self.assertRegex(self.merge(not_kept, later(not_kept, 0.5))[0].stderr,
                         r"\Aecho_bench: the rate was not kept: 200\.00 of 220\.00 a second; [^\n]*\n\Z")


if __name__ == "__main__":
    unittest.main()
