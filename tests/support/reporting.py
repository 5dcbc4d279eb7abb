"""Makes reports of results for the tests, like a user."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "bench/commands/report"
PATIENCE_SECONDS = 110
NAMES = ("ladder", "field", "latency-ladder", "latency-field", "memory", "scaling")

sys.path[:0] = [str(PROGRAM), str(ROOT / "bench/harness")]


def run(*arguments, **options):
    return subprocess.run([sys.executable, str(PROGRAM), *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, check=False, **options)  # fmt: skip


class Reports(unittest.TestCase):
    """Makes reports in a temporary folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-report-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def report(self, content, **options):
        """The folder with the report on some results."""
        source = self.folder / "results.json"
        source.write_text(content if isinstance(content, str) else json.dumps(content))
        self.ended = run(source, "-o", self.folder / "out", **options)
        return self.folder / "out"

    def page(self, content):
        """The text of the page, made without pictures, which is faster."""
        out = self.report(content, env={**os.environ, "PATH": ""})
        self.assertEqual(self.ended.returncode, 0, self.ended.stderr)
        return (out / "report.html").read_text()

    def says(self, words, text):
        """Like assertIn, but does not print the whole page."""
        self.assertTrue(words in text, f"the page does not say '{words}'")

    def says_not(self, words, text):
        self.assertFalse(words in text, f"the page says '{words}'")
