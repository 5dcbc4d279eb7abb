"""Runs one unittest method for ctest: run_python_test.py FILE Class.method

Prints "SKIP: reason" and ends with 77 when it was skipped. After 120 seconds it prints where every thread stands, which
says what it was waiting for, and ends.
"""

import faulthandler
import os
import sys
import unittest

LIMIT_SECONDS = 120


def main() -> int:
    path, name = sys.argv[1:]
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
    sys.path[:0] = [os.path.dirname(path), os.path.dirname(__file__)]
    module = os.path.splitext(os.path.basename(path))[0]
    suite = unittest.defaultTestLoader.loadTestsFromName(f"{module}.{name}")
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    for _, reason in result.skipped:
        print(f"\nSKIP: {reason}")
    if result.testsRun == 0 and not result.skipped:
        print(f"no test {name} in {path}")
        return 1
    if not result.wasSuccessful():
        return 1
    return 77 if result.skipped else 0


sys.exit(main())
