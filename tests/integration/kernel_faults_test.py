"""io_uring_enter(2) and io_uring_register(2) return errors at many positions, and nothing is lost.

strace injects the errors. echo_bench compares every byte that comes back.
"""

import os
import pathlib
import re
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (ECHO_BENCH, EchoCoro, environment_under_strace, run, strace,
                      why_strace_cannot_trace)

CONNECTIONS, ECHOES = 4, 10


class KernelFaults(unittest.TestCase):
    def setUp(self):
        reason = why_strace_cannot_trace()
        if reason:
            self.skipTest(reason)

    def serves_with(self, call, error, when):
        with self.subTest(call=call, error=error, when=when):
            log = tempfile.NamedTemporaryFile()
            self.addCleanup(log.close)
            inject = strace("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}",
                            log=log.name)
            with EchoCoro("--backend", "io_uring", under=inject,
                          env=environment_under_strace()) as server:
                load = run(ECHO_BENCH, "-t", CONNECTIONS, "-c", 1, "-e", ECHOES, "-p", server.port,
                           "--size", 3000)
                self.assertEqual(load.returncode, 0, load.stdout + load.stderr)
                self.assertRegex(load.stdout, r"Throughput: .* errors: 0\n\Z")
                self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                served = re.search(r"stopped: (\d+) connections served, 0 cancelled", server.rest())
                self.assertTrue(served, "the server counts its connections")
                self.assertEqual(int(served[1]), CONNECTIONS)
            self.assertIn(b"(INJECTED)", log.read(), "the fault took place")

    def serves_at_every(self, error):
        """At each of the first positions on its own, then at every n-th, beginning with every second."""
        for position in range(1, 18):
            self.serves_with("io_uring_enter", error, position)
        for step in range(2, 16):
            self.serves_with("io_uring_enter", error, f"{step}+{step}")

    def test_enter_is_interrupted(self):
        self.serves_at_every("EINTR")

    def test_enter_has_no_memory_for_now(self):
        self.serves_at_every("EAGAIN")

    def test_enter_is_busy(self):
        self.serves_at_every("EBUSY")

    @unittest.skipIf("registered_ring" in os.environ.get("RINGLET_WITHOUT", ""),
                     "nothing is registered")
    def test_register_is_refused(self):
        for error in ("EINVAL", "ENOMEM", "EPERM", "EBUSY", "ENOSYS", "EINTR", "EFAULT"):
            self.serves_with("io_uring_register", error, "1+")

    def test_a_feature_that_is_left_out_is_not_used(self):
        # As strace writes the flag, or as a number if strace is older than the flag.
        traces = {"defer_taskrun": r"IORING_SETUP_DEFER_TASKRUN|SUBMIT_ALL\|0x3000",
                  "registered_ring": r"IORING_ENTER_REGISTERED_RING|IORING_ENTER_\w+\|0x10\b",
                  "wait_with_timeout": "IORING_ENTER_EXT_ARG"}
        for left_out in (None, *traces):
            with self.subTest(left_out=left_out), tempfile.NamedTemporaryFile() as log:
                environment = {**environment_under_strace(), "RINGLET_WITHOUT": left_out or ""}
                under = strace("-e", "trace=io_uring_setup,io_uring_enter", log=log.name)
                with EchoCoro("--backend", "io_uring", "--idle-timeout", "10s", under=under,
                              env=environment) as server:
                    with server.connect() as client:
                        client.echoes()
                    self.assertEqual(server.ends_by(signal.SIGTERM), 0)
                told = log.read().decode()
                for feature, flag in traces.items():
                    self.assertEqual(bool(re.search(flag, told)), feature != left_out,
                                     f"{feature}: {told}")


if __name__ == "__main__":
    unittest.main()
