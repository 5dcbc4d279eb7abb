"""Several new versions in a row: a short run of the command on both backends, and that it reports clients' losses.

Run one with   /usr/bin/python3 tests/bench/hand_over_test.py Command.test_a_short_run
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 300

sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "bench/commands"), str(ROOT / "bench/harness")]
import hand_over


class Errors(unittest.TestCase):
    def test_each_loss_is_told(self):
        load = {"total": {"errors": 0, "connections_failed": 0, "first_error": ""}}
        hold = {"connections": 10, "failed": 0, "first_echo_errors": 0, "last_echo_errors": 0, "first_error": ""}
        good = {"probe": {"wrong": []}, "echoing": load, "churn": load, "idle": {"hold": hold},
                "changes": [{"cancelled": 0}]}  # fmt: skip
        options = types.SimpleNamespace(idle=10)
        self.assertEqual(hand_over.errors_of(good, options), [])
        for path, value in ((("probe", "wrong"), ["the end came"]), (("echoing", "total", "errors"), 1),
                            (("churn", "total", "connections_failed"), 1), (("idle", "hold", "connections"), 9),
                            (("idle", "hold", "last_echo_errors"), 1), (("changes", 0, "cancelled"), 1)):  # fmt: skip
            bad = json.loads(json.dumps(good))  # nothing is in it twice
            place = bad
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            with self.subTest(path=path):
                self.assertEqual(len(hand_over.errors_of(bad, options)), 1)


class Command(unittest.TestCase):
    def test_a_short_run(self):
        for backend in ("auto", "epoll"):
            with self.subTest(backend=backend), tempfile.TemporaryDirectory() as folder:
                chart, result = pathlib.Path(folder, "chart.svg"), pathlib.Path(folder, "result.json")
                ran = subprocess.run(
                    [str(ROOT / "benchmark.sh"), "hand-over", "--rounds", "2", "--kills", "2", "--echoing", "10", "--idle", "50",
                     "--churn", "2", "--pause", "0.2", "--backend", backend, "--chart", str(chart), "--json", str(result)],
                    capture_output=True, text=True, timeout=PATIENCE_SECONDS,
                    env={**os.environ, "RINGLET_BUILD_DIR": os.environ["RINGLET_BUILD_DIR"]})  # fmt: skip
                self.assertEqual((ran.returncode, ran.stderr), (0, ""))
                told = json.loads(result.read_text())
                self.assertEqual([change["moved"] >= 60 for change in told["changes"]], [True, True])
                self.assertEqual(len(told["kills"]), 2)
                self.assertEqual(xml.etree.ElementTree.parse(chart).getroot().tag, "{http://www.w3.org/2000/svg}svg")


if __name__ == "__main__":
    unittest.main()
