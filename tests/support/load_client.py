"""Shared by the tests of echo_bench: how to run it, and what every run must print."""

import re
import unittest

from programs import ECHO_BENCH, run

LAST_LINE = r"\AThroughput: \d+\.\d\d \[reqests/sec\], errors: (\d+)\Z"


def bench(port, *arguments, **options):
    return run(ECHO_BENCH, "-p", port, *arguments, **options)


class Client(unittest.TestCase):
    """Checks for every run of the client."""

    def enter(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def ends(self, ended, status, errors):
        self.assertTrue(ended.stdout.endswith("\n"), ended.stderr)
        last = ended.stdout.splitlines()[-1]
        self.assertRegex(last, LAST_LINE)
        self.assertEqual((int(re.match(LAST_LINE, last)[1]), ended.returncode), (errors, status),
                         ended.stdout + ended.stderr)

    def refuses(self, ended, status, line):
        self.assertEqual((ended.returncode, ended.stdout), (status, ""), ended.stderr)
        self.assertRegex(ended.stderr, r"\Aecho_bench: [^\n]+\n\Z")
        self.assertRegex(ended.stderr, line)
