"""Runs the tests of one file for ctest: run_python_test.py FILE [Class.method]

Prints a line for each test, which summary.py counts:
    ::case passed|failed NAME
    ::case skipped NAME :: REASON
Exits with 77 if all were skipped. A test that takes longer than LIMIT_SECONDS, or the limit_seconds of its class,
ends the program, which first prints where every thread is, to show what it was waiting for.
"""

import faulthandler
import os
import sys
import unittest

LIMIT_SECONDS = 600


class Result(unittest.TextTestResult):
    def startTest(self, test):
        faulthandler.dump_traceback_later(getattr(test, "limit_seconds", LIMIT_SECONDS), exit=True)
        self.bad_before = len(self.failures) + len(self.errors)
        self.skipped_before = len(self.skipped)
        super().startTest(test)

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)
        name = ".".join(test.id().split(".")[-2:])
        reasons = [reason for _, reason in self.skipped[self.skipped_before:]]
        if len(self.failures) + len(self.errors) > self.bad_before:
            self.say(f"failed {name}")
        elif reasons:
            self.say(f"skipped {name} :: {reasons[0]}")
        else:
            self.say(f"passed {name}")

    @staticmethod
    def say(words):
        print(f"::case {words}", flush=True)


def main() -> int:
    path = sys.argv[1]
    sys.path[:0] = [os.path.dirname(path), os.path.dirname(__file__)]
    module = os.path.splitext(os.path.basename(path))[0]
    suite = unittest.defaultTestLoader.loadTestsFromName(".".join([module, *sys.argv[2:]]))
    result = unittest.TextTestRunner(verbosity=0, resultclass=Result).run(suite)
    # A whole class or module may be skipped up front.
    for test, reason in result.skipped:
        if not hasattr(test, "_testMethodName"):
            Result.say(f"skipped {test} :: {reason}")
    if result.testsRun == 0 and not result.skipped:
        print(f"no test in {path}")
        return 1
    if not result.wasSuccessful():
        return 1
    return 77 if len(result.skipped) >= result.testsRun else 0


sys.exit(main())
