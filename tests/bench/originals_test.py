"""The comparison with the originals: its rows, its error messages, and a short run.

Run one with   /usr/bin/python3 tests/bench/originals_test.py Originals.test_rows
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120
UNAVAILABLE = 69


def originals(*arguments, **environment):
    names = {"RINGLET_BUILD_DIR": os.environ["RINGLET_BUILD_DIR"], **environment}
    return subprocess.run([sys.executable, str(ROOT / "bench/commands/originals.py"), *arguments], capture_output=True, text=True,
                          timeout=PATIENCE_SECONDS, env={**os.environ, **names})  # fmt: skip


class Originals(unittest.TestCase):
    def test_rows(self):
        listed = originals("--list")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertEqual([row.split(",")[0] for row in listed.stdout.splitlines()],
                         ["resp", "resp", "http", "http", "proxy", "socks5", "dns", *["tls"] * 5, *["tls proxy"] * 4, *["tls"] * 2])  # fmt: skip

    def test_what_is_unknown_or_missing(self):
        unknown = originals("nonsense")
        self.assertEqual(unknown.returncode, UNAVAILABLE)
        self.assertRegex(unknown.stderr, "no row begins with 'nonsense': the rows are resp, pipeline 1, ")
        missing = originals("resp, pipeline 1", "--pairs", "1", "--quick", PATH="/nowhere")
        self.assertEqual(missing.returncode, UNAVAILABLE)
        self.assertRegex(missing.stderr, "redis-server, redis-benchmark not found: run cmake/install_dependencies.sh originals")

    @unittest.skipUnless(shutil.which("redis-server") and shutil.which("redis-benchmark"), "redis is not installed")
    def test_a_short_run(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-originals-") as folder:
            file = pathlib.Path(folder, "out.json")
            ran = originals("resp, pipeline 16", "--pairs", "1", "--quick", "--json", str(file))
            self.assertEqual(ran.returncode, 0, ran.stderr)
            self.assertRegex(ran.stdout, r"resp, pipeline 16 +\d+\.\d\d +\d+\.\d\d  redis-server +\d+\.\d{3}  .*too few pairs")
            (row,) = json.loads(file.read_text())["rows"]
            ((ours, theirs),) = row["cpu_nanoseconds_per_request"]
            self.assertAlmostEqual(ours / theirs, row["ratio"]["median"], places=3)
            self.assertGreater(ours, 0)


if __name__ == "__main__":
    unittest.main()
