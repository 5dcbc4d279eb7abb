"""io_uring_enter(2) and io_uring_register(2) answer with errors, at many positions, and nothing is lost.

strace answers in place of the kernel. echo_bench compares every byte that comes back.
"""

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
        """At each of the first positions alone, then at every so many, from once in two on."""
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

    def test_register_is_refused(self):
        for error in ("EINVAL", "ENOMEM", "EPERM", "EBUSY", "ENOSYS", "EINTR", "EFAULT"):
            self.serves_with("io_uring_register", error, "1+")


if __name__ == "__main__":
    unittest.main()
